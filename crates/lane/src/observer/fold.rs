//! The picture itself: what lies in each slot and how far each unit is, event by event. Pure.
//!
//! Invariant: an event is taken in after its causes, so a message that moves from slot to slot leaves the one and
//! enters the other in one event. Frames that a record has decided count as stored.

use std::collections::{BTreeMap, HashMap};

use model::door::Error;
use model::door::buffer::{Level, SlotSurvey, Survey, UnitSurvey, WriterSurvey};
use model::{Epoch, Incarnation, Name, Place, Progress, Slot, Time, Unit, UnitId};

use crate::broker::Message;
use crate::failure::unreadable;
use crate::lanes::Inner;
use crate::meta::{Kind, Meta, StreamId, read_through};
use crate::names::{self, Shelf};
use crate::record::Record;

/// Something that was stored.
pub(super) enum Event {
    Frame {
        stream: StreamId,
        unit: UnitId,
        shelf: Shelf,
        meta: Box<Meta>,
    },
    Record {
        unit: UnitId,
        record: Box<Record>,
    },
    /// Nothing that matters here.
    Other,
}

/// Whether something's causes are folded.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Ready {
    Seen,
    /// As far as can be seen: some were removed before they could be read.
    Blind,
    Wait,
}

/// A frame that is not settled.
#[derive(Clone)]
struct Lying {
    vertex: Name,
    messages: u64,
    bytes: u64,
    lowest: Time,
}

/// A frame that is decided and not seen in its lane.
struct Decided {
    stream: StreamId,
    n: u64,
    place: Place,
    lying: Lying,
}

#[derive(Default)]
struct UnitFold {
    claimed: bool,
    epoch: Epoch,
    owner: Option<Incarnation>,
    record: u64,
    counter: u64,
    commit: u64,
    progress: Progress,
    written: BTreeMap<Place, u64>,
    decided: Vec<Decided>,
    /// Data frames that each of its lanes has had.
    lanes: HashMap<StreamId, u64>,
}

#[derive(Default)]
struct SlotFold {
    unsettled: BTreeMap<u64, Lying>,
    last: u64,
}

/// See the module.
#[derive(Default)]
pub(super) struct Fold {
    slots: BTreeMap<Place, SlotFold>,
    units: BTreeMap<UnitId, UnitFold>,
    blind: u64,
    /// How many records were ever written, those seen and those that they overwrote.
    records: u64,
    /// The last record up to which none was missed.
    complete_at: u64,
}

impl Event {
    pub(super) fn read(stream: &StreamId, message: Message) -> Result<Self, Error> {
        let Message { subject, meta, .. } = message;
        if *stream == StreamId::Units {
            let Some(unit) = names::read_record(&subject) else { return Ok(Self::Other) };
            let record = Record::decode(&meta).map_err(|error| unreadable(&subject, error))?;
            return Ok(Self::Record { unit, record: Box::new(record) });
        }
        let Some((shelf, unit)) = names::read_frame(&subject) else { return Ok(Self::Other) };
        let meta = Meta::decode(&meta).map_err(|error| unreadable(&subject, error))?;
        Ok(Self::Frame { stream: stream.clone(), unit, shelf, meta: Box::new(meta) })
    }
}

/// What a unit has read when it is so far: the stream, and the last sequence.
fn input(unit: &UnitId, progress: &Progress) -> Option<(StreamId, u64)> {
    let Unit::Slot(slot) = unit.unit else { return None };
    Some((StreamId::Partition(unit.vertex.clone(), slot.partition), read_through(progress)))
}

impl Fold {
    /// Grows whenever something was folded whose causes could not all be seen.
    pub(super) fn blind(&self) -> u64 {
        self.blind
    }

    /// Up to which record the picture has them all. Each write of a record is counted in it, so when those counts add
    /// up to the sequence, nothing before it is hidden by something after it.
    pub(super) fn complete_at(&self) -> u64 {
        self.complete_at
    }

    /// Whether everything that an event says was stored before it is folded.
    pub(super) fn ready(
        &self,
        event: &Event,
        sequence: u64,
        seen: impl Fn(&StreamId, u64) -> Ready,
    ) -> Ready {
        match event {
            Event::Other => Ready::Seen,
            Event::Record { unit, record } => {
                let read =
                    input(unit, &record.progress).map_or(Ready::Seen, |(stream, at)| seen(&stream, at));
                let lanes = record.lanes.iter().map(|lane| seen(&lane.stream, lane.last));
                lanes.fold(read, Ready::max)
            }
            Event::Frame { stream, unit, shelf: _, meta } => {
                let mut ready = Ready::Seen;
                if meta.kind != Kind::Data {
                    return ready;
                }
                if let Some((from, at)) = input(unit, &meta.cover) {
                    // What it covers in its own stream lies before it.
                    ready = ready.max(if from == *stream && at < sequence {
                        Ready::Seen
                    } else {
                        seen(&from, at)
                    });
                }
                if let Some((before, at)) = &meta.after {
                    ready = ready.max(seen(before, *at)).max(self.recorded(before, unit, *at));
                }
                if meta.decided_by > 0 {
                    ready = ready.max(seen(&StreamId::Units, meta.decided_by));
                    let known = self.units.get(unit).is_some_and(|unit| {
                        unit.decided.iter().any(|decided| decided.n == meta.n && decided.stream == *stream)
                    });
                    ready = ready.max(if known { Ready::Seen } else { Ready::Blind });
                }
                ready
            }
        }
    }

    /// Whether the record that a frame came after was seen itself.
    fn recorded(&self, before: &StreamId, unit: &UnitId, at: u64) -> Ready {
        let seen = self.units.get(unit).is_some_and(|unit| unit.record >= at);
        if *before != StreamId::Units || seen { Ready::Seen } else { Ready::Blind }
    }

    /// Takes an event in.
    pub(super) fn take(&mut self, event: Event, sequence: u64, ready: Ready) {
        self.blind += u64::from(ready == Ready::Blind);
        match event {
            Event::Other => {}
            Event::Record { unit, record } => self.take_record(&unit, *record, sequence),
            Event::Frame { stream, unit, shelf, meta } => {
                self.advance(&unit, meta.commit, &meta.cover);
                let writer = self.units.entry(unit.clone()).or_default();
                let count = writer.lanes.entry(stream.clone()).or_default();
                *count = (*count).max(meta.n);
                let count = *count;
                writer.decided.retain(|decided| decided.stream != stream || decided.n > count);
                if let (Kind::Data, Shelf::Slot(number), StreamId::Partition(vertex, partition)) =
                    (meta.kind, shelf, stream)
                {
                    let place = Place { vertex, slot: Slot { partition, number } };
                    writer.written.insert(place.clone(), sequence);
                    let (messages, bytes, lowest) = (meta.messages(), meta.bytes, meta.lowest());
                    self.lie(place, sequence, Lying { vertex: unit.vertex, messages, bytes, lowest });
                }
            }
        }
    }

    fn take_record(&mut self, id: &UnitId, record: Record, sequence: u64) {
        let Record { epoch, owner, counter, commit, progress, lanes, decided, .. } = record;
        self.advance(id, commit, &progress);
        let unit = self.units.entry(id.clone()).or_default();
        (unit.claimed, unit.epoch, unit.owner, unit.record) = (true, epoch, owner, sequence);
        self.records += counter.saturating_sub(unit.counter);
        unit.counter = unit.counter.max(counter);
        if self.records == sequence {
            self.complete_at = sequence;
        }
        unit.decided.clear();
        for frame in decided {
            let stream = &lanes[frame.lane].stream;
            let stored = unit.lanes.get(stream).copied().unwrap_or(0);
            if let (StreamId::Partition(vertex, partition), Shelf::Slot(number)) = (stream, frame.shelf)
                && frame.n > stored
            {
                let place = Place { vertex: vertex.clone(), slot: Slot { partition: *partition, number } };
                let crate::record::Decided { messages, bytes, lowest, n, .. } = frame;
                let lying = Lying { vertex: id.vertex.clone(), messages, bytes, lowest };
                unit.decided.push(Decided { stream: stream.clone(), n, place, lying });
            }
        }
    }

    /// A unit is so far with this commit.
    fn advance(&mut self, id: &UnitId, commit: u64, progress: &Progress) {
        let unit = self.units.entry(id.clone()).or_default();
        if commit <= unit.commit {
            return;
        }
        unit.commit = commit;
        unit.progress = progress.clone();
        let Unit::Slot(slot) = id.unit else { return };
        let slot = self.slots.entry(Place { vertex: id.vertex.clone(), slot }).or_default();
        slot.unsettled = slot.unsettled.split_off(&progress.position.sequence);
        for sequence in &progress.above {
            slot.unsettled.remove(sequence);
        }
    }

    fn lie(&mut self, place: Place, sequence: u64, lying: Lying) {
        let reader = UnitId { vertex: place.vertex.clone(), unit: Unit::Slot(place.slot) };
        let settled = self.units.get(&reader).is_some_and(|reader| {
            let Progress { position, above } = &reader.progress;
            sequence < position.sequence || above.binary_search(&sequence).is_ok()
        });
        let slot = self.slots.entry(place).or_default();
        slot.last = slot.last.max(sequence);
        if !settled {
            slot.unsettled.insert(sequence, lying);
        }
    }

    /// The picture in the words of the door.
    pub(super) fn survey<B>(&self, inner: &Inner<B>) -> Survey {
        let mut decided: HashMap<&Place, Vec<&Lying>> = HashMap::new();
        for frame in self.units.values().flat_map(|unit| &unit.decided) {
            decided.entry(&frame.place).or_default().push(&frame.lying);
        }
        let mut slots = Vec::new();
        for (vertex, settings) in &inner.vertices {
            let topology = settings.topology;
            let all = (0..u64::from(topology.slots())).map(|number| topology.slot(number));
            for slot in all.chain([Slot::RETRY]) {
                let place = Place { vertex: vertex.clone(), slot };
                let more = decided.get(&place).map_or(&[][..], |lying| lying);
                slots.push(self.slot(place.clone(), more));
            }
        }
        slots.sort_unstable_by(|left, right| left.level.place.cmp(&right.level.place));
        let units = self.units.iter().filter(|(_, unit)| unit.claimed).map(|(id, unit)| UnitSurvey {
            unit: id.clone(),
            epoch: unit.epoch,
            owner: unit.owner,
            written: unit.written.iter().map(|(place, sequence)| (place.clone(), *sequence)).collect(),
        });
        Survey { slots, units: units.collect() }
    }

    fn slot(&self, place: Place, decided: &[&Lying]) -> SlotSurvey {
        let reader = UnitId { vertex: place.vertex.clone(), unit: Unit::Slot(place.slot) };
        let progress =
            self.units.get(&reader).map_or_else(Progress::default, |reader| reader.progress.clone());
        let none = SlotFold::default();
        let slot = self.slots.get(&place).unwrap_or(&none);
        let partly =
            slot.unsettled.first_key_value().filter(|(first, _)| **first == progress.position.sequence);
        let done = partly.map_or(0, |_| u64::from(progress.position.index));
        let mut writers: BTreeMap<&Name, Time> = BTreeMap::new();
        let (mut frames, mut messages, mut bytes) = (0, 0, 0);
        for lying in slot.unsettled.values().chain(decided.iter().copied()) {
            let Lying { vertex, messages: count, bytes: size, lowest } = lying;
            frames += 1;
            messages += count;
            bytes += size;
            let least = writers.entry(vertex).or_insert(Time::MAX);
            *least = (*least).min(*lowest);
        }
        let writers = writers
            .into_iter()
            .map(|(vertex, lowest)| WriterSurvey { vertex: vertex.clone(), lowest })
            .collect();
        // What is settled may be gone; that its reader was beyond it shows that it was there, and not who wrote it. So
        // where only decided frames lie, which have no number yet, no writer may be known for the last one.
        let last = slot.last.max(progress.position.sequence.saturating_sub(1));
        let level = Level { place, frames, messages: messages.saturating_sub(done), bytes, last, progress };
        SlotSurvey { level, writers }
    }
}

#[cfg(test)]
mod tests {
    use model::Position;

    use super::*;

    /// A unit that has done a part of a frame has read it. Taken in before the frame, it would have the messages that
    /// are done lie in two places.
    #[test]
    fn a_frame_that_is_done_in_part_is_seen_before_what_was_made_of_it() {
        let unit = UnitId { vertex: Name::new("map"), unit: Unit::Slot(Slot { partition: 1, number: 0 }) };
        let ready = |progress: Progress, stored: u64| {
            let record = Box::new(Record { progress, ..Record::default() });
            let event = Event::Record { unit: unit.clone(), record };
            let seen = |_: &StreamId, at| if at <= stored { Ready::Seen } else { Ready::Wait };
            Fold::default().ready(&event, 1, seen)
        };
        let at = |sequence, index| Progress::to(Position { sequence, index });
        assert_eq!(ready(at(6, 0), 5), Ready::Seen, "what comes next need not be there");
        assert_eq!(ready(at(6, 1), 5), Ready::Wait);
        assert_eq!(ready(at(6, 1), 6), Ready::Seen);
        let beyond = Progress { above: vec![8], ..at(6, 1) };
        assert_eq!(ready(beyond.clone(), 7), Ready::Wait);
        assert_eq!(ready(beyond, 8), Ready::Seen);
    }
}
