//! Volumes of a pod with workers, and where they appear. Invariant: our own container sees every secret that its
//! connectors name, and none that only user code was given.

use std::collections::BTreeSet;

use api::spec::{Sink, Source};
use k8s_openapi::api::core::v1::{
    ConfigMapVolumeSource, EmptyDirVolumeSource, SecretVolumeSource, Volume, VolumeMount,
};
use k8s_openapi::apimachinery::pkg::api::resource::Quantity;
use serde_json::{Value, json};

use crate::local::secrets::{Kind, needs_of};

/// Where user code and our container find each other's sockets.
const SOCKETS: (&str, &str) = ("var-run-numaflow", "/var/run/numaflow");
/// Where errors of user code are kept.
const RUNTIME: (&str, &str) = ("runtime-vol", "/var/numaflow/runtime");
/// How much of them.
const RUNTIME_SIZE_MAX: &str = "20Mi";
/// Where secrets and config maps appear.
const SECRETS: &str = "/var/numaflow/secrets";
const CONFIG: &str = "/var/numaflow/config";
/// The longest name of a volume.
const NAME_CHARS_MAX: usize = 63;

/// The volumes that every pod with workers has.
pub(super) fn of_pod() -> [Volume; 2] {
    let memory =
        EmptyDirVolumeSource { medium: Some("Memory".to_owned()), ..EmptyDirVolumeSource::default() };
    let limited = EmptyDirVolumeSource {
        size_limit: Some(Quantity(RUNTIME_SIZE_MAX.to_owned())),
        ..EmptyDirVolumeSource::default()
    };
    let volume =
        |name: &str, source| Volume { name: name.to_owned(), empty_dir: Some(source), ..Volume::default() };
    [volume(SOCKETS.0, memory), volume(RUNTIME.0, limited)]
}

/// Where they appear.
pub(super) fn mounts() -> [VolumeMount; 2] {
    [SOCKETS, RUNTIME].map(|(name, path)| mount(name.to_owned(), path.to_owned(), false))
}

/// Secrets and config maps that connectors and limits of a vertex name, and where our container has them.
pub(super) fn values(
    source: Option<&Source>,
    sink: Option<&Sink>,
    limits: &Value,
) -> (Vec<Volume>, Vec<VolumeMount>) {
    let mut connectors = json!({ "source": source, "sink": sink, "limits": limits });
    remove_containers(&mut connectors);
    let needs = needs_of(&connectors).into_iter().map(|need| (need.kind, need.name));
    let needs: BTreeSet<(Kind, String)> = needs.collect();
    let of = |(kind, name): (Kind, String)| match kind {
        Kind::Secret => {
            let source =
                SecretVolumeSource { secret_name: Some(name.clone()), ..SecretVolumeSource::default() };
            let volume = volume_name("secret", &name);
            let mount = mount(volume.clone(), format!("{SECRETS}/{name}"), true);
            (Volume { name: volume, secret: Some(source), ..Volume::default() }, mount)
        }
        Kind::ConfigMap => {
            let source = ConfigMapVolumeSource { name: name.clone(), ..ConfigMapVolumeSource::default() };
            let volume = volume_name("cm", &name);
            let mount = mount(volume.clone(), format!("{CONFIG}/{name}"), true);
            (Volume { name: volume, config_map: Some(source), ..Volume::default() }, mount)
        }
    };
    needs.into_iter().map(of).unzip()
}

/// Takes out what is for the kubelet to give to user code.
fn remove_containers(value: &mut Value) {
    match value {
        Value::Object(fields) => {
            fields.remove("container");
            fields.values_mut().for_each(remove_containers);
        }
        Value::Array(items) => items.iter_mut().for_each(remove_containers),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}

/// A name of a volume that two names of objects never share.
fn volume_name(prefix: &str, name: &str) -> String {
    let plain: String = name.chars().map(|c| if c == '_' || c == '.' { '-' } else { c }).collect();
    let full = format!("{prefix}-{plain}");
    if full.len() <= NAME_CHARS_MAX && !name.contains('.') {
        return full;
    }
    let hash = super::content_hash(&json!(name));
    let kept: String = full.chars().take(NAME_CHARS_MAX - hash.len() - 1).collect();
    format!("{kept}-{hash}")
}

fn mount(name: String, path: String, read_only: bool) -> VolumeMount {
    VolumeMount { name, mount_path: path, read_only: read_only.then_some(true), ..VolumeMount::default() }
}
