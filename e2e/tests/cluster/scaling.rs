//! Counts of workers that others set, as a person does with `kubectl scale` and an autoscaler of the cluster over the scale
//! subresource, and what may be taken away from outside at a time.

use std::collections::BTreeSet;

use serde_json::{Value, json};

use crate::kubectl::{self, LIMIT};
use crate::lines::Lines;
use crate::manifests::{PIPELINE, log, map, numbers, pipeline};

#[test]
fn an_autoscaler_of_the_cluster_is_obeyed_and_evictions_leave_enough() {
    let (name, count) = ("scaled", 4_000);
    let lines = Lines::of_sink(name);
    let mut middle = map(1, &[], json!({}));
    middle["scale"] = json!({"disabled": true});
    kubectl::apply(&pipeline(name, vec![numbers(count, 50), middle, log()]));
    kubectl::rolled_out(name);
    lines.until_more(0, 50);
    let vertex = format!("{name}-cat");
    let has = |replicas: u32| {
        kubectl::until("vertex", &vertex, &format!("{replicas} workers"), |found| {
            let status = &found["status"];
            [&status["readyReplicas"], &status["replicas"], &status["desiredReplicas"]]
                .iter()
                .all(|one| **one == replicas)
        });
    };
    let scale = |replicas: u32| {
        let patch = json!({"spec": {"replicas": replicas}}).to_string();
        kubectl::run(&["patch", "vertex", &vertex, "--subresource=scale", "--type=merge", "-p", &patch]);
        has(replicas);
    };
    scale(4);
    let read = kubectl::run(&["get", "vertex", &vertex, "--subresource=scale", "-o", "json"]);
    let read: Value = serde_json::from_str(&read).expect("kubectl prints JSON");
    assert_eq!((&read["spec"]["replicas"], &read["status"]["replicas"]), (&json!(4), &json!(4)), "{read:#}");
    let selector =
        read["status"]["selector"].as_str().expect("an autoscaler finds the pods by it").to_owned();
    assert_eq!(kubectl::list("pods", &selector).len(), 4);

    let budget = kubectl::until("poddisruptionbudget", &vertex, "made", |budget| {
        budget["status"]["currentHealthy"] == 4
    });
    assert_eq!(budget["spec"]["minAvailable"], 3, "{budget:#}");
    assert_eq!(budget["status"]["disruptionsAllowed"], 1, "{budget:#}");
    assert_eq!(kubectl::get("poddisruptionbudget", &format!("{name}-out")), None, "one worker may always go");
    let before = lines.len();
    evict_all_at_once(&selector);
    has(4);
    lines.until_more(before, 50);

    scale(2);
    kubectl::until("poddisruptionbudget", &vertex, "smaller", |budget| budget["spec"]["minAvailable"] == 1);
    let autoscaler = json!({
        "apiVersion": "autoscaling/v2", "kind": "HorizontalPodAutoscaler", "metadata": {"name": vertex},
        "spec": {
            "scaleTargetRef": {"apiVersion": "numaflow.numaproj.io/v1alpha1", "kind": "Vertex", "name": vertex},
            "minReplicas": 3, "maxReplicas": 4,
        },
    });
    kubectl::apply(&autoscaler);
    has(3);
    kubectl::patch("hpa", &vertex, &json!({"spec": {"minReplicas": 1, "maxReplicas": 2}}));
    has(2);
    kubectl::run(&["delete", "hpa", &vertex]);
    scale(1);
    let gone = || kubectl::get("poddisruptionbudget", &vertex).is_none().then_some(());
    e2e::wait::within(LIMIT, "one worker has no budget", gone);
    lines.until_complete(count, LIMIT);
    lines.assert_exact(count);
    drop(lines);
    kubectl::delete("pipeline", name, PIPELINE);
}

/// Asks for all pods to go, as somebody does who empties a node: one goes, and the others not before it is replaced.
fn evict_all_at_once(selector: &str) {
    let mut refusals = Vec::new();
    let pods = kubectl::list("pods", selector);
    for pod in &pods {
        let name = pod["metadata"]["name"].as_str().expect("every pod has a name");
        let path = format!("/api/v1/namespaces/{}/pods/{name}/eviction", kubectl::namespace());
        let eviction = json!({"apiVersion": "policy/v1", "kind": "Eviction", "metadata": {"name": name}});
        refusals.extend(kubectl::feed(&["create", "--raw", &path, "-f", "-"], &eviction.to_string()).err());
    }
    assert_eq!(refusals.len(), pods.len() - 1, "one may go: {refusals:?}");
    for refusal in refusals {
        assert!(refusal.contains("disruption budget"), "{refusal}");
    }
    let identities = |pods: &[Value]| -> BTreeSet<String> {
        pods.iter().map(|pod| pod["metadata"]["uid"].to_string()).collect()
    };
    let before = identities(&pods);
    e2e::wait::within(LIMIT, "another pod has come for the one that went", || {
        let now = identities(&kubectl::list("pods", selector));
        (now.len() == pods.len() && now.difference(&before).count() == 1).then_some(())
    });
}
