//! Pods and containers: what a user may say about the pods and containers the platform makes, and the user's own
//! containers. How they are merged into generated pods is for the platform.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_with::skip_serializing_none;

use super::stock::{
    Affinity, ContainerPort, EnvFromSource, EnvVar, LocalObjectReference, PodDNSConfig, PodResourceClaim,
    PodSecurityContext, ResourceRequirements, SecurityContext, Toleration, VolumeMount,
};

/// Labels and annotations to put on pods; the system's own keys win.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default, rename_all = "camelCase")]
pub struct Metadata {
    /// Labels by key.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub labels: BTreeMap<String, String>,
    /// Annotations by key.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub annotations: BTreeMap<String, String>,
}

/// What a user may say about pods; the fields stand directly in the object that has them.
#[skip_serializing_none]
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, rename_all = "camelCase")]
pub struct PodTemplate {
    /// Labels and annotations of the pods.
    pub metadata: Option<Metadata>,
    /// Labels a node must have.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub node_selector: BTreeMap<String, String>,
    /// Taints the pods bear.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub tolerations: Vec<Toleration>,
    /// Security settings of the pod.
    pub security_context: Option<PodSecurityContext>,
    /// Secrets for pulling images.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub image_pull_secrets: Vec<LocalObjectReference>,
    /// Priority class.
    pub priority_class_name: Option<String>,
    /// Priority.
    pub priority: Option<i32>,
    /// Where pods should and should not run.
    pub affinity: Option<Affinity>,
    /// Service account of the pods.
    pub service_account_name: Option<String>,
    /// Runtime class of the pods.
    pub runtime_class_name: Option<String>,
    /// Whether the service account's token is mounted.
    pub automount_service_account_token: Option<bool>,
    /// How names are resolved.
    pub dns_policy: Option<String>,
    /// Details of name resolution.
    pub dns_config: Option<PodDNSConfig>,
    /// Dynamic resources.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub resource_claims: Vec<PodResourceClaim>,
}

/// Settings of a container that the platform itself makes.
#[skip_serializing_none]
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, rename_all = "camelCase")]
pub struct ContainerTemplate {
    /// Requests and limits; these win per key.
    pub resources: Option<ResourceRequirements>,
    /// When the image is pulled.
    pub image_pull_policy: Option<String>,
    /// Security settings of the container.
    pub security_context: Option<SecurityContext>,
    /// More environment variables; the last of a name wins.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub env: Vec<EnvVar>,
    /// More sources of environment variables.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub env_from: Vec<EnvFromSource>,
    /// Numbers of the readiness probe.
    pub readiness_probe: Option<Probe>,
    /// Numbers of the liveness probe.
    pub liveness_probe: Option<Probe>,
}

/// The numbers of a probe; what is probed is fixed.
#[skip_serializing_none]
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default, rename_all = "camelCase")]
pub struct Probe {
    /// Seconds before the first probe.
    pub initial_delay_seconds: Option<i32>,
    /// Seconds after which a probe has failed.
    pub timeout_seconds: Option<i32>,
    /// Seconds between probes.
    pub period_seconds: Option<i32>,
    /// Successes in a row that count as success.
    pub success_threshold: Option<i32>,
    /// Failures in a row that count as failure.
    pub failure_threshold: Option<i32>,
}

/// A container with the user's code.
#[skip_serializing_none]
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, rename_all = "camelCase")]
pub struct Container {
    /// The image; on one machine a program may stand in for it.
    pub image: Option<String>,
    /// The program, instead of the image's own.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub command: Vec<String>,
    /// Its arguments.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub args: Vec<String>,
    /// Environment variables.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub env: Vec<EnvVar>,
    /// Sources of environment variables.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub env_from: Vec<EnvFromSource>,
    /// Where volumes appear in the container.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub volume_mounts: Vec<VolumeMount>,
    /// Requests and limits.
    pub resources: Option<ResourceRequirements>,
    /// Security settings of the container.
    pub security_context: Option<SecurityContext>,
    /// When the image is pulled.
    pub image_pull_policy: Option<String>,
    /// Accepted and not used.
    pub readiness_probe: Option<Probe>,
    /// Numbers of the liveness probe.
    pub liveness_probe: Option<Probe>,
    /// Ports of the container.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub ports: Vec<ContainerPort>,
}

/// Settings of the daemon.
#[skip_serializing_none]
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, rename_all = "camelCase")]
pub struct DaemonTemplate {
    /// What to say about its pods.
    #[serde(flatten)]
    pub pod: PodTemplate,
    /// How many daemons.
    pub replicas: Option<i32>,
    /// Settings of the main container.
    pub container_template: Option<ContainerTemplate>,
    /// Settings of the platform's init containers.
    pub init_container_template: Option<ContainerTemplate>,
}

/// Settings of the jobs that create and delete buffers.
#[skip_serializing_none]
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, rename_all = "camelCase")]
pub struct JobTemplate {
    /// What to say about their pods.
    #[serde(flatten)]
    pub pod: PodTemplate,
    /// Settings of the main container.
    pub container_template: Option<ContainerTemplate>,
    /// Seconds a finished job is kept.
    pub ttl_seconds_after_finished: Option<i32>,
    /// How often a job is tried.
    pub backoff_limit: Option<i32>,
}

/// Settings of the side-inputs managers.
#[skip_serializing_none]
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, rename_all = "camelCase")]
pub struct SideInputsManagerTemplate {
    /// What to say about their pods.
    #[serde(flatten)]
    pub pod: PodTemplate,
    /// Settings of the main container.
    pub container_template: Option<ContainerTemplate>,
    /// Settings of the platform's init containers.
    pub init_container_template: Option<ContainerTemplate>,
}

/// Settings that every vertex starts from; what a vertex says itself wins.
#[skip_serializing_none]
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, rename_all = "camelCase")]
pub struct VertexTemplate {
    /// What to say about the pods.
    #[serde(flatten)]
    pub pod: PodTemplate,
    /// Settings of the main container.
    pub container_template: Option<ContainerTemplate>,
    /// Settings of the platform's init containers.
    pub init_container_template: Option<ContainerTemplate>,
}
