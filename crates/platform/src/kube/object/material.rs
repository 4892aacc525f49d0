//! From a manifest to what the plan and the pods need. Invariant: whatever cannot run is refused here, in the words of the
//! complaint, before anything is made for it.

use std::collections::BTreeMap;

use api::resolve::PipelineSettings;
use api::revision::{self, Revision};
use kube::api::DynamicObject;
use serde_json::{Value, json};

use crate::local::engine::{self, Object};
use crate::local::site::object_of;
use crate::place::Refusal;

/// Annotations of an object that say something about how it runs.
const ANNOTATIONS: [&str; 2] = [api::names::RESUME_STRATEGY_ANNOTATION, api::names::INSTANCE_ANNOTATION];

/// Why a manifest cannot run.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// It has errors.
    #[error("{}", words(.0))]
    Invalid(Refusal),
    /// It is good, and asks for something that this version does not have.
    #[error("run the manifest")]
    Unsupported(#[source] Box<engine::Error>),
}

/// A manifest that can run.
#[derive(Clone, Debug)]
pub(super) struct Material {
    pub(super) object: Object,
    pub(super) settings: PipelineSettings,
    /// What the workers of each vertex run.
    pub(super) revisions: BTreeMap<String, Revision>,
}

impl Material {
    /// Of a manifest, with a token of each vertex's last restart.
    pub(super) fn of(manifest: &Value, restarts: &BTreeMap<String, String>) -> Result<Self, Error> {
        let object = object_of(manifest).map_err(Error::Invalid)?;
        let settings = object.settings();
        engine::refuse_what_cannot_run(&settings).map_err(|error| Error::Unsupported(Box::new(error)))?;
        let revision = |vertex: &String| {
            let restart = restarts.get(vertex).map(String::as_str);
            match &object {
                Object::Pipeline(pipeline) => revision::of_vertex(pipeline, vertex, restart),
                Object::Mono(mono) => revision::of_mono_vertex(mono, restart),
            }
        };
        let names = settings.vertices.iter().map(|vertex| vertex.name.clone());
        let revisions = names.map(|vertex| (vertex.clone(), revision(&vertex))).collect();
        Ok(Self { object, settings, revisions })
    }
}

/// The manifest of an object as its user wrote it: without what the API server and others have added.
pub(crate) fn manifest(object: &DynamicObject) -> Value {
    let kind = object.types.as_ref().map(|types| types.kind.clone()).unwrap_or_default();
    let said = object.metadata.annotations.iter().flatten();
    let annotations: BTreeMap<_, _> = said.filter(|(name, _)| ANNOTATIONS.contains(&name.as_str())).collect();
    let serving = object.metadata.labels.iter().flatten();
    let labels: BTreeMap<_, _> =
        serving.filter(|(name, _)| *name == api::names::SERVING_PIPELINE_LABEL).collect();
    let mut spec = object.data["spec"].clone();
    if kind == "MonoVertex"
        && let Some(spec) = spec.as_object_mut()
    {
        // The count of replicas is a wish beside the manifest: whoever scales writes it.
        spec.remove("replicas");
    }
    json!({
        "apiVersion": api::API_VERSION,
        "kind": kind,
        "metadata": {
            "name": object.metadata.name,
            "namespace": object.metadata.namespace,
            "annotations": annotations,
            "labels": labels,
        },
        "spec": spec,
    })
}

fn words(refusal: &Refusal) -> String {
    if refusal.complaints.is_empty() { refusal.message.clone() } else { refusal.complaints.join("; ") }
}
