//! What each event means for the state. Every decision records events and leaves their meaning to [`apply`], so that
//! rebuilding a run from its history is a fold over the same rules.

use std::{collections::BTreeMap, collections::BTreeSet, sync::Arc};

use mainspring_api::{
    time::{from_duration, from_timestamp},
    v1::{
        Payload,
        enums::WorkflowExecutionStatus as Status,
        history::{
            ActivityTaskScheduledEventAttributes, HistoryEvent,
            SignalExternalWorkflowExecutionInitiatedEventAttributes,
            StartChildWorkflowExecutionInitiatedEventAttributes, WorkflowExecutionUpdateCompletedEventAttributes,
            history_event::Attributes as A,
        },
    },
};

use crate::state::{Activity, AttachedRequest, Child, External, ItemKey, Properties, Run, Timer, Update, WorkflowTask};

/// Applies one event that was just recorded, be it held back or not. Marks the items it touches.
pub(crate) fn apply(run: &mut Run, event: &HistoryEvent, touched: &mut BTreeSet<ItemKey>) {
    let at = from_timestamp(event.event_time.as_ref()).as_nanos();
    let Some(attributes) = &event.attributes else { return };
    match attributes {
        A::WorkflowExecutionStartedEventAttributes(a) => {
            run.execution.status = Status::Running as i32;
            let memo = a.memo.as_ref().map(|memo| &memo.fields);
            let search = a.search_attributes.as_ref().map(|search| &search.indexed_fields);
            if memo.is_some_and(|m| !m.is_empty()) || search.is_some_and(|s| !s.is_empty()) {
                change_properties(run, touched, |properties| {
                    merge(&mut properties.memo, memo);
                    merge(&mut properties.search_attributes, search);
                });
            }
        }
        A::WorkflowExecutionCompletedEventAttributes(a) => {
            close(run, touched, Status::Completed, at, &a.new_execution_run_id);
        }
        A::WorkflowExecutionFailedEventAttributes(a) => {
            close(run, touched, Status::Failed, at, &a.new_execution_run_id);
        }
        A::WorkflowExecutionTimedOutEventAttributes(a) => {
            close(run, touched, Status::TimedOut, at, &a.new_execution_run_id);
        }
        A::WorkflowExecutionCanceledEventAttributes(_) => close(run, touched, Status::Canceled, at, ""),
        A::WorkflowExecutionTerminatedEventAttributes(_) => close(run, touched, Status::Terminated, at, ""),
        A::WorkflowExecutionContinuedAsNewEventAttributes(a) => {
            close(run, touched, Status::ContinuedAsNew, at, &a.new_execution_run_id);
        }
        A::WorkflowExecutionCancelRequestedEventAttributes(_) => run.execution.cancel_requested = true,
        A::WorkflowExecutionSignaledEventAttributes(a) => {
            run.execution.signal_count += 1;
            let named = !a.request_id.is_empty();
            #[cfg(planted)]
            let named = named && !mainspring_rt::planted::is(7);
            if named {
                Arc::make_mut(&mut run.signal_requests).insert(a.request_id.clone());
                touched.insert(ItemKey::SignalRequest(a.request_id.clone()));
            }
        }
        A::WorkflowTaskScheduledEventAttributes(a) => {
            run.execution.task = Some(WorkflowTask {
                scheduled_event_id: event.event_id,
                attempt: a.attempt,
                scheduled_at: at,
                original_scheduled_at: at,
                timeout: nanos(a.start_to_close_timeout.as_ref()),
                ..WorkflowTask::default()
            });
        }
        A::WorkflowTaskStartedEventAttributes(a) => {
            if let Some(task) = &mut run.execution.task {
                task.started_event_id = event.event_id;
                task.started_at = at;
                task.suggest_continue = a.suggest_continue_as_new;
                task.history_bytes = a.history_size_bytes;
            }
        }
        A::WorkflowTaskCompletedEventAttributes(a) => {
            run.execution.previous_started_event_id = a.started_event_id;
            run.execution.task = None;
        }
        A::WorkflowTaskFailedEventAttributes(_) | A::WorkflowTaskTimedOutEventAttributes(_) => {
            run.execution.task = None;
        }
        A::ActivityTaskScheduledEventAttributes(a) => {
            touched.insert(ItemKey::Activity(event.event_id));
            run.activities.insert(event.event_id, Arc::new(activity(event.event_id, at, a)));
        }
        A::ActivityTaskCancelRequestedEventAttributes(a) => {
            if let Some(activity) = run.activities.get_mut(&a.scheduled_event_id) {
                Arc::make_mut(activity).cancel_requested_event_id = event.event_id;
                touched.insert(ItemKey::Activity(a.scheduled_event_id));
            }
        }
        A::ActivityTaskCompletedEventAttributes(a) => remove_activity(run, touched, a.scheduled_event_id),
        A::ActivityTaskFailedEventAttributes(a) => remove_activity(run, touched, a.scheduled_event_id),
        A::ActivityTaskTimedOutEventAttributes(a) => remove_activity(run, touched, a.scheduled_event_id),
        A::ActivityTaskCanceledEventAttributes(a) => remove_activity(run, touched, a.scheduled_event_id),
        A::TimerStartedEventAttributes(a) => {
            let fires_at = at.saturating_add(nanos(a.start_to_fire_timeout.as_ref()));
            let timer = Timer { started_event_id: event.event_id, timer_id: a.timer_id.clone(), fires_at };
            touched.insert(ItemKey::Timer(event.event_id));
            run.timers.insert(event.event_id, Arc::new(timer));
        }
        A::TimerFiredEventAttributes(a) => remove_timer(run, touched, a.started_event_id),
        A::TimerCanceledEventAttributes(a) => remove_timer(run, touched, a.started_event_id),
        A::StartChildWorkflowExecutionInitiatedEventAttributes(a) => {
            touched.insert(ItemKey::Child(event.event_id));
            run.children.insert(event.event_id, Arc::new(child(event.event_id, a)));
        }
        A::ChildWorkflowExecutionStartedEventAttributes(a) => {
            if let Some(child) = run.children.get_mut(&a.initiated_event_id) {
                let child = Arc::make_mut(child);
                child.started_event_id = event.event_id;
                child.run_id = a.workflow_execution.clone().unwrap_or_default().run_id;
                touched.insert(ItemKey::Child(a.initiated_event_id));
            }
        }
        A::StartChildWorkflowExecutionFailedEventAttributes(a) => remove_child(run, touched, a.initiated_event_id),
        A::ChildWorkflowExecutionCompletedEventAttributes(a) => remove_child(run, touched, a.initiated_event_id),
        A::ChildWorkflowExecutionFailedEventAttributes(a) => remove_child(run, touched, a.initiated_event_id),
        A::ChildWorkflowExecutionCanceledEventAttributes(a) => remove_child(run, touched, a.initiated_event_id),
        A::ChildWorkflowExecutionTimedOutEventAttributes(a) => remove_child(run, touched, a.initiated_event_id),
        A::ChildWorkflowExecutionTerminatedEventAttributes(a) => remove_child(run, touched, a.initiated_event_id),
        A::SignalExternalWorkflowExecutionInitiatedEventAttributes(a) => {
            touched.insert(ItemKey::External(event.event_id));
            run.externals.insert(event.event_id, Arc::new(external_signal(event.event_id, a)));
        }
        A::RequestCancelExternalWorkflowExecutionInitiatedEventAttributes(a) => {
            let target = a.workflow_execution.clone().unwrap_or_default();
            let external = External {
                initiated_event_id: event.event_id,
                namespace: a.namespace.clone(),
                namespace_id: a.namespace_id.clone(),
                workflow_id: target.workflow_id,
                run_id: target.run_id,
                control: a.control.clone(),
                cancel: true,
                completed_event_id: a.workflow_task_completed_event_id,
            };
            touched.insert(ItemKey::External(event.event_id));
            run.externals.insert(event.event_id, Arc::new(external));
        }
        A::SignalExternalWorkflowExecutionFailedEventAttributes(a) => {
            remove_external(run, touched, a.initiated_event_id);
        }
        A::ExternalWorkflowExecutionSignaledEventAttributes(a) => remove_external(run, touched, a.initiated_event_id),
        A::RequestCancelExternalWorkflowExecutionFailedEventAttributes(a) => {
            remove_external(run, touched, a.initiated_event_id);
        }
        A::ExternalWorkflowExecutionCancelRequestedEventAttributes(a) => {
            remove_external(run, touched, a.initiated_event_id);
        }
        A::WorkflowExecutionOptionsUpdatedEventAttributes(a) if !a.attached_request_id.is_empty() => {
            let attached = AttachedRequest { request_id: a.attached_request_id.clone(), event_id: event.event_id };
            change_properties(run, touched, |properties| properties.attached_requests.push(attached));
        }
        A::WorkflowExecutionUpdateAcceptedEventAttributes(a) => {
            let update = Update { accepted_event_id: event.event_id, completed_event_id: 0 };
            touched.insert(ItemKey::Update(a.protocol_instance_id.clone()));
            run.updates.insert(a.protocol_instance_id.clone(), Arc::new(update));
        }
        A::WorkflowExecutionUpdateCompletedEventAttributes(a) => complete_update(run, touched, a, event.event_id),
        A::UpsertWorkflowSearchAttributesEventAttributes(a) => {
            let changes = a.search_attributes.as_ref().map(|search| &search.indexed_fields);
            change_properties(run, touched, |properties| merge(&mut properties.search_attributes, changes));
        }
        A::WorkflowPropertiesModifiedEventAttributes(a) => {
            let changes = a.upserted_memo.as_ref().map(|memo| &memo.fields);
            change_properties(run, touched, |properties| merge(&mut properties.memo, changes));
        }
        _ => {}
    }
}

/// A closed run keeps what describes it, the ids of the signals it took and its updates: one that is sent again is
/// answered as before. Its open items go.
fn close(run: &mut Run, touched: &mut BTreeSet<ItemKey>, status: Status, at: i64, new_run_id: &str) {
    run.execution.status = status as i32;
    run.execution.closed_at = at;
    run.execution.new_run_id = new_run_id.to_owned();
    run.execution.task = None;
    run.execution.sticky = None;
    touched.extend(std::mem::take(&mut run.activities).into_keys().map(ItemKey::Activity));
    touched.extend(std::mem::take(&mut run.timers).into_keys().map(ItemKey::Timer));
    touched.extend(std::mem::take(&mut run.children).into_keys().map(ItemKey::Child));
    touched.extend(std::mem::take(&mut run.externals).into_keys().map(ItemKey::External));
    let rows = run.execution.buffered_rows;
    let held = u32::try_from(std::mem::take(&mut run.buffered).len()).unwrap_or(0);
    touched.extend((rows - held..rows).map(ItemKey::Buffered));
}

fn activity(scheduled_event_id: i64, at: i64, a: &ActivityTaskScheduledEventAttributes) -> Activity {
    Activity {
        scheduled_event_id,
        activity_id: a.activity_id.clone(),
        activity_type: a.activity_type.clone().unwrap_or_default().name,
        task_queue: a.task_queue.clone().unwrap_or_default().name,
        scheduled_at: at,
        schedule_to_close: nanos(a.schedule_to_close_timeout.as_ref()),
        schedule_to_start: nanos(a.schedule_to_start_timeout.as_ref()),
        start_to_close: nanos(a.start_to_close_timeout.as_ref()),
        heartbeat: nanos(a.heartbeat_timeout.as_ref()),
        retry_policy: a.retry_policy.clone(),
        priority_key: a.priority.as_ref().map_or(0, |priority| priority.priority_key),
        attempt: 1,
        attempt_scheduled_at: at,
        ..Activity::default()
    }
}

fn child(initiated_event_id: i64, a: &StartChildWorkflowExecutionInitiatedEventAttributes) -> Child {
    Child {
        initiated_event_id,
        namespace: a.namespace.clone(),
        namespace_id: a.namespace_id.clone(),
        workflow_id: a.workflow_id.clone(),
        workflow_type: a.workflow_type.clone().unwrap_or_default().name,
        parent_close_policy: a.parent_close_policy,
        completed_event_id: a.workflow_task_completed_event_id,
        header: a.header.clone(),
        ..Child::default()
    }
}

fn external_signal(initiated_event_id: i64, a: &SignalExternalWorkflowExecutionInitiatedEventAttributes) -> External {
    let target = a.workflow_execution.clone().unwrap_or_default();
    External {
        initiated_event_id,
        namespace: a.namespace.clone(),
        namespace_id: a.namespace_id.clone(),
        workflow_id: target.workflow_id,
        run_id: target.run_id,
        control: a.control.clone(),
        cancel: false,
        completed_event_id: a.workflow_task_completed_event_id,
    }
}

fn remove_activity(run: &mut Run, touched: &mut BTreeSet<ItemKey>, scheduled_event_id: i64) {
    run.activities.remove(&scheduled_event_id);
    touched.insert(ItemKey::Activity(scheduled_event_id));
}

fn remove_timer(run: &mut Run, touched: &mut BTreeSet<ItemKey>, started_event_id: i64) {
    run.timers.remove(&started_event_id);
    touched.insert(ItemKey::Timer(started_event_id));
}

fn remove_child(run: &mut Run, touched: &mut BTreeSet<ItemKey>, initiated_event_id: i64) {
    run.children.remove(&initiated_event_id);
    touched.insert(ItemKey::Child(initiated_event_id));
}

fn remove_external(run: &mut Run, touched: &mut BTreeSet<ItemKey>, initiated_event_id: i64) {
    run.externals.remove(&initiated_event_id);
    touched.insert(ItemKey::External(initiated_event_id));
}

fn complete_update(
    run: &mut Run,
    touched: &mut BTreeSet<ItemKey>,
    a: &WorkflowExecutionUpdateCompletedEventAttributes,
    event_id: i64,
) {
    let accepted = run.updates.iter_mut().find(|(_, update)| update.accepted_event_id == a.accepted_event_id);
    if let Some((id, update)) = accepted {
        Arc::make_mut(update).completed_event_id = event_id;
        touched.insert(ItemKey::Update(id.clone()));
    }
}

fn change_properties(run: &mut Run, touched: &mut BTreeSet<ItemKey>, change: impl FnOnce(&mut Properties)) {
    change(Arc::make_mut(&mut run.properties));
    touched.insert(ItemKey::Properties);
}

/// Merges by key; an empty value removes its key.
fn merge(into: &mut BTreeMap<String, Payload>, changes: Option<&BTreeMap<String, Payload>>) {
    for (key, value) in changes.into_iter().flatten() {
        if value.is_empty_value() {
            into.remove(key);
        } else {
            into.insert(key.clone(), value.detached());
        }
    }
}

fn nanos(span: Option<&prost_types::Duration>) -> i64 {
    i64::try_from(from_duration(span).as_nanos()).unwrap_or(i64::MAX)
}
