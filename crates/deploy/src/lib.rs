//! What an operator installs into a cluster, as data: definitions, rights, configuration and the controller's own
//! workload. Nothing here talks to a cluster or writes a file. The invariant: there is one list of objects,
//! [`objects`]; `tidegate install` prints it, and the kustomize directories and the Helm chart in `deploy/` are the same
//! list with other [`Settings`], so that the three cannot differ.

mod config;
pub mod forms;
pub mod names;
mod rights;
mod webhook;
mod workload;

pub use config::default_configuration;

use api::schema::definition::{Detail, definitions};
use serde_json::{Value, json};

/// Which namespaces the controller looks after.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scope {
    /// All of them.
    Cluster,
    /// Only the one it is installed in. No right reaches beyond that namespace, and there is no admission webhook, because
    /// its registration would.
    Namespaced,
}

/// What is installed. Texts may be expressions of a template language, which is how the chart is made.
#[derive(Clone, Debug, PartialEq)]
pub struct Settings {
    /// The namespace of the controller.
    pub namespace: String,
    /// Which namespaces it looks after.
    pub scope: Scope,
    /// The image of the controller and of everything it starts.
    pub image: String,
    /// When images are pulled: `IfNotPresent`, `Always` or `Never`.
    pub image_pull_policy: String,
    /// The image of NATS servers, version `latest`.
    pub nats_image: String,
    /// The program in that image.
    pub nats_command: String,
    /// Which controller this is when a cluster has several; empty for the only one.
    pub instance: String,
    /// How many controllers; one of them leads, and all of them answer the webhook.
    pub replicas: Value,
    /// Requests and limits of a controller.
    pub resources: Value,
    /// How much the definitions say; nothing when they are installed by somebody else.
    pub definitions: Option<Detail>,
    /// Whether the namespace itself is made.
    pub makes_namespace: bool,
    /// Whether manifests are checked before they are stored. It is never so in [`Scope::Namespaced`].
    pub webhook: bool,
}

impl Settings {
    /// What is installed when nothing is said.
    pub fn new(scope: Scope) -> Self {
        Self {
            namespace: names::NAMESPACE.to_owned(),
            scope,
            image: format!("{}:{}", names::IMAGE, env!("CARGO_PKG_VERSION")),
            image_pull_policy: "IfNotPresent".to_owned(),
            nats_image: names::NATS_IMAGE.to_owned(),
            nats_command: names::NATS_COMMAND.to_owned(),
            instance: String::new(),
            replicas: json!(1),
            resources: workload::resources(),
            definitions: Some(Detail::Full),
            makes_namespace: true,
            webhook: true,
        }
    }

    fn has_webhook(&self) -> bool {
        self.webhook && self.scope == Scope::Cluster
    }

    /// Labels of everything that is installed.
    fn labels(&self) -> Value {
        let mut labels = json!({
            "app.kubernetes.io/part-of": names::PART_OF,
            "app.kubernetes.io/component": names::COMPONENT,
            "app.kubernetes.io/name": names::CONTROLLER,
        });
        if !self.instance.is_empty() {
            labels["app.kubernetes.io/instance"] = json!(self.instance);
        }
        labels
    }

    /// Metadata of an object in the controller's namespace.
    fn metadata(&self, name: &str) -> Value {
        json!({"name": name, "namespace": self.namespace, "labels": self.labels()})
    }

    /// The name of an object without a namespace, of which each instance has its own.
    fn cluster_name(&self, name: &str) -> String {
        if self.instance.is_empty() { name.to_owned() } else { format!("{name}-{}", self.instance) }
    }

    /// Metadata of an object without a namespace.
    fn cluster_metadata(&self, name: &str) -> Value {
        json!({"name": name, "labels": self.labels()})
    }
}

/// A part of what is installed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Part {
    /// The namespace.
    Namespace,
    /// The custom resource definitions.
    Definitions,
    /// Who may do what.
    Rights,
    /// The controller's configuration.
    Configuration,
    /// The controller.
    Controller,
    /// The registration of the admission webhook.
    Webhook,
}

impl Part {
    /// All parts, in the order in which they are best applied: the webhook is registered when what answers is on its way.
    pub const ALL: [Self; 6] = [
        Self::Namespace,
        Self::Definitions,
        Self::Rights,
        Self::Configuration,
        Self::Controller,
        Self::Webhook,
    ];

    /// Its name in file names.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Namespace => "namespace",
            Self::Definitions => "definitions",
            Self::Rights => "rights",
            Self::Configuration => "configuration",
            Self::Controller => "controller",
            Self::Webhook => "webhook",
        }
    }
}

/// The objects of a part; none when the settings do without it.
pub fn part(part: Part, settings: &Settings) -> Vec<Value> {
    match part {
        Part::Namespace if settings.makes_namespace => vec![workload::namespace(settings)],
        Part::Definitions => {
            let mut objects = settings.definitions.map(definitions).unwrap_or_default();
            for object in &mut objects {
                // With a definition go all its objects, so that no uninstalling takes it along by the way.
                object["metadata"]["annotations"] = json!({"helm.sh/resource-policy": "keep"});
            }
            objects
        }
        Part::Rights => rights::objects(settings),
        Part::Configuration => config::objects(settings),
        Part::Controller => workload::objects(settings),
        Part::Webhook if settings.has_webhook() => vec![webhook::registration(settings)],
        Part::Namespace | Part::Webhook => Vec::new(),
    }
}

/// Everything that is installed, in the order in which it is best applied.
pub fn objects(settings: &Settings) -> Vec<Value> {
    Part::ALL.into_iter().flat_map(|each| part(each, settings)).collect()
}

/// Objects as one YAML file.
pub fn to_yaml(objects: &[Value]) -> String {
    let documents: Vec<String> = objects.iter().map(api::yaml::to_yaml).collect();
    documents.join("---\n")
}
