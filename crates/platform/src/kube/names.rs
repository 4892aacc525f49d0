//! Names that leave the process for a cluster: labels, annotations, finalizers, ports and the names of what is made.
//! Where the reference has a name for something, that one is used, because dashboards and scripts know it. Invariant:
//! every such name is built here or in `api::names`, and nowhere else.

use std::fmt;

pub use api::names::INSTANCE_ANNOTATION as INSTANCE;

/// Whose everything is.
pub const PART_OF: (&str, &str) = ("app.kubernetes.io/part-of", "numaflow");
/// Which of our controllers made something.
pub const MANAGED_BY_LABEL: &str = "app.kubernetes.io/managed-by";
/// What something is.
pub const COMPONENT_LABEL: &str = "app.kubernetes.io/component";
/// The workload that something belongs to.
pub const NAME_LABEL: &str = "app.kubernetes.io/name";
/// The pipeline of something.
pub const PIPELINE_LABEL: &str = "numaflow.numaproj.io/pipeline-name";
/// The vertex of something, by its short name.
pub const VERTEX_LABEL: &str = "numaflow.numaproj.io/vertex-name";
/// The mono vertex of something.
pub const MONO_VERTEX_LABEL: &str = "numaflow.numaproj.io/mono-vertex-name";
/// What something was made of: of a pod its revision, of everything else a hash of what was applied.
pub const HASH_ANNOTATION: &str = "numaflow.numaproj.io/hash";
/// The number of a pod among those of its revision.
pub const REPLICA_ANNOTATION: &str = "numaflow.numaproj.io/replica";
/// Which container kubectl means when nobody says.
pub const DEFAULT_CONTAINER_ANNOTATION: &str = "kubectl.kubernetes.io/default-container";
/// What was last asked by a verb, as JSON.
pub const ASKED_ANNOTATION: &str = "tidegate.io/asked";
/// Changes whenever the count of a vertex is given back to the autoscaler.
pub const SCALE_ANNOTATION: &str = "tidegate.io/autoscaled-since";
/// `force` when an object that is deleted shall go at once.
pub const DELETION_ANNOTATION: &str = "tidegate.io/deletion";
/// Keeps a deleted object until it is drained and what it kept is removed.
pub const FINALIZER: &str = "numaflow.numaproj.io/pipeline-controller";

/// Our own container in every pod.
pub const NUMA: &str = "numa";
/// Metrics and probes of a pod with workers.
pub const METRICS_PORT: i32 = 2469;
/// Errors of user code in a pod with workers.
pub const RUNTIME_PORT: i32 = 2470;
/// Where daemons answer.
pub const DAEMON_PORT: i32 = 4327;

/// What an object is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum ObjectKind {
    /// A pipeline.
    Pipeline,
    /// A mono vertex.
    MonoVertex,
}

impl ObjectKind {
    /// As manifests write it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Pipeline => "Pipeline",
            Self::MonoVertex => "MonoVertex",
        }
    }
}

/// Which object.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Key {
    /// Its namespace.
    pub namespace: String,
    /// What it is.
    pub kind: ObjectKind,
    /// Its name.
    pub name: String,
}

impl fmt::Display for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}/{}", self.kind.as_str(), self.namespace, self.name)
    }
}

impl Key {
    /// What the names of everything that is made for all of the object begin with.
    fn stem(&self) -> String {
        match self.kind {
            ObjectKind::Pipeline => self.name.clone(),
            ObjectKind::MonoVertex => format!("{}-mv", self.name),
        }
    }

    /// The daemon's deployment.
    pub fn daemon(&self) -> String {
        match self.kind {
            ObjectKind::Pipeline => api::names::pipeline_daemon(&self.name),
            ObjectKind::MonoVertex => api::names::mono_vertex_daemon(&self.name),
        }
    }

    /// The daemon's service.
    pub fn daemon_service(&self) -> String {
        match self.kind {
            ObjectKind::Pipeline => api::names::pipeline_daemon_service(&self.name),
            ObjectKind::MonoVertex => api::names::mono_vertex_daemon_service(&self.name),
        }
    }

    /// The secret with the word that controller and daemon know each other by.
    pub fn daemon_token(&self) -> String {
        format!("{}-daemon-token", self.stem())
    }

    /// The config map with what is remembered of the object.
    pub fn record(&self) -> String {
        format!("{}-record", self.stem())
    }

    /// The job that removes what the object kept in its buffer service.
    pub fn cleaner(&self) -> String {
        format!("{}-cln", self.stem())
    }

    /// What the `Vertex` object and the pods of a vertex are called after.
    pub fn vertex(&self, vertex: &str) -> String {
        match self.kind {
            ObjectKind::Pipeline => api::names::vertex(&self.name, vertex),
            ObjectKind::MonoVertex => self.stem(),
        }
    }

    /// The headless service of a vertex.
    pub fn headless(&self, vertex: &str) -> String {
        match self.kind {
            ObjectKind::Pipeline => api::names::vertex_headless(&self.name, vertex),
            ObjectKind::MonoVertex => api::names::mono_vertex_headless(&self.name),
        }
    }

    /// The service of an HTTP source.
    pub fn http_service(&self, vertex: &str) -> String {
        match self.kind {
            ObjectKind::Pipeline => api::names::vertex(&self.name, vertex),
            ObjectKind::MonoVertex => self.name.clone(),
        }
    }

    /// The host name of a replica.
    pub fn replica(&self, vertex: &str, replica: u32) -> String {
        match self.kind {
            ObjectKind::Pipeline => api::names::vertex_replica(&self.name, vertex, replica),
            ObjectKind::MonoVertex => api::names::mono_vertex_replica(&self.name, replica),
        }
    }

    /// The label that says whose something is.
    pub fn label(&self) -> (&'static str, String) {
        match self.kind {
            ObjectKind::Pipeline => (PIPELINE_LABEL, self.name.clone()),
            ObjectKind::MonoVertex => (MONO_VERTEX_LABEL, self.name.clone()),
        }
    }
}
