//! Speaks to a site over its socket or address. Invariant: a request is answered, refused or given up within
//! [`REQUEST`], and every failure says where the site was looked for.

use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use http_body_util::{BodyExt, Full, Limited};
use hyper::body::{Bytes, Incoming};
use hyper::client::conn::http1;
use hyper::rt::{Read, Write};
use hyper::{Method, Request, Response};
use hyper_util::rt::TokioIo;
use platform::place::{Refusal, RefusalKind};
use serde::Serialize;
use serde::de::DeserializeOwned;
use server::{ErrorBody, PREFIX, Watch};
use tokio::net::{TcpStream, UnixStream};
use tokio::task::JoinSet;

use crate::cluster::Hosted;

/// How long an answer may take; a site answers within a minute.
const REQUEST: Duration = Duration::from_secs(70);
/// The largest answer.
const ANSWER_BYTES_MAX: usize = 256 * 1024 * 1024;

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Error {
    #[error("reach a site: no site answers at {place}: start one with `tidegate up`")]
    NoSite {
        place: String,
        #[source]
        source: io::Error,
    },
    #[error("{}", refused(.0))]
    Refused(Refusal),
    #[error("understand --local {0}: give the path of a socket, or http://ADDRESS:PORT")]
    Target(String),
    #[error("speak with the site at {place}")]
    Talk {
        place: String,
        #[source]
        source: hyper::Error,
    },
    #[error("get an answer from the site at {place} within {} s", REQUEST.as_secs())]
    Slow { place: String },
    #[error("read the answer of the site at {place}")]
    Body {
        place: String,
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    #[error("understand the answer of the site at {place}: is it another version of tidegate?")]
    Answer {
        place: String,
        #[source]
        source: serde_json::Error,
    },
}

fn refused(refusal: &Refusal) -> String {
    let complaints = refusal.complaints.iter().map(|line| line.trim_end());
    std::iter::once(refusal.message.as_str()).chain(complaints).collect::<Vec<_>>().join("\n  ")
}

impl Error {
    /// Whether the user has to change flags or manifests.
    pub(crate) fn is_usage(&self) -> bool {
        matches!(self, Self::Refused(Refusal { kind: RefusalKind::Invalid, .. }) | Self::Target(_))
    }

    /// Whether there is no such object.
    pub(crate) fn is_not_found(&self) -> bool {
        matches!(self, Self::Refused(Refusal { kind: RefusalKind::NotFound, .. }))
    }
}

/// Where a site answers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Target {
    /// A socket.
    Unix(PathBuf),
    /// `HOST:PORT`.
    Tcp(String),
}

impl Target {
    /// From the text of a flag.
    pub(crate) fn parse(text: &str) -> Result<Self, Error> {
        match text.split_once("://") {
            Some(("http", place)) => Ok(Self::Tcp(place.trim_end_matches('/').to_owned())),
            Some(("unix", path)) => Ok(Self::Unix(PathBuf::from(path))),
            Some(_) => Err(Error::Target(text.to_owned())),
            None => Ok(Self::Unix(PathBuf::from(text))),
        }
    }

    fn place(&self) -> String {
        match self {
            Self::Unix(path) => path.display().to_string(),
            Self::Tcp(place) => format!("http://{place}"),
        }
    }
}

/// A site that is spoken to.
#[derive(Clone, Debug)]
pub(crate) struct Client {
    target: Target,
    /// What answers there, where that is this process itself.
    hosted: Option<Arc<Hosted>>,
}

/// An answer that is still coming, and what carries it.
pub(crate) struct Answer {
    response: Response<Incoming>,
    place: String,
    _connection: JoinSet<Result<(), hyper::Error>>,
}

impl Client {
    pub(crate) fn new(target: Target) -> Self {
        Self { target, hosted: None }
    }

    /// Of a place that this process serves to itself.
    pub(crate) fn of_hosted(socket: PathBuf, hosted: Hosted) -> Self {
        Self { target: Target::Unix(socket), hosted: Some(Arc::new(hosted)) }
    }

    /// Whether somebody else is to be ended when the place is.
    pub(crate) fn is_hosted(&self) -> bool {
        self.hosted.is_some()
    }

    pub(crate) async fn get<T: DeserializeOwned>(&self, path: &str) -> Result<T, Error> {
        self.ask(Method::GET, path, Bytes::new()).await
    }

    pub(crate) async fn delete<T: DeserializeOwned>(&self, path: &str) -> Result<T, Error> {
        self.ask(Method::DELETE, path, Bytes::new()).await
    }

    pub(crate) async fn post<T: DeserializeOwned>(
        &self,
        path: &str,
        body: &impl Serialize,
    ) -> Result<T, Error> {
        let body = serde_json::to_vec(body).expect("what is sent are maps with text as keys");
        self.ask(Method::POST, path, Bytes::from(body)).await
    }

    /// The version of the site once it differs from the one given.
    pub(crate) async fn watch(&self, after: u64) -> Result<u64, Error> {
        let watch: Watch = self.get(&format!("/watch?after={after}")).await?;
        Ok(watch.version)
    }

    /// An answer that is read as it comes.
    pub(crate) async fn stream(&self, path: &str) -> Result<Answer, Error> {
        let answer = self.begin(Method::GET, path, Bytes::new()).await?;
        if answer.response.status().is_success() { Ok(answer) } else { Err(answer.refusal().await) }
    }

    async fn ask<T: DeserializeOwned>(&self, method: Method, path: &str, body: Bytes) -> Result<T, Error> {
        let asking = async {
            let answer = self.begin(method, path, body).await?;
            if !answer.response.status().is_success() {
                return Err(answer.refusal().await);
            }
            let place = answer.place.clone();
            let bytes = answer.whole().await?;
            serde_json::from_slice(&bytes).map_err(|source| Error::Answer { place, source })
        };
        let asked = tokio::time::timeout(REQUEST, asking).await;
        asked.unwrap_or_else(|_| Err(Error::Slow { place: self.target.place() }))
    }

    async fn begin(&self, method: Method, path: &str, body: Bytes) -> Result<Answer, Error> {
        let place = self.target.place();
        let no_site = |source| Error::NoSite { place: place.clone(), source };
        let (host, request) = match &self.target {
            Target::Unix(_) => ("localhost".to_owned(), format!("{PREFIX}{path}")),
            Target::Tcp(host) => (host.clone(), format!("{PREFIX}{path}")),
        };
        let request = Request::builder()
            .method(method)
            .uri(request)
            .header("host", host)
            .header("content-type", "application/json")
            .body(Full::new(body))
            .map_err(|_| Error::Target(place.clone()))?;
        match &self.target {
            Target::Unix(path) => {
                let stream = UnixStream::connect(path).await.map_err(no_site)?;
                send(TokioIo::new(stream), request, place.clone()).await
            }
            Target::Tcp(address) => {
                let stream = TcpStream::connect(address.as_str()).await.map_err(no_site)?;
                send(TokioIo::new(stream), request, place.clone()).await
            }
        }
    }
}

async fn send<I>(io: I, request: Request<Full<Bytes>>, place: String) -> Result<Answer, Error>
where
    I: Read + Write + Unpin + Send + 'static,
{
    let failed = |source| Error::Talk { place: place.clone(), source };
    let (mut sender, connection) = http1::handshake(io).await.map_err(failed)?;
    let mut driver = JoinSet::new();
    driver.spawn(connection);
    let response = sender.send_request(request).await.map_err(failed)?;
    Ok(Answer { response, place, _connection: driver })
}

impl Answer {
    /// The next piece of the body; none at its end.
    pub(crate) async fn next(&mut self) -> Result<Option<Bytes>, Error> {
        loop {
            match self.response.body_mut().frame().await {
                None => return Ok(None),
                Some(Ok(frame)) => {
                    if let Ok(bytes) = frame.into_data() {
                        return Ok(Some(bytes));
                    }
                }
                Some(Err(source)) => return Err(Error::Talk { place: self.place.clone(), source }),
            }
        }
    }

    async fn whole(self) -> Result<Bytes, Error> {
        let Self { response, place, _connection } = self;
        let body = Limited::new(response.into_body(), ANSWER_BYTES_MAX).collect().await;
        body.map(http_body_util::Collected::to_bytes).map_err(|source| Error::Body { place, source })
    }

    async fn refusal(self) -> Error {
        let place = self.place.clone();
        match self.whole().await {
            Ok(bytes) => match serde_json::from_slice::<ErrorBody>(&bytes) {
                Ok(body) => Error::Refused(body.error),
                Err(source) => Error::Answer { place, source },
            },
            Err(error) => error,
        }
    }
}

/// A name as part of a path or query.
pub(crate) fn encode(name: &str) -> String {
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.~".contains(&byte);
    name.bytes()
        .map(|byte| if is_plain(byte) { char::from(byte).to_string() } else { format!("%{byte:02X}") })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::{Target, encode};

    #[test]
    fn a_site_is_a_socket_or_an_address() {
        assert_eq!(Target::parse("/run/x.sock").unwrap(), Target::Unix("/run/x.sock".into()));
        assert_eq!(Target::parse("http://127.0.0.1:80/").unwrap(), Target::Tcp("127.0.0.1:80".to_owned()));
        assert!(Target::parse("ftp://x").unwrap_err().to_string().contains("--local ftp://x"));
    }

    #[test]
    fn names_cannot_leave_their_place_in_a_path() {
        assert_eq!(encode("my-pipeline.1"), "my-pipeline.1");
        assert_eq!(encode("a/b?c d"), "a%2Fb%3Fc%20d");
    }
}
