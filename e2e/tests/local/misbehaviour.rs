//! User code that panics, hangs, is killed or never comes: named errors, nothing lost, and our process stays.

use std::fmt::Write as _;

use e2e::lab::{Lab, own_program, processes_with, signal};
use e2e::wait;
use nix::sys::signal::Signal;

const MANIFEST: &str = "apiVersion: numaflow.numaproj.io/v1alpha1\nkind: Pipeline\nmetadata: {name: faulty}\nspec:\n  vertices:\n\
    \x20 - name: in\n    source: {file: {path: in.txt}}\n\
    \x20 - name: cat\n    udf: {container: {image: cat}}\n\
    \x20 - name: out\n    sink: {file: {path: out.txt}}\n\
    \x20 edges:\n  - {from: in, to: cat}\n  - {from: cat, to: out}\n";

/// A pipeline over these lines, through the SDK map that does what they say.
fn start(lab: &Lab, lines: &[String]) -> e2e::lab::Run {
    start_as(lab, lines, MANIFEST)
}

fn start_as(lab: &Lab, lines: &[String], manifest: &str) -> e2e::lab::Run {
    let mut text = String::new();
    for line in lines {
        writeln!(text, "{line}").expect("a String takes any text");
    }
    lab.write("in.txt", &text).unwrap();
    let manifest = lab.write("faulty.yaml", manifest).unwrap();
    lab.run(&manifest, &["--exec", &format!("cat={}", own_program("sdk_map"))]).unwrap()
}

/// Kills the user code of a pipeline.
fn kill_user_code(pipeline: &str) {
    let is_its = |pid: &u32| {
        std::fs::read_to_string(format!("/proc/{pid}/environ"))
            .is_ok_and(|environ| environ.contains(pipeline))
    };
    for pid in processes_with(&own_program("sdk_map")).into_iter().filter(is_its) {
        // It may be gone already: that is what is wanted.
        drop(signal(pid, Signal::SIGKILL));
    }
}

fn numbered(count: usize) -> Vec<String> {
    (0..count).map(|number| format!("line {number}")).collect()
}

fn assert_exact(lab: &Lab, mut expected: Vec<String>) {
    let mut found = lab.lines("out.txt");
    found.sort();
    expected.sort();
    assert_eq!(found, expected, "{}", lab.log());
}

#[test]
fn a_panic_of_user_code_is_named_and_costs_nothing() {
    let lab = Lab::new().unwrap();
    let mut lines = numbered(2_000);
    lines.insert(700, format!("panic-once {}", lab.path("seen").display()));
    let mut run = start(&lab, &lines);
    assert!(run.ends().unwrap().success(), "{}", lab.log());
    assert_exact(&lab, lines);
    assert!(lab.log().contains("told to panic once"), "the panic's own words are shown: {}", lab.log());
}

#[test]
fn user_code_that_is_killed_comes_back_and_nothing_is_missing() {
    let lab = Lab::new().unwrap();
    let lines = numbered(100_000);
    let mut run = start(&lab, &lines);
    for kill in 1..=3 {
        let goal = kill * 10_000;
        wait::until("some lines are out", || (lab.lines("out.txt").len() >= goal).then_some(()));
        kill_user_code("faulty");
    }
    assert!(run.ends().unwrap().success(), "{}", lab.log());
    assert_exact(&lab, lines);
}

#[test]
fn user_code_that_hangs_is_named_after_the_time_that_the_manifest_gives() {
    let lab = Lab::new().unwrap();
    let mut lines = numbered(500);
    lines.insert(200, format!("hang-once {}", lab.path("seen").display()));
    let hanging = MANIFEST.replace("name: faulty", "name: hanging");
    let patient = hanging.replace("udf:", "userCode: {unresponsiveAfter: 2s}\n    udf:");
    let mut run = start_as(&lab, &lines, &patient);
    run.says("user code has not answered 1 messages for 2 s");
    kill_user_code("hanging");
    assert!(run.ends().unwrap().success(), "{}", lab.log());
    assert_exact(&lab, lines);
}

#[test]
fn results_that_are_dropped_or_doubled_are_what_user_code_said() {
    let lab = Lab::new().unwrap();
    let mut lines = numbered(100);
    lines.extend(["drop".to_owned(), "twice".to_owned(), "drop".to_owned()]);
    let mut run = start(&lab, &lines);
    assert!(run.ends().unwrap().success(), "{}", lab.log());
    let mut expected = numbered(100);
    expected.extend(["twice".to_owned(), "twice".to_owned()]);
    assert_exact(&lab, expected);
}

#[test]
fn a_container_that_nothing_runs_is_refused_with_all_the_ways() {
    let lab = Lab::new().unwrap();
    lab.write("in.txt", "x\n").unwrap();
    let manifest = lab.write("faulty.yaml", MANIFEST).unwrap();
    let status = lab.run(&manifest, &[]).unwrap().ends().unwrap();
    assert_eq!(status.code(), Some(2), "{}", lab.log());
    for way in ["cat/udf", "--exec", "tidegate.yaml"] {
        assert!(lab.log().contains(way), "{way} is not in {}", lab.log());
    }
}

#[test]
fn a_state_directory_serves_one_process_and_one_manifest() {
    let lab = Lab::new().unwrap();
    // A source without an end, so that the first run is there for as long as it is needed.
    let endless = MANIFEST.replace("file: {path: in.txt}", "generator: {}");
    let exec = format!("cat={}", own_program("sdk_map"));
    let manifest = lab.write("endless.yaml", &endless).unwrap();
    let first = lab.run(&manifest, &["--exec", &exec]).unwrap();
    first.says("runs on this machine");
    let second = lab.run(&manifest, &["--exec", &exec]).unwrap().ends().unwrap();
    assert_eq!(second.code(), Some(2), "{}", lab.log());
    first.kill().unwrap();
    let other = lab.write("other.yaml", &endless.replace("path: out.txt", "path: elsewhere.txt")).unwrap();
    let refused = lab.run(&other, &["--exec", &exec]).unwrap().ends().unwrap();
    assert_eq!(refused.code(), Some(2), "{}", lab.log());
    assert!(lab.log().contains("--force"), "{}", lab.log());
}
