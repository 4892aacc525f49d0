//! A site that is killed after each step that its control plane makes to disk, one after the other, ends where it would
//! have ended. What workers write is not counted here; any moment between two steps is tried by the end-to-end tests.

use std::collections::BTreeSet;
use std::io::{BufRead, BufReader, Write};
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{ChildStdin, ChildStdout, Command, Stdio};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use nix::sys::signal::Signal;
use serde_json::{Value, json};
use tempfile::TempDir;

/// How long anything may take here.
const LIMIT: Duration = Duration::from_secs(30);
/// Lives that go on at the same time; they mostly wait.
const AT_ONCE: usize = 4;
/// Steps that the short form tries.
const TRIED_MAX: u64 = 6;
/// Lines that go through the pipeline.
const LINES: usize = 1_000;

/// A process with a site.
struct Site {
    process: std::process::Child,
    input: ChildStdin,
    output: BufReader<ChildStdout>,
}

impl Site {
    fn start(directory: &Path, (step, how): (u64, &str)) -> Self {
        let mut command = Command::new(env!("CARGO_BIN_EXE_tidegate-test-mortal"));
        command.arg(directory).arg(step.to_string()).arg(how);
        let mut process = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
        let (input, output) = (process.stdin.take().unwrap(), process.stdout.take().unwrap());
        Self { process, input, output: BufReader::new(output) }
    }

    /// The answer; none when the process is dead.
    fn say(&mut self, command: &str) -> Option<Value> {
        let mut line = String::new();
        writeln!(self.input, "{command}").ok()?;
        self.output.read_line(&mut line).ok()?;
        serde_json::from_str(&line).ok()
    }
}

impl Drop for Site {
    fn drop(&mut self) {
        // One that is dead already cannot be killed.
        drop(self.process.kill());
        self.process.wait().unwrap();
    }
}

/// What one life of an object is told to go through.
struct Life {
    directory: TempDir,
    site: Site,
    died: bool,
    name: String,
}

impl Life {
    fn begin(name: &str, last: (u64, &str)) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let site = Site::start(directory.path(), last);
        Self { directory, site, died: false, name: format!("{name}, {} at step {}", last.1, last.0) }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    /// Says it until there is an answer, as a user does who finds the site gone and starts it again.
    fn say(&mut self, command: &str) -> Value {
        if let Some(answer) = self.site.say(command) {
            return answer;
        }
        let status = self.site.process.wait().unwrap();
        assert_eq!(status.signal(), Some(Signal::SIGKILL as i32), "{}: {status}", self.name);
        assert!(!self.died, "{}: it dies once", self.name);
        self.died = true;
        self.site = Site::start(self.directory.path(), (0, "whole"));
        self.site.say(command).unwrap_or_else(|| panic!("{}: no answer to {command}", self.name))
    }

    fn done(&mut self, command: &str) {
        let answer = self.say(command);
        assert!(answer.get("refused").is_none(), "{}: {command}: {answer}", self.name);
    }

    fn apply(&mut self, manifest: &str) {
        let path = self.path("flow.yaml");
        std::fs::write(&path, manifest).unwrap();
        self.done(&format!("apply {}", path.display()));
    }

    fn until(&mut self, what: &str, is_so: impl Fn(&Value) -> bool) -> Value {
        let began = Instant::now();
        let mut version = json!(0);
        loop {
            let look = self.say(&format!("look {version}"));
            if is_so(&look) {
                return look;
            }
            if began.elapsed() > LIMIT {
                let events = self.say("events all");
                panic!("{}: waited for {what}; it is {look:#}\n{events:#}", self.name);
            }
            version = look["version"].clone();
        }
    }

    fn add(&self, lines: std::ops::Range<usize>) {
        let path = self.path("in");
        let mut text = std::fs::read_to_string(&path).unwrap_or_default();
        text.extend(lines.map(|line| format!("{line}\n")));
        std::fs::write(path, text).unwrap();
    }

    fn manifest(&self, version: &str, update: &str) -> String {
        let (input, output) = (self.path("in"), self.path("out"));
        format!(
            "
apiVersion: numaflow.numaproj.io/v1alpha1
kind: Pipeline
metadata: {{name: flow}}
spec:
  limits: {{readBatchSize: 10}}
  vertices:
    - name: in
      source: {{file: {{path: {}, follow: true}}}}
      updateStrategy: {{minReadySeconds: 0}}
    - name: cat
      udf: {{container: {{image: quay.io/numaio/numaflow-go/map-cat:stable, env: [{{name: V, value: {version}}}]}}}}
      scale: {{min: 2, max: 2}}
      updateStrategy: {update}
    - name: out
      sink: {{file: {{path: {}}}}}
      updateStrategy: {{minReadySeconds: 0}}
  edges:
    - {{from: in, to: cat}}
    - {{from: cat, to: out}}
",
            input.display(),
            output.display()
        )
    }

    /// The lines that came out, each once.
    fn out(&self) -> BTreeSet<usize> {
        let text = std::fs::read_to_string(self.path("out")).unwrap_or_default();
        text.lines().map(|line| line.parse().unwrap()).collect()
    }
}

/// Everything of an object that must be the same however it came there. Versions go by their numbers: their names are made
/// of the directory too.
fn essence(look: &Value) -> Value {
    let object = &look["object"];
    let all = |list: &Value| list.as_array().cloned().unwrap_or_default();
    let revision = |revision: &Value| {
        let workers = all(&revision["workers"]);
        let states: Vec<_> = workers.iter().map(|worker| (&worker["replica"], &worker["state"])).collect();
        json!([revision["number"], revision["role"], revision["weight"], states])
    };
    let vertex = |vertex: &Value| {
        let revisions: Vec<_> = all(&vertex["revisions"]).iter().map(revision).collect();
        json!([vertex["name"], vertex["ready"], vertex["rollout"], revisions])
    };
    let entry = |entry: &Value| json!([entry["number"], entry["state"], entry["reason"]]);
    let history = look["history"].as_object().cloned().unwrap_or_default().into_iter();
    let history: Vec<_> =
        history.map(|(name, list)| (name, all(&list).iter().map(entry).collect::<Vec<_>>())).collect();
    let vertices: Vec<_> = all(&object["vertices"]).iter().map(vertex).collect();
    json!({
        "phase": object["phase"],
        "generation": object["generation"],
        "drained": object["status"]["drainedOnPause"],
        "manifest": object["manifest"]["spec"]["lifecycle"],
        "vertices": vertices,
        "history": history,
    })
}

fn runs(look: &Value) -> bool {
    let ready = |name: usize| look["object"]["vertices"][name]["ready"].as_u64();
    let all = [ready(0), ready(1), ready(2)] == [Some(1), Some(2), Some(1)];
    let history = look["history"].as_object().into_iter().flat_map(|history| history.values());
    let mut entries = history.flat_map(|entries| entries.as_array().into_iter().flatten());
    look["object"]["phase"] == "Running" && all && entries.all(|entry| entry["state"] != "Progressing")
}

/// Whether exactly this version of the middle vertex is there, after a rollout or without one.
fn serves(look: &Value, number: u64) -> bool {
    let cat = &look["object"]["vertices"][1];
    let one = cat["revisions"].as_array().is_some_and(|revisions| revisions.len() == 1);
    runs(look) && one && cat["rollout"].is_null() && cat["revisions"][0]["number"] == number
}

/// The machine may be busy with other tests: how long a batch takes says nothing here.
const ROLLING: &str = "{minReadySeconds: 0, analysis: {minRecords: 1, maxLatencyRatio: 1000}}";

/// Pauses with messages inside, looks, resumes, and gives what was seen.
fn pause(life: &mut Life) -> Value {
    life.add(0..LINES);
    life.apply(&life.manifest("one", ROLLING));
    life.until("it runs", runs);
    life.until("something is out", |look| look["object"]["vertices"][2]["writeTotal"].as_u64() > Some(0));
    life.done("pause flow");
    let paused = life.until("it is drained", |look| look["object"]["phase"] == "Paused (drained)");
    // The source reads in order; what it has read is out, and nothing else.
    let out = life.out();
    assert_eq!(out, (0..out.len()).collect(), "{}", life.name);
    life.done("resume flow");
    life.until("it runs again", runs);
    let path = life.path("out");
    let all = |_: &Value| std::fs::read_to_string(&path).is_ok_and(|text| text.lines().count() >= LINES);
    life.until("everything is out", all);
    let resumed = life.until("it rests", runs);
    json!([essence(&paused), essence(&resumed)])
}

fn roll(life: &mut Life, update: &str) -> Value {
    life.add(0..LINES / 2);
    life.apply(&life.manifest("one", update));
    life.until("it runs", |look| serves(look, 1));
    life.apply(&life.manifest("two", update));
    life.add(LINES / 2..LINES);
    let rolled = life.until("the second version serves", |look| serves(look, 2));
    essence(&rolled)
}

/// Deletes an object with messages inside, and makes another one of its name.
fn delete(life: &mut Life) -> Value {
    life.add(0..LINES);
    life.apply(&life.manifest("one", ROLLING));
    life.until("it runs", runs);
    let wish = life.say("delete flow");
    // Who hears nothing asks again, and may hear that it is gone.
    assert!(life.died || wish.get("refused").is_none(), "{}: {wish}", life.name);
    life.until("it is gone", |look| look["object"].is_null());
    let out = life.out();
    assert_eq!(out, (0..out.len()).collect(), "{}", life.name);
    let left = std::fs::read_dir(life.path("site/objects")).unwrap().count();
    assert_eq!(left, 0, "{}", life.name);
    std::fs::remove_file(life.path("out")).unwrap_or_default();
    life.apply(&life.manifest("one", ROLLING));
    essence(&life.until("it runs", runs))
}

/// Runs a life without a crash, and then with one at each of the steps that it took. All end alike.
fn every_step(name: &str, how: &str, live: impl Fn(&mut Life) -> Value + Sync) {
    let run = |step: u64| {
        let mut life = Life::begin(name, (step, how));
        let end = live(&mut life);
        let path = life.path("out");
        let all = |_: &Value| std::fs::read_to_string(&path).is_ok_and(|text| text.lines().count() >= LINES);
        life.until("everything is out", all);
        assert_eq!(life.out(), (0..LINES).collect(), "{}", life.name);
        (end, life)
    };
    let (wanted, mut life) = run(0);
    let steps = life.say("steps").as_u64().unwrap();
    assert!(!life.died && steps >= 3, "{name}: {steps} steps");
    // The long form tries every step, the short one steps that lie evenly among them.
    let is_long = std::env::var_os("TIDEGATE_LONG").is_some();
    let stride = if is_long { 1 } else { steps.div_ceil(TRIED_MAX) };
    let (next, died) = (AtomicU64::new(1), AtomicU64::new(0));
    let work = || {
        loop {
            let step = next.fetch_add(stride, Ordering::Relaxed);
            if step > steps {
                return;
            }
            let (end, life) = run(step);
            assert_eq!(end, wanted, "{}", life.name);
            died.fetch_add(u64::from(life.died), Ordering::Relaxed);
        }
    };
    std::thread::scope(|scope| {
        let threads: Vec<_> = (0..AT_ONCE).map(|_| scope.spawn(work)).collect();
        for thread in threads {
            thread.join().unwrap();
        }
    });
    let died = died.into_inner();
    // Things that happen in one turn are one step, so a run may be over before its last step.
    let tried = steps.div_ceil(stride);
    assert!(died * 3 >= tried * 2, "{name}: of {tried} steps that were tried only {died} were reached");
}

#[test]
fn a_pause_ends_alike_after_a_crash_at_any_step() {
    every_step("pause", "whole", pause);
}

#[test]
fn a_pause_ends_alike_with_any_record_torn() {
    every_step("pause", "torn", pause);
}

#[test]
fn a_rolling_update_ends_alike_after_a_crash_at_any_step() {
    every_step("rolling", "whole", |life| roll(life, ROLLING));
}

#[test]
fn a_canary_ends_alike_after_a_crash_at_any_step() {
    let update = "{type: Canary, minReadySeconds: 0, analysis: {minRecords: 1, maxLatencyRatio: 1000}, \
                  canary: {steps: [{setWeight: 50}, {pause: {duration: 200ms}}]}}";
    every_step("canary", "whole", |life| roll(life, update));
}

#[test]
fn blue_green_ends_alike_after_a_crash_at_any_step() {
    let update = "{type: BlueGreen, minReadySeconds: 0, analysis: {minRecords: 1, maxLatencyRatio: 1000}, \
                  blueGreen: {previewSeconds: 0, keepOldSeconds: 1}}";
    every_step("blue-green", "whole", |life| roll(life, update));
}

#[test]
fn a_deletion_ends_alike_after_a_crash_at_any_step() {
    every_step("deletion", "whole", delete);
    every_step("deletion", "torn", delete);
}
