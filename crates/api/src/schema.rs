//! The shape of a manifest: unknown fields, wrong types, missing fields, values out of range, all at once, by
//! walking the raw value along the schema of its kind. The invariant: after `Shape::settle` the value reads
//! as its kind, because what did not fit was complained about and taken out or replaced by an empty value.

pub mod definition;
pub(crate) mod hints;
mod scalars;

use std::collections::HashMap;

use schemars::generate::SchemaSettings;
use serde_json::{Map, Value};

use crate::complaint::{Findings, Severity};
use crate::path::Path;
use crate::spec::{Kind, Resource};
use hints::Advice;

/// The JSON schema of a kind, with the reference's required fields required. Defaults are not in it.
pub fn json_schema<S: Kind>() -> Value {
    // What must be there is what is always written, so the serialising side knows what is required.
    let generator = SchemaSettings::draft2020_12().for_serialize().into_generator();
    let mut schema = generator.into_root_schema_for::<Resource<S>>().to_value();
    remove_defaults(&mut schema);
    schema
}

/// Takes out the empty defaults that deriving leaves behind.
fn remove_defaults(schema: &mut Value) {
    let Value::Object(members) = schema else { return };
    members.remove("default");
    for (keyword, member) in members.iter_mut() {
        match (keyword.as_str(), member) {
            ("properties" | "$defs", Value::Object(schemas)) => {
                schemas.values_mut().for_each(remove_defaults);
            }
            ("anyOf" | "oneOf" | "allOf", Value::Array(schemas)) => {
                schemas.iter_mut().for_each(remove_defaults);
            }
            ("items" | "additionalProperties", schema) => remove_defaults(schema),
            _ => {}
        }
    }
}

/// A schema to walk along.
pub(crate) struct Shape {
    root: Value,
}

/// What the walk has found; the paths are those where the value does not say what the user wrote.
#[derive(Debug, Default)]
pub(crate) struct Outcome {
    pub(crate) findings: Findings,
    pub(crate) changed: Vec<Path>,
}

/// What is to become of a value.
enum Fate {
    Keep,
    /// Take it out, or put an empty value where it cannot be taken out.
    Drop,
}

/// The shapes that were needed so far; making one takes longer than using it.
#[derive(Default)]
pub(crate) struct Shapes {
    by_kind: HashMap<&'static str, Shape>,
}

impl Shapes {
    pub(crate) fn of<S: Kind>(&mut self) -> &Shape {
        self.by_kind.entry(S::KIND).or_insert_with(|| Shape { root: json_schema::<S>() })
    }
}

impl Shape {
    /// Makes `value` fit and says what did not.
    pub(crate) fn settle(&self, value: &mut Value) -> Outcome {
        let mut walk = Walk { definitions: self.root.get("$defs"), outcome: Outcome::default() };
        let spot = Spot { schema: walk.resolve(&self.root), parent: None, path: Path::root() };
        if matches!(walk.value(value, &spot), Fate::Drop) {
            *value = Value::Object(Map::new());
        }
        walk.outcome
    }
}

/// A schema with its references followed.
#[derive(Clone, Copy)]
struct Resolved<'a> {
    schema: &'a Value,
    /// The last name it went by.
    name: &'a str,
    nullable: bool,
}

impl<'a> Resolved<'a> {
    fn properties(self) -> Option<&'a Map<String, Value>> {
        self.schema.get("properties")?.as_object()
    }

    /// Kubernetes' own types, of which other versions may know more.
    fn is_stock(self) -> bool {
        self.name.starts_with("io.k8s.")
    }

    fn has_type(self, wanted: &str) -> bool {
        match self.schema.get("type") {
            Some(Value::String(name)) => name == wanted,
            Some(Value::Array(names)) => names.iter().any(|name| name == wanted),
            _ => false,
        }
    }

    /// The values of an enumeration of texts.
    fn variants(self) -> Vec<&'a str> {
        let options = self.schema.get("oneOf").and_then(Value::as_array);
        let constants = options.into_iter().flatten().filter_map(|option| option.get("const"));
        let listed = self.schema.get("enum").and_then(Value::as_array).into_iter().flatten();
        constants.chain(listed).filter_map(Value::as_str).collect()
    }
}

/// Where the walk is.
struct Spot<'a, 'p> {
    schema: Resolved<'a>,
    parent: Option<&'p Spot<'a, 'p>>,
    path: Path,
}

struct Walk<'a> {
    definitions: Option<&'a Value>,
    outcome: Outcome,
}

impl<'a> Walk<'a> {
    fn resolve(&self, schema: &'a Value) -> Resolved<'a> {
        let mut resolved = Resolved { schema, name: "", nullable: false };
        // Each turn follows one reference or one option; our schemas never need more than a few.
        for _ in 0..8 {
            let target = resolved.schema.get("$ref").and_then(Value::as_str);
            if let Some(name) = target.and_then(|target| target.strip_prefix("#/$defs/")) {
                let Some(definition) = self.definitions.and_then(|definitions| definitions.get(name)) else {
                    break;
                };
                resolved = Resolved { schema: definition, name, ..resolved };
                continue;
            }
            let options = resolved.schema.get("anyOf").and_then(Value::as_array);
            let mut real =
                options.into_iter().flatten().filter(|option| option.get("type") != Some(&"null".into()));
            let (Some(option), None) = (real.next(), real.next()) else { break };
            resolved = Resolved { schema: option, nullable: true, ..resolved };
        }
        resolved
    }

    fn value(&mut self, value: &mut Value, spot: &Spot<'a, '_>) -> Fate {
        let schema = spot.schema;
        if value.is_null() && (schema.nullable || schema.has_type("null")) {
            return Fate::Drop;
        }
        if schema.schema.get("x-kubernetes-int-or-string").is_some() {
            return self.int_or_string(value, spot);
        }
        let variants = schema.variants();
        if !variants.is_empty() {
            return self.variant(value, &variants, spot);
        }
        if schema.has_type("object") {
            return self.object(value, spot);
        }
        if schema.has_type("array") {
            return self.list(value, spot);
        }
        self.scalar(value, spot)
    }

    fn object(&mut self, value: &mut Value, spot: &Spot<'a, '_>) -> Fate {
        let Value::Object(members) = value else {
            return self.wrong_type(value, "an object", spot);
        };
        let Some(properties) = spot.schema.properties() else {
            if let Some(schema) =
                spot.schema.schema.get("additionalProperties").filter(|schema| schema.is_object())
            {
                self.map(members, schema, spot);
            }
            return Fate::Keep;
        };
        let mut taken_out = Vec::new();
        for (name, member) in members.iter_mut() {
            let path = spot.path.field(name);
            let Some(property) = properties.get(name) else {
                self.unknown_field(name, spot, &path);
                continue;
            };
            let inner = Spot { schema: self.resolve(property), parent: Some(spot), path };
            if member.is_null() {
                self.null_member(name, &inner);
                taken_out.push(name.clone());
            } else if matches!(self.value(member, &inner), Fate::Drop) {
                taken_out.push(name.clone());
            }
        }
        self.missing_fields(members, spot);
        for name in taken_out {
            members.remove(&name);
        }
        Fate::Keep
    }

    fn map(&mut self, members: &mut Map<String, Value>, schema: &'a Value, spot: &Spot<'a, '_>) {
        let schema = self.resolve(schema);
        let mut taken_out = Vec::new();
        for (name, member) in members.iter_mut() {
            let inner = Spot { schema, parent: Some(spot), path: spot.path.field(name) };
            if matches!(self.value(member, &inner), Fate::Drop) {
                taken_out.push(name.clone());
            }
        }
        for name in taken_out {
            members.remove(&name);
        }
    }

    fn list(&mut self, value: &mut Value, spot: &Spot<'a, '_>) -> Fate {
        let Value::Array(elements) = value else {
            return self.wrong_type(value, "a list", spot);
        };
        if let Some(fewest) = spot.schema.schema.get("minItems").and_then(Value::as_u64)
            && (elements.len() as u64) < fewest
        {
            self.outcome.findings.error("too-few", &spot.path, format!("at least {fewest} must be listed"));
            self.outcome.changed.push(spot.path.clone());
        }
        let Some(items) = spot.schema.schema.get("items") else { return Fate::Keep };
        let schema = self.resolve(items);
        for (index, element) in elements.iter_mut().enumerate() {
            let inner = Spot { schema, parent: Some(spot), path: spot.path.index(index) };
            if matches!(self.value(element, &inner), Fate::Drop) {
                *element = empty_value(schema);
            }
        }
        Fate::Keep
    }

    fn missing_fields(&mut self, members: &Map<String, Value>, spot: &Spot<'a, '_>) {
        let required = spot.schema.schema.get("required").and_then(Value::as_array);
        for name in required.into_iter().flatten().filter_map(Value::as_str) {
            if members.get(name).is_none_or(Value::is_null) {
                let path = spot.path.field(name);
                self.outcome.findings.error("required", &path, format!("`{name}` is required and missing"));
                self.outcome.changed.push(path);
            }
        }
    }

    fn unknown_field(&mut self, name: &str, spot: &Spot<'a, '_>, path: &Path) {
        // A slip would silently not do what was meant. Strangers are fields of other versions, of Kubernetes or
        // of ours, which have no effect; manifests with such leftovers run elsewhere and so run here.
        let (severity, hint, message) = match hints::for_unknown_field(self, name, spot) {
            Advice::Slip(hint) if !spot.schema.is_stock() => {
                (Severity::Error, hint, format!("there is no field `{name}` here"))
            }
            Advice::Slip(hint) | Advice::Stranger(hint) => {
                (Severity::Warning, hint, format!("there is no field `{name}` here, so it has no effect"))
            }
        };
        self.outcome.findings.push(severity, "unknown-field", path, message).hint(hint);
    }

    /// A member written without a value counts as not there, which surprises where `{}` was meant.
    fn null_member(&mut self, name: &str, spot: &Spot<'a, '_>) {
        const CHOICES: [&str; 5] = ["Source", "Sink", "AbstractSink", "Window", "PbqStorage"];
        let parent = spot.parent.map_or("", |parent| parent.schema.name);
        if CHOICES.contains(&parent) && spot.schema.has_type("object") {
            let message = format!("`{name}:` without a value counts as not there");
            self.outcome
                .findings
                .warning("null-object", &spot.path, message)
                .hint(format!("write `{name}: {{}}`"));
        }
    }

    fn wrong_type(&mut self, value: &mut Value, wanted: &str, spot: &Spot<'a, '_>) -> Fate {
        let message = format!("expected {wanted}, found {}", scalars::describe(value));
        let hint = scalars::type_hint(value, wanted);
        self.outcome.findings.error("type", &spot.path, message).hint(hint);
        self.outcome.changed.push(spot.path.clone());
        if spot.schema.has_type("object") {
            // Something was meant to be here, so that "there is nothing here" would be one complaint too many.
            *value = empty_value(spot.schema);
            return Fate::Keep;
        }
        Fate::Drop
    }
}

/// What stands in for a list element that did not fit, so that the others keep their places.
fn empty_value(schema: Resolved<'_>) -> Value {
    if schema.has_type("object") {
        Value::Object(Map::new())
    } else if schema.has_type("array") {
        Value::Array(Vec::new())
    } else if schema.has_type("integer") || schema.has_type("number") {
        Value::from(0)
    } else if schema.has_type("boolean") {
        Value::Bool(false)
    } else {
        Value::String(String::new())
    }
}
