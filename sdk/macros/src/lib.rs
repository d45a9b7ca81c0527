//! The attribute macros of the crate `mainspring`.
