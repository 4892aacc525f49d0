//! Rates that workers keep to together, and a clock that counts what happened in each second.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use connect::store::Pools;
use connect::store::memory::MemoryStore;
use model::door::store::{Agreement, Registered, Store};
use model::door::{Class, Error};
use worker::{Clock, Mode, Rate, RateLimit};

/// A rate without a ramp.
pub(crate) fn flat(messages: u64) -> Rate {
    Rate { max: messages, min: messages, ramp_up: Duration::from_secs(1), mode: Mode::Relaxed }
}

/// A rate for a worker of the process.
pub(crate) fn shared(seconds: Seconds, pools: &Pools, replica: u16, rate: Rate) -> RateLimit {
    let store = MemoryStore::open(pools.memory("pool"), pools.seat("pool", "v", replica));
    with(seconds, Arc::new(store), rate)
}

/// A rate that is agreed upon at this store.
pub(crate) fn with(seconds: Seconds, store: Arc<dyn Store>, rate: Rate) -> RateLimit {
    RateLimit { rate, store, ttl: Duration::from_mins(3), resumes: false, clock: seconds.0 }
}

/// A store that can be silenced.
#[derive(Clone)]
pub(crate) struct Silenced {
    inner: Arc<dyn Store>,
    silent: Arc<AtomicBool>,
}

impl Silenced {
    pub(crate) fn new(inner: Arc<dyn Store>, silent: bool) -> Self {
        Self { inner, silent: Arc::new(AtomicBool::new(silent)) }
    }

    pub(crate) fn silence(&self, silent: bool) {
        self.silent.store(silent, Ordering::Relaxed);
    }

    fn reached(&self) -> Result<(), Error> {
        if self.silent.load(Ordering::Relaxed) {
            return Err(Error::new(Class::Retry, "reach the store: it is silent"));
        }
        Ok(())
    }
}

#[async_trait]
impl Store for Silenced {
    async fn register(&self, ttl: Duration) -> Result<Registered, Error> {
        self.reached()?;
        self.inner.register(ttl).await
    }

    async fn sync(&self, believed: u64, ttl: Duration) -> Result<Agreement, Error> {
        self.reached()?;
        self.inner.sync(believed, ttl).await
    }

    async fn deregister(&self, reached: u64, ttl: Duration) -> Result<(), Error> {
        self.reached()?;
        self.inner.deregister(reached, ttl).await
    }
}

/// The seconds of a test, which begins a quarter into one.
#[derive(Clone, Copy)]
pub(crate) struct Seconds(pub(crate) Clock);

impl Seconds {
    pub(crate) fn start() -> Self {
        Self(Clock::start_at(Duration::from_millis(1_700_000_000_250)))
    }

    /// Lets so many seconds begin and gives the number of the last one.
    pub(crate) async fn pass(self, seconds: u64) -> u64 {
        let number = self.0.now().as_secs() + seconds;
        tokio::time::sleep_until(self.0.at(Duration::from_secs(number))).await;
        number
    }

    /// Lets a part of a second pass.
    pub(crate) async fn pass_part(self, part: Duration) {
        let now = self.0.now();
        tokio::time::sleep_until(self.0.at(now + part)).await;
    }

    /// How many of these moments fell into each second from one to before another.
    pub(crate) fn counts(moments: &[Duration], from: u64, to: u64) -> Vec<u64> {
        let mut counts: BTreeMap<u64, u64> = (from..to).map(|second| (second, 0)).collect();
        for moment in moments {
            if let Some(count) = counts.get_mut(&moment.as_secs()) {
                *count += 1;
            }
        }
        counts.into_values().collect()
    }
}
