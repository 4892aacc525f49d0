//! The sink `stdout`: the payload of each message as a line of standard output.
//!
//! A message is done once its line was handed to the operating system. Batches of several replicas do not mix within
//! a line.

use async_trait::async_trait;
use bytes::{Buf, Bytes};
use model::door::sink::{Outcome, Sink};
use model::door::{Class, Error};
use model::{Message, Time};
use tokio::io::{AsyncWrite, AsyncWriteExt};

use super::lines::lines;

/// Opens standard output.
pub fn open() -> Box<dyn Sink> {
    open_writer(tokio::io::stdout())
}

/// Opens anything that is written as standard output is.
pub fn open_writer(out: impl AsyncWrite + Unpin + Send + Sync + 'static) -> Box<dyn Sink> {
    Box::new(Stdout { out, left: Bytes::new() })
}

struct Stdout<W> {
    out: W,
    /// What is not yet written of the last batch. A write that was given up in the middle of a line is finished
    /// before anything else.
    left: Bytes,
}

impl<W: AsyncWrite + Unpin> Stdout<W> {
    async fn finish(&mut self) -> std::io::Result<()> {
        while !self.left.is_empty() {
            match self.out.write(&self.left).await? {
                0 => return Err(std::io::ErrorKind::WriteZero.into()),
                written => self.left.advance(written),
            }
        }
        self.out.flush().await
    }
}

fn failed(cause: std::io::Error) -> Error {
    // A reader that has gone never comes back.
    Error::caused(Class::Fatal, "write to standard output", cause)
}

#[async_trait]
impl<W: AsyncWrite + Unpin + Send + Sync> Sink for Stdout<W> {
    async fn write(&mut self, messages: &[Message], _: Time) -> Result<Vec<Outcome>, Error> {
        self.finish().await.map_err(failed)?;
        self.left = lines(messages).into();
        self.finish().await.map_err(failed)?;
        Ok(messages.iter().map(|_| Outcome::Done).collect())
    }

    async fn ready(&self) -> bool {
        true
    }

    async fn close(&mut self) -> Result<(), Error> {
        self.finish().await.map_err(failed)
    }
}
