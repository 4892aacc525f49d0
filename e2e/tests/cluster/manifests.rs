//! The objects of the tests, small enough for a node with two cores.

use serde_json::{Value, json};

use crate::kubectl::programs;

/// The label that tells whose something is.
pub(crate) const PIPELINE: &str = "numaflow.numaproj.io/pipeline-name";
pub(crate) const MONO_VERTEX: &str = "numaflow.numaproj.io/mono-vertex-name";

fn small() -> Value {
    json!({"resources": {"requests": {"cpu": "10m", "memory": "16Mi"}}})
}

/// A container with one of the programs of the tests.
pub(crate) fn program(arguments: &[&str]) -> Value {
    json!({
        "image": programs(),
        "imagePullPolicy": "IfNotPresent",
        "command": [format!("/{}", arguments[0])],
        "args": &arguments[1..],
        "resources": {"requests": {"cpu": "10m", "memory": "16Mi"}},
    })
}

/// A pipeline of these vertices, each of which writes to the next.
pub(crate) fn pipeline(name: &str, vertices: Vec<Value>) -> Value {
    let names: Vec<Value> = vertices.iter().map(|vertex| vertex["name"].clone()).collect();
    let edges: Vec<Value> = names.windows(2).map(|pair| json!({"from": pair[0], "to": pair[1]})).collect();
    json!({
        "apiVersion": "numaflow.numaproj.io/v1alpha1",
        "kind": "Pipeline",
        "metadata": {"name": name},
        "spec": {
            "templates": {
                "vertex": {"containerTemplate": small()},
                "daemon": {"containerTemplate": small()},
                "job": {"containerTemplate": small()},
            },
            "vertices": vertices,
            "edges": edges,
        },
    })
}

/// A source of the numbers 0 to `count` − 1, at most `rate` a second.
pub(crate) fn numbers(count: u64, rate: u64) -> Value {
    let (count, rate) = (count.to_string(), rate.to_string());
    let container = program(&["sdk_source", &count, &rate, "/ledger/numbers"]);
    let mut source = json!({
        "name": "in",
        "scale": {"min": 1, "max": 1},
        "volumes": [{"name": "ledger", "emptyDir": {}}],
        "source": {"udsource": {"container": container}},
    });
    source["source"]["udsource"]["container"]["volumeMounts"] =
        json!([{"name": "ledger", "mountPath": "/ledger"}]);
    source
}

/// A sink that logs what it gets.
pub(crate) fn log() -> Value {
    json!({"name": "out", "scale": {"min": 1, "max": 1}, "sink": {"log": {}}})
}
