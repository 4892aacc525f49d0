//! Pausing with a drain: at once when nothing is inside, when everything inside has come out otherwise, and with the truth
//! about what is left when the time is over.

use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::kubectl::{self, LIMIT, ask_for};
use crate::lines::{self, Lines};
use crate::manifests::{
    PIPELINE, drop_claim, finish_exact, kept_numbers, log, map, numbers, pipeline, slow_log,
};
use crate::watch::Watch;

/// How soon after the last message a pause has to be over; the goal is a second, on a machine of its own.
const VERDICT_WITHIN: Duration = Duration::from_secs(4);

/// Pauses a pipeline and waits until it is paused.
pub(crate) fn pause(name: &str) -> (Value, Duration) {
    let mut watch = Watch::one("pipeline", name, LIMIT);
    let asked = Instant::now();
    ask_for(name, "Paused");
    let (object, _) = watch.until(&format!("{name} is paused"), |objects| {
        objects.get(name).filter(|object| object["status"]["phase"] == "Paused").cloned()
    });
    (object, asked.elapsed())
}

/// Asserts that a pause has found everything drained and that every worker was told to go.
pub(crate) fn assert_drained(name: &str, object: &Value) {
    let status = &object["status"];
    assert_eq!(status["drainedOnPause"], true, "{name}: {status:#}");
    let pods = kubectl::list("pods", &format!("{PIPELINE}={name},app.kubernetes.io/component=vertex"));
    let stays = pods.iter().find(|pod| pod["metadata"]["deletionTimestamp"].is_null());
    assert_eq!(stays, None, "every worker was told to go");
}

#[test]
fn a_source_that_never_has_data_pauses_drained() {
    let name = "empty";
    let mut source = numbers(0, 1);
    source["scale"] = json!({"min": 3, "max": 6});
    kubectl::apply(&pipeline(name, vec![source, log()]));
    kubectl::rolled_out(name);
    let (object, took) = pause(name);
    println!("a source that never has data: paused after {took:?}");
    assert_drained(name, &object);
    kubectl::delete("pipeline", name, PIPELINE);
}

#[test]
fn a_source_that_blocks_in_read_pauses_drained() {
    let name = "blocks";
    let mut source = kept_numbers(name, (0, 1), &["--block"]);
    source["scale"] = json!({"min": 1, "max": 2});
    kubectl::apply(&pipeline(name, vec![source, log()]));
    kubectl::rolled_out(name);
    let (object, took) = pause(name);
    println!("a source that blocks in Read: paused after {took:?}");
    assert_drained(name, &object);
    kubectl::delete("pipeline", name, PIPELINE);
    drop_claim(name);
}

#[test]
fn a_backlog_is_drained_and_the_verdict_follows_the_last_message() {
    let (name, count) = ("slow", 100_000);
    kubectl::apply(&pipeline(name, vec![numbers(count, 300), map(1, &[], json!({})), slow_log(100)]));
    let lines = Lines::of_sink(name);
    lines.until_more(0, 300);
    let mut watch = Watch::one("pipeline", name, LIMIT);
    let asked = Instant::now();
    ask_for(name, "Paused");
    watch.until("there is a verdict", |objects| {
        objects.get(name).filter(|object| object["status"]["drainedOnPause"] == true).map(drop)
    });
    let (seen, verdict) = (lines::now_nanos(), asked.elapsed());
    let (object, _) = watch.until("it is paused", |objects| {
        objects.get(name).filter(|object| object["status"]["phase"] == "Paused").cloned()
    });
    let took = asked.elapsed();
    assert_drained(name, &object);
    let all = lines.all();
    let last = all.last().expect("messages have come").at_nanos;
    let after = Duration::from_nanos(u64::try_from(seen - last).unwrap_or(0));
    println!(
        "a backlog: drained after {verdict:?}, {after:?} after the last of {} messages, and paused after {took:?}",
        all.len()
    );
    assert!(after < VERDICT_WITHIN, "{after:?} after the last message");
    lines.assert_exact(all.len() as u64);
    kubectl::delete("pipeline", name, PIPELINE);
}

#[test]
fn a_vertex_at_zero_by_hand_is_woken_to_drain() {
    let name = "woken";
    let count = 2_000;
    let mut middle = map(1, &[], json!({}));
    middle["scale"] = json!({"disabled": true});
    let source = kept_numbers(name, (count, 100), &[]);
    kubectl::apply(&pipeline(name, vec![source, middle, log()]));
    let lines = Lines::of_sink(name);
    lines.until_more(0, 100);
    let mut pods =
        Watch::all("pods", &format!("{PIPELINE}={name},numaflow.numaproj.io/vertex-name=cat"), LIMIT);
    pods.until("the map has a pod", |pods| (!pods.is_empty()).then_some(()));
    kubectl::run(&["scale", "vertex", &format!("{name}-cat"), "--replicas=0"]);
    pods.until("the map has no pod", |pods| pods.is_empty().then_some(()));
    drop(pods);
    kubectl::until("vertex", &format!("{name}-cat"), "at zero with something to do", |vertex| {
        vertex["status"]["replicas"] == 0
    });
    let before = lines.len();
    let (object, took) = pause(name);
    assert_drained(name, &object);
    println!("a vertex at zero: paused after {took:?}, {} messages were worked off", lines.len() - before);
    assert!(lines.len() > before, "nothing was left at the vertex without workers");
    lines.assert_exact(lines.len() as u64);
    ask_for(name, "Running");
    kubectl::run(&["scale", "vertex", &format!("{name}-cat"), "--replicas=1"]);
    finish_exact(name, lines, count);
}

#[test]
fn a_pause_whose_time_is_over_says_what_is_left_and_nobody_writes_after_it() {
    let (name, count) = ("over", 3_000);
    let manifest = |rate: u64| {
        let source = kept_numbers(name, (count, 400), &[]);
        let mut manifest = pipeline(name, vec![source, map(1, &[], json!({})), slow_log(rate)]);
        manifest["spec"]["lifecycle"] = json!({"pauseGracePeriodSeconds": 4});
        manifest
    };
    kubectl::apply(&manifest(40));
    let lines = Lines::of_sink(name);
    lines.until_more(0, 100);
    let (object, took) = pause(name);
    let paused = lines::now_nanos();
    let status = &object["status"];
    println!("a pause whose time is over: paused after {took:?}: {}", status["message"]);
    assert_ne!(status["drainedOnPause"], true, "{status:#}");
    assert!(status["drain"]["remaining"].as_u64().unwrap_or(0) > 0, "{status:#}");
    let message = status["message"].as_str().unwrap_or_default();
    assert!(message.contains("out") && message.contains(char::is_numeric), "{message}");
    kubectl::apply(&manifest(400));
    ask_for(name, "Running");
    let resumed = lines::now_nanos();
    lines.until_complete(count, LIMIT);
    lines.assert_exact(count);
    let between = |line: &&lines::Line| line.at_nanos > paused && line.at_nanos < resumed;
    assert_eq!(lines.all().iter().find(between), None, "somebody wrote while the pipeline was paused");
    drop(lines);
    kubectl::delete("pipeline", name, PIPELINE);
    drop_claim(name);
}

#[test]
fn a_pause_drains_everything_and_a_resume_goes_on() {
    let (name, count) = ("drain", 3_000);
    let source = kept_numbers(name, (count, 200), &[]);
    kubectl::apply(&pipeline(name, vec![source, map(1, &[], json!({})), log()]));
    let lines = Lines::of_sink(name);
    lines.until_more(0, 300);
    let (object, took) = pause(name);
    kubectl::wait_for("condition=Drained", &format!("pipeline/{name}"), LIMIT);
    assert_drained(name, &object);
    let before = lines.len();
    let resumed = lines::now_nanos();
    ask_for(name, "Running");
    lines.until_more(before, 1);
    let first = lines.all()[before].at_nanos;
    println!("paused after {took:?}; resume to flow: {:.2} s", (first - resumed) as f64 / 1e9);
    finish_exact(name, lines, count);
}
