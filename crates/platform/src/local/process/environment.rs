//! The variables that a user container sees: those of the platform, those of the manifest, with every reference
//! resolved.
//!
//! Pure: values and the size of the machine come in. Order and expansion are those of a kubelet: `envFrom`, then the
//! platform's, then `env`; the last of a name wins, and `$(NAME)` is replaced by what was set before.

use std::collections::BTreeMap;

use api::spec::Container;
use api::spec::stock::{EnvFromSource, EnvVar, EnvVarSource, Quantity};

use crate::local::secrets::{Kind, Values};

/// Why a variable cannot be set.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// A secret or config map is not there.
    #[error("set the variable {variable}: {kind} {name} has no key {key}")]
    NoValue {
        /// The variable.
        variable: String,
        /// Secret or config map.
        kind: Kind,
        /// Its name.
        name: String,
        /// The key.
        key: String,
    },
    /// A reference to something that a program on one machine does not have.
    #[error("set the variable {variable}: {reference} does not exist for a process on one machine")]
    Unsupported {
        /// The variable.
        variable: String,
        /// What it refers to.
        reference: String,
    },
    /// A resource request or limit that is no quantity.
    #[error("set the variable {variable}: {quantity:?} is not a quantity")]
    Quantity {
        /// The variable.
        variable: String,
        /// What was found.
        quantity: String,
    },
}

/// Who the container belongs to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Identity {
    /// The namespace in the manifest.
    pub namespace: String,
    /// The pipeline or mono vertex.
    pub object: String,
    /// The vertex; `None` for a mono vertex.
    pub vertex: Option<String>,
    /// The replica.
    pub replica: u16,
    /// The container, such as `udf`, which is also its type.
    pub container: String,
    /// Variables of this kind of container, such as `NUMAFLOW_READ_BATCH_SIZE` of a source.
    pub extra: Vec<(String, String)>,
}

/// How large the machine is, which is what a container without limits may use.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Machine {
    /// Processors.
    pub processors: u64,
    /// Memory.
    pub memory_bytes: u64,
}

impl Identity {
    /// The name of the pod that the replica would be.
    pub fn pod(&self) -> String {
        match &self.vertex {
            Some(vertex) => format!("{}-{vertex}-{}-local", self.object, self.replica),
            None => format!("{}-mv-{}-local", self.object, self.replica),
        }
    }
}

/// All variables of a container, in the order in which they are set, each name once.
pub fn assemble(
    container: &Container,
    identity: &Identity,
    values: &Values,
    machine: Machine,
) -> Result<Vec<(String, String)>, Error> {
    let mut variables = Variables::default();
    for source in &container.env_from {
        add_all_of(source, values, &mut variables);
    }
    for (name, value) in platform_variables(container, identity, machine)? {
        variables.set(name, value);
    }
    for variable in &container.env {
        if let Some(value) = value_of(variable, container, identity, (values, machine), &variables)? {
            variables.set(variable.name.clone(), value);
        }
    }
    Ok(variables.ordered)
}

/// Variables in the order they were first set.
#[derive(Default)]
struct Variables {
    ordered: Vec<(String, String)>,
}

impl Variables {
    fn set(&mut self, name: String, value: String) {
        match self.ordered.iter_mut().find(|(held, _)| *held == name) {
            Some((_, held)) => *held = value,
            None => self.ordered.push((name, value)),
        }
    }

    fn get(&self, name: &str) -> Option<&str> {
        self.ordered.iter().find_map(|(held, value)| (held == name).then_some(value.as_str()))
    }
}

/// Everything of a secret or config map. What is missing and not optional was refused before anything started.
fn add_all_of(source: &EnvFromSource, values: &Values, variables: &mut Variables) {
    let prefix = source.prefix.as_deref().unwrap_or_default();
    let objects = [
        (Kind::ConfigMap, source.config_map_ref.as_ref().map(|reference| &reference.name)),
        (Kind::Secret, source.secret_ref.as_ref().map(|reference| &reference.name)),
    ];
    for (kind, name) in objects {
        if let Some(name) = name {
            for (key, value) in values.of(kind).all(name) {
                variables.set(format!("{prefix}{key}"), value.to_owned());
            }
        }
    }
}

fn platform_variables(
    container: &Container,
    identity: &Identity,
    machine: Machine,
) -> Result<Vec<(String, String)>, Error> {
    let mut variables = vec![
        ("NUMAFLOW_NAMESPACE".to_owned(), identity.namespace.clone()),
        ("NUMAFLOW_POD".to_owned(), identity.pod()),
        ("NUMAFLOW_REPLICA".to_owned(), identity.replica.to_string()),
        ("NUMAFLOW_UD_CONTAINER_TYPE".to_owned(), identity.container.clone()),
    ];
    variables.extend(match &identity.vertex {
        Some(vertex) => vec![
            ("NUMAFLOW_PIPELINE_NAME".to_owned(), identity.object.clone()),
            ("NUMAFLOW_VERTEX_NAME".to_owned(), vertex.clone()),
        ],
        None => vec![("NUMAFLOW_MONO_VERTEX_NAME".to_owned(), identity.object.clone())],
    });
    for (variable, resource) in [
        ("NUMAFLOW_CPU_LIMIT", "limits.cpu"),
        ("NUMAFLOW_CPU_REQUEST", "requests.cpu"),
        ("NUMAFLOW_MEMORY_LIMIT", "limits.memory"),
        ("NUMAFLOW_MEMORY_REQUEST", "requests.memory"),
    ] {
        variables.push((variable.to_owned(), resource_value(variable, container, resource, machine)?));
    }
    variables.extend(identity.extra.iter().cloned());
    Ok(variables)
}

/// The value of one `env` entry; `None` when it refers to something optional that is not there.
fn value_of(
    variable: &EnvVar,
    container: &Container,
    identity: &Identity,
    (values, machine): (&Values, Machine),
    set: &Variables,
) -> Result<Option<String>, Error> {
    let Some(source) = &variable.value_from else {
        let text = variable.value.as_deref().unwrap_or_default();
        return Ok(Some(expand(text, |name| set.get(name))));
    };
    let EnvVarSource { config_map_key_ref, field_ref, file_key_ref, resource_field_ref, secret_key_ref } =
        source;
    let unsupported = |reference: &str| {
        let reference = reference.to_owned();
        Err(Error::Unsupported { variable: variable.name.clone(), reference })
    };
    if let Some(selector) = secret_key_ref {
        let place = (Kind::Secret, selector.name.as_str(), selector.key.as_str());
        return selected(variable, place, selector.optional, values);
    }
    if let Some(selector) = config_map_key_ref {
        let place = (Kind::ConfigMap, selector.name.as_str(), selector.key.as_str());
        return selected(variable, place, selector.optional, values);
    }
    if let Some(field) = field_ref {
        return match field_value(&field.field_path, identity) {
            Some(value) => Ok(Some(value)),
            None => unsupported(&field.field_path),
        };
    }
    if let Some(resource) = resource_field_ref {
        return resource_value(&variable.name, container, &resource.resource, machine).map(Some);
    }
    unsupported(if file_key_ref.is_some() { "fileKeyRef" } else { "an empty valueFrom" })
}

fn selected(
    variable: &EnvVar,
    (kind, name, key): (Kind, &str, &str),
    optional: Option<bool>,
    values: &Values,
) -> Result<Option<String>, Error> {
    match values.value(kind, name, key) {
        Some(value) => Ok(Some(value.to_owned())),
        None if optional == Some(true) => Ok(None),
        None => Err(Error::NoValue {
            variable: variable.name.clone(),
            kind,
            name: name.to_owned(),
            key: key.to_owned(),
        }),
    }
}

fn field_value(path: &str, identity: &Identity) -> Option<String> {
    let text = match path {
        "metadata.name" => identity.pod(),
        "metadata.namespace" => identity.namespace.clone(),
        "spec.nodeName" => "localhost".to_owned(),
        "spec.serviceAccountName" => "default".to_owned(),
        "status.podIP" | "status.podIPs" | "status.hostIP" | "status.hostIPs" => "127.0.0.1".to_owned(),
        "metadata.annotations['numaflow.numaproj.io/replica']" => identity.replica.to_string(),
        _ => return None,
    };
    Some(text)
}

/// A limit or request as whole cores or bytes; without one, what the machine has.
fn resource_value(
    variable: &str,
    container: &Container,
    resource: &str,
    machine: Machine,
) -> Result<String, Error> {
    let unsupported =
        || Error::Unsupported { variable: variable.to_owned(), reference: format!("resource {resource}") };
    let (list, name) = resource.split_once('.').ok_or_else(unsupported)?;
    let resources = container.resources.clone().unwrap_or_default();
    let limits = resources.limits.unwrap_or_default();
    let quantity = match list {
        "limits" => limits.get(name).cloned(),
        // A request that is not set is the limit, as in a cluster.
        "requests" => resources.requests.unwrap_or_default().get(name).or(limits.get(name)).cloned(),
        _ => return Err(unsupported()),
    };
    let whole = match quantity {
        Some(quantity) => whole(&quantity)
            .ok_or_else(|| Error::Quantity { variable: variable.to_owned(), quantity: quantity.0.clone() })?,
        None if name == "cpu" => machine.processors,
        None if name == "memory" => machine.memory_bytes,
        None => return Err(unsupported()),
    };
    Ok(whole.to_string())
}

/// A quantity rounded up to a whole number.
fn whole(quantity: &Quantity) -> Option<u64> {
    const SUFFIXES: [(&str, f64); 15] = [
        ("Ki", 1024.0),
        ("Mi", 1_048_576.0),
        ("Gi", 1_073_741_824.0),
        ("Ti", 1_099_511_627_776.0),
        ("Pi", 1_125_899_906_842_624.0),
        ("Ei", 1_152_921_504_606_846_976.0),
        ("n", 1e-9),
        ("u", 1e-6),
        ("m", 1e-3),
        ("k", 1e3),
        ("M", 1e6),
        ("G", 1e9),
        ("T", 1e12),
        ("P", 1e15),
        ("E", 1e18),
    ];
    let text = quantity.0.trim();
    let with_suffix =
        SUFFIXES.iter().find_map(|(suffix, factor)| text.strip_suffix(suffix).map(|text| (text, *factor)));
    let (number, factor) = with_suffix.unwrap_or((text, 1.0));
    let number: f64 = number.parse().ok()?;
    let value = (number * factor).ceil();
    (value.is_finite() && value >= 0.0 && value < u64::MAX as f64).then_some(value as u64)
}

/// Replaces `$(NAME)` by the value of a variable; `$$` is a dollar, and a name that is not set stays as it is written.
pub fn expand<'a>(text: &str, value_of: impl Fn(&str) -> Option<&'a str>) -> String {
    let mut expanded = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find('$') {
        expanded.push_str(&rest[..at]);
        rest = &rest[at..];
        if let Some(after) = rest.strip_prefix("$$") {
            expanded.push('$');
            rest = after;
            continue;
        }
        let reference = rest.strip_prefix("$(").and_then(|inner| inner.split_once(')'));
        let Some((name, after)) = reference else {
            expanded.push('$');
            rest = &rest[1..];
            continue;
        };
        match value_of(name) {
            Some(value) => expanded.push_str(value),
            None => expanded.push_str(&rest[..name.len() + "$()".len()]),
        }
        rest = after;
    }
    expanded.push_str(rest);
    expanded
}

/// Command and arguments of a container with `$(NAME)` replaced.
pub fn expand_all(words: &[String], variables: &[(String, String)]) -> Vec<String> {
    let by_name: BTreeMap<&str, &str> =
        variables.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
    words.iter().map(|word| expand(word, |name| by_name.get(name).copied())).collect()
}
