//! A full disk: what is refused, what still goes, and how room is made. A file of `reserve_bytes` is given up when the
//! disk is full; what it held is for settlements, keys and checkpoints only, and it must be taken back before
//! anything is appended again.
//!
//! The invariant: an append is never written into the room of the reserve.

use std::io::IoSlice;
use std::sync::atomic::Ordering;

use super::{Committer, write::Written};
use crate::compact::{Moved, Mover};
use crate::disk::{Disk, DiskFile};
use crate::error::{Error, says_full};
use crate::hub::add;
use crate::names;
use crate::queue::Pending;

/// The largest transaction without appends that may use the reserve.
const SMALL_BYTES_MAX: usize = 64 * 1024;
const RESERVE_CHUNK_BYTES: usize = 256 * 1024;

impl<D: Disk> Committer<D> {
    /// Writes a group. `None` if the disk is full and nothing of it was written.
    pub(super) fn write_unless_full(
        &mut self,
        group: &[Pending],
        moved: &Moved,
    ) -> Result<Option<Written>, Error> {
        let appends = !moved.is_empty() || group.iter().any(|pending| !pending.sequences.is_empty());
        if appends && self.upkeep.reserve_lost && !self.take_reserve()? {
            return Ok(None);
        }
        match self.write(group, moved) {
            Ok(written) => Ok(Some(written)),
            Err(Error::Full { .. }) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Makes what room there is and writes what still goes; the rest of the group is answered `Full`.
    pub(super) fn commit_on_full_disk(&mut self, group: &mut Vec<Pending>) {
        add(&self.shared.counters.refused_full, 1);
        // What was to be moved was not; the next checkpoint chooses anew.
        self.upkeep.mover = None;
        self.upkeep.to_move.clear();
        let outcome = self.give_up_reserve().and_then(|()| self.reclaim());
        let outcome = outcome.and_then(|reclaimed| {
            if reclaimed && !group.is_empty() {
                self.write_unless_full(group, &Moved::default())
            } else {
                Ok(None)
            }
        });
        match outcome {
            Ok(Some(written)) => self.publish(group, Moved::default(), &written),
            Ok(None) => self.commit_small(group),
            Err(error) => self.fail(error, group),
        }
    }

    /// Writes the transactions that append nothing, into the room the reserve has left.
    fn commit_small(&mut self, group: &mut Vec<Pending>) {
        let mut small = Vec::new();
        for pending in group.drain(..) {
            if pending.sequences.is_empty() && pending.size_bytes <= SMALL_BYTES_MAX {
                small.push(pending);
            } else {
                (pending.done)(Err(self.shared.place.full()));
            }
        }
        if small.is_empty() {
            return;
        }
        let outcome = self.give_up_reserve().and_then(|()| self.write(&small, &Moved::default()));
        match outcome {
            Ok(written) => self.publish(&mut small, Moved::default(), &written),
            Err(Error::Full { .. }) => {
                for pending in small {
                    (pending.done)(Err(self.shared.place.full()));
                }
            }
            Err(error) => self.fail(error, &mut small),
        }
    }

    /// Deletes what nobody needs, moving what little is in the way. Returns whether anything was deleted.
    fn reclaim(&mut self) -> Result<bool, Error> {
        let before = self.usage.len();
        match self.try_reclaim() {
            Ok(()) => Ok(self.usage.len() < before),
            // Not even the upkeep found room; what was given up before still counts.
            Err(Error::Full { .. }) => {
                self.abandon_checkpoint()?;
                Ok(self.usage.len() < before)
            }
            Err(error) => Err(error),
        }
    }

    fn try_reclaim(&mut self) -> Result<(), Error> {
        let active = self.usage[&self.active.number];
        if active.length > self.shared.options.segment_bytes / 16 && self.is_sparse(&active) {
            self.begin_segment()?;
        }
        let movable = self.shared.options.reserve_bytes / 4;
        let sparse = self.sparse_segments(|usage| usage.live_cost <= movable);
        for number in sparse {
            let mut mover = Mover::new(number);
            while let Some(moved) = self.moves_of(&mut mover)? {
                if !moved.is_empty() {
                    let written = self.write(&[], &moved)?;
                    self.publish(&mut Vec::new(), moved, &written);
                }
            }
        }
        if self.upkeep.dead_bytes > 0 {
            self.complete_checkpoint()?;
        }
        Ok(())
    }

    /// Takes the reserve that an earlier opening left, or makes one. A full disk is no failure here.
    pub(super) fn open_reserve(&mut self) -> Result<(), Error> {
        let wanted = self.shared.options.reserve_bytes;
        let (disk, place) = (&self.shared.disk, &self.shared.place);
        let files = disk.list().map_err(|e| place.io("list", "the directory", e))?;
        let there = |wanted| files.iter().any(|name| name == wanted);
        if there(names::RESERVE_PARTIAL) {
            let name = names::RESERVE_PARTIAL;
            disk.delete(name).map_err(|e| place.io("delete", name, e))?;
        }
        if there(names::RESERVE) {
            let file = disk.open(names::RESERVE).map_err(|e| place.io("open", names::RESERVE, e))?;
            let length = file.length().map_err(|e| place.io("measure", names::RESERVE, e))?;
            if length == wanted {
                return Ok(());
            }
            disk.delete(names::RESERVE).map_err(|e| place.io("delete", names::RESERVE, e))?;
        }
        self.set_reserve_lost(wanted > 0);
        if wanted > 0 {
            self.take_reserve()?;
        }
        Ok(())
    }

    fn give_up_reserve(&mut self) -> Result<(), Error> {
        if self.upkeep.reserve_lost || self.shared.options.reserve_bytes == 0 {
            return Ok(());
        }
        let (disk, place) = (&self.shared.disk, &self.shared.place);
        disk.delete(names::RESERVE).map_err(|e| place.io("delete", names::RESERVE, e))?;
        self.set_reserve_lost(true);
        Ok(())
    }

    /// Makes the reserve file anew. Returns false if there is no room; a full disk says so with the first
    /// chunk, so that asking is cheap. It gets its name when it is synced: before, the room might only be
    /// promised.
    pub(super) fn take_reserve(&mut self) -> Result<bool, Error> {
        let (disk, place) = (&self.shared.disk, &self.shared.place);
        let wanted = self.shared.options.reserve_bytes;
        let name = names::RESERVE_PARTIAL;
        let filled = disk.create(name).and_then(|file| fill(&file, wanted).and_then(|()| file.sync()));
        let named = filled.and_then(|()| disk.rename(name, names::RESERVE));
        match named {
            Ok(()) => {
                self.set_reserve_lost(false);
                Ok(true)
            }
            Err(error) if says_full(&error) => {
                let files = disk.list().map_err(|e| place.io("list", "the directory", e))?;
                if files.iter().any(|file| file == name) {
                    disk.delete(name).map_err(|e| place.io("delete", name, e))?;
                }
                Ok(false)
            }
            Err(error) => Err(place.io("write", name, error)),
        }
    }

    fn set_reserve_lost(&mut self, lost: bool) {
        self.upkeep.reserve_lost = lost;
        self.shared.counters.full.store(lost, Ordering::Relaxed);
    }
}

/// Fills a file with bytes that no file system stores in less room.
fn fill<F: DiskFile>(file: &F, length: u64) -> std::io::Result<()> {
    let mut noise = 0x9e37_79b9_7f4a_7c15_u64;
    let mut chunk = vec![0; RESERVE_CHUNK_BYTES];
    let mut at = 0;
    while at < length {
        for word in chunk.chunks_exact_mut(8) {
            noise ^= noise << 13;
            noise ^= noise >> 7;
            noise ^= noise << 17;
            word.copy_from_slice(&noise.to_le_bytes());
        }
        let part = (length - at).min(chunk.len() as u64) as usize;
        file.write_at(at, &mut [IoSlice::new(&chunk[..part])])?;
        at += part as u64;
    }
    Ok(())
}
