//! Surveys: a picture of all slots and units, folded from what every stream holds, by headers alone.
//!
//! A survey asks each stream's leader for its end, reads that far, and answers from the fold. What is folded is always
//! whole under cause and effect: a message is taken in only after everything that it says was stored before it. So the
//! picture is one that the pipeline was in, every commit in it as a whole or not at all. Where something was removed
//! before it could be read, what settled it was stored before that, so reading to the ends once more shows it.

use std::collections::{HashMap, VecDeque};
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use futures::FutureExt;
use futures::future::{Either, select, select_all, try_join_all};
use model::door::buffer::Survey;
use model::door::{Class, Error};

use crate::broker::{Broker, Consume, Consumer, Delivery, Failure};
use crate::failure::{recreated, rewound};
use crate::lanes::{Inner, Stream};
use crate::link::{ATTEMPTS_MAX, Link, Pauses};
use crate::meta::StreamId;
use crate::names;

mod fold;
use fold::{Event, Fold, Ready};

/// How often a picture is completed because something was removed while it was made.
const ROUNDS_MAX: u32 = 30;
/// How long a survey may take.
const WITHIN: Duration = Duration::from_secs(10);
/// How much of a stream may wait for what was stored before it.
const QUEUED_MAX: usize = 4096;

/// What one stream has said.
struct Feed {
    stream: Arc<Stream>,
    consumer: Option<Box<dyn Consumer>>,
    number: u64,
    queue: VecDeque<(u64, Event)>,
    arrived: u64,
    folded: u64,
    target: u64,
}

/// See the module.
pub(crate) struct Observer {
    feeds: Vec<Feed>,
    index: HashMap<StreamId, usize>,
    fold: Fold,
    /// Records that were overwritten before they could be read.
    skipped: u64,
}

/// A picture of everything.
pub(crate) async fn survey<B: Broker>(inner: &Inner<B>) -> Result<Survey, Error> {
    let mut guard = inner.observer.lock().await;
    let observer = guard.get_or_insert_with(|| Observer::new(inner));
    let made = picture(inner, observer).await;
    if made.is_err() {
        // Whatever was wrong, the next one begins afresh.
        *guard = None;
    }
    made
}

/// A picture of everything by somebody who does not need another one.
pub(crate) async fn glance<B: Broker>(inner: &Inner<B>) -> Result<Survey, Error> {
    picture(inner, &mut Observer::new(inner)).await
}

async fn picture<B: Broker>(inner: &Inner<B>, observer: &mut Observer) -> Result<Survey, Error> {
    {
        let look = pin!(observer.look(&inner.link));
        match select(look, pin!(inner.link.broker.sleep(WITHIN))).await {
            Either::Left((made, _)) => made?,
            Either::Right(_) => {
                let attempted = format!("survey the buffer: it took longer than {} s", WITHIN.as_secs());
                return Err(Error::new(Class::Retry, attempted));
            }
        }
    }
    Ok(observer.fold.survey(inner))
}

impl Feed {
    fn consume(&self) -> Consume {
        let name = &self.stream.name;
        let filters = match self.stream.id {
            StreamId::Units => vec![names::records(name)],
            StreamId::Notes | StreamId::Ids | StreamId::Partition(..) => {
                vec![names::everything(name)]
            }
        };
        let after = self.arrived;
        Consume { stream: name.clone(), filters, after, headers_only: true, last_per_subject: false }
    }

    /// The next thing that the stream says. Dropping the future loses nothing.
    async fn next<B: Broker>(&mut self, link: &Link<B>) -> Result<Delivery, Failure> {
        loop {
            if let Some(consumer) = &mut self.consumer {
                return link.note(consumer.next().await);
            }
            self.consumer = Some(link.note(link.broker.consume(self.consume()).await)?);
            self.number = 0;
        }
    }

    /// Takes it in. False when it was a failure, which passes.
    fn take(&mut self, said: Result<Delivery, Failure>) -> Result<bool, Error> {
        match said {
            Ok(Delivery::Message { number, pending: _, message }) if number == self.number + 1 => {
                self.number = number;
                self.arrived = message.sequence;
                self.queue.push_back((message.sequence, Event::read(&self.stream.id, message)?));
            }
            Ok(Delivery::Idle { number }) if number == self.number => {}
            Ok(Delivery::Message { .. } | Delivery::Idle { .. }) => self.consumer = None,
            Err(failure @ (Failure::Denied(_) | Failure::NoStream(_))) => {
                return Err(Error::caused(
                    Class::Fatal,
                    format!("read stream {}", self.stream.name),
                    failure,
                ));
            }
            Err(_) => {
                self.consumer = None;
                return Ok(false);
            }
        }
        Ok(true)
    }

    fn wants_more(&self) -> bool {
        self.queue.is_empty() || (self.arrived < self.target && self.queue.len() < QUEUED_MAX)
    }
}

async fn next_of<B: Broker>(
    at: usize,
    feed: &mut Feed,
    link: &Link<B>,
) -> (usize, Result<Delivery, Failure>) {
    (at, feed.next(link).await)
}

impl Observer {
    fn new<B: Broker>(inner: &Inner<B>) -> Self {
        let feed = |stream: &Arc<Stream>| Feed {
            stream: stream.clone(),
            consumer: None,
            number: 0,
            queue: VecDeque::new(),
            arrived: 0,
            folded: 0,
            target: 0,
        };
        let streams =
            inner.streams.values().filter(|stream| !matches!(stream.id, StreamId::Ids | StreamId::Notes));
        let feeds: Vec<_> = streams.map(feed).collect();
        let index = feeds.iter().enumerate().map(|(at, feed)| (feed.stream.id.clone(), at)).collect();
        Self { feeds, index, fold: Fold::default(), skipped: 0 }
    }

    async fn look<B: Broker>(&mut self, link: &Link<B>) -> Result<(), Error> {
        for _ in 0..ROUNDS_MAX {
            let (blind, skipped) = (self.fold.blind(), self.skipped);
            self.aim(link).await?;
            self.read_to_targets(link).await?;
            let records = &self.feeds[self.index[&StreamId::Units]];
            let whole = self.fold.complete_at() >= records.target || self.skipped == skipped;
            if whole && self.fold.blind() == blind {
                return Ok(());
            }
        }
        let attempted =
            format!("survey the buffer: frames were removed faster than read, {ROUNDS_MAX} times");
        Err(Error::new(Class::Retry, attempted))
    }

    /// Asks every stream for its end.
    async fn aim<B: Broker>(&mut self, link: &Link<B>) -> Result<(), Error> {
        let ask = |feed: &Feed| feed.stream.clone();
        let streams: Vec<_> = self.feeds.iter().map(ask).collect();
        let states: Vec<_> =
            streams.iter().map(|stream| link.state(&stream.name, Pauses::at_most(ATTEMPTS_MAX))).collect();
        let states = try_join_all(states).await?;
        for (feed, state) in self.feeds.iter_mut().zip(states) {
            if state.identity != feed.stream.identity {
                return Err(recreated(&feed.stream.name));
            }
            if state.last < feed.arrived {
                // It may be a former leader that does not know yet.
                let error = rewound(&feed.stream.name, state.last, feed.arrived);
                return Err(Error::caused(Class::Retry, "survey the buffer", error));
            }
            feed.target = state.last;
        }
        Ok(())
    }

    async fn read_to_targets<B: Broker>(&mut self, link: &Link<B>) -> Result<(), Error> {
        let mut pauses = Pauses::without_end();
        loop {
            self.fold_all();
            if self.feeds.iter().all(|feed| feed.folded >= feed.target) {
                return Ok(());
            }
            let more = self.feeds.iter_mut().enumerate().filter(|(_, feed)| feed.wants_more());
            let more: Vec<_> = more.map(|(at, feed)| Box::pin(next_of(at, feed, link))).collect();
            let ((at, said), _, _) = select_all(more).await;
            if !self.feeds[at].take(said)? {
                link.pause(&mut pauses).await;
            }
            for feed in &mut self.feeds {
                while feed.wants_more()
                    && let Some(said) =
                        feed.consumer.as_mut().and_then(|consumer| consumer.next().now_or_never())
                {
                    feed.take(link.note(said))?;
                }
            }
        }
    }

    /// Folds everything whose causes are folded.
    fn fold_all(&mut self) {
        let mut again = true;
        while again {
            again = false;
            for at in 0..self.feeds.len() {
                while let Some((sequence, event)) = self.feeds[at].queue.front() {
                    let ready = self.fold.ready(event, *sequence, |stream, cause| self.seen(stream, cause));
                    if ready == Ready::Wait {
                        break;
                    }
                    let sequence = *sequence;
                    let feed = &mut self.feeds[at];
                    let whole = feed.folded + 1 == sequence;
                    let records = feed.stream.id == StreamId::Units;
                    self.skipped += u64::from(records && !whole);
                    let ready = if whole || records { ready } else { Ready::Blind };
                    let (_, event) = feed.queue.pop_front().expect("it is in front");
                    feed.folded = sequence;
                    self.fold.take(event, sequence, ready);
                    again = true;
                }
            }
        }
    }

    /// Whether a message of a stream is folded; `Blind` when it was removed before it could be read.
    fn seen(&self, stream: &StreamId, sequence: u64) -> Ready {
        let Some(feed) = self.index.get(stream).map(|at| &self.feeds[*at]) else { return Ready::Seen };
        if feed.folded >= sequence {
            Ready::Seen
        } else if feed.queue.front().is_some_and(|(front, _)| *front > sequence) {
            Ready::Blind
        } else {
            Ready::Wait
        }
    }
}
