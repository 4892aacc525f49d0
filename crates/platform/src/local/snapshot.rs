//! Everything the screen of a run shows, at one moment.
//!
//! Plain values: who gathers them is the engine, who draws them is the command line. Rates are per second over the last
//! interval; totals count from the start of this process.

use std::time::Duration;

/// What a whole run is doing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Phase {
    /// Vertices and user code are being started.
    Starting,
    /// Messages flow.
    Running,
    /// Sources are shut and what is inside is being finished.
    Draining {
        /// Messages that are still between vertices, or in one.
        left: u64,
        /// How long the drain may still take.
        remaining: Duration,
    },
    /// Nothing runs any more.
    Stopped {
        /// Messages that are kept in the state directory for the next run.
        left: u64,
    },
}

/// What the user code of a vertex is doing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum UserCode {
    /// The vertex has none.
    None,
    /// All of it answers.
    Ready,
    /// Some of it has not answered yet.
    Starting,
    /// Some of it ended and is started again after a wait.
    BackOff {
        /// Why it ended.
        reason: String,
    },
}

/// One vertex.
#[derive(Clone, Debug, PartialEq)]
pub struct Vertex {
    /// Its name.
    pub name: String,
    /// `source`, `map`, `reduce`, `sink` or `mono`.
    pub kind: &'static str,
    /// Replicas that work.
    pub ready: u32,
    /// Replicas that should.
    pub desired: u32,
    /// Messages read per second.
    pub read_rate: f64,
    /// Messages written per second.
    pub write_rate: f64,
    /// Messages read in all.
    pub read_total: u64,
    /// Messages written in all.
    pub write_total: u64,
    /// Messages that wait in front of it; `None` for a source that cannot tell.
    pub pending: Option<u64>,
    /// Named errors so far.
    pub incidents: u64,
    /// What its user code is doing.
    pub user_code: UserCode,
}

/// A run at one moment.
#[derive(Clone, Debug, PartialEq)]
pub struct Snapshot {
    /// The pipeline or mono vertex.
    pub name: String,
    /// How long it has been running.
    pub uptime: Duration,
    /// What it is doing.
    pub phase: Phase,
    /// Its vertices, in the order of the manifest.
    pub vertices: Vec<Vertex>,
}
