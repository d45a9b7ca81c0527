//! The counters as text for Prometheus.

use std::{
    fmt::{Display, Write},
    sync::{Arc, atomic::Ordering::Relaxed},
};

use mainspring_frontend::SERVER_VERSION;
use mainspring_rt::{Rt, Timestamp};
use mainspring_store::Store;
use tonic::Code;

use super::{Method, Metrics, process};

/// Everything that a page is written from.
pub(crate) struct Page {
    pub(crate) rt: Rt,
    pub(crate) metrics: Arc<Metrics>,
    pub(crate) store: Arc<dyn Store>,
    pub(crate) started_at: Timestamp,
}

impl Page {
    pub(super) fn text(&self) -> String {
        let mut out = Out(String::with_capacity(8 << 10));
        self.requests(&mut out);
        self.polls(&mut out);
        self.store(&mut out);
        self.tls(&mut out);
        self.process(&mut out);
        out.0
    }

    /// Methods that nobody called are left out: the API has more than a hundred.
    fn called(&self) -> impl Iterator<Item = &Method> {
        let all = self.metrics.methods.iter().chain([&self.metrics.unknown]);
        all.filter(|m| m.pending.load(Relaxed) > 0 || m.ended.iter().any(|count| count.load(Relaxed) > 0))
    }

    fn requests(&self, out: &mut Out) {
        out.family("service_requests", "counter", "Calls that ended, by method and gRPC status.");
        for method in self.called() {
            for (code, count) in (0..).zip(&method.ended).map(|(code, count)| (code, count.load(Relaxed))) {
                if count > 0 {
                    let labels = format!("operation=\"{}\",status=\"{:?}\"", method.name(), Code::from_i32(code));
                    out.value("service_requests", &labels, count);
                }
            }
        }
        out.family("service_pending_requests", "gauge", "Calls under way; of a poll method: pollers that wait.");
        for method in self.called() {
            out.value("service_pending_requests", &operation(method), method.pending.load(Relaxed));
        }
    }

    fn polls(&self, out: &mut Out) {
        let polls: Vec<&Method> = self.called().filter(|method| method.name().starts_with("Poll")).collect();
        out.family("poll_success", "counter", "Polls that were answered with a task.");
        for method in &polls {
            out.value("poll_success", &operation(method), method.full.load(Relaxed));
        }
        out.family("poll_timeouts", "counter", "Polls that were answered without one.");
        for method in &polls {
            out.value("poll_timeouts", &operation(method), method.empty.load(Relaxed));
        }
    }

    fn store(&self, out: &mut Out) {
        let stats = self.store.stats();
        out.single("mainspring_store_commits_total", "counter", "Batches written and acknowledged.", stats.commits);
        let help = "Transactions of the data file; the batches in one share a sync.";
        out.single("mainspring_store_groups_total", "counter", help, stats.groups);
        let help = "Bytes of keys and values in acknowledged batches.";
        out.single("mainspring_store_bytes_total", "counter", help, stats.bytes);
    }

    fn tls(&self, out: &mut Out) {
        let help = "Connections refused or given up during the TLS handshake.";
        let failed = self.metrics.tls_handshakes_failed.load(Relaxed);
        out.single("mainspring_tls_handshake_failures_total", "counter", help, failed);
        let help = "Changed TLS files that could not be used; those from before stayed.";
        let failed = self.metrics.tls_reloads_failed.load(Relaxed);
        out.single("mainspring_tls_reload_failures_total", "counter", help, failed);
    }

    fn process(&self, out: &mut Out) {
        let labels = format!("version=\"{}\",api_server_version=\"{SERVER_VERSION}\"", env!("CARGO_PKG_VERSION"));
        out.family("build_information", "gauge", "Always 1; what runs is in the labels.");
        out.value("build_information", &labels, 1);
        let started = self.started_at.as_millis() as f64 / 1e3;
        out.single("process_start_time_seconds", "gauge", "When it started, in seconds since 1970.", started);
        let uptime = self.rt.now().since(self.started_at).as_secs_f64();
        out.single("mainspring_uptime_seconds", "gauge", "Time since it started.", uptime);
        let Some(process) = process::look() else { return };
        out.single("process_cpu_seconds_total", "counter", "User and system time.", process.cpu_seconds);
        out.single("process_resident_memory_bytes", "gauge", "Resident memory.", process.resident_bytes);
        out.single("process_open_fds", "gauge", "Open files and connections.", process.open_files);
    }
}

fn operation(method: &Method) -> String {
    format!("operation=\"{}\"", method.name())
}

/// The text so far. Writing to a string cannot fail, so the results are dropped.
struct Out(String);

impl Out {
    fn family(&mut self, name: &str, kind: &str, help: &str) {
        let _ = writeln!(self.0, "# HELP {name} {help}\n# TYPE {name} {kind}");
    }

    fn value(&mut self, name: &str, labels: &str, value: impl Display) {
        let _ = writeln!(self.0, "{name}{{{labels}}} {value}");
    }

    fn single(&mut self, name: &str, kind: &str, help: &str, value: impl Display) {
        self.family(name, kind, help);
        let _ = writeln!(self.0, "{name} {value}");
    }
}
