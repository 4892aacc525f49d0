//! What is remembered of an object: one config map, replaced as a whole and only by whoever has read the last one.
//! Invariant: whatever a controller decides is in here before it is done; a controller that was thought to be dead cannot
//! write over the record of the one that took over.

use std::collections::{BTreeMap, BTreeSet};

use api::revision::Revision;
use k8s_openapi::api::core::v1::ConfigMap;
use plan::wanted::{Asked, Deletion};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::material::{self, Material};
use crate::kube::names::Key;
use crate::kube::render::{Owner, content_hash, object_metadata};

/// The version of the form; docs/format/kube-record.md describes it.
const FORMAT_VERSION: u32 = 1;
/// The key in the config map.
const RECORD: &str = "record.json";
/// The largest record. The API server takes a little more.
const RECORD_BYTES_MAX: usize = 1_000_000;

/// Why a record cannot be used.
#[derive(Debug, thiserror::Error)]
pub(super) enum Error {
    /// It is not what was written.
    #[error("understand the config map {name}: it is damaged; delete it to have the object started anew")]
    Damaged {
        /// The config map.
        name: String,
        /// Why.
        #[source]
        source: serde_json::Error,
    },
    /// Another version of the program wrote it.
    #[error(
        "read the config map {name}: its format has version {found} and this program knows {FORMAT_VERSION}"
    )]
    Version {
        /// The config map.
        name: String,
        /// The version found.
        found: u32,
    },
    /// It grew beyond what a config map holds.
    #[error(
        "write the config map {name}: {bytes} bytes are more than {RECORD_BYTES_MAX}; let rollouts end, so that fewer \
         versions are kept"
    )]
    TooLarge {
        /// The config map.
        name: String,
        /// How large it would be.
        bytes: usize,
    },
}

/// An object as it is remembered.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub(super) struct Record {
    pub(super) format_version: u32,
    /// The one life of the object that this is about.
    pub(super) uid: String,
    /// Grows with every wish.
    pub(super) generation: u64,
    /// The manifest as it is wanted.
    pub(super) manifest: Value,
    /// The manifest whose graph the buffers have. It differs from the wanted one while that waits for a drain.
    pub(super) shape: Value,
    /// The manifest that the daemon was started with, among those that are kept.
    pub(super) base: String,
    /// What people asked of vertices, beside the manifest.
    pub(super) asked: BTreeMap<String, Asked>,
    /// The counts that others may set, as they were seen last.
    pub(super) counts: BTreeMap<String, Count>,
    /// The count that a mono vertex was made with.
    pub(super) initial: Option<u32>,
    /// By vertex a token that was made by its last restart.
    pub(super) restarts: BTreeMap<String, String>,
    pub(super) deletion: Option<Deletion>,
    /// By vertex, every version that may have to run (again), with the manifest it was made of.
    pub(super) versions: BTreeMap<String, BTreeMap<Revision, String>>,
    /// Manifests by a hash of theirs.
    pub(super) manifests: BTreeMap<String, Value>,
    pub(super) memory: plan::Memory,
}

/// A count of replicas in an object that others may set.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub(super) struct Count {
    /// The one life of the object it is in.
    pub(super) life: String,
    pub(super) replicas: Option<u32>,
    /// What marks the last time that it was given back to the autoscaler.
    pub(super) given_back: Option<String>,
}

impl Record {
    /// Of an object that nothing is remembered of, made with a count of replicas if it is a mono vertex.
    pub(super) fn new(uid: &str, manifest: &Value, initial: Option<u32>) -> Self {
        let mut record =
            Self { format_version: FORMAT_VERSION, uid: uid.to_owned(), initial, ..Self::default() };
        record.manifest = record.with_initial(manifest);
        record.shape = record.manifest.clone();
        record.base = record.keep(&record.shape.clone());
        record
    }

    /// A manifest with the count that the object was made with: what is set later is a wish beside it.
    pub(super) fn with_initial(&self, manifest: &Value) -> Value {
        let mut manifest = manifest.clone();
        if let (Some(initial), Some(spec)) = (self.initial, manifest["spec"].as_object_mut()) {
            spec.insert("replicas".to_owned(), initial.into());
        }
        manifest
    }

    /// The record in a config map; none when it is about another life of the object.
    pub(super) fn read(map: &ConfigMap, uid: &str) -> Result<Option<Self>, Error> {
        let name = || map.metadata.name.clone().unwrap_or_default();
        let text = map.data.as_ref().and_then(|data| data.get(RECORD)).map_or("{}", String::as_str);
        let damaged = |source| Error::Damaged { name: name(), source };
        let value: Value = serde_json::from_str(text).map_err(damaged)?;
        if value["uid"].as_str() != Some(uid) {
            return Ok(None);
        }
        let found = value["formatVersion"].as_u64().unwrap_or_default();
        if found != u64::from(FORMAT_VERSION) {
            return Err(Error::Version { name: name(), found: u32::try_from(found).unwrap_or(u32::MAX) });
        }
        serde_json::from_value(value).map(Some).map_err(damaged)
    }

    /// The record as a config map.
    pub(super) fn write(&self, key: &Key, owner: &Owner) -> Result<ConfigMap, Error> {
        let text = serde_json::to_string(self).expect("a record is plain data");
        if text.len() > RECORD_BYTES_MAX {
            return Err(Error::TooLarge { name: key.record(), bytes: text.len() });
        }
        Ok(ConfigMap {
            metadata: object_metadata(key, key.record(), owner),
            data: Some([(RECORD.to_owned(), text)].into()),
            ..ConfigMap::default()
        })
    }

    /// Keeps a manifest without what may change while it runs, and says under which name.
    pub(super) fn keep(&mut self, manifest: &Value) -> String {
        let mut manifest = manifest.clone();
        if let Some(spec) = manifest["spec"].as_object_mut() {
            spec.remove("lifecycle");
        }
        let hash = content_hash(&manifest);
        self.manifests.entry(hash.clone()).or_insert(manifest);
        hash
    }

    /// Makes sure that the versions which are wanted are among those that are kept.
    pub(super) fn note_versions(&mut self, material: &Material) {
        let hash = self.keep(&self.shape.clone());
        for (vertex, revision) in &material.revisions {
            let versions = self.versions.entry(vertex.clone()).or_default();
            versions.entry(revision.clone()).or_insert_with(|| hash.clone());
        }
        self.forget_manifests();
    }

    /// Forgets versions of a vertex that nobody will run again.
    pub(super) fn keep_versions(
        &mut self,
        vertex: &str,
        keep: &BTreeSet<Revision>,
        wanted: Option<&Revision>,
    ) {
        if let Some(versions) = self.versions.get_mut(vertex) {
            versions.retain(|revision, _| keep.contains(revision) || Some(revision) == wanted);
        }
        self.forget_manifests();
    }

    fn forget_manifests(&mut self) {
        let used: BTreeSet<&String> =
            self.versions.values().flat_map(BTreeMap::values).chain([&self.base]).collect();
        self.manifests.retain(|hash, _| used.contains(hash));
    }

    /// Takes over the shape that waited for a drain.
    pub(super) fn reshape(&mut self, before: &Material) -> Result<Material, material::Error> {
        let material = Material::of(&self.manifest, &self.restarts)?;
        self.shape = self.manifest.clone();
        self.base = self.keep(&self.shape.clone());
        for (vertex, revision) in &material.revisions {
            if before.revisions.get(vertex) == Some(revision) {
                continue;
            }
            // What ran in the other shape cannot run in this one: its input may be another, and positions mean other things.
            self.versions.remove(vertex);
            if let Some(memory) = self.memory.vertices.get_mut(vertex) {
                let obeyed = memory.rollout.obeyed;
                memory.rollout = plan::rollout::Memory { obeyed, ..plan::rollout::Memory::default() };
            }
        }
        self.versions.retain(|vertex, _| material.revisions.contains_key(vertex));
        self.note_versions(&material);
        Ok(material)
    }

    /// The manifest that the daemon was started with.
    pub(super) fn base(&self) -> &Value {
        self.manifests.get(&self.base).unwrap_or(&self.shape)
    }
}
