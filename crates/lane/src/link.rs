//! The broker as the protocol uses it: when it was last heard, and questions that are asked again until there is an
//! answer. Invariant: only what changes nothing is repeated here.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::time::Duration;

use model::Time;
use model::door::Error;

use crate::broker::{Broker, Consume, Consumer, Failure, Message, Publish, StreamName, StreamState};
use crate::failure::{failed, passes};

/// How long a process may be without any answer of the broker before it has to assume that its units belong to others.
pub const LEASE: Duration = Duration::from_secs(5);

const PAUSE_FIRST: Duration = Duration::from_millis(5);
const PAUSE_MAX: Duration = Duration::from_secs(1);
/// How often a question of a claim or a survey is asked before the caller is told to come again: about ten seconds.
pub(crate) const ATTEMPTS_MAX: u32 = 17;

/// Pauses that grow.
pub(crate) struct Pauses {
    next: Duration,
    left: Option<u32>,
}

impl Pauses {
    /// As many as it takes.
    pub(crate) fn without_end() -> Self {
        Self { next: PAUSE_FIRST, left: None }
    }

    /// At most so many.
    pub(crate) fn at_most(count: u32) -> Self {
        Self { next: PAUSE_FIRST, left: Some(count) }
    }

    /// The next one; none when there were enough.
    pub(crate) fn next(&mut self) -> Option<Duration> {
        if let Some(left) = &mut self.left {
            *left = left.checked_sub(1)?;
        }
        let pause = self.next;
        self.next = (pause * 2).min(PAUSE_MAX);
        Some(pause)
    }
}

/// See the module.
pub(crate) struct Link<B> {
    pub(crate) broker: Arc<B>,
    heard: AtomicI64,
    lapses: AtomicU64,
}

impl<B: Broker> Link<B> {
    pub(crate) fn new(broker: Arc<B>) -> Self {
        let heard = AtomicI64::new(broker.now().nanos());
        Self { broker, heard, lapses: AtomicU64::new(0) }
    }

    /// How long ago the broker answered anything.
    pub(crate) fn silent_for(&self) -> Duration {
        self.broker.now().since(Time::from_nanos(self.heard.load(Ordering::Relaxed)))
    }

    pub(crate) fn note<T>(&self, answer: Result<T, Failure>) -> Result<T, Failure> {
        if !answer.as_ref().is_err_and(passes) {
            let now = self.broker.now();
            let before = self.heard.fetch_max(now.nanos(), Ordering::Relaxed);
            if now.since(Time::from_nanos(before)) > LEASE {
                self.lapses.fetch_add(1, Ordering::Relaxed);
            }
        }
        answer
    }

    /// How often the broker was silent for longer than [`LEASE`], the present silence included.
    pub(crate) fn lapses(&self) -> u64 {
        self.lapses.load(Ordering::Relaxed) + u64::from(self.silent_for() > LEASE)
    }

    pub(crate) async fn pause(&self, pauses: &mut Pauses) -> bool {
        let Some(pause) = pauses.next() else { return false };
        self.broker.sleep(pause).await;
        true
    }

    pub(crate) async fn publish(&self, publish: Publish) -> Result<u64, Failure> {
        self.note(self.broker.publish(publish).await)
    }

    /// Whether to ask again after a failure; waits before that.
    async fn again(&self, pauses: &mut Pauses, attempted: String, failure: Failure) -> Result<(), Error> {
        if !passes(&failure) || !self.pause(pauses).await {
            return Err(failed(attempted, failure));
        }
        Ok(())
    }

    /// The last message under a filter.
    pub(crate) async fn last(
        &self,
        stream: &StreamName,
        filter: &str,
        mut pauses: Pauses,
    ) -> Result<Option<Message>, Error> {
        loop {
            match self.note(self.broker.last(stream, filter).await) {
                Ok(answer) => return Ok(answer),
                Err(failure) => {
                    let attempted = format!("read the last message of {filter}");
                    self.again(&mut pauses, attempted, failure).await?;
                }
            }
        }
    }

    /// A stream as it is.
    pub(crate) async fn state(&self, stream: &StreamName, mut pauses: Pauses) -> Result<StreamState, Error> {
        loop {
            match self.note(self.broker.state(stream).await) {
                Ok(answer) => return Ok(answer),
                Err(failure) => {
                    let attempted = format!("ask for the state of stream {stream}");
                    self.again(&mut pauses, attempted, failure).await?;
                }
            }
        }
    }

    /// Begins to read.
    pub(crate) async fn consume(
        &self,
        consume: &Consume,
        mut pauses: Pauses,
    ) -> Result<Box<dyn Consumer>, Error> {
        loop {
            match self.note(self.broker.consume(consume.clone()).await) {
                Ok(answer) => return Ok(answer),
                Err(failure) => {
                    let attempted = format!("begin to read stream {}", consume.stream);
                    self.again(&mut pauses, attempted, failure).await?;
                }
            }
        }
    }
}
