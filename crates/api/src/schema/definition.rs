//! The custom resource definitions of the five kinds, as a Kubernetes API server takes them: made from the same schema
//! that manifests are checked along. What each kind adds to its schema is in `extras`, the rewriting in `structural`.
//! The invariant: a definition is refused by no API server from 1.29 on, and fits into one etcd object many times over.

mod extras;
mod structural;

use serde_json::{Value, json};

use super::json_schema;
use crate::spec::resource::{GROUP, VERSION};
use crate::spec::{
    InterStepBufferServiceSpec, Kind, MonoVertexSpec, PipelineSpec, ServingPipelineSpec, VertexSpec,
};
use extras::Extras;

/// How much of the schema the API server is to know.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Detail {
    /// Every field, with bounds, defaults and rules.
    Full,
    /// Any field whatever, for clusters where definitions of another release must not be in the way; controllers check
    /// and fill in everything themselves.
    Minimal,
}

/// The name of a definition, such as `pipelines.numaflow.numaproj.io`.
pub fn name<S: Kind>() -> String {
    format!("{}.{GROUP}", S::PLURAL)
}

/// The definitions of all kinds, in the order in which they are best applied.
pub fn definitions(detail: Detail) -> Vec<Value> {
    vec![
        definition::<InterStepBufferServiceSpec>(&extras::INTER_STEP_BUFFER_SERVICE, detail),
        definition::<PipelineSpec>(&extras::PIPELINE, detail),
        definition::<VertexSpec>(&extras::VERTEX, detail),
        definition::<MonoVertexSpec>(&extras::MONO_VERTEX, detail),
        definition::<ServingPipelineSpec>(&extras::SERVING_PIPELINE, detail),
    ]
}

fn definition<S: Kind>(extras: &Extras, detail: Detail) -> Value {
    let schema = match detail {
        Detail::Full => full::<S>(extras),
        Detail::Minimal => minimal(extras),
    };
    let mut subresources = json!({"status": {}});
    if extras.scales {
        subresources["scale"] = json!({
            "specReplicasPath": ".spec.replicas",
            "statusReplicasPath": ".status.replicas",
            "labelSelectorPath": ".status.selector",
        });
    }
    let columns: Vec<Value> = extras.columns.iter().map(extras::Column::to_value).collect();
    json!({
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": {"name": name::<S>(), "labels": {"app.kubernetes.io/part-of": "numaflow"}},
        "spec": {
            "group": GROUP,
            "names": {
                "kind": S::KIND,
                "listKind": format!("{}List", S::KIND),
                "plural": S::PLURAL,
                "singular": S::KIND.to_ascii_lowercase(),
                "shortNames": [S::SHORT],
            },
            "scope": "Namespaced",
            "versions": [{
                "name": VERSION,
                "served": true,
                "storage": true,
                "additionalPrinterColumns": columns,
                "schema": {"openAPIV3Schema": schema},
                "subresources": subresources,
            }],
        },
    })
}

fn full<S: Kind>(extras: &Extras) -> Value {
    let mut schema = structural::structural(&json_schema::<S>());
    for path in extras.undescribed {
        structural::remove_descriptions(at(&mut schema, path));
    }
    for (path, default) in extras.defaults {
        let default: Value = serde_json::from_str(default).expect("defaults are JSON, which a test shows");
        at(&mut schema, path)["default"] = default;
    }
    for (path, key) in extras.maps {
        let list = at(&mut schema, path);
        list["x-kubernetes-list-type"] = json!("map");
        list["x-kubernetes-list-map-keys"] = json!([key]);
    }
    for rule in extras.rules {
        let target = at(&mut schema, rule.path);
        let mut rules = target["x-kubernetes-validations"].take();
        if rules.is_null() {
            rules = json!([]);
        }
        rules.as_array_mut().expect("only rules are put there").push(json!({
            "rule": rule.holds,
            "message": rule.message,
        }));
        target["x-kubernetes-validations"] = rules;
    }
    schema["required"] = json!(["spec"]);
    schema
}

/// The schema at a path such as `spec.vertices[].name`.
fn at<'a>(schema: &'a mut Value, path: &str) -> &'a mut Value {
    let mut found = schema;
    for step in path.split('.') {
        let (name, is_item) = step.strip_suffix("[]").map_or((step, false), |name| (name, true));
        found = &mut found["properties"][name];
        if is_item {
            found = &mut found["items"];
        }
        assert!(found.is_object(), "the schema has no {path}");
    }
    found
}

fn minimal(extras: &Extras) -> Value {
    let open = json!({"type": "object", "x-kubernetes-preserve-unknown-fields": true});
    let mut spec = open.clone();
    if extras.scales {
        spec["properties"] = json!({"replicas": {"type": "integer", "format": "int32", "default": 1}});
    }
    let mut status = open;
    if extras.scales {
        // The scale subresource names these, and an API server that knows their types reads them for sure.
        status["properties"] = json!({
            "replicas": {"type": "integer", "format": "int64"},
            "selector": {"type": "string"},
        });
    }
    json!({
        "type": "object",
        "properties": {
            "apiVersion": {"type": "string"},
            "kind": {"type": "string"},
            "metadata": {"type": "object"},
            "spec": spec,
            "status": status,
        },
        "required": ["spec"],
    })
}
