//! The end of an object: what it kept in its buffer service is removed, then it is let go. Invariant: the finalizer goes
//! last, so that whatever fails on the way is tried again and nothing is left behind unsaid.

use std::time::Duration;

use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::batch::v1::Job;
use kube::api::DynamicObject;

use super::super::facts::Facts;
use super::{Error, Runner, now};
use crate::kube::names::ObjectKind;
use crate::kube::render::{self, Scene, cleaner};
use crate::kube::store::Scope;

/// How long a forced deletion waits for a buffer service that does not answer.
const FORCED_WITHIN: Duration = Duration::from_mins(1);

impl Runner {
    /// Takes the next step to the end. True when the object is let go.
    pub(super) async fn remove(&mut self, scope: &Scope, _: &Facts) -> Result<bool, Error> {
        self.courier.tell(None);
        let Some(object) = &scope.object else { return Ok(true) };
        if self.key.kind == ObjectKind::MonoVertex {
            return self.let_go(object).await;
        }
        let life = self.life.as_ref().expect("a turn begins with a life");
        let name = &life.material.settings.inter_step_buffer_service;
        if self.shared.store.buffer_service(&self.key.namespace, name).is_none() {
            return self.let_go(object).await;
        }
        // The daemon would make again what is removed.
        let daemon = self.key.daemon();
        if let Some(deployment) = scope.deployments.get(&daemon)
            && deployment.metadata.deletion_timestamp.is_none()
        {
            self.shared.hands.delete::<Deployment>(&self.key.namespace, (&daemon, None), None).await?;
        }
        let of_job = |labels| cleaner::is_of_job(&self.key, labels);
        if scope.pods.values().any(|pod| !of_job(pod.metadata.labels.as_ref())) {
            return Ok(false);
        }
        match scope.jobs.get(&self.key.cleaner()) {
            Some(job) if succeeded(job) => self.let_go(object).await,
            Some(job) => self.watch_job(object, job).await,
            None => {
                self.start_job().await?;
                Ok(false)
            }
        }
    }

    async fn start_job(&self) -> Result<(), Error> {
        let life = self.life.as_ref().expect("a turn begins with a life");
        let scene = Scene {
            key: &self.key,
            object: &life.material.object,
            broker: life.broker.as_ref(),
            settings: &self.shared.settings,
        };
        let Some(job) = cleaner::job(&scene, &self.owner()) else { return Ok(()) };
        match self.shared.hands.apply::<Job>(&self.key.namespace, &render::hashed(&job)).await {
            // It is there and the watch has not said so yet.
            Err(error) if error.is_conflict() => Ok(()),
            outcome => outcome.map(drop).map_err(Error::from),
        }
    }

    /// A job that is not done yet, or never will be.
    async fn watch_job(&mut self, object: &DynamicObject, job: &Job) -> Result<bool, Error> {
        let life = self.life.as_ref().expect("a turn begins with a life");
        let started = job.metadata.creation_timestamp.as_ref().map_or(0, |at| at.0.as_millisecond());
        let waited = now().since(plan::Time::from_millis(started));
        let forced = life.record.deletion.is_some_and(|deletion| deletion.force);
        if forced && waited >= FORCED_WITHIN {
            let message =
                "deleted by force: the buffer service did not answer, and what was kept there stays there";
            self.shared.events.say(&self.key, &life.uid, &plan::Event::warning("", "BuffersKept", message));
            return self.let_go(object).await;
        }
        let conditions = job.status.iter().flat_map(|status| status.conditions.iter().flatten());
        let failed = conditions.into_iter().find(|one| one.type_ == "Failed" && one.status == "True");
        if let Some(failed) = failed {
            let why = failed.message.clone().unwrap_or_default();
            let message = format!(
                "what was kept in the buffer service could not be removed, and is tried again: {why}"
            );
            self.shared.events.say(
                &self.key,
                &life.uid,
                &plan::Event::warning("", "BuffersNotRemoved", message),
            );
            let place = (self.key.cleaner(), job.metadata.uid.clone());
            self.shared
                .hands
                .delete::<Job>(&self.key.namespace, (&place.0, place.1.as_deref()), None)
                .await?;
        }
        Ok(false)
    }

    async fn let_go(&self, object: &DynamicObject) -> Result<bool, Error> {
        self.drop_finalizer(object).await?;
        Ok(true)
    }
}

fn succeeded(job: &Job) -> bool {
    job.status.as_ref().and_then(|status| status.succeeded).unwrap_or(0) > 0
}
