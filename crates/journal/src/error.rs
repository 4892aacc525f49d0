//! What can go wrong with a journal, each failure under its own name. Nothing is decided here.
//! Errors are `Clone`, because one failed write answers every transaction of its group.

use std::io;
use std::path::PathBuf;
use std::sync::Arc;

/// Why a call on a journal failed.
#[derive(Debug, Clone, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// Another process (or another journal in this one) holds the directory.
    #[error("lock {}: it is in use by another process; stop that one or choose another directory", directory.display())]
    Locked {
        /// The directory that is held.
        directory: PathBuf,
    },
    /// The disk has no room. What was submitted is not in the journal; the journal goes on, still takes
    /// settlements from its reserve, and takes appends again as soon as there is room.
    #[error("write to {place}: no space left on the disk; make room or settle what is buffered")]
    Full {
        /// The directory of the journal.
        place: String,
    },
    /// An operating system call failed.
    #[error("{action} {file} in {place}")]
    Io {
        /// What was attempted, as a verb.
        action: &'static str,
        /// The file it was attempted on.
        file: String,
        /// The directory of the journal.
        place: String,
        /// The cause.
        #[source]
        source: Arc<io::Error>,
    },
    /// Bytes that were durable are not what was written.
    #[error(
        "read {file} in {place}: damaged from byte {from} to {to}: {what}; restore the directory from a copy, \
         or open it accepting the loss"
    )]
    Damaged {
        /// The damaged (or missing) file.
        file: String,
        /// First byte of the damaged range.
        from: u64,
        /// First byte after the damaged range.
        to: u64,
        /// What was found.
        what: &'static str,
        /// The directory of the journal.
        place: String,
    },
    /// The file was written by a version of this program that this one cannot read.
    #[error("read {file} in {place}: format version {found}, this program reads {supported}")]
    Version {
        /// The file.
        file: String,
        /// The version in the file.
        found: u32,
        /// The version this program writes and reads.
        supported: u32,
        /// The directory of the journal.
        place: String,
    },
    /// An earlier write or sync failed, so that it is not known what the disk holds. Nothing is accepted any
    /// more; opening the journal anew finds out what is there.
    #[error("the journal stopped accepting writes after a failure")]
    Poisoned {
        /// The failure that came first.
        #[source]
        cause: Arc<Error>,
    },
    /// The commit thread panicked: a `done` did, or an invariant was found broken.
    #[error("the commit thread of the journal panicked")]
    Panicked,
    /// The journal has been closed.
    #[error("the journal is closed")]
    Closed,
    /// The commit thread itself (a `done` call) submitted into a full queue, where waiting would be for ever.
    #[error("the queue of the journal is full, and its own thread may not wait for it")]
    QueueFull,
    /// A part of a transaction is larger than allowed.
    #[error("{what} of {size_bytes} bytes is larger than the limit of {limit_bytes} bytes")]
    TooLarge {
        /// Which part.
        what: &'static str,
        /// Its size.
        size_bytes: usize,
        /// The limit.
        limit_bytes: usize,
    },
    /// More logs were asked for than [`Options::logs_max`](crate::Options::logs_max).
    #[error("open log {name:?}: the journal has {limit} logs already, which is its limit")]
    TooManyLogs {
        /// The name asked for.
        name: String,
        /// The limit.
        limit: usize,
    },
    /// A log handle that this journal did not give out.
    #[error("log number {log} does not belong to this journal")]
    UnknownLog {
        /// The number of the handle.
        log: u32,
    },
    /// A settlement of a sequence that was not given to any append yet.
    #[error("settle sequence {sequence}: the highest one given so far is {highest}")]
    SettledAhead {
        /// The sequence to settle.
        sequence: u64,
        /// The highest sequence given to an append.
        highest: u64,
    },
    /// Options that contradict each other or are out of range.
    #[error("option {option}: {reason}")]
    Option {
        /// The name of the field.
        option: &'static str,
        /// What is wrong with it.
        reason: &'static str,
    },
}

/// Whether an operating system error says that the disk (or the quota) has no room.
pub(crate) fn says_full(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded)
}

/// Where a failing call was made: turns the causes of one journal into errors that name their place.
#[derive(Debug, Clone)]
pub(crate) struct Place(pub(crate) String);

impl Place {
    pub(crate) fn io(&self, action: &'static str, file: &str, source: io::Error) -> Error {
        Error::Io { action, file: file.to_owned(), place: self.0.clone(), source: Arc::new(source) }
    }

    /// Like `io`, for calls that find out about a full disk before they change anything that counts.
    pub(crate) fn io_or_full(&self, action: &'static str, file: &str, source: io::Error) -> Error {
        if says_full(&source) { self.full() } else { self.io(action, file, source) }
    }

    pub(crate) fn full(&self) -> Error {
        Error::Full { place: self.0.clone() }
    }

    pub(crate) fn damaged(&self, file: &str, from: u64, to: u64, what: &'static str) -> Error {
        Error::Damaged { file: file.to_owned(), from, to, what, place: self.0.clone() }
    }
}
