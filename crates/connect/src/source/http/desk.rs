//! One request from its arrival to its reply. What a request may cost while it is here is bounded in bytes and time.
//!
//! A desk serves one vertex, for however many sources of it there are. Invariant: once the last of them has left, a desk
//! never serves again.

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use http_body_util::BodyExt;
use hyper::body::{Body, Incoming};
use hyper::header::AUTHORIZATION;
use hyper::{HeaderMap, Method, Request};
use model::{Message, Name, Origin};
use tokio::sync::mpsc::error::TrySendError;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc};

use super::reply::{self, Reply};
use super::request::{Label, uuid_v7};
use super::waiting::{Told, Turned, Waiting};
use super::{QUEUE_MESSAGES, Token};
use crate::source::now;

/// The largest body of a request.
pub const BODY_BYTES_MAX: usize = 2 * 1024 * 1024;

/// Bodies that are being received or wait to be read, all together.
pub const BODIES_BYTES_MAX: usize = 256 * 1024 * 1024;

/// How long a body may take to arrive.
pub const BODY_WAIT: Duration = Duration::from_secs(30);

/// Bodies up to this size are copied out of the connection's buffer, which may be much larger than they are.
const COPIED_BYTES_MAX: usize = 64 * 1024;

/// A message that waits to be read, and the room that it takes while it waits.
#[derive(Debug)]
pub(super) struct Posted {
    pub(super) id: Bytes,
    pub(super) message: Message,
    /// Given back when the message is read.
    _room: Option<OwnedSemaphorePermit>,
}

/// What all connections share.
pub(super) struct Desk {
    vertex: Name,
    /// Where messages are posted to.
    path: String,
    sources: Mutex<Sources>,
    queue: mpsc::Sender<Posted>,
    pub(super) waiting: Waiting,
    /// Room for bodies, in bytes.
    room: Arc<Semaphore>,
}

/// The sources that a desk works for, with the token that each asks for.
#[derive(Default)]
struct Sources {
    tokens: BTreeMap<Seat, Option<Token>>,
    next: u64,
    closed: bool,
}

/// One source at its desk.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Seat(u64);

impl Desk {
    /// A desk without sources, and where they read.
    pub(super) fn new(vertex: Name) -> (Self, mpsc::Receiver<Posted>) {
        let (queue, posted) = mpsc::channel(QUEUE_MESSAGES);
        let path = format!("/vertices/{vertex}");
        let room = Arc::new(Semaphore::new(BODIES_BYTES_MAX));
        let (sources, waiting) = (Mutex::default(), Waiting::default());
        (Self { vertex, path, sources, queue, waiting, room }, posted)
    }

    fn sources(&self) -> MutexGuard<'_, Sources> {
        self.sources.lock().expect("nothing panics while sources come or go")
    }

    /// Adds a source; none when the last one has left.
    pub(super) fn join(&self, token: Option<Token>) -> Option<Seat> {
        let mut sources = self.sources();
        if sources.closed {
            return None;
        }
        let seat = Seat(sources.next);
        sources.next += 1;
        sources.tokens.insert(seat, token);
        Some(seat)
    }

    /// A source leaves: whoever waits for its answer hears that none will come. With the last one the desk closes, and
    /// everybody does. Leaving again changes nothing.
    pub(super) fn leave(&self, seat: Seat) {
        self.waiting.give_up(seat);
        let mut sources = self.sources();
        if sources.tokens.len() > 1 {
            sources.tokens.remove(&seat);
        } else if sources.tokens.contains_key(&seat) {
            // Its token stays: requests that still come are told the truth only if they may hear it.
            sources.closed = true;
            self.waiting.close();
        }
    }

    /// Answers one request. Never fails; when it is dropped because the caller hung up, the message goes its way.
    pub(super) async fn serve(self: Arc<Self>, request: Request<Incoming>) -> Result<Reply, Infallible> {
        if !self.admits(request.headers()) {
            return Ok(reply::unauthorized());
        }
        let path = request.uri().path();
        Ok(match *request.method() {
            Method::POST if path == self.path => self.receive(request).await.unwrap_or_else(|reply| reply),
            Method::GET | Method::HEAD if path == "/health" => reply::healthy(),
            _ if path == self.path => reply::method_not_allowed("POST"),
            _ if path == "/health" => reply::method_not_allowed("GET,HEAD"),
            _ => reply::not_found(),
        })
    }

    fn admits(&self, headers: &HeaderMap) -> bool {
        let shown = headers.get(AUTHORIZATION).and_then(|value| value.as_bytes().strip_prefix(b"Bearer "));
        // While one version takes over from another, what either lets in is let in.
        self.sources().tokens.values().any(|token| match token {
            Some(token) => shown.is_some_and(|shown| token.is(shown)),
            None => true,
        })
    }

    async fn receive(&self, request: Request<Incoming>) -> Result<Reply, Reply> {
        let (head, body) = request.into_parts();
        let now = now();
        let fresh_id = || uuid_v7(now.millis().unsigned_abs(), fastrand::u128(..));
        let label = Label::read(&head.headers, now, fresh_id);
        let Label { id, keys, event_time, attributes } =
            label.map_err(|bad| reply::bad_header(bad.header, &bad.details))?;
        drop(head);
        let (value, room) = match tokio::time::timeout(BODY_WAIT, self.take_in(body)).await {
            Ok(taken) => taken?,
            Err(_) => return Err(reply::too_slow()),
        };
        let mut message =
            Message::from_source(self.vertex.clone(), Origin::Text(id.clone()), value, event_time);
        message.keys = keys;
        message.attributes = attributes;
        let key = Bytes::copy_from_slice(id.as_bytes());
        let told = self.waiting.enter(key.clone()).map_err(|turned| match turned {
            Turned::Duplicate => reply::duplicate(&id),
            Turned::Closed => reply::interrupted(&id),
        })?;
        self.queue.try_send(Posted { id: key, message, _room: room }).map_err(|error| match error {
            TrySendError::Full(posted) => {
                self.waiting.leave(&posted.id);
                reply::full()
            }
            TrySendError::Closed(posted) => {
                self.waiting.leave(&posted.id);
                reply::interrupted(&id)
            }
        })?;
        Ok(match told.await {
            Ok(Told::Received) => reply::received(&id),
            Ok(Told::Refused) => reply::refused(&id),
            Err(_) => reply::interrupted(&id),
        })
    }

    /// Receives a body, as long as there is room for it.
    async fn take_in(&self, mut body: Incoming) -> Result<(Bytes, Option<OwnedSemaphorePermit>), Reply> {
        let mut rest = BytesMut::new();
        let mut room: Option<OwnedSemaphorePermit> = None;
        // A length that is announced and too large is refused before anything is received.
        if body.size_hint().lower() > BODY_BYTES_MAX as u64 {
            return Err(reply::too_large());
        }
        while let Some(frame) = body.frame().await {
            let frame = frame.map_err(|error| reply::broken_body(&error.to_string()))?;
            let Ok(data) = frame.into_data() else { continue };
            if rest.len() + data.len() > BODY_BYTES_MAX {
                return Err(reply::too_large());
            }
            let more = Arc::clone(&self.room).try_acquire_many_owned(data.len() as u32);
            let more = more.map_err(|_| reply::full())?;
            match &mut room {
                Some(room) => room.merge(more),
                None => room = Some(more),
            }
            if rest.is_empty() && data.len() > COPIED_BYTES_MAX && body.is_end_stream() {
                return Ok((data, room));
            }
            rest.extend_from_slice(&data);
        }
        Ok((rest.freeze(), room))
    }
}
