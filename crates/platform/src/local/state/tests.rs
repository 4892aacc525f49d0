//! Locks, manifests and damage of a state directory.

use std::fs;
use std::path::Path;

use api::revision::Revision;
use serde_json::{Value, json};

use super::{Error, OnDifference, StateDir, default_name, differences, make_private, run_dir_name};

fn manifest() -> Value {
    json!({
        "apiVersion": "numaflow.numaproj.io/v1alpha1", "kind": "Pipeline",
        "metadata": {"name": "p", "annotations": {"a": "1"}},
        "spec": {
            "vertices": [{"name": "in", "source": {"generator": {"rpu": 5}}}, {"name": "out", "sink": {"log": {}}}],
            "edges": [{"from": "in", "to": "out"}],
        },
    })
}

fn open(path: &Path, manifest: &Value) -> Result<StateDir, Error> {
    StateDir::open(path, manifest, OnDifference::Refuse)
}

#[test]
fn the_same_manifest_resumes() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("deep/state");
    let state = open(&path, &manifest()).unwrap();
    assert!(!state.is_resumed());
    assert_eq!(
        state.log("in", &Revision::from_text("v1"), 0, "udsource"),
        state.path().join("logs/in-v1-0/udsource.log")
    );
    drop(state);
    let mut same = manifest();
    same["metadata"]["annotations"]["a"] = json!("2");
    same["status"] = json!({"phase": "Running"});
    assert!(open(&path, &same).unwrap().is_resumed());
}

#[test]
fn two_holders_at_once_are_impossible() {
    let dir = tempfile::tempdir().unwrap();
    let held = open(dir.path(), &manifest()).unwrap();
    let text = open(dir.path(), &manifest()).unwrap_err().to_string();
    let expected = format!(
        "use the state directory {}: process {} uses it; stop that one, or give another --state-dir",
        held.path().display(),
        std::process::id()
    );
    assert_eq!(text, expected);
    drop(held);
    assert!(open(dir.path(), &manifest()).is_ok());
}

#[test]
fn a_different_manifest_is_refused_with_what_differs_until_it_is_forced() {
    let dir = tempfile::tempdir().unwrap();
    drop(open(dir.path(), &manifest()).unwrap());
    let mut other = manifest();
    other["spec"]["vertices"][0]["source"]["generator"]["rpu"] = json!(7);
    let text = open(dir.path(), &other).unwrap_err().to_string();
    assert!(text.contains("it belongs to a different manifest; what differs:\n  spec.vertices[in].source.generator.rpu: 5 → 7\ngive --force"), "{text}");
    assert!(StateDir::open(dir.path(), &other, OnDifference::Force).unwrap().is_resumed());
    assert!(open(dir.path(), &other).unwrap().is_resumed());
    assert!(matches!(open(dir.path(), &manifest()), Err(Error::Different { .. })));
}

#[test]
fn a_damaged_record_is_named_and_may_be_forced() {
    let dir = tempfile::tempdir().unwrap();
    drop(open(dir.path(), &manifest()).unwrap());
    fs::write(dir.path().join("run.json"), "{\"formatVersion\":").unwrap();
    let error = open(dir.path(), &manifest()).unwrap_err();
    assert!(matches!(&error, Error::Damaged { path, .. } if path.ends_with("run.json")), "{error}");
    assert!(StateDir::open(dir.path(), &manifest(), OnDifference::Force).is_ok());
    assert!(open(dir.path(), &manifest()).is_ok());
}

#[test]
fn another_version_is_refused_even_when_forced() {
    let dir = tempfile::tempdir().unwrap();
    drop(open(dir.path(), &manifest()).unwrap());
    let file = dir.path().join("run.json");
    let text = fs::read_to_string(&file).unwrap().replace("\"formatVersion\": 1", "\"formatVersion\": 9");
    fs::write(&file, text).unwrap();
    for on_difference in [OnDifference::Refuse, OnDifference::Force] {
        let error = StateDir::open(dir.path(), &manifest(), on_difference).unwrap_err();
        assert!(matches!(error, Error::Version { found: 9, .. }), "{error}");
    }
}

#[test]
fn differences_match_named_elements_by_name() {
    let mut after = manifest();
    after["spec"]["vertices"] = json!([
        {"name": "out", "sink": {"log": {}}, "partitions": 2},
        {"name": "in", "source": {"generator": {"rpu": 5}}},
        {"name": "cat", "udf": {"container": {"image": "x"}}},
    ]);
    after["spec"]["edges"][0]["to"] = json!("cat");
    after["kind"] = json!("MonoVertex");
    assert_eq!(
        differences(&manifest(), &after),
        [
            "kind: \"Pipeline\" → \"MonoVertex\"",
            "spec.vertices[out].partitions: added 2",
            "spec.vertices[cat]: added {\"name\":\"cat\",\"udf\":{\"container\":{\"image\":\"x\"}}}",
            "spec.edges[0].to: \"out\" → \"cat\"",
        ]
    );
    assert!(differences(&after, &after).is_empty());
}

#[test]
fn names_of_directories_are_the_same_in_every_version() {
    assert_eq!(default_name("simple", Path::new("/a/simple.yaml")), "simple-73a7e37b7a31e375");
    let dir = tempfile::tempdir().unwrap();
    let state = open(dir.path(), &manifest()).unwrap();
    assert_eq!(run_dir_name(&state).len(), "tidegate-0123456789abcdef".len());
}

#[test]
fn a_private_directory_is_closed_to_others() {
    use std::os::unix::fs::PermissionsExt;
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("run");
    make_private(&path).unwrap();
    fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
    make_private(&path).unwrap();
    assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o700);
    fs::write(dir.path().join("file"), "").unwrap();
    let text = make_private(&dir.path().join("file")).unwrap_err().to_string();
    assert!(text.starts_with("use "), "{text}");
}
