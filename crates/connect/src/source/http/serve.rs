//! Sockets, connections and their end. Each listener is a task that owns its connections; every one is joined when
//! the source closes, or ends with it when it is dropped.

use std::future::Future;
use std::io;
use std::net::{IpAddr, SocketAddr};
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
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::desk::Desk;
use super::{Error, Listening, tls};

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

pub(super) struct Server {
    listeners: JoinSet<()>,
    stop: CancellationToken,
}

impl Server {
    /// Listens on both ports, and accepts connections from here on.
    pub(super) async fn start(
        bind: IpAddr,
        https_port: u16,
        http_port: Option<u16>,
        desk: &Arc<Desk>,
    ) -> Result<(Self, Listening), Error> {
        let tls = tls::acceptor()?;
        let (https, https_address) = listen(bind, https_port, "HTTPS").await?;
        let plain = match http_port {
            Some(port) => Some(listen(bind, port, "HTTP").await?),
            None => None,
        };
        let listening = Listening { https: https_address, http: plain.as_ref().map(|(_, address)| *address) };
        let stop = CancellationToken::new();
        let mut listeners = JoinSet::new();
        let door =
            |tls| Door { desk: Arc::clone(desk), tls, stop: stop.clone(), streams: TaskTracker::new() };
        listeners.spawn(accept(https, Arc::new(door(Some(tls)))));
        if let Some((plain, _)) = plain {
            listeners.spawn(accept(plain, Arc::new(door(None))));
        }
        Ok((Self { listeners, stop }, listening))
    }

    /// Accepts nothing more, lets replies go out, and ends what is left after [`CLOSE_WAIT`].
    pub(super) async fn stop(&mut self) {
        self.stop.cancel();
        let ended = async { while self.listeners.join_next().await.is_some() {} };
        if tokio::time::timeout(CLOSE_WAIT, ended).await.is_err() {
            tracing::warn!(seconds = CLOSE_WAIT.as_secs(), "connections were cut that did not end in time");
            self.listeners.shutdown().await;
        }
    }
}

async fn listen(bind: IpAddr, port: u16, protocol: &'static str) -> Result<(TcpListener, SocketAddr), Error> {
    let address = SocketAddr::new(bind, port);
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

async fn accept(listener: TcpListener, door: Arc<Door>) {
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
