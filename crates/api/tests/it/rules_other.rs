//! Rules of buffer services, serving pipelines and vertices made by hand.

use crate::fixture::assert_complaints;

fn isb(spec: &str) -> String {
    format!(
        "apiVersion: numaflow.numaproj.io/v1alpha1\nkind: InterStepBufferService\nmetadata: {{name: default}}\nspec:{spec}\n"
    )
}

#[test]
fn a_buffer_service_says_which_version_it_is() {
    assert_complaints(&isb("\n  jetstream: {version: latest}"));
    assert_complaints(&isb(
        "\n  jetstream: {version: 2.10.29, replicas: 5, persistence: {volumeSize: 10Gi}}",
    ));
    assert_complaints(&isb(" {} # => isb-jetstream spec.jetstream"));
    assert_complaints(
        &isb(" # => required spec; isb-jetstream spec.jetstream")
            .replace("; isb-jetstream spec.jetstream", ""),
    );
    assert_complaints(&isb("\n  jetstream: {} # => isb-version spec.jetstream.version"));
    assert_complaints(&isb("\n  jetstream: {version: ''} # => isb-version spec.jetstream.version"));
    let complaints = assert_complaints(&isb(
        " # => isb-jetstream spec.jetstream\n  redis: {} # => unknown-field spec.redis",
    ));
    assert!(complaints.iter().any(|complaint| complaint.hint.contains("use `jetstream`")));
}

#[test]
fn a_buffer_service_has_one_or_at_least_three_servers() {
    for (count, is_good) in [(-1, false), (0, false), (1, true), (2, false), (3, true), (5, true)] {
        let mark = if is_good { "" } else { " # => isb-replicas spec.jetstream.replicas" };
        assert_complaints(&isb(&format!("\n  jetstream:\n    version: latest\n    replicas: {count}{mark}")));
    }
}

#[test]
fn settings_of_a_buffer_service_are_yaml() {
    assert_complaints(&isb("
  jetstream:
    version: latest
    settings: |
      max_payload: 1048576
    bufferConfig: '{broken' # => isb-yaml spec.jetstream.bufferConfig"));
}

#[test]
fn names_of_buffer_services_are_dns_labels() {
    assert_complaints(
        &isb("\n  jetstream: {version: latest}")
            .replace("{name: default}", "{name: De} # => name-invalid metadata.name"),
    );
}

#[test]
fn a_serving_pipeline_is_checked_through_its_pipeline() {
    let text = "apiVersion: numaflow.numaproj.io/v1alpha1
kind: ServingPipeline
metadata: {name: s}
spec:
  serving:
    msgIDHeaderKey: X-Id
    service: true
  pipeline:
    vertices:
      - {name: in, source: {serving: {}}}
      - {name: out, sink: {serve: {}}}
    edges:
      - {from: in, to: out}
";
    assert_complaints(text);
    assert_complaints(
        &text.replace("to: out}", "to: uot} # => edge-unknown-vertex spec.pipeline.edges[0].to"),
    );
    assert_complaints(&text.replace(
        "    msgIDHeaderKey: X-Id\n    service: true",
        "    requestTimeoutSeconds: 0 # => serving-timeout spec.serving.requestTimeoutSeconds\n    store: {container: {}} # => serving-store-image spec.serving.store.container.image",
    ).replace("  serving:\n", "  serving: # => required spec.serving.msgIDHeaderKey\n"));
}

#[test]
fn a_vertex_by_hand_is_a_warning() {
    assert_complaints(
        "apiVersion: numaflow.numaproj.io/v1alpha1
kind: Vertex # => vertex-by-hand kind
metadata: {name: p-in}
spec:
  name: in
  pipelineName: p
  source: {generator: {}}
",
    );
}
