//! Compression as the Go SDK has it built in: a payload becomes one of encoding `binary/zlib`, whose data is the
//! serialized payload compressed.

use std::io::{self, Write};

use flate2::{Compression, read::ZlibDecoder, write::ZlibEncoder};

use crate::{
    codec::{
        Codec, CodecCx,
        compression::{expand, shrink},
    },
    payload::{Payload, PayloadError},
};

const ENCODING: &str = "binary/zlib";

/// Compresses payloads that are worth it, readable by Go's `converter.NewZlibCodec`. Put it before encryption: what is
/// encrypted does not compress.
///
/// ```
/// use mainspring_sdk::{DataConverter, codec::Zlib};
///
/// let converter = DataConverter::json().codec(Zlib::level(6).min_size(1024));
/// ```
#[derive(Clone, Copy, Debug)]
pub struct Zlib {
    level: u32,
    min_size: usize,
}

impl Zlib {
    /// From 1, fast, to 9, small; 6 is zlib's own default.
    pub fn level(level: u32) -> Zlib {
        Zlib { level: level.clamp(1, 9), min_size: 1024 }
    }

    /// Leaves payloads with less data alone; 1024 bytes if not set.
    #[must_use]
    pub fn min_size(mut self, bytes: usize) -> Zlib {
        self.min_size = bytes;
        self
    }
}

impl Codec for Zlib {
    async fn encode(&self, _: &CodecCx<'_>, payloads: &mut [Payload]) -> Result<(), PayloadError> {
        shrink(payloads, ENCODING, self.min_size, |whole| compress(whole, self.level))
    }

    async fn decode(&self, _: &CodecCx<'_>, payloads: &mut [Payload]) -> Result<(), PayloadError> {
        expand(payloads, ENCODING, |data| Ok(Box::new(ZlibDecoder::new(data))))
    }
}

fn compress(whole: &[u8], level: u32) -> io::Result<Vec<u8>> {
    let mut encoder = ZlibEncoder::new(Vec::new(), Compression::new(level));
    encoder.write_all(whole)?;
    encoder.finish()
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
        Zlib::level(6).encode(&cx, &mut payloads).await.unwrap();
        assert!(payloads[0].as_bytes().len() < 200 && payloads[1] == short);
        Zlib::level(6).decode(&cx, &mut payloads).await.unwrap();
        assert_eq!(payloads, [long, short]);
    }

    /// What Python's `zlib.compress` of a serialized payload gives, as Go's codec writes it.
    #[tokio::test]
    async fn what_another_zlib_wrote_is_read() {
        let compressed = b"\x78\x9c\xe3\x12\xe3\xe2\x48\xcd\x4b\xce\x4f\xc9\xcc\x4b\x17\xe2\xca\x2a\xce\xcf\xd3\x2f\xc8\x49\xcc\xcc\x13\xe2\x50\x2a\x4e\x4d\x2e\x4a\x2d\x51\x02\x00\xab\x18\x0a\x77";
        let mut payloads = [Payload::new(ENCODING, compressed)];
        Zlib::level(6).decode(&CodecCx::default(), &mut payloads).await.unwrap();
        assert_eq!(payloads, ["secret".to_payload().unwrap()]);
    }

    #[tokio::test]
    async fn damage_is_an_error() {
        let mut payloads = [Payload::new(ENCODING, b"no frame")];
        assert!(Zlib::level(6).decode(&CodecCx::default(), &mut payloads).await.is_err());
    }
}
