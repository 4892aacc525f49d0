//! Every byte of a segment: constants, headers and the parts of a record. Checkpoint files are in
//! `checkpoint`; both are described in docs/format/journal.md. Pure. All integers are little-endian.
//!
//! The invariant: what is read here has the checksum it was written with, at the place it was written to.

use crate::error::Error;

/// Version of both file kinds. A change of any byte raises it.
pub(crate) const VERSION: u32 = 1;

pub(crate) const SEGMENT_MAGIC: [u8; 8] = *b"TGJRNSEG";
pub(crate) const SEGMENT_HEADER_BYTES: usize = 64;

pub(crate) const RECORD_MAGIC: [u8; 4] = *b"TGr1";
pub(crate) const RECORD_HEADER_BYTES: usize = 48;
/// Records begin at multiples of this.
pub(crate) const ALIGNMENT: usize = 8;

pub(crate) const FRAME_BYTES_MAX: u32 = (1 << 30) - 1;
pub(crate) const KEY_BYTES_MAX: usize = u16::MAX as usize;
pub(crate) const NAME_BYTES_MAX: usize = u8::MAX as usize;

const OP_APPEND: u8 = 1;
const OP_SETTLE_THROUGH: u8 = 2;
const OP_SETTLE_ONE: u8 = 3;
const OP_PUT: u8 = 4;
const OP_DELETE: u8 = 5;
const OP_NAME: u8 = 6;
const OP_MOVE: u8 = 7;

/// The first bytes of a segment file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct SegmentHeader {
    /// The journal this segment belongs to.
    pub(crate) identity: u64,
    pub(crate) segment: u32,
    /// Number of the first record in this segment.
    pub(crate) first_record: u64,
    /// Every record up to this one was durable when the header was written.
    pub(crate) durable: u64,
    /// Final length of the segment before; 0 for the first.
    pub(crate) previous_length: u64,
}

/// What a segment's first bytes turned out to be.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum SegmentStart {
    Good(SegmentHeader),
    OtherVersion(u32),
    Bad,
}

impl SegmentHeader {
    pub(crate) fn encode(&self) -> [u8; SEGMENT_HEADER_BYTES] {
        let mut out = [0; SEGMENT_HEADER_BYTES];
        out[..8].copy_from_slice(&SEGMENT_MAGIC);
        out[8..12].copy_from_slice(&VERSION.to_le_bytes());
        out[16..24].copy_from_slice(&self.identity.to_le_bytes());
        out[24..32].copy_from_slice(&u64::from(self.segment).to_le_bytes());
        out[32..40].copy_from_slice(&self.first_record.to_le_bytes());
        out[40..48].copy_from_slice(&self.durable.to_le_bytes());
        out[48..56].copy_from_slice(&self.previous_length.to_le_bytes());
        let crc = segment_header_crc(&out);
        out[12..16].copy_from_slice(&crc.to_le_bytes());
        out
    }

    pub(crate) fn decode(bytes: &[u8]) -> SegmentStart {
        if bytes.len() < SEGMENT_HEADER_BYTES || bytes[..8] != SEGMENT_MAGIC {
            return SegmentStart::Bad;
        }
        let bytes = &bytes[..SEGMENT_HEADER_BYTES];
        if segment_header_crc(bytes) != u32_at(bytes, 12) {
            return SegmentStart::Bad;
        }
        let version = u32_at(bytes, 8);
        if version != VERSION {
            return SegmentStart::OtherVersion(version);
        }
        let Ok(segment) = u32::try_from(u64_at(bytes, 24)) else { return SegmentStart::Bad };
        SegmentStart::Good(SegmentHeader {
            identity: u64_at(bytes, 16),
            segment,
            first_record: u64_at(bytes, 32),
            durable: u64_at(bytes, 40),
            previous_length: u64_at(bytes, 48),
        })
    }
}

fn segment_header_crc(bytes: &[u8]) -> u32 {
    let mut crc = crc32fast::Hasher::new();
    crc.update(&bytes[..12]);
    crc.update(&bytes[16..SEGMENT_HEADER_BYTES]);
    crc.finalize()
}

/// Where a record stands. It is part of the record's checksum, so that bytes which look like a record, at a place where
/// none was written, are not taken for one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Spot {
    pub(crate) identity: u64,
    pub(crate) segment: u32,
    pub(crate) offset: u64,
}

/// The first bytes of a record.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct RecordHeader {
    /// Number of the record: consecutive over the whole journal, from 1.
    pub(crate) record: u64,
    /// Every record up to this one was durable when this one was written.
    pub(crate) durable: u64,
    /// Sequence of the first append; the next one to be given, if there is none.
    pub(crate) first_sequence: u64,
    pub(crate) meta_length: u32,
    pub(crate) meta_crc: u32,
    pub(crate) payload_length: u32,
}

impl RecordHeader {
    pub(crate) fn encode(&self, spot: Spot) -> [u8; RECORD_HEADER_BYTES] {
        let mut out = [0; RECORD_HEADER_BYTES];
        out[..4].copy_from_slice(&RECORD_MAGIC);
        out[8..16].copy_from_slice(&self.record.to_le_bytes());
        out[16..24].copy_from_slice(&self.durable.to_le_bytes());
        out[24..32].copy_from_slice(&self.first_sequence.to_le_bytes());
        out[32..36].copy_from_slice(&self.meta_length.to_le_bytes());
        out[36..40].copy_from_slice(&self.meta_crc.to_le_bytes());
        out[40..44].copy_from_slice(&self.payload_length.to_le_bytes());
        let crc = record_header_crc(&out, spot);
        out[4..8].copy_from_slice(&crc.to_le_bytes());
        out
    }

    /// `None` if these bytes are not the header of a record at this spot.
    pub(crate) fn decode(bytes: &[u8], spot: Spot) -> Option<RecordHeader> {
        if bytes.len() < RECORD_HEADER_BYTES || bytes[..4] != RECORD_MAGIC {
            return None;
        }
        let bytes = &bytes[..RECORD_HEADER_BYTES];
        if record_header_crc(bytes, spot) != u32_at(bytes, 4) {
            return None;
        }
        let header = RecordHeader {
            record: u64_at(bytes, 8),
            durable: u64_at(bytes, 16),
            first_sequence: u64_at(bytes, 24),
            meta_length: u32_at(bytes, 32),
            meta_crc: u32_at(bytes, 36),
            payload_length: u32_at(bytes, 40),
        };
        (header.durable < header.record).then_some(header)
    }

    /// Bytes from the beginning of the record to the beginning of its payload.
    pub(crate) fn payload_start(&self) -> u64 {
        RECORD_HEADER_BYTES as u64 + u64::from(self.meta_length)
    }

    /// Bytes of the whole record with its padding.
    pub(crate) fn total(&self) -> u64 {
        (self.payload_start() + u64::from(self.payload_length)).next_multiple_of(ALIGNMENT as u64)
    }
}

fn record_header_crc(bytes: &[u8], spot: Spot) -> u32 {
    let mut crc = crc32fast::Hasher::new();
    crc.update(&spot.identity.to_le_bytes());
    crc.update(&u64::from(spot.segment).to_le_bytes());
    crc.update(&spot.offset.to_le_bytes());
    crc.update(&bytes[8..RECORD_HEADER_BYTES]);
    crc.finalize()
}

/// Bytes that a record with these parts takes.
pub(crate) fn record_bytes(meta: usize, payload: usize) -> usize {
    (RECORD_HEADER_BYTES + meta + payload).next_multiple_of(ALIGNMENT)
}

/// One part of a record's meta section. The payload holds the frames of `Append` and `Move`, in their order.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Op<'a> {
    Append { log: u32, length: u32, crc: u32 },
    SettleThrough { log: u32, sequence: u64 },
    SettleOne { log: u32, sequence: u64 },
    Put { key: &'a [u8], value: &'a [u8] },
    Delete { key: &'a [u8] },
    Name { log: u32, name: &'a str },
    Move { log: u32, sequence: u64, length: u32, crc: u32 },
}

/// Adds one part. Lengths have been checked against the limits above.
pub(crate) fn put_op(meta: &mut Vec<u8>, op: &Op<'_>) {
    match *op {
        Op::Append { log, length, crc } => {
            meta.push(OP_APPEND);
            for number in [log, length, crc] {
                meta.extend_from_slice(&number.to_le_bytes());
            }
        }
        Op::SettleThrough { log, sequence } => put_settlement(meta, OP_SETTLE_THROUGH, log, sequence),
        Op::SettleOne { log, sequence } => put_settlement(meta, OP_SETTLE_ONE, log, sequence),
        Op::Put { key, value } => {
            meta.push(OP_PUT);
            put_key(meta, key);
            meta.extend_from_slice(&(value.len() as u32).to_le_bytes());
            meta.extend_from_slice(value);
        }
        Op::Delete { key } => {
            meta.push(OP_DELETE);
            put_key(meta, key);
        }
        Op::Name { log, name } => {
            assert!(name.len() <= NAME_BYTES_MAX, "a log's name was checked when it was opened");
            meta.push(OP_NAME);
            meta.extend_from_slice(&log.to_le_bytes());
            meta.push(name.len() as u8);
            meta.extend_from_slice(name.as_bytes());
        }
        Op::Move { log, sequence, length, crc } => {
            put_settlement(meta, OP_MOVE, log, sequence);
            meta.extend_from_slice(&length.to_le_bytes());
            meta.extend_from_slice(&crc.to_le_bytes());
        }
    }
}

fn put_settlement(meta: &mut Vec<u8>, op: u8, log: u32, sequence: u64) {
    meta.push(op);
    meta.extend_from_slice(&log.to_le_bytes());
    meta.extend_from_slice(&sequence.to_le_bytes());
}

fn put_key(meta: &mut Vec<u8>, key: &[u8]) {
    assert!(key.len() <= KEY_BYTES_MAX, "a key was checked when it was put");
    meta.extend_from_slice(&(key.len() as u16).to_le_bytes());
    meta.extend_from_slice(key);
}

/// The parts of a meta section. Ends after the first part that makes no sense, which is given as an error.
pub(crate) struct Ops<'a>(pub(crate) Fields<'a>);

impl<'a> Ops<'a> {
    pub(crate) fn new(meta: &'a [u8]) -> Self {
        Ops(Fields(meta))
    }
}

/// A meta section whose checksum is right but which cannot be read.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Unreadable;

impl<'a> Iterator for Ops<'a> {
    type Item = Result<Op<'a>, Unreadable>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.0.0.is_empty() {
            return None;
        }
        let op = next_op(&mut self.0);
        if op.is_none() {
            self.0.0 = &[];
        }
        Some(op.ok_or(Unreadable))
    }
}

fn next_op<'a>(fields: &mut Fields<'a>) -> Option<Op<'a>> {
    Some(match fields.u8()? {
        OP_APPEND => Op::Append { log: fields.u32()?, length: fields.u32()?, crc: fields.u32()? },
        OP_SETTLE_THROUGH => Op::SettleThrough { log: fields.u32()?, sequence: fields.u64()? },
        OP_SETTLE_ONE => Op::SettleOne { log: fields.u32()?, sequence: fields.u64()? },
        OP_PUT => Op::Put { key: fields.key()?, value: fields.value()? },
        OP_DELETE => Op::Delete { key: fields.key()? },
        OP_NAME => Op::Name { log: fields.u32()?, name: fields.name()? },
        OP_MOVE => Op::Move {
            log: fields.u32()?,
            sequence: fields.u64()?,
            length: fields.u32()?,
            crc: fields.u32()?,
        },
        _ => return None,
    })
}

/// Bytes that are read field by field from the front.
pub(crate) struct Fields<'a>(pub(crate) &'a [u8]);

impl<'a> Fields<'a> {
    pub(crate) fn take(&mut self, length: usize) -> Option<&'a [u8]> {
        let (taken, rest) = self.0.split_at_checked(length)?;
        self.0 = rest;
        Some(taken)
    }

    pub(crate) fn u8(&mut self) -> Option<u8> {
        self.take(1).map(|bytes| bytes[0])
    }

    pub(crate) fn u32(&mut self) -> Option<u32> {
        self.take(4).map(|bytes| u32_at(bytes, 0))
    }

    pub(crate) fn u64(&mut self) -> Option<u64> {
        self.take(8).map(|bytes| u64_at(bytes, 0))
    }

    pub(crate) fn key(&mut self) -> Option<&'a [u8]> {
        let length = self.take(2).map(|bytes| u16::from_le_bytes([bytes[0], bytes[1]]))?;
        self.take(usize::from(length))
    }

    pub(crate) fn value(&mut self) -> Option<&'a [u8]> {
        let length = self.u32()?;
        self.take(length as usize)
    }

    pub(crate) fn name(&mut self) -> Option<&'a str> {
        let length = self.u8()?;
        std::str::from_utf8(self.take(usize::from(length))?).ok()
    }
}

pub(crate) fn u32_at(bytes: &[u8], at: usize) -> u32 {
    u32::from_le_bytes(bytes[at..at + 4].try_into().expect("four bytes"))
}

pub(crate) fn u64_at(bytes: &[u8], at: usize) -> u64 {
    u64::from_le_bytes(bytes[at..at + 8].try_into().expect("eight bytes"))
}

/// The length of a log's name, checked where a name comes in.
pub(crate) fn check_name(name: &str) -> Result<(), Error> {
    if name.is_empty() {
        return Err(Error::Option { option: "log name", reason: "must not be empty" });
    }
    if name.len() > NAME_BYTES_MAX {
        return Err(Error::TooLarge {
            what: "the name of a log",
            size_bytes: name.len(),
            limit_bytes: NAME_BYTES_MAX,
        });
    }
    Ok(())
}

#[cfg(test)]
mod tests;
