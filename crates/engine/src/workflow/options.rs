//! What a start request leaves on a run that it uses as it stands: its request id, its links.

use mainspring_api::v1::history::{WorkflowExecutionOptionsUpdatedEventAttributes, history_event::Attributes};

use crate::{
    input::{OnConflict, Start},
    transition::{Extras, Transition},
};

/// Records that the request uses the run. No workflow task comes of it: the workflow has nothing to do with it.
pub(crate) fn attach(t: &mut Transition<'_>, start: &Start, options: OnConflict) {
    let attached_request_id = if options.attach_request_id { start.request_id.clone() } else { String::new() };
    let updated = WorkflowExecutionOptionsUpdatedEventAttributes { attached_request_id, ..Default::default() };
    let links = if options.attach_links { start.links.clone() } else { Vec::new() };
    t.record_with(
        Attributes::WorkflowExecutionOptionsUpdatedEventAttributes(updated),
        Extras { links, ..Extras::default() },
    );
}
