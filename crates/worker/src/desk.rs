//! The desk in front of a vertex's sinks: units hand in messages, the desk writes them in batches and says what became
//! of each.
//!
//! There is one write at a time. While it is under way requests collect, and the next write takes them together, so
//! that a trickle leaves at once and a flood in full batches.

use std::fmt;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use model::Message;
use model::door::sink::{Outcome, Replacement, Sink};
use model::door::{Class, Error};
use model::verdict::Nack;
use tokio::sync::{mpsc, oneshot};
use tokio_util::sync::CancellationToken;
use tracing::warn;

use crate::backoff::{Next, Patience, Strategy};
use crate::metrics::Metrics;
use crate::setup::{Bypass, Sinks, Watermark};
use crate::stage::Leaving;

/// Requests that may wait at the desk; each unit has a handful at most.
const WAITING_MAX: usize = 256;
/// The wait before the fallback or on-success sink is tried again, at first and at most.
const REPEAT_FIRST: Duration = Duration::from_millis(1);
const REPEAT_MAX: Duration = Duration::from_secs(1);

/// Which sink a request is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Window {
    Primary,
    Fallback,
    OnSuccess,
}

/// What was written, and what of it comes back.
#[derive(Debug, Default)]
pub(crate) struct Written {
    /// What was handed in.
    pub(crate) messages: Vec<Message>,
    /// What the sink sends back, by place, ascending; everything else is done.
    pub(crate) back: Vec<(u32, Nack)>,
}

impl fmt::Display for Window {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Primary => "primary",
            Self::Fallback => "fallback",
            Self::OnSuccess => "on-success",
        })
    }
}

struct Request {
    to: Window,
    messages: Vec<Message>,
    /// Of the unit that asks.
    leaving: Leaving,
    answer: oneshot::Sender<Written>,
}

/// Hands messages in.
#[derive(Clone)]
pub(crate) struct DeskHandle {
    requests: mpsc::Sender<Request>,
    cut: CancellationToken,
}

/// The error of what was given up because its worker was cut off. Nothing of it has happened as far as anybody knows,
/// so that the next owner does it again.
pub(crate) fn cut_off() -> Error {
    Error::new(Class::Lost, "finish what is in hand: the worker was cut off")
}

/// The error of what was not written because its unit may belong to somebody else.
fn in_doubt() -> Error {
    Error::new(Class::Lost, "write to the sink: the unit may belong to another worker, and is claimed again")
}

impl DeskHandle {
    /// Writes messages. Fails when the worker is cut off, or the unit gives up, before the sink was asked, and when the
    /// desk has closed, which it does only after an error that it has returned to the worker.
    pub(crate) async fn write(
        &self,
        to: Window,
        messages: Vec<Message>,
        leaving: &Leaving,
    ) -> Result<Written, Error> {
        if messages.is_empty() {
            return Ok(Written::default());
        }
        let gone = || {
            if self.cut.is_cancelled() {
                return cut_off();
            }
            if leaving.has_given_up() {
                return leaving.give_up();
            }
            if leaving.is_in_doubt() {
                return in_doubt();
            }
            Error::new(Class::Fatal, "write to the sink: it has stopped")
        };
        let (answer, answered) = oneshot::channel();
        let request = Request { to, messages, leaving: leaving.clone(), answer };
        self.requests.send(request).await.map_err(|_| gone())?;
        answered.await.map_err(|_| gone())
    }
}

/// Owns the sinks of one replica.
pub(crate) struct Desk {
    primary: Box<dyn Sink>,
    fallback: Option<Box<dyn Sink>>,
    on_success: Option<Box<dyn Sink>>,
    again: Strategy,
    batch_max: usize,
    watermark: Watermark,
    metrics: Arc<Metrics>,
    requests: mpsc::Receiver<Request>,
    /// Of a unit that has something in the present batch.
    leaving: Leaving,
    /// What has not begun shall not begin any more.
    cut: CancellationToken,
}

/// What one write left to do, by place in the batch.
#[derive(Default)]
struct Left {
    failed: Vec<u32>,
    fallback: Vec<u32>,
    on_success: Vec<(u32, Option<Box<Replacement>>)>,
    back: Vec<(u32, Nack)>,
    complaint: Option<String>,
}

impl Desk {
    pub(crate) fn new(
        sinks: Sinks,
        batch_max: usize,
        (watermark, metrics): (Watermark, Arc<Metrics>),
        cut: CancellationToken,
    ) -> (Self, DeskHandle, Bypass) {
        let Sinks { primary, fallback, on_success, again, bypass } = sinks;
        let (sender, requests) = mpsc::channel(WAITING_MAX);
        let handle = DeskHandle { requests: sender, cut: cut.clone() };
        let leaving = Leaving::default();
        let desk = Self {
            primary,
            fallback,
            on_success,
            again,
            batch_max,
            watermark,
            metrics,
            requests,
            leaving,
            cut,
        };
        (desk, handle, bypass)
    }

    /// Writes until every handle is gone, then closes the sinks. Once it is cut off it answers nobody any more.
    pub(crate) async fn run(mut self) -> Result<(), Error> {
        let mut held: Option<Request> = None;
        loop {
            let first = match held.take() {
                Some(request) => request,
                None => match self.requests.recv().await {
                    Some(request) => request,
                    None => break,
                },
            };
            if self.cut.is_cancelled() || first.leaving.has_given_up() || first.leaving.is_in_doubt() {
                continue;
            }
            let Request { to, mut messages, leaving, answer } = first;
            let mut parts = vec![(messages.len(), answer)];
            while messages.len() < self.batch_max {
                let Ok(next) = self.requests.try_recv() else { break };
                if next.leaving.has_given_up() || next.leaving.is_in_doubt() {
                    continue;
                }
                if next.to != to || messages.len() + next.messages.len() > self.batch_max {
                    held = Some(next);
                    break;
                }
                parts.push((next.messages.len(), next.answer));
                messages.extend(next.messages);
            }
            // A lapse puts whoever began before it in doubt, so that one speaks for all of a batch.
            self.leaving = leaving;
            let back = match to {
                Window::Primary => self.write_primary(&messages).await?,
                Window::Fallback | Window::OnSuccess => self.write_side(to, &messages).await?,
            };
            let Some(mut back) = back else { continue };
            back.sort_by_key(|(at, _)| *at);
            hand_back(parts, messages, back);
        }
        let sinks = [Some(&mut self.primary), self.fallback.as_mut(), self.on_success.as_mut()];
        for sink in sinks.into_iter().flatten() {
            sink.close().await?;
        }
        Ok(())
    }

    /// What comes back of a batch; none when it was cut off before all of it was taken.
    async fn write_primary(&mut self, messages: &[Message]) -> Result<Option<Vec<(u32, Nack)>>, Error> {
        let outcomes = self.write_once(Window::Primary, messages).await?;
        let mut left = sort(outcomes);
        let mut failed = std::mem::take(&mut left.failed);
        let mut attempts = 1;
        while !failed.is_empty() {
            self.metrics.write_error.inc_by(failed.len() as u64);
            match self.again.next(attempts, fastrand::f64()) {
                Next::After(wait) => {
                    warn_sometimes(Window::Primary, attempts, failed.len(), left.complaint.take());
                    if !self.waits(wait).await {
                        return Ok(None);
                    }
                }
                Next::Fallback => {
                    left.fallback.append(&mut failed);
                    break;
                }
                Next::Drop => {
                    self.metrics.dropped.sink_retries.inc_by(failed.len() as u64);
                    break;
                }
            }
            let count = Bytes::from(attempts.to_string());
            let batch: Vec<_> = failed.iter().map(|at| tried(&messages[*at as usize], &count)).collect();
            failed = self.again(Window::Primary, &batch, &failed, &mut left).await?;
            attempts += 1;
        }
        let elsewhere = left.fallback.len() + left.back.len() + failed.len();
        self.metrics.write.inc_by((messages.len() - elsewhere) as u64);
        self.write_sides(messages, left).await
    }

    /// Writes what failed before once more and notes what comes of it; gives what failed again.
    async fn again(
        &mut self,
        to: Window,
        batch: &[Message],
        places: &[u32],
        left: &mut Left,
    ) -> Result<Vec<u32>, Error> {
        let place = |at: u32| places[at as usize];
        let more = sort(self.write_once(to, batch).await?);
        left.fallback.extend(more.fallback.into_iter().map(place));
        left.on_success.extend(more.on_success.into_iter().map(|(at, word)| (place(at), word)));
        left.back.extend(more.back.into_iter().map(|(at, nack)| (place(at), nack)));
        left.complaint = more.complaint;
        Ok(more.failed.into_iter().map(place).collect())
    }

    /// Hands what the primary sink refers on to the other sinks; gives everything that comes back.
    async fn write_sides(
        &mut self,
        messages: &[Message],
        left: Left,
    ) -> Result<Option<Vec<(u32, Nack)>>, Error> {
        let Left { mut fallback, on_success, mut back, failed: _, complaint: _ } = left;
        fallback.sort_unstable();
        let batch: Vec<_> = fallback.iter().map(|at| messages[*at as usize].clone()).collect();
        let Some(refused) = self.write_side(Window::Fallback, &batch).await? else { return Ok(None) };
        back.extend(refused.into_iter().map(|(at, nack)| (fallback[at as usize], nack)));
        if self.on_success.is_some() {
            let (places, batch): (Vec<u32>, Vec<Message>) =
                on_success.into_iter().map(|(at, word)| (at, replaced(&messages[at as usize], word))).unzip();
            let Some(refused) = self.write_side(Window::OnSuccess, &batch).await? else { return Ok(None) };
            back.extend(refused.into_iter().map(|(at, nack)| (places[at as usize], nack)));
        }
        Ok(Some(back))
    }

    /// Writes to the fallback or on-success sink until everything is there; only a nack gets a message out of it.
    /// None when it was cut off before that.
    async fn write_side(
        &mut self,
        to: Window,
        messages: &[Message],
    ) -> Result<Option<Vec<(u32, Nack)>>, Error> {
        if messages.is_empty() {
            return Ok(Some(Vec::new()));
        }
        let mut left = Left::default();
        let places: Vec<u32> = (0..messages.len() as u32).collect();
        let mut failed = self.again(to, messages, &places, &mut left).await?;
        let (mut attempts, mut wait) = (1, REPEAT_FIRST);
        loop {
            if !left.fallback.is_empty() || !left.on_success.is_empty() {
                let attempted = format!("write to the {to} sink: it refers to another sink itself");
                return Err(Error::new(Class::Fatal, attempted));
            }
            if failed.is_empty() {
                break;
            }
            self.metrics.write_error.inc_by(failed.len() as u64);
            warn_sometimes(to, attempts, failed.len(), left.complaint.take());
            if !self.waits(wait).await {
                return Ok(None);
            }
            wait = (wait * 2).min(REPEAT_MAX);
            let count = Bytes::from(attempts.to_string());
            let batch: Vec<_> = failed.iter().map(|at| tried(&messages[*at as usize], &count)).collect();
            failed = self.again(to, &batch, &failed, &mut left).await?;
            attempts += 1;
        }
        let counter = match to {
            Window::Primary => &self.metrics.write,
            Window::Fallback => &self.metrics.write_fallback,
            Window::OnSuccess => &self.metrics.write_on_success,
        };
        counter.inc_by((messages.len() - left.back.len()) as u64);
        Ok(Some(left.back))
    }

    /// Waits before something is tried again; false when it shall not be.
    async fn waits(&mut self, wait: Duration) -> bool {
        tokio::select! {
            () = tokio::time::sleep(wait) => !self.leaving.is_in_doubt(),
            () = self.cut.cancelled() => false,
        }
    }

    /// One write that was answered; one of which nothing is known is repeated.
    async fn write_once(&mut self, to: Window, batch: &[Message]) -> Result<Vec<Outcome>, Error> {
        let sink = match to {
            Window::Primary => Some(&mut self.primary),
            Window::Fallback => self.fallback.as_mut(),
            Window::OnSuccess => self.on_success.as_mut(),
        };
        let sink = sink.ok_or_else(|| {
            Error::new(Class::Fatal, format!("write to the {to} sink: the vertex has none"))
        })?;
        let mut patience = Patience::default();
        loop {
            let started = Instant::now();
            match sink.write(batch, self.watermark.get()).await {
                Ok(outcomes) => {
                    assert_eq!(outcomes.len(), batch.len(), "a sink gives one outcome for each message");
                    self.metrics.write_time.observe(started.elapsed().as_secs_f64() * 1e6);
                    return Ok(outcomes);
                }
                Err(error) => {
                    self.metrics.write_error.inc_by(batch.len() as u64);
                    patience.after(error).await?;
                }
            }
        }
    }
}

fn warn_sometimes(to: Window, attempts: u32, failed: usize, complaint: Option<String>) {
    if attempts.is_power_of_two() {
        let error = complaint.unwrap_or_default();
        warn!(sink = %to, attempts, failed, error, "sink does not take messages; trying again");
    }
}

/// Answers every request with its own messages.
fn hand_back(parts: Vec<(usize, oneshot::Sender<Written>)>, messages: Vec<Message>, back: Vec<(u32, Nack)>) {
    let mut back = back.into_iter().peekable();
    let mut rest = messages;
    let mut first = 0;
    for (count, answer) in parts {
        let later = if rest.len() > count { rest.split_off(count) } else { Vec::new() };
        let messages = std::mem::replace(&mut rest, later);
        let mut own = Vec::new();
        while let Some((at, nack)) = back.next_if(|(at, _)| (*at as usize) < first + count) {
            own.push((at - first as u32, nack));
        }
        first += count;
        // A unit that was taken away does not wait for its answer any more.
        drop(answer.send(Written { messages, back: own }));
    }
}

/// The message with the number of times it was tried, for user code.
fn tried(message: &Message, count: &Bytes) -> Message {
    let attributes = message.attributes.with_system("sink", "retry_count", count.clone());
    Message { attributes, ..message.clone() }
}

fn replaced(message: &Message, word: Option<Box<Replacement>>) -> Message {
    let Some(word) = word else { return message.clone() };
    let Replacement { value, keys, user } = *word;
    Message { value, keys, attributes: message.attributes.with_user(user), ..message.clone() }
}

fn sort(outcomes: Vec<Outcome>) -> Left {
    let mut left = Left::default();
    for (at, outcome) in (0..).zip(outcomes) {
        match outcome {
            Outcome::Done => {}
            Outcome::Failed(complaint) => {
                left.failed.push(at);
                left.complaint.get_or_insert(complaint);
            }
            Outcome::Fallback => left.fallback.push(at),
            Outcome::Serve(_) => {
                left.failed.push(at);
                left.complaint.get_or_insert_with(|| {
                    "the message asks to be served, and nothing here serves".to_owned()
                });
            }
            Outcome::OnSuccess(word) => left.on_success.push((at, word)),
            Outcome::Nack(nack) => left.back.push((at, nack)),
        }
    }
    left
}
