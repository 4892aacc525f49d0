//! What a shell sees of one object when it asks for a plan. Plain values; a shell that cannot see something leaves it out
//! and never guesses. Invariant: looks may be stale or incomplete, and no decision is wrong because of that, only late.

use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use api::revision::Revision;
use serde::{Deserialize, Serialize};

use crate::Time;

/// One worker of a vertex: which version it runs and which number it has among the workers of that version.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct WorkerName {
    /// What it runs.
    pub revision: Revision,
    /// From 0 up. Workers of two versions may have the same number.
    pub replica: u32,
}

impl fmt::Display for WorkerName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{}", self.revision, self.replica)
    }
}

/// A text is not the name of a worker.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is not the name of a worker: REVISION-REPLICA is one")]
pub struct NotAName(String);

impl FromStr for WorkerName {
    type Err = NotAName;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let parts = text.rsplit_once('-').filter(|(revision, _)| !revision.is_empty());
        let parsed = parts.and_then(|(revision, replica)| Some((revision, replica.parse().ok()?)));
        let (revision, replica) = parsed.ok_or_else(|| NotAName(text.to_owned()))?;
        Ok(Self { revision: Revision::from_text(revision), replica })
    }
}

/// Everything that is seen of an object.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct Seen {
    /// Its vertices, those without workers included; a mono vertex is one.
    pub vertices: BTreeMap<String, Vertex>,
    /// What is known about draining; none when nobody could look.
    pub drain: Option<Drain>,
}

/// What is seen of one vertex.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct Vertex {
    /// Its workers.
    pub workers: BTreeMap<WorkerName, Worker>,
    /// Every unit is owned by the worker that it is meant for.
    pub settled: bool,
    /// Messages that wait in its partitions, each partition by itself; for a source what waits outside, if it can tell.
    pub pending: Option<Vec<u64>>,
    /// Messages that its workers have read and not finished.
    pub in_hand: u64,
    /// What it is doing.
    pub activity: Activity,
    /// What each version has done so far, added up over its workers, those that are gone included.
    pub signals: BTreeMap<Revision, Signals>,
    /// Results of the queries of the analysis, by name; one that gave no number has none.
    pub queries: BTreeMap<String, Option<f64>>,
    /// Messages processed so far by all workers; it grows as long as the shell lives.
    pub processed: u64,
}

/// One worker.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Worker {
    /// What it is doing.
    pub state: WorkerState,
    /// Since when it has been in that state.
    pub since: Time,
    /// How many units it owns or has yet to release.
    pub holds: u32,
    /// How often it or its user code had to be started again.
    pub restarts: u32,
}

/// What a worker is doing.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum WorkerState {
    /// It exists and cannot work yet.
    Starting,
    /// It can own units: its user code has said that it is ready.
    Ready,
    /// It cannot work, and tries again.
    Failing {
        /// Why, in words.
        reason: String,
    },
    /// It was told to go.
    Stopping,
}

impl Worker {
    /// Whether it has been ready for at least so long.
    pub fn is_available(&self, min_ready: Duration, now: Time) -> bool {
        self.is_ready() && now.since(self.since) >= min_ready
    }

    /// Whether it is ready.
    pub fn is_ready(&self) -> bool {
        self.state == WorkerState::Ready
    }
}

/// What a vertex is doing.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Activity {
    /// Nobody knows.
    #[default]
    Unknown,
    /// Everything that there is has been done.
    Idle,
    /// There is work and it goes on.
    Progressing,
    /// There is work and it does not go on.
    Stuck {
        /// Since when.
        since: Time,
        /// Why, in words, with the unit, its partition and the count.
        reason: String,
    },
}

/// Counts of what the workers of one version did; they only grow.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct Signals {
    /// Frames taken from slots, or batches from a source.
    pub frames: u64,
    /// Messages read.
    pub read: u64,
    /// Messages finished: everything they became is stored.
    pub done: u64,
    /// Messages written on.
    pub written: u64,
    /// Failed calls of user code and failed writes, in messages.
    pub errors: u64,
    /// Messages that user code dropped on purpose.
    pub dropped_by_user_code: u64,
    /// Messages that the platform dropped, as the manifest told it to.
    pub dropped: u64,
    /// Messages that were sent back.
    pub nacks: u64,
    /// Nanoseconds from read to done, added up over batches.
    pub latency_nanos: u64,
    /// Batches in that sum.
    pub batches: u64,
}

/// What is known about draining.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct Drain {
    /// No source reads any more, and what each had in hand is stored. Says nothing about what it had to store.
    pub sources_stopped: bool,
    /// Everything is empty: decided on data, with the sources stopped, after two looks with nothing written in between.
    pub drained: bool,
    /// What is left, by vertex and partition; partitions with nothing left are not in it.
    pub left: Vec<Left>,
    /// Windows that are still open and safely stored; the verdict may be true with them.
    pub windows_checkpointed: u64,
    /// The number of the order to stop that this was found under ([`crate::lifecycle::Memory::number`]). A shell whose
    /// looks are never older than its orders may leave it out.
    pub number: Option<u64>,
    /// Where what is left came from; looked up only when all of it is about to be dropped.
    pub cuts: Vec<Cut>,
}

/// A source, seen from an object that is cut off from it for good.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct Cut {
    /// The source vertex.
    pub source: String,
    /// By unit the first position that was not read; a source that remembers for itself what is done has none.
    pub read: BTreeMap<u32, u64>,
    /// Records inside that are still as the source gave them; what later vertices made of others has other origins.
    pub records: u64,
    /// By partition of the source, the smallest and the largest offset of those records that have numbers.
    pub spans: BTreeMap<u16, Span>,
    /// Offsets of others, in no particular order; some of them when there are many.
    pub named: Vec<String>,
}

/// Offsets from one to another, both included. Not all between them need to be there.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct Span {
    /// The smallest.
    pub first: u64,
    /// The largest.
    pub last: u64,
}

/// What is left in one partition.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct Left {
    /// The reading vertex.
    pub vertex: String,
    /// Its partition.
    pub partition: u32,
    /// Messages that are not settled.
    pub messages: u64,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_name_of_a_worker_is_read_as_it_is_written() {
        let name = WorkerName { revision: Revision::from_text("a-1b"), replica: 12 };
        assert_eq!(name.to_string().parse(), Ok(name));
        for text in ["", "a", "-1", "a-", "a-x", "a--1x"] {
            assert!(text.parse::<WorkerName>().is_err(), "{text}");
        }
    }
}
