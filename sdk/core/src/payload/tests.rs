//! Bytes of payloads, compared with what the Python SDK (temporalio 1.x) writes for the same values.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::*;

#[derive(Debug, PartialEq, Serialize, Deserialize)]
struct Card {
    cents: u64,
    note: Option<String>,
    number: String,
}

/// Both directions of a value whose bytes are known.
fn check<T: ToPayload + FromPayload + PartialEq + fmt::Debug>(value: T, wire: &[u8]) {
    let payload = value.to_payload().unwrap();
    assert_eq!(payload.as_bytes().as_ref(), wire, "{value:?}");
    assert_eq!(T::from_payload(&Payload::decode(wire).unwrap()), Ok(value));
}

#[test]
fn values_have_the_bytes_of_the_python_sdk() {
    check((), b"\n\x17\n\x08encoding\x12\x0bbinary/null");
    check(None::<u64>, b"\n\x17\n\x08encoding\x12\x0bbinary/null");
    check(b"\x00\xffhi".to_vec(), b"\n\x18\n\x08encoding\x12\x0cbinary/plain\x12\x04\x00\xffhi");
    check(Bytes::from_static(b"\x00\xffhi"), b"\n\x18\n\x08encoding\x12\x0cbinary/plain\x12\x04\x00\xffhi");
    check(5u64, b"\n\x16\n\x08encoding\x12\njson/plain\x12\x015");
    check(Some(5u64), b"\n\x16\n\x08encoding\x12\njson/plain\x12\x015");
    check(1.5f64, b"\n\x16\n\x08encoding\x12\njson/plain\x12\x031.5");
    check(true, b"\n\x16\n\x08encoding\x12\njson/plain\x12\x04true");
    check(vec![1, 2], b"\n\x16\n\x08encoding\x12\njson/plain\x12\x05[1,2]");
    check(BTreeMap::from([("a".to_owned(), 1)]), b"\n\x16\n\x08encoding\x12\njson/plain\x12\x07{\"a\":1}");
    let card = Card { cents: 5, note: None, number: "4242".to_owned() };
    check(card, b"\n\x16\n\x08encoding\x12\njson/plain\x12'{\"cents\":5,\"note\":null,\"number\":\"4242\"}");
}

#[test]
fn text_of_python_is_read_with_its_escapes() {
    let wire: &[u8] = b"\n\x16\n\x08encoding\x12\njson/plain\x12\x0b\"hi \\u00e9\"";
    assert_eq!(String::from_payload(&Payload::decode(wire).unwrap()), Ok("hi \u{e9}".to_owned()));
}

fn encoding_of(value: impl ToPayload) -> Bytes {
    value.to_payload().unwrap().metadata("encoding").unwrap()
}

#[test]
fn borrowed_and_empty_bytes_are_bytes_too() {
    assert_eq!(encoding_of([1u8, 2].as_slice()), PLAIN);
    let bytes = vec![1u8];
    assert_eq!(encoding_of(&bytes), PLAIN);
    assert_eq!(encoding_of(Vec::<u8>::new()), PLAIN);
    assert_eq!(Vec::<u8>::new().to_payload().unwrap().data(), "");
    assert_eq!(encoding_of(Vec::<u16>::new()), JSON);
    assert!(Vec::<u8>::from_payload(&5.to_payload().unwrap()).is_err());
    assert_eq!(Vec::<u8>::from_payload(&Payload::new(JSON, b"[1,2]")), Ok(vec![1, 2]));
}

#[derive(Clone, PartialEq, prost::Message, Serialize, Deserialize)]
struct WorkflowType {
    #[prost(string, tag = "1")]
    name: String,
}

impl Name for WorkflowType {
    const NAME: &'static str = "WorkflowType";
    const PACKAGE: &'static str = "temporal.api.common.v1";
}

#[test]
fn protobuf_messages_have_both_forms() {
    let order = || WorkflowType { name: "Order".to_owned() };
    let json = b"\n\x19\n\x08encoding\x12\rjson/protobuf\n2\n\x0bmessageType\x12#temporal.api.common.v1.WorkflowType\x12\x10{\"name\":\"Order\"}";
    check(ProtoJson(order()), json);
    let payload = Proto(order()).to_payload().unwrap();
    assert_eq!(payload.metadata("encoding").unwrap(), "binary/protobuf");
    assert_eq!(payload.metadata("messageType").unwrap(), "temporal.api.common.v1.WorkflowType");
    assert_eq!(Proto::from_payload(&payload), Ok(Proto(order())));
    assert_eq!(ProtoJson::from_payload(&payload), Ok(ProtoJson(order())));
    let error = Proto::<WorkflowType>::from_payload(&Payload::decode(json.as_slice()).unwrap()).unwrap_err();
    assert!(error.to_string().contains("receive it as `ProtoJson`"), "{error}");
}

#[test]
fn what_cannot_be_read_says_why() {
    let encrypted = Payload::new("binary/encrypted", b"x");
    let error = u64::from_payload(&encrypted).unwrap_err().to_string();
    assert!(error.contains("u64") && error.contains("needs the codec"), "{error}");
    let error = u64::from_payload(&"text".to_payload().unwrap()).unwrap_err().to_string();
    assert!(error.contains("invalid type: string"), "{error}");
    assert!(u64::from_payload(&b"bytes".to_vec().to_payload().unwrap()).is_err());
}

#[test]
fn missing_arguments_read_as_null_and_more_are_ignored() {
    let args = RawArgs(vec![5.to_payload().unwrap(), 6.to_payload().unwrap()]);
    assert_eq!(args.get::<u64>(0), Ok(5));
    assert_eq!(args.get::<Option<u64>>(2), Ok(None));
    let error = args.get::<u64>(2).unwrap_err().to_string();
    assert!(error.starts_with("argument 3 (it is missing)"), "{error}");
}

#[test]
fn a_raw_payload_passes_untouched() {
    let odd = Payload::new("my/own", b"x").with_metadata("more", b"y");
    assert_eq!(Raw(odd.clone()).to_payload(), Ok(odd.clone()));
    assert_eq!(Raw::from_payload(&odd), Ok(Raw(odd)));
}
