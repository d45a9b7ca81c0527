//! The null server's gRPC side: methods by name, each one function of [`Runs`].

use std::convert::Infallible;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use http::{Request, Response};
use tonic::server::Grpc;
use tonic::{Status, body::Body};
use tonic_prost::ProstCodec;
use tower::Service;

use crate::null::runs::Runs;

#[derive(Clone)]
pub(super) struct NullService(Arc<Runs>);

impl NullService {
    pub(super) fn new(runs: Arc<Runs>) -> NullService {
        NullService(runs)
    }
}

type Boxed<T> = Pin<Box<dyn Future<Output = T> + Send>>;

impl Service<Request<Body>> for NullService {
    type Response = Response<Body>;
    type Error = Infallible;
    type Future = Boxed<Result<Response<Body>, Infallible>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<Body>) -> Self::Future {
        let method = request.uri().path().rsplit('/').next().unwrap_or_default().to_owned();
        let runs = self.0.clone();
        match method.as_str() {
            "GetSystemInfo" => answer(runs, Runs::info, request),
            "StartWorkflowExecution" => answer(runs, Runs::start, request),
            "PollWorkflowTaskQueue" => answer(runs, Runs::poll_workflow_task, request),
            "RespondWorkflowTaskCompleted" => answer(runs, Runs::complete_workflow_task, request),
            "PollActivityTaskQueue" => answer(runs, Runs::poll_activity_task, request),
            "RespondActivityTaskCompleted" => answer(runs, Runs::complete_activity_task, request),
            "GetWorkflowExecutionHistory" => answer(runs, Runs::history, request),
            _ => Box::pin(async { Ok(Status::unimplemented("not in the null server").into_http()) }),
        }
    }
}

fn answer<Q, A, F, O>(runs: Arc<Runs>, method: F, request: Request<Body>) -> Boxed<Result<Response<Body>, Infallible>>
where
    Q: prost::Message + Default + 'static,
    A: prost::Message + Default + 'static,
    F: Fn(Arc<Runs>, Q) -> O + Send + 'static,
    O: Future<Output = Result<A, Status>> + Send + 'static,
{
    Box::pin(async move {
        let mut grpc = Grpc::new(ProstCodec::<A, Q>::default());
        Ok(grpc.unary(Unary(runs, method), request).await)
    })
}

/// A method in the form that tonic takes.
struct Unary<F>(Arc<Runs>, F);

impl<Q, A, F, O> Service<tonic::Request<Q>> for Unary<F>
where
    F: Fn(Arc<Runs>, Q) -> O,
    O: Future<Output = Result<A, Status>> + Send + 'static,
{
    type Response = tonic::Response<A>;
    type Error = Status;
    type Future = Boxed<Result<tonic::Response<A>, Status>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Status>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: tonic::Request<Q>) -> Self::Future {
        let done = (self.1)(self.0.clone(), request.into_inner());
        Box::pin(async move { done.await.map(tonic::Response::new) })
    }
}
