//! What is opened before anything runs: settings, journal and buffers. Invariant: what cannot be run here is refused
//! before anything is touched.

use std::sync::Arc;
use std::time::Duration;

use api::resolve::{self, PipelineSettings, VertexKind, VertexSettings};
use connect::buffer::journal::{JournalBuffer, note_source};
use journal::{FileDisk, Journal};
use model::Epoch;
use model::door::buffer::Buffer;
use worker::Graph;

use super::{Error, Object};
use crate::local::state::StateDir;

/// A commit may hold what a whole batch became, and user code decides how much that is.
const TRANSACTION_BYTES_MAX: usize = 512 * 1024 * 1024;

impl Object {
    /// Its settings; those of a mono vertex are a pipeline's with one vertex.
    pub fn settings(&self) -> PipelineSettings {
        match self {
            Self::Pipeline(pipeline) => resolve::pipeline(pipeline),
            Self::Mono(mono) => {
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
}

pub(crate) fn refuse_what_cannot_run(pipeline: &PipelineSettings) -> Result<(), Error> {
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
pub(super) fn journal(
    state: &StateDir,
    object: &Object,
    durability: journal::Durability,
) -> Result<Option<Arc<Journal<FileDisk>>>, Error> {
    if let Object::Mono(mono) = object {
        let source = mono.spec.source.as_deref();
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

/// Notes which source each vertex has. Says of each vertex with another one than before that it begins afresh.
pub(super) fn note_sources(
    journal: &Journal<FileDisk>,
    object: &Object,
    pipeline: &PipelineSettings,
) -> Result<Vec<String>, Error> {
    let mut afresh = Vec::new();
    for vertex in &pipeline.vertices {
        let Some(source) = object.part(vertex).source else { continue };
        let (name, word) = (&vertex.name, connect::open::source_identity(source));
        let former = note_source(journal, name, &word).map_err(|error| Error::Buffer(error.chain()))?;
        if let Some(former) = former {
            afresh.push(self::afresh(name, &word, &former));
        }
    }
    Ok(afresh)
}

/// Says that a source begins afresh.
pub(super) fn afresh(vertex: &str, word: &str, former: &str) -> String {
    format!("vertex {vertex} reads {word} from its beginning; before, it read {former}")
}

type OpenBuffer = (Option<Arc<dyn Buffer>>, Epoch);

/// The buffer, and the highest epoch that any unit was ever owned under.
pub(super) fn buffer(
    journal: Option<&Arc<Journal<FileDisk>>>,
    pipeline: &PipelineSettings,
    graph: &Graph,
) -> Result<OpenBuffer, Error> {
    let Some(journal) = journal else { return Ok((None, Epoch(0))) };
    let vertices = worker::wire::buffers(pipeline, graph);
    let buffer =
        JournalBuffer::open(journal.clone(), vertices).map_err(|error| Error::Buffer(error.chain()))?;
    let floor = buffer.highest_epoch();
    Ok((Some(Arc::new(buffer)), floor))
}
