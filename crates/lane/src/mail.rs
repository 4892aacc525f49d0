//! Notes between the processes of a pipeline, under keys of the state stream. They are plain writes, the last of which
//! counts: nothing that has to be true depends on one. Invariant: a watch gives what is there first, and reads on after
//! what it gave, whatever happened to its connection.

use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;
use model::door::mail::{Change, Mail, Watch};
use model::door::{Class, Error};

use crate::broker::{Broker, Consume, Consumer, Delivery, Failure, Message, Publish};
use crate::failure::failed;
use crate::lanes::{Inner, Stream};
use crate::link::Pauses;
use crate::meta::StreamId;
use crate::names;

/// See the module.
pub(crate) struct Notes<B> {
    inner: Arc<Inner<B>>,
}

impl<B: Broker> Notes<B> {
    pub(crate) fn new(inner: Arc<Inner<B>>) -> Self {
        Self { inner }
    }

    fn state(&self) -> &Arc<Stream> {
        self.inner.stream(&StreamId::Notes).expect("every pipeline has this stream")
    }
}

#[async_trait]
impl<B: Broker> Mail for Notes<B> {
    async fn put(&self, key: &str, note: Bytes) -> Result<(), Error> {
        let state = self.state();
        let publish = Publish {
            stream: state.name.clone(),
            subject: names::mail(&state.name, key),
            expect: None,
            meta: Bytes::new(),
            payload: note,
        };
        let left = self.inner.link.publish(publish).await;
        left.map(|_| ()).map_err(|failure| failed(format!("leave note {key}"), failure))
    }

    async fn remove(&self, key: &str) -> Result<(), Error> {
        // Whoever watches has to see that it is gone; an empty note says so.
        self.put(key, Bytes::new()).await
    }

    async fn watch(&self, under: &str) -> Result<Box<dyn Watch>, Error> {
        let filter = names::mails(&self.state().name, under);
        Ok(Box::new(Watching { inner: self.inner.clone(), filter, consumer: None, count: 0, through: 0 }))
    }
}

/// Keys that are watched.
struct Watching<B> {
    inner: Arc<Inner<B>>,
    filter: String,
    consumer: Option<Box<dyn Consumer>>,
    /// The number of the last message of this consumer.
    count: u64,
    /// The sequence of the last message of all.
    through: u64,
}

impl<B: Broker> Watching<B> {
    async fn connect(&mut self) -> Result<(), Error> {
        let state = self.inner.stream(&StreamId::Notes)?;
        let consume = Consume {
            stream: state.name.clone(),
            filters: vec![self.filter.clone()],
            after: self.through,
            headers_only: false,
            last_per_subject: false,
        };
        self.consumer = Some(self.inner.link.consume(&consume, Pauses::without_end()).await?);
        self.count = 0;
        Ok(())
    }
}

#[async_trait]
impl<B: Broker> Watch for Watching<B> {
    async fn next(&mut self) -> Result<Change, Error> {
        let mut pauses = Pauses::without_end();
        loop {
            let Some(consumer) = &mut self.consumer else {
                self.connect().await?;
                continue;
            };
            match self.inner.link.note(consumer.next().await) {
                Ok(Delivery::Message { number, pending: _, message }) if number == self.count + 1 => {
                    (self.count, self.through) = (number, message.sequence);
                    let Message { subject, payload, .. } = message;
                    if let Some(key) = names::read_mail(&subject) {
                        return Ok(Change { key, note: (!payload.is_empty()).then_some(payload) });
                    }
                }
                Ok(Delivery::Idle { number }) if number == self.count => {}
                Ok(Delivery::Message { .. } | Delivery::Idle { .. }) => self.consumer = None,
                Err(failure @ (Failure::Denied(_) | Failure::NoStream(_))) => {
                    return Err(Error::caused(Class::Fatal, "watch the notes of the pipeline", failure));
                }
                Err(_) => {
                    self.consumer = None;
                    self.inner.link.pause(&mut pauses).await;
                }
            }
        }
    }
}
