//! Objects that run: messages flow, and what `kubectl` shows is so.

use std::collections::BTreeMap;
use std::time::Duration;

use serde_json::{Value, json};

use crate::kubectl::{self, LIMIT};
use crate::lines::{self, first_message};
use crate::manifests::{MONO_VERTEX, PIPELINE, log, map, pipeline};
use crate::watch::Watch;

/// How far two moments of one clock are apart.
fn apart(from_nanos: i128, to_nanos: i128) -> Duration {
    Duration::from_nanos(u64::try_from(to_nanos - from_nanos).unwrap_or(0))
}

fn is_ready(pod: &Value) -> bool {
    let conditions = pod["status"]["conditions"].as_array().into_iter().flatten();
    conditions.into_iter().any(|one| one["type"] == "Ready" && one["status"] == "True")
}

/// How long it took until a pod was scheduled, its containers ran, and it was ready, in whole seconds after its creation.
fn steps(pod: &Value) -> String {
    let time = |value: &Value| value.as_str().and_then(|text| text.parse::<jiff::Timestamp>().ok());
    let created = time(&pod["metadata"]["creationTimestamp"]);
    let since = |at: Option<jiff::Timestamp>| match (created, at) {
        (Some(from), Some(to)) => format!("{}s", (to.as_second() - from.as_second())),
        _ => "?".to_owned(),
    };
    let condition = |name: &str| {
        let conditions = pod["status"]["conditions"].as_array().into_iter().flatten();
        let found = conditions.into_iter().find(|one| one["type"] == name && one["status"] == "True");
        since(found.and_then(|one| time(&one["lastTransitionTime"])))
    };
    let statuses = pod["status"]["containerStatuses"].as_array().into_iter().flatten();
    let numa = statuses.into_iter().find(|one| one["name"] == "numa");
    let started = since(numa.and_then(|one| time(&one["state"]["running"]["startedAt"])));
    let (initialized, ready) = (condition("Initialized"), condition("Ready"));
    let name = pod["metadata"]["name"].as_str().unwrap_or_default();
    format!("{name}: init containers {initialized}, our container {started}, ready {ready}")
}

#[test]
fn a_simple_pipeline_flows() {
    let name = "simple";
    let source = json!({"name": "in", "source": {"generator": {"rpu": 20, "duration": "1s"}}});
    let mut pods = Watch::all("pods", &format!("{PIPELINE}={name}"), LIMIT);
    let applied = lines::now_nanos();
    kubectl::apply(&pipeline(name, vec![source, map(1, &[], json!({})), log()]));
    let all = |pods: &BTreeMap<String, Value>| {
        (pods.len() == 4 && pods.values().all(is_ready)).then(|| pods.clone())
    };
    let (ready, _) = pods.until("the daemon's pod and three of workers are ready", all);
    let took = apart(applied, lines::now_nanos());
    let first = first_message(&format!("{PIPELINE}={name},numaflow.numaproj.io/vertex-name=out"));
    println!(
        "apply to the first message at the sink: {:?}; to all pods ready: {took:?}",
        apart(applied, first)
    );
    for pod in ready.values() {
        println!("  {}", steps(pod));
    }
    kubectl::rolled_out(name);
    let object = kubectl::until("pipeline", name, "healthy", |object| {
        let conditions = object["status"]["conditions"].as_array().into_iter().flatten();
        let goals = ["Paused", "Drained"];
        conditions
            .into_iter()
            .all(|one| one["status"] == "True" || goals.iter().any(|goal| one["type"] == *goal))
    });
    assert_eq!(object["status"]["phase"], "Running");
    assert_eq!(object["status"]["vertexCount"], 3);
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
    first_message(&selector);
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
