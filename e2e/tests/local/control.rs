//! The control plane itself: killed at any moment, given any commands, edited while it runs; and what it says of work that
//! stands still.

use std::collections::BTreeSet;
use std::ops::ControlFlow;
use std::time::{Duration, Instant};

use e2e::lab::{Lab, is_long};
use e2e::manifest::{Pipeline, map_command};
use e2e::object::Object;
use e2e::up::Up;
use e2e::wait;
use serde_json::{Value, json};

const ENDLESS: u64 = 100_000_000;

fn simple(lab: &Lab, name: &str, rate: u64, map: &str) -> Pipeline {
    let strategy = "updateStrategy: {minReadySeconds: 1}";
    Pipeline::named(name)
        .numbers(lab, "in", (ENDLESS, rate), "scale: {min: 1, max: 1}")
        .map("cat", "--mark v0", &format!("{map}, {strategy}"))
        .lines(lab, "out", "", "scale: {min: 1, max: 1}")
        .edge("in", "cat")
        .edge("cat", "out")
}

fn more_comes_out(lab: &Lab, pipeline: &Pipeline) {
    let before = pipeline.written(lab).len();
    wait::until("more comes out", || (pipeline.written(lab).len() > before).then_some(()));
}

/// Waits until the source may forget these.
fn acknowledged(lab: &Lab, pipeline: &Pipeline, numbers: &BTreeSet<u64>) {
    wait::until("what came out before a kill is acknowledged", || {
        numbers.is_subset(&pipeline.acknowledged(lab)).then_some(())
    });
}

/// Kills a control plane and starts another one on what is left.
fn kill_and_start<'a>(up: Up<'a>, lab: &'a Lab) -> Up<'a> {
    up.kill().unwrap();
    wait::until("user code has gone with it", || lab.processes().is_empty().then_some(()));
    Up::start(lab).unwrap()
}

#[test]
fn a_pause_ends_the_same_though_we_are_killed_in_it() {
    let lab = Lab::new().unwrap();
    let mut up = Up::start(&lab).unwrap();
    let mut random = fastrand::Rng::with_seed(4);
    let pipeline = simple(&lab, "killed", 500, "scale: {min: 2, max: 2}");
    pipeline.apply(&lab, &up).unwrap();
    for _ in 0..if is_long() { 20 } else { 4 } {
        more_comes_out(&lab, &pipeline);
        up.pause("killed").unwrap();
        for _ in 0..2 {
            wait::a_while(&mut random, Duration::from_millis(400));
            up = kill_and_start(up, &lab);
        }
        let early = pipeline.assert_nothing_lost(&lab, &up);
        up.resume("killed").unwrap();
        up.steady("killed");
        acknowledged(&lab, &pipeline, &early);
    }
    pipeline.assert_exact(&lab, &up, |_| false);
    println!("{} were written again after a kill", pipeline.repeated(&lab));
    up.down().unwrap();
}

#[test]
fn a_rollout_ends_the_same_though_we_are_killed_in_it() {
    let lab = Lab::new().unwrap();
    let mut up = Up::start(&lab).unwrap();
    let mut random = fastrand::Rng::with_seed(5);
    let pipeline = simple(&lab, "killed", 500, "scale: {min: 3, max: 3}");
    pipeline.apply(&lab, &up).unwrap();
    let old = up.proved("killed").only_version("cat").unwrap();
    more_comes_out(&lab, &pipeline);
    up.set_exec("killed", "cat", &map_command("--mark v1")).unwrap();
    for _ in 0..if is_long() { 20 } else { 4 } {
        wait::a_while(&mut random, Duration::from_millis(1_500));
        up = kill_and_start(up, &lab);
    }
    let after = up.until("killed", "is rolled out", |object| {
        let version = object.only_version("cat")?;
        (version != old && object.is_steady()).then(|| object.clone())
    });
    assert_eq!(after.ready("cat"), 3);
    let early = pipeline.assert_nothing_lost(&lab, &up);
    up.resume("killed").unwrap();
    acknowledged(&lab, &pipeline, &early);
    pipeline.assert_exact(&lab, &up, |_| false);
    let last = lab.lines(&pipeline.out()).pop().unwrap();
    assert!(last.ends_with("v1"), "{last}");
    println!("{} were written again after a kill", pipeline.repeated(&lab));
    up.down().unwrap();
}

#[test]
fn the_last_of_fifty_commands_wins() {
    let lab = Lab::new().unwrap();
    let up = Up::start(&lab).unwrap();
    for (seed, paused) in [(1, true), (2, false)] {
        let name = if paused { "ends-paused" } else { "ends-running" };
        let pipeline = simple(&lab, name, 200, "scale: {min: 1, max: 3}");
        pipeline.apply(&lab, &up).unwrap();
        more_comes_out(&lab, &pipeline);
        println!("seed {seed}");
        let mut random = fastrand::Rng::with_seed(seed);
        let (mut count, mut scale, mut mark) = (0, 0, 0);
        wait::every(Duration::from_millis(100), || {
            count += 1;
            let wish = match random.u32(0..6) {
                0 | 1 => json!({ "wish": "pause" }),
                2 | 3 => json!({ "wish": "resume" }),
                4 => {
                    scale = random.u32(1..=3);
                    json!({ "wish": "scale", "vertex": "cat", "replicas": scale })
                }
                _ => {
                    mark = count;
                    json!({ "wish": "set", "vertex": "cat", "exec": map_command(&format!("--mark v{mark}")) })
                }
            };
            up.ask(name, &wish).unwrap();
            if count < 50 { ControlFlow::Continue(()) } else { ControlFlow::Break(()) }
        });
        if paused {
            up.pause(name).unwrap();
        } else {
            up.resume(name).unwrap();
            up.until(name, "runs", |object| {
                let all = object.vertices().iter().all(|vertex| object.ready(vertex) > 0);
                (object.status_phase() == "Running" && all).then_some(())
            });
            up.until(name, "has the count that was asked for last", |object| {
                (object.desired("cat") == u64::from(scale)).then_some(())
            });
            let wanted = format!("v{mark}");
            wait::until("the last version works", || {
                lab.lines(&pipeline.out()).pop().is_some_and(|line| line.ends_with(&wanted)).then_some(())
            });
        }
        pipeline.assert_exact(&lab, &up, |_| false);
        assert_eq!(pipeline.repeated(&lab), 0);
        up.resume(name).unwrap();
        more_comes_out(&lab, &pipeline);
    }
    up.down().unwrap();
}

/// Applies an edit and waits until it is taken in.
fn edit(lab: &Lab, up: &Up<'_>, pipeline: &Pipeline, class: &str) -> Object {
    let generation = |object: &Object| object.0["generation"].as_u64().unwrap();
    let before = generation(&up.api().object(&pipeline.name).unwrap());
    let file = lab.write("edit.yaml", &pipeline.text()).unwrap().display().to_string();
    let exec = pipeline.exec.iter().flat_map(|command| ["--exec", command.as_str()]);
    let arguments: Vec<&str> = ["plan", &file, "-o", "json"].into_iter().chain(exec).collect();
    let plan = up.tidegate(&arguments).unwrap();
    let code = if class == "live" { 0 } else { 11 };
    assert_eq!(plan.code, code, "{plan:?}");
    let planned: Value = serde_json::from_str(&plan.out).unwrap();
    assert_eq!(planned[0]["class"], class, "{plan:?}");
    pipeline.apply(lab, up).unwrap();
    up.until(&pipeline.name, "has taken the edit in", |object| (generation(object) > before).then_some(()));
    up.steady(&pipeline.name)
}

#[test]
fn edits_that_are_live_restart_nobody_and_a_restart_of_ours_loses_nothing() {
    let lab = Lab::new().unwrap();
    let mut up = Up::start(&lab).unwrap();
    let pipeline = simple(&lab, "edited", 300, "scale: {min: 2, max: 2}");
    pipeline.apply(&lab, &up).unwrap();
    let before = up.steady("edited").processes();
    assert_eq!(before.len(), 4, "one source, two maps, one sink");
    let mut edited = pipeline.clone();
    edited.vertices[1].1 = edited.vertices[1].1.replace("max: 2", "max: 5, lookbackSeconds: 90");
    assert_eq!(edit(&lab, &up, &edited, "live").processes(), before, "an edit of scale");
    edited.metadata.push("labels: {team: sea}".to_owned());
    assert_eq!(edit(&lab, &up, &edited, "live").processes(), before, "an edit of labels");
    up.must(&["scale", "edited", "--vertex", "cat", "3"]).unwrap();
    let more = up.until("edited", "has three maps", |object| {
        (object.ready("cat") == 3 && object.is_steady()).then(|| object.processes())
    });
    assert!(before.iter().all(|process| more.contains(process)), "{before:?} are not all in {more:?}");
    up.must(&["scale", "edited", "--vertex", "cat", "2"]).unwrap();
    let fewer = up.until("edited", "has two maps", |object| {
        (object.workers("cat").len() == 2 && object.is_steady()).then(|| object.processes())
    });
    assert!(fewer.iter().all(|process| more.contains(process)), "{fewer:?} are not all in {more:?}");

    let generation = up.api().object("edited").unwrap().0["generation"].clone();
    up.down().unwrap();
    let at_rest = pipeline.written(&lab).len();
    up = Up::start(&lab).unwrap();
    let again = up.steady("edited");
    assert_eq!(again.0["generation"], generation);
    assert_eq!(again.desired("cat"), 2, "the count that was set by hand");
    wait::until("it goes on", || (pipeline.written(&lab).len() > at_rest).then_some(()));
    pipeline.assert_exact(&lab, &up, |_| false);
    assert_eq!(pipeline.repeated(&lab), 0, "a stop in order repeats nothing");
    up.down().unwrap();
    up = Up::start(&lab).unwrap();
    up.until("edited", "is still paused", |object| (object.is_paused() && object.is_drained()).then_some(()));
    up.down().unwrap();
}

#[test]
fn an_edit_of_the_shape_drains_and_goes_on() {
    let lab = Lab::new().unwrap();
    let up = Up::start(&lab).unwrap();
    let pipeline = simple(&lab, "shape", 500, "scale: {min: 1, max: 2}");
    pipeline.apply(&lab, &up).unwrap();
    more_comes_out(&lab, &pipeline);
    let mut longer =
        pipeline.clone().map("extra", "--mark extra", "").edge("cat", "extra").edge("extra", "out");
    longer.edges.retain(|(from, to, _)| (from.as_str(), to.as_str()) != ("cat", "out"));
    let object = edit(&lab, &up, &longer, "needs drain");
    let object = if object.vertices().len() == 4 {
        object
    } else {
        up.until("shape", "has its new shape", |object| {
            (object.vertices().len() == 4 && object.is_steady()).then(|| object.clone())
        })
    };
    assert!(object.vertices().contains(&"extra".to_owned()));
    wait::until("records take the new way", || {
        lab.lines(&pipeline.out()).pop().is_some_and(|line| line.ends_with("extra")).then_some(())
    });
    pipeline.assert_exact(&lab, &up, |_| false);
    assert_eq!(pipeline.repeated(&lab), 0);
    let straight = lab.lines(&pipeline.out()).iter().filter(|line| line.ends_with("v0")).count();
    assert!(straight > 0, "nothing had gone the old way");
    up.down().unwrap();
}

#[test]
fn stuck_is_said_with_its_cause_and_idle_is_not_stuck() {
    let lab = Lab::new().unwrap();
    let up = Up::start(&lab).unwrap();
    let hang = lab.write("hang", "").unwrap();
    let one = "scale: {min: 1, max: 1}";
    let stuck = Pipeline::named("stuck")
        .numbers(&lab, "in", (20, 1_000), one)
        .map("cat", &format!("--hang-while {}", hang.display()), one)
        .lines(&lab, "out", "", one)
        .edge("in", "cat")
        .edge("cat", "out");
    let idle = Pipeline::named("idle")
        .numbers(&lab, "in", (0, 1), one)
        .map("cat", "", one)
        .lines(&lab, "out", "", one)
        .edge("in", "cat")
        .edge("cat", "out");
    idle.apply(&lab, &up).unwrap();
    stuck.apply(&lab, &up).unwrap();
    wait::until("the records are inside", || (stuck.acknowledged(&lab).len() == 20).then_some(()));
    let begun = Instant::now();
    let activity = |object: &Object| object.vertex("cat")["activity"].as_str().unwrap_or_default().to_owned();
    let object =
        up.until("stuck", "is stuck", |object| (activity(object) == "Stuck").then(|| object.clone()));
    let took = begun.elapsed();
    // The goal is one of a machine of its own.
    assert!(!is_long() || took <= Duration::from_secs(10), "it took {took:?} to be called stuck");
    println!("after {took:?}: {}", object.vertex("cat")["stuckBecause"]);
    assert_eq!(object.status("/activity/state"), "Stuck");
    assert!(object.status("/activity/reason").as_str().unwrap().contains("cat"));
    let events = up.events("stuck").unwrap();
    assert!(events.iter().any(|event| event.starts_with("Warning Stuck")), "{events:#?}");
    let findings = up.json(&["why", "stuck"]).unwrap();
    let first = findings[0]["what"].as_str().unwrap();
    assert!(first.contains("vertex cat") && first.contains("user code"), "{findings:#}");
    let page = up.api().metrics().unwrap();
    let line = |name: &str, value: u8| {
        let own =
            |line: &&str| line.contains(&format!("pipeline=\"{name}\"")) && line.contains("vertex=\"cat\"");
        let mut lines = page.lines().filter(|line| line.starts_with("tidegate_pipeline_stuck{")).filter(own);
        lines.any(|line| line.ends_with(&format!(" {value}")))
    };
    assert!(line("stuck", 1) && line("idle", 0), "{page}");
    let calm = up.api().object("idle").unwrap();
    for vertex in ["in", "cat", "out"] {
        assert_eq!(calm.vertex(vertex)["activity"], "Idle", "{vertex}: {calm}");
    }
    assert_eq!(up.json(&["why", "idle"]).unwrap(), json!([]));

    std::fs::remove_file(hang).unwrap();
    up.until("stuck", "is not stuck any more", |object| (activity(object) == "Idle").then_some(()));
    assert_eq!(stuck.assert_exact(&lab, &up, |_| false), [0; 0]);
    up.down().unwrap();
}
