//! Reads a stream in order, through a consumer of the server that nobody else has and that lives only as long as it is
//! read.
//!
//! Nothing is acknowledged. The reader wishes for messages by count and bytes, and wishes again when they have come, so
//! that what waits unread is bounded. The server takes several wishes in turns and does not say which a message
//! answers, so there is one at a time. The one invariant: whatever a lost connection, a dropped message or a dead
//! server made of it, the reader ends with an error or the numbers show a gap; it never goes on by itself somewhere
//! else.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use async_nats::{Message as NatsMessage, StatusCode, Subscriber};
use async_trait::async_trait;
use futures::StreamExt as _;
use lane::broker::{Consume, Consumer, Delivery, Failure, Message, StreamName};
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep, sleep_until};

use super::link::{self, Connection, Link};
use super::{api, headers};

/// How many messages one wish is for, and so how many may be unread.
const WISH_MESSAGES: u64 = 4096;
/// How many bytes one wish is for at most, unless one message is larger.
const WISH_BYTES_MAX: u64 = 2 * 1024 * 1024;
/// How many bytes one wish is for at least.
const WISH_BYTES_MIN: u64 = 64 * 1024;
/// How many bytes all consumers of a connection may wish for together, but for large messages, which have a room of
/// their own. A server cuts a connection off that it has 64 MiB for and that does not take them.
const ALL_WISHES_BYTES: u64 = 24 * 1024 * 1024;
/// How often the server shows that the consumer is there when it has nothing to give.
const HEARTBEAT: Duration = Duration::from_millis(500);
/// Without any sign for so long the consumer is taken for lost.
const SILENCE_MAX: Duration = Duration::from_secs(3);
/// How long a wish for large messages may take from the others. What there is has been sent by then, though nobody may
/// have read it here.
const LARGE_MAX: Duration = Duration::from_secs(1);
/// How long one wish stands.
const WISH_EXPIRES: Duration = Duration::from_mins(1);
/// How long the server keeps a consumer that nobody reads.
const INACTIVE_MAX: Duration = Duration::from_secs(10);
/// How long the making of a consumer may take.
const CREATE_PATIENCE: Duration = Duration::from_secs(5);

/// A reader of one stream.
pub(super) struct PullConsumer {
    link: Arc<Link>,
    stream: StreamName,
    /// Where wishes go.
    pull: String,
    /// Where messages come.
    inbox: String,
    messages: Subscriber,
    /// The connection that the consumer was made on.
    connection: Connection,
    /// What was wished for and has not come; none when there is no wish.
    wish: Option<Wish>,
    /// The number of the last wish.
    wishes: u64,
    /// How many bytes the next wish is for when the next message is too large for a usual one, or may be.
    large: Option<u64>,
    /// How many bytes the last wish for a large message was for.
    large_bytes: u64,
    /// How many consumers share the connection.
    share: Share,
    /// Messages up to and including this sequence are not given.
    after: u64,
    /// How many were not given for that reason; numbers are given without them.
    passed_over: u64,
    last_number: u64,
    /// When the last sign of life was heard. What waits to be heard is heard first.
    silent_since: Instant,
    /// Something to say before anything else.
    first: Option<Delivery>,
}

/// What was wished for and has not come.
struct Wish {
    messages: u64,
    bytes: u64,
    /// Nothing has come.
    fresh: bool,
    /// There when it is for large messages.
    large: Option<JoinSet<()>>,
}

/// A consumer's share in its connection.
struct Share(Arc<AtomicU64>);

impl Share {
    fn of(link: &Link) -> Self {
        link.consumers.fetch_add(1, Ordering::Relaxed);
        Self(Arc::clone(&link.consumers))
    }

    fn consumers(&self) -> u64 {
        self.0.load(Ordering::Relaxed).max(1)
    }
}

impl Drop for Share {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

impl PullConsumer {
    pub(super) async fn open(link: Arc<Link>, consume: Consume, limit: usize) -> Result<Self, Failure> {
        let Consume { stream, filters, after, headers_only, last_per_subject } = consume;
        let share = Share::of(&link);
        let connection = link.connection();
        let name = format!("t{:016x}", fastrand::u64(..));
        let inbox = link.client().new_inbox();
        let subscribed = link.client().subscribe(format!("{inbox}.*")).await;
        let messages = subscribed.map_err(|error| Failure::Unavailable(error.to_string()))?;
        let one = (filters.len() == 1).then(|| filters[0].as_str());
        let config = api::ConsumerConfig {
            name: &name,
            deliver_policy: if last_per_subject { "last_per_subject" } else { "by_start_sequence" },
            opt_start_seq: (!last_per_subject).then_some(after + 1),
            ack_policy: "none",
            replay_policy: "instant",
            filter_subject: one,
            filter_subjects: if one.is_some() { &[] } else { &filters },
            headers_only,
            inactive_threshold: nanos(INACTIVE_MAX),
            num_replicas: 1,
            mem_storage: true,
        };
        let wish = api::CreateConsumer { stream_name: &stream, config, action: "create" };
        let subject = api::consumer(&stream, &name);
        let info: Result<api::ConsumerInfo, _> = link.inquire(subject, &wish, CREATE_PATIENCE).await?;
        let info = info.map_err(|refusal| refusal.failure(&stream, limit))?;
        let nothing = Delivery::Idle { number: 0 };
        let pull = api::pull(&stream, &name);
        Ok(Self {
            link,
            pull,
            stream,
            inbox,
            messages,
            connection,
            wish: None,
            wishes: 0,
            large: None,
            large_bytes: 0,
            share,
            after,
            passed_over: 0,
            last_number: 0,
            silent_since: Instant::now(),
            first: (info.num_pending == 0).then_some(nothing),
        })
    }

    /// Wishes for more when everything has come that was wished for.
    async fn wish(&mut self) -> Result<(), Failure> {
        if self.wish.is_some() {
            return Ok(());
        }
        let large = match self.large {
            Some(bytes) => Some(self.permission(bytes).await?),
            None => None,
        };
        let share = (ALL_WISHES_BYTES / self.share.consumers()).clamp(WISH_BYTES_MIN, WISH_BYTES_MAX);
        let bytes = self.large.unwrap_or(share);
        // A wish for large messages takes room from the others, so it does not wait for messages to come.
        let waits = large.is_none();
        let pull = api::Pull {
            batch: WISH_MESSAGES,
            max_bytes: bytes,
            no_wait: !waits,
            expires: waits.then_some(nanos(WISH_EXPIRES)),
            idle_heartbeat: waits.then_some(nanos(HEARTBEAT)),
        };
        let pull = serde_json::to_vec(&pull).expect("numbers can always be written");
        let inbox = format!("{}.{}", self.inbox, self.wishes + 1);
        // The library takes it as a whole or, when this future is dropped, not at all.
        let sent = self.link.client().publish_with_reply(self.pull.clone(), inbox, pull.into()).await;
        sent.map_err(|error| Failure::Unavailable(error.to_string()))?;
        self.wishes += 1;
        self.wish = Some(Wish { messages: WISH_MESSAGES, bytes, fresh: true, large });
        // From here on there are signs of life.
        self.silent_since = Instant::now();
        Ok(())
    }

    /// Waits for the room that a wish for large messages takes. It is given back when what is given here is dropped, and
    /// after a while even if nobody reads what came.
    async fn permission(&mut self, bytes: u64) -> Result<JoinSet<()>, Failure> {
        let permit = tokio::select! {
            permit = self.link.may_wish(bytes) => permit,
            lost = self.connection.lost() => return Err(lost),
        };
        let mut held = JoinSet::new();
        held.spawn(async move {
            sleep(LARGE_MAX).await;
            drop(permit);
        });
        Ok(held)
    }

    fn count(&mut self, bytes: u64) {
        let Some(wish) = &mut self.wish else { return };
        wish.messages = wish.messages.saturating_sub(1);
        wish.bytes = wish.bytes.saturating_sub(bytes);
        wish.fresh = false;
        if wish.messages == 0 || wish.bytes == 0 {
            self.wish = None;
        }
    }

    /// What a message that came says, if anything.
    fn take(&mut self, message: NatsMessage) -> Result<Option<Delivery>, Failure> {
        match message.status {
            None => {}
            Some(StatusCode::IDLE_HEARTBEAT) => {
                let number = headers::last_consumer(message.headers.as_ref());
                let number = number.unwrap_or(self.last_number + self.passed_over);
                return Ok(Some(Delivery::Idle { number: number.saturating_sub(self.passed_over) }));
            }
            Some(status) => {
                self.wish_ended(status, &message)?;
                return Ok(None);
            }
        }
        self.count(message.length as u64);
        let reply = message.reply.as_deref().unwrap_or_default();
        let Told { sequence, number, pending } = told(reply)
            .ok_or_else(|| Failure::Denied(format!("a message has no sequence: its reply is {reply:?}")))?;
        // Of each subject the last one is given first, in the order of sequences.
        if sequence <= self.after && number == self.passed_over + 1 {
            self.passed_over += 1;
            return Ok((pending == 0).then_some(Delivery::Idle { number: 0 }));
        }
        self.last_number = number.saturating_sub(self.passed_over);
        let message = Message {
            sequence,
            meta: headers::meta(message.headers.as_ref())?,
            subject: message.subject.to_string(),
            payload: message.payload,
        };
        Ok(Some(Delivery::Message { number: self.last_number, pending, message }))
    }

    /// A wish that has ended is followed by another, unless the consumer has ended with it.
    fn wish_ended(&mut self, status: StatusCode, message: &NatsMessage) -> Result<(), Failure> {
        let text = message.description.as_deref().unwrap_or_default();
        let too_small = text.eq_ignore_ascii_case("Message Size Exceeds MaxBytes");
        let goes_on = match status {
            StatusCode::TIMEOUT | StatusCode::NOT_FOUND => true,
            StatusCode::REQUEST_TERMINATED => too_small || text.eq_ignore_ascii_case("Batch Completed"),
            _ => false,
        };
        if !goes_on {
            return Err(Failure::Unavailable(format!(
                "the consumer of {} ended: {status} {text}",
                self.stream
            )));
        }
        let number = message.subject.rsplit('.').next().and_then(|token| token.parse::<u64>().ok());
        if number != Some(self.wishes) {
            return Ok(());
        }
        let Some(wish) = self.wish.take() else { return Ok(()) };
        self.large = match (too_small, wish.fresh, &wish.large) {
            // Nothing has come, so the next message alone is larger.
            (true, true, None) => Some(self.large_bytes.max(wish.bytes.saturating_mul(2))),
            (true, true, Some(_)) => Some(wish.bytes.saturating_mul(2)),
            // There is more, of about the same size.
            (true, false, Some(_)) => self.large,
            _ => None,
        };
        self.large_bytes = self.large.unwrap_or(self.large_bytes);
        Ok(())
    }

    fn lost(&self) -> Failure {
        let silence =
            format!("the consumer of {} has been silent for {} s", self.stream, SILENCE_MAX.as_secs());
        self.link.denied(&self.inbox).unwrap_or(Failure::Unavailable(silence))
    }
}

#[async_trait]
impl Consumer for PullConsumer {
    async fn next(&mut self) -> Result<Delivery, Failure> {
        if let Some(first) = self.first.take() {
            return Ok(first);
        }
        loop {
            self.connection.check()?;
            self.wish().await?;
            let silent_until = self.silent_since + SILENCE_MAX;
            let came = tokio::select! {
                biased;
                message = self.messages.next() => message,
                lost = self.connection.lost() => return Err(lost),
                () = sleep_until(silent_until) => return Err(self.lost()),
            };
            let message = came.ok_or_else(link::closed)?;
            self.connection.check()?;
            self.silent_since = Instant::now();
            if let Some(delivery) = self.take(message)? {
                return Ok(delivery);
            }
        }
    }
}

/// What the reply subject of a message tells of it.
#[derive(Debug, PartialEq, Eq)]
struct Told {
    sequence: u64,
    number: u64,
    pending: u64,
}

/// `$JS.ACK.<stream>.<consumer>.<deliveries>.<sequence>.<number>.<time>.<pending>`, or the longer form with the domain
/// and the account before the stream and possibly one token at the end.
fn told(reply: &str) -> Option<Told> {
    let tokens: Vec<&str> = reply.split('.').collect();
    if tokens.first() != Some(&"$JS") || tokens.get(1) != Some(&"ACK") {
        return None;
    }
    let at = match tokens.len() {
        9 => 5,
        11.. => 7,
        _ => return None,
    };
    let number = |index: usize| tokens.get(index)?.parse().ok();
    Some(Told { sequence: number(at)?, number: number(at + 1)?, pending: number(at + 3)? })
}

fn nanos(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).expect("the named waits are short")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_forms_of_a_reply_are_read() {
        let read = Some(Told { sequence: 5, number: 6, pending: 8 });
        assert_eq!(told("$JS.ACK.S.c.1.5.6.1700000000000000000.8"), read);
        assert_eq!(told("$JS.ACK.hub.ABC.S.c.1.5.6.1700000000000000000.8"), read);
        assert_eq!(told("$JS.ACK.hub.ABC.S.c.1.5.6.1700000000000000000.8.x"), read);
        assert_eq!(told("$JS.ACK.S.c.1.5.6.7"), None);
        assert_eq!(told("_INBOX.a.b"), None);
    }
}
