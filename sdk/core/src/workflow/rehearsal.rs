//! [`Rehearsal`]: a workflow task done twice, for `verify_replay`.

use mainspring_api::v1::{command::Command, history::HistoryEvent};

use crate::workflow::{
    fault::{Fault, Mismatch},
    history::Recorded,
    instance::{Feed, Instance, Turn},
};

/// A workflow task that is done a second time, by a fresh instance from the whole history, before its result is sent.
pub(crate) struct Rehearsal {
    pub(crate) instance: Instance,
    pub(crate) events: Vec<HistoryEvent>,
}

impl Rehearsal {
    /// The first difference between what was asked for and what is asked for now.
    pub(crate) fn compare(mut self, turn: &Turn) -> Result<(), Fault> {
        let stand_in = Some(Recorded::of(&turn.commands, &turn.messages));
        let feed = Feed { events: self.events, live: true, messages: Vec::new(), stand_in };
        self.instance.advance(feed)?;
        let again = self.instance.turn().commands;
        let count = turn.commands.len().max(again.len());
        let difference = (0..count).find(|index| turn.commands.get(*index) != again.get(*index));
        let Some(index) = difference else { return Ok(()) };
        let at = self.instance.run.as_ref().and_then(|run| run.ops.borrow().place(index));
        let say = |commands: &[Command]| {
            commands.get(index).map(|command| format!("command {} {:?}", index + 1, command.attributes))
        };
        Err(Fault::Unstable(Box::new(Mismatch {
            event_id: None,
            expected: say(&turn.commands),
            actual: say(&again),
            at: at.map(ToString::to_string),
        })))
    }
}
