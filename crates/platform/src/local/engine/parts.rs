//! What all workers of an object share, and what one version of a vertex is made of.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};

use api::resolve::{PipelineSettings, VertexKind, VertexSettings};
use api::spec;
use connect::buffer::broker::Lease;
use connect::source::Inputs;
use model::door::buffer::Buffer;
use model::door::mail::Mail;
use model::{Incarnation, Slot, Unit};
use worker::wire::Part;
use worker::{Families, Graph, Who};

use super::apart::Processes;
use super::away::Away;
use super::{Error, Object, Version};
use crate::local::process::Host;
use crate::local::process::environment::Machine;
use crate::local::state::StateDir;

/// What the workers of all vertices share.
pub(super) struct Parts {
    /// It is a pipeline, and not a mono vertex.
    pub(super) is_pipeline: bool,
    /// The settings of the shape: graph, partitions, watermarks.
    pub(super) pipeline: PipelineSettings,
    pub(super) graph: Graph,
    pub(super) buffer: Option<Arc<dyn Buffer>>,
    /// How long this process may take units for its own, where others can take them.
    pub(super) lease: Option<Lease>,
    pub(super) families: Families,
    pub(super) ways: Ways,
}

/// How members become real.
pub(super) enum Ways {
    /// As tasks or processes of this machine, with their user code.
    Here(Box<Here>),
    /// Somebody else starts them, wherever that is; they are only spoken with.
    Away(Arc<Away>),
}

/// Everything that workers of this machine share.
pub(super) struct Here {
    /// How workers become processes of their own, and where they are reached; none for tasks of this process.
    pub(super) processes: Option<(Processes, Arc<dyn Mail>)>,
    pub(super) http_bind: IpAddr,
    /// Ports and standard input, which pass from one worker to the next.
    pub(super) inputs: Inputs,
    pub(super) state: StateDir,
    pub(super) run_dir: PathBuf,
    pub(super) host: Host,
    pub(super) machine: Machine,
    pub(super) incarnations: AtomicU64,
    /// How many containers there were so far; their directories are named by it.
    pub(super) containers: AtomicU32,
}

impl Here {
    pub(super) fn next_incarnation(&self) -> Incarnation {
        Incarnation(self.incarnations.fetch_add(1, Ordering::Relaxed))
    }

    pub(super) fn next_container(&self) -> u32 {
        self.containers.fetch_add(1, Ordering::Relaxed)
    }
}

impl Parts {
    /// Whether somebody else starts the workers.
    pub(super) fn are_away(&self) -> bool {
        matches!(self.ways, Ways::Away(_))
    }

    /// What a vertex is called in metrics.
    pub(super) fn who(&self, vertex: &VertexSettings) -> Who {
        if self.is_pipeline {
            Who::Vertex {
                pipeline: self.pipeline.name.clone(),
                vertex: vertex.name.clone(),
                kind: vertex.kind.as_str(),
            }
        } else {
            Who::Mono(vertex.name.clone())
        }
    }

    /// The word for a vertex on a screen.
    pub(super) fn kind(&self, vertex: &VertexSettings) -> &'static str {
        match vertex.kind {
            _ if !self.is_pipeline => "mono",
            VertexKind::Source => "source",
            VertexKind::Map => "map",
            VertexKind::Reduce => "reduce",
            VertexKind::Sink => "sink",
        }
    }
}

/// A version of a vertex with its settings.
pub(super) struct Kept {
    pub(super) version: Arc<Version>,
    pub(super) settings: VertexSettings,
}

impl Kept {
    /// Fails when the version's manifest has no such vertex.
    pub(super) fn new(vertex: &str, version: Arc<Version>) -> Result<Self, Error> {
        let mut settings = version.object.settings().vertices;
        settings.retain(|settings| settings.name == vertex);
        let unknown = || Error::Unknown {
            what: format!("vertex {vertex} in the manifest of version {}", version.revision),
        };
        let settings = settings.pop().ok_or_else(unknown)?;
        Ok(Self { version, settings })
    }

    /// What the manifest says about the vertex.
    pub(super) fn part(&self) -> Part<'_> {
        self.version.object.part(&self.settings)
    }
}

impl Object {
    /// What the manifest says about one of its vertices.
    ///
    /// # Panics
    /// When the settings are not of this object.
    pub fn part<'a>(&'a self, settings: &'a VertexSettings) -> Part<'a> {
        match self {
            Self::Pipeline(pipeline) => {
                let vertex = pipeline.spec.vertices.iter().find(|vertex| vertex.name == settings.name);
                let vertex = vertex.expect("settings were made of the same manifest");
                Part {
                    settings,
                    source: vertex.source.as_deref(),
                    udf: vertex.udf.as_deref(),
                    sink: vertex.sink.as_deref(),
                    bypass: None,
                }
            }
            Self::Mono(mono) => Part {
                settings,
                source: mono.spec.source.as_deref(),
                udf: mono.spec.udf.as_deref(),
                sink: mono.spec.sink.as_deref(),
                bypass: mono.spec.bypass.as_ref(),
            },
        }
    }
}

/// How the work of a vertex is divided.
#[derive(Clone, Debug)]
pub(super) enum Division {
    /// Any worker may own any of these.
    Shared(std::collections::BTreeSet<Unit>),
    /// These belong to the worker with the same number.
    Numbered(BTreeMap<Unit, u32>),
    /// As many as there are workers, each for the worker with its number: a source that remembers positions, and
    /// numbers its messages by the replica.
    Replicas,
    /// As many as there are workers; which worker has which number means nothing.
    Own,
}

impl Division {
    pub(super) fn of(part: &Part<'_>, graph: &Graph) -> Self {
        let settings = part.settings;
        if settings.kind == VertexKind::Source {
            let counts = part.source.is_some_and(|source| {
                source.generator.is_some() || source.stdin.is_some() || source.file.is_some()
            });
            return if counts { Self::Replicas } else { Self::Own };
        }
        let topology = graph.topology(&settings.name).expect("the graph has every vertex");
        let slots = (0..u64::from(topology.slots())).map(|number| topology.slot(number)).chain([Slot::RETRY]);
        if settings.ordered || settings.kind == VertexKind::Reduce {
            return Self::Numbered(slots.map(|slot| (Unit::Slot(slot), u32::from(slot.partition))).collect());
        }
        Self::Shared(slots.map(Unit::Slot).collect())
    }
}

/// What only one worker of a source vertex can have at a time in one process, in words.
pub(in crate::local) fn exclusive(source: Option<&spec::Source>) -> Option<&'static str> {
    source?.stdin.as_ref().map(|_| "there is one standard input")
}

/// Why a source vertex has work for no more than one worker here, if so.
pub(in crate::local) fn alone(source: Option<&spec::Source>) -> Option<&'static str> {
    exclusive(source).or(source?.file.as_ref().map(|_| "a file is read once"))
}
