//! Two ways to put load on a server: clients that each wait for their answer, and a pace that waits for nobody.

use std::future::Future;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::{Duration, Instant};

use tonic::{Code, Status};

use crate::figures::latency::Latencies;
use crate::rpc::told;

/// A client that meets more errors than this gives up.
const ERRORS_MAX: u64 = 20;
const PAUSE_AFTER_ERROR: Duration = Duration::from_millis(5);

/// When a load is over.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Until {
    Count(u64),
    Elapsed(Duration),
}

impl Until {
    /// After the seconds, if they are given; after the count otherwise.
    pub(crate) fn either(seconds: Option<f64>, count: u64) -> Until {
        seconds.map_or(Until::Count(count), |seconds| Until::Elapsed(Duration::from_secs_f64(seconds)))
    }
}

/// What a load saw.
#[derive(Debug, Default)]
pub(crate) struct Seen {
    pub(crate) latencies: Latencies,
    pub(crate) errors: u64,
    pub(crate) first_error: Option<String>,
    /// True when some error says that the call is not there.
    pub(crate) is_unimplemented: bool,
}

impl Seen {
    pub(crate) fn count(&self) -> u64 {
        self.latencies.len() as u64
    }

    pub(crate) fn take(&mut self, began: Instant, done: Result<(), Status>) {
        match done {
            Ok(()) => self.latencies.push(began.elapsed()),
            Err(status) => {
                self.errors += 1;
                self.is_unimplemented |= status.code() == Code::Unimplemented;
                self.first_error.get_or_insert_with(|| told(&status));
            }
        }
    }

    pub(crate) fn append(&mut self, other: Seen) {
        self.latencies.append(other.latencies);
        self.errors += other.errors;
        self.is_unimplemented |= other.is_unimplemented;
        self.first_error = self.first_error.take().or(other.first_error);
    }
}

/// `clients` that each issue `operation(i)` again and again, `i` counting all of them, until it is over.
///
/// Latencies are service times: a client that waits issues nothing (coordinated omission is not corrected).
pub(crate) async fn closed_loop<F, O>(until: Until, clients: usize, operation: F) -> Seen
where
    F: Fn(u64) -> O + Clone + Send + 'static,
    O: Future<Output = Result<(), Status>> + Send,
{
    let next = Arc::new(AtomicU64::new(0));
    let began = Instant::now();
    let is_over = move |taken: u64| match until {
        Until::Count(count) => taken >= count,
        Until::Elapsed(time) => began.elapsed() >= time,
    };
    let mut tasks = Vec::new();
    for _ in 0..clients {
        let (operation, next) = (operation.clone(), next.clone());
        tasks.push(tokio::spawn(async move {
            let mut seen = Seen::default();
            loop {
                let taken = next.fetch_add(1, Relaxed);
                if is_over(taken) || seen.errors > ERRORS_MAX {
                    return seen;
                }
                let errors = seen.errors;
                let began = Instant::now();
                seen.take(began, operation(taken).await);
                if seen.errors > errors {
                    tokio::time::sleep(PAUSE_AFTER_ERROR).await;
                }
            }
        }));
    }
    let mut all = Seen::default();
    for task in tasks {
        all.append(task.await.unwrap_or_else(|panic| lost(&panic.to_string())));
    }
    all
}

fn lost(why: &str) -> Seen {
    Seen { errors: 1, first_error: Some(why.to_owned()), ..Seen::default() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn each_operation_runs_once_and_errors_are_kept_apart() {
        let seen = closed_loop(Until::Count(100), 4, |i| async move {
            if i % 10 == 3 { Err(Status::unimplemented("no")) } else { Ok(()) }
        })
        .await;
        assert_eq!((seen.count(), seen.errors, seen.is_unimplemented), (90, 10, true));
        assert_eq!(seen.first_error.as_deref(), Some("Unimplemented no"));
    }

    #[tokio::test]
    async fn a_client_that_only_fails_gives_up() {
        let hour = Until::Elapsed(Duration::from_secs(3600));
        let seen = closed_loop(hour, 1, |_| async { Err(Status::internal("broken")) }).await;
        assert_eq!((seen.count(), seen.errors), (0, ERRORS_MAX + 1));
    }

    #[test]
    fn seconds_win_over_a_count() {
        assert!(matches!(Until::either(None, 7), Until::Count(7)));
        assert!(matches!(Until::either(Some(1.5), 7), Until::Elapsed(time) if time == Duration::from_millis(1500)));
    }
}
