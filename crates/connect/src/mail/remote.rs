//! Notes that another process hosts, over HTTPS with a token; docs/format/hosted-notes.md has what is on the wire.
//!
//! The other side may be away at any time: what is asked of it fails with `Retry` then, and a watch goes on by itself as
//! soon as it is back, at a bounded pace and for ever. Invariant: a watch never makes up that a note was taken away; what
//! it does not hear of stays as it was.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use bytes::{Buf, Bytes, BytesMut};
use http_body_util::{BodyExt, Full, Limited};
use hyper::body::Incoming;
use hyper::client::conn::http1::{self, SendRequest};
use hyper::{Method, Request, Response, StatusCode, Uri, header};
use hyper_util::rt::TokioIo;
use model::door::mail::{Change, Mail, Watch};
use model::door::{Class, Error};
use tokio::net::TcpStream;
use tokio::sync::Mutex;
use tokio::task::JoinSet;
use tokio_rustls::TlsConnector;
use tokio_rustls::rustls::pki_types::ServerName;

use super::NOTE_BYTES_MAX;
use crate::tls;

/// Where notes are, below the address of the host.
pub const NOTES: &str = "/tidegate/v1/notes";
/// How long it may take to reach the other side.
const CONNECT_WITHIN: Duration = Duration::from_secs(2);
/// How long an answer may take to begin.
const ANSWER_WITHIN: Duration = Duration::from_secs(2);
/// After so long without a word, not even that there is nothing, a watch begins again. The host speaks every second.
const SILENT_AFTER: Duration = Duration::from_secs(4);
/// Waits before a watch begins again, at first and at most.
const AGAIN_FIRST: Duration = Duration::from_millis(50);
const AGAIN_MAX: Duration = Duration::from_secs(1);
/// The longest text of a refusal that is read.
const REFUSAL_BYTES_MAX: usize = 4 * 1024;
/// The largest record on the wire.
const RECORD_BYTES_MAX: usize = NOTE_BYTES_MAX + 4 * 1024;

/// Why a place cannot be used at all.
#[derive(Debug, thiserror::Error)]
pub enum SettingsError {
    /// The address is none.
    #[error("use {0:?} as the address of a daemon: https://HOST:PORT is one")]
    Address(String),
    /// The token cannot be sent.
    #[error("use the token of the daemon: it has characters that cannot be sent")]
    Token,
    /// Nothing can be encrypted.
    #[error("encrypt to the daemon")]
    Tls(#[source] tokio_rustls::rustls::Error),
}

/// The way to a place for notes.
pub struct RemoteMail {
    way: Arc<Way>,
    /// The connection for what is asked and answered, made when it is needed.
    open: Mutex<Option<Open>>,
}

/// How the other side is reached.
struct Way {
    host: String,
    port: u16,
    authorization: header::HeaderValue,
    tls: TlsConnector,
}

struct Open {
    sender: SendRequest<Full<Bytes>>,
    /// Drives the connection, and ends with it.
    _driver: JoinSet<()>,
}

impl RemoteMail {
    /// The place that a host has at `https://HOST:PORT`. Nothing is reached yet.
    pub fn new(address: &str, token: &str) -> Result<Self, SettingsError> {
        let wrong = || SettingsError::Address(address.to_owned());
        let uri: Uri = address.parse().map_err(|_| wrong())?;
        let host = uri.host().filter(|_| uri.scheme_str() == Some("https")).ok_or_else(wrong)?;
        let host = host.trim_start_matches('[').trim_end_matches(']').to_owned();
        let mut authorization: header::HeaderValue =
            format!("Bearer {token}").parse().map_err(|_| SettingsError::Token)?;
        authorization.set_sensitive(true);
        let tls = TlsConnector::from(Arc::new(tls::to_anyone().map_err(SettingsError::Tls)?));
        let port = uri.port_u16().unwrap_or(443);
        Ok(Self { way: Arc::new(Way { host, port, authorization, tls }), open: Mutex::new(None) })
    }

    async fn ask(&self, method: Method, key: &str, note: Bytes) -> Result<(), Error> {
        let attempt = format!("reach note {key} at {}", self.way.host);
        let path = format!("{NOTES}/{key}");
        let mut open = self.open.lock().await;
        // A connection that the other side has closed meanwhile is no failure.
        for is_last in [false, true] {
            if open.as_ref().is_none_or(|open| open.sender.is_closed()) {
                *open = Some(self.way.open().await.map_err(|error| away(&attempt, error))?);
            }
            let connection = open.as_mut().expect("it was just opened");
            let asked = self.way.ask(connection, (method.clone(), &path), note.clone()).await;
            match asked {
                Ok(response) if response.status().is_success() => return Ok(()),
                Ok(response) => return Err(refusal(attempt, response).await),
                Err(error) => {
                    *open = None;
                    if is_last {
                        return Err(away(&attempt, error));
                    }
                }
            }
        }
        unreachable!("the last attempt returns")
    }
}

impl Way {
    async fn open(&self) -> Result<Open, io::Error> {
        let connecting = async {
            let stream = TcpStream::connect((self.host.as_str(), self.port)).await?;
            stream.set_nodelay(true)?;
            let name = ServerName::try_from(self.host.clone()).map_err(io::Error::other)?;
            let stream = self.tls.connect(name, stream).await?;
            http1::handshake(TokioIo::new(stream)).await.map_err(io::Error::other)
        };
        let connected = tokio::time::timeout(CONNECT_WITHIN, connecting).await;
        let (sender, connection) = connected.map_err(|_| io::Error::from(io::ErrorKind::TimedOut))??;
        let mut driver = JoinSet::new();
        driver.spawn(async move {
            if let Err(error) = connection.await {
                tracing::debug!(%error, "the connection to a host of notes ended");
            }
        });
        Ok(Open { sender, _driver: driver })
    }

    async fn ask(
        &self,
        open: &mut Open,
        (method, path): (Method, &str),
        body: Bytes,
    ) -> Result<Response<Incoming>, io::Error> {
        let request = Request::builder()
            .method(method)
            .uri(path)
            .header(header::HOST, self.host.as_str())
            .header(header::AUTHORIZATION, self.authorization.clone())
            .body(Full::new(body))
            .map_err(io::Error::other)?;
        let asking = async {
            open.sender.ready().await?;
            open.sender.send_request(request).await
        };
        let answered = tokio::time::timeout(ANSWER_WITHIN, asking).await;
        answered.map_err(|_| io::Error::from(io::ErrorKind::TimedOut))?.map_err(io::Error::other)
    }
}

fn away(attempt: &str, error: io::Error) -> Error {
    Error::caused(Class::Retry, attempt.to_owned(), error)
}

/// What the other side says why it does not.
async fn refusal(attempt: String, response: Response<Incoming>) -> Error {
    let status = response.status();
    let body = Limited::new(response.into_body(), REFUSAL_BYTES_MAX).collect();
    let text = match tokio::time::timeout(ANSWER_WITHIN, body).await {
        Ok(Ok(body)) => String::from_utf8_lossy(&body.to_bytes()).into_owned(),
        Ok(Err(_)) | Err(_) => String::new(),
    };
    let class = match status {
        StatusCode::BAD_REQUEST | StatusCode::PAYLOAD_TOO_LARGE => Class::Reject,
        // A token may be mounted late, and a host may be another one soon.
        _ => Class::Retry,
    };
    Error::new(class, format!("{attempt}: it answers {status}: {text}"))
}

#[async_trait]
impl Mail for RemoteMail {
    async fn put(&self, key: &str, note: Bytes) -> Result<(), Error> {
        super::check(key, model::door::mail::KEY_TOKENS..=model::door::mail::KEY_TOKENS)?;
        self.ask(Method::PUT, key, note).await
    }

    async fn remove(&self, key: &str) -> Result<(), Error> {
        super::check(key, model::door::mail::KEY_TOKENS..=model::door::mail::KEY_TOKENS)?;
        self.ask(Method::DELETE, key, Bytes::new()).await
    }

    async fn watch(&self, under: &str) -> Result<Box<dyn Watch>, Error> {
        super::check(under, 1..=model::door::mail::KEY_TOKENS)?;
        let (way, under) = (self.way.clone(), under.to_owned());
        Ok(Box::new(Watching { way, under, stream: None, got: BytesMut::new(), wait: AGAIN_FIRST }))
    }
}

struct Watching {
    way: Arc<Way>,
    under: String,
    stream: Option<(Incoming, Open)>,
    /// Bytes of records that are not whole yet.
    got: BytesMut,
    wait: Duration,
}

impl Watching {
    async fn connect(&self) -> Result<(Incoming, Open), Error> {
        let attempt = format!("watch notes at {}", self.way.host);
        let mut open = self.way.open().await.map_err(|error| away(&attempt, error))?;
        let path = format!("{NOTES}?under={}", self.under);
        let asked = self.way.ask(&mut open, (Method::GET, &path), Bytes::new()).await;
        let response = asked.map_err(|error| away(&attempt, error))?;
        if response.status().is_success() {
            Ok((response.into_body(), open))
        } else {
            Err(refusal(attempt, response).await)
        }
    }

    /// Takes in what comes next; none when the stream is over.
    async fn receive(&mut self) -> Option<()> {
        let (stream, _) = self.stream.as_mut()?;
        let frame = tokio::time::timeout(SILENT_AFTER, stream.frame()).await.ok()??.ok()?;
        if let Ok(data) = frame.into_data() {
            self.got.extend_from_slice(&data);
        }
        Some(())
    }
}

#[async_trait]
impl Watch for Watching {
    async fn next(&mut self) -> Result<Change, Error> {
        loop {
            if self.stream.is_none() {
                self.got.clear();
                match self.connect().await {
                    Ok(stream) => (self.stream, self.wait) = (Some(stream), AGAIN_FIRST),
                    Err(error) => {
                        tracing::debug!(error = error.chain(), "notes cannot be watched; trying again");
                        tokio::time::sleep(self.wait).await;
                        self.wait = (self.wait * 2).min(AGAIN_MAX);
                        continue;
                    }
                }
            }
            match take(&mut self.got) {
                Ok(Some(Record::Change(change))) => return Ok(change),
                Ok(Some(Record::Alive)) => {}
                Ok(None) => {
                    if self.receive().await.is_none() {
                        self.stream = None;
                    }
                }
                Err(Malformed) => {
                    tracing::warn!(
                        host = self.way.host,
                        "a host of notes says what cannot be understood; beginning again"
                    );
                    self.stream = None;
                    tokio::time::sleep(AGAIN_MAX).await;
                }
            }
        }
    }
}

/// What comes over a watch.
#[derive(Debug, PartialEq, Eq)]
enum Record {
    /// There is nothing to say.
    Alive,
    /// A note has changed.
    Change(Change),
}

/// What is no record.
#[derive(Debug, PartialEq, Eq)]
struct Malformed;

/// A change as it is sent: the length of the rest, 1 if there is a note and 0 if it was taken away, the length of the key,
/// the key, and the note. All lengths are of four and two bytes, the most significant first. A length of 0 says that the
/// host lives.
pub fn record(change: &Change) -> Bytes {
    let Change { key, note } = change;
    let note_bytes = note.as_ref().map_or(&b""[..], |note| note);
    let rest = 3 + key.len() + note_bytes.len();
    let mut record = Vec::with_capacity(4 + rest);
    record.extend_from_slice(&u32::try_from(rest).expect("notes are bounded").to_be_bytes());
    record.push(u8::from(note.is_some()));
    record.extend_from_slice(&u16::try_from(key.len()).expect("keys are bounded").to_be_bytes());
    record.extend_from_slice(key.as_bytes());
    record.extend_from_slice(note_bytes);
    Bytes::from(record)
}

/// What is sent when there is nothing to say.
pub const ALIVE: [u8; 4] = [0; 4];

/// The first record of what has come; none while it is not whole.
fn take(got: &mut BytesMut) -> Result<Option<Record>, Malformed> {
    let Some(length) = got.first_chunk::<4>() else { return Ok(None) };
    let length = u32::from_be_bytes(*length) as usize;
    if length > RECORD_BYTES_MAX {
        return Err(Malformed);
    }
    if got.len() < 4 + length {
        return Ok(None);
    }
    got.advance(4);
    if length == 0 {
        return Ok(Some(Record::Alive));
    }
    let mut rest = got.split_to(length).freeze();
    if rest.len() < 3 {
        return Err(Malformed);
    }
    let has_note = rest.get_u8() == 1;
    let key_bytes = usize::from(rest.get_u16());
    if rest.len() < key_bytes {
        return Err(Malformed);
    }
    let key = String::from_utf8(rest.split_to(key_bytes).to_vec()).map_err(|_| Malformed)?;
    Ok(Some(Record::Change(Change { key, note: has_note.then_some(rest) })))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn records_are_read_back_however_they_are_cut() {
        let change = |key: &str, note: Option<&str>| Change {
            key: key.to_owned(),
            note: note.map(|note| Bytes::copy_from_slice(note.as_bytes())),
        };
        let all = [change("a.b.c", Some("note")), change("a.b.c", None), change("a.b.d", Some(""))];
        let mut bytes: Vec<u8> = all.iter().flat_map(|change| record(change).to_vec()).collect();
        bytes.splice(0..0, ALIVE);
        let (mut got, mut read) = (BytesMut::new(), Vec::new());
        for byte in bytes {
            got.extend_from_slice(&[byte]);
            while let Some(record) = take(&mut got).unwrap() {
                read.push(record);
            }
        }
        let changes = all.into_iter().map(Record::Change);
        assert_eq!(read, [Record::Alive].into_iter().chain(changes).collect::<Vec<_>>());
    }

    #[test]
    fn what_is_too_long_is_no_record() {
        let mut got = BytesMut::from(&u32::MAX.to_be_bytes()[..]);
        assert_eq!(take(&mut got), Err(Malformed));
        let mut short = BytesMut::from(&[0, 0, 0, 3, 1, 0, 9][..]);
        assert_eq!(take(&mut short), Err(Malformed));
    }
}
