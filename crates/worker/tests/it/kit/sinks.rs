//! Sinks that keep what they are given and answer by a script.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use model::door::Error;
use model::door::sink::{Outcome, Sink};
use model::{Message, Time};
use worker::{Bypass, Sinks, Strategy};

type Script = dyn Fn(&Message, u32) -> Outcome + Send + Sync;

/// What a sink was given and took.
#[derive(Clone, Default)]
pub(crate) struct Taken {
    messages: Arc<Mutex<Vec<Message>>>,
    closed: Arc<Mutex<bool>>,
}

impl Taken {
    pub(crate) fn messages(&self) -> Vec<Message> {
        self.messages.lock().unwrap().clone()
    }

    pub(crate) fn count(&self) -> usize {
        self.messages.lock().unwrap().len()
    }

    /// Payloads, sorted.
    pub(crate) fn values(&self) -> Vec<String> {
        let mut values: Vec<_> = self.messages().iter().map(super::value).collect();
        values.sort();
        values
    }

    /// Adds what another sink took.
    pub(crate) fn absorb(&self, other: &Self) {
        if !Arc::ptr_eq(&self.messages, &other.messages) {
            self.messages.lock().unwrap().append(&mut other.messages.lock().unwrap());
        }
    }

    pub(crate) fn is_closed(&self) -> bool {
        *self.closed.lock().unwrap()
    }
}

/// A sink that answers by a script, which also hears how often it was given the message.
pub(crate) struct Scripted {
    script: Box<Script>,
    seen: HashMap<String, u32>,
    taken: Taken,
    errors: Vec<Error>,
    gate: Option<super::Gate>,
}

impl Scripted {
    pub(crate) fn new(script: impl Fn(&Message, u32) -> Outcome + Send + Sync + 'static) -> (Self, Taken) {
        let taken = Taken::default();
        let sink = Self {
            script: Box::new(script),
            seen: HashMap::new(),
            taken: taken.clone(),
            errors: Vec::new(),
            gate: None,
        };
        (sink, taken)
    }

    /// The first writes fail with these, the last first.
    pub(crate) fn failing(mut self, errors: Vec<Error>) -> Self {
        self.errors = errors;
        self
    }

    /// Takes something only while the gate is open.
    pub(crate) fn behind(mut self, gate: &super::Gate) -> Self {
        self.gate = Some(gate.clone());
        self
    }
}

#[async_trait]
impl Sink for Scripted {
    async fn write(&mut self, messages: &[Message], _: Time) -> Result<Vec<Outcome>, Error> {
        if let Some(gate) = &self.gate {
            gate.passed().await;
        }
        if let Some(error) = self.errors.pop() {
            return Err(error);
        }
        let mut outcomes = Vec::new();
        for message in messages {
            let times = self.seen.entry(super::value(message)).or_default();
            *times += 1;
            let outcome = (self.script)(message, *times);
            if matches!(outcome, Outcome::Done | Outcome::OnSuccess(_)) {
                self.taken.messages.lock().unwrap().push(message.clone());
            }
            outcomes.push(outcome);
        }
        Ok(outcomes)
    }

    async fn ready(&self) -> bool {
        true
    }

    async fn close(&mut self) -> Result<(), Error> {
        *self.taken.closed.lock().unwrap() = true;
        Ok(())
    }
}

/// A sink that takes everything.
pub(crate) fn collecting() -> (Scripted, Taken) {
    Scripted::new(|_, _| Outcome::Done)
}

/// Only a primary sink.
pub(crate) fn only(primary: Scripted) -> Sinks {
    Sinks {
        primary: Box::new(primary),
        fallback: None,
        on_success: None,
        again: Strategy::default(),
        bypass: Bypass::default(),
    }
}

/// A primary and a fallback sink.
pub(crate) fn with_fallback(primary: Scripted, fallback: Scripted) -> Sinks {
    Sinks { fallback: Some(Box::new(fallback)), ..only(primary) }
}
