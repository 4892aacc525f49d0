//! Requests to the API server, each with a limit on its time and an error that says what it was for. Invariant: an object is
//! applied under our one field manager, so that what others have set beside it stays.

use std::fmt::Debug;
use std::sync::Arc;
use std::time::Duration;

use k8s_openapi::NamespaceResourceScope;
use kube::Resource;
use kube::api::{
    Api, ApiResource, DeleteParams, DynamicObject, Patch, PatchParams, PostParams, Preconditions,
};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use tokio::sync::Semaphore;

use super::client::Client;
use super::names::{Key, ObjectKind};
use super::{FIELD_MANAGER, chain};

/// Requests of one [`Hands`] that are under way at the same time, so that a thousand objects that all begin at once are
/// no more than an API server takes from one client.
const AT_ONCE: usize = 32;
/// How long a request may take, with all that the client does to have it answered.
const ANSWER_WITHIN: Duration = Duration::from_secs(15);

/// Why something was not done.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The API server refuses, or cannot be reached.
    #[error("{doing}")]
    Api {
        /// What was attempted.
        doing: String,
        /// Why.
        #[source]
        source: Box<kube::Error>,
    },
    /// It took too long: the client asks again by itself while it is told to come back later.
    #[error(
        "{doing}: within {} s the API server has not answered, or has put it off each time (429, 503)",
        ANSWER_WITHIN.as_secs()
    )]
    Slow {
        /// What was attempted.
        doing: String,
    },
}

impl Error {
    fn code(&self) -> Option<u16> {
        match self {
            Self::Api { source, .. } => match source.as_ref() {
                kube::Error::Api(status) => Some(status.code),
                _ => None,
            },
            Self::Slow { .. } => None,
        }
    }

    /// Whether the thing is not there.
    pub fn is_not_found(&self) -> bool {
        self.code() == Some(404)
    }

    /// Whether somebody else was faster, or it is there already.
    pub fn is_conflict(&self) -> bool {
        self.code() == Some(409)
    }

    /// With its causes, as text.
    pub fn text(&self) -> String {
        chain(self)
    }
}

/// What can be done to a cluster.
#[derive(Clone)]
pub struct Hands {
    client: Client,
    /// Free places for requests, for all clones of these hands.
    free: Arc<Semaphore>,
}

/// Kinds that Kubernetes itself has and that are in namespaces.
pub trait Stock:
    Resource<DynamicType = (), Scope = NamespaceResourceScope> + Clone + Debug + DeserializeOwned + Serialize
{
}

impl<K> Stock for K where
    K: Resource<DynamicType = (), Scope = NamespaceResourceScope>
        + Clone
        + Debug
        + DeserializeOwned
        + Serialize
{
}

impl Hands {
    /// Of a client.
    pub fn new(client: Client) -> Self {
        Self { client, free: Arc::new(Semaphore::new(AT_ONCE)) }
    }

    /// A request once there is a place for it; waiting for that is none of its time.
    async fn within<T>(
        &self,
        doing: String,
        request: impl Future<Output = kube::Result<T>>,
    ) -> Result<T, Error> {
        let _place = self.free.acquire().await.expect("nobody closes the places");
        within(doing, request).await
    }

    /// Makes an object what it should be, whether it is there or not.
    pub async fn apply<K: Stock>(&self, namespace: &str, object: &Value) -> Result<K, Error> {
        let name = object["metadata"]["name"].as_str().unwrap_or_default();
        let api: Api<K> = Api::namespaced(self.client.clone(), namespace);
        let params = PatchParams::apply(FIELD_MANAGER).force();
        let patch = Patch::Apply(object);
        self.within(format!("apply {} {name}", K::kind(&())), api.patch(name, &params, &patch)).await
    }

    /// Makes one of our own kinds what it should be.
    pub async fn apply_own(
        &self,
        resource: &ApiResource,
        namespace: &str,
        object: &Value,
    ) -> Result<DynamicObject, Error> {
        let name = object["metadata"]["name"].as_str().unwrap_or_default();
        let params = PatchParams::apply(FIELD_MANAGER).force();
        let patch = Patch::Apply(object);
        let api = self.own(resource, namespace);
        self.within(format!("apply {} {name}", resource.kind), api.patch(name, &params, &patch)).await
    }

    /// Says how one of our own kinds is.
    pub async fn say(
        &self,
        resource: &ApiResource,
        (namespace, name): (&str, &str),
        status: &Value,
    ) -> Result<(), Error> {
        let object = json!({
            "apiVersion": resource.api_version,
            "kind": resource.kind,
            "metadata": { "name": name },
            "status": status,
        });
        let params = PatchParams::apply(FIELD_MANAGER).force();
        let patch = Patch::Apply(&object);
        let api = self.own(resource, namespace);
        let doing = format!("write the status of {} {name}", resource.kind);
        self.within(doing, api.patch_status(name, &params, &patch)).await.map(drop)
    }

    /// Changes one of our own kinds by a merge patch.
    pub async fn merge_own(
        &self,
        resource: &ApiResource,
        (namespace, name): (&str, &str),
        patch: &Value,
    ) -> Result<DynamicObject, Error> {
        let api = self.own(resource, namespace);
        let params = PatchParams { field_manager: Some(FIELD_MANAGER.to_owned()), ..PatchParams::default() };
        let patch = Patch::Merge(patch);
        self.within(format!("change {} {name}", resource.kind), api.patch(name, &params, &patch)).await
    }

    /// Makes an object that was not there.
    pub async fn create<K: Stock>(&self, namespace: &str, object: &K) -> Result<K, Error> {
        let api: Api<K> = Api::namespaced(self.client.clone(), namespace);
        let params = PostParams { field_manager: Some(FIELD_MANAGER.to_owned()), ..PostParams::default() };
        let name = object.meta().name.as_deref().unwrap_or_default();
        self.within(format!("create {} {name}", K::kind(&())), api.create(&params, object)).await
    }

    /// Replaces an object, if it is still the one that was read.
    pub async fn replace<K: Stock>(&self, namespace: &str, object: &K) -> Result<K, Error> {
        let api: Api<K> = Api::namespaced(self.client.clone(), namespace);
        let params = PostParams { field_manager: Some(FIELD_MANAGER.to_owned()), ..PostParams::default() };
        let name = object.meta().name.as_deref().unwrap_or_default();
        self.within(format!("replace {} {name}", K::kind(&())), api.replace(name, &params, object)).await
    }

    /// Reads an object; none when there is none.
    pub async fn get<K: Stock>(&self, namespace: &str, name: &str) -> Result<Option<K>, Error> {
        let api: Api<K> = Api::namespaced(self.client.clone(), namespace);
        self.within(format!("read {} {name}", K::kind(&())), api.get_opt(name)).await
    }

    /// Deletes an object, if it is the one that is meant. What is not there any more is fine.
    pub async fn delete<K: Stock>(
        &self,
        namespace: &str,
        (name, uid): (&str, Option<&str>),
        grace_seconds: Option<u32>,
    ) -> Result<(), Error> {
        let api: Api<K> = Api::namespaced(self.client.clone(), namespace);
        let params = DeleteParams {
            grace_period_seconds: grace_seconds,
            preconditions: uid.map(|uid| Preconditions { uid: Some(uid.to_owned()), resource_version: None }),
            ..DeleteParams::background()
        };
        gone(
            self.within(format!("delete {} {name}", K::kind(&())), api.delete(name, &params)).await.map(drop),
        )
    }

    /// Deletes one of our own kinds. What is not there any more is fine.
    pub async fn delete_own(&self, resource: &ApiResource, namespace: &str, name: &str) -> Result<(), Error> {
        let api = self.own(resource, namespace);
        let doing = format!("delete {} {name}", resource.kind);
        gone(self.within(doing, api.delete(name, &DeleteParams::background())).await.map(drop))
    }

    fn own(&self, resource: &ApiResource, namespace: &str) -> Api<DynamicObject> {
        Api::namespaced_with(self.client.clone(), namespace, resource)
    }
}

/// How one of our own kinds is reached.
pub fn resource(kind: ObjectKind) -> ApiResource {
    match kind {
        ObjectKind::Pipeline => ApiResource::erase::<api::Pipeline>(&()),
        ObjectKind::MonoVertex => ApiResource::erase::<api::MonoVertex>(&()),
    }
}

/// How `Vertex` objects are reached.
pub fn vertices() -> ApiResource {
    ApiResource::erase::<api::Vertex>(&())
}

/// Where an object is.
pub fn place(key: &Key) -> (&str, &str) {
    (&key.namespace, &key.name)
}

fn gone(outcome: Result<(), Error>) -> Result<(), Error> {
    match outcome {
        // A conflict means that the one that was meant has gone and another has its name.
        Err(error) if error.is_not_found() || error.is_conflict() => Ok(()),
        outcome => outcome,
    }
}

/// A request within the time there is for one.
pub(super) async fn within<T>(
    doing: String,
    request: impl Future<Output = kube::Result<T>>,
) -> Result<T, Error> {
    answered(ANSWER_WITHIN, doing, request).await
}

async fn answered<T>(
    limit: Duration,
    doing: String,
    request: impl Future<Output = kube::Result<T>>,
) -> Result<T, Error> {
    match tokio::time::timeout(limit, request).await {
        Ok(Ok(done)) => Ok(done),
        Ok(Err(source)) => Err(Error::Api { doing, source: Box::new(source) }),
        Err(_) => Err(Error::Slow { doing }),
    }
}

#[cfg(test)]
mod tests;
