//! The rate limit of a queue: a token bucket that holds one second of tokens, at least one.
//!
//! Kept as the time up to which tokens are paid for, in whole nanoseconds, so that the moment a token comes is exact
//! and a caller that sleeps until then never wakes too early.

use std::time::Duration;

use mainspring_rt::Timestamp;

/// What the bucket holds when full, in time.
const BURST: Duration = Duration::from_secs(1);
/// The slowest rate told from a stop: one token a year.
const INTERVAL_MAX: Duration = Duration::from_secs(365 * 86_400);

/// Who wants a token asks here first.
pub(crate) struct Throttle {
    pace: Pace,
    paid_until: Timestamp,
}

#[derive(Clone, Copy, PartialEq)]
enum Pace {
    Free,
    Stopped,
    Every(Duration),
}

impl Throttle {
    pub(crate) fn unlimited() -> Throttle {
        Throttle { pace: Pace::Free, paid_until: Timestamp::ZERO }
    }

    /// Changes the rate, in tokens per second. What was spent stays spent, so that two workers that set different
    /// rates in turn do not fill the bucket each time; but nobody waits longer than one interval of the new rate.
    pub(crate) fn set(&mut self, per_second: Option<f64>, now: Timestamp) {
        self.pace = match per_second {
            None => Pace::Free,
            Some(rate) if rate > 0.0 => Pace::Every(interval(rate)),
            Some(_) => Pace::Stopped,
        };
        if let Pace::Every(interval) = self.pace {
            self.paid_until = self.paid_until.min(now + interval.max(BURST));
        }
    }

    /// When the next token is there, perhaps already; `None` when none will come.
    pub(crate) fn ready_at(&self) -> Option<Timestamp> {
        match self.pace {
            Pace::Free => Some(Timestamp::ZERO),
            Pace::Stopped => None,
            Pace::Every(interval) => Some(self.paid_until - BURST.saturating_sub(interval)),
        }
    }

    pub(crate) fn ready(&self, now: Timestamp) -> bool {
        self.ready_at().is_some_and(|at| at <= now)
    }

    /// Takes a token if one is there.
    pub(crate) fn take(&mut self, now: Timestamp) -> bool {
        let ready = self.ready(now);
        if let (true, Pace::Every(interval)) = (ready, self.pace) {
            self.paid_until = self.paid_until.max(now) + interval;
        }
        ready
    }

    /// Puts a token back.
    pub(crate) fn refund(&mut self) {
        if let Pace::Every(interval) = self.pace {
            self.paid_until = self.paid_until - interval;
        }
    }
}

fn interval(rate: f64) -> Duration {
    let exact = Duration::try_from_secs_f64(1.0 / rate).unwrap_or(INTERVAL_MAX);
    exact.clamp(Duration::from_nanos(1), INTERVAL_MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Timestamp = Timestamp::from_millis(1_000_000);

    fn limited(rate: f64) -> Throttle {
        let mut throttle = Throttle::unlimited();
        throttle.set(Some(rate), NOW);
        throttle
    }

    fn take_all(throttle: &mut Throttle, now: Timestamp) -> usize {
        (0..100_000).take_while(|_| throttle.take(now)).count()
    }

    #[test]
    fn the_burst_is_one_second_of_tokens_and_at_least_one() {
        assert_eq!(take_all(&mut limited(10.0), NOW), 10);
        assert_eq!(take_all(&mut limited(0.1), NOW), 1);
    }

    #[test]
    fn a_token_is_there_exactly_when_promised() {
        for rate in [0.3, 1.0, 3.0, 7.0, 1e5, 1e-9] {
            let mut throttle = limited(rate);
            take_all(&mut throttle, NOW);
            let at = throttle.ready_at().unwrap();
            assert!(!throttle.ready(at - Duration::from_nanos(1)), "{rate}");
            assert_eq!(take_all(&mut throttle, at), 1, "{rate}");
        }
    }

    #[test]
    fn zero_stops_and_none_frees() {
        let mut throttle = limited(0.0);
        assert_eq!(throttle.ready_at(), None);
        throttle.set(None, NOW);
        assert_eq!(take_all(&mut throttle, NOW), 100_000);
    }

    #[test]
    fn a_refunded_token_is_taken_again() {
        let mut throttle = limited(0.1);
        assert!(throttle.take(NOW));
        throttle.refund();
        assert!(throttle.take(NOW));
        assert!(!throttle.take(NOW));
    }

    #[test]
    fn changing_the_rate_neither_fills_the_bucket_nor_keeps_the_old_wait() {
        let mut throttle = limited(0.001);
        assert!(throttle.take(NOW));
        throttle.set(Some(0.1), NOW);
        assert!(!throttle.take(NOW));
        assert!(throttle.take(NOW + Duration::from_secs(10)));
    }
}
