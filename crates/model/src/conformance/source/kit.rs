//! Tools of the cases: a source in one of its lives, and what it must look like whatever it gives.
//!
//! A call that answers `Retry` is made again here, so that every case holds also through a source that is out of
//! reach now and then.

use std::collections::BTreeSet;
use std::pin::pin;
use std::time::Duration;

use super::Bench;
use crate::door::source::{Answer, Batch, Memory, Opened, Receipt};
use crate::door::{Class, Error};
use crate::{Id, Message, Position};

use super::super::wait::{PATIENCE, RETRIES_MAX, polled, within};

/// A source and what it has given in this life.
pub(super) struct Life {
    pub(super) opened: Opened,
    pub(super) given: Vec<Given>,
    /// The end of the last batch.
    pub(super) end: Option<Position>,
    ids: BTreeSet<String>,
}

/// A message that was given.
pub(super) struct Given {
    pub(super) number: u64,
    pub(super) receipt: Option<Receipt>,
}

impl Life {
    pub(super) async fn start(bench: &mut dyn Bench, from: Position) -> Self {
        let mut opened = within("open", bench.open()).await;
        for _ in 0..RETRIES_MAX {
            if succeeded(within("resume", opened.source.resume(from)).await).is_some() {
                return Self { opened, given: Vec::new(), end: None, ids: BTreeSet::new() };
            }
        }
        panic!("resume: it has asked to be called again {RETRIES_MAX} times");
    }

    /// One read. None at the end of the input.
    pub(super) async fn read(
        &mut self,
        bench: &dyn Bench,
        messages_max: usize,
        wait: Duration,
    ) -> Option<usize> {
        for _ in 0..RETRIES_MAX {
            let read = within("read", self.opened.source.read(messages_max, wait)).await;
            if let Some(batch) = succeeded(read) {
                return batch.map(|batch| self.take(bench, batch, messages_max));
            }
        }
        panic!("read: it has asked to be called again {RETRIES_MAX} times");
    }

    /// A read that is given up after so many polls. Gives how many messages it gave.
    pub(super) async fn read_briefly(&mut self, bench: &dyn Bench, messages_max: usize, polls: u32) -> usize {
        let read = {
            let read = pin!(self.opened.source.read(messages_max, PATIENCE));
            polled(read, polls).await
        };
        let Some(Some(read)) = read.map(succeeded) else { return 0 };
        let batch = read.expect("the input has not ended");
        self.take(bench, batch, messages_max)
    }

    /// Reads until so many messages were given in this life, at most `messages_max` at once.
    pub(super) async fn read_until(&mut self, bench: &dyn Bench, count: usize, messages_max: usize) {
        while self.given.len() < count {
            let missing = (count - self.given.len()).min(messages_max);
            let read = self.read(bench, missing, PATIENCE).await;
            let read =
                read.unwrap_or_else(|| panic!("the input ended after {} of {count}", self.given.len()));
            assert!(read > 0, "no more than {} of {count} messages were given", self.given.len());
        }
    }

    /// Holds a batch against everything the door says of batches.
    fn take(&mut self, bench: &dyn Bench, batch: Batch, messages_max: usize) -> usize {
        let Batch { messages, receipts, end } = batch;
        let count = messages.len();
        assert!(count <= messages_max, "{count} messages were given where {messages_max} were asked for");
        match self.opened.memory {
            Memory::Position => {
                assert!(receipts.is_empty(), "a source that remembers by position wants no acknowledgements");
                assert!(
                    count == 0 || end.is_some(),
                    "a batch of a source that remembers by position has an end"
                );
                assert!(end.is_none() || end >= self.end, "the end went back from {:?} to {end:?}", self.end);
                assert!(count == 0 || end > self.end, "messages were given and the end stays at {end:?}");
            }
            Memory::Ids | Memory::Opaque => {
                assert!(
                    receipts.is_empty() || receipts.len() == count,
                    "{} receipts for {count} messages",
                    receipts.len()
                );
            }
        }
        self.end = end.or(self.end);
        let mut receipts = receipts.into_iter();
        for message in messages {
            let number = self.check(bench, &message);
            self.given.push(Given { number, receipt: receipts.next() });
        }
        count
    }

    fn check(&mut self, bench: &dyn Bench, message: &Message) -> u64 {
        let Message { id, offset, tags, redelivery, .. } = message;
        assert_eq!(*id, Id::source(id.vertex.clone(), offset.clone()), "an id follows from the offset");
        assert!(tags.is_empty(), "a source puts on no tags: {tags:?}");
        assert_eq!(*redelivery, None, "a source does not count deliveries");
        // What is sent back comes again under its id, and only that.
        if self.opened.memory == Memory::Position {
            assert!(self.ids.insert(id.to_string()), "id {id} was given twice");
        }
        bench.number(message)
    }

    /// The numbers given, in order where the source has one, sorted where not.
    pub(super) fn numbers(&self, bench: &dyn Bench) -> Vec<u64> {
        let mut numbers: Vec<_> = self.given.iter().map(|given| given.number).collect();
        if !bench.ordered() {
            numbers.sort_unstable();
        }
        numbers
    }

    /// Answers messages, in the order in which they were given.
    pub(super) async fn answer(&mut self, given: impl Iterator<Item = usize>, answer: &Answer) {
        let receipts = given.map(|index| self.given[index].receipt.clone());
        let receipts = receipts.map(|receipt| receipt.expect("the source wants acknowledgements"));
        let answers: Vec<_> = receipts.map(|receipt| (receipt, answer.clone())).collect();
        for _ in 0..RETRIES_MAX {
            if succeeded(within("answer", self.opened.answers.answer(&answers)).await).is_some() {
                return;
            }
        }
        panic!("answer: it has asked to be called again {RETRIES_MAX} times");
    }

    /// Ends this life in order.
    pub(super) async fn close(mut self) {
        for _ in 0..RETRIES_MAX {
            if succeeded(within("close", self.opened.answers.close()).await).is_some() {
                return;
            }
        }
        panic!("close: it has asked to be called again {RETRIES_MAX} times");
    }
}

/// What a call gave; none when it is to be made again.
fn succeeded<T>(result: Result<T, Error>) -> Option<T> {
    match result {
        Ok(value) => Some(value),
        Err(error) if error.class() == Class::Retry => None,
        Err(error) => panic!("{:?}: {}", error.class(), error.chain()),
    }
}

/// `count` numbers from `first` on.
pub(super) fn numbers(bench: &dyn Bench, first: u64, count: u64) -> Vec<u64> {
    (first..first + count).map(|number| number % bench.modulus()).collect()
}
