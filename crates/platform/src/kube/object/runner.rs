//! The loop of one object: look, decide, act, again and again. Invariant: what was decided is in the record before it is
//! done, and every step may be done again by whoever comes after.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use kube::api::DynamicObject;
use plan::lifecycle::{Purpose, Stage};
use plan::{Plan, Time, decide};
use serde_json::json;
use tokio::sync::Notify;
use tokio::time::Instant;

use super::courier::{Courier, Order};
use super::facts::Facts;
use super::material::Material;
use super::record::Record;
use super::seen::{Before, Heard};
use super::status::{self, Beside};
use super::wanted::{self, Looked};
use super::wishes;
use crate::kube::act::{self, Hands};
use crate::kube::events::Events;
use crate::kube::names::{FINALIZER, INSTANCE, Key};
use crate::kube::render::{Broker, Owner, Settings};
use crate::kube::store::{Scope, Store};

mod broker;
mod keep;
mod make;
mod remove;
mod say;
mod workers;

use make::Made;
use say::Said;
use workers::Crew;

/// The shortest time between two turns.
const TURN_MIN: Duration = Duration::from_millis(20);
/// How often an object is looked at while something is on its way, and while nothing is.
const BUSY: Duration = Duration::from_millis(100);
const QUIET: Duration = Duration::from_secs(1);
/// How long something counts as on its way after the last sign of it.
const BUSY_FOR: Duration = Duration::from_secs(5);
/// How often an object is looked at that cannot be planned.
const IDLE: Duration = Duration::from_secs(30);
/// How long after a failure something is tried again: the first time, and at most.
const AGAIN: Duration = Duration::from_millis(250);
const AGAIN_MAX: Duration = Duration::from_secs(30);

/// What all loops of a controller share.
pub struct Shared {
    /// What is known of the cluster.
    pub store: Arc<Store>,
    /// What can be done to it.
    pub hands: Hands,
    /// Where events go.
    pub events: Events,
    /// What the operator decides.
    pub settings: Settings,
}

/// One object.
pub struct Runner {
    shared: Arc<Shared>,
    key: Key,
    changed: Arc<Notify>,
    courier: Courier,
    before: Before,
    /// The one life of the object that everything below is about.
    life: Option<Life>,
    /// When it is tried again after a failure, and how long was waited for that.
    again: Option<(Instant, Duration)>,
    trouble: Option<String>,
    said: BTreeMap<String, Said>,
    busy_until: Instant,
}

/// What is known of one life of an object.
struct Life {
    uid: String,
    record: Record,
    /// The version of the config map that the record was read from or written to.
    version: Option<String>,
    /// The record as it is there.
    saved: Record,
    material: Material,
    broker: Option<Broker>,
    /// What was asked when it was last taken over, and why some of it was not.
    looked: Option<Looked>,
    refused: Option<(&'static str, String)>,
    plan: Option<Plan>,
    token: Option<Arc<str>>,
    made: Made,
    crew: Crew,
    /// The number of the last wishes, and the wishes.
    wishes: (u64, Option<Arc<crate::exchange::Wishes>>),
    /// Which order to stop or go on stands, and the first wishes that have it.
    order: Option<(u64, u64)>,
}

/// What a turn comes to.
enum Turn {
    /// Look again after a while at the latest.
    Again(Duration),
    /// The object is gone.
    Gone,
}

/// Why a turn did not come to its end.
#[derive(Debug, thiserror::Error)]
enum Error {
    #[error(transparent)]
    Act(#[from] act::Error),
    #[error(transparent)]
    Record(#[from] super::record::Error),
    #[error(transparent)]
    Material(#[from] super::material::Error),
}

impl Runner {
    /// Of an object.
    pub fn new(shared: Arc<Shared>, key: Key) -> Self {
        let changed = shared.store.changed(&key);
        Self {
            shared,
            key,
            changed,
            courier: Courier::start(),
            before: Before::nothing(),
            life: None,
            again: None,
            trouble: None,
            said: BTreeMap::new(),
            busy_until: Instant::now() + BUSY_FOR,
        }
    }

    /// Until the object is gone.
    pub async fn run(mut self) {
        loop {
            let begun = Instant::now();
            let wait = match self.turn().await {
                Ok(Turn::Gone) => return,
                Ok(Turn::Again(wait)) => {
                    (self.again, self.trouble) = (None, None);
                    wait
                }
                Err(error) => self.failed(&error).await,
            };
            tokio::time::sleep_until(begun + TURN_MIN).await;
            tokio::select! {
                () = self.changed.notified() => {}
                () = self.courier.answered() => {}
                () = tokio::time::sleep(wait) => {}
            }
            if let Some((at, _)) = self.again {
                // Whatever is seen meanwhile, a failure is not repeated any faster.
                tokio::time::sleep_until(at).await;
            }
        }
    }

    /// Says what failed, and when to try again.
    async fn failed(&mut self, error: &Error) -> Duration {
        let wait = self.again.map_or(AGAIN, |(_, wait)| (wait * 2).min(AGAIN_MAX));
        self.again = Some((Instant::now() + wait, wait));
        if let Error::Act(error) = error
            && error.is_conflict()
        {
            // Somebody else was faster: what is there is looked at anew.
            tracing::debug!(object = %self.key, error = error.text(), "look again");
            self.life = None;
            return wait;
        }
        let text = crate::kube::chain(error);
        tracing::warn!(object = %self.key, error = text, "a turn failed");
        if self.trouble.as_ref() != Some(&text)
            && let Some(life) = &self.life
        {
            let event = plan::Event::warning("", "ReconcileFailed", text.clone());
            self.shared.events.say(&self.key, &life.uid, &event);
        }
        self.trouble = Some(text);
        self.say_trouble().await;
        wait
    }

    async fn turn(&mut self) -> Result<Turn, Error> {
        let scope = self.shared.store.scope(&self.key);
        let Some(object) = scope.object.clone() else {
            return Ok(Turn::Gone);
        };
        let instance = object.metadata.annotations.as_ref().and_then(|all| all.get(INSTANCE)).cloned();
        if instance.unwrap_or_default() != self.shared.settings.instance.clone().unwrap_or_default() {
            return Ok(Turn::Again(IDLE));
        }
        let finalizers = object.metadata.finalizers.as_deref().unwrap_or_default();
        if object.metadata.deletion_timestamp.is_some() && !finalizers.iter().any(|name| name == FINALIZER) {
            // Our part is done; others keep it.
            return Ok(Turn::Again(IDLE));
        }
        let uid = object.metadata.uid.clone().unwrap_or_default();
        if self.life.as_ref().is_some_and(|life| life.uid != uid) {
            (self.life, self.before) = (None, Before::nothing());
        }
        if self.life.is_none() {
            match self.begin(&object, &scope).await? {
                Ok(life) => self.life = Some(life),
                Err((reason, why)) => return self.cannot_begin(&object, reason, &why).await,
            }
        }
        self.take(&object, &scope);
        if !self.find_broker() {
            return self.wait_for_broker(&object).await;
        }
        self.keep_finalizer(&object).await?;
        self.make_fixed(&scope).await?;
        let now = now();
        let facts = Facts::of(&self.key, &scope, now);
        self.decide(&facts, now);
        self.save().await?;
        self.tell_events();
        let is_gone = self.act(&scope, &facts).await?;
        if is_gone {
            return Ok(Turn::Gone);
        }
        self.say(&object, &scope, &facts, now).await?;
        Ok(Turn::Again(self.wait(&facts, now)))
    }

    /// Takes over what is asked; what makes no sense is remembered as refused.
    fn take(&mut self, object: &DynamicObject, scope: &Scope) {
        let life = self.life.as_mut().expect("a turn begins with a life");
        let looked = match Looked::of(object, scope) {
            Ok(looked) => looked,
            Err(error) => {
                life.refused = Some(("InvalidSpec", crate::kube::chain(&error)));
                return;
            }
        };
        if life.looked.as_ref() == Some(&looked) {
            return;
        }
        match wanted::take(&life.record, &looked) {
            Ok((record, material)) => {
                (life.record, life.material, life.refused) = (record, material, None);
            }
            Err(error) => {
                let reason = match error {
                    wanted::Error::Refused(_) => "Refused",
                    wanted::Error::Manifest(_) | wanted::Error::Words(_) => "InvalidSpec",
                };
                let why = crate::kube::chain(&error);
                let event = plan::Event::warning("", reason, why.clone());
                self.shared.events.say(&self.key, &life.uid, &event);
                life.refused = Some((reason, why));
            }
        }
        life.looked = Some(looked);
        self.busy_until = Instant::now() + BUSY_FOR;
    }

    fn decide(&mut self, facts: &Facts, now: Time) {
        let life = self.life.as_mut().expect("a turn begins with a life");
        let answer = self.courier.answer();
        let look = answer.look();
        let order = life.order.and_then(|(number, wishes)| {
            look.is_some_and(|look| look.number >= wishes && look.number > 0).then_some(number)
        });
        let mut seen = self.before.look(&life.material.settings, facts, Heard { look, order }, now);
        life.crew.add_expected(facts, &mut seen, now);
        let wanted = plan::wanted::Wanted {
            settings: &life.material.settings,
            generation: life.record.generation,
            revisions: &life.material.revisions,
            asked: &life.record.asked,
            deletion: life.record.deletion,
            reshape: life.record.shape != life.record.manifest,
        };
        let plan = decide(&wanted, &seen, &life.record.memory, now);
        life.record.memory = plan.memory.clone();
        if !plan.events.is_empty() {
            self.busy_until = Instant::now() + BUSY_FOR;
        }
        life.plan = Some(plan);
    }

    fn tell_events(&self) {
        let Some(life) = &self.life else { return };
        for event in life.plan.iter().flat_map(|plan| &plan.events) {
            self.shared.events.say(&self.key, &life.uid, event);
        }
    }

    /// Tells the daemon what is wished now.
    fn tell_daemon(&mut self, facts: &Facts) {
        let life = self.life.as_mut().expect("a turn begins with a life");
        let Some(plan) = &life.plan else { return };
        let mut wishes = wishes::of(&life.material.settings, plan, facts, &life.record.shape);
        let (number, last) = &life.wishes;
        let answer = self.courier.answer();
        let heard = answer.look().map_or(0, |look| look.number);
        let same = last.as_ref().is_some_and(|last| {
            wishes.number = last.number;
            **last == wishes
        });
        // A number that another controller has used, or a clock that went back, is passed over.
        if !same || heard > *number {
            let next = u64::try_from(now().millis()).unwrap_or(0).max(number + 1).max(heard + 1);
            wishes.number = next;
            let order = plan.memory.lifecycle.number;
            if life.order.is_none_or(|(known, _)| known != order) {
                life.order = Some((order, next));
            }
            life.wishes = (next, Some(Arc::new(wishes)));
            self.busy_until = Instant::now() + BUSY_FOR;
        }
        let wishes = life.wishes.1.clone().expect("wishes were just made");
        let pod = facts.daemon.as_ref().filter(|pod| pod.base == life.record.base);
        let pace = if self.busy_until > Instant::now() { BUSY } else { QUIET };
        let order = pod.zip(life.token.clone()).map(|(pod, token)| Order {
            address: pod.address,
            token,
            wishes,
            pace,
        });
        self.courier.tell(order);
    }

    /// An object that nothing can be planned for: its status says why.
    async fn cannot_begin(
        &mut self,
        object: &DynamicObject,
        reason: &'static str,
        why: &str,
    ) -> Result<Turn, Error> {
        if object.metadata.deletion_timestamp.is_some() {
            self.drop_finalizer(object).await?;
            return Ok(Turn::Again(IDLE));
        }
        let before = &object.data["status"];
        if before["message"].as_str() != Some(why) {
            let uid = object.metadata.uid.clone().unwrap_or_default();
            self.shared.events.say(&self.key, &uid, &plan::Event::warning("", reason, why));
        }
        let beside = Beside { generation: object.metadata.generation, ..Beside::default() };
        let status = status::of_nothing(&self.key, (None, reason, why), &beside, before, now());
        self.write_status(None, status, before).await?;
        Ok(Turn::Again(IDLE))
    }

    /// How long until the next turn when nothing happens.
    fn wait(&self, facts: &Facts, now: Time) -> Duration {
        let Some(plan) = self.life.as_ref().and_then(|life| life.plan.as_ref()) else { return IDLE };
        let moving = !plan.retire.is_empty() || plan.memory.lifecycle.stage == Stage::Draining;
        let starts = facts.workers.values().flat_map(BTreeMap::values).any(|pod| !pod.is_ready);
        let busy = moving || starts || self.busy_until > Instant::now();
        let still =
            plan.memory.lifecycle.purpose == Purpose::Pause && facts.workers.values().all(BTreeMap::is_empty);
        let wait = if busy { BUSY } else { QUIET };
        // What stands still and nobody asks about needs no looks.
        let wait = if still && !busy { IDLE } else { wait };
        plan.look_again.map_or(wait, |at| at.since(now).clamp(TURN_MIN, wait))
    }

    /// Who owns what is made for the whole object.
    fn owner(&self) -> Owner {
        let uid = self.life.as_ref().map(|life| life.uid.clone()).unwrap_or_default();
        Owner { kind: self.key.kind.as_str().to_owned(), name: self.key.name.clone(), uid }
    }

    /// Makes sure that a deleted object waits for us.
    async fn keep_finalizer(&self, object: &DynamicObject) -> Result<(), Error> {
        let there = object.metadata.finalizers.clone().unwrap_or_default();
        if object.metadata.deletion_timestamp.is_some() || there.iter().any(|name| name == FINALIZER) {
            return Ok(());
        }
        let mut all = there;
        all.push(FINALIZER.to_owned());
        self.set_finalizers(object, &all).await
    }

    async fn drop_finalizer(&self, object: &DynamicObject) -> Result<(), Error> {
        let mut all = object.metadata.finalizers.clone().unwrap_or_default();
        if !all.iter().any(|name| name == FINALIZER) {
            return Ok(());
        }
        all.retain(|name| name != FINALIZER);
        self.set_finalizers(object, &all).await
    }

    async fn set_finalizers(&self, object: &DynamicObject, all: &[String]) -> Result<(), Error> {
        let patch = json!({
            "metadata": { "finalizers": all, "resourceVersion": object.metadata.resource_version },
        });
        let resource = act::resource(self.key.kind);
        match self.shared.hands.merge_own(&resource, act::place(&self.key), &patch).await {
            // It went in the meantime.
            Err(error) if error.is_not_found() => Ok(()),
            outcome => outcome.map(drop).map_err(Error::from),
        }
    }
}

/// The wall clock.
pub(crate) fn now() -> Time {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or(Duration::ZERO);
    Time::from_millis(i64::try_from(since.as_millis()).unwrap_or(i64::MAX))
}
