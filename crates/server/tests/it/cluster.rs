//! Ports of a cluster: a client that speaks HTTP over TLS to them, and knows no certificate.

use std::net::SocketAddr;
use std::sync::Arc;

use http_body_util::{BodyExt, Empty};
use hyper::body::{Bytes, Incoming};
use hyper::client::conn::{http1, http2};
use hyper::{Request, Response, StatusCode};
use hyper_util::rt::{TokioExecutor, TokioIo};
use serde_json::Value;
use tidegate_server::secure::Port;
use tokio::net::TcpStream;
use tokio::task::JoinSet;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use tokio_rustls::rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use tokio_rustls::rustls::crypto::{CryptoProvider, ring};
use tokio_rustls::rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use tokio_rustls::rustls::{ClientConfig, DigitallySignedStruct, Error, SignatureScheme};

pub(crate) async fn port() -> Port {
    Port::bind("127.0.0.1:0".parse().unwrap()).await.unwrap()
}

/// A TLS connection on which these protocols are offered.
pub(crate) async fn connect(address: SocketAddr, protocols: &[&str]) -> TlsStream<TcpStream> {
    let provider = Arc::new(ring::default_provider());
    let mut config = ClientConfig::builder_with_provider(Arc::clone(&provider))
        .with_safe_default_protocol_versions()
        .unwrap()
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(Anything(provider)))
        .with_no_client_auth();
    config.alpn_protocols = protocols.iter().map(|name| name.as_bytes().to_vec()).collect();
    let stream = TcpStream::connect(address).await.unwrap();
    let name = ServerName::try_from("localhost").unwrap();
    TlsConnector::from(Arc::new(config)).connect(name, stream).await.unwrap()
}

/// A request over HTTP/1.1 by a client that negotiates nothing.
pub(crate) async fn open(address: SocketAddr, method: &str, path: &str) -> Response<Incoming> {
    let io = TokioIo::new(connect(address, &[]).await);
    let (mut sender, connection) = http1::handshake(io).await.unwrap();
    let mut driver = JoinSet::new();
    driver.spawn(connection);
    let response = sender.send_request(request(method, path)).await.unwrap();
    // The body is read from the connection, which ends with the runtime of the test.
    driver.detach_all();
    response
}

/// A request over HTTP/2.
pub(crate) async fn open_http2(address: SocketAddr, method: &str, path: &str) -> Response<Incoming> {
    let io = TokioIo::new(connect(address, &["h2"]).await);
    let (mut sender, connection) = http2::handshake(TokioExecutor::new(), io).await.unwrap();
    let mut driver = JoinSet::new();
    driver.spawn(connection);
    let path = format!("https://localhost{path}");
    let response = sender.send_request(request(method, &path)).await.unwrap();
    driver.detach_all();
    response
}

/// The status, the type of the body and the body.
pub(crate) async fn get(address: SocketAddr, path: &str) -> (StatusCode, String, String) {
    whole(open(address, "GET", path).await).await
}

/// The status and the JSON of the answer.
pub(crate) async fn json(address: SocketAddr, path: &str) -> (StatusCode, Value) {
    let (status, kind, text) = get(address, path).await;
    assert_eq!(kind, "application/json", "{text}");
    (status, serde_json::from_str(&text).unwrap())
}

pub(crate) async fn whole(response: Response<Incoming>) -> (StatusCode, String, String) {
    let kind = response.headers().get("content-type").map(|kind| kind.to_str().unwrap().to_owned());
    let status = response.status();
    let bytes = response.into_body().collect().await.unwrap().to_bytes();
    (status, kind.unwrap_or_default(), String::from_utf8(bytes.to_vec()).unwrap())
}

fn request(method: &str, path: &str) -> Request<Empty<Bytes>> {
    let request = Request::builder().method(method).uri(path);
    let request = if path.starts_with('/') { request.header("host", "localhost") } else { request };
    request.body(Empty::new()).unwrap()
}

/// Takes any certificate, as clients of these ports do.
#[derive(Debug)]
struct Anything(Arc<CryptoProvider>);

impl ServerCertVerifier for Anything {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        let algorithms = &self.0.signature_verification_algorithms;
        tokio_rustls::rustls::crypto::verify_tls12_signature(message, cert, dss, algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        let algorithms = &self.0.signature_verification_algorithms;
        tokio_rustls::rustls::crypto::verify_tls13_signature(message, cert, dss, algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}
