//! What records mean: logs, frames, settlements and keys, gathered while the segments are read. Pure.
//!
//! The invariant: the outcome does not depend on settlements and moves being seen in any particular order, only
//! on which of them are in the journal; so a checkpoint that is a little ahead does no harm.

use std::collections::{BTreeMap, HashMap, HashSet};

use bytes::Bytes;

use crate::checkpoint::Loaded;
use crate::compact::Frames;
use crate::format::{Op, Ops, RecordHeader};
use crate::hub::LogTable;
use crate::index::{Index, Slot};

pub(super) struct Replay {
    /// Records up to this one are in the checkpoint; only their frames count.
    pub(super) covers: u64,
    pub(super) next_sequence: u64,
    logs: Vec<LogReplay>,
    state: BTreeMap<Bytes, Bytes>,
}

#[derive(Default)]
struct LogReplay {
    name: Option<String>,
    floor: u64,
    last: u64,
    slots: Vec<Slot>,
    /// Sequences that were settled out of order, by records.
    settled: HashSet<u64>,
    /// The same, by the checkpoint: ranges with both ends included, in order.
    ranges: Vec<(u64, u64)>,
}

impl LogReplay {
    fn is_settled(&self, sequence: u64) -> bool {
        let after = self.ranges.partition_point(|(first, _)| *first <= sequence);
        let in_range = after > 0 && self.ranges[after - 1].1 >= sequence;
        sequence <= self.floor || in_range || self.settled.contains(&sequence)
    }
}

impl Replay {
    pub(super) fn new(loaded: Option<&Loaded>) -> Replay {
        let mut replay = Replay { covers: 0, next_sequence: 1, logs: Vec::new(), state: BTreeMap::new() };
        if let Some(loaded) = loaded {
            replay.covers = loaded.header.covers;
            replay.next_sequence = loaded.end.next_sequence;
            replay.state.clone_from(&loaded.state);
            for log in &loaded.logs {
                let entry = replay.log(log.id);
                entry.name = Some(log.name.clone());
                entry.floor = log.floor;
                entry.last = log.last;
                entry.ranges.clone_from(&log.settled);
            }
        }
        replay
    }

    fn log(&mut self, id: u32) -> &mut LogReplay {
        let at = id as usize;
        if at >= self.logs.len() {
            self.logs.resize_with(at + 1, LogReplay::default);
        }
        &mut self.logs[at]
    }

    /// Whether a frame is settled as far as is known by now.
    pub(super) fn is_settled(&self, log: u32, sequence: u64) -> bool {
        self.logs.get(log as usize).is_some_and(|log| log.is_settled(sequence))
    }

    /// Takes in a record whose meta section has been checked. Frames at the offsets in `lost` cannot be read.
    pub(super) fn apply(&mut self, header: &RecordHeader, frames: Frames, place: (u32, &[u8]), lost: &[u64]) {
        let (segment, meta) = place;
        let replayed = header.record > self.covers;
        let mut frames = frames;
        for op in Ops::new(meta) {
            let op = op.expect("the parts of the record were checked");
            if let Some((log, slot)) = frames.next(&op, segment) {
                let log = self.log(log);
                if lost.contains(&u64::from(slot.offset)) {
                    log.settled.insert(slot.sequence);
                }
                log.last = log.last.max(slot.sequence);
                if slot.sequence > log.floor {
                    log.slots.push(slot);
                }
                continue;
            }
            match op {
                Op::Name { log, name } => self.log(log).name = Some(name.to_owned()),
                Op::SettleThrough { log, sequence } if replayed => {
                    let log = self.log(log);
                    log.floor = log.floor.max(sequence.min(log.last));
                }
                Op::SettleOne { log, sequence } if replayed => {
                    let log = self.log(log);
                    if sequence > log.floor {
                        log.settled.insert(sequence);
                    }
                }
                Op::Put { key, value } if replayed => {
                    self.state.insert(Bytes::copy_from_slice(key), Bytes::copy_from_slice(value));
                }
                Op::Delete { key } if replayed => {
                    self.state.remove(key);
                }
                Op::SettleThrough { .. }
                | Op::SettleOne { .. }
                | Op::Put { .. }
                | Op::Delete { .. }
                | Op::Append { .. }
                | Op::Move { .. } => {}
            }
        }
        self.next_sequence = self.next_sequence.max(header.first_sequence).max(frames.sequence);
    }

    /// Logs whose name was not found: with undamaged files there are none.
    pub(super) fn nameless(&self) -> bool {
        self.logs.iter().any(|log| log.name.is_none())
    }

    pub(super) fn finish(self) -> (LogTable, BTreeMap<Bytes, Bytes>) {
        let mut table = LogTable::default();
        for (id, mut log) in self.logs.into_iter().enumerate() {
            let mut slots = std::mem::take(&mut log.slots);
            slots.retain(|slot| slot.sequence > log.floor);
            // Stable: of a frame that was moved, the last place is the one that counts.
            slots.sort_by_key(|slot| slot.sequence);
            let mut latest: Vec<Slot> = Vec::with_capacity(slots.len());
            for slot in slots {
                match latest.last_mut() {
                    Some(last) if last.sequence == slot.sequence => *last = slot,
                    _ => latest.push(slot),
                }
            }
            let index = Index::recovered(log.floor, log.last, latest, |sequence| log.is_settled(sequence));
            let name = log.name.unwrap_or_else(|| format!("lost.{id}"));
            table.add(&name, index);
        }
        let by_name: HashMap<_, _> = std::mem::take(&mut table.by_name);
        assert!(by_name.len() == table.all.len(), "no two logs have the same name");
        table.by_name = by_name;
        (table, self.state)
    }
}
