//! Commands to a site, with a fake place behind a real socket.

use std::fs;
use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::Stdio;
use std::sync::Arc;

use platform::place::Wish;
use tempfile::TempDir;
use tokio::runtime::Runtime;
use tokio_util::sync::CancellationToken;

use super::fake::{self, Fake};
use super::{Called, DIRECT, call, pipeline, tidegate};

/// A site at the place where commands look for one.
struct Site {
    place: Arc<Fake>,
    dir: TempDir,
    shutdown: CancellationToken,
    _runtime: Runtime,
}

impl Site {
    fn start() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let socket = dir.path().join("state-home/tidegate/site/api.sock");
        let runtime =
            tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
        let place = Arc::new(Fake::new());
        let shutdown = CancellationToken::new();
        let listener = runtime.block_on(server::Listener::bind(Some(&socket), None)).unwrap();
        let serving = server::serve(Arc::clone(&place) as _, listener, shutdown.clone());
        drop(runtime.spawn(serving));
        Self { place, dir, shutdown, _runtime: runtime }
    }

    fn with(name: &str) -> Self {
        let site = Self::start();
        site.place.put(fake::pipeline(name));
        site
    }

    fn call(&self, args: &[&str]) -> Called {
        call(self.dir.path(), args)
    }
}

impl Drop for Site {
    fn drop(&mut self) {
        self.shutdown.cancel();
    }
}

#[test]
fn without_a_site_every_command_says_how_to_start_one() {
    let dir = tempfile::tempdir().unwrap();
    for args in [&["get"][..], &["pause", "p"], &["top", "--once"], &["down"], &["logs", "p"]] {
        let called = call(dir.path(), args);
        assert_eq!(called.code, 1, "{args:?}: {}", called.err);
        let expected = "state-home/tidegate/site/api.sock: start one with `tidegate up`";
        assert!(
            called.err.contains("no site answers at ") && called.err.contains(expected),
            "{}",
            called.err
        );
    }
}

#[test]
fn objects_are_a_tree_names_or_values() {
    let site = Site::with("p");
    let called = site.call(&["get", "p"]);
    assert_eq!(called.code, 0, "{}", called.err);
    let expected = "Pipeline p  Running  age 60 s\n\
        │ vertex cat: 1 worker is starting\n\
        ├─ source in  ready 1/1  in 5.0/s  out 5.0/s  Progressing\n\
        │  └─ revision abc123 #1  stable  100%\n\
        │     └─ worker 0  Ready  holds 4\n\
        │        └─ container udf  Running\n\
        └─ map cat  ready 1/1  in 5.0/s  out 5.0/s  pending 1 234  Progressing\n";
    assert!(called.out.starts_with(expected), "{}", called.out);
    assert_eq!(site.call(&["get", "-o", "name"]).out, "p\n");
    let json: serde_json::Value = serde_json::from_str(&site.call(&["get", "-o", "json"]).out).unwrap();
    assert_eq!(json[0]["vertices"][1]["pending"], serde_json::json!([1_000, 234]));
    let yaml = site.call(&["get", "p", "-o", "yaml"]).out;
    let read = api::read::to_values(yaml.as_bytes(), "p.yaml").unwrap();
    assert_eq!(read[0]["name"], "p");
    assert!(site.call(&["get", "p", "-o", "wide"]).out.contains("process 4242"));
    let missing = site.call(&["get", "nope"]);
    assert_eq!((missing.code, missing.err.contains("there is no such object")), (1, true), "{}", missing.err);
}

#[test]
fn a_plan_ends_with_the_code_of_its_strongest_change() {
    let site = Site::start();
    fs::write(site.dir.path().join("p.yaml"), pipeline("", DIRECT)).unwrap();
    for (classes, code) in [
        (&[][..], 0),
        (&["live"], 0),
        (&["live", "rolling"], 10),
        (&["rolling", "needs drain"], 11),
        (&["live", "refused"], 12),
    ] {
        site.place.answer(vec![fake::applied("p", "configured", classes)]);
        let called = site.call(&["plan", "p.yaml"]);
        assert_eq!(called.code, code, "{classes:?}: {}", called.err);
        let first = called.out.lines().next().unwrap();
        assert_eq!(first, format!("Pipeline p: {}", classes.last().unwrap_or(&"no change")));
    }
    let json = site.call(&["plan", "p.yaml", "-o", "json"]);
    let value: serde_json::Value = serde_json::from_str(&json.out).unwrap();
    assert_eq!((json.code, &value[0]["changes"][1]["class"]), (12, &serde_json::json!("refused")));
    assert!(site.place.applied().iter().all(|apply| apply.dry_run));
}

#[test]
fn apply_sends_files_commands_values_and_where_it_was_called() {
    let site = Site::with("p");
    let dir = site.dir.path();
    fs::write(dir.join("p.yaml"), pipeline("", DIRECT)).unwrap();
    fs::write(dir.join("tidegate.yaml"), "images: {}\n").unwrap();
    fs::write(dir.join("token"), "t0ps3cret").unwrap();
    site.place.answer(vec![fake::applied("p", "created", &[])]);
    let called = site.call(&[
        "apply",
        "p.yaml",
        "--exec",
        "cat=python3 u.py",
        "--secret",
        "s/k=v",
        "--secret-file",
        "s/f=token",
        "--wait",
    ]);
    assert_eq!(called.code, 0, "{}", called.err);
    assert!(called.out.starts_with("Pipeline p created\n"), "{}", called.out);
    assert!(called.out.ends_with("p Running\n"), "{}", called.out);
    let [apply] = &site.place.applied()[..] else { panic!("applied once") };
    assert_eq!(apply.secrets, ["s/f=t0ps3cret", "s/k=v"]);
    assert_eq!(apply.exec, ["cat=python3 u.py"]);
    assert_eq!(apply.files[0].image_map.as_deref(), Some("images: {}\n"));
    assert!(Path::new(&apply.files[0].name).is_absolute() && Path::new(&apply.working_dir).is_absolute());
    fs::write(dir.join("bad.yaml"), "nonsense").unwrap();
    let refused = site.call(&["apply", "bad.yaml"]);
    assert_eq!(refused.code, 2);
    assert!(refused.err.contains("\n  p.yaml:1: error: nonsense"), "{}", refused.err);
}

#[test]
fn a_wait_ends_as_the_object_does() {
    for (phases, goal, code) in [
        (&["Rolling out (1/2)", "Running"][..], "running", 0),
        (&["Pausing (draining)", "Paused (drained)"], "drained", 0),
        (&["Pausing (draining)", "Paused (243 left)"], "drained", 3),
        (&["Pausing (draining)", "Paused (243 left)"], "paused", 0),
        (&["Rolling out (1/2)", "Rolled back (never ready)"], "rolled-out", 4),
        (&["Running", "Failed (no program)"], "idle", 4),
        (&["Deleting (draining)", "gone"], "gone", 0),
    ] {
        let site = Site::with("p");
        let mut left = phases.to_vec();
        site.place.script(Box::new(move |object| {
            object.phase = left[0].to_owned();
            if left.len() > 1 {
                left.remove(0);
            }
        }));
        let called = site.call(&["status", "p", "--wait", goal]);
        assert_eq!(called.code, code, "{phases:?} {goal}: {}{}", called.out, called.err);
        let last = if *phases.last().unwrap() == "gone" { "is gone" } else { phases.last().unwrap() };
        assert!(called.out.lines().last().unwrap().starts_with(&format!("p {last}")), "{}", called.out);
    }
}

#[test]
fn a_wait_that_takes_too_long_ends_with_5() {
    let site = Site::with("p");
    let called = site.call(&["status", "p", "--wait=gone", "--timeout", "300ms"]);
    assert_eq!(called.code, 5);
    assert!(called.err.contains("p is not gone after"), "{}", called.err);
}

#[test]
fn a_pause_shows_its_drain_as_plain_lines() {
    let site = Site::with("p");
    let mut step = 0_u64;
    site.place.script(Box::new(move |object| {
        object.as_of = plan::Time::from_millis(60_000 + step as i64 * 1_000);
        object.vertices[1].pending = Some(vec![1_000 - 500 * step.min(2), 0]);
        object.phase = if step < 3 { "Pausing (draining)" } else { "Paused (drained)" }.to_owned();
        step += 1;
    }));
    let called = site.call(&["pause", "p", "--wait"]);
    assert_eq!(called.code, 0, "{}{}", called.out, called.err);
    let lines: Vec<&str> = called.out.lines().collect();
    assert_eq!(lines[0], "p is paused: sources stop, then everything drains");
    assert!(lines[1].starts_with("p Pausing (draining): cat 500 left (partition 0: 500)"), "{lines:?}");
    assert_eq!(*lines.last().unwrap(), "p Paused (drained)");
    let asked = site.call(&["pause", "p"]);
    assert_eq!((asked.code, asked.out.lines().count()), (0, 1));
}

#[test]
fn every_verb_becomes_its_wish() {
    let site = Site::with("p");
    let vertex = || Some("cat".to_owned());
    let cases: Vec<(&[&str], Wish)> = vec![
        (&["resume", "p"], Wish::Resume),
        (&["delete", "p", "--force"], Wish::Delete { force: true }),
        (&["scale", "p", "--vertex", "cat", "3"], Wish::Scale { vertex: vertex(), replicas: Some(3) }),
        (&["scale", "p", "auto"], Wish::Scale { vertex: None, replicas: None }),
        (&["rollout", "abort", "p"], Wish::Abort { vertex: None }),
        (
            &["rollout", "undo", "p", "--vertex", "cat", "--to", "2"],
            Wish::Undo { vertex: vertex(), to: Some(2) },
        ),
        (&["rollout", "restart", "p"], Wish::Restart { vertex: None }),
        (&["rollout", "retry", "p", "--vertex", "cat"], Wish::Retry { vertex: vertex() }),
        (
            &["set", "image", "p", "cat/udf=x:2"],
            Wish::Set {
                vertex: "cat".to_owned(),
                container: Some("udf".to_owned()),
                image: Some("x:2".to_owned()),
                exec: None,
            },
        ),
        (
            &["set", "exec", "p", "cat=A=1 b"],
            Wish::Set {
                vertex: "cat".to_owned(),
                container: None,
                image: None,
                exec: Some("A=1 b".to_owned()),
            },
        ),
    ];
    for (args, wish) in cases {
        let called = site.call(args);
        assert_eq!(called.code, 0, "{args:?}: {}", called.err);
        assert_eq!(site.place.wishes().last().unwrap(), &("p".to_owned(), wish));
    }
    let refused = site.call(&["rollout", "promote", "p"]);
    assert_eq!((refused.code, refused.err.contains("nothing rolls out")), (1, true), "{}", refused.err);
}

#[test]
fn what_is_known_of_an_object_is_told() {
    let site = Site::with("p");
    site.place.say("p", plan::Event::warning("vertex cat", "Stuck", "nothing moves"));
    assert!(site.call(&["events", "p"]).out.contains("Warning  p vertex cat  Stuck: nothing moves"));
    assert!(site.call(&["errors", "p"]).out.contains("cat-0/udf  UserCodeFailed: it divided by zero"));
    assert_eq!(site.call(&["why", "p"]).out, "nothing is wrong with p\n");
    let history = site.call(&["rollout", "history", "p"]).out;
    assert!(history.contains("cat          2  rev2      RolledBack  it was never ready"), "{history}");
    let top = site.call(&["top", "--once"]).out;
    assert!(top.lines().nth(2).unwrap().starts_with("p       cat     1/1     5.0    5.0    1 234"), "{top}");
    assert!(site.call(&["rollout", "status", "p"]).out.contains("cat: nothing rolls out, ready 1/1"));
}

#[test]
fn down_waits_for_the_process_that_answered() {
    let site = Site::start();
    // The process is this test, which does not end.
    let called = site.call(&["down", "--timeout", "200ms"]);
    assert_eq!(called.code, 5, "{}", called.err);
    assert!(called.err.contains(&format!("(process {}) still ends", std::process::id())), "{}", called.err);
    assert!(!site.place.is_shut_down());
}

#[test]
fn up_in_the_background_answers_holds_its_directory_and_ends() {
    let dir = tempfile::tempdir().unwrap();
    let state = dir.path().join("s");
    let socket = state.join("api.sock").display().to_string();
    let up = ["up", "--detach", "--open-paths", "--state-dir", "s"];
    let called = call(dir.path(), &up);
    assert_eq!(called.code, 0, "{}", called.err);
    assert!(called.out.starts_with(&format!("socket: {socket}\nprocess: ")), "{}", called.out);
    let again = call(dir.path(), &up);
    assert_eq!(again.code, 2, "{}", again.out);
    assert!(again.err.contains(" serves one at ") && again.err.contains(&socket), "{}", again.err);
    let get = call(dir.path(), &["get", "--local", &socket]);
    assert_eq!(get.out, "there are no objects; apply some with `tidegate apply FILE`\n", "{}", get.err);
    let down = call(dir.path(), &["down", "--local", &socket]);
    assert_eq!(down.code, 0, "{}", down.err);
    assert_eq!(call(dir.path(), &["get", "--local", &socket]).code, 1);
}

#[test]
fn differences_are_shown_line_by_line() {
    let site = Site::with("p");
    fs::write(site.dir.path().join("p.yaml"), pipeline("", DIRECT)).unwrap();
    let called = site.call(&["diff", "p.yaml"]);
    assert_eq!(called.code, 10, "{}", called.err);
    assert!(called.out.starts_with("--- p (applied)\n+++ p (files)\n@@ "), "{}", called.out);
    assert!(called.out.contains("\n-  - name: cat\n"), "{}", called.out);
}

#[test]
fn logs_are_followed_as_they_are_written() {
    let site = Site::with("p");
    let log = site.dir.path().join("cat.log");
    fs::write(&log, "2026-01-01T00:00:00.000Z stdout F one\n").unwrap();
    site.place.change("p", |object| {
        object.vertices[1].revisions[0].workers[0].containers[0].log = Some(log.display().to_string());
    });
    let once = site.call(&["logs", "p"]);
    assert_eq!(once.out, "cat-0/udf | 2026-01-01T00:00:00.000Z stdout F one\n");
    let mut child =
        tidegate(site.dir.path()).args(["logs", "p", "-f"]).stdout(Stdio::piped()).spawn().unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    assert!(lines.next().unwrap().unwrap().ends_with("one"));
    fs::write(&log, "2026-01-01T00:00:00.000Z stdout F one\n2026-01-01T00:00:01.000Z stdout F two\n")
        .unwrap();
    assert!(lines.next().unwrap().unwrap().ends_with("two"));
    site.place.change("p", |object| object.phase = "gone".to_owned());
    assert!(lines.next().is_none());
    assert_eq!(child.wait().unwrap().code(), Some(0));
}
