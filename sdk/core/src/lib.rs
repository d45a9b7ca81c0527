//! Clients and Workers for servers that speak Temporal's API. Users name the crate `mainspring`, which re-exports this.
//!
//! - [`Client`]: starts workflows and talks to them. [`Worker`]: runs activities and workflows.
//! - [`call`]: what is to be run, with which arguments and options. [`activity`]: code that does things.
//! - [`payload`], [`codec`], [`DataConverter`]: values on the wire. [`Error`]: why something went wrong.
#![warn(missing_docs)]

pub mod activity;
pub mod call;
pub mod client;
pub mod codec;
mod convert;
pub mod durations;
pub mod error;
mod failure;
pub mod payload;
mod proto_json;
pub mod replay;
pub mod retry;
#[doc(hidden)]
pub mod rt;
pub mod worker;
pub mod workflow;

/// The types of the API as they go over the wire: events of histories, enums, what [`Client::rpc`] sends.
pub use mainspring_api::v1 as api;

pub use crate::{
    activity::{Activities, Activity, ActivityDef, ActivityInfo, CancelReason, TaskToken, TestActivity},
    call::{
        ActivityCall, Call, CancelKind, IdReuse, OnConflict, ParentClose, Priority, Query, QueryCall, SearchAttributes,
        Signal, SignalCall, Update, UpdateCall, WorkflowCall,
    },
    client::{Class, Client, ClientError, Connect, ConnectError, RpcError, Tls},
    convert::DataConverter,
    error::{Error, Result},
    payload::{FromPayload, Payload, Proto, ProtoJson, Raw, RawArgs, ToPayload},
    replay::{ReplayError, Replayer},
    retry::RetryPolicy,
    worker::{Pollers, Slots, VerifyReplay, Versioning, Worker, WorkerBuilder, WorkerError, WorkerHandle},
    workflow::{Ctx, WorkflowDef},
};
