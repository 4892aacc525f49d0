//! Joins one running pipeline or mono vertex with its keeper: looks at workers and buffer, lets the keeper decide, and
//! makes known what it says. The decisions are the keeper's; here is only in which order to look. Invariant: of each unit,
//! what a worker says is read before the buffer is, so that whatever a worker says it has done is in what the buffer shows.
//!
//! That order is what makes a report true. A source says up to which event time it has committed; if the buffer were
//! read first, frames behind that time could lie in a slot and in no report. The other way round a frame is only seen
//! that no promise speaks of yet. Slots and what units have written come from one survey, which is of one instant, so
//! no frame can be between the two. What is in hand is read before the slots for the same reason: a message that is
//! committed in between is counted twice, never not at all.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use api::resolve::{PipelineSettings, VertexKind};
use keeper::{
    Board, Feed, Ignored, Input, Keeper, Owners, OwnersSettings, Picture, Report, Settings, SlotReport,
    SourceReport, Wanted, WorkerReport, WriterReport,
};
use model::door::Error;
use model::door::buffer::{Buffer, Claim, SlotSurvey, Survey};
use model::{Epoch, Incarnation, Name, Place, Time, Unit, UnitId};
use tracing::{debug, warn};
use worker::Hand;

use super::hearing::Hearing;

/// The name under which a source unit is sealed whose owner has ended without releasing it; no worker has it.
pub(super) const SEALER: Incarnation = Incarnation(u64::MAX);

/// One worker, as whoever runs it sees it.
#[derive(Clone)]
pub struct WorkerView {
    /// Its vertex.
    pub vertex: Name,
    /// Its life.
    pub incarnation: Incarnation,
    /// What tells it what to own.
    pub handle: Arc<dyn Hand>,
    /// It has ended. A worker that is not in the list any more counts as ended too.
    pub gone: bool,
}

/// The shape of a pipeline for its keeper. Which units a source has follows from what is wanted, turn by turn.
pub fn graph_of(pipeline: &PipelineSettings, graph: &worker::Graph) -> keeper::Graph {
    let vertex = |settings: &api::resolve::VertexSettings| {
        let feed = match (settings.kind, graph.topology(&settings.name)) {
            (VertexKind::Map | VertexKind::Reduce | VertexKind::Sink, Some(topology)) => {
                Feed::Slots(topology)
            }
            // A mono vertex has no slots whatever it is called.
            (VertexKind::Source, _) | (_, None) => Feed::Source(BTreeSet::new()),
        };
        let hold_watermark = settings.redelivery.hold_watermark;
        keeper::Vertex { name: Name::new(&settings.name), feed, hold_watermark }
    };
    let edges = pipeline.edges.iter().map(|edge| (Name::new(&edge.from), Name::new(&edge.to)));
    keeper::Graph { vertices: pipeline.vertices.iter().map(vertex).collect(), edges: edges.collect() }
}

/// The keeper of one running pipeline or mono vertex.
pub struct Keeping {
    board: Board,
    owners: Owners,
    buffer: Option<Arc<dyn Buffer>>,
    /// The units of each source that were ever wanted or seen.
    sources: BTreeMap<Name, BTreeSet<u32>>,
    /// The units of each source that are expected.
    expected: BTreeMap<Name, BTreeSet<u32>>,
    /// The highest epoch each source unit was seen under, for where no buffer remembers it.
    epochs: BTreeMap<UnitId, Epoch>,
    workers: BTreeMap<Name, Workers>,
    hearing: Hearing,
    number: u64,
    /// What the last look at the buffer found.
    survey: Arc<Survey>,
}

/// The workers of one vertex.
#[derive(Default)]
struct Workers {
    live: BTreeSet<Incarnation>,
    /// Have ended, and something is still on their names.
    gone: BTreeSet<Incarnation>,
}

/// What one worker says.
struct Said<'a> {
    view: &'a WorkerView,
    followed: u64,
    units: Vec<worker::UnitReport>,
}

impl<'a> Said<'a> {
    fn of(view: &'a WorkerView) -> Self {
        let followed = view.handle.followed();
        Self { view, followed, units: view.handle.report() }
    }

    fn holding(&self) -> WorkerReport {
        let units = self.units.iter().map(|unit| (unit.unit, unit.epoch)).collect();
        WorkerReport { followed: self.followed, units }
    }
}

/// What live workers say of each unit. More than one may while a unit changes hands.
type Gauges<'a> = BTreeMap<UnitId, Vec<&'a worker::UnitReport>>;

impl Keeping {
    /// A keeper that has seen nothing. Every epoch that it gives lies above `floor`, the highest that the buffer has
    /// ever seen; a mono vertex whose source needs no memory has no buffer.
    ///
    /// # Panics
    /// When two vertices have the same name, or an edge leads to or from nowhere.
    pub fn new(
        graph: keeper::Graph,
        settings: Settings,
        floor: Epoch,
        buffer: Option<Arc<dyn Buffer>>,
    ) -> Self {
        let source = |vertex: &keeper::Vertex| match &vertex.feed {
            Feed::Source(units) => Some((vertex.name.clone(), units.clone())),
            Feed::Slots(_) => None,
        };
        let sources: BTreeMap<_, _> = graph.vertices.iter().filter_map(source).collect();
        Self {
            board: Board::new(Keeper::new(graph, settings)),
            owners: Owners::new(floor, OwnersSettings::default()),
            buffer,
            expected: sources.clone(),
            sources,
            epochs: BTreeMap::new(),
            workers: BTreeMap::new(),
            hearing: Hearing::new(),
            number: 0,
            survey: Arc::default(),
        }
    }

    /// Looks, decides and tells: watermarks are published to the workers, and each has its orders. Meant to be made
    /// about every 100 ms, and again some milliseconds later while a vertex is not settled. A vertex that is not in
    /// `wanted` stays as it is. Fails when the buffer cannot be looked at: then nothing is reported, time stands still,
    /// and everybody has their orders all the same.
    pub async fn turn(
        &mut self,
        workers: &[WorkerView],
        wanted: &BTreeMap<Name, Wanted>,
        now: Time,
    ) -> Result<Arc<Picture>, Error> {
        let heard = self.board.picture().number;
        let workers = &self.listen(workers, now);
        let said: Vec<_> = workers.iter().filter(|view| !view.gone).map(Said::of).collect();
        let looked = self.look().await;
        self.note_workers(workers);
        self.expect(wanted);
        self.assign(&said, wanted, now);
        if looked.is_ok() {
            let (survey, gauges) = (self.survey.clone(), gauges(&said));
            self.seal(&survey, &gauges).await;
            self.number += 1;
            let units = self.units(&survey, &gauges);
            let ignored = self.board.hear(Report { heard, number: self.number, units }, now);
            for Ignored { unit, because } in ignored {
                debug!(%unit, ?because, "a part of a report was passed over");
            }
        }
        let picture = self.board.pass(now);
        for Said { view, .. } in &said {
            let vertex = picture.vertices.get(&view.vertex);
            if let Some(watermark) = vertex.and_then(|vertex| vertex.watermark) {
                view.handle.publish(watermark);
            }
            let keeper::Orders { number, units } = self.owners.orders(&view.vertex, view.incarnation);
            view.handle.follow(number, units);
        }
        looked.map(|()| picture)
    }

    /// While it is not known yet who owns what: listens and looks, and everybody keeps what they have. Nothing is
    /// decided, nothing is sealed, and time stands still. Fails when the buffer cannot be looked at.
    pub async fn hold(&mut self, workers: &[WorkerView], now: Time) -> Result<(), Error> {
        let workers = &self.listen(workers, now);
        let said: Vec<_> = workers.iter().filter(|view| !view.gone).map(Said::of).collect();
        let looked = self.look().await;
        self.note_workers(workers);
        for said in &said {
            self.owners.hear(&said.view.vertex, said.view.incarnation, said.holding(), now);
            let keeper::Orders { number, units } =
                self.owners.orders(&said.view.vertex, said.view.incarnation);
            said.view.handle.follow(number, units);
        }
        looked
    }

    /// A worker has these units since before there was this keeper; see [`Owners::adopt`].
    pub fn adopt(&mut self, vertex: &Name, worker: Incarnation, units: &BTreeMap<Unit, Epoch>, now: Time) {
        self.owners.adopt(vertex, worker, units, now);
    }

    /// Orders are numbered from here on; see [`Owners::begin_at`].
    pub fn begin_at(&mut self, number: u64) {
        self.owners.begin_at(number);
    }

    /// Looks at the buffer, for whoever has to know without a turn.
    pub async fn look(&mut self) -> Result<(), Error> {
        if let Some(buffer) = &self.buffer {
            self.survey = Arc::new(buffer.survey().await?);
        }
        Ok(())
    }

    /// What the last look at the buffer found; without a buffer nothing.
    pub fn survey(&self) -> &Survey {
        &self.survey
    }

    /// From the next turn on event time is judged by these settings; see [`Keeper::set_watermark`].
    pub fn set_watermark(&self, watermark: api::resolve::Watermark) {
        self.board.set_watermark(watermark);
    }

    /// From the next turn on these are the bounds of patience with workers.
    pub fn set_patience(&mut self, settings: OwnersSettings) {
        self.hearing.set_silent_after(settings.silent_after);
        self.owners.set(settings);
    }

    /// The workers as they count in this turn: one of another process that was silent for too long counts as gone until it
    /// is heard again. What it said last holds nothing up then; should it still live, the fence refuses what it does.
    fn listen(&mut self, views: &[WorkerView], now: Time) -> Vec<WorkerView> {
        let count = |view: &WorkerView| Some((view.incarnation, view.handle.heard()?));
        self.hearing.turn(views.iter().filter_map(count), now);
        let mut counted = views.to_vec();
        for view in &mut counted {
            view.gone |= self.hearing.is_silent(view.incarnation);
        }
        counted
    }

    /// The board on which pictures appear, for those who only look.
    pub fn board(&self) -> &Board {
        &self.board
    }

    /// Whether a worker owns nothing and releases nothing, so that it may go.
    pub fn is_clear(&self, vertex: &Name, worker: Incarnation) -> bool {
        let gone = self.workers.get(vertex).is_some_and(|workers| workers.gone.contains(&worker));
        gone || self.owners.is_clear(vertex, worker)
    }

    /// Whether a worker counts as gone: it has ended, or was silent for too long.
    pub fn is_gone(&self, vertex: &Name, worker: Incarnation) -> bool {
        self.workers.get(vertex).is_some_and(|workers| workers.gone.contains(&worker))
    }

    /// Whether every unit of a vertex is where it is wanted.
    pub fn is_settled(&self, vertex: &Name) -> bool {
        self.owners.is_settled(vertex)
    }

    /// The keeper's verdict in the last picture: every source has stopped, and nothing is inside.
    pub fn drained(&self) -> bool {
        self.board.picture().drained
    }

    fn note_workers(&mut self, views: &[WorkerView]) {
        for workers in self.workers.values_mut() {
            let Workers { live, gone } = workers;
            gone.append(live);
        }
        for view in views {
            let workers = self.workers.entry(view.vertex.clone()).or_default();
            if view.gone {
                workers.gone.insert(view.incarnation);
            } else {
                workers.gone.remove(&view.incarnation);
                workers.live.insert(view.incarnation);
            }
        }
        for (vertex, workers) in &mut self.workers {
            workers.gone.retain(|worker| !self.owners.is_clear(vertex, *worker));
        }
        self.workers.retain(|_, workers| !workers.live.is_empty() || !workers.gone.is_empty());
    }

    /// Says which units the sources shall have.
    fn expect(&mut self, wanted: &BTreeMap<Name, Wanted>) {
        for (vertex, expected) in &mut self.expected {
            let Some(wanted) = wanted.get(vertex) else { continue };
            let units: Vec<Unit> = match wanted {
                Wanted::Shared { units, revisions: _ } => units.iter().copied().collect(),
                Wanted::Bound(owners) => owners.keys().copied().collect(),
            };
            let number = |unit| match unit {
                Unit::Source(number) => Some(number),
                Unit::Slot(_) => None,
            };
            let units: BTreeSet<u32> = units.into_iter().filter_map(number).collect();
            if units != *expected {
                self.board.expect(vertex, units.clone());
                self.sources.entry(vertex.clone()).or_default().extend(&units);
                *expected = units;
            }
        }
    }

    fn assign(&mut self, said: &[Said<'_>], wanted: &BTreeMap<Name, Wanted>, now: Time) {
        for said in said {
            self.owners.hear(&said.view.vertex, said.view.incarnation, said.holding(), now);
        }
        let nobody = BTreeSet::new();
        for (vertex, wanted) in wanted {
            let gone = self.workers.get(vertex).map_or(&nobody, |workers| &workers.gone);
            self.owners.turn(vertex, wanted, gone, now);
        }
    }

    /// Whether a source unit is wanted, whoever shall have it.
    fn is_expected(&self, unit: &UnitId) -> bool {
        let expected = self.expected.get(&unit.vertex);
        matches!(unit.unit, Unit::Source(number) if expected.is_some_and(|units| units.contains(&number)))
    }

    /// Whether some live worker has a source unit, is told to have it, or may still have it.
    fn is_out(&self, unit: &UnitId, gauges: &Gauges<'_>) -> bool {
        let live = |worker: Incarnation| {
            self.workers.get(&unit.vertex).is_some_and(|workers| workers.live.contains(&worker))
        };
        gauges.contains_key(unit) || self.owners.holder(&unit.vertex, unit.unit).is_some_and(live)
    }

    /// Takes source units over that nobody has and that were never released, and releases them: should a former owner
    /// come back from wherever it is, it cannot add anything any more.
    async fn seal(&self, survey: &Survey, gauges: &Gauges<'_>) {
        let Some(buffer) = &self.buffer else { return };
        let sources = survey.units.iter().filter(|unit| self.sources.contains_key(&unit.unit.vertex));
        for unit in sources {
            let live = |worker| {
                self.workers.get(&unit.unit.vertex).is_some_and(|workers| workers.live.contains(&worker))
            };
            if unit.owner.is_none_or(live) || self.is_out(&unit.unit, gauges) {
                continue;
            }
            if self.is_expected(&unit.unit) {
                // Whoever gets it next takes it over.
                continue;
            }
            if let Err(error) = seal(buffer.as_ref(), &unit.unit, Epoch(unit.epoch.0 + 1)).await {
                warn!(unit = %unit.unit, error = error.chain(), "source unit cannot be sealed; trying again");
            }
        }
    }

    /// What there is to say of every unit.
    fn units(&mut self, survey: &Survey, gauges: &Gauges<'_>) -> Vec<keeper::UnitReport> {
        for unit in gauges.keys().chain(survey.units.iter().map(|unit| &unit.unit)) {
            if let (Some(known), Unit::Source(number)) = (self.sources.get_mut(&unit.vertex), unit.unit) {
                known.insert(number);
            }
        }
        let mut reports = Vec::with_capacity(survey.slots.len());
        // Nobody writes to the slots of a source.
        let slots = survey.slots.iter().filter(|slot| !self.sources.contains_key(&slot.level.place.vertex));
        for slot in slots {
            let Place { vertex, slot: number } = slot.level.place.clone();
            let unit = UnitId { vertex, unit: Unit::Slot(number) };
            reports.push(report(unit, Input::Slot(slot_report(slot)), Epoch::default(), (survey, gauges)));
        }
        let of = |(vertex, numbers): (&Name, &BTreeSet<u32>)| -> Vec<UnitId> {
            let unit = |number: &u32| UnitId { vertex: vertex.clone(), unit: Unit::Source(*number) };
            numbers.iter().map(unit).collect()
        };
        let sources: Vec<_> = self.sources.iter().flat_map(of).collect();
        for unit in sources {
            let seen = gauges.get(&unit).into_iter().flatten().map(|gauge| gauge.epoch).max();
            let last = self.epochs.entry(unit.clone()).or_default();
            *last = (*last).max(seen.unwrap_or_default());
            let floor = *last;
            let owned = survey.unit(&unit).is_some_and(|unit| unit.owner.is_some());
            let stopped = !owned && !self.is_out(&unit, gauges) && !self.is_expected(&unit);
            let input = SourceReport { stopped, ..SourceReport::default() };
            reports.push(report(unit, Input::Source(input), floor, (survey, gauges)));
        }
        reports
    }
}

async fn seal(buffer: &dyn Buffer, unit: &UnitId, epoch: Epoch) -> Result<(), Error> {
    let claim = Claim { unit: unit.clone(), owner: SEALER, replica: 0, epoch };
    buffer.claim(claim).await?.committer.release().await
}

fn gauges<'a>(said: &'a [Said<'_>]) -> Gauges<'a> {
    let mut gauges = Gauges::new();
    for Said { view, units, followed: _ } in said {
        for unit in units {
            let id = UnitId { vertex: view.vertex.clone(), unit: unit.unit };
            gauges.entry(id).or_default().push(unit);
        }
    }
    gauges
}

fn slot_report(slot: &SlotSurvey) -> SlotReport {
    let writer = |writer: &model::door::buffer::WriterSurvey| WriterReport {
        vertex: writer.vertex.clone(),
        lowest: Some(writer.lowest),
        // Everything that is stored was looked at.
        stamp: None,
    };
    SlotReport {
        position: slot.level.progress.position,
        through: slot.level.last,
        frames: slot.level.frames,
        messages: slot.level.messages,
        writers: slot.writers.iter().map(writer).collect(),
    }
}

/// The report of one unit; its epoch is `floor` where nobody knows of a higher one.
fn report(
    unit: UnitId,
    mut input: Input,
    floor: Epoch,
    (survey, gauges): (&Survey, &Gauges<'_>),
) -> keeper::UnitReport {
    let all = gauges.get(&unit).map(Vec::as_slice).unwrap_or_default();
    let stored = survey.unit(&unit);
    let epoch = stored.map_or(floor, |stored| stored.epoch.max(floor));
    let own = all.iter().find(|gauge| gauge.epoch == epoch);
    if let (Input::Source(source), Some(own)) = (&mut input, own) {
        source.latest = own.latest;
        source.empty_at = own.empty_at;
        source.outside = own.outside;
    }
    keeper::UnitReport {
        unit,
        epoch,
        held: own.is_some(),
        input,
        in_hand: all.iter().map(|gauge| gauge.in_hand).sum(),
        done: own.map_or(0, |own| own.done),
        rests_until: own.and_then(|own| own.rests_until),
        written: stored.map(|stored| stored.written.clone()).unwrap_or_default(),
    }
}

#[cfg(test)]
mod tests;
