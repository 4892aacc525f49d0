//! Reading a slot: its frames in order, from the first that the unit's progress does not cover, none left out.
//!
//! Nothing is acknowledged. Invariant: a frame is given only if the consumer's own numbers are whole up to it and the
//! frame before it in its lane was given too or is settled; on any doubt the consumer is made anew after the last good
//! frame.

use std::collections::{HashMap, HashSet, VecDeque};
use std::sync::Arc;

use async_trait::async_trait;
use futures::FutureExt;
use futures::future::BoxFuture;
use model::door::Error;
use model::door::buffer::{Reader, Stored};
use model::frame::Frame;
use model::{Progress, Slot, UnitId};

use crate::broker::{Broker, Consume, Consumer, Delivery, Failure, Message};
use crate::failure::{missing, recreated, rewound, unreadable};
use crate::fence::BEHIND_MAX;
use crate::gate::Holding;
use crate::lanes::{Inner, Stream};
use crate::link::Pauses;
use crate::meta::{Kind, Meta, StreamId};
use crate::names::{self, Shelf};
use crate::record::Record;

pub(crate) struct SlotReader<B: Broker> {
    inner: Arc<Inner<B>>,
    holding: Holding,
    stream: Arc<Stream>,
    slot: Slot,
    consumer: Option<Box<dyn Consumer>>,
    /// Kept here so that a caller that goes away again and again still gets a consumer.
    connecting: Option<BoxFuture<'static, Result<Box<dyn Consumer>, Error>>>,
    /// The consumer's number of the last message it gave.
    number: u64,
    /// Everything through this sequence was given or is settled.
    through: u64,
    /// Frames before this one were settled when the unit was claimed.
    start: u64,
    /// The last frame that was given of each lane.
    given: HashMap<UnitId, u64>,
    /// Frames above the position that are done.
    passed_over: HashSet<u64>,
    /// Read and not given yet, so that a caller that goes away loses nothing.
    ready: VecDeque<Stored>,
    pauses: Pauses,
    /// How often the broker had been silent for too long when the owner was looked at last.
    lapses: u64,
}

impl<B: Broker> SlotReader<B> {
    pub(crate) fn new(inner: Arc<Inner<B>>, holding: Holding, slot: Slot, progress: &Progress) -> Self {
        let id = StreamId::Partition(holding.unit().vertex.clone(), slot.partition);
        let stream = inner.stream(&id).expect("the slot was looked up when it was claimed").clone();
        let start = progress.position.sequence;
        let lapses = inner.link.lapses();
        Self {
            inner,
            holding,
            stream,
            slot,
            consumer: None,
            connecting: None,
            number: 0,
            through: start.saturating_sub(1),
            start,
            given: HashMap::new(),
            passed_over: progress.above.iter().copied().collect(),
            ready: VecDeque::new(),
            pauses: Pauses::without_end(),
            lapses,
        }
    }

    /// Looks who owns the unit if the broker was silent for so long that it may be somebody else.
    async fn confirm(&mut self) -> Result<(), Error> {
        while self.lapses != self.inner.link.lapses() {
            let holding = self.holding.clone();
            let claim = holding.unless_lost(current_claim(&self.inner, holding.unit())).await??;
            if claim > holding.claim {
                return Err(holding.lose());
            }
            self.lapses = self.inner.link.lapses();
        }
        Ok(())
    }

    /// Waits until the consumer has said something and takes it in.
    async fn hear(&mut self) -> Result<(), Error> {
        if let Some(consumer) = &mut self.consumer {
            let said = consumer.next().await;
            return self.take(said).await;
        }
        let connecting = self.connecting.get_or_insert_with(|| {
            Box::pin(connect(self.inner.clone(), self.stream.clone(), self.slot, self.through))
        });
        let connected = connecting.await;
        self.connecting = None;
        self.consumer = Some(connected?);
        self.number = 0;
        Ok(())
    }

    async fn take(&mut self, said: Result<Delivery, Failure>) -> Result<(), Error> {
        match self.inner.link.note(said) {
            Ok(Delivery::Message { number, pending: _, message }) if number == self.number + 1 => {
                self.number = number;
                self.pauses = Pauses::without_end();
                self.accept(message).await
            }
            Ok(Delivery::Idle { number }) if number == self.number => Ok(()),
            // Something was lost on the way.
            Ok(Delivery::Message { .. } | Delivery::Idle { .. }) => {
                self.consumer = None;
                Ok(())
            }
            Err(failure) => {
                self.consumer = None;
                if let Failure::Denied(_) = failure {
                    let attempted = format!("read stream {}", self.stream.name);
                    return Err(crate::failure::failed(attempted, failure));
                }
                self.inner.link.pause(&mut self.pauses).await;
                Ok(())
            }
        }
    }

    async fn accept(&mut self, message: Message) -> Result<(), Error> {
        let Message { sequence, subject, meta, payload } = message;
        if sequence <= self.through {
            return Ok(());
        }
        self.stream.reached(sequence);
        let Some((_, writer)) = names::read_frame(&subject) else {
            self.through = sequence;
            return Ok(());
        };
        let meta = Meta::decode(&meta).map_err(|error| unreadable(&subject, error))?;
        let known = self.given.get(&writer).copied().unwrap_or(0);
        if meta.previous > known && meta.previous >= self.start {
            // Whoever asks again is to see it again.
            self.consumer = None;
            return Err(gap(&self.inner, &self.holding, &self.stream, meta.previous).await);
        }
        self.given.insert(writer, sequence);
        self.through = sequence;
        if let (Kind::Data, Some(header)) = (meta.kind, meta.header)
            && !self.passed_over.remove(&sequence)
        {
            self.ready.push_back(Stored { sequence, frame: Frame { header, payload } });
        }
        Ok(())
    }

    fn give(&mut self, bytes_max: usize) -> Vec<Stored> {
        let mut bytes = 0;
        let mut given = Vec::new();
        while let Some(stored) = self.ready.front() {
            bytes += stored.frame.payload.len();
            if !given.is_empty() && bytes > bytes_max {
                break;
            }
            given.extend(self.ready.pop_front());
        }
        given
    }
}

/// A consumer after the last good frame, of the stream that positions speak of.
async fn connect<B: Broker>(
    inner: Arc<Inner<B>>,
    stream: Arc<Stream>,
    slot: Slot,
    through: u64,
) -> Result<Box<dyn Consumer>, Error> {
    let name = &stream.name;
    let mut behind = Pauses::at_most(BEHIND_MAX);
    loop {
        let state = inner.link.state(name, Pauses::without_end()).await?;
        if state.identity != stream.identity {
            return Err(recreated(name));
        }
        if state.last >= through {
            break;
        }
        if !inner.link.pause(&mut behind).await {
            return Err(rewound(name, state.last, through));
        }
    }
    let consume = Consume {
        stream: name.clone(),
        filters: vec![names::shelf(name, Shelf::of(slot))],
        after: through,
        headers_only: false,
        last_per_subject: false,
    };
    inner.link.consume(&consume, Pauses::without_end()).await
}

/// A frame is not there. If the unit went on under another owner that is as it should be.
async fn gap<B: Broker>(inner: &Inner<B>, holding: &Holding, stream: &Stream, sequence: u64) -> Error {
    match current_claim(inner, holding.unit()).await {
        Ok(claim) if claim > holding.claim => holding.lose(),
        Ok(_) => missing(holding.unit(), &stream.name, sequence),
        Err(error) => error,
    }
}

/// The last claim of a unit.
async fn current_claim<B: Broker>(inner: &Inner<B>, unit: &UnitId) -> Result<u64, Error> {
    let state = inner.stream(&StreamId::Units)?;
    let subject = names::unit(&state.name, unit);
    let tail = inner.link.last(&state.name, &subject, Pauses::without_end()).await?;
    let record = tail.map(|tail| Record::decode(&tail.meta)).transpose();
    Ok(record.map_err(|error| unreadable(&subject, error))?.map_or(0, |record| record.claim))
}

#[async_trait]
impl<B: Broker> Reader for SlotReader<B> {
    async fn read(&mut self, bytes_max: usize) -> Result<Vec<Stored>, Error> {
        let holding = self.holding.clone();
        holding.check()?;
        while self.ready.is_empty() {
            holding.unless_lost(self.hear()).await??;
        }
        // What is there already comes along, without waiting for more.
        let mut bytes: usize = self.ready.iter().map(|stored| stored.frame.payload.len()).sum();
        while bytes < bytes_max {
            let Some(said) = self.consumer.as_mut().and_then(|consumer| consumer.next().now_or_never())
            else {
                break;
            };
            let before = self.ready.len();
            let whole = said.is_ok();
            if !whole {
                // The next read finds out.
                self.consumer = None;
                break;
            }
            self.take(said).await?;
            bytes += self.ready.iter().skip(before).map(|stored| stored.frame.payload.len()).sum::<usize>();
        }
        self.confirm().await?;
        holding.check()?;
        Ok(self.give(bytes_max))
    }
}
