//! What a journal says about itself: shapes only.

use crate::error::Error;
use crate::options::Durability;

/// A journal at one moment. Counters count since it was opened.
#[derive(Debug, Clone)]
pub struct Status {
    /// The durability in force.
    pub durability: Durability,
    /// Segment files on disk.
    pub segments: usize,
    /// Bytes of all segment files and the checkpoint.
    pub disk_bytes: u64,
    /// Bytes of unsettled frames.
    pub live_bytes: u64,
    /// Unsettled frames.
    pub live_frames: u64,
    /// Bytes of frames held in memory.
    pub cache_bytes: usize,
    /// Transactions made durable.
    pub transactions: u64,
    /// Groups written; each is one write and, with [`Durability::Disk`], one sync.
    pub groups: u64,
    /// Syncs of segment files.
    pub syncs: u64,
    /// Bytes written to segments, re-appended frames included.
    pub written_bytes: u64,
    /// Bytes of frames re-appended so that their segment could be deleted.
    pub moved_bytes: u64,
    /// Checkpoints completed.
    pub checkpoints: u64,
    /// Groups that found the disk full.
    pub refused_full: u64,
    /// Whether the disk is full: the reserve has been given up and could not be taken back yet.
    pub full: bool,
    /// The failure after which nothing is accepted any more.
    pub poisoned: Option<Error>,
    /// What the last recovery cut off as the unfinished end of a write.
    pub cut: Option<Cut>,
    /// What is lost. Empty unless the journal was opened accepting damage, or found damage while moving.
    pub damaged: Vec<Damage>,
}

/// The end of the journal that recovery removed, because a crash had interrupted its writing. With
/// [`Durability::Disk`] nothing in it had been acknowledged.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Cut {
    /// The segment file that was shortened.
    pub file: String,
    /// Its length after the cut.
    pub at: u64,
    /// How many bytes were removed, in this segment and in later ones.
    pub bytes: u64,
}

/// A range of a file that held durable bytes and does not any more.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Damage {
    /// The damaged (or missing) file.
    pub file: String,
    /// First byte of the range.
    pub from: u64,
    /// First byte after the range.
    pub to: u64,
    /// What was found there.
    pub what: &'static str,
}

/// One log at one moment. All of it counts durable transactions only.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct LogStats {
    /// Sequence of the first unsettled frame.
    pub first: Option<u64>,
    /// The highest sequence this log ever held, settled or not; 0 if none.
    pub last: u64,
    /// Unsettled frames.
    pub frames: u64,
    /// Bytes of the unsettled frames.
    pub bytes: u64,
}
