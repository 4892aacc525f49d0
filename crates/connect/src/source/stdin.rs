//! The source `stdin`: the lines of standard input, each a message.
//!
//! A message's number counts lines over all lives of the replica. What was read cannot be read again, so lines that
//! were in flight when the process was killed are gone; a graceful stop loses none. Replica 0 reads; the others have
//! nothing to do.
//!
//! Reading happens on a thread of its own, because a read of a terminal can neither be cancelled nor waited for when
//! the process stops. It is the one thing here that nobody joins: it ends with the input or with the process.

use std::io::Read;
use std::time::Duration;

use async_trait::async_trait;
use model::door::source::{Batch, Memory, Opened, Source};
use model::door::{self, Class};
use model::{Message, Name, Origin, Position};
use tokio::sync::mpsc;

use super::lines::{CHUNK_BYTES, Lines};
use super::{NoAnswers, Nothing, now};

/// Pieces that wait to be cut into lines, at most.
const CHUNKS_WAITING: usize = 4;

/// Who reads.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings {
    /// The vertex that reads.
    pub vertex: Name,
    /// The replica of the vertex.
    pub replica: u16,
}

/// Standard input that cannot be read.
#[derive(Debug, thiserror::Error)]
#[error("start a thread that reads standard input")]
pub struct Error(#[source] std::io::Error);

/// Opens standard input.
pub fn open(settings: Settings) -> Result<Opened, Error> {
    open_reader(settings, std::io::stdin())
}

/// Opens anything that is read as standard input is.
pub fn open_reader(settings: Settings, input: impl Read + Send + 'static) -> Result<Opened, Error> {
    let Settings { vertex, replica } = settings;
    if replica > 0 {
        return Ok(Nothing { ends: true }.opened());
    }
    let (sender, chunks) = mpsc::channel(CHUNKS_WAITING);
    std::thread::Builder::new()
        .name("stdin".to_owned())
        .spawn(move || pump(input, &sender))
        .map_err(Error)?;
    let source = Stdin { vertex, chunks, lines: Lines::default(), count: 0, ended: false };
    Ok(Opened { source: Box::new(source), answers: Box::new(NoAnswers), memory: Memory::Position })
}

type Chunk = Result<Vec<u8>, std::io::Error>;

/// Passes on what comes in until it ends or nobody wants it any more.
fn pump(mut input: impl Read, chunks: &mpsc::Sender<Chunk>) {
    let mut buffer = vec![0; CHUNK_BYTES];
    loop {
        let chunk = match input.read(&mut buffer) {
            Ok(0) => return,
            Ok(len) => Ok(buffer[..len].to_vec()),
            Err(error) if error.kind() == std::io::ErrorKind::Interrupted => continue,
            Err(error) => Err(error),
        };
        let failed = chunk.is_err();
        if chunks.blocking_send(chunk).is_err() || failed {
            return;
        }
    }
}

struct Stdin {
    vertex: Name,
    chunks: mpsc::Receiver<Chunk>,
    lines: Lines,
    count: u64,
    ended: bool,
}

fn failed(cause: impl std::error::Error + Send + Sync + 'static) -> door::Error {
    door::Error::caused(Class::Fatal, "read standard input", cause)
}

impl Stdin {
    fn batch(&mut self, messages_max: usize) -> Result<Batch, door::Error> {
        let taken = self.lines.take(messages_max).map_err(failed)?;
        let (time, first) = (now(), self.count);
        self.count += taken.len() as u64;
        let messages = (first..).zip(taken).map(|(number, line)| {
            let offset = Origin::Numbered { number, partition: 0 };
            Message::from_source(self.vertex.clone(), offset, line.bytes, time)
        });
        let end = Some(Position { sequence: self.count, index: 0 });
        Ok(Batch { messages: messages.collect(), receipts: Vec::new(), end })
    }
}

#[async_trait]
impl Source for Stdin {
    async fn resume(&mut self, from: Position) -> Result<(), door::Error> {
        // Each start has an input of its own: numbers go on, nothing is skipped.
        self.count = from.sequence;
        Ok(())
    }

    async fn read(&mut self, messages_max: usize, wait: Duration) -> Result<Option<Batch>, door::Error> {
        let until = tokio::time::Instant::now() + wait;
        loop {
            let batch = self.batch(messages_max)?;
            if !batch.messages.is_empty() {
                return Ok(Some(batch));
            }
            if self.ended {
                return Ok(None);
            }
            match tokio::time::timeout_at(until, self.chunks.recv()).await {
                Err(_) => return Ok(Some(batch)),
                Ok(Some(Ok(chunk))) => {
                    self.lines.space().extend_from_slice(&chunk);
                    self.lines.cut().map_err(failed)?;
                }
                Ok(Some(Err(error))) => return Err(failed(error)),
                Ok(None) => {
                    self.lines.finish();
                    self.ended = true;
                }
            }
        }
    }
}
