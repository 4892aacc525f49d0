//! Opening: finds the files, loads the checkpoint, replays the segments, cuts the unfinished end and makes what
//! is left durable. Reading records and judging what is wrong is in `recover/walk.rs`, what they mean in
//! `recover/replay.rs`.
//!
//! The invariant: what is recovered is a prefix of what was written and holds everything that is proven to have
//! been durable, or opening fails (or, where damage is accepted, lists what is missing).

mod replay;
mod walk;

use std::collections::{BTreeMap, BTreeSet};
use std::io::IoSlice;
use std::sync::{Arc, Mutex, RwLock};

use crate::cache;
use crate::checkpoint::{self, Loaded};
use crate::committer::Usage;
use crate::disk::{Disk, DiskFile};
use crate::error::{Error, Place};
use crate::format::{SEGMENT_HEADER_BYTES, SegmentHeader};
use crate::hub::{Counters, LogTable, Segment, Shared, State};
use crate::locks::lock;
use crate::names::{self, Kind};
use crate::options::Options;
use crate::queue::Queue;
use crate::status::{Cut, Damage};

use replay::Replay;
use walk::{Walk, Walked};

/// How much is written again at once.
const REWRITTEN_BYTES: usize = 1024 * 1024;

/// A journal as it was found.
pub(crate) struct Recovered<D: Disk> {
    pub(crate) shared: Shared<D>,
    pub(crate) identity: u64,
    pub(crate) active: Arc<Segment<D::File>>,
    pub(crate) usage: BTreeMap<u32, Usage>,
    pub(crate) next_record: u64,
    pub(crate) checkpoint: Latest,
    /// Damaged ranges of segments that were accepted as lost, by this opening and earlier ones.
    pub(crate) accepted: Vec<(u32, u64, u64)>,
    /// Whether this opening accepted damage.
    pub(crate) damaged: bool,
}

/// The last complete checkpoint; all 0 if there is none.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Latest {
    pub(crate) number: u64,
    pub(crate) bytes: u64,
}

/// What a recovery knows throughout.
struct Scene<'a, D: Disk> {
    disk: &'a D,
    place: &'a Place,
    options: &'a Options,
    damaged: Vec<Damage>,
    /// Ranges of segments that are damaged and were accepted as lost, by this opening and earlier ones.
    accepted: Vec<(u32, u64, u64)>,
}

impl<D: Disk> Scene<'_, D> {
    /// Notes damage if it is accepted, and fails with it otherwise.
    fn damage(&mut self, file: &str, from: u64, to: u64, what: &'static str) -> Result<(), Error> {
        if !self.options.accept_damage {
            return Err(self.place.damaged(file, from, to, what));
        }
        self.damaged.push(Damage { file: file.to_owned(), from, to, what });
        Ok(())
    }

    fn verify_everything(&self) -> bool {
        self.options.verify_everything || self.options.accept_damage
    }

    fn delete(&self, name: &str) -> Result<(), Error> {
        self.disk.delete(name).map_err(|e| self.place.io("delete", name, e))
    }
}

pub(crate) fn recover<D: Disk>(disk: D, options: Options) -> Result<Recovered<D>, Error> {
    let place = Place(disk.place());
    let mut scene =
        Scene { disk: &disk, place: &place, options: &options, damaged: Vec::new(), accepted: Vec::new() };
    let mut files = Files::list(&disk, &place)?;
    // A name that was seen may not be on the disk yet; nothing is deleted because of it before it is.
    disk.sync_directory().map_err(|e| place.io("sync", "the directory", e))?;
    if files.partial {
        scene.delete(names::PARTIAL)?;
    }
    let loaded = load_latest(&mut scene, &files.checkpoints)?;
    let latest = loaded.as_ref().map(|loaded| Latest { number: loaded.header.number, bytes: loaded.bytes });
    // The numbers of damaged checkpoints are not used again.
    let latest =
        latest.unwrap_or(Latest { number: files.checkpoints.last().copied().unwrap_or(0), bytes: 0 });
    if let Some(loaded) = &loaded {
        delete_unneeded(&scene, loaded, &mut files.segments)?;
        scene.accepted.clone_from(&loaded.end.accepted);
    }

    let segments = walk::open_segments(&mut scene, loaded.as_ref(), &files.segments)?;
    let walked =
        if segments.is_empty() { begin(&scene)? } else { Walk::new(&mut scene, loaded, segments)?.run()? };
    let Scene { damaged, accepted, .. } = scene;
    Ok(assemble(disk, options, walked, (latest, damaged, accepted)))
}

/// The files of a journal by kind.
struct Files {
    segments: BTreeSet<u32>,
    checkpoints: BTreeSet<u64>,
    partial: bool,
}

impl Files {
    fn list<D: Disk>(disk: &D, place: &Place) -> Result<Files, Error> {
        let mut files = Files { segments: BTreeSet::new(), checkpoints: BTreeSet::new(), partial: false };
        for name in disk.list().map_err(|e| place.io("list", "the directory", e))? {
            match names::parse(&name) {
                Some(Kind::Segment(number)) => {
                    files.segments.insert(number);
                }
                Some(Kind::Checkpoint(number)) => {
                    files.checkpoints.insert(number);
                }
                Some(Kind::Partial) => files.partial = true,
                None => {}
            }
        }
        Ok(files)
    }
}

/// Loads the newest checkpoint and deletes older ones, which a crash may have left.
fn load_latest<D: Disk>(
    scene: &mut Scene<'_, D>,
    checkpoints: &BTreeSet<u64>,
) -> Result<Option<Loaded>, Error> {
    let mut loaded: Option<Loaded> = None;
    for &number in checkpoints.iter().rev() {
        let name = names::checkpoint(number);
        if loaded.is_none() {
            match checkpoint::load(scene.disk, scene.place, number) {
                Ok(good) => {
                    loaded = Some(good);
                    continue;
                }
                Err(Error::Damaged { from, to, what, .. }) => scene.damage(&name, from, to, what)?,
                Err(error) => return Err(error),
            }
        }
        scene.delete(&name)?;
    }
    Ok(loaded)
}

/// Deletes the segments that the checkpoint says nobody needs, which a crash may have left.
fn delete_unneeded<D: Disk>(
    scene: &Scene<'_, D>,
    loaded: &Loaded,
    segments: &mut BTreeSet<u32>,
) -> Result<(), Error> {
    let kept: BTreeSet<u32> = loaded.end.kept.iter().map(|kept| kept.segment).collect();
    let last = kept.last().copied().unwrap_or(0);
    let unneeded: Vec<u32> = segments.range(..last).copied().filter(|n| !kept.contains(n)).collect();
    for number in unneeded {
        scene.delete(&names::segment(number))?;
        segments.remove(&number);
    }
    Ok(())
}

/// Begins a journal where there is none.
fn begin<D: Disk>(scene: &Scene<'_, D>) -> Result<Walked<D::File>, Error> {
    let header = SegmentHeader {
        identity: scene.disk.identity(),
        segment: 1,
        first_record: 1,
        durable: 0,
        previous_length: 0,
    };
    let segment = crate::committer::create_segment(scene.disk, scene.place, &header)?;
    let usage = Usage { length: SEGMENT_HEADER_BYTES as u64, ..Usage::default() };
    Ok(Walked {
        identity: header.identity,
        segments: vec![(Arc::new(segment), usage)],
        next_record: 1,
        cut: None,
        replay: Replay::new(None),
    })
}

fn assemble<D: Disk>(
    disk: D,
    options: Options,
    walked: Walked<D::File>,
    (checkpoint, damaged, accepted): (Latest, Vec<Damage>, Vec<(u32, u64, u64)>),
) -> Recovered<D> {
    let Walked { identity, segments, next_record, cut, replay } = walked;
    let place = Place(disk.place());
    let active = segments.last().map(|(segment, _)| Arc::clone(segment)).expect("there is an active segment");
    let mut usage: BTreeMap<u32, Usage> =
        segments.iter().map(|(segment, usage)| (segment.number, *usage)).collect();
    for &(segment, ..) in &accepted {
        if let Some(usage) = usage.get_mut(&segment) {
            usage.unreadable = true;
        }
    }
    let next_sequence = replay.next_sequence;
    let (logs, state) = replay.finish();
    count_live(&logs, &mut usage);
    let was_damaged = !damaged.is_empty();
    let shared = Shared {
        queue: Queue::new(&options, next_sequence),
        disk,
        place,
        options,
        logs: RwLock::new(logs),
        segments: RwLock::new(segments.into_iter().map(|(segment, _)| (segment.number, segment)).collect()),
        state: RwLock::new(State { map: state }),
        held: cache::Held::default(),
        counters: Counters::default(),
        cut,
        damaged: Mutex::new(damaged),
    };
    Recovered { shared, identity, active, usage, next_record, checkpoint, accepted, damaged: was_damaged }
}

fn count_live(logs: &LogTable, usage: &mut BTreeMap<u32, Usage>) {
    for log in &logs.all {
        for (slot, _) in lock(&log.index).from(0) {
            let usage = usage.get_mut(&slot.segment).expect("a frame was found in one of the segments");
            usage.live_frames += 1;
            usage.live_cost += u64::from(slot.length()) + crate::compact::FRAME_COST_BYTES;
        }
    }
}

/// Removes what comes after the last good record, and makes the rest durable.
fn settle_end<D: Disk>(
    scene: &Scene<'_, D>,
    segments: &[walk::Opened<D::File>],
    unproven: walk::Place,
    end: walk::Place,
) -> Result<Option<Cut>, Error> {
    let walk::Place { index, at } = end;
    let last = &segments[index];
    let mut bytes = last.size - at;
    // The last file goes first, so that a crash in between leaves no gap.
    for later in segments[index + 1..].iter().rev() {
        bytes += later.size;
        scene.delete(&later.segment.name)?;
        scene
            .disk
            .sync_directory()
            .map_err(|e| scene.place.io("sync the directory of", &later.segment.name, e))?;
    }
    let (file, name) = (&last.segment.file, &last.segment.name);
    if at < last.size {
        file.truncate(at).map_err(|e| scene.place.io("cut", name, e))?;
    }
    for (number, segment) in segments.iter().enumerate().take(index + 1).skip(unproven.index) {
        let from = if number == unproven.index { unproven.at } else { 0 };
        let to = if number == index { at } else { segment.size };
        // The first record of a segment proves its header.
        let from = if from <= SEGMENT_HEADER_BYTES as u64 { 0 } else { from };
        rewrite(scene, &segment.segment, from, to)?;
    }
    for segment in &segments[..=index] {
        let name = &segment.segment.name;
        segment.segment.file.sync().map_err(|e| scene.place.io("sync", name, e))?;
    }
    scene.disk.sync_directory().map_err(|e| scene.place.io("sync the directory of", name, e))?;
    Ok((bytes > 0).then(|| Cut { file: name.clone(), at, bytes }))
}

/// Writes what is in a file once more. It may have been read from the memory of the operating system, which,
/// after a failed sync, believes that the disk has it; only a write makes the next sync mean something.
fn rewrite<D: Disk>(
    scene: &Scene<'_, D>,
    segment: &Segment<D::File>,
    from: u64,
    to: u64,
) -> Result<(), Error> {
    let mut chunk = vec![0; REWRITTEN_BYTES.min(to.saturating_sub(from) as usize)];
    let mut at = from;
    while at < to {
        let length = chunk.len().min((to - at) as usize);
        let read = segment.file.read_at(at, &mut chunk[..length]);
        let read = read.map_err(|e| scene.place.io("read", &segment.name, e))?;
        if read == 0 {
            break;
        }
        let mut parts = [IoSlice::new(&chunk[..read])];
        segment
            .file
            .write_at(at, &mut parts)
            .map_err(|e| scene.place.io_or_full("write", &segment.name, e))?;
        at += read as u64;
    }
    Ok(())
}
