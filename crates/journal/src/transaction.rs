//! What is submitted and what comes back: the builder of a transaction, with the checksums already computed on
//! the submitting thread. What the bytes look like on disk is in `format`.

use bytes::Bytes;

use crate::error::Error;
use crate::format::{self, Op};
use crate::options::Options;

/// A named log of one open journal. Valid until the journal is closed; the name is what survives.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct LogId(pub(crate) u32);

impl LogId {
    /// The number of the log: small, dense, and the same as long as the journal is open.
    pub fn number(self) -> u32 {
        self.0
    }
}

/// Appends, settlements, puts and deletes that happen together or not at all.
///
/// Frames are kept as they are given, without a copy; a `Bytes` that is a small part of a large buffer keeps
/// all of that buffer in memory while it is cached.
#[derive(Debug, Default)]
pub struct Transaction {
    pub(crate) meta: Vec<u8>,
    pub(crate) appends: Vec<Append>,
    pub(crate) settlements: Vec<Settlement>,
    pub(crate) writes: Vec<Write>,
    payload_bytes: usize,
    oversize: Option<Error>,
}

#[derive(Debug)]
pub(crate) struct Append {
    pub(crate) log: LogId,
    pub(crate) bytes: Bytes,
    pub(crate) crc: u32,
}

#[derive(Debug, Clone, Copy)]
pub(crate) struct Settlement {
    pub(crate) log: LogId,
    pub(crate) sequence: u64,
    pub(crate) through: bool,
}

#[derive(Debug)]
pub(crate) struct Write {
    pub(crate) key: Bytes,
    /// `None` deletes.
    pub(crate) value: Option<Bytes>,
}

impl Transaction {
    /// A transaction without any part. Submitting it empty is allowed: its answer says that everything
    /// submitted before it is durable.
    pub fn new() -> Self {
        Transaction::default()
    }

    /// Appends one frame to a log. The sequence it gets is known when the transaction is submitted; frames of
    /// one transaction get consecutive sequences in the order of these calls, over all logs.
    pub fn append(&mut self, log: LogId, frame: impl Into<Bytes>) -> &mut Self {
        let bytes = frame.into();
        let crc = crc32fast::hash(&bytes);
        if u32::try_from(bytes.len()).is_ok_and(|length| length <= format::FRAME_BYTES_MAX) {
            format::put_op(&mut self.meta, &Op::Append { log: log.0, length: bytes.len() as u32, crc });
            self.payload_bytes += bytes.len();
            self.appends.push(Append { log, bytes, crc });
        } else {
            self.refuse("a frame", bytes.len(), format::FRAME_BYTES_MAX as usize);
        }
        self
    }

    /// Settles every frame of the log up to and including `sequence`. They are gone once the transaction is
    /// durable. Settling what is settled already changes nothing.
    pub fn settle_through(&mut self, log: LogId, sequence: u64) -> &mut Self {
        format::put_op(&mut self.meta, &Op::SettleThrough { log: log.0, sequence });
        self.settlements.push(Settlement { log, sequence, through: true });
        self
    }

    /// Settles the one frame of the log with this sequence, wherever it is. A sequence that is not an unsettled
    /// frame of this log changes nothing.
    pub fn settle_one(&mut self, log: LogId, sequence: u64) -> &mut Self {
        format::put_op(&mut self.meta, &Op::SettleOne { log: log.0, sequence });
        self.settlements.push(Settlement { log, sequence, through: false });
        self
    }

    /// Sets a key of the state. Keys are at most 64 KiB − 1. Both are copied, so that they keep no larger
    /// buffer alive.
    pub fn put(&mut self, key: impl AsRef<[u8]>, value: impl AsRef<[u8]>) -> &mut Self {
        let (key, value) = (key.as_ref(), value.as_ref());
        if self.key_fits(key) {
            if u32::try_from(value.len()).is_ok_and(|length| length <= format::FRAME_BYTES_MAX) {
                format::put_op(&mut self.meta, &Op::Put { key, value });
                let value = Some(Bytes::copy_from_slice(value));
                self.writes.push(Write { key: Bytes::copy_from_slice(key), value });
            } else {
                self.refuse("a value", value.len(), format::FRAME_BYTES_MAX as usize);
            }
        }
        self
    }

    /// Removes a key of the state. A key that is not there changes nothing.
    pub fn delete(&mut self, key: impl AsRef<[u8]>) -> &mut Self {
        let key = key.as_ref();
        if self.key_fits(key) {
            format::put_op(&mut self.meta, &Op::Delete { key });
            self.writes.push(Write { key: Bytes::copy_from_slice(key), value: None });
        }
        self
    }

    /// Bytes this transaction takes in the journal.
    pub fn size_bytes(&self) -> usize {
        format::record_bytes(self.meta.len(), self.payload_bytes)
    }

    /// How many frames are appended.
    pub fn appends(&self) -> usize {
        self.appends.len()
    }

    /// Whether nothing is in it.
    pub fn is_empty(&self) -> bool {
        self.meta.is_empty()
    }

    pub(crate) fn payload_bytes(&self) -> usize {
        self.payload_bytes
    }

    /// Everything about this transaction that can be wrong without looking at the journal.
    pub(crate) fn check(&self, options: &Options) -> Result<(), Error> {
        if let Some(error) = &self.oversize {
            return Err(error.clone());
        }
        let size_bytes = self.size_bytes();
        let limit_bytes = options.transaction_bytes_max;
        if size_bytes > limit_bytes {
            return Err(Error::TooLarge { what: "a transaction", size_bytes, limit_bytes });
        }
        Ok(())
    }

    fn key_fits(&mut self, key: &[u8]) -> bool {
        let fits = key.len() <= format::KEY_BYTES_MAX;
        if !fits {
            self.refuse("a key", key.len(), format::KEY_BYTES_MAX);
        }
        fits
    }

    /// Keeps the first complaint; it is returned when the transaction is submitted.
    fn refuse(&mut self, what: &'static str, size_bytes: usize, limit_bytes: usize) {
        self.oversize.get_or_insert(Error::TooLarge { what, size_bytes, limit_bytes });
    }
}

/// The sequences given to the appends of one transaction, in the order of the appends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Sequences {
    pub(crate) first: u64,
    pub(crate) count: u32,
}

impl Sequences {
    /// How many there are.
    pub fn len(&self) -> usize {
        self.count as usize
    }

    /// Whether the transaction appended nothing.
    pub fn is_empty(&self) -> bool {
        self.count == 0
    }

    /// The sequence of the first append.
    pub fn first(&self) -> Option<u64> {
        self.get(0)
    }

    /// The sequence of the last append.
    pub fn last(&self) -> Option<u64> {
        self.len().checked_sub(1).and_then(|last| self.get(last))
    }

    /// The sequence of the append number `index`, counted from 0.
    pub fn get(&self, index: usize) -> Option<u64> {
        (index < self.len()).then(|| self.first + index as u64)
    }

    /// All of them, rising by one.
    pub fn iter(&self) -> std::ops::Range<u64> {
        self.first..self.first + u64::from(self.count)
    }
}

impl IntoIterator for Sequences {
    type Item = u64;
    type IntoIter = std::ops::Range<u64>;

    fn into_iter(self) -> Self::IntoIter {
        self.first..self.first + u64::from(self.count)
    }
}

impl IntoIterator for &Sequences {
    type Item = u64;
    type IntoIter = std::ops::Range<u64>;

    fn into_iter(self) -> Self::IntoIter {
        self.iter()
    }
}

/// The answer to a transaction that is durable.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Receipt {
    /// The sequences of its appends.
    pub sequences: Sequences,
    /// The number of its record: consecutive over the whole journal, so it also counts.
    pub record: u64,
}

/// One frame read from a log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// Its sequence: unique over the whole journal and rising within its log.
    pub sequence: u64,
    /// Its bytes as they were appended.
    pub bytes: Bytes,
}
