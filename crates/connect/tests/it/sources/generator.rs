//! The generator: its keys tell which message is which.

use std::time::Duration;

use async_trait::async_trait;
use model::Message;
use model::conformance::source::Bench;
use model::door::source::Opened;
use model::source_conformance;
use tidegate_connect::source::generator::{Settings, open};

const KEYS: u8 = 250;

struct Generator;

#[async_trait]
impl Bench for Generator {
    async fn open(&mut self) -> Opened {
        // Slow enough to wait for its clock now and then.
        let settings = Settings::new("in".into(), 1);
        let unit = Duration::from_millis(10);
        open(Settings { keys: KEYS, messages_per_unit: 250, unit, ..settings }).unwrap()
    }

    async fn offer(&mut self, _: u64) {}

    fn number(&self, message: &Message) -> u64 {
        message.keys[0].strip_prefix("key-").unwrap().parse().unwrap()
    }

    fn modulus(&self) -> u64 {
        u64::from(KEYS)
    }
}

fn run(case: impl AsyncFn(&mut dyn Bench)) {
    super::run(|| Generator, case);
}

source_conformance! { run: every, positions }
