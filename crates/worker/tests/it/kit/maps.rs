//! User code that does as it is told.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};
use std::time::Instant;

use async_trait::async_trait;
use bytes::Bytes;
use model::door::map::Map;
use model::door::{Class, Error};
use model::verdict::{DROP, FAIL, NACK, Nack, Reply};
use model::{Message, Name, Time};
use smol_str::SmolStr;

type Script = dyn Fn(&Message, u32) -> Reply + Send + Sync;

/// Answers each message by a script, which also hears how often the message was seen.
#[derive(Clone)]
pub(crate) struct Scripted {
    script: Arc<Script>,
    seen: Arc<Mutex<HashMap<String, u32>>>,
    delays: Option<Arc<Mutex<fastrand::Rng>>>,
    gate: Option<super::Gate>,
    refused: Option<String>,
    times: Arc<Mutex<HashMap<String, Vec<Instant>>>>,
    told: Arc<Mutex<Vec<Time>>>,
}

impl Scripted {
    pub(crate) fn new(script: impl Fn(&Message, u32) -> Reply + Send + Sync + 'static) -> Self {
        Self {
            script: Arc::new(script),
            seen: Arc::default(),
            delays: None,
            gate: None,
            refused: None,
            times: Arc::default(),
            told: Arc::default(),
        }
    }

    /// Answers after everybody else has had some turns.
    pub(crate) fn delayed(mut self, seed: u64) -> Self {
        self.delays = Some(Arc::new(Mutex::new(fastrand::Rng::with_seed(seed))));
        self
    }

    /// Answers only while the gate is open.
    pub(crate) fn behind(mut self, gate: &super::Gate) -> Self {
        self.gate = Some(gate.clone());
        self
    }

    /// Refuses every batch that holds this payload.
    pub(crate) fn refusing(mut self, value: &str) -> Self {
        self.refused = Some(value.to_owned());
        self
    }

    /// When messages with this payload were seen.
    pub(crate) fn times(&self, value: &str) -> Vec<Instant> {
        self.times.lock().unwrap().get(value).cloned().unwrap_or_default()
    }

    /// The watermarks that came with the batches.
    pub(crate) fn told(&self) -> Vec<Time> {
        self.told.lock().unwrap().clone()
    }

    /// How often messages with this payload were seen.
    pub(crate) fn seen(&self, value: &str) -> u32 {
        self.seen.lock().unwrap().get(value).copied().unwrap_or(0)
    }
}

#[async_trait]
impl Map for Scripted {
    async fn map(&self, messages: Arc<Vec<Message>>, watermark: Time) -> Result<Vec<Reply>, Error> {
        self.told.lock().unwrap().push(watermark);
        if let Some(delays) = &self.delays {
            let turns = delays.lock().unwrap().u32(0..20);
            for _ in 0..turns {
                tokio::task::yield_now().await;
            }
        }
        if let Some(gate) = &self.gate {
            gate.passed().await;
        }
        if let Some(refused) = &self.refused
            && messages.iter().any(|message| super::value(message) == *refused)
        {
            return Err(Error::new(Class::Reject, "take a batch: it holds what nobody can take"));
        }
        let answer = |message: &Message| {
            self.times.lock().unwrap().entry(super::value(message)).or_default().push(Instant::now());
            let times = {
                let mut seen = self.seen.lock().unwrap();
                let times = seen.entry(super::value(message)).or_default();
                *times += 1;
                *times
            };
            (self.script)(message, times)
        };
        Ok(messages.iter().map(answer).collect())
    }

    async fn ready(&self) -> bool {
        true
    }
}

/// Everything goes on as it is.
pub(crate) fn cat() -> Scripted {
    Scripted::new(|message, _| pass(message))
}

fn result(message: &Message, index: u32, value: Bytes) -> Message {
    let mut output = message.child(&Name::new("map"), index, value);
    output.keys.clone_from(&message.keys);
    output
}

pub(crate) fn pass(message: &Message) -> Reply {
    Reply { outputs: vec![result(message, 0, message.value.clone())], nack: None }
}

pub(crate) fn tagged(message: &Message, tags: &[&str]) -> Reply {
    let mut reply = pass(message);
    reply.outputs[0].tags = tags.iter().map(SmolStr::new).collect();
    reply
}

/// Each payload `count` times, with a letter behind.
pub(crate) fn several(message: &Message, count: u32) -> Reply {
    let one = |index: u32| {
        let letter = char::from(b'a' + index as u8);
        result(message, index, Bytes::from(format!("{}{letter}", super::value(message))))
    };
    Reply { outputs: (0..count).map(one).collect(), nack: None }
}

pub(crate) fn dropped(message: &Message) -> Reply {
    tagged(message, &[DROP])
}

pub(crate) fn failed(message: &Message) -> Reply {
    tagged(message, &[FAIL])
}

pub(crate) fn nacked(message: &Message, nack: Option<Nack>) -> Reply {
    Reply { nack: nack.map(Box::new), ..tagged(message, &[NACK]) }
}
