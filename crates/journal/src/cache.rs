//! How many bytes of frames are in memory and which to let go: the oldest over all logs. The bytes themselves
//! are with the indexes. The invariant: after a publish, at most `cache_bytes` are held.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicUsize, Ordering};

/// How many ages are told apart. Letting go is in steps of one age.
const AGES_MAX: usize = 64;

/// Bytes held, shared with whoever asks.
#[derive(Debug, Default)]
pub(crate) struct Held(AtomicUsize);

impl Held {
    pub(crate) fn get(&self) -> usize {
        self.0.load(Ordering::Relaxed)
    }
}

/// Owned by the commit thread, the only one that changes what is cached.
#[derive(Debug)]
pub(crate) struct Ages {
    limit: usize,
    /// For each age, oldest first: the last sequence in it and how much was cached during it.
    ages: VecDeque<(u64, usize)>,
}

impl Ages {
    pub(crate) fn new(limit: usize) -> Ages {
        Ages { limit, ages: VecDeque::new() }
    }

    /// Notes that a frame has been cached.
    pub(crate) fn grew(&mut self, held: &Held, sequence: u64, bytes: usize) {
        held.0.fetch_add(bytes, Ordering::Relaxed);
        let step = self.limit / (AGES_MAX / 4);
        match self.ages.back_mut() {
            Some((last, size)) if *size < step => {
                *last = sequence;
                *size += bytes;
            }
            _ => self.ages.push_back((sequence, bytes)),
        }
        if self.ages.len() > AGES_MAX {
            // What is oldest has mostly been settled; the two oldest become one.
            self.ages.pop_front();
        }
    }

    pub(crate) fn shrank(held: &Held, bytes: usize) {
        let before = held.0.fetch_sub(bytes, Ordering::Relaxed);
        assert!(before >= bytes, "only what was cached can leave the cache");
    }

    /// While too much is held: the sequence up to which to let go, oldest age first.
    pub(crate) fn next_to_evict(&mut self, held: &Held) -> Option<u64> {
        if held.get() <= self.limit {
            return None;
        }
        self.ages.pop_front().map(|(last, _)| last)
    }
}
