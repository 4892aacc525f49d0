//! The objects of the tests, small enough for a node with two cores.

use serde_json::{Value, json};

use crate::kubectl::{self, LIMIT, programs};
use crate::lines::Lines;

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
            "vertices": Value::Array(vertices),
            "edges": edges,
        },
    })
}

/// A source of the numbers 0 to `count` − 1, at most `rate` a second, each pod for itself.
pub(crate) fn numbers(count: u64, rate: u64) -> Value {
    source(count, rate, &[], json!({"name": "ledger", "emptyDir": {}}))
}

/// The same of all pods together, and of those that come after a pause too: what was given is kept in a claim. Makes it.
pub(crate) fn kept_numbers(pipeline: &str, (count, rate): (u64, u64), more: &[&str]) -> Value {
    let claim = claim(pipeline);
    kubectl::apply(&json!({
        "apiVersion": "v1",
        "kind": "PersistentVolumeClaim",
        "metadata": {"name": claim},
        "spec": {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "10Mi"}}},
    }));
    let volume = json!({"name": "ledger", "persistentVolumeClaim": {"claimName": claim}});
    let mut source = source(count, rate, more, volume);
    // A volume of a directory on the node belongs to root.
    source["securityContext"] = json!({"runAsUser": 0, "runAsNonRoot": false});
    source
}

/// Waits until all numbers have come, each once, and takes away a pipeline whose numbers are kept.
pub(crate) fn finish_exact(pipeline: &str, lines: Lines, count: u64) {
    lines.until_complete(count, LIMIT);
    lines.assert_exact(count);
    drop(lines);
    kubectl::delete("pipeline", pipeline, PIPELINE);
    drop_claim(pipeline);
}

/// Removes what [`kept_numbers`] has made.
pub(crate) fn drop_claim(pipeline: &str) {
    kubectl::run(&["delete", "persistentvolumeclaim", &claim(pipeline), "--wait=false"]);
}

fn claim(pipeline: &str) -> String {
    format!("{pipeline}-ledger")
}

fn source(count: u64, rate: u64, more: &[&str], volume: Value) -> Value {
    let (count, rate) = (count.to_string(), rate.to_string());
    let arguments = [&["sdk_source", &count, &rate, "/ledger/numbers"], more].concat();
    let mut container = program(&arguments);
    container["volumeMounts"] = json!([{"name": "ledger", "mountPath": "/ledger"}]);
    json!({
        "name": "in",
        "scale": {"min": 1, "max": 1},
        "volumes": Value::Array(vec![volume]),
        "source": {"udsource": {"container": container}},
    })
}

/// A map that does what its arguments say, with so many workers.
pub(crate) fn map(replicas: u32, arguments: &[&str], strategy: Value) -> Value {
    let mut map = json!({
        "name": "cat",
        "scale": {"min": replicas, "max": replicas},
        "udf": {"container": program(&[&["sdk_map"], arguments].concat())},
    });
    map["updateStrategy"] = strategy;
    map
}

/// A sink that logs what it gets.
pub(crate) fn log() -> Value {
    json!({"name": "out", "scale": {"min": 1, "max": 1}, "sink": {"log": {}}})
}

/// The same, no more than `rate` a second.
pub(crate) fn slow_log(rate: u64) -> Value {
    let mut sink = log();
    sink["limits"] = json!({"readBatchSize": 10, "rateLimit": {"max": rate, "min": rate}});
    sink
}
