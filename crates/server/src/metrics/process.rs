//! What the operating system knows of this process. Only Linux is asked; elsewhere the figures are left out.

use std::fs;

/// Figures of the process, at one moment.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(super) struct Process {
    pub(super) resident_bytes: u64,
    /// User and system time.
    pub(super) cpu_seconds: f64,
    pub(super) open_files: u64,
}

pub(super) fn look() -> Option<Process> {
    let status = fs::read_to_string("/proc/self/status").ok()?;
    let stat = fs::read_to_string("/proc/self/stat").ok()?;
    let open_files = fs::read_dir("/proc/self/fd").ok()?.count() as u64;
    Some(Process { resident_bytes: resident_bytes(&status)?, cpu_seconds: cpu_seconds(&stat)?, open_files })
}

fn resident_bytes(status: &str) -> Option<u64> {
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
    let kib: u64 = line.split_whitespace().next()?.parse().ok()?;
    Some(kib << 10)
}

/// Fields 14 and 15, in hundredths of a second on every architecture that Rust's standard library runs on. The second
/// field, the name, may hold blanks and parentheses; the last `)` ends it.
fn cpu_seconds(stat: &str) -> Option<f64> {
    let mut fields = stat.rsplit_once(')')?.1.split_whitespace().skip(11);
    let user: u64 = fields.next()?.parse().ok()?;
    let system: u64 = fields.next()?.parse().ok()?;
    Some((user + system) as f64 / 100.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_with_blanks_does_not_shift_the_fields() {
        let stat = "7 (a) b) S 1 7 7 0 -1 4194560 100 0 0 0 150 50 0 0 20 0 1 0 1000 1000 100";
        assert_eq!(cpu_seconds(stat), Some(2.0));
        assert_eq!(resident_bytes("VmPeak:\t 9 kB\nVmRSS:\t    2048 kB\n"), Some(2 << 20));
        assert_eq!(cpu_seconds("7 (a"), None);
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn linux_knows_this_process() {
        let process = look().expect("Linux has /proc");
        assert!(process.resident_bytes > 0 && process.open_files > 0, "{process:?}");
    }
}
