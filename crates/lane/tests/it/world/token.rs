//! What travels: a source input and every step that brought it here. Each step names the answer of user code that it
//! belongs to, so that a look at what arrived shows which answers counted, how often, and whether all of them did.

use bytes::Bytes;
use model::{Message, Name, Origin, Time};

/// A message, by where it came from.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct Token {
    pub(crate) source: u32,
    pub(crate) offset: u32,
    pub(crate) steps: Vec<Step>,
}

/// One result of one answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct Step {
    /// The answer, a number that no other answer has.
    pub(crate) answer: u32,
    /// Which of its results.
    pub(crate) index: u8,
    pub(crate) way: Way,
}

/// Where a step leads.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) enum Way {
    Onward,
    Retry,
    Cycle,
}

impl Token {
    pub(crate) fn root(source: u32, offset: u32) -> Self {
        Self { source, offset, steps: Vec::new() }
    }

    pub(crate) fn step(&self, step: Step) -> Self {
        let mut steps = self.steps.clone();
        steps.push(step);
        Self { steps, ..*self }
    }

    /// How often it went this way.
    pub(crate) fn times(&self, way: Way) -> usize {
        self.steps.iter().filter(|step| step.way == way).count()
    }

    /// What it was made from, and the last step; none for a source input.
    pub(crate) fn parent(&self) -> Option<(Self, Step)> {
        let (last, steps) = self.steps.split_last()?;
        Some((Self { steps: steps.to_vec(), ..*self }, *last))
    }

    fn encode(&self) -> Bytes {
        let mut out = Vec::with_capacity(8 + 6 * self.steps.len());
        out.extend_from_slice(&self.source.to_be_bytes());
        out.extend_from_slice(&self.offset.to_be_bytes());
        for step in &self.steps {
            out.extend_from_slice(&step.answer.to_be_bytes());
            out.push(step.index);
            out.push(step.way as u8);
        }
        Bytes::from(out)
    }

    fn decode(bytes: &[u8]) -> Self {
        let number = |at: usize| u32::from_be_bytes(bytes[at..at + 4].try_into().unwrap());
        let step = |at: usize| {
            let way = match bytes[at + 5] {
                0 => Way::Onward,
                1 => Way::Retry,
                2 => Way::Cycle,
                other => panic!("way {other}"),
            };
            Step { answer: number(at), index: bytes[at + 4], way }
        };
        Self { source: number(0), offset: number(4), steps: (8..bytes.len()).step_by(6).map(step).collect() }
    }

    pub(crate) fn message(&self) -> Message {
        let offset = Origin::Numbered { number: u64::from(self.offset), partition: self.source as u16 };
        let time = Time::from_millis(i64::from(self.offset));
        Message::from_source(Name::new("in"), offset, self.encode(), time)
    }

    pub(crate) fn of(message: &Message) -> Self {
        Self::decode(&message.value)
    }
}
