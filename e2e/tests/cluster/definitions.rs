//! Manifests against the schemas of a real API server: what the examples write is taken, what is wrong is refused in words.
//! Nothing is stored: all of it is a dry run.

use std::path::Path;

use serde_json::{Value, json};

use crate::kubectl::{refused, run};

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("the crate is in the workspace")
}

#[test]
fn every_example_is_taken() {
    let mut count = 0;
    for entry in std::fs::read_dir(root().join("examples")).expect("there are examples") {
        let path = entry.expect("the directory can be read").path();
        if path.extension().is_some_and(|extension| extension == "yaml") {
            let path = path.to_str().expect("the path is text");
            run(&["apply", "--server-side", "--dry-run=server", "-f", path]);
            count += 1;
        }
    }
    assert!(count > 10, "{count} examples");
}

#[test]
fn a_manifest_that_is_wrong_is_refused_in_words() {
    let good = json!({
        "apiVersion": "numaflow.numaproj.io/v1alpha1", "kind": "Pipeline", "metadata": {"name": "wrong"},
        "spec": {
            "vertices": [{"name": "in", "source": {"generator": {}}}, {"name": "out", "sink": {"log": {}}}],
            "edges": [{"from": "in", "to": "out"}],
        },
    });
    let cases: [(&str, Value, &str); 6] = [
        ("/spec/edges", json!([]), "a pipeline needs at least one edge"),
        ("/spec/vertices/0/sink", json!({"log": {}}), "exactly one of `source`, `sink` and `udf`"),
        ("/spec/vertices/1/name", json!("in"), "duplicate entries for key"),
        ("/spec/limits", json!({"readTimeout": "5"}), "spec.limits.readTimeout"),
        ("/spec/limits", json!({"readBatchSize": 0}), "greater than or equal to 1"),
        ("/spec/vertices/0/source/generator/rpu", json!("many"), "rpu"),
    ];
    for (path, value, words) in cases {
        let mut manifest = good.clone();
        let (parent, field) = path.rsplit_once('/').expect("a path has parts");
        manifest.pointer_mut(parent).expect("the good manifest has it")[field] = value;
        let file = tempfile::NamedTempFile::new().expect("a file can be made");
        std::fs::write(file.path(), manifest.to_string()).expect("it can be written");
        let file = file.path().to_str().expect("the path is text").to_owned();
        let said = refused(&["apply", "--server-side", "--dry-run=server", "-f", &file]);
        assert!(said.contains(words), "{path}: {said}");
    }
}
