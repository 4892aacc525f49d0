//! From what should be so to objects of Kubernetes. Everything here is pure: the same manifest, settings and names give
//! the same object, down to the order of its fields. Invariant: nothing is rendered that the `restricted` profile of pod
//! security refuses, unless the user's manifest says so itself.

use std::collections::BTreeMap;

use api::spec::stock::{ObjectMeta, ResourceRequirements, SecretKeySelector};
use api::{Checked, MonoVertex, Pipeline};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::OwnerReference;
use serde::Serialize;
use serde_json::Value;
use siphasher::sip::SipHasher24;

use super::names::{self, HASH_ANNOTATION, Key, ObjectKind};
use crate::local::engine::Object;

pub mod budget;
pub mod cleaner;
pub(super) mod container;
pub mod daemon;
mod env;
pub mod pod;
pub(super) mod probe;
pub(super) mod security;
pub mod service;
pub mod vertex;
mod volume;

#[cfg(test)]
mod tests;

/// What an operator decides for everything that is made.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Settings {
    /// The image of our own containers.
    pub image: String,
    /// When it is pulled; none for Kubernetes' own rule.
    pub image_pull_policy: Option<String>,
    /// What our own containers ask for when the manifest does not say.
    pub resources: ResourceRequirements,
    /// Which of several controllers this is; an object belongs to the one that its annotation names.
    pub instance: Option<String>,
}

/// How the buffer service is reached, from its status.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Broker {
    /// Its address.
    pub url: String,
    /// Whether it speaks TLS.
    pub tls: bool,
    /// Where the user name is.
    pub user: Option<SecretKeySelector>,
    /// Where the password is.
    pub password: Option<SecretKeySelector>,
    /// All of it as the reference hands it on.
    pub config: Value,
}

/// Everything that is made for one object is made from this.
#[derive(Clone, Copy, Debug)]
pub struct Scene<'a> {
    /// Which object.
    pub key: &'a Key,
    /// The manifest: for what runs a version, that version's.
    pub object: &'a Object,
    /// How its buffers are reached; none for a mono vertex.
    pub broker: Option<&'a Broker>,
    /// What the operator decides.
    pub settings: &'a Settings,
}

/// Who owns what is made, so that it goes when they go.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Owner {
    /// The kind.
    pub kind: String,
    /// The name.
    pub name: String,
    /// The one life of that name.
    pub uid: String,
}

impl Owner {
    /// As objects carry it.
    fn reference(&self) -> OwnerReference {
        OwnerReference {
            api_version: api::API_VERSION.to_owned(),
            kind: self.kind.clone(),
            name: self.name.clone(),
            uid: self.uid.clone(),
            controller: Some(true),
            block_owner_deletion: Some(true),
        }
    }
}

/// Labels in the reference's form.
fn labels(key: &Key, managed_by: &str, component: &str) -> BTreeMap<String, String> {
    let (whose, name) = key.label();
    let (part_of, numaflow) = names::PART_OF;
    [
        (part_of, numaflow.to_owned()),
        (names::MANAGED_BY_LABEL, managed_by.to_owned()),
        (names::COMPONENT_LABEL, component.to_owned()),
        (whose, name),
    ]
    .into_iter()
    .map(|(name, value)| (name.to_owned(), value))
    .collect()
}

fn metadata(key: &Key, name: String, owner: &Owner, labels: BTreeMap<String, String>) -> ObjectMeta {
    ObjectMeta {
        name: Some(name),
        namespace: Some(key.namespace.clone()),
        labels: Some(labels),
        owner_references: Some(vec![owner.reference()]),
        ..ObjectMeta::default()
    }
}

/// What of the metadata a program may want to know.
fn bare(metadata: &ObjectMeta) -> ObjectMeta {
    ObjectMeta { name: metadata.name.clone(), namespace: metadata.namespace.clone(), ..ObjectMeta::default() }
}

/// The pipeline as programs get it: without what may change while they run.
fn bare_pipeline(pipeline: &Checked<Pipeline>) -> Pipeline {
    let mut spec = pipeline.spec.clone();
    spec.lifecycle = None;
    Pipeline { metadata: bare(&pipeline.metadata), ..Pipeline::new(pipeline.name(), spec) }
}

/// The mono vertex as programs get it.
fn bare_mono_vertex(mono: &Checked<MonoVertex>) -> MonoVertex {
    let mut spec = mono.spec.clone();
    (spec.lifecycle, spec.replicas) = (None, None);
    MonoVertex { metadata: bare(&mono.metadata), ..MonoVertex::new(mono.name(), spec) }
}

/// The metadata of something that belongs to an object as a whole.
pub fn object_metadata(key: &Key, name: String, owner: &Owner) -> ObjectMeta {
    let managed_by = match key.kind {
        ObjectKind::Pipeline => "pipeline-controller",
        ObjectKind::MonoVertex => "mono-vertex-controller",
    };
    let component = key.kind.as_str().to_lowercase();
    metadata(key, name, owner, labels(key, managed_by, &component))
}

/// The object with a hash of itself among its annotations, so that what is there can be told from what should be.
pub fn hashed<T: Serialize>(object: &T) -> Value {
    let mut value = serde_json::to_value(object).expect("objects of Kubernetes are plain data");
    let hash = content_hash(&value);
    value["metadata"]["annotations"][HASH_ANNOTATION] = Value::String(hash);
    value
}

/// A short text that differs when values do.
pub fn content_hash(value: &Value) -> String {
    let text = api::fingerprint::canonical_text(value);
    format!("{:016x}", SipHasher24::new().hash(text.as_bytes()))
}
