//! Timers: asked for, started, fired or cancelled.

use mainspring_api::v1::{
    command::{CancelTimerCommandAttributes, StartTimerCommandAttributes, command::Attributes},
    history::history_event,
};

use crate::workflow::activity::OnCancel;

/// One timer of a run.
#[derive(Debug)]
pub(crate) struct Timer {
    pub(crate) id: String,
    pub(crate) state: State,
    pub(crate) command: Option<StartTimerCommandAttributes>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum State {
    /// The command is not confirmed by an event yet.
    Asked,
    Started(i64),
    CancelAsked(i64),
}

impl Timer {
    pub(crate) fn cancel(&mut self) -> OnCancel {
        match self.state {
            State::Asked => OnCancel::TakeBack,
            State::Started(event) => {
                self.state = State::CancelAsked(event);
                OnCancel::SendAndTell
            }
            State::CancelAsked(_) => OnCancel::Nothing,
        }
    }

    pub(crate) fn starts_with(&self, event: &history_event::Attributes, any_number: bool) -> bool {
        matches!(event, history_event::Attributes::TimerStartedEventAttributes(started)
            if self.state == State::Asked && (any_number || started.timer_id == self.id))
    }

    pub(crate) fn cancelled_with(&self, event: &history_event::Attributes) -> bool {
        matches!((event, self.state),
            (history_event::Attributes::TimerCanceledEventAttributes(cancelled), State::CancelAsked(id))
                if cancelled.started_event_id == id)
    }

    pub(crate) fn cancel_command(&self) -> Attributes {
        Attributes::CancelTimerCommandAttributes(CancelTimerCommandAttributes { timer_id: self.id.clone() })
    }
}
