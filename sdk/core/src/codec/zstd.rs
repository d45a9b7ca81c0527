//! Compression: a payload becomes one of encoding `binary/zstd`, whose data is the serialized payload compressed.

use bytes::Bytes;
use prost::Message;

use crate::{
    codec::{Codec, CodecCx},
    payload::{Payload, PayloadError},
};

const ENCODING: &str = "binary/zstd";
/// What a payload may grow to; the server's own limit for one is far below.
const BYTES_MAX: usize = 256 << 20;

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
        for payload in payloads {
            let whole = payload.as_bytes();
            if whole.len() < self.min_size {
                continue;
            }
            let compressed = ::zstd::bulk::compress(whole, self.level).map_err(PayloadError::new)?;
            if compressed.len() < whole.len() {
                let metadata = [("encoding".to_owned(), Bytes::from_static(ENCODING.as_bytes()))];
                *payload = Payload::from_parts(metadata.into(), compressed.into());
            }
        }
        Ok(())
    }

    async fn decode(&self, _: &CodecCx<'_>, payloads: &mut [Payload]) -> Result<(), PayloadError> {
        for payload in payloads {
            let (metadata, data) = payload.parts().map_err(PayloadError::new)?;
            if metadata.get("encoding").is_some_and(|encoding| encoding == ENCODING.as_bytes()) {
                let whole = decompress(&data)
                    .map_err(|error| PayloadError::new(format!("the payload does not decompress: {error}")))?;
                *payload = Payload::decode(whole.as_slice()).map_err(PayloadError::new)?;
            }
        }
        Ok(())
    }
}

/// Reads no further than [`BYTES_MAX`], whatever the frame promises.
fn decompress(data: &[u8]) -> std::io::Result<Vec<u8>> {
    use std::io::Read;

    let mut whole = Vec::new();
    let limit = u64::try_from(BYTES_MAX).unwrap_or(u64::MAX);
    let read = ::zstd::stream::read::Decoder::new(data)?.take(limit + 1).read_to_end(&mut whole)?;
    if read > BYTES_MAX {
        return Err(std::io::Error::other(format!("it is larger than {BYTES_MAX} bytes")));
    }
    Ok(whole)
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
