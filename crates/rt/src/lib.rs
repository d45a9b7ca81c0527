//! The one door to the clock, sleeping, spawning and randomness.
//!
//! Everything that runs on a node takes an [`Rt`] and asks it; nothing else reads a clock or spawns. That is what lets
//! the simulator run the same code on virtual time with one seed. Start reading at [`Driver`].

#![expect(clippy::disallowed_methods, reason = "this crate is the one place that may")]

#[cfg(planted)]
pub mod planted;
mod skipping;

use std::{
    fmt,
    future::Future,
    pin::Pin,
    sync::Arc,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

pub use skipping::SkippingClock;

/// A boxed future that may move between threads.
pub type BoxFuture<T> = Pin<Box<dyn Future<Output = T> + Send>>;

/// A point in time: nanoseconds since the Unix epoch, UTC.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Timestamp(i64);

impl Timestamp {
    /// The Unix epoch; also stands for "never set".
    pub const ZERO: Timestamp = Timestamp(0);
    /// Later than every deadline.
    pub const MAX: Timestamp = Timestamp(i64::MAX);

    /// From nanoseconds since the epoch.
    pub const fn from_nanos(nanos: i64) -> Self {
        Timestamp(nanos)
    }

    /// From milliseconds since the epoch.
    pub const fn from_millis(millis: i64) -> Self {
        Timestamp(millis.saturating_mul(1_000_000))
    }

    /// Nanoseconds since the epoch.
    pub const fn as_nanos(self) -> i64 {
        self.0
    }

    /// Whole milliseconds since the epoch.
    pub const fn as_millis(self) -> i64 {
        self.0.div_euclid(1_000_000)
    }

    /// True for [`Timestamp::ZERO`].
    pub const fn is_zero(self) -> bool {
        self.0 == 0
    }

    /// The time from `earlier` to `self`, zero if that is negative.
    pub fn since(self, earlier: Timestamp) -> Duration {
        Duration::from_nanos(u64::try_from(self.0.saturating_sub(earlier.0)).unwrap_or(0))
    }
}

impl std::ops::Add<Duration> for Timestamp {
    type Output = Timestamp;

    /// Saturates at [`Timestamp::MAX`].
    fn add(self, by: Duration) -> Timestamp {
        Timestamp(self.0.saturating_add(i64::try_from(by.as_nanos()).unwrap_or(i64::MAX)))
    }
}

impl std::ops::Sub<Duration> for Timestamp {
    type Output = Timestamp;

    fn sub(self, by: Duration) -> Timestamp {
        Timestamp(self.0.saturating_sub(i64::try_from(by.as_nanos()).unwrap_or(i64::MAX)))
    }
}

/// What a node needs of the world. Implemented by the machine ([`Rt::real`]) and by the simulator.
pub trait Driver: Send + Sync + 'static {
    /// The wall clock. It may stand still or step back; callers that need order keep their own maximum.
    fn now(&self) -> Timestamp;
    /// Resolves at `at` or soon after; at once when `at` has passed.
    fn sleep_until(&self, at: Timestamp) -> BoxFuture<()>;
    /// The same by the clock of somebody outside, such as a caller who waits for an answer: a clock that is made to jump
    /// does not hasten it.
    fn sleep_unskipped(&self, at: Timestamp) -> BoxFuture<()> {
        self.sleep_until(at)
    }
    /// Runs a task until it ends. Tasks end with the runtime, unjoined.
    fn spawn(&self, task: BoxFuture<()>);
    /// Runs a job that blocks where it holds up no task.
    fn blocking(&self, job: Box<dyn FnOnce() + Send>);
    /// Fills `out` with random bytes.
    fn random(&self, out: &mut [u8]);
}

/// A handle to the world, cheap to clone.
#[derive(Clone)]
pub struct Rt(Arc<dyn Driver>);

impl fmt::Debug for Rt {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Rt")
    }
}

impl Rt {
    /// The machine's own clock, randomness and the current Tokio runtime.
    ///
    /// # Panics
    /// When called outside a Tokio runtime.
    pub fn real() -> Rt {
        Rt(Arc::new(Machine::here()))
    }

    /// A world of one's own.
    pub fn from_driver(driver: impl Driver) -> Rt {
        Rt(Arc::new(driver))
    }

    /// See [`Driver::now`].
    pub fn now(&self) -> Timestamp {
        self.0.now()
    }

    /// Resolves at `at` or soon after. Cancel safe.
    pub fn sleep_until(&self, at: Timestamp) -> BoxFuture<()> {
        self.0.sleep_until(at)
    }

    /// See [`Driver::sleep_unskipped`]. Cancel safe.
    pub fn sleep_unskipped(&self, at: Timestamp) -> BoxFuture<()> {
        self.0.sleep_unskipped(at)
    }

    /// Resolves after `delay`. Cancel safe.
    pub fn sleep(&self, delay: Duration) -> BoxFuture<()> {
        self.0.sleep_until(self.0.now() + delay)
    }

    /// Runs `task` beside the caller.
    pub fn spawn(&self, task: impl Future<Output = ()> + Send + 'static) {
        self.0.spawn(Box::pin(task));
    }

    /// Runs a job that blocks; its result, or `None` when it panicked or the runtime ended. The job goes on when the
    /// future is dropped.
    pub fn blocking<T: Send + 'static>(&self, job: impl FnOnce() -> T + Send + 'static) -> BoxFuture<Option<T>> {
        let (done, result) = tokio::sync::oneshot::channel();
        self.0.blocking(Box::new(move || {
            // Nobody may wait for the result any more.
            let _ = done.send(job());
        }));
        Box::pin(async move { result.await.ok() })
    }

    /// A random number, uniform over all values.
    pub fn random_u64(&self) -> u64 {
        let mut bytes = [0; 8];
        self.0.random(&mut bytes);
        u64::from_le_bytes(bytes)
    }
}

struct Machine {
    tokio: tokio::runtime::Handle,
}

impl Machine {
    fn here() -> Machine {
        Machine { tokio: tokio::runtime::Handle::current() }
    }
}

/// Tokio's wheel cannot hold a century; whoever sleeps re-checks its deadline anyway.
fn sleep(time: Duration) -> tokio::time::Sleep {
    const DAY: Duration = Duration::from_secs(86_400);
    tokio::time::sleep(time.min(DAY))
}

fn machine_time() -> Timestamp {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    Timestamp(i64::try_from(since.as_nanos()).unwrap_or(i64::MAX))
}

impl Driver for Machine {
    fn now(&self) -> Timestamp {
        machine_time()
    }

    fn sleep_until(&self, at: Timestamp) -> BoxFuture<()> {
        Box::pin(sleep(at.since(self.now())))
    }

    fn spawn(&self, task: BoxFuture<()>) {
        self.tokio.spawn(task);
    }

    fn blocking(&self, job: Box<dyn FnOnce() + Send>) {
        self.tokio.spawn_blocking(job);
    }

    fn random(&self, out: &mut [u8]) {
        getrandom::fill(out).expect("the operating system gives random bytes");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn arithmetic_saturates() {
        assert_eq!(Timestamp::MAX + Duration::from_secs(1), Timestamp::MAX);
        assert_eq!(Timestamp::from_millis(5).since(Timestamp::from_millis(9)), Duration::ZERO);
        assert_eq!(Timestamp::from_nanos(-1).as_millis(), -1);
    }
}
