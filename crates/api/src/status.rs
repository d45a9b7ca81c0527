//! gRPC errors with the detail messages that SDKs switch on.

use bytes::Bytes;
use prost::{Message, Name};
use tonic::{Code, Status};

use crate::google::rpc;

/// A status whose `grpc-status-details-bin` carries one detail message.
pub fn with_detail<D: Message + Name>(code: Code, message: impl Into<String>, detail: &D) -> Status {
    let message = message.into();
    let any =
        prost_types::Any { type_url: format!("type.googleapis.com/{}", D::full_name()), value: detail.encode_to_vec() };
    let status = rpc::Status { code: code as i32, message: message.clone(), details: vec![any] };
    Status::with_details(code, message, Bytes::from(status.encode_to_vec()))
}
