//! The table for people.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use serde_json::Value;

use crate::figures::report::{Report, ServerUse};

/// Of one scenario: each server's name with what it did, the one that the others are compared with first.
pub(crate) type Group = Vec<(String, Report)>;

const HEADS: [&str; 11] = [
    "scenario",
    "parallel",
    "rate/s",
    "p50 ms",
    "p99 ms",
    "server CPU ms/op",
    "client CPU ms/op",
    "RSS MiB",
    "disk B/op",
    "errors",
    "server",
];
const RATIO_HEADS: [&str; 2] = ["rate x", "CPU x"];
const RATIO_NOTE: &str =
    "rate x: the rate of the first server over this one's; CPU x: this one's CPU over the first one's.";

/// All groups as lines, then what is particular to a scenario, then the errors.
pub(crate) fn render(groups: &[Group]) -> String {
    let is_compared = groups.iter().any(|group| group.len() > 1);
    let mut rows = vec![HEADS.map(str::to_owned).to_vec()];
    if is_compared {
        rows[0].extend(RATIO_HEADS.map(str::to_owned));
    }
    for group in groups {
        for (place, (name, report)) in group.iter().enumerate().filter(|(_, (_, report))| report.skipped.is_none()) {
            let mut row = cells(name, report);
            if is_compared {
                row.extend(if place == 0 { [String::new(), String::new()] } else { ratios(&group[0].1, report) });
            }
            rows.push(row);
        }
    }
    let is_text = |column| matches!(HEADS.get(column), Some(&("scenario" | "server")));
    let mut out = aligned(&rows, is_text);
    if is_compared {
        let _ = write!(out, "\n{RATIO_NOTE}");
    }
    for line in skipped(groups) {
        let _ = write!(out, "\n{line}");
    }
    for (name, report) in groups.iter().flatten() {
        if !report.more.is_empty() {
            let _ = write!(out, "\n{} on {name}: {}", report.scenario, particulars(report));
        }
    }
    for (name, report) in groups.iter().flatten().filter(|(_, report)| report.errors > 0) {
        let why = report.first_error.as_deref().unwrap_or("no message");
        let _ = write!(out, "\n{} on {name}: {} errors, the first: {why}", report.scenario, report.errors);
    }
    out
}

/// One line of an ongoing measurement, to be printed as it comes.
pub(crate) fn progress(second: f64, rate: f64, p50: f64, p99: f64, rss: Option<f64>) -> String {
    let memory = rss.map_or(String::new(), |rss| format!("   RSS {rss:>7.1} MiB"));
    format!("{second:>6.0} s   {rate:>8.1}/s   p50 {p50:>8.2} ms   p99 {p99:>8.2} ms{memory}")
}

fn cells(name: &str, report: &Report) -> Vec<String> {
    let server = |pick: fn(&ServerUse) -> f64| optional(report.server.as_ref().map(pick));
    vec![
        report.scenario.clone(),
        report.parallel.to_string(),
        number(report.rate()),
        optional(report.latency.map(|latency| latency.p50)),
        optional(report.latency.map(|latency| latency.p99)),
        server(|server| server.cpu_ms_per_op),
        number(report.client_cpu_ms_per_op),
        server(|server| server.rss_after_mib),
        optional(report.disk_bytes_per_op),
        report.errors.to_string(),
        name.to_owned(),
    ]
}

/// One line for each server and reason.
fn skipped(groups: &[Group]) -> Vec<String> {
    let mut lines: BTreeMap<(&str, &str), Vec<&str>> = BTreeMap::new();
    for (name, report) in groups.iter().flatten() {
        if let Some(why) = &report.skipped {
            lines.entry((name, why)).or_default().push(&report.scenario);
        }
    }
    let line = |((name, why), scenarios): ((&str, &str), Vec<&str>)| {
        format!("skipped on {name}: {} ({why})", scenarios.join(", "))
    };
    lines.into_iter().map(line).collect()
}

/// How much faster and how much cheaper the first one is.
fn ratios(first: &Report, other: &Report) -> [String; 2] {
    let over = |above: f64, below: f64| if above > 0.0 && below > 0.0 { number(above / below) } else { String::new() };
    let cpu = |report: &Report| report.server.map_or(0.0, |server| server.cpu_ms_per_op);
    [over(first.rate(), other.rate()), over(cpu(other), cpu(first))]
}

fn particulars(report: &Report) -> String {
    let one = |(name, value): (&String, &Value)| match value.as_f64() {
        Some(figure) => format!("{} {}", name.replace('_', " "), number(figure)),
        None => format!("{} {value}", name.replace('_', " ")),
    };
    report.more.iter().map(one).collect::<Vec<_>>().join(", ")
}

fn optional(value: Option<f64>) -> String {
    value.map_or_else(|| "-".to_owned(), number)
}

/// Three digits that tell something; thousands in groups.
pub(crate) fn number(value: f64) -> String {
    if value.abs() < 99.95 {
        let decimals = if value.abs() < 0.995 {
            3
        } else if value.abs() < 9.995 {
            2
        } else {
            1
        };
        let text = format!("{value:.decimals$}");
        return if value == value.trunc() { format!("{value:.0}") } else { text };
    }
    let digits = format!("{:.0}", value.abs());
    let mut out = String::from(if value < 0.0 { "-" } else { "" });
    for (place, digit) in digits.chars().enumerate() {
        if place > 0 && (digits.len() - place).is_multiple_of(3) {
            out.push(',');
        }
        out.push(digit);
    }
    out
}

/// Columns of text to the left, numbers to the right; two spaces between.
pub(crate) fn aligned(rows: &[Vec<String>], is_text: impl Fn(usize) -> bool) -> String {
    let columns = rows.first().map_or(0, Vec::len);
    let widths: Vec<usize> =
        (0..columns).map(|column| rows.iter().map(|row| row[column].chars().count()).max().unwrap_or(0)).collect();
    let mut lines = Vec::new();
    for row in rows {
        let mut line = String::new();
        for (column, (cell, width)) in row.iter().zip(&widths).enumerate() {
            let _ = if is_text(column) { write!(line, "{cell:<width$}  ") } else { write!(line, "{cell:>width$}  ") };
        }
        lines.push(line.trim_end().to_owned());
    }
    lines.join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn report(scenario: &str, count: u64, cpu_ms_per_op: f64) -> Report {
        let server = Some(ServerUse { cpu_ms_per_op, ..ServerUse::default() });
        Report { scenario: scenario.to_owned(), parallel: 16, count, seconds: 1.0, server, ..Report::default() }
    }

    #[test]
    fn numbers_keep_three_digits() {
        let shown = [0.0, 0.0567, 1.0, 1.234, 12.34, 99.97, 1234.5, 1_234_567.0, -1500.0].map(number);
        assert_eq!(shown, ["0", "0.057", "1", "1.23", "12.3", "100", "1,234", "1,234,567", "-1,500"]);
    }

    #[test]
    fn columns_are_aligned_and_end_without_spaces() {
        let text = render(&[vec![("a".to_owned(), report("echo", 5, 0.2))]]);
        let lines: Vec<&str> = text.lines().collect();
        assert_eq!(lines.len(), 2);
        let place = |line: &str| line.find("16").map(|at| at + 2);
        assert_eq!(place(lines[1]), lines[0].find("parallel").map(|at| at + "parallel".len()));
        assert!(lines.iter().all(|line| line.trim_end() == *line) && !text.contains("rate x"));
    }

    #[test]
    fn the_first_server_is_what_the_others_are_measured_by() {
        let group = vec![("ours".to_owned(), report("echo", 100, 0.5)), ("other".to_owned(), report("echo", 20, 2.0))];
        let text = render(&[group]);
        let other: Vec<&str> = text.lines().nth(2).expect("a row each").split_whitespace().collect();
        assert_eq!(other[other.len() - 3..], ["other", "5", "4"], "{text}");
    }

    #[test]
    fn what_was_skipped_and_what_failed_is_in_plain_sight() {
        let groups = [
            vec![("a".to_owned(), Report::skipped("update", "UNIMPLEMENTED"))],
            vec![("a".to_owned(), Report::failed("list", "a short page"))],
        ];
        let text = render(&groups);
        assert!(text.contains("skipped on a: update (UNIMPLEMENTED)"), "{text}");
        assert!(text.ends_with("list on a: 1 errors, the first: a short page"), "{text}");
    }
}
