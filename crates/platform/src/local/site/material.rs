//! From a manifest and what was said about programs and values to what the engine and the plan need. Invariant: whatever
//! cannot be run is refused here, with everything that is in the way, before anything is touched.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::sync::Arc;

use api::resolve::{PipelineSettings, UpdateKind, VertexSettings};
use api::revision::{self, Revision};
use api::{MonoVertex, Pipeline};
use model::door::chain;
use serde_json::{Value, json};

use super::record::{Values as KeptValues, Ways};
use crate::local::engine::{self, Object, Version};
use crate::local::program::{self, Chosen, Exec, ImageMap, Program, UserContainer};
use crate::local::secrets::{self, Assignment, Kind, Values};
use crate::place::{Refusal, RefusalKind};

/// A manifest that can run here.
pub(super) struct Material {
    pub(super) object: Object,
    pub(super) settings: PipelineSettings,
    /// What the workers of each vertex run.
    pub(super) revisions: BTreeMap<String, Revision>,
    pub(super) programs: Vec<Chosen>,
    pub(super) values: Values,
    /// What stands in for something of a cluster, or is not as the manifest says, a sentence each.
    pub(super) substitutes: Vec<String>,
}

impl Material {
    /// Of a manifest.
    pub(super) fn of(
        manifest: &Value,
        ways: &Ways,
        kept: &KeptValues,
        restarts: &BTreeMap<String, String>,
    ) -> Result<Self, Refusal> {
        let object = object_of(manifest)?;
        let values = values_of(kept)?;
        values.check(&secrets::needs_of(&manifest["spec"])).map_err(|error| invalid(&error))?;
        let programs = programs_of(&object, ways)?;
        let mut settings = object.settings();
        let mut substitutes: Vec<String> =
            programs.iter().map(|chosen| chosen.announcement.clone()).collect();
        substitutes.extend(settings.vertices.iter_mut().filter_map(|vertex| fit(vertex, &object)));
        let revision = |vertex: &String| {
            let token = token(&programs, vertex, restarts.get(vertex));
            match &object {
                Object::Pipeline(pipeline) => revision::of_vertex(pipeline, vertex, token.as_deref()),
                Object::Mono(mono) => revision::of_mono_vertex(mono, token.as_deref()),
            }
        };
        let names = settings.vertices.iter().map(|vertex| vertex.name.clone());
        let revisions = names.map(|vertex| (vertex.clone(), revision(&vertex))).collect();
        Ok(Self { object, settings, revisions, programs, values, substitutes })
    }

    /// What the engine needs to run the workers of a vertex.
    pub(super) fn version(&self, vertex: &str, revision: &Revision) -> Arc<Version> {
        let own = self.programs.iter().filter(|chosen| chosen.container.vertex == vertex);
        Arc::new(Version {
            revision: revision.clone(),
            object: self.object.clone(),
            programs: own.cloned().collect(),
            values: self.values.clone(),
        })
    }
}

/// Makes the settings of a vertex fit one machine, where some sources have work for one worker only. Gives the sentence
/// that says so.
fn fit(vertex: &mut VertexSettings, object: &Object) -> Option<String> {
    let source = match object {
        Object::Pipeline(pipeline) => {
            let found = pipeline.spec.vertices.iter().find(|found| found.name == vertex.name);
            found.and_then(|found| found.source.as_deref())
        }
        Object::Mono(mono) => mono.spec.source.as_deref(),
    };
    let why = engine::alone(source)?;
    let wanted = vertex.scale.max;
    for count in [&mut vertex.scale.min, &mut vertex.scale.max, &mut vertex.replicas] {
        *count = (*count).min(1);
    }
    if engine::exclusive(source).is_none() {
        return (wanted > 1).then(|| format!("vertex {} has at most 1 worker here: {why}", vertex.name));
    }
    // A successor could not begin beside its predecessor.
    vertex.update.kind = UpdateKind::Recreate;
    Some(format!(
        "vertex {} has at most 1 worker here, and an update stops it before the next one starts: {why}",
        vertex.name
    ))
}

/// What a version of a vertex runs beside what its manifest says: which programs stand for its images here, and the last
/// restart that somebody asked for.
fn token(programs: &[Chosen], vertex: &str, restart: Option<&String>) -> Option<String> {
    let own = programs.iter().filter(|chosen| chosen.container.vertex == vertex);
    let processes = own.filter_map(|chosen| match &chosen.program {
        Program::Process(process) => {
            Some(json!([chosen.container.name, process.command, process.env, process.working_dir]))
        }
        Program::StandIn { .. } => None,
    });
    let processes: Vec<Value> = processes.collect();
    if processes.is_empty() { restart.cloned() } else { Some(json!([processes, restart]).to_string()) }
}

/// The checked object of a manifest that was applied before or is about to be.
pub(crate) fn object_of(manifest: &Value) -> Result<Object, Refusal> {
    let unreadable = |error: serde_json::Error| invalid(&error);
    if manifest["kind"] == "MonoVertex" {
        let mono = MonoVertex::from_value(manifest.clone()).map_err(unreadable)?;
        let (mono, _) = api::check(mono).map_err(|complaints| refused(&complaints))?;
        return Ok(Object::Mono(Box::new(mono)));
    }
    let pipeline = Pipeline::from_value(manifest.clone()).map_err(unreadable)?;
    let (pipeline, _) = api::check(pipeline).map_err(|complaints| refused(&complaints))?;
    Ok(Object::Pipeline(Box::new(pipeline)))
}

fn values_of(kept: &KeptValues) -> Result<Values, Refusal> {
    let mut values = Values::default();
    for (kind, assignments) in [(Kind::Secret, &kept.secrets), (Kind::ConfigMap, &kept.config_maps)] {
        for text in assignments {
            let assignment: Assignment = text.parse().map_err(|error: secrets::Error| invalid(&error))?;
            values.insert(kind, &assignment);
        }
    }
    Ok(values)
}

fn programs_of(object: &Object, ways: &Ways) -> Result<Vec<Chosen>, Refusal> {
    let containers: Vec<UserContainer> = match object {
        Object::Pipeline(pipeline) => program::of_pipeline(&pipeline.spec),
        Object::Mono(mono) => program::of_mono_vertex(mono.name(), &mono.spec),
    };
    let images = match &ways.image_map {
        Some((path, text)) => ImageMap::parse(text, path).map_err(|error| invalid(&error))?,
        None => ImageMap::default(),
    };
    let execs = ways.exec.iter().map(|text| text.parse::<Exec>());
    let mut execs = execs.collect::<Result<Vec<_>, _>>().map_err(|error| invalid(&error))?;
    // What was said for another shape of the object is of no use to this one.
    execs.retain(|exec| containers.iter().any(|found| found.vertex == exec.address.vertex));
    let ways = program::Ways {
        execs: &execs,
        images: &images,
        search_path: Some(OsString::from(&ways.search_path)),
        working_dir: &ways.working_dir,
        has_stand_in: &|image| connect::udf::native::stand_in(image).is_some(),
    };
    program::choose(containers, &ways).map_err(|error| invalid(&error))
}

/// The refusal of something that makes no sense, in the words of the error and its causes.
pub(super) fn invalid(error: &dyn std::error::Error) -> Refusal {
    Refusal::new(RefusalKind::Invalid, chain(error))
}

/// The refusal of manifests with errors.
pub(super) fn refused(complaints: &[api::Complaint]) -> Refusal {
    let lines: Vec<String> = complaints.iter().map(ToString::to_string).collect();
    let message = "the manifest has errors".to_owned();
    Refusal { kind: RefusalKind::Invalid, message, complaints: lines }
}
