//! Cases as files: `cases/<name>.yaml` says what is wanted and seen, look by look, and `cases/<name>.txt` is what the plans
//! of these looks come to in print. Invariant: a case does nothing that its file does not say, but for the workers of a
//! plan, which come and go as it asks.
//!
//! Every case is a pipeline of three: `in` (generator), `cat` (map), `out` (log). Each document of its file is a look, and
//! everything in a look stays until a later one says otherwise.

#![expect(clippy::unwrap_used, reason = "helpers of tests fail as tests do")]

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use api::resolve::{PipelineSettings, VertexKind};
use api::revision::Revision;
use plan::seen::{Activity, Cut, Drain, Left, Seen, Signals, Worker, WorkerName, WorkerState};
use plan::wanted::{Asked, Deletion, Wanted};
use plan::{Memory, Piece, Plan, Time, Waiting, decide, why};
use serde::Deserialize;
use serde_json::{Value, json};
use tidegate_plan as plan;

use super::print::{HOW, differs};

/// One document of a case.
#[derive(Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "camelCase")]
struct Look {
    /// How long after the look before it.
    after: String,
    /// So many looks, equally far apart.
    turns: u32,
    /// The way to where the case begins is not printed.
    quiet: bool,
    /// Fields of the manifest: of `spec.lifecycle`, and of each vertex.
    lifecycle: Value,
    vertices: BTreeMap<String, Value>,
    /// The version that is wanted of a vertex.
    revisions: BTreeMap<String, String>,
    asked: BTreeMap<String, Asked>,
    /// `drain` or `force`.
    delete: Option<String>,
    reshape: Option<bool>,
    /// `<version>/<number> <state>`, where `failing` is followed by the reason. Otherwise those of the last plan are
    /// there and ready.
    workers: BTreeMap<String, Vec<String>>,
    pending: BTreeMap<String, Vec<u64>>,
    in_hand: BTreeMap<String, u64>,
    activity: BTreeMap<String, Activity>,
    signals: BTreeMap<String, BTreeMap<Revision, Signals>>,
    queries: BTreeMap<String, BTreeMap<String, Option<f64>>>,
    /// Vertices some of whose units are not where they are wanted.
    unsettled: Option<Vec<String>>,
    cuts: Vec<Cut>,
    /// The order to stop that the drain was looked at under.
    drain_number: Option<u64>,
}

impl Default for Look {
    fn default() -> Self {
        Self {
            after: "1s".to_owned(),
            turns: 1,
            quiet: false,
            lifecycle: Value::Null,
            vertices: BTreeMap::new(),
            revisions: BTreeMap::new(),
            asked: BTreeMap::new(),
            delete: None,
            reshape: None,
            workers: BTreeMap::new(),
            pending: BTreeMap::new(),
            in_hand: BTreeMap::new(),
            activity: BTreeMap::new(),
            signals: BTreeMap::new(),
            queries: BTreeMap::new(),
            unsettled: None,
            cuts: Vec::new(),
            drain_number: None,
        }
    }
}

/// What is wanted and seen, and what was planned.
struct Case {
    manifest: Value,
    settings: PipelineSettings,
    generation: u64,
    revisions: BTreeMap<String, Revision>,
    asked: BTreeMap<String, Asked>,
    deletion: Option<Deletion>,
    reshape: bool,
    seen: Seen,
    memory: Memory,
    now: Time,
    unsettled: Vec<String>,
    /// Looks in a row that found nothing inside and nobody reading.
    empty: u32,
    reading: bool,
    last: Vec<String>,
    text: String,
}

const VERTICES: [&str; 3] = ["in", "cat", "out"];

impl Case {
    fn new() -> Self {
        let manifest = json!({
            "apiVersion": "numaflow.numaproj.io/v1alpha1",
            "kind": "Pipeline",
            "metadata": {"name": "p"},
            "spec": {
                "lifecycle": {},
                "vertices": [
                    {"name": "in", "source": {"generator": {}}},
                    {"name": "cat", "udf": {"container": {"image": "cat"}}},
                    {"name": "out", "sink": {"log": {}}},
                ],
                "edges": [{"from": "in", "to": "cat"}, {"from": "cat", "to": "out"}],
            },
        });
        let of_each = |vertex: &str| (vertex.to_owned(), plan::seen::Vertex::default());
        Self {
            settings: settings(&manifest),
            manifest,
            generation: 1,
            revisions: VERTICES.map(|vertex| (vertex.to_owned(), Revision::from_text("a"))).into(),
            asked: BTreeMap::new(),
            deletion: None,
            reshape: false,
            seen: Seen { vertices: VERTICES.map(of_each).into(), drain: None },
            memory: Memory::default(),
            now: Time::default(),
            unsettled: Vec::new(),
            empty: 0,
            reading: false,
            last: Vec::new(),
            text: String::new(),
        }
    }

    fn look(&mut self, words: &str, look: &Look) {
        writeln!(self.text, "-- {words}").unwrap();
        let after: api::Duration = look.after.parse().unwrap();
        let (turns, cuts, number) = (look.turns, look.cuts.clone(), look.drain_number);
        for turn in 0..turns {
            self.now = self.now.after(after.to_std());
            if turn == 0 {
                self.take(look);
            }
            self.drain(&cuts, number);
            self.turn();
        }
        if look.quiet {
            self.text.clear();
        }
    }

    fn take(&mut self, look: &Look) {
        let before = (self.manifest.clone(), self.revisions.clone());
        merge(&mut self.manifest["spec"]["lifecycle"], &look.lifecycle);
        for (name, fields) in &look.vertices {
            let at = VERTICES.iter().position(|vertex| vertex == name).unwrap();
            merge(&mut self.manifest["spec"]["vertices"][at], fields);
        }
        self.settings = settings(&self.manifest);
        let revisions = look.revisions.iter();
        self.revisions.extend(revisions.map(|(name, text)| (name.clone(), Revision::from_text(text))));
        self.asked.extend(look.asked.clone());
        self.reshape = look.reshape.unwrap_or(self.reshape);
        if let Some(how) = &look.delete {
            let since = self.deletion.map_or(self.now, |deletion| deletion.since);
            self.deletion = Some(Deletion { since, force: how == "force" });
        }
        self.generation += u64::from(before != (self.manifest.clone(), self.revisions.clone()));
        self.unsettled = look.unsettled.clone().unwrap_or(std::mem::take(&mut self.unsettled));
        let now = self.now;
        for (name, vertex) in &mut self.seen.vertices {
            if let Some(workers) = look.workers.get(name) {
                vertex.workers = workers.iter().map(|text| worker(text, &vertex.workers, now)).collect();
            }
            if let Some(pending) = look.pending.get(name) {
                vertex.pending = Some(pending.clone());
            }
            vertex.in_hand = look.in_hand.get(name).copied().unwrap_or(vertex.in_hand);
            vertex.activity = look.activity.get(name).unwrap_or(&vertex.activity).clone();
            vertex.signals.extend(look.signals.get(name).cloned().unwrap_or_default());
            vertex.queries.extend(look.queries.get(name).cloned().unwrap_or_default());
            vertex.settled = !self.unsettled.contains(name);
        }
    }

    /// The drain as the counts have it; drained is said at the second look that finds nothing.
    fn drain(&mut self, cuts: &[Cut], number: Option<u64>) {
        let inner = self.settings.vertices.iter().filter(|vertex| vertex.kind != VertexKind::Source);
        let mut left = Vec::new();
        for vertex in inner {
            let pending = self.seen.vertices[&vertex.name].pending.iter().flatten().zip(0..);
            let some = pending.filter(|(messages, _)| **messages > 0);
            left.extend(some.map(|(messages, partition)| Left {
                vertex: vertex.name.clone(),
                partition,
                messages: *messages,
            }));
        }
        let sources_stopped = !self.reading;
        self.empty = if sources_stopped && left.is_empty() { self.empty + 1 } else { 0 };
        let (drained, cuts) = (self.empty >= 2, cuts.to_vec());
        self.seen.drain = Some(Drain { sources_stopped, drained, left, cuts, number, ..Drain::default() });
    }

    /// A plan is made, printed and done. The memory goes through its stored form.
    fn turn(&mut self) {
        let wanted = Wanted {
            settings: &self.settings,
            generation: self.generation,
            revisions: &self.revisions,
            asked: &self.asked,
            deletion: self.deletion,
            reshape: self.reshape,
        };
        let plan = decide(&wanted, &self.seen, &self.memory, self.now);
        let findings = why::explain(&wanted, &self.seen, &plan, self.now);
        self.memory = serde_json::from_str(&serde_json::to_string(&plan.memory).unwrap()).unwrap();
        self.print(&plan, &findings);
        for (vertex, name) in &plan.retire {
            self.seen.vertices.get_mut(vertex).unwrap().workers.remove(name);
        }
        for piece in &plan.ensure {
            match piece {
                Piece::Worker { vertex, name } => {
                    let worker = Worker { state: WorkerState::Ready, since: self.now, holds: 0, restarts: 0 };
                    let workers = &mut self.seen.vertices.get_mut(vertex).unwrap().workers;
                    workers.entry(name.clone()).or_insert(worker);
                }
                Piece::Reading { on, .. } => self.reading = *on,
                Piece::Reshape => self.reshape = false,
                Piece::Shares { .. } | Piece::Keep { .. } | Piece::Forget => {}
            }
        }
    }

    /// Prints what differs from the plan before: what is so from here on, and what is waited for no longer.
    fn print(&mut self, plan: &Plan, findings: &[why::Finding]) {
        let mut lines: Vec<String> = Vec::new();
        for event in &plan.events {
            let about = if event.about.is_empty() { String::new() } else { format!(" {}", event.about) };
            lines.push(format!("{} {}{about}: {}", event.severity, event.reason, event.message));
        }
        let all = print(plan, findings);
        lines.extend(all.iter().filter(|line| !self.last.contains(line)).cloned());
        let topic = |line: &String| line.split_once(": ").map(|(topic, _)| topic.to_owned());
        let topics: Vec<_> = all.iter().map(topic).collect();
        let over = self.last.iter().filter(|line| line.starts_with("waits"));
        lines.extend(
            over.filter_map(topic)
                .filter(|old| !topics.contains(&Some(old.clone())))
                .map(|old| format!("over: {old}")),
        );
        if !lines.is_empty() {
            let seconds = self.now.millis() as f64 / 1_000.0;
            writeln!(self.text, "{seconds} s: {}", plan.phase).unwrap();
            for line in lines {
                writeln!(self.text, "  {line}").unwrap();
            }
        }
        self.last = all;
    }
}

fn settings(manifest: &Value) -> PipelineSettings {
    let text = manifest.to_string();
    let loaded = api::load([("case.yaml", text.as_bytes())]);
    let (objects, _) = loaded.accept().expect("the manifest of a case is right");
    let api::Object::Pipeline(pipeline) = &objects[0] else { panic!("a pipeline") };
    api::resolve::pipeline(pipeline)
}

/// Lays fields over others; null takes one away.
fn merge(value: &mut Value, over: &Value) {
    let Some(over) = over.as_object() else { return };
    for (name, field) in over {
        match field {
            Value::Object(_) if value[name].is_object() => merge(&mut value[name], field),
            _ => value[name] = field.clone(),
        }
    }
}

fn worker(text: &str, before: &BTreeMap<WorkerName, Worker>, now: Time) -> (WorkerName, Worker) {
    let (name, state) = text.split_once(' ').unwrap();
    let (revision, replica) = name.split_once('/').unwrap();
    let name = WorkerName { revision: Revision::from_text(revision), replica: replica.parse().unwrap() };
    let state = match state.split_once(' ') {
        Some(("failing", reason)) => WorkerState::Failing { reason: reason.to_owned() },
        _ if state == "starting" => WorkerState::Starting,
        _ if state == "ready" => WorkerState::Ready,
        _ if state == "stopping" => WorkerState::Stopping,
        _ => panic!("{state} is no state"),
    };
    let known = before.get(&name);
    let since = known.filter(|known| known.state == state).map_or(now, |known| known.since);
    let restarts = known.map_or(0, |known| known.restarts);
    let fails = matches!(state, WorkerState::Failing { .. }) && since == now;
    (name, Worker { state, since, holds: 0, restarts: restarts + u32::from(fails) })
}

/// A plan in print: what should be, in the order of the plan, and what is said.
fn print(plan: &Plan, findings: &[why::Finding]) -> Vec<String> {
    let mut lines: Vec<String> = Vec::new();
    let mut about = String::new();
    for piece in &plan.ensure {
        let (vertex, words) = words(piece);
        match lines.last_mut().filter(|_| vertex == about) {
            Some(line) => line.extend([", ", words.as_str()]),
            None => lines.push(format!("+ {vertex}: {words}")),
        }
        about = vertex;
    }
    let retired = plan.retire.iter();
    lines.extend(
        retired.map(|(vertex, name)| format!("- {vertex}: worker {}/{}", name.revision, name.replica)),
    );
    for Waiting { about, reason, message } in &plan.waiting {
        lines.push(format!("waits {}: {message}", [about, reason.as_str()].join(" ").trim()));
    }
    for (name, vertex) in &plan.vertices {
        let ready = vertex.ready_replicas.unwrap_or_default();
        let because = vertex.replicas_reason.as_deref().unwrap_or_default();
        lines.push(format!("{name}: {ready} of {} ready ({because})", vertex.desired_replicas));
    }
    lines.extend(plan.status.drained_on_pause().map(|drained| format!("drained on pause: {drained}")));
    lines.extend(findings.iter().map(|finding| format!("why: {} ({})", finding.what, finding.advice)));
    lines
}

fn words(piece: &Piece) -> (String, String) {
    let list = |revisions: &BTreeSet<Revision>| {
        revisions.iter().map(ToString::to_string).collect::<Vec<_>>().join(" ")
    };
    match piece {
        Piece::Reading { vertex, on } => (vertex.clone(), if *on { "read" } else { "seal" }.to_owned()),
        Piece::Worker { vertex, name } => {
            (vertex.clone(), format!("worker {}/{}", name.revision, name.replica))
        }
        Piece::Shares { vertex, shares } => {
            let shares: Vec<_> = shares.iter().map(|(name, weight)| format!("{name}:{weight}")).collect();
            let none = if shares.is_empty() { "none" } else { "" };
            (vertex.clone(), format!("shares {none}{}", shares.join(" ")))
        }
        Piece::Keep { vertex, revisions } => (vertex.clone(), format!("keep {}", list(revisions))),
        Piece::Reshape => ("all".to_owned(), "reshape".to_owned()),
        Piece::Forget => ("all".to_owned(), "forget".to_owned()),
    }
}

/// The print of a case, each look under its own words.
fn run(path: &Path) -> String {
    let yaml = std::fs::read(path).unwrap();
    let name = path.display().to_string();
    let documents = api::read::to_values(&yaml, &name);
    let documents = documents.unwrap_or_else(|complaints| panic!("{}", api::complaint::to_text(&complaints)));
    let mut case = Case::new();
    for (number, document) in documents.into_iter().enumerate() {
        let words = document.to_string();
        let look: Look =
            serde_json::from_value(document).unwrap_or_else(|error| panic!("{name}, look {number}: {error}"));
        case.look(&words, &look);
    }
    case.text
}

#[test]
fn every_case_comes_out_as_it_is_written() {
    let directory = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/it/cases");
    let entries = std::fs::read_dir(&directory).unwrap().map(|entry| entry.unwrap().path());
    let mut paths: Vec<_> =
        entries.filter(|path| path.extension().is_some_and(|extension| extension == "yaml")).collect();
    paths.sort();
    assert!(paths.len() >= 25, "there are only {} cases in {}", paths.len(), directory.display());
    let different: Vec<_> =
        paths.iter().filter_map(|path| differs(&path.with_extension("txt"), &run(path))).collect();
    assert!(different.is_empty(), "{}\n{HOW}", different.join("\n"));
}
