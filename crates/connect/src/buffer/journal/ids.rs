//! The ids a vertex has committed, so that a message that comes again from outside is recognised, also after a crash.
//!
//! They lie in a log of their own, one frame per commit, and the oldest are forgotten once enough younger ones are
//! there. An id that one unit is about to commit is reserved: another unit that sees it waits for the outcome.

use std::collections::{HashMap, HashSet, VecDeque};
use std::sync::{Mutex, MutexGuard};

use ::journal::{Disk, Journal, LogId, Transaction};
use bytes::{Buf, BufMut};
use model::door::buffer::IDS_REMEMBERED;
use model::door::{Class, Error};
use model::{Name, Unit};
use smol_str::SmolStr;
use tokio::sync::Notify;

use super::{door_error, names};

const READ_BYTES: usize = 1024 * 1024;

pub(super) struct Ids {
    pub(super) log: LogId,
    kept: Mutex<Kept>,
    changed: Notify,
}

#[derive(Default)]
struct Kept {
    known: HashSet<SmolStr>,
    commits: VecDeque<(u64, Vec<SmolStr>)>,
    reserved: HashMap<SmolStr, Holder>,
}

/// Who has reserved an id: a unit and the generation of its claim.
pub(super) type Holder = (Unit, u64);

fn encode(ids: &[SmolStr]) -> Vec<u8> {
    let mut out = Vec::with_capacity(ids.iter().map(|id| id.len() + 4).sum());
    for id in ids {
        out.put_u32(id.len() as u32);
        out.put_slice(id.as_bytes());
    }
    out
}

fn decode(mut bytes: &[u8]) -> Option<Vec<SmolStr>> {
    let mut ids = Vec::new();
    while bytes.has_remaining() {
        let len = bytes.try_get_u32().ok()? as usize;
        let (id, rest) = bytes.split_at_checked(len)?;
        ids.push(SmolStr::new(std::str::from_utf8(id).ok()?));
        bytes = rest;
    }
    Some(ids)
}

impl Ids {
    pub(super) fn open<D: Disk>(journal: &Journal<D>, vertex: &Name) -> Result<Self, Error> {
        let attempted = || format!("open the id index of vertex {vertex}");
        let log = journal.log(&names::ids_log(vertex)).map_err(|error| door_error(attempted(), error))?;
        let ids = Self { log, kept: Mutex::default(), changed: Notify::new() };
        let (mut from, mut entries) = (0, Vec::new());
        while journal
            .read(log, from, READ_BYTES, &mut entries)
            .map_err(|error| door_error(attempted(), error))?
            > 0
        {
            for entry in entries.drain(..) {
                from = entry.sequence + 1;
                let found = decode(&entry.bytes).ok_or_else(|| Error::new(Class::Fatal, attempted()))?;
                ids.remember(entry.sequence, found, 0);
            }
        }
        Ok(ids)
    }

    fn lock(&self) -> MutexGuard<'_, Kept> {
        self.kept.lock().expect("nothing panics while the ids are locked")
    }

    /// Which of these are known; the others are reserved for `holder` until it commits or lets go of them. An id that
    /// comes twice in one call is known the second time. Waits while another holder has one of them reserved.
    pub(super) async fn reserve(&self, holder: Holder, ids: &[SmolStr]) -> Vec<bool> {
        loop {
            let changed = self.changed.notified();
            tokio::pin!(changed);
            changed.as_mut().enable();
            if let Some(known) = self.try_reserve(holder, ids) {
                return known;
            }
            changed.await;
        }
    }

    fn try_reserve(&self, holder: Holder, ids: &[SmolStr]) -> Option<Vec<bool>> {
        let mut kept = self.lock();
        if ids.iter().any(|id| kept.reserved.get(id).is_some_and(|other| *other != holder)) {
            return None;
        }
        let mut own = HashSet::new();
        let known: Vec<_> = ids.iter().map(|id| kept.known.contains(id) || !own.insert(id)).collect();
        for (id, known) in ids.iter().zip(&known) {
            if !known {
                kept.reserved.insert(id.clone(), holder);
            }
        }
        Some(known)
    }

    /// Lets go of everything that this holder has reserved.
    pub(super) fn let_go(&self, unit: Unit, generation: u64) {
        self.keep_reserved(|holder| *holder != (unit, generation));
    }

    /// Lets go of everything that earlier claims of the unit have reserved.
    pub(super) fn let_go_before(&self, unit: Unit, generation: u64) {
        self.keep_reserved(|holder| holder.0 != unit || holder.1 >= generation);
    }

    fn keep_reserved(&self, keep: impl Fn(&Holder) -> bool) {
        let mut kept = self.lock();
        if kept.reserved.is_empty() {
            return;
        }
        kept.reserved.retain(|_, holder| keep(holder));
        drop(kept);
        self.changed.notify_waiters();
    }

    /// Adds ids to a transaction, and the forgetting of the oldest beyond the bound. Gives the number up to which
    /// commits of ids are forgotten once the transaction is stored.
    pub(super) fn append(&self, transaction: &mut Transaction, ids: &[SmolStr]) -> u64 {
        transaction.append(self.log, encode(ids));
        let kept = self.lock();
        let mut left = kept.known.len() + ids.len();
        let mut through = 0;
        for (sequence, oldest) in &kept.commits {
            if left < IDS_REMEMBERED + oldest.len() {
                break;
            }
            left -= oldest.len();
            through = *sequence;
        }
        if through > 0 {
            transaction.settle_through(self.log, through);
        }
        through
    }

    /// Notes ids that are durable, and forgets the commits of ids up to and including number `through`.
    pub(super) fn remember(&self, sequence: u64, ids: Vec<SmolStr>, through: u64) {
        let mut kept = self.lock();
        while kept.commits.front().is_some_and(|(sequence, _)| *sequence <= through) {
            let Some((_, oldest)) = kept.commits.pop_front() else { break };
            for id in &oldest {
                kept.known.remove(id);
            }
        }
        for id in &ids {
            kept.known.insert(id.clone());
            kept.reserved.remove(id);
        }
        kept.commits.push_back((sequence, ids));
        drop(kept);
        self.changed.notify_waiters();
    }
}
