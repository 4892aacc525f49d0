//! From the schema of a kind to a structural one: no references, no options, only formats and bounds that Kubernetes
//! knows. The invariant: a value that [`crate::schema`] takes without an error is taken here too, except for what the
//! rules of `check` would refuse next.

use serde_json::{Map, Value, json};

use crate::duration::SCHEMA_FORMAT;

/// References that follow each other; our schemas never need more than a few.
const REFERENCES_MAX: usize = 8;
/// Levels of a schema; a kind that refers to itself would never end.
const DEPTH_MAX: usize = 64;

/// Durations as [`crate::Duration`] reads them, without a sign that `check` would refuse.
const DURATION_PATTERN: &str = r"^\+?(0|(([0-9]+(\.[0-9]*)?|\.[0-9]+)(ns|us|µs|μs|ms|s|m|h))+)$";
/// Quantities as `check` reads them.
const QUANTITY_PATTERN: &str = r"^[+-]?([0-9]+(\.[0-9]*)?|\.[0-9]+)([numkMGTPE]|[KMGTPE]i|[eE][+-]?[0-9]+)?$";

/// The structural schema of a whole object.
pub(super) fn structural(root: &Value) -> Value {
    let context = Context { definitions: &root["$defs"] };
    let mut schema = context.convert(root, Place { is_stock: false, is_status: false, depth: 0 });
    schema["properties"]["metadata"] = json!({"type": "object"});
    schema["properties"]["apiVersion"] = json!({"type": "string"});
    schema["properties"]["kind"] = json!({"type": "string"});
    schema["properties"]["status"] =
        context.convert(&root["properties"]["status"], Place { is_stock: false, is_status: true, depth: 1 });
    schema
}

/// Takes the descriptions out of everything below a schema.
pub(super) fn remove_descriptions(schema: &mut Value) {
    for keyword in ["properties", "items", "additionalProperties"] {
        let Some(inner) = schema.get_mut(keyword) else { continue };
        let members = if keyword == "properties" { inner.as_object_mut() } else { None };
        if let Some(members) = members {
            for member in members.values_mut() {
                remove_description(member);
            }
        } else {
            remove_description(inner);
        }
    }
}

fn remove_description(schema: &mut Value) {
    if let Value::Object(keywords) = schema {
        keywords.shift_remove("description");
    }
    remove_descriptions(schema);
}

struct Context<'a> {
    definitions: &'a Value,
}

/// Where in the object a schema stands.
#[derive(Clone, Copy)]
struct Place {
    /// In one of Kubernetes' own types, whose descriptions would be most of the size of a definition.
    is_stock: bool,
    /// In the status, which only controllers write: fields of a release that is newer or older may be missing.
    is_status: bool,
    depth: usize,
}

impl Place {
    fn inside(self) -> Self {
        Self { depth: self.depth + 1, ..self }
    }
}

impl Context<'_> {
    /// Follows references and takes the one real option; says under which name it goes.
    fn resolve<'a>(&'a self, mut schema: &'a Value) -> (&'a Value, &'a str) {
        let mut name = "";
        for _ in 0..REFERENCES_MAX {
            let target = schema.get("$ref").and_then(Value::as_str);
            if let Some(target) = target.and_then(|target| target.strip_prefix("#/$defs/")) {
                (schema, name) = (&self.definitions[target], target);
                continue;
            }
            let Some(options) = schema.get("anyOf").and_then(Value::as_array) else { break };
            let real = options.iter().find(|option| option.get("type") != Some(&"null".into()));
            schema = real.expect("an option that is not null");
        }
        (schema, name)
    }

    fn convert(&self, schema: &Value, place: Place) -> Value {
        assert!(place.depth < DEPTH_MAX, "a kind refers to itself");
        let (resolved, name) = self.resolve(schema);
        let place = Place { is_stock: place.is_stock || name.starts_with("io.k8s."), ..place };
        let mut made = self.typed(resolved, name, place);
        // What is said where a type is used is more to the point than what is said about the type.
        let description = schema.get("description").or_else(|| resolved.get("description"));
        if let Some(description) = description.filter(|_| !place.is_stock) {
            made.insert("description".to_owned(), description.clone());
        }
        Value::Object(made)
    }

    fn typed(&self, schema: &Value, name: &str, place: Place) -> Map<String, Value> {
        if schema.get("x-kubernetes-int-or-string").is_some() {
            return int_or_string(name);
        }
        if let Some(variants) = variants(schema) {
            return members(json!({"type": "string", "enum": variants}));
        }
        match type_name(schema) {
            "object" => self.object(schema, place),
            "array" => self.array(schema, place),
            "integer" => integer(schema),
            "number" => with_bounds(members(json!({"type": "number"})), schema),
            "boolean" => members(json!({"type": "boolean"})),
            "string" => text(schema),
            // A type that can be anything is what Kubernetes calls preserved.
            _ => members(json!({"x-kubernetes-preserve-unknown-fields": true})),
        }
    }

    fn object(&self, schema: &Value, place: Place) -> Map<String, Value> {
        let mut made = members(json!({"type": "object"}));
        if let Some(properties) = schema.get("properties").and_then(Value::as_object) {
            let converted: Map<String, Value> = properties
                .iter()
                .map(|(name, member)| (name.clone(), self.convert(member, place.inside())))
                .collect();
            made.insert("properties".to_owned(), Value::Object(converted));
            if let Some(required) = schema.get("required").filter(|_| place.is_stock || !place.is_status) {
                made.insert("required".to_owned(), required.clone());
            }
        } else if let Some(inner) = schema.get("additionalProperties").filter(|inner| inner.is_object()) {
            made.insert("additionalProperties".to_owned(), self.convert(inner, place.inside()));
        }
        made
    }

    fn array(&self, schema: &Value, place: Place) -> Map<String, Value> {
        let items = self.convert(&schema["items"], place.inside());
        let mut made = members(json!({"type": "array", "items": items}));
        copy(schema, &mut made, &["minItems"]);
        made
    }
}

fn members(value: Value) -> Map<String, Value> {
    match value {
        Value::Object(members) => members,
        other => panic!("{other} is no object"),
    }
}

fn copy(from: &Value, to: &mut Map<String, Value>, keywords: &[&str]) {
    for keyword in keywords {
        if let Some(value) = from.get(*keyword) {
            to.insert((*keyword).to_owned(), value.clone());
        }
    }
}

fn with_bounds(mut made: Map<String, Value>, schema: &Value) -> Map<String, Value> {
    copy(schema, &mut made, &["minimum", "maximum"]);
    made
}

/// The only type of a schema; `null` beside it says that the field can be left out.
fn type_name(schema: &Value) -> &str {
    match schema.get("type") {
        Some(Value::String(name)) => name,
        Some(Value::Array(names)) => {
            let mut real = names.iter().filter_map(Value::as_str).filter(|name| *name != "null");
            real.next().unwrap_or_default()
        }
        _ => "",
    }
}

/// The values of an enumeration of texts.
fn variants(schema: &Value) -> Option<Vec<&str>> {
    let options = schema.get("oneOf").and_then(Value::as_array).into_iter().flatten();
    let listed = schema.get("enum").and_then(Value::as_array).into_iter().flatten();
    let names: Vec<&str> =
        options.filter_map(|option| option.get("const")).chain(listed).filter_map(Value::as_str).collect();
    (!names.is_empty()).then_some(names)
}

/// Whole numbers. Kubernetes has no unsigned ones, and none above 63 bits.
fn integer(schema: &Value) -> Map<String, Value> {
    let (format, least, most) = match schema.get("format").and_then(Value::as_str) {
        Some("int32") => ("int32", None, None),
        Some("uint32") => ("int64", Some(0), Some(u32::MAX)),
        Some("uint64") => ("int64", Some(0), None),
        _ => ("int64", None, None),
    };
    let mut made = members(json!({"type": "integer", "format": format}));
    if let Some(least) = least {
        made.insert("minimum".to_owned(), json!(least));
    }
    if let Some(most) = most {
        made.insert("maximum".to_owned(), json!(most));
    }
    with_bounds(made, schema)
}

fn text(schema: &Value) -> Map<String, Value> {
    let mut made = members(json!({"type": "string"}));
    match schema.get("format").and_then(Value::as_str) {
        Some(SCHEMA_FORMAT) => drop(made.insert("pattern".to_owned(), json!(DURATION_PATTERN))),
        Some("date-time") => drop(made.insert("format".to_owned(), json!("date-time"))),
        Some("byte") => drop(made.insert("format".to_owned(), json!("byte"))),
        _ => {}
    }
    copy(schema, &mut made, &["minLength"]);
    made
}

fn int_or_string(name: &str) -> Map<String, Value> {
    let mut made = members(json!({
        "x-kubernetes-int-or-string": true,
        "anyOf": [{"type": "integer"}, {"type": "string"}],
    }));
    if name.ends_with("Quantity") {
        made.insert("pattern".to_owned(), json!(QUANTITY_PATTERN));
    }
    made
}
