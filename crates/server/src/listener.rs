//! Accepts connections and, with TLS, shakes hands: many at once and each for a limited time, so that nobody waits for
//! a slow client.

use std::{
    io,
    net::SocketAddr,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};

use futures_util::{Stream, stream::poll_fn};
use mainspring_rt::Rt;
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    net::{TcpListener, TcpStream},
    sync::mpsc,
};
use tokio_rustls::{TlsAcceptor, rustls::ServerConfig, server::TlsStream};
use tonic::transport::server::{Connected, TcpConnectInfo};
use tracing::{debug, info, warn};

use crate::{metrics::Metrics, tls::CurrentTls};

/// A client that has not shaken hands by then is cut off.
const HANDSHAKE_MAX: Duration = Duration::from_secs(10);
/// After an error such as too many open files; connections that end meanwhile make room.
const PAUSE_AFTER_ERROR: Duration = Duration::from_millis(100);
/// Connections on their way from here to the HTTP/2 layer, which takes them at once.
const READY_MAX: usize = 16;

/// A connection to serve.
pub(crate) enum Connection {
    Plain(TcpStream),
    Tls(Box<TlsStream<TcpStream>>),
}

/// Connections that are ready to be served. Dropping the stream closes the listener and ends handshakes under way.
pub(crate) fn listen(
    rt: Rt,
    listener: TcpListener,
    tls: Option<CurrentTls>,
    metrics: Arc<Metrics>,
) -> impl Stream<Item = io::Result<Connection>> {
    let (ready, mut taken) = mpsc::channel(READY_MAX);
    let accepting = Accepting { rt: rt.clone(), tls, metrics, ready: ready.clone() };
    rt.spawn(async move {
        tokio::select! {
            () = accept(listener, accepting) => {}
            () = ready.closed() => {}
        }
    });
    poll_fn(move |context| taken.poll_recv(context))
}

/// What each connection needs on its way.
#[derive(Clone)]
struct Accepting {
    rt: Rt,
    tls: Option<CurrentTls>,
    metrics: Arc<Metrics>,
    ready: mpsc::Sender<io::Result<Connection>>,
}

/// Never ends: an error concerns one connection, or passes.
async fn accept(listener: TcpListener, accepting: Accepting) {
    let mut failing = false;
    loop {
        let (stream, peer) = match listener.accept().await {
            Ok(accepted) => accepted,
            Err(error) => {
                // Once: it is tried again ten times a second.
                if !failing {
                    warn!(%error, "cannot take connections; trying again");
                }
                failing = true;
                accepting.rt.sleep(PAUSE_AFTER_ERROR).await;
                continue;
            }
        };
        failing = false;
        if let Err(error) = stream.set_nodelay(true) {
            debug!(%peer, %error, "the connection went away");
            continue;
        }
        let Some(tls) = &accepting.tls else {
            accepting.hand_over(Connection::Plain(stream)).await;
            continue;
        };
        let config = tls.borrow().clone();
        accepting.rt.spawn(accepting.clone().secure(stream, peer, config));
    }
}

impl Accepting {
    async fn secure(self, stream: TcpStream, peer: SocketAddr, config: Arc<ServerConfig>) {
        tokio::select! {
            shaken = TlsAcceptor::from(config).accept(stream) => match shaken {
                Ok(stream) => self.hand_over(Connection::Tls(Box::new(stream))).await,
                // What looks whether the port is open, such as a load balancer, says nothing and goes.
                Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => debug!(%peer, "no handshake came"),
                Err(error) => self.refuse(peer, &error.to_string()),
            },
            () = self.rt.sleep(HANDSHAKE_MAX) => self.refuse(peer, "it took too long"),
            () = self.ready.closed() => {}
        }
    }

    fn refuse(&self, peer: SocketAddr, why: &str) {
        self.metrics.tls_handshake_failed();
        info!(%peer, why, "no TLS connection was made");
    }

    /// Nobody takes it when the server stops; then it is dropped, and closed with that.
    async fn hand_over(&self, connection: Connection) {
        let _ = self.ready.send(Ok(connection)).await;
    }
}

impl Connected for Connection {
    type ConnectInfo = TcpConnectInfo;

    fn connect_info(&self) -> TcpConnectInfo {
        match self {
            Connection::Plain(stream) => stream.connect_info(),
            Connection::Tls(stream) => stream.get_ref().0.connect_info(),
        }
    }
}

impl AsyncRead for Connection {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Connection::Plain(stream) => Pin::new(stream).poll_read(cx, buf),
            Connection::Tls(stream) => Pin::new(stream).poll_read(cx, buf),
        }
    }
}

impl AsyncWrite for Connection {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Connection::Plain(stream) => Pin::new(stream).poll_write(cx, bytes),
            Connection::Tls(stream) => Pin::new(stream).poll_write(cx, bytes),
        }
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Connection::Plain(stream) => Pin::new(stream).poll_write_vectored(cx, slices),
            Connection::Tls(stream) => Pin::new(stream).poll_write_vectored(cx, slices),
        }
    }

    fn is_write_vectored(&self) -> bool {
        match self {
            Connection::Plain(stream) => stream.is_write_vectored(),
            Connection::Tls(stream) => stream.is_write_vectored(),
        }
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Connection::Plain(stream) => Pin::new(stream).poll_flush(cx),
            Connection::Tls(stream) => Pin::new(stream).poll_flush(cx),
        }
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Connection::Plain(stream) => Pin::new(stream).poll_shutdown(cx),
            Connection::Tls(stream) => Pin::new(stream).poll_shutdown(cx),
        }
    }
}
