//! A source that is slow and out of reach now and then: what it wraps must keep its promises through it, and whoever
//! uses a source must cope with it.
//!
//! What it may do, all by a seed and all within the contract: let others go first around calls, answer
//! `Retry` *without* having made the call, and read less at once than it was asked to. It never takes a message, and
//! never changes one.

use std::time::Duration;

use async_trait::async_trait;

use super::super::wait::pause;
use super::Bench;
use crate::door::source::{Answer, Answers, Batch, Opened, Receipt, Source};
use crate::door::{Class, Error};
use crate::{Message, Position};

/// How often others go first at each pause, at most.
const PAUSES_MAX: u32 = 4;

/// One call in so many is answered with `Retry`.
const RETRY_ONE_IN: u32 = 4;

/// Wraps the halves of an opened source; the seed decides about every fault.
pub fn faulty(opened: Opened, seed: u64) -> Opened {
    let Opened { source, answers, memory } = opened;
    let dice = |seed| Dice(fastrand::Rng::with_seed(seed));
    Opened {
        source: Box::new(FaultySource { inner: source, dice: dice(seed) }),
        answers: Box::new(FaultyAnswers { inner: answers, dice: dice(!seed) }),
        memory,
    }
}

/// A bench whose sources are wrapped.
pub struct Faulty<B> {
    inner: B,
    seed: u64,
}

impl<B: Bench> Faulty<B> {
    /// Wraps a bench; each life has a seed that follows from this one.
    pub fn new(inner: B, seed: u64) -> Self {
        Self { inner, seed }
    }
}

#[async_trait]
impl<B: Bench> Bench for Faulty<B> {
    async fn open(&mut self) -> Opened {
        self.seed = self.seed.wrapping_add(1);
        faulty(self.inner.open().await, self.seed)
    }

    async fn offer(&mut self, count: u64) {
        self.inner.offer(count).await;
    }

    async fn end(&mut self) {
        self.inner.end().await;
    }

    fn number(&self, message: &Message) -> u64 {
        self.inner.number(message)
    }

    fn modulus(&self) -> u64 {
        self.inner.modulus()
    }

    fn ordered(&self) -> bool {
        self.inner.ordered()
    }
}

struct Dice(fastrand::Rng);

impl Dice {
    /// What happens before a call.
    async fn before(&mut self, what: &str) -> Result<(), Error> {
        pause(self.0.u32(0..=PAUSES_MAX)).await;
        if self.0.u32(0..RETRY_ONE_IN) == 0 {
            return Err(Error::new(Class::Retry, format!("{what}, as the seed will have it")));
        }
        Ok(())
    }
}

struct FaultySource {
    inner: Box<dyn Source>,
    dice: Dice,
}

#[async_trait]
impl Source for FaultySource {
    async fn resume(&mut self, from: Position) -> Result<(), Error> {
        self.dice.before("resume").await?;
        self.inner.resume(from).await
    }

    async fn read(&mut self, messages_max: usize, wait: Duration) -> Result<Option<Batch>, Error> {
        self.dice.before("read").await?;
        let fewer = self.dice.0.usize(1..=messages_max.max(1)).min(messages_max);
        // Nothing waits after the read: a batch that has been given cannot be dropped on its way.
        self.inner.read(fewer, wait).await
    }
}

struct FaultyAnswers {
    inner: Box<dyn Answers>,
    dice: Dice,
}

#[async_trait]
impl Answers for FaultyAnswers {
    async fn answer(&mut self, answers: &[(Receipt, Answer)]) -> Result<(), Error> {
        self.dice.before("answer").await?;
        self.inner.answer(answers).await?;
        pause(self.dice.0.u32(0..=PAUSES_MAX)).await;
        Ok(())
    }

    async fn pending(&mut self) -> Result<Option<u64>, Error> {
        self.dice.before("count what is pending").await?;
        self.inner.pending().await
    }

    async fn close(&mut self) -> Result<(), Error> {
        self.inner.close().await
    }
}
