//! The suite notices what it is there for: each of these sources breaks one promise, and a case fails for it.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use model::conformance::source::{Bench, answers, every, fed, positions};
use model::door::Error;
use model::door::source::{Answer, Answers, Batch, Memory, Opened, Receipt, Source};
use model::{Message, Origin, Position, Time};
use tokio::sync::Notify;

#[derive(Clone, Copy, Debug, PartialEq)]
enum Fault {
    None,
    GivesTooMany,
    LosesWhenDropped,
    Reorders,
    ForgetsThePosition,
    SkipsOne,
    EndsTwiceOnly,
    GivesDoneAgain,
    ForgetsUnanswered,
    IgnoresNacks,
    HasNoReceipts,
}

/// What lies outside: numbers not yet taken, and, for a source that is answered, those taken and not answered.
#[derive(Default)]
struct Outside {
    offered: u64,
    waiting: VecDeque<u64>,
    taken: Vec<u64>,
    ended: bool,
}

struct Queue {
    fault: Fault,
    memory: Memory,
    outside: Arc<(Mutex<Outside>, Notify)>,
}

struct QueueSource {
    fault: Fault,
    memory: Memory,
    outside: Arc<(Mutex<Outside>, Notify)>,
    ends_said: u32,
}

fn offset(number: u64) -> Origin {
    Origin::Numbered { number, partition: 0 }
}

#[async_trait]
impl Bench for Queue {
    async fn open(&mut self) -> Opened {
        let mut outside = self.outside.0.lock().unwrap();
        // What a former life took and did not answer waits again.
        let again = std::mem::take(&mut outside.taken);
        if self.memory != Memory::Position && self.fault != Fault::ForgetsUnanswered {
            outside.waiting.extend(again);
        }
        drop(outside);
        let source = QueueSource {
            fault: self.fault,
            memory: self.memory,
            outside: Arc::clone(&self.outside),
            ends_said: 0,
        };
        let answers = QueueAnswers { fault: self.fault, outside: Arc::clone(&self.outside) };
        Opened { source: Box::new(source), answers: Box::new(answers), memory: self.memory }
    }

    async fn offer(&mut self, count: u64) {
        let mut outside = self.outside.0.lock().unwrap();
        let first = outside.offered;
        outside.offered += count;
        outside.waiting.extend(first..first + count);
        self.outside.1.notify_one();
    }

    async fn end(&mut self) {
        self.outside.0.lock().unwrap().ended = true;
    }

    fn number(&self, message: &Message) -> u64 {
        std::str::from_utf8(&message.value).unwrap().parse().unwrap()
    }
}

impl QueueSource {
    fn take(&mut self, messages_max: usize) -> Option<Vec<u64>> {
        let mut outside = self.outside.0.lock().unwrap();
        let max = messages_max + usize::from(self.fault == Fault::GivesTooMany);
        let count = outside.waiting.len().min(max);
        let mut taken: Vec<_> = outside.waiting.drain(..count).collect();
        match self.fault {
            Fault::Reorders => taken.reverse(),
            Fault::SkipsOne => taken.retain(|number| *number != 5),
            _ => {}
        }
        if self.memory != Memory::Position {
            outside.taken.extend(&taken);
        }
        (count > 0 || !outside.ended).then_some(taken)
    }
}

#[async_trait]
impl Source for QueueSource {
    async fn resume(&mut self, from: Position) -> Result<(), Error> {
        if self.memory == Memory::Position && self.fault != Fault::ForgetsThePosition {
            let mut outside = self.outside.0.lock().unwrap();
            outside.waiting = (from.sequence..outside.offered).collect();
        }
        Ok(())
    }

    async fn read(&mut self, messages_max: usize, wait: Duration) -> Result<Option<Batch>, Error> {
        let mut taken = self.take(messages_max);
        if self.fault == Fault::LosesWhenDropped {
            tokio::task::yield_now().await;
        }
        if taken.as_ref().is_some_and(Vec::is_empty) {
            let outside = Arc::clone(&self.outside);
            if tokio::time::timeout(wait, outside.1.notified()).await.is_ok() {
                taken = self.take(messages_max);
            }
        }
        let Some(taken) = taken else {
            self.ends_said += 1;
            if self.fault == Fault::EndsTwiceOnly && self.ends_said > 2 {
                return Ok(Some(Batch::default()));
            }
            return Ok(None);
        };
        let end = taken.iter().max().map(|last| Position::after(*last));
        let end = end.filter(|_| self.memory == Memory::Position);
        let mut receipts = Vec::new();
        if self.memory != Memory::Position && self.fault != Fault::HasNoReceipts {
            let offsets = taken.iter().map(|number| Bytes::from(number.to_string()));
            receipts.extend(offsets.map(|offset| Receipt { offset, partition: 0 }));
        }
        let messages = taken.into_iter().map(|number| {
            Message::from_source(
                "in".into(),
                offset(number),
                Bytes::from(number.to_string()),
                Time::default(),
            )
        });
        Ok(Some(Batch { messages: messages.collect(), receipts, end }))
    }
}

struct QueueAnswers {
    fault: Fault,
    outside: Arc<(Mutex<Outside>, Notify)>,
}

#[async_trait]
impl Answers for QueueAnswers {
    async fn answer(&mut self, answers: &[(Receipt, Answer)]) -> Result<(), Error> {
        let mut outside = self.outside.0.lock().unwrap();
        for (receipt, answer) in answers {
            let number: u64 = std::str::from_utf8(&receipt.offset).unwrap().parse().unwrap();
            if self.fault != Fault::GivesDoneAgain {
                outside.taken.retain(|taken| *taken != number);
            }
            if matches!(answer, Answer::Nack(_)) && self.fault != Fault::IgnoresNacks {
                outside.waiting.push_back(number);
            }
        }
        self.outside.1.notify_one();
        Ok(())
    }

    async fn pending(&mut self) -> Result<Option<u64>, Error> {
        Ok(Some(self.outside.0.lock().unwrap().waiting.len() as u64))
    }

    async fn close(&mut self) -> Result<(), Error> {
        Ok(())
    }
}

fn queue(fault: Fault, memory: Memory) -> Queue {
    Queue { fault, memory, outside: Arc::default() }
}

fn fails(fault: Fault, memory: Memory, case: impl AsyncFn(&mut dyn Bench) + Send + 'static) -> bool {
    let run = move || {
        // Time passes at once when nothing happens, so that a case that waits in vain fails soon.
        let runtime =
            tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().unwrap();
        runtime.block_on(case(&mut queue(fault, memory)));
    };
    std::thread::spawn(run).join().is_err()
}

#[test]
fn a_broken_source_fails() {
    use Memory::{Ids, Position};
    assert!(fails(Fault::GivesTooMany, Position, every::reads_are_bounded));
    assert!(fails(Fault::SkipsOne, Position, every::everything_is_given));
    assert!(fails(Fault::Reorders, Position, every::everything_is_given));
    assert!(fails(Fault::LosesWhenDropped, Position, every::abandoned_reads_lose_nothing));
    assert!(fails(Fault::LosesWhenDropped, Ids, every::abandoned_reads_lose_nothing));
    assert!(fails(Fault::EndsTwiceOnly, Position, fed::an_end_is_an_end));
    assert!(fails(Fault::ForgetsThePosition, Position, positions::reading_goes_on_after_the_position));
    assert!(fails(
        Fault::ForgetsThePosition,
        Position,
        positions::a_unit_that_never_committed_starts_at_the_beginning
    ));
    assert!(fails(Fault::GivesDoneAgain, Ids, answers::what_is_done_is_not_given_again));
    assert!(fails(Fault::ForgetsUnanswered, Ids, answers::what_was_not_answered_is_given_again));
    assert!(fails(Fault::IgnoresNacks, Ids, answers::what_is_sent_back_is_given_again));
    assert!(fails(Fault::HasNoReceipts, Ids, answers::every_message_has_a_receipt));
}

mod honest_with_positions {
    fn run(case: impl AsyncFn(&mut dyn super::Bench)) {
        super::super::run(|| super::queue(super::Fault::None, super::Memory::Position), case);
    }

    model::source_conformance! { run: every, fed, ends, positions }
}

mod honest_with_answers {
    fn run(case: impl AsyncFn(&mut dyn super::Bench)) {
        super::super::run(|| super::queue(super::Fault::None, super::Memory::Opaque), case);
    }

    model::source_conformance! { run: every, fed, ends, answers }
}
