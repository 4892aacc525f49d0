//! Edits that verbs make of objects in a cluster. Pure. Invariant: an edit changes what it names and nothing else.

use api::change::{self, Class};
use plan::wanted::{Word, WordKind};
use serde_json::{Value, json};

use super::Found;
use crate::kube::names::ObjectKind;
use crate::kube::object::Words;
use crate::local::engine::Object;
use crate::local::site::{container_of, object_of, set_image};
use crate::place::{self, Refusal, RefusalKind};
use crate::view;

/// Has an object pause or go on.
pub(super) fn phase(phase: &str) -> Value {
    json!({ "spec": { "lifecycle": { "desiredPhase": phase } } })
}

/// The vertices of an object.
fn names(found: &Found) -> Vec<String> {
    match found.key.kind {
        ObjectKind::MonoVertex => vec![found.key.name.clone()],
        ObjectKind::Pipeline => {
            let vertices = found.object.data["spec"]["vertices"].as_array().into_iter().flatten();
            vertices.filter_map(|vertex| vertex["name"].as_str()).map(str::to_owned).collect()
        }
    }
}

/// The vertex that is named, or all.
pub(super) fn vertices(found: &Found, vertex: Option<String>) -> Result<Vec<String>, Refusal> {
    place::chosen(names(found), vertex)
}

/// The one vertex that is meant.
pub(super) fn one_vertex(found: &Found, vertex: Option<String>) -> Result<String, Refusal> {
    place::chosen_one(names(found), vertex)
}

/// The status of a vertex.
pub(super) fn status_of<'a>(found: &'a Found, vertex: &str) -> &'a Value {
    static NOTHING: Value = Value::Null;
    match found.key.kind {
        ObjectKind::MonoVertex => &found.object.data["status"],
        ObjectKind::Pipeline => {
            let of = found.vertices.iter().find(|one| one.data["spec"]["name"] == vertex);
            of.map_or(&NOTHING, |one| &one.data["status"])
        }
    }
}

/// The vertices that are rolling out.
pub(super) fn rolling(found: &Found, vertex: Option<String>) -> Result<Vec<String>, Refusal> {
    place::chosen_rolling(names(found), vertex, |vertex| {
        status_of(found, vertex)["rollout"]["startedAt"].is_string()
    })
}

/// Says the same word about several vertices.
pub(super) fn say(words: &mut Words, vertices: Vec<String>, kind: &WordKind) {
    let last = words.words.values().map(|word| word.number).max().unwrap_or(0);
    // Over annotations that were lost, a later word still has the larger number.
    let number = u64::try_from(super::show::now().millis()).unwrap_or(0).max(last + 1);
    for vertex in vertices {
        words.words.insert(vertex, Word { number, kind: kind.clone() });
    }
}

/// Gives a container another image.
pub(super) fn image(
    found: &Found,
    (vertex, container): (&str, Option<&str>),
    image: Option<&str>,
) -> Result<Value, Refusal> {
    let image = image.ok_or_else(|| Refusal::new(RefusalKind::Invalid, "set an image: give --image"))?;
    let mut manifest = crate::kube::object::manifest_of(&found.object);
    let object = object_of(&manifest)?;
    let (vertex, container) = container_of(&object, vertex, container)?;
    set_image(&mut manifest, (&vertex, &container), image)?;
    let resource_version = &found.object.metadata.resource_version;
    let spec = match found.key.kind {
        // A list is replaced as a whole, so the object has to be the one that was read.
        ObjectKind::Pipeline => json!({ "vertices": manifest["spec"]["vertices"] }),
        ObjectKind::MonoVertex => {
            json!({ "source": manifest["spec"]["source"], "udf": manifest["spec"]["udf"], "sink": manifest["spec"]["sink"] })
        }
    };
    Ok(json!({ "metadata": { "resourceVersion": resource_version }, "spec": spec }))
}

/// What applying a manifest over an object changes, the strongest first.
pub(super) fn changes(
    before: &kube::api::DynamicObject,
    manifest: &Value,
) -> Result<Vec<view::Change>, Refusal> {
    let (before, after) = (object_of(&crate::kube::object::manifest_of(before))?, object_of(manifest)?);
    let changes = match (&before, &after) {
        (Object::Pipeline(before), Object::Pipeline(after)) => change::classify_pipeline(before, after),
        (Object::Mono(before), Object::Mono(after)) => change::classify_mono_vertex(before, after),
        // Kinds are told apart before.
        (Object::Pipeline(_), Object::Mono(_)) | (Object::Mono(_), Object::Pipeline(_)) => Vec::new(),
    };
    let refused: Vec<String> = changes
        .iter()
        .filter(|change| change.class == Class::Refused)
        .map(|change| format!("{}: {}", change.path, change.reason))
        .collect();
    if !refused.is_empty() {
        let message = "apply: what cannot change while it exists differs";
        return Err(Refusal { complaints: refused, ..Refusal::new(RefusalKind::Conflict, message) });
    }
    let of = |change: change::Change| view::Change {
        path: change.path.to_string(),
        vertex: (!change.vertices.is_empty()).then(|| change.vertices.join(", ")),
        before: change.old,
        after: change.new,
        class: change.class.as_str().to_owned(),
        note: change.reason,
    };
    Ok(changes.into_iter().map(of).collect())
}
