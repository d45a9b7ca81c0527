//! The descriptor set that `temporalio-protos` publishes, for the build script of `api`.
//!
//! It is a package of its own because Cargo tells where the set is only to those that depend on `temporalio-protos` in the
//! ordinary way. As a build dependency of `api`, this keeps that crate and all that it needs out of every program.

/// A `google.protobuf.FileDescriptorSet`, encoded: the services of the API and more.
pub const DESCRIPTORS: &[u8] = include_bytes!(env!("DESCRIPTORS"));
