//! Which edits give a vertex another revision.

use api::revision::{Revision, of_mono_vertex, of_vertex};
use api::{Checked, MonoVertex, Object, Pipeline};
use tidegate_api as api;

use crate::fixture::mono_vertex;

const PIPELINE: &str = "apiVersion: numaflow.numaproj.io/v1alpha1
kind: Pipeline
metadata: {name: p}
spec:
  # AT-SPEC
  sideInputs:
    - {name: s1, container: {image: fetch}, trigger: {schedule: '@hourly'}}
    - {name: s2, container: {image: fetch}, trigger: {schedule: '@hourly'}}
  vertices:
    - name: in
      source: {generator: {rpu: 5}}
    - name: v
      # AT-V
      sideInputs: [s1]
      udf:
        # AT-UDF
        container:
          # AT-CONTAINER
          image: x
    - name: other
      udf: {container: {image: y}}
    - name: out
      # AT-OUT
      sink: {file: {path: f}}
  edges:
    - {from: in, to: v}
    - {from: in, to: other}
    - {from: v, to: out, conditions: {tags: {values: [a, b]}}}
    - {from: other, to: out}
";

fn load(text: &str) -> Object {
    let loaded = api::load([("f", text.as_bytes())]);
    let complaints = api::complaint::to_text(&loaded.complaints);
    let objects = loaded.accept().unwrap_or_else(|_| panic!("{complaints}\n{text}")).0;
    objects.into_iter().next().expect("an object")
}

fn pipeline(text: &str) -> Checked<Pipeline> {
    let Object::Pipeline(pipeline) = load(text) else { panic!("a pipeline") };
    *pipeline
}

fn mono(spec: &str) -> Checked<MonoVertex> {
    let Object::MonoVertex(mono_vertex) = load(&mono_vertex(spec)) else { panic!("a mono vertex") };
    *mono_vertex
}

fn of(text: &str, vertex: &str) -> Revision {
    of_vertex(&pipeline(text), vertex, None)
}

/// Replaces the mark `from` by a line of its own, or a text by another one.
fn edit(from: &str, to: &str) -> String {
    assert!(PIPELINE.contains(from), "{from}");
    if !from.starts_with("AT-") {
        return PIPELINE.replace(from, to);
    }
    PIPELINE.replace(&format!("# {from}\n"), &format!("{to}\n"))
}

#[test]
fn a_revision_is_ten_digits_that_stay_the_same_from_build_to_build() {
    let revision = of(PIPELINE, "v");
    assert_eq!(revision.as_str().len(), 10);
    assert!(revision.as_str().bytes().all(|byte| byte.is_ascii_hexdigit()));
    assert_eq!(revision.to_string(), "11b9d4a820");
    assert_eq!(serde_json::to_value(&revision).unwrap(), revision.as_str());
}

#[test]
fn what_workers_read_changes_the_revision() {
    let table = [
        ("image: x", "image: x2"),
        ("AT-CONTAINER", "command: [a]"),
        ("AT-CONTAINER", "args: [a]"),
        ("AT-CONTAINER", "env: [{name: A, value: b}]"),
        ("AT-CONTAINER", "envFrom: [{configMapRef: {name: c}}]"),
        ("AT-CONTAINER", "volumeMounts: [{name: d, mountPath: /d}]"),
        ("AT-CONTAINER", "resources: {limits: {cpu: 1}}"),
        ("AT-CONTAINER", "securityContext: {runAsUser: 5}"),
        ("AT-CONTAINER", "imagePullPolicy: Always"),
        ("AT-CONTAINER", "livenessProbe: {periodSeconds: 5}"),
        ("AT-CONTAINER", "ports: [{containerPort: 80}]"),
        ("AT-UDF", "retryStrategy: {onFailure: drop}"),
        ("AT-UDF", "retryStrategy: {backoff: {interval: 2ms}}"),
        ("AT-V", "volumes: [{name: d, emptyDir: {}}]"),
        ("AT-V", "nodeSelector: {disk: ssd}"),
        ("AT-V", "tolerations: [{key: a, operator: Exists}]"),
        ("AT-V", "serviceAccountName: a"),
        ("AT-V", "containerTemplate: {env: [{name: A, value: b}]}"),
        ("AT-V", "initContainerTemplate: {env: [{name: A, value: b}]}"),
        ("AT-V", "sideInputsContainerTemplate: {env: [{name: A, value: b}]}"),
        ("AT-V", "initContainers: [{name: a, image: b}]"),
        ("AT-V", "sidecars: [{name: a, image: b}]"),
        ("AT-V", "limits: {readBatchSize: 5}"),
        ("AT-V", "limits: {readTimeout: 5s}"),
        ("AT-V", "limits: {concurrency: 5}"),
        ("AT-V", "limits: {bufferMaxLength: 5}"),
        ("AT-V", "limits: {bufferUsageLimit: 5}"),
        ("AT-V", "limits: {rateLimit: {max: 5}}"),
        ("AT-V", "partitions: 2"),
        ("AT-V", "ordered: {enabled: true}"),
        ("AT-V", "redelivery: {maxDeliveries: 2}"),
        ("AT-V", "userCode: {poisonAttempts: 2}"),
        ("AT-V", "userCode: {unresponsiveAfter: 2s}"),
        ("sideInputs: [s1]", "sideInputs: [s1, s2]"),
        ("AT-SPEC", "limits: {readBatchSize: 5}"),
        ("AT-SPEC", "ordered: {enabled: true}"),
        ("AT-SPEC", "templates: {vertex: {nodeSelector: {disk: ssd}}}"),
        ("AT-SPEC", "interStepBuffer: {compression: {type: zstd}}"),
        ("values: [a, b]", "values: [a, c]"),
        ("values: [a, b]", "operator: and, values: [a, b]"),
        ("{from: v, to: out,", "{from: v, to: out, onFull: discardLatest,"),
        ("- {from: v, to: out, conditions: {tags: {values: [a, b]}}}", "- {from: v, to: out}"),
        ("- {from: v, to: out, ", "- {from: v, to: other}\n    - {from: v, to: out, "),
        ("    - {from: in, to: other}\n", "    - {from: in, to: other}\n    - {from: other, to: v}\n"),
        ("AT-OUT", "partitions: 3"),
        ("AT-OUT", "ordered: {enabled: true}"),
        (
            "      udf:\n",
            "      udf:\n        groupBy: {window: {fixed: {length: 1m}}, storage: {emptyDir: {}}}\n",
        ),
    ];
    let before = of(PIPELINE, "v");
    for (from, to) in table {
        assert_ne!(of(&edit(from, to), "v"), before, "{to}");
    }
}

#[test]
fn what_workers_do_not_read_keeps_the_revision() {
    let table = [
        ("AT-V", "scale: {min: 2, max: 7, lookbackSeconds: 10}"),
        ("AT-V", "updateStrategy: {type: BlueGreen}"),
        ("AT-V", "metadata: {labels: {a: b}, annotations: {c: d}}"),
        ("AT-CONTAINER", "readinessProbe: {periodSeconds: 5}"),
        ("{name: p}", "{name: p, labels: {a: b}, annotations: {c: d}}"),
        ("AT-SPEC", "lifecycle: {desiredPhase: Paused, pauseGracePeriodSeconds: 5}"),
        ("AT-SPEC", "updateStrategy: {minReadySeconds: 9}"),
        ("AT-SPEC", "watermark: {maxDelay: 5s}"),
        ("AT-SPEC", "templates: {daemon: {replicas: 2}, job: {backoffLimit: 3}}"),
        ("AT-SPEC", "interStepBufferServiceName: b"),
        ("image: fetch", "image: fetch2"),
        ("image: y", "image: y2"),
        ("rpu: 5", "rpu: 6"),
        ("path: f", "path: g"),
        ("# AT-V", "# a comment"),
        // Defaults written out.
        ("AT-V", "limits: {readBatchSize: 500, readTimeout: 1000ms, concurrency: 500, bufferUsageLimit: 80}"),
        ("AT-V", "partitions: 1"),
        ("AT-V", "ordered: {enabled: false}"),
        ("AT-V", "redelivery: {onExhausted: drop, holdWatermark: 60s}"),
        ("AT-V", "userCode: {unresponsiveAfter: 30s}"),
        ("AT-V", "containerTemplate: {}"),
        ("AT-UDF", "retryStrategy: {onFailure: retry, backoff: {interval: 1ms, factor: 1, jitter: 0}}"),
        ("AT-SPEC", "limits: {readBatchSize: 500}"),
        ("AT-SPEC", "interStepBuffer: {compression: {type: None}}"),
        ("{from: v, to: out,", "{from: v, to: out, onFull: retryUntilSuccess,"),
        ("values: [a, b]", "operator: or, values: [b, a]"),
    ];
    let before = of(PIPELINE, "v");
    for (from, to) in table {
        assert_eq!(of(&edit(from, to), "v"), before, "{to}");
    }
    // What a template gives is the same as what is written in the vertex.
    let own = of(&edit("AT-V", "nodeSelector: {disk: ssd}"), "v");
    assert_eq!(of(&edit("AT-SPEC", "templates: {vertex: {nodeSelector: {disk: ssd}}}"), "v"), own);
}

#[test]
fn sources_and_sinks_change_with_their_settings() {
    let table =
        [("in", "rpu: 5", "rpu: 6"), ("in", "rpu: 5", "rpu: 5, keyCount: 2"), ("out", "path: f", "path: g")];
    for (vertex, from, to) in table.into_iter().chain([("out", "path: f", "path: f, sync: false")]) {
        assert_ne!(of(&edit(from, to), vertex), of(PIPELINE, vertex), "{to}");
    }
    let same = [
        ("in", "rpu: 5", "msgSize: 8, duration: 1s, keyCount: 0"),
        ("out", "path: f", "path: f, sync: true"),
    ];
    for (vertex, from, to) in same {
        assert_eq!(of(&edit(from, to), vertex), of(PIPELINE, vertex), "{to}");
    }
    // A source neither has a buffer nor writes to one with other limits differently.
    assert_eq!(of(&edit("AT-SPEC", "limits: {bufferMaxLength: 5}"), "in"), of(PIPELINE, "in"));
}

#[test]
fn a_mono_vertex_changes_with_what_its_workers_read() {
    const SPEC: &str = "  source: {generator: {rpu: 5}}\n  sink: {udsink: {container: {image: x}}}";
    let revision = |more: &str| of_mono_vertex(&mono(&format!("{SPEC}\n{more}")), None);
    let before = revision("");
    let changing = [
        "udf: {container: {image: y}}",
        "containerTemplate: {env: [{name: A, value: b}]}",
        "volumes: [{name: d, emptyDir: {}}]",
        "initContainers: [{name: a, image: b}]",
        "sidecars: [{name: a, image: b}]",
        "limits: {readBatchSize: 5}",
        "limits: {rateLimit: {max: 5}}",
        "bypass: {sink: {tags: {values: [a]}}}",
        "streaming: true",
        "redelivery: {maxDeliveries: 2}",
        "userCode: {poisonAttempts: 2}",
        "nodeSelector: {disk: ssd}",
    ];
    for more in changing {
        assert_ne!(revision(&format!("  {more}")), before, "{more}");
    }
    let keeping = [
        "replicas: 3",
        "scale: {min: 1, lookbackSeconds: 10}",
        "updateStrategy: {type: Recreate}",
        "lifecycle: {desiredPhase: Paused}",
        "daemonTemplate: {replicas: 2}",
        "metadata: {labels: {a: b}}",
        "streaming: false",
        "limits: {readBatchSize: 500, concurrency: 500}",
        "userCode: {unresponsiveAfter: 30s}",
        "bypass: {}",
    ];
    for more in keeping {
        assert_eq!(revision(&format!("  {more}")), before, "{more}");
    }
    assert_ne!(of_mono_vertex(&mono(&SPEC.replace("image: x", "image: z")), None), before);
}

#[test]
fn a_restart_word_changes_the_revision() {
    let pipeline = pipeline(PIPELINE);
    let with = |word| of_vertex(&pipeline, "v", word);
    assert_eq!(with(None), with(Some("")));
    assert_ne!(with(None), with(Some("1")));
    assert_ne!(with(Some("1")), with(Some("2")));
    assert_ne!(of_vertex(&pipeline, "v", None), of_vertex(&pipeline, "other", None));
    let mono = mono("  source: {generator: {}}\n  sink: {log: {}}");
    assert_ne!(of_mono_vertex(&mono, None), of_mono_vertex(&mono, Some("1")));
}
