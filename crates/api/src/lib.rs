//! Wire types of the public API, its error details, and the two messages that pass through as bytes.
//!
//! Everything under [`temporal`] is generated at build time. [`history::History`] and [`payload::Payload`] are ours,
//! so that stored history is spliced into answers without decoding and payloads keep their exact bytes.

pub mod history;
pub mod ids;
pub mod parts;
pub mod payload;
pub mod status;
pub mod time;

mod generated {
    #![allow(dead_code, clippy::all, clippy::pedantic, missing_docs, unreachable_pub, rustdoc::all)]
    include!(concat!(env!("OUT_DIR"), "/generated.rs"));
}

pub use generated::{google, temporal};

/// The descriptor set behind [`temporal`], for reflection and for the HTTP API.
pub const DESCRIPTORS: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/descriptors.bin"));

/// Short paths to the generated modules that everyone uses.
pub mod v1 {
    pub use crate::{
        history::History,
        payload::Payload,
        temporal::api::{
            activity::v1 as activity, command::v1 as command, common::v1 as common, deployment::v1 as deployment,
            enums::v1 as enums, errordetails::v1 as errordetails, failure::v1 as failure, filter::v1 as filter,
            history::v1 as history, namespace::v1 as namespace, operatorservice::v1 as operatorservice,
            protocol::v1 as protocol, query::v1 as query, replication::v1 as replication, sdk::v1 as sdk,
            taskqueue::v1 as taskqueue, update::v1 as update, version::v1 as version, workflow::v1 as workflow,
            workflowservice::v1 as workflowservice,
        },
    };
}
