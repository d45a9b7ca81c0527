//! Samples the server and the generator around a measured stretch.

use std::path::PathBuf;
use std::time::Instant;

use crate::figures::latency::Latencies;
use crate::figures::process::{cpu_seconds, folder_bytes, reset_peak, rss_mib, rss_peak_mib, written_bytes};
use crate::figures::report::{Report, ServerUse};

/// What everything stood at when the stretch began.
pub(crate) struct Meter {
    pid: Option<u32>,
    dir: Option<PathBuf>,
    began: Instant,
    own_cpu: f64,
    server_cpu: f64,
    rss_mib: f64,
    written: f64,
    disk: f64,
}

impl Meter {
    pub(crate) fn start(pid: Option<u32>, dir: Option<PathBuf>) -> Meter {
        if let Some(pid) = pid {
            reset_peak(pid);
        }
        Meter {
            pid,
            disk: dir.as_deref().map_or(0, folder_bytes) as f64,
            dir,
            own_cpu: cpu_seconds(std::process::id()),
            server_cpu: pid.map_or(0.0, cpu_seconds),
            rss_mib: pid.map_or(0.0, rss_mib),
            written: pid.map_or(0.0, written_bytes),
            began: Instant::now(),
        }
    }

    pub(crate) fn seconds(&self) -> f64 {
        self.began.elapsed().as_secs_f64()
    }

    /// CPU seconds that the server took so far.
    pub(crate) fn server_cpu(&self) -> f64 {
        self.pid.map_or(0.0, cpu_seconds) - self.server_cpu
    }

    /// By how much the server's memory has grown so far.
    pub(crate) fn rss_growth_mib(&self) -> f64 {
        self.pid.map_or(0.0, rss_mib) - self.rss_mib
    }

    /// Ends the stretch: `count` operations were done in it.
    pub(crate) fn finish(&self, scenario: &str, count: u64, latencies: &Latencies) -> Report {
        let seconds = self.seconds();
        let operations = count.max(1) as f64;
        let server = self.pid.map(|pid| ServerUse {
            cpu_ms_per_op: self.server_cpu() * 1e3 / operations,
            rss_before_mib: self.rss_mib,
            rss_after_mib: rss_mib(pid),
            rss_peak_mib: rss_peak_mib(pid),
            written_bytes_per_op: (written_bytes(pid) - self.written) / operations,
        });
        Report {
            scenario: scenario.to_owned(),
            count,
            seconds,
            latency: latencies.percentiles(),
            client_cpu_ms_per_op: (cpu_seconds(std::process::id()) - self.own_cpu) * 1e3 / operations,
            server,
            disk_bytes_per_op: self.dir.as_deref().map(|dir| (folder_bytes(dir) as f64 - self.disk) / operations),
            ..Report::default()
        }
    }
}
