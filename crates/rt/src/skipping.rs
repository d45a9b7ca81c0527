//! A clock for tests: it goes with the machine's, and jumps ahead when told to.
//!
//! [`SkippingClock`] is the hand that moves it, [`Rt::skipping`] the world that lives by it. Who sleeps until a time that a
//! jump passes wakes at once; whoever measures the patience of somebody outside ([`crate::Driver::sleep_unskipped`]) does
//! not notice.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use tokio::sync::watch;

use crate::{BoxFuture, Driver, Machine, Rt, Timestamp};

/// A clock that can be moved ahead. Copies are the same clock.
#[derive(Clone, Debug)]
pub struct SkippingClock(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    /// What the clock showed when it was made, and when that was.
    start: Timestamp,
    made: Instant,
    /// By how much it was moved since.
    skipped: watch::Sender<Duration>,
}

impl SkippingClock {
    /// A clock that shows `start`.
    pub fn new(start: Timestamp) -> SkippingClock {
        SkippingClock(Arc::new(Inner { start, made: Instant::now(), skipped: watch::Sender::new(Duration::ZERO) }))
    }

    /// A clock that shows what the machine's does.
    pub fn from_machine() -> SkippingClock {
        SkippingClock::new(crate::machine_time())
    }

    /// What it shows. It never goes back.
    pub fn now(&self) -> Timestamp {
        let skipped = *self.0.skipped.borrow();
        self.at(skipped)
    }

    /// Moves it ahead, so that it shows `at` or later.
    pub fn jump_to(&self, at: Timestamp) {
        self.0.skipped.send_if_modified(|skipped| {
            let by = at.since(self.at(*skipped));
            *skipped = skipped.saturating_add(by);
            by > Duration::ZERO
        });
    }

    fn at(&self, skipped: Duration) -> Timestamp {
        self.0.start + self.0.made.elapsed() + skipped
    }

    async fn sleep_until(self, at: Timestamp) {
        let mut skipped = self.0.skipped.subscribe();
        loop {
            let left = at.since(self.at(*skipped.borrow_and_update()));
            if left.is_zero() {
                return;
            }
            tokio::select! {
                () = crate::sleep(left) => {}
                // It cannot fail: we hold the sender.
                _ = skipped.changed() => {}
            }
        }
    }
}

impl Rt {
    /// The machine's randomness and the current Tokio runtime, with this clock.
    ///
    /// # Panics
    /// When called outside a Tokio runtime.
    pub fn skipping(clock: &SkippingClock) -> Rt {
        Rt::from_driver(Skipping { clock: clock.clone(), machine: Machine::here() })
    }
}

struct Skipping {
    clock: SkippingClock,
    machine: Machine,
}

impl Driver for Skipping {
    fn now(&self) -> Timestamp {
        self.clock.now()
    }

    fn sleep_until(&self, at: Timestamp) -> BoxFuture<()> {
        Box::pin(self.clock.clone().sleep_until(at))
    }

    fn sleep_unskipped(&self, at: Timestamp) -> BoxFuture<()> {
        Box::pin(crate::sleep(at.since(self.now())))
    }

    fn spawn(&self, task: BoxFuture<()>) {
        self.machine.spawn(task);
    }

    fn blocking(&self, job: Box<dyn FnOnce() + Send>) {
        self.machine.blocking(job);
    }

    fn random(&self, out: &mut [u8]) {
        self.machine.random(out);
    }
}

#[cfg(test)]
mod tests {
    use std::task::Poll;

    use super::*;

    const START: Timestamp = Timestamp::from_millis(1_000_000);
    const MONTH: Duration = Duration::from_secs(30 * 86_400);

    /// Whether it has ended by now.
    async fn is_over(sleep: &mut BoxFuture<()>) -> bool {
        std::future::poll_fn(|context| Poll::Ready(sleep.as_mut().poll(context).is_ready())).await
    }

    #[tokio::test]
    async fn who_sleeps_wakes_when_a_jump_passes_the_time() {
        let clock = SkippingClock::new(START);
        let rt = Rt::skipping(&clock);
        let mut sleep = rt.sleep_until(START + MONTH);
        assert!(!is_over(&mut sleep).await);
        clock.jump_to(START + MONTH / 2);
        assert!(!is_over(&mut sleep).await, "half the way is not there");
        clock.jump_to(START + MONTH);
        sleep.await;
        assert!(rt.now() >= START + MONTH);
    }

    #[tokio::test]
    async fn patience_outside_is_not_cut_short() {
        let clock = SkippingClock::new(START);
        let rt = Rt::skipping(&clock);
        let mut sleep = rt.sleep_unskipped(START + MONTH);
        clock.jump_to(START + 2 * MONTH);
        assert!(!is_over(&mut sleep).await);
    }

    #[tokio::test]
    async fn the_clock_never_goes_back() {
        let clock = SkippingClock::new(START);
        clock.jump_to(START + MONTH);
        clock.jump_to(START);
        assert!(clock.now() >= START + MONTH);
        clock.jump_to(Timestamp::MAX);
        assert_eq!(clock.now(), Timestamp::MAX);
    }
}
