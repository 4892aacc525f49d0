//! The source `file`: the lines of a file, each a message.
//!
//! The position is the offset of the first byte that is not done, always the start of a line; a message's number is
//! the offset of its line. Replica 0 reads; the others have nothing to do. Invariant: a file that is not the one
//! that was read before (shorter, or cut elsewhere) ends in an error, never in a guess.

use std::io::SeekFrom;
use std::os::unix::fs::MetadataExt;
use std::path::PathBuf;
use std::time::Duration;

use async_trait::async_trait;
use model::door::source::{Batch, Memory, Opened, Source};
use model::door::{self, Class};
use model::{Message, Name, Origin, Position};
use tokio::fs::File;
use tokio::io::{AsyncReadExt, AsyncSeekExt};
use tokio::time::Instant;

use super::lines::Lines;
use super::{NoAnswers, Nothing, now};

/// How often the end of a followed file is looked at.
const LOOK_EVERY: Duration = Duration::from_millis(50);

/// Which file, and what its end means.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings {
    /// The vertex that reads.
    pub vertex: Name,
    /// The replica of the vertex.
    pub replica: u16,
    /// The file.
    pub path: PathBuf,
    /// Wait for more at the end, where the input otherwise ends.
    pub follow: bool,
}

/// A file that cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// It is not there, or not for us.
    #[error("open {} for reading", .path.display())]
    Open {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        cause: std::io::Error,
    },
    /// It has no positions to come back to.
    #[error("read {} line by line: it is not a regular file", .path.display())]
    NotRegular {
        /// The file.
        path: PathBuf,
    },
}

/// Opens a file, which must be there.
pub async fn open(settings: Settings) -> Result<Opened, Error> {
    let Settings { vertex, replica, path, follow } = settings;
    let cause = |cause| Error::Open { path: path.clone(), cause };
    let file = File::open(&path).await.map_err(cause)?;
    let metadata = file.metadata().await.map_err(cause)?;
    if !metadata.is_file() {
        return Err(Error::NotRegular { path });
    }
    if replica > 0 {
        return Ok(Nothing { ends: !follow }.opened());
    }
    let identity = (metadata.dev(), metadata.ino());
    let source = FileSource { vertex, path, follow, file, identity, lines: Lines::default(), ended: false };
    Ok(Opened { source: Box::new(source), answers: Box::new(NoAnswers), memory: Memory::Position })
}

struct FileSource {
    vertex: Name,
    path: PathBuf,
    follow: bool,
    file: File,
    /// Device and inode.
    identity: (u64, u64),
    lines: Lines,
    ended: bool,
}

impl FileSource {
    fn attempted(&self) -> String {
        format!("read {}", self.path.display())
    }

    fn failed(&self, cause: std::io::Error) -> door::Error {
        door::Error::caused(Class::Fatal, self.attempted(), cause)
    }

    fn refused(&self, why: &str) -> door::Error {
        door::Error::new(Class::Fatal, format!("{}: {why}", self.attempted()))
    }

    /// The lines that are there, at most `messages_max`.
    fn batch(&mut self, messages_max: usize) -> Result<Batch, door::Error> {
        let taken = self.lines.take(messages_max);
        let taken = taken.map_err(|error| door::Error::caused(Class::Fatal, self.attempted(), error))?;
        let time = now();
        let messages = taken.into_iter().map(|line| {
            let offset = Origin::Numbered { number: line.start, partition: 0 };
            Message::from_source(self.vertex.clone(), offset, line.bytes, time)
        });
        let messages = messages.collect();
        let end = Some(Position { sequence: self.lines.given(), index: 0 });
        Ok(Batch { messages, receipts: Vec::new(), end })
    }

    /// Whether the end that was reached is still the end of the file at this path.
    async fn check_end(&self) -> Result<(), door::Error> {
        let len = self.file.metadata().await.map_err(|cause| self.failed(cause))?.len();
        let read = self.lines.read();
        if len < read {
            let why = format!(
                "it was cut to {len} bytes while {read} had been read; follow files that only grow, or start with \
                 an empty state directory"
            );
            return Err(self.refused(&why));
        }
        match tokio::fs::metadata(&self.path).await {
            Ok(metadata) if (metadata.dev(), metadata.ino()) != self.identity => Err(self.refused(
                "another file has taken its place, in which the positions of the old one mean nothing; follow files \
                 that are not rotated, or start with an empty state directory",
            )),
            Ok(_) => Ok(()),
            // A file that was moved away or removed may still be written to.
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(()),
            Err(error) => Err(self.failed(error)),
        }
    }
}

#[async_trait]
impl Source for FileSource {
    async fn resume(&mut self, from: Position) -> Result<(), door::Error> {
        let mut start = from.sequence;
        let len = self.file.metadata().await.map_err(|cause| self.failed(cause))?.len();
        if len < start {
            let why = format!(
                "it has {len} bytes and {start} were read before, so it is not the same file; start with an empty \
                 state directory to read it from its beginning"
            );
            return Err(self.refused(&why));
        }
        if start > 0 {
            // A last line without an end may have been given its end since.
            let mut around = [0; 2];
            let around = &mut around[..if len > start { 2 } else { 1 }];
            self.file.seek(SeekFrom::Start(start - 1)).await.map_err(|cause| self.failed(cause))?;
            self.file.read_exact(around).await.map_err(|cause| self.failed(cause))?;
            match *around {
                [b'\n', ..] | [_] => {}
                [_, b'\n'] => start += 1,
                _ => {
                    let why = format!(
                        "byte {start}, where reading is to go on, is in the middle of a line, so it is not the same \
                         file; start with an empty state directory to read it from its beginning"
                    );
                    return Err(self.refused(&why));
                }
            }
        }
        self.file.seek(SeekFrom::Start(start)).await.map_err(|cause| self.failed(cause))?;
        self.lines = Lines::starting_at(start);
        Ok(())
    }

    async fn read(&mut self, messages_max: usize, wait: Duration) -> Result<Option<Batch>, door::Error> {
        let until = Instant::now() + wait;
        loop {
            let batch = self.batch(messages_max)?;
            if !batch.messages.is_empty() {
                return Ok(Some(batch));
            }
            if self.ended {
                return Ok(None);
            }
            // What a dropped read has begun to read is kept in the file's own buffer.
            let read = self.file.read_buf(self.lines.space()).await.map_err(|cause| self.failed(cause))?;
            if read > 0 {
                let cut = self.lines.cut();
                cut.map_err(|error| door::Error::caused(Class::Fatal, self.attempted(), error))?;
            } else if self.follow {
                self.check_end().await?;
                let left = until.saturating_duration_since(Instant::now());
                if left.is_zero() {
                    return Ok(Some(batch));
                }
                tokio::time::sleep(left.min(LOOK_EVERY)).await;
            } else {
                self.lines.finish();
                self.ended = true;
            }
        }
    }
}
