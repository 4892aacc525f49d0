//! The source `generator`: messages made up at a given rate, for trying things out and for measuring.
//!
//! A quota of messages is given out in each unit of time; what is left of it when the unit ends is forgotten, and
//! units in which nobody read are not made up for. The position counts the messages that this replica has made in
//! all its lives. Invariant: the numbers of messages grow strictly for as long as the source is open, even when the
//! clock is set back.

use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use model::door::source::{Batch, Memory, Opened, Source};
use model::door::{self};
use model::{Message, Name, Origin, Position, Time};
use smol_str::SmolStr;
use tokio::time::Instant;

use super::{NoAnswers, now};

mod payload;
#[cfg(test)]
mod tests;

use payload::{Payloads, Times};

/// The shortest unit of time a rate may be given for.
pub const UNIT_MIN: Duration = Duration::from_millis(10);

/// The largest `message_bytes`; in the payload each byte of padding takes about three and a half.
pub const MESSAGE_BYTES_MAX: usize = 256 * 1024;

/// The most keys that messages are spread over.
pub const KEYS_MAX: u8 = 255;

/// About how many bytes of payload one read makes at most.
const BATCH_BYTES_MAX: usize = 4 * 1024 * 1024;

/// What the generator makes, and how fast.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings {
    /// The vertex that reads.
    pub vertex: Name,
    /// The replica of the vertex.
    pub replica: u16,
    /// Messages per unit of time.
    pub messages_per_unit: u64,
    /// The unit of time; at least [`UNIT_MIN`].
    pub unit: Duration,
    /// Bytes a message pretends to have: what is above 8 becomes random padding. At most [`MESSAGE_BYTES_MAX`].
    pub message_bytes: usize,
    /// The keys `key-0`, `key-1` … go round so many; 0 for messages without keys. Capped at `messages_per_unit`,
    /// which is then rounded down to a multiple of it.
    pub keys: u8,
    /// The number in each message; without it the event time in nanoseconds.
    pub value: Option<u64>,
    /// The whole payload of each message, in place of everything else.
    pub payload: Option<Bytes>,
    /// Event times are moved back by whole seconds at random, less than this.
    pub jitter: Duration,
}

impl Settings {
    /// Five small messages per second.
    pub fn new(vertex: Name, replica: u16) -> Self {
        Self {
            vertex,
            replica,
            messages_per_unit: 5,
            unit: Duration::from_secs(1),
            message_bytes: 8,
            keys: 0,
            value: None,
            payload: None,
            jitter: Duration::ZERO,
        }
    }
}

/// Settings that cannot be met.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// The unit of time is too short.
    #[error(
        "generate messages every {given:?}: the shortest `duration` is 10ms; set a longer one and a larger `rpu`"
    )]
    UnitTooShort {
        /// The unit asked for.
        given: Duration,
    },
    /// Messages would be too large.
    #[error("generate messages of {given} bytes: `msgSize` is at most {MESSAGE_BYTES_MAX}")]
    MessageTooLarge {
        /// The size asked for.
        given: usize,
    },
}

/// Opens a generator. The first unit of time starts with the first read.
pub fn open(settings: Settings) -> Result<Opened, Error> {
    let Settings { vertex, replica, messages_per_unit, unit, message_bytes, keys, value, payload, jitter } =
        settings;
    if unit < UNIT_MIN {
        return Err(Error::UnitTooShort { given: unit });
    }
    if message_bytes > MESSAGE_BYTES_MAX {
        return Err(Error::MessageTooLarge { given: message_bytes });
    }
    let keys = u64::from(keys).min(messages_per_unit);
    let rest = messages_per_unit.checked_rem(keys).unwrap_or(0);
    let generator = Generator {
        quota: Quota { messages: messages_per_unit - rest, unit, left: 0, ends: None },
        keys: (0..keys).map(|number| smol_str::format_smolstr!("key-{number}")).collect(),
        key: 0,
        jitter_seconds: jitter.as_secs(),
        payloads: Payloads::new(replica, value, payload, message_bytes.saturating_sub(8)),
        made: 0,
        number: 0,
        vertex,
        replica,
    };
    Ok(Opened { source: Box::new(generator), answers: Box::new(NoAnswers), memory: Memory::Position })
}

struct Generator {
    vertex: Name,
    replica: u16,
    quota: Quota,
    keys: Vec<SmolStr>,
    /// Which of the keys comes next.
    key: usize,
    jitter_seconds: u64,
    payloads: Payloads,
    /// Messages made in all lives.
    made: u64,
    /// The number that the next message has at least.
    number: u64,
}

/// What is left to give out in the present unit of time.
struct Quota {
    messages: u64,
    unit: Duration,
    left: u64,
    ends: Option<Instant>,
}

impl Quota {
    /// What is left at `now`; a unit that has ended takes what it had left with it.
    fn left(&mut self, now: Instant) -> u64 {
        let ends = *self.ends.get_or_insert(now);
        if now >= ends {
            // Units start at fixed instants, so that the rate does not drift with the reader.
            let whole = now.duration_since(ends).as_nanos() / self.unit.as_nanos();
            let into = now.duration_since(ends).as_nanos() - whole * self.unit.as_nanos();
            self.ends = Some(now + self.unit.saturating_sub(Duration::from_nanos(into as u64)));
            self.left = self.messages;
        }
        self.left
    }

    fn next(&self, now: Instant) -> Instant {
        self.ends.unwrap_or(now)
    }
}

impl Generator {
    fn moved_back(&self, nanos: i64) -> Time {
        let back = fastrand::u64(0..self.jitter_seconds).saturating_mul(1_000_000_000);
        Time::from_nanos(nanos.saturating_sub_unsigned(back))
    }

    /// Makes at most `count` messages at once; message n of them is from n nanoseconds after `at`.
    fn make(&mut self, count: usize, at: Time) -> Vec<Message> {
        let count = count.min((BATCH_BYTES_MAX / self.payloads.size_hint()).max(1));
        let first = self.number.max(at.nanos().unsigned_abs());
        let moved: Vec<_> = match self.jitter_seconds {
            0 => Vec::new(),
            _ => (0..count as i64).map(|index| self.moved_back(at.nanos() + index)).collect(),
        };
        let times = if moved.is_empty() { Times::From(at) } else { Times::Each(&moved) };
        let payloads = self.payloads.make(first, count, &times);
        let mut messages = Vec::with_capacity(count);
        for (index, value) in payloads.enumerate() {
            let offset = Origin::Numbered { number: first + index as u64, partition: self.replica };
            let mut message = Message::from_source(self.vertex.clone(), offset, value, times.get(index));
            if let Some(key) = self.keys.get(self.key) {
                message.keys.push(key.clone());
                self.key = (self.key + 1) % self.keys.len();
            }
            messages.push(message);
        }
        self.number = first + count as u64;
        self.made += count as u64;
        messages
    }
}

#[async_trait]
impl Source for Generator {
    async fn resume(&mut self, from: Position) -> Result<(), door::Error> {
        self.made = from.sequence;
        // Keys go on where they were.
        self.key = usize::try_from(from.sequence % (self.keys.len() as u64).max(1)).unwrap_or(0);
        Ok(())
    }

    async fn read(&mut self, messages_max: usize, wait: Duration) -> Result<Option<Batch>, door::Error> {
        let start = Instant::now();
        if self.quota.left(start) == 0 {
            tokio::time::sleep_until(self.quota.next(start).min(start + wait)).await;
            self.quota.left(Instant::now());
        }
        // Nothing waits from here on: a dropped read has either made nothing or is not dropped at all.
        let count = messages_max.min(usize::try_from(self.quota.left).unwrap_or(usize::MAX));
        let messages = if count == 0 { Vec::new() } else { self.make(count, now()) };
        self.quota.left -= messages.len() as u64;
        let end = Some(Position { sequence: self.made, index: 0 });
        Ok(Some(Batch { messages, receipts: Vec::new(), end }))
    }
}
