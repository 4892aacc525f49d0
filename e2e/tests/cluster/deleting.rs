//! Deleting: drained first, and nothing is left behind.

use std::io::{BufRead, BufReader};
use std::process::{Command, Stdio};

use e2e::wait;
use serde_json::json;

use crate::kubectl::{self, LIMIT};
use crate::manifests::{PIPELINE, log, numbers, pipeline};

#[test]
fn a_deletion_with_a_backlog_loses_nothing() {
    let name = "backlog";
    // The sink is slower than the source, so that there is a backlog when the pipeline is deleted.
    let mut sink = log();
    sink["limits"] = json!({"readBatchSize": 10, "rateLimit": {"max": 100, "min": 100}});
    kubectl::apply(&pipeline(name, vec![numbers(100_000, 300), sink]));
    kubectl::wait_for("condition=RolledOut", &format!("pipeline/{name}"), LIMIT);
    let pods = kubectl::list("pods", &format!("{PIPELINE}={name},numaflow.numaproj.io/vertex-name=out"));
    let pod = pods[0]["metadata"]["name"].as_str().expect("a pod has a name").to_owned();
    let mut follow = Command::new("kubectl")
        .args(["--namespace", &kubectl::namespace(), "logs", "-f", &pod, "-c", "numa"])
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .spawn()
        .expect("kubectl can be started");
    let lines = BufReader::new(follow.stdout.take().expect("it was asked for"));
    let reading = std::thread::spawn(move || {
        let lines = lines.lines().map_while(Result::ok);
        lines.filter_map(|line| kubectl::number(&line)).collect::<Vec<u64>>()
    });
    wait::within(LIMIT, "there is a backlog", || {
        let so_far =
            kubectl::numbers(&format!("{PIPELINE}={name},numaflow.numaproj.io/vertex-name=out")).len();
        (so_far > 100).then_some(())
    });
    kubectl::run(&["delete", "pipeline", name, "--wait=false"]);
    kubectl::until("pipeline", name, "deleting with a backlog", |object| {
        let left = object["status"]["drain"]["remaining"].as_u64().unwrap_or(0);
        object["status"]["phase"] == "Deleting" && left > 0
    });
    wait::within(LIMIT, "the pipeline is gone", || kubectl::get("pipeline", name).is_none().then_some(()));
    follow.wait().expect("kubectl ends with the pod");
    let mut found = reading.join().expect("the log was read");
    found.sort_unstable();
    let all: Vec<u64> = (0..found.len() as u64).collect();
    assert_eq!(found, all, "every number that was read has arrived once");
    kubectl::nothing_is_left(name, PIPELINE);
}
