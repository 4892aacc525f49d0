//! Frames: some messages that travel, are stored, read and settled together, and their bytes.
//!
//! A frame is a [`Header`], made by the buffer that stores it, and a body of encoded messages, made by the worker.
//! docs/format/frame.md has every field. Invariant: what [`Body::encode`] takes, [`Frame::messages`] gives back, and
//! fields that a reader does not know are passed over, so that two versions can share a buffer.

use bytes::Bytes;
use smol_str::SmolStr;

use crate::message::{Attributes, Message, Redelivery};
use crate::wire::{self, Fields, Malformed, Value};
use crate::{Epoch, Id, Incarnation, Name, Origin, Time, Unit};

mod codec;
mod header;
pub use codec::Codec;
pub use header::Header;

/// What is wrong with the bytes of a frame.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The bytes break off or contradict themselves.
    #[error("frame cannot be read: {0}")]
    Malformed(#[from] Malformed),
    /// The frame was written by a version that this one cannot read.
    #[error("frame has format version {found}, this version reads up to {known}")]
    Version {
        /// The version in the frame.
        found: u64,
        /// The newest version known here.
        known: u64,
    },
    /// The header announces another number of messages than the payload holds.
    #[error("frame announces {announced} messages and holds {held}")]
    Count {
        /// From the header.
        announced: u32,
        /// From the payload.
        held: u32,
    },
    /// The payload is packed in a way that this build does not unpack.
    #[error("frame is packed with codec number {0}, which is not known here")]
    Codec(u64),
    /// The payload is not what its codec makes.
    #[error("frame cannot be unpacked as {0}")]
    Packed(&'static str),
}

/// Who wrote a frame.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Writer {
    /// The writing vertex.
    pub vertex: Name,
    /// The unit whose commit stored the frame.
    pub unit: Unit,
    /// The replica that ran the unit.
    pub replica: u16,
    /// The life of the worker.
    pub incarnation: Incarnation,
    /// The number of the ownership.
    pub epoch: Epoch,
}

/// Encoded messages with what the header will say about them.
#[derive(Clone, Debug, PartialEq)]
pub struct Body {
    /// How many messages.
    pub count: u32,
    /// The smallest event time.
    pub earliest: Time,
    /// The largest event time.
    pub latest: Time,
    /// What offsets are written relative to.
    pub base: u64,
    /// The vertex in the ids of the messages that do not name another one.
    pub vertex: Name,
    /// How the payload is packed.
    pub codec: Codec,
    /// The messages.
    pub payload: Bytes,
}

/// A header and the messages it speaks of.
#[derive(Clone, Debug, PartialEq)]
pub struct Frame {
    /// About the messages and their writer.
    pub header: Header,
    /// The messages, encoded.
    pub payload: Bytes,
}

const VALUE: u32 = 1;
const KEY: u32 = 2;
const TIME: u32 = 3;
const TEXT: u32 = 4;
const NUMBER: u32 = 5;
const SEQUENCE: u32 = 6;
const PLACE: u32 = 7;
const PARTITION: u32 = 8;
const PARENT_INDEX: u32 = 9;
const INDEX: u32 = 10;
const ATTRIBUTES: u32 = 11;
const VERTEX: u32 = 12;
const REDELIVERY: u32 = 13;
const ORIGINAL_OFFSET: u32 = 14;

fn base_of(origin: &Origin) -> u64 {
    match origin {
        Origin::Text(_) => 0,
        Origin::Numbered { number, .. } => *number,
        Origin::Buffered { sequence, .. } => *sequence,
    }
}

impl Body {
    /// Encodes messages. Tags stay behind; the offset is kept only for a message that is sent back, since every
    /// reader gives it another one.
    ///
    /// # Panics
    /// When there is no message: an empty frame is never written.
    pub fn encode<'a>(messages: impl IntoIterator<Item = &'a Message> + Clone) -> Self {
        let first = messages.clone().into_iter().next().expect("a frame holds at least one message");
        let base = base_of(&first.id.origin);
        let mut earliest = first.event_time;
        let mut latest = earliest;
        let (mut count, mut size) = (0u32, 0);
        for message in messages.clone() {
            earliest = earliest.min(message.event_time);
            latest = latest.max(message.event_time);
            count += 1;
            size += message.size_hint();
        }
        let mut out = Vec::with_capacity(size);
        let mut side = Vec::new();
        for message in messages {
            put_message(&mut out, &mut side, message, &Context { base, earliest, vertex: &first.id.vertex });
        }
        let vertex = first.id.vertex.clone();
        Self { count, earliest, latest, base, vertex, codec: Codec::None, payload: Bytes::from(out) }
    }

    /// The same messages, packed where that makes them smaller.
    #[must_use]
    pub fn packed(self, codec: Codec) -> Self {
        let (codec, payload) = codec.pack(self.payload);
        Self { codec, payload, ..self }
    }

    /// At least as many bytes as this message takes in a payload, whatever stands beside it.
    pub fn size_max(message: &Message) -> usize {
        /// A key and a number of up to 64 bits; a key and a length of up to 32 bits.
        const NUMBER_MAX: usize = 11;
        const LENGTH_MAX: usize = 6;
        let Message { id, offset, keys, value, event_time: _, attributes, tags: _, redelivery } = message;
        let origin = |origin: &Origin| match origin {
            Origin::Text(text) => LENGTH_MAX + text.len(),
            Origin::Numbered { .. } => NUMBER_MAX + 4,
            Origin::Buffered { .. } => NUMBER_MAX + LENGTH_MAX + 4,
        };
        let keys: usize = keys.iter().map(|key| LENGTH_MAX + key.len()).sum();
        let again = redelivery.as_ref().map_or(0, |redelivery| {
            LENGTH_MAX + 3 * NUMBER_MAX + LENGTH_MAX + redelivery.reason.len() + LENGTH_MAX + origin(offset)
        });
        let vertex = LENGTH_MAX + id.vertex.len();
        let own = NUMBER_MAX + origin(&id.origin) + 2 * LENGTH_MAX + vertex + again;
        2 * LENGTH_MAX + own + keys + LENGTH_MAX + attributes.encoded().len() + value.len()
    }
}

struct Context<'a> {
    base: u64,
    earliest: Time,
    vertex: &'a Name,
}

fn put_origin(out: &mut Vec<u8>, base: u64, origin: &Origin) {
    let relative = |number: u64| wire::zigzag(number.wrapping_sub(base) as i64);
    match origin {
        Origin::Text(text) => wire::put_bytes(out, TEXT, text.as_bytes()),
        Origin::Numbered { number, partition } => {
            wire::put_number(out, NUMBER, relative(*number));
            put_nonzero(out, PARTITION, u64::from(*partition));
        }
        Origin::Buffered { sequence, position, partition } => {
            wire::put_number(out, SEQUENCE, relative(*sequence));
            put_nonzero(out, PLACE, u64::from(*position));
            put_nonzero(out, PARTITION, u64::from(*partition));
        }
    }
}

fn put_nonzero(out: &mut Vec<u8>, field: u32, value: u64) {
    if value != 0 {
        wire::put_number(out, field, value);
    }
}

/// `side` holds everything but the value, so that the length is known before anything is written and the value is
/// copied once.
fn put_message(out: &mut Vec<u8>, side: &mut Vec<u8>, message: &Message, context: &Context<'_>) {
    let Message { id, offset, keys, value, event_time, attributes, tags: _, redelivery } = message;
    side.clear();
    for key in keys {
        wire::put_bytes(side, KEY, key.as_bytes());
    }
    put_nonzero(side, TIME, event_time.nanos().wrapping_sub(context.earliest.nanos()) as u64);
    put_origin(side, context.base, &id.origin);
    if let Some(parent) = id.parent_index {
        wire::put_number(side, PARENT_INDEX, u64::from(parent));
    }
    put_nonzero(side, INDEX, u64::from(id.index));
    if !attributes.is_empty() {
        wire::put_bytes(side, ATTRIBUTES, attributes.encoded());
    }
    if id.vertex != *context.vertex {
        wire::put_bytes(side, VERTEX, id.vertex.as_bytes());
    }
    if let Some(redelivery) = redelivery {
        put_redelivery(side, redelivery);
        let mut original = Vec::new();
        put_origin(&mut original, 0, offset);
        wire::put_bytes(side, ORIGINAL_OFFSET, &original);
    }
    let len = side.len() + 1 + wire::varint_len(value.len() as u64) + value.len();
    wire::put_varint(out, len as u64);
    out.extend_from_slice(side);
    wire::put_bytes(out, VALUE, value);
}

fn put_redelivery(out: &mut Vec<u8>, redelivery: &Redelivery) {
    let Redelivery { attempt, not_before, deliveries_max, reason } = redelivery;
    let mut inner = Vec::new();
    wire::put_number(&mut inner, 1, u64::from(*attempt));
    wire::put_number(&mut inner, 2, wire::zigzag(not_before.nanos()));
    if let Some(most) = deliveries_max {
        wire::put_number(&mut inner, 3, u64::from(*most));
    }
    wire::put_bytes(&mut inner, 4, reason.as_bytes());
    wire::put_bytes(out, REDELIVERY, &inner);
}

impl Frame {
    /// Decodes all messages as read at number `sequence` of `partition`; values are slices of the frame's bytes.
    pub fn messages(&self, sequence: u64, partition: u16) -> Result<Vec<Message>, Error> {
        let payload = self.header.codec.unpack(&self.payload)?;
        let mut messages = Vec::with_capacity((self.header.count as usize).min(payload.len()));
        let mut fields = Fields::new(&payload);
        while !fields.is_empty() {
            let len = fields.varint()? as usize;
            let bytes = fields.take(len)?;
            let position = messages.len() as u32;
            messages.push(message(
                &self.header,
                &payload,
                bytes,
                Origin::Buffered { sequence, position, partition },
            )?);
        }
        if messages.len() != self.header.count as usize {
            return Err(Error::Count { announced: self.header.count, held: messages.len() as u32 });
        }
        Ok(messages)
    }
}

/// One message; its bytes lie within `payload`.
fn message(header: &Header, payload: &Bytes, bytes: &[u8], offset: Origin) -> Result<Message, Error> {
    let mut message = Message {
        id: Id {
            vertex: header.vertex.clone(),
            origin: Origin::Text(SmolStr::default()),
            parent_index: None,
            index: 0,
        },
        offset,
        keys: Vec::new(),
        value: Bytes::new(),
        event_time: header.earliest,
        attributes: Attributes::default(),
        tags: Vec::new(),
        redelivery: None,
    };
    let mut origin = OriginReader::new(header.base);
    let mut fields = Fields::new(bytes);
    while let Some((field, content)) = fields.next()? {
        match field {
            VALUE => message.value = payload.slice_ref(content.bytes("a value")?),
            KEY => message.keys.push(SmolStr::new(content.text("a key in UTF-8")?)),
            TIME => {
                let nanos = content.number("an event time")? as i64;
                message.event_time = Time::from_nanos(header.earliest.nanos().wrapping_add(nanos));
            }
            PARENT_INDEX => message.id.parent_index = Some(content.number("a parent index")? as u32),
            INDEX => message.id.index = content.number("an index")? as u32,
            ATTRIBUTES => {
                let encoded = payload.slice_ref(content.bytes("attributes")?);
                message.attributes = Attributes::decode(&encoded)?;
            }
            VERTEX => message.id.vertex = SmolStr::new(content.text("a vertex name")?),
            REDELIVERY => {
                message.redelivery = Some(Box::new(redelivery(content.bytes("a redelivery")?)?));
            }
            ORIGINAL_OFFSET => message.offset = original(content.bytes("an offset")?)?,
            _ => origin.field(field, content)?,
        }
    }
    message.id.origin = origin.finish();
    Ok(message)
}

struct OriginReader {
    base: u64,
    origin: Origin,
    partition: u16,
}

impl OriginReader {
    fn new(base: u64) -> Self {
        Self { base, origin: Origin::Text(SmolStr::default()), partition: 0 }
    }

    fn field(&mut self, field: u32, content: Value<'_>) -> Result<(), Malformed> {
        match field {
            TEXT => self.origin = Origin::Text(SmolStr::new(content.text("an offset in UTF-8")?)),
            NUMBER => {
                let number = self.absolute(content.number("an offset")?);
                self.origin = Origin::Numbered { number, partition: 0 };
            }
            SEQUENCE => {
                let sequence = self.absolute(content.number("a sequence")?);
                self.origin = Origin::Buffered { sequence, position: 0, partition: 0 };
            }
            PLACE => {
                let place = content.number("a place in a frame")? as u32;
                if let Origin::Buffered { position, .. } = &mut self.origin {
                    *position = place;
                }
            }
            PARTITION => self.partition = content.number("a partition")? as u16,
            _ => {}
        }
        Ok(())
    }

    fn absolute(&self, relative: u64) -> u64 {
        self.base.wrapping_add(wire::unzigzag(relative) as u64)
    }

    fn finish(mut self) -> Origin {
        match &mut self.origin {
            Origin::Text(_) => {}
            Origin::Numbered { partition, .. } | Origin::Buffered { partition, .. } => {
                *partition = self.partition;
            }
        }
        self.origin
    }
}

fn original(bytes: &[u8]) -> Result<Origin, Malformed> {
    let mut origin = OriginReader::new(0);
    let mut fields = Fields::new(bytes);
    while let Some((field, content)) = fields.next()? {
        origin.field(field, content)?;
    }
    Ok(origin.finish())
}

fn redelivery(bytes: &[u8]) -> Result<Redelivery, Malformed> {
    let mut redelivery =
        Redelivery { attempt: 1, not_before: Time::MIN, deliveries_max: None, reason: String::new() };
    let mut fields = Fields::new(bytes);
    while let Some((field, content)) = fields.next()? {
        match field {
            1 => redelivery.attempt = content.number("an attempt")? as u32,
            2 => redelivery.not_before = Time::from_nanos(wire::unzigzag(content.number("a time")?)),
            3 => redelivery.deliveries_max = Some(content.number("a bound")? as u32),
            4 => content.text("a reason in UTF-8")?.clone_into(&mut redelivery.reason),
            _ => {}
        }
    }
    Ok(redelivery)
}

#[cfg(test)]
mod tests;
