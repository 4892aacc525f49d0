//! Thousands of short lives of a vertex: edits, words, other replica counts, bad code, crashes, old looks, controllers
//! that start again from what was stored. The auditor watches, and in the end everything must be in place.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;
use std::time::Duration;

use api::resolve::{Analysis, BlueGreen, CanaryStep, Share, Update, UpdateKind};
use api::revision::Revision;
use fastrand::Rng;
use tidegate_plan::rollout::{Input, Memory, Outcome, Phase, turn};
use tidegate_plan::seen::WorkerName;
use tidegate_plan::wanted::{Word, WordKind};

use super::auditor::{Auditor, Case};
use crate::world::vertex::{Code, World};

const SEEDS: u64 = 2_000;
const TURNS_OF_TROUBLE: usize = 60;
const TURNS_TO_END: usize = 900;

struct Life {
    seed: u64,
    rng: Rng,
    world: World,
    memory: Memory,
    auditor: Auditor,
    update: Update,
    bound: bool,
    desired: u32,
    wanted: Revision,
    word: Option<Word>,
    versions: u32,
    look_at: usize,
    workers: BTreeSet<WorkerName>,
    shares: BTreeMap<Revision, u32>,
    touched: bool,
    /// A bad version may serve: somebody said so, or there was none to compare it with.
    spoken: bool,
    trace: Vec<String>,
}

pub(super) fn update(rng: &mut Rng) -> Update {
    let shares = [Share::Count(0), Share::Count(1), Share::Count(2), Share::Percent(25), Share::Percent(50)];
    let (max_unavailable, max_surge) = loop {
        let pair = (shares[rng.usize(..5)], shares[rng.usize(..5)]);
        if !(pair.0.is_zero() && pair.1.is_zero()) {
            break pair;
        }
    };
    let kinds = [UpdateKind::RollingUpdate, UpdateKind::Canary, UpdateKind::BlueGreen, UpdateKind::Recreate];
    let canary = (0..rng.usize(1..5))
        .map(|_| match rng.u32(..4) {
            0 => CanaryStep::Analyse(Duration::from_secs(rng.u64(1..10))),
            1 => CanaryStep::Wait(Duration::from_secs(rng.u64(0..10))),
            2 if rng.bool() => CanaryStep::WaitForWord,
            _ => CanaryStep::SetWeight(rng.u32(..=100)),
        })
        .collect();
    Update {
        kind: kinds[[0, 0, 1, 1, 2, 2, 3][rng.usize(..7)]],
        max_unavailable,
        max_surge,
        min_ready: Duration::from_secs(rng.u64(..5)),
        progress_deadline: Duration::from_mins(1),
        auto_rollback: rng.u32(..8) > 0,
        canary,
        blue_green: BlueGreen {
            auto_promote: rng.u32(..4) > 0,
            preview: Duration::from_secs(rng.u64(..8)),
            keep_old: Duration::from_secs(rng.u64(..15)),
        },
        analysis: Analysis {
            min_records: 100,
            max_error_ratio: 0.01,
            max_latency_ratio: 1.5,
            output_ratio_tolerance: 0.05,
            prometheus: Vec::new(),
        },
    }
}

fn revision(number: u32) -> Revision {
    Revision::from_text(format!("r{number}"))
}

impl Life {
    fn new(seed: u64) -> Self {
        let mut rng = Rng::with_seed(seed);
        let mut world = World::new();
        world.start_ms = rng.i64(200..4_000);
        world.stop_ms = rng.i64(100..5_000);
        world.rate = [0, 50, 1_000, 20_000][rng.usize(..4)];
        let update = update(&mut rng);
        Self {
            seed,
            world,
            memory: Memory::default(),
            auditor: Auditor::default(),
            update,
            bound: rng.u32(..6) == 0,
            desired: rng.u32(1..7),
            wanted: revision(0),
            word: None,
            versions: 0,
            look_at: 0,
            workers: BTreeSet::new(),
            shares: BTreeMap::new(),
            touched: true,
            spoken: false,
            trace: Vec::new(),
            rng,
        }
    }

    fn say(&mut self, kind: WordKind) {
        let number = self.word.as_ref().map_or(0, |word| word.number) + 1;
        self.trace.push(format!("{:>6} word {kind:?}", self.world.now.millis()));
        self.word = Some(Word { number, kind });
        self.touched = true;
        self.spoken = true;
    }

    fn trouble(&mut self) {
        match self.rng.u32(..40) {
            0 | 1 => self.edit(),
            2 if !self.bound => {
                self.desired = self.rng.u32(..7);
                self.trace.push(format!("{:>6} desired {}", self.world.now.millis(), self.desired));
            }
            3 => {
                let to = self.rng.bool().then(|| self.rng.u64(..6));
                let kinds = [
                    WordKind::Promote,
                    WordKind::PromoteFully,
                    WordKind::Abort,
                    WordKind::Retry,
                    WordKind::Undo { to },
                ];
                let kind = kinds[self.rng.usize(..5)].clone();
                self.say(kind);
            }
            4 | 5 => {
                let names: Vec<WorkerName> = self.world.names().into_iter().collect();
                let Some(name) = self.rng.choice(names) else { return };
                if self.rng.bool() {
                    self.trace.push(format!("{:>6} crash {name:?}", self.world.now.millis()));
                    self.world.crash(&name);
                } else if self.memory.workers.iter().any(|known| known.name == name && known.going.is_none())
                {
                    self.trace.push(format!("{:>6} vanish {name:?}", self.world.now.millis()));
                    self.world.vanish(&name);
                }
            }
            6 => {
                let stored = serde_json::to_string(&self.memory).expect("a memory can be stored");
                self.memory = serde_json::from_str(&stored).expect("what was stored can be read");
            }
            _ => {}
        }
    }

    fn edit(&mut self) {
        if self.versions > 0 && self.rng.u32(..3) == 0 {
            self.wanted = revision(self.rng.u32(..=self.versions));
        } else {
            self.versions += 1;
            self.wanted = revision(self.versions);
            let codes = [
                Code::NeverReady,
                Code::Crashes,
                Code::CrashesAfter(self.rng.i64(1..20)),
                Code::Errors(20),
                Code::Drops(5),
                Code::Hangs,
            ];
            if self.rng.bool() {
                let code = codes[self.rng.usize(..codes.len())];
                self.world.code.insert(self.wanted.clone(), code);
            }
        }
        self.touched = true;
        let code = self.world.code.get(&self.wanted);
        self.trace.push(format!("{:>6} edit {} {code:?}", self.world.now.millis(), self.wanted));
    }

    fn turn(&mut self, ms: i64, oldest: usize) -> Outcome {
        self.world.pass(ms, &self.workers, &self.shares);
        // Looks may be old, and never go back.
        self.look_at = self.rng.usize(..=oldest).min(self.look_at + 1);
        let look = self.world.look(self.look_at);
        let input = Input {
            vertex: "cat",
            update: &self.update,
            desired: self.desired,
            wanted: &self.wanted,
            bound: self.bound,
            workers: &look.workers,
            settled: true,
            signals: &self.world.signals,
            queries: &BTreeMap::new(),
            word: self.word.as_ref(),
            now: self.world.now,
        };
        let outcome = turn(&self.memory, &input);
        let again = turn(&outcome.memory, &input);
        for event in &outcome.events {
            self.trace.push(format!("{:>6} {} {}", self.world.now.millis(), event.reason, event.message));
        }
        self.trace.push(format!(
            "{:>6} {} | {:?} {:?}",
            self.world.now.millis(),
            outcome.progress.sentence,
            outcome
                .workers
                .iter()
                .map(|name| format!("{}-{}", name.revision, name.replica))
                .collect::<Vec<_>>(),
            outcome.shares,
        ));
        let same =
            again.workers == outcome.workers && again.shares == outcome.shares && again.events.is_empty();
        assert!(
            same && again.memory == outcome.memory,
            "{}: an extra turn changes something: {again:#?}",
            self.told()
        );
        let case = Case {
            update: &self.update,
            desired: self.desired,
            bound: self.bound,
            look: &look,
            touched: std::mem::take(&mut self.touched),
        };
        if let Err(complaint) = self.auditor.before(&self.world, &outcome, &case) {
            panic!("{}\n{complaint}", self.told());
        }
        self.world.act(&outcome.workers);
        let first = self.memory.stable.is_none();
        self.spoken |= first
            && outcome.memory.stable.as_ref().is_some_and(|stable| self.world.code.contains_key(stable));
        self.memory = outcome.memory.clone();
        self.workers.clone_from(&outcome.workers);
        self.shares.clone_from(&outcome.shares);
        outcome
    }

    fn told(&self) -> String {
        let last = self.trace[self.trace.len().saturating_sub(60)..].join("\n");
        let (seed, update, bound) = (self.seed, &self.update, self.bound);
        format!("{last}\nseed {seed}, bound {bound}, {update:?}")
    }

    /// Everything is as it was wished, or has failed where there is no way back.
    fn is_in_place(&self, outcome: &Outcome) -> bool {
        let serving = &outcome.progress.to;
        let there = self.world.names();
        let right = there.iter().all(|name| name.revision == *serving) && there.len() as u32 == self.desired;
        let stays = outcome.progress.phase == Phase::Failed;
        (outcome.memory.rollout.is_none() && right) || stays
    }

    fn live(mut self) {
        self.edit();
        self.world.code.remove(&self.wanted.clone());
        for _ in 0..TURNS_OF_TROUBLE {
            self.trouble();
            let ms = self.rng.i64(50..2_500);
            self.turn(ms, 2);
        }
        if self.desired == 0 {
            self.desired = 1;
        }
        self.world.code.retain(|_, code| !matches!(code, Code::CrashesAfter(_)));
        let mut outcome = self.turn(500, 0);
        for _ in 0..TURNS_TO_END {
            if self.is_in_place(&outcome) {
                break;
            }
            let waits =
                outcome.waiting.iter().any(|waiting| waiting.message.contains("until somebody promotes"));
            if waits && self.rng.u32(..20) == 0 {
                self.say(WordKind::Promote);
            }
            outcome = self.turn(1_000, 0);
        }
        assert!(self.is_in_place(&outcome), "{}: it does not end", self.told());
        let bad = self.memory.stable.as_ref().and_then(|stable| self.world.code.get(stable));
        let judged = !self.spoken && self.world.rate >= 1_000;
        assert!(!judged || bad.is_none(), "{}: {bad:?} serves", self.told());
    }
}

#[test]
fn every_life_ends_in_place_and_breaks_no_promise() {
    for seed in seeds(SEEDS) {
        Life::new(seed).live();
    }
}

/// `count` seeds, or as the variable `TIDEGATE_SEEDS` says: another count, or `from..to`.
fn seeds(count: u64) -> Range<u64> {
    let Ok(asked) = std::env::var("TIDEGATE_SEEDS") else { return 0..count };
    match asked.split_once("..") {
        Some((from, to)) => from.parse().expect("a seed")..to.parse().expect("a seed"),
        None => 0..asked.parse::<u64>().expect("a count of seeds"),
    }
}
