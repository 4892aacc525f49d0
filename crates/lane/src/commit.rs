//! Committing a unit: wait for room, then store everything by one deciding message.
//!
//! One frame decides itself; no frame, or more than one, are decided by the record, which holds them until they are
//! stored. Invariant: before the deciding message is sent nothing is stored, and after it everything will be, by this
//! owner or the next.

use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;
use model::door::buffer::{Claim, Commit, Committed, Committer, Output, Passage, WhenFull};
use model::door::{Class, Error};
use model::frame::Header;
use model::{Progress, Slot, Time};
use smol_str::SmolStr;

use crate::broker::Broker;
use crate::claim::claim;
use crate::driver::Pump;
use crate::failure::lost;
use crate::ids::{self, Holder, Ids, Looked};
use crate::meta::StreamId;
use crate::names::Shelf;
use crate::pen::{Belongs, Pen, ToWrite};
use crate::record::{Contents, Decided, FRAMES_MAX, encode_contents};
use crate::room::{Held, Reserved, Room};

pub(crate) struct UnitCommitter<B: Broker> {
    pen: Pen<B>,
    /// The slot that the unit reads, and the room of its partition; none for a source.
    own: Option<(Slot, Arc<Room>)>,
    ids: Arc<Ids>,
    /// What of the ids has to be read before they are looked up.
    ids_through: u64,
    /// A commit was begun and its outcome has not been seen.
    open: bool,
}

/// A frame of a commit.
struct Part {
    frame: ToWrite,
    /// Which output it is; none for ids.
    output: Option<usize>,
    messages: u64,
    lowest: Time,
}

impl<B: Broker> UnitCommitter<B> {
    pub(crate) fn new(pen: Pen<B>, own: Option<(Slot, Arc<Room>)>, ids: Arc<Ids>) -> Self {
        let lane = pen.lanes.iter().find(|lane| lane.stream.id == StreamId::Ids);
        let ids_through = lane.map_or(0, |lane| lane.last);
        Self { pen, own, ids, ids_through, open: false }
    }

    fn holder(&self) -> Holder {
        (self.pen.writer.unit, self.pen.holding.claim)
    }

    /// Refuses what cannot be committed whoever owns the unit, and finds where the outputs go.
    fn check(&self, commit: &Commit) -> Result<Vec<Arc<Room>>, Error> {
        if self.open {
            // After a commit that was given up half-way only a claim says how far the unit is.
            return Err(lost(self.pen.unit()));
        }
        self.pen.holding.check()?;
        assert!(commit.progress.position >= self.pen.progress.position, "progress never goes back");
        assert!(commit.progress.above.len() <= Progress::ABOVE_MAX, "the set above a position is bounded");
        assert!(commit.progress.above.is_sorted(), "the set above a position is in order");
        if commit.outputs.len() >= FRAMES_MAX {
            let attempted = format!(
                "commit unit {}: {} frames, and {FRAMES_MAX} are too many",
                self.pen.unit(),
                commit.outputs.len()
            );
            return Err(Error::new(Class::Reject, attempted));
        }
        let inner = &self.pen.inner;
        let room = |output: &Output| {
            let room = inner.room(&output.to)?.clone();
            inner.pumps.want(Pump::Room(output.to.vertex.clone(), output.to.slot.partition));
            Ok(room)
        };
        commit.outputs.iter().map(room).collect()
    }

    /// Waits until each output has room or may be left out, and takes it.
    async fn admit(&self, commit: &Commit, rooms: &[Arc<Room>]) -> Result<Vec<Option<Reserved>>, Error> {
        let outputs = &commit.outputs;
        let (vertex, holding) = (&self.pen.writer.vertex, &self.pen.holding);
        let mut left_out = vec![false; outputs.len()];
        'again: loop {
            for ((output, room), left_out) in outputs.iter().zip(rooms).zip(&mut left_out) {
                let freed = room.freed.listen();
                if *left_out
                    || room.has(vertex, output.passage)?
                    || self.makes_room(commit, rooms, output, room)
                {
                    continue;
                }
                if output.when_full == WhenFull::Discard && room.is_complete() {
                    *left_out = true;
                    continue;
                }
                holding.unless_lost(freed).await?;
                continue 'again;
            }
            break;
        }
        let take = |((output, room), left_out): ((&Output, &Arc<Room>), &bool)| {
            let (messages, bytes) = (u64::from(output.body.count), output.body.payload.len() as u64);
            let unit = holding.unit().clone();
            (!left_out).then(|| room.take(Held { unit, messages, bytes }))
        };
        Ok(outputs.iter().zip(rooms).zip(&left_out).map(take).collect())
    }

    /// Whether an output goes round within the partition that its unit reads, and the commit leaves no more of its vertex
    /// there than it found.
    fn makes_room(&self, commit: &Commit, rooms: &[Arc<Room>], output: &Output, room: &Arc<Room>) -> bool {
        let Some((slot, own)) = &self.own else { return false };
        if output.passage != Passage::Around || !Arc::ptr_eq(room, own) || !room.is_complete() {
            return false;
        }
        let back = commit.outputs.iter().zip(rooms).filter(|(_, room)| Arc::ptr_eq(room, own));
        let messages: u64 = back.map(|(output, _)| u64::from(output.body.count)).sum();
        messages <= own.leaves(slot.number, &self.pen.writer.vertex, &commit.progress)
    }

    /// The frames that outputs and ids become, and how many messages the unit has written with them.
    fn parts(&mut self, commit: &Commit, reserved: &[Option<Reserved>]) -> Result<(Vec<Part>, u64), Error> {
        let mut cumulative = self.pen.cumulative;
        let mut parts = Vec::with_capacity(commit.outputs.len() + 1);
        for (at, (output, _)) in
            commit.outputs.iter().zip(reserved).enumerate().filter(|(_, (_, reserved))| reserved.is_some())
        {
            let id = StreamId::Partition(output.to.vertex.clone(), output.to.slot.partition);
            let lane = self.pen.lane(&id)?;
            cumulative += u64::from(output.body.count);
            let header = Header::new(&output.body, self.pen.writer.clone(), commit.stamp, cumulative);
            let lowest = header.lowest();
            let contents = Contents { header: Some(header), payload: output.body.payload.clone() };
            let frame = ToWrite { lane, shelf: Shelf::of(output.to.slot), contents };
            parts.push(Part { frame, output: Some(at), messages: u64::from(output.body.count), lowest });
        }
        if !commit.ids.is_empty() {
            let lane = self.pen.lane(&StreamId::Ids)?;
            let contents = Contents { header: None, payload: ids::encode(&commit.ids) };
            let frame = ToWrite { lane, shelf: Shelf::Ids, contents };
            parts.push(Part { frame, output: None, messages: 0, lowest: Time::MAX });
        }
        Ok((parts, cumulative))
    }

    /// Stores the parts of a commit; gives their sequences.
    async fn store(
        &mut self,
        parts: Vec<Part>,
        progress: &Progress,
        cumulative: u64,
    ) -> Result<Vec<u64>, Error> {
        let pen = &mut self.pen;
        let commit = pen.commit + 1;
        // The lane of a frame that decides itself.
        let alone = match &parts[..] {
            [part] if part.output.is_some() => Some(part.frame.lane),
            _ => None,
        };
        let mut belongs =
            Belongs { commit, cover: progress.clone(), cumulative, decided_by: 0, after: pen.after.clone() };
        if let Some(lane) = alone {
            if !pen.lanes[lane].listed {
                let record = pen.next_record();
                pen.write_record(record, Bytes::new()).await?;
                belongs.after = pen.after.clone();
            }
        } else {
            self.decide(&parts, &belongs).await?;
            (belongs.decided_by, belongs.after) = (self.pen.record_sequence, None);
        }
        let frames = parts.into_iter().map(|part| part.frame).collect();
        let pen = &mut self.pen;
        let sequences = pen.write_frames(frames, &belongs).await.map_err(|error| {
            // What is decided is not to be tried again as something else.
            if alone.is_some() || error.class() == Class::Lost { error } else { decided_and_failed(error) }
        })?;
        (pen.commit, pen.progress, pen.cumulative) = (commit, belongs.cover, cumulative);
        if let (Some(lane), [sequence]) = (alone, &sequences[..]) {
            pen.after = Some((pen.lanes[lane].stream.id.clone(), *sequence));
        }
        Ok(sequences)
    }

    /// Writes the record that decides a commit.
    async fn decide(&mut self, parts: &[Part], belongs: &Belongs) -> Result<(), Error> {
        let pen = &mut self.pen;
        let mut counts: Vec<u64> = pen.lanes.iter().map(|lane| lane.n).collect();
        let decided = |part: &Part| {
            let lane = part.frame.lane;
            counts[lane] += 1;
            Decided {
                lane,
                shelf: part.frame.shelf,
                n: counts[lane],
                messages: part.messages,
                bytes: part.frame.contents.payload.len() as u64,
                lowest: part.lowest,
            }
        };
        let decided = parts.iter().map(decided).collect();
        let mut record = pen.next_record();
        (record.commit, record.progress) = (belongs.commit, belongs.cover.clone());
        (record.cumulative, record.decided) = (belongs.cumulative, decided);
        let contents: Vec<_> = parts.iter().map(|part| part.frame.contents.clone()).collect();
        pen.write_record(record, encode_contents(&contents)).await
    }

    /// Finds out what became of a commit that its owner has not seen the end of, by claiming its unit once more in
    /// the owner's name.
    async fn resolve(&self, holder: Holder, orphan: &Claim) -> Result<(), Error> {
        let _one = self.ids.resolving.lock().await;
        if !matches!(self.ids.orphan(holder), Some(still) if still == *orphan) {
            return Ok(());
        }
        match claim(&self.pen.inner, orphan).await {
            Ok(pen) => {
                let lane = pen.lanes.iter().find(|lane| lane.stream.id == StreamId::Ids);
                let through = lane.map_or(0, |lane| lane.last);
                self.wait_for_ids(through).await?;
            }
            // Somebody else has it, and has finished what was decided.
            Err(error) if error.class() == Class::Lost => {}
            Err(error) => return Err(error),
        }
        self.ids.let_go(holder);
        Ok(())
    }

    async fn wait_for_ids(&self, through: u64) -> Result<(), Error> {
        self.pen.inner.pumps.want(Pump::Ids(self.ids.vertex.clone()));
        loop {
            let changed = self.ids.changed.listen();
            let read = self.ids.has_read(through).map_err(|why| Error::new(Class::Fatal, why))?;
            if read {
                return Ok(());
            }
            self.pen.holding.unless_lost(changed).await?;
        }
    }
}

fn decided_and_failed(error: Error) -> Error {
    Error::caused(Class::Fatal, "store what was decided", error)
}

#[async_trait]
impl<B: Broker> Committer for UnitCommitter<B> {
    async fn known(&mut self, ids: &[SmolStr]) -> Result<Vec<bool>, Error> {
        self.pen.holding.check()?;
        self.wait_for_ids(self.ids_through).await?;
        loop {
            let changed = self.ids.changed.listen();
            match self.ids.look_up(self.holder(), ids) {
                Looked::Known(known) => {
                    if let Err(error) = self.pen.holding.check() {
                        // Whoever took the unit over may have looked before this reservation was there.
                        self.ids.let_go(self.holder());
                        return Err(error);
                    }
                    return Ok(known);
                }
                Looked::Wait => self.pen.holding.unless_lost(changed).await?,
                Looked::Orphan(holder, orphan) => {
                    drop(changed);
                    self.resolve(holder, &orphan).await?;
                }
            }
        }
    }

    async fn commit(&mut self, commit: Commit) -> Result<Committed, Error> {
        let rooms = self.check(&commit)?;
        let reserved = self.admit(&commit, &rooms).await?;
        let mut committed = Committed { stored: vec![None; commit.outputs.len()] };
        let (parts, cumulative) = self.parts(&commit, &reserved)?;
        if parts.is_empty() && commit.progress == self.pen.progress {
            return Ok(committed);
        }
        let outputs: Vec<_> = parts.iter().map(|part| part.output).collect();
        self.open = true;
        let sequences = match self.store(parts, &commit.progress, cumulative).await {
            Ok(sequences) => sequences,
            Err(error) => {
                self.open = matches!(error.class(), Class::Lost | Class::Fatal);
                return Err(error);
            }
        };
        self.open = false;
        if let Some((slot, room)) = &self.own {
            room.settle(slot.number, &commit.progress);
        }
        let mut reserved = reserved;
        for (output, sequence) in outputs.into_iter().zip(sequences) {
            let Some(at) = output else {
                self.ids.remember(self.pen.writer.unit, sequence, commit.ids.clone());
                continue;
            };
            committed.stored[at] = Some(sequence);
            if let Some(reserved) = reserved[at].take() {
                reserved.stored(commit.outputs[at].to.slot.number, sequence);
            }
        }
        self.pen.inner.gates.reach(&self.pen.holding, self.pen.commit, &commit.progress);
        Ok(committed)
    }

    async fn release(self: Box<Self>) -> Result<(), Error> {
        let mut this = self;
        if this.open {
            return Err(lost(this.pen.unit()));
        }
        this.pen.holding.check()?;
        let mut record = this.pen.next_record();
        record.owner = None;
        this.pen.write_record(record, Bytes::new()).await
    }
}

impl<B: Broker> Drop for UnitCommitter<B> {
    fn drop(&mut self) {
        let holder = self.holder();
        if !self.open || self.pen.holding.is_lost() {
            self.ids.let_go(holder);
            return;
        }
        let model::frame::Writer { unit: _, vertex: _, replica, incarnation, epoch } = self.pen.writer;
        let unit = self.pen.unit().clone();
        self.ids.leave(holder, Claim { unit, owner: incarnation, replica, epoch });
    }
}
