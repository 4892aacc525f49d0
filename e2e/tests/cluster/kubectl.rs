//! What a person does with `kubectl`: applies, looks, waits, reads logs. Invariant: a command that fails panics with
//! everything it has said.

use std::collections::BTreeMap;
use std::io::Write as _;
use std::process::{Command, Stdio};
use std::time::Duration;

use e2e::wait;
use serde_json::Value;

/// How long things on a cluster may take.
pub(crate) const LIMIT: Duration = Duration::from_secs(120);

/// The namespace that the controller looks after.
pub(crate) fn namespace() -> String {
    variable("TIDEGATE_E2E_NAMESPACE")
}

/// The image with the user code of the tests.
pub(crate) fn programs() -> String {
    variable("TIDEGATE_E2E_PROGRAMS")
}

/// The image of the controller.
pub(crate) fn image() -> String {
    variable("TIDEGATE_E2E_IMAGE")
}

fn variable(name: &str) -> String {
    std::env::var(name).unwrap_or_else(|_| panic!("{name} is not set: run `cargo xtask e2e --cluster`"))
}

/// Runs a command in the namespace and gives what it prints.
pub(crate) fn run(words: &[&str]) -> String {
    let output = command(words).output().expect("kubectl can be started");
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "kubectl {}: {said}", words.join(" "));
    String::from_utf8(output.stdout).expect("kubectl prints text")
}

/// Runs a command that has to fail, and gives what it says.
pub(crate) fn refused(words: &[&str]) -> String {
    let output = command(words).output().expect("kubectl can be started");
    assert!(!output.status.success(), "kubectl {} succeeds", words.join(" "));
    String::from_utf8(output.stderr).expect("kubectl prints text")
}

fn command(words: &[&str]) -> Command {
    let mut command = Command::new("kubectl");
    command.arg("--namespace").arg(namespace()).args(words);
    command.stdin(Stdio::null());
    command
}

/// Applies a manifest.
pub(crate) fn apply(manifest: &Value) {
    if let Err(said) = feed(&["apply", "-f", "-"], &manifest.to_string()) {
        panic!("apply: {said}");
    }
}

/// Runs a command that reads this; what it says when it fails.
pub(crate) fn feed(words: &[&str], text: &str) -> Result<(), String> {
    let mut child = command(words)
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .expect("kubectl can be started");
    let mut input = child.stdin.take().expect("it was asked for");
    input.write_all(text.as_bytes()).expect("kubectl reads");
    drop(input);
    let output = child.wait_with_output().expect("kubectl ends");
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    if output.status.success() { Ok(()) } else { Err(said) }
}

/// An object; none when there is none.
pub(crate) fn get(kind: &str, name: &str) -> Option<Value> {
    let text = run(&["get", kind, name, "--ignore-not-found", "-o", "json"]);
    (!text.trim().is_empty()).then(|| serde_json::from_str(&text).expect("kubectl prints JSON"))
}

/// Objects of a kind with a label.
pub(crate) fn list(kind: &str, selector: &str) -> Vec<Value> {
    let text = run(&["get", kind, "-l", selector, "-o", "json"]);
    let mut value: Value = serde_json::from_str(&text).expect("kubectl prints JSON");
    match value["items"].take() {
        Value::Array(items) => items,
        other => panic!("kubectl lists {other}"),
    }
}

/// Waits for an object to be as it should be.
pub(crate) fn until(kind: &str, name: &str, what: &str, is_so: impl Fn(&Value) -> bool) -> Value {
    let mut last = Value::Null;
    let waiting = || {
        last = get(kind, name)?;
        is_so(&last).then(|| last.clone())
    };
    let outcome = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
        wait::within(LIMIT, &format!("{kind} {name} {what}"), waiting)
    }));
    outcome.unwrap_or_else(|_| panic!("{kind} {name} is not {what}: {:#}", last["status"]))
}

/// Waits for a condition as `kubectl wait` does.
pub(crate) fn wait_for(what: &str, object: &str, limit: Duration) {
    run(&["wait", &format!("--for={what}"), object, &format!("--timeout={}s", limit.as_secs())]);
}

/// The numbers that a sink has logged so far, with how often.
pub(crate) fn numbers(selector: &str) -> BTreeMap<u64, u32> {
    let text = run(&["logs", "-l", selector, "-c", "numa", "--tail=-1", "--prefix=false"]);
    let mut found = BTreeMap::new();
    for number in text.lines().filter_map(number) {
        *found.entry(number).or_insert(0) += 1;
    }
    found
}

/// The number that a line of a sink's log is about.
pub(crate) fn number(line: &str) -> Option<u64> {
    line.strip_prefix("Payload - ")?.split(' ').next()?.parse().ok()
}

/// Deletes an object and waits until it and everything that was made for it is gone.
pub(crate) fn delete(kind: &str, name: &str, label: &str) {
    run(&["delete", kind, name, "--wait=true", &format!("--timeout={}s", LIMIT.as_secs())]);
    nothing_is_left(name, label);
}

/// Waits until nothing that was made for an object is there any more.
pub(crate) fn nothing_is_left(name: &str, label: &str) {
    let selector = format!("{label}={name}");
    let kinds =
        ["pods", "services", "deployments", "vertices.numaflow.numaproj.io", "configmaps", "secrets", "jobs"];
    for kind in kinds {
        wait::within(LIMIT, &format!("no {kind} of {name} are left"), || {
            list(kind, &selector).is_empty().then_some(())
        });
    }
}
