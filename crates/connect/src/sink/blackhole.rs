//! The sink `blackhole`: takes everything and keeps nothing.

use async_trait::async_trait;
use model::door::Error;
use model::door::sink::{Outcome, Sink};
use model::{Message, Time};

/// A sink where every message is done at once.
pub fn open() -> Box<dyn Sink> {
    Box::new(Blackhole)
}

struct Blackhole;

#[async_trait]
impl Sink for Blackhole {
    async fn write(&mut self, messages: &[Message], _: Time) -> Result<Vec<Outcome>, Error> {
        Ok(messages.iter().map(|_| Outcome::Done).collect())
    }

    async fn ready(&self) -> bool {
        true
    }

    async fn close(&mut self) -> Result<(), Error> {
        Ok(())
    }
}
