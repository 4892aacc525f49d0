//! What a processor runs: a vertex of a pipeline that it knows as a whole, one that it knows by its `Vertex` object alone,
//! or a mono vertex. Invariant: whichever it is, its settings are those that everybody else resolves.

use anyhow::{Context, Result, anyhow, bail};
use api::Object as Loaded;
use api::check::Checked;
use api::resolve::{self, PipelineSettings, VertexSettings};
use api::revision::{self, Revision};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use platform::local::engine::Object;
use platform::local::program::{self, UserContainer};
use worker::wire::Part;

/// See the head of this file.
pub(crate) enum Subject {
    /// A vertex of a pipeline, or a mono vertex.
    Whole(Object),
    /// A vertex that is known with its neighbours.
    Vertex(Box<Checked<api::Vertex>>),
}

impl Subject {
    /// Every default filled in.
    pub(crate) fn settings(&self) -> Result<PipelineSettings> {
        match self {
            Self::Whole(object) => Ok(object.settings()),
            Self::Vertex(vertex) => Ok(resolve::neighbours(vertex)?),
        }
    }

    /// What the manifest says about a vertex that is not a neighbour only.
    pub(crate) fn part<'a>(&'a self, settings: &'a VertexSettings) -> Part<'a> {
        match self {
            Self::Whole(object) => object.part(settings),
            Self::Vertex(vertex) => {
                let own = &vertex.spec.vertex;
                let (source, udf, sink) = (own.source.as_deref(), own.udf.as_deref(), own.sink.as_deref());
                Part { settings, source, udf, sink, bypass: None }
            }
        }
    }

    /// The containers with user code of a vertex.
    pub(crate) fn containers(&self, vertex: &str) -> Vec<UserContainer> {
        match self {
            Self::Whole(Object::Pipeline(pipeline)) => {
                let all = program::of_pipeline(&pipeline.spec).into_iter();
                all.filter(|container| container.vertex == vertex).collect()
            }
            Self::Whole(Object::Mono(mono)) => program::of_mono_vertex(mono.name(), &mono.spec),
            Self::Vertex(own) => program::of_vertex(&own.spec.vertex),
        }
    }

    /// The version that a worker of the vertex runs when nobody says another one.
    pub(crate) fn revision(&self, vertex: &str) -> Revision {
        match self {
            Self::Whole(Object::Pipeline(pipeline)) => revision::of_vertex(pipeline, vertex, None),
            Self::Whole(Object::Mono(mono)) => revision::of_mono_vertex(mono, None),
            Self::Vertex(_) => Revision::from_text("vertex"),
        }
    }

    /// It is a mono vertex.
    pub(crate) fn is_mono(&self) -> bool {
        matches!(self, Self::Whole(Object::Mono(_)))
    }

    /// Whether every vertex of the pipeline is known, so that its streams may be made.
    pub(crate) fn is_whole(&self) -> bool {
        matches!(self, Self::Whole(_))
    }
}

/// The one object that a variable holds, as base64 of JSON.
pub(crate) fn read_object(variable: &str, text: &str) -> Result<Loaded> {
    let bytes = STANDARD.decode(text).with_context(|| format!("understand {variable}: it is base64"))?;
    let (mut objects, _) = api::load([(variable, bytes.as_slice())]).accept().map_err(|complaints| {
        anyhow!("understand {variable}: {}", api::complaint::to_text(&complaints).trim_end())
    })?;
    match (objects.pop(), objects.is_empty()) {
        (Some(object), true) => Ok(object),
        _ => bail!("understand {variable}: it is not one object"),
    }
}

/// A pipeline or a mono vertex in a variable.
pub(crate) fn read_whole(variable: &str, text: &str) -> Result<Object> {
    match read_object(variable, text)? {
        Loaded::Pipeline(pipeline) => Ok(Object::Pipeline(pipeline)),
        Loaded::MonoVertex(mono) => Ok(Object::Mono(mono)),
        other => bail!("understand {variable}: it is a {}", other.kind()),
    }
}

/// A pipeline or a mono vertex as JSON; `what` names it in complaints.
pub(crate) fn read_json(what: &str, manifest: &serde_json::Value) -> Result<Object> {
    let text = manifest.to_string();
    let (mut objects, _) = api::load([(what, text.as_bytes())]).accept().map_err(|complaints| {
        anyhow!("understand {what}: {}", api::complaint::to_text(&complaints).trim_end())
    })?;
    match (objects.pop(), objects.is_empty()) {
        (Some(Loaded::Pipeline(pipeline)), true) => Ok(Object::Pipeline(pipeline)),
        (Some(Loaded::MonoVertex(mono)), true) => Ok(Object::Mono(mono)),
        _ => bail!("understand {what}: it is not one Pipeline or MonoVertex"),
    }
}

/// A vertex in a variable.
pub(crate) fn read_vertex(variable: &str, text: &str) -> Result<Subject> {
    match read_object(variable, text)? {
        Loaded::Vertex(vertex) => Ok(Subject::Vertex(vertex)),
        other => bail!("understand {variable}: it is a {}, and a Vertex is expected", other.kind()),
    }
}
