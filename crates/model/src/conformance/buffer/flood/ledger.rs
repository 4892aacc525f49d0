//! What a flood has seen, and the checks that every answer passes. Panics at the first contradiction.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::{Mutex, MutexGuard};

use super::{NUMBERS, SOURCES};
use crate::door::buffer::{Stored, Survey};
use crate::{Epoch, Place, Progress, Unit, UnitId};

/// Numbers of one source unit begin at its own multiple of this.
const BASE: u64 = 1_000_000;

/// The number that a source unit writes at an offset.
pub(super) fn number_of(source: u32, offset: u64) -> u64 {
    u64::from(source) * BASE + offset
}

/// Goes through the retry slot first.
pub(super) fn is_retried(number: u64) -> bool {
    number % 7 == 3
}

/// Goes to `side` as well.
pub(super) fn goes_aside(number: u64) -> bool {
    number.is_multiple_of(3)
}

#[derive(Default)]
pub(super) struct Ledger(Mutex<Seen>);

#[derive(Default)]
struct Seen {
    /// The highest epoch of which a claim has returned.
    claimed: HashMap<UnitId, Epoch>,
    /// The largest progress that was acknowledged.
    acknowledged: HashMap<UnitId, Progress>,
    /// Every frame that was read, by slot and sequence.
    frames: BTreeMap<Place, BTreeMap<u64, Vec<u64>>>,
    /// Where each number lies, by vertex that reads it.
    places: HashMap<(String, u64), (Place, u64)>,
    /// How many numbers each of them has.
    counts: HashMap<String, usize>,
    commits: u64,
}

/// A commit under way: whether somebody else had claimed the unit before it began.
pub(super) struct Began {
    stale: bool,
}

/// What was answered up to some moment.
pub(super) struct Known {
    claimed: HashMap<UnitId, Epoch>,
    acknowledged: HashMap<UnitId, Progress>,
    /// The last frame that was read from each slot.
    read: BTreeMap<Place, u64>,
}

impl Known {
    /// Fails unless all of it is in this survey.
    pub(super) fn expect_in(&self, survey: &Survey) {
        for (unit, known) in &self.acknowledged {
            let Unit::Slot(slot) = unit.unit else { continue };
            let place = Place { vertex: unit.vertex.clone(), slot };
            let found = survey.slot(&place).map(|slot| &slot.level.progress);
            let covered = found.is_some_and(|found| covers(found, known));
            assert!(covered, "{unit}: {known:?} was acknowledged, and a survey finds {found:?}");
        }
        for (unit, epoch) in &self.claimed {
            let found = survey.unit(unit).map(|unit| unit.epoch);
            assert!(found >= Some(*epoch), "{unit}: claimed under {epoch:?}, and a survey finds {found:?}");
        }
        for (place, sequence) in &self.read {
            let last = survey.slot(place).map(|slot| slot.level.last);
            assert!(last >= Some(*sequence), "{place}: what was read has been stored");
        }
    }
}

impl Ledger {
    fn lock(&self) -> MutexGuard<'_, Seen> {
        self.0.lock().expect("a check has failed in another task")
    }

    /// A claim has returned.
    pub(super) fn claimed(&self, unit: &UnitId, epoch: Epoch, progress: &Progress) {
        let mut seen = self.lock();
        let highest = seen.claimed.entry(unit.clone()).or_default();
        if *highest > epoch {
            // This answer was under way while a later owner claimed and went on.
            return;
        }
        *highest = epoch;
        drop(seen);
        self.expect_progress(unit, progress);
    }

    /// Everything acknowledged so far is covered by this progress.
    pub(super) fn expect_progress(&self, unit: &UnitId, progress: &Progress) {
        let mut seen = self.lock();
        let known = seen.acknowledged.entry(unit.clone()).or_default();
        assert!(
            covers(progress, known),
            "{unit}: {known:?} was acknowledged, and a claim finds {progress:?}"
        );
        *known = progress.clone();
    }

    pub(super) fn begin(&self, unit: &UnitId, epoch: Epoch) -> Began {
        let highest = self.lock().claimed.get(unit).copied().unwrap_or_default();
        Began { stale: highest > epoch }
    }

    /// A commit was acknowledged.
    pub(super) fn acknowledged(&self, unit: &UnitId, progress: &Progress, began: &Began) {
        assert!(!began.stale, "{unit}: a commit that began after another's claim was stored");
        let mut seen = self.lock();
        seen.commits += 1;
        let known = seen.acknowledged.entry(unit.clone()).or_default();
        // The answer may come after a later owner has gone on.
        if covers(progress, known) {
            *known = progress.clone();
        } else {
            assert!(
                covers(known, progress),
                "{unit}: neither of {known:?} and {progress:?} covers the other"
            );
        }
    }

    /// A frame was read from a slot.
    pub(super) fn read(&self, place: &Place, stored: &Stored, numbers: &[u64]) {
        let mut seen = self.lock();
        let frames = seen.frames.entry(place.clone()).or_default();
        if let Some(before) = frames.get(&stored.sequence) {
            assert_eq!(before, numbers, "{place}: frame {} reads the same each time", stored.sequence);
            return;
        }
        frames.insert(stored.sequence, numbers.to_vec());
        let retry = place.slot == crate::Slot::RETRY;
        for number in numbers {
            let vertex = if retry { "retry".to_owned() } else { place.vertex.to_string() };
            *seen.counts.entry(vertex.clone()).or_default() += 1;
            let key = (vertex, *number);
            let here = (place.clone(), stored.sequence);
            if let Some((other, sequence)) = seen.places.insert(key, here) {
                panic!("{number} lies twice: in {other} {sequence} and in {place} {}", stored.sequence);
            }
        }
    }

    /// What a survey that is made after this has to show.
    pub(super) fn known(&self) -> Known {
        let seen = self.lock();
        let last = |(place, frames): (&Place, &BTreeMap<u64, Vec<u64>>)| {
            Some((place.clone(), *frames.keys().next_back()?))
        };
        Known {
            claimed: seen.claimed.clone(),
            acknowledged: seen.acknowledged.clone(),
            read: seen.frames.iter().filter_map(last).collect(),
        }
    }

    pub(super) fn commits(&self) -> u64 {
        self.lock().commits
    }

    /// Whether the sinks have read everything.
    pub(super) fn is_complete(&self) -> bool {
        let seen = self.lock();
        let count = |vertex| seen.counts.get(vertex).copied().unwrap_or_default();
        count("out") == all().count() && count("side") == all().filter(|number| goes_aside(*number)).count()
    }

    /// What is missing, for people.
    pub(super) fn missing(&self) -> String {
        let seen = self.lock();
        let at = |vertex: &str, number| seen.places.contains_key(&(vertex.to_owned(), number));
        let out: Vec<_> = all().filter(|number| !at("out", *number)).collect();
        let side: Vec<_> = all().filter(|number| goes_aside(*number) && !at("side", *number)).collect();
        format!("not in out: {out:?}; not in side: {side:?}; acknowledged: {:?}", seen.acknowledged)
    }

    /// Every number is where it belongs, exactly once, and in order where order is kept.
    pub(super) fn expect_all(&self) {
        let seen = self.lock();
        let expected = |vertex: &str, number: u64| match vertex {
            "retry" => is_retried(number),
            "side" => goes_aside(number),
            _ => true,
        };
        for vertex in ["map", "retry", "out", "side"] {
            let found: BTreeSet<_> =
                seen.places.keys().filter(|(at, _)| at == vertex).map(|(_, number)| *number).collect();
            let wanted: BTreeSet<_> = all().filter(|number| expected(vertex, *number)).collect();
            assert_eq!(found, wanted, "the numbers in {vertex}");
        }
        for (place, frames) in &seen.frames {
            for source in 0..SOURCES {
                let own = frames.values().flatten().filter(|number| *number / BASE == u64::from(source));
                let straight: Vec<_> = own.filter(|number| !is_retried(**number)).collect();
                assert!(
                    straight.is_sorted(),
                    "{place}: numbers of source {source} are in order: {straight:?}"
                );
            }
        }
    }
}

fn all() -> impl Iterator<Item = u64> {
    (0..SOURCES).flat_map(|source| (0..NUMBERS).map(move |offset| number_of(source, offset)))
}

/// Whether everything that `less` says is done is done according to `more` too.
fn covers(more: &Progress, less: &Progress) -> bool {
    let done = |sequence: &u64| *sequence < more.position.sequence || more.above.contains(sequence);
    more.position >= less.position && less.above.iter().all(done)
}
