//! Edits of a manifest that verbs make: pausing, resuming, another image. Invariant: an edit changes what it names and
//! nothing else, so that what a user wrote stays as they wrote it.

use serde_json::{Value, json};

use crate::local::engine::Object;
use crate::local::program;
use crate::place::{Refusal, RefusalKind};

/// Where each user container is in a vertex, by the name that people know it by.
const CONTAINERS: [(&str, &str); 6] = [
    ("udf", "/udf/container"),
    ("udsource", "/source/udsource/container"),
    ("transformer", "/source/transformer/container"),
    ("udsink", "/sink/udsink/container"),
    ("fb-udsink", "/sink/fallback/udsink/container"),
    ("ons-udsink", "/sink/onSuccess/udsink/container"),
];

/// Says whether the object shall be paused.
pub(super) fn set_paused(manifest: &mut Value, paused: bool) {
    let phase = if paused { "Paused" } else { "Running" };
    let lifecycle = &mut manifest["spec"]["lifecycle"];
    if lifecycle.is_object() {
        lifecycle["desiredPhase"] = json!(phase);
    } else {
        *lifecycle = json!({ "desiredPhase": phase });
    }
}

/// Keeps the phase that a verb has set when a manifest says nothing about it.
pub(super) fn keep_phase(before: &Value, manifest: &mut Value) {
    let phase = |manifest: &Value| manifest["spec"]["lifecycle"]["desiredPhase"].as_str().map(str::to_owned);
    if phase(manifest).is_none()
        && let Some(kept) = phase(before)
    {
        set_paused(manifest, kept == "Paused");
    }
}

/// The container that a verb means, as the address that `--exec` takes.
pub(crate) fn container_of(
    object: &Object,
    vertex: &str,
    container: Option<&str>,
) -> Result<(String, String), Refusal> {
    let all = match object {
        Object::Pipeline(pipeline) => program::of_pipeline(&pipeline.spec),
        Object::Mono(mono) => program::of_mono_vertex(mono.name(), &mono.spec),
    };
    let named = |found: &&program::UserContainer| {
        found.vertex == vertex && container.is_none_or(|container| found.name == container)
    };
    let found: Vec<_> = all.iter().filter(named).collect();
    match found.as_slice() {
        [one] => Ok((one.vertex.clone(), one.name.clone())),
        [] => {
            let exist: Vec<String> = all.iter().map(ToString::to_string).collect();
            let exist = if exist.is_empty() { "there are none".to_owned() } else { exist.join(", ") };
            let message =
                format!("find a user container of vertex {vertex}: those of the object are {exist}");
            Err(Refusal::new(RefusalKind::NotFound, message))
        }
        several => {
            let names: Vec<String> = several.iter().map(ToString::to_string).collect();
            let message = format!("vertex {vertex} has several containers: name one of {}", names.join(", "));
            Err(Refusal::new(RefusalKind::Invalid, message))
        }
    }
}

/// Gives a container another image.
pub(crate) fn set_image(
    manifest: &mut Value,
    (vertex, container): (&str, &str),
    image: &str,
) -> Result<(), Refusal> {
    let gone = || Refusal::new(RefusalKind::NotFound, format!("find container {vertex}/{container}"));
    let spec = if manifest["kind"] == "MonoVertex" {
        Some(&mut manifest["spec"])
    } else {
        let vertices = manifest["spec"]["vertices"].as_array_mut();
        vertices.and_then(|vertices| vertices.iter_mut().find(|found| found["name"] == vertex))
    };
    let place = CONTAINERS.iter().find(|(name, _)| *name == container);
    let found = spec.zip(place).and_then(|(spec, (_, place))| spec.pointer_mut(place));
    *found.ok_or_else(gone)?.get_mut("image").ok_or_else(gone)? = json!(image);
    Ok(())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn an_edit_changes_what_it_names() {
        let mut manifest = json!({"kind": "Pipeline", "spec": {"vertices": [
            {"name": "in", "source": {"generator": {}}},
            {"name": "cat", "udf": {"container": {"image": "cat:1", "args": ["x"]}}},
        ]}});
        set_image(&mut manifest, ("cat", "udf"), "cat:2").unwrap();
        assert_eq!(
            manifest["spec"]["vertices"][1]["udf"]["container"],
            json!({"image": "cat:2", "args": ["x"]})
        );
        let missing = set_image(&mut manifest, ("in", "udf"), "cat:2").unwrap_err();
        assert_eq!(missing.kind, RefusalKind::NotFound);
    }

    #[test]
    fn a_phase_that_was_set_stays_unless_the_manifest_says_one() {
        let mut before = json!({"spec": {}});
        set_paused(&mut before, true);
        let mut silent = json!({"spec": {"lifecycle": {"pauseGracePeriodSeconds": 5}}});
        keep_phase(&before, &mut silent);
        assert_eq!(
            silent["spec"]["lifecycle"],
            json!({"pauseGracePeriodSeconds": 5, "desiredPhase": "Paused"})
        );
        let mut loud = json!({"spec": {"lifecycle": {"desiredPhase": "Running"}}});
        keep_phase(&before, &mut loud);
        assert_eq!(loud["spec"]["lifecycle"]["desiredPhase"], "Running");
    }
}
