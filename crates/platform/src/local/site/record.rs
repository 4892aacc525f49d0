//! What a site remembers of an object: one file, replaced as a whole. Invariant: a crash at any moment leaves the file
//! as it was before or as it is after, and everything that was accepted from a user is in it before they hear of it.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use api::revision::Revision;
use plan::Time;
use plan::wanted::{Asked, Deletion};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::local::disk::Disk;

/// The version of the form; docs/format/state-dir.md describes it.
pub(super) const FORMAT_VERSION: u32 = 1;
/// The file in the object's directory.
const RECORD_FILE: &str = "object.json";

/// Why a record cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The file cannot be read or written.
    #[error("{doing} {}", path.display())]
    Io {
        /// What was attempted.
        doing: &'static str,
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// The file is not what was written.
    #[error("understand {}: the file is damaged; move the directory away to go on without the object", path.display())]
    Damaged {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: serde_json::Error,
    },
    /// Another version of the program wrote it.
    #[error("read {}: its format has version {found} and this program knows {FORMAT_VERSION}", path.display())]
    Version {
        /// The file.
        path: PathBuf,
        /// The version found.
        found: u32,
    },
}

/// An object as it is kept.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Record {
    pub(super) format_version: u32,
    pub(super) name: String,
    pub(super) created_at: Time,
    /// Grows with every edit.
    pub(super) generation: u64,
    /// The manifest as it is wanted.
    pub(super) manifest: Value,
    /// The manifest whose graph the buffers have. It differs from the wanted one while that waits for a drain.
    pub(super) shape: Value,
    pub(super) ways: Ways,
    pub(super) values: Values,
    /// What people asked of vertices, beside the manifest.
    pub(super) asked: BTreeMap<String, Asked>,
    /// Words about rollouts so far.
    pub(super) words: u64,
    /// By vertex a token that was made by its last restart.
    pub(super) restarts: BTreeMap<String, String>,
    pub(super) deletion: Option<Deletion>,
    /// By vertex, every version that may have to run (again).
    pub(super) versions: BTreeMap<String, BTreeMap<Revision, Version>>,
    pub(super) memory: plan::Memory,
}

/// Where the programs of user containers come from.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub(super) struct Ways {
    /// `VERTEX=COMMAND` or `VERTEX/CONTAINER=COMMAND`; of equal addresses the last counts.
    pub(super) exec: Vec<String>,
    /// The image map and the path of its file.
    pub(super) image_map: Option<(PathBuf, String)>,
    pub(super) working_dir: PathBuf,
    pub(super) search_path: String,
}

/// Secrets and config maps. The file is readable by its owner alone.
#[derive(Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub(super) struct Values {
    /// `NAME/KEY=VALUE`.
    pub(super) secrets: Vec<String>,
    /// `NAME/KEY=VALUE`.
    pub(super) config_maps: Vec<String>,
}

impl std::fmt::Debug for Values {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} secret and {} config map values", self.secrets.len(), self.config_maps.len())
    }
}

/// What a version of a vertex was made of.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Version {
    pub(super) manifest: Value,
    pub(super) ways: Ways,
}

impl Record {
    /// The record in an object's directory; none when there is none.
    pub(super) fn load(directory: &Path) -> Result<Option<Self>, Error> {
        let path = directory.join(RECORD_FILE);
        let bytes = match fs::read(&path) {
            Ok(bytes) => bytes,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(source) => return Err(Error::Io { doing: "read", path, source }),
        };
        let damaged = |source| Error::Damaged { path: path.clone(), source };
        let value: Value = serde_json::from_slice(&bytes).map_err(damaged)?;
        let found = value["formatVersion"].as_u64().unwrap_or_default();
        if found != u64::from(FORMAT_VERSION) {
            return Err(Error::Version { path, found: u32::try_from(found).unwrap_or(u32::MAX) });
        }
        serde_json::from_value(value).map(Some).map_err(damaged)
    }

    /// Replaces the record. When it returns, the disk has it.
    pub(super) fn save(&self, disk: &dyn Disk, directory: &Path) -> Result<(), Error> {
        let path = directory.join(RECORD_FILE);
        let text = serde_json::to_vec(self).expect("a record is plain data");
        disk.replace(&path, &text).map_err(|source| Error::Io { doing: "write", path, source })
    }
}
