//! What the keeper says: the state of every vertex at one moment, with the reasons. Plain values, nothing is decided
//! here.

use std::collections::BTreeMap;

use model::{Name, Time, UnitId};

/// All that is known after one pass over the reports.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Picture {
    /// Grows by one with each pass.
    pub number: u64,
    /// The vertices.
    pub vertices: BTreeMap<Name, VertexPicture>,
    /// Every source has stopped, every slot is empty and nothing is in hand; seen twice, with nothing written between.
    pub drained: bool,
}

/// What is known of one vertex.
#[derive(Clone, Debug, PartialEq)]
pub struct VertexPicture {
    /// Nothing that the vertex will still write is earlier, unless it was late already. None until enough is known.
    pub watermark: Option<Time>,
    /// What keeps the watermark from being later; none when the pipeline has no watermarks.
    pub held_by: Option<Hold>,
    /// Messages in its slots that are not settled.
    pub pending: u64,
    /// Messages that wait outside of a source, when every one of its units can tell.
    pub outside: Option<u64>,
    /// Messages read and not committed.
    pub in_hand: u64,
    /// What it is doing.
    pub state: State,
}

/// What holds a watermark back.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Hold {
    /// Where: the unit of this vertex or of one before it.
    pub unit: UnitId,
    /// Why.
    pub why: Why,
}

/// Why a unit holds a watermark back.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Why {
    /// It is expected and has never been heard of.
    Unreported,
    /// It has not been heard of for a while.
    Silent,
    /// It has read nothing yet, so nobody knows what time it is there.
    NothingRead,
    /// Messages as late as the largest event time seen less the allowed delay may still come.
    Latest,
    /// It is idle; its time moves as the idle-source settings say.
    Idle,
    /// Frames that this vertex wrote lie in the slot.
    Waiting {
        /// Who wrote them.
        writer: Name,
    },
    /// This vertex has written frames to the slot that nobody has looked at.
    Unseen {
        /// Who wrote them.
        writer: Name,
    },
}

/// What a vertex is doing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum State {
    /// Everything that there is has been done.
    Idle,
    /// There is work and it goes on.
    Progressing,
    /// There is work and it does not go on.
    Stuck {
        /// Where: the unit that has not moved for the longest time.
        unit: UnitId,
        /// Since when.
        since: Time,
        /// Why.
        reason: Reason,
    },
}

/// Why work does not go on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Reason {
    /// No worker has the unit.
    NoOwner,
    /// Nothing was heard of the unit for a while.
    Silent,
    /// A vertex further down is stuck and takes nothing more.
    Behind {
        /// Which.
        vertex: Name,
    },
    /// Its messages were read and do not get done: user code hangs or fails, or a sink refuses them.
    InHand {
        /// How many.
        messages: u64,
    },
    /// Its messages are not read.
    Unread {
        /// How many.
        messages: u64,
    },
}
