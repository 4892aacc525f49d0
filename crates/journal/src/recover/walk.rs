//! Reading the segments record by record, and telling an unfinished end from damage.
//!
//! Every record says up to which record everything was durable when it was written. So whatever cannot be read
//! is damage if anything that *can* be read, there or later, proves that it was durable; otherwise it is what a
//! crash left of a write that nobody was told about, and the journal ends before it.

use std::collections::{BTreeSet, VecDeque};
use std::sync::Arc;

use super::{Scene, replay::Replay, settle_end};
use crate::checkpoint::Loaded;
use crate::committer::Usage;
use crate::compact::Frames;
use crate::disk::{Disk, DiskFile};
use crate::error::Error;
use crate::format::{Op, Ops, RecordHeader, SEGMENT_HEADER_BYTES, SegmentHeader, SegmentStart, VERSION};
use crate::hub::Segment;
use crate::names;
use crate::scan::Scanner;
use crate::status::Cut;

const HEADER: u64 = SEGMENT_HEADER_BYTES as u64;

/// A segment file with what its first bytes say.
pub(super) struct Opened<F> {
    pub(super) segment: Arc<Segment<F>>,
    pub(super) size: u64,
    /// `None` if it cannot be read, and that was accepted.
    header: Option<SegmentHeader>,
}

/// What the segments hold.
pub(super) struct Walked<F> {
    pub(super) identity: u64,
    pub(super) segments: Vec<(Arc<Segment<F>>, Usage)>,
    pub(super) next_record: u64,
    pub(super) cut: Option<Cut>,
    pub(super) replay: Replay,
}

/// Where a record begins, or the last good one ends.
#[derive(Debug, Clone, Copy)]
pub(super) struct Place {
    /// Index of the segment.
    pub(super) index: usize,
    /// Offset in it.
    pub(super) at: u64,
}

/// Opens the segments that are needed, in order, and checks that none is missing. A last segment that was being
/// created when the crash came is removed.
pub(super) fn open_segments<D: Disk>(
    scene: &mut Scene<'_, D>,
    loaded: Option<&Loaded>,
    numbers: &BTreeSet<u32>,
) -> Result<Vec<Opened<D::File>>, Error> {
    let kept: BTreeSet<u32> = loaded.iter().flat_map(|l| &l.end.kept).map(|kept| kept.segment).collect();
    check_none_missing(scene, loaded, &kept, numbers)?;
    let mut opened = Vec::new();
    for &number in numbers {
        let name = names::segment(number);
        let file = scene.disk.open(&name).map_err(|e| scene.place.io("open", &name, e))?;
        let size = file.length().map_err(|e| scene.place.io("measure", &name, e))?;
        let mut start = [0; SEGMENT_HEADER_BYTES];
        let read = file.read_at(0, &mut start).map_err(|e| scene.place.io("read", &name, e))?;
        let header = match SegmentHeader::decode(&start[..read]) {
            SegmentStart::Good(header) if header.segment == number => Some(header),
            SegmentStart::OtherVersion(found) => {
                let place = scene.place.0.clone();
                return Err(Error::Version { file: name, found, supported: VERSION, place });
            }
            start @ (SegmentStart::Good(_) | SegmentStart::Bad) => {
                let is_last = numbers.last() == Some(&number) && start == SegmentStart::Bad;
                if scene.accepted.contains(&(number, 0, HEADER.min(size))) {
                    opened.push(Opened {
                        segment: Arc::new(Segment { number, name, file }),
                        size,
                        header: None,
                    });
                    continue;
                }
                if is_last && size <= HEADER && !kept.contains(&number) {
                    // Nothing is written to a segment before its header is durable.
                    scene.delete(&name)?;
                    continue;
                }
                scene.damage(&name, 0, HEADER.min(size), "the header of the segment does not match")?;
                scene.accepted.push((number, 0, HEADER.min(size)));
                None
            }
        };
        opened.push(Opened { segment: Arc::new(Segment { number, name, file }), size, header });
    }
    Ok(opened)
}

fn check_none_missing<D: Disk>(
    scene: &mut Scene<'_, D>,
    loaded: Option<&Loaded>,
    kept: &BTreeSet<u32>,
    numbers: &BTreeSet<u32>,
) -> Result<(), Error> {
    const MISSING: &str = "the file is missing";
    for entry in loaded.iter().flat_map(|loaded| &loaded.end.kept) {
        if !numbers.contains(&entry.segment) {
            scene.damage(&names::segment(entry.segment), 0, entry.length, MISSING)?;
        }
    }
    // After what the checkpoint lists, numbers have no gaps.
    let from = kept.last().copied().unwrap_or(0);
    let last = numbers.last().copied().unwrap_or(0);
    for number in from + 1..=last {
        if !numbers.contains(&number) {
            scene.damage(&names::segment(number), 0, 0, MISSING)?;
        }
    }
    Ok(())
}

pub(super) struct Walk<'s, 'a, D: Disk> {
    scene: &'s mut Scene<'a, D>,
    segments: Vec<Opened<D::File>>,
    loaded: Option<Loaded>,
    identity: u64,
    /// Every record up to this one is proven to have been durable.
    proven: u64,
    /// The record that comes next.
    expected: u64,
    /// Whether records may be missing before the next one, because a segment or a damaged range was left out.
    gap: bool,
    usage: Vec<Usage>,
    replay: Replay,
    meta: Vec<u8>,
    /// Records that nothing proves to have been durable, with where they are, in order.
    unproven: VecDeque<(u64, Place)>,
}

/// What was found instead of a good record.
struct Fault {
    what: &'static str,
    /// The record itself can be read; these frames in it (offset and length) cannot.
    frames: Option<(RecordHeader, Vec<(u64, u64)>)>,
}

impl Fault {
    fn new(what: &'static str) -> Fault {
        Fault { what, frames: None }
    }
}

/// What follows from a fault.
enum Verdict {
    /// The journal ends here.
    End,
    /// Accepted as lost; go on at this offset.
    Lost(u64),
    /// Frames at these offsets are accepted as lost.
    FramesLost(RecordHeader, Vec<u64>),
}

impl<'s, 'a, D: Disk> Walk<'s, 'a, D> {
    pub(super) fn new(
        scene: &'s mut Scene<'a, D>,
        loaded: Option<Loaded>,
        segments: Vec<Opened<D::File>>,
    ) -> Result<Self, Error> {
        let first_good = segments.iter().find_map(|opened| opened.header.as_ref());
        let identity = loaded.as_ref().map(|l| l.header.identity).or(first_good.map(|h| h.identity));
        let Some(identity) = identity else {
            let name = &segments[0].segment.name;
            return Err(scene.place.damaged(name, 0, HEADER, "no segment says which journal it is of"));
        };
        for opened in &segments {
            if opened.header.is_some_and(|header| header.identity != identity) {
                let name = &opened.segment.name;
                return Err(scene.place.damaged(name, 0, opened.size, "the file is of another journal"));
            }
        }
        let durable = segments.iter().filter_map(|opened| opened.header).map(|header| header.durable).max();
        let proven = durable.unwrap_or(0).max(loaded.as_ref().map_or(0, |loaded| loaded.end.last_record));
        let gap = loaded.is_some();
        let replay = Replay::new(loaded.as_ref());
        Ok(Walk {
            scene,
            segments,
            loaded,
            identity,
            proven,
            expected: 1,
            gap,
            usage: Vec::new(),
            replay,
            meta: Vec::new(),
            unproven: VecDeque::new(),
        })
    }

    pub(super) fn run(mut self) -> Result<Walked<D::File>, Error> {
        let mut end = Place { index: 0, at: HEADER.min(self.segments[0].size) };
        for index in 0..self.segments.len() {
            if !self.begin_segment(index, end)? {
                break;
            }
            let (at, finished) = self.walk_segment(index)?;
            self.usage[index].last_record = self.expected - 1;
            end = Place { index, at };
            if !finished {
                break;
            }
        }
        self.check_end(end)?;
        self.forget_proven();
        let Walk { scene, mut segments, identity, expected, mut usage, replay, unproven, .. } = self;
        let from = unproven.front().map_or(end, |(_, place)| *place);
        let cut = settle_end(scene, &segments, from, end)?;
        segments.truncate(end.index + 1);
        usage[end.index].length = end.at;
        scene.accepted.retain(|(segment, ..)| segments.iter().any(|o| o.segment.number == *segment));
        let segments = segments.into_iter().map(|opened| opened.segment).zip(usage).collect();
        Ok(Walked { identity, segments, next_record: expected, cut, replay })
    }

    /// Checks that nothing is missing after the last record.
    fn check_end(&mut self, end: Place) -> Result<(), Error> {
        if self.expected <= self.proven {
            self.lose(end.index, (end.at, end.at), "the last records are missing")?;
            self.expected = self.proven + 1;
        }
        if self.replay.nameless() {
            let name = &self.segments[0].segment.name;
            self.scene.damage(name, HEADER, HEADER, "the name of a log is missing")?;
        }
        Ok(())
    }

    /// Accepts a range of a segment as lost, or fails with it.
    fn lose(&mut self, index: usize, (from, to): (u64, u64), what: &'static str) -> Result<(), Error> {
        let segment = &self.segments[index].segment;
        self.scene.damage(&segment.name, from, to, what)?;
        self.scene.accepted.push((segment.number, from, to));
        Ok(())
    }

    /// Checks that a segment goes on where the one before ended. Returns false if the journal ends before it.
    fn begin_segment(&mut self, index: usize, end: Place) -> Result<bool, Error> {
        let opened = &self.segments[index];
        let number = opened.segment.number;
        self.usage.push(Usage { length: opened.size, ..Usage::default() });
        let adjacent = match index.checked_sub(1) {
            Some(before) => self.segments[before].segment.number + 1 == number,
            None => number == 1 && self.loaded.is_none(),
        };
        let Some(header) = opened.header else {
            self.gap = true;
            return Ok(true);
        };
        let first = header.first_record;
        let may_skip = self.gap || !adjacent;
        if first == self.expected || (may_skip && first > self.expected) {
            self.expected = first;
            self.gap = false;
            return Ok(true);
        }
        if self.expected > self.proven {
            self.prove(index, HEADER - 1)?;
        }
        if self.expected > self.proven {
            return Ok(false);
        }
        self.lose(end.index, (end.at, end.at), "records are missing between two segments")?;
        self.expected = self.expected.max(first);
        self.gap = false;
        Ok(true)
    }

    /// Reads the records of a segment. Returns the offset of the end and whether the journal goes on after it.
    fn walk_segment(&mut self, index: usize) -> Result<(u64, bool), Error> {
        let segment = Arc::clone(&self.segments[index].segment);
        let size = self.segments[index].size;
        let mut scanner = Scanner::new(&segment, self.identity, size);
        let mut at = HEADER.min(size);
        loop {
            if let Some(to) = self.accepted_at(segment.number, at) {
                self.gap = true;
                at = to;
            }
            if at >= size {
                break;
            }
            let checked = self.check_record(&mut scanner, at);
            match checked.map_err(|e| self.scene.place.io("read", &segment.name, e))? {
                Ok(header) => {
                    self.unproven.push_back((header.record, Place { index, at }));
                    at += self.take(segment.number, at, &header, &[]);
                }
                Err(fault) => match self.judge(index, &mut scanner, at, fault)? {
                    Verdict::End => return Ok((at, false)),
                    Verdict::Lost(to) => {
                        self.gap = true;
                        at = to;
                    }
                    Verdict::FramesLost(header, lost) => at += self.take(segment.number, at, &header, &lost),
                },
            }
        }
        self.check_length(index, at).map(|goes_on| (at, goes_on))
    }

    /// Checks a closed segment's length. Returns false if the journal ends with it.
    fn check_length(&mut self, index: usize, at: u64) -> Result<bool, Error> {
        let number = self.segments[index].segment.number;
        let next = self.segments.get(index + 1).filter(|next| next.segment.number == number + 1);
        let by_next = next.and_then(|next| next.header).map(|header| header.previous_length);
        let mut kept = self.loaded.iter().flat_map(|loaded| &loaded.end.kept);
        let by_checkpoint =
            kept.find(|kept| kept.segment == number && kept.length > 0).map(|kept| kept.length);
        let Some(length) = by_checkpoint.or(by_next) else { return Ok(true) };
        if at == length || self.gap {
            return Ok(true);
        }
        if self.expected > self.proven {
            self.prove(index, at)?;
        }
        if self.expected > self.proven && at < length {
            return Ok(false);
        }
        self.lose(
            index,
            (at.min(length), at.max(length)),
            "the segment has not the length it was closed with",
        )?;
        self.gap = true;
        Ok(true)
    }

    /// Where to go on, if a range that was accepted as lost begins here.
    fn accepted_at(&self, segment: u32, at: u64) -> Option<u64> {
        let here = self.scene.accepted.iter().filter(|(number, from, _)| *number == segment && *from == at);
        here.map(|(_, _, to)| *to).max()
    }

    fn check_record(
        &mut self,
        scanner: &mut Scanner<'_, D::File>,
        at: u64,
    ) -> std::io::Result<Result<RecordHeader, Fault>> {
        let Some(header) = scanner.header(at)? else { return Ok(Err(Fault::new("no record is there"))) };
        if header.record != self.expected && !(self.gap && header.record > self.expected) {
            return Ok(Err(Fault::new("the record is not the next one")));
        }
        let Some(meta) = scanner.meta(at, &header)? else {
            return Ok(Err(Fault::new("the checksum of the record does not match")));
        };
        self.meta.clear();
        self.meta.extend_from_slice(meta);
        let mut frames = Frames { offset: at + header.payload_start(), sequence: header.first_sequence };
        let end = frames.offset + u64::from(header.payload_length);
        let verify = header.record > self.replay.covers || self.scene.verify_everything();
        let mut bad = Vec::new();
        for op in Ops::new(&self.meta) {
            let Ok(op) = op else { return Ok(Err(Fault::new("the record has parts of no known kind"))) };
            if !is_plausible(&op, end - frames.offset) {
                return Ok(Err(Fault::new("the parts of the record contradict its header")));
            }
            let Some((log, slot)) = frames.next(&op, 0) else { continue };
            let settled = header.record <= self.replay.covers && self.replay.is_settled(log, slot.sequence);
            if verify && !settled {
                let bytes = scanner.bytes(u64::from(slot.offset), slot.length() as usize)?;
                if crc32fast::hash(bytes) != slot.crc {
                    bad.push((u64::from(slot.offset), u64::from(slot.length())));
                }
            }
        }
        if frames.offset != end {
            return Ok(Err(Fault::new("the parts of the record contradict its header")));
        }
        if !bad.is_empty() {
            let what = "the checksum of the frame does not match";
            return Ok(Err(Fault { what, frames: Some((header, bad)) }));
        }
        Ok(Ok(header))
    }

    /// Takes in the record that was checked last. Returns its length.
    fn take(&mut self, segment: u32, at: u64, header: &RecordHeader, lost: &[u64]) -> u64 {
        let frames = Frames { offset: at + header.payload_start(), sequence: header.first_sequence };
        self.replay.apply(header, frames, (segment, &self.meta), lost);
        self.expected = header.record + 1;
        self.gap = false;
        if header.durable > self.proven {
            self.proven = header.durable;
            self.forget_proven();
        }
        header.total()
    }

    fn forget_proven(&mut self) {
        while self.unproven.front().is_some_and(|(record, _)| *record <= self.proven) {
            self.unproven.pop_front();
        }
    }

    /// Decides what a fault is: an unfinished end, or damage.
    fn judge(
        &mut self,
        index: usize,
        scanner: &mut Scanner<'_, D::File>,
        at: u64,
        fault: Fault,
    ) -> Result<Verdict, Error> {
        let record = fault.frames.as_ref().map_or(self.expected, |(header, _)| header.record);
        if record > self.proven {
            self.prove(index, at)?;
        }
        if record > self.proven {
            return Ok(Verdict::End);
        }
        if let Some((header, frames)) = fault.frames {
            let name = &self.segments[index].segment.name;
            for (offset, length) in &frames {
                self.scene.damage(name, *offset, offset + length, fault.what)?;
            }
            return Ok(Verdict::FramesLost(header, frames.into_iter().map(|(offset, _)| offset).collect()));
        }
        let read_failed = |e| self.scene.place.io("read", &self.segments[index].segment.name, e);
        let mut resume = scanner.next_record_after(at).map_err(read_failed)?;
        while let Some((from, header)) = resume
            && header.record < self.expected
        {
            resume = scanner.next_record_after(from).map_err(read_failed)?;
        }
        let to = resume.map_or(self.segments[index].size, |(from, _)| from);
        self.lose(index, (at, to), fault.what)?;
        Ok(Verdict::Lost(to))
    }

    /// Looks for proof, in all that can be read after this place, of how far the journal was durable.
    fn prove(&mut self, index: usize, at: u64) -> Result<(), Error> {
        let mut from = at;
        for opened in &self.segments[index..] {
            let segment = &opened.segment;
            let mut scanner = Scanner::new(segment, self.identity, opened.size);
            let read_failed = |e| self.scene.place.io("read", &segment.name, e);
            while let Some((found, header)) = scanner.next_record_after(from).map_err(read_failed)? {
                self.proven = self.proven.max(header.durable);
                from = found + header.total() - 1;
            }
            from = HEADER - 1;
        }
        Ok(())
    }
}

/// Log numbers beyond this are not used; a larger one would only fill memory.
const LOG_NUMBER_MAX: u32 = 1 << 24;

fn is_plausible(op: &Op<'_>, left: u64) -> bool {
    let fits = |length: u32| u64::from(length) <= left && length <= crate::format::FRAME_BYTES_MAX;
    match *op {
        Op::Append { log, length, .. } | Op::Move { log, length, .. } => log < LOG_NUMBER_MAX && fits(length),
        Op::SettleThrough { log, .. } | Op::SettleOne { log, .. } | Op::Name { log, .. } => {
            log < LOG_NUMBER_MAX
        }
        Op::Put { .. } | Op::Delete { .. } => true,
    }
}
