//! Where a unit reads: a source or a slot. What is read becomes batches that user code may see.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use model::door::buffer::{Reader, Stored};
use model::door::source::{Answers, Batch, Memory, Opened, Source};
use model::door::{Class, Error};
use model::{Message, Position, Slot};

use crate::backoff::Patience;
use crate::batch::{Steps, Work};

/// How much of a slot is read at once.
const READ_BYTES: usize = 256 * 1024;

pub(crate) enum Inlet {
    Source {
        source: Box<dyn Source>,
        wait: Duration,
        /// Where the last batch ended.
        at: Position,
    },
    Slot {
        reader: Box<dyn Reader>,
        slot: Slot,
        /// Where the unit was when it was claimed.
        from: Position,
    },
    /// There is nothing more to come.
    Ended,
}

/// Where a source is while no unit reads it: before its first unit, and between a release and the next claim.
/// What it gave before was finished and answered by then, so that it can go on where it is.
#[derive(Clone)]
pub(crate) struct Rest(Arc<Mutex<Option<Resting>>>);

/// A source that nobody reads.
pub(crate) struct Resting {
    pub(crate) opened: Opened,
    /// Where it goes on; none before it was read for the first time.
    pub(crate) at: Option<Position>,
}

impl Rest {
    pub(crate) fn new(source: Option<Opened>) -> Self {
        Self(Arc::new(Mutex::new(source.map(|opened| Resting { opened, at: None }))))
    }

    fn lock(&self) -> MutexGuard<'_, Option<Resting>> {
        self.0.lock().expect("nothing panics while the source is taken or left")
    }

    pub(crate) fn leave(&self, resting: Resting) {
        *self.lock() = Some(resting);
    }

    pub(crate) fn take(&self) -> Option<Resting> {
        self.lock().take()
    }

    /// Takes a source back from a unit that was released; one that has ended is closed.
    pub(crate) async fn take_up(
        &self,
        inlet: Inlet,
        answers: Option<(Box<dyn Answers>, Memory)>,
    ) -> Result<(), Error> {
        let Some((mut answers, memory)) = answers else { return Ok(()) };
        match inlet {
            Inlet::Source { source, wait: _, at } => {
                self.leave(Resting { opened: Opened { source, answers, memory }, at: Some(at) });
                Ok(())
            }
            Inlet::Slot { .. } | Inlet::Ended => answers.close().await,
        }
    }

    /// Closes the source for good, if it is here.
    pub(crate) async fn close(&self) -> Result<(), Error> {
        let Some(Resting { opened, at: _ }) = self.take() else { return Ok(()) };
        let Opened { source, mut answers, memory: _ } = opened;
        // What waits to be read learns first that nobody will.
        drop(source);
        answers.close().await
    }
}

/// What one read came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Read {
    /// So many messages with so many bytes of payload; a source gives no frames.
    Some { frames: u64, messages: u64, bytes: u64 },
    /// The input has ended.
    Ended,
}

impl Inlet {
    /// Reads once and queues what came as batches of at most `batch_messages`. Dropping the future loses nothing.
    pub(crate) async fn read(
        &mut self,
        batch_messages: usize,
        queued: &mut VecDeque<Work>,
    ) -> Result<Read, Error> {
        let mut patience = Patience::default();
        loop {
            match self.read_once(batch_messages, queued).await {
                Err(error) => patience.after(error).await?,
                read => return read,
            }
        }
    }

    async fn read_once(&mut self, batch_messages: usize, queued: &mut VecDeque<Work>) -> Result<Read, Error> {
        match self {
            Self::Ended => Ok(Read::Ended),
            Self::Source { source, wait, at } => {
                let Some(batch) = source.read(batch_messages, *wait).await? else { return Ok(Read::Ended) };
                let Batch { messages, receipts, end } = batch;
                let (count, bytes) = count(&messages);
                let taken = memory(count, bytes);
                if count > 0 {
                    let end = end.unwrap_or(*at);
                    assert!(end >= *at, "a source goes forwards");
                    let steps = Steps::between(*at, end, messages.len());
                    *at = end;
                    queued.push_back(Work { messages, receipts, steps, end, bytes: taken });
                }
                Ok(Read::Some { frames: 0, messages: count, bytes })
            }
            Self::Slot { reader, slot, from } => {
                let (mut frames, mut messages, mut bytes) = (0, 0, 0);
                for stored in reader.read(READ_BYTES).await? {
                    let all = decode(&stored, *slot)?;
                    let done = if stored.sequence == from.sequence { from.index as usize } else { 0 };
                    let rest: Vec<_> = if done == 0 { all } else { all.into_iter().skip(done).collect() };
                    let counts = count(&rest);
                    (frames, messages, bytes) = (frames + 1, messages + counts.0, bytes + counts.1);
                    queue_frame(
                        rest,
                        Position { sequence: stored.sequence, index: done as u32 },
                        batch_messages,
                        queued,
                    );
                }
                Ok(Read::Some { frames, messages, bytes })
            }
        }
    }
}

/// What messages take of memory, about.
pub(crate) fn memory(messages: u64, bytes: u64) -> usize {
    messages as usize * size_of::<Message>() + bytes as usize
}

fn count(messages: &[Message]) -> (u64, u64) {
    (messages.len() as u64, messages.iter().map(|message| message.value.len() as u64).sum())
}

/// Queues the messages of a frame from `first` on.
fn queue_frame(messages: Vec<Message>, first: Position, batch_messages: usize, queued: &mut VecDeque<Work>) {
    let (mut first, end) = (first, Position::after(first.sequence));
    let mut queue = |messages: Vec<Message>, first: Position, end: Position| {
        let (count, bytes) = count(&messages);
        let (steps, bytes) = (Steps::in_frame(first), memory(count, bytes));
        queued.push_back(Work { messages, receipts: Vec::new(), steps, end, bytes });
    };
    if messages.len() <= batch_messages {
        if !messages.is_empty() {
            queue(messages, first, end);
        }
        return;
    }
    let mut rest = messages.into_iter();
    while rest.len() > 0 {
        let mut messages = Vec::with_capacity(batch_messages.min(rest.len()));
        messages.extend(rest.by_ref().take(batch_messages));
        let next = Position { index: first.index + messages.len() as u32, ..first };
        queue(messages, first, if rest.len() == 0 { end } else { next });
        first = next;
    }
}

/// The messages of a stored frame. One that cannot be read stops the worker: passing over it would lose it.
pub(crate) fn decode(stored: &Stored, slot: Slot) -> Result<Vec<Message>, Error> {
    stored.frame.messages(stored.sequence, slot.partition).map_err(|error| {
        Error::caused(Class::Fatal, format!("read frame {} of slot {slot}", stored.sequence), error)
    })
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use model::{Name, Origin, Time};

    use super::*;

    #[test]
    fn a_frame_is_cut_into_batches_whose_ends_say_how_far_they_go() {
        let message = |number| {
            let origin = Origin::Numbered { number, partition: 0 };
            Message::from_source(Name::new("in"), origin, Bytes::new(), Time::MIN)
        };
        let mut queued = VecDeque::new();
        queue_frame((3..10).map(message).collect(), Position { sequence: 9, index: 3 }, 3, &mut queued);
        let ends: Vec<_> = queued.iter().map(|work| (work.messages.len(), work.end)).collect();
        let at = |index| Position { sequence: 9, index };
        assert_eq!(ends, [(3, at(6)), (3, at(9)), (1, Position::after(9))]);
    }
}
