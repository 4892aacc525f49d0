//! Where the frames and positions of an object are kept: a journal of its own, or a broker that other processes reach
//! too. Invariant: nothing above the buffer door knows which of them it is.

use std::path::PathBuf;
use std::sync::Arc;

use api::resolve::PipelineSettings;
use connect::buffer::broker::{self, Opened, Pipeline};
use connect::buffer::jetstream;
use journal::{FileDisk, Journal};
use model::Epoch;
use model::door::buffer::Buffer;
use model::door::mail::Mail;
use tokio::task::JoinSet;
use worker::Graph;

use super::apart::Processes;
use super::{Error, Object, open};
use crate::local::state::StateDir;

/// Where frames and positions are kept.
#[derive(Clone)]
pub enum Storage {
    /// In the state directory of the object.
    Journal(journal::Durability),
    /// On a broker, for pipelines. A mono vertex has nothing that others read, and keeps what it has to remember in a
    /// journal all the same.
    Broker {
        /// How it is reached.
        server: Arc<jetstream::Settings>,
        /// How workers become processes of their own; none for tasks of this process.
        processes: Option<Processes>,
    },
}

/// What was opened.
pub(super) struct Kept {
    pub(super) buffer: Option<Arc<dyn Buffer>>,
    /// The highest number that any unit was ever owned under.
    pub(super) floor: Epoch,
    /// Where workers of other processes are reached; on a broker only.
    pub(super) mail: Option<Arc<dyn Mail>>,
    /// How long this process may take units for its own; on a broker only.
    pub(super) lease: Option<broker::Lease>,
    /// What people have to know.
    pub(super) announcements: Vec<String>,
    /// The journal, and where it is.
    pub(super) journal: Option<(Arc<Journal<FileDisk>>, PathBuf)>,
    /// What runs for the broker.
    pub(super) background: JoinSet<()>,
}

impl Kept {
    /// Of an object that has nothing to be kept.
    pub(super) fn nothing() -> Self {
        Self {
            buffer: None,
            floor: Epoch::default(),
            mail: None,
            lease: None,
            announcements: Vec::new(),
            journal: None,
            background: JoinSet::new(),
        }
    }
}

/// Opens the storage of an object.
pub(super) async fn open(
    storage: Storage,
    state: &StateDir,
    (object, pipeline, graph): (&Object, &PipelineSettings, &Graph),
) -> Result<Kept, Error> {
    match (storage, object) {
        (Storage::Broker { server, processes: _ }, Object::Pipeline(_)) => {
            on_broker(&server, (object, pipeline, graph)).await
        }
        (Storage::Broker { .. }, Object::Mono(_)) => {
            in_journal(journal::Durability::Disk, state, (object, pipeline, graph))
        }
        (Storage::Journal(durability), _) => in_journal(durability, state, (object, pipeline, graph)),
    }
}

fn in_journal(
    durability: journal::Durability,
    state: &StateDir,
    (object, pipeline, graph): (&Object, &PipelineSettings, &Graph),
) -> Result<Kept, Error> {
    let journal = open::journal(state, object, durability)?;
    let announcements = match &journal {
        Some(journal) => open::note_sources(journal, object, pipeline)?,
        None => Vec::new(),
    };
    let (buffer, floor) = open::buffer(journal.as_ref(), pipeline, graph)?;
    let background = JoinSet::new();
    let journal = journal.map(|journal| (journal, state.journal()));
    Ok(Kept { buffer, floor, mail: None, lease: None, announcements, journal, background })
}

/// A pipeline as the broker knows it.
fn on(pipeline: &PipelineSettings, graph: &Graph) -> Pipeline {
    Pipeline {
        prefix: broker::prefix(&pipeline.namespace, &pipeline.name),
        process: "engine".to_owned(),
        vertices: worker::wire::buffers(pipeline, graph),
    }
}

pub(super) async fn on_broker(
    server: &jetstream::Settings,
    (object, pipeline, graph): (&Object, &PipelineSettings, &Graph),
) -> Result<Kept, Error> {
    let opened = broker::open(server, on(pipeline, graph)).await?;
    // The survey needs what runs for the broker.
    let mut background = JoinSet::new();
    let Opened { buffer, mail, driver, lease, lanes } = opened;
    background.spawn(driver);
    let unreadable = |error: model::door::Error| Error::Buffer(error.chain());
    let survey = buffer.survey().await.map_err(unreadable)?;
    let floor = survey.units.iter().map(|unit| unit.epoch).max().unwrap_or_default();
    let mut announcements = Vec::new();
    for vertex in &pipeline.vertices {
        let Some(source) = object.part(vertex).source else { continue };
        let word = connect::open::source_identity(source);
        let former = lanes.note_source(&vertex.name, &word).await.map_err(unreadable)?;
        announcements.extend(former.map(|former| open::afresh(&vertex.name, &word, &former)));
    }
    Ok(Kept {
        buffer: Some(buffer),
        floor,
        mail: Some(mail),
        lease: Some(lease),
        announcements,
        journal: None,
        background,
    })
}

/// Removes what a broker keeps of an object that is gone for good.
pub async fn remove(storage: &Storage, object: &Object) -> Result<(), Error> {
    let (Storage::Broker { server, .. }, Object::Pipeline(_)) = (storage, object) else { return Ok(()) };
    let pipeline = object.settings();
    let nats = jetstream::Nats::connect(server).await.map_err(broker::Error::from)?;
    let removed = broker::remove(&nats, on(&pipeline, &Graph::of(&pipeline))).await;
    removed.map_err(|error| Error::Buffer(error.chain()))
}
