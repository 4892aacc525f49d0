//! The loop of the retry unit: messages that wait for their time and are then tried again, each on its own.
//!
//! They become due out of order, so the unit's progress is a floor and a bounded set above it. Nobody else waits for
//! them: when the set grows large because of a message that waits long, that message is written again at the end of
//! the slot.

use std::collections::{BTreeMap, BTreeSet};
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Instant;

use futures::StreamExt;
use futures::stream::FuturesUnordered;
use model::door::buffer::{Reader, Stored};
use model::door::{Class, Error};
use model::{Message, Position, Progress, Slot, Time};
use tokio_util::sync::CancellationToken;

use crate::backoff::Patience;
use crate::batch::{Bundle, Processed, Ready, Steps, Work};
use crate::inlet::decode;
use crate::metrics::Metrics;
use crate::stage::{Hold, Leaving, Stage, now, wait_until};
use crate::tail::Tail;
use crate::throttle::Gate;
use crate::unit::{End, Gauge, Load, Settling};

mod floor;

use floor::Floor;

const READ_BYTES: usize = 16 * 1024;
/// Messages held in memory while they wait; what is beyond waits in the slot.
const WAITING_MAX: usize = 16 * 1024;
const WAITING_BYTES_MAX: usize = 16 * 1024 * 1024;
/// Frames done above the floor at which the oldest waiting ones move up, and at which nothing else is tried. What is
/// in hand fits on top.
const ABOVE_MANY: usize = Progress::ABOVE_MAX / 2;
const ABOVE_STOP: usize = Progress::ABOVE_MAX / 4 * 3;
/// How many move up together.
const MOVED_MAX: usize = 64;
const IN_HAND_MAX: usize = 64;
/// Messages that may wait to be committed before nothing else is tried.
const READY_MAX: usize = 512;

pub(crate) struct RetryLoop {
    pub(crate) reader: Box<dyn Reader>,
    pub(crate) progress: Progress,
    pub(crate) stage: Arc<Stage>,
    pub(crate) tail: Box<Tail>,
    pub(crate) metrics: Arc<Metrics>,
    pub(crate) gauge: Arc<Gauge>,
    pub(crate) finish: CancellationToken,
    /// The way through the rate limit, where there is one.
    pub(crate) gate: Option<Gate>,
}

type Trying = Pin<Box<dyn Future<Output = (u64, Result<Processed, Error>)> + Send>>;

/// A frame that waits; it holds one message.
struct Waiting {
    due: Time,
    messages: Vec<Message>,
    bytes: usize,
}

enum Event {
    Settled(Load),
    Tried(u64, Processed),
    Finish,
    /// What is not done is given up.
    Cut,
    /// One message is given up: it stays in the slot.
    GivenUp,
    /// A message was not written because the unit may have another owner.
    Doubted,
    Due,
    /// More may begin.
    More,
    Read(Vec<Stored>),
}

/// Everything in hand.
struct Hand {
    reader: Box<dyn Reader>,
    floor: Floor,
    waiting: BTreeMap<u64, Waiting>,
    waiting_bytes: usize,
    due: BTreeSet<(Time, u64)>,
    trying: FuturesUnordered<Trying>,
    ready: Ready,
    /// The sequences behind `ready`, in its order.
    done: Vec<u64>,
    /// The last one that was moved up.
    moved: Option<u64>,
    bytes_max: usize,
    gate: Option<Gate>,
    /// The rate limit lets nothing begin at this moment.
    refused: bool,
    /// The worker is cut off.
    cut: CancellationToken,
}

impl Hand {
    fn empty(
        reader: Box<dyn Reader>,
        progress: Progress,
        bytes_max: usize,
        gate: Option<Gate>,
        cut: CancellationToken,
    ) -> Self {
        Self {
            reader,
            floor: Floor::new(progress),
            waiting: BTreeMap::new(),
            waiting_bytes: 0,
            due: BTreeSet::new(),
            trying: FuturesUnordered::new(),
            ready: Ready::default(),
            done: Vec::new(),
            moved: None,
            bytes_max,
            gate,
            refused: false,
            cut,
        }
    }

    fn add(&mut self, stored: &Stored) -> Result<u64, Error> {
        let messages = decode(stored, Slot::RETRY)?;
        assert_eq!(messages.len(), 1, "a frame of the retry slot holds one message");
        let count = messages.len() as u64;
        let times = messages.iter().filter_map(|message| message.redelivery.as_ref());
        let due = times.map(|redelivery| redelivery.not_before).max().unwrap_or(Time::MIN);
        let bytes = messages.iter().map(Message::size_hint).sum();
        self.floor.opened(stored.sequence);
        self.due.insert((due, stored.sequence));
        self.waiting_bytes += bytes;
        self.waiting.insert(stored.sequence, Waiting { due, messages, bytes });
        Ok(count)
    }

    fn take(&mut self, sequence: u64) -> Option<Vec<Message>> {
        let Waiting { due, messages, bytes } = self.waiting.remove(&sequence)?;
        self.due.remove(&(due, sequence));
        self.waiting_bytes -= bytes;
        Some(messages)
    }

    fn may_try(&self) -> bool {
        let above = self.floor.above() + self.done.len() + self.trying.len();
        self.trying.len() < IN_HAND_MAX
            && self.ready.len() < READY_MAX
            && self.ready.bytes() < self.bytes_max
            && above < ABOVE_STOP
    }

    /// Begins to try what is due.
    fn try_due(&mut self, stage: &Arc<Stage>, leaving: &Leaving) {
        self.refused = false;
        while self.may_try()
            && let Some((due, sequence)) = self.due.first().copied()
            && due <= now()
            && self.may_begin()
            && let Some(messages) = self.take(sequence)
        {
            let steps = Steps::default();
            let end = Position::after(sequence);
            let work = Work { messages, receipts: Vec::new(), steps, end, bytes: 0 };
            let (stage, leaving) = (stage.clone(), leaving.alone());
            self.trying.push(Box::pin(async move { (sequence, stage.process(work, leaving).await) }));
        }
    }

    /// Whether the rate limit lets one more message begin; then it has begun.
    fn may_begin(&mut self) -> bool {
        let Some(gate) = &self.gate else { return true };
        self.refused = gate.may(1) == 0;
        if !self.refused {
            gate.begin(1);
        }
        !self.refused
    }

    /// Moves the oldest waiting messages to the end of the slot when too much is done above them.
    fn move_up(&mut self) {
        let still = self.moved.is_some_and(|moved| self.floor.is_open(moved));
        if self.floor.above() < ABOVE_MANY || still {
            return;
        }
        let oldest: Vec<_> = self.waiting.keys().take(MOVED_MAX).copied().collect();
        for sequence in oldest {
            let Some(messages) = self.take(sequence) else { continue };
            let taken = messages.len() as u32;
            let back = (0..).zip(messages).collect();
            let started = Some(Instant::now());
            let moved =
                self.ready.push(Processed { back, taken, started, ..Processed::default() }, self.bytes_max);
            assert!(moved.is_empty(), "only results can be too large");
            self.done.push(sequence);
            self.moved = Some(sequence);
        }
    }

    /// When the next message is due, while nothing is and nothing else goes on.
    fn rests_until(&self, settling: &Settling) -> Option<Time> {
        let rests = self.trying.is_empty() && self.ready.is_empty() && matches!(settling, Settling::Idle(_));
        if let (Some(gate), true, true) = (&self.gate, self.refused, rests) {
            return Some(gate.rests_until());
        }
        let (due, _) = self.due.first().filter(|_| rests)?;
        (*due > now()).then_some(*due)
    }

    fn may_read(&self) -> bool {
        let held = self.waiting.len() < WAITING_MAX && self.waiting_bytes < WAITING_BYTES_MAX;
        // While nothing is open the floor can only rise over what is read.
        (held && self.floor.above() < ABOVE_STOP) || self.floor.nothing_open()
    }

    /// Takes what fits into one commit, and the sequences it is done with.
    fn collect(&mut self) -> Bundle {
        let before = self.ready.len();
        let mut bundle = self.ready.collect(self.bytes_max);
        let taken = before - self.ready.len();
        let done: Vec<_> = self.done.drain(..taken).collect();
        self.floor.done(&done);
        bundle.end = self.floor.position();
        bundle
    }

    async fn next(
        &mut self,
        settling: &mut Settling,
        leaving: &Leaving,
        finish: Option<&CancellationToken>,
    ) -> Result<Event, Error> {
        let reads = finish.is_some() && self.may_read();
        let next_due = self.due.first().map(|(due, _)| *due);
        let waits = next_due.is_some() && self.may_try() && finish.is_some() && !self.refused;
        let refused = self.refused && finish.is_some();
        let asked = || finish.is_none_or(CancellationToken::is_cancelled);
        let Self { reader, trying, gate, cut, .. } = self;
        let more = async {
            match gate {
                Some(gate) => gate.more().await,
                None => std::future::pending().await,
            }
        };
        let finishes = async {
            match finish {
                Some(finish) => finish.cancelled().await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            biased;
            taken = settling.settled() => Ok(Event::Settled(taken?)),
            Some((sequence, processed)) = trying.next(), if !trying.is_empty() => match processed {
                Err(error) if error.class() == Class::Lost && cut.is_cancelled() => Ok(Event::Cut),
                Err(error) if error.class() == Class::Lost && leaving.is_in_doubt() => Ok(Event::Doubted),
                Err(error) if error.class() == Class::Lost && asked() => Ok(Event::GivenUp),
                processed => Ok(Event::Tried(sequence, processed?)),
            },
            () = finishes => Ok(Event::Finish),
            () = wait_until(next_due), if waits => Ok(Event::Due),
            () = more, if refused => Ok(Event::More),
            frames = read(reader.as_mut()), if reads => Ok(Event::Read(frames?)),
        }
    }
}

async fn read(reader: &mut dyn Reader) -> Result<Vec<Stored>, Error> {
    let mut patience = Patience::default();
    loop {
        match reader.read(READ_BYTES).await {
            Ok(frames) => return Ok(frames),
            Err(error) => patience.after(error).await?,
        }
    }
}

impl RetryLoop {
    pub(crate) async fn run(self) -> Result<End, Error> {
        match self.run_to_end().await {
            Err(error) if error.class() == Class::Lost => Ok(End::Lost),
            other => other,
        }
    }

    async fn run_to_end(self) -> Result<End, Error> {
        let Self { reader, progress, stage, tail, metrics, gauge, finish, gate } = self;
        let bytes_max = tail.bundle_bytes_max();
        let leaving = Leaving::on(finish.clone(), Hold::on(stage.lease.clone()));
        let mut hand = Hand::empty(reader, progress, bytes_max, gate, stage.cut.clone());
        let mut settling = Settling::Idle(tail);
        // What is in hand is finished; what it comes to then.
        let mut end = None;
        loop {
            let finishing = end.is_some();
            if !finishing {
                hand.try_due(&stage, &leaving);
                hand.move_up();
            }
            settling = match settling {
                Settling::Idle(tail) if !hand.ready.is_empty() => {
                    let bundle = hand.collect();
                    let taken = Load::of(&bundle);
                    Settling::Busy { future: Box::pin(tail.settle(bundle, hand.floor.set())), taken }
                }
                // What was written outside is committed by now, unless somebody else has the unit indeed.
                Settling::Idle(_) if end == Some(End::Lost) && hand.trying.is_empty() => {
                    return Ok(End::Lost);
                }
                Settling::Idle(tail) if finishing && hand.trying.is_empty() => {
                    let answers = tail.release().await?;
                    assert!(answers.is_none(), "a slot has no source");
                    return Ok(End::Released);
                }
                other => other,
            };
            gauge.rests(hand.rests_until(&settling));
            match hand.next(&mut settling, &leaving, (!finishing).then_some(&finish)).await? {
                Event::Settled(taken) => gauge.progress(taken.messages, hand.floor.position()),
                Event::Tried(sequence, processed) => {
                    hand.done.push(sequence);
                    Tail::report(&metrics, hand.ready.push(processed, bytes_max));
                }
                Event::Finish => {
                    end = Some(End::Released);
                    let left: usize = hand.waiting.values().map(|waiting| waiting.messages.len()).sum();
                    gauge.forgot(left as u64);
                    hand.gate = None;
                }
                Event::Doubted => {
                    end = Some(End::Lost);
                    hand.gate = None;
                }
                Event::Cut => {
                    end = Some(End::Released);
                    hand.trying.clear();
                    hand.gate = None;
                }
                Event::Due | Event::GivenUp => {}
                Event::More => {
                    metrics.throttled.inc();
                }
                Event::Read(frames) => {
                    for stored in frames {
                        let messages = hand.add(&stored)?;
                        gauge.read(messages);
                        metrics.count_read(1, messages, 0);
                    }
                }
            }
        }
    }
}
