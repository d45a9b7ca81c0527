//! [`Script`]: histories made by hand, event by event.

use mainspring_api::v1::{
    command::{Command, command},
    common::{ActivityType, Payloads, WorkflowType},
    history::{self as h, HistoryEvent, history_event::Attributes as A},
    taskqueue::TaskQueue,
};

use crate::payload::ToPayload;

/// A history in the making.
#[derive(Clone, Default)]
pub(crate) struct Script {
    pub(crate) events: Vec<HistoryEvent>,
    completed: i64,
}

impl Script {
    pub(crate) fn start(kind: &str, args: &[&str]) -> Script {
        let mut script = Script::default();
        let input = args.iter().map(|arg| arg.to_payload().unwrap()).collect();
        script.push(A::WorkflowExecutionStartedEventAttributes(h::WorkflowExecutionStartedEventAttributes {
            workflow_type: Some(WorkflowType { name: kind.to_owned() }),
            task_queue: Some(TaskQueue { name: "q".to_owned(), ..TaskQueue::default() }),
            input: Some(Payloads { payloads: input }),
            original_execution_run_id: "run".to_owned(),
            ..Default::default()
        }));
        script
    }

    pub(crate) fn push(&mut self, attributes: A) -> i64 {
        let event_id = i64::try_from(self.events.len()).unwrap() + 1;
        let seconds = event_id;
        self.events.push(HistoryEvent {
            event_id,
            event_time: Some(prost_types::Timestamp { seconds, nanos: 0 }),
            attributes: Some(attributes),
            ..HistoryEvent::default()
        });
        event_id
    }

    /// A workflow task that is to be done.
    pub(crate) fn task(mut self) -> Script {
        let scheduled_event_id = self.push(A::WorkflowTaskScheduledEventAttributes(Default::default()));
        self.push(A::WorkflowTaskStartedEventAttributes(h::WorkflowTaskStartedEventAttributes {
            scheduled_event_id,
            ..Default::default()
        }));
        self
    }

    /// A workflow task that is done; what it asked for follows.
    pub(crate) fn done(self) -> Script {
        let mut script = self.task();
        script.completed = script.push(A::WorkflowTaskCompletedEventAttributes(Default::default()));
        script
    }

    /// A workflow task that failed.
    pub(crate) fn lost(self) -> Script {
        let mut script = self.task();
        script.push(A::WorkflowTaskFailedEventAttributes(Default::default()));
        script
    }

    pub(crate) fn scheduled(mut self, id: &str, kind: &str) -> Script {
        self.push(A::ActivityTaskScheduledEventAttributes(h::ActivityTaskScheduledEventAttributes {
            activity_id: id.to_owned(),
            activity_type: Some(ActivityType { name: kind.to_owned() }),
            ..Default::default()
        }));
        self
    }

    pub(crate) fn completed(mut self, scheduled_event_id: i64, result: &str) -> Script {
        let started = h::ActivityTaskStartedEventAttributes { scheduled_event_id, ..Default::default() };
        let started_event_id = self.push(A::ActivityTaskStartedEventAttributes(started));
        let result = Some(Payloads { payloads: vec![result.to_payload().unwrap()] });
        self.push(A::ActivityTaskCompletedEventAttributes(h::ActivityTaskCompletedEventAttributes {
            result,
            scheduled_event_id,
            started_event_id,
            ..Default::default()
        }));
        self
    }

    pub(crate) fn timer(mut self, id: &str) -> Script {
        let timer_id = id.to_owned();
        self.push(A::TimerStartedEventAttributes(h::TimerStartedEventAttributes { timer_id, ..Default::default() }));
        self
    }

    pub(crate) fn fired(mut self, id: &str, started_event_id: i64) -> Script {
        let timer_id = id.to_owned();
        self.push(A::TimerFiredEventAttributes(h::TimerFiredEventAttributes { timer_id, started_event_id }));
        self
    }

    pub(crate) fn timer_cancelled(mut self, id: &str, started_event_id: i64) -> Script {
        let timer_id = id.to_owned();
        self.push(A::TimerCanceledEventAttributes(h::TimerCanceledEventAttributes {
            timer_id,
            started_event_id,
            ..Default::default()
        }));
        self
    }

    pub(crate) fn signal(mut self, name: &str, arg: &str) -> Script {
        self.push(A::WorkflowExecutionSignaledEventAttributes(h::WorkflowExecutionSignaledEventAttributes {
            signal_name: name.to_owned(),
            input: Some(Payloads { payloads: vec![arg.to_payload().unwrap()] }),
            ..Default::default()
        }));
        self
    }

    pub(crate) fn cancel(mut self) -> Script {
        self.push(A::WorkflowExecutionCancelRequestedEventAttributes(Default::default()));
        self
    }

    /// Markers and the rest as the workflow's own commands made them.
    pub(crate) fn recorded(mut self, commands: &[Command]) -> Script {
        for command in commands {
            match command.attributes.clone().unwrap() {
                command::Attributes::RecordMarkerCommandAttributes(marker) => {
                    self.push(A::MarkerRecordedEventAttributes(h::MarkerRecordedEventAttributes {
                        marker_name: marker.marker_name,
                        details: marker.details,
                        failure: marker.failure,
                        ..Default::default()
                    }));
                }
                command::Attributes::UpsertWorkflowSearchAttributesCommandAttributes(upsert) => {
                    let event = h::UpsertWorkflowSearchAttributesEventAttributes {
                        search_attributes: upsert.search_attributes,
                        ..Default::default()
                    };
                    self.push(A::UpsertWorkflowSearchAttributesEventAttributes(event));
                }
                command::Attributes::StartTimerCommandAttributes(timer) => self = self.timer(&timer.timer_id),
                command::Attributes::ScheduleActivityTaskCommandAttributes(activity) => {
                    self = self.scheduled(&activity.activity_id, &activity.activity_type.unwrap().name);
                }
                other => panic!("the script does not know {other:?}"),
            }
        }
        self
    }

    pub(crate) fn closed(mut self) -> Script {
        self.push(A::WorkflowExecutionCompletedEventAttributes(Default::default()));
        self
    }
}
