//! Checkpoint files: the logs, the state and the list of segments as of a record, so that older records need
//! not be replayed. Written in small pieces while the journal goes on; a piece may be as of a later record than
//! the one before, which replaying from the first on makes good.
//!
//! The invariant: a file under a checkpoint's final name is complete.

mod load;

use std::io::IoSlice;
use std::ops::Bound;
use std::sync::Arc;

use bytes::Bytes;

use crate::disk::{Disk, DiskFile};
use crate::error::{Error, Place};
use crate::format::VERSION;
use crate::hub::{Log, State};
use crate::locks::lock;
use crate::names;

pub(crate) use load::{Loaded, load};

pub(crate) const MAGIC: [u8; 8] = *b"TGJRNCKP";
pub(crate) const HEADER_BYTES: usize = 40;
pub(crate) const PIECE_HEADER_BYTES: usize = 16;

pub(crate) const PIECE_LOGS: u32 = 1;
pub(crate) const PIECE_STATE: u32 = 2;
pub(crate) const PIECE_END: u32 = 3;

/// A piece is ended when it has grown to this.
const PIECE_BYTES: usize = 256 * 1024;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Header {
    pub(crate) identity: u64,
    pub(crate) number: u64,
    /// Records up to this one need not be replayed.
    pub(crate) covers: u64,
}

impl Header {
    pub(crate) fn encode(&self) -> [u8; HEADER_BYTES] {
        let mut out = [0; HEADER_BYTES];
        out[..8].copy_from_slice(&MAGIC);
        out[8..12].copy_from_slice(&VERSION.to_le_bytes());
        out[16..24].copy_from_slice(&self.identity.to_le_bytes());
        out[24..32].copy_from_slice(&self.number.to_le_bytes());
        out[32..40].copy_from_slice(&self.covers.to_le_bytes());
        let crc = header_crc(&out);
        out[12..16].copy_from_slice(&crc.to_le_bytes());
        out
    }
}

pub(crate) fn header_crc(bytes: &[u8]) -> u32 {
    let mut crc = crc32fast::Hasher::new();
    crc.update(&bytes[..12]);
    crc.update(&bytes[16..HEADER_BYTES]);
    crc.finalize()
}

/// A piece's checksum covers its place in the file, so that none can be missing.
pub(crate) fn piece_crc(header: &Header, index: u32, kind: u32, content: &[u8]) -> u32 {
    let mut crc = crc32fast::Hasher::new();
    crc.update(&header.identity.to_le_bytes());
    crc.update(&header.number.to_le_bytes());
    crc.update(&index.to_le_bytes());
    crc.update(&kind.to_le_bytes());
    crc.update(content);
    crc.finalize()
}

/// A segment that is still needed after a checkpoint.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Kept {
    pub(crate) segment: u32,
    /// Its length; 0 if it was still being written to.
    pub(crate) length: u64,
    pub(crate) last_record: u64,
}

/// What only the last piece can say.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct End {
    pub(crate) next_sequence: u64,
    /// The last durable record when the checkpoint was completed.
    pub(crate) last_record: u64,
    pub(crate) kept: Vec<Kept>,
    /// Ranges of kept segments that are known to be damaged and were accepted as lost.
    pub(crate) accepted: Vec<(u32, u64, u64)>,
}

impl End {
    fn encode(&self) -> Vec<u8> {
        let mut out = Vec::new();
        out.extend_from_slice(&self.next_sequence.to_le_bytes());
        out.extend_from_slice(&self.last_record.to_le_bytes());
        out.extend_from_slice(&(self.kept.len() as u32).to_le_bytes());
        for kept in &self.kept {
            out.extend_from_slice(&kept.segment.to_le_bytes());
            out.extend_from_slice(&kept.length.to_le_bytes());
            out.extend_from_slice(&kept.last_record.to_le_bytes());
        }
        out.extend_from_slice(&(self.accepted.len() as u32).to_le_bytes());
        for (segment, from, to) in &self.accepted {
            out.extend_from_slice(&segment.to_le_bytes());
            out.extend_from_slice(&from.to_le_bytes());
            out.extend_from_slice(&to.to_le_bytes());
        }
        out
    }
}

/// A checkpoint that is being written.
pub(crate) struct Writer<F> {
    file: F,
    header: Header,
    length: u64,
    pieces: u32,
    /// The next log to be written.
    next_log: usize,
    /// The last key that was written.
    last_key: Option<Bytes>,
    state_written: bool,
}

impl<F: DiskFile> Writer<F> {
    pub(crate) fn begin<D: Disk<File = F>>(disk: &D, place: &Place, header: Header) -> Result<Self, Error> {
        let name = names::PARTIAL;
        let file = disk.create(name).map_err(|e| place.io_or_full("create", name, e))?;
        if let Err(error) = file.write_at(0, &mut [IoSlice::new(&header.encode())]) {
            disk.delete(name).map_err(|e| place.io("delete", name, e))?;
            return Err(place.io_or_full("write", name, error));
        }
        let length = HEADER_BYTES as u64;
        Ok(Writer { file, header, length, pieces: 0, next_log: 0, last_key: None, state_written: false })
    }

    pub(crate) fn header(&self) -> &Header {
        &self.header
    }

    /// Writes the next piece about logs. Returns false if all of them are written.
    pub(crate) fn write_logs(&mut self, logs: &[Arc<Log>], place: &Place) -> Result<bool, Error> {
        if self.next_log >= logs.len() {
            return Ok(false);
        }
        let mut content = Vec::new();
        while let Some(log) = logs.get(self.next_log)
            && content.len() < PIECE_BYTES
        {
            encode_log(&mut content, log);
            self.next_log += 1;
        }
        self.write_piece(PIECE_LOGS, &content, place)?;
        Ok(true)
    }

    /// Writes the next piece of the state. Returns false if all of it is written.
    pub(crate) fn write_state(&mut self, state: &State, place: &Place) -> Result<bool, Error> {
        if self.state_written {
            return Ok(false);
        }
        let from = self.last_key.as_deref().map_or(Bound::Unbounded, Bound::Excluded);
        let mut rest = state.map.range::<[u8], _>((from, Bound::Unbounded));
        let mut content = Vec::new();
        let mut last_key = None;
        while content.len() < PIECE_BYTES
            && let Some((key, value)) = rest.next()
        {
            content.extend_from_slice(&(key.len() as u16).to_le_bytes());
            content.extend_from_slice(key);
            content.extend_from_slice(&(value.len() as u32).to_le_bytes());
            content.extend_from_slice(value);
            last_key = Some(key.clone());
        }
        if last_key.is_none() {
            self.state_written = true;
            return Ok(false);
        }
        self.last_key = last_key;
        self.write_piece(PIECE_STATE, &content, place)?;
        Ok(true)
    }

    /// Writes the last piece, makes all of it durable and gives it its final name. Returns its size.
    pub(crate) fn end<D: Disk<File = F>>(
        &mut self,
        disk: &D,
        place: &Place,
        end: &End,
    ) -> Result<u64, Error> {
        assert!(self.state_written, "the end comes last");
        assert!(end.last_record >= self.header.covers, "what is covered is durable");
        self.write_piece(PIECE_END, &end.encode(), place)?;
        let name = names::checkpoint(self.header.number);
        self.file.sync().map_err(|e| place.io("sync", names::PARTIAL, e))?;
        disk.rename(names::PARTIAL, &name).map_err(|e| place.io_or_full("rename to", &name, e))?;
        disk.sync_directory().map_err(|e| place.io("sync the directory of", &name, e))?;
        Ok(self.length)
    }

    fn write_piece(&mut self, kind: u32, content: &[u8], place: &Place) -> Result<(), Error> {
        let length = u32::try_from(content.len()).expect("a piece is shorter than 4 GiB");
        let mut header = [0; PIECE_HEADER_BYTES];
        header[..4].copy_from_slice(&kind.to_le_bytes());
        header[4..8].copy_from_slice(&length.to_le_bytes());
        let crc = piece_crc(&self.header, self.pieces, kind, content);
        header[8..12].copy_from_slice(&crc.to_le_bytes());
        let mut parts = [IoSlice::new(&header), IoSlice::new(content)];
        self.file
            .write_at(self.length, &mut parts)
            .map_err(|e| place.io_or_full("write", names::PARTIAL, e))?;
        self.length += (PIECE_HEADER_BYTES + content.len()) as u64;
        self.pieces += 1;
        Ok(())
    }
}

fn encode_log(out: &mut Vec<u8>, log: &Log) {
    let index = lock(&log.index);
    let ranges = index.settled_ranges();
    out.extend_from_slice(&log.id.0.to_le_bytes());
    out.push(log.name.len() as u8);
    out.extend_from_slice(log.name.as_bytes());
    out.extend_from_slice(&index.floor().to_le_bytes());
    out.extend_from_slice(&index.stats().last.to_le_bytes());
    out.extend_from_slice(&(ranges.len() as u32).to_le_bytes());
    for (first, last) in ranges {
        out.extend_from_slice(&first.to_le_bytes());
        out.extend_from_slice(&last.to_le_bytes());
    }
}
