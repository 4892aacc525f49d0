//! Whether an object runs, drains, stands still or goes away, and what is known about its drain. Which workers that takes is
//! decided elsewhere. Invariant: a verdict counts only for the stop during which it was reached, and nothing but a
//! verdict, or force, lets anything be removed; a clock never does.

use std::time::Duration;

use api::spec::OnPauseTimeout;
use serde::{Deserialize, Serialize};

use crate::said::thousands;
use crate::seen::{Cut, Drain, Left, Span};
use crate::wanted::Wanted;
use crate::{Event, Time, Waiting};

/// How long workers that were told to go may be in the way of the word `Paused`.
const STOP_PATIENCE: Duration = Duration::from_secs(30);

/// The word for what a forced deletion drops, as an event and as the last thing that is said of the object.
pub const DROPPED: &str = "RecordsDropped";

/// What is remembered of an object's life.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct Memory {
    /// Grows whenever reading is switched off or on. Orders from a plan with a lower number than the last one that was
    /// obeyed are void, and so are drain verdicts that were reached under another number.
    pub number: u64,
    /// What is being done.
    pub stage: Stage,
    /// What it is done for.
    pub purpose: Purpose,
    /// Since when it is done for that purpose; the clocks of grace periods start here.
    pub since: Time,
    /// Since when workers are to be gone, while they are.
    pub stopped_since: Option<Time>,
    /// That everything was found drained since reading was switched off.
    pub verdict: Option<Verdict>,
    /// A pause of this generation was given up when its time was over; it is not tried again before the next edit.
    pub gave_up: Option<u64>,
    /// The end of the grace period was reported.
    pub overdue: bool,
}

/// What is being done with the work inside of an object.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Stage {
    /// It is taken in and worked on.
    #[default]
    Running,
    /// Nothing is taken in; what is inside is worked off.
    Draining,
    /// Nothing is worked on: workers are gone or told to go.
    Stopped,
}

/// What an object is stopped for, or that it is not.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Purpose {
    /// It runs.
    #[default]
    Run,
    /// Somebody wants it to pause.
    Pause,
    /// Another shape waits to take over.
    Reshape,
    /// It goes away when it is drained.
    Delete,
    /// It goes away whatever is inside.
    DeleteNow,
}

/// That everything was found drained.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Verdict {
    /// When.
    pub at: Time,
    /// Windows that are open and safely stored; with none, everything was flushed.
    pub windows_checkpointed: u64,
}

/// What a turn is decided from.
pub(crate) struct Input<'a> {
    pub(crate) wanted: &'a Wanted<'a>,
    pub(crate) drain: Option<&'a Drain>,
    /// Workers that are seen, those that were told to go included.
    pub(crate) workers: usize,
    /// Messages inside, as far as anybody can tell.
    pub(crate) left: Option<u64>,
    pub(crate) now: Time,
}

/// What a turn comes to.
#[derive(Default)]
pub(crate) struct Outcome {
    pub(crate) memory: Memory,
    pub(crate) reshape: bool,
    pub(crate) forget: bool,
    pub(crate) events: Vec<Event>,
    pub(crate) waiting: Vec<Waiting>,
    pub(crate) look_again: Option<Time>,
}

impl Memory {
    /// Whether sources are to be read.
    pub fn is_reading(&self) -> bool {
        self.stage == Stage::Running
    }

    /// When the grace period of a pause is over; none while there is no pause.
    pub fn deadline(&self, grace: Duration) -> Option<Time> {
        (self.purpose == Purpose::Pause).then(|| self.since.after(grace))
    }

    /// Whether a pause is complete: its time is over or everything is drained, and workers had their time to go. One that
    /// is complete stays so: what drains after its time was over needs no time for its workers once more.
    pub(crate) fn is_settled(&self, workers: usize, grace: Duration, now: Time) -> bool {
        match self.stage {
            Stage::Running => false,
            Stage::Draining => self.deadline(grace).is_some_and(|deadline| now >= deadline),
            Stage::Stopped => {
                let late = self.overdue && self.verdict.is_some();
                let had_time = self.stopped_since.is_some_and(|since| now.since(since) >= STOP_PATIENCE);
                workers == 0 || late || had_time
            }
        }
    }
}

/// One turn of an object's life.
pub(crate) fn turn(memory: &Memory, input: &Input<'_>) -> Outcome {
    let mut outcome = Outcome { memory: memory.clone(), ..Outcome::default() };
    if !input.wanted.settings.lifecycle.paused || memory.gave_up != Some(input.wanted.generation) {
        outcome.memory.gave_up = None;
    }
    let purpose = purpose(&outcome.memory, input.wanted);
    take_up(&mut outcome, purpose, input.now);
    judge(&mut outcome, memory, input);
    proceed(&mut outcome, input);
    let stopped = outcome.memory.stage == Stage::Stopped;
    let since = outcome.memory.stopped_since.unwrap_or(input.now);
    outcome.memory.stopped_since = stopped.then_some(since);
    if stopped && input.workers > 0 {
        outcome.look_again =
            Some(since.after(STOP_PATIENCE)).filter(|time| *time > input.now).or(outcome.look_again);
        let message = format!("{} workers were told to go and are not gone", input.workers);
        outcome.waiting.push(Waiting::new("", "WorkersStopping", message));
    }
    outcome
}

/// What the object should be stopped for, if anything: the wishes, the strongest first.
fn purpose(memory: &Memory, wanted: &Wanted<'_>) -> Purpose {
    match wanted.deletion {
        Some(deletion) if deletion.force => Purpose::DeleteNow,
        Some(_) => Purpose::Delete,
        None if wanted.settings.lifecycle.paused && memory.gave_up.is_none() => Purpose::Pause,
        None if wanted.reshape => Purpose::Reshape,
        None => Purpose::Run,
    }
}

/// Makes the wish the purpose. Reading is switched here and nowhere else.
fn take_up(outcome: &mut Outcome, purpose: Purpose, now: Time) {
    let memory = &mut outcome.memory;
    if memory.purpose == purpose {
        return;
    }
    let before = std::mem::replace(&mut memory.purpose, purpose);
    (memory.since, memory.overdue) = (now, false);
    let off = purpose != Purpose::Run;
    if off != memory.is_reading() {
        outcome.events.push(said(before, purpose));
        return;
    }
    memory.number += 1;
    memory.verdict = None;
    memory.stage = if off { Stage::Draining } else { Stage::Running };
    outcome.events.push(said(before, purpose));
}

fn said(before: Purpose, purpose: Purpose) -> Event {
    match purpose {
        Purpose::Run if before == Purpose::Reshape => {
            Event::normal("", "Resumed", "sources read again after the change of shape")
        }
        Purpose::Run => Event::normal("", "Resumed", "sources read again"),
        Purpose::Pause => {
            Event::normal("", "Pausing", "sources stop reading, and what is inside is worked off")
        }
        Purpose::Reshape => {
            let message =
                "sources stop reading, because the edit can only take over when everything is drained";
            Event::normal("", "Reshaping", message)
        }
        Purpose::Delete => {
            Event::normal("", "Deleting", "sources stop reading; the object goes once it is drained")
        }
        Purpose::DeleteNow => Event::normal("", "Deleting", "the object goes at once, as it was asked"),
    }
}

/// Takes in the verdict, which only counts when the order to stop was given in an earlier turn.
fn judge(outcome: &mut Outcome, before: &Memory, input: &Input<'_>) {
    let memory = &mut outcome.memory;
    if memory.verdict.is_some() || before.is_reading() || memory.number != before.number {
        return;
    }
    let Some(drain) = input.drain.filter(|drain| drain.drained && drain.sources_stopped) else { return };
    if drain.number.is_some_and(|number| number != memory.number) {
        return;
    }
    let windows_checkpointed = drain.windows_checkpointed;
    memory.verdict = Some(Verdict { at: input.now, windows_checkpointed });
    let message = match windows_checkpointed {
        0 => "everything is drained and every window is flushed".to_owned(),
        count => format!("everything is drained; {count} open windows are safely stored"),
    };
    outcome.events.push(Event::normal("", "Drained", message));
}

/// What follows from purpose and verdict.
fn proceed(outcome: &mut Outcome, input: &Input<'_>) {
    let drained = outcome.memory.verdict.is_some();
    let gone = input.workers == 0;
    let stage = |stopped: bool| if stopped { Stage::Stopped } else { Stage::Draining };
    match outcome.memory.purpose {
        Purpose::Run => {}
        Purpose::Pause => {
            pause(outcome, input);
            outcome.reshape = input.wanted.reshape && drained && gone && !outcome.memory.is_reading();
            if input.wanted.reshape && outcome.memory.stage == Stage::Stopped && !drained {
                let message = "the edit waits until everything is drained: resume, or set lifecycle.onPauseTimeout to wait";
                outcome.waiting.push(Waiting::new("", "EditNeedsDrain", message));
            }
        }
        Purpose::Reshape => {
            outcome.memory.stage = stage(drained);
            outcome.reshape = drained && gone;
            if !drained {
                let message = format!("the edit takes over when everything is drained{}", left(input.left));
                outcome.waiting.push(Waiting::new("", "EditNeedsDrain", message));
            }
        }
        Purpose::Delete => {
            outcome.memory.stage = stage(drained);
            outcome.forget = drained && gone;
            if !drained {
                delete_waits(outcome, input);
            }
        }
        Purpose::DeleteNow => {
            // What workers still finish on their way out is not dropped: they count when they are gone.
            if gone && !drained && !std::mem::replace(&mut outcome.memory.overdue, true) {
                let message = dropped(input);
                outcome.events.push(Event::warning("", DROPPED, message.clone()));
                outcome.waiting.push(Waiting::new("", DROPPED, message));
            }
            outcome.memory.stage = Stage::Stopped;
            outcome.forget = gone;
        }
    }
}

/// What a forced deletion drops: how much lies where, and from where in the sources it came.
fn dropped(input: &Input<'_>) -> String {
    let Some(count) = input.left else {
        return "deleted by force: nobody could count the records that are dropped".to_owned();
    };
    let nothing = Drain::default();
    let Drain { left, cuts, .. } = input.drain.unwrap_or(&nothing);
    let place = |Left { vertex, partition, messages }: &Left| {
        format!("{} in partition {partition} of vertex {vertex}", thousands(*messages))
    };
    let places: Vec<String> = left.iter().map(place).collect();
    let colon = if places.is_empty() { "" } else { ": " };
    let total = thousands(count);
    let said = format!("deleted by force: {total} records are dropped{colon}{}", places.join(", "));
    let sentences: Vec<String> = std::iter::once(said).chain(cuts.iter().filter_map(came_from)).collect();
    sentences.join("; ")
}

/// What of the records inside came from a source, as far as it can be told.
fn came_from(cut: &Cut) -> Option<String> {
    let Cut { source, read, records, spans, named } = cut;
    let read: Vec<String> =
        read.iter().map(|(unit, position)| format!("position {position} in unit {unit}")).collect();
    let span = |(partition, Span { first, last }): (&u16, &Span)| {
        format!(", from offset {first} to {last} in partition {partition}")
    };
    let spans = spans.iter().map(span).collect::<Vec<_>>().concat();
    let such_as = if named.is_empty() { String::new() } else { format!(", such as {}", named.join(", ")) };
    let read = (!read.is_empty()).then(|| format!("was read up to {}", read.join(", ")));
    let gave = (*records > 0)
        .then(|| format!("gave {} of the records as they lie there{spans}{such_as}", thousands(*records)));
    let facts: Vec<String> = read.into_iter().chain(gave).collect();
    (!facts.is_empty()).then(|| format!("source {source} {}", facts.join(", and ")))
}

fn pause(outcome: &mut Outcome, input: &Input<'_>) {
    let lifecycle = &input.wanted.settings.lifecycle;
    let deadline = outcome.memory.since.after(lifecycle.pause_grace);
    if outcome.memory.verdict.is_some() {
        outcome.memory.stage = Stage::Stopped;
        return;
    }
    if input.now < deadline {
        outcome.memory.stage = Stage::Draining;
        outcome.look_again = Some(deadline);
        return;
    }
    let first = !std::mem::replace(&mut outcome.memory.overdue, true);
    let seconds = lifecycle.pause_grace.as_secs();
    let (stage, then) = match lifecycle.on_pause_timeout {
        OnPauseTimeout::Keep => (Stage::Stopped, "workers stop, and the data stays where it is"),
        OnPauseTimeout::Wait => (Stage::Draining, "draining goes on"),
        OnPauseTimeout::Resume => (Stage::Running, "the pause is given up and sources read again"),
    };
    if first {
        let message = format!("not drained after {seconds} s{}; {then}", left(input.left));
        outcome.events.push(Event::warning("", "PauseTimeout", message));
    }
    if stage == Stage::Running {
        outcome.memory.gave_up = Some(input.wanted.generation);
        let purpose = if input.wanted.reshape { Purpose::Reshape } else { Purpose::Run };
        take_up(outcome, purpose, input.now);
    } else {
        outcome.memory.stage = stage;
    }
}

fn delete_waits(outcome: &mut Outcome, input: &Input<'_>) {
    let grace = input.wanted.settings.lifecycle.deletion_grace;
    let deadline = outcome.memory.since.after(grace);
    let message = format!("the object goes when everything is drained{}", left(input.left));
    outcome.waiting.push(Waiting::new("", "DeletionWaits", message));
    if input.now < deadline {
        outcome.look_again = Some(deadline);
    } else if !std::mem::replace(&mut outcome.memory.overdue, true) {
        let message = format!(
            "not drained after {} s{}; the deletion waits, because nothing is dropped unless it is forced",
            grace.as_secs(),
            left(input.left)
        );
        outcome.events.push(Event::warning("", "DeletionWaits", message));
    }
}

fn left(left: Option<u64>) -> String {
    left.map(|count| format!(" ({} left)", thousands(count))).unwrap_or_default()
}
