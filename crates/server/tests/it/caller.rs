//! A site with a fake place behind it, and a caller that speaks plain HTTP to it.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;

use http_body_util::{BodyExt, Full};
use hyper::body::{Bytes, Incoming};
use hyper::client::conn::http1;
use hyper::{Request, Response, StatusCode};
use hyper_util::rt::TokioIo;
use serde_json::Value;
use tempfile::TempDir;
use tidegate_server::{End, Listener, serve};
use tokio::net::{TcpStream, UnixStream};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use super::fake::Fake;

pub(crate) struct Site {
    pub(crate) place: Arc<Fake>,
    pub(crate) dir: TempDir,
    pub(crate) socket: PathBuf,
    pub(crate) address: SocketAddr,
    pub(crate) shutdown: CancellationToken,
    pub(crate) serving: JoinSet<End>,
}

impl Site {
    /// A site on a socket and on a port of its own.
    pub(crate) async fn start() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let socket = dir.path().join("api/api.sock");
        let listener = Listener::bind(Some(&socket), Some("127.0.0.1:0".parse().unwrap())).await.unwrap();
        let address = listener.address().unwrap();
        let place = Arc::new(Fake::new());
        let shutdown = CancellationToken::new();
        let mut serving = JoinSet::new();
        serving.spawn(serve(Arc::clone(&place) as _, listener, shutdown.clone()));
        Self { place, dir, socket, address, shutdown, serving }
    }

    /// A request over the socket: the status and the JSON of the answer.
    pub(crate) async fn ask(&self, method: &str, path: &str, body: &str) -> (StatusCode, Value) {
        let (status, text) = text(self.open(request(method, path, body)).await).await;
        (status, serde_json::from_str(&text).unwrap_or_else(|error| panic!("{error}: {text}")))
    }

    pub(crate) async fn get(&self, path: &str) -> (StatusCode, Value) {
        self.ask("GET", path, "").await
    }

    /// A request over the socket, its answer just begun.
    pub(crate) async fn open(&self, request: Request<Full<Bytes>>) -> Response<Incoming> {
        let stream = UnixStream::connect(&self.socket).await.unwrap();
        send(TokioIo::new(stream), request).await
    }

    /// A request over TCP, its answer just begun.
    pub(crate) async fn open_tcp(&self, request: Request<Full<Bytes>>) -> Response<Incoming> {
        let stream = TcpStream::connect(self.address).await.unwrap();
        send(TokioIo::new(stream), request).await
    }
}

pub(crate) fn request(method: &str, path: &str, body: &str) -> Request<Full<Bytes>> {
    Request::builder()
        .method(method)
        .uri(path)
        .header("host", "localhost")
        .header("content-type", "application/json")
        .body(Full::new(Bytes::from(body.to_owned())))
        .unwrap()
}

/// The whole body.
pub(crate) async fn text(response: Response<Incoming>) -> (StatusCode, String) {
    let status = response.status();
    let bytes = response.into_body().collect().await.unwrap().to_bytes();
    (status, String::from_utf8(bytes.to_vec()).unwrap())
}

async fn send<I>(io: I, request: Request<Full<Bytes>>) -> Response<Incoming>
where
    I: hyper::rt::Read + hyper::rt::Write + Unpin + Send + 'static,
{
    let (mut sender, connection) = http1::handshake(io).await.unwrap();
    let mut driver = JoinSet::new();
    driver.spawn(connection);
    let response = sender.send_request(request).await.unwrap();
    // The body is read from the connection, which ends with the runtime of the test.
    driver.detach_all();
    response
}
