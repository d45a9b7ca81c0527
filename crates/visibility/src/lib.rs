//! The index behind listing, counting and scanning workflow executions.
//!
//! - [`Filter`]: a list filter, read from the text that callers send; pure.
//! - [`Index`]: one row a run in an SQLite file of its own, written in batches behind the commits of the store, and
//!   [`Reader`]s that answer while it writes. All calls block: the shell gives them threads.
//! - [`attribute`]: search attributes as filters see them.
//!
//! The index holds nothing that the histories do not say: it can be deleted and filled again. Whoever fills it keeps its
//! position here ([`Change::Position`]), in the same transaction as the rows. Rows carry a version, so that what comes
//! late or twice changes nothing.
//!
//! Not here: what is written when (the shards), and wire messages of the services (the frontend).

pub mod attribute;
pub mod filter;
mod index;
mod record;

pub use attribute::Kind;
pub use filter::{Filter, FilterError};
pub use index::{Count, Error, Index, OpenError, Page, Reader};
pub use record::{Change, Record};
