//! How large values may be. The server ends a workflow, or fails an activity for good, when one is larger; so a worker looks
//! before it sends, and fails the task instead: it is done again once the code is mended.

use mainspring_api::v1::{
    command::{Command, command::Attributes},
    common::{Memo, Payloads},
    namespace::namespace_info::Limits,
    protocol::Message,
};
use prost::Message as _;

use crate::payload::Payload;

/// From here on a value is worth a warning, as in the other SDKs.
const WARN_BYTES: usize = 512 * 1024;

/// What the namespace allows. Without a limit everything passes.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Sizes {
    value_max: Option<usize>,
    memo_max: Option<usize>,
}

/// A value that the server would not take. The text has the code by which the SDKs of all languages report it.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "[TMPRL1103] {what} has {bytes} bytes, and the namespace allows {max}: compress it, or keep it elsewhere and send where"
)]
pub(crate) struct PayloadsTooLarge {
    what: String,
    bytes: usize,
    max: usize,
}

impl Sizes {
    /// Of a namespace as the server describes it.
    pub(crate) fn of(limits: &Limits) -> Sizes {
        let known = |limit: i64| usize::try_from(limit).ok().filter(|limit| *limit > 0);
        Sizes { value_max: known(limits.blob_size_limit_error), memo_max: known(limits.memo_size_limit_error) }
    }

    /// Looks at a list of values as it will be sent.
    ///
    /// # Errors
    /// When it is larger than the server takes.
    pub(crate) fn check(self, what: &str, payloads: &[Payload]) -> Result<(), PayloadsTooLarge> {
        self.value(payloads_bytes(payloads), || what.to_owned())
    }

    /// Looks at what a workflow task sends.
    ///
    /// # Errors
    /// When something is larger than the server takes.
    pub(crate) fn check_task(self, commands: &[Command], messages: &[Message]) -> Result<(), PayloadsTooLarge> {
        for command in commands {
            self.check_command(command)?;
        }
        for message in messages {
            let bytes = message.body.as_ref().map_or(0, |body| body.encoded_len());
            self.value(bytes, || format!("the outcome of update {:?}", message.protocol_instance_id))?;
        }
        Ok(())
    }

    fn check_command(self, command: &Command) -> Result<(), PayloadsTooLarge> {
        use Attributes as A;
        let Some(attributes) = &command.attributes else { return Ok(()) };
        match attributes {
            A::ScheduleActivityTaskCommandAttributes(at) => {
                let name = || at.activity_type.as_ref().map(|kind| kind.name.as_str()).unwrap_or_default();
                self.list(at.input.as_ref(), || format!("the input of activity {:?}", name()))
            }
            A::CompleteWorkflowExecutionCommandAttributes(at) => {
                self.list(at.result.as_ref(), || "the workflow's result".to_owned())
            }
            A::FailWorkflowExecutionCommandAttributes(at) => {
                let bytes = at.failure.as_ref().map_or(0, prost::Message::encoded_len);
                self.value(bytes, || "the workflow's failure".to_owned())
            }
            A::CancelWorkflowExecutionCommandAttributes(at) => {
                self.list(at.details.as_ref(), || "what the workflow says of its cancellation".to_owned())
            }
            A::SignalExternalWorkflowExecutionCommandAttributes(at) => {
                self.list(at.input.as_ref(), || format!("the input of signal {:?}", at.signal_name))
            }
            A::ModifyWorkflowPropertiesCommandAttributes(at) => self.memo(at.upserted_memo.as_ref()),
            A::RecordMarkerCommandAttributes(at) => {
                let details: usize = at.details.values().map(prost::Message::encoded_len).sum();
                let failure = at.failure.as_ref().map_or(0, prost::Message::encoded_len);
                self.value(details.max(failure), || format!("marker {:?}", at.marker_name))
            }
            A::ContinueAsNewWorkflowExecutionCommandAttributes(at) => {
                self.list(at.input.as_ref(), || "the input of the workflow's next run".to_owned())?;
                self.memo(at.memo.as_ref())
            }
            A::StartChildWorkflowExecutionCommandAttributes(at) => {
                self.list(at.input.as_ref(), || format!("the input of child {:?}", at.workflow_id))?;
                self.memo(at.memo.as_ref())
            }
            _ => Ok(()),
        }
    }

    fn list(self, payloads: Option<&Payloads>, what: impl Fn() -> String) -> Result<(), PayloadsTooLarge> {
        self.value(payloads.map_or(0, prost::Message::encoded_len), what)
    }

    fn value(self, bytes: usize, what: impl Fn() -> String) -> Result<(), PayloadsTooLarge> {
        over(bytes, self.value_max, &what)?;
        if self.value_max.is_some() && bytes > WARN_BYTES {
            tracing::warn!(bytes, "[TMPRL1103] {} is large; histories hold 50 MiB at most", what());
        }
        Ok(())
    }

    fn memo(self, memo: Option<&Memo>) -> Result<(), PayloadsTooLarge> {
        over(memo.map_or(0, prost::Message::encoded_len), self.memo_max, &|| "the memo".to_owned())
    }
}

fn over(bytes: usize, max: Option<usize>, what: &impl Fn() -> String) -> Result<(), PayloadsTooLarge> {
    match max {
        Some(max) if bytes > max => Err(PayloadsTooLarge { what: what(), bytes, max }),
        _ => Ok(()),
    }
}

/// The size of `Payloads` with these in it.
fn payloads_bytes(payloads: &[Payload]) -> usize {
    let one = |payload: &Payload| {
        let bytes = payload.encoded_len();
        bytes + prost::length_delimiter_len(bytes) + 1
    };
    payloads.iter().map(one).sum()
}

#[cfg(test)]
mod tests {
    use mainspring_api::v1::command::CompleteWorkflowExecutionCommandAttributes;

    use super::*;
    use crate::payload::ToPayload;

    #[test]
    fn what_is_too_large_is_named() {
        let payloads = vec!["x".repeat(300).to_payload().unwrap(), 7.to_payload().unwrap()];
        let bytes = Payloads { payloads: payloads.clone() }.encoded_len();
        let max = |max: usize| Sizes::of(&Limits { blob_size_limit_error: max as i64, ..Limits::default() });
        assert_eq!(max(bytes).check("the result", &payloads), Ok(()));
        let error = max(bytes - 1).check("the result", &payloads).unwrap_err();
        assert_eq!(error, PayloadsTooLarge { what: "the result".to_owned(), bytes, max: bytes - 1 });
        assert_eq!(max(0).check("without a limit", &payloads), Ok(()));

        let attributes = CompleteWorkflowExecutionCommandAttributes { result: Some(Payloads { payloads }) };
        let attributes = Attributes::CompleteWorkflowExecutionCommandAttributes(attributes);
        let command = Command { attributes: Some(attributes), ..Command::default() };
        assert_eq!(max(bytes).check_task(std::slice::from_ref(&command), &[]), Ok(()));
        assert!(max(bytes - 1).check_task(&[command], &[]).is_err());
    }
}
