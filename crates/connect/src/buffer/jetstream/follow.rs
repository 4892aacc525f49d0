//! Follows what is stored in a stream without its payloads, by what those say who store it. For a consumer of headers
//! alone the server takes up every whole frame once more, for each that listens; words cost it next to nothing.
//!
//! Whoever has stored a message says so on a subject beside the stream: its sequence, its subject and the protocol's own
//! bytes. Sequences have no holes, so a word that is missing shows, and what nobody has said is read from the stream. The
//! one invariant: messages are given in the order of their sequences, and none is left out that is still there.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use async_nats::Subscriber;
use async_trait::async_trait;
use bytes::{Buf as _, BufMut as _, Bytes, BytesMut};
use futures::future::BoxFuture;
use futures::{FutureExt as _, StreamExt as _};
use lane::broker::{Consume, Consumer, Delivery, Failure, Identity, Message, StreamState};
use tokio::time::{Instant, sleep_until};

use super::link::{self, Connection, Link};
use super::pull::PullConsumer;
use super::streams;

/// What words begin with.
const VERSION: u8 = 1;
/// How long a word may be late before what it would have said is read from the stream.
const LATE: Duration = Duration::from_millis(100);
/// Without a word for so long the end of the stream is looked at.
const LOOK_AFTER: Duration = Duration::from_millis(250);
/// The longest pause between two looks.
const LOOK_AFTER_MAX: Duration = Duration::from_secs(2);
/// Words that may be ahead of their turn; what more would say is read from the stream.
const AHEAD_MAX: usize = 4096;
/// So often the stream may be read because words were missing, with fewer than [`TRUSTED_AFTER`] in their turn in between.
/// Then whoever writes there says nothing, because of an older version or for lack of a permission.
const MISSES_MAX: u32 = 8;
/// So many words in their turn make good whatever was missing before.
const TRUSTED_AFTER: u32 = 64;

/// Where the words about a stream are said.
pub(super) fn subject(stream: &str) -> String {
    format!("tidegate.stored.{stream}")
}

/// What is said of a message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Word {
    pub(super) sequence: u64,
    pub(super) subject: String,
    pub(super) meta: Bytes,
}

impl Word {
    pub(super) fn encode(sequence: u64, subject: &str, meta: &[u8]) -> Bytes {
        let mut bytes = BytesMut::with_capacity(11 + subject.len() + meta.len());
        bytes.put_u8(VERSION);
        bytes.put_u64(sequence);
        bytes.put_u16(u16::try_from(subject.len()).expect("the server takes no subject that long"));
        bytes.put_slice(subject.as_bytes());
        bytes.put_slice(meta);
        bytes.freeze()
    }

    /// None of what cannot be read: it is as if it had not been said.
    fn decode(mut bytes: Bytes) -> Option<Self> {
        if bytes.remaining() < 11 || bytes.get_u8() != VERSION {
            return None;
        }
        let (sequence, length) = (bytes.get_u64(), usize::from(bytes.get_u16()));
        if bytes.remaining() < length {
            return None;
        }
        let subject = String::from_utf8(bytes.split_to(length).to_vec()).ok()?;
        Some(Self { sequence, subject, meta: bytes })
    }
}

/// Whether a filter takes a subject; a `*` stands for one token.
fn takes(filter: &str, subject: &str) -> bool {
    let (mut filter, mut subject) = (filter.split('.'), subject.split('.'));
    loop {
        match (filter.next(), subject.next()) {
            (None, None) => return true,
            (Some(one), Some(token)) if one == "*" || one == token => {}
            _ => return false,
        }
    }
}

enum Answer {
    Reader(Box<PullConsumer>),
    State(StreamState),
}

/// See the module.
pub(super) struct Follower {
    link: Arc<Link>,
    /// What is wished for; `after` is the sequence through which everything was given, or is gone.
    consume: Consume,
    limit: usize,
    words: Subscriber,
    /// The connection that words come over.
    connection: Connection,
    /// Which life of the stream it is.
    identity: Identity,
    /// Words ahead of their turn.
    ahead: BTreeMap<u64, Word>,
    /// The number of the last message that was given.
    number: u64,
    /// What reads the stream where there are no words, with its own last number.
    reader: Option<(Box<PullConsumer>, u64)>,
    /// Kept here so that a caller that goes away again and again still gets an answer.
    asking: Option<BoxFuture<'static, Result<Answer, Failure>>>,
    /// The last sequence that the stream was seen to have.
    last_seen: u64,
    /// Until when missing words may come.
    late_after: Instant,
    looked: Instant,
    look_at: Instant,
    look_after: Duration,
    in_turn: u32,
    misses: u32,
}

impl Follower {
    pub(super) async fn open(link: Arc<Link>, consume: Consume, limit: usize) -> Result<Self, Failure> {
        let connection = link.connection();
        let subscribed = link.client().subscribe(subject(&consume.stream)).await;
        let words = subscribed.map_err(|error| Failure::Unavailable(error.to_string()))?;
        let StreamState { identity, .. } = streams::info(&link, &consume.stream, limit).await?.state()?;
        // Asked after the server has heard of the subscription, so what it does not have is said.
        let reader = PullConsumer::open(Arc::clone(&link), consume.clone(), limit).await?;
        let now = Instant::now();
        Ok(Self {
            link,
            consume,
            limit,
            words,
            connection,
            identity,
            ahead: BTreeMap::new(),
            number: 0,
            reader: Some((Box::new(reader), 0)),
            asking: None,
            last_seen: 0,
            late_after: now,
            looked: now,
            look_at: now + LOOK_AFTER,
            look_after: LOOK_AFTER,
            in_turn: 0,
            misses: 0,
        })
    }

    fn trusts(&self) -> bool {
        self.misses <= MISSES_MAX
    }

    fn given(&mut self, sequence: u64, message: Message, pending: u64) -> Delivery {
        self.consume.after = sequence;
        self.number += 1;
        Delivery::Message { number: self.number, pending, message }
    }

    /// What has been said and whose turn it is.
    fn turn(&mut self) -> Option<Delivery> {
        while let Some(entry) = self.ahead.first_entry() {
            let sequence = *entry.key();
            if sequence > self.consume.after + 1 {
                return None;
            }
            let Word { sequence: _, subject, meta } = entry.remove();
            if sequence <= self.consume.after {
                continue;
            }
            (self.reader, self.asking) = (None, None);
            self.in_turn = self.in_turn.saturating_add(1);
            let now = Instant::now();
            self.late_after = now + LATE;
            self.look_after = LOOK_AFTER;
            self.look_at = (now + LOOK_AFTER).min(self.looked + LOOK_AFTER_MAX);
            if self.consume.filters.iter().any(|filter| takes(filter, &subject)) {
                let message = Message { sequence, subject, meta, payload: Bytes::new() };
                return Some(self.given(sequence, message, 0));
            }
            self.consume.after = sequence;
        }
        None
    }

    fn hear(&mut self, word: Word) {
        let is_due = word.sequence > self.consume.after && self.ahead.len() < AHEAD_MAX;
        if !is_due || !self.trusts() {
            return;
        }
        if self.ahead.is_empty() {
            self.late_after = Instant::now() + LATE;
        }
        self.ahead.insert(word.sequence, word);
    }

    /// Whether something is there that was not said.
    fn misses_something(&self) -> bool {
        !self.ahead.is_empty() || self.consume.after < self.last_seen
    }

    fn wake_at(&self) -> Instant {
        if self.misses_something() { self.late_after } else { self.look_at }
    }

    /// Reads from the stream what is missing, or looks whether anything is.
    fn ask(&mut self) {
        let (link, limit) = (Arc::clone(&self.link), self.limit);
        if self.misses_something() {
            self.misses = if self.in_turn >= TRUSTED_AFTER { 1 } else { self.misses + 1 };
            self.in_turn = 0;
            let open = PullConsumer::open(link, self.consume.clone(), limit);
            self.asking = Some(async move { Ok(Answer::Reader(Box::new(open.await?))) }.boxed());
            return;
        }
        let stream = self.consume.stream.clone();
        let look = async move { Ok(Answer::State(streams::info(&link, &stream, limit).await?.state()?)) };
        self.asking = Some(look.boxed());
    }

    fn answered(&mut self, answer: Answer) -> Result<Option<Delivery>, Failure> {
        let state = match answer {
            Answer::Reader(reader) => {
                self.reader = Some((reader, 0));
                return Ok(None);
            }
            Answer::State(state) => state,
        };
        if self.identity != state.identity {
            return Err(Failure::Unavailable(format!("{} was made anew", self.consume.stream)));
        }
        let now = Instant::now();
        (self.last_seen, self.looked) = (state.last, now);
        if self.misses_something() {
            self.late_after = now + LATE;
            self.look_at = now + LOOK_AFTER;
            return Ok(None);
        }
        self.look_after = (self.look_after * 2).min(LOOK_AFTER_MAX);
        self.look_at = now + self.look_after;
        Ok(Some(Delivery::Idle { number: self.number }))
    }

    /// What the reader of the stream says. Once it has nothing more, words will do.
    fn read(&mut self, said: Delivery) -> Result<Delivery, Failure> {
        let last = self.reader.as_ref().map_or(0, |(_, last)| *last);
        let (delivery, is_end) = match said {
            Delivery::Message { number, pending, message } if number == last + 1 => {
                if let Some((_, last)) = &mut self.reader {
                    *last = number;
                }
                (self.given(message.sequence, message, pending), pending == 0)
            }
            Delivery::Idle { number } if number == last => (Delivery::Idle { number: self.number }, true),
            Delivery::Message { .. } | Delivery::Idle { .. } => {
                let lost = format!("a message of {} was lost on the way", self.consume.stream);
                return Err(Failure::Unavailable(lost));
            }
        };
        if is_end && self.trusts() {
            // What the stream was seen to have and was not given is gone.
            self.consume.after = self.consume.after.max(self.last_seen);
            self.reader = None;
            let now = Instant::now();
            (self.late_after, self.look_at) = (now + LATE, now + LOOK_AFTER);
        }
        Ok(delivery)
    }
}

#[async_trait]
impl Consumer for Follower {
    async fn next(&mut self) -> Result<Delivery, Failure> {
        loop {
            self.connection.check()?;
            if let Some(delivery) = self.turn() {
                return Ok(delivery);
            }
            let waits = self.reader.is_none() && self.asking.is_none();
            let wake_at = self.wake_at();
            let reader = self.reader.as_mut();
            let asking = self.asking.as_mut();
            tokio::select! {
                word = self.words.next() => {
                    let word = word.ok_or_else(link::closed)?;
                    self.connection.check()?;
                    if let Some(word) = Word::decode(word.payload) {
                        self.hear(word);
                    }
                }
                said = async { reader.expect("asked for only while there is one").0.next().await }, if reader.is_some() => {
                    return self.read(said?);
                }
                answer = async { asking.expect("asked for only while there is one").await }, if asking.is_some() => {
                    self.asking = None;
                    if let Some(delivery) = self.answered(answer?)? {
                        return Ok(delivery);
                    }
                }
                lost = self.connection.lost() => return Err(lost),
                () = sleep_until(wake_at), if waits => self.ask(),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_read_back_and_what_is_no_word_is_passed_over() {
        let said = Word::encode(7, "s.3.map.s1", b"\x00meta");
        let word =
            Word { sequence: 7, subject: "s.3.map.s1".to_owned(), meta: Bytes::from_static(b"\x00meta") };
        assert_eq!(Word::decode(said.clone()), Some(word));
        for end in 0..11 + "s.3.map.s1".len() {
            assert_eq!(Word::decode(said.slice(..end)), None, "{end} bytes");
        }
        let mut later = said.to_vec();
        later[0] = VERSION + 1;
        assert_eq!(Word::decode(later.into()), None);
    }

    #[test]
    fn filters_take_what_the_server_takes() {
        assert!(takes("s.*.*.*", "s.3.map.s1"));
        assert!(takes("s.unit.map.s1", "s.unit.map.s1"));
        assert!(!takes("s.unit.*.*", "s.mail.map.s1"));
        assert!(!takes("s.*.*", "s.3.map.s1"));
        assert!(!takes("s.*.*.*.*", "s.3.map.s1"));
    }
}
