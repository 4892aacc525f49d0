//! Reading a checkpoint file whole. The invariant: it is complete and every byte of it is checked, or it is
//! damaged.

use std::collections::BTreeMap;

use bytes::Bytes;

use super::{
    End, HEADER_BYTES, Header, Kept, MAGIC, PIECE_END, PIECE_HEADER_BYTES, PIECE_LOGS, PIECE_STATE,
    header_crc, piece_crc,
};
use crate::disk::{Disk, DiskFile};
use crate::error::{Error, Place};
use crate::format::{Fields, VERSION, u32_at, u64_at};
use crate::names;

/// A checkpoint as it was read.
#[derive(Debug)]
pub(crate) struct Loaded {
    pub(crate) header: Header,
    pub(crate) logs: Vec<LoadedLog>,
    pub(crate) state: BTreeMap<Bytes, Bytes>,
    pub(crate) end: End,
    pub(crate) bytes: u64,
}

#[derive(Debug, PartialEq, Eq)]
pub(crate) struct LoadedLog {
    pub(crate) id: u32,
    pub(crate) name: String,
    pub(crate) floor: u64,
    pub(crate) last: u64,
    /// Ranges of sequences, ends included, in which every frame of the log is settled.
    pub(crate) settled: Vec<(u64, u64)>,
}

/// Reads the checkpoint of this number.
pub(crate) fn load<D: Disk>(disk: &D, place: &Place, number: u64) -> Result<Loaded, Error> {
    let name = names::checkpoint(number);
    let file = disk.open(&name).map_err(|e| place.io("open", &name, e))?;
    let length = file.length().map_err(|e| place.io("measure", &name, e))?;
    let read = |at: u64, wanted: usize| {
        let wanted = wanted.min(length.saturating_sub(at) as usize);
        let mut buffer = vec![0; wanted];
        let read = file.read_at(at, &mut buffer).map_err(|e| place.io("read", &name, e))?;
        buffer.truncate(read);
        Ok(buffer)
    };
    let damaged = |from, to, what| place.damaged(&name, from, to, what);

    let start = read(0, HEADER_BYTES)?;
    let header = match decode_header(&start) {
        Start::Good(header) if header.number == number => header,
        Start::OtherVersion(found) => {
            return Err(Error::Version {
                file: name.clone(),
                found,
                supported: VERSION,
                place: place.0.clone(),
            });
        }
        Start::Good(_) | Start::Bad => {
            return Err(damaged(0, HEADER_BYTES as u64, "the header of the checkpoint does not match"));
        }
    };
    let mut loaded =
        Loaded { header, logs: Vec::new(), state: BTreeMap::new(), end: End::default(), bytes: length };
    let mut at = HEADER_BYTES as u64;
    for index in 0.. {
        let piece = read(at, PIECE_HEADER_BYTES)?;
        if piece.len() < PIECE_HEADER_BYTES {
            return Err(damaged(at, length, "the checkpoint ends before its last piece"));
        }
        let (kind, size) = (u32_at(&piece, 0), u32_at(&piece, 4));
        let content = read(at + PIECE_HEADER_BYTES as u64, size as usize)?;
        let next = at + (PIECE_HEADER_BYTES + content.len()) as u64;
        let crc = piece_crc(&header, index, kind, &content);
        if content.len() != size as usize || crc != u32_at(&piece, 8) || piece[12..] != [0; 4] {
            return Err(damaged(at, next, "the checksum of a piece does not match"));
        }
        if loaded.take_piece(kind, &content).is_none() {
            return Err(damaged(at, next, "a piece has parts of no known kind"));
        }
        at = next;
        if kind == PIECE_END {
            break;
        }
    }
    if at != length {
        return Err(damaged(at, length, "there is something after the last piece"));
    }
    Ok(loaded)
}

enum Start {
    Good(Header),
    OtherVersion(u32),
    Bad,
}

fn decode_header(bytes: &[u8]) -> Start {
    if bytes.len() < HEADER_BYTES || bytes[..8] != MAGIC || header_crc(bytes) != u32_at(bytes, 12) {
        return Start::Bad;
    }
    match u32_at(bytes, 8) {
        VERSION => Start::Good(Header {
            identity: u64_at(bytes, 16),
            number: u64_at(bytes, 24),
            covers: u64_at(bytes, 32),
        }),
        other => Start::OtherVersion(other),
    }
}

impl Loaded {
    fn take_piece(&mut self, kind: u32, content: &[u8]) -> Option<()> {
        let mut fields = Fields(content);
        match kind {
            PIECE_LOGS => {
                while !fields.0.is_empty() {
                    self.logs.push(decode_log(&mut fields)?);
                }
            }
            PIECE_STATE => {
                while !fields.0.is_empty() {
                    let key = Bytes::copy_from_slice(fields.key()?);
                    self.state.insert(key, Bytes::copy_from_slice(fields.value()?));
                }
            }
            PIECE_END => {
                self.end = decode_end(&mut fields)?;
                if !fields.0.is_empty() {
                    return None;
                }
            }
            _ => return None,
        }
        Some(())
    }
}

fn decode_log(fields: &mut Fields<'_>) -> Option<LoadedLog> {
    let id = fields.u32()?;
    let name = fields.name()?.to_owned();
    let (floor, last, count) = (fields.u64()?, fields.u64()?, fields.u32()?);
    let settled = (0..count).map(|_| Some((fields.u64()?, fields.u64()?))).collect::<Option<Vec<_>>>()?;
    Some(LoadedLog { id, name, floor, last, settled })
}

fn decode_end(fields: &mut Fields<'_>) -> Option<End> {
    let (next_sequence, last_record, count) = (fields.u64()?, fields.u64()?, fields.u32()?);
    let kept = (0..count)
        .map(|_| Some(Kept { segment: fields.u32()?, length: fields.u64()?, last_record: fields.u64()? }))
        .collect::<Option<Vec<_>>>()?;
    let count = fields.u32()?;
    let accepted = (0..count)
        .map(|_| Some((fields.u32()?, fields.u64()?, fields.u64()?)))
        .collect::<Option<Vec<_>>>()?;
    Some(End { next_sequence, last_record, kept, accepted })
}
