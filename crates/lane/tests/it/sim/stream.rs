//! One stream as its leader keeps it: messages under subjects, limits, compare-and-set, purging. Pure.
//!
//! As with a real server, the "last sequence under a filter" is that of the last message that is *there*: what was
//! purged does not count.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::ops::Bound;

use lane::broker::{Identity, Message, Publish, StreamState};
use tidegate_lane as lane;

/// What a stream is made with.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Shape {
    pub(crate) messages_max: Option<u64>,
    pub(crate) bytes_max: Option<u64>,
    /// Whether of each subject only the last message is kept.
    pub(crate) last_per_subject: bool,
}

pub(crate) struct Stream {
    shape: Shape,
    identity: Identity,
    last: u64,
    bytes: u64,
    messages: BTreeMap<u64, Entry>,
    subjects: Vec<Subject>,
    numbers: HashMap<String, usize>,
    filters: HashMap<String, Matches>,
}

struct Entry {
    subject: usize,
    message: Message,
}

struct Subject {
    name: String,
    sequences: BTreeSet<u64>,
}

/// Which subjects a filter matches, of those looked at so far.
#[derive(Clone, Default)]
struct Matches {
    subjects: Vec<usize>,
    looked_at: usize,
}

/// Whether a filter, in which `*` stands for one token, matches a subject.
pub(crate) fn matches(filter: &str, subject: &str) -> bool {
    let (mut filter, mut subject) = (filter.split('.'), subject.split('.'));
    loop {
        match (filter.next(), subject.next()) {
            (None, None) => return true,
            (Some(token), Some(word)) if token == "*" || token == word => {}
            _ => return false,
        }
    }
}

impl Stream {
    pub(crate) fn new(shape: Shape, identity: Identity) -> Self {
        let (messages, subjects, numbers) = (BTreeMap::new(), Vec::new(), HashMap::new());
        Self { shape, identity, last: 0, bytes: 0, messages, subjects, numbers, filters: HashMap::new() }
    }

    pub(crate) fn shape(&self) -> Shape {
        self.shape
    }

    pub(crate) fn state(&self) -> StreamState {
        let first = self.messages.first_key_value().map_or(self.last + 1, |(sequence, _)| *sequence);
        StreamState {
            identity: self.identity,
            first,
            last: self.last,
            messages: self.messages.len() as u64,
            bytes: self.bytes,
            messages_max: self.shape.messages_max,
            bytes_max: self.shape.bytes_max,
        }
    }

    /// The subjects that a filter matches.
    fn subjects(&mut self, filter: &str) -> Vec<usize> {
        let mut matched = self.filters.remove(filter).unwrap_or_default();
        for at in matched.looked_at..self.subjects.len() {
            if matches(filter, &self.subjects[at].name) {
                matched.subjects.push(at);
            }
        }
        matched.looked_at = self.subjects.len();
        let subjects = matched.subjects.clone();
        self.filters.insert(filter.to_owned(), matched);
        subjects
    }

    pub(crate) fn last_under(&mut self, filter: &str) -> Option<&Message> {
        let subjects = self.subjects(filter);
        let last = subjects.iter().filter_map(|at| self.subjects[*at].sequences.last()).max()?;
        self.messages.get(last).map(|entry| &entry.message)
    }

    pub(crate) fn get(&self, sequence: u64) -> Option<&Message> {
        self.messages.get(&sequence).map(|entry| &entry.message)
    }

    /// Whether the expectation of a publish holds.
    pub(crate) fn as_expected(&mut self, publish: &Publish) -> bool {
        let Some(expect) = &publish.expect else { return true };
        assert!(
            matches(&expect.filter, &publish.subject),
            "the filter {} of an expectation matches the subject {} that is published to",
            expect.filter,
            publish.subject
        );
        self.last_under(&expect.filter).map_or(0, |message| message.sequence) == expect.last
    }

    /// Whether there is room.
    pub(crate) fn has_room(&self, publish: &Publish) -> bool {
        let replaces = self.shape.last_per_subject
            && self.numbers.get(&publish.subject).is_some_and(|at| !self.subjects[*at].sequences.is_empty());
        let messages = self.messages.len() as u64 + u64::from(!replaces);
        let bytes = self.bytes + size(&publish.meta, &publish.payload);
        self.shape.messages_max.is_none_or(|max| messages <= max)
            && self.shape.bytes_max.is_none_or(|max| bytes <= max)
    }

    /// Stores a message that is [`Stream::as_expected`] and [has room](Stream::has_room).
    pub(crate) fn store(&mut self, publish: Publish) -> u64 {
        let Publish { stream: _, subject, expect: _, meta, payload } = publish;
        self.last += 1;
        let sequence = self.last;
        let at = *self.numbers.entry(subject.clone()).or_insert_with(|| {
            self.subjects.push(Subject { name: subject.clone(), sequences: BTreeSet::new() });
            self.subjects.len() - 1
        });
        if self.shape.last_per_subject
            && let Some(former) = self.subjects[at].sequences.last().copied()
        {
            self.remove(former);
        }
        self.subjects[at].sequences.insert(sequence);
        self.bytes += size(&meta, &payload);
        let message = Message { sequence, subject, meta, payload };
        self.messages.insert(sequence, Entry { subject: at, message });
        sequence
    }

    fn remove(&mut self, sequence: u64) {
        if let Some(entry) = self.messages.remove(&sequence) {
            self.subjects[entry.subject].sequences.remove(&sequence);
            self.bytes -= size(&entry.message.meta, &entry.message.payload);
        }
    }

    pub(crate) fn purge(&mut self, filter: &str, through: u64) {
        for at in self.subjects(filter) {
            let purged: Vec<u64> = self.subjects[at].sequences.range(..=through).copied().collect();
            for sequence in purged {
                self.remove(sequence);
            }
        }
    }

    /// The first message under the filters after a sequence.
    pub(crate) fn next_after(&mut self, filters: &[String], after: u64) -> Option<&Message> {
        let mut first: Option<u64> = None;
        for filter in filters {
            for at in self.subjects(filter) {
                let range = (Bound::Excluded(after), Bound::Unbounded);
                let found = self.subjects[at].sequences.range(range).next().copied();
                first = match (first, found) {
                    (Some(left), Some(right)) => Some(left.min(right)),
                    (left, right) => left.or(right),
                };
            }
        }
        self.get(first?)
    }

    /// How many messages under the filters lie after a sequence.
    pub(crate) fn count_after(&mut self, filters: &[String], after: u64) -> u64 {
        let mut count = 0;
        for filter in filters {
            for at in self.subjects(filter) {
                count +=
                    self.subjects[at].sequences.range((Bound::Excluded(after), Bound::Unbounded)).count();
            }
        }
        count as u64
    }

    /// The last messages of the subjects under the filters, ascending.
    pub(crate) fn lasts(&mut self, filters: &[String]) -> Vec<u64> {
        let mut lasts = Vec::new();
        for filter in filters {
            for at in self.subjects(filter) {
                lasts.extend(self.subjects[at].sequences.last());
            }
        }
        lasts.sort_unstable();
        lasts
    }

    /// The stream as it was when its last message was `last`, as far as that is still there: what a broken disk or an
    /// old backup gives back.
    pub(crate) fn rewind(&mut self, last: u64) {
        let lost: Vec<u64> = self.messages.range(last + 1..).map(|(sequence, _)| *sequence).collect();
        for sequence in lost {
            self.remove(sequence);
        }
        self.last = self.last.min(last);
    }
}

fn size(meta: &[u8], payload: &[u8]) -> u64 {
    (meta.len() + payload.len()) as u64
}
