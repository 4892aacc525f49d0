//! The broker as a process sees it: requests that are on their way, and a consumer.
//!
//! A request that was sent goes on whatever becomes of the process that sent it: whether it is killed, suspended, or
//! simply does not wait.

use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;

use async_trait::async_trait;
use futures::channel::oneshot;
use futures::future::{BoxFuture, poll_fn};
use lane::broker::{
    Broker, Consume, Consumer, Delivery, Failure, Limits, Message, Publish, StreamName, StreamState,
};
use model::Time;
use tidegate_lane as lane;

use super::cluster::{Cluster, HEARTBEAT, HEARTBEATS_MISSED_MAX, Line};
use super::faults::{Fate, Faults};

/// When every simulation begins.
const EPOCH: Time = Time::from_millis(1_700_000_000_000);

/// The connection of one process, which may be away.
#[derive(Clone)]
pub(crate) struct SimBroker {
    cluster: Cluster,
    limits: Limits,
    wire: Arc<Mutex<Wire>>,
}

#[derive(Default)]
struct Wire {
    /// Nothing gets through before this.
    away_until: Duration,
    /// When the broker was last heard of.
    heard: Duration,
}

impl SimBroker {
    pub(crate) fn new(cluster: Cluster, message_bytes_max: usize) -> Self {
        let wire = Wire { heard: cluster.ground().now(), ..Wire::default() };
        Self { cluster, limits: Limits { message_bytes_max }, wire: Arc::new(Mutex::new(wire)) }
    }

    /// Nothing gets through for so long; what has been sent already does.
    pub(crate) fn cut_off(&self, lasts: Duration) {
        let until = self.cluster.ground().now() + lasts;
        self.wire().away_until = until;
    }

    /// How long ago anything was heard of the broker.
    pub(crate) fn silence(&self) -> Duration {
        let now = self.cluster.ground().now();
        now.saturating_sub(self.wire().heard)
    }

    fn wire(&self) -> MutexGuard<'_, Wire> {
        self.wire.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn is_cut_off(&self) -> bool {
        let now = self.cluster.ground().now();
        self.wire().away_until > now
    }

    fn hear(&self) {
        let now = self.cluster.ground().now();
        self.wire().heard = now;
    }

    /// Has the leader of a stream do something and waits for its answer.
    async fn ask<T: Send + 'static>(
        &self,
        stream: &StreamName,
        deed: impl FnOnce(&Cluster) -> Result<T, Failure> + Send + 'static,
    ) -> Result<T, Failure> {
        if self.is_cut_off() {
            self.cluster.ground().sleep(Faults::PATIENCE).await;
            return Err(Failure::Unavailable("there is no connection".to_owned()));
        }
        let (sender, answer) = oneshot::channel();
        let unanswered = || Err(Failure::Unanswered("the connection was lost".to_owned()));
        let unavailable = || Err(Failure::Unavailable("there is no leader".to_owned()));
        let tell = |sender: oneshot::Sender<Result<T, Failure>>, result| {
            // Whoever asked may have gone.
            drop(sender.send(result));
        };
        let (cluster, stream) = (self.cluster.clone(), stream.clone());
        let ground = cluster.ground().clone();
        let asked = move |cluster: &Cluster| {
            if cluster.is_away(&stream) { unavailable() } else { deed(cluster) }
        };
        match self.cluster.fate() {
            Fate::Answered(go, back) => {
                let then = ground.clone();
                let arrive = move || {
                    let result = asked(&cluster);
                    then.later(back, Box::new(move || tell(sender, result)));
                };
                ground.later(go, Box::new(arrive));
            }
            Fate::Lost(patience) => ground.later(patience, Box::new(move || tell(sender, unanswered()))),
            Fate::Unanswered(go, patience) => {
                ground.later(go, Box::new(move || drop(asked(&cluster))));
                ground.later(patience, Box::new(move || tell(sender, unanswered())));
            }
            Fate::Unavailable(after) => ground.later(after, Box::new(move || tell(sender, unavailable()))),
        }
        self.cluster.ground().turn().await;
        let answer = answer.await.unwrap_or_else(|_| unanswered());
        if self.is_cut_off() {
            return unanswered();
        }
        if !matches!(answer, Err(Failure::Unanswered(_))) {
            self.hear();
        }
        answer
    }
}

#[async_trait]
impl Broker for SimBroker {
    fn limits(&self) -> Limits {
        self.limits
    }

    fn now(&self) -> Time {
        EPOCH.after(self.cluster.ground().now())
    }

    async fn sleep(&self, duration: Duration) {
        self.cluster.ground().sleep(duration).await;
    }

    async fn publish(&self, publish: Publish) -> Result<u64, Failure> {
        let limit = self.limits.message_bytes_max;
        assert!(
            publish.subject.strip_prefix(publish.stream.as_str()).is_some_and(|rest| rest.starts_with('.')),
            "subject {} belongs to stream {}",
            publish.subject,
            publish.stream
        );
        if publish.meta.len() + publish.payload.len() > limit {
            return Err(Failure::TooLarge { limit });
        }
        let stream = publish.stream.clone();
        self.ask(&stream, move |cluster| cluster.publish(publish)).await
    }

    async fn last(&self, stream: &StreamName, filter: &str) -> Result<Option<Message>, Failure> {
        let (name, filter) = (stream.clone(), filter.to_owned());
        let last = move |cluster: &Cluster| {
            let mut state = cluster.lock();
            let stream = state.streams.get_mut(&name).ok_or(Failure::NoStream(name))?;
            Ok(stream.last_under(&filter).cloned())
        };
        self.ask(stream, last).await
    }

    async fn get(&self, stream: &StreamName, sequence: u64) -> Result<Option<Message>, Failure> {
        let name = stream.clone();
        let get = move |cluster: &Cluster| {
            let state = cluster.lock();
            let stream = state.streams.get(&name).ok_or(Failure::NoStream(name))?;
            Ok(stream.get(sequence).cloned())
        };
        self.ask(stream, get).await
    }

    async fn purge(&self, stream: &StreamName, filter: &str, through: u64) -> Result<(), Failure> {
        let (name, filter) = (stream.clone(), filter.to_owned());
        let purge = move |cluster: &Cluster| {
            let mut state = cluster.lock();
            let stream = state.streams.get_mut(&name).ok_or(Failure::NoStream(name))?;
            stream.purge(&filter, through);
            Ok(())
        };
        self.ask(stream, purge).await
    }

    async fn state(&self, stream: &StreamName) -> Result<StreamState, Failure> {
        let name = stream.clone();
        let state = move |cluster: &Cluster| {
            let state = cluster.lock();
            let stream = state.streams.get(&name).ok_or(Failure::NoStream(name))?;
            Ok(stream.state())
        };
        self.ask(stream, state).await
    }

    async fn consume(&self, consume: Consume) -> Result<Box<dyn Consumer>, Failure> {
        let (stream, broker) = (consume.stream.clone(), self.clone());
        let begin = move |cluster: &Cluster| {
            let (id, line) = cluster.consume(consume)?;
            Ok(SimConsumer { broker, id, line, timer: None })
        };
        let consumer = self.ask(&stream, begin).await?;
        Ok(Box::new(consumer))
    }
}

struct SimConsumer {
    broker: SimBroker,
    id: u64,
    line: Arc<Mutex<Line>>,
    /// Runs until the next heartbeat.
    timer: Option<(Duration, BoxFuture<'static, ()>)>,
}

impl SimConsumer {
    fn poll(&mut self, context: &mut Context<'_>) -> Poll<Result<Delivery, Failure>> {
        loop {
            if self.broker.is_cut_off() {
                return Poll::Ready(Err(Failure::Unavailable("there is no connection".to_owned())));
            }
            let due = {
                let now = self.broker.cluster.ground().now();
                let mut line = self.line.lock().unwrap_or_else(PoisonError::into_inner);
                if let Some(delivery) = line.arrived.pop_front() {
                    drop(line);
                    self.broker.hear();
                    self.broker.cluster.go_on(self.id);
                    return Poll::Ready(Ok(delivery));
                }
                if line.cut {
                    return Poll::Ready(Err(Failure::Unavailable("the consumer was cut".to_owned())));
                }
                let patience = if line.dead { HEARTBEAT * HEARTBEATS_MISSED_MAX } else { HEARTBEAT };
                let due = line.heard + patience;
                if now >= due && line.dead {
                    line.cut = true;
                    return Poll::Ready(Err(Failure::Unavailable("the consumer is not heard of".to_owned())));
                }
                if now >= due {
                    line.heard = now;
                    self.broker.hear();
                    return Poll::Ready(Ok(Delivery::Idle { number: line.passed }));
                }
                line.waker = Some(context.waker().clone());
                due
            };
            if self.wait(due, context).is_pending() {
                return Poll::Pending;
            }
        }
    }

    fn wait(&mut self, due: Duration, context: &mut Context<'_>) -> Poll<()> {
        if self.timer.as_ref().is_none_or(|(former, _)| *former != due) {
            let ground = self.broker.cluster.ground();
            self.timer = Some((due, ground.sleep(due.saturating_sub(ground.now()))));
        }
        let (_, timer) = self.timer.as_mut().expect("it was set");
        let poll = Pin::new(timer).poll(context);
        if poll.is_ready() {
            self.timer = None;
        }
        poll
    }
}

#[async_trait]
impl Consumer for SimConsumer {
    async fn next(&mut self) -> Result<Delivery, Failure> {
        poll_fn(|context| self.poll(context)).await
    }
}

impl Drop for SimConsumer {
    fn drop(&mut self) {
        self.broker.cluster.leave(self.id);
    }
}
