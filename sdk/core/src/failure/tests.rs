//! Failures both ways, and the bytes of one that the Python SDK wrote.

use std::time::Duration;

use mainspring_api::v1::{
    common::Payloads,
    enums::{NexusHandlerErrorRetryBehavior, RetryState, TimeoutType},
};
use prost::Message;

use super::*;
use crate::{
    codec::CodecCx,
    convert::{DataConverter, hide_texts, show_texts},
    payload::ToPayload,
};

/// What the Python SDK (temporalio 1.x) writes for an `ApplicationError` with two details raised from a `ValueError`.
const PYTHON: &[u8] = b"\n\x08no money\x1a\x04at x\"\x15\n\x05inner*\x0c\n\nValueError*Z\n\x0cCardDeclined\x10\x01\x1aD\n%\n\x16\n\x08encoding\x12\njson/plain\x12\x0b{\"cents\":5}\n\x1b\n\x16\n\x08encoding\x12\njson/plain\x12\x017\"\x02\x08\x03";

#[test]
fn a_failure_of_python_is_read_and_written_again() {
    let wire = Failure::decode(PYTHON).unwrap();
    let error = Error::from_failure(wire);
    let failure = error.as_application().unwrap();
    assert_eq!((failure.kind.as_str(), failure.message.as_str()), ("CardDeclined", "no money"));
    assert!(failure.non_retryable && failure.detail(1) == Ok(7));
    assert_eq!(failure.next_retry_delay, Some(Duration::from_secs(3)));
    assert_eq!(error.root_cause().to_string(), "ValueError: inner");
    assert_eq!(error.into_failure().encode_to_vec(), PYTHON);
}

fn details() -> Option<Payloads> {
    to_wire(vec!["d".to_payload().unwrap()])
}

fn every_kind() -> Vec<FailureInfo> {
    vec![
        FailureInfo::ApplicationFailureInfo(ApplicationFailureInfo {
            r#type: "T".to_owned(),
            category: ApplicationErrorCategory::Benign as i32,
            ..Default::default()
        }),
        FailureInfo::TimeoutFailureInfo(TimeoutFailureInfo {
            timeout_type: TimeoutType::Heartbeat as i32,
            last_heartbeat_details: details(),
        }),
        FailureInfo::CanceledFailureInfo(CanceledFailureInfo { details: details(), identity: "i".to_owned() }),
        FailureInfo::TerminatedFailureInfo(TerminatedFailureInfo { identity: "i".to_owned() }),
        FailureInfo::ServerFailureInfo(ServerFailureInfo { non_retryable: true }),
        FailureInfo::ResetWorkflowFailureInfo(ResetWorkflowFailureInfo { last_heartbeat_details: details() }),
        FailureInfo::ActivityFailureInfo(ActivityFailureInfo {
            scheduled_event_id: 5,
            started_event_id: 6,
            identity: "i".to_owned(),
            activity_type: Some(ActivityType { name: "A".to_owned() }),
            activity_id: "1".to_owned(),
            retry_state: RetryState::MaximumAttemptsReached as i32,
        }),
        FailureInfo::ChildWorkflowExecutionFailureInfo(ChildWorkflowExecutionFailureInfo {
            namespace: "n".to_owned(),
            workflow_execution: Some(WorkflowExecution { workflow_id: "w".to_owned(), run_id: "r".to_owned() }),
            workflow_type: Some(WorkflowType { name: "W".to_owned() }),
            initiated_event_id: 5,
            started_event_id: 6,
            retry_state: RetryState::Timeout as i32,
        }),
        FailureInfo::NexusOperationExecutionFailureInfo(NexusOperationFailureInfo {
            scheduled_event_id: 5,
            endpoint: "e".to_owned(),
            service: "s".to_owned(),
            operation: "o".to_owned(),
            operation_token: "t".to_owned(),
            ..Default::default()
        }),
        FailureInfo::NexusHandlerFailureInfo(NexusHandlerFailureInfo {
            r#type: "NOT_FOUND".to_owned(),
            retry_behavior: NexusHandlerErrorRetryBehavior::NonRetryable as i32,
        }),
    ]
}

/// Each kind as the cause of the one before.
fn chain() -> Failure {
    let link = |cause: Option<Box<Failure>>, info| Failure {
        message: "m".to_owned(),
        source: "GoSDK".to_owned(),
        stack_trace: "at".to_owned(),
        encoded_attributes: None,
        cause,
        failure_info: Some(info),
    };
    let whole = every_kind().into_iter().rev().fold(None, |cause, info| Some(Box::new(link(cause, info))));
    *whole.unwrap()
}

#[test]
fn every_kind_goes_back_as_it_came() {
    let failure = chain();
    assert_eq!(Error::from_failure(failure.clone()).into_failure(), failure);
}

#[test]
fn cancellation_is_seen_through_an_activity() {
    let cancelled = Failure {
        failure_info: Some(FailureInfo::CanceledFailureInfo(CanceledFailureInfo::default())),
        ..Default::default()
    };
    let activity = Failure {
        cause: Some(Box::new(cancelled)),
        failure_info: Some(FailureInfo::ActivityFailureInfo(ActivityFailureInfo::default())),
        ..Default::default()
    };
    assert!(Error::from_failure(activity).is_cancelled());
}

#[test]
fn errors_without_a_form_of_their_own_are_application_failures() {
    let failure = Error::from_failure(Error::SessionFailed("host-1 is gone".to_owned()).into_failure());
    let failure = failure.as_application().unwrap();
    assert_eq!(failure.kind, "SessionFailed");
    assert!(failure.message.contains("host-1 is gone"));
    let misplaced = Error::from_failure(Error::CompleteLater.into_failure());
    assert!(misplaced.as_application().unwrap().non_retryable);
}

#[test]
fn texts_are_hidden_as_the_python_sdk_hides_them() {
    let mut failure = Failure::decode(PYTHON).unwrap();
    hide_texts(&mut failure).unwrap();
    assert_eq!(failure.message, "Encoded failure");
    assert_eq!(failure.stack_trace, "");
    let payload = failure.encoded_attributes.as_ref().unwrap();
    assert_eq!(payload.data(), r#"{"message":"no money","stack_trace":"at x"}"#);
    assert_eq!(failure.cause.as_ref().unwrap().message, "Encoded failure");
    show_texts(&mut failure);
    assert_eq!(failure.encode_to_vec(), PYTHON);
}

#[tokio::test]
async fn an_encrypted_failure_shows_nothing_and_comes_back() {
    use crate::codec::{Aes256Gcm, KeyRing};

    let cx = CodecCx::new("default", "w");
    let converter =
        DataConverter::json().codec(Aes256Gcm::new(KeyRing::new("k", &[7; 32]).unwrap())).encrypt_failures();
    let mut failure = chain();
    converter.encode_failure(&cx, &mut failure).await.unwrap();
    let wire = failure.encode_to_vec();
    assert!(!wire.windows(3).any(|window| window == b"\"d\""));
    assert!(!wire.windows(3).any(|window| window == b"\"m\""));
    converter.decode_failure(&cx, &mut failure).await.unwrap();
    assert_eq!(failure, chain());
}
