//! Reading a segment from front to back, record by record, in large reads. Says what is there and what is not;
//! what that means is decided by the caller. The invariant: a record that is returned has the checksum it was
//! written with, at this place.

use std::io;

use crate::disk::DiskFile;
use crate::format::{ALIGNMENT, RECORD_HEADER_BYTES, RECORD_MAGIC, RecordHeader, Spot};
use crate::hub::Segment;

const WINDOW_BYTES: usize = 256 * 1024;

pub(crate) struct Scanner<'a, F> {
    segment: &'a Segment<F>,
    identity: u64,
    /// Where the records end at the latest.
    end: u64,
    window: Vec<u8>,
    window_at: u64,
}

impl<'a, F: DiskFile> Scanner<'a, F> {
    pub(crate) fn new(segment: &'a Segment<F>, identity: u64, end: u64) -> Self {
        Scanner { segment, identity, end, window: Vec::new(), window_at: 0 }
    }

    /// Bytes of the file; fewer than asked for only at its end.
    pub(crate) fn bytes(&mut self, at: u64, length: usize) -> io::Result<&[u8]> {
        let length = length.min(self.end.saturating_sub(at) as usize);
        let window_end = self.window_at + self.window.len() as u64;
        if at < self.window_at || at + length as u64 > window_end {
            let wanted = length.max(WINDOW_BYTES).min(self.end.saturating_sub(at) as usize);
            self.window.resize(wanted, 0);
            let read = self.segment.file.read_at(at, &mut self.window)?;
            self.window.truncate(read);
            self.window_at = at;
        }
        let start = (at - self.window_at) as usize;
        Ok(&self.window[start..self.window.len().min(start + length)])
    }

    /// The header of the record at this offset, if one is there that fits in what is left.
    pub(crate) fn header(&mut self, at: u64) -> io::Result<Option<RecordHeader>> {
        let spot = Spot { identity: self.identity, segment: self.segment.number, offset: at };
        let end = self.end;
        let header = RecordHeader::decode(self.bytes(at, RECORD_HEADER_BYTES)?, spot);
        Ok(header.filter(|header| header.total() <= end - at))
    }

    /// The meta section of a record, if its checksum is right.
    pub(crate) fn meta(&mut self, at: u64, header: &RecordHeader) -> io::Result<Option<&[u8]>> {
        let start = at + RECORD_HEADER_BYTES as u64;
        let meta = self.bytes(start, header.meta_length as usize)?;
        let good = meta.len() == header.meta_length as usize && crc32fast::hash(meta) == header.meta_crc;
        Ok(good.then_some(meta))
    }

    /// The first record after this offset whose header and meta section are right.
    pub(crate) fn next_record_after(&mut self, at: u64) -> io::Result<Option<(u64, RecordHeader)>> {
        let mut at = (at + 1).next_multiple_of(ALIGNMENT as u64);
        while at < self.end {
            if self.bytes(at, RECORD_MAGIC.len())? == RECORD_MAGIC
                && let Some(header) = self.header(at)?
                && self.meta(at, &header)?.is_some()
            {
                return Ok(Some((at, header)));
            }
            at += ALIGNMENT as u64;
        }
        Ok(None)
    }
}
