//! The buffer of one machine: slots are logs of the embedded journal, a commit is one of its transactions.
//!
//! Ownership is decided in memory, under the lock of the unit, and recorded with every commit; since transactions are
//! stored in the order in which they are handed over, a commit that was handed over before a claim is before it on
//! disk too. The one invariant: at most one transaction of a unit is on its way, and whoever takes the unit over
//! waits for its outcome, so that the progress a claim returns is final.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex, MutexGuard};

use ::journal::{Disk, Journal, Transaction};
use async_trait::async_trait;
use model::door::buffer::{Bounds, Buffer, Claim, Claimed, Survey, UnitSurvey, VertexSettings};
use model::door::{Class, Error};
use model::{Epoch, Name, Place, Slot, Unit, UnitId};
use tokio::sync::Notify;

mod commit;
mod ids;
mod names;
mod read;
mod record;
mod room;
mod slot;
mod sources;

use ids::Ids;
use record::Record;
use room::Room;
use slot::{Lane, Left};

pub use sources::note_source;

/// The largest payload of one frame: small enough that a reader with a bounded appetite is never stuck behind one.
pub const FRAME_BYTES_MAX: usize = 512 * 1024;
/// The largest payload of one commit.
pub const COMMIT_BYTES_MAX: usize = 4 * 1024 * 1024;

/// The embedded buffer.
pub struct JournalBuffer<D: Disk> {
    inner: Arc<Inner<D>>,
}

pub(crate) struct Inner<D: Disk> {
    journal: Arc<Journal<D>>,
    vertices: HashMap<Name, Vertex>,
    units: Mutex<HashMap<UnitId, Arc<UnitState>>>,
    /// Held while a stored commit changes slots and units and while a survey is made, so that it is of one instant.
    showing: Arc<Mutex<()>>,
}

struct Vertex {
    lanes: HashMap<Slot, Arc<Lane>>,
    room: Arc<Room>,
    ids: Arc<Ids>,
}

pub(crate) struct UnitState {
    id: UnitId,
    held: Mutex<Held>,
    changed: Notify,
}

#[derive(Default)]
struct Held {
    record: Record,
    /// For each place the unit wrote to, the number of the last frame it stored there.
    written: BTreeMap<Place, u64>,
    /// Grows with every claim: older handles are refused by it.
    generation: u64,
    /// A transaction of this unit is on its way.
    busy: bool,
    /// The index in which a committer that is gone had reserved ids, and its generation: what it reserved is let go
    /// of once its last transaction is decided.
    left: Option<(Arc<Ids>, u64)>,
}

impl Held {
    /// Notes frames that were stored, in the order in which they were.
    fn wrote(&mut self, frames: Vec<(Place, u64)>) {
        for (place, sequence) in frames {
            let before = self.written.insert(place, sequence);
            assert!(before.is_none_or(|before| before < sequence), "sequences of a slot grow");
        }
    }
}

impl UnitState {
    fn lock(&self) -> MutexGuard<'_, Held> {
        self.held.lock().expect("nothing panics while a unit is locked")
    }

    /// Waits until no transaction of the unit is on its way and makes the next one the caller's, who must hand it
    /// over without waiting. Gives the record as it stands. `Lost` once somebody else has claimed the unit.
    async fn enter(&self, generation: u64) -> Result<Record, Error> {
        loop {
            let changed = self.changed.notified();
            tokio::pin!(changed);
            changed.as_mut().enable();
            {
                let mut held = self.lock();
                if held.generation != generation {
                    return Err(lost(&self.id));
                }
                if !held.busy {
                    held.busy = true;
                    return Ok(held.record.clone());
                }
            }
            changed.await;
        }
    }

    /// Ends what [`UnitState::enter`] began: the transaction is decided, or was never handed over.
    fn leave(&self) {
        let mut held = self.lock();
        held.busy = false;
        let left = held.left.take();
        drop(held);
        if let Some((ids, generation)) = left {
            ids.let_go(self.id.unit, generation);
        }
        self.changed.notify_waiters();
    }

    /// Returns once somebody else has claimed the unit.
    async fn until_lost(&self, generation: u64) {
        loop {
            let changed = self.changed.notified();
            tokio::pin!(changed);
            changed.as_mut().enable();
            if self.lock().generation != generation {
                return;
            }
            changed.await;
        }
    }
}

/// What the journal's errors mean at the door.
fn door_error(attempted: impl Into<String>, error: ::journal::Error) -> Error {
    let class = match &error {
        ::journal::Error::Full { .. } => Class::Retry,
        ::journal::Error::TooLarge { .. } => Class::Reject,
        _ => Class::Fatal,
    };
    Error::caused(class, attempted, error)
}

fn gone(unit: &UnitId) -> Error {
    Error::new(Class::Fatal, format!("keep unit {unit}: the journal went away without an answer"))
}

fn lost(unit: &UnitId) -> Error {
    Error::new(Class::Lost, format!("keep unit {unit}: it has another owner"))
}

impl<D: Disk + 'static> JournalBuffer<D> {
    /// A buffer for these vertices over an open journal. What an earlier life left unread is counted, which reads
    /// it once; a log whose frames cannot be read is an error.
    pub fn open(journal: Arc<Journal<D>>, vertices: Vec<VertexSettings>) -> Result<Self, Error> {
        let mut opened = HashMap::new();
        let mut left = Vec::new();
        for settings in vertices {
            opened.insert(settings.name.clone(), Vertex::open(&journal, &settings, &mut left)?);
        }
        let mut units = HashMap::new();
        for (key, value) in journal.scan(names::UNIT_PREFIX.as_bytes()) {
            let unit = names::read_unit(&key);
            let record = Record::decode(&value);
            let (Some(id), Some(record)) = (unit, record) else {
                let key = String::from_utf8_lossy(&key).into_owned();
                return Err(Error::new(
                    Class::Fatal,
                    format!("read unit record {key}: it was written by a later version"),
                ));
            };
            if let (Unit::Slot(slot), Some(vertex)) = (id.unit, opened.get(&id.vertex))
                && let Some(lane) = vertex.lanes.get(&slot)
            {
                lane.resume(record.progress.clone());
            }
            units.insert(id.clone(), Arc::new(UnitState::with(id, record)));
        }
        for (place, writers) in left {
            for (id, sequence) in writers {
                // The commit that stored a frame stored its unit's record too.
                let unit = units.get(&id).ok_or_else(|| {
                    let attempted = format!("find the record of unit {id}, which wrote to {place}");
                    Error::new(Class::Fatal, attempted)
                })?;
                unit.lock().wrote(vec![(place.clone(), sequence)]);
            }
        }
        let inner = Inner { journal, vertices: opened, units: Mutex::new(units), showing: Arc::default() };
        Ok(Self { inner: Arc::new(inner) })
    }
}

impl<D: Disk> JournalBuffer<D> {
    /// The highest number any unit was ever owned under. Whoever assigns units afresh begins above it.
    pub fn highest_epoch(&self) -> Epoch {
        let units = self.inner.units.lock().expect("nothing panics while the units are locked");
        units.values().map(|unit| unit.lock().record.epoch).max().unwrap_or_default()
    }
}

impl UnitState {
    fn survey(&self) -> UnitSurvey {
        let held = self.lock();
        let written = held.written.iter().map(|(place, sequence)| (place.clone(), *sequence)).collect();
        UnitSurvey { unit: self.id.clone(), epoch: held.record.epoch, owner: held.record.owner, written }
    }

    fn with(id: UnitId, record: Record) -> Self {
        let held = Mutex::new(Held { record, ..Held::default() });
        Self { id, held, changed: Notify::new() }
    }
}

impl Vertex {
    /// A vertex and its slots; what an earlier life left in each is put into `left`.
    fn open<D: Disk>(
        journal: &Journal<D>,
        settings: &VertexSettings,
        left: &mut Vec<(Place, Left)>,
    ) -> Result<Self, Error> {
        let room = Arc::new(Room::new(settings));
        let mut lanes = HashMap::new();
        let all = (0..u64::from(settings.topology.slots())).map(|number| settings.topology.slot(number));
        for slot in all.chain([Slot::RETRY]) {
            let (lane, writers) = Lane::open(journal, &settings.name, slot)?;
            left.push((Place { vertex: settings.name.clone(), slot }, writers));
            lane.count_into(&room);
            lanes.insert(slot, Arc::new(lane));
        }
        let ids = Arc::new(Ids::open(journal, &settings.name)?);
        Ok(Self { lanes, room, ids })
    }
}

impl<D: Disk> Inner<D> {
    fn vertex(&self, name: &str) -> Result<&Vertex, Error> {
        self.vertices.get(name).ok_or_else(|| {
            Error::new(Class::Fatal, format!("find vertex {name} in the buffer: it was not announced"))
        })
    }

    fn lane(&self, place: &Place) -> Result<&Arc<Lane>, Error> {
        self.vertex(&place.vertex)?.lanes.get(&place.slot).ok_or_else(|| {
            Error::new(Class::Fatal, format!("find slot {place} in the buffer: the vertex has no such slot"))
        })
    }

    fn unit(&self, id: &UnitId) -> Arc<UnitState> {
        let mut units = self.units.lock().expect("nothing panics while the units are locked");
        let state = units.entry(id.clone());
        state.or_insert_with(|| Arc::new(UnitState::with(id.clone(), Record::default()))).clone()
    }
}

#[async_trait]
impl<D: Disk + 'static> Buffer for JournalBuffer<D> {
    fn bounds(&self) -> Bounds {
        Bounds {
            frame_bytes_max: FRAME_BYTES_MAX,
            commit_bytes_max: COMMIT_BYTES_MAX,
            lone_frame_bytes: None,
        }
    }

    async fn claim(&self, claim: Claim) -> Result<Claimed, Error> {
        let vertex = self.inner.vertex(&claim.unit.vertex)?;
        let lane = match claim.unit.unit {
            Unit::Slot(slot) => {
                Some(self.inner.lane(&Place { vertex: claim.unit.vertex.clone(), slot })?.clone())
            }
            Unit::Source(_) => None,
        };
        let unit = self.inner.unit(&claim.unit);
        let generation = take(&unit, &claim)?;
        let progress = self.inner.confirm(&unit, generation).await?;
        // What a former owner had reserved and not committed is nobody's.
        vertex.ids.let_go_before(claim.unit.unit, generation);
        let reader = lane.as_ref().map(|lane| {
            read::SlotReader::boxed(self.inner.clone(), unit.clone(), generation, lane.clone(), &progress)
        });
        let committer = commit::UnitCommitter::new(
            self.inner.clone(),
            unit,
            vertex.ids.clone(),
            lane,
            (claim, generation),
        );
        Ok(Claimed { progress, reader, committer: Box::new(committer) })
    }

    async fn survey(&self) -> Result<Survey, Error> {
        let inner = &self.inner;
        let slots = inner.vertices.values().map(|vertex| vertex.lanes.len()).sum();
        let mut survey = Survey { slots: Vec::with_capacity(slots), units: Vec::new() };
        let shown = inner.showing.lock().expect("nothing panics while slots change");
        for (name, vertex) in &inner.vertices {
            for (slot, lane) in &vertex.lanes {
                survey.slots.push(lane.survey(Place { vertex: name.clone(), slot: *slot }));
            }
        }
        let units = inner.units.lock().expect("nothing panics while the units are locked");
        survey.units.extend(units.values().map(|unit| unit.survey()));
        drop(units);
        drop(shown);
        survey.slots.sort_unstable_by(|left, right| left.level.place.cmp(&right.level.place));
        survey.units.sort_unstable_by(|left, right| left.unit.cmp(&right.unit));
        Ok(survey)
    }
}

/// Step one of a claim: from here on no other handle can hand anything over.
fn take(unit: &UnitState, claim: &Claim) -> Result<u64, Error> {
    let mut held = unit.lock();
    let stale = claim.epoch < held.record.epoch;
    let taken =
        claim.epoch == held.record.epoch && held.record.owner.is_some_and(|owner| owner != claim.owner);
    if stale || taken {
        return Err(lost(&unit.id));
    }
    held.record.epoch = claim.epoch;
    held.record.owner = Some(claim.owner);
    held.generation += 1;
    let generation = held.generation;
    drop(held);
    unit.changed.notify_waiters();
    Ok(generation)
}

impl<D: Disk + 'static> Inner<D> {
    /// Step two: waits until what the former owner handed over is decided, then records the new owner.
    async fn confirm(&self, unit: &Arc<UnitState>, generation: u64) -> Result<model::Progress, Error> {
        let record = unit.enter(generation).await?;
        let mut transaction = Transaction::new();
        transaction.put(names::unit_key(&unit.id), record.encode());
        let answered = self.hand_over(unit, transaction, |_| {})?;
        answered.await.map_err(|_| gone(&unit.id))??;
        let held = unit.lock();
        if held.generation != generation {
            return Err(lost(&unit.id));
        }
        Ok(held.record.progress.clone())
    }
}
