//! Defaults, row by row.

use std::time::Duration;

use api::Object;
use api::resolve::{
    self, CanaryStep, Compression, HttpListener, OnFailure, PipelineSettings, RateLimitMode, Share,
    UpdateKind, VertexKind, VertexSettings,
};
use api::spec::{LogicOperator, OnExhausted, OnFull, OnPauseTimeout, ResumeStrategy};
use tidegate_api as api;

use crate::fixture::{first, last, middle, mono_vertex, pipeline};

fn settings(text: &str) -> PipelineSettings {
    let objects = api::load([("f", text.as_bytes())]).accept().expect("a good manifest").0;
    let Object::Pipeline(pipeline) = &objects[0] else { panic!("a pipeline") };
    resolve::pipeline(pipeline)
}

fn vertex(text: &str, name: &str) -> VertexSettings {
    settings(text).vertices.into_iter().find(|vertex| vertex.name == name).expect("a vertex of that name")
}

const MAP: &str = "      udf: {container: {image: x}}";

#[test]
fn an_empty_pipeline_spec_has_the_defaults_of_the_reference() {
    let settings = settings(&middle(MAP));
    assert_eq!((settings.name.as_str(), settings.namespace.as_str()), ("p", "default"));
    assert_eq!(settings.inter_step_buffer_service, "default");
    assert_eq!(settings.compression, Compression::None);
    assert!(!settings.lifecycle.paused);
    assert_eq!(settings.lifecycle.pause_grace, Duration::from_secs(30));
    assert_eq!(settings.lifecycle.deletion_grace, Duration::from_secs(30));
    assert_eq!(settings.lifecycle.on_pause_timeout, OnPauseTimeout::Keep);
    assert_eq!(settings.lifecycle.resume, ResumeStrategy::Fast);
    assert!(settings.watermark.enabled);
    assert_eq!((settings.watermark.max_delay, settings.watermark.idle), (Duration::ZERO, None));
    assert_eq!(settings.edges[0].on_full, OnFull::RetryUntilSuccess);
    assert_eq!(settings.edges[0].tags, None);
    let kinds: Vec<_> = settings.vertices.iter().map(|vertex| vertex.kind.as_str()).collect();
    assert_eq!(kinds, ["Source", "MapUDF", "Sink"]);
    for vertex in settings.vertices {
        assert_eq!((vertex.partitions, vertex.ordered, vertex.replicas), (1, false, 1), "{}", vertex.name);
        assert_eq!(vertex.limits.read_batch_size, 500);
        assert_eq!(vertex.limits.read_timeout, Duration::from_secs(1));
        assert_eq!(vertex.limits.buffer_max_length, 30_000);
        assert_eq!(vertex.limits.buffer_usage_limit_percent, 80);
        assert_eq!(vertex.limits.buffer_usable_length(), 24_000);
        assert_eq!(vertex.limits.concurrency, 500);
        assert_eq!(vertex.limits.rate_limit, None);
        assert_eq!(vertex.read_ahead, vertex.kind != VertexKind::Source);
        assert_eq!(vertex.in_flight_max(), if vertex.kind == VertexKind::Source { 500 } else { 1000 });
    }
}

#[test]
fn scaling_has_the_defaults_of_the_reference() {
    let scale = vertex(&middle(MAP), "v").scale;
    assert!(scale.automatic);
    assert_eq!((scale.min, scale.max), (0, 50));
    assert_eq!(scale.lookback, Duration::from_mins(2));
    assert_eq!(scale.zero_replica_sleep, Duration::from_mins(2));
    assert_eq!(scale.target_processing, Duration::from_secs(20));
    assert_eq!(scale.target_buffer_availability_percent, 50);
    assert_eq!((scale.step_up, scale.step_down), (2, 2));
    assert_eq!((scale.cooldown_up, scale.cooldown_down), (Duration::from_secs(90), Duration::from_secs(90)));
    let written = format!(
        "{MAP}\n      scale: {{disabled: true, lookbackSeconds: 900, replicasPerScale: 5, replicasPerScaleUp: 7, min: 3}}"
    );
    let vertex = vertex(&middle(&written), "v");
    assert!(!vertex.scale.automatic);
    assert_eq!(vertex.scale.lookback, Duration::from_mins(10));
    assert_eq!((vertex.scale.step_up, vertex.scale.step_down), (7, 5));
    assert_eq!(vertex.replicas, 3);
}

#[test]
fn limits_come_from_vertex_then_pipeline_then_the_built_in() {
    let text = middle(&format!("{MAP}\n      limits: {{readBatchSize: 10, bufferUsageLimit: 50}}"))
        .replace("spec:\n", "spec:\n  limits: {readTimeout: 250ms, bufferMaxLength: 100}\n");
    let limits = vertex(&text, "v").limits;
    assert_eq!(limits.read_batch_size, 10);
    assert_eq!(limits.read_timeout, Duration::from_millis(250));
    assert_eq!(limits.buffer_usable_length(), 50);
    // Unset, it is the pipeline's batch size and not the vertex's.
    assert_eq!(limits.concurrency, 500);
    let with_batch = text.replace("{readTimeout", "{readBatchSize: 40, readTimeout");
    assert_eq!(vertex(&with_batch, "v").limits.concurrency, 40);
    assert_eq!(vertex(&with_batch, "out").limits.read_batch_size, 40);
    let with_both = with_batch.replace("{readBatchSize: 10,", "{concurrency: 3, readBatchSize: 10,");
    assert_eq!(vertex(&with_both, "v").limits.concurrency, 3);
}

#[test]
fn a_rate_limit_takes_what_it_leaves_open_from_the_pipeline() {
    let own = format!("{MAP}\n      limits: {{rateLimit: {{max: 100, modes: {{goBackN: {{}}}}}}}}");
    let alone = vertex(&middle(&own), "v").limits.rate_limit.unwrap();
    assert_eq!((alone.max, alone.min, alone.ramp_up), (Some(100), 1, Duration::from_secs(1)));
    assert_eq!((alone.ttl, alone.resumed_ramp_up, alone.store), (Duration::from_mins(3), false, None));
    assert_eq!(
        alone.mode,
        RateLimitMode::GoBackN { cool_down: Duration::from_secs(5), ramp_down: 50, threshold: 50 }
    );
    let text = middle(&own).replace(
        "spec:\n",
        "spec:\n  limits: {rateLimit: {max: 9, min: 4, rampUpDuration: 7s, store: {inMemoryStore: {}}, modes: {onlyIfUsed: {}}}}\n",
    );
    let inherited = vertex(&text, "v").limits.rate_limit.unwrap();
    assert_eq!((inherited.max, inherited.min, inherited.ramp_up), (Some(100), 4, Duration::from_secs(7)));
    assert!(inherited.store.is_some());
    let other = vertex(&text, "out").limits.rate_limit.unwrap();
    assert_eq!((other.max, other.mode), (Some(9), RateLimitMode::OnlyIfUsed { threshold: 50 }));
}

#[test]
fn partitions_count_only_where_they_make_sense() {
    let reduce = |keyed: bool, partitions: u32| {
        vertex(
            &middle(&format!(
                "      partitions: {partitions}
      udf: {{container: {{image: x}}, groupBy: {{keyed: {keyed}, window: {{fixed: {{length: 1m}}}}, storage: {{no_store: {{}}}}}}}}"
            )),
            "v",
        )
    };
    assert_eq!(
        (reduce(false, 1).partitions, reduce(true, 4).partitions, reduce(true, 0).partitions),
        (1, 4, 1)
    );
    let keyed = reduce(true, 4);
    assert_eq!((keyed.kind, keyed.replicas, keyed.scale.automatic), (VertexKind::Reduce, 4, false));
    assert_eq!((keyed.scale.min, keyed.scale.max), (4, 4));
    assert_eq!(vertex(&middle(&format!("{MAP}\n      partitions: 3")), "v").partitions, 3);
    assert_eq!(vertex(&middle(&format!("{MAP}\n      partitions: 3")), "v").replicas, 1);
}

#[test]
fn order_costs_concurrency_and_fixes_replicas() {
    let text = middle(&format!("{MAP}\n      partitions: 3\n      limits: {{concurrency: 9}}"))
        .replace("spec:\n", "spec:\n  ordered: {enabled: true}\n");
    let map = vertex(&text, "v");
    assert!(map.ordered);
    assert_eq!((map.limits.concurrency, map.replicas, map.scale.automatic), (1, 3, false));
    assert!(!vertex(&text, "in").ordered);
    let opted_out =
        text.replace("      partitions: 3\n", "      ordered: {enabled: false}\n      partitions: 3\n");
    assert!(!vertex(&opted_out, "v").ordered);
}

#[test]
fn a_pause_means_no_replicas() {
    let text = middle(MAP).replace(
        "spec:\n",
        "spec:\n  lifecycle: {desiredPhase: Paused, pauseGracePeriodSeconds: 5, deleteGracePeriodSeconds: 7, onPauseTimeout: wait, resume: {strategy: slow, perMinute: 4}}\n",
    );
    let settings = settings(&text);
    assert!(settings.lifecycle.paused);
    assert!(settings.vertices.iter().all(|vertex| vertex.replicas == 0));
    assert_eq!(settings.lifecycle.pause_grace, Duration::from_secs(5));
    assert_eq!(settings.lifecycle.deletion_grace, Duration::from_secs(7));
    assert_eq!(settings.lifecycle.on_pause_timeout, OnPauseTimeout::Wait);
    assert_eq!(
        (settings.lifecycle.resume, settings.lifecycle.resume_replicas_per_minute),
        (ResumeStrategy::Slow, 4)
    );
}

#[test]
fn the_annotation_for_resuming_still_works() {
    let text = middle(MAP)
        .replace("  name: p\n", "  name: p\n  annotations: {numaflow.numaproj.io/resume-strategy: slow}\n");
    assert_eq!(settings(&text).lifecycle.resume, ResumeStrategy::Slow);
}

#[test]
fn retries_have_the_defaults_of_the_reference() {
    let retry = vertex(&middle(MAP), "v").retry;
    assert_eq!(
        (retry.interval, retry.steps, retry.on_failure),
        (Duration::from_millis(1), None, OnFailure::Retry)
    );
    assert_eq!((retry.factor, retry.jitter), (1.0, 0.0));
    assert_eq!(retry.cap, Duration::from_millis(u64::from(u32::MAX)));
    let sink = "      sink: {log: {}, retryStrategy: {onFailure: drop, backoff: {interval: 1s, steps: 3, factor: 2, cap: 3s}}}";
    let retry = vertex(&last(sink), "out").retry;
    assert_eq!((retry.steps, retry.on_failure), (Some(3), OnFailure::Drop));
    assert_eq!((retry.interval, retry.cap), (Duration::from_secs(1), Duration::from_secs(3)));
    assert_eq!((retry.factor, retry.jitter), (2.0, 0.0));
    // Steps say nothing when every failure is tried again.
    assert_eq!(vertex(&last(&sink.replace("drop", "retry")), "out").retry.steps, None);
}

#[test]
fn user_code_is_missed_after_half_a_minute_and_tried_for_ever() {
    let user_code = vertex(&middle(MAP), "v").user_code;
    assert_eq!((user_code.unresponsive_after, user_code.poison_attempts), (Duration::from_secs(30), None));
    let written = format!("{MAP}\n      userCode: {{unresponsiveAfter: 2s, poisonAttempts: 3}}");
    let user_code = vertex(&middle(&written), "v").user_code;
    assert_eq!(user_code.unresponsive_after, Duration::from_secs(2));
    assert_eq!(user_code.poison_attempts.map(std::num::NonZeroU32::get), Some(3));
}

#[test]
fn redelivery_has_no_end_unless_it_is_given_one() {
    let redelivery = vertex(&middle(MAP), "v").redelivery;
    assert_eq!((redelivery.deliveries_max, redelivery.on_exhausted), (None, OnExhausted::Drop));
    assert_eq!(redelivery.hold_watermark, Duration::from_mins(1));
    let written = format!("{MAP}\n      redelivery: {{maxDeliveries: 3, holdWatermark: 1s}}");
    let redelivery = vertex(&middle(&written), "v").redelivery;
    assert_eq!((redelivery.deliveries_max, redelivery.hold_watermark), (Some(3), Duration::from_secs(1)));
}

#[test]
fn updates_have_defaults_and_vertices_inherit_them() {
    let update = vertex(&middle(MAP), "v").update;
    assert_eq!(update.kind, UpdateKind::RollingUpdate);
    assert_eq!((update.max_unavailable, update.max_surge), (Share::Percent(25), Share::Count(1)));
    assert_eq!(
        (update.min_ready, update.progress_deadline),
        (Duration::from_secs(5), Duration::from_mins(10))
    );
    assert!(update.auto_rollback);
    assert_eq!((update.analysis.min_records, update.analysis.max_error_ratio), (100, 0.01));
    let text = middle(MAP).replace(
        "spec:\n",
        "spec:
  updateStrategy:
    type: Canary
    rollback: {auto: false}
    canary: {steps: [{setWeight: 10}, {analysis: {for: 2m}}, {pause: {duration: 5m}}, {pause: {}}]}
",
    );
    let update = vertex(&text, "v").update;
    assert_eq!((update.kind, update.auto_rollback), (UpdateKind::Canary, false));
    assert_eq!(
        update.canary,
        [
            CanaryStep::SetWeight(10),
            CanaryStep::Analyse(Duration::from_mins(2)),
            CanaryStep::Wait(Duration::from_mins(5)),
            CanaryStep::WaitForWord,
        ]
    );
    let own = text.replace(MAP, &format!("{MAP}\n      updateStrategy: {{type: Recreate}}"));
    assert_eq!(vertex(&own, "v").update.kind, UpdateKind::Recreate);
    assert_eq!(vertex(&own, "out").update.kind, UpdateKind::Canary);
}

#[test]
fn shares_round_as_kubernetes_rounds() {
    let quarter = Share::Percent(25);
    assert_eq!((quarter.of_rounded_down(10), quarter.of_rounded_up(10)), (2, 3));
    assert_eq!((quarter.of_rounded_down(1), quarter.of_rounded_up(1)), (0, 1));
    assert_eq!(Share::Count(3).of_rounded_down(1), 3);
    assert_eq!(Share::Percent(100).of_rounded_up(u32::MAX), u32::MAX);
}

#[test]
fn generators_and_listeners_have_defaults() {
    let objects = api::load([(
        "f",
        first("      source: {generator: {}, transformer: {container: {image: x}}}").as_bytes(),
    )]);
    let objects = objects.accept().unwrap().0;
    let Object::Pipeline(pipeline) = &objects[0] else { panic!("a pipeline") };
    let generator = pipeline.spec.vertices[0].source.as_ref().unwrap().generator.as_ref().unwrap().resolve();
    assert_eq!((generator.records_per_unit, generator.unit), (5, Duration::from_secs(1)));
    assert_eq!((generator.message_bytes, generator.keys), (8, 0));
    assert_eq!((generator.value, generator.jitter, generator.payload), (None, Duration::ZERO, None));
    let written = api::spec::source::GeneratorSource {
        rpu: Some(0),
        msg_size: Some(-4),
        key_count: Some(1000),
        value_blob: Some("aGk=".to_owned()),
        ..Default::default()
    };
    let generator = written.resolve();
    assert_eq!((generator.records_per_unit, generator.message_bytes, generator.keys), (0, 8, 255));
    assert_eq!(generator.payload.as_deref(), Some(b"hi".as_slice()));
    assert_eq!(HttpListener::from_spec(None), HttpListener { https_port: 8443, http_port: None });
    let ports = api::spec::HttpPorts { https: None, http: Some(8090) };
    assert_eq!(
        HttpListener::from_spec(Some(&ports)),
        HttpListener { https_port: 8443, http_port: Some(8090) }
    );
}

#[test]
fn mono_vertices_have_the_defaults_of_the_reference() {
    let resolve = |text: &str| {
        let objects = api::load([("f", text.as_bytes())]).accept().expect("a good manifest").0;
        let Object::MonoVertex(object) = &objects[0] else { panic!("a mono vertex") };
        resolve::mono_vertex(object)
    };
    let (settings, lifecycle) = resolve(&mono_vertex("  source: {generator: {}}\n  sink: {log: {}}"));
    assert_eq!(
        (settings.limits.read_batch_size, settings.limits.concurrency, settings.replicas),
        (500, 500, 1)
    );
    assert!(!settings.read_ahead);
    assert!(!lifecycle.paused);
    // A mono vertex's concurrency follows its own batch size.
    let (settings, _) = resolve(&mono_vertex(
        "  source: {generator: {}}
  sink: {log: {}}
  replicas: 9
  scale: {max: 4}
  limits: {readBatchSize: 20}
  containerTemplate: {env: [{name: NUMAFLOW_READ_AHEAD, value: 'true'}]}",
    ));
    assert_eq!((settings.limits.concurrency, settings.replicas, settings.read_ahead), (20, 4, true));
    assert_eq!(settings.in_flight_max(), 40);
}

#[test]
fn edges_test_tags() {
    let text = pipeline(
        "  vertices:
    - {name: in, source: {generator: {}}}
    - {name: out, sink: {log: {}}}
    - {name: out2, sink: {log: {}}}
    - {name: out3, sink: {log: {}}}
  edges:
    - {from: in, to: out, conditions: {tags: {values: [a, b]}}}
    - {from: in, to: out2, conditions: {tags: {operator: and, values: [a, b]}}, onFull: discardLatest}
    - {from: in, to: out3, conditions: {tags: {operator: not, values: [a, b]}}}",
    );
    let edges = settings(&text).edges;
    let tests: Vec<_> = edges.iter().map(|edge| edge.tags.clone().unwrap()).collect();
    let operators: Vec<_> = tests.iter().map(|test| test.operator).collect();
    assert_eq!(operators, [LogicOperator::Or, LogicOperator::And, LogicOperator::Not]);
    assert_eq!(edges[1].on_full, OnFull::DiscardLatest);
    assert!(tests.iter().all(|test| test.values == ["a", "b"]));
}

#[test]
fn vertices_inherit_from_the_template_what_they_leave_open() {
    let text = middle(&format!(
        "{MAP}
      containerTemplate: {{env: [{{name: OWN, value: x}}], resources: {{limits: {{cpu: 1}}}}}}
      metadata: {{labels: {{a: own}}}}"
    ))
    .replace(
        "spec:\n",
        "spec:
  templates:
    vertex:
      containerTemplate:
        env: [{name: NUMAFLOW_READ_AHEAD, value: 'false'}]
        resources: {limits: {memory: 1Gi, cpu: 5}}
      metadata: {labels: {a: template, b: template}}
      priority: 7
",
    );
    let objects = api::load([("f", text.as_bytes())]).accept().unwrap().0;
    let Object::Pipeline(pipeline) = &objects[0] else { panic!("a pipeline") };
    let template = pipeline.spec.templates.as_ref().unwrap().vertex.as_ref().unwrap();
    let merged = resolve::merge_vertex_template(&pipeline.spec.vertices[1], template);
    let container = merged.container_template.unwrap();
    // A list that says anything is taken as it is.
    assert_eq!(container.env.iter().map(|variable| variable.name.as_str()).collect::<Vec<_>>(), ["OWN"]);
    let limits = container.resources.unwrap().limits.unwrap();
    assert_eq!((limits["cpu"].0.as_str(), limits["memory"].0.as_str()), ("1", "1Gi"));
    let labels = merged.pod.metadata.unwrap().labels;
    assert_eq!((labels["a"].as_str(), labels["b"].as_str()), ("own", "template"));
    assert_eq!(merged.pod.priority, Some(7));
    assert!(vertex(&text, "v").read_ahead);
    assert!(!vertex(&text, "out").read_ahead);
}
