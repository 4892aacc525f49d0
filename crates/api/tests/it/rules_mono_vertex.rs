//! Rules of a mono vertex.

use crate::fixture::{assert_complaints, mono_vertex};

const GOOD: &str = "  source: {generator: {}}
  sink: {log: {}}";

#[test]
fn a_good_mono_vertex_has_no_complaints() {
    assert_complaints(&mono_vertex(GOOD));
    assert_complaints(&mono_vertex(&format!(
        "{GOOD}
  udf: {{container: {{image: x}}}}
  bypass: {{sink: {{tags: {{values: [a]}}}}}}
  streaming: true"
    )));
}

#[test]
fn names_are_dns_labels_and_fit() {
    assert_complaints(&mono_vertex(GOOD).replace("name: m\n", "name: M # => name-invalid metadata.name\n"));
    let name = "a".repeat(50);
    assert_complaints(&mono_vertex(GOOD).replace("name: m\n", &format!("name: {}\n", &name[..49])));
    assert_complaints(
        &mono_vertex(GOOD).replace("name: m\n", &format!("name: {name} # => name-too-long metadata.name\n")),
    );
}

#[test]
fn source_and_sink_are_required() {
    let text = mono_vertex("  replicas: 1")
        .replace("spec:\n", "spec: # => source-required spec.source; sink-required spec.sink\n");
    assert_complaints(&text);
}

#[test]
fn serving_is_for_serving_pipelines() {
    assert_complaints(&mono_vertex(
        "  source:
    serving: {} # => serving-in-mono-vertex spec.source.serving
  sink:
    serve: {} # => serve-outside spec.sink.serve",
    ));
}

#[test]
fn streaming_excludes_built_in_kafka() {
    assert_complaints(&mono_vertex(
        "  streaming: true # => streaming-kafka spec.streaming
  source: {kafka: {brokers: [a], topic: t}}
  sink: {log: {}}",
    ));
    assert_complaints(&mono_vertex(
        "  streaming: true # => streaming-pulsar spec.streaming
  source: {pulsar: {serverAddr: a, topic: b, consumerName: c, subscriptionName: d, maxUnack: 100}}
  sink: {log: {}}",
    ));
}

#[test]
fn the_rules_of_sources_sinks_and_maps_hold() {
    assert_complaints(&mono_vertex(
        "  source:
    udsource:
      container: {} # => udsource-image spec.source.udsource.container.image
  sink: # => fallback-missing spec.sink.fallback
    udsink:
      container: {} # => udsink-image spec.sink.udsink.container.image
    retryStrategy: {onFailure: fallback}
  udf:
    container: {} # => udf-image spec.udf.container.image
    groupBy: # => mono-vertex-reduce spec.udf.groupBy
      window: {fixed: {length: 1m}}
  initContainers:
    - {name: numa, image: x} # => container-reserved spec.initContainers[0].name
  sidecars:
    - {name: udf, image: x} # => container-reserved spec.sidecars[0].name
  replicas: -1 # => replicas-negative spec.replicas
  updateStrategy: {rollingUpdate: {maxUnavailable: x}} # => max-unavailable spec.updateStrategy.rollingUpdate.maxUnavailable
  scale:
    min: 5 # => scale-bounds spec.scale.min
    max: 4
    cron:
      schedules: [] # => scale-cron-empty spec.scale.cron.schedules
  limits:
    readBatchSize: 0 # => range spec.limits.readBatchSize
    rateLimit: {max: 0} # => rate-limit-max spec.limits.rateLimit.max
  lifecycle: {desiredPhase: Stopped} # => unknown-value spec.lifecycle.desiredPhase",
    ));
}

#[test]
fn bypasses_lead_to_sinks_that_exist() {
    assert_complaints(&mono_vertex(
        "  source: {generator: {}}
  sink: {log: {}}
  bypass:
    fallback: {tags: {values: [a]}} # => bypass-target spec.bypass.fallback
    onSuccess: {tags: {values: []}} # => bypass-target spec.bypass.onSuccess; bypass-tags-empty spec.bypass.onSuccess.tags.values",
    ));
    assert_complaints(&mono_vertex(
        "  source: {generator: {}}
  sink: {log: {}, fallback: {log: {}}, onSuccess: {log: {}}}
  bypass: {fallback: {tags: {values: [a]}}, onSuccess: {tags: {operator: not, values: [b]}}}",
    ));
}

#[test]
fn fields_of_pipelines_are_unknown_here() {
    for field in ["partitions: 1", "sideInputs: [a]", "ordered: {}", "watermark: {}", "interStepBuffer: {}"] {
        let name = field.split(':').next().unwrap();
        assert_complaints(&mono_vertex(&format!("{GOOD}\n  {field} # => unknown-field spec.{name}")));
    }
}
