//! A port of a cluster: TLS with a certificate made at the start, HTTP/1.1 and HTTP/2 side by side. Callers cannot verify
//! the certificate, only encrypt to it; nothing served here changes anything. Invariant: a caller that says nothing, or
//! never finishes, costs one of a bounded number of places for a bounded time.

use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::extract::DefaultBodyLimit;
use hyper::rt::Executor;
use hyper::server::conn::{http1, http2};
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use rcgen::CertifiedKey;
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::ServerConfig;
use tokio_rustls::rustls::crypto::ring;
use tokio_rustls::rustls::pki_types::PrivatePkcs8KeyDer;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::callers::{self, Callers};

/// The names the certificate is for.
const NAMES: [&str; 3] = ["localhost", "127.0.0.1", "::1"];
/// What HTTP/2 is called in the TLS handshake.
const HTTP2: &[u8] = b"h2";
/// The largest body of a request.
const BODY_BYTES_MAX: usize = 64 * 1024;
/// Requests of one HTTP/2 connection at once.
const STREAMS_MAX: u32 = 64;
/// How often a silent HTTP/2 caller is asked whether it is there, and how long it may take to say so.
const ALIVE_EVERY: Duration = Duration::from_secs(30);

/// Why a port cannot be served.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The system refuses the port.
    #[error("listen on {address}")]
    Listen {
        /// The address.
        address: SocketAddr,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// No certificate could be made.
    #[error("make a certificate for {address}")]
    Certificate {
        /// The address.
        address: SocketAddr,
        /// Why.
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
}

/// A port that is listened on.
pub struct Port {
    listener: TcpListener,
    address: SocketAddr,
    tls: TlsAcceptor,
}

impl Port {
    /// Listens; callers wait until the port is served.
    pub async fn bind(address: SocketAddr) -> Result<Self, Error> {
        let tls = acceptor().map_err(|source| Error::Certificate { address, source })?;
        let failed = |source| Error::Listen { address, source };
        let listener = TcpListener::bind(address).await.map_err(failed)?;
        let address = listener.local_addr().map_err(failed)?;
        Ok(Self { listener, address, tls })
    }

    /// The address, with the port that the system chose.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Answers callers until `shutdown` is cancelled; then lets them finish.
    pub(crate) async fn serve(self, router: Router, shutdown: CancellationToken) {
        let Self { listener, address: _, tls } = self;
        let router = router.layer(DefaultBodyLimit::max(BODY_BYTES_MAX));
        let ended = shutdown.child_token();
        let mut callers = Callers::new(ended.clone());
        loop {
            let has_room = callers.has_room();
            tokio::select! {
                biased;
                () = ended.cancelled() => break,
                () = callers.leave() => {}
                caller = listener.accept(), if has_room => match caller {
                    Ok((stream, _)) => callers.serve(call(stream, tls.clone(), router.clone(), ended.clone())),
                    Err(error) => callers::refused(&error).await,
                },
            }
        }
        drop(listener);
        callers.end().await;
    }
}

fn acceptor() -> Result<TlsAcceptor, Box<dyn std::error::Error + Send + Sync>> {
    let CertifiedKey { cert, signing_key } = rcgen::generate_simple_self_signed(NAMES.map(str::to_owned))?;
    let key = PrivatePkcs8KeyDer::from(signing_key.serialize_der());
    let mut config = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()?
        .with_no_client_auth()
        .with_single_cert(vec![cert.der().clone()], key.into())?;
    config.alpn_protocols = vec![HTTP2.to_vec(), b"http/1.1".to_vec()];
    Ok(TlsAcceptor::from(Arc::new(config)))
}

/// Lets HTTP/2 connections serve their requests side by side, on tasks that are waited for.
#[derive(Clone)]
struct Streams(TaskTracker);

impl<F: Future<Output: Send> + Send + 'static> Executor<F> for Streams {
    fn execute(&self, future: F) {
        self.0.spawn(future);
    }
}

/// One connection, from the handshake to the last request.
async fn call(
    stream: TcpStream,
    tls: TlsAcceptor,
    router: Router,
    ended: CancellationToken,
) -> Result<(), Box<dyn std::error::Error + Send + Sync>> {
    let handshake = tokio::time::timeout(callers::HEAD, tls.accept(stream));
    let stream = tokio::select! {
        stream = handshake => stream??,
        () = ended.cancelled() => return Ok(()),
    };
    let is_http2 = stream.get_ref().1.alpn_protocol() == Some(HTTP2);
    let (io, service) = (TokioIo::new(stream), TowerToHyperService::new(router));
    if is_http2 {
        let streams = TaskTracker::new();
        let connection = http2::Builder::new(Streams(streams.clone()))
            .timer(TokioTimer::new())
            .max_concurrent_streams(STREAMS_MAX)
            .keep_alive_interval(ALIVE_EVERY)
            .keep_alive_timeout(callers::HEAD)
            .serve_connection(io, service);
        tokio::pin!(connection);
        let outcome = tokio::select! {
            outcome = connection.as_mut() => outcome,
            () = ended.cancelled() => {
                connection.as_mut().graceful_shutdown();
                connection.await
            }
        };
        streams.close();
        streams.wait().await;
        return Ok(outcome?);
    }
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(callers::HEAD)
        .serve_connection(io, service);
    tokio::pin!(connection);
    tokio::select! {
        outcome = connection.as_mut() => return Ok(outcome?),
        () = ended.cancelled() => connection.as_mut().graceful_shutdown(),
    }
    Ok(connection.await?)
}
