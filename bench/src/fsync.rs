//! What a sync costs on a disk: the bound of every durable server.

use std::fmt::Write as _;
use std::fs::File;
use std::io::{Seek, Write};
use std::path::Path;
use std::time::Instant;

use anyhow::Context;

use crate::args::FsyncOptions;
use crate::figures::latency::Latencies;

/// Writes blocks to a file, each followed by a sync: once appended, once over what is there.
///
/// # Errors
/// When the folder cannot be written to.
pub(crate) fn measure(options: &FsyncOptions) -> anyhow::Result<String> {
    let path = options.dir.join(format!("fsync-{}", std::process::id()));
    let mut out = format!("{} blocks of {} bytes, each synced:", options.count, options.bytes);
    for (name, is_preallocated) in [("append", false), ("overwrite", true)] {
        let latencies = write_and_sync(&path, options, is_preallocated).with_context(|| path.display().to_string());
        let _ = std::fs::remove_file(&path);
        if let Some(all) = latencies?.percentiles() {
            let _ = write!(out, "\n{name:<10} p50 {:.3} ms   p99 {:.3} ms   max {:.3} ms", all.p50, all.p99, all.max);
        }
    }
    Ok(out)
}

fn write_and_sync(path: &Path, options: &FsyncOptions, is_preallocated: bool) -> std::io::Result<Latencies> {
    let mut file = File::options().create(true).truncate(true).write(true).open(path)?;
    let block = vec![1; options.bytes];
    if is_preallocated {
        for _ in 0..options.count {
            file.write_all(&block)?;
        }
        file.sync_all()?;
        file.rewind()?;
    }
    let mut latencies = Latencies::default();
    for _ in 0..options.count {
        let began = Instant::now();
        file.write_all(&block)?;
        file.sync_data()?;
        latencies.push(began.elapsed());
    }
    Ok(latencies)
}
