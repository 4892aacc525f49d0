//! The buffer service of a pipeline: how it is reached, and waiting for it. Invariant: a pipeline whose service is not ready
//! waits and says so; one that runs already goes on with what it knows.

use kube::api::DynamicObject;
use serde_json::Value;

use super::super::status::{self, Beside};
use super::{Error, QUIET, Runner, Turn, now};
use crate::kube::names::ObjectKind;
use crate::kube::render::Broker;

impl Runner {
    /// Looks the buffer service up; false when the object has to wait for it.
    pub(super) fn find_broker(&mut self) -> bool {
        if self.key.kind == ObjectKind::MonoVertex {
            return true;
        }
        let life = self.life.as_mut().expect("a turn begins with a life");
        let name = &life.material.settings.inter_step_buffer_service;
        let found = self.shared.store.buffer_service(&self.key.namespace, name);
        if let Ok(broker) = of_service(found.as_deref(), name) {
            life.broker = Some(broker);
        }
        life.broker.is_some()
    }

    /// Says what is waited for.
    pub(super) async fn wait_for_broker(&mut self, object: &DynamicObject) -> Result<Turn, Error> {
        let life = self.life.as_ref().expect("a turn begins with a life");
        let name = life.material.settings.inter_step_buffer_service.clone();
        let is_new = life.record.memory == plan::Memory::default();
        let found = self.shared.store.buffer_service(&self.key.namespace, &name);
        let why = of_service(found.as_deref(), &name).err().unwrap_or_default();
        if object.metadata.deletion_timestamp.is_some() && (is_new || found.is_none()) {
            // There is nothing of it in a service that is not there.
            self.drop_finalizer(object).await?;
            return Ok(Turn::Again(QUIET));
        }
        let before = &object.data["status"];
        let beside = Beside { generation: object.metadata.generation, ..Beside::default() };
        let what = (Some("Deployed"), "BufferServiceNotReady", why.as_str());
        let status = status::of_nothing(&self.key, what, &beside, before, now());
        self.write_status(None, status, before).await?;
        Ok(Turn::Again(super::IDLE))
    }
}

/// How a service is reached, or why it cannot be yet.
fn of_service(service: Option<&DynamicObject>, name: &str) -> Result<Broker, String> {
    let Some(service) = service else {
        return Err(format!(
            "waits for InterStepBufferService {name}: there is none of that name in this namespace"
        ));
    };
    let status = &service.data["status"];
    let config = &status["config"]["jetstream"];
    let phase = status["phase"].as_str().unwrap_or("no phase yet");
    let Some(url) = config["url"].as_str() else {
        let said = status["message"].as_str().unwrap_or_default();
        return Err(format!("waits for InterStepBufferService {name}: it is not ready ({phase}) {said}")
            .trim()
            .to_owned());
    };
    if !matches!(phase, "Running" | "Deleting") {
        let said = status["message"].as_str().unwrap_or_default();
        return Err(format!("waits for InterStepBufferService {name}: it is {phase} {said}")
            .trim()
            .to_owned());
    }
    let selector = |field: &Value| serde_json::from_value(field.clone()).ok();
    Ok(Broker {
        url: url.to_owned(),
        tls: config["tlsEnabled"].as_bool().unwrap_or(false),
        user: selector(&config["auth"]["basic"]["user"]),
        password: selector(&config["auth"]["basic"]["password"]),
        config: config.clone(),
    })
}
