//! The spec of an `InterStepBufferService`.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_with::skip_serializing_none;

use super::container::{ContainerTemplate, PodTemplate};
use super::udf::PersistenceStrategy;

/// A service that keeps the buffers of pipelines.
#[skip_serializing_none]
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, rename_all = "camelCase")]
pub struct InterStepBufferServiceSpec {
    /// NATS JetStream. Required.
    pub jetstream: Option<JetStreamBufferService>,
}

/// A JetStream cluster.
#[skip_serializing_none]
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, rename_all = "camelCase")]
pub struct JetStreamBufferService {
    /// Which version; the controller's configuration names the images. Required.
    pub version: Option<String>,
    /// How many servers. Default 3; 2 is refused.
    pub replicas: Option<i32>,
    /// What to say about the pods.
    #[serde(flatten)]
    pub pod: PodTemplate,
    /// Settings of the server's container.
    pub container_template: Option<ContainerTemplate>,
    /// Settings of the configuration reloader.
    pub reloader_container_template: Option<ContainerTemplate>,
    /// Settings of the metrics exporter.
    pub metrics_container_template: Option<ContainerTemplate>,
    /// The volume of each server; without it data goes with the pod.
    pub persistence: Option<PersistenceStrategy>,
    /// Server settings (YAML).
    pub settings: Option<String>,
    /// Arguments of the server.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub start_args: Vec<String>,
    /// Stream and bucket settings (YAML).
    pub buffer_config: Option<String>,
    /// Encrypt what is on disk.
    pub encryption: Option<bool>,
    /// TLS for clients and between servers.
    pub tls: Option<bool>,
}
