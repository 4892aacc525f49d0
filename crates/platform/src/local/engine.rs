//! A manifest running on this machine: buffers, workers and user code, from start to drained.
//!
//! Every vertex replica is a task of this process, user code a process each. What a run is told to do comes in calls
//! ([`Engine::drain`], [`Engine::stop`]); what it is doing is read with [`Engine::snapshot`]. Invariant: sources end
//! first, and nothing downstream ends before everything they gave is settled, unless time runs out or somebody
//! insists; what is then left stays in the journal for the next run.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::time::{Duration, Instant};

use api::check::Checked;
use api::resolve::{self, PipelineSettings, VertexKind, VertexSettings};
use api::{MonoVertex, Pipeline};
use connect::buffer::journal::{JournalBuffer, VertexSettings as BufferSettings};
use journal::{FileDisk, Journal};
use model::Name;
use model::door::buffer::Buffer;
use prometheus_client::registry::Registry;
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;
use tracing::info;
use worker::{Families, Graph};

use super::process::environment::Machine;
use super::process::{self, Host, Supervisor};
use super::program::Chosen;
use super::secrets::Values;
use super::snapshot::Snapshot;
use super::state::StateDir;

mod gauge;
mod parts;
mod replica;
mod user_code;

use gauge::Gauges;
use parts::Parts;
use replica::{Desired, Outcome, Replica};

/// How often the drain looks whether everything is settled.
const LOOK_AGAIN: Duration = Duration::from_millis(5);
/// Unsettled bytes in one partition, at most.
const PARTITION_BYTES_MAX: u64 = 1 << 30;
/// A commit may hold what a whole batch became, and user code decides how much that is.
const TRANSACTION_BYTES_MAX: usize = 512 * 1024 * 1024;

/// What runs.
#[derive(Clone, Debug)]
pub enum Object {
    /// A pipeline.
    Pipeline(Box<Checked<Pipeline>>),
    /// A mono vertex.
    Mono(Box<Checked<MonoVertex>>),
}

/// Everything a run needs.
pub struct Config {
    /// What runs.
    pub object: Object,
    /// What runs each user container.
    pub programs: Vec<Chosen>,
    /// Secrets and config maps.
    pub values: Values,
    /// The state directory, held for as long as the run lasts.
    pub state: StateDir,
    /// Where sockets are; its path is short.
    pub run_dir: PathBuf,
    /// What starts user code.
    pub host: Host,
    /// The size of the machine, for user code that asks.
    pub machine: Machine,
    /// The address HTTP sources listen on.
    pub http_bind: IpAddr,
    /// When a commit counts as durable.
    pub durability: journal::Durability,
}

/// Why a run cannot start or go on.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The journal cannot be used.
    #[error("open the journal in {}", directory.display())]
    Journal {
        /// Its directory.
        directory: PathBuf,
        /// Why.
        #[source]
        source: journal::Error,
    },
    /// The buffer cannot be used.
    #[error("open the buffers: {0}")]
    Buffer(String),
    /// A door of a vertex cannot be opened.
    #[error(transparent)]
    Open(#[from] connect::open::Error),
    /// A vertex is of a kind that this build cannot run.
    #[error("run vertex {vertex}: {why}")]
    Unsupported {
        /// The vertex.
        vertex: String,
        /// What is missing.
        why: &'static str,
    },
    /// The environment of a user container cannot be made.
    #[error("prepare container {container}")]
    Container {
        /// The container, as `vertex[replica]/container`.
        container: String,
        /// Why.
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// User code cannot be looked after.
    #[error(transparent)]
    Process(#[from] process::Error),
    /// A replica's task ended in a way that none ever should.
    #[error("keep {replica} running: {why}")]
    Task {
        /// The replica.
        replica: String,
        /// What happened.
        why: String,
    },
}

/// How a drain ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Drained {
    /// Everything that had come in was finished in time.
    pub complete: bool,
    /// Messages that are not settled, by vertex; those with none are left out.
    pub left: BTreeMap<String, u64>,
}

impl Drained {
    /// Messages left in all.
    pub fn total(&self) -> u64 {
        self.left.values().sum()
    }
}

/// A running manifest.
pub struct Engine {
    parts: Arc<Parts>,
    replicas: JoinSet<(Role, Result<Outcome, Error>)>,
    processes: JoinSet<Result<(), process::Error>>,
    processes_stop: CancellationToken,
    desired: BTreeMap<Role, watch::Sender<Desired>>,
    running: BTreeMap<Role, usize>,
    journal: Option<Arc<Journal<FileDisk>>>,
    gauges: Gauges,
    urls: Vec<(String, String)>,
    announcements: Vec<String>,
    registry: Registry,
    state: StateDir,
}

/// Which replicas end together.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Role {
    /// They bring messages in.
    Source,
    /// They only pass on what came in.
    Inner,
}

impl Engine {
    /// Starts everything. When it returns, every door is open; user code may still be starting.
    pub async fn start(config: Config) -> Result<Self, Error> {
        let Config { object, programs, values, state, run_dir, host, machine, http_bind, durability } =
            config;
        let pipeline = settings_of(&object);
        let graph = match &object {
            Object::Pipeline(_) => Graph::of(&pipeline),
            Object::Mono(_) => Graph::default(),
        };
        refuse_what_cannot_run(&pipeline)?;
        let journal = open_journal(&state, &object, durability)?;
        let (buffer, first_epoch) = open_buffer(journal.as_ref(), &pipeline, &graph)?;
        let mut registry = Registry::default();
        let families = Families::register(&mut registry);
        let parts = Arc::new(Parts {
            object,
            pipeline,
            graph,
            buffer,
            values,
            http_bind,
            families,
            epochs: AtomicU64::new(first_epoch),
            incarnations: AtomicU64::new(fastrand::u64(1..u64::MAX / 2)),
        });
        let mut engine = Self {
            parts,
            replicas: JoinSet::new(),
            processes: JoinSet::new(),
            processes_stop: CancellationToken::new(),
            desired: [Role::Source, Role::Inner].map(|role| (role, watch::channel(Desired::Run).0)).into(),
            running: BTreeMap::new(),
            journal,
            gauges: Gauges::default(),
            urls: Vec::new(),
            announcements: programs.iter().map(|chosen| chosen.announcement.clone()).collect(),
            registry,
            state,
        };
        engine.start_replicas(&programs, (&run_dir, &host, machine)).await?;
        Ok(engine)
    }

    async fn start_replicas(
        &mut self,
        programs: &[Chosen],
        (run_dir, host, machine): (&PathBuf, &Host, Machine),
    ) -> Result<(), Error> {
        let parts = self.parts.clone();
        let mut numbers = 0;
        for vertex in &parts.pipeline.vertices {
            let replicas = parts.replicas(vertex, &mut self.announcements);
            for number in 0..replicas {
                let place = user_code::Place {
                    parts: &parts,
                    state: &self.state,
                    run_dir,
                    machine,
                    vertex: &vertex.name,
                    replica: number,
                };
                let own = programs.iter().filter(|chosen| chosen.container.vertex == vertex.name);
                let code = user_code::prepare(own, &place, &mut numbers, &mut self.announcements)?;
                let mut replica =
                    Replica::new(parts.clone(), vertex.clone(), (number, replicas), code.directories);
                for container in code.containers {
                    let (supervisor, handle) = Supervisor::new(container, host.clone(), replica.incidents());
                    replica.watch(handle);
                    let stop = self.processes_stop.clone();
                    self.processes.spawn(supervisor.run(stop));
                }
                replica.stand_ins = code.stand_ins;
                let first = replica.open().await?;
                self.urls.extend(first.urls.iter().map(|url| (vertex.name.clone(), url.clone())));
                self.gauges.add(&replica);
                let role = if vertex.kind == VertexKind::Source { Role::Source } else { Role::Inner };
                *self.running.entry(role).or_default() += 1;
                let desired = self.desired[&role].subscribe();
                self.replicas.spawn(async move { (role, replica.run(first, desired).await) });
            }
        }
        info!(pipeline = self.parts.pipeline.name, replicas = self.replicas.len(), "everything has started");
        Ok(())
    }

    /// Where sources listen: vertex and URL.
    pub fn urls(&self) -> &[(String, String)] {
        &self.urls
    }

    /// Everything that stands in for something else, one sentence each.
    pub fn announcements(&self) -> &[String] {
        &self.announcements
    }

    /// The run at this moment.
    pub async fn snapshot(&mut self) -> Snapshot {
        let pending = self.pending().await;
        self.gauges.snapshot(&self.parts, &pending)
    }

    /// The counters of all replicas in OpenMetrics text.
    pub fn metrics(&self) -> String {
        let mut text = String::new();
        prometheus_client::encoding::text::encode(&mut text, &self.registry)
            .expect("writing to a string cannot fail");
        text
    }

    /// The latest named errors of every replica, oldest first.
    pub fn incidents(&self) -> Vec<connect::incident::Incident> {
        self.gauges.incidents()
    }

    /// Waits until every source has given all it ever will, or until something fails for good.
    pub async fn exhausted(&mut self) -> Result<(), Error> {
        while self.running.get(&Role::Source).copied().unwrap_or(0) > 0 {
            self.next_end().await?;
        }
        Ok(())
    }

    /// Stops the sources, lets everything inside be finished, then stops the rest. Ends early when `limit` is over;
    /// what is then left stays in the journal.
    pub async fn drain(&mut self, limit: Duration) -> Result<Drained, Error> {
        let deadline = Instant::now() + limit;
        self.gauges.drain_until(deadline);
        let complete = match tokio::time::timeout(limit, self.drain_fully()).await {
            Ok(outcome) => outcome.map(|()| true)?,
            Err(_) => false,
        };
        Ok(Drained { complete, left: self.left().await })
    }

    async fn drain_fully(&mut self) -> Result<(), Error> {
        self.tell(Role::Source, Desired::Finish);
        self.exhausted().await?;
        while !self.is_empty().await {
            tokio::select! {
                ended = self.next_end() => ended?,
                () = tokio::time::sleep(LOOK_AGAIN) => {}
            }
        }
        Ok(())
    }

    /// Stops everything: what is in hand is finished if that takes less than `grace`. The journal keeps the rest.
    pub async fn stop(mut self, grace: Duration) -> Result<Drained, Error> {
        self.tell(Role::Source, Desired::Finish);
        self.tell(Role::Inner, Desired::Finish);
        let finished = async {
            while self.running.values().sum::<usize>() > 0 {
                self.next_end().await?;
            }
            Ok(())
        };
        let finished = tokio::time::timeout(grace, finished).await;
        self.replicas.shutdown().await;
        self.processes_stop.cancel();
        while let Some(joined) = self.processes.join_next().await {
            let ended = joined
                .map_err(|error| Error::Task { replica: "user code".to_owned(), why: error.to_string() })?;
            ended?;
        }
        let left = self.left().await;
        if let Some(journal) = self.journal.take() {
            let directory = self.state.journal();
            let closed = tokio::task::spawn_blocking(move || journal.close()).await;
            let closed = closed
                .map_err(|error| Error::Task { replica: "journal".to_owned(), why: error.to_string() })?;
            closed.map_err(|source| Error::Journal { directory, source })?;
        }
        let complete = matches!(finished, Ok(Ok(()))) && left.is_empty();
        finished.unwrap_or(Ok(())).map(|()| Drained { complete, left })
    }

    fn tell(&self, role: Role, desired: Desired) {
        self.desired[&role].send_replace(desired);
    }

    /// Waits for the next replica or process to end.
    async fn next_end(&mut self) -> Result<(), Error> {
        tokio::select! {
            Some(joined) = self.replicas.join_next(), if !self.replicas.is_empty() => {
                let task = |why: String| Error::Task { replica: "a replica".to_owned(), why };
                let (role, outcome) = joined.map_err(|error| task(error.to_string()))?;
                outcome?;
                *self.running.get_mut(&role).expect("it was counted when it started") -= 1;
                Ok(())
            }
            Some(joined) = self.processes.join_next(), if !self.processes.is_empty() => {
                let ended = joined.map_err(|error| Error::Task { replica: "user code".to_owned(), why: error.to_string() })?;
                Ok(ended?)
            }
            else => std::future::pending().await,
        }
    }

    /// Whether nothing lies between vertices or in one.
    async fn is_empty(&self) -> bool {
        // The buffers first: what a vertex has in hand is unsettled in its buffer too.
        self.pending().await.values().all(|pending| *pending == 0) && self.gauges.in_hand() == 0
    }

    async fn left(&self) -> BTreeMap<String, u64> {
        self.pending().await.into_iter().filter(|(_, pending)| *pending > 0).collect()
    }

    /// Unsettled messages in front of each vertex.
    async fn pending(&self) -> BTreeMap<String, u64> {
        let mut pending = BTreeMap::new();
        let Some(buffer) = &self.parts.buffer else { return pending };
        for vertex in &self.parts.pipeline.vertices {
            if vertex.kind != VertexKind::Source
                && let Ok(levels) = buffer.levels(&vertex.name).await
            {
                pending.insert(vertex.name.clone(), levels.iter().map(|level| level.messages).sum());
            }
        }
        pending
    }
}

/// The settings of what runs; a mono vertex is a pipeline of one vertex.
fn settings_of(object: &Object) -> PipelineSettings {
    match object {
        Object::Pipeline(pipeline) => resolve::pipeline(pipeline),
        Object::Mono(mono) => {
            let (vertex, lifecycle) = resolve::mono_vertex(mono);
            PipelineSettings {
                name: mono.name().to_owned(),
                namespace: mono.namespace().to_owned(),
                inter_step_buffer_service: String::new(),
                compression: resolve::Compression::None,
                lifecycle,
                watermark: resolve::Watermark { enabled: false, max_delay: Duration::ZERO, idle: None },
                vertices: vec![vertex],
                edges: Vec::new(),
            }
        }
    }
}

fn refuse_what_cannot_run(pipeline: &PipelineSettings) -> Result<(), Error> {
    let refuse = |vertex: &VertexSettings, why| Err(Error::Unsupported { vertex: vertex.name.clone(), why });
    for vertex in &pipeline.vertices {
        if vertex.kind == VertexKind::Reduce {
            return refuse(
                vertex,
                "this version has no reduce vertices yet; everything else of the manifest is fine",
            );
        }
        if !vertex.side_inputs.is_empty() {
            return refuse(
                vertex,
                "this version has no side inputs yet; everything else of the manifest is fine",
            );
        }
    }
    Ok(())
}

/// A pipeline always has a journal; a mono vertex when its source has to be remembered.
fn open_journal(
    state: &StateDir,
    object: &Object,
    durability: journal::Durability,
) -> Result<Option<Arc<Journal<FileDisk>>>, Error> {
    if let Object::Mono(mono) = object {
        let source = mono.spec.source.as_ref();
        let remembers = source.is_some_and(|source| source.http.is_some() || source.file.is_some());
        if !remembers {
            return Ok(None);
        }
    }
    let directory = state.journal();
    let failed = |source| Error::Journal { directory: directory.clone(), source };
    let disk = FileDisk::open(&directory).map_err(failed)?;
    let options = journal::Options {
        durability,
        transaction_bytes_max: TRANSACTION_BYTES_MAX,
        ..journal::Options::default()
    };
    Ok(Some(Arc::new(Journal::open(disk, options).map_err(failed)?)))
}

type OpenBuffer = (Option<Arc<dyn Buffer>>, u64);

fn open_buffer(
    journal: Option<&Arc<Journal<FileDisk>>>,
    pipeline: &PipelineSettings,
    graph: &Graph,
) -> Result<OpenBuffer, Error> {
    let Some(journal) = journal else { return Ok((None, 1)) };
    let of_vertex = |vertex: &VertexSettings| BufferSettings {
        name: Name::new(&vertex.name),
        topology: graph
            .topology(&vertex.name)
            .unwrap_or(model::Topology { partitions: 1, slots_per_partition: 1 }),
        writers: graph.writers(&vertex.name),
        messages_max: vertex.limits.buffer_usable_length(),
        bytes_max: PARTITION_BYTES_MAX,
    };
    let vertices = pipeline.vertices.iter().map(of_vertex).collect();
    let buffer =
        JournalBuffer::open(journal.clone(), vertices).map_err(|error| Error::Buffer(error.chain()))?;
    let first_epoch = buffer.highest_epoch().0 + 1;
    Ok((Some(Arc::new(buffer)), first_epoch))
}
