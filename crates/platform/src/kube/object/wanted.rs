//! What is wanted of an object, from what the API server has of it: the manifest, counts that others have set, words in
//! annotations, that it is deleted. Pure. Invariant: a wish that makes no sense changes nothing and is answered with the
//! reason; everything that was taken over before goes on.

use std::collections::BTreeMap;

use api::change::{self, Change, Class};
use api::names::check_label;
use kube::api::DynamicObject;
use plan::Time;
use plan::wanted::{Deletion, Word, WordKind};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::material::{self, Material};
use super::record::{Count, Record};
use crate::kube::names::{ASKED_ANNOTATION, DELETION_ANNOTATION, SCALE_ANNOTATION};
use crate::kube::store::Scope;
use crate::local::engine::Object;

/// What the verbs of rollouts leave in an annotation, by vertex.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct Words {
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
    /// By vertex, the count that anybody but us may set.
    counts: BTreeMap<String, Count>,
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
            counts.insert(name, count(object));
        }
        for vertex in scope.vertices.values() {
            let name = vertex.data["spec"]["name"].as_str().unwrap_or_default().to_owned();
            counts.insert(name, count(vertex));
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

/// The count in an object that others may set, and what marks its last return to the autoscaler.
fn count(object: &DynamicObject) -> Count {
    let annotation = |name: &str| object.metadata.annotations.as_ref()?.get(name).cloned();
    Count {
        life: object.metadata.uid.clone().unwrap_or_default(),
        replicas: object.data["spec"]["replicas"].as_u64().and_then(|count| u32::try_from(count).ok()),
        given_back: annotation(SCALE_ANNOTATION),
    }
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

/// We never write a count, so one that has changed was changed by somebody: a person, or an autoscaler of the cluster.
fn take_counts(next: &mut Record, looked: &Looked) {
    for (vertex, found) in &looked.counts {
        let before = next.counts.insert(vertex.clone(), found.clone());
        // At first sight it is what the object was made with.
        let Some(before) = before.filter(|before| before.life == found.life) else { continue };
        let given_back = before.given_back != found.given_back;
        if given_back || before.replicas != found.replicas {
            let asked = next.asked.entry(vertex.clone()).or_default();
            asked.replicas = found.replicas.filter(|_| !given_back);
            asked.replicas_number += 1;
        }
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
    let manifest = &next.with_initial(manifest);
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
