//! Beginning and keeping: the record of an object on the API server. Invariant: a record is written only over the one that
//! was read, so that of two controllers one goes on and the other one looks again.

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::ConfigMap;
use kube::api::DynamicObject;

use super::super::material::{self, Material};
use super::super::record::Record;
use super::{Crew, Error, Life, Made, Runner};
use crate::kube::chain;
use crate::kube::store::Scope;

/// Why an object cannot begin: a word and a sentence.
type Obstacle = (&'static str, String);

impl Runner {
    /// Reads what is remembered of an object, or begins with nothing.
    pub(super) async fn begin(
        &mut self,
        object: &DynamicObject,
        _: &Scope,
    ) -> Result<Result<Life, Obstacle>, Error> {
        let uid = object.metadata.uid.clone().unwrap_or_default();
        let name = self.key.record();
        let map: Option<ConfigMap> = self.shared.hands.get(&self.key.namespace, &name).await?;
        let version = map.as_ref().and_then(|map| map.metadata.resource_version.clone());
        let found = map.as_ref().map(|map| Record::read(map, &uid)).transpose()?.flatten();
        let is_known = found.is_some();
        let manifest = material::manifest(object);
        let initial = object.data["spec"]["replicas"].as_u64().and_then(|count| u32::try_from(count).ok());
        let record = found.unwrap_or_else(|| Record::new(&uid, &manifest, initial));
        let material = match Material::of(&record.shape, &record.restarts) {
            Ok(material) => material,
            Err(error) => return Ok(Err(("InvalidSpec", chain(&error)))),
        };
        Ok(Ok(Life {
            uid,
            saved: if is_known { record.clone() } else { Record::default() },
            record,
            version,
            material,
            broker: None,
            looked: None,
            refused: None,
            plan: None,
            token: None,
            made: Made::default(),
            crew: Crew::default(),
            wishes: (0, None),
            order: None,
        }))
    }

    /// Writes the record when something of weight has changed in it.
    pub(super) async fn save(&mut self) -> Result<(), Error> {
        let owner = self.owner();
        let life = self.life.as_mut().expect("a turn begins with a life");
        if !weighs(&life.saved, &life.record) {
            return Ok(());
        }
        let mut map = life.record.write(&self.key, &owner)?;
        map.metadata.resource_version.clone_from(&life.version);
        let hands = &self.shared.hands;
        let written = match &life.version {
            Some(_) => hands.replace(&self.key.namespace, &map).await?,
            None => hands.create(&self.key.namespace, &map).await?,
        };
        life.version = written.metadata.resource_version;
        life.saved = life.record.clone();
        Ok(())
    }
}

/// Whether something was decided or asked between two records; estimates may be lost.
fn weighs(before: &Record, after: &Record) -> bool {
    let essence = |record: &Record| {
        let memory = &record.memory;
        let vertex = |(name, memory): (&String, &plan::decide::VertexMemory)| {
            let counts = (memory.scale.replicas, memory.scale.changed(), memory.scale.before_pause);
            let hand = (memory.asked, memory.workers.clone(), memory.shares.clone());
            (name.clone(), (memory.rollout.clone(), counts, hand))
        };
        let vertices: BTreeMap<_, _> = memory.vertices.iter().map(vertex).collect();
        (memory.lifecycle.clone(), vertices)
    };
    let bare = |record: &Record| Record { memory: plan::Memory::default(), ..record.clone() };
    bare(before) != bare(after) || essence(before) != essence(after)
}
