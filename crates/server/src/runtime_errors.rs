//! Errors of user code and of our own part as files, the form in which the containers of a pod leave them for each other
//! and for the daemon: `<directory>/<container>/<nanoseconds>-<sequence>-numa.json`, one object each. SDKs leave files
//! of the same form beside ours.
//!
//! Invariant: a file is there whole or not at all, and at most [`KEPT`] of a container stay.

use std::fs;
use std::io;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{SystemTime, UNIX_EPOCH};

use platform::view::Incident;
use serde::{Deserialize, Serialize};

/// Where the containers of a pod leave their errors.
pub const DIRECTORY: &str = "/var/numaflow/runtime/application-errors";
/// Files of one container that stay and are read: the newest.
pub const KEPT: usize = 10;
/// The largest file that is read; an error with more detail is cut before it is written.
const FILE_BYTES_MAX: u64 = 512 * 1024;
/// The longest text of one field.
const TEXT_BYTES_MAX: usize = 16 * 1024;
/// Containers that are read, at most. A pod has a handful.
const CONTAINERS_MAX: usize = 64;
/// Names of files that are read of one container, at most.
const FILES_MAX: usize = 10_000;
/// Everybody in the pod may write there, whatever user a container runs as.
const DIRECTORY_MODE: u32 = 0o777;
/// What the name of a file ends with while it is written.
const UNFINISHED: &str = ".tmp";
/// What the name of a file begins with while an SDK writes it.
const CURRENT: &str = "current";

/// One error.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Entry {
    /// The container, such as `udf`; `numa` for our own part.
    pub container: String,
    /// Seconds since the Unix epoch.
    pub timestamp: i64,
    /// A word or a few for what happened.
    pub code: String,
    /// What happened.
    pub message: String,
    /// More, such as a stack trace.
    pub details: String,
}

impl From<&Incident> for Entry {
    /// An incident has all that an entry has; the messages concerned go before the details.
    fn from(incident: &Incident) -> Self {
        let Incident { at, object: _, vertex: _, replica: _, container, code, message, details, messages } =
            incident;
        let concerned = (!messages.is_empty()).then(|| format!("messages: {}", messages.join(", ")));
        let details: Vec<&str> = concerned
            .as_deref()
            .into_iter()
            .chain([details.as_str()])
            .filter(|part| !part.is_empty())
            .collect();
        Self {
            container: container.clone(),
            timestamp: at.millis().div_euclid(1000),
            code: code.clone(),
            message: message.clone(),
            details: details.join(" | details: "),
        }
    }
}

/// Why errors could not be read or written.
#[derive(Debug, thiserror::Error)]
#[error("{attempt} {}", path.display())]
pub struct Error {
    attempt: &'static str,
    path: PathBuf,
    #[source]
    source: io::Error,
}

/// The errors of one pod.
#[derive(Debug)]
pub struct Store {
    directory: PathBuf,
    sequence: AtomicU64,
}

impl Store {
    /// Errors below a directory, which need not exist.
    pub fn new(directory: impl Into<PathBuf>) -> Self {
        Self { directory: directory.into(), sequence: AtomicU64::new(0) }
    }

    /// Makes the directory, so that every container can write there.
    pub fn prepare(&self) -> Result<(), Error> {
        open_to_all(&self.directory)
    }

    /// Leaves an error, and removes the oldest of its container beyond [`KEPT`]. Blocks on the disk.
    pub fn write(&self, entry: &Entry) -> Result<(), Error> {
        let directory = self.directory.join(directory_name(&entry.container));
        self.prepare()?;
        open_to_all(&directory)?;
        let sequence = self.sequence.fetch_add(1, Ordering::Relaxed);
        let nanos = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_nanos());
        let path = directory.join(format!("{nanos}-{sequence}-numa.json"));
        let unfinished = directory.join(format!("{nanos}-{sequence}-numa.json{UNFINISHED}"));
        let text = serde_json::to_vec(&cut(entry)).expect("plain text has a JSON form");
        fs::write(&unfinished, text).map_err(failed("write", &unfinished))?;
        fs::rename(&unfinished, &path).map_err(failed("rename to", &path))?;
        let mut names = finished(&directory)?;
        while names.len() > KEPT {
            let oldest = directory.join(names.remove(0));
            match fs::remove_file(&oldest) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => {
                    return Err(failed("remove", &oldest)(error));
                }
                // Somebody else has removed it.
                Ok(()) | Err(_) => {}
            }
        }
        Ok(())
    }

    /// The latest errors of every container, by container, the oldest first. What is no error in this form is passed
    /// over with a warning. Blocks on the disk.
    pub fn read(&self) -> Result<Vec<Entry>, Error> {
        let mut entries = Vec::new();
        let containers = match list(&self.directory) {
            Ok(names) => names,
            // Nobody has left anything yet.
            Err(error) if error.source.kind() == io::ErrorKind::NotFound => return Ok(entries),
            Err(error) => return Err(error),
        };
        let directories = containers.into_iter().map(|name| self.directory.join(name));
        for directory in directories.filter(|path| path.is_dir()).take(CONTAINERS_MAX) {
            let names = finished(&directory)?;
            for name in &names[names.len().saturating_sub(KEPT)..] {
                let path = directory.join(name);
                match read_one(&path) {
                    Ok(entry) => entries.push(entry),
                    Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                    Err(error) => tracing::warn!(path = %path.display(), %error, "a file holds no error"),
                }
            }
        }
        Ok(entries)
    }
}

/// Of a list that keeps only the latest, those that came after `seen` in all had come.
pub fn unseen<T>(latest: &[T], total: u64, seen: u64) -> &[T] {
    let count = usize::try_from(total.saturating_sub(seen)).unwrap_or(usize::MAX);
    &latest[latest.len().saturating_sub(count)..]
}

fn read_one(path: &Path) -> io::Result<Entry> {
    let size = fs::metadata(path)?.len();
    if size > FILE_BYTES_MAX {
        let message = format!("it has {size} bytes, and {FILE_BYTES_MAX} are the most that is read");
        return Err(io::Error::new(io::ErrorKind::InvalidData, message));
    }
    Ok(serde_json::from_slice(&fs::read(path)?)?)
}

/// The names of finished files, the oldest first.
fn finished(directory: &Path) -> Result<Vec<String>, Error> {
    let mut names = list(directory)?;
    names.retain(|name| !name.ends_with(UNFINISHED) && !name.starts_with(CURRENT));
    names.sort_by_cached_key(|name| (order(name), name.clone()));
    Ok(names)
}

/// Names begin with the time, and then count; others come first.
fn order(name: &str) -> (u128, u64) {
    let mut parts = name.split('-');
    let mut number = || parts.next().unwrap_or_default();
    (number().parse().unwrap_or(0), number().parse().unwrap_or(0))
}

fn list(directory: &Path) -> Result<Vec<String>, Error> {
    let entries = fs::read_dir(directory).map_err(failed("list", directory))?;
    let mut names = Vec::new();
    for entry in entries.take(FILES_MAX) {
        names.extend(entry.map_err(failed("list", directory))?.file_name().into_string());
    }
    names.sort_unstable();
    Ok(names)
}

fn open_to_all(directory: &Path) -> Result<(), Error> {
    fs::create_dir_all(directory).map_err(failed("create", directory))?;
    let mode = fs::metadata(directory).map_err(failed("look at", directory))?.permissions().mode() & 0o777;
    if mode == DIRECTORY_MODE {
        return Ok(());
    }
    fs::set_permissions(directory, fs::Permissions::from_mode(DIRECTORY_MODE))
        .map_err(failed("open to all containers", directory))
}

/// Names of containers come from user code too, and must not lead out of the directory.
fn directory_name(container: &str) -> String {
    let is_plain = |letter: char| letter.is_ascii_alphanumeric() || "-_.".contains(letter);
    let name: String = container.chars().filter(|letter| is_plain(*letter)).take(100).collect();
    let name = name.trim_matches('.');
    if name.is_empty() { "numa".to_owned() } else { name.to_owned() }
}

fn cut(entry: &Entry) -> Entry {
    let short = |text: &str| {
        let end = (0..=TEXT_BYTES_MAX.min(text.len())).rev().find(|end| text.is_char_boundary(*end));
        text[..end.unwrap_or(0)].to_owned()
    };
    Entry {
        container: short(&entry.container),
        timestamp: entry.timestamp,
        code: short(&entry.code),
        message: short(&entry.message),
        details: short(&entry.details),
    }
}

fn failed(attempt: &'static str, path: &Path) -> impl FnOnce(io::Error) -> Error {
    let path = path.to_owned();
    move |source| Error { attempt, path, source }
}

#[cfg(test)]
mod tests;
