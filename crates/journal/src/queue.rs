//! The queue between submitters and the commit thread: bounded, and the place where order and sequences are
//! decided. The invariant: sequences rise in the order of the queue.

use std::collections::VecDeque;
use std::sync::{Condvar, Mutex, MutexGuard};
use std::thread::ThreadId;

use crate::error::Error;
use crate::locks::lock;
use crate::options::Options;
use crate::transaction::{Receipt, Sequences, Transaction};

pub(crate) type Answer = Box<dyn FnOnce(Result<Receipt, Error>) + Send>;

/// A transaction on its way.
pub(crate) struct Pending {
    pub(crate) transaction: Transaction,
    pub(crate) sequences: Sequences,
    pub(crate) size_bytes: usize,
    pub(crate) meta_crc: u32,
    pub(crate) done: Answer,
}

impl Pending {
    /// Computes what the submitting thread can compute, so that the commit thread need not.
    pub(crate) fn new(transaction: Transaction, done: Answer) -> Pending {
        let sequences = Sequences { first: 0, count: transaction.appends() as u32 };
        let meta_crc = crc32fast::hash(&transaction.meta);
        Pending { size_bytes: transaction.size_bytes(), meta_crc, transaction, sequences, done }
    }
}

pub(crate) struct Queue {
    inner: Mutex<Inner>,
    filled: Condvar,
    drained: Condvar,
    bytes_max: usize,
    transactions_max: usize,
}

struct Inner {
    waiting: VecDeque<Pending>,
    bytes: usize,
    next_sequence: u64,
    /// Submitters that wait for room; nobody is woken when there are none.
    blocked: usize,
    /// The commit thread waits.
    idle: bool,
    committer: Option<ThreadId>,
    closed: bool,
    failure: Option<Error>,
}

impl Inner {
    fn stopped(&self) -> Option<Error> {
        self.failure.clone().or_else(|| self.closed.then_some(Error::Closed))
    }
}

impl Queue {
    pub(crate) fn new(options: &Options, next_sequence: u64) -> Queue {
        assert!(next_sequence > 0, "sequences count from 1");
        let inner = Inner {
            waiting: VecDeque::new(),
            bytes: 0,
            next_sequence,
            blocked: 0,
            idle: false,
            committer: None,
            closed: false,
            failure: None,
        };
        Queue {
            inner: Mutex::new(inner),
            filled: Condvar::new(),
            drained: Condvar::new(),
            bytes_max: options.queue_bytes,
            transactions_max: options.queue_transactions,
        }
    }

    /// Puts a transaction at the end, waiting for room, and gives it its sequences.
    pub(crate) fn push(&self, mut pending: Pending) -> Result<Sequences, Error> {
        let mut inner = self.wait_for_room(pending.size_bytes)?;
        let highest = inner.next_sequence - 1;
        for settlement in &pending.transaction.settlements {
            if settlement.sequence > highest {
                return Err(Error::SettledAhead { sequence: settlement.sequence, highest });
            }
        }
        pending.sequences.first = inner.next_sequence;
        inner.next_sequence += u64::from(pending.sequences.count);
        inner.bytes += pending.size_bytes;
        let sequences = pending.sequences;
        inner.waiting.push_back(pending);
        let wake = std::mem::take(&mut inner.idle);
        drop(inner);
        if wake {
            self.filled.notify_one();
        }
        Ok(sequences)
    }

    fn wait_for_room(&self, size_bytes: usize) -> Result<MutexGuard<'_, Inner>, Error> {
        let mut inner = lock(&self.inner);
        loop {
            if let Some(error) = inner.stopped() {
                return Err(error);
            }
            // A transaction larger than the whole queue goes alone.
            let fits = inner.waiting.is_empty() || inner.bytes + size_bytes <= self.bytes_max;
            if fits && inner.waiting.len() < self.transactions_max {
                return Ok(inner);
            }
            if inner.committer == Some(std::thread::current().id()) {
                return Err(Error::QueueFull);
            }
            inner.blocked += 1;
            inner = self.drained.wait(inner).expect("nothing panics while the queue is locked");
            inner.blocked -= 1;
        }
    }

    /// Takes the oldest transactions, as many as fit in `bytes_max` but at least one, into `group`. With
    /// `wait`, waits until there is one or the queue is closed. Returns false once it is closed and empty.
    pub(crate) fn take(&self, group: &mut Vec<Pending>, bytes_max: usize, wait: bool) -> bool {
        let mut inner = lock(&self.inner);
        while wait && inner.waiting.is_empty() && inner.stopped().is_none() {
            inner.idle = true;
            inner = self.filled.wait(inner).expect("nothing panics while the queue is locked");
        }
        inner.idle = false;
        let mut bytes = 0;
        while let Some(next) = inner.waiting.front() {
            if !group.is_empty() && bytes + next.size_bytes > bytes_max {
                break;
            }
            bytes += next.size_bytes;
            group.extend(inner.waiting.pop_front());
        }
        inner.bytes -= bytes;
        if inner.blocked > 0 && !group.is_empty() {
            self.drained.notify_all();
        }
        !group.is_empty() || inner.stopped().is_none()
    }

    /// The sequence that the next append will get.
    pub(crate) fn next_sequence(&self) -> u64 {
        lock(&self.inner).next_sequence
    }

    /// The thread that must not wait for itself.
    pub(crate) fn set_committer(&self, thread: ThreadId) {
        lock(&self.inner).committer = Some(thread);
    }

    /// Refuses everything from here on; what waits is still written.
    pub(crate) fn close(&self) {
        lock(&self.inner).closed = true;
        self.filled.notify_all();
        self.drained.notify_all();
    }

    /// Refuses everything from here on with this error and gives back what waits.
    pub(crate) fn fail(&self, error: &Error) -> VecDeque<Pending> {
        let mut inner = lock(&self.inner);
        inner.failure.get_or_insert_with(|| error.clone());
        inner.bytes = 0;
        let waiting = std::mem::take(&mut inner.waiting);
        drop(inner);
        self.filled.notify_all();
        self.drained.notify_all();
        waiting
    }

    pub(crate) fn stopped(&self) -> Option<Error> {
        lock(&self.inner).stopped()
    }

    pub(crate) fn failure(&self) -> Option<Error> {
        lock(&self.inner).failure.clone()
    }
}
