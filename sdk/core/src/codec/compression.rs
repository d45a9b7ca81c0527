//! What the compressing codecs share: a payload becomes one of their encoding, whose data is the serialized payload
//! compressed, unless that would not make it smaller.

use std::io::{self, Read};

use bytes::Bytes;
use prost::Message;

use crate::payload::{Payload, PayloadError};

/// What a payload may grow to; the server's own limit for one is far below.
const BYTES_MAX: usize = 256 << 20;

/// Compresses payloads of at least `min_size` bytes.
pub(super) fn shrink(
    payloads: &mut [Payload],
    encoding: &'static str,
    min_size: usize,
    compress: impl Fn(&[u8]) -> io::Result<Vec<u8>>,
) -> Result<(), PayloadError> {
    for payload in payloads.iter_mut().filter(|payload| payload.as_bytes().len() >= min_size) {
        let whole = payload.as_bytes();
        let compressed = compress(whole).map_err(PayloadError::new)?;
        if compressed.len() < whole.len() {
            let metadata = [("encoding".to_owned(), Bytes::from_static(encoding.as_bytes()))];
            *payload = Payload::from_parts(metadata.into(), compressed.into());
        }
    }
    Ok(())
}

/// Takes back what [`shrink`] did; `reader` decompresses.
pub(super) fn expand(
    payloads: &mut [Payload],
    encoding: &'static str,
    reader: impl for<'a> Fn(&'a [u8]) -> io::Result<Box<dyn Read + 'a>>,
) -> Result<(), PayloadError> {
    for payload in payloads {
        let (metadata, data) = payload.parts().map_err(PayloadError::new)?;
        if metadata.get("encoding").is_some_and(|found| found == encoding.as_bytes()) {
            let whole = reader(&data)
                .and_then(read_limited)
                .map_err(|error| PayloadError::new(format!("the payload does not decompress: {error}")))?;
            *payload = Payload::decode(whole.as_slice()).map_err(PayloadError::new)?;
        }
    }
    Ok(())
}

/// No further than [`BYTES_MAX`], whatever the stream promises.
fn read_limited(reader: Box<dyn Read + '_>) -> io::Result<Vec<u8>> {
    let mut whole = Vec::new();
    let limit = u64::try_from(BYTES_MAX).unwrap_or(u64::MAX);
    let read = reader.take(limit + 1).read_to_end(&mut whole)?;
    if read > BYTES_MAX {
        return Err(io::Error::other(format!("it is larger than {BYTES_MAX} bytes")));
    }
    Ok(whole)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stream_without_end_is_given_up() {
        assert!(read_limited(Box::new(io::repeat(0))).is_err());
        assert_eq!(read_limited(Box::new(&b"whole"[..])).expect("it is short"), b"whole");
    }

    #[test]
    fn what_does_not_shrink_stays_as_it_is() {
        let mut payloads = [Payload::new("json/plain", b"1")];
        let before = payloads.clone();
        shrink(&mut payloads, "binary/none", 0, |whole| Ok(whole.to_vec())).expect("it compresses");
        assert_eq!(payloads, before);
    }
}
