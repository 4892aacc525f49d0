//! A sink that is slow, out of reach, and takes only some of what it is given: what it wraps must keep its promises
//! through it, and whoever uses a sink must cope with it.
//!
//! What it may do, all by a seed and all within the contract: let others go first, answer `Retry` *without* having
//! written anything, and answer `Failed` for the messages of a batch from some place on, without having written them.

use async_trait::async_trait;
use bytes::Bytes;
use tokio::sync::Mutex;

use super::super::wait::pause;
use super::Bench;
use crate::door::sink::{Outcome, Sink};
use crate::door::{Class, Error};
use crate::{Message, Time};

/// How often others go first at each pause, at most.
const PAUSES_MAX: u32 = 4;

/// One write in so many is answered with `Retry`, and one with failures.
const FAULT_ONE_IN: u32 = 4;

/// Wraps a sink; the seed decides about every fault.
pub fn faulty(inner: Box<dyn Sink>, seed: u64) -> Box<dyn Sink> {
    Box::new(FaultySink { inner: Mutex::new(inner), random: fastrand::Rng::with_seed(seed) })
}

/// A bench whose sinks are wrapped.
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
    async fn open(&mut self) -> Box<dyn Sink> {
        self.seed = self.seed.wrapping_add(1);
        faulty(self.inner.open().await, self.seed)
    }

    async fn outside(&mut self) -> Vec<Bytes> {
        self.inner.outside().await
    }
}

struct FaultySink {
    /// Locked by nobody for long: it only lets several tasks ask whether the sink is ready.
    inner: Mutex<Box<dyn Sink>>,
    random: fastrand::Rng,
}

#[async_trait]
impl Sink for FaultySink {
    async fn write(&mut self, messages: &[Message], watermark: Time) -> Result<Vec<Outcome>, Error> {
        pause(self.random.u32(0..=PAUSES_MAX)).await;
        if self.random.u32(0..FAULT_ONE_IN) == 0 {
            return Err(Error::new(Class::Retry, "write, as the seed will have it"));
        }
        let mut taken = messages.len();
        if self.random.u32(0..FAULT_ONE_IN) == 0 {
            taken = self.random.usize(0..=taken);
        }
        let mut outcomes = self.inner.get_mut().write(&messages[..taken], watermark).await?;
        outcomes
            .extend(messages[taken..].iter().map(|_| Outcome::Failed("the seed will have it".to_owned())));
        pause(self.random.u32(0..=PAUSES_MAX)).await;
        Ok(outcomes)
    }

    async fn ready(&self) -> bool {
        self.inner.lock().await.ready().await
    }

    async fn close(&mut self) -> Result<(), Error> {
        self.inner.get_mut().close().await
    }
}
