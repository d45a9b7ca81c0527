//! [`Client`]: starts workflows and talks to them.
//!
//! - `connect`, `tls`: where the server is and how to reach it; `profile`: that from the environment and `temporal.toml`.
//! - `start`: starts; `handle`: one workflow; `query`, `update`, `result`: what a handle does with more than one call.
//! - `list`: lists and histories; `activity`: activities completed from outside.
//! - `rpc`: calls, deadlines, retries; `error`: outcomes.

mod activity;
mod connect;
mod error;
mod handle;
mod list;
pub mod profile;
mod query;
mod result;
mod rpc;
mod start;
mod tls;
mod update;

use std::sync::Arc;

pub(crate) use self::rpc::jittered;
pub use self::{
    activity::ActivityHandle,
    connect::{Connect, ConnectError},
    error::ClientError,
    handle::{Description, WorkflowHandle},
    list::{Execution, Executions, History},
    query::QueryReject,
    rpc::{Class, Rpc, RpcError, RpcRetry, Unary},
    tls::Tls,
    update::UpdateHandle,
};
use crate::convert::DataConverter;

/// What kind of failure a call met.
pub use tonic::Code;

/// A client of one namespace. Copies share its connection.
#[derive(Clone, Debug)]
pub struct Client {
    rpc: Rpc,
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    namespace: String,
    identity: String,
    converter: DataConverter,
}

impl Client {
    /// Connects and asks the server who it is.
    ///
    /// ```no_run
    /// # async fn example() -> mainspring_sdk::Result<()> {
    /// use mainspring_sdk::{Client, Connect};
    ///
    /// let client = Client::connect(Connect::to("localhost:7233")).await?;
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// When there is no server, or the options contradict each other.
    pub async fn connect(options: Connect) -> Result<Client, ConnectError> {
        connect::connect(options).await
    }

    pub(crate) fn over(rpc: Rpc, namespace: String, identity: String, converter: DataConverter) -> Client {
        Client { rpc, shared: Arc::new(Shared { namespace, identity, converter }) }
    }

    /// The namespace.
    pub fn namespace(&self) -> &str {
        &self.shared.namespace
    }

    /// Who this client says it is.
    pub fn identity(&self) -> &str {
        &self.shared.identity
    }

    /// How values leave this process and arrive.
    pub fn converter(&self) -> &DataConverter {
        &self.shared.converter
    }

    /// Any call of the public services, as it is defined there.
    pub fn rpc(&self) -> &Rpc {
        &self.rpc
    }

    /// Replaces the API key, for this client and its copies.
    ///
    /// # Errors
    /// When the client was connected without one, or with one that it asks for.
    pub fn set_api_key(&self, key: impl Into<String>) -> Result<(), ClientError> {
        match self.rpc.api_key() {
            Some(rpc::ApiKey::Set(slot)) => {
                *slot.write().unwrap_or_else(std::sync::PoisonError::into_inner) = key.into();
                Ok(())
            }
            _ => Err(ClientError::Invalid("the client was not connected with an API key that can be set".to_owned())),
        }
    }
}
