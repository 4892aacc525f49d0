//! The four kinds of units: a source that has so many inputs, a map whose answers are never the same twice, its retry
//! slot, and a sink that notes what it wrote outside.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use futures::future::{Either, select};
use lane::LEASE;
use model::door::Error;
use model::door::buffer::{Claimed, Commit, Output, Passage, Reader, Stored, WhenFull};
use model::frame::Body;
use model::{Name, Place, Position, Progress, Slot, Unit};
use tidegate_lane as lane;

use super::ledger::Held;
use super::token::{Step, Token, Way};
use super::worker::{End, Worker};

/// How often one message is sent back or round, at most.
const TIMES_MAX: usize = 3;
/// How long a message waits in the retry slot, at most.
const DELAY_MAX: Duration = Duration::from_millis(200);

/// What a batch becomes, frame by frame.
#[derive(Default)]
struct Batch(Vec<(Place, Passage, WhenFull, Vec<Token>)>);

impl Batch {
    fn push(&mut self, to: Place, passage: Passage, when_full: WhenFull, token: Token) {
        // Only to the last frame for a place, so that order is kept.
        let last = self.0.iter_mut().rev().find(|frame| frame.0 == to);
        match last.filter(|frame| (frame.1, frame.2) == (passage, when_full)) {
            Some(frame) => frame.3.push(token),
            None => self.0.push((to, passage, when_full, vec![token])),
        }
    }

    fn outputs(self) -> Vec<Output> {
        let output = |(to, passage, when_full, tokens): (Place, Passage, WhenFull, Vec<Token>)| {
            let messages: Vec<_> = tokens.iter().map(Token::message).collect();
            Output { to, body: Body::encode(&messages), when_full, passage }
        };
        self.0.into_iter().map(output).collect()
    }
}

enum Next {
    Stop,
    Frames(Result<Vec<Stored>, Error>),
    Nothing,
}

impl Worker {
    fn slot(&self) -> Slot {
        match self.unit.unit {
            Unit::Slot(slot) => slot,
            Unit::Source(_) => panic!("{} has no slot", self.unit),
        }
    }

    fn place(&self) -> Place {
        Place { vertex: self.unit.vertex.clone(), slot: self.slot() }
    }

    fn sink_place(&mut self, vertex: &str) -> Place {
        let number = self.rng.u64(..u64::from(self.plan.sink.slots()));
        Place { vertex: Name::new(vertex), slot: self.plan.sink.slot(number) }
    }

    /// Adds one result of an answer.
    fn result(&mut self, batch: &mut Batch, to: Place, passage: Passage, token: Token) {
        let discards = passage == Passage::Onward && self.rng.u32(..100) < self.plan.discard;
        if discards {
            let (_, step) = token.parent().expect("a result comes from an answer");
            self.ledger.may_be_left_out(step);
        }
        let when_full = if discards { WhenFull::Discard } else { WhenFull::Wait };
        batch.push(to, passage, when_full, token);
    }

    pub(super) async fn source(&mut self, held: Held, claimed: Claimed) -> End {
        let Claimed { progress, reader, mut committer } = claimed;
        assert!(reader.is_none(), "a source is not read through the buffer");
        let Unit::Source(source) = self.unit.unit else { panic!("{} is no source", self.unit) };
        let mut offset = progress.position.sequence as u32;
        self.ledger.source_at(source, u64::from(offset));
        while offset < self.plan.inputs {
            if self.stops_within(Duration::from_millis(60)).await {
                return self.release(committer).await;
            }
            let until = (offset + self.rng.u32(1..=3)).min(self.plan.inputs);
            let mut batch = Batch::default();
            for input in offset..until {
                self.emit(&mut batch, &Token::root(source, input));
            }
            let progress = Progress::to(Position { sequence: u64::from(until), index: 0 });
            let commit = Commit { outputs: batch.outputs(), progress, ids: Vec::new(), stamp: Self::stamp() };
            match self.commit(&held, &mut committer, commit).await {
                Ok(_) => offset = until,
                Err(end) => return end,
            }
            self.ledger.source_at(source, u64::from(offset));
        }
        // Whether it is told to stop or nobody is left to tell: it is over.
        (&mut self.stop).await.unwrap_or_default();
        self.release(committer).await
    }

    fn emit(&mut self, batch: &mut Batch, input: &Token) {
        let results = if self.plan.join { self.rng.u8(1..=2) } else { 1 };
        let answer = self.ledger.answer(input, results);
        for index in 0..results {
            let to = if index == 0 {
                let number = self.rng.u64(..u64::from(self.plan.map.slots()));
                Place { vertex: Name::new("map"), slot: self.plan.map.slot(number) }
            } else {
                self.sink_place("out")
            };
            let token = input.step(Step { answer, index, way: Way::Onward });
            self.result(batch, to, Passage::Onward, token);
        }
    }

    /// User code: what becomes of one message this time.
    fn call(&mut self, batch: &mut Batch, token: &Token) {
        let is_retry = self.slot() == Slot::RETRY;
        let roll = self.rng.u32(..100);
        let again = token.times(Way::Retry) < TIMES_MAX && roll < self.plan.nack;
        let around = !is_retry && token.times(Way::Cycle) < TIMES_MAX && roll >= 100 - self.plan.cycle;
        if again || around {
            let answer = self.ledger.answer(token, 1);
            let way = if again { Way::Retry } else { Way::Cycle };
            let slot = if again { Slot::RETRY } else { self.slot() };
            let to = Place { vertex: self.unit.vertex.clone(), slot };
            return self.result(batch, to, Passage::Around, token.step(Step { answer, index: 0, way }));
        }
        let results = if self.rng.u32(..100) < self.plan.drop { 0 } else { self.rng.u8(1..=3) };
        let answer = self.ledger.answer(token, results);
        for index in 0..results {
            let vertex = if self.rng.bool() { "out" } else { "side" };
            let to = self.sink_place(vertex);
            let passage = if is_retry { Passage::Around } else { Passage::Onward };
            self.result(batch, to, passage, token.step(Step { answer, index, way: Way::Onward }));
        }
    }

    async fn next(&mut self, reader: &mut Box<dyn Reader>, patience: Duration) -> Next {
        let bytes_max = self.rng.usize(1..2000);
        let broker = self.broker.clone();
        let timer = lane::broker::Broker::sleep(&broker, patience);
        match select(&mut self.stop, select(reader.read(bytes_max), timer)).await {
            Either::Left(_) => Next::Stop,
            Either::Right((Either::Left((frames, _)), _)) => Next::Frames(frames),
            Either::Right((Either::Right(_), _)) => Next::Nothing,
        }
    }

    pub(super) async fn map(&mut self, mut held: Held, claimed: Claimed) -> End {
        let Claimed { progress, reader, mut committer } = claimed;
        let mut reader = reader.expect("a slot has a reader");
        let mut done = progress.position;
        loop {
            let frames = match self.next(&mut reader, Duration::from_hours(1)).await {
                Next::Stop => return self.release(committer).await,
                Next::Nothing => continue,
                Next::Frames(Ok(frames)) => frames,
                Next::Frames(Err(error)) => match self.failed("read", &error).await {
                    Ok(()) => continue,
                    Err(end) => return end,
                },
            };
            self.ledger.read(&mut held, &self.place(), &frames);
            self.pause(Duration::from_millis(8)).await;
            let mut batch = Batch::default();
            for stored in &frames {
                let tokens = tokens(stored, self.slot());
                let from = if stored.sequence == done.sequence { done.index } else { 0 };
                for (index, token) in tokens.iter().enumerate().skip(from as usize) {
                    self.call(&mut batch, token);
                    done = Position { sequence: stored.sequence, index: index as u32 + 1 };
                    if index + 1 == tokens.len() {
                        done = Position::after(stored.sequence);
                    }
                    // A commit ends anywhere between two messages.
                    if self.rng.u32(..4) == 0 {
                        let outputs = std::mem::take(&mut batch).outputs();
                        let progress = Progress::to(done);
                        let commit = Commit { outputs, progress, ids: Vec::new(), stamp: Self::stamp() };
                        if let Err(end) = self.commit(&held, &mut committer, commit).await {
                            return end;
                        }
                    }
                }
            }
            let (outputs, progress) = (batch.outputs(), Progress::to(done));
            let commit = Commit { outputs, progress, ids: Vec::new(), stamp: Self::stamp() };
            if let Err(end) = self.commit(&held, &mut committer, commit).await {
                return end;
            }
        }
    }

    pub(super) async fn retries(&mut self, mut held: Held, claimed: Claimed) -> End {
        let Claimed { progress, reader, mut committer } = claimed;
        let mut reader = reader.expect("a slot has a reader");
        let mut waiting: BTreeMap<u64, (Stored, Duration)> = BTreeMap::new();
        let mut above: BTreeSet<u64> = progress.above.iter().copied().collect();
        let mut end = progress.position;
        loop {
            let now = self.world_now();
            let due = waiting.iter().map(|(sequence, (_, due))| (*due, *sequence)).min();
            let patience = due.map_or(Duration::from_hours(1), |(due, _)| due.saturating_sub(now));
            if !patience.is_zero() {
                match self.next(&mut reader, patience).await {
                    Next::Stop => return self.release(committer).await,
                    Next::Nothing => {}
                    Next::Frames(Ok(frames)) => {
                        self.ledger.read(&mut held, &self.place(), &frames);
                        for stored in frames {
                            end = Position::after(stored.sequence);
                            let due =
                                now + Duration::from_micros(self.rng.u64(..DELAY_MAX.as_micros() as u64));
                            waiting.insert(stored.sequence, (stored, due));
                        }
                    }
                    Next::Frames(Err(error)) => {
                        if let Err(end) = self.failed("read", &error).await {
                            return end;
                        }
                    }
                }
                continue;
            }
            let (_, sequence) = due.expect("somebody is due");
            let (stored, _) = waiting.remove(&sequence).expect("it waits");
            let mut batch = Batch::default();
            for token in tokens(&stored, self.slot()) {
                self.call(&mut batch, &token);
            }
            above.insert(sequence);
            let floor = waiting.keys().next().map_or(end, |first| Position { sequence: *first, index: 0 });
            above.retain(|done| *done >= floor.sequence);
            let progress = Progress { position: floor, above: above.iter().copied().collect() };
            let commit = Commit { outputs: batch.outputs(), progress, ids: Vec::new(), stamp: Self::stamp() };
            if let Err(end) = self.commit(&held, &mut committer, commit).await {
                return end;
            }
        }
    }

    fn world_now(&self) -> Duration {
        lane::broker::Broker::now(&self.broker).since(model::Time::from_millis(0))
    }

    pub(super) async fn sink(&mut self, mut held: Held, claimed: Claimed) -> End {
        let Claimed { progress, reader, mut committer } = claimed;
        let mut reader = reader.expect("a slot has a reader");
        let mut done = progress.position;
        loop {
            let frames = match self.next(&mut reader, Duration::from_hours(1)).await {
                Next::Stop => return self.release(committer).await,
                Next::Nothing => continue,
                Next::Frames(Ok(frames)) => frames,
                Next::Frames(Err(error)) => match self.failed("read", &error).await {
                    Ok(()) => continue,
                    Err(end) => return end,
                },
            };
            self.ledger.read(&mut held, &self.place(), &frames);
            self.pause(Duration::from_millis(5)).await;
            while self.lanes.out_of_reach() > LEASE {
                self.pause(Duration::from_millis(100)).await;
            }
            let mut written = Vec::new();
            for stored in &frames {
                let from = if stored.sequence == done.sequence { done.index as usize } else { 0 };
                written.extend(tokens(stored, self.slot()).into_iter().skip(from));
                done = Position::after(stored.sequence);
            }
            let silence = self.broker.silence();
            assert!(
                silence <= LEASE,
                "{}: a sink writes, and has not heard of the broker for {silence:?}",
                self.unit
            );
            for token in &written {
                self.ledger.write_outside(&held, token);
            }
            let commit = Commit { progress: Progress::to(done), stamp: Self::stamp(), ..Commit::default() };
            match self.commit(&held, &mut committer, commit).await {
                Ok(_) => self.ledger.settled_outside(&written),
                Err(end) => return end,
            }
        }
    }
}

fn tokens(stored: &Stored, slot: Slot) -> Vec<Token> {
    let messages = stored.frame.messages(stored.sequence, slot.partition).expect("it was read before");
    messages.iter().map(Token::of).collect()
}
