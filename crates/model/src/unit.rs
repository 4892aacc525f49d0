//! What work is divided by: slots, units, who owns them and how far they are. Positions only grow.

use std::fmt;

use crate::Name;

/// How a vertex's input is divided: partitions, and slots within each. Fixed for the life of the vertex.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Topology {
    /// What the user's `partitions` counts; at least 1.
    pub partitions: u16,
    /// Ordered sequences of frames within one partition; at least 1.
    pub slots_per_partition: u16,
}

impl Topology {
    /// The slots of a vertex with so many partitions: about 64 in all, or one per partition when order is kept.
    pub fn of(partitions: u16, ordered: bool) -> Self {
        assert!(partitions > 0, "a vertex has at least one partition");
        let slots_per_partition = if ordered { 1 } else { (64 / partitions).max(1) };
        Self { partitions, slots_per_partition }
    }

    /// All slots of the vertex.
    pub fn slots(&self) -> u32 {
        u32::from(self.partitions) * u32::from(self.slots_per_partition)
    }

    /// Slot `number` counted over all partitions, modulo their count; neighbours lie in different partitions, so
    /// that writing to one after the other spreads over all of them.
    pub fn slot(&self, number: u64) -> Slot {
        let number = number % u64::from(self.slots());
        let partitions = u64::from(self.partitions);
        Slot { partition: (number % partitions) as u16, number: (number / partitions) as u16 }
    }

    /// The number that [`Topology::slot`] turns into this slot.
    pub fn number(&self, slot: Slot) -> u64 {
        u64::from(slot.number) * u64::from(self.partitions) + u64::from(slot.partition)
    }
}

/// One ordered sequence of frames of a vertex.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Slot {
    /// The partition it lies in.
    pub partition: u16,
    /// Its number within the partition; [`Slot::RETRY`] is where messages wait to be tried again.
    pub number: u16,
}

impl Slot {
    /// The slot of a vertex for messages that are tried again; it has an owner of its own.
    pub const RETRY: Self = Self { partition: 0, number: u16::MAX };
}

impl fmt::Display for Slot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if *self == Self::RETRY {
            f.write_str("retry")
        } else {
            write!(f, "{}.{}", self.partition, self.number)
        }
    }
}

/// A slot of a named vertex: where a frame is written.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Place {
    /// The vertex that reads the slot.
    pub vertex: Name,
    /// The slot.
    pub slot: Slot,
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.vertex, self.slot)
    }
}

/// What one worker turns into output in order.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Unit {
    /// A slot of the vertex's input.
    Slot(Slot),
    /// A source partition that is read alone, or the share of one replica where the outside divides the work.
    Source(u32),
}

/// A unit of a named vertex, printed `map/0.12`, `map/retry` or `in/source.0`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct UnitId {
    /// The vertex whose work it is.
    pub vertex: Name,
    /// The unit.
    pub unit: Unit,
}

impl fmt::Display for UnitId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.unit {
            Unit::Slot(slot) => write!(f, "{}/{slot}", self.vertex),
            Unit::Source(number) => write!(f, "{}/source.{number}", self.vertex),
        }
    }
}

/// The number of an ownership: it grows with every change of owner, restart, pause and resume of a unit.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Epoch(pub u64);

/// One life of one worker: never used twice, so that a restarted worker is not mistaken for the former one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Incarnation(pub u64);

/// How far everything in a unit's input is done for good: the first message that is not.
///
/// `index` counts messages within the frame (or source message) with number `sequence`; a position with index 0
/// says that everything before `sequence` is done. Numbers need not be contiguous.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Position {
    /// The number of the first frame, or source offset, that is not wholly done.
    pub sequence: u64,
    /// How many of its messages are done.
    pub index: u32,
}

impl Position {
    /// Everything up to and including number `sequence` is done.
    pub fn after(sequence: u64) -> Self {
        Self { sequence: sequence.checked_add(1).expect("sequences end far below 2^64"), index: 0 }
    }
}

/// The whole progress of a unit: a position and, for the retry slot only, frames above it that are done as well.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Progress {
    /// Everything before it is done.
    pub position: Position,
    /// Sequences at or above the position that are done too, ascending; at most [`Progress::ABOVE_MAX`].
    pub above: Vec<u64>,
}

impl Progress {
    /// The bound of `above`.
    pub const ABOVE_MAX: usize = 4096;

    /// Progress that is only a position.
    pub fn to(position: Position) -> Self {
        Self { position, above: Vec::new() }
    }
}
