//! One slot in memory: its log, and for each frame that lies in it how much it holds and who wrote it.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Mutex, MutexGuard};

use ::journal::{Disk, Journal, LogId};
use model::door::buffer::{Level, SlotSurvey, WriterSurvey};
use model::door::{Class, Error};
use model::frame::Frame;
use model::{Name, Place, Progress, Slot, Time, UnitId};
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
    lowest: Lowest,
}

/// By writing vertex: how many unsettled frames hold back each time. Frames of the retry slot are settled in any order,
/// so a queue of minima would not do.
#[derive(Default)]
struct Lowest(BTreeMap<Name, BTreeMap<Time, u32>>);

impl Lowest {
    fn add(&mut self, held: &Held) {
        if !self.0.contains_key(&held.writer) {
            self.0.insert(held.writer.clone(), BTreeMap::new());
        }
        let times = self.0.get_mut(&held.writer).expect("it was just put there");
        *times.entry(held.lowest).or_default() += 1;
    }

    fn take(&mut self, held: &Held) {
        let times = self.0.get_mut(&held.writer).expect("what is taken out was put in");
        let count = times.get_mut(&held.lowest).expect("what is taken out was put in");
        *count -= 1;
        if *count == 0 {
            times.remove(&held.lowest);
        }
    }

    fn writers(&self) -> Vec<WriterSurvey> {
        let least = |(vertex, times): (&Name, &BTreeMap<Time, u32>)| {
            let (lowest, _) = times.first_key_value()?;
            Some(WriterSurvey { vertex: vertex.clone(), lowest: *lowest })
        };
        self.0.iter().filter_map(least).collect()
    }
}

/// What is known about a frame without reading it.
#[derive(Clone, Debug)]
pub(super) struct Held {
    pub(super) sequence: u64,
    pub(super) messages: u32,
    pub(super) bytes: u32,
    pub(super) writer: Name,
    /// The time it holds back.
    pub(super) lowest: Time,
}

/// For each unit whose frames an earlier life left in a slot, the number of the last one.
pub(super) type Left = BTreeMap<UnitId, u64>;

impl Lane {
    /// A slot with what an earlier life left there.
    pub(super) fn open<D: Disk>(
        journal: &Journal<D>,
        vertex: &str,
        slot: Slot,
    ) -> Result<(Self, Left), Error> {
        let attempted = || format!("open slot {vertex}/{slot}");
        let log =
            journal.log(&names::slot_log(vertex, slot)).map_err(|error| door_error(attempted(), error))?;
        let lane = Self { log, slot, frames: Mutex::default(), arrived: Notify::new() };
        let mut from = 0;
        let mut entries = Vec::new();
        let mut left = Left::new();
        while journal
            .read(log, from, COUNTING_BYTES, &mut entries)
            .map_err(|error| door_error(attempted(), error))?
            > 0
        {
            for entry in entries.drain(..) {
                let frame = Frame::decode(&entry.bytes)
                    .map_err(|error| Error::caused(Class::Fatal, attempted(), error))?;
                from = entry.sequence + 1;
                let writer = frame.header.writer.vertex.clone();
                left.insert(
                    UnitId { vertex: writer.clone(), unit: frame.header.writer.unit },
                    entry.sequence,
                );
                lane.push(Held {
                    sequence: entry.sequence,
                    messages: frame.header.count,
                    bytes: frame.payload.len() as u32,
                    writer,
                    lowest: frame.header.lowest(),
                });
            }
        }
        let stats = journal.stats(log).map_err(|error| door_error(attempted(), error))?;
        let mut frames = lane.lock();
        assert!(stats.last >= frames.last, "a log knows the last frame it ever held");
        frames.last = stats.last;
        drop(frames);
        Ok((lane, left))
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
        frames.lowest.add(&held);
        frames.unsettled.push_back(held);
    }

    /// How many messages that a vertex put here would be settled by moving the progress on.
    pub(super) fn leaves(&self, writer: &Name, progress: &Progress) -> u64 {
        let frames = self.lock();
        let Progress { position, above } = progress;
        let before = frames.progress.position;
        let left = |held: &Held| {
            // Of the first frame some may be done.
            let done = if held.sequence == before.sequence { before.index } else { 0 };
            let end = if held.sequence < position.sequence || above.binary_search(&held.sequence).is_ok() {
                held.messages
            } else if held.sequence == position.sequence {
                position.index.min(held.messages)
            } else {
                done
            };
            u64::from(end.saturating_sub(done))
        };
        let last = above.last().map_or(position.sequence, |last| position.sequence.max(*last));
        let reached = frames.unsettled.iter().take_while(|held| held.sequence <= last);
        reached.filter(|held| held.writer == *writer).map(left).sum()
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
            frames.lowest.take(held);
        }
        settled
    }

    pub(super) fn survey(&self, place: Place) -> SlotSurvey {
        let frames = self.lock();
        SlotSurvey { level: frames.level(place), writers: frames.lowest.writers() }
    }
}

impl Frames {
    fn level(&self, place: Place) -> Level {
        let progress = self.progress.clone();
        let partly = self.unsettled.front().filter(|held| held.sequence == progress.position.sequence);
        let done = partly.map_or(0, |_| u64::from(progress.position.index));
        Level {
            place,
            frames: self.unsettled.len() as u64,
            messages: self.messages.saturating_sub(done),
            bytes: self.bytes,
            last: self.last,
            progress,
        }
    }
}
