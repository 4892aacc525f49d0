//! Events of objects, as `kubectl describe` shows them. Invariant: nobody waits for an event to be written; what there is
//! no room for is dropped and counted in the log.

use k8s_openapi::api::core::v1::ObjectReference;
use kube::runtime::events::{Event, EventType, Recorder, Reporter};
use serde_json::json;
use tokio::sync::mpsc;
use tokio::task::JoinSet;

use super::chain;
use super::client::Client;
use super::names::Key;
use super::render::content_hash;

/// Events that may wait to be written.
const WAITING_MAX: usize = 1024;
/// The longest message the API server takes.
const NOTE_BYTES_MAX: usize = 1024;

/// Writes events.
#[derive(Clone)]
pub struct Events {
    queue: mpsc::Sender<(Event, ObjectReference)>,
}

impl Events {
    /// With a task of the set that writes them, in the name of an instance of the controller.
    pub fn start(client: &Client, instance: &str, tasks: &mut JoinSet<()>) -> Self {
        let reporter =
            Reporter { controller: "tidegate-controller".into(), instance: Some(instance.to_owned()) };
        let recorder = Recorder::new(client.clone(), reporter);
        let (queue, mut waiting) = mpsc::channel::<(Event, ObjectReference)>(WAITING_MAX);
        tasks.spawn(async move {
            while let Some((event, about)) = waiting.recv().await {
                if let Err(error) = recorder.publish(&event, &about).await {
                    tracing::warn!(reason = event.reason, error = %chain(&error), "an event was not written");
                }
            }
        });
        Self { queue }
    }

    /// Says what has happened to an object.
    pub fn say(&self, key: &Key, uid: &str, event: &plan::Event) {
        let about = ObjectReference {
            api_version: Some(api::API_VERSION.to_owned()),
            kind: Some(key.kind.as_str().to_owned()),
            name: Some(key.name.clone()),
            namespace: Some(key.namespace.clone()),
            uid: Some(uid.to_owned()),
            ..ObjectReference::default()
        };
        self.say_about(about, event);
    }

    /// Says what has happened to anything.
    pub(super) fn say_about(&self, about: ObjectReference, event: &plan::Event) {
        let event = stock(event);
        let object = format!(
            "{} {}/{}",
            about.kind.as_deref().unwrap_or_default(),
            about.namespace.as_deref().unwrap_or_default(),
            about.name.as_deref().unwrap_or_default()
        );
        tracing::info!(object, reason = event.reason, note = event.note, "event");
        if self.queue.try_send((event, about)).is_err() {
            tracing::warn!(object, "an event is not written: too many wait");
        }
    }
}

/// The event as it is published. Those of one reason that say different things have different actions, because the client
/// counts events that differ in their notes alone as one, and keeps the first note.
fn stock(event: &plan::Event) -> Event {
    let whose = if event.about.is_empty() { String::new() } else { format!("{}: ", event.about) };
    let note = cut(format!("{whose}{}", event.message));
    let type_ = match event.severity {
        plan::Severity::Normal => EventType::Normal,
        plan::Severity::Warning => EventType::Warning,
    };
    let reason = event.reason.clone();
    let action = format!("{reason}-{}", content_hash(&json!(note)));
    Event { type_, action, reason, note: Some(note), secondary: None }
}

fn cut(mut text: String) -> String {
    if text.len() > NOTE_BYTES_MAX {
        let mut end = NOTE_BYTES_MAX - 3;
        while !text.is_char_boundary(end) {
            end -= 1;
        }
        text.truncate(end);
        text.push('…');
    }
    text
}

#[cfg(test)]
mod tests {
    use super::stock;

    #[test]
    fn what_says_something_else_is_not_counted_as_the_same() {
        let event = |message: &str| stock(&plan::Event::warning("vertex cat", "RolledBack", message));
        assert_eq!(event("no progress").action, event("no progress").action);
        assert_ne!(event("no progress").action, event("errors 92.2 %").action);
        assert_eq!(event("no progress").note.as_deref(), Some("vertex cat: no progress"));
    }
}
