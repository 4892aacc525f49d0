//! What is wanted of an object, from what the API server has of it: the manifest, counts that others have set, words in
//! annotations, that it is deleted. Pure. Invariant: a wish that makes no sense changes nothing and is answered with the
//! reason; everything that was taken over before goes on.

use std::collections::BTreeMap;

use api::change::{self, Change, Class};
use api::names::check_label;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::api::DynamicObject;
use plan::Time;
use plan::wanted::{Deletion, Word, WordKind};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::material::{self, Material};
use super::record::Record;
use crate::kube::FIELD_MANAGER;
use crate::kube::names::{ASKED_ANNOTATION, DELETION_ANNOTATION};
use crate::kube::store::Scope;
use crate::local::engine::Object;

/// What the verbs of rollouts leave in an annotation, by vertex.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub(super) struct Words {
    /// The last word about the rollout of each vertex.
    pub words: BTreeMap<String, Word>,
    /// A token of each vertex that was restarted.
    pub restarts: BTreeMap<String, String>,
}

/// Why a wish is not taken over.
#[derive(Debug, thiserror::Error)]
pub(super) enum Error {
    /// The manifest cannot run.
    #[error(transparent)]
    Manifest(#[from] material::Error),
    /// The edit is not possible while the object exists.
    #[error("{}; undo the edit, or delete the object first", refused(.0))]
    Refused(Vec<Change>),
    /// An annotation says nothing that makes sense.
    #[error("understand the annotation {ASKED_ANNOTATION}")]
    Words(#[source] serde_json::Error),
}

/// What is asked of an object on the API server.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Looked {
    pub(super) manifest: Value,
    words: Words,
    /// By vertex, the count that somebody else has set, and what tells this time of setting from others.
    counts: BTreeMap<String, (Option<u32>, String)>,
    deletion: Option<Deletion>,
}

impl Looked {
    /// What is asked, from all that is known of the object.
    pub(super) fn of(object: &DynamicObject, scope: &Scope) -> Result<Self, Error> {
        let annotation = |name: &str| object.metadata.annotations.as_ref()?.get(name);
        let words = annotation(ASKED_ANNOTATION).map(|text| serde_json::from_str(text)).transpose();
        let forced = annotation(DELETION_ANNOTATION).is_some_and(|text| text == "force");
        let deletion = object.metadata.deletion_timestamp.as_ref();
        let is_mono = object.types.as_ref().is_some_and(|types| types.kind == "MonoVertex");
        let mut counts = BTreeMap::new();
        if is_mono {
            let name = object.metadata.name.clone().unwrap_or_default();
            counts.insert(name, count(object, |subresource, _| subresource == Some("scale")));
        }
        for vertex in scope.vertices.values() {
            let name = vertex.data["spec"]["name"].as_str().unwrap_or_default().to_owned();
            counts.insert(name, count(vertex, |_, manager| manager != FIELD_MANAGER));
        }
        Ok(Self {
            manifest: material::manifest(object),
            words: words.map_err(Error::Words)?.unwrap_or_default(),
            counts,
            deletion: deletion
                .map(|at| Deletion { since: Time::from_millis(at.0.as_millisecond()), force: forced }),
        })
    }
}

/// The count in `spec.replicas` of whoever is meant, with what tells one time of setting from the next.
fn count(object: &DynamicObject, is_meant: impl Fn(Option<&str>, &str) -> bool) -> (Option<u32>, String) {
    let owner = owners_of_replicas(&object.metadata)
        .find(|(subresource, manager, _)| is_meant(subresource.as_deref(), manager));
    let set = object.data["spec"]["replicas"].as_u64().and_then(|count| u32::try_from(count).ok());
    match (owner, set) {
        (Some((_, manager, at)), Some(count)) => (Some(count), format!("{manager} {at}")),
        _ => (None, String::new()),
    }
}

/// Who has set `spec.replicas`: subresource, manager and time.
fn owners_of_replicas(meta: &ObjectMeta) -> impl Iterator<Item = (Option<String>, String, String)> {
    meta.managed_fields.iter().flatten().filter_map(|entry| {
        let fields = &entry.fields_v1.as_ref()?.0;
        fields.get("f:spec")?.get("f:replicas")?;
        let at = entry.time.as_ref().map_or_else(String::new, |at| at.0.to_string());
        Some((entry.subresource.clone(), entry.manager.clone().unwrap_or_default(), at))
    })
}

/// The record with what is asked taken over.
pub(super) fn take(record: &Record, looked: &Looked) -> Result<(Record, Material), Error> {
    let mut next = record.clone();
    next.deletion = looked.deletion;
    take_counts(&mut next, looked);
    if record.deletion.is_none() && looked.deletion.is_none() {
        take_words(&mut next, &looked.words)?;
        take_manifest(&mut next, &looked.manifest)?;
    }
    let material = Material::of(&next.shape, &next.restarts)?;
    next.note_versions(&material);
    if next != *record {
        next.generation += 1;
    }
    Ok((next, material))
}

fn take_counts(next: &mut Record, looked: &Looked) {
    for (vertex, found) in &looked.counts {
        if next.counts.get(vertex).unwrap_or(&(None, String::new())) == found {
            continue;
        }
        next.counts.insert(vertex.clone(), found.clone());
        let asked = next.asked.entry(vertex.clone()).or_default();
        asked.replicas = found.0;
        asked.replicas_number += 1;
    }
}

fn take_words(next: &mut Record, words: &Words) -> Result<(), Error> {
    for (vertex, word) in &words.words {
        if check_label(vertex).is_err() {
            continue;
        }
        let asked = next.asked.entry(vertex.clone()).or_default();
        if asked.word.as_ref().is_none_or(|said| said.number < word.number) {
            asked.word = Some(word.clone());
        }
    }
    for (vertex, token) in &words.restarts {
        if next.restarts.get(vertex) != Some(token) {
            restart(next, vertex, token)?;
        }
    }
    Ok(())
}

/// Has the version that serves served by fresh workers: as an edit of the wanted version that changes nothing else, or,
/// where another one is kept in its place, as a version of its own that is like the one that is kept.
fn restart(next: &mut Record, vertex: &str, token: &str) -> Result<(), Error> {
    let memory = next.memory.vertices.get(vertex).map(|memory| &memory.rollout);
    let kept = memory.and_then(|memory| {
        let serve = memory.held.as_ref()?.serve.clone();
        Some((next.versions.get(vertex)?.get(&serve)?.clone(), memory.obeyed))
    });
    let Some((hash, obeyed)) = kept else {
        next.restarts.insert(vertex.to_owned(), token.to_owned());
        return Ok(());
    };
    let tokens = [(vertex.to_owned(), token.to_owned())].into();
    let material = Material::of(&next.manifests[&hash], &tokens)?;
    let Some(to) = material.revisions.get(vertex).cloned() else { return Ok(()) };
    let versions = next.versions.entry(vertex.to_owned()).or_default();
    if versions.insert(to.clone(), hash).is_none() {
        let asked = next.asked.entry(vertex.to_owned()).or_default();
        let said = asked.word.as_ref().map_or(0, |word| word.number);
        asked.word = Some(Word { number: said.max(obeyed) + 1, kind: WordKind::Serve { to } });
    }
    Ok(())
}

/// Takes over an edit: at once where the buffers allow it, otherwise as the shape that waits for a drain.
fn take_manifest(next: &mut Record, manifest: &Value) -> Result<(), Error> {
    if next.manifest == *manifest {
        return Ok(());
    }
    let none = BTreeMap::new();
    let after = Material::of(manifest, &none)?;
    let changes = classify(&Material::of(&next.manifest, &none)?, &after);
    let refused: Vec<Change> = changes.into_iter().filter(|change| change.class == Class::Refused).collect();
    if !refused.is_empty() {
        return Err(Error::Refused(refused));
    }
    let shape = Material::of(&next.shape, &none)?;
    next.manifest = manifest.clone();
    if classify(&shape, &after).iter().any(|change| change.class == Class::NeedsDrain) {
        // What is live takes effect at once: whether it runs, and how it stops.
        let lifecycle = manifest["spec"]["lifecycle"].clone();
        if !lifecycle.is_null() {
            next.shape["spec"]["lifecycle"] = lifecycle;
        }
    } else {
        next.shape = manifest.clone();
    }
    Ok(())
}

fn classify(before: &Material, after: &Material) -> Vec<Change> {
    match (&before.object, &after.object) {
        (Object::Pipeline(before), Object::Pipeline(after)) => change::classify_pipeline(before, after),
        (Object::Mono(before), Object::Mono(after)) => change::classify_mono_vertex(before, after),
        // Objects of two kinds never have one record.
        (Object::Pipeline(_), Object::Mono(_)) | (Object::Mono(_), Object::Pipeline(_)) => Vec::new(),
    }
}

fn refused(changes: &[Change]) -> String {
    let line = |change: &Change| format!("{}: {}", change.path, change.reason);
    changes.iter().map(line).collect::<Vec<_>>().join("; ")
}
