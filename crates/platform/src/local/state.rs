//! The state directory of a run: who holds it, which manifest it belongs to, and where everything in it is.
//!
//! The journal, logs and volumes in it are filled by others. Invariant: at most one process holds a state directory, and
//! what is in it was made by the manifest that is recorded in it, unless the user forced another one upon it.

use std::fmt::Write as _;
use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{self, Read, Seek, Write};
use std::path::{Path, PathBuf};

use api::revision::Revision;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::disk::{Disk, FileSystem};

mod difference;

#[cfg(test)]
mod tests;

pub use difference::differences;

/// The version of the layout; docs/format/state-dir.md describes it.
pub const FORMAT_VERSION: u32 = 1;
/// How many differences an error names.
const DIFFERENCES_SHOWN: usize = 8;
/// Held locked by the process that uses the directory; holds its process id.
const LOCK_FILE: &str = "lock";
/// Format version and manifest.
const RUN_FILE: &str = "run.json";

/// Why a state directory cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A file or directory in it cannot be made, read or written.
    #[error("{doing} {}", path.display())]
    Io {
        /// What was attempted.
        doing: &'static str,
        /// The file or directory.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// Another process uses it.
    #[error(
        "use the state directory {}: process {process} uses it; stop that one, or give another --state-dir",
        path.display()
    )]
    Held {
        /// The directory.
        path: PathBuf,
        /// The process, as far as it is known.
        process: String,
    },
    /// It was made by another version of the layout.
    #[error(
        "use the state directory {}: its format has version {found} and this program knows {FORMAT_VERSION}; run it \
         with the program that made it, or give another --state-dir",
        path.display()
    )]
    Version {
        /// The directory.
        path: PathBuf,
        /// The version found.
        found: u32,
    },
    /// What it says about its run cannot be read.
    #[error(
        "understand {}: the file is damaged; give another --state-dir, or --force to give the directory to this manifest",
        path.display()
    )]
    Damaged {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: serde_json::Error,
    },
    /// It belongs to another manifest.
    #[error("{}", different(path, changes))]
    Different {
        /// The directory.
        path: PathBuf,
        /// What differs: paths with the values before and after.
        changes: Vec<String>,
    },
}

fn different(path: &Path, changes: &[String]) -> String {
    let mut text = format!(
        "use the state directory {}: it belongs to a different manifest; what differs:",
        path.display()
    );
    for change in changes.iter().take(DIFFERENCES_SHOWN) {
        text.push_str("\n  ");
        text.push_str(change);
    }
    if let Some(more) = changes.len().checked_sub(DIFFERENCES_SHOWN).filter(|&more| more > 0) {
        write!(text, "\n  and {more} more").expect("writing to a string cannot fail");
    }
    text.push_str(
        "\ngive --force to go on with what is in it (messages for vertices that are gone stay where they are), or \
         another --state-dir to start empty",
    );
    text
}

/// What is to be done with a directory of a different manifest.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OnDifference {
    /// Refuse it.
    Refuse,
    /// Go on with it and record the manifest at hand.
    Force,
}

#[derive(Deserialize, Serialize)]
#[serde(rename_all = "camelCase")]
struct Run {
    format_version: u32,
    program: String,
    manifest: Value,
}

/// A state directory that this process holds until the value is dropped.
#[derive(Debug)]
pub struct StateDir {
    path: PathBuf,
    is_resumed: bool,
    /// The open file carries the lock.
    _lock: File,
}

impl StateDir {
    /// Makes or opens the directory for a manifest and locks it. `manifest` is the object as it was read, without
    /// secrets: it is kept in the directory.
    pub fn open(path: &Path, manifest: &Value, on_difference: OnDifference) -> Result<Self, Error> {
        Self::open_on(&FileSystem, path, manifest, on_difference)
    }

    /// The same, with the record written to a disk of the caller's.
    pub(crate) fn open_on(
        disk: &dyn Disk,
        path: &Path,
        manifest: &Value,
        on_difference: OnDifference,
    ) -> Result<Self, Error> {
        fs::create_dir_all(path).map_err(|source| io_error("make the state directory", path, source))?;
        let path =
            &fs::canonicalize(path).map_err(|source| io_error("find the state directory", path, source))?;
        let lock = lock(path)?;
        let file = path.join(RUN_FILE);
        let found = match fs::read(&file) {
            Ok(bytes) => Some(parse(&file, &bytes)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => None,
            Err(source) => return Err(io_error("read", &file, source)),
        };
        let is_resumed = found.is_some();
        let is_recorded = match found {
            None => false,
            Some(found) => is_same(path, found, manifest, on_difference)?,
        };
        if !is_recorded {
            record(disk, &file, manifest)?;
        }
        Ok(Self { path: path.clone(), is_resumed, _lock: lock })
    }

    /// The directory itself; absolute.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Whether an earlier run used it.
    pub fn is_resumed(&self) -> bool {
        self.is_resumed
    }

    /// Where the journal keeps its segments.
    pub fn journal(&self) -> PathBuf {
        self.path.join("journal")
    }

    /// The log of a user container of one worker.
    pub fn log(&self, vertex: &str, revision: &Revision, replica: u16, container: &str) -> PathBuf {
        let worker = worker_name(vertex, revision, replica);
        self.path.join("logs").join(worker).join(format!("{container}.log"))
    }

    /// Where the `emptyDir` volumes of a worker are.
    pub fn volumes(&self, vertex: &str, revision: &Revision, replica: u16) -> PathBuf {
        self.path.join("volumes").join(worker_name(vertex, revision, replica))
    }

    /// Removes the logs and `emptyDir` volumes of every worker of a version. What cannot be removed stays.
    pub fn forget(&self, vertex: &str, revision: &Revision) {
        let prefix = format!("{vertex}-{revision}-");
        let is_of =
            |name: &str| name.strip_prefix(&prefix).is_some_and(|number| number.parse::<u16>().is_ok());
        for below in ["logs", "volumes"] {
            let Ok(entries) = fs::read_dir(self.path.join(below)) else { continue };
            for entry in entries.flatten().filter(|entry| entry.file_name().to_str().is_some_and(is_of)) {
                if let Err(error) = fs::remove_dir_all(entry.path()) {
                    tracing::warn!(path = %entry.path().display(), %error, "what a version left stays");
                }
            }
        }
    }

    /// Where persistent volume claims are.
    pub fn claims(&self) -> PathBuf {
        self.path.join("claims")
    }
}

/// Workers of two versions may have the same number.
fn worker_name(vertex: &str, revision: &Revision, replica: u16) -> String {
    format!("{vertex}-{revision}-{replica}")
}

/// The name of the directory for a manifest, below the directory for all state: `<name>-<hash of the manifest's
/// absolute path>`, so that two manifests of the same name do not meet.
pub fn default_name(object: &str, manifest: &Path) -> String {
    format!("{object}-{:016x}", hash(manifest.as_os_str().as_encoded_bytes()))
}

/// A short name for the directory with the sockets of a run: socket paths have at most 107 bytes, and state directories
/// may lie deep.
pub fn run_dir_name(state: &StateDir) -> String {
    format!("tidegate-{:016x}", hash(state.path.as_os_str().as_encoded_bytes()))
}

/// What tells this process from others that meet in one place on the network: the same in every life that has the state
/// directory, and another one on another machine.
pub fn process_name(state: &StateDir) -> String {
    // Where machines have no names there is one machine.
    let machine = fs::read("/proc/sys/kernel/hostname").unwrap_or_default();
    // Where there is no present directory the path as it is written has to do.
    let path = std::path::absolute(&state.path).unwrap_or_else(|_| state.path.clone());
    let own = [machine.as_slice(), path.as_os_str().as_encoded_bytes()].concat();
    format!("{:016x}", hash(&own))
}

/// FNV-1a with 64 bits: the same on every machine and in every version, which the standard hashers do not promise.
fn hash(bytes: &[u8]) -> u64 {
    const OFFSET: u64 = 0xcbf2_9ce4_8422_2325;
    const PRIME: u64 = 0x0000_0100_0000_01b3;
    bytes.iter().fold(OFFSET, |hash, byte| (hash ^ u64::from(*byte)).wrapping_mul(PRIME))
}

/// Makes a directory that only this user can enter, or checks that an existing one is such. It is for directories in
/// places where everybody may write.
#[cfg(unix)]
pub fn make_private(path: &Path) -> Result<(), Error> {
    use std::os::unix::fs::{DirBuilderExt, MetadataExt, PermissionsExt};

    match fs::DirBuilder::new().mode(0o700).create(path) {
        Ok(()) => return Ok(()),
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
        Err(source) => return Err(io_error("make the directory", path, source)),
    }
    let found = fs::symlink_metadata(path).map_err(|source| io_error("look at", path, source))?;
    let is_ours = found.is_dir() && found.uid() == nix::unistd::geteuid().as_raw();
    if !is_ours {
        return Err(io_error("use", path, io::Error::other("it belongs to somebody else")));
    }
    fs::set_permissions(path, fs::Permissions::from_mode(0o700))
        .map_err(|source| io_error("restrict", path, source))
}

/// Makes a directory and all above it.
pub(crate) fn make_all(path: &Path) -> Result<(), Error> {
    fs::create_dir_all(path).map_err(|source| io_error("make the directory", path, source))
}

/// Takes the lock and leaves our process id in it.
pub(crate) fn lock(path: &Path) -> Result<File, Error> {
    let file = path.join(LOCK_FILE);
    let opened = OpenOptions::new().create(true).truncate(false).read(true).write(true).open(&file);
    let mut lock = opened.map_err(|source| io_error("open", &file, source))?;
    match lock.try_lock() {
        Ok(()) => {}
        Err(TryLockError::WouldBlock) => {
            let mut process = String::new();
            let read = lock.read_to_string(&mut process);
            let is_known = read.is_ok() && !process.trim().is_empty();
            let process = if is_known { process.trim().to_owned() } else { "(unknown)".to_owned() };
            return Err(Error::Held { path: path.to_owned(), process });
        }
        Err(TryLockError::Error(source)) => return Err(io_error("lock", &file, source)),
    }
    let written = (|| {
        lock.set_len(0)?;
        lock.rewind()?;
        writeln!(lock, "{}", std::process::id())
    })();
    written.map_err(|source| io_error("write", &file, source))?;
    Ok(lock)
}

/// Whether the directory already is of this manifest; false when it is to be recorded.
fn is_same(
    path: &Path,
    found: Result<Run, Error>,
    manifest: &Value,
    on_difference: OnDifference,
) -> Result<bool, Error> {
    let run = match (found, on_difference) {
        (Ok(run), _) => run,
        (Err(_), OnDifference::Force) => return Ok(false),
        (Err(error), OnDifference::Refuse) => return Err(error),
    };
    if run.format_version != FORMAT_VERSION {
        return Err(Error::Version { path: path.to_owned(), found: run.format_version });
    }
    let changes = differences(&run.manifest, manifest);
    match on_difference {
        OnDifference::Refuse if !changes.is_empty() => {
            Err(Error::Different { path: path.to_owned(), changes })
        }
        OnDifference::Refuse | OnDifference::Force => Ok(changes.is_empty()),
    }
}

fn parse(file: &Path, bytes: &[u8]) -> Result<Run, Error> {
    serde_json::from_slice(bytes).map_err(|source| Error::Damaged { path: file.to_owned(), source })
}

/// Replaces the record in one step, so that a crash leaves the old one or the new one.
fn record(disk: &dyn Disk, file: &Path, manifest: &Value) -> Result<(), Error> {
    let run = Run {
        format_version: FORMAT_VERSION,
        program: format!("tidegate {}", env!("CARGO_PKG_VERSION")),
        manifest: manifest.clone(),
    };
    let text = serde_json::to_string_pretty(&run).expect("a value can be written as text");
    disk.replace(file, text.as_bytes()).map_err(|source| io_error("write", file, source))
}

fn io_error(doing: &'static str, path: &Path, source: io::Error) -> Error {
    Error::Io { doing, path: path.to_owned(), source }
}
