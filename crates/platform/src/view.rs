//! What people and programs see of a place, in one form for every place: the answers of the API are these values as JSON.
//! Nothing is computed here. Invariant: a field that is not known is absent, never zero.

use std::collections::BTreeMap;

use plan::Time;
use plan::seen::Signals;
use serde::{Deserialize, Serialize};
use serde_json::Value;

pub use plan::why::Finding;

/// An object with everything below it.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct Object {
    /// `Pipeline` or `MonoVertex`.
    pub kind: String,
    /// Its name.
    pub name: String,
    /// Its namespace.
    pub namespace: String,
    /// Grows with every edit.
    pub generation: u64,
    /// When it was made.
    pub created_at: Time,
    /// When this view was made.
    pub as_of: Time,
    /// In a line: `Running`, `Pausing (draining, 1 234 left, ~12 s)`, `Paused (drained)` and so on.
    pub phase: String,
    /// The manifest as it was applied.
    pub manifest: Value,
    /// The status, in the form of the Kubernetes object.
    pub status: Value,
    /// Its vertices, in the order of the manifest.
    pub vertices: Vec<Vertex>,
    /// The edges: from, to.
    pub edges: Vec<(String, String)>,
    /// What is waited for.
    pub waiting: Vec<plan::Waiting>,
    /// Where sources listen: vertex and URL.
    pub urls: Vec<(String, String)>,
    /// What stands in for something of a cluster, a sentence each.
    pub substitutes: Vec<String>,
    /// Why the place cannot run it at the moment.
    pub failure: Option<String>,
}

/// A vertex.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct Vertex {
    /// Its name.
    pub name: String,
    /// `source`, `map`, `reduce`, `sink` or `mono`.
    pub kind: String,
    /// Workers that are ready.
    pub ready: u32,
    /// Workers that there should be.
    pub desired: u32,
    /// Why so many, a sentence.
    pub desired_because: Option<String>,
    /// Messages read per second.
    pub read_rate: f64,
    /// Messages written per second.
    pub write_rate: f64,
    /// Messages read since the place started.
    pub read_total: u64,
    /// Messages written since the place started.
    pub write_total: u64,
    /// Messages that wait, by partition; for a source outside of it.
    pub pending: Option<Vec<u64>>,
    /// Messages that workers have read and not finished.
    pub in_hand: u64,
    /// The watermark, in milliseconds since the Unix epoch.
    pub watermark: Option<i64>,
    /// What keeps the watermark back, a sentence.
    pub watermark_held_by: Option<String>,
    /// `Idle`, `Progressing`, `Stuck` or `Unknown`.
    pub activity: String,
    /// Why it is stuck, a sentence.
    pub stuck_because: Option<String>,
    /// The rollout in a line; none when there is none.
    pub rollout: Option<String>,
    /// Errors since the place started.
    pub errors: u64,
    /// Its versions, those that serve first.
    pub revisions: Vec<Revision>,
}

/// A version of a vertex.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct Revision {
    /// Its hash.
    pub revision: String,
    /// Its number in the history.
    pub number: Option<u64>,
    /// What it is: `stable`, `canary`, `green`, `old`, `new`.
    pub role: String,
    /// Its share of the units in percent.
    pub weight: u32,
    /// What it did.
    pub signals: Signals,
    /// Its workers.
    pub workers: Vec<Worker>,
}

/// A worker.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct Worker {
    /// Its number.
    pub replica: u32,
    /// `Starting`, `Ready`, `Failing` or `Stopping`.
    pub state: String,
    /// Why it is failing or starting, a sentence.
    pub reason: Option<String>,
    /// Since when.
    pub since: Time,
    /// Units it owns or has yet to release.
    pub holds: u32,
    /// How often it or its user code was started again.
    pub restarts: u32,
    /// Its containers.
    pub containers: Vec<Container>,
}

/// A user container.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct Container {
    /// Its name, such as `udf`.
    pub name: String,
    /// `Waiting`, `Running`, `BackOff` or `Stopped`.
    pub state: String,
    /// Why it is not running, a sentence.
    pub reason: Option<String>,
    /// Its process, where it is one.
    pub process: Option<u32>,
    /// How often it was started again.
    pub restarts: u32,
    /// Where its output is kept.
    pub log: Option<String>,
}

/// Something that happened.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Event {
    /// Grows with every event of the place.
    pub number: u64,
    /// When.
    pub at: Time,
    /// The object.
    pub object: String,
    /// What happened.
    #[serde(flatten)]
    pub event: plan::Event,
}

/// A named error of a worker or of user code.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Incident {
    /// When.
    pub at: Time,
    /// The object.
    pub object: String,
    /// The vertex.
    pub vertex: String,
    /// The replica.
    pub replica: u32,
    /// The container; `numa` is the platform's own.
    pub container: String,
    /// A word for programs.
    pub code: String,
    /// A sentence.
    pub message: String,
    /// More, such as a stack trace.
    pub details: String,
    /// The messages concerned.
    pub messages: Vec<String>,
}

/// What applying manifests would do or did to one object.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct Applied {
    /// `Pipeline` or `MonoVertex`.
    pub kind: String,
    /// Its name.
    pub name: String,
    /// `created`, `configured` or `unchanged`.
    pub outcome: String,
    /// The strongest class of the changes: `live`, `rolling`, `needs drain` or `refused`; none without changes.
    pub class: Option<String>,
    /// The changes.
    pub changes: Vec<Change>,
    /// Warnings about the manifest.
    pub warnings: Vec<String>,
    /// What stands in for something of a cluster.
    pub substitutes: Vec<String>,
}

/// One difference between what is applied and what was.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct Change {
    /// Where, as a path into the manifest.
    pub path: String,
    /// The vertex concerned.
    pub vertex: Option<String>,
    /// What it was.
    pub before: Option<String>,
    /// What it shall be.
    pub after: Option<String>,
    /// `live`, `rolling`, `needs drain` or `refused`.
    pub class: String,
    /// What that means here, or why it is refused and what to do.
    pub note: String,
}

/// A version of a vertex in its history.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct HistoryEntry {
    /// Its number; what `undo --to` takes.
    pub number: u64,
    /// Its hash.
    pub revision: String,
    /// When it was first asked for.
    pub created_at: Time,
    /// What became of it, a word such as `Active`, `Superseded`, `RolledBack`, `Failed`.
    pub state: String,
    /// Why, a sentence.
    pub reason: Option<String>,
}

/// The histories of an object's vertices.
pub type History = BTreeMap<String, Vec<HistoryEntry>>;
