//! Streams of a pipeline on a broker, as far as no broker is needed.

use std::path::Path;

use super::call;

#[test]
fn the_help_names_every_verb_and_teaches() {
    let called = call(Path::new("/"), &["isbsvc", "--help"]);
    assert_eq!(called.code, 0, "{}", called.err);
    for text in
        ["create", "validate", "inspect", "delete", "NUMAFLOW_PIPELINE_OBJECT", "Example: tidegate isbsvc"]
    {
        assert!(called.out.contains(text), "{text}: {}", called.out);
    }
    for verb in ["create", "validate", "inspect", "delete"] {
        let called = call(Path::new("/"), &["isbsvc", verb, "--help"]);
        for text in ["--isb", "--isb-ca", "Exit codes: 0"] {
            assert!(called.out.contains(text), "{verb} {text}: {}", called.out);
        }
    }
}

#[test]
fn what_is_missing_is_said_before_anything_is_reached() {
    let called = call(Path::new("/"), &["isbsvc", "create", "--isb", "nats://127.0.0.1:1"]);
    assert_eq!(called.code, 2);
    assert!(called.err.contains("find the pipeline: name a manifest"), "{}", called.err);
    let called = call(Path::new("/"), &["isbsvc", "create", "--isb-ca", "ca.pem", "pipeline.yaml"]);
    assert_eq!(called.code, 2);
    assert!(called.err.contains("--isb"), "{}", called.err);
    let called = call(Path::new("/"), &["isbsvc", "create", "--buffers", "ns-pl-cat-0"]);
    assert_eq!(called.code, 2);
    assert!(called.err.contains("NUMAFLOW_PIPELINE_NAME"), "{}", called.err);
}
