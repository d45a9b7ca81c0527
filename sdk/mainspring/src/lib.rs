//! Durable execution in Rust: workflows, activities and clients for Mainspring and Temporal servers.
#![warn(missing_docs)]

pub use mainspring_sdk::*;
