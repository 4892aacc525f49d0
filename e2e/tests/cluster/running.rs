//! Objects that run: messages flow, and what `kubectl` shows is so.

use std::time::Instant;

use e2e::wait;
use serde_json::json;

use crate::kubectl::{self, LIMIT};
use crate::manifests::{MONO_VERTEX, PIPELINE, pipeline};

#[test]
fn a_simple_pipeline_flows() {
    let name = "simple";
    let source = json!({"name": "in", "source": {"generator": {"rpu": 20, "duration": "1s"}}});
    let sink = json!({"name": "out", "sink": {"log": {}}});
    kubectl::apply(&pipeline(name, vec![source, sink]));
    let applied = Instant::now();
    let selector = format!("{PIPELINE}={name},numaflow.numaproj.io/vertex-name=out");
    let first = wait::within(LIMIT, "the sink has logged", || {
        let pods = kubectl::list("pods", &selector);
        let runs = pods.iter().any(|pod| pod["status"]["phase"] == "Running");
        let lines = runs.then(|| kubectl::run(&["logs", "-l", &selector, "-c", "numa", "--tail=1"]))?;
        lines.contains("Payload - ").then(|| applied.elapsed())
    });
    println!("apply to the first message at the sink: {first:?}");
    kubectl::wait_for("condition=RolledOut", &format!("pipeline/{name}"), LIMIT);
    let object = kubectl::until("pipeline", name, "healthy", |object| {
        let conditions = object["status"]["conditions"].as_array().into_iter().flatten();
        let goals = ["Paused", "Drained"];
        conditions
            .into_iter()
            .all(|one| one["status"] == "True" || goals.iter().any(|goal| one["type"] == *goal))
    });
    assert_eq!(object["status"]["phase"], "Running");
    assert_eq!(object["status"]["vertexCount"], 2);
    kubectl::delete("pipeline", name, PIPELINE);
}

#[test]
fn a_mono_vertex_flows_and_scales_by_hand() {
    let name = "one";
    let small = json!({"resources": {"requests": {"cpu": "10m", "memory": "16Mi"}}});
    kubectl::apply(&json!({
        "apiVersion": "numaflow.numaproj.io/v1alpha1",
        "kind": "MonoVertex",
        "metadata": {"name": name},
        "spec": {
            "containerTemplate": small,
            "daemonTemplate": {"containerTemplate": small},
            "source": {"generator": {"rpu": 20, "duration": "1s"}},
            "sink": {"log": {}},
        },
    }));
    let selector = format!("{MONO_VERTEX}={name},app.kubernetes.io/component=mono-vertex");
    wait::within(LIMIT, "the sink has logged", || {
        let pods = kubectl::list("pods", &selector);
        let runs = pods.iter().any(|pod| pod["status"]["phase"] == "Running");
        let lines = runs.then(|| kubectl::run(&["logs", "-l", &selector, "-c", "numa", "--tail=1"]))?;
        lines.contains("Payload - ").then_some(())
    });
    kubectl::run(&["scale", "monovertex", name, "--replicas=2"]);
    kubectl::until("monovertex", name, "at two ready workers", |object| {
        object["status"]["readyReplicas"] == 2
    });
    kubectl::delete("monovertex", name, MONO_VERTEX);
}

#[test]
fn a_pipeline_without_its_buffer_service_waits_and_says_so() {
    let name = "waits";
    let source = json!({"name": "in", "source": {"generator": {"rpu": 1}}});
    let mut manifest = pipeline(name, vec![source, json!({"name": "out", "sink": {"log": {}}})]);
    manifest["spec"]["interStepBufferServiceName"] = json!("missing");
    kubectl::apply(&manifest);
    let object = kubectl::until("pipeline", name, "waiting", |object| {
        object["status"]["message"].as_str().is_some_and(|message| message.contains("missing"))
    });
    assert_ne!(object["status"]["phase"], "Failed");
    kubectl::run(&["delete", "pipeline", name, "--timeout=30s"]);
}

#[test]
fn a_broken_manifest_is_refused_with_the_reason() {
    let name = "broken";
    let mut manifest = pipeline(
        name,
        vec![
            json!({"name": "in", "source": {"generator": {"rpu": 1}}}),
            json!({"name": "out", "sink": {"log": {}}}),
        ],
    );
    manifest["spec"]["edges"][0]["to"] = json!("nowhere");
    kubectl::apply(&manifest);
    let object = kubectl::until("pipeline", name, "failed", |object| object["status"]["phase"] == "Failed");
    let message = object["status"]["message"].as_str().unwrap_or_default();
    assert!(message.contains("nowhere"), "{message}");
    kubectl::run(&["delete", "pipeline", name, "--timeout=30s"]);
}
