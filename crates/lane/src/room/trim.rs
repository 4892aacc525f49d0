//! What of the lanes may be removed. Removing is done for many frames at once, because each time costs the broker as
//! much as a write. Invariant: the last message of a lane is never removed, because the fence stands on it.

use std::collections::BTreeMap;
use std::time::Duration;

use model::{Time, UnitId};

use crate::names::Shelf;

/// So many settled frames are worth removing at once.
const FRAMES: u64 = 256;
/// So are so many bytes.
const BYTES: u64 = 8 * 1024 * 1024;
/// So is anything that has been there for so long.
const AFTER: Duration = Duration::from_secs(2);

/// A lane to which nothing was written for so long is quiet.
const QUIET_AFTER: Duration = Duration::from_secs(10);

/// How eager to be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Due {
    /// What is worth it.
    Worth,
    /// Everything: a stream is full.
    All,
}

/// Something to remove.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Purge {
    pub(crate) unit: UnitId,
    pub(crate) shelf: Shelf,
    pub(crate) through: u64,
}

/// A lane whose last message is a settled frame, and to which nothing has been written for a while.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Quiet {
    pub(crate) unit: UnitId,
    pub(crate) last: u64,
}

/// The lanes of one partition.
#[derive(Default)]
pub(super) struct Trims {
    lanes: BTreeMap<UnitId, LaneTrim>,
}

#[derive(Default)]
struct LaneTrim {
    last: u64,
    /// Which shelf it is on.
    at: Option<Shelf>,
    /// The last message when the lane was looked at, and when that was noticed first.
    looked: Option<(u64, Time)>,
    shelves: BTreeMap<Shelf, ShelfTrim>,
}

#[derive(Default)]
struct ShelfTrim {
    /// The last message that was stored there.
    last: u64,
    /// Messages that may go once the reader's position is beyond them.
    count: u64,
    bytes: u64,
    since: Option<Time>,
    purged: u64,
}

impl Trims {
    /// Notes a message.
    pub(super) fn stored(&mut self, unit: &UnitId, shelf: Shelf, sequence: u64) {
        if !self.lanes.contains_key(unit) {
            self.lanes.insert(unit.clone(), LaneTrim::default());
        }
        let lane = self.lanes.get_mut(unit).expect("it was just put there");
        if sequence > lane.last {
            (lane.last, lane.at) = (sequence, Some(shelf));
        }
        let shelf_trim = lane.shelves.entry(shelf).or_default();
        if shelf == Shelf::Claims && shelf_trim.last > 0 {
            shelf_trim.count += 1;
        }
        shelf_trim.last = shelf_trim.last.max(sequence);
    }

    /// Notes that a frame is settled.
    pub(super) fn settled(&mut self, unit: &UnitId, slot: u16, bytes: u64) {
        let lane = self.lanes.get_mut(unit).expect("a settled frame was stored");
        let shelf = lane.shelves.entry(Shelf::Slot(slot)).or_default();
        shelf.count += 1;
        shelf.bytes += bytes;
    }

    pub(super) fn purges(
        &mut self,
        due: Due,
        now: Time,
        owned: impl Fn(&UnitId) -> bool,
        position: impl Fn(u16) -> u64,
    ) -> Vec<Purge> {
        let mut purges = Vec::new();
        for (unit, lane) in &mut self.lanes {
            for (shelf, trim) in &mut lane.shelves {
                if trim.count == 0 {
                    continue;
                }
                let since = *trim.since.get_or_insert(now);
                let worth = trim.count >= FRAMES || trim.bytes >= BYTES || now.since(since) >= AFTER;
                if (due == Due::Worth && !worth) || !owned(unit) {
                    continue;
                }
                let before = match shelf {
                    Shelf::Slot(slot) => position(*slot).min(trim.last + 1),
                    Shelf::Claims => trim.last,
                    Shelf::Ids => continue,
                };
                // The last message of the lane stays.
                let through = before.saturating_sub(1).min(lane.last - 1);
                trim.since = None;
                (trim.count, trim.bytes) = (0, 0);
                if through > trim.purged {
                    trim.purged = through;
                    purges.push(Purge { unit: unit.clone(), shelf: *shelf, through });
                }
            }
        }
        purges
    }

    /// The lanes of units that `owned` says are ours whose end is a settled frame that nobody needs.
    pub(super) fn quiet(
        &mut self,
        now: Time,
        owned: impl Fn(&UnitId) -> bool,
        position: impl Fn(u16) -> u64,
    ) -> Vec<Quiet> {
        let mut quiet = Vec::new();
        for (unit, lane) in &mut self.lanes {
            let Some(Shelf::Slot(slot)) = lane.at else { continue };
            let since = match lane.looked {
                Some((last, since)) if last == lane.last => since,
                _ => {
                    lane.looked = Some((lane.last, now));
                    continue;
                }
            };
            if now.since(since) >= QUIET_AFTER && position(slot) > lane.last && owned(unit) {
                lane.looked = Some((lane.last, now));
                quiet.push(Quiet { unit: unit.clone(), last: lane.last });
            }
        }
        quiet
    }

    /// Says that something is still there.
    pub(super) fn keep(&mut self, purge: &Purge) {
        let Purge { unit, shelf, through: _ } = purge;
        let trim = self.lanes.get_mut(unit).and_then(|lane| lane.shelves.get_mut(shelf));
        let trim = trim.expect("what was to be removed was stored");
        trim.count += 1;
        trim.purged = 0;
    }
}
