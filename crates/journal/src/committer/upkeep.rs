//! Upkeep between groups: when a checkpoint is due, which segments to empty, what to delete. Each call does one
//! small step. The invariant: a segment is deleted only after a durable checkpoint covers all its records and
//! no unsettled frame is in it.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::mpsc::{self, SyncSender};
use std::thread::{self, JoinHandle};

use super::{Committer, Usage};
use crate::checkpoint::{self, End, Kept, Writer};
use crate::compact::{Moved, Mover};
use crate::disk::{Disk, DiskFile};
use crate::error::Error;
use crate::format::{RECORD_HEADER_BYTES, SEGMENT_HEADER_BYTES};
use crate::hub::{Segment, add, subtract};
use crate::locks::{read, write};
use crate::names;
use crate::options::Durability;

pub(crate) struct Upkeep<D: Disk> {
    /// Number and size of the last complete checkpoint; 0 if there is none.
    pub(super) checkpoint_number: u64,
    pub(super) checkpoint_bytes: u64,
    /// Bytes written to segments since it was begun.
    pub(super) written_since: u64,
    /// Bytes of closed segments without an unsettled frame.
    pub(super) dead_bytes: u64,
    /// What `dead_bytes` was when a checkpoint found the disk full; the next attempt waits for more.
    pub(super) dead_bytes_tried: u64,
    pub(super) writer: Option<Writer<D::File>>,
    pub(super) to_move: VecDeque<u32>,
    pub(super) mover: Option<Mover>,
    /// Damaged ranges of segments that were accepted as lost.
    pub(super) accepted: Vec<(u32, u64, u64)>,
    pub(super) reserve_lost: bool,
    /// Closes deleted segments elsewhere.
    pub(super) closer: Option<Closer<D::File>>,
}

/// How many deleted segments may wait to be closed; one more is closed where it is deleted.
const CLOSING_MAX: usize = 64;

/// Closing the last handle of a deleted file is when the file system frees its blocks, tens of milliseconds for
/// a full segment. A thread of its own does that, so that commits do not wait for it.
pub(super) struct Closer<F> {
    sender: SyncSender<Arc<Segment<F>>>,
}

impl<F: DiskFile> Closer<F> {
    pub(super) fn start() -> std::io::Result<(Closer<F>, JoinHandle<()>)> {
        let (sender, receiver) = mpsc::sync_channel(CLOSING_MAX);
        let close = move || receiver.into_iter().for_each(drop);
        let thread = thread::Builder::new().name("journal-close".to_owned()).spawn(close)?;
        Ok((Closer { sender }, thread))
    }

    fn close(&self, segment: Arc<Segment<F>>) {
        // Full, or the thread gone: the segment comes back in the error and is closed here.
        drop(self.sender.try_send(segment));
    }
}

impl<D: Disk> Committer<D> {
    pub(super) fn upkeep_is_due(&self) -> bool {
        let upkeep = &self.upkeep;
        upkeep.writer.is_some()
            || upkeep.mover.is_some()
            || !upkeep.to_move.is_empty()
            || self.checkpoint_is_due()
    }

    fn checkpoint_is_due(&self) -> bool {
        let upkeep = &self.upkeep;
        // A large state is written less often, so that checkpoints stay a fraction of all writing.
        let every = self.shared.options.checkpoint_bytes.max(2 * upkeep.checkpoint_bytes);
        // On a full disk it is written when room is needed, not again and again in vain.
        !upkeep.reserve_lost
            && (upkeep.written_since >= every || upkeep.dead_bytes >= upkeep.dead_bytes_tried + every)
    }

    /// Begins a checkpoint if it is time, or writes one piece of the one that is being written.
    pub(super) fn checkpoint_step(&mut self) -> Result<(), Error> {
        if self.upkeep.writer.is_none() && !self.checkpoint_is_due() {
            return Ok(());
        }
        match self.write_checkpoint_piece() {
            Err(Error::Full { .. }) => {
                self.upkeep.written_since = 0;
                self.upkeep.dead_bytes_tried = self.upkeep.dead_bytes;
                self.abandon_checkpoint()
            }
            other => other,
        }
    }

    /// Writes a whole checkpoint, whatever the time, and deletes what it makes unneeded.
    pub(super) fn complete_checkpoint(&mut self) -> Result<(), Error> {
        self.abandon_checkpoint()?;
        self.write_checkpoint_piece()?;
        while self.upkeep.writer.is_some() {
            self.write_checkpoint_piece()?;
        }
        Ok(())
    }

    pub(super) fn abandon_checkpoint(&mut self) -> Result<(), Error> {
        if self.upkeep.writer.take().is_some() {
            let (disk, place) = (&self.shared.disk, &self.shared.place);
            disk.delete(names::PARTIAL).map_err(|e| place.io("delete", names::PARTIAL, e))?;
        }
        Ok(())
    }

    fn write_checkpoint_piece(&mut self) -> Result<(), Error> {
        let shared = Arc::clone(&self.shared);
        let Some(writer) = &mut self.upkeep.writer else {
            let number = self.upkeep.checkpoint_number + 1;
            // All of it is durable when the checkpoint ends.
            let covers = self.next_record - 1;
            let header = checkpoint::Header { identity: self.identity, number, covers };
            self.upkeep.writer = Some(Writer::begin(&shared.disk, &shared.place, header)?);
            self.upkeep.written_since = 0;
            return Ok(());
        };
        if writer.write_logs(&self.logs[..self.named], &shared.place)?
            || writer.write_state(&read(&shared.state), &shared.place)?
        {
            return Ok(());
        }
        self.end_checkpoint()
    }

    fn end_checkpoint(&mut self) -> Result<(), Error> {
        if self.shared.options.durability == Durability::Os {
            self.sync_all()?;
        }
        assert!(self.durable_record == self.next_record - 1, "a checkpoint speaks of durable records only");
        let Some(mut writer) = self.upkeep.writer.take() else { return Ok(()) };
        let header = *writer.header();
        let kept: Vec<u32> = self
            .usage
            .iter()
            .filter(|(number, usage)| self.is_needed(**number, usage, header.covers))
            .map(|(number, _)| *number)
            .collect();
        self.upkeep.accepted.retain(|(segment, _, _)| kept.contains(segment));
        let end = End {
            next_sequence: self.shared.queue.next_sequence(),
            last_record: self.durable_record,
            kept: kept.iter().map(|number| self.kept_entry(*number)).collect(),
            accepted: self.upkeep.accepted.clone(),
        };
        let previous = self.upkeep.checkpoint_number;
        let shared = Arc::clone(&self.shared);
        let bytes = match writer.end(&shared.disk, &shared.place, &end) {
            Ok(bytes) => bytes,
            Err(error) => {
                self.upkeep.writer = Some(writer);
                return Err(error);
            }
        };
        add(&shared.counters.checkpoints, 1);
        add(&shared.counters.disk_bytes, bytes);
        self.upkeep.checkpoint_number = header.number;
        if self.upkeep.checkpoint_bytes > 0 {
            let name = names::checkpoint(previous);
            shared.disk.delete(&name).map_err(|e| shared.place.io("delete", &name, e))?;
            subtract(&shared.counters.disk_bytes, self.upkeep.checkpoint_bytes);
        }
        self.upkeep.checkpoint_bytes = bytes;
        self.upkeep.dead_bytes_tried = 0;
        self.delete_all_but(&kept)?;
        // What was written since will mostly be settled by itself.
        self.upkeep.to_move = self.sparse_segments(|usage| usage.last_record <= header.covers).into();
        if self.upkeep.reserve_lost {
            self.take_reserve()?;
        }
        Ok(())
    }

    fn is_needed(&self, number: u32, usage: &Usage, covers: u64) -> bool {
        number == self.active.number || usage.live_frames > 0 || usage.last_record > covers
    }

    fn kept_entry(&self, number: u32) -> Kept {
        let usage = &self.usage[&number];
        // The active segment still grows; its end is found by reading.
        let length = if number == self.active.number { 0 } else { usage.length };
        Kept { segment: number, length, last_record: usage.last_record }
    }

    fn delete_all_but(&mut self, kept: &[u32]) -> Result<(), Error> {
        let shared = Arc::clone(&self.shared);
        let gone: Vec<u32> = self.usage.keys().copied().filter(|n| kept.binary_search(n).is_err()).collect();
        for number in gone {
            let usage = self.usage.remove(&number).expect("the number was just listed");
            assert!(usage.live_frames == 0, "a segment with unsettled frames is kept");
            self.upkeep.dead_bytes -= usage.length;
            subtract(&shared.counters.disk_bytes, usage.length);
            let segment = write(&shared.segments).remove(&number).expect("a counted segment is open");
            let name = &segment.name;
            shared.disk.delete(name).map_err(|e| shared.place.io("delete", name, e))?;
            if let Some(closer) = &self.upkeep.closer {
                closer.close(segment);
            }
        }
        Ok(())
    }

    /// Whether moving what is left of a segment takes so much less than the segment that it pays. What a move
    /// adds beside the frames is counted, so that moving always makes the journal smaller and comes to an end.
    pub(super) fn is_sparse(&self, usage: &Usage) -> bool {
        let taken = usage.live_cost + (RECORD_HEADER_BYTES + SEGMENT_HEADER_BYTES) as u64;
        (taken as f64) < usage.length as f64 * self.shared.options.live_share_min
    }

    /// Closed segments of which so little is unsettled that moving it pays.
    pub(super) fn sparse_segments(&self, also: impl Fn(&Usage) -> bool) -> Vec<u32> {
        let movable = |number: u32, usage: &Usage| {
            number != self.active.number
                && usage.live_frames > 0
                && !usage.unreadable
                && self.is_sparse(usage)
                && also(usage)
        };
        self.usage
            .iter()
            .filter(|(number, usage)| movable(**number, usage))
            .map(|(number, _)| *number)
            .collect()
    }

    /// The next frames to be re-appended, if any segment is being emptied.
    pub(super) fn next_moves(&mut self) -> Result<Moved, Error> {
        let mover = self.upkeep.mover.take();
        let Some(mut mover) = mover.or_else(|| self.upkeep.to_move.pop_front().map(Mover::new)) else {
            return Ok(Moved::default());
        };
        let moved = self.moves_of(&mut mover)?;
        if moved.is_some() {
            self.upkeep.mover = Some(mover);
        }
        Ok(moved.unwrap_or_default())
    }

    /// The next frames of one segment. `None` at its end, or when it is gone.
    pub(super) fn moves_of(&mut self, mover: &mut Mover) -> Result<Option<Moved>, Error> {
        let number = mover.segment();
        let Some(usage) = self.usage.get_mut(&number).filter(|usage| usage.live_frames > 0) else {
            return Ok(None);
        };
        let segment = read(&self.shared.segments).get(&number).cloned().expect("a counted segment is open");
        let end = usage.length;
        match mover.next(&segment, (self.identity, end), &self.logs, &self.shared.place) {
            Err(Error::Damaged { file, from, to, what, .. }) => {
                // What can still be read of it can be read where it is; the damage is told, not carried along.
                usage.unreadable = true;
                let damage = crate::status::Damage { file, from, to, what };
                crate::locks::lock(&self.shared.damaged).push(damage);
                Ok(None)
            }
            other => other,
        }
    }
}
