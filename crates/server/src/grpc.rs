//! The frontend carried by gRPC: every path of the API's services, health, reflection.

use std::{
    convert::Infallible,
    future::Future,
    io,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};

use bytes::Bytes;
use futures_util::Stream;
use http::{HeaderMap, HeaderValue, Request, Response};
use mainspring_frontend::{Answer, Frontend, Metadata, WORKFLOW_SERVICE};
use mainspring_rt::Rt;
use tonic::{Code, Status, body::Body, codec::CompressionEncoding, server::Grpc, transport};
use tonic_health::{
    ServingStatus,
    pb::health_server::HealthServer,
    server::{HealthReporter, HealthService},
};
use tower::Service;

use crate::{
    codec::Raw,
    harness::{Harness, TEST_SERVICE},
    listener::Connection,
    metrics::{Counted, Metrics},
    reflection::Reflection,
};

/// A message of more bytes is refused. The default of gRPC's libraries
const MESSAGE_BYTES_MAX: usize = 4 << 20;
/// An idle connection is pinged this often. `frontend.keepAliveTime`
const KEEPALIVE_INTERVAL: Duration = Duration::from_secs(60);
/// A connection whose ping stays unanswered this long is closed. `frontend.keepAliveTimeout`
const KEEPALIVE_TIMEOUT: Duration = Duration::from_secs(10);
/// A worker that leaves cancels all its polls at once, which is no attack.
const PENDING_RESETS_MAX: usize = 10_000;

type BoxFuture<T> = Pin<Box<dyn Future<Output = T> + Send>>;

/// All that is served on a connection.
#[derive(Clone)]
pub(crate) struct Api {
    rt: Rt,
    frontend: Frontend,
    metrics: Arc<Metrics>,
    harness: Option<Harness>,
    reporter: HealthReporter,
    health: HealthServer<HealthService>,
    reflection: Reflection,
}

impl Api {
    pub(crate) fn new(rt: Rt, frontend: Frontend, metrics: Arc<Metrics>, harness: Option<Harness>) -> Api {
        let reporter = HealthReporter::new();
        let health = HealthServer::new(HealthService::from_health_reporter(reporter.clone()))
            .accept_compressed(CompressionEncoding::Gzip);
        Api { rt, frontend, metrics, harness, reporter, health, reflection: Reflection::default() }
    }

    /// What the health service says, of the server as a whole and of the service that SDKs ask for.
    pub(crate) async fn set_serving(&self, serving: bool) {
        let status = if serving { ServingStatus::Serving } else { ServingStatus::NotServing };
        for service in ["", WORKFLOW_SERVICE] {
            self.reporter.set_service_status(service, status).await;
        }
    }

    /// Sends home whoever waits.
    pub(crate) fn end_polls(&self) {
        self.frontend.end_polls();
    }
}

/// Serves connections until `stop` resolves, and then until those under way have ended.
pub(crate) async fn serve(
    api: Api,
    incoming: impl Stream<Item = io::Result<Connection>>,
    stop: impl Future<Output = ()>,
) -> Result<(), transport::Error> {
    transport::Server::builder()
        .http2_keepalive_interval(Some(KEEPALIVE_INTERVAL))
        .http2_keepalive_timeout(Some(KEEPALIVE_TIMEOUT))
        .http2_max_pending_accept_reset_streams(Some(PENDING_RESETS_MAX))
        .serve_with_incoming_shutdown(api, incoming, stop)
        .await
}

impl Service<Request<Body>> for Api {
    type Response = Response<Body>;
    type Error = Infallible;
    type Future = BoxFuture<Result<Response<Body>, Infallible>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<Body>) -> Self::Future {
        let service = request.uri().path().split('/').nth(1).unwrap_or_default();
        match service {
            "grpc.health.v1.Health" => self.health.call(request),
            "grpc.reflection.v1.ServerReflection" => {
                let reflection = self.reflection.clone();
                Box::pin(async move { Ok(reflection.call_v1(request).await) })
            }
            "grpc.reflection.v1alpha.ServerReflection" => {
                let reflection = self.reflection.clone();
                Box::pin(async move { Ok(reflection.call_v1alpha(request).await) })
            }
            _ => {
                let call = Call {
                    frontend: self.frontend.clone(),
                    harness: self.harness.clone(),
                    path: request.uri().path().to_owned(),
                    metadata: metadata(&self.rt, request.headers()),
                };
                let counted = self.metrics.begin(&call.path);
                Box::pin(async move { Ok(unary(call, request, counted).await) })
            }
        }
    }
}

/// One call of the API.
struct Call {
    frontend: Frontend,
    harness: Option<Harness>,
    path: String,
    metadata: Metadata,
}

impl Service<tonic::Request<Bytes>> for Call {
    type Response = tonic::Response<Answer>;
    type Error = Status;
    type Future = BoxFuture<Result<tonic::Response<Answer>, Status>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Status>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: tonic::Request<Bytes>) -> Self::Future {
        let (frontend, path) = (self.frontend.clone(), std::mem::take(&mut self.path));
        let metadata = std::mem::take(&mut self.metadata);
        let request = request.into_inner();
        match self.harness.clone() {
            None => Box::pin(async move { frontend.call(&path, request, &metadata).await.map(tonic::Response::new) }),
            Some(harness) => Box::pin(async move {
                if let Some((TEST_SERVICE, method)) = path.trim_start_matches('/').split_once('/') {
                    return harness.test_service(method, request).await.map(tonic::Response::new);
                }
                let call = frontend.call(&path, request.clone(), &metadata);
                harness.through(&path, &request, call).await.map(tonic::Response::new)
            }),
        }
    }
}

async fn unary(call: Call, request: Request<Body>, counted: Counted) -> Response<Body> {
    let pending = counted.clone().until_end();
    let mut grpc = Grpc::new(Raw(counted))
        .accept_compressed(CompressionEncoding::Gzip)
        .max_decoding_message_size(MESSAGE_BYTES_MAX);
    let response = told_as_by_the_original(grpc.unary(call, request).await);
    // A refusal is told in the headers; the status of an answer follows it, and is OK.
    let refusal = response.headers().get("grpc-status");
    pending.end(refusal.map_or(Code::Ok, |code| Code::from_bytes(code.as_bytes())));
    response
}

/// Tonic has its own code and texts for too large a message; SDKs know those of the original's library and fail the
/// workflow task for them instead of trying again and again.
fn told_as_by_the_original(response: Response<Body>) -> Response<Body> {
    let header = |name: &str| response.headers().get(name).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let code = Code::from_bytes(header("grpc-status").as_bytes());
    let text = header("grpc-message");
    if code == Code::OutOfRange && text.contains("message%20length%20too%20large") {
        let size = text.split("found%20").nth(1).and_then(|rest| rest.split('%').next()).unwrap_or_default();
        let text = format!("grpc: received message larger than max ({size} vs. {MESSAGE_BYTES_MAX})");
        return Status::resource_exhausted(text).into_http();
    }
    if code == Code::ResourceExhausted && text.contains("decompressing") {
        let text = format!("grpc: received message after decompression larger than max {MESSAGE_BYTES_MAX}");
        return Status::resource_exhausted(text).into_http();
    }
    response
}

fn metadata(rt: &Rt, headers: &HeaderMap) -> Metadata {
    let timeout = headers.get("grpc-timeout").and_then(timeout);
    let client_name = headers.get("client-name").and_then(|name| name.to_str().ok()).unwrap_or_default();
    Metadata { deadline: timeout.map(|timeout| rt.now() + timeout), client_name: client_name.to_owned() }
}

/// Up to eight digits and a unit.
fn timeout(header: &HeaderValue) -> Option<Duration> {
    let text = header.to_str().ok()?;
    let (digits, unit) = text.split_at_checked(text.len().checked_sub(1)?)?;
    let value: u64 = digits.parse().ok()?;
    Some(match unit {
        "H" => Duration::from_secs(value.saturating_mul(3600)),
        "M" => Duration::from_secs(value.saturating_mul(60)),
        "S" => Duration::from_secs(value),
        "m" => Duration::from_millis(value),
        "u" => Duration::from_micros(value),
        "n" => Duration::from_nanos(value),
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(status: Status) -> (Code, String) {
        let response = told_as_by_the_original(status.into_http());
        let status = Status::from_header_map(response.headers()).expect("a status");
        (status.code(), status.message().to_owned())
    }

    #[test]
    fn timeouts_have_a_unit() {
        let parsed = |text: &'static str| timeout(&HeaderValue::from_static(text));
        assert_eq!(parsed("2S"), Some(Duration::from_secs(2)));
        assert_eq!(parsed("99999999H"), Some(Duration::from_secs(99_999_999 * 3600)));
        assert_eq!(parsed("1500m"), Some(Duration::from_millis(1500)));
        for broken in ["", "S", "12", "x1S", "é"] {
            assert_eq!(HeaderValue::from_str(broken).ok().as_ref().and_then(timeout), None, "{broken}");
        }
    }

    #[test]
    fn too_large_a_message_is_told_as_by_the_original() {
        let text = "Error, decoded message length too large: found 5243008 bytes, the limit is: 4194304 bytes";
        let expected = "grpc: received message larger than max (5243008 vs. 4194304)";
        assert_eq!(told(Status::out_of_range(text)), (Code::ResourceExhausted, expected.to_owned()));
        let text = "Error decompressing: size limit, of 4194304 bytes, exceeded while decompressing message";
        let (code, text) = told(Status::resource_exhausted(text));
        assert_eq!(code, Code::ResourceExhausted);
        assert!(text.starts_with("grpc: received message after decompression larger than max"), "{text}");
    }

    #[test]
    fn every_other_status_passes() {
        assert_eq!(told(Status::not_found("gone")), (Code::NotFound, "gone".to_owned()));
    }
}
