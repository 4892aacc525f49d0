//! The custom resource definitions: what Kubernetes demands of a structural schema, and that the API server fills in
//! nothing that [`api::resolve`] would not.

use api::schema::definition::{Detail, definitions};
use serde_json::{Value, json};
use tidegate_api as api;

/// The largest annotation, which is where `kubectl apply` without `--server-side` keeps a whole object.
const ANNOTATIONS_BYTES_MAX: usize = 256 * 1024;
/// Formats that an API server knows; of others it warns.
const FORMATS: [&str; 5] = ["int32", "int64", "date-time", "byte", "double"];
/// What may stand in an option below `anyOf`, which is none of the structure.
const OPTIONS: [&str; 1] = ["type"];

fn schema(definition: &Value) -> &Value {
    &definition["spec"]["versions"][0]["schema"]["openAPIV3Schema"]
}

fn named(kind: &str, detail: Detail) -> Value {
    let mut found = definitions(detail);
    found.retain(|definition| definition["spec"]["names"]["kind"] == kind);
    assert_eq!(found.len(), 1, "{kind}");
    found.remove(0)
}

/// Everything that an API server would refuse or warn of.
fn faults(schema: &Value, path: &str, faults: &mut Vec<String>) {
    const KNOWN: [&str; 18] = [
        "type",
        "properties",
        "required",
        "items",
        "additionalProperties",
        "description",
        "enum",
        "format",
        "minimum",
        "maximum",
        "minLength",
        "minItems",
        "pattern",
        "default",
        "anyOf",
        "x-kubernetes-int-or-string",
        "x-kubernetes-preserve-unknown-fields",
        "x-kubernetes-validations",
    ];
    let keywords = schema.as_object().expect("a schema is an object");
    let mut fault = |what: String| faults.push(format!("{path}: {what}"));
    for keyword in keywords.keys() {
        if !KNOWN.contains(&keyword.as_str()) && !keyword.starts_with("x-kubernetes-list-") {
            fault(format!("the keyword {keyword}"));
        }
    }
    let is_either = keywords.contains_key("x-kubernetes-int-or-string");
    let is_open = keywords.contains_key("x-kubernetes-preserve-unknown-fields");
    if keywords.contains_key("type") == is_either && !is_open {
        fault("a type, or none, where the other is demanded".to_owned());
    }
    if keywords.contains_key("anyOf") && !is_either {
        fault("options".to_owned());
    }
    for option in keywords.get("anyOf").and_then(Value::as_array).into_iter().flatten() {
        if option.as_object().is_none_or(|option| option.keys().any(|key| !OPTIONS.contains(&key.as_str()))) {
            fault("structure in an option".to_owned());
        }
    }
    if keywords.contains_key("properties") && keywords.contains_key("additionalProperties") {
        fault("both properties and additionalProperties".to_owned());
    }
    if let Some(format) = keywords.get("format").and_then(Value::as_str)
        && !FORMATS.contains(&format)
    {
        fault(format!("the format {format}"));
    }
    let properties = keywords.get("properties").and_then(Value::as_object);
    for name in
        keywords.get("required").and_then(Value::as_array).into_iter().flatten().filter_map(Value::as_str)
    {
        if properties.is_none_or(|properties| !properties.contains_key(name)) {
            fault(format!("{name} is required and unknown"));
        }
    }
    let keys = keywords.get("x-kubernetes-list-map-keys").and_then(Value::as_array);
    for key in keys.into_iter().flatten() {
        if !schema["items"]["required"].as_array().is_some_and(|required| required.contains(key)) {
            fault(format!("the key {key} may be missing"));
        }
    }
    for (name, inner) in properties.into_iter().flatten() {
        self::faults(inner, &format!("{path}.{name}"), faults);
    }
    for keyword in ["items", "additionalProperties"] {
        if let Some(inner) = keywords.get(keyword) {
            self::faults(inner, &format!("{path}[]"), faults);
        }
    }
}

/// Fills in defaults as an API server does.
fn fill_in(value: &mut Value, schema: &Value) {
    match value {
        Value::Object(members) => {
            for (name, inner) in schema["properties"].as_object().into_iter().flatten() {
                if let Some(default) = inner.get("default")
                    && !members.contains_key(name)
                {
                    members.insert(name.clone(), default.clone());
                }
                if let Some(member) = members.get_mut(name) {
                    fill_in(member, inner);
                }
            }
        }
        Value::Array(items) => items.iter_mut().for_each(|item| fill_in(item, &schema["items"])),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}

#[test]
fn schemas_are_structural() {
    for detail in [Detail::Full, Detail::Minimal] {
        for definition in definitions(detail) {
            let mut found = Vec::new();
            faults(schema(&definition), "", &mut found);
            assert_eq!(found, Vec::<String>::new(), "{}", definition["metadata"]["name"]);
        }
    }
}

#[test]
fn definitions_fit_into_an_annotation() {
    for definition in definitions(Detail::Full) {
        let bytes = definition.to_string().len();
        assert!(bytes < ANNOTATIONS_BYTES_MAX, "{}: {bytes} bytes", definition["metadata"]["name"]);
    }
}

#[test]
fn names_and_columns_are_those_of_the_reference() {
    let found: Vec<String> = definitions(Detail::Full)
        .iter()
        .map(|definition| {
            let (names, version) = (&definition["spec"]["names"], &definition["spec"]["versions"][0]);
            let columns: Vec<&str> = version["additionalPrinterColumns"]
                .as_array()
                .unwrap()
                .iter()
                .map(|column| column["name"].as_str().unwrap())
                .collect();
            let subresources: Vec<&str> =
                version["subresources"].as_object().unwrap().keys().map(String::as_str).collect();
            format!(
                "{} {} {} {}: {}; {}",
                definition["metadata"]["name"].as_str().unwrap(),
                names["kind"].as_str().unwrap(),
                names["singular"].as_str().unwrap(),
                names["shortNames"][0].as_str().unwrap(),
                columns.join(", "),
                subresources.join(", "),
            )
        })
        .collect();
    let scaled = "Phase, Desired, Current, Ready, Age, Reason, Message; status, scale";
    assert_eq!(
        found,
        [
            "interstepbufferservices.numaflow.numaproj.io InterStepBufferService interstepbufferservice isbsvc: \
             Type, Phase, Age, Message; status"
                .to_owned(),
            "pipelines.numaflow.numaproj.io Pipeline pipeline pl: Phase, Vertices, Sources, Sinks, UDFs, Map UDFs, \
             Reduce UDFs, Age, Message; status"
                .to_owned(),
            format!("vertices.numaflow.numaproj.io Vertex vertex vtx: {scaled}"),
            format!("monovertices.numaflow.numaproj.io MonoVertex monovertex mvtx: {scaled}"),
            "servingpipelines.numaflow.numaproj.io ServingPipeline servingpipeline spl: Phase, Age, Message; status"
                .to_owned(),
        ]
    );
}

#[test]
fn what_the_server_fills_in_changes_nothing() {
    let pipeline = json!({
        "apiVersion": api::API_VERSION, "kind": "Pipeline", "metadata": {"name": "p"},
        "spec": {
            "vertices": [
                {"name": "in", "source": {"generator": {}}},
                {"name": "out", "sink": {"log": {}}, "limits": {"readBatchSize": 7}},
            ],
            "edges": [{"from": "in", "to": "out"}],
        },
    });
    let mut filled = pipeline.clone();
    fill_in(&mut filled, schema(&named("Pipeline", Detail::Full)));
    assert_eq!(
        filled["spec"]["limits"],
        json!({"readBatchSize": 500, "bufferMaxLength": 30000, "bufferUsageLimit": 80})
    );
    assert_eq!(
        filled["spec"]["lifecycle"],
        json!({"desiredPhase": "Running", "pauseGracePeriodSeconds": 30})
    );
    let resolve = |value: Value| {
        let pipeline = api::Pipeline::from_value(value).unwrap();
        let (checked, _) = api::check(pipeline).unwrap();
        let generator =
            checked.spec.vertices[0].source.as_ref().unwrap().generator.as_ref().unwrap().resolve();
        (api::resolve::pipeline(&checked), generator)
    };
    assert_eq!(resolve(filled), resolve(pipeline));

    let mono_vertex = json!({
        "apiVersion": api::API_VERSION, "kind": "MonoVertex", "metadata": {"name": "m"},
        "spec": {"source": {"generator": {}}, "sink": {"log": {}}},
    });
    let mut filled = mono_vertex.clone();
    fill_in(&mut filled, schema(&named("MonoVertex", Detail::Full)));
    assert_eq!(filled["spec"]["replicas"], 1);
    let resolve = |value: Value| {
        let mono_vertex = api::MonoVertex::from_value(value).unwrap();
        api::resolve::mono_vertex(&api::check(mono_vertex).unwrap().0)
    };
    assert_eq!(resolve(filled), resolve(mono_vertex));
}

#[test]
fn unset_states_that_mean_as_further_out_stay_unset() {
    let pipeline = named("Pipeline", Detail::Full);
    let spec = &schema(&pipeline)["properties"]["spec"]["properties"];
    let vertex = &spec["vertices"]["items"]["properties"];
    for (what, of) in [("limits", vertex), ("updateStrategy", vertex), ("ordered", vertex), ("scale", vertex)]
    {
        let inner = of[what]["properties"].as_object().unwrap();
        let with_default: Vec<&String> =
            inner.iter().filter(|(_, s)| s.get("default").is_some()).map(|(n, _)| n).collect();
        assert_eq!((of[what].get("default"), with_default), (None, Vec::new()), "{what}");
    }
    // The old name of this field counts only while this one is unset.
    assert_eq!(spec["lifecycle"]["properties"]["deletionGracePeriodSeconds"].get("default"), None);
}

#[test]
fn numbers_durations_and_quantities_are_bounded_as_we_read_them() {
    let pipeline = named("Pipeline", Detail::Full);
    let spec = &schema(&pipeline)["properties"]["spec"]["properties"];
    let limits = &spec["limits"]["properties"];
    assert_eq!(limits["readBatchSize"]["minimum"], 1);
    assert_eq!(limits["readBatchSize"]["format"], "int64");
    assert_eq!(limits["bufferUsageLimit"]["maximum"], u32::MAX);
    assert!(limits["readTimeout"]["pattern"].as_str().unwrap().contains("ns|us|µs|μs|ms|s|m|h"));
    let operator =
        &spec["edges"]["items"]["properties"]["conditions"]["properties"]["tags"]["properties"]["operator"];
    assert_eq!(operator["enum"], json!(["and", "or", "not"]));
    let container = &spec["vertices"]["items"]["properties"]["udf"]["properties"]["container"]["properties"];
    let limits = &container["resources"]["properties"]["limits"]["additionalProperties"];
    assert_eq!(limits["x-kubernetes-int-or-string"], true);
    assert!(limits.get("pattern").is_some());
}

#[test]
fn minimal_definitions_keep_replicas() {
    let vertex = named("Vertex", Detail::Minimal);
    let spec = &schema(&vertex)["properties"]["spec"];
    assert_eq!(spec["x-kubernetes-preserve-unknown-fields"], true);
    assert_eq!(spec["properties"], json!({"replicas": {"type": "integer", "format": "int32", "default": 1}}));
    assert_eq!(schema(&named("Pipeline", Detail::Minimal))["properties"]["spec"].get("properties"), None);
}
