//! What a daemon's callers see, and where wishes are handed in. Nothing is asked of the loop that keeps the object but to
//! take in wishes: everything else is answered from what it showed last. Invariant: an answer never waits for the broker.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use api::names;
use api::resolve::{PipelineSettings, VertexKind};
use async_trait::async_trait;
use keeper::health::{Health, Level};
use keeper::load::Load;
use platform::exchange::{Look, Wishes};
use platform::local::engine::Object;
use platform::place::{Refusal, RefusalKind};
use server::daemon::owner::Wishing;
use server::daemon::{Buffer, Daemon, EdgeWatermarks, ReplicaErrors, Subject, Vertex};
use server::runtime_errors::Entry;
use tokio::sync::{mpsc, oneshot, watch};

/// How long an answer waits for something newer.
const NEWER_WITHIN: Duration = Duration::from_secs(1);

/// Wishes that were handed in.
pub(super) struct Ask {
    pub(super) wishes: Wishes,
    pub(super) answer: oneshot::Sender<Look>,
}

/// What is known beside the latest look.
#[derive(Clone, Debug, Default)]
pub(super) struct Known {
    pub(super) buffers: Vec<Buffer>,
    pub(super) loads: BTreeMap<String, Vec<Load>>,
    pub(super) watermarks: Vec<EdgeWatermarks>,
    pub(super) health: Option<Health>,
}

/// Where the loop shows what it sees.
pub(super) struct Show {
    looks: watch::Sender<Arc<Look>>,
    known: watch::Sender<Arc<Known>>,
}

impl Show {
    pub(super) fn look(&self, look: Look) {
        self.looks.send_replace(Arc::new(look));
    }

    pub(super) fn known(&self, known: Known) {
        self.known.send_replace(Arc::new(known));
    }

    /// Says why nothing is seen.
    pub(super) fn fail(&self, why: &str) {
        self.looks.send_modify(|look| Arc::make_mut(look).failure = Some(why.to_owned()));
    }
}

/// See the head of this file.
pub(super) struct Desk {
    subject: Subject,
    is_mono: bool,
    name: String,
    asks: mpsc::Sender<Ask>,
    looks: watch::Receiver<Arc<Look>>,
    known: watch::Receiver<Arc<Known>>,
}

impl Desk {
    pub(super) fn open(object: &Object, asks: mpsc::Sender<Ask>) -> (Self, Show) {
        let settings = object.settings();
        let is_mono = matches!(object, Object::Mono(_));
        let starting = Look { failure: Some("the object is being opened".to_owned()), ..Look::default() };
        let (show_looks, looks) = watch::channel(Arc::new(starting));
        let (show_known, known) = watch::channel(Arc::new(Known::default()));
        let subject = subject(is_mono, &settings);
        let desk = Self { subject, is_mono, name: settings.name, asks, looks, known };
        (desk, Show { looks: show_looks, known: show_known })
    }

    fn known(&self) -> Result<Arc<Known>, Refusal> {
        let known = self.known.borrow().clone();
        if known.health.is_none() {
            let why = self.looks.borrow().failure.clone();
            let why = why.unwrap_or_else(|| "nothing was looked at yet".to_owned());
            return Err(Refusal::new(RefusalKind::Failed, format!("nothing is known yet: {why}")));
        }
        Ok(known)
    }

    fn check(&self, vertex: &str) -> Result<(), Refusal> {
        let names: Vec<&str> = match &self.subject {
            Subject::Pipeline { name: _, vertices } => {
                vertices.iter().map(|vertex| vertex.name.as_str()).collect()
            }
            Subject::MonoVertex { name } => vec![name],
        };
        if names.contains(&vertex) {
            return Ok(());
        }
        let message = format!("there is no vertex {vertex:?}; there are {}", names.join(", "));
        Err(Refusal::new(RefusalKind::NotFound, message))
    }
}

fn subject(is_mono: bool, settings: &PipelineSettings) -> Subject {
    let name = settings.name.clone();
    if is_mono {
        return Subject::MonoVertex { name };
    }
    let vertex = |vertex: &api::resolve::VertexSettings| Vertex {
        name: vertex.name.clone(),
        is_source: vertex.kind == VertexKind::Source,
        is_sink: vertex.kind == VertexKind::Sink,
        partitions: match vertex.kind {
            VertexKind::Source => vec![vertex.name.clone()],
            VertexKind::Map | VertexKind::Reduce | VertexKind::Sink => (0..vertex.partitions)
                .map(|partition| names::buffer(&settings.namespace, &settings.name, &vertex.name, partition))
                .collect(),
        },
    };
    Subject::Pipeline { name, vertices: settings.vertices.iter().map(vertex).collect() }
}

#[async_trait]
impl Wishing for Desk {
    async fn wish(&self, wishes: Wishes) -> Look {
        let (answer, answered) = oneshot::channel();
        let asked = async {
            self.asks.send(Ask { wishes, answer }).await.ok()?;
            answered.await.ok()
        };
        match tokio::time::timeout(NEWER_WITHIN, asked).await {
            Ok(Some(look)) => look,
            // They are taken in when the loop comes to it; what is shown says which wishes it goes by.
            Ok(None) | Err(_) => Look::clone(&self.looks.borrow()),
        }
    }

    async fn look(&self, after: Option<i64>) -> Look {
        let mut looks = self.looks.clone();
        let newer = looks.wait_for(|look| after.is_none_or(|after| look.at.millis() > after));
        match tokio::time::timeout(NEWER_WITHIN, newer).await {
            Ok(Ok(look)) => Look::clone(&look),
            Ok(Err(_)) | Err(_) => Look::clone(&self.looks.borrow()),
        }
    }
}

#[async_trait]
impl Daemon for Desk {
    fn subject(&self) -> Subject {
        self.subject.clone()
    }

    async fn buffers(&self) -> Result<Vec<Buffer>, Refusal> {
        Ok(self.known()?.buffers.clone())
    }

    async fn loads(&self, vertex: &str) -> Result<Vec<Load>, Refusal> {
        self.check(vertex)?;
        Ok(self.known()?.loads.get(vertex).cloned().unwrap_or_default())
    }

    async fn watermarks(&self) -> Result<Vec<EdgeWatermarks>, Refusal> {
        Ok(self.known()?.watermarks.clone())
    }

    async fn health(&self) -> Result<Health, Refusal> {
        if let Some(why) = &self.looks.borrow().failure {
            return Ok(Health {
                level: Level::Unknown,
                message: format!("nothing can be seen: failed to {why}"),
            });
        }
        self.known()?.health.clone().ok_or_else(|| Refusal::new(RefusalKind::Failed, "nothing is known yet"))
    }

    async fn errors(&self, vertex: &str) -> Result<Vec<ReplicaErrors>, Refusal> {
        self.check(vertex)?;
        let mut errors: BTreeMap<u32, Vec<Entry>> = BTreeMap::new();
        let look = self.looks.borrow().clone();
        for incident in look.incidents.iter().filter(|incident| incident.vertex == vertex) {
            errors.entry(incident.replica).or_default().push(Entry::from(incident));
        }
        let replica = |replica| {
            if self.is_mono {
                names::mono_vertex_replica(&self.name, replica)
            } else {
                names::vertex_replica(&self.name, vertex, replica)
            }
        };
        let of = |(number, mut errors): (u32, Vec<Entry>)| {
            errors.sort_by(|one, other| one.container.cmp(&other.container));
            ReplicaErrors { replica: replica(number), errors }
        };
        Ok(errors.into_iter().map(of).collect())
    }

    async fn ready(&self) -> Result<(), String> {
        match &self.looks.borrow().failure {
            Some(why) => Err(why.clone()),
            None => Ok(()),
        }
    }
}
