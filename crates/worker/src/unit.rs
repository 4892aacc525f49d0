//! The loop of one unit: read, process, commit, in input order, with several batches in hand.
//!
//! Reading stops while too much waits to be committed; a commit takes everything that is ready. A unit told to finish
//! reads no more, finishes what is in hand, commits, releases and ends; what user code fails at or does not answer then is
//! given up. Dropping the future at any point loses nothing: what was not committed is read again by the next owner.

use std::collections::VecDeque;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use futures::StreamExt;
use futures::stream::FuturesOrdered;
use model::door::{Class, Error};
use model::{Position, Time};
use tokio_util::sync::CancellationToken;

use crate::batch::{Bundle, Processed, Ready, Work};
use crate::budget::Share;
use crate::inlet::{Inlet, Read, Rest, memory};
use crate::metrics::Metrics;
use crate::stage::{Hold, Leaving, Stage};
use crate::tail::Tail;
use crate::throttle::Gate;

mod gauge;

pub(crate) use gauge::Gauge;

/// Batches of one unit that are in the stage at once.
const BATCHES_IN_HAND: usize = 4;
/// Batches that may wait to be committed before reading stops; their output is bounded as well, by one commit.
const READY_BATCHES_MAX: usize = 64;

/// How often a source is asked how much waits outside; the reference's interval.
const LOOK_EVERY: Duration = Duration::from_secs(5);

/// How a unit ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum End {
    /// It was told to finish and has released.
    Released,
    /// Its source has nothing more to give, and it has released.
    Exhausted,
    /// It has another owner.
    Lost,
}

pub(crate) struct UnitLoop {
    pub(crate) inlet: Inlet,
    pub(crate) batch_messages: usize,
    pub(crate) stage: Arc<Stage>,
    pub(crate) tail: Box<Tail>,
    pub(crate) metrics: Arc<Metrics>,
    pub(crate) gauge: Arc<Gauge>,
    pub(crate) finish: CancellationToken,
    pub(crate) share: Share,
    /// The way through the rate limit, where there is one.
    pub(crate) gate: Option<Gate>,
    /// Where a source is left that may be read again.
    pub(crate) rest: Rest,
}

type Processing = Pin<Box<dyn Future<Output = Result<Processed, Error>> + Send>>;

/// Messages, and what they take of memory.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Load {
    pub(crate) messages: u64,
    pub(crate) bytes: usize,
}

impl Load {
    pub(crate) fn of(bundle: &Bundle) -> Self {
        Self { messages: u64::from(bundle.taken), bytes: bundle.bytes }
    }
}

type Settle = Pin<Box<dyn Future<Output = (Box<Tail>, Result<(), Error>)> + Send>>;

/// A commit under way, or the tail that waits for the next one.
pub(crate) enum Settling {
    Idle(Box<Tail>),
    Busy { future: Settle, taken: Load },
}

impl Settling {
    /// Asks the source how much waits outside, unless a commit is under way.
    fn look(self, finish: &CancellationToken) -> Self {
        match self {
            Self::Idle(tail) => Self::Busy {
                future: Box::pin(tail.look(finish.clone())),
                taken: Load { messages: 0, bytes: 0 },
            },
            busy @ Self::Busy { .. } => busy,
        }
    }

    /// Returns when the commit under way is done, with the number of messages it took. Dropping the future loses
    /// nothing.
    pub(crate) async fn settled(&mut self) -> Result<Load, Error> {
        let Self::Busy { future, taken } = self else { return std::future::pending().await };
        let ((tail, result), taken) = (future.await, *taken);
        *self = Self::Idle(tail);
        result.map(|()| taken)
    }
}

/// What happens in a unit.
enum Event {
    Settled(Load),
    Processed(Processed),
    Finish,
    /// What is not done is given up.
    Cut,
    /// A batch is given up, and with it what comes behind it: the unit is to be released, or may have another owner.
    GivenUp(End),
    /// It is time to ask the source how much waits outside.
    Look,
    Read(Read),
    /// More may begin.
    More,
}

/// What is in hand, in input order.
struct Hand {
    inlet: Inlet,
    queued: VecDeque<Work>,
    processing: FuturesOrdered<Processing>,
    ready: Ready,
    bundle_bytes_max: usize,
    batch_messages: usize,
    share: Share,
    /// When the source is asked how much waits outside.
    look: Option<tokio::time::Instant>,
    /// The way through the rate limit; none without one, and once nothing begins any more.
    gate: Option<Gate>,
    /// The worker is cut off.
    cut: CancellationToken,
    leaving: Leaving,
    /// Where the input is once everything is committed that was ready to be.
    at: Position,
    /// A batch that comes behind `at` is given up.
    gap: bool,
}

/// What a unit may read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Reads {
    /// Nothing: enough is in hand.
    Nothing,
    /// Nothing before the rate limit lets more begin.
    Later,
    /// At most so many messages at once.
    UpTo(usize),
}

impl Hand {
    /// Nothing is in hand.
    fn empty(
        inlet: Inlet,
        (batch_messages, bundle_bytes_max): (usize, usize),
        (share, gate): (Share, Option<Gate>),
        (cut, leaving): (CancellationToken, Leaving),
        at: Position,
    ) -> Self {
        let look = matches!(inlet, Inlet::Source { .. }).then(tokio::time::Instant::now);
        Self {
            inlet,
            queued: VecDeque::new(),
            processing: FuturesOrdered::new(),
            ready: Ready::default(),
            bundle_bytes_max,
            batch_messages,
            share,
            look,
            gate,
            cut,
            leaving,
            at,
            gap: false,
        }
    }

    /// Gives to the stage what it may have.
    fn begin(&mut self, stage: &Arc<Stage>) {
        while self.processing.len() < BATCHES_IN_HAND
            && let Some(work) = self.next_work()
        {
            self.processing.push_back(Box::pin(stage.clone().process(work, self.leaving.clone())));
        }
    }

    /// The next batch, as far as the rate limit lets it begin. What came from a source was counted when it was read.
    fn next_work(&mut self) -> Option<Work> {
        let Some(gate) = self.gate.as_ref().filter(|_| matches!(self.inlet, Inlet::Slot { .. })) else {
            return self.queued.pop_front();
        };
        let may = gate.may(self.queued.front()?.messages.len());
        if may == 0 {
            return None;
        }
        gate.begin(may as u64);
        let mut work = self.queued.pop_front()?;
        if may < work.messages.len() {
            self.queued.push_front(work.split_off(may));
        }
        Some(work)
    }

    /// What may be read, or what is read already and may begin.
    fn reads(&self) -> Reads {
        let Some(gate) = &self.gate else {
            return if self.has_room() { Reads::UpTo(self.batch_messages) } else { Reads::Nothing };
        };
        match self.inlet {
            Inlet::Slot { .. } if !self.queued.is_empty() && self.processing.len() < BATCHES_IN_HAND => {
                Reads::Later
            }
            Inlet::Source { .. } if self.has_room() => match gate.may(self.batch_messages) {
                0 => Reads::Later,
                may => Reads::UpTo(may),
            },
            Inlet::Slot { .. } if self.has_room() => Reads::UpTo(self.batch_messages),
            Inlet::Slot { .. } | Inlet::Source { .. } | Inlet::Ended => Reads::Nothing,
        }
    }

    /// Until when the unit has nothing to do but to wait for the rate limit.
    fn rests_until(&self, reads: Reads) -> Option<Time> {
        let rests = reads == Reads::Later && self.processing.is_empty() && self.ready.is_empty();
        self.gate.as_ref().filter(|_| rests).map(Gate::rests_until)
    }

    fn is_empty(&self) -> bool {
        self.queued.is_empty() && self.processing.is_empty() && self.ready.is_empty()
    }

    fn has_room(&self) -> bool {
        self.queued.is_empty()
            && self.processing.len() < BATCHES_IN_HAND
            && self.ready.len() < READY_BATCHES_MAX
            && self.ready.bytes() < self.bundle_bytes_max
            && self.share.may_read()
    }

    async fn next(
        &mut self,
        settling: &mut Settling,
        reads: Reads,
        finish: Option<&CancellationToken>,
    ) -> Result<Event, Error> {
        let look = self.look.filter(|_| finish.is_some() && matches!(settling, Settling::Idle(_)));
        let Self { inlet, queued, processing, batch_messages, gate, cut, leaving, .. } = self;
        let more = async {
            match gate {
                Some(gate) => gate.more().await,
                None => std::future::pending().await,
            }
        };
        let read_max = if let Reads::UpTo(messages) = reads { messages } else { *batch_messages };
        let finishes = async {
            match finish {
                Some(finish) => finish.cancelled().await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            biased;
            taken = settling.settled() => Ok(Event::Settled(taken?)),
            Some(processed) = processing.next(), if !processing.is_empty() => match processed {
                Err(error) if error.class() == Class::Lost && cut.is_cancelled() => Ok(Event::Cut),
                Err(error) if error.class() == Class::Lost && leaving.has_given_up() => Ok(Event::GivenUp(End::Released)),
                Err(error) if error.class() == Class::Lost && leaving.is_in_doubt() => Ok(Event::GivenUp(End::Lost)),
                processed => Ok(Event::Processed(processed?)),
            },
            () = finishes => Ok(Event::Finish),
            () = tokio::time::sleep_until(look.unwrap_or_else(tokio::time::Instant::now)), if look.is_some() => {
                Ok(Event::Look)
            }
            () = more, if reads == Reads::Later => Ok(Event::More),
            read = inlet.read(read_max, queued), if matches!(reads, Reads::UpTo(_)) => Ok(Event::Read(read?)),
        }
    }

    /// So many messages were read. What comes from a source begins at once.
    fn count(&self, messages: u64) {
        if let (Some(gate), Inlet::Source { .. }) = (&self.gate, &self.inlet) {
            gate.begin(messages);
        }
    }

    /// Takes in what comes next in input order. Behind a gap only that can be committed which moves no position: what is
    /// answered one by one.
    fn done(&mut self, processed: Processed, metrics: &Metrics) {
        if self.gap && processed.end != self.at {
            return;
        }
        self.at = processed.end;
        Tail::report(metrics, self.ready.push(processed, self.bundle_bytes_max));
    }

    /// Nothing more begins; what was read and has not begun is forgotten.
    fn wind_up(&mut self, gauge: &Gauge) {
        gauge.forgot(self.forget());
        self.gate = None;
        gauge.rests(None);
    }

    /// Nothing more begins, and of what is in hand only that counts which comes before what has failed now.
    fn leave_a_gap(&mut self, gauge: &Gauge) {
        self.gap = true;
        self.wind_up(gauge);
        self.queued.clear();
    }

    /// Ends the unit: gives it up, and leaves the source to be read again, unless it gave what nobody commits here.
    async fn release(self, tail: Box<Tail>, rest: &Rest) -> Result<(), Error> {
        let memory = tail.memory;
        let answers = tail.release().await?;
        let inlet = if self.gap { Inlet::Ended } else { self.inlet };
        rest.take_up(inlet, answers.zip(memory)).await
    }

    /// Gives up everything that is not done; what is done and not committed stays.
    fn give_up(&mut self) {
        self.queued.clear();
        self.processing = FuturesOrdered::new();
    }

    /// Forgets what is not begun and not committed: the next owner reads it. Gives the number of messages.
    fn forget(&mut self) -> u64 {
        match self.inlet {
            Inlet::Slot { .. } => {
                let (mut messages, mut bytes) = (0, 0);
                for work in self.queued.drain(..) {
                    (messages, bytes) = (messages + work.messages.len() as u64, bytes + work.bytes);
                }
                self.share.give_back(bytes);
                messages
            }
            // A source may have no other owner; what it gave is finished.
            Inlet::Source { .. } | Inlet::Ended => 0,
        }
    }
}

impl UnitLoop {
    /// Runs until told to finish, until the input ends, or until the unit is lost.
    pub(crate) async fn run(self) -> Result<End, Error> {
        match self.run_to_end().await {
            Err(error) if error.class() == Class::Lost => Ok(End::Lost),
            other => other,
        }
    }

    async fn run_to_end(self) -> Result<End, Error> {
        let Self { inlet, batch_messages, stage, tail, metrics, gauge, finish, share, gate, rest } = self;
        let bundle_bytes_max = tail.bundle_bytes_max();
        let mut position = tail.committed;
        let leaving = (stage.cut.clone(), Leaving::on(finish.clone(), Hold::on(stage.lease.clone())));
        let mut hand =
            Hand::empty(inlet, (batch_messages, bundle_bytes_max), (share, gate), leaving, position);
        let mut settling = Settling::Idle(tail);
        let mut end = None;
        loop {
            hand.begin(&stage);
            settling = match settling {
                Settling::Idle(tail) if !hand.ready.is_empty() => {
                    let bundle = hand.ready.collect(bundle_bytes_max);
                    let taken = Load::of(&bundle);
                    position = bundle.end;
                    Settling::Busy { future: Box::pin(tail.settle(bundle, Vec::new())), taken }
                }
                // What was written outside is committed by now, unless somebody else has the unit indeed.
                Settling::Idle(_) if hand.is_empty() && end == Some(End::Lost) => return Ok(End::Lost),
                Settling::Idle(tail) if hand.is_empty() && end.is_some() => {
                    hand.release(tail, &rest).await?;
                    return Ok(end.unwrap_or(End::Released));
                }
                other => other,
            };
            let reads = if end.is_none() { hand.reads() } else { Reads::Nothing };
            if hand.gate.is_some() {
                gauge.rests(hand.rests_until(reads));
            }
            match hand.next(&mut settling, reads, end.is_none().then_some(&finish)).await? {
                Event::Settled(Load { messages: 0, .. }) => {}
                Event::Settled(taken) => {
                    gauge.progress(taken.messages, position);
                    hand.share.give_back(taken.bytes);
                }
                Event::Look => {
                    settling = settling.look(&finish);
                    hand.look = hand.look.map(|_| tokio::time::Instant::now() + LOOK_EVERY);
                }
                Event::Processed(processed) => hand.done(processed, &metrics),
                Event::Finish => {
                    end = Some(End::Released);
                    hand.wind_up(&gauge);
                }
                Event::GivenUp(then) => {
                    end = Some(then);
                    hand.leave_a_gap(&gauge);
                }
                Event::Cut => {
                    end = Some(End::Released);
                    hand.give_up();
                    hand.gate = None;
                }
                Event::More => {
                    metrics.throttled.inc();
                }
                Event::Read(Read::Some { frames, messages, bytes }) => {
                    gauge.read(messages);
                    hand.count(messages);
                    hand.share.take(memory(messages, bytes));
                    metrics.count_read(frames, messages, bytes);
                }
                Event::Read(Read::Ended) => {
                    end = Some(End::Exhausted);
                    hand.inlet = Inlet::Ended;
                }
            }
        }
    }
}
