//! What an edit takes: live, rolling, a drain, or not possible; the table in `docs/updates.md` says the same.

use std::collections::BTreeSet;

use api::change::{Change, Class, classify, overall};
use api::{Object, Pipeline, revision};
use serde_json::{Value, json};
use tidegate_api as api;

const DOCUMENT: &str = include_str!("../../../../docs/updates.md");

/// One line for each row of the table in the document: the field, what is edited in the manifest of that kind, and what
/// it takes.
const ROWS: [(&str, &str, &str, &str, Class); 47] = [
    ("metadata.labels", "p", "/metadata/labels", r#"{"a":"b"}"#, Class::Live),
    ("metadata.annotations", "p", "/metadata/annotations", r#"{"a":"b"}"#, Class::Live),
    (
        "metadata.annotations[\"numaflow.numaproj.io/instance\"]",
        "p",
        "/metadata/annotations",
        r#"{"numaflow.numaproj.io/instance":"b"}"#,
        Class::Refused,
    ),
    ("spec.lifecycle", "p", "/spec/lifecycle", r#"{"desiredPhase":"Paused"}"#, Class::Live),
    ("spec.updateStrategy", "p", "/spec/updateStrategy", r#"{"minReadySeconds":9}"#, Class::Live),
    ("spec.watermark", "p", "/spec/watermark", r#"{"maxDelay":"7s"}"#, Class::Live),
    ("spec.sideInputs[].container", "p", "/spec/sideInputs/0/container/image", r#""b""#, Class::Live),
    ("spec.sideInputs[].trigger", "p", "/spec/sideInputs/0/trigger/schedule", r#""@daily""#, Class::Live),
    ("spec.templates.daemon", "p", "/spec/templates", r#"{"daemon":{"replicas":2}}"#, Class::Live),
    (
        "spec.templates.vertex",
        "p",
        "/spec/templates",
        r#"{"vertex":{"nodeSelector":{"a":"b"}}}"#,
        Class::Rolling,
    ),
    ("spec.limits.readBatchSize", "p", "/spec/limits", r#"{"readBatchSize":7}"#, Class::Rolling),
    ("spec.limits.readTimeout", "p", "/spec/limits", r#"{"readTimeout":"7s"}"#, Class::Rolling),
    ("spec.limits.bufferMaxLength", "p", "/spec/limits", r#"{"bufferMaxLength":7}"#, Class::NeedsDrain),
    ("spec.limits.bufferUsageLimit", "p", "/spec/limits", r#"{"bufferUsageLimit":7}"#, Class::NeedsDrain),
    (
        "spec.interStepBuffer.compression",
        "p",
        "/spec/interStepBuffer",
        r#"{"compression":{"type":"lz4"}}"#,
        Class::Rolling,
    ),
    ("spec.ordered", "p", "/spec/ordered", r#"{"enabled":true}"#, Class::NeedsDrain),
    ("spec.interStepBufferServiceName", "p", "/spec/interStepBufferServiceName", r#""b""#, Class::Refused),
    ("spec.vertices[].scale", "p", "/spec/vertices/1/scale", r#"{"min":2}"#, Class::Live),
    (
        "spec.vertices[].updateStrategy",
        "p",
        "/spec/vertices/1/updateStrategy",
        r#"{"type":"Recreate"}"#,
        Class::Live,
    ),
    ("spec.vertices[].metadata", "p", "/spec/vertices/1/metadata", r#"{"labels":{"a":"b"}}"#, Class::Live),
    ("spec.vertices[].udf.container", "p", "/spec/vertices/1/udf/container/image", r#""b""#, Class::Rolling),
    (
        "spec.vertices[].udf.retryStrategy",
        "p",
        "/spec/vertices/1/udf/retryStrategy",
        r#"{"onFailure":"drop"}"#,
        Class::Rolling,
    ),
    ("spec.vertices[].source settings", "p", "/spec/vertices/0/source/generator/rpu", "7", Class::Rolling),
    (
        "spec.vertices[].source of another kind",
        "p",
        "/spec/vertices/0/source",
        r#"{"stdin":{}}"#,
        Class::NeedsDrain,
    ),
    ("spec.vertices[].sink", "p", "/spec/vertices/3/sink", r#"{"blackhole":{}}"#, Class::Rolling),
    (
        "spec.vertices[].volumes",
        "p",
        "/spec/vertices/1/volumes",
        r#"[{"name":"d","emptyDir":{}}]"#,
        Class::Rolling,
    ),
    (
        "spec.vertices[].containerTemplate",
        "p",
        "/spec/vertices/1/containerTemplate",
        r#"{"imagePullPolicy":"Always"}"#,
        Class::Rolling,
    ),
    ("spec.vertices[].nodeSelector", "p", "/spec/vertices/1/nodeSelector", r#"{"a":"b"}"#, Class::Rolling),
    (
        "spec.vertices[].limits.readBatchSize",
        "p",
        "/spec/vertices/1/limits",
        r#"{"readBatchSize":7}"#,
        Class::Rolling,
    ),
    (
        "spec.vertices[].limits.rateLimit",
        "p",
        "/spec/vertices/1/limits",
        r#"{"rateLimit":{"max":7}}"#,
        Class::Rolling,
    ),
    (
        "spec.vertices[].limits.bufferMaxLength",
        "p",
        "/spec/vertices/1/limits",
        r#"{"bufferMaxLength":7}"#,
        Class::NeedsDrain,
    ),
    ("spec.vertices[].sideInputs", "p", "/spec/vertices/1/sideInputs", r#"["s"]"#, Class::Rolling),
    (
        "spec.vertices[].redelivery",
        "p",
        "/spec/vertices/1/redelivery",
        r#"{"maxDeliveries":2}"#,
        Class::Rolling,
    ),
    ("spec.vertices[].userCode", "p", "/spec/vertices/1/userCode", r#"{"poisonAttempts":2}"#, Class::Rolling),
    (
        "spec.vertices[].partitions of a map or sink",
        "p",
        "/spec/vertices/1/partitions",
        "3",
        Class::NeedsDrain,
    ),
    ("spec.vertices[].partitions of a reduce", "p", "/spec/vertices/2/partitions", "3", Class::Refused),
    ("spec.vertices[].ordered", "p", "/spec/vertices/1/ordered", r#"{"enabled":true}"#, Class::NeedsDrain),
    (
        "spec.vertices[].udf.groupBy.window",
        "p",
        "/spec/vertices/2/udf/groupBy/window/fixed/length",
        r#""7s""#,
        Class::NeedsDrain,
    ),
    (
        "spec.vertices[].udf.groupBy.allowedLateness",
        "p",
        "/spec/vertices/2/udf/groupBy/allowedLateness",
        r#""7s""#,
        Class::Rolling,
    ),
    (
        "spec.vertices[].udf.groupBy.storage",
        "p",
        "/spec/vertices/2/udf/groupBy/storage",
        r#"{"no_store":{}}"#,
        Class::Refused,
    ),
    (
        "spec.vertices[], a map that becomes a reduce or a sink",
        "p",
        "/spec/vertices/1/udf/groupBy",
        r#"{"window":{"fixed":{"length":"1m"}},"storage":{"emptyDir":{}}}"#,
        Class::Refused,
    ),
    (
        "spec.edges[].conditions",
        "p",
        "/spec/edges/0/conditions",
        r#"{"tags":{"values":["a"]}}"#,
        Class::Rolling,
    ),
    ("spec.edges[].onFull", "p", "/spec/edges/0/onFull", r#""discardLatest""#, Class::Rolling),
    (
        "spec.edges[], one more or one less",
        "p",
        "/spec/edges/3",
        r#"{"from":"v","to":"out"}"#,
        Class::NeedsDrain,
    ),
    ("spec.replicas of a mono vertex", "m", "/spec/replicas", "3", Class::Live),
    ("spec.streaming of a mono vertex", "m", "/spec/streaming", "true", Class::Rolling),
    (
        "spec.bypass of a mono vertex",
        "m",
        "/spec/bypass",
        r#"{"sink":{"tags":{"values":["a"]}}}"#,
        Class::Rolling,
    ),
];

fn pipeline() -> Value {
    json!({
        "apiVersion": "numaflow.numaproj.io/v1alpha1", "kind": "Pipeline", "metadata": {"name": "p"},
        "spec": {
            "sideInputs": [{"name": "s", "container": {"image": "a"}, "trigger": {"schedule": "@hourly"}}],
            "vertices": [
                {"name": "in", "source": {"generator": {}}},
                {"name": "v", "udf": {"container": {"image": "a"}}},
                {"name": "r", "partitions": 2, "udf": {"container": {"image": "a"}, "groupBy": {
                    "keyed": true, "window": {"fixed": {"length": "60s"}}, "storage": {"emptyDir": {}},
                }}},
                {"name": "out", "sink": {"log": {}}},
            ],
            "edges": [{"from": "in", "to": "v"}, {"from": "v", "to": "r"}, {"from": "r", "to": "out"}],
        },
    })
}

fn mono_vertex() -> Value {
    json!({
        "apiVersion": "numaflow.numaproj.io/v1alpha1", "kind": "MonoVertex", "metadata": {"name": "m"},
        "spec": {"source": {"generator": {}}, "sink": {"log": {}}},
    })
}

fn load(manifest: &Value) -> Object {
    let loaded = api::load([("f", manifest.to_string().as_bytes())]);
    let complaints = api::complaint::to_text(&loaded.complaints);
    let objects = loaded.accept().unwrap_or_else(|_| panic!("{complaints}\n{manifest}")).0;
    objects.into_iter().next().expect("an object")
}

/// Writes a value where a JSON pointer leads, making what is missing on the way.
fn put(manifest: &mut Value, pointer: &str, value: Value) {
    let mut at = manifest;
    for name in pointer.split('/').skip(1) {
        at = match (at, name.parse::<usize>()) {
            (Value::Array(elements), Ok(index)) => {
                if index == elements.len() {
                    elements.push(Value::Null);
                }
                &mut elements[index]
            }
            (at, _) => &mut at[name],
        };
    }
    *at = value;
}

fn edit(old: &Value, new: &Value) -> Vec<Change> {
    classify(&load(old), &load(new)).expect("a kind that is classified")
}

#[test]
fn each_field_takes_what_the_document_says() {
    let documented: BTreeSet<&str> = DOCUMENT.lines().filter(|line| line.starts_with("| `")).collect();
    let mut expected = BTreeSet::new();
    for (field, kind, pointer, value, class) in ROWS {
        let old = if kind == "p" { pipeline() } else { mono_vertex() };
        let mut new = old.clone();
        put(&mut new, pointer, serde_json::from_str(value).unwrap());
        let changes = edit(&old, &new);
        assert_eq!(overall(&changes), Some(class), "{field}: {changes:#?}");
        assert_eq!(overall(&edit(&new, &old)), Some(class), "{field}, taken back");
        for change in &changes {
            assert_eq!(change.reason.is_empty(), change.class == Class::Live, "{change:?}");
            assert_eq!(change.rule.is_some(), change.class == Class::Refused, "{change:?}");
            assert_eq!(change.hint.is_empty(), change.class != Class::Refused, "{change:?}");
        }
        let words = field.find([' ', ',']).map_or((field, ""), |end| field.split_at(end));
        expected.insert(format!("| `{}`{} | {} |", words.0, words.1, class.as_str()));
    }
    let expected: BTreeSet<&str> = expected.iter().map(String::as_str).collect();
    assert_eq!(documented, expected, "docs/updates.md and the classification differ");
}

#[test]
fn changes_say_where_what_and_whom_they_concern() {
    let old = pipeline();
    let mut new = old.clone();
    put(&mut new, "/spec/vertices/1/udf/container/image", json!("b"));
    put(&mut new, "/spec/vertices/1/partitions", json!(4));
    put(&mut new, "/spec/vertices/2/partitions", json!(3));
    put(&mut new, "/spec/vertices/3/scale", json!({"min": 2}));
    let shown: Vec<String> = edit(&old, &new)
        .iter()
        .map(|change| {
            let text = |text: &Option<String>| text.clone().unwrap_or_else(|| "-".to_owned());
            format!(
                "{} {} {} -> {} {:?}",
                change.class.as_str(),
                change.path,
                text(&change.old),
                text(&change.new),
                change.vertices
            )
        })
        .collect();
    assert_eq!(
        shown,
        [
            r#"refused spec.vertices[2].partitions 2 -> 3 ["r", "v"]"#,
            r#"needs drain spec.vertices[1].partitions - -> 4 ["in", "v"]"#,
            r#"rolling spec.vertices[1].udf.container.image a -> b ["v"]"#,
            r#"live spec.vertices[3].scale - -> {"min":2} ["out"]"#,
        ]
    );
    let change = edit(&old, &new).remove(2);
    let json = serde_json::to_value(&change).unwrap();
    assert_eq!(
        (json["class"].as_str(), json["path"].as_str()),
        (Some("rolling"), Some(change.path.to_string().as_str()))
    );
}

#[test]
fn nothing_changes_when_names_move_or_defaults_are_written() {
    let old = pipeline();
    assert_eq!(edit(&old, &old), []);
    let mut moved = old.clone();
    moved["spec"]["vertices"].as_array_mut().unwrap().reverse();
    moved["spec"]["edges"].as_array_mut().unwrap().reverse();
    assert_eq!(edit(&old, &moved), []);
    let mut written = old.clone();
    put(&mut written, "/spec/vertices/1/limits", json!({"readBatchSize": 500}));
    put(&mut written, "/spec/vertices/1/partitions", json!(1));
    assert_eq!(overall(&edit(&old, &written)), Some(Class::Live));
}

#[test]
fn another_file_needs_a_drain_and_another_way_of_reading_it_does_not() {
    for kind in ["Pipeline", "MonoVertex"] {
        let (mut old, pointer) = match kind {
            "Pipeline" => (pipeline(), "/spec/vertices/0/source"),
            _ => (mono_vertex(), "/spec/source"),
        };
        put(&mut old, pointer, json!({"file": {"path": "a"}}));
        for (source, class) in [
            (json!({"file": {"path": "b"}}), Class::NeedsDrain),
            (json!({"file": {"path": "a", "follow": true}}), Class::Rolling),
        ] {
            let mut new = old.clone();
            put(&mut new, pointer, source);
            assert_eq!(overall(&edit(&old, &new)), Some(class), "{kind}: {new}");
        }
    }
}

#[test]
fn a_vertex_that_comes_or_goes_needs_a_drain() {
    let with = pipeline();
    let mut without = with.clone();
    without["spec"]["vertices"].as_array_mut().unwrap().remove(2);
    without["spec"]["edges"] = json!([{"from": "in", "to": "v"}, {"from": "v", "to": "out"}]);
    for (old, new) in [(&with, &without), (&without, &with)] {
        let changes = edit(old, new);
        let vertex = changes.iter().find(|change| change.path.to_string() == "spec.vertices[2]").unwrap();
        assert_eq!(
            (vertex.class, vertex.vertices.as_slice()),
            (Class::NeedsDrain, ["r".to_owned()].as_slice())
        );
        assert_eq!(overall(&changes), Some(Class::NeedsDrain));
    }
}

#[test]
fn a_buffer_service_has_classes_of_its_own() {
    let old = json!({
        "apiVersion": "numaflow.numaproj.io/v1alpha1", "kind": "InterStepBufferService",
        "metadata": {"name": "default"}, "spec": {"jetstream": {"version": "latest", "replicas": 3}},
    });
    let table = [
        ("/spec/jetstream/replicas", json!(5), Class::Live),
        ("/spec/jetstream/version", json!("2.12.0"), Class::Rolling),
        ("/spec/jetstream/nodeSelector", json!({"a": "b"}), Class::Rolling),
        ("/spec/jetstream/encryption", json!(true), Class::NeedsDrain),
        ("/spec/jetstream/bufferConfig", json!("stream: {}"), Class::NeedsDrain),
        ("/spec/jetstream/persistence", json!({"volumeSize": "3Gi"}), Class::Refused),
        ("/metadata/labels", json!({"a": "b"}), Class::Live),
    ];
    for (pointer, value, class) in table {
        let mut new = old.clone();
        put(&mut new, pointer, value);
        assert_eq!(overall(&edit(&old, &new)), Some(class), "{pointer}");
    }
    assert_eq!(classify(&load(&old), &load(&pipeline())), None);
}

/// A small generator of numbers, so that a seed gives the same edits everywhere.
struct Random(u64);

impl Random {
    fn below(&mut self, bound: usize) -> usize {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) as usize % bound
    }
}

const EXAMPLES: [&str; 6] = [
    include_str!("../../../../examples/simple.yaml"),
    include_str!("../../../../examples/even-odd.yaml"),
    include_str!("../../../../examples/join.yaml"),
    include_str!("../../../../examples/cycle.yaml"),
    include_str!("../../../../examples/multi-partition.yaml"),
    include_str!("../../../../examples/flat-map.yaml"),
];

/// Makes up to four edits; what they come to may be no good manifest.
fn scramble(manifest: &mut Value, random: &mut Random) {
    let vertices = manifest["spec"]["vertices"].as_array().expect("vertices").len();
    let edges = manifest["spec"]["edges"].as_array().expect("edges").len();
    for _ in 0..=random.below(4) {
        let (vertex, edge) = (random.below(vertices), random.below(edges));
        let of_vertex = |rest: &str| format!("/spec/vertices/{vertex}/{rest}");
        let choices = [
            (of_vertex("partitions"), json!(random.below(4))),
            (of_vertex("scale"), json!({"min": random.below(4)})),
            (of_vertex("ordered"), json!({"enabled": random.below(2) == 0})),
            (of_vertex("limits"), json!({"readBatchSize": ([500, 7][random.below(2)])})),
            (of_vertex("limits"), json!({"bufferMaxLength": ([30_000, 7][random.below(2)])})),
            (of_vertex("limits"), json!({"concurrency": ([500, 7][random.below(2)])})),
            (of_vertex("nodeSelector"), json!({"a": random.below(2).to_string()})),
            (of_vertex("metadata"), json!({"labels": {"a": random.below(2).to_string()}})),
            (of_vertex("updateStrategy"), json!({"minReadySeconds": random.below(9)})),
            (of_vertex("redelivery"), json!({"holdWatermark": (["60s", "9s"][random.below(2)])})),
            ("/spec/limits".to_owned(), json!({"readBatchSize": ([500, 7][random.below(2)])})),
            ("/spec/limits".to_owned(), json!({"bufferUsageLimit": ([80, 7][random.below(2)])})),
            ("/spec/ordered".to_owned(), json!({"enabled": random.below(2) == 0})),
            ("/spec/watermark".to_owned(), json!({"maxDelay": format!("{}s", random.below(3))})),
            (
                "/spec/interStepBuffer".to_owned(),
                json!({"compression": {"type": (["none", "zstd"][random.below(2)])}}),
            ),
            ("/spec/templates".to_owned(), json!({"vertex": {"nodeSelector": {"a": "1"}}})),
            (
                format!("/spec/edges/{edge}/onFull"),
                json!(["retryUntilSuccess", "discardLatest"][random.below(2)]),
            ),
            (format!("/spec/edges/{edge}/conditions"), json!({"tags": {"values": ["a", "b"]}})),
        ];
        let choice = random.below(choices.len() + 2);
        if let Some((pointer, value)) = choices.get(choice).cloned() {
            put(manifest, &pointer, value);
        } else if choice == choices.len() {
            // A way past the last vertices, where there is none.
            let end = |at: usize| manifest["spec"]["vertices"][at]["name"].clone();
            let more = json!({"from": end(vertex), "to": end(vertices - 1)});
            manifest["spec"]["edges"].as_array_mut().expect("edges").push(more);
        } else {
            manifest["spec"]["vertices"].as_array_mut().expect("vertices").swap(0, vertex);
        }
    }
}

fn good(manifest: &Value) -> Option<api::Checked<Pipeline>> {
    let objects = api::load([("f", manifest.to_string().as_bytes())]).accept().ok()?.0;
    objects.into_iter().find_map(|object| match object {
        Object::Pipeline(pipeline) => Some(*pipeline),
        _ => None,
    })
}

#[test]
fn a_vertex_is_named_exactly_when_its_revision_differs() {
    let mut compared = 0;
    let mut changed = 0;
    for seed in 0..300 {
        let mut random = Random(seed);
        let text = EXAMPLES[random.below(EXAMPLES.len())];
        let objects = api::load([("f", text.as_bytes())]).accept().expect("a good example").0;
        let original = objects.iter().find_map(|object| match object {
            Object::Pipeline(pipeline) => serde_json::to_value(&***pipeline).ok(),
            _ => None,
        });
        let mut old = original.expect("a pipeline");
        scramble(&mut old, &mut random);
        let mut new = old.clone();
        scramble(&mut new, &mut random);
        let (Some(old), Some(new)) = (good(&old), good(&new)) else { continue };
        let changes = api::change::classify_pipeline(&old, &new);
        let named: BTreeSet<&str> = changes
            .iter()
            .filter(|change| change.class > Class::Live)
            .flat_map(|change| change.vertices.iter().map(String::as_str))
            .collect();
        for vertex in &new.spec.vertices {
            let name = vertex.name.as_str();
            let differs = revision::of_vertex(&old, name, None) != revision::of_vertex(&new, name, None);
            assert_eq!(named.contains(name), differs, "seed {seed}, vertex {name}: {changes:#?}");
            changed += usize::from(differs);
            compared += 1;
        }
    }
    assert!(compared > 500, "{compared}");
    assert!(changed > 100 && compared - changed > 100, "{changed} of {compared}");
}
