//! How often something happened lately, in constant memory.

use mainspring_rt::Timestamp;

use crate::limits::RATE_WINDOW_SECONDS;

/// Counts by second over the last [`RATE_WINDOW_SECONDS`].
pub(crate) struct Meter {
    born: i64,
    /// (second, count), each in the slot of its second modulo the window.
    slots: [(i64, u32); RATE_WINDOW_SECONDS],
}

impl Meter {
    pub(crate) fn new(now: Timestamp) -> Meter {
        Meter { born: second(now), slots: [(i64::MIN, 0); RATE_WINDOW_SECONDS] }
    }

    pub(crate) fn count(&mut self, now: Timestamp) {
        let now = second(now);
        let slot = &mut self.slots[now.rem_euclid(RATE_WINDOW_SECONDS as i64) as usize];
        if slot.0 != now {
            *slot = (now, 0);
        }
        slot.1 = slot.1.saturating_add(1);
    }

    /// Per second, over the window or over the meter's life if that is shorter.
    pub(crate) fn per_second(&self, now: Timestamp) -> f64 {
        let window = RATE_WINDOW_SECONDS as i64;
        let now = second(now);
        let recent = self.slots.iter().filter(|(second, _)| (now - window + 1..=now).contains(second));
        let total: u64 = recent.map(|(_, count)| u64::from(*count)).sum();
        total as f64 / (now - self.born + 1).clamp(1, window) as f64
    }
}

fn second(at: Timestamp) -> i64 {
    at.as_millis().div_euclid(1_000)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn old_counts_leave_the_window() {
        let at = |seconds: i64| Timestamp::from_millis(seconds * 1_000);
        let mut meter = Meter::new(at(0));
        for seconds in 0..60 {
            meter.count(at(seconds));
            meter.count(at(seconds));
        }
        assert_eq!(meter.per_second(at(59)), 2.0);
        assert_eq!(meter.per_second(at(74)), 1.0);
        assert_eq!(meter.per_second(at(200)), 0.0);
    }

    #[test]
    fn a_young_meter_divides_by_its_age() {
        let mut meter = Meter::new(Timestamp::ZERO);
        (0..10).for_each(|_| meter.count(Timestamp::from_millis(1_500)));
        assert_eq!(meter.per_second(Timestamp::from_millis(1_900)), 5.0);
    }
}
