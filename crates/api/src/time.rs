//! Between the wire's times and ours.

use std::time::Duration;

use mainspring_rt::Timestamp;

/// The wire form of a point in time.
pub fn timestamp(at: Timestamp) -> prost_types::Timestamp {
    let nanos = at.as_nanos();
    prost_types::Timestamp {
        seconds: nanos.div_euclid(1_000_000_000),
        nanos: i32::try_from(nanos.rem_euclid(1_000_000_000)).unwrap_or(0),
    }
}

/// A point in time from the wire; absent is [`Timestamp::ZERO`].
pub fn from_timestamp(at: Option<&prost_types::Timestamp>) -> Timestamp {
    at.map_or(Timestamp::ZERO, |at| {
        Timestamp::from_nanos(at.seconds.saturating_mul(1_000_000_000).saturating_add(i64::from(at.nanos)))
    })
}

/// The wire form of a span of time.
pub fn duration(span: Duration) -> prost_types::Duration {
    prost_types::Duration {
        seconds: i64::try_from(span.as_secs()).unwrap_or(i64::MAX),
        nanos: i32::try_from(span.subsec_nanos()).unwrap_or(0),
    }
}

/// A span of time from the wire; absent and negative are zero. Whoever must refuse negative ones asks
/// [`is_negative`] first.
pub fn from_duration(span: Option<&prost_types::Duration>) -> Duration {
    match span {
        Some(span) if !is_negative(Some(span)) => {
            Duration::new(u64::try_from(span.seconds).unwrap_or(0), u32::try_from(span.nanos).unwrap_or(0))
        }
        _ => Duration::ZERO,
    }
}

/// True for a span below zero.
pub fn is_negative(span: Option<&prost_types::Duration>) -> bool {
    span.is_some_and(|span| span.seconds < 0 || span.nanos < 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_round_trip() {
        for nanos in [0, 1, -1, 1_500_000_000, i64::MAX, i64::MIN + 1_000_000_000] {
            let at = Timestamp::from_nanos(nanos);
            assert_eq!(from_timestamp(Some(&timestamp(at))), at);
        }
    }

    #[test]
    fn negative_spans_read_as_zero() {
        let span = prost_types::Duration { seconds: -1, nanos: 0 };
        assert!(is_negative(Some(&span)));
        assert_eq!(from_duration(Some(&span)), Duration::ZERO);
    }
}
