//! Batches on their way through a unit: what goes in, what came out, and what is committed together. Pure.
//!
//! Everything that a batch became remembers which of its messages it came from, so that results of one message are
//! committed, dropped or answered together, and a batch that is too large for one commit is cut between messages.

use std::collections::VecDeque;
use std::time::Instant;

use model::door::source::{Answer, Receipt};
use model::frame::Body;
use model::{Message, Origin, Position, Time};

/// Messages on their way in.
pub(crate) struct Work {
    pub(crate) messages: Vec<Message>,
    /// One for each message, or none when nobody waits for an answer.
    pub(crate) receipts: Vec<Receipt>,
    pub(crate) steps: Steps,
    /// How far the unit is once all of this is done.
    pub(crate) end: Position,
    /// What it takes of memory, about.
    pub(crate) bytes: usize,
}

impl Work {
    /// Cuts it after so many messages, fewer than there are, and gives the rest. For messages of a slot.
    pub(crate) fn split_off(&mut self, messages: usize) -> Self {
        assert!(messages < self.messages.len(), "something is left");
        assert!(self.receipts.is_empty(), "what came from a slot is answered by a commit");
        let rest = self.messages.split_off(messages);
        let whole = (self.messages.len() + rest.len()) as u128;
        let bytes = (self.bytes as u128 * rest.len() as u128 / whole) as usize;
        let (end, between) = (self.end, self.steps.after(messages as u32));
        (self.end, self.bytes) = (between, self.bytes - bytes);
        Self { messages: rest, receipts: Vec::new(), steps: self.steps.from(between), end, bytes }
    }
}

/// How far the unit is once only the first messages of a batch are done.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Steps {
    first: Position,
    step: Step,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Step {
    /// Nothing can be said between the beginning and the end.
    #[default]
    None,
    /// Each message is one of a frame.
    Index,
    /// Each message has a number of its own.
    Sequence,
}

impl Steps {
    /// The messages of one frame, from this one on.
    pub(crate) fn in_frame(first: Position) -> Self {
        Self { first, step: Step::Index }
    }

    /// `count` messages of a source between two of its positions. Numbers grow with every message, so when they grew
    /// by no more than the count, each message has the next.
    pub(crate) fn between(first: Position, end: Position, count: usize) -> Self {
        let whole = first.index == 0 && end.index == 0;
        let step = if whole && end.sequence.checked_sub(first.sequence) == Some(count as u64) {
            Step::Sequence
        } else {
            Step::None
        };
        Self { first, step }
    }

    /// The same steps from another place on.
    fn from(self, first: Position) -> Self {
        Self { first, ..self }
    }

    fn after(self, messages: u32) -> Position {
        match self.step {
            Step::None => self.first,
            Step::Index => Position { index: self.first.index + messages, ..self.first },
            Step::Sequence => Position { sequence: self.first.sequence + u64::from(messages), index: 0 },
        }
    }
}

/// What a batch became.
#[derive(Default)]
pub(crate) struct Processed {
    /// For the next vertices.
    pub(crate) outputs: Vec<Message>,
    /// For each output the place of the message it came from; ascending.
    pub(crate) of: Vec<u32>,
    /// For the retry slot, with their places; ascending.
    pub(crate) back: Vec<(u32, Message)>,
    /// For the source: one for each message, or none.
    pub(crate) answers: Vec<(Receipt, Answer)>,
    /// The offsets of the messages, when there are answers.
    pub(crate) offsets: Vec<Origin>,
    pub(crate) steps: Steps,
    pub(crate) end: Position,
    pub(crate) taken: u32,
    /// The largest event time that a source transformer gave, to what it dropped too.
    pub(crate) latest: Option<Time>,
    /// Results that user code dropped; counted once the rest is committed.
    pub(crate) dropped: u64,
    /// What it took of memory on its way in.
    pub(crate) bytes: usize,
    pub(crate) started: Option<Instant>,
}

/// A message all of whose results together fit no commit.
#[derive(Debug)]
pub(crate) struct Oversized {
    /// The first of them.
    pub(crate) first: Message,
    pub(crate) results: u64,
    pub(crate) bytes: usize,
}

/// Batches whose turn to be committed has come, in input order.
#[derive(Default)]
pub(crate) struct Ready {
    parts: VecDeque<(Processed, usize)>,
    bytes: usize,
}

impl Ready {
    /// Adds the next batch, cut so that no part has more than `bytes_max` of output. What comes of a single message
    /// and is larger than that is taken out and given back.
    pub(crate) fn push(&mut self, batch: Processed, bytes_max: usize) -> Vec<Oversized> {
        let bytes = size_of(&batch);
        self.bytes += bytes;
        if bytes <= bytes_max {
            self.parts.push_back((batch, bytes));
            return Vec::new();
        }
        self.bytes -= bytes;
        let (parts, oversized) = cut(batch, bytes_max);
        self.bytes += parts.iter().map(|(_, bytes)| bytes).sum::<usize>();
        self.parts.extend(parts);
        oversized
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.parts.is_empty()
    }

    pub(crate) fn len(&self) -> usize {
        self.parts.len()
    }

    pub(crate) fn bytes(&self) -> usize {
        self.bytes
    }

    /// Takes what fits into one commit; at least one part when there is any.
    pub(crate) fn collect(&mut self, bytes_max: usize) -> Bundle {
        let (mut parts, mut taken, mut outputs) = (0, 0, 0);
        for (batch, bytes) in &self.parts {
            if parts > 0 && taken + bytes > bytes_max {
                break;
            }
            (parts, taken, outputs) = (parts + 1, taken + bytes, outputs + batch.outputs.len());
        }
        self.bytes -= taken;
        let mut bundle = Bundle::default();
        for (batch, _) in self.parts.drain(..parts) {
            bundle.add(batch, outputs);
        }
        bundle
    }
}

fn size_of(batch: &Processed) -> usize {
    let back: usize = batch.back.iter().map(|(_, message)| Body::size_max(message)).sum();
    batch.outputs.iter().map(Body::size_max).sum::<usize>() + back
}

/// Cuts a batch between messages.
fn cut(batch: Processed, bytes_max: usize) -> (Vec<(Processed, usize)>, Vec<Oversized>) {
    let Processed {
        outputs,
        of,
        back,
        answers,
        offsets,
        steps,
        end,
        taken,
        latest,
        dropped,
        bytes: memory,
        started,
    } = batch;
    let mut outputs = of.into_iter().zip(outputs).peekable();
    let mut back = back.into_iter().peekable();
    let mut answers = answers.into_iter().zip(offsets).peekable();
    let (mut parts, mut oversized) = (Vec::new(), Vec::new());
    let (mut part, mut part_bytes, mut first) = (Processed::default(), 0, 0);
    for place in 0..taken {
        let mut results = Vec::new();
        while let Some((_, message)) = outputs.next_if(|(of, _)| *of == place) {
            results.push(message);
        }
        let mut bytes: usize = results.iter().map(Body::size_max).sum();
        if bytes > bytes_max {
            let count = results.len() as u64;
            oversized.extend(results.drain(..).next().map(|first| Oversized {
                first,
                results: count,
                bytes,
            }));
            bytes = 0;
        }
        let sent_back = back.next_if(|(of, _)| *of == place);
        bytes += sent_back.as_ref().map_or(0, |(_, message)| Body::size_max(message));
        if part_bytes > 0 && part_bytes + bytes > bytes_max {
            let end = steps.after(place);
            parts.push((
                Processed { end, taken: place - first, steps, ..std::mem::take(&mut part) },
                part_bytes,
            ));
            (part_bytes, first) = (0, place);
        }
        part_bytes += bytes;
        part.of.extend(std::iter::repeat_n(place - first, results.len()));
        part.outputs.append(&mut results);
        part.back.extend(sent_back.map(|(_, message)| (place - first, message)));
        if let Some((answer, offset)) = answers.next() {
            part.answers.push(answer);
            part.offsets.push(offset);
        }
    }
    // All of it is committed only with the last part.
    let taken = taken - first;
    let last = Processed { end, taken, latest, dropped, bytes: memory, steps, started, ..part };
    parts.push((last, part_bytes));
    (parts, oversized)
}

/// Batches taken together.
#[derive(Default)]
pub(crate) struct Bundle {
    pub(crate) outputs: Vec<Message>,
    /// For each output the place of the message it came from, counted over all batches.
    pub(crate) of: Vec<u32>,
    pub(crate) back: Vec<Message>,
    pub(crate) answers: Vec<(Receipt, Answer)>,
    pub(crate) offsets: Vec<Origin>,
    pub(crate) end: Position,
    pub(crate) taken: u32,
    pub(crate) latest: Option<Time>,
    /// Results that user code dropped.
    pub(crate) dropped: u64,
    pub(crate) bytes: usize,
    pub(crate) started: Vec<Instant>,
}

impl Bundle {
    /// Adds a batch; there will be `total` outputs once all are added.
    fn add(&mut self, batch: Processed, total: usize) {
        let Processed {
            mut outputs,
            of,
            back,
            mut answers,
            mut offsets,
            steps: _,
            end,
            taken,
            latest,
            dropped,
            bytes,
            started,
        } = batch;
        if self.outputs.is_empty() {
            self.outputs = outputs;
            self.outputs.reserve_exact(total.saturating_sub(self.outputs.len()));
        } else {
            self.outputs.append(&mut outputs);
        }
        self.of.extend(of.into_iter().map(|place| place + self.taken));
        self.back.extend(back.into_iter().map(|(_, message)| message));
        self.answers.append(&mut answers);
        self.offsets.append(&mut offsets);
        self.end = end;
        self.taken += taken;
        self.latest = self.latest.max(latest);
        self.dropped += dropped;
        self.bytes += bytes;
        self.started.extend(started);
    }
}

#[cfg(test)]
mod tests;
