//! The envelope every kind shares: version, kind, metadata, spec, status. The invariant: a [`Resource`] made by
//! [`Resource::new`] carries its own kind and our version.

use std::fmt::Debug;

use schemars::JsonSchema;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::status::{
    InterStepBufferServiceStatus, MonoVertexStatus, PipelineStatus, ServingPipelineStatus, VertexStatus,
};
use super::stock::ObjectMeta;
use super::{InterStepBufferServiceSpec, MonoVertexSpec, PipelineSpec, ServingPipelineSpec, VertexSpec};

/// The API group of all five kinds.
pub const GROUP: &str = "numaflow.numaproj.io";
/// Its only version.
pub const VERSION: &str = "v1alpha1";
/// Group and version as manifests write them.
pub const API_VERSION: &str = "numaflow.numaproj.io/v1alpha1";

/// What makes a spec one of the five kinds.
pub trait Kind:
    Clone + Debug + Default + PartialEq + Serialize + DeserializeOwned + JsonSchema + 'static
{
    /// The kind as manifests write it.
    const KIND: &'static str;
    /// Its name in URLs.
    const PLURAL: &'static str;
    /// What kubectl calls it for short.
    const SHORT: &'static str;
    /// What is reported about it.
    type Status: Clone + Debug + Default + PartialEq + Serialize + DeserializeOwned + JsonSchema + 'static;
}

/// An object: envelope and spec.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", bound = "S: Kind")]
#[schemars(bound = "S: Kind", rename = "{S}")]
pub struct Resource<S: Kind> {
    /// Always [`API_VERSION`].
    pub api_version: String,
    /// Always [`Kind::KIND`].
    pub kind: String,
    /// Name, namespace, labels, annotations.
    #[serde(default)]
    pub metadata: ObjectMeta,
    /// What is wanted.
    #[serde(default)]
    pub spec: S,
    /// What is reported.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub status: Option<S::Status>,
}

impl<S: Kind> Resource<S> {
    /// An object of that name without a status.
    pub fn new(name: &str, spec: S) -> Self {
        let metadata = ObjectMeta { name: Some(name.to_owned()), ..ObjectMeta::default() };
        Self { api_version: API_VERSION.to_owned(), kind: S::KIND.to_owned(), metadata, spec, status: None }
    }

    /// Reads what a server or another program wrote, where a null means that nothing is there.
    ///
    /// # Errors
    ///
    /// When a value has the wrong type; nothing is checked beyond that.
    pub fn from_value(mut value: Value) -> Result<Self, serde_json::Error> {
        remove_nulls(&mut value);
        serde_json::from_value(value)
    }

    /// The object's name; empty when it has none, which `check` refuses.
    pub fn name(&self) -> &str {
        self.metadata.name.as_deref().unwrap_or_default()
    }

    /// The object's namespace; `default` when it names none.
    pub fn namespace(&self) -> &str {
        match self.metadata.namespace.as_deref() {
            None | Some("") => "default",
            Some(namespace) => namespace,
        }
    }

    /// The value of an annotation.
    pub fn annotation(&self, key: &str) -> Option<&str> {
        self.metadata.annotations.as_ref()?.get(key).map(String::as_str)
    }

    /// The value of a label.
    pub fn label(&self, key: &str) -> Option<&str> {
        self.metadata.labels.as_ref()?.get(key).map(String::as_str)
    }
}

fn remove_nulls(value: &mut Value) {
    match value {
        Value::Object(members) => {
            members.retain(|_, member| !member.is_null());
            members.values_mut().for_each(remove_nulls);
        }
        Value::Array(elements) => elements.iter_mut().for_each(remove_nulls),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}

impl<S: Kind> Default for Resource<S> {
    fn default() -> Self {
        Self {
            api_version: API_VERSION.to_owned(),
            kind: S::KIND.to_owned(),
            metadata: ObjectMeta::default(),
            spec: S::default(),
            status: None,
        }
    }
}

macro_rules! kinds {
    ($($(#[$doc:meta])* $alias:ident = $spec:ident, $status:ident, $plural:literal, $short:literal;)*) => {$(
        $(#[$doc])*
        pub type $alias = Resource<$spec>;

        impl Kind for $spec {
            const KIND: &'static str = stringify!($alias);
            const PLURAL: &'static str = $plural;
            const SHORT: &'static str = $short;
            type Status = $status;
        }

        impl k8s_openapi::Resource for Resource<$spec> {
            const API_VERSION: &'static str = API_VERSION;
            const GROUP: &'static str = GROUP;
            const KIND: &'static str = stringify!($alias);
            const VERSION: &'static str = VERSION;
            const URL_PATH_SEGMENT: &'static str = $plural;
            type Scope = k8s_openapi::NamespaceResourceScope;
        }

        impl k8s_openapi::Metadata for Resource<$spec> {
            type Ty = ObjectMeta;

            fn metadata(&self) -> &ObjectMeta {
                &self.metadata
            }

            fn metadata_mut(&mut self) -> &mut ObjectMeta {
                &mut self.metadata
            }
        }
    )*};
}

kinds! {
    /// Vertices and edges.
    Pipeline = PipelineSpec, PipelineStatus, "pipelines", "pl";
    /// One vertex of a pipeline, made by the controller.
    Vertex = VertexSpec, VertexStatus, "vertices", "vtx";
    /// Source, maybe a map, and sink in one worker.
    MonoVertex = MonoVertexSpec, MonoVertexStatus, "monovertices", "mvtx";
    /// A service that keeps buffers.
    InterStepBufferService = InterStepBufferServiceSpec, InterStepBufferServiceStatus, "interstepbufferservices", "isbsvc";
    /// A pipeline behind an HTTP front.
    ServingPipeline = ServingPipelineSpec, ServingPipelineStatus, "servingpipelines", "spl";
}
