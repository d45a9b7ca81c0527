//! [`Fault`]: why a workflow task could not be done. The task fails and is tried again; the run goes on once the code,
//! or the history, is mended. Nothing here ends the process.

use std::{fmt, panic::Location};

use mainspring_api::v1::{enums::WorkflowTaskFailedCause, failure};

/// Where in a user's code an operation was asked for.
pub(crate) type At = &'static Location<'static>;

/// Why a workflow task could not be done.
#[derive(Clone, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Fault {
    /// The code asked for something else than the history says it did.
    #[error("[TMPRL1100] nondeterminism: {0}")]
    Mismatch(Box<Mismatch>),
    /// The history is not one that a server writes.
    #[error("the history cannot be right: {0}")]
    History(String),
    /// The code panicked.
    #[error("the workflow panicked: {0}")]
    Panicked(Box<Panicked>),
    /// The code waits for something that no event of a history can bring about.
    #[error(
        "the workflow waits for something that its history can never deliver: none of its branches waits for an \
         activity, a timer, a signal, a `Var` or anything else made by `Ctx`{0}"
    )]
    Unowned(LastOperation),
    /// A thread or a runtime outside of the workflow woke it.
    #[error(
        "the workflow was woken from outside: it waits for a thread, a Tokio task or a channel of theirs, which do not \
         replay; do the work in an activity{0}"
    )]
    ForeignWake(LastOperation),
    /// The code did not yield within the deadline.
    #[error(
        "[TMPRL1101] the workflow did not yield within {after_ms} ms: it blocks or loops{last}; do it in an activity"
    )]
    Deadline {
        /// How long it was waited for.
        after_ms: u64,
        /// What it did before.
        last: LastOperation,
    },
    /// A query asked for an operation.
    #[error("a query may only read: it asked for {what}, at {at}")]
    QueryActs {
        /// The operation.
        what: String,
        /// Where.
        at: String,
    },
    /// An argument, a start or a handler could not be used; the texts says which.
    #[error("{0}")]
    Unusable(String),
    /// A value is larger than the server takes; the text says which.
    #[error("{0}")]
    TooLarge(String),
    /// The same code gave other commands when it ran again.
    #[error(
        "[TMPRL1100] nondeterminism: run a second time over the same history, the workflow asked for something else: \
         {0}; look for clocks, random numbers, the order of a `HashMap`, or globals"
    )]
    Unstable(Box<Mismatch>),
    /// There is no code for this type.
    #[error("workflow type {name:?} is not registered on this worker, which has: {known}")]
    UnknownType {
        /// The type.
        name: String,
        /// What is registered.
        known: String,
    },
}

/// Both sides of a difference between history and code.
#[derive(Clone, Debug)]
pub struct Mismatch {
    /// The event, if the history has one there.
    pub event_id: Option<i64>,
    /// What the history has.
    pub expected: Option<String>,
    /// What the code asked for.
    pub actual: Option<String>,
    /// Where the code asked for it.
    pub at: Option<String>,
}

/// A panic with its place.
#[derive(Clone, Debug)]
pub struct Panicked {
    /// What it said.
    pub message: String,
    /// File, line and column.
    pub at: String,
    /// What to do about it, for the mistakes that are known.
    pub hint: Option<&'static str>,
    /// The backtrace, where it was captured.
    pub backtrace: String,
}

/// The last operation of a run, for errors about code that has no place of its own.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum LastOperation {
    /// What it was, and where it was asked for.
    Asked(String),
    /// There was none.
    Nothing {
        /// Where the workflow is defined.
        defined_at: String,
    },
}

impl Fault {
    /// A history that cannot be right.
    pub(crate) fn history(event_id: i64, what: impl fmt::Display) -> Fault {
        Fault::History(format!("event {event_id}: {what}"))
    }

    /// The cause by which the server knows it.
    pub fn cause(&self) -> WorkflowTaskFailedCause {
        match self {
            Fault::Mismatch(_) | Fault::History(_) | Fault::Unstable(_) => {
                WorkflowTaskFailedCause::NonDeterministicError
            }
            Fault::TooLarge(_) => WorkflowTaskFailedCause::PayloadsTooLarge,
            Fault::Panicked(_)
            | Fault::Unowned(_)
            | Fault::ForeignWake(_)
            | Fault::Deadline { .. }
            | Fault::QueryActs { .. }
            | Fault::Unusable(_)
            | Fault::UnknownType { .. } => WorkflowTaskFailedCause::WorkflowWorkerUnhandledFailure,
        }
    }

    /// The failure that operators see.
    pub fn to_failure(&self) -> failure::Failure {
        let stack_trace = match self {
            Fault::Panicked(panicked) => panicked.backtrace.clone(),
            _ => String::new(),
        };
        let info = failure::ApplicationFailureInfo { r#type: self.kind().to_owned(), ..Default::default() };
        failure::Failure {
            message: self.to_string(),
            source: "RustSDK".to_owned(),
            stack_trace,
            failure_info: Some(failure::failure::FailureInfo::ApplicationFailureInfo(info)),
            ..Default::default()
        }
    }

    fn kind(&self) -> &'static str {
        match self {
            Fault::Mismatch(_) | Fault::History(_) | Fault::Unstable(_) => "NondeterminismError",
            Fault::Panicked(_) => "Panic",
            Fault::Unowned(_) | Fault::ForeignWake(_) => "ForeignWait",
            Fault::Deadline { .. } => "Deadlock",
            Fault::QueryActs { .. } => "ReadOnlyViolation",
            Fault::Unusable(_) => "Unusable",
            Fault::TooLarge(_) => "PayloadsTooLarge",
            Fault::UnknownType { .. } => "NotFoundError",
        }
    }
}

impl fmt::Display for Mismatch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self.event_id, &self.expected) {
            (Some(id), Some(expected)) => write!(f, "event {id} of the history is {expected}")?,
            (None, Some(expected)) => write!(f, "the history has {expected}")?,
            (_, None) => f.write_str("the history has nothing more here")?,
        }
        match &self.actual {
            Some(actual) => write!(f, ", the workflow asked for {actual}")?,
            None => f.write_str(", the workflow asked for nothing")?,
        }
        match &self.at {
            Some(at) => write!(f, ", at {at}"),
            None => Ok(()),
        }
    }
}

impl fmt::Display for Panicked {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}, at {}", self.message, self.at)?;
        match self.hint {
            Some(hint) => write!(f, "; {hint}"),
            None => Ok(()),
        }
    }
}

impl fmt::Display for LastOperation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            LastOperation::Asked(last) => write!(f, " (last it asked for {last})"),
            LastOperation::Nothing { defined_at } => {
                write!(f, " (it has asked for nothing yet; it is defined at {defined_at})")
            }
        }
    }
}
