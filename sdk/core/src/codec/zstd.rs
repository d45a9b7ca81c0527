//! Compression: a payload becomes one of encoding `binary/zstd`, whose data is the serialized payload compressed.

use crate::{
    codec::{
        Codec, CodecCx,
        compression::{expand, shrink},
    },
    payload::{Payload, PayloadError},
};

const ENCODING: &str = "binary/zstd";

/// Compresses payloads that are worth it. Put it before encryption: what is encrypted does not compress.
///
/// ```
/// use mainspring_sdk::{DataConverter, codec::Zstd};
///
/// let converter = DataConverter::json().codec(Zstd::level(3).min_size(1024));
/// ```
#[derive(Clone, Copy, Debug)]
pub struct Zstd {
    level: i32,
    min_size: usize,
}

impl Zstd {
    /// From 1, fast, to 22, small; 3 is zstd's own default.
    pub fn level(level: i32) -> Zstd {
        Zstd { level, min_size: 1024 }
    }

    /// Leaves payloads with less data alone; 1024 bytes if not set.
    #[must_use]
    pub fn min_size(mut self, bytes: usize) -> Zstd {
        self.min_size = bytes;
        self
    }
}

impl Codec for Zstd {
    async fn encode(&self, _: &CodecCx<'_>, payloads: &mut [Payload]) -> Result<(), PayloadError> {
        shrink(payloads, ENCODING, self.min_size, |whole| ::zstd::bulk::compress(whole, self.level))
    }

    async fn decode(&self, _: &CodecCx<'_>, payloads: &mut [Payload]) -> Result<(), PayloadError> {
        expand(payloads, ENCODING, |data| Ok(Box::new(::zstd::stream::read::Decoder::new(data)?)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::payload::ToPayload;

    #[tokio::test]
    async fn large_payloads_shrink_and_come_back() {
        let long = "abc".repeat(1000).to_payload().unwrap();
        let short = "abc".to_payload().unwrap();
        let mut payloads = [long.clone(), short.clone()];
        let cx = CodecCx::default();
        Zstd::level(3).encode(&cx, &mut payloads).await.unwrap();
        assert!(payloads[0].as_bytes().len() < 200 && payloads[1] == short);
        Zstd::level(3).decode(&cx, &mut payloads).await.unwrap();
        assert_eq!(payloads, [long, short]);
    }

    #[tokio::test]
    async fn damage_is_an_error() {
        let mut payloads = [Payload::new(ENCODING, b"no frame")];
        assert!(Zstd::level(3).decode(&CodecCx::default(), &mut payloads).await.is_err());
    }
}
