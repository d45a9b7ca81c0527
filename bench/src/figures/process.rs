//! What `/proc` tells about a process and its descendants. Elsewhere than on Linux every figure is 0.

use std::fs;
use std::path::Path;

/// `USER_HZ`: the unit of times in `/proc`, the same on every architecture that Rust supports as a host.
const TICKS_PER_SECOND: f64 = 100.0;

/// CPU seconds, user and system, of the process and its descendants, reaped ones included.
pub(crate) fn cpu_seconds(pid: u32) -> f64 {
    let stats = tree(pid).into_iter().filter_map(|pid| fs::read_to_string(format!("/proc/{pid}/stat")).ok());
    stats.filter_map(|stat| ticks(&stat)).sum::<f64>() / TICKS_PER_SECOND
}

/// Resident memory.
pub(crate) fn rss_mib(pid: u32) -> f64 {
    status_kib(pid, "VmRSS:") / 1024.0
}

/// The most resident memory since [`reset_peak`].
pub(crate) fn rss_peak_mib(pid: u32) -> f64 {
    status_kib(pid, "VmHWM:") / 1024.0
}

/// Forgets the peak. It needs the right to write there, and is left out without it.
pub(crate) fn reset_peak(pid: u32) {
    for pid in tree(pid) {
        let _ = fs::write(format!("/proc/{pid}/clear_refs"), "5");
    }
}

/// Bytes that the process caused to be written to disk, rewrites included.
pub(crate) fn written_bytes(pid: u32) -> f64 {
    tree(pid).iter().map(|pid| field(&format!("/proc/{pid}/io"), "write_bytes:")).sum()
}

/// Bytes of all files under a folder.
pub(crate) fn folder_bytes(path: &Path) -> u64 {
    let Ok(entry) = fs::symlink_metadata(path) else { return 0 };
    if !entry.is_dir() {
        return entry.len();
    }
    fs::read_dir(path).map_or(0, |entries| entries.flatten().map(|entry| folder_bytes(&entry.path())).sum())
}

/// The process and its living descendants.
fn tree(pid: u32) -> Vec<u32> {
    let mut all = vec![pid];
    let mut next = 0;
    while let Some(pid) = all.get(next).copied() {
        for thread in fs::read_dir(format!("/proc/{pid}/task")).into_iter().flatten().flatten() {
            let children = fs::read_to_string(thread.path().join("children")).unwrap_or_default();
            all.extend(children.split_whitespace().filter_map(|child| child.parse::<u32>().ok()));
        }
        next += 1;
    }
    all
}

/// utime, stime, cutime and cstime: fields 14 to 17 of a line of which the second may hold spaces.
fn ticks(stat: &str) -> Option<f64> {
    let after_name = stat.rsplit_once(')')?.1;
    let fields: Vec<f64> =
        after_name.split_whitespace().skip(11).take(4).filter_map(|text| text.parse().ok()).collect();
    (fields.len() == 4).then(|| fields.iter().sum())
}

fn status_kib(pid: u32, key: &str) -> f64 {
    tree(pid).iter().map(|pid| field(&format!("/proc/{pid}/status"), key)).sum()
}

/// The number behind `key` in a file of `key number` lines.
fn field(path: &str, key: &str) -> f64 {
    let text = fs::read_to_string(path).unwrap_or_default();
    let value = text.lines().find_map(|line| line.strip_prefix(key)).and_then(|rest| rest.split_whitespace().next());
    value.and_then(|number| number.parse().ok()).unwrap_or(0.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_found_behind_any_name() {
        let stat = "7 (a ) b) S 1 7 7 0 -1 4194304 100 200 0 0 11 22 33 44 20 0 9 0 1 2 3";
        assert_eq!(ticks(stat), Some(110.0));
        assert_eq!(ticks("7 (short) S 1"), None);
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn this_process_has_memory_and_a_folder_has_bytes() {
        assert!(rss_mib(std::process::id()) > 1.0);
        assert!(folder_bytes(&Path::new(env!("CARGO_MANIFEST_DIR")).join("src")) > 1_000);
        assert_eq!(folder_bytes(Path::new("/no/such/folder")), 0);
    }
}
