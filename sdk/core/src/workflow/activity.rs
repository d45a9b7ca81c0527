//! Activities: asked for, scheduled, closed; cancelled in one of three ways.

use mainspring_api::v1::{
    command::{RequestCancelActivityTaskCommandAttributes, ScheduleActivityTaskCommandAttributes, command::Attributes},
    common::{ActivityType, Payloads},
    enums::RetryState,
    failure::{ActivityFailureInfo, CanceledFailureInfo, Failure, failure::FailureInfo},
    history::{HistoryEvent, history_event},
};

use crate::{call::CancelKind, error::Error};

/// One activity of a run.
#[derive(Debug)]
pub(crate) struct Activity {
    pub(crate) id: String,
    /// True when the id is only a number, not the code's choice.
    pub(crate) numbered: bool,
    pub(crate) kind: String,
    pub(crate) cancel: CancelKind,
    pub(crate) state: State,
    /// Taken when it is sent; a replay never needs it.
    pub(crate) command: Option<Box<ScheduleActivityTaskCommandAttributes>>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum State {
    /// The command is not confirmed by an event yet.
    Asked,
    Scheduled(i64),
    CancelAsked(i64),
    Abandoned(i64),
}

/// What is to be done about a cancellation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum OnCancel {
    /// Nothing was sent: the command is taken back, whoever waits hears at once.
    TakeBack,
    /// A command; whoever waits hears at once.
    SendAndTell,
    /// A command; whoever waits goes on waiting.
    Send,
    /// Whoever waits hears at once.
    Tell,
    Nothing,
}

impl Activity {
    pub(crate) fn cancel(&mut self) -> OnCancel {
        match (self.state, self.cancel) {
            (State::Asked, _) => OnCancel::TakeBack,
            (State::Scheduled(event), CancelKind::Abandon) => {
                self.state = State::Abandoned(event);
                OnCancel::Tell
            }
            (State::Scheduled(event), kind) => {
                self.state = State::CancelAsked(event);
                if kind == CancelKind::WaitCompleted { OnCancel::Send } else { OnCancel::SendAndTell }
            }
            (State::CancelAsked(_) | State::Abandoned(_), _) => OnCancel::Nothing,
        }
    }

    pub(crate) fn starts_with(&self, event: &history_event::Attributes, any_number: bool) -> bool {
        let history_event::Attributes::ActivityTaskScheduledEventAttributes(scheduled) = event else { return false };
        self.state == State::Asked
            && (scheduled.activity_id == self.id || any_number && self.numbered)
            && scheduled.activity_type.as_ref().is_some_and(|kind| kind.name == self.kind)
    }

    pub(crate) fn cancelled_with(&self, event: &history_event::Attributes) -> bool {
        matches!((event, self.state),
            (history_event::Attributes::ActivityTaskCancelRequestedEventAttributes(asked), State::CancelAsked(id))
                if asked.scheduled_event_id == id)
    }

    pub(crate) fn cancel_command(&self) -> Attributes {
        let scheduled_event_id = match self.state {
            State::Scheduled(id) | State::CancelAsked(id) | State::Abandoned(id) => id,
            State::Asked => 0,
        };
        Attributes::RequestCancelActivityTaskCommandAttributes(RequestCancelActivityTaskCommandAttributes {
            scheduled_event_id,
        })
    }

    /// The failure that a workflow sees: how it ended, as the cause of what activities fail with.
    pub(crate) fn failed(&self, ids: (i64, i64), identity: String, retry_state: i32, cause: Option<Failure>) -> Error {
        let info = ActivityFailureInfo {
            scheduled_event_id: ids.0,
            started_event_id: ids.1,
            identity,
            activity_type: Some(ActivityType { name: self.kind.clone() }),
            activity_id: self.id.clone(),
            retry_state,
        };
        Error::from_failure(Failure {
            message: "Activity task failed".to_owned(),
            cause: cause.map(Box::new),
            failure_info: Some(FailureInfo::ActivityFailureInfo(info)),
            ..Failure::default()
        })
    }
}

/// How an activity ended, from the event that says so.
pub(crate) fn ended(activity: &Activity, event: HistoryEvent) -> Option<Result<Option<Payloads>, Error>> {
    use history_event::Attributes as A;
    Some(match event.attributes? {
        A::ActivityTaskCompletedEventAttributes(completed) => Ok(completed.result),
        A::ActivityTaskFailedEventAttributes(failed) => Err(activity.failed(
            (failed.scheduled_event_id, failed.started_event_id),
            failed.identity,
            failed.retry_state,
            failed.failure,
        )),
        A::ActivityTaskTimedOutEventAttributes(timed_out) => Err(activity.failed(
            (timed_out.scheduled_event_id, timed_out.started_event_id),
            String::new(),
            timed_out.retry_state,
            timed_out.failure,
        )),
        A::ActivityTaskCanceledEventAttributes(cancelled) => {
            let info = CanceledFailureInfo { details: cancelled.details, identity: cancelled.identity.clone() };
            let cause = Failure {
                message: "Activity cancelled".to_owned(),
                failure_info: Some(FailureInfo::CanceledFailureInfo(info)),
                ..Failure::default()
            };
            Err(activity.failed(
                (cancelled.scheduled_event_id, cancelled.started_event_id),
                cancelled.identity,
                RetryState::CancelRequested as i32,
                Some(cause),
            ))
        }
        _ => return None,
    })
}
