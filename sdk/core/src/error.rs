//! [`Error`]: why a workflow, an activity or a call went wrong.
//!
//! Like `anyhow::Error` it is not itself a `std::error::Error`, so that `?` takes any error there is: that becomes an
//! [`Application`] failure typed by the last segment of the error's type, which retry policies can name. Errors of this
//! crate keep their variant.

use std::{any::Any, error::Error as StdError, fmt, time::Duration};

use mainspring_api::v1::enums::{NexusHandlerErrorRetryBehavior, RetryState, TimeoutType};

use crate::{
    call::WorkflowCall,
    client::{ClientError, RpcError},
    payload::{Args, FromPayload, Payload, PayloadError, RawArgs, ToPayload},
};

/// The result of whatever a user writes.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// Why a workflow, an activity or a call went wrong.
///
/// ```
/// use mainspring_sdk::{Error, Result};
///
/// fn parse(text: &str) -> Result<u64> {
///     Ok(text.parse()?)
/// }
///
/// let Err(Error::Application(failure)) = parse("five") else { panic!() };
/// assert_eq!(failure.kind, "ParseIntError");
/// ```
#[derive(Clone)]
#[non_exhaustive]
pub enum Error {
    /// Code of a user failed: in this process, in an activity, in a child, in any language.
    Application(Box<Application>),
    /// An activity failed for good; the cause says why.
    Activity(Box<ActivityFailure>),
    /// A child workflow failed for good; the cause says why.
    Child(Box<ChildFailure>),
    /// A Nexus operation failed for good; the cause says why.
    Nexus(Box<NexusFailure>),
    /// A Nexus handler refused.
    NexusHandler(Box<NexusHandlerFailure>),
    /// Time ran out.
    Timeout(Box<Timeout>),
    /// It was asked to stop and did.
    Cancelled(Box<Cancelled>),
    /// It was stopped from outside without being asked.
    Terminated(Box<Stopped>),
    /// The server itself failed.
    Server(Box<Stopped>),
    /// The workflow was reset while the activity ran.
    Reset(Box<Reset>),
    /// The host of the session is lost; the text says which and why.
    SessionFailed(String),
    /// No failure: the workflow goes on as a new run.
    ContinueAsNew(Box<ContinueAsNew>),
    /// No failure: the activity's result comes later, by its token.
    CompleteLater,
    /// A value could not be converted, or a codec failed.
    Payload(PayloadError),
    /// A call to the server failed.
    Rpc(Box<RpcError>),
    /// What a client asked for did not happen.
    Client(Box<ClientError>),
}

/// Code of a user failed.
#[derive(Clone, Debug, Default)]
#[non_exhaustive]
pub struct Application {
    /// What happened, for people.
    pub message: String,
    /// The kind of failure, which retry policies name: the type of the error or exception.
    pub kind: String,
    /// True when another attempt would fail as well.
    pub non_retryable: bool,
    /// True for failures that are expected: they are neither logged as errors nor counted.
    pub benign: bool,
    /// Values that go with it.
    pub details: RawArgs,
    /// The pause before the next attempt, instead of what the policy says.
    pub next_retry_delay: Option<Duration>,
    /// What led to it.
    pub cause: Option<Error>,
    /// Where it was raised.
    pub origin: Origin,
}

/// Where a failure was raised.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Origin {
    /// The SDK it came from; empty for failures of the server.
    pub source: String,
    /// The stack trace, if there is one.
    pub stack_trace: String,
}

/// An activity failed for good.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct ActivityFailure {
    /// What happened, for people.
    pub message: String,
    /// The activity's type.
    pub activity_type: String,
    /// The activity's id.
    pub activity_id: String,
    /// The worker that ran the last attempt.
    pub identity: String,
    /// The event that scheduled it.
    pub scheduled_event_id: i64,
    /// The event that started the last attempt.
    pub started_event_id: i64,
    /// Why it is not tried again.
    pub retry_state: RetryState,
    /// What the last attempt failed with.
    pub cause: Option<Error>,
    /// Where it was raised.
    pub origin: Origin,
}

/// A child workflow failed for good.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct ChildFailure {
    /// What happened, for people.
    pub message: String,
    /// The child's namespace.
    pub namespace: String,
    /// The child's workflow id.
    pub workflow_id: String,
    /// The child's run id.
    pub run_id: String,
    /// The child's type.
    pub workflow_type: String,
    /// The event that asked for the child.
    pub initiated_event_id: i64,
    /// The event that says it started.
    pub started_event_id: i64,
    /// Why it is not tried again.
    pub retry_state: RetryState,
    /// What the child failed with.
    pub cause: Option<Error>,
    /// Where it was raised.
    pub origin: Origin,
}

/// A Nexus operation failed for good.
#[derive(Clone, Debug, Default)]
#[non_exhaustive]
pub struct NexusFailure {
    /// What happened, for people.
    pub message: String,
    /// The event that scheduled it.
    pub scheduled_event_id: i64,
    /// The endpoint it was sent to.
    pub endpoint: String,
    /// The service's name.
    pub service: String,
    /// The operation's name.
    pub operation: String,
    /// The handler's name for the operation.
    pub operation_token: String,
    /// What it failed with.
    pub cause: Option<Error>,
    /// Where it was raised.
    pub origin: Origin,
}

/// A Nexus handler refused.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct NexusHandlerFailure {
    /// What happened, for people.
    pub message: String,
    /// The kind of refusal, as Nexus defines them, such as `NOT_FOUND`.
    pub kind: String,
    /// Whether it may be tried again.
    pub retry_behavior: NexusHandlerErrorRetryBehavior,
    /// What led to it.
    pub cause: Option<Error>,
    /// Where it was raised.
    pub origin: Origin,
}

/// Time ran out.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Timeout {
    /// What happened, for people.
    pub message: String,
    /// Which of the timeouts it was.
    pub kind: TimeoutType,
    /// What the activity reported last.
    pub last_heartbeat: RawArgs,
    /// What the attempts before failed with.
    pub cause: Option<Error>,
    /// Where it was raised.
    pub origin: Origin,
}

/// It was asked to stop and did.
#[derive(Clone, Debug, Default)]
#[non_exhaustive]
pub struct Cancelled {
    /// What happened, for people.
    pub message: String,
    /// Values that it left.
    pub details: RawArgs,
    /// Who asked for it.
    pub identity: String,
    /// What led to it.
    pub cause: Option<Error>,
    /// Where it was raised.
    pub origin: Origin,
}

/// A failure that carries little more than a message.
#[derive(Clone, Debug, Default)]
#[non_exhaustive]
pub struct Stopped {
    /// What happened, for people.
    pub message: String,
    /// Who stopped it; empty for failures of the server.
    pub identity: String,
    /// True when another attempt would fail as well.
    pub non_retryable: bool,
    /// What led to it.
    pub cause: Option<Error>,
    /// Where it was raised.
    pub origin: Origin,
}

/// The workflow was reset while the activity ran.
#[derive(Clone, Debug, Default)]
#[non_exhaustive]
pub struct Reset {
    /// What happened, for people.
    pub message: String,
    /// What the activity reported last.
    pub last_heartbeat: RawArgs,
    /// What led to it.
    pub cause: Option<Error>,
    /// Where it was raised.
    pub origin: Origin,
}

/// The run ends and the workflow goes on with this call.
#[derive(Clone, Debug)]
pub struct ContinueAsNew {
    /// The next run: its type, arguments and options. What is not set is taken from this run.
    pub call: WorkflowCall<()>,
}

impl Error {
    /// A failure of this kind, which retry policies can name.
    pub fn application(kind: impl Into<String>, message: impl Into<String>) -> Error {
        Error::Application(Box::new(Application {
            message: message.into(),
            kind: kind.into(),
            origin: Origin::here(),
            ..Application::default()
        }))
    }

    /// A failure without a kind.
    pub fn msg(message: impl fmt::Display) -> Error {
        Error::application("", message.to_string())
    }

    /// A cancellation, for code that gives up because it was asked to.
    pub fn cancelled() -> Error {
        let message = "cancelled".to_owned();
        Error::Cancelled(Box::new(Cancelled { message, origin: Origin::here(), ..Cancelled::default() }))
    }

    /// No other attempt is made.
    #[must_use]
    pub fn non_retryable(self) -> Error {
        self.adjust(|failure| failure.non_retryable = true)
    }

    /// The next attempt is made after `delay`, whatever the retry policy says.
    #[must_use]
    pub fn retry_after(self, delay: Duration) -> Error {
        self.adjust(|failure| failure.next_retry_delay = Some(delay))
    }

    /// The failure is expected: it is neither logged as an error nor counted.
    #[must_use]
    pub fn benign(self) -> Error {
        self.adjust(|failure| failure.benign = true)
    }

    /// Sets the kind, which retry policies name.
    #[must_use]
    pub fn kind(self, kind: impl Into<String>) -> Error {
        self.adjust(|failure| failure.kind = kind.into())
    }

    /// Adds a value that goes with the failure. One that cannot be converted is left out and named in the message.
    #[must_use]
    pub fn details(self, value: impl ToPayload) -> Error {
        let mut args = Args::new();
        args.push(value);
        self.adjust(|failure| match args.into_payloads() {
            Ok(payloads) => failure.details.0.extend(payloads),
            Err(error) => failure.message.push_str(&format!(" (details left out: {error})")),
        })
    }

    /// Sets what led to the failure.
    #[must_use]
    pub fn caused_by(self, cause: impl Into<Error>) -> Error {
        self.adjust(|failure| failure.cause = Some(cause.into()))
    }

    /// True for a cancellation, also of an activity or a child that was cancelled.
    pub fn is_cancelled(&self) -> bool {
        match self {
            Error::Cancelled(_) => true,
            Error::Activity(failure) => failure.cause.as_ref().is_some_and(Error::is_cancelled),
            Error::Child(failure) => failure.cause.as_ref().is_some_and(Error::is_cancelled),
            Error::Nexus(failure) => failure.cause.as_ref().is_some_and(Error::is_cancelled),
            _ => false,
        }
    }

    /// What led to this error.
    pub fn cause(&self) -> Option<&Error> {
        match self {
            Error::Application(failure) => failure.cause.as_ref(),
            Error::Activity(failure) => failure.cause.as_ref(),
            Error::Child(failure) => failure.cause.as_ref(),
            Error::Nexus(failure) => failure.cause.as_ref(),
            Error::NexusHandler(failure) => failure.cause.as_ref(),
            Error::Timeout(failure) => failure.cause.as_ref(),
            Error::Cancelled(failure) => failure.cause.as_ref(),
            Error::Terminated(failure) | Error::Server(failure) => failure.cause.as_ref(),
            Error::Reset(failure) => failure.cause.as_ref(),
            Error::Client(error) => error.failure(),
            Error::SessionFailed(_)
            | Error::ContinueAsNew(_)
            | Error::CompleteLater
            | Error::Payload(_)
            | Error::Rpc(_) => None,
        }
    }

    /// The end of the chain of causes: usually what a user's code said.
    pub fn root_cause(&self) -> &Error {
        let mut error = self;
        while let Some(cause) = error.cause() {
            error = cause;
        }
        error
    }

    /// The first application failure in the chain of causes, this error included.
    pub fn as_application(&self) -> Option<&Application> {
        let mut error = self;
        loop {
            match error {
                Error::Application(failure) => return Some(failure),
                other => error = other.cause()?,
            }
        }
    }

    /// A `std::error::Error` of this one, for interfaces that want that.
    pub fn into_std(self) -> Box<dyn StdError + Send + Sync + 'static> {
        Box::new(Std(self))
    }

    /// Changes the application failure that this error is sent as.
    fn adjust(self, change: impl FnOnce(&mut Application)) -> Error {
        let mut failure = match self {
            Error::Application(failure) => failure,
            other => Box::new(other.into_application()),
        };
        change(&mut failure);
        Error::Application(failure)
    }

    /// The application failure that stands for errors which have no form of their own on the wire; others become
    /// its cause.
    pub(crate) fn into_application(self) -> Application {
        let message = self.to_string();
        let kind = match &self {
            Error::SessionFailed(_) => "SessionFailed",
            Error::Payload(_) => "PayloadError",
            Error::Rpc(_) => "RpcError",
            Error::Client(_) => "ClientError",
            _ => "",
        };
        let cause = match self {
            Error::Client(error) => error.take_failure(),
            Error::SessionFailed(_) | Error::Payload(_) | Error::Rpc(_) => None,
            other => Some(other),
        };
        Application { message, kind: kind.to_owned(), cause, origin: Origin::here(), ..Application::default() }
    }
}

/// A cell that a value of unknown type is taken out of when it is a `T`.
fn take<T: 'static>(slot: &mut dyn Any) -> Option<T> {
    slot.downcast_mut::<Option<T>>().and_then(Option::take)
}

impl<E: StdError + 'static> From<E> for Error {
    fn from(error: E) -> Error {
        let mut slot = Some(error);
        if let Some(own) = take::<PayloadError>(&mut slot) {
            return Error::Payload(own);
        }
        if let Some(own) = take::<RpcError>(&mut slot) {
            return Error::Rpc(Box::new(own));
        }
        if let Some(own) = take::<ClientError>(&mut slot) {
            return Error::Client(Box::new(own));
        }
        match slot {
            Some(foreign) => from_foreign(&foreign),
            None => Error::msg("the error was taken above"),
        }
    }
}

/// An error of a user's or a library's: its text, its type, and the chain of its sources.
fn from_foreign<E: StdError + 'static>(error: &E) -> Error {
    let mut sources = Vec::new();
    let mut source = error.source();
    while let Some(error) = source {
        sources.push(error.to_string());
        source = error.source();
    }
    let cause = sources.into_iter().rev().fold(None, |cause, message| {
        Some(Error::Application(Box::new(Application { message, cause, origin: Origin::here(), ..Default::default() })))
    });
    Error::Application(Box::new(Application {
        message: error.to_string(),
        kind: last_segment(std::any::type_name::<E>()).to_owned(),
        cause,
        origin: Origin::here(),
        ..Application::default()
    }))
}

/// `Bar` of `foo::Bar<baz::Qux>`.
fn last_segment(path: &str) -> &str {
    let plain = path.split('<').next().unwrap_or(path);
    plain.rsplit("::").next().unwrap_or(plain)
}

impl Origin {
    /// Of a failure that is raised by this SDK.
    pub(crate) fn here() -> Origin {
        Origin { source: "RustSDK".to_owned(), stack_trace: String::new() }
    }
}

impl Application {
    /// The value at `index` of the details.
    ///
    /// # Errors
    /// When something else is there.
    pub fn detail<T: FromPayload>(&self, index: usize) -> Result<T, PayloadError> {
        self.details.get(index)
    }
}

impl From<Application> for Error {
    fn from(failure: Application) -> Error {
        Error::Application(Box::new(failure))
    }
}

impl From<Vec<Payload>> for RawArgs {
    fn from(payloads: Vec<Payload>) -> RawArgs {
        RawArgs(payloads)
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Error::Application(failure) if failure.kind.is_empty() => f.write_str(&failure.message),
            Error::Application(failure) => write!(f, "{}: {}", failure.kind, failure.message),
            Error::Activity(failure) => write!(f, "activity {:?} failed", failure.activity_type),
            Error::Child(failure) => write!(f, "child workflow {:?} failed", failure.workflow_id),
            Error::Nexus(failure) => write!(f, "nexus operation {:?} failed", failure.operation),
            Error::NexusHandler(failure) => write!(f, "nexus handler refused: {}: {}", failure.kind, failure.message),
            Error::Timeout(timeout) => write!(f, "{} ({})", timeout.message, timeout.kind.as_str_name()),
            Error::Cancelled(cancelled) => f.write_str(&cancelled.message),
            Error::Terminated(stopped) | Error::Server(stopped) => f.write_str(&stopped.message),
            Error::Reset(reset) => f.write_str(&reset.message),
            Error::SessionFailed(why) => write!(f, "the session's host is lost: {why}"),
            Error::ContinueAsNew(next) => write!(f, "goes on as a new run of {:?}", next.call.name()),
            Error::CompleteLater => f.write_str("the result comes later"),
            Error::Payload(error) => error.fmt(f),
            Error::Rpc(error) => error.fmt(f),
            Error::Client(error) => error.fmt(f),
        }
    }
}

/// As people read it: the error, then what led to it, which is also what `main` prints.
impl fmt::Debug for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self}")?;
        let mut cause = self.cause();
        while let Some(error) = cause {
            write!(f, "; caused by: {error}")?;
            cause = error.cause();
        }
        Ok(())
    }
}

/// An [`Error`] where a `std::error::Error` is wanted.
#[derive(Debug)]
struct Std(Error);

impl fmt::Display for Std {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl StdError for Std {}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, thiserror::Error)]
    #[error("the card {number} was declined")]
    struct CardDeclined<T: fmt::Debug> {
        number: T,
        source: std::num::ParseIntError,
    }

    fn declined() -> Error {
        CardDeclined { number: 7, source: "x".parse::<i32>().unwrap_err() }.into()
    }

    #[test]
    fn any_error_is_taken_with_its_type_and_sources() {
        let error = declined();
        let failure = error.as_application().unwrap();
        assert_eq!((failure.kind.as_str(), failure.message.as_str()), ("CardDeclined", "the card 7 was declined"));
        assert_eq!(error.root_cause().to_string(), "invalid digit found in string");
        assert_eq!(
            format!("{error:?}"),
            "CardDeclined: the card 7 was declined; caused by: invalid digit found in string"
        );
    }

    #[test]
    fn our_own_errors_keep_their_variant() {
        assert!(matches!(Error::from(PayloadError::new("no")), Error::Payload(_)));
    }

    #[test]
    fn failures_are_adjusted_in_a_chain() {
        let error = declined().non_retryable().retry_after(Duration::from_secs(3)).details(5).details("five").benign();
        let failure = error.as_application().unwrap();
        assert!(failure.non_retryable && failure.benign);
        assert_eq!(failure.next_retry_delay, Some(Duration::from_secs(3)));
        assert_eq!((failure.detail(0), failure.detail(1)), (Ok(5), Ok("five".to_owned())));
        let wrapped = Error::cancelled().non_retryable();
        assert!(wrapped.cause().unwrap().is_cancelled());
    }
}
