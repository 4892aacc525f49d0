//! Updates under numbered load: nothing is lost, nothing comes twice, there are never too few or too many pods, and what is
//! bad is taken back by itself.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use e2e::wait;
use serde_json::{Value, json};

use crate::kubectl::{self, LIMIT, context, events, tidegate};
use crate::lines::{self, Lines};
use crate::manifests::{PIPELINE, log, map, numbers, pipeline};
use crate::watch::Watch;

/// Messages a second; every one of them is a line in a log that is read along.
const RATE: u64 = 100;
/// What asks for something in the annotation of an object.
const ASKED: &str = "tidegate.io/asked";
/// Of the rate before, no second may have less; the goal is 70 %.
const RATE_FLOOR: f64 = 0.3;

/// A pipeline of numbers through a map with so many workers, which runs and has its sink read along.
struct Load {
    name: &'static str,
    count: u64,
    replicas: u32,
    strategy: Value,
    lines: Lines,
}

impl Load {
    fn start(name: &'static str, count: u64, replicas: u32, strategy: Value) -> Self {
        let lines = Lines::of_sink(name);
        let load = Self { name, count, replicas, strategy, lines };
        load.run(&["--mark", "one"]);
        kubectl::rolled_out(name);
        load.lines.until_more(0, 100);
        load
    }

    /// Has the map run with other arguments.
    fn run(&self, arguments: &[&str]) {
        let map = map(self.replicas, arguments, self.strategy.clone());
        kubectl::apply(&pipeline(self.name, vec![numbers(self.count, RATE), map, log()]));
    }

    fn vertex(&self) -> String {
        format!("{}-cat", self.name)
    }

    /// Waits until a state of the map's `Vertex` is there.
    fn until(&self, what: &str, is_so: impl Fn(&Value) -> bool) -> Value {
        kubectl::until("vertex", &self.vertex(), what, |vertex| is_so(&vertex["status"]))["status"].clone()
    }

    /// The version that serves.
    fn version(&self) -> String {
        let status = self.until("rolled out", |status| status["currentHash"] == status["updateHash"]);
        status["currentHash"].as_str().expect("it has a version").to_owned()
    }

    /// Waits until the wanted version serves alone, with all its workers.
    fn rolled_out(&self, old: &str) {
        let replicas = self.replicas;
        self.until("rolled out", |status| {
            status["currentHash"] != old
                && status["currentHash"] == status["updateHash"]
                && status["updatedReadyReplicas"] == replicas
                && status["replicas"] == replicas
        });
    }

    /// Waits until the version before serves again, and asserts that status and events say why.
    fn rolled_back(&self, old: &str) -> String {
        let replicas = self.replicas;
        let status = self.until("rolled back", |status| {
            let back = &status["rollout"]["rolledBack"];
            back["to"] == old
                && back["from"] == status["updateHash"]
                && status["readyReplicas"] == replicas
                && status["replicas"] == replicas
        });
        let reason = status["rollout"]["rolledBack"]["reason"].as_str().unwrap_or_default().to_owned();
        assert!(!reason.is_empty(), "{status:#}");
        wait::within(LIMIT, "an event says why", || {
            let said = |(what, message): &(String, String)| what == "RolledBack" && message.contains(&reason);
            events(self.name).iter().any(said).then_some(())
        });
        reason
    }

    /// Waits for the rest of the numbers, asserts that each came once, and takes everything away.
    fn finish(self) {
        self.lines.until_complete(self.count, LIMIT);
        self.lines.assert_exact(self.count);
        kubectl::delete("pipeline", self.name, PIPELINE);
    }

    /// How many numbers of each mark have come.
    fn marks(&self) -> BTreeMap<String, usize> {
        let mut marks = BTreeMap::new();
        for line in self.lines.all() {
            *marks.entry(line.mark).or_insert(0) += 1;
        }
        marks
    }
}

/// Every state of the pods of a map, as they change.
struct Pods {
    watch: Watch,
    /// How many there were and were ready.
    states: Vec<(usize, usize)>,
}

impl Pods {
    fn of(load: &Load) -> Self {
        let selector = format!("{PIPELINE}={},numaflow.numaproj.io/vertex-name=cat", load.name);
        let mut watch = Watch::all("pods", &selector, LIMIT);
        let replicas = load.replicas as usize;
        watch.until("all workers are ready", |pods| (ready(pods) == replicas).then_some(()));
        Self { watch, states: Vec::new() }
    }

    /// Follows them until all are of another version than `old`, and no more of that are on their way out.
    fn follow_until_replaced(&mut self, old: &str) {
        let states = &mut self.states;
        self.watch.until("every worker is a new one", |pods| {
            states.push((there(pods).count(), ready(pods)));
            let is_new = |pod: &&Value| pod["metadata"]["annotations"]["numaflow.numaproj.io/hash"] != old;
            (there(pods).filter(is_new).count() == ready(pods) && there(pods).all(|pod| is_new(&pod)))
                .then_some(())
        });
    }

    fn assert_bounds(&self, fewest: usize, most: usize) {
        let outside: Vec<_> =
            self.states.iter().filter(|(there, ready)| *there > most || *ready < fewest).collect();
        assert!(
            outside.is_empty(),
            "at most {most} are there and at least {fewest} ready, but {outside:?} of {:?}",
            self.states
        );
    }
}

/// Pods that were not told to go.
fn there(pods: &BTreeMap<String, Value>) -> impl Iterator<Item = &Value> {
    pods.values().filter(|pod| pod["metadata"]["deletionTimestamp"].is_null())
}

fn ready(pods: &BTreeMap<String, Value>) -> usize {
    let is_ready = |pod: &&Value| {
        let conditions = pod["status"]["conditions"].as_array().into_iter().flatten();
        conditions.into_iter().any(|one| one["type"] == "Ready" && one["status"] == "True")
    };
    there(pods).filter(is_ready).count()
}

fn rolling() -> Value {
    json!({"type": "RollingUpdate", "rollingUpdate": {"maxUnavailable": "25%", "maxSurge": 1}})
}

#[test]
fn a_rolling_update_keeps_its_bounds_and_every_number() {
    let load = Load::start("roll", 6_000, 4, rolling());
    let old = load.version();
    let mut pods = Pods::of(&load);
    let started = lines::now_nanos();
    load.run(&["--mark", "two"]);
    let begun = Instant::now();
    pods.follow_until_replaced(&old);
    load.rolled_out(&old);
    let ended = lines::now_nanos();
    println!("the update took {:?}; states of pods (there, ready): {:?}", begun.elapsed(), pods.states);
    pods.assert_bounds(3, 5);
    let all = load.lines.all();
    let during: Vec<_> = all.into_iter().filter(|line| (started..ended).contains(&line.at_nanos)).collect();
    let rates = Lines::rates(&during);
    println!("messages of each second during it: {rates:?}");
    let least = rates.iter().min().copied().unwrap_or(0) as f64 / RATE as f64;
    assert!(least >= RATE_FLOOR, "a second had {least} of the rate: {rates:?}");
    let slowest = during.iter().map(lines::Line::latency).max().unwrap_or_default();
    println!("longest way of a message: {slowest:?}; {:?}", load.marks());
    load.finish();
}

#[test]
fn a_canary_has_its_share_and_goes_on_by_annotation() {
    let strategy = json!({
        "type": "Canary",
        "minReadySeconds": 1,
        "canary": {"steps": [{"setWeight": 25}, {"pause": {}}]},
    });
    let load = Load::start("canary", 6_000, 4, strategy);
    let old = load.version();
    load.run(&["--mark", "two"]);
    let status = load.until("waiting for a word", |status| {
        status["rollout"]["weight"] == 25 && status["rollout"]["step"] == 2
    });
    assert_eq!(status["readyReplicas"], 4, "the version before keeps its capacity: {status:#}");
    let before = load.lines.len();
    load.lines.until_more(before, 1_000);
    let since: Vec<_> = load.lines.all().split_off(before);
    let share = since.iter().filter(|line| line.mark == "two").count() as f64 / since.len() as f64;
    println!("the canary had {share:.3} of {} messages", since.len());
    assert!((0.15..=0.35).contains(&share), "the canary had {share:.3} instead of 0.25");
    let asked = json!({"words": {"cat": {"number": 1, "kind": "promote"}}}).to_string();
    kubectl::run(&["annotate", "pipeline", load.name, &format!("{ASKED}={asked}")]);
    load.rolled_out(&old);
    load.finish();
}

#[test]
fn a_canary_is_given_up_by_word() {
    let strategy = json!({
        "type": "Canary",
        "minReadySeconds": 1,
        "canary": {"steps": [{"setWeight": 50}, {"pause": {}}]},
    });
    let load = Load::start("given-up", 5_000, 2, strategy);
    let old = load.version();
    for (words, mark) in [(None, "two"), (Some("abort"), "three")] {
        load.run(&["--mark", mark]);
        load.until("waiting for a word", |status| {
            status["rollout"]["weight"] == 50
                && status["rollout"]["step"] == 2
                && status["rollout"]["to"] == status["updateHash"]
        });
        match words {
            None => {
                let asked = json!({"words": {"cat": {"number": 1, "kind": "abort"}}}).to_string();
                kubectl::run(&["annotate", "pipeline", load.name, &format!("{ASKED}={asked}")]);
            }
            Some(word) => drop(tidegate(&["rollout", word, load.name, "--context", &context()])),
        }
        println!("given up: {}", load.rolled_back(&old));
    }
    load.finish();
}

#[test]
fn blue_green_switches_when_somebody_promotes() {
    let strategy = json!({
        "type": "BlueGreen",
        "minReadySeconds": 1,
        "blueGreen": {"autoPromote": false, "keepOldSeconds": 3},
    });
    let load = Load::start("switch", 6_000, 4, strategy);
    let old = load.version();
    load.run(&["--mark", "two"]);
    load.until("complete beside the version that serves", |status| {
        status["updatedReadyReplicas"] == 4 && status["replicas"] == 8
    });
    let before = load.lines.len();
    load.lines.until_more(before, 200);
    assert_eq!(load.marks().get("two"), None, "the set that is not promoted has work");
    tidegate(&["rollout", "promote", load.name, "--context", &context()]);
    load.rolled_out(&old);
    let marks = load.marks();
    load.lines.until_more(load.lines.len(), 200);
    let after = load.marks();
    assert_eq!(marks.get("one"), after.get("one"), "the old set has work after the switch: {after:?}");
    // In the order of the sink's log, nothing of the old set comes once the new one has had a second.
    let all = load.lines.all();
    let first = all.iter().find(|line| line.mark == "two").expect("the new set has had work").at_nanos;
    let late = all.iter().filter(|line| line.mark == "one" && line.at_nanos > first + 1_000_000_000).count();
    println!(
        "switched; {late} messages of the old set came later than a second after the first of the new one"
    );
    load.finish();
}

#[test]
fn bad_versions_are_rolled_back_with_their_reasons() {
    let strategy = json!({
        "type": "RollingUpdate",
        "rollingUpdate": {"maxUnavailable": 0, "maxSurge": 1},
        "minReadySeconds": 3,
        "progressDeadlineSeconds": 15,
        "analysis": {"minRecords": 30},
    });
    let load = Load::start("bad", 6_000, 2, strategy);
    let old = load.version();
    let mut asked = old.clone();
    for arguments in [&["--exit", "3"][..], &["--fail", "20"], &["--panic", "20"]] {
        let begun = Instant::now();
        load.run(arguments);
        let status = load.until("asked for another version", |status| status["updateHash"] != asked.as_str());
        status["updateHash"].as_str().expect("it is asked for one").clone_into(&mut asked);
        let reason = load.rolled_back(&old);
        println!("{arguments:?}: rolled back after {:?}: {reason}", begun.elapsed());
        assert!(begun.elapsed() < Duration::from_mins(1), "the deadline is 15 s");
    }
    load.finish();
}

#[test]
fn a_bad_image_is_rolled_back_with_the_reason() {
    let strategy = json!({"type": "RollingUpdate", "progressDeadlineSeconds": 15});
    let load = Load::start("image", 3_000, 2, strategy);
    let old = load.version();
    let mut bad = map(2, &["--mark", "one"], load.strategy.clone());
    bad["udf"]["container"]["image"] = json!("lab.invalid/none:1");
    kubectl::apply(&pipeline(load.name, vec![numbers(load.count, RATE), bad, log()]));
    println!("a bad image: {}", load.rolled_back(&old));
    load.finish();
}
