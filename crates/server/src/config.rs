//! What a server runs with.

use std::{net::SocketAddr, path::PathBuf};

/// The ceilings of a server.
pub use mainspring_engine::limits::Limits;

/// What values a search attribute takes.
pub use mainspring_api::v1::enums::IndexedValueType as SearchAttributeType;

use crate::{Harness, TlsFiles};

/// What a server runs with.
#[derive(Clone, Debug)]
pub struct Config {
    /// Where to listen; port 0 takes a free one.
    pub listen: SocketAddr,
    pub storage: Storage,
    /// Made at the start beside `default`, unless they are there.
    pub namespaces: Vec<String>,
    /// Search attributes of every namespace, beside the system's.
    pub search_attributes: Vec<(String, SearchAttributeType)>,
    /// The operator's pragmas, set after our own.
    pub sqlite_pragmas: Vec<(String, String)>,
    /// The ceilings in force, for all namespaces.
    pub limits: Limits,
    /// Opens a data file although acknowledged writes are missing from it.
    pub accept_loss: bool,
    /// The API is served over TLS with these, and only over TLS.
    pub tls: Option<TlsFiles>,
    /// Where metrics are served, over plain HTTP.
    pub metrics: Option<SocketAddr>,
    /// For tests: their hand on the clock and on calls. The storage must be memory then.
    pub harness: Option<Harness>,
}

impl Config {
    /// The defaults, for this address and storage.
    pub fn new(listen: SocketAddr, storage: Storage) -> Config {
        Config {
            listen,
            storage,
            namespaces: Vec::new(),
            search_attributes: Vec::new(),
            sqlite_pragmas: Vec::new(),
            limits: Limits::default(),
            accept_loss: false,
            tls: None,
            metrics: None,
            harness: None,
        }
    }
}

/// Where everything is kept.
#[derive(Clone, Debug)]
pub enum Storage {
    /// Nothing outlives the process.
    Memory,
    /// One SQLite file; it is made if missing, its folder is not.
    Sqlite(PathBuf),
}
