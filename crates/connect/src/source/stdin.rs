//! The source `stdin`: the lines of standard input, each a message.
//!
//! A message's number counts lines over all lives of the replica. What was read cannot be read again, so lines that
//! were in flight when the process was killed are gone; a graceful stop loses none. Replica 0 reads; the others have
//! nothing to do.
//!
//! Reading happens on a thread of its own, because a read of a terminal can neither be cancelled nor waited for when
//! the process stops. It is the one thing here that nobody joins: it ends with the input or with the process. What it
//! has read belongs to the input and not to a source. Invariant: a line is given by exactly one source, whichever reads
//! when it is its turn.

use std::io::Read;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use model::door::source::{Batch, Memory, Opened, Source};
use model::door::{self, Class};
use model::{Message, Name, Origin, Position};
use tokio::sync::mpsc;

use super::lines::{CHUNK_BYTES, Line, Lines};
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

/// An input that sources read one after the other: what one has not given the next one gives. By default the standard
/// input of the process, which is read from when the first source is opened. Clones share it.
#[derive(Clone, Debug, Default)]
pub struct Input(Arc<Mutex<Option<Arc<Stream>>>>);

impl Input {
    /// Anything that is read as standard input is.
    pub fn of(input: impl Read + Send + 'static) -> Result<Self, Error> {
        let stream = Arc::new(Stream::begin(input)?);
        Ok(Self(Arc::new(Mutex::new(Some(stream)))))
    }

    fn stream(&self) -> Result<Arc<Stream>, Error> {
        let mut begun = self.0.lock().expect("nothing panics while the input is begun");
        if let Some(stream) = &*begun {
            return Ok(stream.clone());
        }
        let stream = Arc::new(Stream::begin(std::io::stdin())?);
        *begun = Some(stream.clone());
        Ok(stream)
    }
}

/// Opens an input.
pub fn open(settings: Settings, input: &Input) -> Result<Opened, Error> {
    let Settings { vertex, replica } = settings;
    if replica > 0 {
        return Ok(Nothing { ends: true }.opened());
    }
    let source = Stdin { vertex, stream: input.stream()?, count: 0 };
    Ok(Opened { source: Box::new(source), answers: Box::new(NoAnswers), memory: Memory::Position })
}

/// What the thread has read and nobody was given yet.
#[derive(Debug)]
struct Stream(tokio::sync::Mutex<Rest>);

#[derive(Debug)]
struct Rest {
    chunks: mpsc::Receiver<Chunk>,
    lines: Lines,
    ended: bool,
}

impl Stream {
    fn begin(input: impl Read + Send + 'static) -> Result<Self, Error> {
        let (sender, chunks) = mpsc::channel(CHUNKS_WAITING);
        let thread = std::thread::Builder::new().name("stdin".to_owned());
        thread.spawn(move || pump(input, &sender)).map_err(Error)?;
        Ok(Self(tokio::sync::Mutex::new(Rest { chunks, lines: Lines::default(), ended: false })))
    }
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
        // After an error reading goes on once it was told: whoever reads decides what it means.
        if chunks.blocking_send(chunk).is_err() {
            return;
        }
    }
}

struct Stdin {
    vertex: Name,
    stream: Arc<Stream>,
    count: u64,
}

fn failed(cause: impl std::error::Error + Send + Sync + 'static) -> door::Error {
    door::Error::caused(Class::Fatal, "read standard input", cause)
}

impl Stdin {
    fn batch(&mut self, taken: Vec<Line>) -> Batch {
        let (time, first) = (now(), self.count);
        self.count += taken.len() as u64;
        let messages = (first..).zip(taken).map(|(number, line)| {
            let offset = Origin::Numbered { number, partition: 0 };
            Message::from_source(self.vertex.clone(), offset, line.bytes, time)
        });
        let end = Some(Position { sequence: self.count, index: 0 });
        Batch { messages: messages.collect(), receipts: Vec::new(), end }
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
        let stream = self.stream.clone();
        let Ok(mut rest) = tokio::time::timeout_at(until, stream.0.lock()).await else {
            return Ok(Some(self.batch(Vec::new())));
        };
        loop {
            let lines = rest.lines.take(messages_max).map_err(failed)?;
            if !lines.is_empty() {
                return Ok(Some(self.batch(lines)));
            }
            if rest.ended {
                return Ok(None);
            }
            match tokio::time::timeout_at(until, rest.chunks.recv()).await {
                Err(_) => return Ok(Some(self.batch(Vec::new()))),
                Ok(Some(Ok(chunk))) => {
                    rest.lines.space().extend_from_slice(&chunk);
                    rest.lines.cut().map_err(failed)?;
                }
                Ok(Some(Err(error))) => return Err(failed(error)),
                Ok(None) => {
                    rest.lines.finish();
                    rest.ended = true;
                }
            }
        }
    }
}
