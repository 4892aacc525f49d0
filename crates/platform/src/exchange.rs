//! What whoever decides about an object and the daemon that keeps its units say to each other, as JSON: wishes one way,
//! what is seen the other way. A wish stands until another one replaces all of it, so the same one may be sent again at any
//! time, and a daemon that is started again needs one of them to go on. Invariant: nothing here is a step; losing any of
//! it, or hearing it twice, changes nothing but the time.

use std::collections::{BTreeMap, BTreeSet};

use api::revision::Revision;
use plan::Time;
use plan::seen::{Activity, Cut, Drain, Signals, WorkerState};
use serde::{Deserialize, Serialize};

use crate::view::Incident;

/// All that is wished of the units and the workers of an object.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct Wishes {
    /// Grows with every change of the rest, over restarts of whoever wishes; a daemon passes over a smaller one than it has.
    pub number: u64,
    /// The manifest that the daemon has to go by for what may be changed while it runs, as JSON; none for the one that it
    /// was started with.
    pub manifest: Option<serde_json::Value>,
    /// Of each vertex.
    pub vertices: BTreeMap<String, VertexWishes>,
    /// All workers are gone for good and the object with them: look up where what is left came from.
    pub cuts: bool,
}

/// All that is wished of one vertex.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct VertexWishes {
    /// Whether the units of a source are to be owned at all; if not they are released and sealed.
    pub reading: bool,
    /// How units are shared between versions, by weight. A version that is not in it owns nothing.
    pub shares: BTreeMap<Revision, u32>,
    /// Versions whose counts must not be forgotten.
    pub keep: BTreeSet<Revision>,
    /// The workers there are, by name: what [`WorkerName`](plan::seen::WorkerName) is as text.
    pub workers: BTreeMap<String, WorkerWish>,
}

/// What is wished of a worker.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum WorkerWish {
    /// It may own units.
    #[default]
    Work,
    /// It finishes what is in hand, gives everything back, and is clear after that.
    Retire,
    /// It gives everything back, whatever is in hand; writes to the outside that are under way may come to their end.
    Cut,
}

/// What a daemon sees.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct Look {
    /// Which life of the daemon sees it; another one counts from zero.
    pub life: u64,
    /// The wishes that it goes by; 0 before the first.
    pub number: u64,
    /// When.
    pub at: Time,
    /// Each vertex.
    pub vertices: BTreeMap<String, VertexLook>,
    /// What is known about draining.
    pub drain: Option<Drain>,
    /// Where what is left came from, once that was asked for.
    pub cuts: Option<Vec<Cut>>,
    /// The latest named errors, the oldest first.
    pub incidents: Vec<Incident>,
    /// Why it sees nothing; a sentence.
    pub failure: Option<String>,
}

/// What a daemon sees of one vertex.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct VertexLook {
    /// The workers that were wished for or are heard of, by name.
    pub workers: BTreeMap<String, WorkerLook>,
    /// Every unit is owned by the worker that it is meant for.
    pub settled: bool,
    /// Messages that wait, by partition; for a source outside of it, if it can tell.
    pub pending: Option<Vec<u64>>,
    /// Messages that workers have read and not finished.
    pub in_hand: u64,
    /// What it is doing.
    pub activity: Activity,
    /// What each version did, added up over its workers, those that are gone included, in this life of the daemon.
    pub signals: BTreeMap<Revision, Signals>,
    /// Messages done by all versions in this life of the daemon.
    pub processed: u64,
    /// The watermark, in milliseconds since the Unix epoch.
    pub watermark: Option<i64>,
    /// What keeps the watermark back, a sentence.
    pub watermark_held_by: Option<String>,
}

/// What a daemon sees of one worker.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct WorkerLook {
    /// What it says of itself; `Starting` before it was heard.
    pub state: WorkerState,
    /// Units that it owns or has yet to release. One that has to go may end when there are none.
    pub holds: u32,
    /// How often it was heard of as another life.
    pub restarts: u32,
    /// Where it listens, for sources that do.
    #[serde(default)]
    pub urls: Vec<String>,
}
