//! What an object's status says, and when it is written. Invariant: the same status is never written twice, and what
//! somebody may wait for is written at once.

use std::time::Duration;

use kube::api::DynamicObject;
use plan::Time;
use serde_json::Value;
use tokio::time::Instant;

use super::super::facts::Facts;
use super::super::status::{self, Beside};
use super::{Error, Runner, now};
use crate::kube::act;
use crate::kube::names::ObjectKind;
use crate::kube::store::Scope;

/// How often a status is written while nothing but counts changes.
const SAY: Duration = Duration::from_secs(1);

/// A status that was written.
pub(super) struct Said {
    at: Instant,
    status: Value,
}

impl Runner {
    /// Says how everything is.
    pub(super) async fn say(
        &mut self,
        object: &DynamicObject,
        scope: &Scope,
        facts: &Facts,
        now: Time,
    ) -> Result<(), Error> {
        let life = self.life.as_ref().expect("a turn begins with a life");
        let Some(plan) = &life.plan else { return Ok(()) };
        let answer = self.courier.answer();
        let heard = answer.look().is_some();
        let failure = facts.daemon_failing.clone().or(answer.failure);
        let daemon = match failure {
            Some(why) => Some(("Unavailable", why)),
            None if !heard => Some(("Progressing", "the daemon is starting".to_owned())),
            None => None,
        };
        let trouble = life.crew.trouble();
        let beside = Beside {
            generation: object.metadata.generation,
            refused: life.refused.as_ref().map(|(reason, why)| (*reason, why.as_str())),
            daemon: daemon.as_ref().map(|(reason, why)| (*reason, why.as_str())),
            trouble: trouble.as_deref(),
        };
        let status = status::of_plan(&self.key, plan, &beside, &object.data["status"], now);
        let mut all = Vec::new();
        if self.key.kind == ObjectKind::Pipeline {
            for (name, vertex) in &scope.vertices {
                let short = vertex.data["spec"]["name"].as_str().unwrap_or_default();
                if !plan.vertices.contains_key(short) {
                    continue;
                }
                let before = &vertex.data["status"];
                let trouble = life.crew.trouble_of(short);
                let about = (vertex.metadata.generation, before, now);
                let status = status::of_vertex(&self.key, short, plan, trouble.as_deref(), about);
                all.push((name.clone(), status, before.clone()));
            }
        }
        self.write_status(None, status, &object.data["status"]).await?;
        for (name, status, before) in all {
            self.write_status(Some(&name), status, &before).await?;
        }
        Ok(())
    }

    /// Writes a status where it differs from what is there: at once when somebody may wait for it.
    pub(super) async fn write_status(
        &mut self,
        vertex: Option<&str>,
        status: Value,
        before: &Value,
    ) -> Result<(), Error> {
        let status = without_nulls(status);
        let place = vertex.unwrap_or_default();
        if let Some(said) = self.said.get(place) {
            let is_late = said.at.elapsed() >= SAY;
            if said.status == status || !is_late && !status::differs_much(&said.status, &status) {
                return Ok(());
            }
        } else if *before == status {
            self.said.insert(place.to_owned(), Said { at: Instant::now(), status });
            return Ok(());
        }
        let (resource, name) = match vertex {
            Some(vertex) => (act::vertices(), vertex),
            None => (act::resource(self.key.kind), self.key.name.as_str()),
        };
        let outcome = self.shared.hands.say(&resource, (&self.key.namespace, name), &status).await;
        match outcome {
            Ok(()) => {
                self.said.insert(place.to_owned(), Said { at: Instant::now(), status });
                Ok(())
            }
            // It went in the meantime.
            Err(error) if error.is_not_found() => Ok(()),
            Err(error) => Err(error.into()),
        }
    }

    /// Says why nothing gets on.
    pub(super) async fn say_trouble(&mut self) {
        let Some(trouble) = self.trouble.clone() else { return };
        let scope = self.shared.store.scope(&self.key);
        let Some(object) = scope.object else { return };
        let before = object.data["status"].clone();
        let plan = self.life.as_ref().and_then(|life| life.plan.as_ref());
        let beside =
            Beside { generation: object.metadata.generation, trouble: Some(&trouble), ..Beside::default() };
        let what = (Some("Deployed"), "ReconcileFixedResourcesFailed", trouble.as_str());
        let status = plan.map_or_else(
            || status::of_nothing(&self.key, what, &beside, &before, now()),
            |plan| status::of_plan(&self.key, plan, &beside, &before, now()),
        );
        if let Err(error) = self.write_status(None, status, &before).await {
            tracing::debug!(object = %self.key, error = crate::kube::chain(&error), "the trouble is not written");
        }
    }
}

fn without_nulls(mut value: Value) -> Value {
    fn strip(value: &mut Value) {
        match value {
            Value::Object(fields) => {
                fields.retain(|_, field| !field.is_null());
                fields.values_mut().for_each(strip);
            }
            Value::Array(items) => items.iter_mut().for_each(strip),
            Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
        }
    }
    strip(&mut value);
    value
}
