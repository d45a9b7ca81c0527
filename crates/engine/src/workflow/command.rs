//! The commands of a completion, in order: each is one call to its feature.

use std::collections::BTreeMap;

use mainspring_api::v1::{
    command::{Command, command::Attributes as C},
    enums::{CommandType, WorkflowTaskFailedCause as Cause},
    protocol::Message,
};

use crate::{
    input::CompleteWorkflowTask,
    state::Run,
    transition::{Extras, Transition},
    workflow::{activity, cancel, child, close, continue_as_new, external, properties, timer, update},
};

/// What the commands of a completion asked for beside their events.
#[derive(Default)]
pub(crate) struct Commands {
    /// Scheduled event ids of activities to be started at once.
    pub(crate) eager_activities: Vec<i64>,
    /// An activity ended without ever running: the workflow has to see it.
    pub(crate) cancelled_unstarted_activity: bool,
}

/// Why a command, and with it the whole completion, is refused.
#[derive(Debug)]
pub(crate) struct Refusal {
    pub(crate) cause: Cause,
    pub(crate) message: String,
    /// The workflow cannot go on: it is terminated.
    pub(crate) terminates: bool,
}

impl Refusal {
    pub(crate) fn new(cause: Cause, message: impl Into<String>) -> Refusal {
        Refusal { cause, message: message.into(), terminates: false }
    }

    /// A payload over the limit.
    pub(crate) fn too_large(cause: Cause, message: impl Into<String>) -> Refusal {
        Refusal { cause, message: message.into(), terminates: true }
    }

    /// What the worker is told: the cause in camel case, and the reason if there is one.
    pub(crate) fn text(&self) -> String {
        let cause = camel_case(self.cause.as_str_name().trim_start_matches("WORKFLOW_TASK_FAILED_CAUSE_"));
        if self.message.is_empty() { cause } else { format!("{cause}: {}", self.message) }
    }
}

/// Everything that a command may look at.
pub(crate) struct Context<'c> {
    pub(crate) completed_event_id: i64,
    /// Names of namespaces to their ids.
    pub(crate) namespaces: &'c BTreeMap<String, String>,
    /// Started in this very completion: such a child cannot be cancelled yet.
    pub(crate) first_new_event_id: i64,
}

impl Context<'_> {
    /// Name and id of the namespace that a command names; empty is the run's own. An unknown one has no id: whoever
    /// sends there learns it from the answer.
    pub(crate) fn namespace(&self, run: &Run, name: &str) -> (String, String) {
        if name.is_empty() || name == run.fixed.namespace {
            return (run.fixed.namespace.clone(), run.fixed.namespace_id.clone());
        }
        (name.to_owned(), self.namespaces.get(name).cloned().unwrap_or_default())
    }
}

/// Runs the commands in order; the first refusal ends it.
pub(crate) fn run_all(t: &mut Transition<'_>, input: &CompleteWorkflowTask) -> Result<Commands, Refusal> {
    let completed_event_id = t.run.execution.next_event_id - 1;
    let context = Context {
        completed_event_id,
        namespaces: &input.namespaces,
        first_new_event_id: t.run.execution.next_event_id,
    };
    let mut commands = Commands::default();
    let mut messages = Messages(input.messages.clone());
    for command in &input.commands {
        if is_close(command.command_type()) {
            // A no is a no, be it that the workflow ends with it.
            for rejection in messages.take_rejections() {
                update::take(t, &context, &rejection)?;
            }
        }
        run(t, &context, command, &mut messages, &mut commands)?;
    }
    // Those that no command gave a place. A run that has closed has nothing more to record.
    for message in &messages.0 {
        if t.run.is_open() {
            update::take(t, &context, message)?;
        }
    }
    Ok(commands)
}

/// The messages of a completion that no command has named yet.
struct Messages(Vec<Message>);

impl Messages {
    fn take(&mut self, id: &str) -> Result<Message, Refusal> {
        let bad = |why: String| Refusal::new(Cause::BadUpdateWorkflowExecutionMessage, why);
        if id.is_empty() {
            return Err(bad("MessageID is not set on ProtocolMessageCommand.".to_owned()));
        }
        match self.0.iter().position(|message| message.id == id) {
            Some(at) => Ok(self.0.remove(at)),
            None => Err(bad(format!("ProtocolMessageCommand referenced absent message ID {id}"))),
        }
    }

    fn take_rejections(&mut self) -> Vec<Message> {
        self.0.extract_if(.., |message| update::is_rejection(message)).collect()
    }
}

fn run(
    t: &mut Transition<'_>,
    context: &Context<'_>,
    command: &Command,
    messages: &mut Messages,
    out: &mut Commands,
) -> Result<(), Refusal> {
    let extras = Extras {
        user_metadata: command.user_metadata.clone(),
        event_group_markers: command.event_group_markers.clone(),
        ..Extras::default()
    };
    // Attributes of another command are none: the order of commands was checked by their types.
    let fitting = command.attributes.clone().filter(|attributes| type_of(attributes) == command.command_type());
    let Some(attributes) = fitting else {
        return Err(Refusal::new(
            missing_cause(command.command_type()),
            format!("{} is not set.", attributes_name(command.command_type())),
        ));
    };
    match attributes {
        C::ScheduleActivityTaskCommandAttributes(a) => activity::schedule(t, context, a, extras, out),
        C::RequestCancelActivityTaskCommandAttributes(a) => activity::request_cancel(t, context, &a, extras, out),
        C::StartTimerCommandAttributes(a) => timer::start(t, context, a, extras),
        C::CancelTimerCommandAttributes(a) => timer::cancel(t, context, &a, extras),
        C::RecordMarkerCommandAttributes(a) => properties::record_marker(t, context, a, extras),
        C::UpsertWorkflowSearchAttributesCommandAttributes(a) => {
            properties::upsert_search_attributes(t, context, a, extras)
        }
        C::ModifyWorkflowPropertiesCommandAttributes(a) => properties::modify_memo(t, context, a, extras),
        C::StartChildWorkflowExecutionCommandAttributes(a) => child::initiate(t, context, a, extras),
        C::SignalExternalWorkflowExecutionCommandAttributes(a) => external::initiate_signal(t, context, a, extras),
        C::RequestCancelExternalWorkflowExecutionCommandAttributes(a) => {
            external::initiate_cancel(t, context, a, extras)
        }
        C::CompleteWorkflowExecutionCommandAttributes(a) => close::complete(t, context, a, extras),
        C::FailWorkflowExecutionCommandAttributes(a) => close::fail(t, context, a, extras),
        C::CancelWorkflowExecutionCommandAttributes(a) => cancel::close(t, context, a, extras),
        C::ContinueAsNewWorkflowExecutionCommandAttributes(a) => continue_as_new::close(t, context, a, extras),
        C::ProtocolMessageCommandAttributes(a) => {
            let message = messages.take(&a.message_id)?;
            update::take(t, context, &message)
        }
        C::ScheduleNexusOperationCommandAttributes(_) | C::RequestCancelNexusOperationCommandAttributes(_) => {
            Err(Refusal::new(Cause::FeatureDisabled, "Nexus operations are disabled"))
        }
    }
}

fn type_of(attributes: &C) -> CommandType {
    match attributes {
        C::ScheduleActivityTaskCommandAttributes(_) => CommandType::ScheduleActivityTask,
        C::RequestCancelActivityTaskCommandAttributes(_) => CommandType::RequestCancelActivityTask,
        C::StartTimerCommandAttributes(_) => CommandType::StartTimer,
        C::CancelTimerCommandAttributes(_) => CommandType::CancelTimer,
        C::RecordMarkerCommandAttributes(_) => CommandType::RecordMarker,
        C::UpsertWorkflowSearchAttributesCommandAttributes(_) => CommandType::UpsertWorkflowSearchAttributes,
        C::ModifyWorkflowPropertiesCommandAttributes(_) => CommandType::ModifyWorkflowProperties,
        C::StartChildWorkflowExecutionCommandAttributes(_) => CommandType::StartChildWorkflowExecution,
        C::SignalExternalWorkflowExecutionCommandAttributes(_) => CommandType::SignalExternalWorkflowExecution,
        C::RequestCancelExternalWorkflowExecutionCommandAttributes(_) => {
            CommandType::RequestCancelExternalWorkflowExecution
        }
        C::CompleteWorkflowExecutionCommandAttributes(_) => CommandType::CompleteWorkflowExecution,
        C::FailWorkflowExecutionCommandAttributes(_) => CommandType::FailWorkflowExecution,
        C::CancelWorkflowExecutionCommandAttributes(_) => CommandType::CancelWorkflowExecution,
        C::ContinueAsNewWorkflowExecutionCommandAttributes(_) => CommandType::ContinueAsNewWorkflowExecution,
        C::ProtocolMessageCommandAttributes(_) => CommandType::ProtocolMessage,
        C::ScheduleNexusOperationCommandAttributes(_) => CommandType::ScheduleNexusOperation,
        C::RequestCancelNexusOperationCommandAttributes(_) => CommandType::RequestCancelNexusOperation,
    }
}

/// Ends the run; must be the last command.
pub(crate) fn is_close(kind: CommandType) -> bool {
    matches!(
        kind,
        CommandType::CompleteWorkflowExecution
            | CommandType::FailWorkflowExecution
            | CommandType::CancelWorkflowExecution
            | CommandType::ContinueAsNewWorkflowExecution
    )
}

/// `COMMAND_TYPE_START_TIMER` is `StartTimer`.
pub(crate) fn name(kind: CommandType) -> String {
    camel_case(kind.as_str_name().trim_start_matches("COMMAND_TYPE_"))
}

fn attributes_name(kind: CommandType) -> String {
    format!("{}CommandAttributes", name(kind))
}

fn missing_cause(kind: CommandType) -> Cause {
    match kind {
        CommandType::ScheduleActivityTask => Cause::BadScheduleActivityAttributes,
        CommandType::RequestCancelActivityTask => Cause::BadRequestCancelActivityAttributes,
        CommandType::StartTimer => Cause::BadStartTimerAttributes,
        CommandType::CancelTimer => Cause::BadCancelTimerAttributes,
        CommandType::RecordMarker => Cause::BadRecordMarkerAttributes,
        CommandType::CompleteWorkflowExecution => Cause::BadCompleteWorkflowExecutionAttributes,
        CommandType::FailWorkflowExecution => Cause::BadFailWorkflowExecutionAttributes,
        CommandType::CancelWorkflowExecution => Cause::BadCancelWorkflowExecutionAttributes,
        CommandType::RequestCancelExternalWorkflowExecution => {
            Cause::BadRequestCancelExternalWorkflowExecutionAttributes
        }
        CommandType::SignalExternalWorkflowExecution => Cause::BadSignalWorkflowExecutionAttributes,
        CommandType::StartChildWorkflowExecution => Cause::BadStartChildExecutionAttributes,
        CommandType::ContinueAsNewWorkflowExecution => Cause::BadContinueAsNewAttributes,
        CommandType::UpsertWorkflowSearchAttributes => Cause::BadSearchAttributes,
        CommandType::ModifyWorkflowProperties => Cause::BadModifyWorkflowPropertiesAttributes,
        _ => Cause::BadUpdateWorkflowExecutionMessage,
    }
}

fn camel_case(screaming: &str) -> String {
    let mut text = String::with_capacity(screaming.len());
    for word in screaming.split('_') {
        let mut letters = word.chars();
        text.extend(letters.next());
        text.extend(letters.map(|letter| letter.to_ascii_lowercase()));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn refusals_read_as_upstream_words_them() {
        assert_eq!(Refusal::new(Cause::UnhandledCommand, "").text(), "UnhandledCommand");
        assert_eq!(
            Refusal::new(Cause::BadScheduleActivityAttributes, "why").text(),
            "BadScheduleActivityAttributes: why"
        );
        assert_eq!(name(CommandType::ContinueAsNewWorkflowExecution), "ContinueAsNewWorkflowExecution");
    }
}
