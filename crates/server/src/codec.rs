//! gRPC messages as plain bytes: the frontend decodes and encodes them itself.

use bytes::{Buf, BufMut, Bytes};
use mainspring_frontend::Answer;
use tonic::{
    Status,
    codec::{Codec, DecodeBuf, Decoder, EncodeBuf, Encoder},
};

use crate::metrics::Counted;

/// Requests come as bytes; answers go out as they are, and are counted.
#[derive(Clone)]
pub(crate) struct Raw(pub(crate) Counted);

impl Codec for Raw {
    type Encode = Answer;
    type Decode = Bytes;
    type Encoder = Raw;
    type Decoder = Raw;

    fn encoder(&mut self) -> Raw {
        self.clone()
    }

    fn decoder(&mut self) -> Raw {
        self.clone()
    }
}

impl Encoder for Raw {
    type Item = Answer;
    type Error = Status;

    /// Called when the HTTP/2 layer asks for the body: from here on the answer is out of our hands, so a task in it
    /// counts as delivered. An answer whose stream ended before is dropped, and its task goes to another poller.
    fn encode(&mut self, answer: Answer, out: &mut EncodeBuf<'_>) -> Result<(), Status> {
        let bytes = answer.into_sent();
        self.0.answered(bytes.len());
        out.reserve(bytes.len());
        out.put(bytes);
        Ok(())
    }
}

impl Decoder for Raw {
    type Item = Bytes;
    type Error = Status;

    fn decode(&mut self, request: &mut DecodeBuf<'_>) -> Result<Option<Bytes>, Status> {
        Ok(Some(request.copy_to_bytes(request.remaining())))
    }
}
