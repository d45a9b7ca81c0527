//! Several rounds of a scenario put together, and the order in which servers take turns.

use crate::figures::latency::{Percentiles, median};
use crate::figures::report::{Report, ServerUse};

/// Who runs in a round: the first one moves on by one each time, so that a drift of the machine falls on all of them.
pub(crate) fn order(servers: usize, round: usize) -> Vec<usize> {
    (0..servers).map(|turn| (turn + round) % servers.max(1)).collect()
}

/// The median of each figure; errors are added up. Figures of the scenario's own are those of the last round.
///
/// # Panics
/// When there is no report.
pub(crate) fn medians(rounds: &[Report]) -> Report {
    let last = rounds.last().expect("a scenario runs at least once").clone();
    let of = |figure: &dyn Fn(&Report) -> Option<f64>| {
        median(&rounds.iter().filter_map(figure).collect::<Vec<_>>()).unwrap_or_default()
    };
    let latency = |pick: fn(&Percentiles) -> f64| of(&|report: &Report| report.latency.as_ref().map(pick));
    let server = |pick: fn(&ServerUse) -> f64| of(&|report: &Report| report.server.as_ref().map(pick));
    let rate = of(&|report| Some(report.rate()));
    Report {
        errors: rounds.iter().map(|report| report.errors).sum(),
        first_error: rounds.iter().find_map(|report| report.first_error.clone()),
        // The rate is what counts; the seconds follow from it.
        seconds: if rate > 0.0 { last.count as f64 / rate } else { last.seconds },
        latency: last.latency.map(|_| Percentiles {
            p50: latency(|all| all.p50),
            p90: latency(|all| all.p90),
            p99: latency(|all| all.p99),
            max: latency(|all| all.max),
        }),
        client_cpu_ms_per_op: of(&|report| Some(report.client_cpu_ms_per_op)),
        server: last.server.map(|_| ServerUse {
            cpu_ms_per_op: server(|all| all.cpu_ms_per_op),
            rss_before_mib: server(|all| all.rss_before_mib),
            rss_after_mib: server(|all| all.rss_after_mib),
            rss_peak_mib: server(|all| all.rss_peak_mib),
            written_bytes_per_op: server(|all| all.written_bytes_per_op),
        }),
        disk_bytes_per_op: last.disk_bytes_per_op.map(|_| of(&|report| report.disk_bytes_per_op)),
        ..last
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn round(count: u64, errors: u64, cpu_ms_per_op: f64) -> Report {
        let server = Some(ServerUse { cpu_ms_per_op, ..ServerUse::default() });
        Report { count, errors, seconds: 2.0, server, ..Report::default() }
    }

    #[test]
    fn the_turn_moves_on_each_round() {
        assert_eq!([0, 1, 2].map(|round| order(2, round)), [[0, 1], [1, 0], [0, 1]]);
        assert_eq!(order(3, 1), [1, 2, 0]);
    }

    #[test]
    fn one_slow_round_does_not_count_and_one_error_does() {
        let median = medians(&[round(100, 0, 1.0), round(10, 2, 9.0), round(120, 0, 1.2)]);
        assert_eq!((median.rate(), median.errors), (50.0, 2));
        assert_eq!(median.server.map(|server| server.cpu_ms_per_op), Some(1.2));
    }
}
