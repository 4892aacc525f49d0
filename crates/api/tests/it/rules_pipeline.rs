//! Rules of a pipeline as a whole.

use crate::fixture::{assert_complaints, middle, pipeline};

const TWO: &str = "  vertices:
    - {name: in, source: {generator: {}}}
    - {name: out, sink: {log: {}}}
  edges:
    - {from: in, to: out}";

#[test]
fn a_good_pipeline_has_no_complaints() {
    assert_complaints(&pipeline(TWO));
}

#[test]
fn names_are_dns_labels() {
    for (name, expected) in [
        ("Simple", "name-invalid metadata.name"),
        ("1st", "name-invalid metadata.name"),
        ("a.b", "name-invalid metadata.name"),
        ("end-", "name-invalid metadata.name"),
        ("''", "name-missing metadata.name"),
    ] {
        assert_complaints(&pipeline(TWO).replace("name: p\n", &format!("name: {name} # => {expected}\n")));
    }
    let without =
        pipeline(TWO).replace("metadata:\n  name: p\n", "metadata: {} # => name-missing metadata.name\n");
    assert_complaints(&without);
}

#[test]
fn derived_names_fit() {
    let name = "a".repeat(52);
    let good = pipeline(TWO).replace("name: p\n", &format!("name: {}\n", &name[..50]));
    assert_complaints(&good);
    // 51 + 1 + 3 + 9 characters are one too many, and only for `out`.
    let bad = pipeline(TWO)
        .replace("name: p\n", &format!("name: {}\n", &name[..51]))
        .replace("out, sink: {log: {}}}", "out, sink: {log: {}}} # => name-too-long spec.vertices[1].name");
    assert_complaints(&bad);
}

#[test]
fn a_pipeline_has_vertices_and_edges() {
    assert_complaints(&pipeline("  vertices: [] # => vertices-empty spec.vertices"));
    assert_complaints(&pipeline("  {}").replace("spec:\n  {}", "spec: {} # => vertices-empty spec.vertices"));
    assert_complaints(&pipeline(
        "  vertices:
    - {name: in, source: {generator: {}}}
    - {name: out, sink: {log: {}}}
  edges: [] # => edges-empty spec.edges",
    ));
}

#[test]
fn a_pipeline_has_a_source_and_a_sink() {
    assert_complaints(&pipeline(
        "  vertices: # => no-source spec.vertices
    - {name: a, udf: {container: {image: x}}}
    - {name: out, sink: {log: {}}}
  edges:
    - {from: a, to: a}
    - {from: a, to: out}",
    ));
    assert_complaints(&pipeline(
        "  vertices: # => no-sink spec.vertices
    - {name: in, source: {generator: {}}}
    - {name: a, udf: {container: {image: x}}}
  edges:
    - {from: in, to: a}
    - {from: a, to: a}",
    ));
}

#[test]
fn vertex_names_are_unique() {
    assert_complaints(&pipeline(
        "  vertices:
    - {name: in, source: {generator: {}}}
    - {name: out, sink: {log: {}}}
    - {name: out, sink: {log: {}}} # => vertex-duplicate spec.vertices[2].name; vertex-no-edge spec.vertices[2]
  edges:
    - {from: in, to: out}",
    ));
}

#[test]
fn a_vertex_does_exactly_one_thing() {
    assert_complaints(&pipeline(
        "  vertices:
    - {name: in, source: {generator: {}}}
    - {name: none} # => vertex-kind spec.vertices[1]
    - {name: two, sink: {log: {}}, udf: {container: {image: x}}} # => vertex-kind spec.vertices[2]
    - {name: out, sink: {log: {}}}
  edges:
    - {from: in, to: none}
    - {from: none, to: two}
    - {from: two, to: out}",
    ));
}

#[test]
fn sources_begin_and_sinks_end() {
    assert_complaints(&pipeline(
        "  vertices:
    - {name: in, source: {generator: {}}}
    - {name: in2, source: {generator: {}}}
    - {name: out, sink: {log: {}}}
    - {name: out2, sink: {log: {}}}
  edges:
    - {from: in, to: out}
    - from: in
      to: in2 # => edge-into-source spec.edges[1].to
    - {from: in2, to: out}
    - from: out # => edge-out-of-sink spec.edges[3].from
      to: out2",
    ));
}

#[test]
fn every_vertex_has_the_edges_it_needs() {
    assert_complaints(&pipeline(
        "  vertices:
    - {name: in, source: {generator: {}}}
    - {name: a, udf: {container: {image: x}}} # => vertex-no-output spec.vertices[1]
    - {name: b, udf: {container: {image: x}}} # => vertex-no-input spec.vertices[2]
    - {name: out, sink: {log: {}}}
    - {name: alone, udf: {container: {image: x}}} # => vertex-no-edge spec.vertices[4]
  edges:
    - {from: in, to: a}
    - {from: in, to: out}
    - {from: b, to: out}",
    ));
}

#[test]
fn a_serve_sink_and_a_serving_source_need_a_front() {
    let text = pipeline(
        "  vertices:
    - name: in
      source:
        serving: {} # => serving-outside spec.vertices[0].source.serving
    - name: out
      sink:
        serve: {} # => serve-outside spec.vertices[1].sink.serve
  edges:
    - {from: in, to: out}",
    );
    assert_complaints(&text);
    let inside =
        text.replace("  name: p\n", "  name: p\n  labels: {numaflow.numaproj.io/serving-pipeline-name: s}\n");
    let inside: Vec<_> = inside.lines().map(|line| line.split(" # => ").next().unwrap()).collect();
    assert_complaints(&inside.join("\n"));
}

#[test]
fn a_serving_source_excludes_reduce() {
    let text = middle(
        "      udf:
        container: {image: x}
        groupBy: # => serving-with-reduce spec.vertices[1].udf.groupBy
          window: {fixed: {length: 60s}}
          storage: {no_store: {}}",
    );
    let text = text
        .replace("source: {generator: {}}", "source: {serving: {}}")
        .replace("  name: p\n", "  name: p\n  labels: {numaflow.numaproj.io/serving-pipeline-name: s}\n");
    assert_complaints(&text);
}

#[test]
fn edges_lead_from_and_to_known_vertices() {
    let complaints = assert_complaints(&pipeline(
        "  vertices:
    - {name: in, source: {generator: {}}}
    - {name: output, sink: {log: {}}}
  edges:
    - from: in
      to: outptu # => edge-unknown-vertex spec.edges[0].to
    - {from: '', to: output} # => edge-incomplete spec.edges[1].from
    - {from: in} # => required spec.edges[2].to
    - {from: nowhere, to: output} # => edge-unknown-vertex spec.edges[3].from",
    ));
    assert_eq!(complaints[0].hint, "did you mean `output`?");
    assert_eq!((complaints[0].line, complaints[0].column), (11, 7));
}

#[test]
fn edges_are_unique_and_conditions_have_tags() {
    assert_complaints(&pipeline(
        "  vertices:
    - {name: in, source: {generator: {}}}
    - {name: out, sink: {log: {}}}
  edges:
    - {from: in, to: out}
    - {from: in, to: out} # => edge-duplicate spec.edges[1]",
    ));
    // Pairs whose names run together to the same text are different pairs.
    assert_complaints(&pipeline(
        "  vertices:
    - {name: ab, source: {generator: {}}}
    - {name: a, source: {generator: {}}}
    - {name: c, sink: {log: {}}}
    - {name: bc, sink: {log: {}}}
  edges:
    - {from: ab, to: c}
    - {from: a, to: bc}
    - {from: a, to: c}",
    ));
    assert_complaints(&pipeline(
        "  vertices:
    - {name: in, source: {generator: {}}}
    - {name: out, sink: {log: {}}}
    - {name: out2, sink: {log: {}}}
    - {name: out3, sink: {log: {}}}
  edges:
    - from: in
      to: out
      conditions:
        tags:
          values: [] # => edge-tags-empty spec.edges[0].conditions.tags.values
    - from: in
      to: out2
      conditions:
        tags: {operator: and} # => required spec.edges[1].conditions.tags.values
    - from: in
      to: out3
      conditions: {tags: {operator: xor, values: [a]}} # => unknown-value spec.edges[2].conditions.tags.operator",
    ));
}

#[test]
fn the_graph_is_connected() {
    assert_complaints(&pipeline(
        "  vertices:
    - {name: in, source: {generator: {}}}
    - {name: out, sink: {log: {}}}
    - {name: in2, source: {generator: {}}} # => graph-disconnected spec.vertices[2]
    - {name: out2, sink: {log: {}}}
  edges:
    - {from: in, to: out}
    - {from: in2, to: out2}",
    ));
}

#[test]
fn cycles_are_possible_unless_a_reduce_is_on_or_after_them() {
    let text = |window: &str, extra: &str| {
        pipeline(&format!(
            "  vertices:
    - {{name: in, source: {{generator: {{}}}}}}
    - {{name: loop, udf: {{container: {{image: x}}}}}}
    - name: agg
      udf:
        container: {{image: x}}
{window}
    - {{name: out, sink: {{log: {{}}}}}}
  edges:
    - {{from: in, to: loop}}
    - {{from: loop, to: agg}}
    - {{from: agg, to: out}}
{extra}"
        ))
    };
    let group_by = "        groupBy: {window: {fixed: {length: 60s}}, storage: {no_store: {}}}";
    assert_complaints(&text("", "    - {from: loop, to: loop}"));
    assert_complaints(&text("", "    - {from: agg, to: loop}"));
    assert_complaints(&text(group_by, ""));
    let marked = format!("{group_by} # => cycle-before-reduce spec.vertices[2].udf.groupBy");
    assert_complaints(&text(&marked, "    - {from: loop, to: loop}"));
    assert_complaints(&text(&marked, "    - {from: agg, to: loop}"));
}

#[test]
fn a_cycle_after_a_reduce_is_possible() {
    assert_complaints(&pipeline(
        "  vertices:
    - {name: in, source: {generator: {}}}
    - {name: agg, udf: {container: {image: x}, groupBy: {window: {session: {timeout: 5s}}, storage: {no_store: {}}}}}
    - {name: loop, udf: {container: {image: x}}}
    - {name: out, sink: {log: {}}}
  edges:
    - {from: in, to: agg}
    - {from: agg, to: loop}
    - {from: loop, to: loop}
    - {from: loop, to: out}",
    ));
}

#[test]
fn side_inputs_are_complete_unique_and_known() {
    assert_complaints(
        &middle("      sideInputs: [good, good2]\n      udf: {container: {image: x}}").replace(
            "spec:\n",
            "spec:
  sideInputs:
    - {name: good, container: {image: x}, trigger: {schedule: '0 */5 * * * *', timezone: Asia/Tokyo}}
    - {name: good2, container: {image: x}, trigger: {schedule: '@hourly'}}
",
        ),
    );
    let complaints = assert_complaints(
        &middle(
            "      sideInputs:
        - cofnig # => side-input-unknown spec.vertices[1].sideInputs[0]
        - config
        - config # => side-input-repeated spec.vertices[1].sideInputs[2]
      udf: {container: {image: x}}",
        )
        .replace(
            "spec:\n",
            "spec:
  sideInputs:
    - {name: config, container: {image: x}, trigger: {schedule: '@daily'}}
    - name: config # => side-input-duplicate spec.sideInputs[1].name
      container: {} # => side-input-image spec.sideInputs[1].container.image
      trigger: {} # => required spec.sideInputs[1].trigger.schedule
    - container: {image: x} # => required spec.sideInputs[2].name; required spec.sideInputs[2].trigger
    - name: bare # => required spec.sideInputs[3].container
      trigger:
        schedule: '@every 5m' # => side-input-schedule spec.sideInputs[3].trigger.schedule
        timezone: Europe/Berln # => timezone spec.sideInputs[3].trigger.timezone
    - name: five
      container: {image: x}
      trigger: {schedule: '*/5 * * * *'} # => side-input-schedule spec.sideInputs[4].trigger.schedule
",
        ),
    );
    let hint = |rule: &str| &complaints.iter().find(|complaint| complaint.rule == rule).unwrap().hint;
    assert_eq!(hint("side-input-unknown"), "did you mean `config`?");
    assert_eq!(hint("timezone"), "did you mean `Europe/Berlin`?");
}

#[test]
fn idle_source_settings_fit_each_other() {
    let with = |lines: &str| {
        pipeline(TWO).replace("spec:\n", &format!("spec:\n  watermark:\n    idleSource:{lines}\n"))
    };
    assert_complaints(&with(" {threshold: 5s, incrementBy: 3s, stepInterval: 2s, initSourceDelay: 5s}"));
    assert_complaints(&with(
        " {} # => idle-threshold spec.watermark.idleSource.threshold; idle-increment spec.watermark.idleSource.incrementBy",
    ));
    assert_complaints(&with(
        "
      threshold: 0s # => idle-threshold spec.watermark.idleSource.threshold
      incrementBy: 0s # => idle-increment spec.watermark.idleSource.incrementBy
      initSourceDelay: 0s # => idle-init-delay spec.watermark.idleSource.initSourceDelay",
    ));
    assert_complaints(&with(
        "
      threshold: 5s
      incrementBy: 6s # => idle-increment spec.watermark.idleSource.incrementBy
      initSourceDelay: 4s # => idle-init-delay spec.watermark.idleSource.initSourceDelay",
    ));
}

#[test]
fn ordered_vertices_leave_scaling_alone() {
    let vertex = "      udf: {container: {image: x}}
      partitions: 3
      scale:
        min: 1 # => ordered-scale spec.vertices[1].scale.min
        max: 3 # => ordered-scale spec.vertices[1].scale.max";
    assert_complaints(&middle(vertex).replace("spec:\n", "spec:\n  ordered: {enabled: true}\n"));
    assert_complaints(&middle(&format!("      ordered: {{enabled: true}}\n{vertex}")));
    let own_word: Vec<_> = vertex.lines().map(|line| line.split(" # => ").next().unwrap()).collect();
    let own_word = own_word.join("\n");
    let own_word = format!("      ordered: {{enabled: false}}\n{own_word}");
    assert_complaints(&middle(&own_word).replace("spec:\n", "spec:\n  ordered: {enabled: true}\n"));
}

#[test]
fn words_and_numbers_of_the_spec_make_sense() {
    let with = |lines: &str| pipeline(TWO).replace("spec:\n", &format!("spec:\n{lines}\n"));
    for good in ["GZIP", "lz4", "Zstd", "None", "none", "''"] {
        assert_complaints(&with(&format!("  interStepBuffer: {{compression: {{type: {good}}}}}")));
    }
    let complaints = assert_complaints(&with(
        "  interStepBuffer: {compression: {type: gzpi}} # => compression spec.interStepBuffer.compression.type",
    ));
    assert_eq!(complaints[0].hint, "did you mean `gzip`?");
    assert_complaints(&with(
        "  lifecycle:
    desiredPhase: Pausing # => desired-phase spec.lifecycle.desiredPhase
    pauseGracePeriodSeconds: -1 # => grace-negative spec.lifecycle.pauseGracePeriodSeconds
    deleteGracePeriodSeconds: 30 # => deprecated spec.lifecycle.deleteGracePeriodSeconds
    onPauseTimeout: wiat # => unknown-value spec.lifecycle.onPauseTimeout
    resume: {strategy: slow, perMinute: 0} # => range spec.lifecycle.resume.perMinute",
    ));
    assert_complaints(&with(
        "  limits:
    readBatchSize: 0 # => range spec.limits.readBatchSize
    concurrency: 0 # => range spec.limits.concurrency
    bufferMaxLength: 0 # => buffer-max-length spec.limits.bufferMaxLength
    bufferUsageLimit: 101 # => buffer-usage-limit spec.limits.bufferUsageLimit
    readTimeout: -1s # => duration spec.limits.readTimeout
    rateLimit:
      min: 10 # => rate-limit-bounds spec.limits.rateLimit.min
      max: 5
      modes: {scheduled: {}, relaxed: {}} # => rate-limit-modes spec.limits.rateLimit.modes
      store:
        inMemoryStore: {} # => rate-limit-stores spec.limits.rateLimit.store.inMemoryStore
        redisStore: {mode: single} # => redis-url spec.limits.rateLimit.store.redisStore.url",
    ));
    assert_complaints(&with(
        "  limits:
    rateLimit:
      max: 0 # => rate-limit-max spec.limits.rateLimit.max
      store:
        redisStore:
          mode: sentinel
          sentinel:
            masterName: '' # => empty spec.limits.rateLimit.store.redisStore.sentinel.masterName
            endpoints: [] # => too-few spec.limits.rateLimit.store.redisStore.sentinel.endpoints",
    ));
}
