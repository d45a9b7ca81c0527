//! What a workflow notes of itself: markers, search attributes, memo.

use mainspring_api::v1::{
    command::{
        ModifyWorkflowPropertiesCommandAttributes, RecordMarkerCommandAttributes,
        UpsertWorkflowSearchAttributesCommandAttributes,
    },
    enums::WorkflowTaskFailedCause as Cause,
    history::{
        MarkerRecordedEventAttributes, UpsertWorkflowSearchAttributesEventAttributes,
        WorkflowPropertiesModifiedEventAttributes, history_event::Attributes,
    },
};
use prost::Message;

use crate::{
    transition::{Extras, Transition},
    workflow::{
        activity::input_bytes,
        command::{Context, Refusal},
    },
};

/// The command that records a marker. What is in it is the SDK's affair.
pub(crate) fn record_marker(
    t: &mut Transition<'_>,
    context: &Context<'_>,
    a: RecordMarkerCommandAttributes,
    extras: Extras,
) -> Result<(), Refusal> {
    let bad = |message| Err(Refusal::new(Cause::BadRecordMarkerAttributes, message));
    if a.marker_name.is_empty() {
        return bad("MarkerName is not set on RecordMarkerCommand.".to_owned());
    }
    if a.marker_name.len() > t.at.limits.id_bytes_max {
        return bad(format!("MarkerName on RecordMarkerCommand exceeds length limit. MarkerName={}", a.marker_name));
    }
    let bytes: usize = a.details.values().map(|details| input_bytes(Some(details))).sum();
    if bytes > t.at.limits.blob_bytes_max {
        let message = "RecordMarkerCommandAttributes.Details exceeds size limit.";
        return Err(Refusal::too_large(Cause::BadRecordMarkerAttributes, message));
    }
    let recorded = MarkerRecordedEventAttributes {
        marker_name: a.marker_name,
        details: a.details,
        workflow_task_completed_event_id: context.completed_event_id,
        header: a.header,
        failure: a.failure,
    };
    t.record_with(Attributes::MarkerRecordedEventAttributes(recorded), extras);
    Ok(())
}

/// The command that merges search attributes; an empty value removes its key.
pub(crate) fn upsert_search_attributes(
    t: &mut Transition<'_>,
    context: &Context<'_>,
    a: UpsertWorkflowSearchAttributesCommandAttributes,
    extras: Extras,
) -> Result<(), Refusal> {
    let fields = a.search_attributes.as_ref().map(|search| &search.indexed_fields);
    if fields.is_none_or(|fields| fields.is_empty()) {
        let message = "SearchAttributes is not set on UpsertWorkflowSearchAttributesCommand.";
        return Err(Refusal::new(Cause::BadSearchAttributes, message));
    }
    if a.search_attributes.as_ref().map_or(0, Message::encoded_len) > t.at.limits.blob_bytes_max {
        let message = "UpsertWorkflowSearchAttributesCommandAttributes exceeds size limit.";
        return Err(Refusal::too_large(Cause::BadSearchAttributes, message));
    }
    let upserted = UpsertWorkflowSearchAttributesEventAttributes {
        workflow_task_completed_event_id: context.completed_event_id,
        search_attributes: a.search_attributes,
    };
    t.record_with(Attributes::UpsertWorkflowSearchAttributesEventAttributes(upserted), extras);
    Ok(())
}

/// The command that merges into the memo; an empty value removes its key.
pub(crate) fn modify_memo(
    t: &mut Transition<'_>,
    context: &Context<'_>,
    a: ModifyWorkflowPropertiesCommandAttributes,
    extras: Extras,
) -> Result<(), Refusal> {
    if a.upserted_memo.as_ref().is_none_or(|memo| memo.fields.is_empty()) {
        let message = "UpsertedMemo is not set on ModifyWorkflowPropertiesCommand.";
        return Err(Refusal::new(Cause::BadModifyWorkflowPropertiesAttributes, message));
    }
    if a.upserted_memo.as_ref().map_or(0, Message::encoded_len) > t.at.limits.blob_bytes_max {
        let message = "ModifyWorkflowPropertiesCommandAttributes.UpsertedMemo exceeds size limit.";
        return Err(Refusal::too_large(Cause::BadModifyWorkflowPropertiesAttributes, message));
    }
    let modified = WorkflowPropertiesModifiedEventAttributes {
        workflow_task_completed_event_id: context.completed_event_id,
        upserted_memo: a.upserted_memo,
    };
    t.record_with(Attributes::WorkflowPropertiesModifiedEventAttributes(modified), extras);
    Ok(())
}
