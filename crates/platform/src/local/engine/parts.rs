//! What all replicas of a run share, and what of a manifest belongs to which vertex.

use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use api::resolve::{PipelineSettings, VertexKind, VertexSettings};
use model::door::buffer::Buffer;
use model::{Epoch, Incarnation};
use worker::wire::Part;
use worker::{Families, Graph, Who};

use super::Object;
use crate::local::secrets::Values;

pub(super) struct Parts {
    pub(super) object: Object,
    pub(super) pipeline: PipelineSettings,
    pub(super) graph: Graph,
    pub(super) buffer: Option<Arc<dyn Buffer>>,
    pub(super) values: Values,
    pub(super) http_bind: IpAddr,
    pub(super) families: Families,
    pub(super) epochs: AtomicU64,
    pub(super) incarnations: AtomicU64,
}

impl Parts {
    /// A number above every one given before, in this run and in earlier ones on the same state.
    pub(super) fn next_epoch(&self) -> Epoch {
        Epoch(self.epochs.fetch_add(1, Ordering::Relaxed))
    }

    pub(super) fn next_incarnation(&self) -> Incarnation {
        Incarnation(self.incarnations.fetch_add(1, Ordering::Relaxed))
    }

    /// How many replicas a vertex runs with here; says so when that differs from the manifest.
    pub(super) fn replicas(&self, vertex: &VertexSettings, announcements: &mut Vec<String>) -> u16 {
        let wanted = u16::try_from(vertex.replicas).unwrap_or(u16::MAX);
        let alone = self.part(vertex).source.and_then(|source| {
            let listens = source.http.as_ref().map(|_| "one process can listen on its port");
            let reads = source.stdin.as_ref().map(|_| "there is one standard input");
            let file = source.file.as_ref().map(|_| "a file is read once");
            listens.or(reads).or(file)
        });
        match alone {
            Some(why) if wanted > 1 => {
                announcements
                    .push(format!("vertex {} runs with 1 replica in place of {wanted}: {why}", vertex.name));
                1
            }
            _ => wanted,
        }
    }

    /// What the manifest says about a vertex.
    pub(super) fn part<'a>(&'a self, settings: &'a VertexSettings) -> Part<'a> {
        match &self.object {
            Object::Pipeline(pipeline) => {
                let vertex = pipeline.spec.vertices.iter().find(|vertex| vertex.name == settings.name);
                let vertex = vertex.expect("settings were made of the same manifest");
                Part {
                    settings,
                    source: vertex.source.as_ref(),
                    udf: vertex.udf.as_ref(),
                    sink: vertex.sink.as_ref(),
                    bypass: None,
                }
            }
            Object::Mono(mono) => Part {
                settings,
                source: mono.spec.source.as_ref(),
                udf: mono.spec.udf.as_ref(),
                sink: mono.spec.sink.as_ref(),
                bypass: mono.spec.bypass.as_ref(),
            },
        }
    }

    /// What a vertex is called in metrics.
    pub(super) fn who(&self, vertex: &VertexSettings) -> Who {
        match &self.object {
            Object::Pipeline(_) => Who::Vertex {
                pipeline: self.pipeline.name.clone(),
                vertex: vertex.name.clone(),
                kind: vertex.kind.as_str(),
            },
            Object::Mono(_) => Who::Mono(vertex.name.clone()),
        }
    }

    /// The word for a vertex on a screen.
    pub(super) fn kind(&self, vertex: &VertexSettings) -> &'static str {
        match (&self.object, vertex.kind) {
            (Object::Mono(_), _) => "mono",
            (Object::Pipeline(_), VertexKind::Source) => "source",
            (Object::Pipeline(_), VertexKind::Map) => "map",
            (Object::Pipeline(_), VertexKind::Reduce) => "reduce",
            (Object::Pipeline(_), VertexKind::Sink) => "sink",
        }
    }
}
