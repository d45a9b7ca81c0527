//! How long a call may wait.

use std::time::Duration;

use mainspring_rt::{Rt, Timestamp};
use tonic::{Code, Status};

use crate::{Metadata, error::invalid};

/// A poll comes back empty after this long, whatever its deadline. `matching.longPollExpirationInterval`
const TASK_POLL: Duration = Duration::from_secs(60);
/// Polls that began together end apart, by up to this much.
const TASK_POLL_JITTER_MS: u64 = 3_000;
/// A shorter deadline is refused: the poll would end before it could do any good. `common.MinLongPollTimeout`
const TASK_POLL_DEADLINE_MIN: Duration = Duration::from_secs(2);
/// A read that waits comes back empty after this long. `history.longPollExpirationInterval`
const READ_POLL: Duration = Duration::from_secs(20);
/// A query whose caller names no deadline is given up after this long.
const QUERY: Duration = Duration::from_secs(30);
/// An empty answer goes out this long before the caller's deadline. `frontend.returnEmptyTaskTimeBudget`
const MARGIN: Duration = Duration::from_secs(1);

/// When a poll for tasks ends empty.
///
/// # Errors
/// Polls must have a deadline, and one that is worth the wait.
pub(crate) fn task_poll_end(rt: &Rt, metadata: &Metadata) -> Result<Timestamp, Status> {
    let Some(deadline) = metadata.deadline else { return Err(invalid("Context timeout is not set.")) };
    let now = rt.now();
    if deadline.since(now) < TASK_POLL_DEADLINE_MIN {
        return Err(Status::failed_precondition("Context timeout is too short."));
    }
    let jitter = Duration::from_millis(rt.random_u64() % TASK_POLL_JITTER_MS);
    Ok((now + TASK_POLL - jitter).min(deadline - MARGIN))
}

/// When a read that waits for something new ends empty.
pub(crate) fn read_poll_end(rt: &Rt, metadata: &Metadata) -> Timestamp {
    before_deadline(rt, metadata, READ_POLL)
}

/// When a caller is told how far an update got. One with a shorter deadline is not answered: it takes an answer for a
/// reason to ask again, and so would wait for ever.
pub(crate) fn update_end(rt: &Rt) -> Timestamp {
    rt.now() + READ_POLL
}

/// When a query that no worker answers is given up.
pub(crate) fn query_end(rt: &Rt, metadata: &Metadata) -> Timestamp {
    let longest = if metadata.deadline.is_some() { Duration::MAX } else { QUERY };
    before_deadline(rt, metadata, longest)
}

/// What a poller gets; nothing if the run of its task is gone before the history was read. Workers take NOT_FOUND from a
/// poll for the end of their namespace.
///
/// # Errors
/// All others.
pub(crate) fn unless_gone<T>(task: Result<T, Status>) -> Result<Option<T>, Status> {
    match task {
        Err(status) if status.code() == Code::NotFound => Ok(None),
        task => task.map(Some),
    }
}

fn before_deadline(rt: &Rt, metadata: &Metadata, longest: Duration) -> Timestamp {
    let now = rt.now();
    let deadline = metadata.deadline.unwrap_or(Timestamp::MAX);
    // A caller in a hurry still gets its answer before it gives up.
    let margin = MARGIN.min(deadline.since(now) / 2);
    (now + longest).min(deadline - margin)
}

#[cfg(test)]
mod tests {
    use mainspring_rt::{BoxFuture, Driver};

    use super::*;

    /// A clock that stands still.
    struct Frozen;

    const NOW: Timestamp = Timestamp::from_millis(1_000_000);

    impl Driver for Frozen {
        fn now(&self) -> Timestamp {
            NOW
        }

        fn sleep_until(&self, _: Timestamp) -> BoxFuture<()> {
            Box::pin(std::future::pending())
        }

        fn spawn(&self, _: BoxFuture<()>) {}

        fn blocking(&self, _: Box<dyn FnOnce() + Send>) {}

        fn random(&self, out: &mut [u8]) {
            out.fill(0);
        }
    }

    fn within(seconds: f64) -> Metadata {
        Metadata { deadline: Some(NOW + Duration::from_secs_f64(seconds)), ..Metadata::default() }
    }

    #[test]
    fn a_poll_needs_a_deadline_worth_the_wait() {
        let rt = Rt::from_driver(Frozen);
        let missing = task_poll_end(&rt, &Metadata::default()).unwrap_err();
        assert_eq!((missing.code(), missing.message()), (tonic::Code::InvalidArgument, "Context timeout is not set."));
        let short = task_poll_end(&rt, &within(1.9)).unwrap_err();
        let expected = (tonic::Code::FailedPrecondition, "Context timeout is too short.");
        assert_eq!((short.code(), short.message()), expected);
    }

    #[test]
    fn a_poll_ends_before_its_deadline_and_after_a_minute() {
        let rt = Rt::from_driver(Frozen);
        assert_eq!(task_poll_end(&rt, &within(4.0)).unwrap(), NOW + Duration::from_secs(3));
        assert_eq!(task_poll_end(&rt, &within(70.0)).unwrap(), NOW + TASK_POLL);
    }

    #[test]
    fn a_waiting_read_ends_within_twenty_seconds() {
        let rt = Rt::from_driver(Frozen);
        assert_eq!(read_poll_end(&rt, &Metadata::default()), NOW + READ_POLL);
        assert_eq!(read_poll_end(&rt, &within(10.0)), NOW + Duration::from_secs(9));
        assert_eq!(read_poll_end(&rt, &within(1.0)), NOW + Duration::from_millis(500));
    }

    #[test]
    fn a_task_whose_run_is_gone_is_no_task() {
        assert_eq!(unless_gone::<()>(Err(Status::not_found("gone"))).unwrap(), None);
        assert_eq!(unless_gone(Ok(7)).unwrap(), Some(7));
        assert!(unless_gone::<()>(Err(Status::data_loss("damaged"))).is_err());
    }

    #[test]
    fn a_query_waits_as_long_as_its_caller() {
        let rt = Rt::from_driver(Frozen);
        assert_eq!(query_end(&rt, &Metadata::default()), NOW + QUERY);
        assert_eq!(query_end(&rt, &within(100.0)), NOW + Duration::from_secs(99));
    }
}
