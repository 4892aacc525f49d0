//! Two objects side by side: what differs in their manifests, and what in their workers. The invariant: a difference is
//! as deep as both sides are objects, so what only one side has is one difference.

use std::collections::{BTreeMap, BTreeSet};

use serde::Serialize;
use serde_json::{Value, json};

use super::Class;
use super::place::{Place, Positions, arrange};
use crate::check::Checked;
use crate::revision::{mono_vertex_worker, vertex_worker};
use crate::spec::{Kind, Resource};
use crate::{InterStepBufferService, MonoVertex, Pipeline};

/// An object before or after an edit.
pub(super) struct Side {
    /// Labels, annotations and spec, with named lists as objects.
    pub(super) manifest: Value,
    pub(super) positions: Positions,
    /// What the workers of each vertex read when they start.
    workers: BTreeMap<String, Value>,
    /// The vertex that all of the spec is about.
    only_vertex: Option<String>,
}

impl Side {
    fn new<S: Kind + Serialize>(object: &Resource<S>) -> Self {
        let mut spec = serde_json::to_value(&object.spec).expect("a spec is plain data");
        let positions = arrange(&mut spec);
        let metadata = &object.metadata;
        let manifest = json!({
            "metadata": {
                "labels": metadata.labels,
                "annotations": metadata.annotations,
                "deletionGracePeriodSeconds": metadata.deletion_grace_period_seconds,
            },
            "spec": spec,
        });
        Self { manifest, positions, workers: BTreeMap::new(), only_vertex: None }
    }

    pub(super) fn of_pipeline(object: &Checked<Pipeline>) -> Self {
        let names = object.spec.vertices.iter().map(|vertex| &vertex.name);
        let workers = names.filter_map(|name| Some((name.clone(), vertex_worker(object, name)?)));
        Self { workers: workers.collect(), ..Self::new(object) }
    }

    pub(super) fn of_mono_vertex(object: &Checked<MonoVertex>) -> Self {
        let name = object.name().to_owned();
        let workers = BTreeMap::from([(name.clone(), mono_vertex_worker(object))]);
        Self { workers, only_vertex: Some(name), ..Self::new(object) }
    }

    pub(super) fn of_buffer_service(object: &Checked<InterStepBufferService>) -> Self {
        Self::new(object)
    }

    /// The vertex that the place lies in.
    pub(super) fn owner(&self, place: &Place) -> Option<String> {
        match place.of_spec().as_slice() {
            ["vertices", name, ..] => Some((*name).to_owned()),
            [] => None,
            _ => self.only_vertex.clone(),
        }
    }
}

/// A difference between the workers of a vertex before and after.
pub(super) struct Effect {
    pub(super) vertex: String,
    /// Where in what the worker reads.
    pub(super) place: Place,
    pub(super) old: Value,
    pub(super) new: Value,
    pub(super) class: Class,
    pub(super) reason: &'static str,
}

impl Effect {
    /// All of them, for the vertices that are on both sides.
    pub(super) fn all(old: &Side, new: &Side) -> Vec<Self> {
        let both = old.workers.iter().filter_map(|(name, old)| Some((name, old, new.workers.get(name)?)));
        let of_vertex = |(name, old, new): (&String, &Value, &Value)| {
            let vertex = name.clone();
            differences(old, new).into_iter().map(move |(place, old, new)| {
                let (class, reason) = judge(&place);
                Self { vertex: vertex.clone(), place, old, new, class, reason }
            })
        };
        both.flat_map(of_vertex).collect()
    }
}

/// What a difference in what a worker reads takes.
fn judge(place: &Place) -> (Class, &'static str) {
    match place.names().as_slice() {
        ["from", ..] | ["to", _] => (Class::NeedsDrain, "an edge comes or goes"),
        ["vertex", "partitions"] | ["to", _, "partitions"] => {
            (Class::NeedsDrain, "messages that wait are spread over the partitions there are")
        }
        ["vertex", "ordered", ..] | ["to", _, "ordered"] => {
            (Class::NeedsDrain, "messages that wait are spread for the order that was wanted of them")
        }
        ["vertex", "limits", "bufferMaxLength" | "bufferUsageLimit"] => {
            (Class::NeedsDrain, "a buffer in use keeps the room it was opened with")
        }
        ["vertex", "udf", "groupBy"] | ["vertex", "udf", "groupBy", "window" | "keyed" | "storage", ..] => {
            (Class::NeedsDrain, "open windows are kept as they were opened")
        }
        // The source itself appears or disappears; its settings lie deeper.
        ["vertex", "source", kind] if *kind != "transformer" => {
            (Class::NeedsDrain, "another kind of source cannot go on where this one has stopped")
        }
        ["vertex", "source", "file", "path"] => {
            (Class::NeedsDrain, "another file cannot go on where this one has stopped")
        }
        _ => (Class::Rolling, "workers read it when they start"),
    }
}

/// Where two values differ, with what stands there on both sides, null for nothing. In the order of names.
pub(super) fn differences(old: &Value, new: &Value) -> Vec<(Place, Value, Value)> {
    let mut found = Vec::new();
    differences_inside(old, new, &Place::default(), &mut found);
    found
}

fn differences_inside(old: &Value, new: &Value, place: &Place, found: &mut Vec<(Place, Value, Value)>) {
    match (old, new) {
        _ if old == new => {}
        (Value::Object(before), Value::Object(after)) => {
            let names: BTreeSet<&String> = before.keys().chain(after.keys()).collect();
            for name in names {
                let member = |object: &Value| object.get(name).cloned().unwrap_or(Value::Null);
                differences_inside(&member(old), &member(new), &place.inside(name), found);
            }
        }
        _ => found.push((place.clone(), old.clone(), new.clone())),
    }
}
