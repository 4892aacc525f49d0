//! The door to what lies between vertices: slots of frames, units that own them, and commits.
//!
//! Every implementation keeps these promises; the conformance suite holds them to it:
//! * **A commit is atomic.** Its frames, its progress and its ids are all there or none is, whatever crashes.
//! * **A unit has one owner.** After a claim under epoch *e* has returned, nothing that a holder of a lower epoch
//!   still tries is ever stored: it gets [`Class::Lost`](super::Class::Lost). A claim does not wait for the former
//!   owner and is not stopped by it. A claim under the current epoch by another incarnation, or under a lower epoch,
//!   is `Lost` itself.
//! * **A slot is a sequence.** Frames are read in the order in which they were stored, with growing sequence numbers,
//!   each exactly once per claim, starting with the first that the unit's progress does not cover. A frame is given
//!   only once it is durable.
//! * **A position is durable** once the commit that moved it has returned.
//! * **Unread frames are never discarded.** A partition in which a writing vertex has used up its share makes a commit wait, unless the output itself says that
//!   it may be dropped.

use async_trait::async_trait;
use smol_str::SmolStr;

use super::{Class, Error};
use crate::frame::{Body, Frame};
use crate::{Epoch, Incarnation, Name, Place, Progress, Time, Topology, UnitId};

/// A buffer between all vertices of one pipeline.
#[async_trait]
pub trait Buffer: Send + Sync {
    /// What a commit and a frame may hold at most.
    fn bounds(&self) -> Bounds;

    /// Makes the caller the owner of a unit. When it returns, the progress is final: nobody else can move it.
    async fn claim(&self, claim: Claim) -> Result<Claimed, Error>;

    /// Everything that can be said of slots and units, of one instant between call and return: every commit is seen in
    /// it as a whole or not at all. Meant to be asked many times a second, however much lies unsettled.
    async fn survey(&self) -> Result<Survey, Error>;

    /// The levels of one vertex out of a [`Buffer::survey`], the retry slot included; `Fatal` for a vertex that the
    /// buffer does not know.
    async fn levels(&self, vertex: &str) -> Result<Vec<Level>, Error> {
        let slots = self.survey().await?.slots.into_iter();
        let levels: Vec<_> =
            slots.map(|slot| slot.level).filter(|level| level.place.vertex == vertex).collect();
        if levels.is_empty() {
            let attempted = format!("find vertex {vertex} in the buffer: it was not announced");
            return Err(Error::new(Class::Fatal, attempted));
        }
        Ok(levels)
    }
}

/// What a buffer has to know about a vertex.
#[derive(Clone, Debug)]
pub struct VertexSettings {
    /// Its name.
    pub name: Name,
    /// Its partitions and slots; a source has none that anybody writes to and may have any topology.
    pub topology: Topology,
    /// How many vertices write to it, itself not counted; each has its share of the limits.
    pub writers: u16,
    /// Messages that may lie unsettled in one partition.
    pub messages_max: u64,
    /// Payload bytes that may lie unsettled in one partition.
    pub bytes_max: u64,
}

/// Limits of one buffer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Bounds {
    /// The payload of one frame, in bytes.
    pub frame_bytes_max: usize,
    /// The payloads of all frames of one commit, in bytes.
    pub commit_bytes_max: usize,
    /// How large, in bytes, the only frame of a commit had best be, where such a commit costs less than one of several
    /// frames; none where it does not.
    pub lone_frame_bytes: Option<usize>,
}

/// The wish to own a unit.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Claim {
    /// Which unit.
    pub unit: UnitId,
    /// The claimant.
    pub owner: Incarnation,
    /// The claimant's replica number, written into its frames.
    pub replica: u16,
    /// The number of the ownership, given by whoever assigns units.
    pub epoch: Epoch,
}

/// An owned unit. Reading and committing are separate so that the one can go on during the other.
pub struct Claimed {
    /// How far the unit is.
    pub progress: Progress,
    /// Reads the unit's slot; none for the unit of a source.
    pub reader: Option<Box<dyn Reader>>,
    /// Commits.
    pub committer: Box<dyn Committer>,
}

/// A frame as it lies in a slot.
#[derive(Clone, Debug, PartialEq)]
pub struct Stored {
    /// Its number: unique within the partition and growing within the slot.
    pub sequence: u64,
    /// The frame.
    pub frame: Frame,
}

/// Reads one slot.
#[async_trait]
pub trait Reader: Send {
    /// Waits for at least one frame and gives those that are there, at most about `bytes_max` of payload (one frame
    /// at least). Dropping the future loses nothing. `Lost` once the unit has another owner.
    async fn read(&mut self, bytes_max: usize) -> Result<Vec<Stored>, Error>;
}

/// All that a batch became.
#[derive(Clone, Debug, Default)]
pub struct Commit {
    /// What is written, in order.
    pub outputs: Vec<Output>,
    /// How far the unit is once this is stored.
    pub progress: Progress,
    /// Ids to recognise repetitions by, for sources that give ids.
    pub ids: Vec<SmolStr>,
    /// The watermark of the writing vertex.
    pub stamp: Time,
}

/// One frame to be.
#[derive(Clone, Debug)]
pub struct Output {
    /// Where it goes.
    pub to: Place,
    /// The messages.
    pub body: Body,
    /// What to do while there is no room.
    pub when_full: WhenFull,
    /// Which limit it obeys.
    pub passage: Passage,
}

/// Which limit an output obeys. What goes round in a circle has more room than what enters it, so that neither a
/// retry nor a cycle can lock itself out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Passage {
    /// Up to the limit that the user set.
    Onward,
    /// Into the retry slot, out of it, or along an edge that closes a cycle: up to twice that limit.
    Around,
}

/// What a full partition means for an output.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WhenFull {
    /// The commit waits.
    Wait,
    /// The output is left out; the commit says so.
    Discard,
}

/// What a commit came to.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Committed {
    /// For each output the number it was stored under, or none when it was left out for want of room.
    pub stored: Vec<Option<u64>>,
}

/// Commits for one unit, one after the other.
#[async_trait]
pub trait Committer: Send {
    /// Which of these ids are known already, from this life or an earlier one, of this unit or another of its vertex.
    /// An id is known for as long as it is among the last [`IDS_REMEMBERED`] of its vertex.
    async fn known(&mut self, ids: &[SmolStr]) -> Result<Vec<bool>, Error>;

    /// Stores everything or nothing, and returns when it is durable. Waits while a partition is full.
    ///
    /// Progress never goes back. `Lost` when the unit has another owner; `Fatal` when the buffer cannot store anything
    /// any more; `Retry` when it cannot at the moment (no space left, no connection): the same commit may be made
    /// again. Dropping the future leaves it open whether it is stored: the unit must be claimed again.
    async fn commit(&mut self, commit: Commit) -> Result<Committed, Error>;

    /// Gives the unit up after its last commit, so that the next owner need not wait for anything.
    async fn release(self: Box<Self>) -> Result<(), Error>;
}

/// How many ids of each vertex are remembered at least.
pub const IDS_REMEMBERED: usize = 100_000;

/// What lies in one slot and is not settled.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Level {
    /// The slot.
    pub place: Place,
    /// Frames.
    pub frames: u64,
    /// Messages.
    pub messages: u64,
    /// Payload in bytes.
    pub bytes: u64,
    /// The number of the last frame ever stored; 0 when there was none.
    pub last: u64,
    /// How far its owner has settled.
    pub progress: Progress,
}

/// A buffer at one instant.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Survey {
    /// Every slot of every vertex that the buffer was told of, retry slots included, in the order of places.
    pub slots: Vec<SlotSurvey>,
    /// Every unit that was ever claimed, in the order of units.
    pub units: Vec<UnitSurvey>,
}

impl Survey {
    /// What is said of a slot.
    pub fn slot(&self, place: &Place) -> Option<&SlotSurvey> {
        let at = self.slots.binary_search_by(|slot| slot.level.place.cmp(place)).ok()?;
        self.slots.get(at)
    }

    /// What is said of a unit; none when it was never claimed.
    pub fn unit(&self, unit: &UnitId) -> Option<&UnitSurvey> {
        let at = self.units.binary_search_by(|survey| survey.unit.cmp(unit)).ok()?;
        self.units.get(at)
    }
}

/// A slot at one instant.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SlotSurvey {
    /// How much lies there and how far its owner is.
    pub level: Level,
    /// Vertices whose frames lie there unsettled, in the order of their names.
    pub writers: Vec<WriterSurvey>,
}

/// What one vertex has written to a slot and is not settled.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WriterSurvey {
    /// The writing vertex.
    pub vertex: Name,
    /// The smallest [`Header::lowest`](crate::frame::Header::lowest) of its unsettled frames.
    pub lowest: Time,
}

/// A unit at one instant.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UnitSurvey {
    /// The unit.
    pub unit: UnitId,
    /// The highest number that it was owned under.
    pub epoch: Epoch,
    /// Who has claimed it and not released it. A claim shows here before it has returned.
    pub owner: Option<Incarnation>,
    /// For each place that it ever wrote to, under any owner, the number of the last frame it stored there, in the
    /// order of places. Places whose frames were all settled when the buffer was opened may be missing.
    pub written: Vec<(Place, u64)>,
}
