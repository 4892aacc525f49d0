//! What is made for the object as a whole: the daemon, `Vertex` objects, services. Invariant: what is there as it should
//! be is not touched; what differs or has gone is made again.

use std::collections::BTreeMap;
use std::time::Duration;

use api::spec::status::VertexStatus;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use futures::future::try_join_all;
use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::core::v1::{Secret, Service};
use k8s_openapi::api::policy::v1::PodDisruptionBudget;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use serde_json::Value;
use tokio::time::Instant;

use super::super::material::Material;
use super::{Error, Life, Runner};
use crate::kube::act;
use crate::kube::names::{HASH_ANNOTATION, ObjectKind};
use crate::kube::render::{self, Broker, Owner, Scene};
use crate::kube::store::Scope;
use crate::local::engine::Object;

/// How long something that was just applied may be missing from the watch.
const WATCH_LAG: Duration = Duration::from_secs(10);
/// Random bytes of a token.
const TOKEN_BYTES: usize = 32;

/// What was made.
#[derive(Default)]
pub(super) struct Made {
    /// What it was made from.
    from: Option<From>,
    pieces: Vec<Piece>,
    /// When something was applied, by kind and name.
    applied: BTreeMap<(Kind, String), (String, Instant)>,
    /// The lives of `Vertex` objects, which own pods.
    pub(super) owners: BTreeMap<String, Owner>,
}

#[derive(Clone, PartialEq)]
struct From {
    generation: u64,
    base: String,
    broker: Option<Broker>,
    owners: BTreeMap<String, Owner>,
    /// Of how many workers of a vertex a drain of nodes has to leave, where it has to leave any.
    fewest: BTreeMap<String, u32>,
}

#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Kind {
    Deployment,
    Service,
    Vertex,
    Budget,
}

struct Piece {
    kind: Kind,
    name: String,
    hash: String,
    object: Value,
}

impl Piece {
    fn new<T: serde::Serialize>(kind: Kind, object: &T) -> Self {
        let object = render::hashed(object);
        let name = object["metadata"]["name"].as_str().unwrap_or_default().to_owned();
        let hash = object["metadata"]["annotations"][HASH_ANNOTATION].as_str().unwrap_or_default().to_owned();
        Self { kind, name, hash, object }
    }
}

impl Runner {
    /// Makes what is made for the object as a whole.
    pub(super) async fn make_fixed(&mut self, scope: &Scope) -> Result<(), Error> {
        let owner = self.owner();
        if self.life.as_ref().is_some_and(|life| life.token.is_none()) {
            let token = self.token(&owner).await?;
            let life = self.life.as_mut().expect("a turn begins with a life");
            life.token = Some(token.into());
        }
        self.find_owners(scope, &owner);
        // Services belong to `Vertex` objects, whose lives are known once they are made.
        for _ in 0..2 {
            self.render(&owner)?;
            if !self.apply_pieces(scope).await? {
                break;
            }
        }
        self.drop_budgets(scope).await?;
        self.drop_vertices(scope).await
    }

    /// The word that controller and daemon know each other by, made when there is none.
    async fn token(&self, owner: &Owner) -> Result<String, Error> {
        let (hands, namespace) = (&self.shared.hands, &self.key.namespace);
        let name = self.key.daemon_token();
        let of = |secret: Secret| {
            let bytes = secret.data.and_then(|mut data| data.remove(render::daemon::TOKEN_KEY))?;
            String::from_utf8(bytes.0).ok().filter(|token| !token.is_empty())
        };
        if let Some(found) = hands.get::<Secret>(namespace, &name).await?
            && let Some(token) = of(found)
        {
            return Ok(token);
        }
        let mut bytes = [0; TOKEN_BYTES];
        getrandom::fill(&mut bytes).expect("the operating system has random bytes");
        let token = URL_SAFE_NO_PAD.encode(bytes);
        let secret = render::daemon::token(&self.key, owner, &token);
        hands.create(namespace, &secret).await?;
        Ok(token)
    }

    fn find_owners(&mut self, scope: &Scope, owner: &Owner) {
        let life = self.life.as_mut().expect("a turn begins with a life");
        if self.key.kind == ObjectKind::MonoVertex {
            life.made.owners = [(self.key.name.clone(), owner.clone())].into();
            return;
        }
        for vertex in scope.vertices.values() {
            let ours = is_owned(&vertex.metadata, &life.uid) && vertex.metadata.deletion_timestamp.is_none();
            let short = vertex.data["spec"]["name"].as_str().unwrap_or_default().to_owned();
            match (ours, &vertex.metadata.name, &vertex.metadata.uid) {
                (true, Some(name), Some(uid)) => {
                    let owner = Owner { kind: "Vertex".to_owned(), name: name.clone(), uid: uid.clone() };
                    life.made.owners.insert(short, owner);
                }
                _ => {
                    life.made.owners.remove(&short);
                }
            }
        }
    }

    /// Renders everything anew where something that it is made from has changed.
    fn render(&mut self, owner: &Owner) -> Result<(), Error> {
        let life = self.life.as_mut().expect("a turn begins with a life");
        let from = From {
            generation: life.record.generation,
            base: life.record.base.clone(),
            broker: life.broker.clone(),
            owners: life.made.owners.clone(),
            fewest: fewest(life),
        };
        if life.made.from.as_ref() == Some(&from) {
            return Ok(());
        }
        let (key, settings) = (&self.key, &self.shared.settings);
        let base = Material::of(life.record.base(), &BTreeMap::new())?;
        let scene = Scene { key, object: &base.object, broker: life.broker.as_ref(), settings };
        let mut pieces = vec![
            Piece::new(Kind::Deployment, &render::daemon::deployment(&scene, &life.record.base, owner)),
            Piece::new(Kind::Service, &render::service::daemon(key, owner)),
        ];
        let vertices = &life.material.settings.vertices;
        for vertex in vertices {
            if let Object::Pipeline(pipeline) = &life.material.object {
                let object = render::vertex::object(key, pipeline, vertices, vertex, owner);
                pieces.push(Piece::new(Kind::Vertex, &object));
            }
            let Some(owner) = life.made.owners.get(&vertex.name) else { continue };
            pieces.push(Piece::new(Kind::Service, &render::service::headless(key, &vertex.name, owner)));
            let source = render::pod::source(&life.material.object, vertex);
            let http = render::service::http(key, &vertex.name, source.as_deref(), owner);
            pieces.extend(http.map(|service| Piece::new(Kind::Service, &service)));
            if let Some(fewest) = from.fewest.get(&vertex.name) {
                let budget = render::budget::budget(key, (&vertex.name, *fewest), owner);
                pieces.push(Piece::new(Kind::Budget, &budget));
            }
        }
        (life.made.pieces, life.made.from) = (pieces, Some(from));
        Ok(())
    }

    /// Applies what is not there as it should be. True when `Vertex` objects were made, so that more can be made.
    async fn apply_pieces(&mut self, scope: &Scope) -> Result<bool, Error> {
        let life = self.life.as_mut().expect("a turn begins with a life");
        if life.record.deletion.is_some()
            && life.plan.as_ref().is_some_and(|plan| !plan.memory.lifecycle.is_reading())
        {
            // What is on its way out is not made again.
            return Ok(false);
        }
        let made = &mut life.made;
        let is_due = |piece: &&Piece| {
            let there = match piece.kind {
                Kind::Deployment => hash_of(scope.deployments.get(&piece.name).map(|one| &one.metadata)),
                Kind::Service => hash_of(scope.services.get(&piece.name).map(|one| &one.metadata)),
                Kind::Vertex => hash_of(scope.vertices.get(&piece.name).map(|one| &one.metadata)),
                Kind::Budget => hash_of(scope.budgets.get(&piece.name).map(|one| &one.metadata)),
            };
            let applied = made.applied.get(&(piece.kind, piece.name.clone()));
            let just = applied.is_some_and(|(hash, at)| *hash == piece.hash && at.elapsed() < WATCH_LAG);
            there != Some(piece.hash.as_str()) && !just
        };
        let due: Vec<&Piece> = made.pieces.iter().filter(is_due).collect();
        if due.is_empty() {
            return Ok(false);
        }
        let (hands, namespace) = (&self.shared.hands, self.key.namespace.as_str());
        let apply = async |piece: &Piece| -> Result<Option<(String, Owner)>, act::Error> {
            match piece.kind {
                Kind::Deployment => hands.apply::<Deployment>(namespace, &piece.object).await.map(|_| None),
                Kind::Service => hands.apply::<Service>(namespace, &piece.object).await.map(|_| None),
                Kind::Budget => {
                    hands.apply::<PodDisruptionBudget>(namespace, &piece.object).await.map(|_| None)
                }
                Kind::Vertex => {
                    let vertex = hands.apply_own(&act::vertices(), namespace, &piece.object).await?;
                    let short = vertex.data["spec"]["name"].as_str().unwrap_or_default().to_owned();
                    let uid = vertex.metadata.uid.unwrap_or_default();
                    Ok(Some((short, Owner { kind: "Vertex".to_owned(), name: piece.name.clone(), uid })))
                }
            }
        };
        let owners = try_join_all(due.iter().map(|piece| apply(piece))).await?;
        let applied: Vec<_> = due
            .iter()
            .map(|piece| ((piece.kind, piece.name.clone()), (piece.hash.clone(), Instant::now())))
            .collect();
        made.applied.extend(applied);
        let before = made.owners.len();
        made.owners.extend(owners.into_iter().flatten());
        Ok(made.owners.len() != before)
    }

    /// Deletes budgets of vertices that have no workers to spare.
    async fn drop_budgets(&mut self, scope: &Scope) -> Result<(), Error> {
        let made = &mut self.life.as_mut().expect("a turn begins with a life").made;
        let wanted =
            |name: &String| made.pieces.iter().any(|piece| piece.kind == Kind::Budget && piece.name == *name);
        let stale: Vec<&String> = scope.budgets.keys().filter(|name| !wanted(name)).collect();
        for name in stale {
            self.shared.hands.delete::<PodDisruptionBudget>(&self.key.namespace, (name, None), None).await?;
            made.applied.remove(&(Kind::Budget, name.clone()));
        }
        Ok(())
    }

    /// Deletes `Vertex` objects of vertices that the object does not have.
    async fn drop_vertices(&mut self, scope: &Scope) -> Result<(), Error> {
        let life = self.life.as_ref().expect("a turn begins with a life");
        for (name, vertex) in &scope.vertices {
            let short = vertex.data["spec"]["name"].as_str().unwrap_or_default();
            let is_known = life.material.settings.vertices.iter().any(|known| known.name == short);
            let is_going = vertex.metadata.deletion_timestamp.is_some();
            if !is_known && !is_going && is_owned(&vertex.metadata, &life.uid) {
                self.shared.hands.delete_own(&act::vertices(), &self.key.namespace, name).await?;
            }
        }
        Ok(())
    }
}

/// By vertex, how many of its workers have to stay where anybody may be taken away.
fn fewest(life: &Life) -> BTreeMap<String, u32> {
    let desired = life.plan.iter().flat_map(|plan| &plan.vertices);
    let settings = &life.material.settings.vertices;
    let of = |(name, status): (&String, &VertexStatus)| {
        let vertex = settings.iter().find(|vertex| vertex.name == *name)?;
        Some((name.clone(), render::budget::fewest(&vertex.update, status.desired_replicas)?))
    };
    desired.filter_map(of).collect()
}

/// Whether something belongs to this life of an object.
fn is_owned(meta: &ObjectMeta, uid: &str) -> bool {
    meta.owner_references.iter().flatten().any(|owner| owner.uid == uid)
}

fn hash_of(meta: Option<&ObjectMeta>) -> Option<&str> {
    meta?.annotations.as_ref()?.get(HASH_ANNOTATION).map(String::as_str)
}
