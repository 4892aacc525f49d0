//! User-defined sources.
//!
//! Reading and answering are two streams that know nothing of each other, so that a read that blocks holds up no
//! acknowledgement. Both are opened again whenever they break. A read request is answered by a task of its own
//! ([`reader`]); what it has received is given to whoever reads next, so a read that is dropped loses nothing.
//!
//! The source's offsets mean nothing to us: they are shown as base64 and given back as they came.

use std::collections::VecDeque;
use std::time::Duration;

use async_trait::async_trait;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use model::door::source::{Batch, Memory, Opened, Receipt, Source};
use model::door::{Class, Error};
use model::{Attributes, Message, Name, Origin, Parts, Position};
use proto::source::read_response;
use proto::source::source_client::SourceClient;
use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tonic::transport::Channel;

mod answers;
mod reader;

pub use answers::{Partitions, UserSourceView};

use crate::incident::Incidents;
use crate::udf::channel::MESSAGE_MAX_BYTES;
use crate::udf::peer::{Pause, Peer};
use crate::udf::{Component, Settings, convert};
use answers::UserAnswers;
use reader::{Ask, Event, Reader};

/// Handfuls of messages between the stream and whoever reads.
const HANDFULS_MAX: usize = 4;
/// Waits after a read that gave nothing at once, so that an empty source is not asked without pause.
const QUIET_MIN: Duration = Duration::from_millis(1);
const QUIET_MAX: Duration = Duration::from_millis(100);

/// Starts looking for user code. Has to be called within a runtime; never fails, since user code may come later.
/// Beside the door it gives a view of the source for those who neither read nor answer.
pub fn open(settings: Settings, incidents: Incidents) -> (Opened, UserSourceView) {
    let vertex = settings.vertex.clone();
    let peer = Peer { component: Component::Source, settings, incidents };
    let (asks, incoming) = mpsc::channel(1);
    let (outgoing, events) = mpsc::channel(HANDFULS_MAX);
    let (publish, reached) = watch::channel(None);
    let stop = CancellationToken::new();
    let reader =
        Reader { peer: peer.clone(), vertex, asks: incoming, events: outgoing, publish, stop: stop.clone() };
    let mut tasks = JoinSet::new();
    tasks.spawn(reader.run());
    let source = UserSource {
        asks,
        events,
        got: VecDeque::new(),
        asked: false,
        gave: false,
        quiet: Pause::between(QUIET_MIN, QUIET_MAX),
        not_before: Instant::now(),
    };
    let view = UserSourceView { peer: peer.clone(), reached };
    let answers = UserAnswers::new(peer, tasks, stop);
    (Opened { source: Box::new(source), answers: Box::new(answers), memory: Memory::Opaque }, view)
}

fn client(channel: Channel) -> SourceClient<Channel> {
    SourceClient::new(channel)
        .max_decoding_message_size(MESSAGE_MAX_BYTES)
        .max_encoding_message_size(MESSAGE_MAX_BYTES)
}

/// The reading half.
struct UserSource {
    asks: mpsc::Sender<Ask>,
    events: mpsc::Receiver<Event>,
    got: VecDeque<(Message, Receipt)>,
    /// A read request is under way.
    asked: bool,
    /// It has given messages.
    gave: bool,
    quiet: Pause,
    not_before: Instant,
}

impl UserSource {
    fn note(&mut self, event: Event) {
        match event {
            Event::Read(messages) => {
                self.gave = true;
                self.got.extend(messages);
            }
            Event::End => {
                self.asked = false;
                if self.gave {
                    self.quiet.reset();
                } else {
                    self.not_before = Instant::now() + self.quiet.grow();
                }
            }
        }
    }

    fn hand_out(&mut self, messages_max: usize) -> Batch {
        let count = self.got.len().min(messages_max);
        let (messages, receipts) = self.got.drain(..count).unzip();
        Batch { messages, receipts, end: None }
    }
}

#[async_trait]
impl Source for UserSource {
    async fn resume(&mut self, _: Position) -> Result<(), Error> {
        Ok(())
    }

    async fn read(&mut self, messages_max: usize, wait: Duration) -> Result<Option<Batch>, Error> {
        let deadline = Instant::now() + wait;
        loop {
            while let Ok(event) = self.events.try_recv() {
                self.note(event);
            }
            if !self.got.is_empty() {
                return Ok(Some(self.hand_out(messages_max)));
            }
            let now = Instant::now();
            if !self.asked && now >= self.not_before {
                let ask = Ask { messages_max, wait };
                self.asks.try_send(ask).map_err(|_| Error::new(Class::Fatal, "read: its task is over"))?;
                self.asked = true;
                self.gave = false;
            }
            let wake = if self.asked { deadline } else { deadline.min(self.not_before) };
            tokio::select! {
                event = self.events.recv() => {
                    let over = || Error::new(Class::Fatal, "read: its task is over");
                    self.note(event.ok_or_else(over)?);
                }
                () = tokio::time::sleep_until(wake) => {
                    if Instant::now() >= deadline {
                        return Ok(Some(Batch::default()));
                    }
                }
            }
        }
    }
}

/// The message in a result, or why there is none.
fn message(vertex: &Name, result: read_response::Result) -> Result<(Message, Receipt), &'static str> {
    let read_response::Result { payload, offset, event_time, keys, headers, metadata } = result;
    let offset = offset.filter(|offset| !offset.offset.is_empty()).ok_or("a result has no offset")?;
    let event_time = event_time.ok_or("a result has no event time")?;
    let receipt = Receipt { offset: offset.offset, partition: offset.partition_id };
    let origin = Origin::Text(origin(&receipt.offset, receipt.partition).into());
    let mut message = Message::from_source(vertex.clone(), origin, payload, convert::time(event_time));
    message.keys = convert::names(keys);
    let user = convert::user_groups(metadata);
    message.attributes = Attributes::new(Parts { headers, user, ..Parts::default() });
    Ok((message, receipt))
}

/// The offset as the outside sees it: base64 of its bytes, and its partition as 16 bits.
fn origin(offset: &Bytes, partition: i32) -> String {
    let mut text = STANDARD.encode(offset);
    text.push('-');
    text.push_str(&(partition as u16).to_string());
    text
}

#[cfg(test)]
mod tests {
    use proto::source::Offset;

    use super::*;

    fn result(offset: &'static [u8], partition_id: i32) -> read_response::Result {
        read_response::Result {
            payload: Bytes::from_static(b"value"),
            offset: Some(Offset { offset: Bytes::from_static(offset), partition_id }),
            event_time: Some(prost_types::Timestamp { seconds: 1, nanos: 2 }),
            keys: vec!["k".to_owned()],
            ..read_response::Result::default()
        }
    }

    #[test]
    fn offsets_are_shown_as_base64_and_given_back_as_they_came() {
        let (message, receipt) = message(&Name::new_static("in"), result(b"\x00\xff7", 3)).unwrap();
        assert_eq!(message.id.to_string(), "in-AP83-3-0");
        assert_eq!(receipt, Receipt { offset: Bytes::from_static(b"\x00\xff7"), partition: 3 });
        assert_eq!(message.event_time.nanos(), 1_000_000_002);
        assert_eq!(message.keys, ["k"]);
    }

    #[test]
    fn a_result_needs_an_offset_and_an_event_time() {
        let vertex = Name::new_static("in");
        assert!(message(&vertex, result(b"", 0)).is_err());
        assert!(message(&vertex, read_response::Result { offset: None, ..result(b"x", 0) }).is_err());
        assert!(message(&vertex, read_response::Result { event_time: None, ..result(b"x", 0) }).is_err());
    }
}
