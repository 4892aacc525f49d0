//! Buffer services: three servers that agree, an update under a watch, a deletion that is in somebody's way. Invariant: how
//! many servers are ready is asked of the API server again and again, and every answer has to be good.

use std::cell::Cell;
use std::time::Instant;

use e2e::wait;
use serde_json::{Value, json};

use crate::block::Block;
use crate::kubectl::{LIMIT, get, list, run, until, wait_for};
use crate::lines::Lines;
use crate::manifests::PIPELINE;
use crate::{kubectl, manifests};

const LABEL: &str = "numaflow.numaproj.io/isbsvc-name";
const SERVERS: i64 = 3;

/// A service of three servers.
pub(crate) fn service(name: &str) -> Value {
    json!({
        "apiVersion": "numaflow.numaproj.io/v1alpha1",
        "kind": "InterStepBufferService",
        "metadata": {"name": name},
        "spec": {"jetstream": {
            "version": "latest",
            "replicas": SERVERS,
            "containerTemplate": {"resources": {"requests": {"cpu": "10m", "memory": "32Mi"}}},
        }},
    })
}

fn health(service: &Value) -> Option<(String, String)> {
    let conditions = service["status"]["conditions"].as_array()?;
    let found = conditions.iter().find(|condition| condition["type"] == "ChildrenResourcesHealthy")?;
    Some((found["status"].as_str()?.to_owned(), found["reason"].as_str()?.to_owned()))
}

pub(crate) fn is_healthy(service: &Value) -> bool {
    health(service) == Some(("True".to_owned(), "Healthy".to_owned()))
}

fn nothing_is_left(name: &str) {
    let selector = format!("{LABEL}={name}");
    let kinds = [
        "pods",
        "statefulsets",
        "services",
        "configmaps",
        "secrets",
        "poddisruptionbudgets",
        "persistentvolumeclaims",
    ];
    for kind in kinds {
        wait::within(LIMIT, &format!("no {kind} of {name} are left"), || {
            list(kind, &selector).is_empty().then_some(())
        });
    }
}

#[test]
fn servers_are_replaced_one_at_a_time_and_a_used_service_stays() {
    let name = "three";
    let begun = Instant::now();
    kubectl::apply(&service(name));
    wait_for("condition=ChildrenResourcesHealthy", &format!("isbsvc/{name}"), LIMIT);
    println!("three servers, from apply to healthy: {:?}", begun.elapsed());
    let made = until("isbsvc", name, "healthy", is_healthy);
    let config = &made["status"]["config"]["jetstream"];
    assert_eq!(
        config["url"],
        json!(format!("nats://isbsvc-{name}-js-svc.{}.svc:4222", kubectl::namespace()))
    );
    assert_eq!(config["auth"]["basic"]["user"]["name"], json!(format!("isbsvc-{name}-js-client-auth")));
    let before = list("pods", &format!("{LABEL}={name}"));

    let patch = json!({"spec": {"jetstream": {"settings": "max_payload: 2097152\n"}}});
    run(&["patch", "isbsvc", name, "--type=merge", "-p", &patch.to_string()]);
    let fewest = Cell::new(SERVERS);
    let uids = |pods: &[Value]| -> Vec<String> {
        pods.iter().map(|pod| pod["metadata"]["uid"].to_string()).collect()
    };
    let old = uids(&before);
    let begun = Instant::now();
    wait::within(LIMIT, "every server is a new one and ready", || {
        let found = get("isbsvc", name)?;
        assert_ne!(health(&found)?.0, "False", "{}", found["status"]);
        let set = get("statefulset", &format!("isbsvc-{name}-js"))?;
        let ready = set["status"]["readyReplicas"].as_i64().unwrap_or(0);
        fewest.set(fewest.get().min(ready));
        let pods = uids(&list("pods", &format!("{LABEL}={name}")));
        let is_new = pods.len() == SERVERS as usize && pods.iter().all(|uid| !old.contains(uid));
        (is_new && ready == SERVERS && is_healthy(&found)).then_some(())
    });
    println!("three servers replaced one after the other: {:?}", begun.elapsed());
    assert_eq!(fewest.get(), SERVERS - 1, "one server at a time");

    let mut user = manifests::pipeline("uses-three", vec![manifests::numbers(10, 10), manifests::log()]);
    user["spec"]["interStepBufferServiceName"] = json!(name);
    // A controller that does not exist looks after it, so that it is only an object.
    user["metadata"]["annotations"] = json!({"numaflow.numaproj.io/instance": "nobody"});
    kubectl::apply(&user);
    run(&["delete", "isbsvc", name, "--wait=false"]);
    let held = until("isbsvc", name, "held", |found| found["status"]["phase"] == "Deleting");
    let message = "the service cannot go while pipelines use it: uses-three; delete them first";
    assert_eq!(held["status"]["message"], message);
    run(&["delete", "pipeline", "uses-three"]);
    wait_for("delete", &format!("isbsvc/{name}"), LIMIT);
    nothing_is_left(name);
}

#[test]
fn what_a_service_cannot_change_is_refused_with_the_reason() {
    let name = "fixed";
    let mut manifest = service(name);
    manifest["spec"]["jetstream"]["replicas"] = json!(1);
    kubectl::apply(&manifest);
    let cases = [
        (json!({"replicas": 3}), "servers can be added to three or more"),
        (json!({"tls": true}), "tls cannot be switched"),
        (json!({"encryption": true}), "the encryption of what lies on disk cannot be switched"),
        (json!({"persistence": {}}), "the volumes of a buffer service cannot change"),
        (json!({"version": ""}), "the version is missing"),
    ];
    for (change, words) in cases {
        let patch = json!({"spec": {"jetstream": change}}).to_string();
        let said = kubectl::refused(&["patch", "isbsvc", name, "--type=merge", "-p", &patch]);
        assert!(said.contains(words), "{patch}: {said}");
    }
    run(&["delete", "isbsvc", name]);
    nothing_is_left(name);
}

#[test]
fn an_unknown_version_is_said_in_the_status() {
    let name = "unknown";
    let mut manifest = service(name);
    manifest["spec"]["jetstream"]["version"] = json!("1.2.3");
    kubectl::apply(&manifest);
    let found = until("isbsvc", name, "refused", |found| found["status"]["phase"] == "Failed");
    let message = found["status"]["message"].as_str().unwrap_or_default();
    assert!(message.starts_with("find the version \"1.2.3\""), "{message}");
    run(&["delete", "isbsvc", name]);
    nothing_is_left(name);
}

#[test]
fn a_service_without_one_of_three_servers_goes_on() {
    let name = "two-of-three";
    kubectl::apply(&service(name));
    wait_for("condition=ChildrenResourcesHealthy", &format!("isbsvc/{name}"), LIMIT);

    let block = Block::of("server", &json!({LABEL: name}));
    run(&["delete", "pod", &format!("isbsvc-{name}-js-2"), "--grace-period=0", "--force"]);
    let is_degraded = |found: &Value| health(found) == Some(("True".to_owned(), "Degraded".to_owned()));
    let found = until("isbsvc", name, "degraded for a reason", |found| {
        let said = found["status"]["message"].as_str().unwrap_or_default();
        is_degraded(found)
            && said.contains("2 of 3 servers are ready")
            && said.contains("failed calling webhook")
    });
    assert_eq!(found["status"]["phase"], "Running");

    let user = "uses-two";
    let mut manifest = manifests::pipeline(user, vec![manifests::numbers(100_000, 50), manifests::log()]);
    manifest["spec"]["interStepBufferServiceName"] = json!(name);
    kubectl::apply(&manifest);
    let begun = Instant::now();
    // It may have to wait, since no third server is there for copies; that is no failure, and is said.
    until("pipeline", user, "under way", |found| {
        let status = &found["status"];
        assert_ne!(status["phase"], "Failed", "{status:#}");
        status["conditions"].as_array().is_some_and(|all| !all.is_empty()) && begun.elapsed().as_secs() >= 5
    });
    println!("meanwhile: {}", get("pipeline", user).expect("it is there")["status"]["message"]);
    assert!(is_degraded(&get("isbsvc", name).expect("it is there")));
    drop(block);
    until("isbsvc", name, "healthy", is_healthy);
    wait_for("condition=RolledOut", &format!("pipeline/{user}"), LIMIT);
    Lines::of_sink(user).until_more(0, 1);
    kubectl::delete("pipeline", user, PIPELINE);
    run(&["delete", "isbsvc", name]);
    nothing_is_left(name);
}

#[test]
fn a_service_that_gets_a_name_again_is_a_fresh_one() {
    let name = "anew";
    let mut manifest = service(name);
    manifest["spec"]["jetstream"]["replicas"] = json!(1);
    kubectl::apply(&manifest);
    let first = until("isbsvc", name, "healthy", is_healthy);
    run(&["delete", "isbsvc", name]);
    // Nothing of this could be changed if it were the same service.
    manifest["spec"]["jetstream"]["replicas"] = json!(3);
    manifest["spec"]["jetstream"]["encryption"] = json!(true);
    kubectl::apply(&manifest);
    let second = until("isbsvc", name, "healthy", is_healthy);
    assert_ne!(first["metadata"]["uid"], second["metadata"]["uid"]);
    for kind in ["secrets", "statefulsets", "services", "configmaps"] {
        for made in list(kind, &format!("{LABEL}={name}")) {
            let owners = &made["metadata"]["ownerReferences"];
            assert_eq!(owners.as_array().map(Vec::len), Some(1), "{owners}");
            assert_eq!(owners[0]["uid"], second["metadata"]["uid"], "{kind}");
        }
    }
    let pods = list("pods", &format!("{LABEL}={name}"));
    let there = pods.iter().filter(|pod| pod["metadata"]["deletionTimestamp"].is_null()).count();
    assert_eq!(there, 3);
    run(&["delete", "isbsvc", name]);
    nothing_is_left(name);
}
