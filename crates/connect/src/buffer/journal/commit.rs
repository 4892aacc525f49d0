//! Committing a unit: wait for room, check the owner and hand one transaction over, wait until it is durable.
//!
//! Everything that follows from a stored commit (frames become readable, room is given back, ids are known) happens
//! in the journal's answer, so it happens also when whoever asked is gone.

use std::sync::{Arc, Mutex};

use ::journal::{Disk, Receipt, Transaction};
use async_trait::async_trait;
use bytes::Bytes;
use model::door::Error;
use model::door::buffer::{Claim, Commit, Committed, Committer, Output, Passage, WhenFull};
use model::frame::{Header, Writer};
use model::{Name, Place, Progress, Time};
use smol_str::SmolStr;
use tokio::sync::oneshot;

use super::ids::Ids;
use super::record::Record;
use super::room::Room;
use super::slot::{Held, Lane};
use super::{Inner, UnitState, door_error, gone, lost, names};

pub(super) struct UnitCommitter<D: Disk + 'static> {
    inner: Arc<Inner<D>>,
    unit: Arc<UnitState>,
    ids: Arc<Ids>,
    /// The slot that the unit reads; none for a source.
    lane: Option<Arc<Lane>>,
    writer: Writer,
    generation: u64,
    /// A commit was handed over and its answer has not been seen.
    open: bool,
}

/// What a stored commit does to the memory.
struct Effects {
    unit: Arc<UnitState>,
    showing: Arc<Mutex<()>>,
    stored: Vec<Store>,
    own: Option<(Arc<Lane>, Arc<Room>)>,
    progress: Progress,
    settled_above: Vec<u64>,
    ids: Option<IdsToKeep>,
    written: u64,
}

/// Ids that a commit makes known.
struct IdsToKeep {
    index: Arc<Ids>,
    ids: Vec<SmolStr>,
    /// The number up to which older ones are forgotten with it.
    forgotten: u64,
}

/// Where an output goes.
struct Target {
    lane: Arc<Lane>,
    room: Arc<Room>,
}

/// One output on its way into a slot.
struct Store {
    target: Target,
    place: Place,
    writer: Name,
    messages: u32,
    bytes: u32,
    lowest: Time,
}

impl Store {
    /// An output for which there is room, which it takes.
    fn take(target: Target, writer: &Name, output: &Output, stamp: Time) -> Self {
        let (messages, bytes) = (output.body.count, output.body.payload.len() as u32);
        let lowest = output.body.lowest(stamp);
        let store =
            Self { target, place: output.to.clone(), writer: writer.clone(), messages, bytes, lowest };
        let Target { lane, room } = &store.target;
        room.take(lane.slot.partition, writer, u64::from(messages), u64::from(bytes));
        store
    }

    fn give_back(&self) {
        let Self { target: Target { lane, room }, place: _, writer, messages, bytes, lowest: _ } = self;
        room.give_back(lane.slot.partition, writer, u64::from(*messages), u64::from(*bytes));
    }
}

impl Effects {
    /// Called in the order of the journal, on its thread; without a receipt nothing is stored.
    fn apply(self, receipt: Option<&Receipt>) {
        let Self { unit, showing, stored, own, progress, settled_above, ids, written } = self;
        let Some(receipt) = receipt else {
            // Ids stay reserved: the same commit may be made again.
            for store in &stored {
                store.give_back();
            }
            return;
        };
        let mut sequences = receipt.sequences.iter();
        let mut places = Vec::with_capacity(stored.len());
        let shown = showing.lock().expect("nothing panics while slots change");
        {
            let mut held = unit.lock();
            assert!(progress.position >= held.record.progress.position, "progress never goes back");
            held.record.progress = progress.clone();
            held.record.written += written;
        }
        for store in stored {
            let sequence = sequences.next().expect("every append has a sequence");
            let Store { target: Target { lane, room: _ }, place, writer, messages, bytes, lowest } = store;
            lane.push(Held { sequence, messages, bytes, writer, lowest });
            lane.arrived.notify_waiters();
            places.push((place, sequence));
        }
        unit.lock().wrote(places);
        let settled = own.map(|(lane, room)| (lane.settle(progress, &settled_above), lane, room));
        drop(shown);
        if let Some(IdsToKeep { index, ids, forgotten }) = ids {
            index.remember(sequences.next().expect("the ids have a sequence"), ids, forgotten);
        }
        if let Some((settled, lane, room)) = settled {
            for held in settled {
                room.give_back(
                    lane.slot.partition,
                    &held.writer,
                    u64::from(held.messages),
                    u64::from(held.bytes),
                );
            }
        }
    }
}

impl<D: Disk + 'static> Inner<D> {
    /// Hands a transaction over for a unit that the caller has entered, and leaves the unit when it is decided.
    /// `then` runs before that, on the journal's thread, with the receipt of a stored transaction.
    pub(super) fn hand_over(
        &self,
        unit: &Arc<UnitState>,
        transaction: Transaction,
        then: impl FnOnce(Option<&Receipt>) + Send + 'static,
    ) -> Result<oneshot::Receiver<Result<Receipt, Error>>, Error> {
        let (answer, answered) = oneshot::channel();
        let state = unit.clone();
        let failed = |unit: &UnitState, error| door_error(format!("commit unit {}", unit.id), error);
        // A journal that refuses a transaction drops the answer unused; what it would do must happen all the same.
        let then = Arc::new(Mutex::new(Some(then)));
        let refused = then.clone();
        let done = move |result: Result<Receipt, ::journal::Error>| {
            run_once(&then, result.as_ref().ok());
            state.leave();
            // Whoever asked may be gone; the outcome is in the unit's state all the same.
            drop(answer.send(result.map_err(|error| failed(&state, error))));
        };
        self.journal.submit(transaction, done).map_err(|error| {
            run_once(&refused, None);
            unit.leave();
            failed(unit, error)
        })?;
        Ok(answered)
    }
}

fn run_once(then: &Mutex<Option<impl FnOnce(Option<&Receipt>)>>, receipt: Option<&Receipt>) {
    let then = then.lock().expect("nothing panics while this is taken out").take();
    if let Some(then) = then {
        then(receipt);
    }
}

impl<D: Disk + 'static> UnitCommitter<D> {
    pub(super) fn new(
        inner: Arc<Inner<D>>,
        unit: Arc<UnitState>,
        ids: Arc<Ids>,
        lane: Option<Arc<Lane>>,
        (claim, generation): (Claim, u64),
    ) -> Self {
        let Claim { unit: id, owner, replica, epoch } = claim;
        let writer = Writer { vertex: id.vertex, unit: id.unit, replica, incarnation: owner, epoch };
        Self { inner, unit, ids, lane, writer, generation, open: false }
    }

    /// Refuses what cannot be committed whoever owns the unit, and finds where the outputs go.
    fn check(&self, commit: &Commit) -> Result<Vec<Target>, Error> {
        if self.open || self.unit.lock().generation != self.generation {
            // After a commit that was given up half-way only a claim says how far the unit is.
            return Err(lost(&self.unit.id));
        }
        let at = self.unit.lock().record.progress.position;
        assert!(commit.progress.position >= at, "progress never goes back");
        assert!(commit.progress.above.len() <= Progress::ABOVE_MAX, "the set above a position is bounded");
        assert!(commit.progress.above.is_sorted(), "the set above a position is in order");
        let target = |output: &Output| {
            let lane = self.inner.lane(&output.to)?.clone();
            Ok(Target { lane, room: self.inner.vertex(&output.to.vertex)?.room.clone() })
        };
        commit.outputs.iter().map(target).collect()
    }

    /// Waits until each output has room or may be left out; says for each whether it is stored.
    async fn admit(&self, commit: &Commit, targets: &[Target]) -> Result<Vec<bool>, Error> {
        let outputs = &commit.outputs;
        let mut admitted = vec![true; outputs.len()];
        for ((output, target), admitted) in outputs.iter().zip(targets).zip(&mut admitted) {
            loop {
                let (freed, changed) = (target.room.freed().notified(), self.unit.changed.notified());
                tokio::pin!(freed, changed);
                freed.as_mut().enable();
                changed.as_mut().enable();
                if self.unit.lock().generation != self.generation {
                    return Err(lost(&self.unit.id));
                }
                if target.room.has(output.to.slot.partition, &self.writer.vertex, output.passage)
                    || self.makes_room(commit, output)
                {
                    break;
                }
                if output.when_full == WhenFull::Discard {
                    *admitted = false;
                    break;
                }
                tokio::select! {
                    biased;
                    () = &mut freed => {}
                    () = &mut changed => {}
                }
            }
        }
        Ok(admitted)
    }

    /// Whether an output goes round within the partition that its unit reads, and the commit leaves no more of its vertex
    /// there than it found: were it to wait, a message that is sent back once more would wait for itself.
    fn makes_room(&self, commit: &Commit, output: &Output) -> bool {
        let Some(lane) = self.lane.as_ref().filter(|_| output.passage == Passage::Around) else {
            return false;
        };
        let vertex = &self.writer.vertex;
        let is_own =
            |output: &Output| output.to.vertex == *vertex && output.to.slot.partition == lane.slot.partition;
        let back = commit.outputs.iter().filter(|output| is_own(output));
        let messages: u64 = back.map(|output| u64::from(output.body.count)).sum();
        is_own(output) && messages <= lane.leaves(vertex, &commit.progress)
    }

    fn frame(&self, output: &Output, stamp: Time, written: u64) -> Bytes {
        let header = Header::new(&output.body, self.writer.clone(), stamp, written).encode();
        let mut frame = Vec::with_capacity(header.len() + output.body.payload.len());
        frame.extend_from_slice(&header);
        frame.extend_from_slice(&output.body.payload);
        Bytes::from(frame)
    }

    /// Builds the transaction and what it does to the memory, and takes the room it needs. `places` has a target for
    /// each output that is stored; `base` is the unit's record without this commit.
    fn prepare(&self, commit: Commit, places: Vec<Option<Target>>, base: &Record) -> (Transaction, Effects) {
        let Commit { outputs, progress, ids, stamp } = commit;
        let mut transaction = Transaction::new();
        let mut stored = Vec::with_capacity(outputs.len());
        let mut written = 0;
        for (output, target) in
            outputs.iter().zip(places).filter_map(|(output, place)| Some((output, place?)))
        {
            let store = Store::take(target, &self.writer.vertex, output, stamp);
            written += u64::from(store.messages);
            transaction.append(store.target.lane.log, self.frame(output, stamp, base.written + written));
            stored.push(store);
        }
        let ids = (!ids.is_empty()).then(|| {
            let forgotten = self.ids.append(&mut transaction, &ids);
            IdsToKeep { index: self.ids.clone(), ids, forgotten }
        });
        let mut settled_above = Vec::new();
        let own = self.lane.as_ref().map(|lane| {
            if progress.position.sequence > base.progress.position.sequence {
                transaction.settle_through(lane.log, progress.position.sequence - 1);
            }
            let known = &base.progress.above;
            let more = progress.above.iter().filter(|sequence| known.binary_search(sequence).is_err());
            for sequence in more {
                transaction.settle_one(lane.log, *sequence);
                settled_above.push(*sequence);
            }
            let vertex =
                self.inner.vertex(&self.writer.vertex).expect("a unit belongs to a vertex that is known");
            (lane.clone(), vertex.room.clone())
        });
        let record = Record { written: base.written + written, progress: progress.clone(), ..*base };
        transaction.put(names::unit_key(&self.unit.id), record.encode());
        let (unit, showing) = (self.unit.clone(), self.inner.showing.clone());
        (transaction, Effects { unit, showing, stored, own, progress, settled_above, ids, written })
    }
}

#[async_trait]
impl<D: Disk + 'static> Committer for UnitCommitter<D> {
    async fn known(&mut self, ids: &[SmolStr]) -> Result<Vec<bool>, Error> {
        let (unit, generation) = (&self.unit, self.generation);
        let known = tokio::select! {
            biased;
            () = unit.until_lost(generation) => return Err(lost(&unit.id)),
            known = self.ids.reserve((unit.id.unit, generation), ids) => known,
        };
        if unit.lock().generation == generation {
            return Ok(known);
        }
        // Whoever took the unit over may have looked before this reservation was there.
        self.ids.let_go(unit.id.unit, generation);
        Err(lost(&unit.id))
    }

    async fn commit(&mut self, commit: Commit) -> Result<Committed, Error> {
        let targets = self.check(&commit)?;
        let admitted = self.admit(&commit, &targets).await?;
        let base = self.unit.enter(self.generation).await?;
        let places = targets.into_iter().zip(&admitted).map(|(target, admitted)| admitted.then_some(target));
        let (transaction, effects) = self.prepare(commit, places.collect(), &base);
        let answered = self.inner.hand_over(&self.unit, transaction, |receipt| effects.apply(receipt))?;
        self.open = true;
        let answer = answered.await.map_err(|_| gone(&self.unit.id))?;
        self.open = false;
        let mut sequences = answer?.sequences.iter();
        let stored = admitted.into_iter().map(|admitted| if admitted { sequences.next() } else { None });
        Ok(Committed { stored: stored.collect() })
    }

    async fn release(self: Box<Self>) -> Result<(), Error> {
        self.unit.enter(self.generation).await?;
        let record = {
            let mut held = self.unit.lock();
            let own = held.generation == self.generation;
            own.then(|| {
                held.record.owner = None;
                held.record.clone()
            })
        };
        let Some(record) = record else {
            self.unit.leave();
            return Err(lost(&self.unit.id));
        };
        let mut transaction = Transaction::new();
        transaction.put(names::unit_key(&self.unit.id), record.encode());
        let answered = self.inner.hand_over(&self.unit, transaction, |_| {})?;
        answered.await.map_err(|_| gone(&self.unit.id))??;
        Ok(())
    }
}

impl<D: Disk + 'static> Drop for UnitCommitter<D> {
    fn drop(&mut self) {
        let mut held = self.unit.lock();
        if held.generation != self.generation {
            return;
        }
        if held.busy {
            held.left = Some((self.ids.clone(), self.generation));
            return;
        }
        drop(held);
        self.ids.let_go(self.unit.id.unit, self.generation);
    }
}
