//! The sink `file`: the payload of each message as a line at the end of a file.
//!
//! A batch is one append under a lock of the file, so that several replicas may write to the same file. Unless told
//! otherwise a message is done only once its line has reached the disk. Invariant: between batches the file ends
//! with a line feed. What a crash left of a line is moved out of the file when it is opened, since the message that
//! it belongs to is written again.

use std::fs::{File, OpenOptions};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use async_trait::async_trait;
use model::door::sink::{Outcome, Sink};
use model::door::{self, Class};
use model::{Message, Time};
use tokio::task::JoinHandle;

use super::lines::lines;

/// How long an unfinished last line may be. A longer one means that this is not a file of lines.
pub const TORN_BYTES_MAX: u64 = 16 * 1024 * 1024;

/// Which file, and what it means to be done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings {
    /// The file; made if it is missing, in a directory that exists.
    pub path: PathBuf,
    /// Whether a message is done only when its line is on the disk, and not already when the operating system has it.
    pub sync: bool,
}

impl Settings {
    /// A file whose lines are on the disk when they are done.
    pub fn new(path: impl Into<PathBuf>) -> Self {
        Self { path: path.into(), sync: true }
    }
}

/// A file that cannot be written to.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The directory is missing.
    #[error("open {} for appending: its directory does not exist", .path.display())]
    NoDirectory {
        /// The file.
        path: PathBuf,
    },
    /// It cannot be opened or repaired.
    #[error("open {} for appending", .path.display())]
    Open {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        cause: io::Error,
    },
    /// Its end is no line.
    #[error(
        "open {} for appending: its last {TORN_BYTES_MAX} bytes hold no line feed, so it is not a file of lines; \
         give another path",
        .path.display()
    )]
    NotLines {
        /// The file.
        path: PathBuf,
    },
}

/// Opens a file for appending, making it if necessary, and repairs its end.
pub async fn open(settings: Settings) -> Result<Box<dyn Sink>, Error> {
    let blocking = tokio::task::spawn_blocking(move || prepare(settings));
    let sink = blocking.await.expect("preparing a file neither panics nor is cancelled")?;
    Ok(Box::new(sink))
}

struct FileSink {
    path: PathBuf,
    file: Arc<File>,
    /// Pipes and devices have no end to cut and nothing to synchronise.
    regular: bool,
    sync: bool,
    /// An append that has begun. One that was given up is waited for before anything else, so that it is not
    /// overtaken and its failure is not missed.
    under_way: Option<JoinHandle<Result<(), Failure>>>,
}

impl FileSink {
    fn append(&self, bytes: Vec<u8>) -> JoinHandle<Result<(), Failure>> {
        let (file, regular, sync) = (Arc::clone(&self.file), self.regular, self.sync);
        tokio::task::spawn_blocking(move || {
            if !regular {
                return append(&file, regular, &bytes);
            }
            locked(&file, || Ok(append(&file, regular, &bytes)))??;
            if sync {
                // A disk that failed to keep something once is not asked again.
                file.sync_data().map_err(|cause| Failure { class: Class::Fatal, cause })?;
            }
            Ok(())
        })
    }

    /// Waits for the append that is under way.
    async fn finish(&mut self) -> Result<(), door::Error> {
        let Some(under_way) = &mut self.under_way else { return Ok(()) };
        let written = under_way.await.expect("appending neither panics nor is cancelled");
        self.under_way = None;
        written.map_err(|Failure { class, cause }| {
            door::Error::caused(class, format!("append to {}", self.path.display()), cause)
        })
    }
}

fn prepare(settings: Settings) -> Result<FileSink, Error> {
    let Settings { path, sync } = settings;
    let directory = path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
    if !directory.is_dir() {
        return Err(Error::NoDirectory { path });
    }
    let cause = |cause| Error::Open { path: path.clone(), cause };
    let present = path.exists();
    let regular = !present || path.metadata().map_err(cause)?.is_file();
    let mut options = OpenOptions::new();
    options.append(true).create(true).read(regular);
    let file = options.open(&path).map_err(cause)?;
    if regular && sync && !present {
        // The name of the file has to reach the disk as well.
        File::open(directory).and_then(|directory| directory.sync_all()).map_err(cause)?;
    }
    if regular && !locked(&file, || repair(&file, &path)).map_err(cause)? {
        return Err(Error::NotLines { path });
    }
    Ok(FileSink { path, file: Arc::new(file), regular, sync, under_way: None })
}

/// Does something while nobody else may write to the file.
fn locked<T>(file: &File, act: impl FnOnce() -> io::Result<T>) -> io::Result<T> {
    match file.lock() {
        // A file system without locks has no replicas on it that need them.
        Err(error) if error.kind() == io::ErrorKind::Unsupported => return act(),
        outcome => outcome?,
    }
    let result = act();
    file.unlock()?;
    result
}

/// Moves an unfinished last line to a file beside this one. False when there is no line feed to be found.
fn repair(mut file: &File, path: &Path) -> io::Result<bool> {
    let len = file.metadata()?.len();
    let tail_start = len.saturating_sub(TORN_BYTES_MAX);
    let mut last = [b'\n'];
    if len > 0 {
        file.seek(SeekFrom::End(-1))?;
        file.read_exact(&mut last)?;
    }
    if last == *b"\n" {
        return Ok(true);
    }
    file.seek(SeekFrom::Start(tail_start))?;
    let mut tail = Vec::new();
    file.take(len - tail_start).read_to_end(&mut tail)?;
    let start = match memchr::memrchr(b'\n', &tail) {
        Some(end) => end + 1,
        None if tail_start == 0 => 0,
        None => return Ok(false),
    };
    let torn = &tail[start..];
    let mut name = path.as_os_str().to_owned();
    name.push(".torn");
    let mut beside = OpenOptions::new().append(true).create(true).open(&name)?;
    beside.write_all(torn)?;
    beside.write_all(b"\n")?;
    beside.sync_data()?;
    file.set_len(tail_start + start as u64)?;
    file.sync_data()?;
    tracing::warn!(
        path = %path.display(), bytes = torn.len(), moved_to = %name.display(),
        "an unfinished last line was moved out of the file",
    );
    Ok(true)
}

/// A failure to append, and whether it may pass.
struct Failure {
    class: Class,
    cause: io::Error,
}

impl From<io::Error> for Failure {
    fn from(cause: io::Error) -> Self {
        let passes = matches!(cause.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded);
        Self { class: if passes { Class::Retry } else { Class::Fatal }, cause }
    }
}

fn append(mut file: &File, regular: bool, bytes: &[u8]) -> Result<(), Failure> {
    let len = file.metadata()?.len();
    let written = file.write_all(bytes);
    if regular && written.is_err() {
        // What is there of the batch is taken back, so that writing it again does not double it.
        file.set_len(len).map_err(|cause| Failure { class: Class::Fatal, cause })?;
    }
    Ok(written?)
}

#[async_trait]
impl Sink for FileSink {
    async fn write(&mut self, messages: &[Message], _: Time) -> Result<Vec<Outcome>, door::Error> {
        self.finish().await?;
        self.under_way = Some(self.append(lines(messages)));
        self.finish().await?;
        Ok(messages.iter().map(|_| Outcome::Done).collect())
    }

    async fn ready(&self) -> bool {
        true
    }

    async fn close(&mut self) -> Result<(), door::Error> {
        self.finish().await
    }
}

#[cfg(test)]
mod tests;
