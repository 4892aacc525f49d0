//! Who waits for what: calls of this process, the messages of theirs that are with user code, and the order in which
//! those that came back unanswered are given out again. No I/O and no clock: callers say what time it is.
//!
//! After user code crashed nobody knows which of the messages it had made it crash. So they become suspects and are
//! given out one at a time; one that was alone when user code crashed is the culprit, is named, and is tried again
//! by itself, more and more seldom, while the others flow. A suspect that merely takes long lets the next one follow
//! after a while, so that slow user code is not brought to a halt by one crash.
//!
//! Invariant: every message of a call is in exactly one place (not yet given out, with user code, suspect, held, to be
//! given out again, or answered), so `missing` of its call is how many have not been answered.

use std::collections::{HashMap, VecDeque};
use std::fmt::Write;
use std::num::NonZeroU32;
use std::sync::Arc;
use std::time::Duration;

use model::door::Error;
use model::{Id, Message, Time};
use tokio::sync::oneshot;
use tokio::time::Instant;

/// How long one suspect is alone before the next may follow, at first.
const PATIENCE: Duration = Duration::from_millis(250);
/// How long a culprit rests before it is tried again, at first and at most.
const REST_MIN: Duration = Duration::from_secs(1);
const REST_MAX: Duration = Duration::from_secs(30);

/// How requests are named.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Naming {
    /// By a number of our own, for answers that nobody sees the name in.
    Compact,
    /// By what the outside knows the message as.
    Documented(fn(&Message) -> String),
}

/// How many messages may be given out.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Limits {
    pub concurrency: usize,
    pub batch_max: usize,
    pub batch_wait: Duration,
    pub patience_max: Duration,
    pub poison_attempts: Option<NonZeroU32>,
}

/// Messages of one caller, and where the answers go.
pub(crate) struct Call<A> {
    pub messages: Arc<Vec<Message>>,
    pub watermark: Time,
    pub reply: oneshot::Sender<Result<Vec<A>, Error>>,
}

struct OpenCall<A> {
    messages: Arc<Vec<Message>>,
    watermark: Time,
    reply: oneshot::Sender<Result<Vec<A>, Error>>,
    answers: Vec<Option<A>>,
    missing: usize,
    /// The first message that was never given out.
    next: usize,
    arrived: Instant,
}

/// One message of a call.
#[derive(Clone, Copy, Debug)]
struct Piece {
    call: usize,
    index: usize,
    /// How often user code crashed while it had nothing but this.
    crashes: u32,
}

struct Slot<A> {
    /// Set while user code has the message.
    piece: Option<Piece>,
    /// Grows with every use, so that a second answer is told from a first.
    generation: u32,
    /// The order in which messages were given out.
    turn: u64,
    sent: Instant,
    /// When its missing answer was reported last.
    told: Option<Instant>,
    answer: A,
    /// The message that is, or was, here.
    id: Option<Id>,
    name: String,
}

/// An answer that nobody asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Stray {
    /// The request was answered before; the message, when it is still known.
    Again(Option<String>),
    /// There never was such a request.
    Unknown,
}

/// How a session ended for the messages that were with user code.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Loss {
    /// User code went away; any of them may have been why.
    Crash,
    /// The answer to this one was wrong; the others have nothing to do with it.
    Culprit(usize),
    /// None of them is to blame.
    Innocent,
}

/// What became of the messages that were with user code.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Aftermath {
    /// How many there were.
    pub lost: usize,
    /// Some of their ids.
    pub ids: Vec<String>,
    /// The one that is known to be the reason, and how often it has been.
    pub culprit: Option<(String, u32)>,
    /// Whether it was given up.
    pub given_up: bool,
}

/// How many ids are named in a report.
const NAMED_MAX: usize = 5;

pub(crate) struct Book<A> {
    limits: Limits,
    naming: Naming,
    calls: Vec<Option<OpenCall<A>>>,
    free_calls: Vec<usize>,
    slots: Vec<Slot<A>>,
    free_slots: Vec<usize>,
    names: HashMap<String, usize>,
    in_flight: usize,
    turn: u64,
    /// Calls with messages that were never given out, and how many such messages there are.
    fresh: VecDeque<usize>,
    fresh_messages: usize,
    again: VecDeque<Piece>,
    suspects: VecDeque<Piece>,
    held: VecDeque<(Instant, Piece)>,
    /// Until when the suspect or culprit that is with user code is left alone there.
    trial: Option<Instant>,
    patience: Duration,
    /// True from the end of a batch sent until the end of a batch received.
    batch_open: bool,
    /// Since when every message of the open batch is known to be answered.
    end_missing: Option<Instant>,
}

impl<A: Default> Book<A> {
    pub(crate) fn new(limits: Limits, naming: Naming) -> Self {
        Self {
            limits,
            naming,
            calls: Vec::new(),
            free_calls: Vec::new(),
            slots: Vec::new(),
            free_slots: Vec::new(),
            names: HashMap::new(),
            in_flight: 0,
            turn: 0,
            fresh: VecDeque::new(),
            fresh_messages: 0,
            again: VecDeque::new(),
            suspects: VecDeque::new(),
            held: VecDeque::new(),
            trial: None,
            patience: PATIENCE,
            batch_open: false,
            end_missing: None,
        }
    }

    /// Whether another call may be taken in.
    pub(crate) fn has_room(&self) -> bool {
        self.fresh_messages < self.limits.concurrency.max(self.limits.batch_max)
    }

    /// How many messages are with user code.
    pub(crate) fn in_flight(&self) -> usize {
        self.in_flight
    }

    /// Whether anything is unanswered.
    pub(crate) fn is_empty(&self) -> bool {
        self.free_calls.len() == self.calls.len()
    }

    /// Takes a call in.
    pub(crate) fn admit(&mut self, call: Call<A>, now: Instant) {
        let Call { messages, watermark, reply } = call;
        let count = messages.len();
        if count == 0 {
            // A caller that has left needs no answer.
            drop(reply.send(Ok(Vec::new())));
            return;
        }
        let answers = std::iter::repeat_with(|| None).take(count).collect();
        let open = OpenCall { messages, watermark, reply, answers, missing: count, next: 0, arrived: now };
        let key = self.free_calls.pop().unwrap_or_else(|| {
            self.calls.push(None);
            self.calls.len() - 1
        });
        self.calls[key] = Some(open);
        self.fresh.push_back(key);
        self.fresh_messages += count;
    }

    /// Gives messages out one by one as long as there is room, `make` turning each into a request.
    pub(crate) fn give_out<R>(
        &mut self,
        now: Instant,
        make: impl FnMut(&str, &Message, Time) -> R,
    ) -> Vec<R> {
        let room = self.limits.concurrency.saturating_sub(self.in_flight);
        self.give(now, room, make)
    }

    /// Gives out a batch, when user code has none and there is one.
    pub(crate) fn give_out_batch<R>(
        &mut self,
        now: Instant,
        make: impl FnMut(&str, &Message, Time) -> R,
    ) -> Vec<R> {
        if self.batch_open || self.in_flight > 0 || self.batch_may_grow(now) {
            return Vec::new();
        }
        let requests = self.give(now, self.limits.batch_max, make);
        self.batch_open = !requests.is_empty();
        requests
    }

    fn batch_may_grow(&self, now: Instant) -> bool {
        self.again.is_empty()
            && self.suspects.is_empty()
            && self.held.is_empty()
            && self.batch_due().is_some_and(|due| now < due)
    }

    /// When a batch that is not full is sent anyway.
    fn batch_due(&self) -> Option<Instant> {
        if self.fresh_messages >= self.limits.batch_max {
            return None;
        }
        let first = self.calls[*self.fresh.front()?].as_ref().expect("calls with messages left are open");
        Some(first.arrived + self.limits.batch_wait)
    }

    fn give<R>(
        &mut self,
        now: Instant,
        room: usize,
        mut make: impl FnMut(&str, &Message, Time) -> R,
    ) -> Vec<R> {
        if self.in_flight == 0 || self.trial.is_some_and(|until| now >= until) {
            self.trial = None;
        }
        if self.trial.is_some() || room == 0 {
            return Vec::new();
        }
        if self.held.front().is_some_and(|(due, _)| *due <= now) {
            if self.in_flight > 0 {
                return Vec::new();
            }
            let (_, piece) = self.held.pop_front().expect("the front is there");
            return self.try_alone(piece, now, make);
        }
        while let Some(piece) = self.suspects.pop_front() {
            let requests = self.try_alone(piece, now, &mut make);
            if !requests.is_empty() {
                return requests;
            }
        }
        let mut requests = Vec::with_capacity(room.min(self.fresh_messages + self.again.len()));
        while requests.len() < room {
            let Some(piece) = self.again.pop_front().or_else(|| self.next_fresh()) else {
                break;
            };
            requests.extend(self.send(piece, now, &mut make));
        }
        requests
    }

    fn try_alone<R>(
        &mut self,
        piece: Piece,
        now: Instant,
        mut make: impl FnMut(&str, &Message, Time) -> R,
    ) -> Vec<R> {
        let request = self.send(piece, now, &mut make);
        if request.is_some() {
            self.trial = Some(now + self.patience);
        }
        request.into_iter().collect()
    }

    fn next_fresh(&mut self) -> Option<Piece> {
        let call = *self.fresh.front()?;
        let open = self.calls[call].as_mut().expect("calls with messages left are open");
        let index = open.next;
        open.next += 1;
        if open.next == open.messages.len() {
            self.fresh.pop_front();
        }
        self.fresh_messages -= 1;
        Some(Piece { call, index, crashes: 0 })
    }

    /// Puts a message into a slot; none when its caller has left.
    fn send<R>(
        &mut self,
        piece: Piece,
        now: Instant,
        make: &mut impl FnMut(&str, &Message, Time) -> R,
    ) -> Option<R> {
        let open = self.calls[piece.call].as_ref().expect("a piece belongs to an open call");
        if open.reply.is_closed() {
            self.settle(piece, None);
            return None;
        }
        let key = self.free_slots.pop().unwrap_or_else(|| {
            self.slots.push(Slot {
                piece: None,
                generation: 0,
                turn: 0,
                sent: now,
                told: None,
                answer: A::default(),
                id: None,
                name: String::new(),
            });
            self.slots.len() - 1
        });
        let message = &open.messages[piece.index];
        let slot = &mut self.slots[key];
        slot.generation = slot.generation.wrapping_add(1);
        slot.piece = Some(piece);
        slot.turn = self.turn;
        slot.sent = now;
        slot.told = None;
        slot.id = Some(message.id.clone());
        slot.name.clear();
        let token = u64::from(slot.generation) << 32 | key as u64;
        match self.naming {
            Naming::Compact => write!(slot.name, "{token}").expect("writing to a string works"),
            Naming::Documented(name) => {
                slot.name = name(message);
                if self.names.contains_key(&slot.name) {
                    write!(slot.name, "-{token:x}").expect("writing to a string works");
                }
                self.names.insert(slot.name.clone(), key);
            }
        }
        self.turn += 1;
        self.in_flight += 1;
        Some(make(&self.slots[key].name, message, open.watermark))
    }

    /// The slot of the request with this name.
    pub(crate) fn find(&self, name: &str) -> Result<usize, Stray> {
        if let Naming::Documented(_) = self.naming {
            return self.names.get(name).copied().ok_or_else(|| {
                let slot = self.slots.iter().find(|slot| slot.name == name);
                slot.map_or(Stray::Unknown, |slot| Stray::Again(slot.id.as_ref().map(Id::to_string)))
            });
        }
        let token: u64 = name.parse().map_err(|_| Stray::Unknown)?;
        let key = (token & u64::from(u32::MAX)) as usize;
        let generation = (token >> 32) as u32;
        let slot = self.slots.get(key).ok_or(Stray::Unknown)?;
        match (slot.generation == generation, &slot.piece) {
            (true, Some(_)) => Ok(key),
            (true, None) => Err(Stray::Again(slot.id.as_ref().map(Id::to_string))),
            (false, _) if generation > 0 && generation < slot.generation => Err(Stray::Again(None)),
            (false, _) => Err(Stray::Unknown),
        }
    }

    /// The message in a slot and its answer so far.
    pub(crate) fn open(&mut self, key: usize) -> (&Message, &mut A) {
        let slot = &mut self.slots[key];
        let piece = slot.piece.expect("the slot was found by the name of a request");
        let open = self.calls[piece.call].as_ref().expect("a piece belongs to an open call");
        (&open.messages[piece.index], &mut slot.answer)
    }

    /// The message in a slot is answered.
    pub(crate) fn finish(&mut self, key: usize) {
        let answer = std::mem::take(&mut self.slots[key].answer);
        let piece = self.vacate(key);
        self.settle(piece, Some(answer));
    }

    /// The id of the message that is or was in a slot.
    pub(crate) fn id(&self, key: usize) -> String {
        self.slots[key].id.as_ref().map(Id::to_string).unwrap_or_default()
    }

    fn vacate(&mut self, key: usize) -> Piece {
        let slot = &mut self.slots[key];
        let piece = slot.piece.take().expect("only slots in use are vacated");
        slot.answer = A::default();
        if let Naming::Documented(_) = self.naming {
            self.names.remove(&slot.name);
        }
        self.free_slots.push(key);
        self.in_flight -= 1;
        piece
    }

    fn settle(&mut self, piece: Piece, answer: Option<A>) {
        let open = self.calls[piece.call].as_mut().expect("a piece belongs to an open call");
        assert!(open.answers[piece.index].is_none(), "a message is answered once");
        open.answers[piece.index] = answer;
        open.missing -= 1;
        if open.missing == 0 {
            self.close(piece.call);
        }
    }

    fn close(&mut self, call: usize) {
        let open = self.calls[call].take().expect("a call is closed once");
        self.free_calls.push(call);
        if open.reply.is_closed() {
            return;
        }
        let answers: Option<Vec<A>> = open.answers.into_iter().collect();
        if let Some(answers) = answers {
            // A caller that has left in the meantime needs no answer.
            drop(open.reply.send(Ok(answers)));
        }
    }

    /// User code says that its batch is at an end; otherwise the ids it has not answered, at most a handful.
    pub(crate) fn end_batch(&mut self) -> Result<(), Vec<String>> {
        if self.in_flight > 0 && self.batch_open {
            return Err(self.in_flight_ids());
        }
        self.batch_open = false;
        Ok(())
    }

    /// Ids of the first messages that are with user code, at most a handful.
    pub(crate) fn in_flight_ids(&self) -> Vec<String> {
        self.used().into_iter().take(NAMED_MAX).map(|key| self.id(key)).collect()
    }

    /// The slots in use, in the order in which their messages were given out.
    fn used(&self) -> Vec<usize> {
        let mut keys: Vec<usize> =
            (0..self.slots.len()).filter(|key| self.slots[*key].piece.is_some()).collect();
        keys.sort_unstable_by_key(|key| self.slots[*key].turn);
        keys
    }

    /// Messages that are without an answer for `after`, or were already reported so long ago: how many, and the ids
    /// of some.
    pub(crate) fn overdue(&mut self, now: Instant, after: Duration) -> (usize, Vec<String>) {
        let mut count = 0;
        let mut ids = Vec::new();
        for key in self.used() {
            let slot = &mut self.slots[key];
            if now.saturating_duration_since(slot.told.unwrap_or(slot.sent)) < after {
                continue;
            }
            slot.told = Some(now);
            count += 1;
            if ids.len() < NAMED_MAX {
                ids.extend(slot.id.as_ref().map(Id::to_string));
            }
        }
        (count, ids)
    }

    /// Whether every message of the open batch was answered so long ago, or that was already reported so long ago,
    /// and the batch has not been ended.
    pub(crate) fn end_overdue(&mut self, now: Instant, after: Duration) -> bool {
        if !self.batch_open || self.in_flight > 0 {
            self.end_missing = None;
            return false;
        }
        let since = *self.end_missing.get_or_insert(now);
        let overdue = now.saturating_duration_since(since) >= after;
        if overdue {
            self.end_missing = Some(now);
        }
        overdue
    }

    /// When something can be given out that cannot be yet, if nothing else happens.
    pub(crate) fn deadline(&self, now: Instant) -> Option<Instant> {
        let waiting = !self.suspects.is_empty() || !self.again.is_empty() || !self.fresh.is_empty();
        let trial = self.trial.filter(|_| waiting);
        let held = self.held.front().map(|(due, _)| *due).filter(|_| self.in_flight == 0);
        let batch = self.batch_due().filter(|_| !self.batch_open && self.in_flight == 0);
        [trial, held, batch].into_iter().flatten().filter(|at| *at > now).min()
    }

    /// The session with user code is over: sorts what it had. `refuse` makes the answer for a message that is given
    /// up.
    pub(crate) fn lost(
        &mut self,
        now: Instant,
        loss: Loss,
        refuse: impl Fn(&Message, u32) -> A,
    ) -> Aftermath {
        self.batch_open = false;
        let on_trial = self.trial.take().is_some() || !self.suspects.is_empty();
        let keys = self.used();
        let mut after = Aftermath { lost: keys.len(), ids: self.in_flight_ids(), ..Aftermath::default() };
        let culprit = match loss {
            Loss::Culprit(key) => Some(key),
            Loss::Crash if keys.len() == 1 => keys.first().copied(),
            Loss::Crash | Loss::Innocent => None,
        };
        if loss == Loss::Crash && culprit.is_none() && on_trial && keys.len() > 1 {
            self.patience = (self.patience * 2).min(self.limits.patience_max.max(PATIENCE));
        }
        let (mut suspects, mut again) = (VecDeque::new(), VecDeque::new());
        for key in keys {
            let id = self.id(key);
            let mut piece = self.vacate(key);
            if culprit == Some(key) {
                piece.crashes += 1;
                after.culprit = Some((id, piece.crashes));
                after.given_up = self.punish(piece, now, &refuse);
            } else if loss != Loss::Crash {
                again.push_back(piece);
            } else if piece.crashes > 1 {
                self.hold(piece, now);
            } else {
                suspects.push_back(piece);
            }
        }
        suspects.append(&mut self.suspects);
        self.suspects = suspects;
        again.append(&mut self.again);
        self.again = again;
        if self.suspects.is_empty() {
            self.patience = PATIENCE;
        }
        after
    }

    /// Gives a culprit up, lets it rest, or, the first time, simply tries it again: a process may go away for
    /// reasons of its own while it has one message. True when it was given up.
    fn punish(&mut self, piece: Piece, now: Instant, refuse: &impl Fn(&Message, u32) -> A) -> bool {
        if self.limits.poison_attempts.is_some_and(|most| piece.crashes >= most.get()) {
            let open = self.calls[piece.call].as_ref().expect("a piece belongs to an open call");
            let answer = refuse(&open.messages[piece.index], piece.crashes);
            self.settle(piece, Some(answer));
            return true;
        }
        if piece.crashes == 1 {
            self.suspects.push_back(piece);
        } else {
            self.hold(piece, now);
        }
        false
    }

    fn hold(&mut self, piece: Piece, now: Instant) {
        let doublings = piece.crashes.saturating_sub(2).min(8);
        let due = now + (REST_MIN * 2_u32.pow(doublings)).min(REST_MAX);
        let place = self.held.partition_point(|(other, _)| *other <= due);
        self.held.insert(place, (due, piece));
    }
}

#[cfg(test)]
mod tests;
