//! What a person does with `kubectl`: applies, looks, waits, reads logs. Invariant: a command that fails panics with
//! everything it has said.

use std::collections::BTreeMap;
use std::io::Write as _;
use std::process::{Command, Stdio};
use std::time::Duration;

use e2e::wait;
use serde_json::Value;

use crate::watch::Watch;

/// How long things on a cluster may take.
pub(crate) const LIMIT: Duration = Duration::from_mins(2);

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

/// `kubectl` in the namespace.
pub(crate) fn command(words: &[&str]) -> Command {
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
    let mut watch = Watch::one(kind, name, LIMIT);
    let found = |objects: &BTreeMap<String, Value>| objects.get(name).filter(|object| is_so(object)).cloned();
    watch.until(&format!("{kind} {name} is {what}"), found).0
}

/// Waits until a pipeline serves what is wanted and nothing is on its way.
pub(crate) fn rolled_out(name: &str) {
    until("pipeline", name, "rolled out", |object| {
        let conditions = object["status"]["conditions"].as_array().into_iter().flatten();
        conditions.into_iter().any(|one| one["type"] == "RolledOut" && one["status"] == "True")
    });
}

/// Changes an object by a merge patch.
pub(crate) fn patch(kind: &str, name: &str, patch: &Value) {
    run(&["patch", kind, name, "--type=merge", "-p", &patch.to_string()]);
}

/// Asks a pipeline to be `Paused` or `Running`.
pub(crate) fn ask_for(name: &str, phase: &str) {
    patch("pipeline", name, &serde_json::json!({"spec": {"lifecycle": {"desiredPhase": phase}}}));
}

/// The program that was built with the tests, for what people do with `tidegate … --context`.
pub(crate) fn tidegate(words: &[&str]) -> String {
    let tests = std::env::current_exe().expect("a test knows where it is");
    let built = tests.ancestors().nth(2).expect("tests lie in the directory deps beside the program");
    let mut command = Command::new(built.join("tidegate"));
    command.args(words).args(["--namespace", &namespace()]).stdin(Stdio::null());
    let output = command.output().expect("the workspace was built");
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "tidegate {}: {said}", words.join(" "));
    String::from_utf8(output.stdout).expect("it prints text")
}

/// The context that kubectl uses.
pub(crate) fn context() -> String {
    run(&["config", "current-context"]).trim().to_owned()
}

/// The reasons of all events about an object, with what they say.
pub(crate) fn events(name: &str) -> Vec<(String, String)> {
    let about = format!("involvedObject.name={name}");
    let text = run(&["get", "events", "--field-selector", &about, "-o", "json"]);
    let value: Value = serde_json::from_str(&text).expect("kubectl prints JSON");
    let word = |event: &Value, field: &str| event[field].as_str().unwrap_or_default().to_owned();
    let events = value["items"].as_array().into_iter().flatten();
    events.map(|event| (word(event, "reason"), word(event, "message"))).collect()
}

/// Waits for a condition as `kubectl wait` does.
pub(crate) fn wait_for(what: &str, object: &str, limit: Duration) {
    run(&["wait", &format!("--for={what}"), object, &format!("--timeout={}s", limit.as_secs())]);
}

/// Deletes an object and waits until it and everything that was made for it is gone.
pub(crate) fn delete(kind: &str, name: &str, label: &str) {
    run(&["delete", kind, name, "--wait=true", &format!("--timeout={}s", LIMIT.as_secs())]);
    nothing_is_left(name, label);
}

/// Waits until nothing that was made for an object is there any more, of any kind that the cluster knows.
pub(crate) fn nothing_is_left(name: &str, label: &str) {
    let kinds = run(&["api-resources", "--namespaced", "--verbs=list", "-o", "name"]);
    // Events are history, not something that was made for the object.
    let kinds: Vec<&str> = kinds.lines().filter(|kind| !kind.starts_with("events")).collect();
    let selector = format!("{label}={name}");
    wait::within(LIMIT, &format!("nothing of {name} is left"), || {
        let left = run(&["get", &kinds.join(","), "-l", &selector, "-o", "name", "--ignore-not-found"]);
        left.trim().is_empty().then_some(())
    });
}
