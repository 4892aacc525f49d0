//! One manifest that uses every field there is, and objects put together in a program.

use std::collections::BTreeSet;

use api::Object;
use serde_json::Value;
use tidegate_api as api;

const EVERYTHING: &str = include_str!("everything.yaml");

/// Fields by the type that has them.
type Fields = BTreeSet<(String, String)>;

/// Follows references and options to a schema, and says by which name it goes.
fn resolve<'a>(mut schema: &'a Value, definitions: &'a Value, mut name: &'a str) -> (&'a Value, &'a str) {
    loop {
        let target = schema.get("$ref").and_then(Value::as_str);
        let options = schema.get("anyOf").and_then(Value::as_array);
        if let Some(target) = target.and_then(|target| target.strip_prefix("#/$defs/")) {
            (schema, name) = (&definitions[target], target);
        } else if let Some(options) = options {
            schema = options
                .iter()
                .find(|option| option.get("type") != Some(&"null".into()))
                .expect("a real option");
        } else {
            return (schema, name);
        }
    }
}

/// Adds the fields that the value uses.
fn add_used(value: &Value, schema: &Value, definitions: &Value, used: &mut Fields) {
    let (schema, name) = resolve(schema, definitions, "");
    match value {
        Value::Array(elements) => {
            for element in elements {
                add_used(element, &schema["items"], definitions, used);
            }
        }
        Value::Object(members) if schema.get("properties").is_some() && !name.starts_with("io.k8s.") => {
            for (field, member) in members {
                used.insert((name.to_owned(), field.clone()));
                add_used(member, &schema["properties"][field], definitions, used);
            }
        }
        _ => {}
    }
}

/// Adds the names of the definitions that a schema refers to, directly or not.
fn add_reachable(schema: &Value, definitions: &Value, names: &mut BTreeSet<String>) {
    match schema {
        Value::Object(members) => {
            let target = members.get("$ref").and_then(Value::as_str);
            if let Some(name) = target.and_then(|target| target.strip_prefix("#/$defs/"))
                && names.insert(name.to_owned())
            {
                add_reachable(&definitions[name], definitions, names);
            }
            members.values().for_each(|member| add_reachable(member, definitions, names));
        }
        Value::Array(elements) => {
            for element in elements {
                add_reachable(element, definitions, names);
            }
        }
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}

/// Compares the fields that the documents of a kind use with all there are.
fn compare_fields<S: api::Kind>(documents: &[Value], used: &mut Fields, known: &mut Fields) {
    let schema = api::schema::json_schema::<S>();
    let definitions = &schema["$defs"];
    for document in documents.iter().filter(|document| document["kind"] == S::KIND) {
        add_used(&document["spec"], &schema["properties"]["spec"], definitions, used);
    }
    let mut written = BTreeSet::new();
    add_reachable(&schema["properties"]["spec"], definitions, &mut written);
    for (name, definition) in definitions.as_object().expect("definitions") {
        // What only a status has is not for manifests.
        let is_ours = !name.starts_with("io.k8s.") && written.contains(name);
        let properties = definition.get("properties").and_then(Value::as_object).filter(|_| is_ours);
        known.extend(
            properties
                .into_iter()
                .flat_map(|properties| properties.keys())
                .map(|f| (name.clone(), f.clone())),
        );
    }
}

#[test]
fn the_big_manifest_has_no_complaints() {
    let loaded = api::load([("everything.yaml", EVERYTHING.as_bytes())]);
    let errors: Vec<_> = loaded.complaints.iter().filter(|complaint| complaint.is_error()).collect();
    assert!(errors.is_empty(), "{}", api::complaint::to_text(&loaded.complaints));
}

#[test]
fn the_big_manifest_uses_every_field() {
    let documents = raw_documents();
    let (mut used, mut known) = (Fields::new(), Fields::new());
    compare_fields::<api::spec::PipelineSpec>(&documents, &mut used, &mut known);
    compare_fields::<api::spec::MonoVertexSpec>(&documents, &mut used, &mut known);
    compare_fields::<api::spec::InterStepBufferServiceSpec>(&documents, &mut used, &mut known);
    compare_fields::<api::spec::ServingPipelineSpec>(&documents, &mut used, &mut known);
    assert!(known.len() > 300, "{}", known.len());
    assert_eq!(known.difference(&used).collect::<Vec<_>>(), Vec::<&(String, String)>::new());
    assert_eq!(used.difference(&known).collect::<Vec<_>>(), Vec::<&(String, String)>::new());
}

#[test]
fn the_big_manifest_comes_back_as_it_was_written() {
    let objects = api::load([("everything.yaml", EVERYTHING.as_bytes())]).accept().unwrap().0;
    let documents = raw_documents();
    assert_eq!(objects.len(), documents.len());
    for (object, document) in objects.iter().zip(&documents) {
        let written = match object {
            Object::Pipeline(object) => serde_json::to_value(&***object),
            Object::Vertex(object) => serde_json::to_value(&***object),
            Object::MonoVertex(object) => serde_json::to_value(&***object),
            Object::InterStepBufferService(object) => serde_json::to_value(&***object),
            Object::ServingPipeline(object) => serde_json::to_value(&***object),
            Object::Secret(_) | Object::ConfigMap(_) => panic!("none is in the file"),
        };
        let mut differences = Vec::new();
        compare(&written.unwrap(), document, object.kind(), &mut differences);
        assert_eq!(differences, Vec::<String>::new());
    }
}

#[test]
fn objects_made_in_a_program_are_checked_the_same_way() {
    let objects = api::load([("everything.yaml", EVERYTHING.as_bytes())]).accept().unwrap().0;
    let Object::Pipeline(pipeline) = &objects[0] else { panic!("a pipeline") };
    let mut pipeline = pipeline.as_ref().clone().into_inner();
    let (checked, _) = api::check(pipeline.clone()).expect("it is good");
    assert_eq!(*checked, pipeline);
    pipeline.spec.edges[0].to = "nobody".to_owned();
    let complaints = api::check(pipeline).unwrap_err();
    let complaint = complaints.iter().find(|complaint| complaint.rule == "edge-unknown-vertex").unwrap();
    assert_eq!(complaint.path.to_string(), "spec.edges[0].to");
    assert_eq!((complaint.line, complaint.file.as_str()), (0, ""));
}

/// Where two values differ.
fn compare(left: &Value, right: &Value, path: &str, differences: &mut Vec<String>) {
    match (left, right) {
        (Value::Object(left), Value::Object(right)) => {
            for key in left.keys().chain(right.keys().filter(|key| !left.contains_key(*key))) {
                let member =
                    |value: &serde_json::Map<String, Value>| value.get(key).cloned().unwrap_or_default();
                compare(&member(left), &member(right), &format!("{path}.{key}"), differences);
            }
        }
        (Value::Array(left), Value::Array(right)) if left.len() == right.len() => {
            for (index, (left, right)) in left.iter().zip(right).enumerate() {
                compare(left, right, &format!("{path}[{index}]"), differences);
            }
        }
        _ if left == right => {}
        _ => differences.push(format!("{path}: {left} and {right}")),
    }
}

/// The documents without any types, and with quantities as the text they become.
fn raw_documents() -> Vec<Value> {
    api::read::to_values(EVERYTHING.as_bytes(), "everything.yaml").expect("it is YAML")
}

#[test]
fn nulls_of_other_programs_mean_nothing() {
    let value = serde_json::json!({
        "apiVersion": api::API_VERSION, "kind": "Vertex", "metadata": {"name": "p-v", "creationTimestamp": null},
        "spec": {
            "name": "v", "pipelineName": "p", "interStepBufferServiceName": "", "fromEdges": null, "toEdges": [
                {"from": "v", "to": "out", "conditions": null, "fromVertexType": "MapUDF", "toVertexType": "Sink"}
            ],
            "udf": {"container": {"image": "x", "args": null}, "groupBy": null},
            "sink": null,
        },
        "status": {"phase": "", "replicas": 0, "desiredReplicas": 0},
    });
    let vertex = api::Vertex::from_value(value).unwrap();
    assert_eq!(vertex.spec.vertex.kind(), Some(api::resolve::VertexKind::Map));
    assert_eq!(vertex.spec.to_edges[0].edge.to, "out");
    assert_eq!(vertex.spec.from_edges, []);
    assert_eq!(vertex.status.unwrap().phase, api::spec::Phase::Unset);
}

#[test]
fn a_vertex_is_small_without_what_it_lacks() {
    // A controller keeps each vertex of each pipeline.
    let bytes = size_of::<tidegate_api::spec::PipelineVertex>();
    assert!(bytes < 8 << 10, "{bytes} bytes");
}
