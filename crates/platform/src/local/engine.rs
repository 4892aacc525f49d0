//! A manifest running on this machine: buffers, workers of any number of versions, and user code.
//!
//! Every worker is a task of this process, user code a process each. Which versions of a vertex may be run, which
//! workers exist and how units are shared between versions comes in calls, each of them a wish that stands; what
//! follows happens in [`Engine::turn`], and what there is shows in [`Engine::seen`]. Nothing is decided here beyond who
//! owns what. Invariant: a worker that was told to go ends only once it owns nothing, and its user code after it.

use std::collections::{BTreeMap, BTreeSet, HashMap, VecDeque};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use api::resolve::VertexKind;
use api::revision::Revision;
use connect::incident::Incident;
use journal::{FileDisk, Journal};
use keeper::Picture;
use plan::Time;
use plan::seen::{WorkerName, WorkerState};
use prometheus_client::registry::Registry;
use tokio::sync::Notify;
use tokio::task::{Id, JoinError, JoinSet};
use tokio::time::Instant;

use crate::view;

mod apart;
mod away;
mod begin;
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
mod turn;
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

use away::Adoption;
use crew::Crew;
use error::unreadable;
use gauge::Gauges;
use keeping::Keeping;
use parts::{Kept, Parts};

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

/// The number of a worker as connectors and user code know it.
fn replica_number(name: &WorkerName) -> Result<u16, Error> {
    let unknown = |_| Error::Unknown { what: format!("replica {}", name.replica) };
    u16::try_from(name.replica).map_err(unknown)
}

impl Engine {
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

    fn crew(&mut self, vertex: &str) -> Result<&mut Crew, Error> {
        self.crews.get_mut(vertex).ok_or_else(|| Error::Unknown { what: format!("vertex {vertex}") })
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
