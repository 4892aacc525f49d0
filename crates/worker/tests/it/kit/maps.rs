//! User code that does as it is told.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use model::door::Error;
use model::door::map::Map;
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
}

impl Scripted {
    pub(crate) fn new(script: impl Fn(&Message, u32) -> Reply + Send + Sync + 'static) -> Self {
        Self { script: Arc::new(script), seen: Arc::default(), delays: None, gate: None }
    }

    /// Answers after random short times.
    pub(crate) fn delayed(mut self, seed: u64) -> Self {
        self.delays = Some(Arc::new(Mutex::new(fastrand::Rng::with_seed(seed))));
        self
    }

    /// Answers only while the gate is open.
    pub(crate) fn behind(mut self, gate: &super::Gate) -> Self {
        self.gate = Some(gate.clone());
        self
    }

    /// How often messages with this payload were seen.
    pub(crate) fn seen(&self, value: &str) -> u32 {
        self.seen.lock().unwrap().get(value).copied().unwrap_or(0)
    }
}

#[async_trait]
impl Map for Scripted {
    async fn map(&self, messages: Arc<Vec<Message>>, _: Time) -> Result<Vec<Reply>, Error> {
        if let Some(delays) = &self.delays {
            let micros = delays.lock().unwrap().u64(0..800);
            if micros > 300 {
                tokio::time::sleep(Duration::from_micros(micros)).await;
            }
        }
        if let Some(gate) = &self.gate {
            gate.passed().await;
        }
        let answer = |message: &Message| {
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
