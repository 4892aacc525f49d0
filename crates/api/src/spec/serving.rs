//! The spec of a `ServingPipeline`: a pipeline behind an HTTP front.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_with::skip_serializing_none;

use super::auth::Authorization;
use super::container::{Container, ContainerTemplate, PodTemplate};
use super::pipeline::PipelineSpec;

/// A pipeline behind an HTTP front.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, rename_all = "camelCase")]
pub struct ServingPipelineSpec {
    /// The front.
    #[serde(skip_serializing_if = "is_default")]
    pub serving: ServingSpec,
    /// The pipeline.
    #[serde(skip_serializing_if = "is_default")]
    pub pipeline: PipelineSpec,
}

fn is_default<T: Default + PartialEq>(value: &T) -> bool {
    *value == T::default()
}

/// The HTTP front of a pipeline.
#[skip_serializing_none]
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, rename_all = "camelCase")]
pub struct ServingSpec {
    /// The token callers must show.
    pub auth: Option<Authorization>,
    /// Make a Service in front of the pods.
    pub service: Option<bool>,
    /// Where it listens.
    pub ports: Option<HttpPorts>,
    /// The request header that carries the id.
    #[serde(rename = "msgIDHeaderKey")]
    pub msg_id_header_key: String,
    /// Seconds until a request is given up. Default 120.
    pub request_timeout_seconds: Option<u32>,
    /// Where results are kept; without it, in the buffer service.
    pub store: Option<ServingStore>,
    /// Settings of the main container.
    pub container_template: Option<ContainerTemplate>,
    /// How many servers.
    pub replicas: Option<i32>,
    /// What to say about the pods.
    #[serde(flatten)]
    pub pod: PodTemplate,
}

/// The user's own store for results.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, rename_all = "camelCase")]
pub struct ServingStore {
    /// The container with it.
    pub container: Container,
}

/// Ports of an HTTP listener.
#[skip_serializing_none]
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default, rename_all = "camelCase")]
pub struct HttpPorts {
    /// The TLS port. Default 8443.
    pub https: Option<i32>,
    /// The plain port; none unless set.
    pub http: Option<i32>,
}
