//! One connection: requests and their answers over one inbox, however many wait at a time.
//!
//! The client library reconnects for ever and sends what was handed to it while it was away; it says nothing of
//! answers that were lost with the old connection. So every request here ends in one of three ways: answered, not
//! sent, or unanswered, the last for all that wait when the connection is lost. The one invariant: nothing is sent
//! twice.

use std::collections::HashMap;
use std::sync::atomic::AtomicU64;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::Duration;

use async_nats::{Client, ConnectErrorKind, Event, HeaderMap, Message, ServerError, StatusCode, Subject};
use bytes::Bytes;
use futures::StreamExt as _;
use futures::stream::FuturesUnordered;
use lane::broker::Failure;
use serde::Serialize;
use serde::de::DeserializeOwned;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, oneshot, watch};
use tokio::task::JoinSet;
use tokio::time::timeout;
use tracing::{info, warn};

use super::api::{self, Refusal};
use super::error::ConnectError;
use super::settings::Settings;

/// How long a request that cannot be sent waits for a connection.
const CONNECTION_WAIT: Duration = Duration::from_secs(2);
/// How often the server has to show that it is there; three times as long without a sign is a lost connection.
const PING_INTERVAL: Duration = Duration::from_secs(2);
/// How long one attempt to connect may take.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// How long a question that may be asked twice waits for its answer before it is.
const ASK_AGAIN: Duration = Duration::from_secs(1);
/// The longest pause between two attempts to connect.
const RECONNECT_PAUSE_MAX: Duration = Duration::from_secs(1);
/// Requests whose answers are on their way may have so many bytes; more wait until others are answered.
const UNDERWAY_BYTES_MAX: usize = 32 * 1024 * 1024;
/// How many bytes the wishes for large messages of all consumers may be for together.
const LARGE_WISHES_BYTES: usize = 24 * 1024 * 1024;
/// What one permit stands for.
const PERMIT_BYTES: usize = 1024;
/// Messages that one consumer may hold unread at most; what it asks for is far less.
const SUBSCRIPTION_CAPACITY: usize = 64 * 1024;

/// What a request asks.
pub(super) struct Question {
    pub(super) subject: Subject,
    pub(super) headers: HeaderMap,
    pub(super) payload: Bytes,
    /// How long its answer may take.
    pub(super) patience: Duration,
}

/// A connection that is made again whenever it is lost.
pub(super) struct Link {
    client: Client,
    shared: Arc<Shared>,
    /// What the subjects of answers begin with.
    inbox: String,
    underway: Semaphore,
    /// How many consumers read over it.
    pub(super) consumers: Arc<AtomicU64>,
    /// What wishes for large messages are made of.
    large: Arc<Semaphore>,
    /// Hands answers out; ends with the link.
    _answers: JoinSet<()>,
}

/// Which connection it is, and whether it stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Standing {
    /// Grows with every loss.
    generation: u64,
    up: bool,
}

/// One of the connections that a link has one after the other.
pub(super) struct Connection {
    standing: watch::Receiver<Standing>,
    generation: u64,
}

/// How many permits so many bytes take, of those that `of` bytes were divided into.
fn permits(bytes: usize, of: usize) -> u32 {
    let permits = (bytes / PERMIT_BYTES + 1).min(of / PERMIT_BYTES);
    u32::try_from(permits).expect("all of them fit")
}

impl Connection {
    /// Fails once it is lost.
    pub(super) fn check(&self) -> Result<(), Failure> {
        if self.standing.borrow().generation == self.generation {
            return Ok(());
        }
        Err(Failure::Unavailable("the connection was lost".to_owned()))
    }

    /// Returns when it is lost.
    pub(super) async fn lost(&mut self) -> Failure {
        loop {
            if let Err(lost) = self.check() {
                return lost;
            }
            if self.standing.changed().await.is_err() {
                return closed();
            }
        }
    }
}

/// The link has ended.
pub(super) fn closed() -> Failure {
    Failure::Unavailable("the connection is closed".to_owned())
}

struct Shared {
    waiting: Mutex<Waiting>,
    /// The subjects of all answers; set before anything is asked.
    inbox: OnceLock<String>,
    standing: watch::Sender<Standing>,
}

#[derive(Default)]
struct Waiting {
    last: u64,
    requests: HashMap<u64, Request>,
    /// What the server said last about something that the user may not do: the subject, and its words.
    denied: Option<(String, String)>,
}

struct Request {
    subject: Subject,
    answer: oneshot::Sender<Result<Message, Failure>>,
}

/// Removes a request that nobody waits for any more.
struct Ticket<'a> {
    shared: &'a Shared,
    number: u64,
}

impl Drop for Ticket<'_> {
    fn drop(&mut self) {
        self.shared.lock().requests.remove(&self.number);
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, Waiting> {
        // Nothing panics while it is locked, and nothing in it could be half done.
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn begin(&self, subject: Subject) -> (Ticket<'_>, oneshot::Receiver<Result<Message, Failure>>) {
        let (answer, answered) = oneshot::channel();
        let mut waiting = self.lock();
        waiting.last += 1;
        let number = waiting.last;
        waiting.requests.insert(number, Request { subject, answer });
        (Ticket { shared: self, number }, answered)
    }

    fn answer(&self, message: Message) {
        let number = message.subject.rsplit('.').next().and_then(|token| token.parse::<u64>().ok());
        let request = number.and_then(|number| self.lock().requests.remove(&number));
        if let Some(request) = request {
            // Whoever asked may have gone away; then nobody wants the answer.
            drop(request.answer.send(Ok(message)));
        }
    }

    /// What the library tells of the connection.
    fn note(&self, event: &Event) {
        match event {
            Event::Connected => {
                self.standing.send_modify(|standing| standing.up = true);
            }
            Event::Disconnected | Event::Closed => {
                self.standing.send_modify(|standing| {
                    standing.up = false;
                    standing.generation += 1;
                });
                // Dropping the senders tells everybody.
                let lost = std::mem::take(&mut self.lock().requests);
                info!(unanswered = lost.len(), "connection to the broker lost");
            }
            Event::ServerError(ServerError::Other(text)) => self.refused(text),
            Event::ServerError(error) => warn!(%error, "the broker complains"),
            Event::ClientError(error) => warn!(%error, "the connection to the broker has an error"),
            Event::SlowConsumer(subscription) => {
                warn!(subscription, "messages of the broker came faster than they were read");
            }
            Event::LameDuckMode => info!("the broker is about to stop"),
            Event::Draining => {}
        }
    }

    /// The server answers what is not allowed by naming the subject, not the request.
    fn refused(&self, text: &str) {
        warn!(error = text, "the broker complains");
        let Some(subject) = violation(text) else { return };
        let mut waiting = self.lock();
        waiting.denied = Some((subject.to_owned(), text.to_owned()));
        // Without answers nothing that was asked is answered.
        let is_deaf = self.inbox.get().is_some_and(|inbox| inbox == subject);
        let denied: Vec<u64> = waiting
            .requests
            .iter()
            .filter(|(_, request)| is_deaf || request.subject.as_str() == subject)
            .map(|(number, _)| *number)
            .collect();
        for number in denied {
            if let Some(request) = waiting.requests.remove(&number) {
                // The same: nobody may be waiting any more.
                drop(request.answer.send(Err(Failure::Denied(text.to_owned()))));
            }
        }
    }
}

/// The subject in `Permissions Violation for Publish to "a.b"`.
fn violation(text: &str) -> Option<&str> {
    let rest = text.strip_prefix("Permissions Violation")?;
    let (_, rest) = rest.split_once('"')?;
    rest.split('"').next()
}

impl Link {
    /// One attempt to connect to any of the addresses. From then on the link is kept up for ever.
    pub(super) async fn connect(settings: &Settings) -> Result<Self, ConnectError> {
        if settings.urls.is_empty() {
            return Err(ConnectError::NoAddress);
        }
        let standing = watch::Sender::new(Standing { generation: 0, up: true });
        let shared = Arc::new(Shared { waiting: Mutex::default(), inbox: OnceLock::new(), standing });
        let told = Arc::clone(&shared);
        let options = settings
            .options()
            .await?
            .ping_interval(PING_INTERVAL)
            .connection_timeout(CONNECT_TIMEOUT)
            .subscription_capacity(SUBSCRIPTION_CAPACITY)
            .reconnect_delay_callback(pause_before)
            .event_callback(move |event| {
                told.note(&event);
                std::future::ready(())
            });
        let client = options.connect(settings.urls.as_slice()).await;
        let client = client.map_err(|error| refused_connection(settings, error))?;
        let inbox = client.new_inbox();
        let all = shared.inbox.get_or_init(|| format!("{inbox}.*")).clone();
        let answers = client.subscribe(all).await;
        let mut answers = answers
            .map_err(|error| ConnectError::NoAnswer { urls: settings.shown(), reason: error.to_string() })?;
        let hand_out = Arc::clone(&shared);
        let mut tasks = JoinSet::new();
        tasks.spawn(async move {
            while let Some(message) = answers.next().await {
                hand_out.answer(message);
            }
        });
        let underway = Semaphore::new(UNDERWAY_BYTES_MAX / PERMIT_BYTES);
        let large = Arc::new(Semaphore::new(LARGE_WISHES_BYTES / PERMIT_BYTES));
        Ok(Self { client, shared, inbox, underway, consumers: Arc::default(), large, _answers: tasks })
    }

    /// The client of the library, for subscriptions and for publishing without an answer.
    pub(super) fn client(&self) -> &Client {
        &self.client
    }

    /// The connection that there is; what was begun over it does not go on over another one.
    pub(super) fn connection(&self) -> Connection {
        let standing = self.shared.standing.subscribe();
        let generation = standing.borrow().generation;
        Connection { standing, generation }
    }

    /// What the server said when a subscription to the subjects below this one was not allowed.
    pub(super) fn denied(&self, subject: &str) -> Option<Failure> {
        let waiting = self.shared.lock();
        let (of, text) = waiting.denied.as_ref()?;
        let own = of.strip_suffix(".*").unwrap_or(of) == subject;
        own.then(|| Failure::Denied(text.clone()))
    }

    /// Waits until a wish for so many bytes may be made: all wishes for large messages together are for no more than a
    /// server keeps for a connection that is slow to read.
    pub(super) async fn may_wish(&self, bytes: u64) -> OwnedSemaphorePermit {
        let bytes = usize::try_from(bytes).unwrap_or(usize::MAX);
        let permit = Arc::clone(&self.large).acquire_many_owned(permits(bytes, LARGE_WISHES_BYTES)).await;
        permit.expect("nobody closes it")
    }

    /// Sends a request and gives its answer. [`Failure::Unavailable`] when nobody got it.
    pub(super) async fn ask(&self, question: Question) -> Result<Message, Failure> {
        let Question { subject, headers, payload, patience } = question;
        let _room = self.underway.acquire_many(permits(payload.len(), UNDERWAY_BYTES_MAX)).await;
        self.until_up().await?;
        let (ticket, answered) = self.shared.begin(subject.clone());
        let reply = format!("{}.{}", self.inbox, ticket.number);
        let send = self.client.publish_with_reply_and_headers(subject, reply, headers, payload);
        match timeout(patience, send).await {
            // The library takes a request as a whole or not at all.
            Err(_) => return Err(Failure::Unavailable("the connection takes nothing".to_owned())),
            Ok(Err(error)) => return Err(self.unsent(&error)),
            Ok(Ok(())) => {}
        }
        let message = match timeout(patience, answered).await {
            Ok(Ok(answer)) => answer?,
            Ok(Err(_)) => return Err(Failure::Unanswered("the connection was lost".to_owned())),
            Err(_) => {
                let waited = format!("nothing came within {} s", patience.as_secs());
                return Err(self.denied(&self.inbox).unwrap_or(Failure::Unanswered(waited)));
            }
        };
        if message.status == Some(StatusCode::NO_RESPONDERS) {
            return Err(Failure::Unavailable(NOBODY.to_owned()));
        }
        Ok(message)
    }

    /// Asks JetStream something in JSON, which may be asked twice. Servers that have no leader say nothing, so it is asked
    /// again for as long as no answer comes: one that is elected meanwhile is heard at once.
    pub(super) async fn inquire<T: DeserializeOwned>(
        &self,
        subject: String,
        wish: &impl Serialize,
        patience: Duration,
    ) -> Result<Result<T, Refusal>, Failure> {
        let mut asked = FuturesUnordered::new();
        let answer = loop {
            asked.push(self.ask(api::question(subject.clone(), wish, patience)));
            tokio::select! {
                biased;
                // The first one gives up before the others do.
                Some(answer) = asked.next() => break answer?,
                () = tokio::time::sleep(ASK_AGAIN) => {}
            }
        };
        api::read(&answer.payload)
    }

    fn unsent(&self, error: &async_nats::PublishError) -> Failure {
        match error.kind() {
            async_nats::client::PublishErrorKind::MaxPayloadExceeded => {
                Failure::TooLarge { limit: self.client.max_payload() }
            }
            async_nats::client::PublishErrorKind::InvalidSubject => Failure::Denied(error.to_string()),
            async_nats::client::PublishErrorKind::Send => Failure::Unavailable(error.to_string()),
        }
    }

    async fn until_up(&self) -> Result<(), Failure> {
        let mut standing = self.shared.standing.subscribe();
        let up = timeout(CONNECTION_WAIT, standing.wait_for(|standing| standing.up)).await;
        match up {
            Ok(Ok(_)) => Ok(()),
            Ok(Err(_)) | Err(_) => Err(Failure::Unavailable("there is no connection".to_owned())),
        }
    }
}

/// What is said of a subject that nobody serves at the moment.
pub(super) const NOBODY: &str = "nobody answers to the subject";

/// Grows quickly to its bound, so that a server that is back is found soon.
fn pause_before(attempt: usize) -> Duration {
    let doubled = Duration::from_millis(10 << attempt.min(10));
    if attempt <= 1 { Duration::ZERO } else { doubled.min(RECONNECT_PAUSE_MAX) }
}

fn refused_connection(settings: &Settings, source: async_nats::ConnectError) -> ConnectError {
    let urls = settings.shown();
    match source.kind() {
        ConnectErrorKind::Authentication | ConnectErrorKind::AuthorizationViolation => {
            ConnectError::Login { urls, login: format!("{:?}", settings.login), source }
        }
        ConnectErrorKind::Tls => ConnectError::Handshake { urls, source },
        ConnectErrorKind::ServerParse => ConnectError::Address { urls, source },
        ConnectErrorKind::Dns
        | ConnectErrorKind::TimedOut
        | ConnectErrorKind::Io
        | ConnectErrorKind::MaxReconnects => ConnectError::Unreachable { urls, source },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_subject_of_a_violation_is_found() {
        let publish = "Permissions Violation for Publish to \"$JS.API.INFO\"";
        assert_eq!(violation(publish), Some("$JS.API.INFO"));
        let subscribe = "Permissions Violation for Subscription to \"_INBOX.a.*\"";
        assert_eq!(violation(subscribe), Some("_INBOX.a.*"));
        assert_eq!(violation("Maximum Payload Violation"), None);
    }

    #[test]
    fn attempts_to_connect_come_at_least_every_second() {
        assert_eq!(pause_before(1), Duration::ZERO);
        assert_eq!(pause_before(3), Duration::from_millis(80));
        assert_eq!(pause_before(usize::MAX), RECONNECT_PAUSE_MAX);
    }
}
