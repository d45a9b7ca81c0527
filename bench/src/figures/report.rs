//! What one run of a scenario found.

use serde_json::{Map, Value, json};

use crate::figures::latency::Percentiles;

/// One run, or the medians of several.
#[derive(Clone, Debug, Default)]
pub(crate) struct Report {
    pub(crate) scenario: String,
    pub(crate) parallel: usize,
    /// Operations that succeeded.
    pub(crate) count: u64,
    pub(crate) errors: u64,
    pub(crate) first_error: Option<String>,
    /// Why it was not run, if it was not; no other figure counts then.
    pub(crate) skipped: Option<String>,
    pub(crate) seconds: f64,
    pub(crate) latency: Option<Percentiles>,
    pub(crate) client_cpu_ms_per_op: f64,
    pub(crate) server: Option<ServerUse>,
    pub(crate) disk_bytes_per_op: Option<f64>,
    /// Figures that only this scenario has.
    pub(crate) more: Map<String, Value>,
}

/// What the server's process took, where its id is known.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(crate) struct ServerUse {
    pub(crate) cpu_ms_per_op: f64,
    pub(crate) rss_before_mib: f64,
    pub(crate) rss_after_mib: f64,
    pub(crate) rss_peak_mib: f64,
    pub(crate) written_bytes_per_op: f64,
}

impl Report {
    /// A scenario that this server does not serve.
    pub(crate) fn skipped(scenario: &str, why: &str) -> Report {
        Report { scenario: scenario.to_owned(), skipped: Some(why.to_owned()), ..Report::default() }
    }

    /// A scenario that could not be carried through.
    pub(crate) fn failed(scenario: &str, why: &str) -> Report {
        Report { scenario: scenario.to_owned(), errors: 1, first_error: Some(why.to_owned()), ..Report::default() }
    }

    /// Operations a second.
    pub(crate) fn rate(&self) -> f64 {
        if self.seconds > 0.0 { self.count as f64 / self.seconds } else { 0.0 }
    }

    /// Adds a figure of this scenario's own.
    pub(crate) fn add(&mut self, name: &str, value: f64) {
        self.more.insert(name.to_owned(), json!(rounded(value)));
    }

    /// Adds errors that were not found by the load itself.
    pub(crate) fn blame(&mut self, errors: u64, first: Option<String>) {
        self.errors += errors;
        if self.first_error.is_none() {
            self.first_error = first;
        }
    }

    /// One JSON object, for programs.
    pub(crate) fn json(&self, server: &str) -> Value {
        let mut out = Map::new();
        let mut put = |name: &str, value: Value| drop(out.insert(name.to_owned(), value));
        put("server", json!(server));
        put("scenario", json!(self.scenario));
        if let Some(why) = &self.skipped {
            put("skipped", json!(why));
            return Value::Object(out);
        }
        put("parallel", json!(self.parallel));
        put("count", json!(self.count));
        put("errors", json!(self.errors));
        if let Some(error) = &self.first_error {
            put("first_error", json!(error));
        }
        put("seconds", json!(rounded(self.seconds)));
        put("rate", json!(rounded(self.rate())));
        if let Some(latency) = self.latency {
            let all = [("p50", latency.p50), ("p90", latency.p90), ("p99", latency.p99), ("max", latency.max)];
            for (name, value) in all {
                put(&format!("{name}_ms"), json!(rounded(value)));
            }
        }
        put("client_cpu_ms_per_op", json!(rounded(self.client_cpu_ms_per_op)));
        if let Some(server) = self.server {
            put("server_cpu_ms_per_op", json!(rounded(server.cpu_ms_per_op)));
            put("rss_before_mib", json!(rounded(server.rss_before_mib)));
            put("rss_after_mib", json!(rounded(server.rss_after_mib)));
            put("rss_peak_mib", json!(rounded(server.rss_peak_mib)));
            put("written_bytes_per_op", json!(rounded(server.written_bytes_per_op)));
        }
        if let Some(bytes) = self.disk_bytes_per_op {
            put("disk_bytes_per_op", json!(rounded(bytes)));
        }
        for (name, value) in &self.more {
            put(name, value.clone());
        }
        Value::Object(out)
    }
}

/// With four significant digits; more are noise.
pub(crate) fn rounded(value: f64) -> f64 {
    if value == 0.0 || !value.is_finite() {
        return 0.0;
    }
    let decimals = 3 - value.abs().log10().floor() as i32;
    let factor = 10f64.powi(decimals.clamp(0, 6));
    (value * factor).round() / factor
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn four_digits_are_kept() {
        assert_eq!(rounded(1_234_567.8), 1_234_568.0);
        assert_eq!(rounded(12.345_6), 12.35);
        assert_eq!(rounded(0.001_234_56), 0.001_235);
        assert_eq!([0.0, f64::NAN, f64::INFINITY].map(rounded), [0.0; 3]);
    }

    #[test]
    fn programs_get_what_there_is_and_no_more() {
        let report = Report { count: 10, seconds: 2.0, ..Report::failed("list", "no") };
        let json = report.json("ours");
        assert_eq!((&json["rate"], &json["first_error"], &json["server"]), (&json!(5.0), &json!("no"), &json!("ours")));
        assert!(json.get("p50_ms").is_none() && json.get("disk_bytes_per_op").is_none());
        let skipped = Report::skipped("update", "UNIMPLEMENTED").json("ours");
        assert_eq!(skipped.as_object().map(Map::len), Some(3));
    }
}
