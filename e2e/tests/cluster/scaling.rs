//! Counts of workers that others set, as a person does with `kubectl scale` and an autoscaler of the cluster over the scale
//! subresource, and what the cluster may take away by itself at a time.

use serde_json::{Value, json};

use crate::kubectl::{self, LIMIT};
use crate::lines::Lines;
use crate::manifests::{PIPELINE, log, map, numbers, pipeline};

#[test]
fn an_autoscaler_of_the_cluster_is_obeyed_and_evictions_leave_enough() {
    let (name, count) = ("scaled", 2_000);
    let lines = Lines::of_sink(name);
    let mut middle = map(1, &[], json!({}));
    middle["scale"] = json!({"disabled": true});
    kubectl::apply(&pipeline(name, vec![numbers(count, 50), middle, log()]));
    kubectl::rolled_out(name);
    lines.until_more(0, 50);
    let vertex = format!("{name}-cat");
    let scale = |replicas: u32| {
        let patch = json!({"spec": {"replicas": replicas}}).to_string();
        kubectl::run(&["patch", "vertex", &vertex, "--subresource=scale", "--type=merge", "-p", &patch]);
        kubectl::until("vertex", &vertex, "scaled", |found| {
            let status = &found["status"];
            [&status["readyReplicas"], &status["replicas"], &status["desiredReplicas"]]
                .iter()
                .all(|one| **one == replicas)
        });
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

    scale(2);
    kubectl::until("poddisruptionbudget", &vertex, "smaller", |budget| budget["spec"]["minAvailable"] == 1);
    scale(1);
    let gone = || kubectl::get("poddisruptionbudget", &vertex).is_none().then_some(());
    e2e::wait::within(LIMIT, "one worker has no budget", gone);
    lines.until_complete(count, LIMIT);
    lines.assert_exact(count);
    drop(lines);
    kubectl::delete("pipeline", name, PIPELINE);
}
