//! When the clock jumps, and to where.
//!
//! As with the original's test server, whatever a worker has or is to take next holds the clock: a workflow task from when
//! it is scheduled, an activity from when it is handed out. So time never runs away from a worker that is about to poll.

use mainspring_history::Survey;
use mainspring_rt::Timestamp;

/// What is wanted of the clock.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Wishes {
    /// Calls of clients that wait for something to happen.
    pub(super) waiting: usize,
    /// Those who do not want it to skip for them.
    pub(super) holds: usize,
    /// The first time that somebody wants to skip to.
    pub(super) skip_to: Option<Timestamp>,
}

impl Wishes {
    /// Somebody wants it to skip.
    pub(super) fn any(&self) -> bool {
        self.skip_to.is_some() || (self.waiting > 0 && self.holds == 0)
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Next {
    Jump(Timestamp),
    /// The first skip has come to its end.
    Reached,
    /// What has just come due has not been done: ask again at once.
    Unsettled,
    /// Nothing is to be done until something happens.
    Later,
}

/// What to do at `now`, when no call is under way and the shards said this.
pub(super) fn decide(now: Timestamp, wishes: Wishes, survey: Survey) -> Next {
    if !wishes.any() {
        return Next::Later;
    }
    if !survey.settled || survey.next_deadline <= now {
        return Next::Unsettled;
    }
    if survey.in_hand > 0 {
        return Next::Later;
    }
    match wishes.skip_to {
        Some(end) if end <= now => Next::Reached,
        Some(end) => Next::Jump(end.min(survey.next_deadline)),
        None if survey.next_deadline == Timestamp::MAX => Next::Later,
        None => Next::Jump(survey.next_deadline),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Timestamp = Timestamp::from_millis(1_000);
    const SOON: Timestamp = Timestamp::from_millis(2_000);
    const LATE: Timestamp = Timestamp::from_millis(9_000);
    const NOBODY: Wishes = Wishes { waiting: 0, holds: 0, skip_to: None };
    const ONE_WAITS: Wishes = Wishes { waiting: 1, ..NOBODY };

    fn due(next_deadline: Timestamp) -> Survey {
        Survey { next_deadline, ..Survey::EMPTY }
    }

    fn skip_to(at: Timestamp) -> Wishes {
        Wishes { skip_to: Some(at), ..NOBODY }
    }

    #[test]
    fn the_clock_jumps_to_the_next_deadline_for_a_client_that_waits() {
        assert_eq!(decide(NOW, ONE_WAITS, due(LATE)), Next::Jump(LATE));
        assert_eq!(decide(NOW, NOBODY, due(LATE)), Next::Later);
        assert_eq!(decide(NOW, ONE_WAITS, Survey::EMPTY), Next::Later, "nothing is ever due");
    }

    #[test]
    fn what_is_in_hand_holds_the_clock() {
        let working = Survey { in_hand: 1, ..due(SOON) };
        for wishes in [ONE_WAITS, skip_to(LATE), skip_to(NOW)] {
            assert_eq!(decide(NOW, wishes, working), Next::Later);
        }
    }

    #[test]
    fn what_is_due_comes_first() {
        for wishes in [ONE_WAITS, skip_to(LATE), skip_to(NOW)] {
            assert_eq!(decide(NOW, wishes, due(NOW)), Next::Unsettled);
            assert_eq!(decide(NOW, wishes, Survey { settled: false, in_hand: 1, ..due(LATE) }), Next::Unsettled);
        }
    }

    #[test]
    fn a_skip_stops_at_each_deadline_and_at_its_end() {
        assert_eq!(decide(NOW, skip_to(LATE), due(SOON)), Next::Jump(SOON));
        assert_eq!(decide(NOW, skip_to(SOON), due(LATE)), Next::Jump(SOON));
        assert_eq!(decide(SOON, skip_to(SOON), due(LATE)), Next::Reached);
        let both = Wishes { waiting: 1, ..skip_to(SOON) };
        assert_eq!(decide(NOW, both, due(LATE)), Next::Jump(SOON), "it does not run past the end of a skip");
    }

    #[test]
    fn a_hold_stops_the_clock_for_clients_that_wait_and_for_no_skip() {
        let held = Wishes { holds: 1, ..ONE_WAITS };
        assert_eq!(decide(NOW, held, due(LATE)), Next::Later);
        assert_eq!(decide(NOW, Wishes { skip_to: Some(SOON), ..held }, due(LATE)), Next::Jump(SOON));
    }
}
