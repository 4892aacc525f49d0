//! The way to the daemon of an object: wishes go there, looks come back. Invariant: what was not answered in time counts as
//! not seen, and nothing is decided by that but to ask again.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use http_body_util::{BodyExt, Full, Limited};
use hyper::body::Bytes;
use hyper::client::conn::http1;
use hyper::{Request, StatusCode, header};
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;
use tokio::task::JoinSet;
use tokio_rustls::TlsConnector;
use tokio_rustls::rustls::pki_types::ServerName;

use super::names::DAEMON_PORT;
use crate::exchange::{Look, Wishes};

/// How long it may take to reach a daemon.
const CONNECT_WITHIN: Duration = Duration::from_secs(2);
/// How long an answer may take.
const ANSWER_WITHIN: Duration = Duration::from_secs(3);
/// The largest answer.
const ANSWER_BYTES_MAX: usize = 16 * 1024 * 1024;
/// Where wishes are taken.
const WISHES: &str = "/tidegate/v1/wishes";

/// Why a daemon has not answered.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// It cannot be reached.
    #[error("reach the daemon at {address}")]
    Connect {
        /// Where.
        address: SocketAddr,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// The connection broke, or it speaks something else.
    #[error("ask the daemon at {address}")]
    Http {
        /// Where.
        address: SocketAddr,
        /// Why.
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// It took too long.
    #[error("get an answer from the daemon at {address} within {} s", ANSWER_WITHIN.as_secs())]
    Slow {
        /// Where.
        address: SocketAddr,
    },
    /// It does not know us.
    #[error("ask the daemon at {address}: it knows another token; its pod is older than its secret")]
    Token {
        /// Where.
        address: SocketAddr,
    },
    /// It refuses.
    #[error("ask the daemon at {address}: it answers {status}: {text}")]
    Refused {
        /// Where.
        address: SocketAddr,
        /// The status.
        status: StatusCode,
        /// What it says.
        text: String,
    },
    /// Its answer is none.
    #[error("understand the daemon at {address}: another version of the program may run there")]
    Answer {
        /// Where.
        address: SocketAddr,
        /// Why.
        #[source]
        source: serde_json::Error,
    },
}

/// A connection to the daemon of one object, made when it is needed.
#[derive(Default)]
pub struct Link {
    open: Option<Open>,
}

struct Open {
    address: SocketAddr,
    sender: http1::SendRequest<Full<Bytes>>,
    /// Drives the connection, and ends with it.
    _driver: JoinSet<()>,
}

impl Link {
    /// Tells a daemon what is wished and hears what it sees.
    pub async fn exchange(&mut self, pod: IpAddr, token: &str, wishes: &Wishes) -> Result<Look, Error> {
        let address = SocketAddr::new(pod, u16::try_from(DAEMON_PORT).expect("a port fits"));
        let exchange = self.send(address, token, wishes);
        let outcome = match tokio::time::timeout(ANSWER_WITHIN, exchange).await {
            Ok(outcome) => outcome,
            Err(_) => Err(Error::Slow { address }),
        };
        if outcome.is_err() {
            self.open = None;
        }
        outcome
    }

    async fn send(&mut self, address: SocketAddr, token: &str, wishes: &Wishes) -> Result<Look, Error> {
        let is_open = |open: &Open| open.address == address && !open.sender.is_closed();
        if !self.open.as_ref().is_some_and(is_open) {
            self.open = Some(open(address).await?);
        }
        let failed = |source: Box<dyn std::error::Error + Send + Sync>| Error::Http { address, source };
        let sender = &mut self.open.as_mut().expect("it was just opened").sender;
        sender.ready().await.map_err(|error| failed(Box::new(error)))?;
        let body = serde_json::to_vec(wishes).expect("wishes are plain data");
        let request = Request::post(WISHES)
            .header(header::HOST, address.to_string())
            .header(header::AUTHORIZATION, format!("Bearer {token}"))
            .header(header::CONTENT_TYPE, "application/json")
            .body(Full::new(Bytes::from(body)))
            .map_err(|error| failed(Box::new(error)))?;
        let answer = sender.send_request(request).await.map_err(|error| failed(Box::new(error)))?;
        let status = answer.status();
        let body = Limited::new(answer.into_body(), ANSWER_BYTES_MAX).collect().await.map_err(failed)?;
        let body = body.to_bytes();
        match status {
            StatusCode::OK => {
                serde_json::from_slice(&body).map_err(|source| Error::Answer { address, source })
            }
            StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => Err(Error::Token { address }),
            status => {
                let text = String::from_utf8_lossy(&body).chars().take(200).collect();
                Err(Error::Refused { address, status, text })
            }
        }
    }
}

async fn open(address: SocketAddr) -> Result<Open, Error> {
    let failed = |source| Error::Connect { address, source };
    let connected = tokio::time::timeout(CONNECT_WITHIN, TcpStream::connect(address)).await;
    let stream = connected.map_err(|_| failed(io::ErrorKind::TimedOut.into()))?.map_err(failed)?;
    stream.set_nodelay(true).map_err(failed)?;
    let stream =
        connector().connect(ServerName::IpAddress(address.ip().into()), stream).await.map_err(failed)?;
    let (sender, connection) = http1::handshake(TokioIo::new(stream))
        .await
        .map_err(|error| Error::Http { address, source: Box::new(error) })?;
    let mut driver = JoinSet::new();
    driver.spawn(async move {
        if let Err(error) = connection.await {
            tracing::debug!(%address, %error, "the connection to a daemon ended");
        }
    });
    Ok(Open { address, sender, _driver: driver })
}

/// Encrypts to whoever answers, as the reference's clients do: what a daemon is known by is the token, and the address is what
/// the API server says of its pod.
fn connector() -> TlsConnector {
    let config = connect::tls::to_anyone().expect("the provider has the versions that are safe");
    TlsConnector::from(Arc::new(config))
}
