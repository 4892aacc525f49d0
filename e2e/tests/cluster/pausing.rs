//! Pausing with a drain.

use std::time::Instant;

use serde_json::json;

use crate::kubectl::{self, LIMIT};
use crate::manifests::{PIPELINE, log, numbers, pipeline, program};

#[test]
fn a_source_that_never_has_data_pauses_drained() {
    let name = "empty";
    let mut source = numbers(0, 1);
    source["scale"] = json!({"min": 2, "max": 4});
    kubectl::apply(&pipeline(name, vec![source, log()]));
    kubectl::wait_for("condition=RolledOut", &format!("pipeline/{name}"), LIMIT);
    let patch = json!({"spec": {"lifecycle": {"desiredPhase": "Paused"}}}).to_string();
    kubectl::run(&["patch", "pipeline", name, "--type=merge", "-p", &patch]);
    let asked = Instant::now();
    let object = kubectl::until("pipeline", name, "paused", |object| object["status"]["phase"] == "Paused");
    println!("asked to pause to paused: {:?}", asked.elapsed());
    assert_eq!(object["status"]["drainedOnPause"], true);
    let pods = kubectl::list("pods", &format!("{PIPELINE}={name},app.kubernetes.io/component=vertex"));
    let stays = pods.iter().find(|pod| pod["metadata"]["deletionTimestamp"].is_null());
    assert_eq!(stays, None, "every worker was told to go");
    kubectl::delete("pipeline", name, PIPELINE);
}

#[test]
fn a_pause_drains_everything_and_a_resume_goes_on() {
    let name = "drain";
    let map =
        json!({"name": "cat", "scale": {"min": 1, "max": 1}, "udf": {"container": program(&["sdk_map"])}});
    kubectl::apply(&pipeline(name, vec![numbers(1_000_000, 200), map, log()]));
    let sink = format!("{PIPELINE}={name},numaflow.numaproj.io/vertex-name=out");
    e2e::wait::within(LIMIT, "a hundred messages have arrived", || {
        let pods = kubectl::list("pods", &sink);
        let runs = pods.iter().any(|pod| pod["status"]["phase"] == "Running");
        (runs && kubectl::numbers(&sink).len() >= 100).then_some(())
    });
    let patch = |phase: &str| json!({"spec": {"lifecycle": {"desiredPhase": phase}}}).to_string();
    kubectl::run(&["patch", "pipeline", name, "--type=merge", "-p", &patch("Paused")]);
    kubectl::wait_for("condition=Drained", &format!("pipeline/{name}"), LIMIT);
    let object = kubectl::until("pipeline", name, "paused", |object| object["status"]["phase"] == "Paused");
    assert_eq!(object["status"]["drainedOnPause"], true);
    kubectl::run(&["patch", "pipeline", name, "--type=merge", "-p", &patch("Running")]);
    let resumed = Instant::now();
    e2e::wait::within(LIMIT, "messages arrive again", || {
        let pods = kubectl::list("pods", &sink);
        let runs = pods.iter().any(|pod| pod["status"]["phase"] == "Running");
        (runs && !kubectl::numbers(&sink).is_empty()).then_some(())
    });
    println!("resume to flow: {:?}", resumed.elapsed());
    kubectl::delete("pipeline", name, PIPELINE);
}
