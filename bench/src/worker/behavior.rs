//! What workflows do: the commands that a workflow task is answered with.

use std::time::{Duration, Instant, SystemTime};

use bytes::Bytes;
use mainspring_api::{
    time::duration,
    v1::{
        History,
        command::{
            Command, CompleteWorkflowExecutionCommandAttributes, RecordMarkerCommandAttributes,
            ScheduleActivityTaskCommandAttributes, StartTimerCommandAttributes, command::Attributes,
        },
        common::{ActivityType, RetryPolicy},
        enums::{CommandType, EventType},
        history::{HistoryEvent, history_event::Attributes as EventAttributes},
        protocol::Message,
        workflowservice::{GetWorkflowExecutionHistoryRequest, PollWorkflowTaskQueueResponse},
    },
};

use crate::locked;
use crate::requests::{payloads, queue, seconds};
use crate::worker::{Hands, updates};

/// What the workflows on a worker's task queue do.
#[derive(Clone, Debug)]
pub(crate) enum Behavior {
    /// Complete at the first workflow task.
    Echo,
    /// Run one activity, then complete. Nothing is remembered, so any worker can go on with it.
    OneActivity,
    /// Run `steps` activities one after another, then complete.
    Sequence { steps: u64 },
    /// Schedule `width` activities at once, complete when all are done.
    FanOut { width: u64 },
    /// Never complete; take signals, queries and updates.
    Serve,
    /// Start a timer and complete when it fires. With `due` it fires then, whenever it is started.
    Timer { delay: Duration, due: Option<SystemTime> },
    /// Write `total` marker events, `batch` at a workflow task, then stay open.
    Markers { total: u64, batch: u64 },
}

/// What a worker remembers of a run, as a sticky SDK worker would.
#[derive(Default)]
pub(super) struct RunState {
    step: u64,
    /// Events counted by tasks that are known to have completed, and by the latest one.
    counted: u64,
    uncertain: u64,
    previous_started_event_id: i64,
    latest: Option<Instant>,
}

/// The answer to a workflow task.
#[derive(Default)]
pub(super) struct Decision {
    pub(super) commands: Vec<Command>,
    pub(super) messages: Vec<Message>,
    pub(super) closes: bool,
    pub(super) wants_another: bool,
}

impl Hands {
    pub(super) async fn decide(&self, task: &PollWorkflowTaskQueueResponse) -> Decision {
        let is_first = task.previous_started_event_id == 0;
        match &self.config.behavior {
            Behavior::Echo => self.complete(),
            Behavior::OneActivity if is_first => commands(vec![self.activity(0)]),
            Behavior::OneActivity => self.complete(),
            Behavior::Sequence { steps } => match self.step(task) {
                step if step < *steps => commands(vec![self.activity(step)]),
                _ => self.complete(),
            },
            Behavior::FanOut { width } if is_first => commands((0..*width).map(|id| self.activity(id)).collect()),
            Behavior::FanOut { width } => self.gather(task, *width).await,
            Behavior::Serve => updates::answer(&task.messages, self.config.payload),
            Behavior::Timer { delay, due } if is_first => {
                let wait = due.map_or(*delay, |due| due.duration_since(SystemTime::now()).unwrap_or_default());
                commands(vec![timer(wait)])
            }
            Behavior::Timer { .. } => {
                self.measure_timer(task);
                self.complete()
            }
            Behavior::Markers { total, batch } => {
                let written = self.step(task) * batch;
                let now = (*batch).min(total.saturating_sub(written));
                let markers = commands((0..now).map(|_| self.marker()).collect());
                Decision { wants_another: written + now < *total, ..markers }
            }
        }
    }

    fn complete(&self) -> Decision {
        let attributes = CompleteWorkflowExecutionCommandAttributes { result: Some(payloads(self.config.payload)) };
        let attributes = Attributes::CompleteWorkflowExecutionCommandAttributes(attributes);
        let complete = command(CommandType::CompleteWorkflowExecution, attributes);
        Decision { closes: true, ..commands(vec![complete]) }
    }

    fn activity(&self, id: u64) -> Command {
        let attributes = ScheduleActivityTaskCommandAttributes {
            activity_id: id.to_string(),
            activity_type: Some(ActivityType { name: "noop".to_owned() }),
            task_queue: queue(&self.config.queue),
            input: Some(payloads(self.config.payload)),
            schedule_to_close_timeout: seconds(600),
            start_to_close_timeout: seconds(self.config.activity_seconds),
            retry_policy: Some(RetryPolicy {
                initial_interval: Some(duration(Duration::from_millis(100))),
                backoff_coefficient: 1.0,
                ..Default::default()
            }),
            request_eager_execution: self.config.eager,
            ..Default::default()
        };
        command(CommandType::ScheduleActivityTask, Attributes::ScheduleActivityTaskCommandAttributes(attributes))
    }

    fn marker(&self) -> Command {
        let attributes = RecordMarkerCommandAttributes {
            marker_name: "m".to_owned(),
            details: [("d".to_owned(), payloads(self.config.payload))].into(),
            ..Default::default()
        };
        command(CommandType::RecordMarker, Attributes::RecordMarkerCommandAttributes(attributes))
    }

    /// The index of this workflow task within its run; a retried task keeps its index.
    fn step(&self, task: &PollWorkflowTaskQueueResponse) -> u64 {
        let now = Instant::now();
        let mut runs = locked(&self.runs);
        let state = runs.entry(run_id(task)).or_default();
        if task.previous_started_event_id > state.previous_started_event_id {
            state.previous_started_event_id = task.previous_started_event_id;
            state.step += 1;
            if let Some(latest) = state.latest {
                locked(&self.tally.steps).push(now.duration_since(latest));
            }
        }
        state.latest = Some(now);
        state.step
    }

    /// Completes when all activities are done.
    async fn gather(&self, task: &PollWorkflowTaskQueueResponse, width: u64) -> Decision {
        let new = self.count_new(task, EventType::ActivityTaskCompleted).await;
        let mut runs = locked(&self.runs);
        let state = runs.entry(run_id(task)).or_default();
        // A task that failed or timed out comes again after the same event: what it counted is counted anew.
        if task.previous_started_event_id > state.previous_started_event_id {
            state.previous_started_event_id = task.previous_started_event_id;
            state.counted += state.uncertain;
        }
        state.uncertain = new;
        if state.counted + state.uncertain >= width { self.complete() } else { Decision::default() }
    }

    /// Counts the events of a type since the last task, paging where the task holds only some of them.
    async fn count_new(&self, task: &PollWorkflowTaskQueueResponse, kind: EventType) -> u64 {
        let is_new =
            |event: &HistoryEvent| event.event_id > task.previous_started_event_id && event.event_type == kind as i32;
        let count = |history: &History| history.events().flatten().filter(is_new).count() as u64;
        let mut counted = task.history.as_ref().map_or(0, count);
        let mut next_page_token: Bytes = task.next_page_token.clone();
        while !next_page_token.is_empty() {
            let request = GetWorkflowExecutionHistoryRequest {
                namespace: self.config.namespace.clone(),
                execution: task.workflow_execution.clone(),
                next_page_token,
                ..Default::default()
            };
            match self.calls.call(request).await {
                Ok(page) => {
                    counted += count(&History::from_chunks(vec![page.history]));
                    next_page_token = page.next_page_token;
                }
                Err(status) => {
                    self.tally.fail("GetWorkflowExecutionHistory", &status);
                    break;
                }
            }
        }
        counted
    }

    /// Notes how late the timer's event and the task that it caused are.
    fn measure_timer(&self, task: &PollWorkflowTaskQueueResponse) {
        let now = SystemTime::now();
        let (mut due, mut fired) = (None, None);
        for event in task.history.iter().flat_map(History::events).flatten() {
            let Some(at) = event.event_time.and_then(|at| SystemTime::try_from(at).ok()) else { continue };
            match &event.attributes {
                Some(EventAttributes::TimerStartedEventAttributes(started)) => {
                    let delay = started.start_to_fire_timeout.as_ref();
                    due = Some(at + mainspring_api::time::from_duration(delay));
                }
                Some(EventAttributes::TimerFiredEventAttributes(_)) => fired = Some(at),
                _ => {}
            }
        }
        let Some(due) = due else { return };
        locked(&self.tally.late_polls).push(now.duration_since(due).unwrap_or_default());
        if let Some(fired) = fired {
            locked(&self.tally.late_events).push(fired.duration_since(due).unwrap_or_default());
        }
    }
}

fn timer(delay: Duration) -> Command {
    let attributes = StartTimerCommandAttributes {
        timer_id: "1".to_owned(),
        start_to_fire_timeout: Some(duration(delay.max(Duration::from_millis(1)))),
    };
    command(CommandType::StartTimer, Attributes::StartTimerCommandAttributes(attributes))
}

fn command(kind: CommandType, attributes: Attributes) -> Command {
    Command { command_type: kind as i32, attributes: Some(attributes), ..Command::default() }
}

fn commands(commands: Vec<Command>) -> Decision {
    Decision { commands, ..Decision::default() }
}

fn run_id(task: &PollWorkflowTaskQueueResponse) -> String {
    task.workflow_execution.as_ref().map(|execution| execution.run_id.clone()).unwrap_or_default()
}
