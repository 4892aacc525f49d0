//! A manifest running on this machine: buffers, workers of any number of versions, and user code.
//!
//! Every worker is a task of this process, user code a process each. Which versions of a vertex may be run, which
//! workers exist and how units are shared between versions comes in calls, each of them a wish that stands; what
//! follows happens in [`Engine::turn`], and what there is shows in [`Engine::seen`]. Nothing is decided here beyond who
//! owns what. Invariant: a worker that was told to go ends only once it owns nothing, and its user code after it.

use std::collections::{BTreeMap, BTreeSet, HashMap, VecDeque};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, AtomicU64};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use api::resolve::{PipelineSettings, VertexKind};
use api::revision::Revision;
use connect::incident::Incident;
use connect::source::Inputs;
use connect::store::Pools;
use journal::{FileDisk, Journal};
use keeper::Picture;
use plan::Time;
use plan::seen::{WorkerName, WorkerState};
use prometheus_client::registry::Registry;
use tokio::sync::Notify;
use tokio::task::{Id, JoinError, JoinSet};
use tokio::time::Instant;
use worker::{Families, Graph};

use super::secrets::Values;
use super::state::process_name;
use crate::view;

mod apart;
mod away;
mod crew;
mod error;
mod figures;
mod gauge;
mod given;
mod hearing;
mod inside;
pub mod keeping;
mod member;
mod open;
mod parts;
mod probe;
mod run;
mod seen;
mod storage;
mod units;
mod user_code;
mod wishes;

pub use apart::Processes;
pub use away::Meeting;
pub use error::Error;
pub use figures::{PartitionFigures, VertexFigures};
pub use given::{Config, Object, Version};
pub(crate) use open::refuse_what_cannot_run;
pub(super) use parts::{alone, exclusive};
pub use run::Drained;
pub(super) use seen::held_by;
pub use storage::{Storage, remove};

use away::{Adoption, Away};
use crew::Crew;
use error::unreadable;
use gauge::Gauges;
use keeping::{Keeping, WorkerView};
use parts::{Here, Kept, Parts, Ways};

/// The time between turns while nothing happens.
const TURN_EVERY: Duration = Duration::from_millis(100);
/// The time between turns while units change hands, at first and when that takes long.
const TURN_SOON: Duration = Duration::from_millis(5);
const TURN_LATER: Duration = Duration::from_millis(50);
/// So many turns in a row are made soon.
const SOON_MAX: u32 = 200;
/// How long the processes of all workers may take to end, beyond what their workers have.
const PROCESSES_END_WITHIN: Duration = Duration::from_secs(20);

/// A named error with whose it is.
#[derive(Clone, Debug)]
pub struct Reported {
    /// The vertex.
    pub vertex: String,
    /// The number of the worker, in whichever version.
    pub replica: u32,
    /// What happened.
    pub incident: Incident,
}

impl Reported {
    /// The form in which it is shown.
    pub fn view(self, object: &str) -> view::Incident {
        let Self { vertex, replica, incident } = self;
        let Incident { container, code, message, details, messages, at } = incident;
        let since = at.duration_since(UNIX_EPOCH).unwrap_or_default();
        view::Incident {
            at: Time::from_millis(i64::try_from(since.as_millis()).unwrap_or(i64::MAX)),
            object: object.to_owned(),
            vertex,
            replica,
            container,
            code: code.into_owned(),
            message,
            details,
            messages,
        }
    }
}

type Joined = Result<(Id, ()), JoinError>;

/// What runs of one object.
pub struct Engine {
    parts: Arc<Parts>,
    crews: BTreeMap<String, Crew>,
    tasks: JoinSet<()>,
    /// Whose task it is.
    names: HashMap<Id, (String, WorkerName)>,
    /// Tasks that have ended and were not taken note of.
    joined: VecDeque<Joined>,
    keeping: Keeping,
    picture: Arc<Picture>,
    changed: Arc<Notify>,
    /// When the next turn is due, and how many in a row were made soon.
    due: Instant,
    soon: u32,
    clock: Clock,
    /// While it is not known yet who owns what already; only where workers are away.
    adoption: Option<Adoption>,
    /// What is wished, where workers are away.
    wished: wishes::Wished,
    /// What was done in each partition.
    progress: figures::Progress,
    /// The journal, and where it is.
    journal: Option<(Arc<Journal<FileDisk>>, PathBuf)>,
    /// What runs for the buffer as long as the engine does.
    _background: JoinSet<()>,
    gauges: Gauges,
    announcements: Vec<String>,
    registry: Registry,
}

/// The time of day, which never goes back while the engine lives.
struct Clock {
    begun: Instant,
    begun_at: model::Time,
}

impl Clock {
    fn start() -> Self {
        let since_epoch = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let nanos = i64::try_from(since_epoch.as_nanos()).unwrap_or(i64::MAX);
        Self { begun: Instant::now(), begun_at: model::Time::from_nanos(nanos) }
    }

    fn now(&self) -> model::Time {
        self.begun_at.after(self.begun.elapsed())
    }
}

/// An object that can be run, with what it comes to.
struct Shape {
    object: Object,
    values: Values,
    pipeline: PipelineSettings,
    graph: Graph,
}

impl Shape {
    fn of(object: Object, values: Values) -> Result<Self, Error> {
        let pipeline = object.settings();
        let graph = match &object {
            Object::Pipeline(_) => Graph::of(&pipeline),
            Object::Mono(_) => Graph::default(),
        };
        refuse_what_cannot_run(&pipeline)?;
        Ok(Self { object, values, pipeline, graph })
    }

    fn parts(&self) -> (&Object, &PipelineSettings, &Graph) {
        (&self.object, &self.pipeline, &self.graph)
    }
}

/// The number of a worker as connectors and user code know it.
fn replica_number(name: &WorkerName) -> Result<u16, Error> {
    let unknown = |_| Error::Unknown { what: format!("replica {}", name.replica) };
    u16::try_from(name.replica).map_err(unknown)
}

impl Engine {
    /// Opens journal and buffers. Nothing runs, and no source is read.
    pub async fn open(config: Config) -> Result<Self, Error> {
        let Config { object, values, state, run_dir, host, machine, http_bind, storage } = config;
        let shape = Shape::of(object, values)?;
        let processes = match &storage {
            Storage::Broker { server: _, processes } => processes.clone(),
            Storage::Journal(_) => None,
        };
        let kept = Box::pin(storage::open(storage, &state, shape.parts())).await?;
        let here = Here {
            processes: processes.zip(kept.mail.clone()),
            http_bind,
            inputs: Inputs { pools: Pools::of_process(process_name(&state)), ..Inputs::default() },
            state,
            run_dir,
            host,
            machine,
            incarnations: AtomicU64::new(fastrand::u64(1..u64::MAX / 2)),
            containers: AtomicU32::new(0),
        };
        Self::with(shape, kept, (Ways::Here(Box::new(here)), Arc::new(Notify::new()))).await
    }

    /// Opens the buffers of an object whose workers somebody else starts. Who owns what is learnt from them; until the
    /// first wishes come nothing is changed.
    pub async fn open_away(object: Object, meeting: Meeting) -> Result<Self, Error> {
        let shape = Shape::of(object, Values::default())?;
        let (mut kept, mail) = match meeting {
            Meeting::Broker(server) => {
                let mut kept = Box::pin(storage::on_broker(&server, shape.parts())).await?;
                let mail = kept.mail.take().expect("a broker has a place for notes");
                (kept, mail)
            }
            Meeting::Mail(mail) => (storage::Kept::nothing(), mail),
        };
        let changed = Arc::new(Notify::new());
        let away = Arc::new(Away::new(mail, changed.clone()));
        kept.background.spawn(away.clone().listen());
        Self::with(shape, kept, (Ways::Away(away), changed)).await
    }

    async fn with(
        shape: Shape,
        kept: storage::Kept,
        (ways, changed): (Ways, Arc<Notify>),
    ) -> Result<Self, Error> {
        let Shape { object, values, pipeline, graph } = shape;
        let storage::Kept { buffer, floor, mail: _, lease, announcements, journal, background } = kept;
        let mut registry = Registry::default();
        let families = Families::register(&mut registry);
        let settings = keeper::Settings::new(pipeline.watermark.clone());
        let shape = keeping::graph_of(&pipeline, &graph);
        let clock = Clock::start();
        let mut keeping = Keeping::new(shape, settings, floor, buffer.clone());
        let adoption = match &ways {
            Ways::Here(_) => None,
            Ways::Away(_) => {
                // Workers that are there already know orders of a former life.
                keeping.begin_at(u64::try_from(clock.now().millis()).unwrap_or(0));
                Some(Adoption::begun())
            }
        };
        let is_pipeline = matches!(object, Object::Pipeline(_));
        let parts = Arc::new(Parts { is_pipeline, pipeline, graph, buffer, lease, families, ways });
        let shape = Arc::new(Version { revision: Revision::default(), object, programs: Vec::new(), values });
        let mut crews = BTreeMap::new();
        for vertex in &parts.pipeline.vertices {
            let kept = Arc::new(Kept::new(&vertex.name, shape.clone())?);
            crews.insert(vertex.name.clone(), Crew::new(&parts, &kept, &changed));
        }
        let mut engine = Self {
            parts,
            crews,
            tasks: JoinSet::new(),
            names: HashMap::new(),
            joined: VecDeque::new(),
            keeping,
            picture: Arc::default(),
            changed,
            due: Instant::now(),
            soon: 0,
            clock,
            adoption,
            wished: wishes::Wished::default(),
            progress: figures::Progress::default(),
            journal,
            _background: background,
            gauges: Gauges::default(),
            announcements,
            registry,
        };
        engine.keeping.look().await.map_err(|error| unreadable(&error))?;
        Ok(engine)
    }

    /// From here on this version of a vertex may be run. Another version of the same name is replaced for workers to
    /// come. A version of a vertex that its manifest or the shape does not have is not kept; whoever asks for a worker
    /// of it is told.
    pub fn keep(&mut self, vertex: &str, version: Arc<Version>) {
        let kept = Kept::new(vertex, version);
        match kept.and_then(|kept| Ok((self.crew(vertex)?, kept))) {
            Ok((crew, kept)) => crew.keep(Arc::new(kept)),
            Err(error) => tracing::warn!(vertex, %error, "a version is not kept"),
        }
    }

    /// Every version of a vertex that is not in `keep` is forgotten once no worker runs it: its signals, its logs and its
    /// volumes go with it.
    pub fn forget(&mut self, vertex: &str, keep: &BTreeSet<Revision>) {
        if let Some(crew) = self.crews.get_mut(vertex) {
            crew.forget(keep);
        }
    }

    /// From here on this worker exists. It starts in the background and owns nothing before it is ready and its version
    /// has a share. Fails when the version was not kept. One that was told to go and still owns something stays after all;
    /// one that is ending already is seen until it is gone, and only then can be asked for again.
    pub fn ensure(&mut self, vertex: &str, name: &WorkerName) -> Result<(), Error> {
        let now = Time::from_millis(self.clock.now().millis());
        if let Some(member) = self.crew(vertex)?.ensure(name, now)? {
            let id = self.tasks.spawn(member.run()).id();
            self.names.insert(id, (vertex.to_owned(), name.clone()));
            self.hurry();
        }
        Ok(())
    }

    /// The worker is given no more units; once it owns none it ends, and its user code after it.
    pub fn retire(&mut self, vertex: &str, name: &WorkerName) {
        if let Some(crew) = self.crews.get_mut(vertex) {
            crew.retire(name);
            self.hurry_if_asked(vertex);
        }
    }

    /// The worker ends, and leaves what is in hand undone, except for writes to the outside that are under way: they have
    /// this time to come to their end. What is left undone stays where it was read.
    pub fn cut(&mut self, vertex: &str, name: &WorkerName, within: Duration) {
        if let Some(crew) = self.crews.get_mut(vertex) {
            crew.cut(name, within);
            self.hurry();
        }
    }

    /// How the units of a vertex are shared between versions, by weight. Versions that are not named own nothing.
    ///
    /// Exact to one slot for vertices that read slots. A source's share is counted in workers: each that serves reads
    /// for itself, so weights only choose between versions where a worker of either could read the same replica's
    /// part. Vertices that keep order, and sources that only one worker can open, have one owner at a time.
    pub fn share(&mut self, vertex: &str, shares: BTreeMap<Revision, u32>) {
        if let Some(crew) = self.crews.get_mut(vertex) {
            crew.share(shares);
            self.hurry_if_asked(vertex);
        }
    }

    /// Whether the units of a source vertex are owned at all. They are not until somebody says so.
    pub fn read(&mut self, vertex: &str, on: bool) {
        if let Some(crew) = self.crews.get_mut(vertex)
            && crew.kind == VertexKind::Source
        {
            crew.read(on);
            self.hurry_if_asked(vertex);
        }
    }

    /// From the next turn on event time is judged by these settings. What was published stays.
    pub fn set_watermark(&mut self, watermark: api::resolve::Watermark) {
        self.keeping.set_watermark(watermark);
    }

    /// From the next turn on these are the bounds of patience with workers that are silent, or that do not let go of what
    /// they were told to release.
    pub fn set_patience(&mut self, settings: keeper::OwnersSettings) {
        self.keeping.set_patience(settings);
    }

    /// Where what is inside came from, for an object that goes with all of it. Only once there are no workers, and nothing
    /// can be run afterwards: every unit is taken from whoever had it.
    pub async fn cuts(&mut self) -> Result<Vec<plan::seen::Cut>, Error> {
        let Some(buffer) = self.parts.buffer.clone() else { return Ok(Vec::new()) };
        self.keeping.look().await.map_err(|error| unreadable(&error))?;
        let sources = self.crews.values().filter(|crew| crew.kind == VertexKind::Source);
        let sources: Vec<_> = sources.map(|crew| crew.name.clone()).collect();
        Ok(inside::cuts(buffer.as_ref(), self.keeping.survey(), &sources).await)
    }

    /// Workers that cannot start because another one has what only one can have, with what that is.
    pub fn waiting(&self, vertex: &str) -> Vec<(WorkerName, &'static str)> {
        let workers = self.crews.get(vertex).into_iter().flat_map(|crew| &crew.workers);
        workers.filter_map(|(name, worker)| Some((name.clone(), worker.shown.waits()?))).collect()
    }

    /// Everything that has to happen again and again: notes what has ended, decides who owns what, tells the workers.
    /// To be called whenever [`Engine::changed`] returns. Dropping the future loses nothing.
    pub async fn turn(&mut self) -> Result<(), Error> {
        let outcome = self.turn_once().await;
        if outcome.is_err() {
            self.due = Instant::now() + TURN_EVERY;
        }
        outcome
    }

    async fn turn_once(&mut self) -> Result<(), Error> {
        let now = self.clock.now();
        let time = Time::from_millis(now.millis());
        self.reap(time)?;
        self.hear(time)?;
        let (mut wanted, mut lives) = (BTreeMap::new(), Vec::new());
        for crew in self.crews.values_mut() {
            crew.look(time);
            for found in crew.found() {
                self.keeping.adopt(&crew.name, found.incarnation, &found.units, now);
            }
            wanted.insert(crew.name.clone(), crew.wanted());
            lives.extend(crew.lives().into_iter().map(|(life, gone)| WorkerView {
                vertex: crew.name.clone(),
                incarnation: life.incarnation,
                handle: life.handle,
                gone,
            }));
        }
        if self.adopts(&lives) {
            self.due = Instant::now() + TURN_EVERY;
            return self.keeping.hold(&lives, now).await.map_err(|error| unreadable(&error));
        }
        self.picture = self.keeping.turn(&lives, &wanted, now).await.map_err(|error| unreadable(&error))?;
        let mut is_moving = false;
        for crew in self.crews.values_mut() {
            let name = crew.name.clone();
            is_moving |= crew.act(|incarnation| self.keeping.is_clear(&name, incarnation));
            is_moving |= !self.keeping.is_settled(&name);
        }
        self.soon = if is_moving { self.soon.saturating_add(1) } else { 0 };
        let wait = match self.soon {
            0 => TURN_EVERY,
            1..=SOON_MAX => TURN_SOON,
            _ => TURN_LATER,
        };
        self.due = Instant::now() + wait;
        Ok(())
    }

    /// Returns when a turn is worth its while: something has ended or become ready, units are changing hands, or nothing
    /// has happened for 100 ms. Dropping the future loses nothing.
    pub async fn changed(&mut self) {
        if !self.joined.is_empty() {
            return;
        }
        tokio::select! {
            Some(joined) = self.tasks.join_next_with_id() => self.joined.push_back(joined),
            () = self.changed.notified() => {}
            () = tokio::time::sleep_until(self.due) => {}
        }
    }

    /// The time of day that turns go by.
    pub fn now(&self) -> model::Time {
        self.clock.now()
    }

    /// How many workers of a vertex can work.
    pub fn ready_workers(&self, vertex: &str) -> u32 {
        let workers = self.crews.get(vertex).into_iter().flat_map(|crew| crew.workers.values());
        workers.filter(|worker| worker.state == WorkerState::Ready).count() as u32
    }

    /// Where sources listen: vertex and URL.
    pub fn urls(&self) -> Vec<(String, String)> {
        let mut urls = Vec::new();
        for (name, crew) in &self.crews {
            let found = crew.workers.values().flat_map(|worker| worker.shown.urls());
            for url in found.map(|url| (name.clone(), url)) {
                // Workers of one vertex share what they listen on.
                if !urls.contains(&url) {
                    urls.push(url);
                }
            }
        }
        urls
    }

    /// The counters of all workers in OpenMetrics text.
    pub fn metrics(&self) -> String {
        let mut text = String::new();
        prometheus_client::encoding::text::encode(&mut text, &self.registry)
            .expect("writing to a string cannot fail");
        text
    }

    /// The latest named errors of every worker, and of some that are gone, oldest first.
    pub fn incidents(&self) -> Vec<Reported> {
        let mut all: Vec<_> = self.crews.values().flat_map(Crew::incidents).collect();
        all.sort_by_key(|reported| reported.incident.at);
        all
    }

    /// What the keeper made of the last turn: watermarks, and why they are where they are.
    pub fn picture(&self) -> Arc<Picture> {
        self.picture.clone()
    }

    /// Ends everything: what is in hand is finished if that takes less than `grace`; the journal keeps the rest.
    pub async fn close(self, grace: Duration) -> Result<(), Error> {
        self.stop(grace).await.map(|_| ())
    }

    /// Has the next turn made soon unless everything that was asked of a vertex is so: wishes are repeated all the time.
    fn hurry_if_asked(&mut self, vertex: &str) {
        if self.crews.get(vertex).is_some_and(|crew| crew.is_asked) {
            self.hurry();
        }
    }

    /// Has the next turn made soon.
    fn hurry(&mut self) {
        self.due = self.due.min(Instant::now() + TURN_SOON);
    }

    fn crew(&mut self, vertex: &str) -> Result<&mut Crew, Error> {
        self.crews.get_mut(vertex).ok_or_else(|| Error::Unknown { what: format!("vertex {vertex}") })
    }

    /// Takes note of workers away that are heard of for the first time, and forgets those that were never asked for and
    /// have fallen silent.
    fn hear(&mut self, now: Time) -> Result<(), Error> {
        let Ways::Away(away) = &self.parts.ways else { return Ok(()) };
        for (vertex, name) in away.names() {
            let Some(crew) = self.crews.get_mut(&vertex) else { continue };
            if let Some(member) = crew.hear_of(&name, now)? {
                let id = self.tasks.spawn(member.run()).id();
                self.names.insert(id, (vertex, name));
            }
        }
        self.crews.values_mut().for_each(Crew::leave_silent_strangers);
        Ok(())
    }

    /// Whether owners so far are still being learnt.
    fn adopts(&mut self, lives: &[WorkerView]) -> bool {
        let Some(adoption) = &self.adoption else { return false };
        let workers = self.crews.values().flat_map(|crew| crew.workers.values());
        let mut asked_for = workers.filter(|worker| !worker.is_stranger && !worker.is_retired);
        let everybody_is_heard = asked_for.all(|worker| worker.shown.life().is_some());
        let survey = self.parts.buffer.is_some().then(|| self.keeping.survey());
        if adoption.is_over(survey, lives, everybody_is_heard) {
            self.adoption = None;
        }
        self.adoption.is_some()
    }

    /// Takes note of tasks that have ended.
    fn reap(&mut self, now: Time) -> Result<(), Error> {
        while let Some(joined) = self.tasks.try_join_next_with_id() {
            self.joined.push_back(joined);
        }
        while let Some(joined) = self.joined.pop_front() {
            let id = joined.as_ref().map_or_else(JoinError::id, |(id, ())| *id);
            let (vertex, name) = self.names.remove(&id).expect("every task has a name");
            if let Err(error) = joined {
                let worker = format!("{vertex}-{}-{}", name.revision, name.replica);
                return Err(Error::Task { worker, why: error.to_string() });
            }
            if let Some(crew) = self.crews.get_mut(&vertex) {
                crew.ended(&name, now);
            }
        }
        Ok(())
    }

    /// Ends every worker and its user code.
    async fn end_workers(&mut self, grace: Duration) {
        for worker in self.crews.values().flat_map(|crew| crew.workers.values()) {
            worker.stop(grace);
        }
        let limit = grace + PROCESSES_END_WITHIN;
        let ended = async { while self.tasks.join_next().await.is_some() {} };
        if tokio::time::timeout(limit, ended).await.is_err() {
            tracing::warn!(
                workers = self.tasks.len(),
                ?limit,
                "workers are cut off that did not end in time"
            );
            self.tasks.shutdown().await;
        }
    }

    async fn close_journal(&mut self) -> Result<(), Error> {
        let Some((journal, directory)) = self.journal.take() else { return Ok(()) };
        let closed = tokio::task::spawn_blocking(move || journal.close()).await;
        let closed =
            closed.map_err(|error| Error::Task { worker: "journal".to_owned(), why: error.to_string() })?;
        closed.map_err(|source| Error::Journal { directory, source })
    }
}
