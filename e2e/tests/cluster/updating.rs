//! Updates under numbered load: nothing is lost, nothing comes twice, and there are never too few or too many pods.

use std::ops::ControlFlow;
use std::time::{Duration, Instant};

use e2e::wait;
use serde_json::{Value, json};

use crate::kubectl::{self, LIMIT};
use crate::manifests::{PIPELINE, log, numbers, pipeline, program};

/// How often pods are counted.
const SAMPLE: Duration = Duration::from_millis(100);

#[test]
fn a_rolling_update_keeps_its_bounds_and_every_number() {
    let (name, count) = ("roll", 6_000);
    let map = |word: &str| {
        let mut container = program(&["sdk_map"]);
        container["env"] = json!([{"name": "WORD", "value": word}]);
        json!({
            "name": "cat",
            "scale": {"min": 4, "max": 4},
            "updateStrategy": {
                "type": "RollingUpdate",
                "rollingUpdate": {"maxUnavailable": "25%", "maxSurge": 1},
            },
            "udf": {"container": container},
        })
    };
    kubectl::apply(&pipeline(name, vec![numbers(count, 100), map("one"), log()]));
    kubectl::wait_for("condition=RolledOut", &format!("pipeline/{name}"), LIMIT);
    let sink = format!("{PIPELINE}={name},numaflow.numaproj.io/vertex-name=out");
    wait::within(LIMIT, "messages arrive", || (!kubectl::numbers(&sink).is_empty()).then_some(()));
    kubectl::apply(&pipeline(name, vec![numbers(count, 100), map("two"), log()]));
    let started = Instant::now();
    let cats = format!("{PIPELINE}={name},numaflow.numaproj.io/vertex-name=cat");
    let mut samples = Vec::new();
    wait::every(SAMPLE, || {
        let pods = kubectl::list("pods", &cats);
        samples.push((started.elapsed(), there(&pods), ready(&pods)));
        let vertex = kubectl::get("vertex", &format!("{name}-cat")).expect("the vertex is there");
        let status = &vertex["status"];
        let is_done = status["currentHash"] == status["updateHash"]
            && status["updatedReadyReplicas"] == 4
            && started.elapsed() > Duration::from_secs(2);
        assert!(started.elapsed() < LIMIT, "the rollout does not end: {status:#}");
        if is_done { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
    });
    println!("the update took {:?}", started.elapsed());
    let outside: Vec<_> = samples.iter().filter(|(_, there, ready)| *there > 5 || *ready < 3).collect();
    assert!(outside.is_empty(), "at most 5 are there and at least 3 ready, but {outside:?} of {samples:?}");
    let found = wait::within(LIMIT, "every number has arrived", || {
        let found = kubectl::numbers(&sink);
        (found.len() as u64 >= count).then_some(found)
    });
    let twice: Vec<_> = found.iter().filter(|(_, times)| **times != 1).collect();
    assert!(twice.is_empty(), "these came more than once: {twice:?}");
    assert_eq!(found.keys().next_back(), Some(&(count - 1)));
    kubectl::delete("pipeline", name, PIPELINE);
}

/// Pods that were not told to go.
fn there(pods: &[Value]) -> usize {
    pods.iter().filter(|pod| pod["metadata"]["deletionTimestamp"].is_null()).count()
}

fn ready(pods: &[Value]) -> usize {
    let is_ready = |pod: &&Value| {
        let conditions = pod["status"]["conditions"].as_array().into_iter().flatten();
        let ready = conditions.into_iter().any(|one| one["type"] == "Ready" && one["status"] == "True");
        ready && pod["metadata"]["deletionTimestamp"].is_null()
    };
    pods.iter().filter(is_ready).count()
}

#[test]
fn a_bad_image_is_rolled_back_with_the_reason() {
    let name = "back";
    let map = |image: Option<&str>| {
        let mut container = program(&["sdk_map"]);
        if let Some(image) = image {
            container["image"] = json!(image);
        }
        json!({
            "name": "cat",
            "scale": {"min": 2, "max": 2},
            "updateStrategy": {"type": "RollingUpdate", "progressDeadlineSeconds": 20},
            "udf": {"container": container},
        })
    };
    kubectl::apply(&pipeline(name, vec![numbers(100_000, 20), map(None), log()]));
    kubectl::wait_for("condition=RolledOut", &format!("pipeline/{name}"), LIMIT);
    kubectl::apply(&pipeline(name, vec![numbers(100_000, 20), map(Some("lab.invalid/none:1")), log()]));
    let vertex = kubectl::until("vertex", &format!("{name}-cat"), "rolled back", |vertex| {
        vertex["status"]["rollout"]["rolledBack"].is_object()
    });
    let reason = vertex["status"]["rollout"]["rolledBack"]["reason"].as_str().unwrap_or_default();
    assert!(!reason.is_empty(), "{vertex:#}");
    let events = kubectl::run(&[
        "get",
        "events",
        "--field-selector",
        &format!("involvedObject.name={name}"),
        "-o",
        "name",
    ]);
    assert!(!events.trim().is_empty());
    kubectl::delete("pipeline", name, PIPELINE);
}
