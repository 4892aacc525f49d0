//! What Tidegate reports beyond the reference: drains, rollouts, activity, revisions. All of it is Tidegate's own extension,
//! in fields beside the reference's. The invariant: times are absolute, so a status that is read late still says the truth.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_with::skip_serializing_none;

use crate::spec::stock::Time;

/// Tidegate extension: how far a drain has come.
#[skip_serializing_none]
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default, rename_all = "camelCase")]
pub struct Drain {
    /// When it began.
    pub since: Option<Time>,
    /// When the grace period ends.
    pub deadline: Option<Time>,
    /// Messages that are still inside.
    pub remaining: u64,
    /// Where they are, and why they do not get on.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub vertices: Vec<Remaining>,
    /// Seconds until it is over at the present pace; nothing when it does not get on.
    pub estimate_seconds: Option<u64>,
    /// What it has come to.
    pub verdict: DrainVerdict,
    /// When everything was drained, which may be after the deadline.
    pub drained_at: Option<Time>,
    /// What became of open windows.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub windows: Vec<DrainWindow>,
}

/// Tidegate extension: what a drain has come to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub enum DrainVerdict {
    /// It goes on.
    #[default]
    Draining,
    /// Nothing is inside any more.
    Drained,
    /// The grace period ended before; what remains is kept.
    CutOff,
}

/// Tidegate extension: messages that wait for a drain.
#[skip_serializing_none]
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default, rename_all = "camelCase")]
pub struct Remaining {
    /// The vertex that has to read them.
    pub vertex: String,
    /// The partition they are in; nothing for messages that a worker holds.
    pub partition: Option<u32>,
    /// How many.
    pub messages: u64,
    /// Why they do not get on; nothing while they do.
    pub reason: Option<DrainReason>,
    /// The reason in words.
    pub message: Option<String>,
}

/// Tidegate extension: why messages do not get on.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum DrainReason {
    /// Nobody is there to read them.
    #[default]
    NoWorker,
    /// The worker starts again and again.
    WorkerCrashing,
    /// User code does not answer.
    UserCodeHanging,
    /// The sink does not take them.
    SinkRefusing,
    /// The next buffer is full.
    BufferFull,
    /// A worker is ready and does not read them.
    NothingRead,
    /// Their window is open.
    WindowOpen,
    /// The source has not said that it has stopped.
    SourceNotStopped,
}

/// Tidegate extension: what became of the open windows of a partition.
#[skip_serializing_none]
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default, rename_all = "camelCase")]
pub struct DrainWindow {
    /// The vertex.
    pub vertex: String,
    /// The partition.
    pub partition: u32,
    /// How many windows.
    pub count: u64,
    /// What became of them.
    pub state: DrainWindowState,
}

/// Tidegate extension: what became of open windows.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub enum DrainWindowState {
    /// Their results were written.
    #[default]
    Flushed,
    /// They are kept as they are and go on after the pause.
    Checkpointed,
}

/// Tidegate extension: the way from one revision to another.
#[skip_serializing_none]
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, rename_all = "camelCase")]
pub struct Rollout {
    /// Of which kind.
    pub kind: RolloutKind,
    /// The step it is at, from 1.
    pub step: Option<u32>,
    /// How many steps there are.
    pub steps: Option<u32>,
    /// The percentage of the work that the wanted revision has.
    pub weight: Option<u32>,
    /// The revision that serves.
    pub from: Option<String>,
    /// The revision that is wanted.
    pub to: Option<String>,
    /// Why it is where it is, in words.
    pub reason: Option<String>,
    /// When it began.
    pub started_at: Option<Time>,
    /// When it has failed unless it gets on before.
    pub deadline: Option<Time>,
    /// The last judgement.
    pub verdict: Option<RolloutVerdict>,
    /// That it went back, and why.
    pub rolled_back: Option<RolledBack>,
}

/// Tidegate extension: how a rollout is done.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum RolloutKind {
    /// Some workers at a time.
    #[default]
    RollingUpdate,
    /// All go, then all come.
    Recreate,
    /// The wanted revision gets more of the work step by step.
    Canary,
    /// A second set beside the first one, and one switch.
    BlueGreen,
}

/// Tidegate extension: what a revision was judged to be, and by what.
#[skip_serializing_none]
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, rename_all = "camelCase")]
pub struct RolloutVerdict {
    /// The judgement.
    pub kind: RolloutVerdictKind,
    /// What it was made from.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub inputs: Vec<RolloutInput>,
    /// In words.
    pub reason: Option<String>,
    /// When.
    pub at: Option<Time>,
}

/// Tidegate extension: a judgement of a revision. Silence is never a pass.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub enum RolloutVerdictKind {
    /// Too little was seen.
    #[default]
    InsufficientData,
    /// It is as good as it has to be.
    Pass,
    /// It is not.
    Fail,
}

/// Tidegate extension: a number that a judgement was made from.
#[skip_serializing_none]
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, rename_all = "camelCase")]
pub struct RolloutInput {
    /// What was measured, such as `errorRatio`.
    pub name: String,
    /// Of the wanted revision.
    pub updated: Option<f64>,
    /// Of the one that serves, over the same time.
    pub stable: Option<f64>,
    /// The bound it was held against.
    pub limit: Option<f64>,
    /// Whether it keeps the bound; nothing when there was too little to say.
    pub passed: Option<bool>,
}

/// Tidegate extension: that a rollout went back.
#[skip_serializing_none]
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default, rename_all = "camelCase")]
pub struct RolledBack {
    /// The revision that was given up.
    pub from: String,
    /// The revision that serves again.
    pub to: String,
    /// Why, in words.
    pub reason: String,
    /// When.
    pub at: Option<Time>,
}

/// Tidegate extension: whether there is work and it gets on.
#[skip_serializing_none]
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default, rename_all = "camelCase")]
pub struct Activity {
    /// In a word.
    pub state: ActivityState,
    /// Why, in words.
    pub reason: Option<String>,
    /// Since when.
    pub since: Option<Time>,
}

/// Tidegate extension: whether there is work and it gets on.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum ActivityState {
    /// Nothing to do.
    #[default]
    Idle,
    /// Work, and it gets on.
    Progressing,
    /// Work, and it does not get on.
    Stuck,
}

/// Tidegate extension: a revision in the history of a vertex.
#[skip_serializing_none]
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default, rename_all = "camelCase")]
pub struct Revision {
    /// Its number, from 1; a revision that is wanted again gets the next one.
    pub number: u64,
    /// Its hash.
    pub hash: String,
    /// When it was first wanted.
    pub created_at: Option<Time>,
    /// What it is.
    pub state: RevisionState,
}

/// Tidegate extension: what a revision is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum RevisionState {
    /// It is on its way.
    #[default]
    Progressing,
    /// It serves.
    Serving,
    /// It served, and another one took over.
    Superseded,
    /// It was given up, and is not tried again unless somebody says so.
    Failed,
}
