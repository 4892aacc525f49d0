//! What an engine is given: an object, what of it does not depend on versions, and versions of its vertices. Invariant: nothing
//! here changes while the engine lives; what may change comes in calls.

use std::net::IpAddr;
use std::path::PathBuf;

use api::check::Checked;
use api::revision::Revision;
use api::{MonoVertex, Pipeline};

use super::storage::Storage;
use crate::local::process::Host;
use crate::local::process::environment::Machine;
use crate::local::program::Chosen;
use crate::local::secrets::Values;
use crate::local::state::StateDir;

/// What runs.
#[derive(Clone, Debug)]
pub enum Object {
    /// A pipeline.
    Pipeline(Box<Checked<Pipeline>>),
    /// A mono vertex.
    Mono(Box<Checked<MonoVertex>>),
}

/// Everything that does not depend on versions.
pub struct Config {
    /// The shape of what runs: its vertices, edges and partitions, and how event time is judged.
    pub object: Object,
    /// Secrets and config maps, as they are at the start.
    pub values: Values,
    /// The state directory, held for as long as the engine lives.
    pub state: StateDir,
    /// Where sockets are; its path is short.
    pub run_dir: PathBuf,
    /// What starts user code.
    pub host: Host,
    /// The size of the machine, for user code that asks.
    pub machine: Machine,
    /// The address HTTP sources listen on.
    pub http_bind: IpAddr,
    /// Where frames and positions are kept.
    pub storage: Storage,
}

/// A version of one vertex.
#[derive(Debug)]
pub struct Version {
    /// Its name; of two versions of a vertex with the same name the last that was kept counts, for workers to come.
    pub revision: Revision,
    /// The manifest that it comes from. Its shape is that of the engine.
    pub object: Object,
    /// What runs each user container of the vertex.
    pub programs: Vec<Chosen>,
    /// Secrets and config maps.
    pub values: Values,
}
