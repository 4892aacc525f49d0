//! Whole rollouts under steady conditions, printed line by line and held against the committed text.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::time::Duration;

use api::resolve::{Analysis, BlueGreen, CanaryStep, Share, Update, UpdateKind};
use api::revision::Revision;
use tidegate_plan::rollout::{Input, Memory, Outcome, turn};
use tidegate_plan::seen::WorkerName;
use tidegate_plan::wanted::{Word, WordKind};

use super::auditor::{Auditor, Case};
use crate::print::{HOW, differs};
use crate::world::vertex::{Code, World};

/// A vertex whose turns are printed whenever something changes.
struct Story {
    world: World,
    memory: Memory,
    auditor: Auditor,
    update: Update,
    bound: bool,
    desired: u32,
    wanted: Revision,
    word: Option<Word>,
    queries: BTreeMap<String, Option<f64>>,
    workers: BTreeSet<WorkerName>,
    shares: BTreeMap<Revision, u32>,
    touched: bool,
    text: String,
    last: String,
}

fn update(kind: UpdateKind) -> Update {
    Update {
        kind,
        max_unavailable: Share::Percent(25),
        max_surge: Share::Count(1),
        min_ready: Duration::from_secs(5),
        progress_deadline: Duration::from_mins(1),
        auto_rollback: true,
        canary: Vec::new(),
        blue_green: BlueGreen {
            auto_promote: true,
            preview: Duration::from_secs(10),
            keep_old: Duration::from_secs(30),
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

fn canary() -> Update {
    let seconds = Duration::from_secs;
    let steps = vec![
        CanaryStep::SetWeight(10),
        CanaryStep::Analyse(seconds(20)),
        CanaryStep::SetWeight(50),
        CanaryStep::Wait(seconds(5)),
        CanaryStep::WaitForWord,
    ];
    Update { canary: steps, ..update(UpdateKind::Canary) }
}

impl Story {
    /// A vertex whose version `a` has been running for a minute.
    fn settled(update: Update, desired: u32) -> Self {
        let mut story = Self::fresh(update, desired);
        story.run(60);
        story.text.clear();
        story.last.clear();
        story
    }

    fn fresh(update: Update, desired: u32) -> Self {
        Self {
            world: World::new(),
            memory: Memory::default(),
            auditor: Auditor::default(),
            update,
            bound: false,
            desired,
            wanted: Revision::from_text("a"),
            word: None,
            queries: BTreeMap::new(),
            workers: BTreeSet::new(),
            shares: BTreeMap::new(),
            touched: true,
            text: String::new(),
            last: String::new(),
        }
    }

    fn edit(&mut self, to: &str, code: Code) {
        self.wanted = Revision::from_text(to);
        self.world.code.insert(self.wanted.clone(), code);
        self.touched = true;
        self.tell(&format!("-- edit: {to}, {code:?}"));
    }

    fn say(&mut self, kind: WordKind) {
        self.tell(&format!("-- word: {kind:?}"));
        let number = self.word.as_ref().map_or(0, |word| word.number) + 1;
        self.word = Some(Word { number, kind });
        self.touched = true;
    }

    fn tell(&mut self, line: &str) {
        self.text += line;
        self.text.push('\n');
    }

    fn scale(&mut self, desired: u32) {
        self.tell(&format!("-- desired: {desired}"));
        self.desired = desired;
    }

    fn run(&mut self, seconds: u32) {
        for _ in 0..seconds {
            self.turn();
        }
    }

    fn turn(&mut self) -> Outcome {
        self.world.pass(1_000, &self.workers, &self.shares);
        let look = self.world.look(0);
        let input = Input {
            vertex: "cat",
            update: &self.update,
            desired: self.desired,
            wanted: &self.wanted,
            bound: self.bound,
            workers: &look.workers,
            settled: true,
            signals: &self.world.signals,
            queries: &self.queries,
            word: self.word.as_ref(),
            now: self.world.now,
        };
        let outcome = turn(&self.memory, &input);
        let (update, desired, bound) = (&self.update, self.desired, self.bound);
        let touched = std::mem::take(&mut self.touched);
        let case = Case { update, desired, bound, look: &look, touched };
        if let Err(complaint) = self.auditor.before(&self.world, &outcome, &case) {
            panic!("{}\n{complaint}", self.text);
        }
        self.print(&outcome);
        self.world.act(&outcome.workers);
        self.memory = outcome.memory.clone();
        self.workers.clone_from(&outcome.workers);
        self.shares.clone_from(&outcome.shares);
        outcome
    }

    fn print(&mut self, outcome: &Outcome) {
        let seconds = self.world.now.millis() / 1_000;
        for event in &outcome.events {
            self.tell(&format!("{seconds:>4}s {:?} {}: {}", event.severity, event.reason, event.message));
        }
        let mut workers: BTreeMap<&Revision, Vec<String>> = BTreeMap::new();
        for name in &outcome.workers {
            let ready = if self.world.is_ready(name) { "" } else { "?" };
            workers.entry(&name.revision).or_default().push(format!("{}{ready}", name.replica));
        }
        let workers: Vec<String> =
            workers.iter().map(|(revision, numbers)| format!("{revision}[{}]", numbers.join(" "))).collect();
        let shares: Vec<String> =
            outcome.shares.iter().map(|(name, weight)| format!("{name}:{weight}")).collect();
        let line = format!("{:?} {} | {}", outcome.progress.phase, workers.join(" "), shares.join(" "));
        if line != self.last {
            self.tell(&format!("{seconds:>4}s {line}"));
            self.last = line;
        }
    }

    fn history(&mut self) {
        for past in self.memory.history.clone() {
            self.tell(&format!("{} {} {:?}", past.number, past.revision, past.state));
        }
    }

    fn is(self, name: &str) {
        let path = format!("{}/tests/it/rollout/{name}.txt", env!("CARGO_MANIFEST_DIR"));
        if let Some(difference) = differs(Path::new(&path), &self.text) {
            panic!("{difference}\n{HOW}\n{}", self.text);
        }
    }
}

#[test]
fn four_workers_are_replaced_one_batch_at_a_time() {
    let mut story = Story::settled(update(UpdateKind::RollingUpdate), 4);
    story.edit("b", Code::Good);
    story.run(60);
    story.history();
    story.is("rolling");
}

#[test]
fn one_worker_with_surge_never_goes_dark() {
    let mut story = Story::settled(update(UpdateKind::RollingUpdate), 1);
    story.edit("b", Code::Good);
    story.run(30);
    story.is("single");
}

#[test]
fn code_that_fails_some_messages_is_rolled_back_and_not_tried_again() {
    let mut story = Story::settled(update(UpdateKind::RollingUpdate), 4);
    story.edit("b", Code::Errors(20));
    story.run(60);
    story.history();
    story.is("errors");
}

#[test]
fn code_that_drops_some_messages_is_rolled_back() {
    let mut story = Story::settled(update(UpdateKind::RollingUpdate), 1);
    story.edit("b", Code::Drops(5));
    story.run(40);
    story.is("drops");
}

#[test]
fn a_command_that_exits_is_given_up_long_before_the_deadline() {
    let mut story = Story::settled(update(UpdateKind::RollingUpdate), 4);
    story.edit("b", Code::Crashes);
    story.run(40);
    story.edit("c", Code::Good);
    story.run(50);
    story.is("crashes");
}

#[test]
fn code_that_is_never_ready_is_given_up_at_the_deadline() {
    let mut story = Story::settled(update(UpdateKind::RollingUpdate), 2);
    story.edit("b", Code::NeverReady);
    story.run(80);
    story.say(WordKind::Retry);
    story.run(5);
    story.say(WordKind::Abort);
    story.run(5);
    story.is("never_ready");
}

#[test]
fn code_that_hangs_is_given_up_although_it_is_ready() {
    let mut story = Story::settled(update(UpdateKind::RollingUpdate), 2);
    story.edit("b", Code::Hangs);
    story.run(120);
    story.is("hangs");
}

#[test]
fn a_broken_version_keeps_no_good_one_waiting() {
    let mut story = Story::settled(update(UpdateKind::RollingUpdate), 3);
    story.world.code.insert(Revision::from_text("a"), Code::Crashes);
    for name in story.world.names() {
        story.world.crash(&name);
    }
    story.run(5);
    story.edit("b", Code::Good);
    story.run(40);
    story.is("broken_stable");
}

#[test]
fn a_revert_in_the_middle_keeps_the_old_workers_that_run() {
    let mut story = Story::settled(update(UpdateKind::RollingUpdate), 4);
    story.edit("b", Code::Good);
    story.run(9);
    story.edit("a", Code::Good);
    story.run(20);
    story.is("revert");
}

#[test]
fn another_edit_and_more_replicas_in_the_middle_go_on_from_what_runs() {
    let mut story = Story::settled(update(UpdateKind::RollingUpdate), 4);
    story.edit("b", Code::Good);
    story.run(9);
    story.edit("c", Code::Good);
    story.run(4);
    story.scale(8);
    story.run(60);
    story.is("three");
}

#[test]
fn recreate_starts_nothing_before_all_have_gone() {
    let mut story = Story::settled(update(UpdateKind::Recreate), 3);
    story.edit("b", Code::Crashes);
    story.run(40);
    story.is("recreate");
}

#[test]
fn bound_workers_are_replaced_number_by_number() {
    let mut story = Story::fresh(update(UpdateKind::Canary), 3);
    story.bound = true;
    story.run(30);
    story.text.clear();
    story.edit("b", Code::Good);
    story.run(60);
    story.is("bound");
}

#[test]
fn a_canary_goes_step_by_step_and_waits_for_a_word() {
    let mut story = Story::settled(canary(), 4);
    story.edit("b", Code::Good);
    story.run(60);
    story.say(WordKind::Promote);
    story.run(40);
    story.is("canary");
}

#[test]
fn a_canary_without_records_is_never_promoted() {
    let mut story = Story::settled(canary(), 4);
    story.world.rate = 0;
    story.edit("b", Code::Good);
    story.run(120);
    story.history();
    story.is("canary_silence");
}

#[test]
fn a_bad_canary_leaves_nothing_behind_and_the_next_one_begins_at_once() {
    let mut story = Story::settled(canary(), 4);
    story.edit("b", Code::Errors(20));
    story.run(30);
    story.edit("c", Code::Good);
    story.run(10);
    story.say(WordKind::PromoteFully);
    story.run(30);
    story.say(WordKind::Undo { to: Some(1) });
    story.run(25);
    story.history();
    story.is("canary_bad");
}

#[test]
fn blue_green_switches_once() {
    let mut story = Story::settled(update(UpdateKind::BlueGreen), 2);
    story.edit("b", Code::Good);
    story.run(60);
    story.is("blue_green");
}

#[test]
fn blue_green_is_taken_back_when_the_second_set_falls() {
    let mut story = Story::settled(update(UpdateKind::BlueGreen), 2);
    story.edit("b", Code::CrashesAfter(25));
    story.run(40);
    story.is("blue_green_back");
}

#[test]
fn without_auto_rollback_it_stays_where_it_is_and_nothing_counts_at_zero() {
    let mut story = Story::settled(Update { auto_rollback: false, ..update(UpdateKind::RollingUpdate) }, 4);
    story.edit("b", Code::NeverReady);
    story.run(10);
    story.scale(0);
    story.run(200);
    story.scale(4);
    story.run(80);
    story.say(WordKind::Abort);
    story.run(20);
    story.history();
    story.is("stays");
}

/// Why version `b` is given up as a canary when the query of its analysis gives this.
fn reason_with_query(value: Option<f64>) -> Option<String> {
    let mut update = canary();
    update.analysis.prometheus = vec![api::spec::update::PrometheusQuery {
        name: "lag".to_owned(),
        max: Some(5.0),
        ..api::spec::update::PrometheusQuery::default()
    }];
    let mut story = Story::settled(update, 4);
    story.queries.insert("lag".to_owned(), value);
    story.edit("b", Code::Good);
    story.run(120);
    story.memory.rolled_back.map(|back| back.failure.reason)
}

#[test]
fn a_query_without_a_number_is_never_a_pass() {
    assert_eq!(reason_with_query(Some(1.0)), None);
    assert_eq!(reason_with_query(Some(6.0)).as_deref(), Some("AnalysisFailed"));
    assert_eq!(reason_with_query(None).as_deref(), Some("InsufficientData"));
    assert_eq!(reason_with_query(Some(f64::NAN)).as_deref(), Some("InsufficientData"));
}
