//! Small questions of the cluster to a controller: probes, and the API server's about manifests. Invariant: a caller that
//! says nothing, too much, or never finishes costs one of a bounded number of places for a bounded time.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use http_body_util::{BodyExt, Full, Limited};
use hyper::body::{Bytes, Incoming};
use hyper::header::{CONTENT_TYPE, HeaderValue};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Request, Response, StatusCode};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::ServerConfig;

/// Connections at once; others wait to be accepted.
const CALLERS_MAX: usize = 64;
/// How long a handshake, or the head of a request, may take; an idle connection is closed after it too.
const HEAD_WITHIN: Duration = Duration::from_secs(10);
/// How long a whole connection may last.
const CONNECTION_WITHIN: Duration = Duration::from_mins(5);
/// The largest request: an object and what it was before, each as large as a cluster keeps any.
const BODY_BYTES_MAX: usize = 4 * 1024 * 1024;
/// How soon it is tried again to accept, when the system has no room for another connection.
const AGAIN: Duration = Duration::from_millis(100);

/// What is said to a question.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Answer {
    /// The status.
    pub(super) status: StatusCode,
    /// What the body is.
    pub(super) content_type: &'static str,
    /// The body.
    pub(super) body: Vec<u8>,
}

impl Answer {
    /// Some words.
    pub(super) fn text(status: StatusCode, words: &str) -> Self {
        Self { status, content_type: "text/plain; charset=utf-8", body: words.as_bytes().to_vec() }
    }
}

/// Knows the answers, at once and without looking anywhere.
pub(super) type Answers = Arc<dyn Fn(&Request<()>, &[u8]) -> Answer + Send + Sync>;

/// The certificate that is shown; it may change, and there is none before it is made.
pub(super) type Certificate = watch::Receiver<Option<Arc<ServerConfig>>>;

/// Answers callers for ever; with a certificate, over TLS.
pub(super) async fn serve(listener: TcpListener, certificate: Option<Certificate>, answers: Answers) {
    let mut callers = JoinSet::new();
    loop {
        let has_room = callers.len() < CALLERS_MAX;
        tokio::select! {
            Some(_) = callers.join_next() => {}
            accepted = listener.accept(), if has_room => match accepted {
                Ok((stream, _)) => {
                    let shown = match &certificate {
                        None => Shown::Plain,
                        Some(certificate) => certificate.borrow().clone().map_or(Shown::Nothing, Shown::Tls),
                    };
                    let call = call(stream, shown, Arc::clone(&answers));
                    callers.spawn(tokio::time::timeout(CONNECTION_WITHIN, call));
                }
                Err(error) => {
                    tracing::warn!(%error, "a connection was not accepted");
                    tokio::time::sleep(AGAIN).await;
                }
            },
        }
    }
}

/// What a caller is shown.
enum Shown {
    /// Nothing is encrypted.
    Plain,
    /// A certificate.
    Tls(Arc<ServerConfig>),
    /// There is no certificate yet, and the caller is sent away.
    Nothing,
}

/// One connection.
async fn call(stream: TcpStream, shown: Shown, answers: Answers) {
    let outcome = match shown {
        Shown::Plain => converse(stream, answers).await,
        Shown::Nothing => return,
        Shown::Tls(config) => {
            let handshake = TlsAcceptor::from(config).accept(stream);
            match tokio::time::timeout(HEAD_WITHIN, handshake).await {
                Ok(Ok(stream)) => converse(stream, answers).await,
                Ok(Err(error)) => {
                    tracing::debug!(%error, "a handshake failed");
                    return;
                }
                Err(_) => return,
            }
        }
    };
    if let Err(error) = outcome {
        tracing::debug!(%error, "a connection broke");
    }
}

async fn converse<S>(stream: S, answers: Answers) -> Result<(), hyper::Error>
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let service = service_fn(move |request: Request<Incoming>| {
        let answers = Arc::clone(&answers);
        async move { Ok::<_, Infallible>(respond(request, &answers).await) }
    });
    http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD_WITHIN)
        .serve_connection(TokioIo::new(stream), service)
        .await
}

async fn respond(request: Request<Incoming>, answers: &Answers) -> Response<Full<Bytes>> {
    let (head, body) = request.into_parts();
    let body = tokio::time::timeout(HEAD_WITHIN, Limited::new(body, BODY_BYTES_MAX).collect()).await;
    let answer = match body {
        Ok(Ok(body)) => answers(&Request::from_parts(head, ()), &body.to_bytes()),
        Ok(Err(_)) => Answer::text(StatusCode::PAYLOAD_TOO_LARGE, "the request is broken or too large\n"),
        Err(_) => Answer::text(StatusCode::REQUEST_TIMEOUT, "the request took too long\n"),
    };
    let Answer { status, content_type, body } = answer;
    let mut response = Response::new(Full::new(Bytes::from(body)));
    *response.status_mut() = status;
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
    response
}

/// What probes are told: that the process answers, and, by `is_ready`, whether it has begun.
pub(super) fn probes(is_ready: watch::Receiver<bool>) -> Answers {
    Arc::new(move |request, _| match request.uri().path() {
        "/healthz" | "/livez" => Answer::text(StatusCode::OK, "ok\n"),
        "/readyz" if *is_ready.borrow() => Answer::text(StatusCode::OK, "ok\n"),
        "/readyz" => Answer::text(StatusCode::SERVICE_UNAVAILABLE, "the API server was not reached yet\n"),
        _ => Answer::text(StatusCode::NOT_FOUND, "there is nothing here\n"),
    })
}
