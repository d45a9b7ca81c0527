//! [`Pollers`]: how many polls wait at a time, and how that follows what the server says.

use std::sync::atomic::{AtomicUsize, Ordering};

use mainspring_api::v1::taskqueue::PollerScalingDecision;

/// How many polls of one kind wait at a time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Pollers {
    least: usize,
    first: usize,
    most: usize,
}

impl Pollers {
    /// Always as many.
    pub fn fixed(count: usize) -> Pollers {
        Pollers { least: count, first: count, most: count }
    }

    /// As many as the queue needs, from 1 to 100: the server says when more or fewer are wanted.
    pub fn auto() -> Pollers {
        Pollers { least: 1, first: 5, most: 100 }
    }

    /// At least as many.
    #[must_use]
    pub fn at_least(mut self, count: usize) -> Pollers {
        self.least = count;
        self.first = self.first.max(count);
        self.most = self.most.max(count);
        self
    }

    /// At most as many.
    #[must_use]
    pub fn at_most(mut self, count: usize) -> Pollers {
        self.most = count;
        self.first = self.first.min(count);
        self.least = self.least.min(count);
        self
    }

    /// No more than there are slots, one of which each poll holds.
    pub(crate) fn at_most_slots(self, slots: usize) -> Pollers {
        if slots < self.most { self.at_most(slots) } else { self }
    }

    pub(crate) fn is_none(self) -> bool {
        self.least == 0 || self.most == 0
    }
}

impl Default for Pollers {
    fn default() -> Pollers {
        Pollers::fixed(5)
    }
}

impl From<usize> for Pollers {
    fn from(count: usize) -> Pollers {
        Pollers::fixed(count)
    }
}

/// What a poll brought, for the number of the next ones.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Brought {
    /// A task, or nothing, with the server's advice.
    Advice(i32),
    /// A task, without advice.
    Task,
    /// Nothing, without advice.
    Nothing,
    /// The server is busy.
    Refusal,
}

impl Brought {
    /// Of an answer.
    pub(crate) fn of(decision: Option<PollerScalingDecision>, is_task: bool) -> Brought {
        match decision {
            Some(decision) => Brought::Advice(decision.poll_request_delta_suggestion),
            None if is_task => Brought::Task,
            None => Brought::Nothing,
        }
    }
}

/// The number that is wanted now.
#[derive(Debug)]
pub(crate) struct Scaler {
    pollers: Pollers,
    wanted: AtomicUsize,
}

impl Scaler {
    pub(crate) fn new(pollers: Pollers) -> Scaler {
        Scaler { pollers, wanted: AtomicUsize::new(pollers.first) }
    }

    pub(crate) fn wanted(&self) -> usize {
        self.wanted.load(Ordering::Relaxed)
    }

    pub(crate) fn learn(&self, brought: Brought) {
        let now = self.wanted();
        let next = match brought {
            Brought::Advice(delta) => now.saturating_add_signed(isize::try_from(delta).unwrap_or(0)),
            Brought::Task => now,
            Brought::Nothing => now.saturating_sub(1),
            Brought::Refusal => now / 2,
        };
        self.wanted.store(next.clamp(self.pollers.least, self.pollers.most), Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_fixed_number_stays() {
        let scaler = Scaler::new(Pollers::fixed(5));
        for brought in [Brought::Advice(7), Brought::Nothing, Brought::Refusal] {
            scaler.learn(brought);
            assert_eq!(scaler.wanted(), 5);
        }
    }

    #[test]
    fn an_automatic_one_follows_the_server_within_its_bounds() {
        let scaler = Scaler::new(Pollers::auto().at_least(2).at_most(8));
        let after = |brought| {
            scaler.learn(brought);
            scaler.wanted()
        };
        assert_eq!(after(Brought::Task), 5);
        assert_eq!(after(Brought::Advice(2)), 7);
        assert_eq!(after(Brought::Advice(9)), 8);
        assert_eq!(after(Brought::Nothing), 7);
        assert_eq!(after(Brought::Refusal), 3);
        assert_eq!(after(Brought::Advice(-5)), 2);
    }

    #[test]
    fn bounds_keep_their_order() {
        assert_eq!(Pollers::fixed(5).at_most(2), Pollers::fixed(2));
        assert!(Pollers::from(0).is_none() && Pollers::auto().at_most(0).is_none());
        assert!(!Pollers::auto().is_none());
    }
}
