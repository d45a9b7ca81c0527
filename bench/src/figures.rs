//! What is measured and how it is shown: latencies, the server's use of the machine, reports, tables.

pub(crate) mod compare;
pub(crate) mod latency;
pub(crate) mod meter;
pub(crate) mod process;
pub(crate) mod report;
pub(crate) mod table;
