//! What the protocol asks of a broker: streams of messages under subjects, compare-and-set on the last sequence of a
//! set of subjects, purging, and reading in order. Time comes through the same door, so that a simulation owns it.
//!
//! Names: a stream is named by its [`StreamName`]; subjects are written `<stream>.<rest>` and a filter may hold `*` for
//! one token. The one rule an implementation must not break: an answer says what the stream's **leader** did. What it
//! cannot know (a lost connection, no answer in time) is [`Failure::Unanswered`], never a guess, and it never repeats a
//! request on its own.

use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use model::Time;
use smol_str::SmolStr;

/// The name of a stream.
pub type StreamName = SmolStr;

/// What one message may hold at most.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Headers and payload of one message together, in bytes.
    pub message_bytes_max: usize,
}

/// Which life of a stream this is: a stream that was deleted and made again under the same name has another one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Identity(pub i64);

/// A stream at one instant, as its leader sees it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StreamState {
    /// Which life of the stream this is (its time of creation in nanoseconds).
    pub identity: Identity,
    /// The sequence of the first message that is still there; one above `last` when there is none.
    pub first: u64,
    /// The sequence of the last message ever stored.
    pub last: u64,
    /// Messages that are there.
    pub messages: u64,
    /// Their bytes.
    pub bytes: u64,
    /// How many messages the stream takes before it refuses; none when it has no such limit.
    pub messages_max: Option<u64>,
    /// How many bytes the stream takes before it refuses; none when it has no such limit.
    pub bytes_max: Option<u64>,
}

/// Which last sequence a publish goes by.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Expect {
    /// The subjects that count, as a filter that matches the subject that is published to.
    pub filter: String,
    /// The sequence of the last message under them, purged or not being all the same to the caller: 0 when none is
    /// stored.
    pub last: u64,
}

/// A message to be stored.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Publish {
    /// Where.
    pub stream: StreamName,
    /// Under which subject.
    pub subject: String,
    /// Stored only if this still holds.
    pub expect: Option<Expect>,
    /// What readers of headers alone see: small, any bytes.
    pub meta: Bytes,
    /// The rest.
    pub payload: Bytes,
}

/// A message as it is stored.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Message {
    /// Its number in the stream.
    pub sequence: u64,
    /// Its subject.
    pub subject: String,
    /// See [`Publish::meta`].
    pub meta: Bytes,
    /// Empty for a reader of headers alone.
    pub payload: Bytes,
}

/// What to read, and from where.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Consume {
    /// The stream.
    pub stream: StreamName,
    /// Subjects, none of which overlaps another; at least one.
    pub filters: Vec<String>,
    /// Messages up to and including this sequence are passed over.
    pub after: u64,
    /// Whether payloads are left out.
    pub headers_only: bool,
    /// Whether of each subject only the last message is given of what was there at the beginning, and everything
    /// after that. For state kept under keys.
    pub last_per_subject: bool,
}

/// What a consumer says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Delivery {
    /// A message.
    Message {
        /// Its number among all that this consumer was given, from 1. A number left out is a message lost on the way.
        number: u64,
        /// How many more were waiting for this consumer when it was sent; 0 says that it is at the end.
        pending: u64,
        /// The message.
        message: Message,
    },
    /// Nothing to give at the moment.
    Idle {
        /// The number of the last message that this consumer was given; one that was not seen is lost.
        number: u64,
    },
}

/// Why a request failed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Failure {
    /// The expected last sequence was another one. Nothing was stored.
    #[error("another message is the last one")]
    Refused,
    /// The stream is at one of its limits, or the broker has no space left. Nothing was stored.
    #[error("the stream is full")]
    Full,
    /// The message is larger than the broker takes, however often it is tried.
    #[error("the message is larger than {limit} bytes")]
    TooLarge {
        /// What the broker takes.
        limit: usize,
    },
    /// There was no answer: it may be done, may be done later, or never.
    #[error("no answer: {0}")]
    Unanswered(String),
    /// The broker cannot do this at the moment and has not done it: no leader, no quorum, no connection.
    #[error("not at the moment: {0}")]
    Unavailable(String),
    /// There is no such stream.
    #[error("stream {0} does not exist")]
    NoStream(StreamName),
    /// The broker will never do this: no permission, a malformed request.
    #[error("{0}")]
    Denied(String),
}

/// A connection to a broker, shared by everything that runs in one process.
#[async_trait]
pub trait Broker: Send + Sync + 'static {
    /// What a message may hold.
    fn limits(&self) -> Limits;

    /// The time; never goes back.
    fn now(&self) -> Time;

    /// Returns after so long.
    async fn sleep(&self, duration: Duration);

    /// Stores a message and gives its sequence once it is durable there.
    async fn publish(&self, publish: Publish) -> Result<u64, Failure>;

    /// The last message under a filter, from the leader.
    async fn last(&self, stream: &StreamName, filter: &str) -> Result<Option<Message>, Failure>;

    /// The message with this sequence, from the leader.
    async fn get(&self, stream: &StreamName, sequence: u64) -> Result<Option<Message>, Failure>;

    /// Removes messages under a filter up to and including this sequence.
    async fn purge(&self, stream: &StreamName, filter: &str, through: u64) -> Result<(), Failure>;

    /// A stream, as its leader sees it.
    async fn state(&self, stream: &StreamName) -> Result<StreamState, Failure>;

    /// Begins to read. Nothing is acknowledged, nothing is given twice, and what is lost on the way shows as a gap in
    /// the numbers.
    async fn consume(&self, consume: Consume) -> Result<Box<dyn Consumer>, Failure>;
}

/// Reads a stream in order. Dropping it ends it.
#[async_trait]
pub trait Consumer: Send {
    /// The next that it says; bounded in memory however slowly it is asked. Dropping the future loses nothing. An error
    /// ends the consumer: make another one.
    async fn next(&mut self) -> Result<Delivery, Failure>;
}
