//! The source `http`: each request posted to `/vertices/<vertex>` is a message, and is answered when it is done.
//!
//! A request is told 200 only after everything its message became is durable downstream. Requests wait in a queue of
//! [`QUEUE_MESSAGES`]; when it is full callers are told so at once. Here are the two halves of the door; what a
//! request must look like is in `request`, what it is told in `reply`, who waits for an answer in `waiting`, and
//! sockets in `serve`. Invariant: a request that was read is answered by the worker or, when the source closes, told
//! that it was interrupted; none is left hanging.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use model::door::source::{Answer, Answers, Batch, Memory, Opened, Receipt, Source};
use model::door::{self};
use model::{Message, Name, Origin, Position};

mod desk;
mod listeners;
mod reply;
mod request;
mod serve;
mod tls;
mod waiting;

use desk::{Desk, Posted, Seat};
use listeners::Queue;
use serve::{Port, Protocol};
use waiting::Told;

pub use desk::{BODIES_BYTES_MAX, BODY_BYTES_MAX, BODY_WAIT};
pub use listeners::Listeners;
pub use request::ID_BYTES_MAX;
pub use serve::{CLOSE_WAIT, CONNECTIONS_MAX, HANDSHAKE_WAIT, HEADERS_BYTES_MAX, HEADERS_WAIT};

/// Requests that wait to be read, at most.
pub const QUEUE_MESSAGES: usize = 500;

/// Where to listen and whom to let in.
#[derive(Clone, Debug)]
pub struct Settings {
    /// The vertex: messages are posted to `/vertices/<vertex>`.
    pub vertex: Name,
    /// The replica of the vertex.
    pub replica: u16,
    /// The address to listen on.
    pub bind: IpAddr,
    /// The port for HTTPS; 0 for any that is free.
    pub https_port: u16,
    /// The port for plain HTTP; 0 for any that is free. None does without plain HTTP.
    pub http_port: Option<u16>,
    /// The bearer token that callers must show, on every path.
    pub token: Option<Token>,
}

/// A secret that callers show. It is never printed.
#[derive(Clone)]
pub struct Token(String);

impl Token {
    /// A token from its text.
    pub fn new(text: impl Into<String>) -> Self {
        Self(text.into())
    }

    /// Whether this is the token; takes as long for a wrong one as for the right one.
    fn is(&self, shown: &[u8]) -> bool {
        let own = self.0.as_bytes();
        own.len() == shown.len() && own.iter().zip(shown).fold(0, |differs, (a, b)| differs | (a ^ b)) == 0
    }
}

impl std::fmt::Debug for Token {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Token(…)")
    }
}

/// The addresses a source really listens on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Listening {
    /// For HTTPS.
    pub https: SocketAddr,
    /// For plain HTTP, when asked for.
    pub http: Option<SocketAddr>,
}

/// Why nothing can be received.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A port is not to be had.
    #[error("listen on {address} for {protocol}; {advice}")]
    Listen {
        /// The address and port.
        address: SocketAddr,
        /// `HTTPS` or `HTTP`.
        protocol: &'static str,
        /// What to do about it.
        advice: &'static str,
        /// Why.
        #[source]
        cause: std::io::Error,
    },
    /// No certificate could be made.
    #[error("make a certificate for localhost")]
    Certificate(#[source] Box<dyn std::error::Error + Send + Sync>),
}

/// Starts to listen. Requests are taken from here on and wait to be read. Sources of one vertex that were opened with the
/// same `listeners` share what they listen on and what has come in.
pub async fn open(settings: Settings, listeners: &Listeners) -> Result<(Opened, Listening), Error> {
    let Settings { vertex, replica, bind, https_port, http_port, token } = settings;
    let mut shared = listeners.lock().await;
    let (queue, seat) = shared.join(&vertex, token);
    let desk = Arc::clone(queue.desk());
    // Whatever fails from here on, dropping it gives the seat up.
    let mut answers = HttpAnswers { desk, seat, ports: Vec::new(), listeners: listeners.clone() };
    let https = shared.port(SocketAddr::new(bind, https_port), Protocol::Https, &answers.desk).await?;
    let mut listening = Listening { https: https.address, http: None };
    answers.ports.push(https);
    if let Some(port) = http_port {
        let plain = shared.port(SocketAddr::new(bind, port), Protocol::Http, &answers.desk).await?;
        listening.http = Some(plain.address);
        answers.ports.push(plain);
    }
    drop(shared);
    let source = HttpSource { queue, seat, replica, taken: Vec::new() };
    Ok((Opened { source: Box::new(source), answers: Box::new(answers), memory: Memory::Ids }, listening))
}

struct HttpSource {
    queue: Arc<Queue>,
    seat: Seat,
    replica: u16,
    taken: Vec<Posted>,
}

fn receipt(message: &Message, replica: u16) -> Receipt {
    let offset = match &message.offset {
        Origin::Text(id) => Bytes::copy_from_slice(id.as_bytes()),
        Origin::Numbered { .. } | Origin::Buffered { .. } => unreachable!("requests have ids"),
    };
    Receipt { offset, partition: i32::from(replica) }
}

#[async_trait]
impl Source for HttpSource {
    async fn resume(&mut self, _: Position) -> Result<(), door::Error> {
        Ok(())
    }

    async fn read(&mut self, messages_max: usize, wait: Duration) -> Result<Option<Batch>, door::Error> {
        if messages_max == 0 {
            return Ok(Some(Batch::default()));
        }
        // Waits for one request and takes what is there by then; a dropped wait has taken nothing.
        let received = self.queue.receive(&mut self.taken, messages_max);
        if tokio::time::timeout(wait, received).await == Ok(0) {
            return Ok(None);
        }
        let waiting = &self.queue.desk().waiting;
        waiting.read(self.taken.iter().map(|posted| &posted.id[..]), self.seat);
        let messages: Vec<_> = self.taken.drain(..).map(|posted| posted.message).collect();
        let receipts = messages.iter().map(|message| receipt(message, self.replica)).collect();
        Ok(Some(Batch { messages, receipts, end: None }))
    }
}

struct HttpAnswers {
    desk: Arc<Desk>,
    seat: Seat,
    ports: Vec<Arc<Port>>,
    listeners: Listeners,
}

impl Drop for HttpAnswers {
    fn drop(&mut self) {
        self.desk.leave(self.seat);
    }
}

#[async_trait]
impl Answers for HttpAnswers {
    async fn answer(&mut self, answers: &[(Receipt, Answer)]) -> Result<(), door::Error> {
        let told = answers.iter().map(|(receipt, answer)| {
            let told = match answer {
                // A repetition of what is done has been received, as far as the caller is concerned.
                Answer::Done | Answer::Repeated => Told::Received,
                Answer::Nack(_) => Told::Refused,
            };
            (&receipt.offset[..], told)
        });
        self.desk.waiting.tell(told);
        Ok(())
    }

    async fn pending(&mut self) -> Result<Option<u64>, door::Error> {
        Ok(None)
    }

    async fn close(&mut self) -> Result<(), door::Error> {
        // Nobody opens a port while it is found out whether anybody else listens there.
        let shared = self.listeners.lock().await;
        // Whoever still waits for this source can never be answered: nothing is answered after this.
        self.desk.leave(self.seat);
        let mut own = Vec::new();
        for port in self.ports.drain(..).filter_map(Arc::into_inner) {
            port.shut().await;
            own.push(port);
        }
        drop(shared);
        serve::end(own).await;
        Ok(())
    }
}
