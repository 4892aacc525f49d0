//! What people say about versions: start again, give up, try again; and an edit that replaces what hangs. Whatever is
//! said, every record comes out once.

use std::collections::BTreeSet;

use e2e::lab::{Lab, is_long};
use e2e::manifest::{Pipeline, map_command};
use e2e::object::Object;
use e2e::sampler::{Sampler, assert_capacity};
use e2e::up::Up;
use e2e::wait;

use crate::rollout::{ENDLESS, begin, marks, more_comes_out, numbers, rolled_back, rolled_out};

/// How many numbers there are, and how many come in a second.
const LOAD: (u64, u64) = (ENDLESS, 150);

fn processes(object: &Object, vertex: &str) -> BTreeSet<u64> {
    object.workers(vertex).into_iter().flat_map(|worker| worker.processes).collect()
}

fn states(up: &Up<'_>, name: &str) -> Vec<String> {
    up.history(name, "cat").into_iter().map(|(_, state, _)| state).collect()
}

fn happened(up: &Up<'_>, name: &str, event: &str) -> bool {
    up.events(name).unwrap().iter().any(|found| found.starts_with(event))
}

/// Waits until the version with a mark serves, and asserts that every record comes out once.
fn assert_served(lab: &Lab, up: &Up<'_>, pipeline: &Pipeline, mark: &str) {
    wait::until("it serves", || {
        lab.lines(&pipeline.out()).pop().is_some_and(|line| line.ends_with(mark)).then_some(())
    });
    assert_eq!(pipeline.assert_exact(lab, up, |_| false), [0; 0]);
    assert_eq!(pipeline.repeated(lab), 0);
}

#[test]
fn a_restart_gives_fresh_processes_of_what_runs_and_no_dark_moment() {
    let lab = Lab::new().unwrap();
    let up = Up::start(&lab).unwrap();
    let strategy = "minReadySeconds: 1, rollingUpdate: {maxUnavailable: 0, maxSurge: 1}";
    let pipeline = numbers(&lab, ("fresh", 2), LOAD, "--mark v1", strategy);
    let old = begin(&lab, &up, &pipeline);
    let before = up.steady("fresh");
    let sampler = Sampler::start(&up, "fresh");
    up.must(&["rollout", "restart", "fresh", "--vertex", "cat"]).unwrap();
    let one = rolled_out(&up, "fresh", &old);
    assert!(processes(&one, "cat").is_disjoint(&processes(&before, "cat")), "{before}\n{one}");
    for vertex in ["in", "out"] {
        assert_eq!(processes(&one, vertex), processes(&before, vertex), "{vertex} was not asked for");
    }
    let restarted = one.only_version("cat").unwrap();
    up.must(&["rollout", "restart", "fresh"]).unwrap();
    let all = up.until("fresh", "has fresh processes everywhere", |object| {
        let fresh = object.processes().iter().all(|process| !one.processes().contains(process));
        (fresh && object.is_steady() && object.only_version("cat") != Some(restarted.clone()))
            .then(|| object.clone())
    });
    assert_eq!(all.processes().len(), 4, "one source, two maps, one sink: {all}");
    assert_capacity(&sampler.stop(), "cat", 2, 3);
    more_comes_out(&lab, &pipeline);
    assert_eq!(pipeline.assert_exact(&lab, &up, |_| false), [0; 0]);
    assert_eq!(pipeline.repeated(&lab), 0, "graceful hand-overs repeat nothing");
    assert_eq!(marks(&lab, &pipeline, "v1"), pipeline.written(&lab).len(), "a restart is no other program");
    up.down().unwrap();
}

#[test]
fn a_rollout_that_is_aborted_leaves_nothing_behind_and_can_be_tried_again() {
    let lab = Lab::new().unwrap();
    let up = Up::start(&lab).unwrap();
    let strategy = "type: Canary, minReadySeconds: 1, canary: {steps: [{setWeight: 50}, {pause: {}}]}";
    let pipeline = numbers(&lab, ("aborted", 2), LOAD, "--mark v1", strategy);
    let old = begin(&lab, &up, &pipeline);
    let idle = up.tidegate(&["rollout", "abort", "aborted"]).unwrap();
    assert!(idle.code != 0 && idle.err.contains("nothing is rolling out"), "{idle:?}");
    up.set_exec("aborted", "cat", &map_command("--mark v2")).unwrap();
    let on_trial = || {
        up.until("aborted", "waits for a word", |object| {
            object.waits().contains(&"RolloutPaused".to_owned()).then(|| object.clone())
        })
    };
    let canary = on_trial().versions("cat").into_iter().find(|version| version.revision() != old).unwrap();
    wait::until("the canary works", || (marks(&lab, &pipeline, "v2") > 20).then_some(()));
    up.must(&["rollout", "abort", "aborted"]).unwrap();
    let back = rolled_back(&up, "aborted", &old, "aborted");
    println!("{}; {}", back.phase(), back.rollout("cat"));
    assert_eq!(states(&up, "aborted"), ["Serving", "Failed"]);
    assert!(happened(&up, "aborted", "Warning RolledBack"));
    // Nobody but the version before works from here on, though the manifest still asks for the other one.
    let taken_in = pipeline.acknowledged(&lab);
    wait::until("what was inside is out", || {
        taken_in.is_subset(&pipeline.written(&lab).into_iter().collect()).then_some(())
    });
    let tried = marks(&lab, &pipeline, "v2");
    more_comes_out(&lab, &pipeline);
    assert_eq!(marks(&lab, &pipeline, "v2"), tried, "a version that was given up works");
    assert_eq!(up.api().object("aborted").unwrap().only_version("cat"), Some(old.clone()));

    up.must(&["rollout", "retry", "aborted", "--vertex", "cat"]).unwrap();
    let again = on_trial().versions("cat").into_iter().find(|version| version.revision() != old).unwrap();
    assert_eq!(again.revision(), canary.revision(), "the same version is tried again");
    up.must(&["rollout", "promote", "aborted", "--full"]).unwrap();
    let after = rolled_out(&up, "aborted", &old);
    assert_eq!(after.only_version("cat"), Some(canary.revision()));
    assert_served(&lab, &up, &pipeline, "v2");
    up.down().unwrap();
}

#[test]
fn a_version_that_was_given_up_is_tried_again_when_somebody_says_so() {
    let lab = Lab::new().unwrap();
    let up = Up::start(&lab).unwrap();
    let strategy = "minReadySeconds: 1, analysis: {minRecords: 50}, \
                    rollingUpdate: {maxUnavailable: 0, maxSurge: 1}";
    let pipeline = numbers(&lab, ("retried", 2), LOAD, "--mark v1", strategy);
    let old = begin(&lab, &up, &pipeline);
    let sampler = Sampler::start(&up, "retried");
    let broken = lab.write("broken", "").unwrap();
    let command = map_command(&format!("--mark v2 --fail-while {}", broken.display()));
    up.set_exec("retried", "cat", &command).unwrap();
    up.until("retried", "is given up", |object| object.rollout("cat").contains("rolled back").then_some(()));
    assert_eq!(marks(&lab, &pipeline, "v2"), 0, "a version that only fails gives nothing");
    // It still fails at everything: what it has in hand it gives up.
    let back = rolled_back(&up, "retried", &old, "errors");
    println!("{}", back.rollout("cat"));
    assert_eq!(marks(&lab, &pipeline, "v2"), 0, "{back}");
    std::fs::remove_file(broken).unwrap();
    assert_eq!(states(&up, "retried"), ["Serving", "Failed"]);
    more_comes_out(&lab, &pipeline);
    assert_eq!(up.api().object("retried").unwrap().only_version("cat"), Some(old.clone()));

    up.must(&["rollout", "retry", "retried"]).unwrap();
    let after = rolled_out(&up, "retried", &old);
    assert!(!after.phase().contains("Rolled back"), "{after}");
    up.until("retried", "says that the version serves", |_| {
        (states(&up, "retried") == ["Superseded", "Serving"]).then_some(())
    });
    assert!(happened(&up, "retried", "Normal RolloutComplete"));
    // The trial and the way back keep the workers that serve.
    assert_capacity(&sampler.stop(), "cat", 2, 3);
    assert_served(&lab, &up, &pipeline, "v2");
    up.down().unwrap();
}

#[test]
fn a_version_that_hangs_is_replaced_by_a_good_one() {
    let lab = Lab::new().unwrap();
    let up = Up::start(&lab).unwrap();
    let all = [
        ("rolling", "rollingUpdate: {maxUnavailable: 0, maxSurge: 1}"),
        ("recreate", "type: Recreate"),
        ("canary", "type: Canary, canary: {steps: [{setWeight: 50}, {analysis: {for: 2s}}]}"),
        ("blue-green", "type: BlueGreen, blueGreen: {previewSeconds: 1, keepOldSeconds: 2}"),
    ];
    let hang = lab.path("hang");
    let arguments = format!("--mark v1 --hang-while {}", hang.display());
    let (some, replicas) = if is_long() { (&all[..], 2) } else { (&all[..1], 1) };
    let pipelines = some.iter().map(|(name, strategy)| {
        let strategy = format!("minReadySeconds: 1, progressDeadlineSeconds: 60, {strategy}");
        numbers(&lab, (name, replicas), LOAD, &arguments, &strategy)
    });
    let pipelines: Vec<Pipeline> = pipelines.collect();
    let olds: Vec<String> = pipelines.iter().map(|pipeline| begin(&lab, &up, pipeline)).collect();
    std::fs::write(&hang, "").unwrap();
    for pipeline in &pipelines {
        let stands_still = |object: &Object| {
            let held = object.workers("cat").iter().all(|worker| worker.holds > 0);
            (held && object.vertex("cat")["inHand"].as_u64() > Some(0)).then_some(())
        };
        up.until(&pipeline.name, "hangs with something in hand", stands_still);
        let good = pipeline.clone().exec("cat", &map_command("--mark v2"));
        good.apply(&lab, &up).unwrap();
    }
    for (pipeline, old) in pipelines.iter().zip(&olds) {
        let name = &pipeline.name;
        rolled_out(&up, name, old);
        up.until(name, "goes on", |object| (object.vertex("cat")["activity"] != "Stuck").then_some(()));
        more_comes_out(&lab, pipeline);
        assert!(!happened(&up, name, "Warning RolledBack"), "{name}: {:#?}", up.events(name));
        assert!(!happened(&up, name, "Warning RolloutFailed"), "{name}: {:#?}", up.events(name));
        assert_eq!(states(&up, name), ["Superseded", "Serving"], "{name}");
        assert_eq!(pipeline.assert_exact(&lab, &up, |_| false), [0; 0], "{name}");
        assert_eq!(pipeline.repeated(&lab), 0, "{name}");
        assert!(marks(&lab, pipeline, "v1") > 0, "{name} had no record before it hung");
    }
    up.down().unwrap();
}

#[test]
fn a_restart_after_a_rollback_keeps_the_version_that_serves() {
    let lab = Lab::new().unwrap();
    let up = Up::start(&lab).unwrap();
    let pipeline = numbers(&lab, ("held", 1), LOAD, "--mark v1", "minReadySeconds: 1");
    let old = begin(&lab, &up, &pipeline);
    up.set_exec("held", "cat", &map_command("--mark v2")).unwrap();
    rolled_out(&up, "held", &old);
    up.must(&["rollout", "undo", "held", "--vertex", "cat"]).unwrap();
    up.until("held", "is back", |object| {
        (object.only_version("cat") == Some(old.clone()) && object.is_steady()).then_some(())
    });
    up.must(&["rollout", "restart", "held", "--vertex", "cat"]).unwrap();
    rolled_out(&up, "held", &old);
    let lines = || lab.lines(&pipeline.out());
    let at = lines().len();
    more_comes_out(&lab, &pipeline);
    println!("{}", up.must(&["events", "held"]).unwrap());
    println!("{}", up.must(&["rollout", "history", "held"]).unwrap());
    println!("{:?}", &lines()[at + 50..at + 53]);
    assert!(lines().pop().unwrap().ends_with("v1"), "{:?}", lines().pop());
    up.down().unwrap();
}
