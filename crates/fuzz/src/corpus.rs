//! Where fuzzing begins: real encodings of what each target reads.

use bytes::Bytes;
use mainspring_api::{
    history::encode_events,
    v1::{
        Payload,
        command::{
            CancelTimerCommandAttributes, Command, CompleteWorkflowExecutionCommandAttributes,
            ContinueAsNewWorkflowExecutionCommandAttributes, RecordMarkerCommandAttributes,
            RequestCancelExternalWorkflowExecutionCommandAttributes, ScheduleActivityTaskCommandAttributes,
            SignalExternalWorkflowExecutionCommandAttributes, StartChildWorkflowExecutionCommandAttributes,
            StartTimerCommandAttributes, UpsertWorkflowSearchAttributesCommandAttributes, command::Attributes,
        },
        common::{ActivityType, Payloads, SearchAttributes, WorkflowExecution, WorkflowType},
        enums::{CommandType, EventType},
        history::{HistoryEvent, WorkflowExecutionStartedEventAttributes, history_event},
        taskqueue::TaskQueue,
        workflowservice::{
            ListWorkflowExecutionsRequest, PollWorkflowTaskQueueRequest, PollWorkflowTaskQueueResponse,
            RegisterNamespaceRequest, RespondWorkflowTaskCompletedRequest, SignalWorkflowExecutionRequest,
            StartWorkflowExecutionRequest,
        },
    },
};
use mainspring_engine::state::{Activity, Execution, Fixed, RunNumber};
use mainspring_store::{
    ShardId, keys,
    record::{self, Current, TaskRow},
};
use prost::Message;

use crate::{
    calls::METHODS,
    filters,
    world::{self, World},
};

/// Inputs for the target of that name: each with a name of its own.
pub fn seeds(target: &str) -> Vec<(String, Vec<u8>)> {
    let inputs = match target {
        "calls" => calls(),
        "commands" => (0..=16).map(|before| [vec![before], commands().encode_to_vec()].concat()).collect(),
        "filters" => FILTERS.iter().map(|text| [&[0], text.as_bytes()].concat()).chain([paged()]).collect(),
        "history" => vec![history().to_vec(), [history(), history()].concat()],
        "payload" => vec![payload().encode_to_vec(), Payload::new("binary/null", b"").encode_to_vec()],
        "rows" => rows(),
        "tokens" => tokens(),
        _ => Vec::new(),
    };
    inputs.into_iter().enumerate().map(|(number, input)| (format!("seed-{number:02}"), input)).collect()
}

const FILTERS: &[&str] = &[
    "",
    "WorkflowId = 'w1' AND ExecutionStatus IN ('Running', \"Completed\")",
    "StartTime BETWEEN '2024-01-01T00:00:00Z' AND '2025-01-01T00:00:00.5+02:00' OR NOT (City STARTS_WITH 'Be')",
    "Tags IN ('a', 'b') AND Count >= -3 AND Rate < 1.5e3 AND Paid = true AND Due IS NOT NULL",
    "Note = 'two words' AND `City` != 'Bern' GROUP BY ExecutionStatus",
    "ExecutionDuration > '1h30m' AND CloseTime > 1700000000000000000 ORDER BY StartTime",
    "((((City = 'x'))))",
];

fn paged() -> Vec<u8> {
    let token = filters::token();
    [&[u8::try_from(token.len()).unwrap_or(0)], &token[..], b"City = 'Bern'"].concat()
}

fn calls() -> Vec<Vec<u8>> {
    let start = StartWorkflowExecutionRequest {
        namespace: "default".to_owned(),
        workflow_id: "another".to_owned(),
        workflow_type: Some(WorkflowType { name: "Order".to_owned() }),
        task_queue: Some(queue()),
        input: payloads(),
        cron_schedule: "0 12 * * MON-FRI".to_owned(),
        search_attributes: Some(search_attributes()),
        ..Default::default()
    };
    let signal = SignalWorkflowExecutionRequest {
        namespace: "default".to_owned(),
        workflow_execution: Some(WorkflowExecution { workflow_id: "w".to_owned(), run_id: String::new() }),
        signal_name: "s".to_owned(),
        input: payloads(),
        ..Default::default()
    };
    let list = ListWorkflowExecutionsRequest {
        namespace: "default".to_owned(),
        page_size: 3,
        query: FILTERS[1].to_owned(),
        ..Default::default()
    };
    let poll = PollWorkflowTaskQueueRequest {
        namespace: "default".to_owned(),
        task_queue: Some(queue()),
        ..Default::default()
    };
    let register = RegisterNamespaceRequest { namespace: "another".to_owned(), ..Default::default() };
    let known = [
        ("StartWorkflowExecution", start.encode_to_vec()),
        ("SignalWorkflowExecution", signal.encode_to_vec()),
        ("ListWorkflowExecutions", list.encode_to_vec()),
        ("PollWorkflowTaskQueue", poll.encode_to_vec()),
        ("RespondWorkflowTaskCompleted", commands().encode_to_vec()),
        ("RegisterNamespace", register.encode_to_vec()),
    ];
    // Most requests have a namespace and an execution in their first two fields.
    let others = (0..METHODS.len()).map(|method| (METHODS[method], signal.encode_to_vec()));
    known.into_iter().chain(others).map(|(method, request)| call(method, request)).collect()
}

fn call(method: &str, request: Vec<u8>) -> Vec<u8> {
    let number = METHODS.iter().position(|known| *known == method).and_then(|number| u8::try_from(number).ok());
    [vec![number.unwrap_or(0)], request].concat()
}

fn commands() -> RespondWorkflowTaskCompletedRequest {
    let activity = ScheduleActivityTaskCommandAttributes {
        activity_id: "1".to_owned(),
        activity_type: Some(ActivityType { name: "Pack".to_owned() }),
        task_queue: Some(queue()),
        input: payloads(),
        start_to_close_timeout: Some(seconds(10)),
        ..Default::default()
    };
    let timer = StartTimerCommandAttributes { timer_id: "2".to_owned(), start_to_fire_timeout: Some(seconds(5)) };
    let marker = RecordMarkerCommandAttributes { marker_name: "Version".to_owned(), ..Default::default() };
    let child = StartChildWorkflowExecutionCommandAttributes {
        workflow_id: "child".to_owned(),
        workflow_type: Some(WorkflowType { name: "Part".to_owned() }),
        ..Default::default()
    };
    let signal = SignalExternalWorkflowExecutionCommandAttributes {
        execution: Some(WorkflowExecution { workflow_id: "other".to_owned(), run_id: String::new() }),
        signal_name: "s".to_owned(),
        ..Default::default()
    };
    let cancel = RequestCancelExternalWorkflowExecutionCommandAttributes {
        workflow_id: "other".to_owned(),
        ..Default::default()
    };
    let upsert = UpsertWorkflowSearchAttributesCommandAttributes { search_attributes: Some(search_attributes()) };
    let again = ContinueAsNewWorkflowExecutionCommandAttributes { input: payloads(), ..Default::default() };
    let cancel_timer = CancelTimerCommandAttributes { timer_id: "2".to_owned() };
    let done = CompleteWorkflowExecutionCommandAttributes { result: payloads() };
    let commands = [
        (CommandType::ScheduleActivityTask, Attributes::ScheduleActivityTaskCommandAttributes(activity)),
        (CommandType::StartTimer, Attributes::StartTimerCommandAttributes(timer)),
        (CommandType::RecordMarker, Attributes::RecordMarkerCommandAttributes(marker)),
        (CommandType::StartChildWorkflowExecution, Attributes::StartChildWorkflowExecutionCommandAttributes(child)),
        (
            CommandType::SignalExternalWorkflowExecution,
            Attributes::SignalExternalWorkflowExecutionCommandAttributes(signal),
        ),
        (
            CommandType::RequestCancelExternalWorkflowExecution,
            Attributes::RequestCancelExternalWorkflowExecutionCommandAttributes(cancel),
        ),
        (
            CommandType::UpsertWorkflowSearchAttributes,
            Attributes::UpsertWorkflowSearchAttributesCommandAttributes(upsert),
        ),
        (CommandType::CancelTimer, Attributes::CancelTimerCommandAttributes(cancel_timer)),
        (
            CommandType::ContinueAsNewWorkflowExecution,
            Attributes::ContinueAsNewWorkflowExecutionCommandAttributes(again),
        ),
        (CommandType::CompleteWorkflowExecution, Attributes::CompleteWorkflowExecutionCommandAttributes(done)),
    ];
    let command =
        |(kind, attributes)| Command { command_type: kind as i32, attributes: Some(attributes), ..Command::default() };
    RespondWorkflowTaskCompletedRequest { commands: commands.into_iter().map(command).collect(), ..Default::default() }
}

fn history() -> Bytes {
    let started = WorkflowExecutionStartedEventAttributes { input: payloads(), attempt: 1, ..Default::default() };
    let started = history_event::Attributes::WorkflowExecutionStartedEventAttributes(started);
    encode_events(&[
        HistoryEvent {
            event_id: 1,
            event_type: EventType::WorkflowExecutionStarted as i32,
            attributes: Some(started),
            ..HistoryEvent::default()
        },
        HistoryEvent { event_id: 2, event_type: EventType::WorkflowTaskScheduled as i32, ..HistoryEvent::default() },
    ])
}

fn rows() -> Vec<Vec<u8>> {
    let (shard, run) = (ShardId(1), RunNumber(1));
    let activity = keys::item(shard, run, &mainspring_engine::state::ItemKey::Activity(5));
    [
        (keys::execution(shard, run), record::seal(&Execution { next_event_id: 3, ..Execution::default() })),
        (keys::fixed(shard, run), record::seal(&Fixed { workflow_id: "w".to_owned(), ..Fixed::default() })),
        (activity, record::seal(&Activity { activity_id: "1".to_owned(), ..Activity::default() })),
        (keys::task(shard, &[7; 16], 1, 9), record::seal(&TaskRow { run: 1, event_id: 2, ..TaskRow::default() })),
        (keys::history(shard, run, 1), record::seal_parts(&[history()])),
        (Bytes::new(), record::seal(&Current { run: 300 })),
    ]
    .into_iter()
    .map(|(key, value)| [&[u8::try_from(key.len()).unwrap_or(0)], &key[..], &value[..]].concat())
    .collect()
}

fn tokens() -> Vec<Vec<u8>> {
    let task =
        PollWorkflowTaskQueueResponse::decode(World::new().poll(world::NAMESPACE, "w")).unwrap_or_default().task_token;
    // Without its checksum, which the target adds.
    vec![task[..task.len().saturating_sub(4)].to_vec(), task.to_vec(), filters::token()]
}

fn payload() -> Payload {
    Payload::new("json/plain", b"\"text\"").with_metadata("type", b"Keyword")
}

fn payloads() -> Option<Payloads> {
    Some(Payloads { payloads: vec![payload()] })
}

fn search_attributes() -> SearchAttributes {
    SearchAttributes { indexed_fields: [("City".to_owned(), payload())].into() }
}

fn seconds(seconds: i64) -> prost_types::Duration {
    prost_types::Duration { seconds, nanos: 0 }
}

fn queue() -> TaskQueue {
    TaskQueue { name: "orders".to_owned(), ..TaskQueue::default() }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    /// Seeds that lie there from before an encoding changed are inputs like any other; none may be missing.
    #[test]
    fn every_seed_is_kept() {
        for (target, _) in crate::TARGETS {
            let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fuzz/corpus").join(target);
            let seeds = super::seeds(target);
            assert!(!seeds.is_empty(), "{target}");
            for (name, _) in seeds {
                assert!(folder.join(&name).is_file(), "{target}/{name}: run `cargo run --package mainspring-fuzz`");
            }
        }
    }
}
