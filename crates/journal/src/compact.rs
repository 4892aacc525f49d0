//! Reading what is left unsettled in an old segment, so that it can be appended again and the segment deleted.
//! Deciding which segment and when is the commit thread's. The invariant: a frame is moved with the sequence,
//! length and checksum it has.

use std::sync::Arc;

use bytes::Bytes;

use crate::disk::DiskFile;
use crate::error::{Error, Place};
use crate::format::{Op, Ops, SEGMENT_HEADER_BYTES};
use crate::hub::{Log, Segment};
use crate::index::Slot;
use crate::locks::lock;
use crate::read::read_frame;
use crate::scan::Scanner;
use crate::transaction::LogId;

/// What a frame takes when it is moved, beside its bytes.
pub(crate) const FRAME_COST_BYTES: u64 = 21;

/// How much is moved, and how much read, in one step.
const MOVED_BYTES_MAX: usize = 1024 * 1024;
const SCANNED_BYTES_MAX: u64 = 4 * 1024 * 1024;

/// Frames to be appended again, in one record.
#[derive(Debug, Default)]
pub(crate) struct Moved {
    pub(crate) frames: Vec<MovedFrame>,
}

#[derive(Debug)]
pub(crate) struct MovedFrame {
    pub(crate) log: LogId,
    /// Where it was.
    pub(crate) slot: Slot,
    pub(crate) bytes: Bytes,
}

impl Moved {
    pub(crate) fn is_empty(&self) -> bool {
        self.frames.is_empty()
    }

    pub(crate) fn payload_bytes(&self) -> usize {
        self.frames.iter().map(|frame| frame.bytes.len()).sum()
    }
}

/// A segment that is being emptied.
pub(crate) struct Mover {
    segment: u32,
    at: u64,
}

impl Mover {
    pub(crate) fn new(segment: u32) -> Mover {
        Mover { segment, at: SEGMENT_HEADER_BYTES as u64 }
    }

    pub(crate) fn segment(&self) -> u32 {
        self.segment
    }

    /// The unsettled frames of the next records. `None` at the end of the segment.
    pub(crate) fn next<F: DiskFile>(
        &mut self,
        segment: &Segment<F>,
        (identity, end): (u64, u64),
        logs: &[Arc<Log>],
        place: &Place,
    ) -> Result<Option<Moved>, Error> {
        if self.at >= end {
            return Ok(None);
        }
        let mut moved = Moved::default();
        let mut bytes = 0;
        let scan_end = end.min(self.at + SCANNED_BYTES_MAX);
        let mut scanner = Scanner::new(segment, identity, end);
        while self.at < scan_end && bytes < MOVED_BYTES_MAX {
            let failed = |what| place.damaged(&segment.name, self.at, end, what);
            let read_failed = |e| place.io("read", &segment.name, e);
            let header = scanner.header(self.at).map_err(read_failed)?.ok_or_else(|| failed("no record"))?;
            let meta = scanner.meta(self.at, &header).map_err(read_failed)?;
            let meta = meta.ok_or_else(|| failed("the checksum of the record does not match"))?;
            let mut frames =
                Frames { offset: self.at + header.payload_start(), sequence: header.first_sequence };
            for op in Ops::new(meta) {
                let op = op.map_err(|_| failed("the record has parts of no known kind"))?;
                let Some((log, slot)) = frames.next(&op, segment.number) else { continue };
                let Some(owner) = logs.get(log as usize) else { continue };
                if lock(&owner.index).is_live_at(slot.sequence, segment.number, slot.offset) {
                    let frame = read_frame(segment, slot, place)?;
                    bytes += frame.len();
                    moved.frames.push(MovedFrame { log: LogId(log), slot, bytes: frame });
                }
            }
            self.at += header.total();
        }
        Ok(Some(moved))
    }
}

/// Walks over the parts of a record and tells where its frames are.
pub(crate) struct Frames {
    /// Offset of the next frame in the segment.
    pub(crate) offset: u64,
    /// Sequence of the next append.
    pub(crate) sequence: u64,
}

impl Frames {
    /// The log and the place of the frame that belongs to this part, if one does.
    pub(crate) fn next(&mut self, op: &Op<'_>, segment: u32) -> Option<(u32, Slot)> {
        let (log, sequence, length, crc) = match *op {
            Op::Append { log, length, crc } => {
                let sequence = self.sequence;
                self.sequence += 1;
                (log, sequence, length, crc)
            }
            Op::Move { log, sequence, length, crc } => (log, sequence, length, crc),
            Op::SettleThrough { .. }
            | Op::SettleOne { .. }
            | Op::Put { .. }
            | Op::Delete { .. }
            | Op::Name { .. } => {
                return None;
            }
        };
        let offset = u32::try_from(self.offset).expect("segments are shorter than 4 GiB");
        self.offset += u64::from(length);
        Some((log, Slot::new(sequence, segment, offset, length, crc)))
    }
}
