//! How the workers of one vertex come to run another version. Invariant: at every turn, whatever was seen, the workers it
//! asks for keep the floor of ready ones and the ceiling of all, as far as what exists allows it.

mod aim;
mod blue_green;
mod canary;
mod history;
mod judge;
mod memory;
mod outcome;
mod progress;
mod rolling;
mod roster;
mod words;

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use api::resolve::Update;
use api::revision::Revision;

use crate::seen::{Signals, Worker, WorkerName};
use crate::wanted::Word;
use crate::{Event, Time, Waiting};

pub use history::{HISTORY_LIMIT, Past, State};
pub use judge::{Against, Bound, Judge, Rates, Verdict, VerdictKind};
pub use memory::{Failure, Held, Known, Marks, Memory, RolledBack, Rollout, Stage, Why};
pub use progress::{Phase, Progress};

use rolling::{Change, Limits};
use roster::Roster;

/// One look may end a step and begin the next one; no look ends more of them than this.
const ROUNDS_MAX: usize = 16;

/// What a turn is decided from.
#[derive(Clone, Copy, Debug)]
pub struct Input<'a> {
    /// The name of the vertex, for sentences.
    pub vertex: &'a str,
    /// Its update strategy.
    pub update: &'a Update,
    /// How many workers it should have.
    pub desired: u32,
    /// The version that the manifest asks for.
    pub wanted: &'a Revision,
    /// Each unit is bound to one replica number (order is kept, or state lies on its volume): an old worker goes before
    /// its successor owns anything.
    pub bound: bool,
    /// The workers that are seen.
    pub workers: &'a BTreeMap<WorkerName, Worker>,
    /// Every unit is owned by the worker that it is meant for.
    pub settled: bool,
    /// What each version has done so far.
    pub signals: &'a BTreeMap<Revision, Signals>,
    /// Results of the queries of the analysis, by name; one that gave no number has none.
    pub queries: &'a BTreeMap<String, Option<f64>>,
    /// The last word of somebody.
    pub word: Option<&'a Word>,
    /// What time it is.
    pub now: Time,
}

/// What a turn comes to.
#[derive(Clone, Debug, PartialEq)]
pub struct Outcome {
    /// The workers that should exist. One that is seen and not in here is to go: it is given no units, and ends once
    /// it holds none.
    pub workers: BTreeSet<WorkerName>,
    /// How the units are shared between versions, by weight; a version that is not in here owns nothing. Only workers
    /// in `workers` that are ready own anything.
    pub shares: BTreeMap<Revision, u32>,
    /// What is remembered for the next turn.
    pub memory: Memory,
    /// What is waited for.
    pub waiting: Vec<Waiting>,
    /// What happened.
    pub events: Vec<Event>,
    /// Where it is, for people.
    pub progress: Progress,
    /// When to look again, at the latest, if nothing else happens.
    pub look_again: Option<Time>,
}

/// Decides what comes next for the workers of one vertex.
///
/// The same memory and input give the same outcome, and the outcome's memory with the same input gives it again: an
/// extra turn changes nothing.
///
/// * While `desired` is 0 nothing runs, and no deadline counts.
/// * Bound vertices are updated number by number whatever their strategy, unless it is `Recreate`: a canary or a second
///   set would own what is owned.
/// * A version that was given up is not tried again until the manifest asks for another one, or somebody says
///   [`Retry`](crate::wanted::WordKind::Retry). Asking for another one and then for it again is a fresh wish.
pub fn turn(memory: &Memory, input: &Input<'_>) -> Outcome {
    let mut events = Vec::new();
    let mut memory = memory.clone();
    let mut rounds = 0;
    loop {
        rounds += 1;
        let mut outcome = Turn::new(memory.clone(), input).run();
        events.append(&mut outcome.events);
        if outcome.memory == memory || rounds == ROUNDS_MAX {
            return Outcome { events, ..outcome };
        }
        memory = outcome.memory;
    }
}

/// Takes note of workers that were asked for without a turn, because the object drains and everything stays as it is.
pub(crate) fn note(
    memory: &mut Memory,
    asked: &BTreeSet<WorkerName>,
    workers: &BTreeMap<WorkerName, Worker>,
    min_ready: Duration,
    now: Time,
) {
    let mut roster = Roster::new(memory, workers, min_ready, now);
    roster.keep_only(asked);
    memory.workers = roster.into_known();
}

/// Takes note that all workers were told to go, because the object stands still. Those that are to come back are
/// remembered, and for the others nobody has to wait.
pub(crate) fn note_stop(memory: &mut Memory, workers: &BTreeMap<WorkerName, Worker>) {
    memory.workers.retain(|known| known.going.is_none() || workers.contains_key(&known.name));
    for known in &mut memory.workers {
        (known.seen, known.dismissed) = (true, true);
    }
}

/// A turn that is being decided.
struct Turn<'a> {
    input: &'a Input<'a>,
    memory: Memory,
    roster: Roster<'a>,
    waiting: Vec<Waiting>,
    events: Vec<Event>,
}

/// What a strategy comes to.
struct Step {
    shares: BTreeMap<Revision, u32>,
    /// It waits for nothing but time or a word, so that no deadline counts.
    holding: bool,
}

impl<'a> Turn<'a> {
    fn new(memory: Memory, input: &'a Input<'a>) -> Self {
        let roster = Roster::new(&memory, input.workers, input.update.min_ready, input.now);
        Self { input, memory, roster, waiting: Vec::new(), events: Vec::new() }
    }

    fn run(mut self) -> Outcome {
        self.take_notice();
        self.aim();
        self.judge();
        self.fail_if_bad();
        let step = self.step();
        self.mark(step.holding);
        self.fail_if_late();
        self.complete_if_done();
        self.into_outcome(step.shares)
    }

    /// What the strategy makes of it.
    fn step(&mut self) -> Step {
        let input = self.input;
        let to = self.target();
        if input.desired == 0 {
            return self.at_zero(&to);
        }
        let limits = Limits::of(input.update, input.desired);
        let rollout = self.memory.rollout.as_ref();
        let stage = rollout.map(|rollout| rollout.stage.clone());
        let returning = rollout.is_some_and(|rollout| rollout.why == Why::Return);
        let stable = rollout.filter(|_| !returning).and_then(|rollout| rollout.from.clone());
        // While something looks wrong, no more of the old workers go: it becomes certain, or passes, or time runs out.
        let frozen = self.is_frozen() || self.suspicious();
        let change = Change { to: &to, stable: stable.as_ref(), frozen };
        match (stage, &stable) {
            (Some(Stage::Recreate), _) => rolling::recreate(&mut self.roster, change, input.desired),
            (_, _) if input.bound => rolling::by_number(&mut self.roster, change, input.desired),
            (Some(Stage::Canary { .. }), Some(stable)) => return self.canary(&to, stable, limits),
            (Some(Stage::BlueGreen { .. }), Some(stable)) => return self.blue_green(&to, stable, limits),
            (Some(Stage::Rolling | Stage::Canary { .. } | Stage::BlueGreen { .. }) | None, _) => {
                rolling::roll(&mut self.roster, change, limits);
            }
        }
        let safe = self.roster.ready(&to) >= limits.floor.max(1);
        let shares = if returning && safe && !input.bound {
            BTreeMap::from([(to, 1)])
        } else {
            rolling::shares_by_ready(&self.roster, &to)
        };
        Step { shares, holding: false }
    }

    fn at_zero(&mut self, to: &Revision) -> Step {
        while let Some(name) = self.roster.first_to_go(|_, _| true) {
            self.roster.retire(&name);
        }
        if let Some(Stage::BlueGreen { complete, .. }) =
            self.memory.rollout.as_mut().map(|rollout| &mut rollout.stage)
        {
            *complete = None;
        }
        Step { shares: BTreeMap::from([(to.clone(), 1)]), holding: true }
    }

    /// The version that is to serve in the end.
    fn target(&self) -> Revision {
        self.memory.serving_target().unwrap_or(self.input.wanted).clone()
    }

    /// Whether the rollout has failed and stays where it is.
    fn is_frozen(&self) -> bool {
        let frozen = |rollout: &Rollout| {
            rollout.failed.is_some() && rollout.from.is_some() && rollout.why != Why::Return
        };
        self.memory.rollout.as_ref().is_some_and(frozen)
    }

    fn about(&self) -> String {
        format!("vertex {}", self.input.vertex)
    }
}
