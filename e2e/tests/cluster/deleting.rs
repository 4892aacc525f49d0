//! Deleting: drained first, and nothing is left behind.

use serde_json::json;

use crate::kubectl::{self, LIMIT};
use crate::lines::Lines;
use crate::manifests::{PIPELINE, map, numbers, pipeline, slow_log};

#[test]
fn a_deletion_with_a_backlog_loses_nothing() {
    let name = "backlog";
    // The sink is slower than the source, so that there is a backlog when the pipeline is deleted.
    kubectl::apply(&pipeline(name, vec![numbers(100_000, 300), map(1, &[], json!({})), slow_log(100)]));
    let lines = Lines::of_sink(name);
    lines.until_more(0, 200);
    kubectl::run(&["delete", "pipeline", name, "--wait=false"]);
    let deleting = kubectl::until("pipeline", name, "deleting with a backlog", |object| {
        let left = object["status"]["drain"]["remaining"].as_u64().unwrap_or(0);
        object["status"]["phase"] == "Deleting" && left > 0
    });
    println!("deleted with a backlog: {}", deleting["status"]["message"]);
    let before = lines.len();
    kubectl::wait_for("delete", &format!("pipeline/{name}"), LIMIT);
    let all = lines.len();
    println!("{all} messages have arrived, {} of them after it was deleted", all - before);
    assert!(all > before, "there was no backlog");
    lines.assert_exact(all as u64);
    drop(lines);
    kubectl::nothing_is_left(name, PIPELINE);
}

#[test]
fn a_forced_deletion_goes_at_once_and_says_what_is_dropped() {
    let name = "forced";
    kubectl::apply(&pipeline(name, vec![numbers(100_000, 300), map(1, &[], json!({})), slow_log(20)]));
    let lines = Lines::of_sink(name);
    lines.until_more(0, 100);
    kubectl::run(&["annotate", "pipeline", name, "tidegate.io/deletion=force"]);
    kubectl::run(&["delete", "pipeline", name, "--wait=false"]);
    kubectl::wait_for("delete", &format!("pipeline/{name}"), LIMIT);
    drop(lines);
    kubectl::nothing_is_left(name, PIPELINE);
    let events = kubectl::events(name);
    let dropped = events.iter().find(|(reason, _)| reason == "RecordsDropped");
    let (_, message) = dropped.unwrap_or_else(|| panic!("nobody says what was dropped: {events:#?}"));
    println!("{message}");
    assert!(message.contains("records are dropped"), "{message}");
}
