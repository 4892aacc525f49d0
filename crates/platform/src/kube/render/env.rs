//! Environment variables, under the reference's names and our own beside them. Invariant: what a variable says of its
//! own container (its name, its limits) comes from the kubelet, so that it is true whatever a template changes.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use k8s_openapi::api::core::v1::{
    EnvVar, EnvVarSource, ObjectFieldSelector, ResourceFieldSelector, SecretKeySelector,
};
use serde::Serialize;
use serde_json::json;

use super::Broker;
use crate::kube::names::{Key, ObjectKind, REPLICA_ANNOTATION};

/// A variable with a value.
pub(super) fn value(name: &str, value: impl Into<String>) -> EnvVar {
    EnvVar { name: name.to_owned(), value: Some(value.into()), value_from: None }
}

/// A variable with a key of a secret.
pub(super) fn secret(name: &str, key: SecretKeySelector) -> EnvVar {
    from(name, EnvVarSource { secret_key_ref: Some(key), ..EnvVarSource::default() })
}

/// A variable with an object, as base64 of JSON.
pub(super) fn object<T: Serialize>(name: &str, object: &T) -> EnvVar {
    let text = serde_json::to_vec(object).expect("manifests are plain data");
    value(name, STANDARD.encode(text))
}

/// Where a pod is and what it is called.
pub(super) fn place() -> [EnvVar; 2] {
    [field("NUMAFLOW_NAMESPACE", "metadata.namespace"), field("NUMAFLOW_POD", "metadata.name")]
}

/// What every container of a pod with workers may want to know, but those that users bring along themselves.
pub(super) fn common(key: &Key, vertex: &str) -> Vec<EnvVar> {
    let mut env: Vec<EnvVar> = place().into();
    env.push(field("NUMAFLOW_REPLICA", &format!("metadata.annotations['{REPLICA_ANNOTATION}']")));
    match key.kind {
        ObjectKind::Pipeline => {
            env.push(value("NUMAFLOW_PIPELINE_NAME", &key.name));
            env.push(value("NUMAFLOW_VERTEX_NAME", vertex));
        }
        ObjectKind::MonoVertex => env.push(value("NUMAFLOW_MONO_VERTEX_NAME", &key.name)),
    }
    for (name, resource) in [
        ("NUMAFLOW_CPU_LIMIT", "limits.cpu"),
        ("NUMAFLOW_CPU_REQUEST", "requests.cpu"),
        ("NUMAFLOW_MEMORY_LIMIT", "limits.memory"),
        ("NUMAFLOW_MEMORY_REQUEST", "requests.memory"),
    ] {
        let resource =
            ResourceFieldSelector { resource: resource.to_owned(), ..ResourceFieldSelector::default() };
        env.push(from(name, EnvVarSource { resource_field_ref: Some(resource), ..EnvVarSource::default() }));
    }
    env
}

/// How the buffer service is reached.
pub(super) fn broker(broker: &Broker) -> Vec<EnvVar> {
    let mut env = vec![
        object("NUMAFLOW_ISBSVC_CONFIG", &json!({ "jetstream": broker.config })),
        value("NUMAFLOW_ISBSVC_JETSTREAM_URL", &broker.url),
        value("NUMAFLOW_ISBSVC_JETSTREAM_TLS_ENABLED", broker.tls.to_string()),
    ];
    let logins = [
        ("NUMAFLOW_ISBSVC_JETSTREAM_USER", &broker.user),
        ("NUMAFLOW_ISBSVC_JETSTREAM_PASSWORD", &broker.password),
    ];
    env.extend(logins.into_iter().filter_map(|(name, key)| Some(secret(name, key.clone()?))));
    env
}

/// The word that controller, daemon and the workers of a mono vertex know each other by.
pub(super) fn token(key: &Key) -> EnvVar {
    let selector = SecretKeySelector {
        name: key.daemon_token(),
        key: super::daemon::TOKEN_KEY.to_owned(),
        optional: None,
    };
    secret("TIDEGATE_DAEMON_TOKEN", selector)
}

fn field(name: &str, path: &str) -> EnvVar {
    let field = ObjectFieldSelector { field_path: path.to_owned(), api_version: None };
    from(name, EnvVarSource { field_ref: Some(field), ..EnvVarSource::default() })
}

fn from(name: &str, source: EnvVarSource) -> EnvVar {
    EnvVar { name: name.to_owned(), value: None, value_from: Some(source) }
}
