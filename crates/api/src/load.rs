//! Files to checked objects and complaints: what `lint` prints and what `run` runs. The invariant: an object in
//! [`Loaded::accept`]'s answer is checked, and no error anywhere in the files is passed over.

use std::collections::{BTreeMap, HashMap};

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use serde_json::{Value, json};

use crate::check::{Checked, Rules, inspect};
use crate::complaint::{Complaint, Findings, Found};
use crate::fingerprint::canonical_text;
use crate::path::Path;
use crate::read::{Document, read};
use crate::schema::Shapes;
use crate::schema::hints::{did_you_mean, list};
use crate::spec::resource::{API_VERSION, GROUP, VERSION};
use crate::spec::{
    InterStepBufferServiceSpec, Kind, MonoVertexSpec, PipelineSpec, Resource, ServingPipelineSpec, VertexSpec,
};
use crate::{InterStepBufferService, MonoVertex, Pipeline, ServingPipeline, Vertex};

/// An object of a manifest.
#[derive(Clone, Debug, PartialEq)]
pub enum Object {
    /// Vertices and edges.
    Pipeline(Box<Checked<Pipeline>>),
    /// One vertex of a pipeline.
    Vertex(Box<Checked<Vertex>>),
    /// Source, maybe a map, and sink in one worker.
    MonoVertex(Box<Checked<MonoVertex>>),
    /// A service that keeps buffers.
    InterStepBufferService(Box<Checked<InterStepBufferService>>),
    /// A pipeline behind an HTTP front.
    ServingPipeline(Box<Checked<ServingPipeline>>),
    /// Secret values, which a local run may use.
    Secret(Values),
    /// Settings, which a local run may use.
    ConfigMap(Values),
}

/// Named values of a `Secret` or a `ConfigMap`, decoded.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Values {
    /// The object's name.
    pub name: String,
    /// The object's namespace; `default` when it names none.
    pub namespace: String,
    /// Values by key.
    pub data: BTreeMap<String, Vec<u8>>,
}

impl Object {
    /// The kind as manifests write it.
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Pipeline(_) => PipelineSpec::KIND,
            Self::Vertex(_) => VertexSpec::KIND,
            Self::MonoVertex(_) => MonoVertexSpec::KIND,
            Self::InterStepBufferService(_) => InterStepBufferServiceSpec::KIND,
            Self::ServingPipeline(_) => ServingPipelineSpec::KIND,
            Self::Secret(_) => "Secret",
            Self::ConfigMap(_) => "ConfigMap",
        }
    }

    /// The object's name.
    pub fn name(&self) -> &str {
        match self {
            Self::Pipeline(object) => object.name(),
            Self::Vertex(object) => object.name(),
            Self::MonoVertex(object) => object.name(),
            Self::InterStepBufferService(object) => object.name(),
            Self::ServingPipeline(object) => object.name(),
            Self::Secret(values) | Self::ConfigMap(values) => &values.name,
        }
    }

    /// The object's namespace.
    pub fn namespace(&self) -> &str {
        match self {
            Self::Pipeline(object) => object.namespace(),
            Self::Vertex(object) => object.namespace(),
            Self::MonoVertex(object) => object.namespace(),
            Self::InterStepBufferService(object) => object.namespace(),
            Self::ServingPipeline(object) => object.namespace(),
            Self::Secret(values) | Self::ConfigMap(values) => &values.namespace,
        }
    }
}

/// The text to hash for telling whether a manifest has changed: kind, namespace, name and spec, or values.
/// Labels, annotations, comments and layout do not count.
pub fn fingerprint_text(object: &Object) -> String {
    let content = match object {
        Object::Pipeline(object) => json!(object.spec),
        Object::Vertex(object) => json!(object.spec),
        Object::MonoVertex(object) => json!(object.spec),
        Object::InterStepBufferService(object) => json!(object.spec),
        Object::ServingPipeline(object) => json!(object.spec),
        Object::Secret(values) | Object::ConfigMap(values) => json!(values.data),
    };
    canonical_text(&json!([object.kind(), object.namespace(), object.name(), content]))
}

/// What files came to.
#[derive(Clone, Debug, Default)]
pub struct Loaded {
    /// Objects without errors, in the order of the files.
    objects: Vec<Object>,
    /// Everything there is to say, file by file and line by line.
    pub complaints: Vec<Complaint>,
}

impl Loaded {
    /// Whether any complaint is an error.
    pub fn has_errors(&self) -> bool {
        self.complaints.iter().any(Complaint::is_error)
    }

    /// The objects, with warnings and notes.
    ///
    /// # Errors
    ///
    /// All complaints, when one of them is an error: a file is taken as a whole or not at all.
    pub fn accept(self) -> Result<(Vec<Object>, Vec<Complaint>), Vec<Complaint>> {
        if self.has_errors() { Err(self.complaints) } else { Ok((self.objects, self.complaints)) }
    }
}

/// Loads files, each a name for messages and its bytes.
pub fn load<'a>(files: impl IntoIterator<Item = (&'a str, &'a [u8])>) -> Loaded {
    let mut loaded = Loaded::default();
    let mut context = Context::default();
    for (file, bytes) in files {
        let (documents, mut complaints) = read(bytes, file);
        if documents.is_empty() && complaints.is_empty() {
            let message = "the file has no object in it".to_owned();
            complaints.push(Complaint::about_file(file, "file-empty", message, "is this the right file?"));
        }
        for document in documents {
            let (object, found) = interpret(&document, &mut context);
            complaints.extend(found.into_iter().map(|found| document.complaint(found)));
            loaded.objects.extend(object);
        }
        complaints.sort_by_key(|complaint| (complaint.line, complaint.column));
        loaded.complaints.extend(complaints);
    }
    loaded
}

/// What is remembered from document to document.
#[derive(Default)]
struct Context {
    shapes: Shapes,
    /// Where an object of that kind, namespace and name was first seen.
    seen: HashMap<(String, String, String), String>,
}

fn interpret(document: &Document, context: &mut Context) -> (Option<Object>, Vec<Found>) {
    let mut findings = Findings::default();
    let root = Path::root();
    let value = document.node.to_value();
    if !value.is_object() {
        let message = "this document is not an object";
        findings
            .error("not-an-object", &root, message)
            .hint("begin with `apiVersion:`, `kind:` and `metadata:`");
        return (None, findings.into_inner());
    }
    let version = document.node.text("apiVersion").unwrap_or_default();
    let Some(kind) = document.node.text("kind").filter(|kind| !kind.is_empty()) else {
        let message = "the object does not say of which kind it is";
        findings
            .error("kind-missing", &root.field("kind"), message)
            .hint("add `kind: Pipeline` or another kind");
        return (None, findings.into_inner());
    };
    let (object, found) = match (version, kind) {
        ("v1", "Secret") => values(&value, ("stringData", "data"), &mut findings, Object::Secret),
        ("v1", "ConfigMap") => values(&value, ("data", "binaryData"), &mut findings, Object::ConfigMap),
        _ if is_ours(version, kind) => {
            version_complaint(version, kind, &mut findings);
            ours(kind, value.clone(), &mut context.shapes, &mut findings)
        }
        _ => {
            let message = format!("`{kind}` ({version}) is not ours and is passed over");
            findings.note("kind-foreign", &root.field("kind"), message);
            (None, Vec::new())
        }
    };
    if is_ours(version, kind) || object.is_some() {
        duplicate(document, kind, context, &mut findings);
    }
    let mut all = findings.into_inner();
    all.extend(found);
    (object, all)
}

const KINDS: [&str; 5] = [
    PipelineSpec::KIND,
    VertexSpec::KIND,
    MonoVertexSpec::KIND,
    InterStepBufferServiceSpec::KIND,
    ServingPipelineSpec::KIND,
];

/// Ours by its group, or by a kind that nobody else has and a version that is missing or misspelt.
fn is_ours(version: &str, kind: &str) -> bool {
    let group = version.split_once('/').map(|(group, _)| group);
    let is_close = group.is_none_or(|group| strsim::levenshtein(group, GROUP) <= 4);
    group == Some(GROUP) || (KINDS.contains(&kind) && is_close)
}

fn version_complaint(version: &str, kind: &str, findings: &mut Findings) {
    if version != API_VERSION && KINDS.contains(&kind) {
        let message = match version.split_once('/') {
            Some((GROUP, other)) => format!("there is no version `{other}`, only `{VERSION}`"),
            _ if version.is_empty() => "the object does not say its `apiVersion`".to_owned(),
            _ => format!("`{version}` is not where `{kind}` is defined"),
        };
        let path = Path::root().field("apiVersion");
        findings.error("api-version", &path, message).hint(format!("write `apiVersion: {API_VERSION}`"));
    }
}

fn ours(
    kind: &str,
    value: Value,
    shapes: &mut Shapes,
    findings: &mut Findings,
) -> (Option<Object>, Vec<Found>) {
    match kind {
        PipelineSpec::KIND => checked(value, shapes, |object| Object::Pipeline(Box::new(object))),
        VertexSpec::KIND => checked(value, shapes, |object| Object::Vertex(Box::new(object))),
        MonoVertexSpec::KIND => checked(value, shapes, |object| Object::MonoVertex(Box::new(object))),
        InterStepBufferServiceSpec::KIND => {
            checked(value, shapes, |object| Object::InterStepBufferService(Box::new(object)))
        }
        ServingPipelineSpec::KIND => {
            checked(value, shapes, |object| Object::ServingPipeline(Box::new(object)))
        }
        _ => {
            let hint = did_you_mean(kind, KINDS.into_iter());
            let message = format!("there is no kind `{kind}` in {GROUP}");
            let hint = hint.unwrap_or_else(|| format!("one of {}", list(&KINDS)));
            findings.error("kind-unknown", &Path::root().field("kind"), message).hint(hint);
            (None, Vec::new())
        }
    }
}

fn checked<S: Rules>(
    value: Value,
    shapes: &mut Shapes,
    wrap: fn(Checked<Resource<S>>) -> Object,
) -> (Option<Object>, Vec<Found>) {
    let (object, found) = inspect::<S>(value, shapes);
    (object.map(wrap), found)
}

/// Reads a `Secret` or `ConfigMap`; `fields` are the plain and the base64 member.
fn values(
    value: &Value,
    fields: (&str, &str),
    findings: &mut Findings,
    wrap: fn(Values) -> Object,
) -> (Option<Object>, Vec<Found>) {
    let root = Path::root();
    let metadata = |field: &str| value.get("metadata")?.get(field)?.as_str().filter(|text| !text.is_empty());
    let Some(name) = metadata("name") else {
        findings.error("name-missing", &root.fields(&["metadata", "name"]), "the object has no name");
        return (None, Vec::new());
    };
    let mut data = BTreeMap::new();
    // The plain member wins over the encoded one, as it does in Kubernetes.
    for (field, is_encoded) in [(fields.1, true), (fields.0, false)] {
        for (key, written) in value.get(field).and_then(Value::as_object).into_iter().flatten() {
            let at = root.field(field).field(key);
            match written {
                Value::String(text) if is_encoded => {
                    match BASE64_STANDARD.decode(text.replace(['\n', ' '], "")) {
                        Ok(bytes) => drop(data.insert(key.clone(), bytes)),
                        Err(_) => findings
                            .error("not-base64", &at, "the value is not base64")
                            .hint("use `stringData`"),
                    }
                }
                Value::String(text) => drop(data.insert(key.clone(), text.clone().into_bytes())),
                Value::Null => drop(data.insert(key.clone(), Vec::new())),
                _ => findings.error("type", &at, "expected text").hint("put it in quotes"),
            }
        }
    }
    let namespace = metadata("namespace").unwrap_or("default").to_owned();
    (Some(wrap(Values { name: name.to_owned(), namespace, data })), Vec::new())
}

fn duplicate(document: &Document, kind: &str, context: &mut Context, findings: &mut Findings) {
    let metadata = document.node.member("metadata");
    let text =
        |field: &str| metadata.and_then(|metadata| metadata.text(field)).filter(|text| !text.is_empty());
    let Some(name) = text("name") else { return };
    let namespace = text("namespace").unwrap_or("default");
    let path = Path::root().fields(&["metadata", "name"]);
    let here = format!("{}:{}", document.file, document.node.place(&path).line);
    let key = (kind.to_owned(), namespace.to_owned(), name.to_owned());
    if let Some(first) = context.seen.get(&key) {
        let message = format!("the {kind} `{name}` is already defined in {first}");
        findings
            .error("object-duplicate", &path, message)
            .hint("give it another name, or remove one of them");
    } else {
        context.seen.insert(key, here);
    }
}
