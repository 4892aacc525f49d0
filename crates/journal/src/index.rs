//! Where the unsettled frames of one log are, and the newest of their bytes. Pure: no disk, no locks.
//!
//! The invariant: entries are in order of sequence, every one above the floor, and the first is unsettled; the
//! cached bytes belong to the last entries.

use std::collections::VecDeque;

use bytes::Bytes;

use crate::status::LogStats;

/// What a cached frame costs beside its bytes.
pub(crate) const CACHE_OVERHEAD_BYTES: usize = 32;

/// Set in `Slot::length` when the frame was settled before the ones in front of it.
const SETTLED: u32 = 1 << 31;

/// Where one frame is. 24 bytes per unsettled frame are all that a backlog costs in memory.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Slot {
    pub(crate) sequence: u64,
    pub(crate) segment: u32,
    pub(crate) offset: u32,
    length: u32,
    pub(crate) crc: u32,
}

impl Slot {
    pub(crate) fn new(sequence: u64, segment: u32, offset: u32, length: u32, crc: u32) -> Slot {
        assert!(length & SETTLED == 0, "a frame is shorter than 1 GiB");
        Slot { sequence, segment, offset, length, crc }
    }

    pub(crate) fn length(&self) -> u32 {
        self.length & !SETTLED
    }

    fn is_settled(&self) -> bool {
        self.length & SETTLED != 0
    }
}

/// Frames of one log that stopped being live, per call.
#[derive(Debug, Default)]
pub(crate) struct Freed {
    /// Bytes that left the cache, overhead included.
    pub(crate) cache_bytes: usize,
    /// Segment and length of each frame.
    pub(crate) frames: Vec<(u32, u32)>,
}

#[derive(Debug, Default)]
pub(crate) struct Index {
    slots: VecDeque<Slot>,
    cached: VecDeque<Bytes>,
    /// Every frame of the log up to this sequence is settled.
    floor: u64,
    /// The highest sequence the log ever held.
    last: u64,
    live: u64,
    live_bytes: u64,
}

impl Index {
    /// An index as recovery found it. `slots` are in order; those in `settled` stay as marks.
    pub(crate) fn recovered(floor: u64, last: u64, slots: Vec<Slot>, settled: impl Fn(u64) -> bool) -> Index {
        let mut index = Index { floor, last: last.max(floor), ..Index::default() };
        for mut slot in slots {
            assert!(slot.sequence > index.slots.back().map_or(floor, |s| s.sequence), "sequences rise");
            if settled(slot.sequence) {
                slot.length |= SETTLED;
            } else {
                index.live += 1;
                index.live_bytes += u64::from(slot.length());
            }
            index.last = index.last.max(slot.sequence);
            index.slots.push_back(slot);
        }
        index.drop_settled_front();
        index.collapse();
        index
    }

    pub(crate) fn stats(&self) -> LogStats {
        LogStats {
            first: self.slots.front().map(|slot| slot.sequence),
            last: self.last,
            frames: self.live,
            bytes: self.live_bytes,
        }
    }

    pub(crate) fn floor(&self) -> u64 {
        self.floor
    }

    /// Adds a durable frame. Returns what it adds to the cache.
    pub(crate) fn append(&mut self, slot: Slot, bytes: Bytes) -> usize {
        assert!(slot.sequence > self.last, "sequences of a log rise");
        assert!(slot.length() as usize == bytes.len(), "a frame has the length it was written with");
        self.last = slot.sequence;
        self.live += 1;
        self.live_bytes += u64::from(slot.length());
        self.slots.push_back(slot);
        let added = bytes.len() + CACHE_OVERHEAD_BYTES;
        self.cached.push_back(bytes);
        added
    }

    /// Settles all frames up to and including `sequence`.
    pub(crate) fn settle_through(&mut self, sequence: u64, freed: &mut Freed) {
        while let Some(slot) = self.slots.front()
            && slot.sequence <= sequence
        {
            let slot = *slot;
            if !slot.is_settled() {
                self.uncount(slot, freed);
            }
            self.pop_front(freed);
        }
        // The floor never passes what the log held, so that it cannot settle a frame that is still to come.
        self.floor = self.floor.max(sequence.min(self.last));
        self.drop_settled_front_into(freed);
    }

    /// Settles one frame. Nothing happens if it is not there or settled already.
    pub(crate) fn settle_one(&mut self, sequence: u64, freed: &mut Freed) {
        let Ok(at) = self.slots.binary_search_by_key(&sequence, |slot| slot.sequence) else { return };
        let slot = self.slots[at];
        if slot.is_settled() {
            return;
        }
        self.uncount(slot, freed);
        self.slots[at].length |= SETTLED;
        if let Some(cached_at) = (at + self.cached.len()).checked_sub(self.slots.len()) {
            let bytes = std::mem::take(&mut self.cached[cached_at]);
            freed.cache_bytes += bytes.len();
        }
        self.drop_settled_front_into(freed);
        // Each collapse halves the marks at least, so its cost is spread over the calls that made them.
        if (self.slots.len() as u64).saturating_sub(self.live) > 2 * self.live + 64 {
            freed.cache_bytes += self.collapse();
        }
    }

    fn uncount(&mut self, slot: Slot, freed: &mut Freed) {
        assert!(self.live > 0, "an unsettled frame was counted");
        self.live -= 1;
        self.live_bytes -= u64::from(slot.length());
        freed.frames.push((slot.segment, slot.length()));
    }

    fn pop_front(&mut self, freed: &mut Freed) {
        if self.cached.len() == self.slots.len()
            && let Some(bytes) = self.cached.pop_front()
        {
            freed.cache_bytes += bytes.len() + CACHE_OVERHEAD_BYTES;
        }
        if let Some(slot) = self.slots.pop_front() {
            self.floor = self.floor.max(slot.sequence);
        }
    }

    fn drop_settled_front(&mut self) {
        self.drop_settled_front_into(&mut Freed::default());
    }

    fn drop_settled_front_into(&mut self, freed: &mut Freed) {
        while self.slots.front().is_some_and(Slot::is_settled) {
            self.pop_front(freed);
        }
    }

    /// Keeps one mark, the last, of each run of settled entries. Returns what left the cache.
    fn collapse(&mut self) -> usize {
        let uncached = self.slots.len() - self.cached.len();
        let mut kept = VecDeque::with_capacity(self.live as usize * 2 + 1);
        let mut kept_bytes = VecDeque::new();
        let mut freed = 0;
        for (at, slot) in self.slots.iter().enumerate() {
            let mark_follows = self.slots.get(at + 1).is_some_and(Slot::is_settled);
            let cached = at.checked_sub(uncached).map(|at| std::mem::take(&mut self.cached[at]));
            if slot.is_settled() && mark_follows {
                freed += cached.map_or(0, |_| CACHE_OVERHEAD_BYTES);
            } else {
                kept.push_back(*slot);
                kept_bytes.extend(cached);
            }
        }
        self.slots = kept;
        self.cached = kept_bytes;
        freed
    }

    /// Drops cached bytes of frames up to `sequence`. Returns what left the cache.
    pub(crate) fn evict(&mut self, sequence: u64) -> usize {
        let mut freed = 0;
        while !self.cached.is_empty() {
            let first_cached = self.slots.len() - self.cached.len();
            if self.slots[first_cached].sequence > sequence {
                break;
            }
            freed += self.cached.pop_front().map_or(0, |bytes| bytes.len() + CACHE_OVERHEAD_BYTES);
        }
        if self.cached.is_empty() {
            // A backlog is over for the cache; its table need not stay as large as it was.
            self.cached.shrink_to(64);
        }
        freed
    }

    /// Whether this frame is unsettled and is where `slot` says.
    pub(crate) fn is_live_at(&self, sequence: u64, segment: u32, offset: u32) -> bool {
        self.slots.binary_search_by_key(&sequence, |slot| slot.sequence).is_ok_and(|at| {
            let slot = &self.slots[at];
            !slot.is_settled() && slot.segment == segment && slot.offset == offset
        })
    }

    /// Notes that a frame has been re-appended. Returns where it was, or `None` if it is settled by now.
    pub(crate) fn relocate(&mut self, to: Slot) -> Option<u32> {
        let at = self.slots.binary_search_by_key(&to.sequence, |slot| slot.sequence).ok()?;
        let slot = &mut self.slots[at];
        if slot.is_settled() {
            return None;
        }
        assert!(slot.length() == to.length(), "a re-appended frame keeps its length");
        assert!(slot.crc == to.crc, "a re-appended frame keeps its checksum");
        Some(std::mem::replace(slot, to).segment)
    }

    /// Unsettled frames from `from` on, oldest first, with their bytes where they are cached.
    pub(crate) fn from(&self, from: u64) -> impl Iterator<Item = (Slot, Option<&Bytes>)> {
        let start = self.slots.partition_point(|slot| slot.sequence < from);
        let uncached = self.slots.len() - self.cached.len();
        self.slots
            .range(start..)
            .enumerate()
            .filter(|(_, slot)| !slot.is_settled())
            .map(move |(at, slot)| (*slot, (start + at).checked_sub(uncached).map(|at| &self.cached[at])))
    }

    /// Ranges of sequences above the floor, both ends included, in which every frame of this log is settled.
    pub(crate) fn settled_ranges(&self) -> Vec<(u64, u64)> {
        let mut ranges = Vec::new();
        let mut live_before = self.floor;
        let mut last_mark = None;
        for slot in &self.slots {
            if slot.is_settled() {
                last_mark = Some(slot.sequence);
            } else {
                ranges.extend(last_mark.take().map(|mark| (live_before + 1, mark)));
                live_before = slot.sequence;
            }
        }
        ranges.extend(last_mark.map(|mark| (live_before + 1, mark)));
        ranges
    }
}

#[cfg(test)]
mod tests;
