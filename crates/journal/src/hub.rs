//! What the commit thread and everybody else look at together, each part under its own lock. The commit thread
//! is the only one that changes any of it, except the table of logs, which submitters extend.
//!
//! Order of locks, where two are held: an index before the segments. Nobody takes an index while the segments
//! are locked for writing.

use std::collections::{BTreeMap, HashMap};
use std::ops::Bound;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, RwLock};

use bytes::Bytes;

use crate::cache;
use crate::disk::Disk;
use crate::error::{Error, Place};
use crate::format;
use crate::index::Index;
use crate::locks::{lock, read, write};
use crate::options::Options;
use crate::queue::Queue;
use crate::status::{Cut, Damage, Status};
use crate::transaction::{LogId, Transaction};

pub(crate) struct Shared<D: Disk> {
    pub(crate) disk: D,
    pub(crate) place: Place,
    pub(crate) options: Options,
    pub(crate) queue: Queue,
    pub(crate) logs: RwLock<LogTable>,
    pub(crate) segments: RwLock<BTreeMap<u32, Arc<Segment<D::File>>>>,
    pub(crate) state: RwLock<State>,
    pub(crate) held: cache::Held,
    pub(crate) counters: Counters,
    pub(crate) cut: Option<Cut>,
    pub(crate) damaged: Mutex<Vec<Damage>>,
}

/// A segment file, kept open so that it can be read even while it is being deleted.
pub(crate) struct Segment<F> {
    pub(crate) number: u32,
    pub(crate) name: String,
    pub(crate) file: F,
}

pub(crate) struct Log {
    pub(crate) id: LogId,
    pub(crate) name: String,
    pub(crate) index: Mutex<Index>,
}

#[derive(Default)]
pub(crate) struct LogTable {
    pub(crate) all: Vec<Arc<Log>>,
    pub(crate) by_name: HashMap<String, LogId>,
}

impl LogTable {
    pub(crate) fn add(&mut self, name: &str, index: Index) -> LogId {
        let id = LogId(u32::try_from(self.all.len()).expect("logs_max fits in 32 bits"));
        self.all.push(Arc::new(Log { id, name: name.to_owned(), index: Mutex::new(index) }));
        self.by_name.insert(name.to_owned(), id);
        id
    }
}

/// The key-value state after all durable transactions.
#[derive(Default)]
pub(crate) struct State {
    pub(crate) map: BTreeMap<Bytes, Bytes>,
}

impl State {
    pub(crate) fn apply(&mut self, key: Bytes, value: Option<Bytes>) {
        match value {
            Some(value) => self.map.insert(key, value),
            None => self.map.remove(&key),
        };
    }

    pub(crate) fn scan(&self, prefix: &[u8]) -> Vec<(Bytes, Bytes)> {
        self.map
            .range::<[u8], _>((Bound::Included(prefix), Bound::Unbounded))
            .take_while(|(key, _)| key.starts_with(prefix))
            .map(|(key, value)| (key.clone(), value.clone()))
            .collect()
    }
}

/// Written by the commit thread, read by anybody; each is exact on its own.
#[derive(Default)]
pub(crate) struct Counters {
    pub(crate) durable_record: AtomicU64,
    pub(crate) disk_bytes: AtomicU64,
    pub(crate) live_bytes: AtomicU64,
    pub(crate) live_frames: AtomicU64,
    pub(crate) transactions: AtomicU64,
    pub(crate) groups: AtomicU64,
    pub(crate) syncs: AtomicU64,
    pub(crate) written_bytes: AtomicU64,
    pub(crate) moved_bytes: AtomicU64,
    pub(crate) checkpoints: AtomicU64,
    pub(crate) refused_full: AtomicU64,
    pub(crate) full: AtomicBool,
}

pub(crate) fn add(counter: &AtomicU64, amount: u64) {
    counter.fetch_add(amount, Ordering::Relaxed);
}

pub(crate) fn subtract(counter: &AtomicU64, amount: u64) {
    let before = counter.fetch_sub(amount, Ordering::Relaxed);
    assert!(before >= amount, "a count of the journal fell below zero");
}

impl<D: Disk> Shared<D> {
    pub(crate) fn open_log(&self, name: &str) -> Result<LogId, Error> {
        format::check_name(name)?;
        if let Some(id) = read(&self.logs).by_name.get(name) {
            return Ok(*id);
        }
        let mut table = write(&self.logs);
        if let Some(id) = table.by_name.get(name) {
            return Ok(*id);
        }
        let limit = self.options.logs_max;
        if table.all.len() >= limit {
            return Err(Error::TooManyLogs { name: name.to_owned(), limit });
        }
        Ok(table.add(name, Index::default()))
    }

    pub(crate) fn find_log(&self, id: LogId) -> Result<Arc<Log>, Error> {
        read(&self.logs).all.get(id.0 as usize).cloned().ok_or(Error::UnknownLog { log: id.0 })
    }

    pub(crate) fn check_logs(&self, transaction: &Transaction) -> Result<(), Error> {
        let count = read(&self.logs).all.len();
        let appended = transaction.appends.iter().map(|append| append.log);
        let settled = transaction.settlements.iter().map(|settlement| settlement.log);
        match appended.chain(settled).find(|log| log.0 as usize >= count) {
            Some(log) => Err(Error::UnknownLog { log: log.0 }),
            None => Ok(()),
        }
    }

    pub(crate) fn status(&self) -> Status {
        let get = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        let counters = &self.counters;
        Status {
            durability: self.options.durability,
            segments: read(&self.segments).len(),
            disk_bytes: get(&counters.disk_bytes),
            live_bytes: get(&counters.live_bytes),
            live_frames: get(&counters.live_frames),
            cache_bytes: self.held.get(),
            transactions: get(&counters.transactions),
            groups: get(&counters.groups),
            syncs: get(&counters.syncs),
            written_bytes: get(&counters.written_bytes),
            moved_bytes: get(&counters.moved_bytes),
            checkpoints: get(&counters.checkpoints),
            refused_full: get(&counters.refused_full),
            full: counters.full.load(Ordering::Relaxed),
            poisoned: self.queue.failure(),
            cut: self.cut.clone(),
            damaged: lock(&self.damaged).clone(),
        }
    }
}
