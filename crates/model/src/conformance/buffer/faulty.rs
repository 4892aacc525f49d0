//! A buffer that is out of reach now and then, slow, and interrupted: what it wraps must keep its promises through it,
//! and whoever uses a buffer must cope with it.
//!
//! What it may do, all by a seed and all within the contract:
//! * before and after every call let others go first, a number of times;
//! * answer `Retry` to a claim, a look-up of ids, a commit or a survey, *without* having made the call;
//! * read less at once than it was asked to;
//! * give a commit up at any point of its way, whether or not it has been handed over: the commit is answered with
//!   `Lost`, and so is everything on that claim from then on, as after a worker's own decision to stop. Only the next
//!   claim says whether the commit is stored.
//!
//! What it never does: answer `Retry` to a commit that may be stored, lose a frame between the buffer and the caller,
//! or change anything that passes.

use std::pin::pin;
use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use smol_str::SmolStr;
use tokio::sync::watch;

use super::Bench;
use super::kit::polled;
use crate::door::buffer::{
    Bounds, Buffer, Claim, Claimed, Commit, Committed, Committer, Reader, Stored, Survey, VertexSettings,
};
use crate::door::{Class, Error};

/// How bad it gets.
#[derive(Clone, Copy, Debug)]
pub struct Faults {
    /// How often others go first at each pause, at most.
    pub pauses_max: u32,
    /// One call in so many is answered with `Retry`; 0 for none.
    pub retry_one_in: u32,
    /// One commit in so many is given up; 0 for none.
    pub abandon_one_in: u32,
}

impl Faults {
    /// Faults that a caller notices only as slowness and `Retry`.
    pub const MILD: Self = Self { pauses_max: 5, retry_one_in: 4, abandon_one_in: 0 };
    /// Commits are given up as well.
    pub const SEVERE: Self = Self { pauses_max: 5, retry_one_in: 6, abandon_one_in: 8 };
}

/// The wrapper.
pub struct Faulty {
    inner: Arc<dyn Buffer>,
    dice: Dice,
}

impl Faulty {
    /// Wraps a buffer; the seed decides about every fault.
    pub fn new(inner: Arc<dyn Buffer>, faults: Faults, seed: u64) -> Self {
        Self { inner, dice: Dice::new(faults, fastrand::Rng::with_seed(seed)) }
    }
}

/// A bench whose buffers are wrapped.
pub struct FaultyBench<B> {
    inner: B,
    faults: Faults,
    seed: Mutex<fastrand::Rng>,
}

impl<B: Bench> FaultyBench<B> {
    /// Wraps every buffer of a bench.
    pub fn new(inner: B, faults: Faults, seed: u64) -> Self {
        Self { inner, faults, seed: Mutex::new(fastrand::Rng::with_seed(seed)) }
    }

    fn wrap(&self, buffer: Arc<dyn Buffer>) -> Arc<dyn Buffer> {
        let seed = self.seed.lock().expect("nothing panics while a seed is drawn").u64(..);
        Arc::new(Faulty::new(buffer, self.faults, seed))
    }
}

#[async_trait]
impl<B: Bench> Bench for FaultyBench<B> {
    async fn open(&self, vertices: &[VertexSettings]) -> Arc<dyn Buffer> {
        let buffer = self.inner.open(vertices).await;
        self.wrap(buffer)
    }

    async fn restart(&self) -> Arc<dyn Buffer> {
        let buffer = self.inner.restart().await;
        self.wrap(buffer)
    }

    fn may_die(&self) -> bool {
        self.inner.may_die()
    }
}

struct Dice {
    faults: Faults,
    rng: Mutex<fastrand::Rng>,
}

impl Dice {
    fn new(faults: Faults, rng: fastrand::Rng) -> Self {
        Self { faults, rng: Mutex::new(rng) }
    }

    fn roll<T>(&self, choose: impl FnOnce(&mut fastrand::Rng) -> T) -> T {
        choose(&mut self.rng.lock().expect("nothing panics while a number is drawn"))
    }

    fn fork(&self) -> Self {
        Self::new(self.faults, self.roll(fastrand::Rng::fork))
    }

    fn one_in(&self, many: u32) -> bool {
        many > 0 && self.roll(|rng| rng.u32(0..many)) == 0
    }

    async fn pause(&self) {
        for _ in 0..self.roll(|rng| rng.u32(0..=self.faults.pauses_max)) {
            tokio::task::yield_now().await;
        }
    }

    /// Pauses, and now and then refuses.
    async fn approach(&self, attempted: &str) -> Result<(), Error> {
        self.pause().await;
        if self.one_in(self.faults.retry_one_in) {
            return Err(Error::new(Class::Retry, format!("{attempted}: out of reach for a moment")));
        }
        Ok(())
    }
}

#[async_trait]
impl Buffer for Faulty {
    fn bounds(&self) -> Bounds {
        self.inner.bounds()
    }

    async fn claim(&self, claim: Claim) -> Result<Claimed, Error> {
        self.dice.approach("claim").await?;
        let Claimed { progress, reader, committer } = self.inner.claim(claim).await?;
        self.dice.pause().await;
        let (given_up, stopped) = watch::channel(false);
        let wrap = |inner| {
            Box::new(FaultyReader { inner, stopped: stopped.clone(), dice: self.dice.fork() })
                as Box<dyn Reader>
        };
        let reader = reader.map(wrap);
        let committer = Box::new(FaultyCommitter { inner: committer, given_up, dice: self.dice.fork() });
        Ok(Claimed { progress, reader, committer })
    }

    async fn survey(&self) -> Result<Survey, Error> {
        self.dice.approach("survey").await?;
        let survey = self.inner.survey().await;
        self.dice.pause().await;
        survey
    }
}

struct FaultyReader {
    inner: Box<dyn Reader>,
    stopped: watch::Receiver<bool>,
    dice: Dice,
}

#[async_trait]
impl Reader for FaultyReader {
    async fn read(&mut self, bytes_max: usize) -> Result<Vec<Stored>, Error> {
        self.dice.pause().await;
        let bytes_max = bytes_max / self.dice.roll(|rng| rng.usize(1..=4));
        // No pause after it: a caller that goes away then would lose frames.
        let Self { inner, stopped, .. } = self;
        let stop = async {
            if stopped.wait_for(|stopped| *stopped).await.is_err() {
                // The committer is gone, and with it whoever could give a commit up.
                std::future::pending::<()>().await;
            }
        };
        tokio::select! {
            biased;
            () = stop => Err(given_up()),
            frames = inner.read(bytes_max) => frames,
        }
    }
}

fn given_up() -> Error {
    Error::new(Class::Lost, "keep the unit: a commit was given up half-way")
}

struct FaultyCommitter {
    inner: Box<dyn Committer>,
    given_up: watch::Sender<bool>,
    dice: Dice,
}

impl FaultyCommitter {
    fn check(&self) -> Result<(), Error> {
        if *self.given_up.borrow() { Err(given_up()) } else { Ok(()) }
    }
}

#[async_trait]
impl Committer for FaultyCommitter {
    async fn known(&mut self, ids: &[SmolStr]) -> Result<Vec<bool>, Error> {
        self.check()?;
        self.dice.approach("look ids up").await?;
        let known = self.inner.known(ids).await;
        self.dice.pause().await;
        known
    }

    async fn commit(&mut self, commit: Commit) -> Result<Committed, Error> {
        self.check()?;
        self.dice.approach("commit").await?;
        if !self.dice.one_in(self.dice.faults.abandon_one_in) {
            let committed = self.inner.commit(commit).await;
            self.dice.pause().await;
            return committed;
        }
        let polls = self.dice.roll(|rng| rng.u32(0..10));
        if let Some(committed) = polled(pin!(self.inner.commit(commit)), polls).await {
            return committed;
        }
        self.given_up.send_replace(true);
        Err(given_up())
    }

    async fn release(self: Box<Self>) -> Result<(), Error> {
        self.check()?;
        self.dice.pause().await;
        self.inner.release().await
    }
}
