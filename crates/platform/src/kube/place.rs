//! A cluster as whoever uses verbs sees it: what is asked becomes edits of objects and annotations, which controllers take
//! over; what is answered is what the API server has. Invariant: nothing is decided here, and nothing is known here that
//! `kubectl` could not show.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use api::Object as Loaded;
use async_trait::async_trait;
use k8s_openapi::api::core::v1::{Event as StockEvent, Pod};
use kube::api::{Api, DeleteParams, DynamicObject, ListParams, Patch, PatchParams};
use plan::wanted::WordKind;
use serde_json::{Value, json};

use super::act::{resource, vertices};
use super::client::Client;
use super::names::{ASKED_ANNOTATION, DELETION_ANNOTATION, Key, ObjectKind, SCALE_ANNOTATION};
use super::object::Words;
use crate::place::{Apply, Place, Refusal, RefusalKind, Wish};
use crate::view::{Applied, Event, Finding, History, Incident, Object};

mod edits;
mod show;

/// How often the cluster is looked at for whoever waits for a change.
const LOOK: Duration = Duration::from_millis(500);
/// Who verbs are in the `managedFields` of objects.
const FIELD_MANAGER: &str = "tidegate-cli";
/// The most events that are read.
const EVENTS_MAX: u32 = 1000;

/// One namespace of a cluster.
pub struct Namespace {
    client: Client,
    name: String,
    looks: AtomicU64,
}

/// An object with what was made for it.
struct Found {
    key: Key,
    object: DynamicObject,
    vertices: Vec<DynamicObject>,
    pods: BTreeMap<String, Pod>,
}

impl Namespace {
    /// A namespace; none for the one of the client's context.
    pub fn new(client: Client, namespace: Option<&str>) -> Self {
        let name = namespace.map_or_else(|| client.default_namespace().to_owned(), str::to_owned);
        Self { client, name, looks: AtomicU64::new(0) }
    }

    fn own(&self, kind: ObjectKind) -> Api<DynamicObject> {
        Api::namespaced_with(self.client.clone(), &self.name, &resource(kind))
    }

    fn vertices(&self) -> Api<DynamicObject> {
        Api::namespaced_with(self.client.clone(), &self.name, &vertices())
    }

    /// The object of a name: a pipeline, or else a mono vertex.
    async fn get(&self, name: &str) -> Result<(Key, DynamicObject), Refusal> {
        for kind in [ObjectKind::Pipeline, ObjectKind::MonoVertex] {
            let found = self.own(kind).get_opt(name).await;
            if let Some(object) = found.map_err(|error| failed("read", name, &error))? {
                let key = Key { namespace: self.name.clone(), kind, name: name.to_owned() };
                return Ok((key, object));
            }
        }
        let message =
            format!("find {name}: namespace {} has no pipeline or mono vertex of that name", self.name);
        Err(Refusal::new(RefusalKind::NotFound, message))
    }

    async fn find(&self, name: &str) -> Result<Found, Refusal> {
        let (key, object) = self.get(name).await?;
        let (label, value) = key.label();
        let params = ListParams::default().labels(&format!("{label}={value}"));
        let pods: Api<Pod> = Api::namespaced(self.client.clone(), &self.name);
        let pods = pods.list(&params).await.map_err(|error| failed("list the pods of", name, &error))?;
        let named = |pod: Pod| (pod.metadata.name.clone().unwrap_or_default(), pod);
        let vertices = match key.kind {
            ObjectKind::Pipeline => {
                let list = self.vertices().list(&params).await;
                list.map_err(|error| failed("list the vertices of", name, &error))?.items
            }
            ObjectKind::MonoVertex => Vec::new(),
        };
        Ok(Found { key, object, vertices, pods: pods.items.into_iter().map(named).collect() })
    }

    /// Edits an object, if it is still the one that was read.
    async fn edit(&self, key: &Key, patch: &Value) -> Result<(), Refusal> {
        let params = PatchParams { field_manager: Some(FIELD_MANAGER.to_owned()), ..PatchParams::default() };
        let edited = self.own(key.kind).patch(&key.name, &params, &Patch::Merge(patch)).await;
        edited.map(drop).map_err(|error| failed("change", &key.name, &error))
    }

    async fn scale(
        &self,
        found: &Found,
        vertex: Option<String>,
        replicas: Option<u32>,
    ) -> Result<(), Refusal> {
        let vertex = edits::one_vertex(found, vertex)?;
        let params = PatchParams { field_manager: Some(FIELD_MANAGER.to_owned()), ..PatchParams::default() };
        let (api, name) = match found.key.kind {
            ObjectKind::Pipeline => (self.vertices(), found.key.vertex(&vertex)),
            ObjectKind::MonoVertex => (self.own(ObjectKind::MonoVertex), found.key.name.clone()),
        };
        let done = if let Some(count) = replicas {
            let patch = json!({ "spec": { "replicas": count } });
            api.patch_scale(&name, &params, &Patch::Merge(&patch)).await.map(drop)
        } else {
            let mark = show::now().millis().to_string();
            let patch = json!({ "metadata": { "annotations": { SCALE_ANNOTATION: mark } } });
            api.patch(&name, &params, &Patch::Merge(&patch)).await.map(drop)
        };
        done.map_err(|error| failed("scale", &name, &error))
    }

    /// Says words about rollouts.
    async fn say(&self, found: &Found, change: impl FnOnce(&mut Words)) -> Result<(), Refusal> {
        let meta = &found.object.metadata;
        let said = meta.annotations.as_ref().and_then(|annotations| annotations.get(ASKED_ANNOTATION));
        let unreadable = |error: serde_json::Error| {
            let message =
                format!("understand the annotation {ASKED_ANNOTATION} of {}: {error}", found.key.name);
            Refusal::new(RefusalKind::Conflict, message)
        };
        let mut words: Words =
            said.map(|text| serde_json::from_str(text)).transpose().map_err(unreadable)?.unwrap_or_default();
        change(&mut words);
        let patch = json!({ "metadata": {
            "resourceVersion": meta.resource_version,
            "annotations": { ASKED_ANNOTATION: json!(words).to_string() },
        }});
        self.edit(&found.key, &patch).await
    }

    async fn delete(&self, key: &Key, force: bool) -> Result<(), Refusal> {
        if force {
            let patch = json!({ "metadata": { "annotations": { DELETION_ANNOTATION: "force" } } });
            self.edit(key, &patch).await?;
        }
        let deleted = self.own(key.kind).delete(&key.name, &DeleteParams::background()).await;
        deleted.map(drop).map_err(|error| failed("delete", &key.name, &error))
    }
}

#[async_trait]
impl Place for Namespace {
    async fn apply(&self, apply: Apply) -> Result<Vec<Applied>, Refusal> {
        let files = apply.files.iter().map(|file| (file.name.as_str(), file.text.as_bytes()));
        let loaded = api::load(files).accept();
        let (objects, warnings) = loaded.map_err(|complaints| Refusal {
            complaints: complaints.iter().map(ToString::to_string).collect(),
            ..Refusal::new(RefusalKind::Invalid, "the manifest has errors")
        })?;
        let warnings: Vec<String> = warnings.iter().map(ToString::to_string).collect();
        let mut applied = Vec::new();
        for object in objects {
            let (kind, manifest) = match object {
                Loaded::Pipeline(pipeline) => (ObjectKind::Pipeline, json!(**pipeline)),
                Loaded::MonoVertex(mono) => (ObjectKind::MonoVertex, json!(**mono)),
                other => {
                    let message =
                        format!("apply {} {}: use `kubectl apply` for it", other.kind(), other.name());
                    return Err(Refusal::new(RefusalKind::Invalid, message));
                }
            };
            applied.push(self.apply_one(kind, manifest, (&warnings, apply.dry_run)).await?);
        }
        Ok(applied)
    }

    async fn objects(&self) -> Result<Vec<Object>, Refusal> {
        let mut all = Vec::new();
        for kind in [ObjectKind::Pipeline, ObjectKind::MonoVertex] {
            let list = self.own(kind).list(&ListParams::default()).await;
            let list = list.map_err(|error| failed("list", &resource(kind).plural, &error))?;
            for object in list.items {
                let name = object.metadata.name.unwrap_or_default();
                match self.find(&name).await {
                    Ok(found) => all.push(show::object(&found)),
                    // It went in the meantime.
                    Err(refusal) if refusal.kind == RefusalKind::NotFound => {}
                    Err(refusal) => return Err(refusal),
                }
            }
        }
        Ok(all)
    }

    async fn object(&self, name: &str) -> Result<Object, Refusal> {
        Ok(show::object(&self.find(name).await?))
    }

    async fn ask(&self, name: &str, wish: Wish) -> Result<Object, Refusal> {
        let found = self.find(name).await?;
        let key = &found.key;
        match wish {
            Wish::Pause => self.edit(key, &edits::phase("Paused")).await?,
            Wish::Resume => self.edit(key, &edits::phase("Running")).await?,
            Wish::Scale { vertex, replicas } => self.scale(&found, vertex, replicas).await?,
            Wish::Set { vertex, container, image, exec } => {
                if exec.is_some() {
                    let message = "set a command: a cluster runs images; give --image";
                    return Err(Refusal::new(RefusalKind::Invalid, message));
                }
                let patch = edits::image(&found, (&vertex, container.as_deref()), image.as_deref())?;
                self.edit(key, &patch).await?;
            }
            Wish::Promote { vertex, full } => {
                let kind = if full { WordKind::PromoteFully } else { WordKind::Promote };
                let vertices = edits::rolling(&found, vertex)?;
                self.say(&found, |words| edits::say(words, vertices, &kind)).await?;
            }
            Wish::Abort { vertex } => {
                let vertices = edits::rolling(&found, vertex)?;
                self.say(&found, |words| edits::say(words, vertices, &WordKind::Abort)).await?;
            }
            Wish::Undo { vertex, to } => {
                let vertices = vec![edits::one_vertex(&found, vertex)?];
                self.say(&found, |words| edits::say(words, vertices, &WordKind::Undo { to })).await?;
            }
            Wish::Retry { vertex } => {
                let vertices = edits::vertices(&found, vertex)?;
                self.say(&found, |words| edits::say(words, vertices, &WordKind::Retry)).await?;
            }
            Wish::Restart { vertex } => {
                let vertices = edits::vertices(&found, vertex)?;
                let token = show::now().millis().to_string();
                let restarts = vertices.into_iter().map(|vertex| (vertex, token.clone()));
                self.say(&found, |words| words.restarts.extend(restarts)).await?;
            }
            Wish::Delete { force } => {
                self.delete(key, force).await?;
                let mut last = show::object(&found);
                "Deleting".clone_into(&mut last.phase);
                return Ok(last);
            }
        }
        self.object(name).await
    }

    async fn events(&self, name: Option<&str>, after: u64, limit: usize) -> Result<Vec<Event>, Refusal> {
        let api: Api<StockEvent> = Api::namespaced(self.client.clone(), &self.name);
        let mut params = ListParams::default().limit(EVENTS_MAX);
        if let Some(name) = name {
            params = params.fields(&format!("involvedObject.name={name}"));
        }
        let list =
            api.list(&params).await.map_err(|error| failed("list the events of", &self.name, &error))?;
        let mut events: Vec<Event> = list.items.iter().filter_map(show::event).collect();
        events.sort_by_key(|event| (event.at, event.number));
        Ok(events.into_iter().filter(|event| event.number > after).take(limit).collect())
    }

    async fn incidents(&self, name: &str) -> Result<Vec<Incident>, Refusal> {
        // Errors of user code stay with the daemon; what the API server knows of them is in the status.
        self.get(name).await.map(|_| Vec::new())
    }

    async fn why(&self, name: &str) -> Result<Vec<Finding>, Refusal> {
        Ok(show::findings(&self.find(name).await?))
    }

    async fn history(&self, name: &str) -> Result<History, Refusal> {
        Ok(show::history(&self.find(name).await?))
    }

    async fn metrics(&self) -> Result<String, Refusal> {
        let message = "read metrics of a cluster: its daemons and workers have them, see docs/daemon.md";
        Err(Refusal::new(RefusalKind::Invalid, message))
    }

    async fn changed(&self, _: u64) -> u64 {
        tokio::time::sleep(LOOK).await;
        self.looks.fetch_add(1, Ordering::Relaxed) + 1
    }

    async fn shut_down(&self) {}
}

impl Namespace {
    async fn apply_one(
        &self,
        kind: ObjectKind,
        mut manifest: Value,
        (warnings, dry_run): (&[String], bool),
    ) -> Result<Applied, Refusal> {
        let name = manifest["metadata"]["name"].as_str().unwrap_or_default().to_owned();
        manifest["metadata"]["namespace"] = json!(self.name);
        let api = self.own(kind);
        let before = api.get_opt(&name).await.map_err(|error| failed("read", &name, &error))?;
        let changes = match &before {
            Some(before) => edits::changes(before, &manifest)?,
            None => Vec::new(),
        };
        let mut params = PatchParams::apply(FIELD_MANAGER).force();
        params.dry_run = dry_run;
        let after = api.patch(&name, &params, &Patch::Apply(&manifest)).await;
        let after = after.map_err(|error| failed("apply", &name, &error))?;
        let generation = before.as_ref().map(|before| before.metadata.generation);
        let outcome = match generation {
            None => "created",
            Some(generation) if generation == after.metadata.generation && !dry_run => "unchanged",
            Some(_) if changes.is_empty() => "unchanged",
            Some(_) => "configured",
        };
        Ok(Applied {
            kind: kind.as_str().to_owned(),
            name,
            outcome: outcome.to_owned(),
            class: changes.first().map(|change| change.class.clone()),
            changes,
            warnings: warnings.to_vec(),
            substitutes: Vec::new(),
        })
    }
}

fn failed(doing: &str, name: &str, error: &kube::Error) -> Refusal {
    let kind = match error {
        kube::Error::Api(status) => match status.code {
            404 => RefusalKind::NotFound,
            409 => RefusalKind::Conflict,
            400 | 422 => RefusalKind::Invalid,
            _ => RefusalKind::Failed,
        },
        _ => RefusalKind::Failed,
    };
    let why = match error {
        kube::Error::Api(status) => status.message.clone(),
        other => super::chain(other),
    };
    Refusal::new(kind, format!("{doing} {name}: {why}"))
}
