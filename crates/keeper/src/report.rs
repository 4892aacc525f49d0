//! What the keeper is told. Whoever makes a report need not see the whole pipeline, and reports may be lost, late or out
//! of order. What must hold is within one unit of one report: facts are read in the direction of flow, first the input
//! and last what was written, so that a message that moves meanwhile is seen twice rather than never.

use model::{Epoch, Name, Place, Position, Time, UnitId};

/// What one reporter says of the units it knows.
#[derive(Clone, Debug, PartialEq)]
pub struct Report {
    /// The number of the last [`Picture`](crate::Picture) that the reporter had seen before it began to collect this; 0
    /// when none.
    pub heard: u64,
    /// Grows with each report of the same reporter.
    pub number: u64,
    /// The units.
    pub units: Vec<UnitReport>,
}

/// What is said of one unit.
#[derive(Clone, Debug, PartialEq)]
pub struct UnitReport {
    /// The unit.
    pub unit: UnitId,
    /// The number of its ownership.
    pub epoch: Epoch,
    /// A worker runs it.
    pub held: bool,
    /// Where it reads. Read before everything below.
    pub input: Input,
    /// Messages read and not committed.
    pub in_hand: u64,
    /// Any number that changes with every commit under this epoch.
    pub done: u64,
    /// What it has in hand has to wait until then: retries that are not due.
    pub rests_until: Option<Time>,
    /// For each place that the unit ever wrote to, under any owner, the sequence of the last frame it stored there. Read
    /// last, and from the same source of truth as the input: a frame that came out of what `input` shows as settled
    /// must be covered. Places whose frames are all settled may be left out after a restart.
    pub written: Vec<(Place, u64)>,
}

/// Where a unit reads.
#[derive(Clone, Debug, PartialEq)]
pub enum Input {
    /// From outside.
    Source(SourceReport),
    /// From its slot.
    Slot(SlotReport),
}

/// The input of a source's unit.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SourceReport {
    /// The largest event time, after the transformer, among the messages it has committed under this epoch. Messages
    /// count when they are stored and not when they are read: whatever is in hand then lies behind them in the source's
    /// order.
    pub latest: Option<Time>,
    /// When the last poll came back, if it found nothing; none once a poll has found something. An idle source's time
    /// goes no further than this: a message that came later is not behind it.
    pub empty_at: Option<Time>,
    /// Nothing will be written under this epoch or a lower one: it was released, or sealed.
    pub stopped: bool,
    /// How many messages wait outside, when the source can tell.
    pub outside: Option<u64>,
}

/// The input of any other unit.
#[derive(Clone, Debug, PartialEq)]
pub struct SlotReport {
    /// How far everything in the slot is done for good.
    pub position: Position,
    /// Every frame up to this sequence has been looked at: it is settled or counted below.
    pub through: u64,
    /// Frames that are not settled.
    pub frames: u64,
    /// Messages in them.
    pub messages: u64,
    /// What lies there, by the vertex that wrote it.
    pub writers: Vec<WriterReport>,
}

/// What one vertex has written to a slot, as far as it was looked at.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WriterReport {
    /// The writing vertex.
    pub vertex: Name,
    /// Over its frames that are not settled, the smallest of `max(stamp, earliest)` of the header, an unknown stamp
    /// ([`Time::UNKNOWN`]) counting as none; none when all are settled. What a frame holds from before its stamp was
    /// late when it was written, and holds nothing back.
    pub lowest: Option<Time>,
    /// The largest stamp of its frames up to `through`, settled or not; none when that is not known. Needed only by a
    /// reporter whose `through` may lie behind what is stored.
    pub stamp: Option<Time>,
}
