//! A pool in the memory of one process. Invariant: whatever is older than the time to live that a call names is gone
//! before the call counts anything.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use async_trait::async_trait;
use model::door::Error;
use model::door::store::{Agreement, Registered, Store};
use tokio::time::Instant;

use super::Seat;

/// The members of one pool. Clones are the same pool.
#[derive(Clone, Debug, Default)]
pub struct Pool(Arc<Mutex<Members>>);

#[derive(Debug, Default)]
struct Members {
    here: BTreeMap<String, Member>,
    gone: BTreeMap<String, Gone>,
}

#[derive(Debug)]
struct Member {
    heard: Instant,
    believed: u64,
}

#[derive(Debug)]
struct Gone {
    at: Instant,
    reached: u64,
}

/// A member of a pool.
#[derive(Debug)]
pub struct MemoryStore {
    pool: Pool,
    seat: Seat,
}

impl MemoryStore {
    /// Takes a seat in a pool. Nobody sees it before it registers.
    pub fn open(pool: Pool, seat: Seat) -> Self {
        Self { pool, seat }
    }

    fn members(&self) -> MutexGuard<'_, Members> {
        self.pool.0.lock().expect("nothing panics while members are counted")
    }

    fn name(&self) -> String {
        self.seat.member().to_owned()
    }
}

impl Members {
    fn forget(&mut self, ttl: Duration) {
        self.here.retain(|_, member| member.heard.elapsed() <= ttl);
        self.gone.retain(|_, gone| gone.at.elapsed() <= ttl);
    }

    fn count(&self) -> u64 {
        self.here.len() as u64
    }
}

#[async_trait]
impl Store for MemoryStore {
    async fn register(&self, ttl: Duration) -> Result<Registered, Error> {
        let mut all = self.members();
        let (name, heard) = (self.name(), Instant::now());
        all.here.insert(name.clone(), Member { heard, believed: 0 });
        all.forget(ttl);
        let members = all.count();
        all.here.insert(name, Member { heard, believed: members });
        let reached = all.gone.get(self.seat.member()).map(|gone| gone.reached);
        Ok(Registered { members, reached })
    }

    async fn sync(&self, believed: u64, ttl: Duration) -> Result<Agreement, Error> {
        let mut all = self.members();
        all.here.insert(self.name(), Member { heard: Instant::now(), believed });
        all.forget(ttl);
        let beliefs = || all.here.values().map(|member| member.believed);
        let largest = beliefs().max().unwrap_or(believed);
        let unanimous = beliefs().all(|other| other == believed);
        let own = (believed, self.seat.member());
        let before = all.here.iter().filter(|(name, member)| (member.believed, name.as_str()) < own).count();
        Ok(Agreement { members: all.count(), largest, unanimous, place: before as u64 })
    }

    async fn deregister(&self, reached: u64, ttl: Duration) -> Result<(), Error> {
        let mut all = self.members();
        all.here.remove(self.seat.member());
        all.forget(ttl);
        all.gone.insert(self.name(), Gone { at: Instant::now(), reached });
        Ok(())
    }
}
