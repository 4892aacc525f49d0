//! One slot in memory: its log, and for each frame that lies in it how much it holds and who wrote it.

use std::collections::VecDeque;
use std::sync::{Mutex, MutexGuard};

use ::journal::{Disk, Journal, LogId};
use model::door::buffer::Level;
use model::door::{Class, Error};
use model::frame::Frame;
use model::{Name, Place, Progress, Slot};
use tokio::sync::Notify;

use super::room::Room;
use super::{door_error, names};

/// How much is read at once while counting what an earlier life left.
const COUNTING_BYTES: usize = 4 * 1024 * 1024;

pub(super) struct Lane {
    pub(super) log: LogId,
    pub(super) slot: Slot,
    frames: Mutex<Frames>,
    pub(super) arrived: Notify,
}

#[derive(Default)]
struct Frames {
    unsettled: VecDeque<Held>,
    messages: u64,
    bytes: u64,
    last: u64,
    /// How far the slot's owner has settled.
    progress: Progress,
}

/// What is known about a frame without reading it.
#[derive(Clone, Debug)]
pub(super) struct Held {
    pub(super) sequence: u64,
    pub(super) messages: u32,
    pub(super) bytes: u32,
    pub(super) writer: Name,
}

impl Lane {
    pub(super) fn open<D: Disk>(journal: &Journal<D>, vertex: &str, slot: Slot) -> Result<Self, Error> {
        let attempted = || format!("open slot {vertex}/{slot}");
        let log =
            journal.log(&names::slot_log(vertex, slot)).map_err(|error| door_error(attempted(), error))?;
        let lane = Self { log, slot, frames: Mutex::default(), arrived: Notify::new() };
        let mut from = 0;
        let mut entries = Vec::new();
        while journal
            .read(log, from, COUNTING_BYTES, &mut entries)
            .map_err(|error| door_error(attempted(), error))?
            > 0
        {
            for entry in entries.drain(..) {
                let frame = Frame::decode(&entry.bytes)
                    .map_err(|error| Error::caused(Class::Fatal, attempted(), error))?;
                from = entry.sequence + 1;
                lane.push(Held {
                    sequence: entry.sequence,
                    messages: frame.header.count,
                    bytes: frame.payload.len() as u32,
                    writer: frame.header.writer.vertex,
                });
            }
        }
        let stats = journal.stats(log).map_err(|error| door_error(attempted(), error))?;
        let mut frames = lane.lock();
        assert!(stats.last >= frames.last, "a log knows the last frame it ever held");
        frames.last = stats.last;
        drop(frames);
        Ok(lane)
    }

    /// Takes up the progress that an earlier life left.
    pub(super) fn resume(&self, progress: Progress) {
        self.lock().progress = progress;
    }

    /// The number of the last frame that is accounted for.
    pub(super) fn last(&self) -> u64 {
        self.lock().last
    }

    fn lock(&self) -> MutexGuard<'_, Frames> {
        self.frames.lock().expect("nothing panics while a slot is locked")
    }

    /// Takes the room that the frames left by an earlier life need.
    pub(super) fn count_into(&self, room: &Room) {
        for held in &self.lock().unsettled {
            room.take(self.slot.partition, &held.writer, u64::from(held.messages), u64::from(held.bytes));
        }
    }

    /// Notes a frame that is durable; called in the order of sequences.
    pub(super) fn push(&self, held: Held) {
        let mut frames = self.lock();
        assert!(held.sequence > frames.last, "sequences of a slot grow");
        frames.last = held.sequence;
        frames.messages += u64::from(held.messages);
        frames.bytes += u64::from(held.bytes);
        frames.unsettled.push_back(held);
    }

    /// Moves the progress on and forgets the frames that are settled by it: all before its position and those in
    /// `also`. Gives them back.
    pub(super) fn settle(&self, progress: Progress, also: &[u64]) -> Vec<Held> {
        let mut frames = self.lock();
        let before = progress.position.sequence;
        frames.progress = progress;
        let count = frames.unsettled.partition_point(|held| held.sequence < before);
        let mut settled: Vec<_> = frames.unsettled.drain(..count).collect();
        for sequence in also {
            if let Ok(at) = frames.unsettled.binary_search_by_key(sequence, |held| held.sequence) {
                settled.extend(frames.unsettled.remove(at));
            }
        }
        for held in &settled {
            frames.messages -= u64::from(held.messages);
            frames.bytes -= u64::from(held.bytes);
        }
        settled
    }

    pub(super) fn level(&self, place: Place) -> Level {
        let frames = self.lock();
        let progress = frames.progress.clone();
        let partly = frames.unsettled.front().filter(|held| held.sequence == progress.position.sequence);
        let done = partly.map_or(0, |_| u64::from(progress.position.index));
        Level {
            place,
            frames: frames.unsettled.len() as u64,
            messages: frames.messages.saturating_sub(done),
            bytes: frames.bytes,
            last: frames.last,
            progress,
        }
    }
}
