//! How much of a partition is taken, by whom, and what of it may be removed. Each writing vertex has its share of a
//! partition, so that the faster side of a join cannot starve the slower one; what goes round in a circle may use twice
//! the share. A commit is let in as a whole while anything of the share is left, and units look before they take, so
//! each unit of the writing vertex may pass the share by one commit; so may what other processes write in the moment
//! before it is heard here.
//!
//! Invariant: a frame is counted from the moment that it is let in, or heard of, until its reader's durable progress
//! covers it.

use std::collections::btree_map::Entry;
use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex, MutexGuard};

use model::door::buffer::{Passage, VertexSettings};
use model::door::{Class, Error};
use model::{Name, Progress, Time, UnitId};

use crate::bell::Bell;
use crate::names::Shelf;

mod trim;
use trim::Trims;
pub(crate) use trim::{Due, Purge, Quiet};

/// One partition as this process knows it.
pub(crate) struct Room {
    share_messages: u64,
    share_bytes: u64,
    ledger: Mutex<Ledger>,
    /// Rings when something was given back, and when what an earlier life left is known.
    pub(crate) freed: Bell,
}

#[derive(Default)]
struct Ledger {
    slots: HashMap<u16, Slot>,
    taken: HashMap<Name, Taken>,
    complete: bool,
    broken: Option<String>,
    trims: Trims,
}

#[derive(Default)]
struct Slot {
    unsettled: BTreeMap<u64, Held>,
    progress: Progress,
}

/// A frame that is not settled.
#[derive(Clone, Debug)]
pub(crate) struct Held {
    pub(crate) unit: UnitId,
    pub(crate) messages: u64,
    pub(crate) bytes: u64,
}

#[derive(Clone, Copy, Default)]
struct Taken {
    messages: u64,
    bytes: u64,
}

impl Taken {
    fn add(&mut self, messages: u64, bytes: u64) {
        self.messages += messages;
        self.bytes += bytes;
    }

    fn remove(&mut self, messages: u64, bytes: u64) {
        assert!(self.messages >= messages, "more messages given back than taken");
        assert!(self.bytes >= bytes, "more bytes given back than taken");
        self.messages -= messages;
        self.bytes -= bytes;
    }
}

impl Slot {
    fn is_settled(&self, sequence: u64) -> bool {
        sequence < self.progress.position.sequence || self.progress.above.binary_search(&sequence).is_ok()
    }

    /// How many messages of a writing vertex would be settled by moving on.
    fn leaves(&self, writer: &Name, progress: &Progress) -> u64 {
        let Progress { position, above } = progress;
        let before = self.progress.position;
        let left = |sequence: &u64, held: &Held| {
            if held.unit.vertex != *writer {
                return 0;
            }
            // Of the first frame some may be done.
            let done = if *sequence == before.sequence { u64::from(before.index) } else { 0 };
            held.messages.saturating_sub(done)
        };
        let below = self.unsettled.range(..position.sequence);
        let wholly: u64 = below.map(|(sequence, held)| left(sequence, held)).sum();
        let above = above.iter().filter_map(|at| self.unsettled.get_key_value(at));
        let above: u64 = above.map(|(sequence, held)| left(sequence, held)).sum();
        let own = self.unsettled.get(&position.sequence).filter(|held| held.unit.vertex == *writer);
        let partly = own.map_or(0, |held| {
            let done = if position.sequence == before.sequence { before.index } else { 0 };
            u64::from(position.index.saturating_sub(done)).min(held.messages)
        });
        wholly + above + partly
    }

    /// Moves on and gives what is settled thereby. Word that comes late changes nothing.
    fn settle(&mut self, progress: &Progress) -> Vec<(u64, Held)> {
        let later =
            (progress.position, progress.above.len()) > (self.progress.position, self.progress.above.len());
        if !later {
            return Vec::new();
        }
        self.progress = progress.clone();
        let rest = self.unsettled.split_off(&progress.position.sequence);
        let mut settled: Vec<_> = std::mem::replace(&mut self.unsettled, rest).into_iter().collect();
        for sequence in &progress.above {
            settled.extend(self.unsettled.remove_entry(sequence));
        }
        settled
    }
}

impl Room {
    pub(crate) fn new(settings: &VertexSettings) -> Self {
        let writers = u64::from(settings.writers.max(1));
        Self {
            share_messages: (settings.messages_max / writers).max(1),
            share_bytes: (settings.bytes_max / writers).max(1),
            ledger: Mutex::default(),
            freed: Bell::default(),
        }
    }

    fn lock(&self) -> MutexGuard<'_, Ledger> {
        self.ledger.lock().expect("nothing panics while a room is locked")
    }

    /// Whether the writer may put one more frame into the partition. A frame is let in while anything is left, so
    /// that a limit smaller than a frame does not lock up. Nothing is let in before it is known what is there.
    pub(crate) fn has(&self, writer: &Name, passage: Passage) -> Result<bool, Error> {
        let factor = match passage {
            Passage::Onward => 1,
            Passage::Around => 2,
        };
        let ledger = self.lock();
        if let Some(broken) = &ledger.broken {
            return Err(Error::new(Class::Fatal, broken.clone()));
        }
        let taken = ledger.taken.get(writer).copied().unwrap_or_default();
        let (messages, bytes) =
            (self.share_messages.saturating_mul(factor), self.share_bytes.saturating_mul(factor));
        Ok(ledger.complete && taken.messages < messages && taken.bytes < bytes)
    }

    /// How many messages of a slot that the writer put there are settled when its reader moves on. What goes round in a
    /// circle has room for as many, however full the partition is: else a message that is sent back once more would wait
    /// for itself. What others put there does not count: they may put as many there again.
    pub(crate) fn leaves(&self, slot: u16, writer: &Name, progress: &Progress) -> u64 {
        self.lock().slots.get(&slot).map_or(0, |slot| slot.leaves(writer, progress))
    }

    /// Whether it is known what earlier lives left.
    pub(crate) fn is_complete(&self) -> bool {
        self.lock().complete
    }

    /// Says that everything that earlier lives left was noted.
    pub(crate) fn complete(&self) {
        self.lock().complete = true;
        self.freed.ring();
    }

    /// Says that what is written there cannot be followed, and why.
    pub(crate) fn fail(&self, why: String) {
        self.lock().broken = Some(why);
        self.freed.ring();
    }

    /// Takes room for a frame to be.
    pub(crate) fn take(self: &Arc<Self>, held: Held) -> Reserved {
        let writer = held.unit.vertex.clone();
        self.lock().taken.entry(writer).or_default().add(held.messages, held.bytes);
        Reserved { room: self.clone(), held: Some(held) }
    }

    fn give_back(&self, held: &Held) {
        let mut ledger = self.lock();
        let taken = ledger.taken.get_mut(&held.unit.vertex).expect("only what was taken is given back");
        taken.remove(held.messages, held.bytes);
        drop(ledger);
        self.freed.ring();
    }

    /// Notes a stored frame, once however often it is told.
    pub(crate) fn note(&self, slot: u16, sequence: u64, held: Held) {
        let mut ledger = self.lock();
        let Ledger { slots, taken, trims, .. } = &mut *ledger;
        trims.stored(&held.unit, Shelf::Slot(slot), sequence);
        let slot_ledger = slots.entry(slot).or_default();
        if slot_ledger.is_settled(sequence) {
            trims.settled(&held.unit, slot, held.bytes);
        } else if let Entry::Vacant(vacant) = slot_ledger.unsettled.entry(sequence) {
            taken.entry(held.unit.vertex.clone()).or_default().add(held.messages, held.bytes);
            vacant.insert(held);
            drop(ledger);
            // Whoever waits may be about to settle just this frame.
            self.freed.ring();
        }
    }

    /// Notes a claim or a tail.
    pub(crate) fn note_mark(&self, unit: &UnitId, sequence: u64) {
        self.lock().trims.stored(unit, Shelf::Claims, sequence);
    }

    /// Notes how far the reader of a slot is.
    pub(crate) fn settle(&self, slot: u16, progress: &Progress) {
        let mut ledger = self.lock();
        let Ledger { slots, taken, trims, .. } = &mut *ledger;
        let settled = slots.entry(slot).or_default().settle(progress);
        if settled.is_empty() {
            return;
        }
        for (_, held) in settled {
            let taken = taken.get_mut(&held.unit.vertex).expect("only what was taken is given back");
            taken.remove(held.messages, held.bytes);
            trims.settled(&held.unit, slot, held.bytes);
        }
        drop(ledger);
        self.freed.ring();
    }

    /// What may be removed of the lanes of units that `owned` says are ours, if it is enough to be worth it.
    pub(crate) fn purges(&self, due: Due, now: Time, owned: impl Fn(&UnitId) -> bool) -> Vec<Purge> {
        let mut ledger = self.lock();
        let Ledger { slots, trims, .. } = &mut *ledger;
        trims.purges(due, now, owned, |slot| position(slots, slot))
    }

    /// The lanes of units that `owned` says are ours whose end is a settled frame, when they have been quiet.
    pub(crate) fn quiet(&self, now: Time, owned: impl Fn(&UnitId) -> bool) -> Vec<Quiet> {
        let mut ledger = self.lock();
        let Ledger { slots, trims, .. } = &mut *ledger;
        trims.quiet(now, owned, |slot| position(slots, slot))
    }

    /// Says that something is still there.
    pub(crate) fn keep(&self, purge: &Purge) {
        self.lock().trims.keep(purge);
    }
}

/// Where the reader of a slot is.
fn position(slots: &HashMap<u16, Slot>, slot: u16) -> u64 {
    slots.get(&slot).map_or(0, |slot| slot.progress.position.sequence)
}

/// Room that a frame to be has taken. Dropping it gives it back.
pub(crate) struct Reserved {
    room: Arc<Room>,
    held: Option<Held>,
}

impl Reserved {
    /// The frame is stored: it is counted as such from here on.
    pub(crate) fn stored(mut self, slot: u16, sequence: u64) {
        let held = self.held.take().expect("room is used once");
        self.room.note(slot, sequence, held.clone());
        self.room.give_back(&held);
    }
}

impl Drop for Reserved {
    fn drop(&mut self) {
        if let Some(held) = self.held.take() {
            self.room.give_back(&held);
        }
    }
}

#[cfg(test)]
mod tests;
