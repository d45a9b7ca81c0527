//! `GET /metrics` over plain HTTP.

use std::{convert::Infallible, future::Future, sync::Arc, time::Duration};

use http::{Method, Request, Response, StatusCode, header};
use hyper::{body::Incoming, server::conn::http1, service::service_fn};
use hyper_util::rt::TokioIo;
use tokio::net::{TcpListener, TcpStream};
use tracing::debug;

pub(crate) use super::page::Page;

/// A connection that is not done by then is closed; each serves one request.
const CONNECTION_MAX: Duration = Duration::from_secs(10);
/// After an error such as too many open files.
const PAUSE_AFTER_ERROR: Duration = Duration::from_millis(100);
/// The version of the text format.
const CONTENT_TYPE: &str = "text/plain; version=0.0.4; charset=utf-8";

/// Serves the page until `stop`.
pub(crate) async fn serve(page: Page, listener: TcpListener, stop: impl Future<Output = ()>) {
    let page = Arc::new(page);
    tokio::select! {
        () = accept(page, listener) => {}
        () = stop => {}
    }
}

async fn accept(page: Arc<Page>, listener: TcpListener) {
    loop {
        match listener.accept().await {
            Ok((stream, _)) => page.rt.spawn(connection(page.clone(), stream)),
            Err(error) => {
                debug!(%error, "cannot take a connection to the metrics");
                page.rt.sleep(PAUSE_AFTER_ERROR).await;
            }
        }
    }
}

async fn connection(page: Arc<Page>, stream: TcpStream) {
    let answer = |request: Request<Incoming>| {
        let page = page.clone();
        async move { Ok::<_, Infallible>(respond(&page, &request)) }
    };
    let serving = http1::Builder::new().keep_alive(false).serve_connection(TokioIo::new(stream), service_fn(answer));
    tokio::select! {
        served = serving => if let Err(error) = served {
            debug!(%error, "the metrics were not read to the end");
        },
        () = page.rt.sleep(CONNECTION_MAX) => {}
    }
}

fn respond(page: &Page, request: &Request<Incoming>) -> Response<String> {
    let text = |status: StatusCode, text: &str| {
        let mut response = Response::new(text.to_owned());
        *response.status_mut() = status;
        response.headers_mut().insert(header::CONTENT_TYPE, header::HeaderValue::from_static(CONTENT_TYPE));
        response
    };
    match (request.method(), request.uri().path()) {
        (&Method::GET | &Method::HEAD, "/metrics") => text(StatusCode::OK, &page.text()),
        (&Method::GET | &Method::HEAD, _) => text(StatusCode::NOT_FOUND, "the metrics are at /metrics\n"),
        _ => text(StatusCode::METHOD_NOT_ALLOWED, "only GET is answered\n"),
    }
}
