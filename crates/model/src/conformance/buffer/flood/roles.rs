//! What the units of a flood do: write, map, try again, collect. Each runs until it is stopped, lost or dead.

use std::collections::{BTreeMap, BTreeSet};
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use tokio::sync::watch;

use super::ledger::{goes_aside, is_retried, number_of};
use super::{Flood, NUMBERS, TOPOLOGY};
use crate::conformance::buffer::kit::{Owner, body, numbers, output, polled};
use crate::door::buffer::{Buffer, Commit, Output, Passage, Stored};
use crate::door::{Class, Error};
use crate::{Place, Position, Progress, Slot, Unit, UnitId};

/// How a unit's task ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum End {
    /// It was told to stop and has released.
    Released,
    /// The unit has another owner.
    Lost,
    /// The life is over: nothing can be stored any more.
    Dead,
}

/// One owner of one unit.
pub(super) struct Job {
    pub(super) buffer: Arc<dyn Buffer>,
    pub(super) flood: Arc<Flood>,
    pub(super) unit: UnitId,
    pub(super) owner: u64,
    pub(super) epoch: u64,
    /// Becomes true when the unit is to be released.
    pub(super) stop: watch::Receiver<bool>,
    pub(super) rng: fastrand::Rng,
}

impl Job {
    /// Claims the unit and works, and claims it anew when a claim was lost that is still ours.
    pub(super) async fn run(mut self) -> End {
        loop {
            let worked = match Owner::try_claim(&self.buffer, &self.unit, self.owner, self.epoch).await {
                Ok(owner) => {
                    self.flood.ledger.claimed(&self.unit, owner.claim.epoch, &owner.progress);
                    self.event();
                    self.work(owner).await
                }
                Err(error) if error.class() == Class::Lost => return End::Lost,
                Err(error) => Err(error),
            };
            match worked {
                Ok(()) => return End::Released,
                Err(error) if error.class() == Class::Lost => {}
                Err(error) => {
                    assert_eq!(error.class(), Class::Fatal, "{}: {}", self.unit, error.chain());
                    return End::Dead;
                }
            }
        }
    }

    fn event(&self) {
        self.flood.events.fetch_add(1, Ordering::SeqCst);
    }

    async fn work(&mut self, mut owner: Owner) -> Result<(), Error> {
        match self.unit.unit {
            Unit::Source(number) => self.write(&mut owner, number).await?,
            Unit::Slot(Slot::RETRY) => self.try_again(&mut owner).await?,
            Unit::Slot(slot) => self.read_on(&mut owner, slot).await?,
        }
        let unit = owner.claim.unit.clone();
        let released = owner.committer.release().await;
        match released {
            // The next owner comes with a higher epoch all the same.
            Err(error) if error.class() == Class::Retry => Ok(()),
            Err(error) => {
                assert_ne!(error.class(), Class::Reject, "release {unit}: {}", error.chain());
                Err(error)
            }
            Ok(()) => Ok(()),
        }
    }

    fn stopped(&self) -> bool {
        *self.stop.borrow()
    }

    async fn until_stopped(&mut self) {
        // When the assigner is gone this task is about to be ended.
        if self.stop.wait_for(|stop| *stop).await.is_err() {
            std::future::pending::<()>().await;
        }
    }

    async fn commit(&self, owner: &mut Owner, outputs: Vec<Output>, progress: Progress) -> Result<(), Error> {
        let began = self.flood.ledger.begin(&self.unit, owner.claim.epoch);
        owner.try_commit(Commit { outputs, progress: progress.clone(), ..Commit::default() }).await?;
        self.flood.ledger.acknowledged(&self.unit, &progress, &began);
        self.event();
        Ok(())
    }

    /// A source: numbers by offset, some in each commit, over several slots.
    async fn write(&mut self, owner: &mut Owner, source: u32) -> Result<(), Error> {
        loop {
            let at = owner.progress.position.sequence;
            if at == NUMBERS {
                self.until_stopped().await;
            }
            if self.stopped() {
                return Ok(());
            }
            let end = (at + self.rng.u64(1..=6)).min(NUMBERS);
            let mut by_slot: BTreeMap<Slot, Vec<u64>> = BTreeMap::new();
            for offset in at..end {
                // The slot follows from the offset, so that order within a slot does not depend on luck.
                by_slot.entry(TOPOLOGY.slot(offset / 2)).or_default().push(number_of(source, offset));
            }
            let outputs = by_slot.into_iter().map(|(slot, list)| output("map", slot, body(list))).collect();
            self.commit(owner, outputs, Progress::to(Position { sequence: end, index: 0 })).await?;
        }
    }

    /// A map or a sink: frames of one slot in order, each done in one or more commits.
    async fn read_on(&mut self, owner: &mut Owner, slot: Slot) -> Result<(), Error> {
        let mut last = 0;
        loop {
            let bytes_max = self.rng.usize(1..300);
            let frames = tokio::select! {
                biased;
                () = self.until_stopped() => return Ok(()),
                frames = owner.try_read(bytes_max) => frames?,
            };
            self.event();
            for stored in frames {
                let position = owner.progress.position;
                assert!(stored.sequence > last, "{}: sequences grow", self.unit);
                assert!(
                    stored.sequence >= position.sequence,
                    "{}: what is done is not read again",
                    self.unit
                );
                last = stored.sequence;
                let all = self.note(&stored, slot);
                self.process(owner, slot, stored.sequence, &all).await?;
            }
        }
    }

    fn note(&self, stored: &Stored, slot: Slot) -> Vec<u64> {
        let list = numbers(stored, slot);
        let place = Place { vertex: self.unit.vertex.clone(), slot };
        self.flood.ledger.read(&place, stored, &list);
        list
    }

    /// Commits what is left of the numbers of a frame, in one or more pieces.
    async fn process(
        &mut self,
        owner: &mut Owner,
        slot: Slot,
        sequence: u64,
        all: &[u64],
    ) -> Result<(), Error> {
        let at = owner.progress.position;
        let mut done = if sequence == at.sequence { at.index as usize } else { 0 };
        let left = &all[done..];
        for piece in left.chunks(self.rng.usize(1..=left.len().max(1))) {
            done += piece.len();
            let position = if done == all.len() {
                Position::after(sequence)
            } else {
                Position { sequence, index: done as u32 }
            };
            let outputs = if self.unit.vertex == "map" { self.map(slot, piece) } else { Vec::new() };
            self.commit(owner, outputs, Progress::to(position)).await?;
        }
        Ok(())
    }

    /// What numbers become: those to be tried again go back one by one, the rest onward in one frame or several.
    fn map(&mut self, slot: Slot, piece: &[u64]) -> Vec<Output> {
        let (back, onward): (Vec<u64>, Vec<u64>) = piece.iter().partition(|number| is_retried(**number));
        let mut outputs: Vec<_> = back
            .into_iter()
            .map(|number| Output { passage: Passage::Around, ..output("map", Slot::RETRY, body([number])) })
            .collect();
        outputs.extend(self.onward(slot, &onward, Passage::Onward));
        outputs
    }

    fn onward(&mut self, slot: Slot, list: &[u64], passage: Passage) -> Vec<Output> {
        let mut outputs = Vec::new();
        for part in list.chunks(self.rng.usize(1..=list.len().max(1))) {
            outputs.push(Output { passage, ..output("out", slot, body(part.iter().copied())) });
        }
        let aside: Vec<_> = list.iter().copied().filter(|number| goes_aside(*number)).collect();
        if !aside.is_empty() {
            outputs.push(Output { passage, ..output("side", slot, body(aside)) });
        }
        outputs
    }

    /// The retry slot: a few frames are held and done in any order.
    async fn try_again(&mut self, owner: &mut Owner) -> Result<(), Error> {
        const HELD_MAX: usize = 4;
        let mut held: BTreeMap<u64, Vec<u64>> = BTreeMap::new();
        let mut done: BTreeSet<u64> = owner.progress.above.iter().copied().collect();
        loop {
            if self.stopped() {
                return Ok(());
            }
            if held.is_empty() {
                let frames = tokio::select! {
                    biased;
                    () = self.until_stopped() => return Ok(()),
                    frames = owner.try_read(1) => frames?,
                };
                self.hold(&frames, &mut held, &done);
            } else if held.len() < HELD_MAX
                && let Some(frames) = polled(pin!(owner.try_read(1)), 3).await
            {
                self.hold(&frames?, &mut held, &done);
            }
            self.event();
            let nth = self.rng.usize(0..held.len());
            let (sequence, list) =
                held.iter().nth(nth).map(|(at, list)| (*at, list.clone())).expect("one is held");
            let slot = TOPOLOGY.slot(list[0]);
            let outputs = self.onward(slot, &list, Passage::Around);
            held.remove(&sequence);
            done.insert(sequence);
            let position = match held.keys().next() {
                Some(first) => Position { sequence: *first, index: 0 },
                None => Position::after(*done.iter().next_back().expect("one is done")),
            };
            done.retain(|sequence| *sequence >= position.sequence);
            let above = done.iter().copied().collect();
            self.commit(owner, outputs, Progress { position, above }).await?;
        }
    }

    fn hold(&self, frames: &[Stored], held: &mut BTreeMap<u64, Vec<u64>>, done: &BTreeSet<u64>) {
        for stored in frames {
            assert!(!done.contains(&stored.sequence), "{}: what is done is not read again", self.unit);
            let list = self.note(stored, Slot::RETRY);
            assert!(held.insert(stored.sequence, list).is_none(), "{}: a frame is read once", self.unit);
        }
    }
}
