//! `tidegate run`: what is refused, and whole runs with real user code.

use std::fs;
use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Command, Stdio};

use super::{BY_CAT, Called, DIRECT, call, pipeline, tidegate};

fn write(directory: &Path, text: &str) {
    fs::write(directory.join("p.yaml"), text).unwrap();
}

fn cat(image: &str) -> String {
    format!("    - name: cat\n      udf:\n        container:\n          image: {image}\n")
}

fn run(directory: &Path, args: &[&str]) -> Called {
    let mut all = vec!["run", "p.yaml"];
    all.extend(args);
    call(directory, &all)
}

#[test]
fn a_pipeline_runs_for_a_time_and_drains() {
    let dir = tempfile::tempdir().unwrap();
    write(dir.path(), &pipeline("", DIRECT));
    let called = run(dir.path(), &["--for", "1s"]);
    assert_eq!(called.code, 0, "{}", called.err);
    assert!(called.out.lines().count() >= 50, "{}", called.out);
    assert!(called.out.lines().all(|line| line.starts_with("Payload - ")), "{}", called.out);
    assert!(called.err.starts_with("p runs on this machine:\n  in   source  1 replica\n"), "{}", called.err);
    assert!(called.err.contains("\n  state: "), "{}", called.err);
    assert!(called.err.ends_with("drained and stopped; nothing is left\n"), "{}", called.err);
}

#[test]
fn an_interrupt_drains() {
    let dir = tempfile::tempdir().unwrap();
    write(dir.path(), &pipeline("", DIRECT));
    let mut command = tidegate(dir.path());
    let mut child =
        command.args(["run", "p.yaml"]).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let mut out = BufReader::new(child.stdout.take().unwrap());
    let mut line = String::new();
    out.read_line(&mut line).unwrap();
    assert!(line.starts_with("Payload - "), "{line}");
    let killed = Command::new("kill").args(["-INT", &child.id().to_string()]).status().unwrap();
    assert!(killed.success());
    let rest = std::io::read_to_string(out).unwrap();
    assert!(rest.lines().all(|line| line.starts_with("Payload - ")), "{rest}");
    let output = child.wait_with_output().unwrap();
    assert_eq!(output.status.code(), Some(0));
    let said = String::from_utf8(output.stderr).unwrap();
    assert!(said.contains("\ndraining; Ctrl-C again stops at once"), "{said}");
    assert!(said.ends_with("drained and stopped; nothing is left\n"), "{said}");
}

#[test]
fn quiet_leaves_only_what_the_sink_writes() {
    let dir = tempfile::tempdir().unwrap();
    write(dir.path(), &pipeline("", DIRECT));
    let called = run(dir.path(), &["--for", "200ms", "--quiet"]);
    assert_eq!((called.code, called.err.as_str()), (0, ""));
    assert!(called.out.starts_with("Payload - "), "{}", called.out);
}

#[test]
fn the_log_can_be_json() {
    let dir = tempfile::tempdir().unwrap();
    write(dir.path(), &pipeline("", DIRECT));
    let called = run(dir.path(), &["--for", "200ms", "--log-format", "json"]);
    assert_eq!(called.code, 0);
    for line in called.err.lines() {
        let value: serde_json::Value = serde_json::from_str(line).unwrap();
        assert!(value["level"].is_string(), "{line}");
    }
    assert!(called.err.contains("drained and stopped"), "{}", called.err);
}

#[test]
fn a_stand_in_is_announced() {
    let dir = tempfile::tempdir().unwrap();
    write(dir.path(), &pipeline(&cat("quay.io/numaio/numaflow-go/map-cat:stable"), BY_CAT));
    let called = run(dir.path(), &["--for", "500ms"]);
    assert_eq!(called.code, 0, "{}", called.err);
    let note = "note: cat/udf is a native stand-in for image quay.io/numaio/numaflow-go/map-cat:stable\n";
    assert!(called.err.contains(note), "{}", called.err);
    assert!(called.out.lines().all(|line| line.contains(" ID - cat-")), "{}", called.out);
}

#[test]
fn a_manifest_with_errors_ends_with_2() {
    let dir = tempfile::tempdir().unwrap();
    write(dir.path(), &pipeline("", "    - {from: in, to: owt}\n"));
    let called = run(dir.path(), &[]);
    assert_eq!(called.code, 2);
    assert!(called.err.starts_with("p.yaml:14:"), "{}", called.err);
    assert!(called.err.ends_with("tidegate: failed to run a manifest with errors\n"), "{}", called.err);
}

#[test]
fn a_container_without_a_program_ends_with_2_and_the_ways() {
    let dir = tempfile::tempdir().unwrap();
    write(dir.path(), &pipeline(&cat("example.com/mine:1"), BY_CAT));
    let called = run(dir.path(), &[]);
    assert_eq!(called.code, 2);
    let expected = "tidegate: failed to find a program for every container:\n  cat/udf: image example.com/mine:1\n\
                    give --exec cat/udf='COMMAND', or ";
    assert!(called.err.starts_with(expected), "{}", called.err);
}

#[test]
fn a_missing_secret_ends_with_2_and_the_flag() {
    let dir = tempfile::tempdir().unwrap();
    let text = pipeline("", DIRECT).replace(
        "generator: {rpu: 50, duration: 1s}",
        "http: {auth: {token: {name: my-secret, key: my-key}}}",
    );
    write(dir.path(), &text);
    let called = run(dir.path(), &[]);
    assert_eq!(called.code, 2);
    assert!(called.err.contains("give --secret my-secret/my-key=VALUE, or "), "{}", called.err);
}

#[test]
fn a_changed_manifest_is_refused_until_it_is_forced() {
    let dir = tempfile::tempdir().unwrap();
    write(dir.path(), &pipeline("", DIRECT));
    let args = ["--for", "100ms", "--state-dir", "state"];
    assert_eq!(run(dir.path(), &args).code, 0);
    write(dir.path(), &pipeline("", DIRECT).replace("rpu: 50", "rpu: 60"));
    let called = run(dir.path(), &args);
    assert_eq!(called.code, 2);
    assert!(called.err.contains("spec.vertices[in].source.generator.rpu: 50 → 60\n"), "{}", called.err);
    let called = run(dir.path(), &["--for", "100ms", "--state-dir", "state", "--force"]);
    assert_eq!(called.code, 0, "{}", called.err);
    assert!(called.err.contains(", with what an earlier run left in it"), "{}", called.err);
}

#[test]
fn several_objects_need_a_name() {
    let dir = tempfile::tempdir().unwrap();
    let both = format!("{}---\n{}", pipeline("", DIRECT), pipeline("", DIRECT).replace("name: p", "name: q"));
    write(dir.path(), &both);
    let called = run(dir.path(), &["--for", "100ms"]);
    assert_eq!(called.code, 2);
    assert!(called.err.contains("--name NAME of Pipeline p, Pipeline q"), "{}", called.err);
    let called = run(dir.path(), &["--for", "100ms", "--name", "q"]);
    assert_eq!(called.code, 0, "{}", called.err);
    assert!(called.err.starts_with("q runs on this machine:"), "{}", called.err);
}

#[test]
fn a_crashing_program_is_reported_and_the_run_goes_on_until_it_is_stopped() {
    let dir = tempfile::tempdir().unwrap();
    write(dir.path(), &pipeline(&cat("example.com/mine:1"), BY_CAT));
    let args = ["--exec", "cat=sh -c 'echo hello; exit 3'", "--for", "1s", "--drain-timeout", "300ms"];
    let called = run(dir.path(), &args);
    assert_eq!(called.code, 3, "{}", called.err);
    assert!(called.err.contains("\ncat[0]/udf | hello\n"), "{}", called.err);
    assert!(
        called.err.contains("cat[0]/udf ended with exit code 3; it is started again in 200ms"),
        "{}",
        called.err
    );
    assert!(called.err.contains("; kept for the next run: "), "{}", called.err);
}

#[test]
fn a_second_interrupt_stops_at_once_and_the_next_run_goes_on_with_what_is_left() {
    let dir = tempfile::tempdir().unwrap();
    write(dir.path(), &pipeline(&cat("example.com/mine:1"), BY_CAT));
    let mut command = tidegate(dir.path());
    command.args(["run", "p.yaml", "--exec", "cat=echo up; exec sleep 1000"]);
    let mut child = command.stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap();
    let mut said = BufReader::new(child.stderr.take().unwrap());
    let interrupt = |id: u32| {
        assert!(Command::new("kill").args(["-INT", &id.to_string()]).status().unwrap().success());
    };
    let mut until = |wanted: &str| {
        let mut line = String::new();
        while !line.contains(wanted) {
            line.clear();
            assert!(said.read_line(&mut line).unwrap() > 0, "the output ends before {wanted:?}");
        }
        line
    };
    until("cat[0]/udf | up");
    interrupt(child.id());
    until("draining; Ctrl-C again stops at once");
    interrupt(child.id());
    let last = until("stopped at once; kept for the next run: ");
    assert!(last.contains(" in front of cat"), "{last}");
    assert_eq!(child.wait().unwrap().code(), Some(3));
    let kept: usize = last.rsplit(": ").next().unwrap().split(' ').next().unwrap().parse().unwrap();
    let stand_in = pipeline(&cat("quay.io/numaio/numaflow-go/map-cat:stable"), BY_CAT);
    write(dir.path(), &stand_in);
    let called = run(dir.path(), &["--for", "100ms", "--force"]);
    assert_eq!(called.code, 0, "{}", called.err);
    assert!(called.out.lines().count() >= kept, "{kept} were kept, and this came out: {}", called.out);
}
