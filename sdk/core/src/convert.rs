//! [`DataConverter`]: the chain of codecs, and whether it covers the texts of failures and headers too.

use std::{fmt, sync::Arc};

use mainspring_api::v1::failure::Failure;
use serde::{Deserialize, Serialize};

use crate::{
    call::Headers,
    codec::{
        AnyCodec, Codec, CodecCx,
        visit::{Place, failure_places},
    },
    payload::{JSON, Payload, PayloadError},
};

/// What stands where the message of an encoded failure was, in every SDK.
const ENCODED: &str = "Encoded failure";

/// How values leave this process and arrive: always by [`ToPayload`](crate::payload::ToPayload) and
/// [`FromPayload`](crate::payload::FromPayload), then through a chain of codecs.
///
/// ```
/// use mainspring_sdk::{DataConverter, codec::{Aes256Gcm, KeyRing}};
///
/// # fn main() -> Result<(), mainspring_sdk::payload::PayloadError> {
/// let converter = DataConverter::json()
///     .codec(Aes256Gcm::new(KeyRing::new("2025", &[7; 32])?))
///     .encrypt_failures();
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Default)]
pub struct DataConverter {
    codecs: Arc<Vec<Arc<dyn AnyCodec>>>,
    encrypt_failures: bool,
    encrypt_headers: bool,
}

impl DataConverter {
    /// Without codecs.
    pub fn json() -> DataConverter {
        DataConverter::default()
    }

    /// Adds a codec: on the way out the first one is applied first, on the way in last.
    #[must_use]
    pub fn codec(mut self, codec: impl Codec) -> DataConverter {
        let mut codecs = self.codecs.as_ref().clone();
        codecs.push(Arc::new(codec));
        self.codecs = Arc::new(codecs);
        self
    }

    /// Lets the codecs cover messages and stack traces of failures too, which are in clear otherwise.
    #[must_use]
    pub fn encrypt_failures(mut self) -> DataConverter {
        self.encrypt_failures = true;
        self
    }

    /// Lets the codecs cover headers too, which are in clear otherwise: what carries traces from one SDK to another reads
    /// them without any codec. Headers that arrive encoded are always decoded.
    #[must_use]
    pub fn encrypt_headers(mut self) -> DataConverter {
        self.encrypt_headers = true;
        self
    }

    /// True when messages and stack traces of failures are hidden.
    pub(crate) fn hides_failures(&self) -> bool {
        self.encrypt_failures
    }

    /// True when payloads pass as they are.
    pub fn is_plain(&self) -> bool {
        self.codecs.is_empty()
    }

    /// Applies the codecs on the way out.
    ///
    /// # Errors
    /// When a codec fails.
    pub async fn encode(&self, cx: &CodecCx<'_>, payloads: &mut [Payload]) -> Result<(), PayloadError> {
        if payloads.is_empty() {
            return Ok(());
        }
        for codec in self.codecs.iter() {
            codec.encode(cx, payloads).await?;
        }
        Ok(())
    }

    /// Applies the codecs on the way in.
    ///
    /// # Errors
    /// When a codec fails.
    pub async fn decode(&self, cx: &CodecCx<'_>, payloads: &mut [Payload]) -> Result<(), PayloadError> {
        if payloads.is_empty() {
            return Ok(());
        }
        for codec in self.codecs.iter().rev() {
            codec.decode(cx, payloads).await?;
        }
        Ok(())
    }

    /// Applies the codecs to the details of a failure and of its causes, and hides its texts if that is wanted.
    ///
    /// # Errors
    /// When a codec fails.
    pub async fn encode_failure(&self, cx: &CodecCx<'_>, failure: &mut Failure) -> Result<(), PayloadError> {
        if self.encrypt_failures {
            hide_texts(failure)?;
        }
        self.encode_places(cx, failure_places(failure)).await
    }

    /// Undoes [`encode_failure`](DataConverter::encode_failure), of this or another SDK.
    ///
    /// # Errors
    /// When a codec fails.
    pub async fn decode_failure(&self, cx: &CodecCx<'_>, failure: &mut Failure) -> Result<(), PayloadError> {
        self.decode_places(cx, failure_places(failure)).await?;
        show_texts(failure);
        Ok(())
    }

    /// Applies the codecs on the way out to headers, if that is wanted.
    ///
    /// # Errors
    /// When a codec fails.
    pub(crate) async fn encode_headers(&self, cx: &CodecCx<'_>, headers: &mut Headers) -> Result<(), PayloadError> {
        if !self.encrypt_headers {
            return Ok(());
        }
        self.encode_places(cx, headers.values_mut().map(Place::One).collect()).await
    }

    /// Applies the codecs on the way in to headers.
    ///
    /// # Errors
    /// When a codec fails.
    pub(crate) async fn decode_headers(&self, cx: &CodecCx<'_>, headers: &mut Headers) -> Result<(), PayloadError> {
        self.decode_places(cx, headers.values_mut().map(Place::One).collect()).await
    }

    /// Applies the codecs on the way out to all of these.
    pub(crate) async fn encode_places(&self, cx: &CodecCx<'_>, places: Vec<Place<'_>>) -> Result<(), PayloadError> {
        if self.is_plain() {
            return Ok(());
        }
        for place in places {
            self.encode(cx, place.into_slice()).await?;
        }
        Ok(())
    }

    /// Applies the codecs on the way in to all of these.
    pub(crate) async fn decode_places(&self, cx: &CodecCx<'_>, places: Vec<Place<'_>>) -> Result<(), PayloadError> {
        if self.is_plain() {
            return Ok(());
        }
        for place in places {
            self.decode(cx, place.into_slice()).await?;
        }
        Ok(())
    }
}

impl fmt::Debug for DataConverter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("DataConverter")
            .field("codecs", &self.codecs.len())
            .field("encrypt_failures", &self.encrypt_failures)
            .field("encrypt_headers", &self.encrypt_headers)
            .finish()
    }
}

/// The texts of a failure as every SDK puts them into a payload.
#[derive(Serialize, Deserialize)]
struct Texts {
    message: String,
    #[serde(default)]
    stack_trace: String,
}

/// Moves the texts of a failure and its causes into a payload each, which codecs then cover.
pub(crate) fn hide_texts(failure: &mut Failure) -> Result<(), PayloadError> {
    let mut current = Some(failure);
    while let Some(failure) = current {
        if failure.encoded_attributes.is_none() {
            let texts = Texts {
                message: std::mem::replace(&mut failure.message, ENCODED.to_owned()),
                stack_trace: std::mem::take(&mut failure.stack_trace),
            };
            let json = serde_json::to_vec(&texts).map_err(PayloadError::new)?;
            failure.encoded_attributes = Some(Payload::new(JSON, &json));
        }
        current = failure.cause.as_deref_mut();
    }
    Ok(())
}

/// Moves the texts back. What is no such payload stays, as it may be another SDK's.
pub(crate) fn show_texts(failure: &mut Failure) {
    let mut current = Some(failure);
    while let Some(failure) = current {
        let texts = failure
            .encoded_attributes
            .as_ref()
            .and_then(|payload| serde_json::from_slice::<Texts>(&payload.data()).ok());
        if let Some(texts) = texts {
            failure.message = texts.message;
            failure.stack_trace = texts.stack_trace;
            failure.encoded_attributes = None;
        }
        current = failure.cause.as_deref_mut();
    }
}
