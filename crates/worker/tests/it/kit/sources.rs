//! An outside that gives numbers and remembers, in its way, what is done.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use model::door::source::{Answer, Answers, Batch, Memory, Opened, Receipt, Source};
use model::door::{Class, Error};
use model::{Message, Name, Origin, Position, Time};
use smol_str::SmolStr;

/// What lies outside: the numbers from 0 on, and what became of them.
#[derive(Clone)]
pub(crate) struct Outside {
    memory: Memory,
    shared: Arc<Mutex<Shared>>,
}

struct Shared {
    total: u64,
    /// Numbers from here on are not there yet.
    limit: u64,
    /// The input ends after the last number.
    ends: bool,
    /// Waiting to be given (sources that want answers).
    waiting: VecDeque<u64>,
    given: BTreeMap<u64, u32>,
    answers: BTreeMap<u64, Vec<Answer>>,
    session: u64,
    resumed: Vec<Position>,
    /// One in so many is given twice.
    twice: Option<(u32, fastrand::Rng)>,
    refusals: u32,
}

impl Outside {
    /// `total` numbers, then nothing more; the input stays open.
    pub(crate) fn new(memory: Memory, total: u64) -> Self {
        let shared = Shared {
            total,
            limit: u64::MAX,
            ends: false,
            waiting: (0..total).collect(),
            given: BTreeMap::new(),
            answers: BTreeMap::new(),
            session: 0,
            resumed: Vec::new(),
            twice: None,
            refusals: 0,
        };
        Self { memory, shared: Arc::new(Mutex::new(shared)) }
    }

    /// The input ends after the last number.
    pub(crate) fn ending(self) -> Self {
        self.shared.lock().unwrap().ends = true;
        self
    }

    /// One in `one_in` numbers is given twice although nobody asked.
    pub(crate) fn repeating(self, one_in: u32, seed: u64) -> Self {
        self.shared.lock().unwrap().twice = Some((one_in, fastrand::Rng::with_seed(seed)));
        self
    }

    /// Nothing is there before it is allowed.
    pub(crate) fn slowly(self) -> Self {
        self.shared.lock().unwrap().limit = 0;
        self
    }

    /// Numbers below `limit` are there by now.
    pub(crate) fn allow(&self, limit: u64) {
        let mut shared = self.shared.lock().unwrap();
        shared.limit = shared.limit.max(limit);
    }

    /// Refuses so many answers with `Retry`.
    pub(crate) fn refusing(self, times: u32) -> Self {
        self.shared.lock().unwrap().refusals = times;
        self
    }

    /// A reader; what was given to the former one and not answered is given again.
    pub(crate) fn open(&self) -> Opened {
        let mut shared = self.shared.lock().unwrap();
        shared.session += 1;
        let unanswered: Vec<_> =
            shared.given.keys().filter(|number| !shared.is_done(**number)).copied().collect();
        for number in unanswered.into_iter().rev() {
            if !shared.waiting.contains(&number) {
                shared.waiting.push_front(number);
            }
        }
        let session = shared.session;
        let next = 0;
        let source = Reading { outside: self.clone(), session, next };
        let answers = Answering { outside: self.clone(), session };
        Opened { source: Box::new(source), answers: Box::new(answers), memory: self.memory }
    }

    /// Numbers that were given at least once.
    pub(crate) fn given(&self) -> u64 {
        self.shared.lock().unwrap().given.len() as u64
    }

    pub(crate) fn resumed(&self) -> Vec<Position> {
        self.shared.lock().unwrap().resumed.clone()
    }

    /// Numbers that were answered for good.
    pub(crate) fn done(&self) -> u64 {
        let shared = self.shared.lock().unwrap();
        shared.answers.keys().filter(|number| shared.is_done(**number)).count() as u64
    }

    pub(crate) fn answers(&self, number: u64) -> Vec<Answer> {
        self.shared.lock().unwrap().answers.get(&number).cloned().unwrap_or_default()
    }
}

impl Shared {
    fn is_done(&self, number: u64) -> bool {
        let done = |answer: &Answer| matches!(answer, Answer::Done | Answer::Repeated);
        self.answers.get(&number).is_some_and(|all| all.iter().any(done))
    }
}

struct Reading {
    outside: Outside,
    session: u64,
    next: u64,
}

fn message(memory: Memory, number: u64) -> Message {
    let origin = match memory {
        Memory::Ids => Origin::Text(SmolStr::new(format!("id-{number}"))),
        Memory::Position | Memory::Opaque => Origin::Numbered { number, partition: 0 },
    };
    let value = Bytes::from(number.to_string());
    Message::from_source(Name::new("in"), origin, value, Time::from_millis(number as i64))
}

impl Reading {
    fn take(&mut self, messages_max: usize) -> Option<Batch> {
        let memory = self.outside.memory;
        let mut shared = self.outside.shared.lock().unwrap();
        if shared.session != self.session {
            return Some(Batch::default());
        }
        let mut batch = Batch::default();
        if memory == Memory::Position {
            let until = shared.limit.min(shared.total).min(self.next + messages_max as u64);
            for number in self.next..until {
                *shared.given.entry(number).or_default() += 1;
                batch.messages.push(message(memory, number));
            }
            self.next = until;
            batch.end = Some(Position { sequence: until, index: 0 });
            let open = !shared.ends || until < shared.total;
            return (!batch.messages.is_empty() || open).then_some(batch);
        }
        while batch.messages.len() < messages_max
            && let Some(at) = shared.waiting.iter().position(|number| *number < shared.limit)
            && let Some(number) = shared.waiting.remove(at)
        {
            *shared.given.entry(number).or_default() += 1;
            let again = shared.twice.as_mut().is_some_and(|(one_in, random)| random.u32(0..*one_in) == 0);
            if again {
                shared.waiting.push_front(number);
            }
            let offset = Bytes::from(number.to_string());
            batch.receipts.push(Receipt { offset, partition: 0 });
            batch.messages.push(message(memory, number));
        }
        let all_done = (0..shared.total).all(|number| shared.is_done(number));
        let over = batch.messages.is_empty() && shared.ends && all_done;
        (!over).then_some(batch)
    }
}

#[async_trait]
impl Source for Reading {
    async fn resume(&mut self, from: Position) -> Result<(), Error> {
        self.next = from.sequence;
        self.outside.shared.lock().unwrap().resumed.push(from);
        Ok(())
    }

    async fn read(&mut self, messages_max: usize, wait: Duration) -> Result<Option<Batch>, Error> {
        // Before anything is taken: whoever drops the future here loses nothing.
        tokio::task::yield_now().await;
        let batch = self.take(messages_max);
        if batch.as_ref().is_some_and(|batch| batch.messages.is_empty()) {
            tokio::time::sleep(wait).await;
        }
        Ok(batch)
    }
}

struct Answering {
    outside: Outside,
    session: u64,
}

#[async_trait]
impl Answers for Answering {
    async fn answer(&mut self, answers: &[(Receipt, Answer)]) -> Result<(), Error> {
        tokio::task::yield_now().await;
        let mut shared = self.outside.shared.lock().unwrap();
        if shared.refusals > 0 {
            shared.refusals -= 1;
            return Err(Error::new(Class::Retry, "take an answer: not now"));
        }
        for (receipt, answer) in answers {
            let number: u64 = std::str::from_utf8(&receipt.offset).unwrap().parse().unwrap();
            shared.answers.entry(number).or_default().push(answer.clone());
            if matches!(answer, Answer::Nack(_)) && self.session == shared.session && !shared.is_done(number)
            {
                shared.waiting.push_back(number);
            }
        }
        Ok(())
    }

    async fn pending(&mut self) -> Result<Option<u64>, Error> {
        let waiting = self.outside.shared.lock().unwrap().waiting.len() as u64;
        Ok((self.outside.memory != Memory::Position).then_some(waiting))
    }

    async fn close(&mut self) -> Result<(), Error> {
        Ok(())
    }
}
