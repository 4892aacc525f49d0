//! Who owns which unit, turn by turn: keeps what `plan` decides from, and judges how long is too long. Invariant: what was
//! ordered is remembered until its owner has released it or counts as dead.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use model::{Epoch, Incarnation, Name, Time, Unit};
use plan::{Book, Fleet, Holding, Seen, assign};

use crate::keeper::SILENT_AFTER;

/// How long a unit that should be released may be finished.
const RELEASE_WITHIN: Duration = Duration::from_secs(30);

/// Bounds of patience.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OwnersSettings {
    /// A worker of which nothing is heard for so long loses its units.
    pub silent_after: Duration,
    /// A unit that its owner was told to release is taken over after so long, whatever is in hand there.
    pub release_within: Duration,
}

impl Default for OwnersSettings {
    fn default() -> Self {
        Self { silent_after: SILENT_AFTER, release_within: RELEASE_WITHIN }
    }
}

/// What is wanted for one vertex.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Wanted {
    /// Any worker may own any unit: they are divided by weight. While nobody is ready everything stays as it is.
    Shared {
        /// The units of the vertex; none for a vertex that shall do nothing.
        units: BTreeSet<Unit>,
        /// The workers that are ready, by the version that they run.
        revisions: Vec<Fleet<Incarnation>>,
    },
    /// Each unit belongs to one replica, in whatever life that is: shares of a source that the outside divides, and
    /// state that lies on the replica's volume.
    Bound(BTreeMap<Unit, Incarnation>),
}

impl Wanted {
    fn target(&self, before: &BTreeMap<Unit, Incarnation>) -> BTreeMap<Unit, Incarnation> {
        match self {
            Self::Bound(owners) => owners.clone(),
            Self::Shared { units, revisions } => {
                let target = assign(units, revisions, before);
                if target.is_empty() && !units.is_empty() { before.clone() } else { target }
            }
        }
    }

    fn workers(&self) -> BTreeSet<Incarnation> {
        match self {
            Self::Bound(owners) => owners.values().copied().collect(),
            Self::Shared { units: _, revisions } => {
                revisions.iter().flat_map(|revision| &revision.workers).copied().collect()
            }
        }
    }
}

/// What one worker says of its ownership.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct WorkerReport {
    /// The number of the last orders whose claims it has all tried. Read before `units`.
    pub followed: u64,
    /// The units it has claimed and not released.
    pub units: BTreeMap<Unit, Epoch>,
}

/// What one worker is told to own.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Orders {
    /// Grows with every change; said back in [`WorkerReport::followed`].
    pub number: u64,
    /// The units with the epochs of their ownership. Everything else the worker finishes and releases.
    pub units: BTreeMap<Unit, Epoch>,
}

/// The owners of all units of a pipeline.
#[derive(Debug)]
pub struct Owners {
    settings: OwnersSettings,
    floor: Epoch,
    /// The number of the first orders.
    first: u64,
    vertices: BTreeMap<Name, Ownership>,
}

/// The owners of the units of one vertex.
#[derive(Debug)]
struct Ownership {
    book: Book<Unit, Incarnation>,
    target: BTreeMap<Unit, Incarnation>,
    /// When each worker was last heard, or first ordered something.
    heard: BTreeMap<Incarnation, Time>,
    workers: BTreeMap<Incarnation, WorkerReport>,
    /// When the release of a unit was ordered.
    releasing: BTreeMap<Unit, Time>,
}

impl Owners {
    /// Nobody owns anything. Every epoch that is given lies above `floor`.
    pub fn new(floor: Epoch, settings: OwnersSettings) -> Self {
        Self { settings, floor, first: 0, vertices: BTreeMap::new() }
    }

    /// Orders are numbered from here on, above whatever workers may have followed before there was this.
    pub fn begin_at(&mut self, number: u64) {
        self.first = number;
    }

    /// A worker has these units since before anything was decided here, and keeps them for as long as nothing else is
    /// wanted. What was decided here already stays.
    pub fn adopt(&mut self, vertex: &Name, worker: Incarnation, units: &BTreeMap<Unit, Epoch>, now: Time) {
        let ownership = self.vertex(vertex);
        ownership.heard.insert(worker, now);
        for (unit, epoch) in units {
            if ownership.book.adopt(unit, &worker, epoch.0) {
                ownership.target.insert(*unit, worker);
            }
        }
    }

    /// From the next turn on these are the bounds.
    pub fn set(&mut self, settings: OwnersSettings) {
        self.settings = settings;
    }

    /// Takes in what a worker says.
    pub fn hear(&mut self, vertex: &Name, worker: Incarnation, report: WorkerReport, now: Time) {
        let ownership = self.vertex(vertex);
        ownership.heard.insert(worker, now);
        ownership.workers.insert(worker, report);
    }

    /// Decides again for one vertex. Workers in `gone` are known to have ended; those that were silent for too long count
    /// as dead as well; both keep what they have while nobody is there to go on.
    pub fn turn(&mut self, vertex: &Name, wanted: &Wanted, gone: &BTreeSet<Incarnation>, now: Time) {
        let settings = self.settings;
        let ownership = self.vertex(vertex);
        ownership.target = wanted.target(&ownership.target);
        for owner in ownership.book.given().values().chain(ownership.target.values()) {
            ownership.heard.entry(*owner).or_insert(now);
        }
        let silent = ownership.heard.iter().filter(|(_, heard)| now.since(**heard) >= settings.silent_after);
        let dead = silent.map(|(worker, _)| *worker).chain(gone.iter().copied()).collect();
        let late =
            ownership.releasing.iter().filter(|(_, since)| now.since(**since) >= settings.release_within);
        let overdue = late.map(|(unit, _)| *unit).collect();
        let holding = |(worker, report): (&Incarnation, &WorkerReport)| {
            let units = report.units.iter().map(|(unit, epoch)| (*unit, epoch.0)).collect();
            (*worker, Holding { followed: report.followed, units })
        };
        let seen = Seen { workers: ownership.workers.iter().map(holding).collect(), dead, overdue };
        ownership.book = ownership.book.turn(&ownership.target, &seen);
        ownership.forget(wanted, now);
    }

    /// What a worker is to own.
    pub fn orders(&self, vertex: &Name, worker: Incarnation) -> Orders {
        let Some(ownership) = self.vertices.get(vertex) else { return Orders::default() };
        let plan::Orders { number, units } = ownership.book.orders(&worker);
        Orders { number, units: units.into_iter().map(|(unit, epoch)| (unit, Epoch(epoch))).collect() }
    }

    /// Whether a worker has nothing left: it owns nothing, releases nothing, and may go.
    pub fn is_clear(&self, vertex: &Name, worker: Incarnation) -> bool {
        self.vertices.get(vertex).is_none_or(|ownership| !ownership.concerns(worker))
    }

    /// Whom a unit is given to, or was taken from and is not released by.
    pub fn holder(&self, vertex: &Name, unit: Unit) -> Option<Incarnation> {
        let book = &self.vertices.get(vertex)?.book;
        book.given().remove(&unit).or_else(|| book.taken().remove(&unit))
    }

    /// Whether everything is where it is wanted, and nothing is on its way.
    pub fn is_settled(&self, vertex: &Name) -> bool {
        self.vertices.get(vertex).is_none_or(|ownership| {
            ownership.book.given() == ownership.target && ownership.book.taken().is_empty()
        })
    }

    fn vertex(&mut self, vertex: &Name) -> &mut Ownership {
        let (floor, first) = (self.floor, self.first);
        self.vertices.entry(vertex.clone()).or_insert_with(|| Ownership {
            book: Book::new(floor.0).numbered_from(first),
            target: BTreeMap::new(),
            heard: BTreeMap::new(),
            workers: BTreeMap::new(),
            releasing: BTreeMap::new(),
        })
    }
}

impl Ownership {
    fn concerns(&self, worker: Incarnation) -> bool {
        let named = |owners: BTreeMap<Unit, Incarnation>| owners.values().any(|owner| *owner == worker);
        named(self.book.given()) || named(self.book.taken())
    }

    /// Lets go of workers that nobody speaks of any more, and notes which releases are under way.
    fn forget(&mut self, wanted: &Wanted, now: Time) {
        let taken = self.book.taken();
        self.releasing.retain(|unit, _| taken.contains_key(unit));
        for unit in taken.keys() {
            self.releasing.entry(*unit).or_insert(now);
        }
        let named: BTreeSet<_> =
            self.book.given().into_values().chain(taken.into_values()).chain(wanted.workers()).collect();
        self.heard.retain(|worker, _| named.contains(worker));
        self.workers.retain(|worker, _| named.contains(worker));
    }
}
