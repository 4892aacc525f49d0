//! Workers as pods: made, told to go, deleted. Invariant: for one worker there is one pod; what was created and is not seen
//! yet counts as there, so that a watch that lags makes nothing twice.

use std::collections::BTreeMap;
use std::time::Duration;

use futures::StreamExt;
use futures::stream;
use k8s_openapi::api::core::v1::Pod;
use plan::seen::{Seen, Worker, WorkerName, WorkerState};
use plan::{Piece, Plan, Time};
use serde_json::Value;
use tokio::time::Instant;

use super::super::facts::{Facts, WorkerPod};
use super::super::wishes::is_cut;
use super::{Error, Runner};
use crate::kube::act;
use crate::kube::render::{self, Scene};
use crate::kube::store::Scope;
use crate::local::engine::Object;
use crate::local::site::object_of;

/// How long a pod that was created may be missing from the watch.
const WATCH_LAG: Duration = Duration::from_secs(30);
/// Pods that are created or deleted at the same time.
const AT_ONCE: usize = 8;
/// How long a worker may take to give its units back before its pod is told to end; it still finishes what is in hand then.
const RETIRE_WITHIN: Duration = Duration::from_mins(1);
/// The same while nobody hears of its units.
const RETIRE_UNHEARD: Duration = Duration::from_secs(5);
/// How long writes that are under way may take when nothing is waited for.
const CUT_WITHIN: Duration = Duration::from_secs(5);
/// How soon a pod that was cut ends.
const CUT_GRACE_SECONDS: u32 = 1;
/// How soon a pod is created again that could not be created: the first time, and at most.
const AGAIN: Duration = Duration::from_secs(1);
const AGAIN_MAX: Duration = Duration::from_mins(1);
/// Letters of the part of a pod's name that is its own.
const LETTERS: &[u8] = b"abcdefghijklmnopqrstuvwxyz0123456789";
const SUFFIX_CHARS: usize = 5;

type Place = (String, WorkerName);

/// What is under way with the workers of an object.
#[derive(Default)]
pub(super) struct Crew {
    /// Workers whose pods were created and are not seen yet.
    expected: BTreeMap<Place, Instant>,
    /// Since when workers are to go, and the wishes that said so first.
    retiring: BTreeMap<Place, (Instant, u64)>,
    /// Pods that were deleted and are still seen as if they were not.
    deleted: BTreeMap<String, Instant>,
    /// Why pods of a vertex cannot be created, and when it is tried again.
    trouble: BTreeMap<String, Trouble>,
    /// Objects of manifests of versions, by the hash of the manifest.
    objects: BTreeMap<String, Object>,
}

struct Trouble {
    message: String,
    wait: Duration,
    until: Instant,
}

impl Crew {
    /// Adds what was created and is not seen yet.
    pub(super) fn add_expected(&mut self, facts: &Facts, seen: &mut Seen, now: Time) {
        let is_seen = |(vertex, name): &Place| {
            facts.workers.get(vertex).is_some_and(|workers| workers.contains_key(name))
        };
        self.expected.retain(|place, since| !is_seen(place) && since.elapsed() < WATCH_LAG);
        for (vertex, name) in self.expected.keys() {
            let worker = Worker { state: WorkerState::Starting, since: now, holds: 0, restarts: 0 };
            seen.vertices.entry(vertex.clone()).or_default().workers.insert(name.clone(), worker);
        }
        self.deleted.retain(|_, since| since.elapsed() < WATCH_LAG);
    }

    /// Why something cannot be made.
    pub(super) fn trouble(&self) -> Option<String> {
        self.trouble.iter().next().map(|(vertex, trouble)| format!("vertex {vertex}: {}", trouble.message))
    }

    /// The same of one vertex.
    pub(super) fn trouble_of(&self, vertex: &str) -> Option<String> {
        self.trouble.get(vertex).map(|trouble| trouble.message.clone())
    }
}

impl Runner {
    /// Does what the plan says. True when the object is gone.
    pub(super) async fn act(&mut self, scope: &Scope, facts: &Facts) -> Result<bool, Error> {
        let life = self.life.as_mut().expect("a turn begins with a life");
        let plan = life.plan.clone().expect("a turn acts on what it has decided");
        for piece in &plan.ensure {
            match piece {
                Piece::Keep { vertex, revisions } => {
                    let wanted = life.material.revisions.get(vertex).cloned();
                    life.record.keep_versions(vertex, revisions, wanted.as_ref());
                }
                Piece::Reshape => {
                    life.material = life.record.reshape(&life.material)?;
                    life.record.generation += 1;
                    (life.wishes.1, life.order) = (None, None);
                    self.courier.tell(None);
                    self.save().await?;
                    return Ok(false);
                }
                Piece::Forget => return self.remove(scope, facts).await,
                Piece::Reading { .. } | Piece::Worker { .. } | Piece::Shares { .. } => {}
            }
        }
        self.tell_daemon(facts);
        self.create_workers(&plan, facts).await?;
        self.retire_workers(&plan, facts).await?;
        self.delete_surplus(facts).await?;
        Ok(false)
    }

    async fn create_workers(&mut self, plan: &Plan, facts: &Facts) -> Result<(), Error> {
        let mut due = Vec::new();
        for piece in &plan.ensure {
            let Piece::Worker { vertex, name } = piece else { continue };
            let life = self.life.as_ref().expect("a turn begins with a life");
            let is_there = facts.workers.get(vertex).is_some_and(|workers| workers.contains_key(name));
            let is_expected = life.crew.expected.contains_key(&(vertex.clone(), name.clone()));
            let waits = life.crew.trouble.get(vertex).is_some_and(|trouble| trouble.until > Instant::now());
            if is_there || is_expected || waits {
                continue;
            }
            if let Some(pod) = self.render_pod(vertex, name)? {
                due.push((vertex.clone(), name.clone(), pod));
            }
        }
        let (hands, namespace) = (&self.shared.hands, &self.key.namespace);
        let create = async |(vertex, name, pod): (String, WorkerName, Pod)| {
            let outcome = hands.create(namespace, &pod).await;
            (vertex, name, outcome)
        };
        let outcomes: Vec<_> = stream::iter(due).map(create).buffer_unordered(AT_ONCE).collect().await;
        let life = self.life.as_mut().expect("a turn begins with a life");
        for (vertex, name, outcome) in outcomes {
            match outcome {
                Ok(_) => {
                    life.crew.trouble.remove(&vertex);
                    life.crew.expected.insert((vertex, name), Instant::now());
                }
                Err(error) => {
                    let message = error.text();
                    let before = life.crew.trouble.get(&vertex);
                    if before.is_none_or(|before| before.message != message) {
                        let event = plan::Event::warning(
                            format!("vertex {vertex}"),
                            "CreatePodFailed",
                            message.clone(),
                        );
                        self.shared.events.say(&self.key, &life.uid, &event);
                    }
                    let wait = before.map_or(AGAIN, |before| (before.wait * 2).min(AGAIN_MAX));
                    let until = Instant::now() + wait;
                    life.crew.trouble.insert(vertex, Trouble { message, wait, until });
                }
            }
        }
        Ok(())
    }

    /// The pod of a worker; none while its owner is not made, or when its version is lost.
    fn render_pod(&mut self, vertex: &str, name: &WorkerName) -> Result<Option<Pod>, Error> {
        let life = self.life.as_mut().expect("a turn begins with a life");
        let Some(owner) = life.made.owners.get(vertex) else { return Ok(None) };
        let is_wanted = life.material.revisions.get(vertex) == Some(&name.revision);
        let kept = life.record.versions.get(vertex).and_then(|versions| versions.get(&name.revision));
        let object = if is_wanted {
            &life.material.object
        } else {
            let manifest = kept.and_then(|hash| Some((hash, life.record.manifests.get(hash)?)));
            let Some((hash, manifest)) = manifest else {
                let message =
                    format!("version {} cannot be run again: its manifest is not kept", name.revision);
                let until = Instant::now() + AGAIN_MAX;
                life.crew.trouble.insert(vertex.to_owned(), Trouble { message, wait: AGAIN_MAX, until });
                return Ok(None);
            };
            object_kept(&mut life.crew.objects, hash, manifest)?
        };
        let (key, settings) = (&self.key, &self.shared.settings);
        let scene = Scene { key, object, broker: life.broker.as_ref(), settings };
        let suffix = suffix();
        let worker = render::pod::Worker { vertex, name, suffix: &suffix };
        Ok(Some(render::pod::pod(&scene, &worker, owner)))
    }

    async fn retire_workers(&mut self, plan: &Plan, facts: &Facts) -> Result<(), Error> {
        let cut = is_cut(plan);
        let answer = self.courier.answer();
        let look = answer.look();
        let life = self.life.as_mut().expect("a turn begins with a life");
        let number = life.wishes.0;
        let mut retiring = std::mem::take(&mut life.crew.retiring);
        let mut due = Vec::new();
        for place in &plan.retire {
            let (vertex, name) = place;
            let Some(pod) = facts.workers.get(vertex).and_then(|workers| workers.get(name)) else { continue };
            let asked = retiring.remove(place).unwrap_or((Instant::now(), number));
            life.crew.retiring.insert(place.clone(), asked);
            if pod.is_ending || life.crew.deleted.contains_key(&pod.pod) {
                continue;
            }
            let (since, number) = asked;
            let heard = look.filter(|look| look.number >= number);
            let holds = heard.map(|look| {
                let worker = look.vertices.get(vertex).and_then(|seen| seen.workers.get(&name.to_string()));
                worker.map_or(0, |worker| worker.holds)
            });
            if may_go(pod, holds, since.elapsed(), cut) {
                due.push((pod.pod.clone(), pod.uid.clone()));
            }
        }
        let grace = cut.then_some(CUT_GRACE_SECONDS);
        self.delete_pods(due, grace).await
    }

    async fn delete_surplus(&mut self, facts: &Facts) -> Result<(), Error> {
        let life = self.life.as_ref().expect("a turn begins with a life");
        let surplus = facts.surplus.iter().filter(|(pod, _)| !life.crew.deleted.contains_key(pod));
        let mut due = Vec::new();
        for (pod, why) in surplus {
            let event = plan::Event::warning(format!("pod {pod}"), "PodRemoved", why.clone());
            self.shared.events.say(&self.key, &life.uid, &event);
            due.push((pod.clone(), String::new()));
        }
        self.delete_pods(due, None).await
    }

    async fn delete_pods(&mut self, due: Vec<(String, String)>, grace: Option<u32>) -> Result<(), Error> {
        let (hands, namespace) = (&self.shared.hands, &self.key.namespace);
        let delete = async |(pod, uid): (String, String)| -> Result<String, act::Error> {
            let uid = Some(uid.as_str()).filter(|uid| !uid.is_empty());
            hands.delete::<Pod>(namespace, (&pod, uid), grace).await?;
            Ok(pod)
        };
        let outcomes: Vec<_> = stream::iter(due).map(delete).buffer_unordered(AT_ONCE).collect().await;
        let life = self.life.as_mut().expect("a turn begins with a life");
        let mut failed = None;
        for outcome in outcomes {
            match outcome {
                Ok(pod) => {
                    life.crew.deleted.insert(pod, Instant::now());
                }
                Err(error) => failed = Some(error),
            }
        }
        failed.map_or(Ok(()), |error| Err(error.into()))
    }
}

/// Whether the pod of a worker that has to go may be deleted. `holds` is what its daemon says of its units.
fn may_go(pod: &WorkerPod, holds: Option<u32>, waited: Duration, cut: bool) -> bool {
    let within = match holds {
        Some(0) => return true,
        // A worker that never ran has nothing to give back.
        None | Some(_) if !pod.has_started => return true,
        Some(_) if cut => CUT_WITHIN,
        Some(_) => RETIRE_WITHIN,
        None => RETIRE_UNHEARD,
    };
    waited >= within
}

fn object_kept<'a>(
    objects: &'a mut BTreeMap<String, Object>,
    hash: &str,
    manifest: &Value,
) -> Result<&'a Object, Error> {
    if !objects.contains_key(hash) {
        let object = object_of(manifest).map_err(super::super::material::Error::Invalid)?;
        objects.insert(hash.to_owned(), object);
    }
    Ok(&objects[hash])
}

/// What makes the name of a pod its own.
fn suffix() -> String {
    (0..SUFFIX_CHARS).map(|_| char::from(LETTERS[fastrand::usize(..LETTERS.len())])).collect()
}
