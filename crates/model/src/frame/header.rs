//! The header of a frame: who wrote it, when, and what is inside. Readers of any version read the headers of the
//! next one; a format that they could not read carries a higher version and is refused by name.

use bytes::Bytes;
use smol_str::SmolStr;

use super::{Body, Codec, Error, Frame, Writer};
use crate::wire::{self, Fields, Malformed};
use crate::{Epoch, Incarnation, Name, Slot, Time, Unit};

/// The format written here and the newest one read.
const VERSION: u64 = 1;

/// What a frame says about itself.
#[derive(Clone, Debug, PartialEq)]
pub struct Header {
    /// Who wrote it.
    pub writer: Writer,
    /// The writer vertex's watermark when the frame was written.
    pub stamp: Time,
    /// The smallest event time inside.
    pub earliest: Time,
    /// The largest event time inside.
    pub latest: Time,
    /// How many messages are inside.
    pub count: u32,
    /// How many messages the unit has ever written, these included.
    pub cumulative: u64,
    /// How the payload is packed.
    pub codec: Codec,
    /// What offsets inside are relative to.
    pub base: u64,
    /// The vertex in the ids of messages that do not name another one.
    pub vertex: Name,
}

const F_VERSION: u32 = 1;
const F_CODEC: u32 = 2;
const F_WRITER: u32 = 3;
const F_STAMP: u32 = 4;
const F_EARLIEST: u32 = 5;
const F_LATEST: u32 = 6;
const F_COUNT: u32 = 7;
const F_CUMULATIVE: u32 = 8;
const F_BASE: u32 = 9;
const F_VERTEX: u32 = 10;

const W_VERTEX: u32 = 1;
const W_SOURCE: u32 = 2;
const W_PARTITION: u32 = 3;
const W_SLOT: u32 = 4;
const W_REPLICA: u32 = 5;
const W_INCARNATION: u32 = 6;
const W_EPOCH: u32 = 7;

/// See [`Header::lowest`].
fn lowest(stamp: Time, earliest: Time) -> Time {
    if stamp == Time::UNKNOWN { earliest } else { earliest.max(stamp) }
}

impl Body {
    /// What [`Header::lowest`] is once the frame is written with this stamp.
    pub fn lowest(&self, stamp: Time) -> Time {
        lowest(stamp, self.earliest)
    }
}

impl Header {
    /// The time that the frame holds back for as long as it is not settled: its smallest event time, and no less than
    /// its stamp. What is before the stamp was late when it was written.
    pub fn lowest(&self) -> Time {
        lowest(self.stamp, self.earliest)
    }

    /// A header for `body`; `stamp` and `cumulative` are what only the buffer knows.
    pub fn new(body: &Body, writer: Writer, stamp: Time, cumulative: u64) -> Self {
        Self {
            writer,
            stamp,
            earliest: body.earliest,
            latest: body.latest,
            count: body.count,
            cumulative,
            codec: body.codec,
            base: body.base,
            vertex: body.vertex.clone(),
        }
    }

    /// The header's bytes with their length in front: put before the payload they make a frame.
    pub fn encode(&self) -> Bytes {
        let Self { writer, stamp, earliest, latest, count, cumulative, codec, base, vertex } = self;
        let mut inner = Vec::with_capacity(96);
        wire::put_number(&mut inner, F_VERSION, VERSION);
        wire::put_number(&mut inner, F_CODEC, codec.number());
        wire::put_bytes(&mut inner, F_WRITER, &encode_writer(writer));
        wire::put_number(&mut inner, F_STAMP, wire::zigzag(stamp.nanos()));
        wire::put_number(&mut inner, F_EARLIEST, wire::zigzag(earliest.nanos()));
        wire::put_number(&mut inner, F_LATEST, wire::zigzag(latest.nanos()));
        wire::put_number(&mut inner, F_COUNT, u64::from(*count));
        wire::put_number(&mut inner, F_CUMULATIVE, *cumulative);
        wire::put_number(&mut inner, F_BASE, *base);
        wire::put_bytes(&mut inner, F_VERTEX, vertex.as_bytes());
        let mut out = Vec::with_capacity(inner.len() + 2);
        wire::put_varint(&mut out, inner.len() as u64);
        out.extend_from_slice(&inner);
        Bytes::from(out)
    }
}

fn encode_writer(writer: &Writer) -> Vec<u8> {
    let Writer { vertex, unit, replica, incarnation, epoch } = writer;
    let mut out = Vec::with_capacity(48);
    wire::put_bytes(&mut out, W_VERTEX, vertex.as_bytes());
    match unit {
        Unit::Source(number) => wire::put_number(&mut out, W_SOURCE, u64::from(*number)),
        Unit::Slot(slot) => {
            wire::put_number(&mut out, W_PARTITION, u64::from(slot.partition));
            wire::put_number(&mut out, W_SLOT, u64::from(slot.number));
        }
    }
    wire::put_number(&mut out, W_REPLICA, u64::from(*replica));
    wire::put_number(&mut out, W_INCARNATION, incarnation.0);
    wire::put_number(&mut out, W_EPOCH, epoch.0);
    out
}

fn decode_writer(bytes: &[u8]) -> Result<Writer, Malformed> {
    let mut slot = Slot { partition: 0, number: 0 };
    let mut source = None;
    let mut writer = Writer {
        vertex: SmolStr::default(),
        unit: Unit::Source(0),
        replica: 0,
        incarnation: Incarnation(0),
        epoch: Epoch(0),
    };
    let mut fields = Fields::new(bytes);
    while let Some((field, content)) = fields.next()? {
        match field {
            W_VERTEX => writer.vertex = SmolStr::new(content.text("a vertex name")?),
            W_SOURCE => source = Some(content.number("a source partition")? as u32),
            W_PARTITION => slot.partition = content.number("a partition")? as u16,
            W_SLOT => slot.number = content.number("a slot")? as u16,
            W_REPLICA => writer.replica = content.number("a replica")? as u16,
            W_INCARNATION => writer.incarnation = Incarnation(content.number("an incarnation")?),
            W_EPOCH => writer.epoch = Epoch(content.number("an epoch")?),
            _ => {}
        }
    }
    writer.unit = source.map_or(Unit::Slot(slot), Unit::Source);
    Ok(writer)
}

impl Frame {
    /// Reads a frame from its bytes; the payload stays a slice of them.
    pub fn decode(bytes: &Bytes) -> Result<Self, Error> {
        let mut outer = Fields::new(bytes);
        let len = outer.varint()? as usize;
        let mut fields = Fields::new(outer.take(len)?);
        let payload = bytes.slice(outer.at()..);
        let mut header = Header {
            writer: decode_writer(&[])?,
            stamp: Time::UNKNOWN,
            earliest: Time::MIN,
            latest: Time::MIN,
            count: 0,
            cumulative: 0,
            codec: Codec::None,
            base: 0,
            vertex: SmolStr::default(),
        };
        let time = |number: u64| Time::from_nanos(wire::unzigzag(number));
        while let Some((field, content)) = fields.next()? {
            match field {
                F_VERSION => {
                    let found = content.number("a version")?;
                    if found > VERSION {
                        return Err(Error::Version { found, known: VERSION });
                    }
                }
                F_CODEC => header.codec = Codec::from_number(content.number("a codec")?)?,
                F_WRITER => header.writer = decode_writer(content.bytes("a writer")?)?,
                F_STAMP => header.stamp = time(content.number("a stamp")?),
                F_EARLIEST => header.earliest = time(content.number("an event time")?),
                F_LATEST => header.latest = time(content.number("an event time")?),
                F_COUNT => header.count = content.number("a count")? as u32,
                F_CUMULATIVE => header.cumulative = content.number("a count")?,
                F_BASE => header.base = content.number("a base")?,
                F_VERTEX => header.vertex = SmolStr::new(content.text("a vertex name")?),
                _ => {}
            }
        }
        Ok(Self { header, payload })
    }
}
