//! Writing: groups into the active segment, the next segment, syncs, and the cut after a full disk. What the
//! bytes are is in `format`. The invariant: a write starts where the last good one ended.

use std::io::IoSlice;
use std::ops::Range;
use std::sync::Arc;

use bytes::Bytes;

use super::{Committer, Usage};
use crate::compact::Moved;
use crate::disk::{Disk, DiskFile};
use crate::error::{Error, Place, says_full};
use crate::format::{self, Op, RECORD_HEADER_BYTES, RecordHeader, SEGMENT_HEADER_BYTES, SegmentHeader, Spot};
use crate::hub::{Segment, add};
use crate::locks::{read, write};
use crate::names;
use crate::options::Durability;
use crate::queue::Pending;

/// Frames shorter than this are copied next to their record's header; longer ones are written from where they
/// are.
const COPIED_BYTES_MAX: usize = 4096;

/// The bytes of one group, in pieces.
#[derive(Default)]
pub(crate) struct Layout {
    copied: Vec<u8>,
    pieces: Vec<Piece>,
    /// Where the piece that is being copied began.
    piece_start: usize,
    length: u64,
}

enum Piece {
    Copied(Range<usize>),
    Frame(Bytes),
}

/// Where a group went.
#[derive(Debug, Default)]
pub(crate) struct Written {
    pub(crate) segment: u32,
    /// Number of the first transaction's record.
    pub(crate) first_record: u64,
    /// Offset of the payload of the journal's own record, if there was one.
    pub(crate) own_payload: u64,
    /// Offset of the payload of each transaction.
    pub(crate) payloads: Vec<u64>,
    /// Logs that have their name in the journal with this group.
    pub(crate) named: usize,
}

impl Layout {
    fn clear(&mut self) {
        self.copied.clear();
        self.pieces.clear();
        self.piece_start = 0;
        self.length = 0;
    }

    /// Adds one record and returns the offset of its payload within the group.
    fn add_record<'a>(
        &mut self,
        header: &RecordHeader,
        spot: Spot,
        meta: &[u8],
        frames: impl Iterator<Item = &'a Bytes>,
    ) -> u64 {
        assert!(self.length.is_multiple_of(format::ALIGNMENT as u64), "records are aligned");
        let start = self.length;
        self.copied.extend_from_slice(&header.encode(spot));
        self.copied.extend_from_slice(meta);
        let payload = start + (RECORD_HEADER_BYTES + meta.len()) as u64;
        let mut end = payload;
        for frame in frames {
            end += frame.len() as u64;
            if frame.len() < COPIED_BYTES_MAX {
                self.copied.extend_from_slice(frame);
            } else {
                self.end_piece();
                self.pieces.push(Piece::Frame(frame.clone()));
            }
        }
        assert!(end - payload == u64::from(header.payload_length), "the frames fill the payload");
        self.length = end.next_multiple_of(format::ALIGNMENT as u64);
        self.copied.resize(self.copied.len() + (self.length - end) as usize, 0);
        payload
    }

    fn end_piece(&mut self) {
        if self.copied.len() > self.piece_start {
            self.pieces.push(Piece::Copied(self.piece_start..self.copied.len()));
            self.piece_start = self.copied.len();
        }
    }

    fn slices(&mut self) -> Vec<IoSlice<'_>> {
        self.end_piece();
        let copied = &self.copied;
        let slices = self.pieces.iter().map(|piece| match piece {
            Piece::Copied(range) => IoSlice::new(&copied[range.clone()]),
            Piece::Frame(bytes) => IoSlice::new(bytes),
        });
        slices.collect()
    }
}

impl<D: Disk> Committer<D> {
    /// Writes a group and makes it as durable as asked. [`Error::Full`] leaves everything as it was; after any
    /// other error it is not known what the disk holds.
    pub(super) fn write(&mut self, group: &[Pending], moved: &Moved) -> Result<Written, Error> {
        let (own_meta, named) = self.own_meta(group, moved);
        let mut length = group.iter().map(|pending| pending.size_bytes).sum::<usize>();
        if !own_meta.is_empty() {
            length += format::record_bytes(own_meta.len(), moved.payload_bytes());
        }
        self.make_room(length as u64)?;

        let mut written = self.lay_out(group, moved, &own_meta);
        written.named = named;
        assert!(self.layout.length == length as u64, "the group is as long as its parts");
        let start = self.usage[&self.active.number].length;
        if let Err(error) = self.active.file.write_at(start, &mut self.layout.slices()) {
            self.layout.clear();
            return Err(self.cut(start, error));
        }
        self.layout.clear();
        self.wrote = true;
        self.active_dirty = true;
        self.next_record = written.first_record + group.len() as u64;
        let last_record = self.next_record - 1;
        let usage = self.active_usage();
        usage.length += length as u64;
        usage.last_record = last_record;
        self.upkeep.written_since += length as u64;
        let counters = &self.shared.counters;
        add(&counters.written_bytes, length as u64);
        add(&counters.disk_bytes, length as u64);
        add(&counters.groups, 1);
        if self.shared.options.durability == Durability::Disk {
            self.sync_active()?;
            assert!(self.unsynced.is_empty(), "every closed segment was synced");
            self.durable_record = last_record;
        }
        Ok(written)
    }

    pub(super) fn active_usage(&mut self) -> &mut Usage {
        self.usage.get_mut(&self.active.number).expect("the active segment is counted")
    }

    /// The journal's own record of a group: names of logs that are used for the first time, and moved frames.
    fn own_meta(&mut self, group: &[Pending], moved: &Moved) -> (Vec<u8>, usize) {
        let mut meta = Vec::new();
        let used = group.iter().map(|pending| {
            let transaction = &pending.transaction;
            let appended = transaction.appends.iter().map(|append| append.log.0);
            appended.chain(transaction.settlements.iter().map(|s| s.log.0)).max()
        });
        // Lower numbers get their names too, so that the numbers in the journal have no holes.
        let used = used.max().flatten().map_or(0, |highest| highest as usize + 1);
        if used > self.logs.len() {
            self.logs.clone_from(&read(&self.shared.logs).all);
        }
        for log in self.logs.iter().take(used).skip(self.named) {
            format::put_op(&mut meta, &Op::Name { log: log.id.0, name: &log.name });
        }
        for frame in &moved.frames {
            let slot = &frame.slot;
            let (log, sequence, length, crc) = (frame.log.0, slot.sequence, slot.length(), slot.crc);
            format::put_op(&mut meta, &Op::Move { log, sequence, length, crc });
        }
        (meta, self.named.max(used))
    }

    fn lay_out(&mut self, group: &[Pending], moved: &Moved, own_meta: &[u8]) -> Written {
        let start = self.usage[&self.active.number].length;
        let (identity, segment) = (self.identity, self.active.number);
        let mut written = Written { segment, ..Written::default() };
        let mut record = self.next_record;
        let layout = &mut self.layout;
        layout.clear();
        if !own_meta.is_empty() {
            let header = RecordHeader {
                record,
                durable: self.durable_record,
                first_sequence: 0,
                meta_length: own_meta.len() as u32,
                meta_crc: crc32fast::hash(own_meta),
                payload_length: moved.payload_bytes() as u32,
            };
            let spot = Spot { identity, segment, offset: start };
            let frames = moved.frames.iter().map(|frame| &frame.bytes);
            written.own_payload = start + layout.add_record(&header, spot, own_meta, frames);
            record += 1;
        }
        written.first_record = record;
        for pending in group {
            let transaction = &pending.transaction;
            let header = RecordHeader {
                record,
                durable: self.durable_record,
                first_sequence: pending.sequences.first,
                meta_length: transaction.meta.len() as u32,
                meta_crc: pending.meta_crc,
                payload_length: transaction.payload_bytes() as u32,
            };
            let spot = Spot { identity, segment, offset: start + layout.length };
            let frames = transaction.appends.iter().map(|append| &append.bytes);
            written.payloads.push(start + layout.add_record(&header, spot, &transaction.meta, frames));
            record += 1;
        }
        written
    }

    /// After a write failed: takes back what is in the file of it, if all that failed is room.
    fn cut(&mut self, start: u64, error: std::io::Error) -> Error {
        let (place, name) = (&self.shared.place, &self.active.name);
        if !says_full(&error) {
            return place.io("write", name, error);
        }
        // Synced at once: what is about to be answered as refused must not come back with a crash.
        if let Err(error) = self.active.file.truncate(start).and_then(|()| self.active.file.sync()) {
            return place.io("cut", name, error);
        }
        add(&self.shared.counters.syncs, 1);
        place.full()
    }

    fn sync_active(&mut self) -> Result<(), Error> {
        if self.active_dirty {
            let (place, name) = (&self.shared.place, &self.active.name);
            self.active.file.sync().map_err(|e| place.io("sync", name, e))?;
            self.active_dirty = false;
            add(&self.shared.counters.syncs, 1);
        }
        Ok(())
    }

    /// Makes every record written so far durable.
    pub(super) fn sync_all(&mut self) -> Result<(), Error> {
        for segment in std::mem::take(&mut self.unsynced) {
            segment.file.sync().map_err(|e| self.shared.place.io("sync", &segment.name, e))?;
            add(&self.shared.counters.syncs, 1);
        }
        self.sync_active()?;
        self.durable_record = self.next_record - 1;
        Ok(())
    }

    /// Begins the next segment if the active one has no room for this many bytes.
    fn make_room(&mut self, length: u64) -> Result<(), Error> {
        let used = self.usage[&self.active.number].length;
        if used > SEGMENT_HEADER_BYTES as u64 && used + length > self.shared.options.segment_bytes {
            self.begin_segment()?;
        }
        Ok(())
    }

    /// Closes the active segment and begins the next. [`Error::Full`] leaves everything as it was.
    pub(super) fn begin_segment(&mut self) -> Result<(), Error> {
        match self.shared.options.durability {
            Durability::Disk => assert!(!self.active_dirty, "every group was synced"),
            Durability::Os => {
                if std::mem::take(&mut self.active_dirty) {
                    self.unsynced.push(Arc::clone(&self.active));
                }
            }
        }
        let closed = self.usage[&self.active.number];
        let header = SegmentHeader {
            identity: self.identity,
            segment: self.active.number.checked_add(1).expect("segments fit in 32 bits"),
            first_record: self.next_record,
            durable: self.durable_record,
            previous_length: closed.length,
        };
        let segment = create_segment(&self.shared.disk, &self.shared.place, &header)?;
        self.active = Arc::new(segment);
        write(&self.shared.segments).insert(self.active.number, Arc::clone(&self.active));
        let length = SEGMENT_HEADER_BYTES as u64;
        let usage = Usage { length, last_record: self.next_record - 1, ..Usage::default() };
        self.usage.insert(self.active.number, usage);
        add(&self.shared.counters.disk_bytes, length);
        if closed.live_frames == 0 {
            self.upkeep.dead_bytes += closed.length;
        }
        Ok(())
    }

    /// Ends the journal in order: everything durable, and a last record that says so.
    pub(super) fn close(&mut self) -> Result<(), Error> {
        if !self.wrote {
            return Ok(());
        }
        self.sync_all()?;
        let start = self.usage[&self.active.number].length;
        let header = RecordHeader {
            record: self.next_record,
            durable: self.durable_record,
            first_sequence: self.shared.queue.next_sequence(),
            meta_length: 0,
            meta_crc: crc32fast::hash(&[]),
            payload_length: 0,
        };
        let spot = Spot { identity: self.identity, segment: self.active.number, offset: start };
        let bytes = header.encode(spot);
        if let Err(error) = self.active.file.write_at(start, &mut [IoSlice::new(&bytes)]) {
            // Without room for the mark the journal is whole all the same.
            return match self.cut(start, error) {
                Error::Full { .. } => Ok(()),
                other => Err(other),
            };
        }
        self.active_dirty = true;
        self.sync_active()
    }
}

/// Creates a segment file with its header, durable under its name. After [`Error::Full`] it is not there.
pub(crate) fn create_segment<D: Disk>(
    disk: &D,
    place: &Place,
    header: &SegmentHeader,
) -> Result<Segment<D::File>, Error> {
    let name = names::segment(header.segment);
    let file = disk.create(&name).map_err(|e| place.io_or_full("create", &name, e))?;
    let written = file.write_at(0, &mut [IoSlice::new(&header.encode())]);
    if let Err(error) = written {
        let error = place.io_or_full("write", &name, error);
        disk.delete(&name).map_err(|e| place.io("delete", &name, e))?;
        return Err(error);
    }
    file.sync().map_err(|e| place.io("sync", &name, e))?;
    disk.sync_directory().map_err(|e| place.io("sync the directory of", &name, e))?;
    Ok(Segment { number: header.segment, name, file })
}
