//! A small HTTP client: one connection, kept alive, over plain TCP or TLS that trusts any certificate.

use std::net::SocketAddr;
use std::sync::Arc;

use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::client::conn::{http1, http2};
use hyper::{HeaderMap, Method, Request};
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::net::TcpStream;
use tokio::task::JoinSet;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use tokio_rustls::rustls::pki_types::{CertificateDer, ServerName};

/// Whatever keeps a reply from coming.
pub(crate) type Failure = Box<dyn std::error::Error + Send + Sync>;

pub(crate) type Headers<'a> = &'a [(&'a str, &'a str)];

#[derive(Debug)]
pub(crate) struct Reply {
    pub(crate) status: u16,
    pub(crate) headers: HeaderMap,
    pub(crate) body: String,
}

enum Sender {
    Http1(http1::SendRequest<Full<Bytes>>),
    Http2(http2::SendRequest<Full<Bytes>>),
}

pub(crate) struct Client {
    sender: Sender,
    authority: String,
    /// Drives the connection for as long as the client lives.
    _connection: JoinSet<()>,
}

impl Client {
    pub(crate) async fn plain(address: SocketAddr) -> Result<Self, Failure> {
        let stream = TcpStream::connect(address).await?;
        let (sender, connection) = http1::handshake(TokioIo::new(stream)).await?;
        let mut tasks = JoinSet::new();
        tasks.spawn(async move { drop(connection.await) });
        Ok(Self { sender: Sender::Http1(sender), authority: address.to_string(), _connection: tasks })
    }

    pub(crate) async fn plain_http2(address: SocketAddr) -> Result<Self, Failure> {
        let stream = TcpStream::connect(address).await?;
        let (sender, connection) = http2::handshake(TokioExecutor::new(), TokioIo::new(stream)).await?;
        let mut tasks = JoinSet::new();
        tasks.spawn(async move { drop(connection.await) });
        Ok(Self { sender: Sender::Http2(sender), authority: address.to_string(), _connection: tasks })
    }

    /// Speaks what the server picks out of `protocols`; also gives the certificate that it showed.
    pub(crate) async fn tls(address: SocketAddr, protocols: &[&str]) -> (Self, CertificateDer<'static>) {
        let stream = TcpStream::connect(address).await.expect("the source listens");
        let stream = tls_stream(stream, protocols).await.unwrap();
        let session = stream.get_ref().1;
        let certificate = session.peer_certificates().unwrap()[0].clone().into_owned();
        let http2 = session.alpn_protocol() == Some(b"h2");
        let mut tasks = JoinSet::new();
        let sender = if http2 {
            let (sender, connection) =
                http2::handshake(TokioExecutor::new(), TokioIo::new(stream)).await.unwrap();
            tasks.spawn(async move { drop(connection.await) });
            Sender::Http2(sender)
        } else {
            let (sender, connection) = http1::handshake(TokioIo::new(stream)).await.unwrap();
            tasks.spawn(async move { drop(connection.await) });
            Sender::Http1(sender)
        };
        (Self { sender, authority: "localhost".to_owned(), _connection: tasks }, certificate)
    }

    pub(crate) fn is_http2(&self) -> bool {
        matches!(self.sender, Sender::Http2(_))
    }

    pub(crate) async fn post(
        &mut self,
        path: &str,
        headers: Headers<'_>,
        body: impl Into<Bytes>,
    ) -> Result<Reply, Failure> {
        self.request(Method::POST, path, headers, body).await
    }

    pub(crate) async fn request(
        &mut self,
        method: Method,
        path: &str,
        headers: Headers<'_>,
        body: impl Into<Bytes>,
    ) -> Result<Reply, Failure> {
        let uri = match self.sender {
            Sender::Http1(_) => path.to_owned(),
            Sender::Http2(_) => format!("https://{}{path}", self.authority),
        };
        let mut request = Request::builder().method(method).uri(uri);
        if matches!(self.sender, Sender::Http1(_)) {
            request = request.header("host", &self.authority);
        }
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let request = request.body(Full::new(body.into())).unwrap();
        let reply = match &mut self.sender {
            Sender::Http1(sender) => {
                sender.ready().await?;
                sender.send_request(request).await?
            }
            Sender::Http2(sender) => {
                sender.ready().await?;
                sender.send_request(request).await?
            }
        };
        let (head, body) = reply.into_parts();
        let body = body.collect().await?.to_bytes();
        let body = String::from_utf8(body.to_vec()).unwrap();
        Ok(Reply { status: head.status.as_u16(), headers: head.headers, body })
    }
}

pub(crate) async fn tls_stream(
    stream: TcpStream,
    protocols: &[&str],
) -> std::io::Result<TlsStream<TcpStream>> {
    let mut config = tidegate_connect::tls::to_anyone().unwrap();
    config.alpn_protocols = protocols.iter().map(|protocol| protocol.as_bytes().to_vec()).collect();
    TlsConnector::from(Arc::new(config)).connect(ServerName::try_from("localhost").unwrap(), stream).await
}
