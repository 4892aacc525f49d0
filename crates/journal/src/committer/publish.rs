//! Showing and answering what has become durable: indexes, state, counts, cache. No disk here.
//! The invariant: the live counts of segments and logs are those of the durable transactions.

use std::sync::atomic::Ordering;

use super::{Committer, write::Written};
use crate::cache::Ages;
use crate::compact::{self, Moved};
use crate::disk::Disk;
use crate::hub::{add, subtract};
use crate::index::{Freed, Slot};
use crate::locks::{lock, write};
use crate::queue::Pending;
use crate::transaction::{Append, Receipt};

impl<D: Disk> Committer<D> {
    /// Makes a durable group visible, then answers each transaction of it.
    pub(super) fn publish(&mut self, group: &mut Vec<Pending>, moved: Moved, written: &Written) {
        assert!(written.payloads.len() == group.len(), "every transaction was written");
        self.named = written.named;
        self.relocate(moved, written);
        let mut freed = Freed::default();
        for (pending, payload) in group.iter_mut().zip(&written.payloads) {
            let appends = std::mem::take(&mut pending.transaction.appends);
            self.show_appends(appends, pending.sequences.first, written.segment, *payload);
            for settlement in &pending.transaction.settlements {
                let mut index = lock(&self.logs[settlement.log.0 as usize].index);
                if settlement.through {
                    index.settle_through(settlement.sequence, &mut freed);
                } else {
                    index.settle_one(settlement.sequence, &mut freed);
                }
            }
        }
        self.uncount(&freed);
        self.show_state(group);
        self.evict();
        let counters = &self.shared.counters;
        counters.durable_record.store(self.next_record - 1, Ordering::Relaxed);
        add(&counters.transactions, group.len() as u64);
        for (pending, record) in group.drain(..).zip(written.first_record..) {
            (pending.done)(Ok(Receipt { sequences: pending.sequences, record }));
        }
    }

    fn show_appends(&mut self, appends: Vec<Append>, first: u64, segment: u32, payload: u64) {
        let mut frames = 0;
        let mut bytes = 0;
        let mut cached = 0;
        let mut offset = payload;
        let mut appends = appends.into_iter().zip(first..).peekable();
        while let Some((append, sequence)) = appends.next() {
            let log = append.log;
            let mut index = lock(&self.logs[log.0 as usize].index);
            let mut next = Some((append, sequence));
            // Neighbours usually go to the same log, which is then locked once.
            while let Some((append, sequence)) = next {
                let length = append.bytes.len() as u32;
                let at = u32::try_from(offset).expect("segments are shorter than 4 GiB");
                cached += index.append(Slot::new(sequence, segment, at, length, append.crc), append.bytes);
                offset += u64::from(length);
                frames += 1;
                bytes += u64::from(length);
                next = appends.next_if(|(append, _)| append.log == log);
            }
        }
        if frames > 0 {
            self.ages.grew(&self.shared.held, first + frames - 1, cached);
            let usage = self.usage.get_mut(&segment).expect("the segment written to is counted");
            usage.live_frames += frames;
            usage.live_cost += bytes + frames * compact::FRAME_COST_BYTES;
            add(&self.shared.counters.live_frames, frames);
            add(&self.shared.counters.live_bytes, bytes);
        }
    }

    fn relocate(&mut self, moved: Moved, written: &Written) {
        let mut offset = written.own_payload;
        for frame in moved.frames {
            let length = frame.slot.length();
            let at = u32::try_from(offset).expect("segments are shorter than 4 GiB");
            let to = Slot::new(frame.slot.sequence, written.segment, at, length, frame.slot.crc);
            offset += u64::from(length);
            let from = lock(&self.logs[frame.log.0 as usize].index).relocate(to);
            // Settlements happen on this thread only, and none came between.
            assert!(from == Some(frame.slot.segment), "a moved frame was where it was read");
            let cost = u64::from(length) + compact::FRAME_COST_BYTES;
            let usage = self.usage.get_mut(&written.segment).expect("the segment written to is counted");
            usage.live_frames += 1;
            usage.live_cost += cost;
            self.release(frame.slot.segment, 1, cost);
            add(&self.shared.counters.moved_bytes, u64::from(length));
        }
    }

    /// Takes settled frames out of the counts.
    fn uncount(&mut self, freed: &Freed) {
        let mut bytes = 0;
        for &(segment, length) in &freed.frames {
            bytes += u64::from(length);
            self.release(segment, 1, u64::from(length) + compact::FRAME_COST_BYTES);
        }
        subtract(&self.shared.counters.live_frames, freed.frames.len() as u64);
        subtract(&self.shared.counters.live_bytes, bytes);
        Ages::shrank(&self.shared.held, freed.cache_bytes);
    }

    fn release(&mut self, segment: u32, frames: u64, cost: u64) {
        let usage = self.usage.get_mut(&segment).expect("the segment of an unsettled frame is counted");
        assert!(usage.live_frames >= frames, "a frame was counted in its segment");
        assert!(usage.live_cost >= cost, "a frame was counted in its segment with its cost");
        usage.live_frames -= frames;
        usage.live_cost -= cost;
        if usage.live_frames == 0 && segment != self.active.number {
            self.upkeep.dead_bytes += usage.length;
        }
    }

    fn show_state(&mut self, group: &mut [Pending]) {
        if group.iter().all(|pending| pending.transaction.writes.is_empty()) {
            return;
        }
        let mut state = write(&self.shared.state);
        for pending in group {
            for write in pending.transaction.writes.drain(..) {
                state.apply(write.key, write.value);
            }
        }
    }

    fn evict(&mut self) {
        while let Some(sequence) = self.ages.next_to_evict(&self.shared.held) {
            let freed = self.logs.iter().map(|log| lock(&log.index).evict(sequence)).sum();
            Ages::shrank(&self.shared.held, freed);
        }
    }

    /// Fills the counts after a recovery.
    pub(super) fn count_all(&mut self) {
        let counters = &self.shared.counters;
        for log in &self.logs {
            let stats = lock(&log.index).stats();
            add(&counters.live_frames, stats.frames);
            add(&counters.live_bytes, stats.bytes);
        }
        add(&counters.disk_bytes, self.upkeep.checkpoint_bytes);
        for (number, usage) in &self.usage {
            add(&counters.disk_bytes, usage.length);
            if usage.live_frames == 0 && *number != self.active.number {
                self.upkeep.dead_bytes += usage.length;
            }
        }
        counters.durable_record.store(self.next_record - 1, Ordering::Relaxed);
    }
}
