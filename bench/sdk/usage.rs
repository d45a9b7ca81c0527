//! What only this process can tell of its use, from `/proc`. Shared by the worker programs, as a file.

use std::fs;

/// The most resident memory so far.
pub(crate) fn rss_peak_mib() -> f64 {
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap_or_default();
    line.split_whitespace().next().and_then(|kib| kib.parse::<f64>().ok()).unwrap_or_default() / 1024.0
}
