//! Every limit of a journal, with its default. Checked once, when the journal opens.

use crate::error::Error;

/// When a transaction counts as done.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Durability {
    /// After the disk has confirmed it (`fdatasync`). Survives a loss of power.
    Disk,
    /// After the operating system has taken it. Survives the death of the process; a loss of power may cost
    /// the transactions since the last checkpoint, never their order.
    Os,
}

/// Limits and thresholds of a journal. All sizes are in bytes.
#[derive(Debug, Clone)]
pub struct Options {
    /// When a transaction counts as done. Default: [`Durability::Disk`].
    pub durability: Durability,
    /// Size at which a segment file is closed and the next begun. Default: 64 MiB; at most 1 GiB.
    pub segment_bytes: u64,
    /// How many bytes of unsettled frames are kept in memory, newest last to go. Default: 64 MiB.
    pub cache_bytes: usize,
    /// How many bytes may wait for the commit thread before `submit` waits. Default: 32 MiB.
    pub queue_bytes: usize,
    /// How many transactions may wait for the commit thread before `submit` waits. Default: 16 384.
    pub queue_transactions: usize,
    /// How many bytes are written and synced together at most (one transaction always goes). Default: 8 MiB.
    pub group_bytes: usize,
    /// Largest transaction: frames, keys, values and their headers. Default: 64 MiB.
    pub transaction_bytes_max: usize,
    /// How many named logs there may be. Default: 4096.
    pub logs_max: usize,
    /// A segment of which a smaller share than this is unsettled has what is left in it re-appended, so that
    /// it can be deleted. Default: 0.25; 0 never moves anything.
    pub live_share_min: f64,
    /// A checkpoint is written when this much has been written, or is waiting to be deleted, since the last.
    /// It bounds how much a recovery replays. Default: 128 MiB.
    pub checkpoint_bytes: u64,
    /// Size of the file that is given up when the disk is full, so that settlements and checkpoints still find
    /// room. Default: 4 MiB; 0 keeps none.
    pub reserve_bytes: u64,
    /// Whether opening reads every byte of every segment. When false, what a checkpoint covers is verified
    /// when it is read, and only the rest at once. Default: false.
    pub verify_everything: bool,
    /// Open although durable bytes are damaged, and without them. [`Status::damaged`](crate::Status::damaged)
    /// lists what was lost. Implies `verify_everything`. Default: false.
    pub accept_damage: bool,
}

impl Default for Options {
    fn default() -> Self {
        const MIB: usize = 1024 * 1024;
        Options {
            durability: Durability::Disk,
            segment_bytes: 64 * MIB as u64,
            cache_bytes: 64 * MIB,
            queue_bytes: 32 * MIB,
            queue_transactions: 16 * 1024,
            group_bytes: 8 * MIB,
            transaction_bytes_max: 64 * MIB,
            logs_max: 4096,
            live_share_min: 0.25,
            checkpoint_bytes: 128 * MIB as u64,
            reserve_bytes: 4 * MIB as u64,
            verify_everything: false,
            accept_damage: false,
        }
    }
}

/// Offsets in a segment are 32 bits wide; a segment may exceed its size by one group.
const SEGMENT_BYTES_MAX: u64 = 1 << 30;
const TRANSACTION_BYTES_MAX: usize = 1 << 30;

impl Options {
    pub(crate) fn check(&self) -> Result<(), Error> {
        let complain = |option, reason| Err(Error::Option { option, reason });
        if self.segment_bytes > SEGMENT_BYTES_MAX {
            return complain("segment_bytes", "must be at most 1 GiB");
        }
        if self.transaction_bytes_max > TRANSACTION_BYTES_MAX {
            return complain("transaction_bytes_max", "must be at most 1 GiB");
        }
        if self.group_bytes > TRANSACTION_BYTES_MAX {
            return complain("group_bytes", "must be at most 1 GiB");
        }
        if self.queue_transactions == 0 || self.queue_bytes == 0 {
            return complain("queue_transactions, queue_bytes", "must be at least 1");
        }
        if self.logs_max > u32::MAX as usize {
            return complain("logs_max", "must fit in 32 bits");
        }
        if !(0.0..=0.9).contains(&self.live_share_min) {
            return complain("live_share_min", "must be between 0 and 0.9");
        }
        Ok(())
    }
}
