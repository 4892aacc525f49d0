//! A cluster that does not do what it is asked: quotas, webhooks of others that are down, people who edit everything all
//! the time, names that come back at once. Invariant: each test ends with an object that works, because nothing here may
//! be in the way for longer than its cause.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use e2e::wait;
use serde_json::{Value, json};

use crate::block::Block;
use crate::kubectl::{self, LIMIT};
use crate::manifests::{PIPELINE, pipeline};

/// Lives that one name has.
const LIVES: usize = 5;
/// How often that person edits at least while the test is at work.
const EDITS_MIN: u32 = 10;
/// How long the person waits who edits everything.
const EDIT_EVERY: Duration = Duration::from_millis(50);

fn small(name: &str) -> Value {
    let source = json!({"name": "in", "scale": {"min": 1, "max": 1}, "source": {"generator": {"rpu": 20}}});
    let sink = json!({"name": "out", "scale": {"min": 1, "max": 1}, "sink": {"log": {}}});
    pipeline(name, vec![source, sink])
}

fn condition(object: &Value, kind: &str) -> Option<(String, String)> {
    let conditions = object["status"]["conditions"].as_array()?;
    let found = conditions.iter().find(|one| one["type"] == kind)?;
    Some((found["status"].as_str()?.to_owned(), found["message"].as_str()?.to_owned()))
}

/// Waits until the words are why not everything could be made.
fn says(name: &str, words: &str) {
    let object = kubectl::until("pipeline", name, "told why", |object| {
        condition(object, "Deployed").is_some_and(|(is_so, why)| is_so == "False" && why.contains(words))
    });
    assert_ne!(object["status"]["phase"], "Failed", "{:#}", object["status"]);
}

/// Waits until a pipeline works, and deletes it.
fn works(name: &str) {
    kubectl::wait_for("condition=RolledOut", &format!("pipeline/{name}"), LIMIT);
    kubectl::until("pipeline", name, "deployed", |object| {
        condition(object, "Deployed").is_some_and(|(is_so, _)| is_so == "True")
    });
    let sink = format!("{PIPELINE}={name},numaflow.numaproj.io/vertex-name=out");
    wait::within(LIMIT, "the sink has logged", || {
        let pods = kubectl::list("pods", &sink);
        let runs = pods.iter().any(|pod| pod["status"]["phase"] == "Running");
        let lines = runs.then(|| kubectl::run(&["logs", "-l", &sink, "-c", "numa", "--tail=1"]))?;
        lines.contains("Payload - ").then_some(())
    });
    kubectl::delete("pipeline", name, PIPELINE);
}

/// A quota that goes with the value.
struct Quota;

impl Quota {
    fn of(pods: usize) -> Self {
        kubectl::apply(&json!({
            "apiVersion": "v1",
            "kind": "ResourceQuota",
            "metadata": {"name": "full"},
            "spec": {"hard": {"pods": pods.to_string()}},
        }));
        kubectl::until("resourcequota", "full", "counted", |quota| {
            quota["status"]["hard"]["pods"].is_string()
        });
        Self
    }
}

impl Drop for Quota {
    fn drop(&mut self) {
        kubectl::run(&["delete", "resourcequota", "full", "--ignore-not-found"]);
    }
}

#[test]
fn a_namespace_at_its_quota_is_said_and_waited_for() {
    let name = "full";
    let there = kubectl::run(&["get", "pods", "-o", "name"]).lines().count();
    let quota = Quota::of(there + 1);
    kubectl::apply(&small(name));
    says(name, "exceeded quota");
    drop(quota);
    works(name);
}

#[test]
fn a_webhook_of_others_that_is_down_is_said_and_waited_for() {
    let name = "hooked";
    let block = Block::of("hook", &json!({}));
    kubectl::apply(&small(name));
    says(name, "failed calling webhook");
    drop(block);
    works(name);
}

#[test]
fn somebody_who_edits_everything_all_the_time_holds_nothing_up() {
    let name = "edited";
    let over = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let editor = scope.spawn(|| {
            let mut edits = 0_u32;
            wait::every(EDIT_EVERY, || {
                let word = format!("example.com/edited={edits}");
                let selector = format!("{PIPELINE}={name}");
                let objects = ["annotate", "--overwrite", &format!("pipeline/{name}"), &word];
                let made = "vertices.numaflow.numaproj.io,deployments,services,configmaps,pods";
                let made = ["annotate", "--overwrite", made, "-l", &selector, &word];
                // What is not there yet, or not any more, cannot be edited.
                let is_done = |words: &[&str]| kubectl::feed(words, "").is_ok();
                edits += u32::from(is_done(&objects)) + u32::from(is_done(&made));
                if over.load(Ordering::Relaxed) {
                    std::ops::ControlFlow::Break(())
                } else {
                    std::ops::ControlFlow::Continue(())
                }
            });
            edits
        });
        let outcome = std::panic::catch_unwind(|| {
            kubectl::apply(&small(name));
            kubectl::wait_for("condition=RolledOut", &format!("pipeline/{name}"), LIMIT);
            let phase = |phase: &str| {
                let patch = json!({"spec": {"lifecycle": {"desiredPhase": phase}}}).to_string();
                kubectl::run(&["patch", "pipeline", name, "--type=merge", "-p", &patch]);
                kubectl::until("pipeline", name, phase, |object| object["status"]["phase"] == phase)
            };
            assert_eq!(phase("Paused")["status"]["drainedOnPause"], true);
            phase("Running");
            works(name);
        });
        over.store(true, Ordering::Relaxed);
        let edits = editor.join().expect("the editor edits");
        if let Err(panic) = outcome {
            std::panic::resume_unwind(panic);
        }
        println!("{edits} edits meanwhile");
        assert!(edits >= EDITS_MIN, "{edits} edits");
    });
}

#[test]
fn a_name_that_comes_back_at_once_is_another_object() {
    let name = "again";
    let mut lives = Vec::new();
    for life in 0..LIVES {
        kubectl::apply(&small(name));
        let made = kubectl::until("pipeline", name, "looked after", |object| {
            object["status"]["conditions"].as_array().is_some_and(|conditions| !conditions.is_empty())
        });
        lives.push(made["metadata"]["uid"].to_string());
        if life + 1 < LIVES {
            kubectl::run(&["annotate", "pipeline", name, "tidegate.io/deletion=force"]);
            kubectl::run(&["delete", "pipeline", name, "--timeout=60s"]);
        }
    }
    lives.dedup();
    assert_eq!(lives.len(), LIVES);
    kubectl::wait_for("condition=RolledOut", &format!("pipeline/{name}"), LIMIT);
    let last = lives.last().expect("there were lives");
    let vertices = kubectl::list("vertices.numaflow.numaproj.io", &format!("{PIPELINE}={name}"));
    let owners: Vec<String> =
        vertices.iter().map(|one| one["metadata"]["ownerReferences"][0]["uid"].to_string()).collect();
    assert!(owners.iter().all(|owner| owner == last), "{owners:?} are not {last}");
    works(name);
}
