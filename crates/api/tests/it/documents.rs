//! Files with several documents, other people's kinds, secrets, JSON, and the quirks of YAML.

use api::{Object, Severity};
use tidegate_api as api;

use crate::fixture::{assert_complaints, mono_vertex, pipeline};

const GOOD: &str = "  source: {generator: {}}\n  sink: {log: {}}";

fn load(text: &str) -> Vec<Object> {
    let loaded = api::load([("f.yaml", text.as_bytes())]);
    loaded.accept().unwrap_or_else(|complaints| panic!("{}", api::complaint::to_text(&complaints))).0
}

fn rules(text: &str) -> Vec<(&'static str, u32)> {
    let loaded = api::load([("f.yaml", text.as_bytes())]);
    loaded.complaints.iter().map(|complaint| (complaint.rule, complaint.line)).collect()
}

#[test]
fn all_kinds_come_out_of_one_file_in_order() {
    let text = format!(
        "---
# only a comment
---
apiVersion: v1
kind: Secret
metadata: {{name: s}}
data: {{a: aGVsbG8=}}
stringData: {{b: plain}}
---
apiVersion: v1
kind: ConfigMap
metadata: {{name: c, namespace: n}}
data: {{k: v}}
binaryData: {{x: AAE=}}
---
apiVersion: apps/v1
kind: Deployment
metadata: {{name: d}}
---
{}---
apiVersion: numaflow.numaproj.io/v1alpha1
kind: InterStepBufferService
metadata: {{name: default}}
spec: {{jetstream: {{version: latest}}}}
...
",
        mono_vertex(GOOD)
    );
    let loaded = api::load([("f.yaml", text.as_bytes())]);
    assert_eq!(loaded.complaints.len(), 1);
    assert_eq!((loaded.complaints[0].rule, loaded.complaints[0].severity), ("kind-foreign", Severity::Note));
    assert_eq!(loaded.complaints[0].line, 17);
    let (objects, notes) = loaded.accept().unwrap();
    assert_eq!(notes.len(), 1);
    let kinds: Vec<_> =
        objects.iter().map(|object| (object.kind(), object.namespace(), object.name())).collect();
    assert_eq!(
        kinds,
        [
            ("Secret", "default", "s"),
            ("ConfigMap", "n", "c"),
            ("MonoVertex", "default", "m"),
            ("InterStepBufferService", "default", "default"),
        ]
    );
    let Object::Secret(secret) = &objects[0] else { panic!("a secret") };
    assert_eq!(secret.data["a"], b"hello");
    assert_eq!(secret.data["b"], b"plain");
    let Object::ConfigMap(config) = &objects[1] else { panic!("a config map") };
    assert_eq!(config.data["x"], [0, 1]);
    assert_eq!(config.data["k"], b"v");
}

#[test]
fn lists_are_unpacked() {
    let item = mono_vertex(GOOD).lines().fold(String::new(), |text, line| text + "    " + line + "\n");
    let text = format!("apiVersion: v1\nkind: List\nitems:\n  -\n{item}");
    assert_eq!(load(&text).len(), 1);
    let bad = text.replace("generator: {}", "gen: {}");
    assert_eq!(rules(&bad), [("source-missing", 10), ("unknown-field", 10)]);
}

#[test]
fn json_is_read_with_places() {
    let text = "{\n\t\"apiVersion\": \"numaflow.numaproj.io/v1alpha1\", \"kind\": \"MonoVertex\",
\t\"metadata\": {\"name\": \"m\", \"annotations\": {\"smile\": \"\\ud83d\\ude00\"}},
\t\"spec\": {\n\t\t\"source\": {\"generator\": {}},\n\t\t\"sink\": {\"log\": {}},\n\t\t\"udf\": null\n\t}\n}";
    let objects = load(text);
    let Object::MonoVertex(object) = &objects[0] else { panic!("a mono vertex") };
    assert_eq!(object.annotation("smile"), Some("\u{1f600}"));
    assert_eq!(load(&format!("{text}\n{}", text.replace("\"m\"", "\"m2\""))).len(), 2);
    let bad = text.replace("\"log\"", "\"lgo\"");
    assert_eq!(rules(&bad), [("sink-missing", 6), ("unknown-field", 6)]);
    assert_eq!(rules(&text.replace("\"udf\": null", "\"udf\" null")), [("json-syntax", 7)]);
    assert_eq!(rules(&text.replace("\"log\": {}", "\"log\": {}, \"log\": {}")), [("duplicate-key", 6)]);
}

#[test]
fn braces_may_begin_yaml_as_well() {
    let text = "{apiVersion: numaflow.numaproj.io/v1alpha1, kind: MonoVertex, metadata: {name: m},
      spec: {source: {generator: {}}, sink: {log: {}}}}";
    assert_eq!(load(text).len(), 1);
}

#[test]
fn a_syntax_error_names_its_line_and_spares_what_came_before() {
    let text =
        format!("{}---\nkind: Pipeline\n  metadata: [\n", mono_vertex("  source: {}\n  sink: {log: {}}"));
    let found = rules(&text);
    assert_eq!(found.len(), 2, "{found:?}");
    assert_eq!(found[0], ("source-missing", 6));
    assert_eq!(found[1].0, "yaml-syntax");
    assert!((8..=11).contains(&found[1].1), "{found:?}");
}

#[test]
fn keys_written_twice_are_complaints() {
    assert_complaints(&mono_vertex(
        "  source: {generator: {}}
  sink: {log: {}}
  sink: {blackhole: {}} # => duplicate-key spec.sink",
    ));
    assert_complaints(&mono_vertex(
        "  sink: {log: {}}
  source:
    generator: {rpu: 1, rpu: 2} # => duplicate-key spec.source.generator.rpu",
    ));
}

#[test]
fn anchors_and_merge_keys_work() {
    let text = pipeline(
        "  vertices:
    - name: in
      source: {generator: {}}
      limits: &limits
        readBatchSize: 10
        readTimeout: 2s
    - name: a
      udf: {container: {image: x}}
      limits:
        <<: *limits
        readTimeout: 3s
    - name: b
      udf: {container: {image: x}}
      limits: *limits
    - name: out
      sink: {log: {}}
      limits: {<<: [{concurrency: 7}, *limits]}
  edges:
    - {from: in, to: a}
    - {from: a, to: b}
    - {from: b, to: out}",
    );
    let objects = load(&text);
    let Object::Pipeline(pipeline) = &objects[0] else { panic!("a pipeline") };
    let limits: Vec<_> = pipeline
        .spec
        .vertices
        .iter()
        .map(|vertex| vertex.limits.as_ref().unwrap())
        .map(|limits| (limits.read_batch_size, limits.read_timeout.unwrap().as_millis(), limits.concurrency))
        .collect();
    assert_eq!(
        limits,
        [(Some(10), 2000, None), (Some(10), 3000, None), (Some(10), 2000, None), (Some(10), 2000, Some(7))]
    );
}

#[test]
fn what_an_alias_names_is_complained_about_where_it_is_written() {
    assert_complaints(&pipeline(
        "  vertices:
    - name: in
      source: {generator: {}}
      limits: &limits
        readBatchsize: 10 # => unknown-field spec.vertices[0].limits.readBatchsize; unknown-field spec.vertices[1].limits.readBatchsize
    - name: out
      sink: {log: {}}
      limits: *limits
  edges:
    - {from: in, to: out}",
    ));
}

#[test]
fn merge_keys_take_objects_only() {
    assert_complaints(&mono_vertex(&format!("{GOOD}\n  <<: 5 # => merge-key spec[\"<<\"]")));
}

#[test]
fn plain_scalars_mean_what_kubernetes_tools_take_them_for() {
    let text = mono_vertex(&format!(
        "{GOOD}
  streaming: yes
  automountServiceAccountToken: off
  priority: 0x10
  nodeSelector: {{a: \"yes\", b: '5', c: !!str 7, d: 1.2.3, e: 2024-01-02, f: 08:30, g: y}}
  volumes: [{{name: v, configMap: {{name: c, defaultMode: 0644}}}}]"
    ));
    let objects = load(&text);
    let Object::MonoVertex(object) = &objects[0] else { panic!("a mono vertex") };
    assert_eq!(object.spec.streaming, Some(true));
    assert_eq!(object.spec.pod.automount_service_account_token, Some(false));
    assert_eq!(object.spec.pod.priority, Some(16));
    let selector: Vec<_> = object.spec.pod.node_selector.values().map(String::as_str).collect();
    assert_eq!(selector, ["yes", "5", "7", "1.2.3", "2024-01-02", "08:30", "y"]);
    assert_eq!(object.spec.volumes[0].config_map.as_ref().unwrap().default_mode, Some(0o644));
    let complaints = assert_complaints(&mono_vertex(&format!(
        "{GOOD}\n  nodeSelector: {{a: yes}} # => type spec.nodeSelector.a"
    )));
    assert!(complaints[0].hint.starts_with("put it in quotes"));
}

#[test]
fn versions_and_kinds_that_are_nearly_ours_are_errors() {
    let text = mono_vertex(GOOD);
    for (version, expected) in [
        ("numaflow.numaproj.io/v1", Some("api-version")),
        ("numaflow.numproj.io/v1alpha1", Some("api-version")),
        ("v1alpha1", Some("api-version")),
        ("other.example.com/v1", None),
    ] {
        let text = text.replace("numaflow.numaproj.io/v1alpha1", version);
        let errors: Vec<_> = api::load([("f", text.as_bytes())]).complaints;
        let errors: Vec<_> = errors.iter().filter(|complaint| complaint.is_error()).map(|c| c.rule).collect();
        assert_eq!(errors, Vec::from_iter(expected), "{version}");
    }
    let without = text.replace("apiVersion: numaflow.numaproj.io/v1alpha1\n", "");
    assert_eq!(rules(&without)[0].0, "api-version");
    let complaints =
        assert_complaints(&text.replace("kind: MonoVertex", "kind: MonoVertx # => kind-unknown kind"));
    assert_eq!(complaints[0].hint, "did you mean `MonoVertex`?");
    assert_complaints("metadata: {name: x} # => kind-missing kind\n");
    assert_complaints("- a list # => not-an-object\n");
}

#[test]
fn the_same_object_twice_is_an_error_even_across_files() {
    let text = mono_vertex(GOOD);
    let loaded = api::load([("a.yaml", text.as_bytes()), ("b.yaml", text.as_bytes())]);
    let complaint = &loaded.complaints[0];
    assert_eq!((complaint.rule, complaint.file.as_str(), complaint.line), ("object-duplicate", "b.yaml", 4));
    assert!(complaint.message.contains("a.yaml:4"), "{complaint}");
    let elsewhere = text.replace("  name: m\n", "  name: m\n  namespace: other\n");
    assert_eq!(api::load([("a", text.as_bytes()), ("b", elsewhere.as_bytes())]).complaints, []);
}

#[test]
fn a_file_without_objects_is_an_error() {
    for text in ["", "# nothing\n", "---\n---\n"] {
        assert_eq!(rules(text), [("file-empty", 0)], "{text:?}");
    }
}

#[test]
fn one_error_anywhere_means_nothing_runs() {
    let text = format!("{}---\n{}", mono_vertex(GOOD), pipeline("  vertices: []"));
    let complaints = api::load([("f", text.as_bytes())]).accept().unwrap_err();
    assert_eq!(complaints.len(), 1);
}

#[test]
fn fingerprints_tell_meaning_from_layout() {
    let print = |text: &str| api::fingerprint_text(&load(text)[0]);
    let text = mono_vertex("  source: {generator: {rpu: 5, keyCount: 2}}\n  sink: {log: {}}");
    let same =
        mono_vertex("  # a comment\n  sink:\n    log: {}\n  source: {generator: {keyCount: 2, rpu: 5}}")
            .replace("  name: m\n", "  name: m\n  labels: {a: b}\n");
    assert_eq!(print(&text), print(&same));
    for other in [text.replace("rpu: 5", "rpu: 6"), text.replace("name: m\n", "name: n\n")] {
        assert_ne!(print(&text), print(&other));
    }
}
