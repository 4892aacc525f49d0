//! Sockets, connections and their end. Each port has a task that owns its connections; every one is joined when the
//! last source that listens there closes, or ends with it when it is dropped.

use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use hyper::rt::Executor;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::server::conn::auto;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;
use tokio_util::sync::{CancellationToken, DropGuard};
use tokio_util::task::TaskTracker;

use super::desk::Desk;
use super::{Error, tls};

/// Open connections of one port, at most. More wait to be accepted.
pub const CONNECTIONS_MAX: usize = 8192;

/// How long a caller may take to begin: the TLS handshake, or the first word on a plain connection.
pub const HANDSHAKE_WAIT: Duration = Duration::from_secs(10);

/// How long the headers of a request may take, and so how long a connection may be idle.
pub const HEADERS_WAIT: Duration = Duration::from_mins(1);

/// The headers of one request, at most.
pub const HEADERS_BYTES_MAX: u32 = 64 * 1024;

/// How long replies may take to be sent when the source closes.
pub const CLOSE_WAIT: Duration = Duration::from_secs(20);

/// How long nothing is accepted after the operating system refused, as it does when there are too many open files.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// What is spoken on a port.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Protocol {
    Https,
    Http,
}

/// A port that is listened on, with everything that came in through it.
pub(super) struct Port {
    pub(super) desk: Arc<Desk>,
    /// Where it really is.
    pub(super) address: SocketAddr,
    accepting: JoinSet<()>,
    stop: CancellationToken,
    /// Nobody listens any more.
    free: CancellationToken,
}

impl Port {
    /// Listens, and accepts connections from here on.
    pub(super) async fn open(
        address: SocketAddr,
        protocol: Protocol,
        desk: &Arc<Desk>,
    ) -> Result<Self, Error> {
        let tls = match protocol {
            Protocol::Https => Some(tls::acceptor()?),
            Protocol::Http => None,
        };
        let (listener, address) = listen(address, protocol).await?;
        let (stop, free) = (CancellationToken::new(), CancellationToken::new());
        let door = Door { desk: Arc::clone(desk), tls, stop: stop.clone(), streams: TaskTracker::new() };
        let mut accepting = JoinSet::new();
        accepting.spawn(accept(listener, free.clone().drop_guard(), Arc::new(door)));
        Ok(Self { desk: Arc::clone(desk), address, accepting, stop, free })
    }

    /// Accepts nothing more. Returns when somebody else can have the port.
    pub(super) async fn shut(&self) {
        self.stop.cancel();
        self.free.cancelled().await;
    }
}

/// Lets replies go out through ports that are shut, and ends what is left after [`CLOSE_WAIT`].
pub(super) async fn end(mut ports: Vec<Port>) {
    let ended = async {
        for port in &mut ports {
            while port.accepting.join_next().await.is_some() {}
        }
    };
    if tokio::time::timeout(CLOSE_WAIT, ended).await.is_err() {
        tracing::warn!(seconds = CLOSE_WAIT.as_secs(), "connections were cut that did not end in time");
        for port in &mut ports {
            port.accepting.shutdown().await;
        }
    }
}

async fn listen(address: SocketAddr, protocol: Protocol) -> Result<(TcpListener, SocketAddr), Error> {
    let protocol = match protocol {
        Protocol::Https => "HTTPS",
        Protocol::Http => "HTTP",
    };
    let refused = |cause: io::Error| {
        let advice = match cause.kind() {
            io::ErrorKind::AddrInUse => {
                "another program or another HTTP source has this port: stop it, or set another one under \
                 `http.ports` of the source"
            }
            io::ErrorKind::PermissionDenied => "set a port of 1024 or above under `http.ports` of the source",
            io::ErrorKind::AddrNotAvailable => "this machine does not have this address: bind to another one",
            _ => "set another port under `http.ports` of the source",
        };
        Error::Listen { address, protocol, advice, cause }
    };
    let listener = TcpListener::bind(address).await.map_err(refused)?;
    let real = listener.local_addr().map_err(refused)?;
    Ok((listener, real))
}

/// With which only an HTTP/2 connection begins.
const HTTP2_FIRST_WORD: &[u8; 4] = b"PRI ";

/// A connection whose caller has begun to speak.
enum Begun {
    Plain(TcpStream),
    Tls(Box<TlsStream<TcpStream>>),
}

/// What the connections of one port share.
struct Door {
    desk: Arc<Desk>,
    tls: Option<TlsAcceptor>,
    stop: CancellationToken,
    /// Requests of HTTP/2 connections.
    streams: TaskTracker,
}

/// Lets HTTP/2 connections serve their requests side by side, on tasks that are waited for.
#[derive(Clone)]
struct Streams(TaskTracker);

impl<F: Future<Output: Send> + Send + 'static> Executor<F> for Streams {
    fn execute(&self, future: F) {
        self.0.spawn(future);
    }
}

async fn accept(listener: TcpListener, free: DropGuard, door: Arc<Door>) {
    let mut connections = JoinSet::new();
    loop {
        tokio::select! {
            () = door.stop.cancelled() => break,
            accepted = listener.accept(), if connections.len() < CONNECTIONS_MAX => match accepted {
                Ok((stream, _)) => {
                    connections.spawn(Arc::clone(&door).connection(stream));
                }
                Err(error) => {
                    tracing::warn!(%error, "no connection could be accepted for a moment");
                    tokio::time::sleep(ACCEPT_PAUSE).await;
                }
            },
            Some(ended) = connections.join_next() => noted(ended),
        }
    }
    drop(listener);
    drop(free);
    while let Some(ended) = connections.join_next().await {
        noted(ended);
    }
    door.streams.close();
    door.streams.wait().await;
}

fn noted(ended: Result<(), tokio::task::JoinError>) {
    if let Err(error) = ended {
        tracing::error!(%error, "a connection ended in a panic; its caller has no reply and has to ask again");
    }
}

impl Door {
    async fn connection(self: Arc<Self>, stream: TcpStream) {
        if let Err(error) = stream.set_nodelay(true) {
            tracing::debug!(%error, "a connection was gone before it was served");
            return;
        }
        let begun = tokio::select! {
            () = self.stop.cancelled() => return,
            begun = tokio::time::timeout(HANDSHAKE_WAIT, self.begin(stream)) => begun,
        };
        match begun {
            Ok(Ok((Begun::Plain(stream), http2))) => self.http(stream, http2).await,
            Ok(Ok((Begun::Tls(stream), http2))) => self.http(stream, http2).await,
            Ok(Err(error)) => tracing::debug!(%error, "a connection broke off before its first request"),
            Err(_) => tracing::debug!("a connection did not say in time what it wants"),
        }
    }

    /// Finds out how the caller speaks: TLS says so, on a plain connection the first word tells.
    async fn begin(&self, stream: TcpStream) -> io::Result<(Begun, bool)> {
        let Some(tls) = &self.tls else {
            let mut first = [0; HTTP2_FIRST_WORD.len()];
            let len = stream.peek(&mut first).await?;
            return Ok((Begun::Plain(stream), first[..len] == *HTTP2_FIRST_WORD));
        };
        let stream = tls.accept(stream).await?;
        let http2 = stream.get_ref().1.alpn_protocol() == Some(b"h2");
        Ok((Begun::Tls(Box::new(stream)), http2))
    }

    async fn http(&self, stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static, http2: bool) {
        let builder = auto::Builder::new(Streams(self.streams.clone()));
        let mut builder = if http2 { builder.http2_only() } else { builder.http1_only() };
        builder.http1().timer(TokioTimer::new()).header_read_timeout(HEADERS_WAIT);
        builder.http1().max_buf_size(HEADERS_BYTES_MAX as usize);
        builder.http2().timer(TokioTimer::new()).keep_alive_interval(HEADERS_WAIT);
        builder.http2().max_header_list_size(HEADERS_BYTES_MAX);
        let serve = service_fn(|request| Arc::clone(&self.desk).serve(request));
        let connection = builder.serve_connection(TokioIo::new(stream), serve);
        tokio::pin!(connection);
        let ended = tokio::select! {
            ended = connection.as_mut() => ended,
            () = self.stop.cancelled() => {
                connection.as_mut().graceful_shutdown();
                connection.await
            }
        };
        if let Err(error) = ended {
            tracing::debug!(error, "a connection broke off");
        }
    }
}
