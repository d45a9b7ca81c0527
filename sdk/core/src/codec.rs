//! Codecs: payloads to other payloads before they leave and back when they arrive; encryption and compression.
//!
//! They are asynchronous, so that keys may come from somewhere else, and run outside of workflow threads. Search
//! attributes are never encoded: the server has to read them. Texts of failures and headers are when that is asked for: see
//! [`DataConverter`](crate::DataConverter).
//!
//! - [`Aes256Gcm`]: encryption with a ring of keys, as in Temporal's samples. `Zstd` and `Zlib`: compression, features
//!   of the same names.
//! - `messages`: whole workflow tasks; `visit`: where in them payloads are.

mod aes;
#[cfg(any(feature = "zlib", feature = "zstd"))]
mod compression;
mod messages;
pub(crate) mod visit;
#[cfg(feature = "zlib")]
mod zlib;
#[cfg(feature = "zstd")]
mod zstd;

use std::{future::Future, pin::Pin};

use crate::payload::{Payload, PayloadError};

pub use self::aes::{Aes256Gcm, KeyRing};
#[cfg(feature = "zlib")]
pub use self::zlib::Zlib;
#[cfg(feature = "zstd")]
pub use self::zstd::Zstd;

/// Whose payloads they are, for keys of one's own for each tenant.
#[derive(Clone, Copy, Debug, Default)]
#[non_exhaustive]
pub struct CodecCx<'a> {
    /// The namespace.
    pub namespace: &'a str,
    /// The workflow they belong to; of a start or a signal, the one it goes to. Empty when it is not known, as for an
    /// activity that is completed by its token.
    pub workflow_id: &'a str,
}

impl<'a> CodecCx<'a> {
    /// Of a workflow.
    pub fn new(namespace: &'a str, workflow_id: &'a str) -> CodecCx<'a> {
        CodecCx { namespace, workflow_id }
    }
}

/// Turns payloads into others and back.
///
/// ```
/// use mainspring_sdk::{codec::{Codec, CodecCx}, payload::{Payload, PayloadError}};
///
/// /// Marks every payload, which readers without this codec then refuse.
/// struct Marked;
///
/// impl Codec for Marked {
///     async fn encode(&self, _: &CodecCx<'_>, payloads: &mut [Payload]) -> Result<(), PayloadError> {
///         for payload in payloads {
///             *payload = payload.with_metadata("marked", b"yes");
///         }
///         Ok(())
///     }
///
///     async fn decode(&self, _: &CodecCx<'_>, _: &mut [Payload]) -> Result<(), PayloadError> {
///         Ok(())
///     }
/// }
/// ```
pub trait Codec: Send + Sync + 'static {
    /// Replaces values by what is sent.
    fn encode(
        &self,
        cx: &CodecCx<'_>,
        payloads: &mut [Payload],
    ) -> impl Future<Output = Result<(), PayloadError>> + Send;

    /// Replaces what arrived by the values. Payloads that this codec did not encode must stay as they are.
    fn decode(
        &self,
        cx: &CodecCx<'_>,
        payloads: &mut [Payload],
    ) -> impl Future<Output = Result<(), PayloadError>> + Send;
}

type Done<'a> = Pin<Box<dyn Future<Output = Result<(), PayloadError>> + Send + 'a>>;

/// A [`Codec`] behind a pointer.
pub(crate) trait AnyCodec: Send + Sync {
    fn encode<'a>(&'a self, cx: &'a CodecCx<'a>, payloads: &'a mut [Payload]) -> Done<'a>;
    fn decode<'a>(&'a self, cx: &'a CodecCx<'a>, payloads: &'a mut [Payload]) -> Done<'a>;
}

impl<C: Codec> AnyCodec for C {
    fn encode<'a>(&'a self, cx: &'a CodecCx<'a>, payloads: &'a mut [Payload]) -> Done<'a> {
        Box::pin(Codec::encode(self, cx, payloads))
    }

    fn decode<'a>(&'a self, cx: &'a CodecCx<'a>, payloads: &'a mut [Payload]) -> Done<'a> {
        Box::pin(Codec::decode(self, cx, payloads))
    }
}
