//! Where the workers of a vertex agree how many of them share a rate: in the memory of one process, or in Redis.
//!
//! Here is what one process knows of all its seats. Every store runs the conformance suite of the store door. Invariant:
//! no two seats of one process that live at the same time have the same name in the same pool, though two workers with
//! the same number may be there for a while when one takes over from the other.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::sync::{Arc, Mutex, MutexGuard};

pub mod memory;
pub mod redis;

/// What the workers of one process share of their rates. Clones share it too.
#[derive(Clone, Debug, Default)]
pub struct Pools {
    process: String,
    known: Arc<Mutex<Known>>,
}

#[derive(Debug, Default)]
struct Known {
    memory: BTreeMap<String, memory::Pool>,
    /// Pool and name of every seat that lives.
    taken: BTreeSet<(String, String)>,
}

impl Pools {
    /// Pools of a process whose workers have numbers that workers of other processes have too. `process` tells them apart:
    /// it is the same in every life of the process, and no other process has it.
    pub fn of_process(process: impl Into<String>) -> Self {
        Self { process: process.into(), known: Arc::default() }
    }

    fn known(&self) -> MutexGuard<'_, Known> {
        self.known.lock().expect("nothing panics while names are given out")
    }

    /// The pool of this name in the memory of this process.
    pub fn memory(&self, pool: &str) -> memory::Pool {
        self.known().memory.entry(pool.to_owned()).or_default().clone()
    }

    /// A name in a pool for a worker; one that has its name already is another seat.
    pub fn seat(&self, pool: &str, vertex: &str, replica: u16) -> Seat {
        let mut member = format!("{vertex}-{replica}");
        if !self.process.is_empty() {
            write!(member, "@{}", self.process).expect("text can always grow");
        }
        let mut known = self.known();
        let base = member.clone();
        let mut number = 2u64;
        while !known.taken.insert((pool.to_owned(), member.clone())) {
            member = format!("{base}.{number}");
            number += 1;
        }
        Seat { pools: self.clone(), pool: pool.to_owned(), member }
    }
}

/// A name in a pool that nobody else of this process has; given back when it is dropped.
#[derive(Debug)]
pub struct Seat {
    pools: Pools,
    pool: String,
    member: String,
}

impl Seat {
    /// The name of the pool.
    pub fn pool(&self) -> &str {
        &self.pool
    }

    /// The name of the member.
    pub fn member(&self) -> &str {
        &self.member
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        let key = (std::mem::take(&mut self.pool), std::mem::take(&mut self.member));
        self.pools.known().taken.remove(&key);
    }
}

/// The name of a vertex's pool, as the reference builds it.
pub fn pool_of_vertex(pipeline: &str, vertex: &str) -> String {
    format!("{pipeline}-{vertex}-pl")
}

/// The name of a mono vertex's pool, as the reference builds it.
pub fn pool_of_mono_vertex(name: &str) -> String {
    format!("{name}-mv")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn seats_of_one_process_never_share_a_name_and_the_first_keeps_its_own() {
        let pools = Pools::default();
        let pool = pool_of_vertex("p", "cat");
        assert_eq!(pool, "p-cat-pl");
        let first = pools.seat(&pool, "cat", 0);
        let second = pools.clone().seat(&pool, "cat", 0);
        let other = pools.seat(&pool_of_mono_vertex("cat"), "cat", 0);
        assert_eq!((first.member(), second.member(), other.member()), ("cat-0", "cat-0.2", "cat-0"));
        drop(first);
        assert_eq!(pools.seat(&pool, "cat", 0).member(), "cat-0");
        assert_eq!(Pools::of_process("7f").seat(&pool, "cat", 3).member(), "cat-3@7f");
    }
}
