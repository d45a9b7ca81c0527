//! Latencies, all of them kept, so that percentiles are exact.

use std::time::Duration;

/// Latencies in the order they came, in microseconds.
#[derive(Clone, Debug, Default)]
pub(crate) struct Latencies(Vec<u32>);

/// Percentiles, in milliseconds.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(crate) struct Percentiles {
    pub(crate) p50: f64,
    pub(crate) p90: f64,
    pub(crate) p99: f64,
    pub(crate) max: f64,
}

impl Latencies {
    /// An hour and more counts as 71 minutes.
    pub(crate) fn push(&mut self, latency: Duration) {
        self.0.push(u32::try_from(latency.as_micros()).unwrap_or(u32::MAX));
    }

    pub(crate) fn append(&mut self, mut other: Latencies) {
        self.0.append(&mut other.0);
    }

    pub(crate) fn len(&self) -> usize {
        self.0.len()
    }

    /// Nothing when there is no latency.
    pub(crate) fn percentiles(&self) -> Option<Percentiles> {
        let mut sorted = self.0.clone();
        sorted.sort_unstable();
        let at = |share: f64| {
            let index = (sorted.len() as f64 * share) as usize;
            sorted.get(index.min(sorted.len().saturating_sub(1))).map(|micros| f64::from(*micros) / 1e3)
        };
        Some(Percentiles { p50: at(0.5)?, p90: at(0.9)?, p99: at(0.99)?, max: at(1.0)? })
    }

    /// The mean of the first and of the last `count`, in milliseconds.
    pub(crate) fn ends(&self, count: usize) -> (f64, f64) {
        let count = count.min(self.0.len());
        (mean(&self.0[..count]), mean(&self.0[self.0.len() - count..]))
    }
}

fn mean(micros: &[u32]) -> f64 {
    let sum: f64 = micros.iter().map(|micros| f64::from(*micros)).sum();
    if micros.is_empty() { 0.0 } else { sum / micros.len() as f64 / 1e3 }
}

/// The middle of the values, or the mean of the two in the middle.
pub(crate) fn median(values: &[f64]) -> Option<f64> {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    let middle = sorted.len() / 2;
    match sorted.len() {
        0 => None,
        odd if odd % 2 == 1 => Some(sorted[middle]),
        _ => Some(f64::midpoint(sorted[middle - 1], sorted[middle])),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn latencies(millis: impl IntoIterator<Item = u64>) -> Latencies {
        let mut latencies = Latencies::default();
        for millis in millis {
            latencies.push(Duration::from_millis(millis));
        }
        latencies
    }

    #[test]
    fn percentiles_are_values_that_were_seen() {
        let of_a_hundred = latencies((1..=100).rev()).percentiles();
        assert_eq!(of_a_hundred, Some(Percentiles { p50: 51.0, p90: 91.0, p99: 100.0, max: 100.0 }));
        assert_eq!(latencies([7]).percentiles(), Some(Percentiles { p50: 7.0, p90: 7.0, p99: 7.0, max: 7.0 }));
        assert_eq!(latencies([]).percentiles(), None);
    }

    #[test]
    fn the_ends_are_in_order_of_arrival() {
        assert_eq!(latencies([1, 3, 50, 10, 20]).ends(2), (2.0, 15.0));
        assert_eq!(latencies([4]).ends(2), (4.0, 4.0));
        assert_eq!(latencies([]).ends(2), (0.0, 0.0));
    }

    #[test]
    fn medians_of_odd_even_and_none() {
        assert_eq!(median(&[3.0, 1.0, 2.0]), Some(2.0));
        assert_eq!(median(&[4.0, 1.0]), Some(2.5));
        assert_eq!(median(&[]), None);
    }

    #[test]
    fn a_latency_beyond_measure_is_the_largest() {
        let mut latencies = Latencies::default();
        latencies.push(Duration::from_secs(100_000));
        assert_eq!(latencies.percentiles().map(|all| all.max as u64), Some(u64::from(u32::MAX) / 1000));
    }
}
