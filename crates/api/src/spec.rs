//! Every kind and every field a manifest may have, as plain data. Nothing here has an opinion: defaults are in
//! [`crate::resolve`], rules in `check`. The invariant: reading a value and writing it again loses nothing
//! that was written, and a missing required field reads as its empty value (the schema knows it is required).

pub mod auth;
pub mod container;
pub mod isb;
pub mod limits;
pub mod mono_vertex;
pub mod pipeline;
pub mod resource;
pub mod scale;
pub mod serving;
pub mod sink;
pub mod source;
pub mod status;
pub mod udf;
pub mod update;
pub mod vertex;

pub use auth::{
    Authorization, AwsAssumeRole, BasicAuth, NatsAuth, PulsarAuth, PulsarBasicAuth, RedisAuth, Tls,
};
pub use auth::{Gssapi, Sasl, SaslOauth, SaslPlain};
pub use container::{
    Container, ContainerTemplate, DaemonTemplate, JobTemplate, Metadata, PodTemplate, Probe,
    SideInputsManagerTemplate, VertexTemplate,
};
pub use isb::{InterStepBufferServiceSpec, JetStreamBufferService};
pub use limits::{
    Backoff, GoBackN, MonoVertexLimits, OnlyIfUsed, PipelineLimits, RateLimit, RateLimitModes,
    RateLimitStore, RedisSentinel, RedisStore, RedisStoreMode, RetryStrategy, VertexLimits,
};
pub use mono_vertex::{Bypass, BypassRule, MonoVertexLifecycle, MonoVertexSpec};
pub use pipeline::{
    Compression, Edge, IdleSource, InterStepBuffer, Lifecycle, OnFull, OnPauseTimeout, Ordered, Phase,
    PipelineSpec, Resume, ResumeStrategy, SideInput, SideInputTrigger, Templates, Watermark,
};
pub use resource::{Kind, Resource};
pub use scale::{Scale, ScaleCron, ScaleSchedule};
pub use serving::{HttpPorts, ServingPipelineSpec, ServingSpec, ServingStore};
pub use sink::{AbstractSink, Sink};
pub use source::Source;
pub use udf::{GroupBy, PbqStorage, PersistenceStrategy, Udf, Window};
pub use update::{Analysis, BlueGreen, Canary, CanaryStep, RollingUpdate, UpdateStrategy};
pub use vertex::{
    CombinedEdge, ForwardConditions, LogicOperator, OnExhausted, PipelineVertex, Redelivery, TagConditions,
    UserCode, VertexLifecycle, VertexSpec,
};

/// An object without settings, written `{}`: being there is what it says.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize, schemars::JsonSchema,
)]
pub struct Empty {}

/// The stock Kubernetes types that manifests use, under their own names.
pub mod stock {
    pub use k8s_openapi::api::core::v1::{
        Affinity, ConfigMapKeySelector, Container, ContainerPort, EmptyDirVolumeSource, EnvFromSource,
        EnvVar, EnvVarSource, LocalObjectReference, PodDNSConfig, PodResourceClaim, PodSecurityContext,
        ResourceRequirements, SecretKeySelector, SecurityContext, Toleration, Volume, VolumeMount,
    };
    pub use k8s_openapi::apimachinery::pkg::api::resource::Quantity;
    pub use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, ObjectMeta, Time};
    pub use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;
}
