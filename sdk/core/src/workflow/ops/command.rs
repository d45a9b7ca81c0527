//! Operations as commands, and in words.

use mainspring_api::v1::{
    command::{self as c, command::Attributes},
    enums::CommandType,
};

use super::{Close, Machine, Slot};

impl Slot {
    pub(super) fn start_command(&mut self) -> Option<Attributes> {
        match &mut self.machine {
            Machine::Activity(activity) => {
                activity.command.take().map(|command| Attributes::ScheduleActivityTaskCommandAttributes(*command))
            }
            Machine::Timer(timer) => timer.command.take().map(Attributes::StartTimerCommandAttributes),
            Machine::Child(child) => {
                child.command.take().map(|command| Attributes::StartChildWorkflowExecutionCommandAttributes(*command))
            }
            Machine::Signal(signal) => signal
                .command
                .take()
                .map(|command| Attributes::SignalExternalWorkflowExecutionCommandAttributes(*command)),
            Machine::Cancel(cancel) => cancel
                .command
                .take()
                .map(|command| Attributes::RequestCancelExternalWorkflowExecutionCommandAttributes(*command)),
            Machine::ChildEnd | Machine::Local(_) | Machine::Closed => None,
        }
    }

    pub(super) fn cancel_command(&self) -> Option<Attributes> {
        match &self.machine {
            Machine::Activity(activity) => Some(activity.cancel_command()),
            Machine::Timer(timer) => Some(timer.cancel_command()),
            Machine::Child(child) => Some(child.cancel_command()),
            Machine::ChildEnd | Machine::Signal(_) | Machine::Cancel(_) | Machine::Local(_) | Machine::Closed => None,
        }
    }

    /// An event stands for it now.
    pub(super) fn drop_command(&mut self) {
        self.start_command();
        self.metadata = None;
    }
}

impl Machine {
    pub(super) fn describe(&self) -> String {
        match self {
            Machine::Activity(activity) => format!("activity {:?} (id {:?})", activity.kind, activity.id),
            Machine::Timer(timer) => format!("timer {:?}", timer.id),
            Machine::Child(child) => format!("child workflow {:?} (id {:?})", child.kind, child.workflow_id),
            Machine::ChildEnd => "the end of a child workflow".to_owned(),
            Machine::Signal(signal) => format!("signal {:?} to workflow {:?}", signal.name, signal.workflow_id),
            Machine::Cancel(cancel) => format!("the cancellation of workflow {:?}", cancel.workflow_id),
            Machine::Local(local) => format!("local activity {:?} (number {})", local.kind, local.seq),
            Machine::Closed => "an operation that is closed".to_owned(),
        }
    }
}

impl Close {
    pub(super) fn command(&self) -> Attributes {
        match self.clone() {
            Close::Complete(result) => {
                Attributes::CompleteWorkflowExecutionCommandAttributes(c::CompleteWorkflowExecutionCommandAttributes {
                    result,
                })
            }
            Close::Fail(failure) => {
                Attributes::FailWorkflowExecutionCommandAttributes(c::FailWorkflowExecutionCommandAttributes {
                    failure: Some(*failure),
                })
            }
            Close::Cancel(details) => {
                Attributes::CancelWorkflowExecutionCommandAttributes(c::CancelWorkflowExecutionCommandAttributes {
                    details,
                })
            }
            Close::ContinueAsNew(next) => Attributes::ContinueAsNewWorkflowExecutionCommandAttributes(*next),
        }
    }

    pub(super) fn describe(&self) -> &'static str {
        match self {
            Close::Complete(_) => "the completion of the workflow",
            Close::Fail(_) => "the failure of the workflow",
            Close::Cancel(_) => "the end of the workflow as cancelled",
            Close::ContinueAsNew(_) => "a new run of the workflow",
        }
    }
}

pub(super) fn command_type(attributes: &Attributes) -> CommandType {
    match attributes {
        Attributes::ScheduleActivityTaskCommandAttributes(_) => CommandType::ScheduleActivityTask,
        Attributes::StartTimerCommandAttributes(_) => CommandType::StartTimer,
        Attributes::CompleteWorkflowExecutionCommandAttributes(_) => CommandType::CompleteWorkflowExecution,
        Attributes::FailWorkflowExecutionCommandAttributes(_) => CommandType::FailWorkflowExecution,
        Attributes::RequestCancelActivityTaskCommandAttributes(_) => CommandType::RequestCancelActivityTask,
        Attributes::CancelTimerCommandAttributes(_) => CommandType::CancelTimer,
        Attributes::CancelWorkflowExecutionCommandAttributes(_) => CommandType::CancelWorkflowExecution,
        Attributes::RequestCancelExternalWorkflowExecutionCommandAttributes(_) => {
            CommandType::RequestCancelExternalWorkflowExecution
        }
        Attributes::RecordMarkerCommandAttributes(_) => CommandType::RecordMarker,
        Attributes::ContinueAsNewWorkflowExecutionCommandAttributes(_) => CommandType::ContinueAsNewWorkflowExecution,
        Attributes::StartChildWorkflowExecutionCommandAttributes(_) => CommandType::StartChildWorkflowExecution,
        Attributes::SignalExternalWorkflowExecutionCommandAttributes(_) => CommandType::SignalExternalWorkflowExecution,
        Attributes::UpsertWorkflowSearchAttributesCommandAttributes(_) => CommandType::UpsertWorkflowSearchAttributes,
        Attributes::ProtocolMessageCommandAttributes(_) => CommandType::ProtocolMessage,
        Attributes::ModifyWorkflowPropertiesCommandAttributes(_) => CommandType::ModifyWorkflowProperties,
        Attributes::ScheduleNexusOperationCommandAttributes(_) => CommandType::ScheduleNexusOperation,
        Attributes::RequestCancelNexusOperationCommandAttributes(_) => CommandType::RequestCancelNexusOperation,
    }
}
