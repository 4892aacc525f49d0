//! Reading a slot: durable frames in order, from the first that the unit's progress does not cover.

use std::collections::HashSet;
use std::sync::Arc;

use ::journal::{Disk, Entry};
use async_trait::async_trait;
use model::Progress;
use model::door::buffer::{Reader, Stored};
use model::door::{Class, Error};
use model::frame::Frame;

use super::slot::Lane;
use super::{Inner, UnitState, door_error, lost};

pub(super) struct SlotReader<D: Disk> {
    inner: Arc<Inner<D>>,
    unit: Arc<UnitState>,
    generation: u64,
    lane: Arc<Lane>,
    next: u64,
    /// Frames above the position that are done.
    passed_over: HashSet<u64>,
    entries: Vec<Entry>,
}

impl<D: Disk + 'static> SlotReader<D> {
    pub(super) fn boxed(
        inner: Arc<Inner<D>>,
        unit: Arc<UnitState>,
        generation: u64,
        lane: Arc<Lane>,
        progress: &Progress,
    ) -> Box<dyn Reader> {
        let passed_over = progress.above.iter().copied().collect();
        let next = progress.position.sequence;
        Box::new(Self { inner, unit, generation, lane, next, passed_over, entries: Vec::new() })
    }

    /// What is there right now. Frames far behind the end come from the disk; that takes the thread for as long as
    /// one read of about `bytes_max` takes. Gives nothing only when there is nothing.
    fn take(&mut self, bytes_max: usize) -> Result<Vec<Stored>, Error> {
        let attempted = |unit: &UnitState| format!("read unit {}", unit.id);
        // The journal shows a frame a moment before it is counted. It waits until it is, so that whoever has read a
        // frame finds it in the levels.
        let counted = self.lane.last();
        loop {
            let read = self.inner.journal.read(self.lane.log, self.next, bytes_max, &mut self.entries);
            if let (Err(error), true) = (read, self.entries.is_empty()) {
                return Err(door_error(attempted(&self.unit), error));
            }
            let mut frames = Vec::with_capacity(self.entries.len());
            let mut moved = false;
            for Entry { sequence, bytes } in
                self.entries.drain(..).take_while(|entry| entry.sequence <= counted)
            {
                assert!(sequence >= self.next, "a slot is read forwards");
                self.next = sequence + 1;
                moved = true;
                if !self.passed_over.remove(&sequence) {
                    let frame = Frame::decode(&bytes)
                        .map_err(|error| Error::caused(Class::Fatal, attempted(&self.unit), error))?;
                    frames.push(Stored { sequence, frame });
                }
            }
            if !moved || !frames.is_empty() {
                return Ok(frames);
            }
        }
    }
}

#[async_trait]
impl<D: Disk + 'static> Reader for SlotReader<D> {
    async fn read(&mut self, bytes_max: usize) -> Result<Vec<Stored>, Error> {
        let (lane, unit) = (self.lane.clone(), self.unit.clone());
        loop {
            let (arrived, changed) = (lane.arrived.notified(), unit.changed.notified());
            tokio::pin!(arrived, changed);
            arrived.as_mut().enable();
            changed.as_mut().enable();
            if unit.lock().generation != self.generation {
                return Err(lost(&unit.id));
            }
            let frames = self.take(bytes_max)?;
            if !frames.is_empty() {
                return Ok(frames);
            }
            tokio::select! {
                biased;
                () = &mut arrived => {}
                () = &mut changed => {}
            }
        }
    }
}
