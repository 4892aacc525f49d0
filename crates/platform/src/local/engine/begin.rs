//! How an engine begins: what an object comes to, which buffers it has, and who its workers will be. Invariant: no
//! worker runs yet, and no source is read.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, AtomicU64};

use api::resolve::PipelineSettings;
use api::revision::Revision;
use connect::source::Inputs;
use connect::store::Pools;
use prometheus_client::registry::Registry;
use tokio::sync::Notify;
use tokio::task::JoinSet;
use tokio::time::Instant;
use worker::{Families, Graph};

use super::away::{Adoption, Away};
use super::crew::Crew;
use super::error::unreadable;
use super::gauge::Gauges;
use super::keeping::{self, Keeping};
use super::parts::{Here, Kept, Parts, Ways};
use super::{
    Clock, Config, Engine, Error, Meeting, Object, Storage, Version, figures, refuse_what_cannot_run,
    storage, wishes,
};
use crate::local::secrets::Values;
use crate::local::state::process_name;

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
}
