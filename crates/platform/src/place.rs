//! A place where objects run: what can be asked of it, in one form for this machine and for a cluster. The API and the
//! commands know nothing else. Invariant: a wish is accepted or refused as a whole, and asking twice is asking once.

use async_trait::async_trait;
use serde::{Deserialize, Serialize};

use crate::view::{Applied, Event, Finding, History, Incident, Object};

/// What can be asked of a place.
#[async_trait]
pub trait Place: Send + Sync {
    /// Makes the objects of manifests what they say.
    async fn apply(&self, apply: Apply) -> Result<Vec<Applied>, Refusal>;
    /// Every object, by name.
    async fn objects(&self) -> Result<Vec<Object>, Refusal>;
    /// One object.
    async fn object(&self, name: &str) -> Result<Object, Refusal>;
    /// Asks something of an object. Returns once the wish is safely noted; what becomes of it shows in the object.
    async fn ask(&self, name: &str, wish: Wish) -> Result<Object, Refusal>;
    /// Events after a number, the oldest first, at most `limit`; of one object or of all.
    async fn events(&self, name: Option<&str>, after: u64, limit: usize) -> Result<Vec<Event>, Refusal>;
    /// The latest named errors, the oldest first.
    async fn incidents(&self, name: &str) -> Result<Vec<Incident>, Refusal>;
    /// What may be wrong with an object, the most likely first; empty when nothing is.
    async fn why(&self, name: &str) -> Result<Vec<Finding>, Refusal>;
    /// The histories of an object's vertices.
    async fn history(&self, name: &str) -> Result<History, Refusal>;
    /// Metrics of everything, as OpenMetrics text.
    async fn metrics(&self) -> Result<String, Refusal>;
    /// Waits until anything differs from version `after` of the place, and gives the version then.
    async fn changed(&self, after: u64) -> u64;
    /// Ends the place; objects keep their state and go on when it is started again.
    async fn shut_down(&self);
}

/// Manifests to apply.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct Apply {
    /// The files.
    pub files: Vec<ManifestFile>,
    /// What runs user containers: `VERTEX=COMMAND` or `VERTEX/CONTAINER=COMMAND`.
    pub exec: Vec<String>,
    /// Values of secrets: `NAME/KEY=VALUE`.
    pub secrets: Vec<String>,
    /// Values of config maps: `NAME/KEY=VALUE`.
    pub config_maps: Vec<String>,
    /// The directory that relative commands start in; absolute.
    pub working_dir: String,
    /// The search path for programs.
    pub search_path: String,
    /// Only say what would happen.
    pub dry_run: bool,
}

/// A file of manifests.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct ManifestFile {
    /// Its name, for complaints; the absolute path where it is a file.
    pub name: String,
    /// Its text.
    pub text: String,
    /// The text of the `tidegate.yaml` beside it.
    pub image_map: Option<String>,
}

/// Something asked of an object.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", tag = "wish")]
pub enum Wish {
    /// Stop the sources, drain, stop.
    Pause,
    /// Go on.
    Resume,
    /// Set a replica count by hand; none gives it back to the autoscaler.
    Scale {
        /// Which vertex; may be left out for a mono vertex.
        vertex: Option<String>,
        /// How many workers.
        replicas: Option<u32>,
    },
    /// Run another image or command.
    Set {
        /// Which vertex.
        vertex: String,
        /// Which container; may be left out where there is one.
        container: Option<String>,
        /// An image.
        image: Option<String>,
        /// A command, as after `--exec NAME=`.
        exec: Option<String>,
    },
    /// Go on with a rollout; `full` past all steps that are left.
    Promote {
        /// Which vertex; all that are rolling out when left out.
        vertex: Option<String>,
        /// Past all steps.
        full: bool,
    },
    /// Give a rollout up.
    Abort {
        /// Which vertex; all that are rolling out when left out.
        vertex: Option<String>,
    },
    /// Serve an earlier version.
    Undo {
        /// Which vertex; may be left out where only one has a history.
        vertex: Option<String>,
        /// Its number; the one before when left out.
        to: Option<u64>,
    },
    /// Replace all workers by fresh ones, as the update strategy says.
    Restart {
        /// Which vertex; all when left out.
        vertex: Option<String>,
    },
    /// Try a version again that was given up.
    Retry {
        /// Which vertex; all that were rolled back when left out.
        vertex: Option<String>,
    },
    /// Go: drained first, or at once with `force`.
    Delete {
        /// Do not drain.
        force: bool,
    },
}

/// Why something is not done.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
#[serde(rename_all = "camelCase")]
#[error("{message}")]
pub struct Refusal {
    /// What kind of refusal it is.
    pub kind: RefusalKind,
    /// What, where and why, and what to do.
    pub message: String,
    /// Complaints about manifests, in text.
    #[serde(default)]
    pub complaints: Vec<String>,
}

/// Kinds of refusals.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum RefusalKind {
    /// There is no such object, vertex or version.
    NotFound,
    /// The wish makes no sense as it stands.
    Invalid,
    /// It makes sense, but not for the object as it is.
    Conflict,
    /// The place failed.
    Failed,
}

impl Refusal {
    /// A refusal of a kind.
    pub fn new(kind: RefusalKind, message: impl Into<String>) -> Self {
        Self { kind, message: message.into(), complaints: Vec::new() }
    }
}

/// Which of the vertices of an object a wish is about: the one that it names, or all.
pub(crate) fn chosen(all: Vec<String>, vertex: Option<String>) -> Result<Vec<String>, Refusal> {
    match vertex {
        None => Ok(all),
        Some(vertex) if all.contains(&vertex) => Ok(vec![vertex]),
        Some(vertex) => {
            let message = format!("find vertex {vertex}: there are {}", all.join(", "));
            Err(Refusal::new(RefusalKind::NotFound, message))
        }
    }
}

/// The one vertex that a wish is about, which may go without a name where there is only one.
pub(crate) fn chosen_one(all: Vec<String>, vertex: Option<String>) -> Result<String, Refusal> {
    let mut chosen = chosen(all, vertex)?;
    if chosen.len() != 1 {
        let message = format!("choose a vertex: name one of {} with --vertex", chosen.join(", "));
        return Err(Refusal::new(RefusalKind::Invalid, message));
    }
    Ok(chosen.remove(0))
}

/// Those of the chosen vertices that are rolling out; refused where none is.
pub(crate) fn chosen_rolling(
    all: Vec<String>,
    vertex: Option<String>,
    is_rolling: impl Fn(&str) -> bool,
) -> Result<Vec<String>, Refusal> {
    let mut chosen = chosen(all, vertex)?;
    chosen.retain(|vertex| is_rolling(vertex));
    if chosen.is_empty() {
        return Err(Refusal::new(RefusalKind::Conflict, "nothing is rolling out"));
    }
    Ok(chosen)
}
