//! Workers of several versions side by side, in this process: what they own, how they come and go, and that nothing is
//! lost or doubled by it. Lines of a file that grows go through a map into another file.

use std::collections::BTreeSet;
use std::io::Write;
use std::net::{SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use api::revision::Revision;
use keeper::OwnersSettings;
use numaflow::shared::ServerExtras;
use plan::seen::{Seen, WorkerState};
use tidegate_platform::local::engine::Engine;
use tidegate_platform::local::program::Exec;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::sync::watch;
use tokio::task::JoinSet;

mod lab;

use lab::{LIMIT, Lab, config, lines, load, name, shares, version};

const ALL: [&str; 3] = ["in", "cat", "out"];

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn versions_share_the_slots_of_a_map_by_weight_and_nothing_is_lost_or_doubled() {
    let mut lab = Lab::running(lines, &ALL).await;
    lab.flood = true;
    lab.keep("cat", "v2");
    lab.engine.ensure("cat", &name("v2", 0)).unwrap();
    let holds = |seen: &Seen, revision: &str| seen.vertices["cat"].workers[&name(revision, 0)].holds;
    // What is given is held a moment later.
    let at_rest = |seen: &Seen| {
        let cat = &seen.vertices["cat"];
        let is_ready = cat.workers.get(&name("v2", 0)).is_some_and(plan::seen::Worker::is_ready);
        is_ready && cat.settled && holds(seen, "v1") + holds(seen, "v2") == 65
    };
    let seen = lab.until("the second version is ready", at_rest).await;
    assert_eq!(holds(&seen, "v2"), 0, "ready alone owns nothing");
    lab.engine.share("cat", shares(&[("v1", 90), ("v2", 10)]));
    let works = |seen: &Seen| {
        let signals = seen.vertices["cat"].signals.get(&Revision::from_text("v2"));
        at_rest(seen) && signals.is_some_and(|signals| signals.done > 200)
    };
    let seen = lab.until("a tenth goes to the second version", works).await;
    let canary = holds(&seen, "v2");
    assert!((6..=7).contains(&canary), "a tenth of 65 units: {canary}");
    lab.engine.share("cat", shares(&[("v2", 100)]));
    let seen = lab
        .until("the second version has everything", |seen| {
            seen.vertices["cat"].settled && holds(seen, "v1") == 0 && holds(seen, "v2") == 65
        })
        .await;
    assert!(seen.vertices["cat"].workers[&name("v1", 0)].is_ready(), "it stays warm");
    // Whoever is told to go and wanted again before it went stays.
    lab.engine.retire("cat", &name("v1", 0));
    lab.engine.ensure("cat", &name("v1", 0)).unwrap();
    let seen = lab.until("a turn was made", |_| true).await;
    assert!(seen.vertices["cat"].workers[&name("v1", 0)].is_ready(), "it was never stopped");
    lab.gone("cat", "v1", 0).await;
    let kept = lab.engine.seen().vertices["cat"].signals.clone();
    assert!(kept[&Revision::from_text("v1")].done > 0, "what is gone is remembered");
    lab.engine.forget("cat", &BTreeSet::from([Revision::from_text("v2")]));
    assert!(lab.engine.ensure("cat", &name("v1", 0)).is_err());
    lab.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_map_is_scaled_up_and_down_under_a_flood() {
    let mut lab = Lab::running(lines, &ALL).await;
    lab.flood = true;
    for replica in 1..4 {
        lab.engine.ensure("cat", &name("v1", replica)).unwrap();
    }
    let even = |seen: &Seen| {
        let cat = &seen.vertices["cat"];
        cat.settled
            && cat.workers.len() == 4
            && cat.workers.values().all(|worker| (16..=17).contains(&worker.holds))
    };
    lab.until("four workers have equal shares", even).await;
    for replica in [3, 2] {
        lab.engine.retire("cat", &name("v1", replica));
    }
    lab.until("two are left with half each", |seen| {
        let cat = &seen.vertices["cat"];
        cat.settled
            && cat.workers.len() == 2
            && cat.workers.values().all(|worker| (32..=33).contains(&worker.holds))
    })
    .await;
    lab.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_vertex_is_replaced_under_a_flood() {
    let mut lab = Lab::running(lines, &ALL).await;
    lab.flood = true;
    for vertex in ALL {
        lab.keep(vertex, "v2");
        lab.engine.ensure(vertex, &name("v2", 0)).unwrap();
        lab.engine.share(vertex, shares(&[("v1", 1), ("v2", 1)]));
        lab.ready(vertex, "v2", 0).await;
        lab.engine.share(vertex, shares(&[("v2", 1)]));
        lab.gone(vertex, "v1", 0).await;
        let lines = lab.lines;
        lab.until("more lines were read", |seen| seen.vertices["in"].processed > lines).await;
    }
    lab.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn drained_is_said_once_it_is_true_and_reading_goes_on_afterwards() {
    let mut lab = Lab::running(lines, &ALL).await;
    for round in 0..3 {
        lab.flood = true;
        let before = lab.engine.seen().vertices["out"].processed;
        lab.until("lines come out", |seen| seen.vertices["out"].processed > before + 100).await;
        lab.engine.read("in", false);
        lab.flood = false;
        let seen = lab.until("it is drained", |seen| seen.drain.as_ref().unwrap().drained).await;
        let read = seen.vertices["in"].processed;
        assert_eq!(lab.out().len() as u64, read, "round {round}: everything that was read has come out");
        lab.write(500);
        // A while passes in turns; a source that is not read gives nothing.
        for _ in 0..5 {
            lab.engine.turn().await.unwrap();
            lab.engine.changed().await;
        }
        let seen = lab.engine.seen();
        assert_eq!(seen.vertices["in"].processed, read);
        assert!(seen.drain.unwrap().drained);
        lab.engine.read("in", true);
        assert!(!lab.engine.seen().drain.unwrap().drained, "round {round}: not while it may read");
    }
    lab.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_pipeline_without_workers_or_messages_is_drained() {
    let mut lab = Lab::new(lines).await;
    lab.until("it is drained", |seen| seen.drain.as_ref().unwrap().drained).await;
    let mut lab = Lab::running(lines, &ALL).await;
    lab.engine.read("in", false);
    lab.until("it is drained", |seen| seen.drain.as_ref().unwrap().drained).await;
    for vertex in ALL {
        lab.gone(vertex, "v1", 0).await;
    }
    let seen = lab.until("it stays so", |seen| seen.vertices["cat"].settled).await;
    assert!(seen.drain.unwrap().drained);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_version_without_a_program_fails_and_the_others_go_on() {
    let mut lab = Lab::running(lines, &ALL).await;
    lab.flood = true;
    let exec = "cat=/nowhere/program".parse().unwrap();
    lab.engine.keep("cat", version(&lab.object, "cat", "bad", &[exec]));
    lab.engine.ensure("cat", &name("bad", 0)).unwrap();
    lab.engine.share("cat", shares(&[("v1", 1), ("bad", 1)]));
    let seen = lab
        .until("it has failed twice", |seen| {
            let worker = &seen.vertices["cat"].workers[&name("bad", 0)];
            worker.restarts >= 2 && matches!(worker.state, WorkerState::Failing { .. })
        })
        .await;
    let worker = &seen.vertices["cat"].workers[&name("bad", 0)];
    assert!(matches!(&worker.state, WorkerState::Failing { reason } if reason.contains("udf")), "{worker:?}");
    assert_eq!(worker.holds, 0);
    let lines = lab.lines;
    lab.until("lines go on coming out", |seen| seen.vertices["out"].processed > lines).await;
    lab.gone("cat", "bad", 0).await;
    lab.close().await;
}

/// Serves a map where the engine says; only as a process of its own.
#[test]
fn user_code() {
    let Some(directory) = std::env::var_os("TIDEGATE_RUN_DIR").map(PathBuf::from) else { return };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let server = numaflow::map::Server::new(Cat).with_socket_file(directory.join("map.sock"));
    let served = server.with_server_info_file(directory.join("mapper-server-info")).start();
    runtime.block_on(served).unwrap();
}

struct Cat;

#[tonic::async_trait]
impl numaflow::map::Mapper for Cat {
    async fn map(&self, input: numaflow::map::MapRequest) -> Vec<numaflow::map::Message> {
        vec![numaflow::map::Message::new(input.value)]
    }
}

/// Serves a map that never answers; only as a process of its own.
#[test]
fn user_code_that_hangs() {
    let Some(directory) = std::env::var_os("TIDEGATE_RUN_DIR").map(PathBuf::from) else { return };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let server = numaflow::map::Server::new(Hang).with_socket_file(directory.join("map.sock"));
    let served = server.with_server_info_file(directory.join("mapper-server-info")).start();
    runtime.block_on(served).unwrap();
}

struct Hang;

#[tonic::async_trait]
impl numaflow::map::Mapper for Hang {
    async fn map(&self, _: numaflow::map::MapRequest) -> Vec<numaflow::map::Message> {
        std::future::pending().await
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_worker_whose_user_code_hangs_is_retired_and_another_does_its_work() {
    let mut lab = Lab::running(lines, &ALL).await;
    let release_within = Duration::from_secs(1);
    lab.engine.set_patience(OwnersSettings { release_within, ..OwnersSettings::default() });
    let program = std::env::current_exe().unwrap();
    let exec: Exec =
        format!("cat='{}' --exact engine::user_code_that_hangs", program.display()).parse().unwrap();
    lab.engine.keep("cat", version(&lab.object, "cat", "v2", &[exec]));
    lab.engine.share("cat", shares(&[("v1", 1), ("v2", 1)]));
    let worker = name("v2", 0);
    lab.engine.ensure("cat", &worker).unwrap();
    lab.ready("cat", "v2", 0).await;
    lab.flood = true;
    let of = |seen: &Seen| seen.vertices["cat"].signals[&worker.revision];
    let seen = lab.until("a part of the lines hangs", |seen| of(seen).read > 0).await;
    lab.flood = false;
    assert_eq!(of(&seen).done, 0);
    let lines = lab.lines;
    let begun = Instant::now();
    lab.engine.share("cat", shares(&[("v1", 1)]));
    lab.until("the other has everything", |seen| {
        seen.vertices["out"].processed == lines && seen.vertices["cat"].workers[&name("v1", 0)].holds == 65
    })
    .await;
    assert!(begun.elapsed() >= release_within, "it had its time: {:?}", begun.elapsed());
    lab.gone("cat", "v2", 0).await;
    lab.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_worker_is_ready_when_its_user_code_answers_and_again_after_a_crash() {
    let mut lab = Lab::running(lines, &ALL).await;
    lab.flood = true;
    let program = std::env::current_exe().unwrap();
    let exec: Exec = format!("cat='{}' --exact engine::user_code", program.display()).parse().unwrap();
    lab.engine.keep("cat", version(&lab.object, "cat", "v2", &[exec]));
    lab.engine.share("cat", shares(&[("v1", 1), ("v2", 1)]));
    let worker = name("v2", 0);
    lab.engine.ensure("cat", &worker).unwrap();
    let seen = lab.until("it is there", |seen| seen.vertices["cat"].workers.contains_key(&worker)).await;
    assert_eq!(seen.vertices["cat"].workers[&worker].state, WorkerState::Starting);
    let works = |seen: &Seen, more: u64| {
        let cat = &seen.vertices["cat"];
        let done = cat.signals.get(&worker.revision).map_or(0, |signals| signals.done);
        cat.settled && cat.workers[&worker].is_ready() && done > more
    };
    let seen = lab.until("it works", |seen| works(seen, 100)).await;
    let done = seen.vertices["cat"].signals[&worker.revision].done;
    let containers = lab.engine.containers("cat", &worker);
    let process = containers[0].process.unwrap();
    let process = nix::unistd::Pid::from_raw(i32::try_from(process).unwrap());
    nix::sys::signal::kill(process, nix::sys::signal::Signal::SIGKILL).unwrap();
    let seen = lab
        .until("it has failed", |seen| {
            matches!(&seen.vertices["cat"].workers[&worker].state, WorkerState::Failing { .. })
        })
        .await;
    assert_eq!(seen.vertices["cat"].workers[&worker].restarts, 1);
    lab.until("it works again", |seen| works(seen, done + 100)).await;
    lab.engine.share("cat", shares(&[("v2", 1)]));
    lab.gone("cat", "v1", 0).await;
    lab.close().await;
}

fn listener(directory: &Path) -> String {
    let free = || TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    format!(
        r#"
apiVersion: numaflow.numaproj.io/v1alpha1
kind: Pipeline
metadata: {{name: listener}}
spec:
  vertices:
  - {{name: in, source: {{http: {{ports: {{https: {}, http: {}}}}}}}}}
  - {{name: out, sink: {{file: {{path: "{}", sync: false}}}}}}
  edges: [{{from: in, to: out}}]
"#,
        free(),
        free(),
        directory.join("out.txt").display()
    )
}

/// Posts numbers one after the other, each on a connection of its own, until it is told to stop; gives how many.
async fn post(address: SocketAddr, first: u64, stop: watch::Receiver<bool>) -> u64 {
    let mut number = 0;
    while !*stop.borrow() {
        let mut stream = tokio::net::TcpStream::connect(address).await.expect("nobody is refused");
        let body = (first + number).to_string();
        let request = format!(
            "POST /vertices/in HTTP/1.1\r\nhost: t\r\nconnection: close\r\nx-numaflow-id: {body}\r\n\
             content-length: {}\r\n\r\n{body}",
            body.len()
        );
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut reply = String::new();
        stream.read_to_string(&mut reply).await.unwrap();
        assert!(reply.starts_with("HTTP/1.1 200"), "message {body} was answered {reply}");
        number += 1;
    }
    number
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_update_of_a_source_that_listens_turns_no_caller_away() {
    const CALLERS: u64 = 4;
    const APART: u64 = 1_000_000;
    let mut lab = Lab::running(listener, &["in", "out"]).await;
    let urls = lab.engine.urls();
    assert_eq!(urls.len(), 2, "{urls:?}");
    let plain = urls.iter().find_map(|(_, url)| url.strip_prefix("http://")).unwrap();
    let address: SocketAddr = plain.split_once('/').unwrap().0.parse().unwrap();
    let (stop, stopped) = watch::channel(false);
    let mut callers = JoinSet::new();
    for caller in 0..CALLERS {
        let stopped = stopped.clone();
        callers.spawn(async move { (caller, post(address, caller * APART, stopped).await) });
    }
    for version in 1..=5 {
        let (old, new) = (format!("v{version}"), format!("v{}", version + 1));
        lab.keep("in", &new);
        lab.engine.ensure("in", &name(&new, 0)).unwrap();
        lab.engine.share("in", shares(&[(&old, 1), (&new, 1)]));
        lab.ready("in", &new, 0).await;
        lab.engine.share("in", shares(&[(&new, 1)]));
        lab.gone("in", &old, 0).await;
        let revision = Revision::from_text(new.as_str());
        let done = move |seen: &Seen| seen.vertices["in"].signals.get(&revision).map_or(0, |of| of.done);
        lab.until("the successor takes messages", |seen| done(seen) > 20).await;
        assert!(callers.try_join_next().is_none(), "a caller was turned away");
    }
    assert_eq!(lab.engine.urls(), urls);
    stop.send_replace(true);
    // Turns go on: nothing is written while nobody owns the sink's slots.
    let mut expected = BTreeSet::new();
    while let Some(ended) = callers.join_next().await {
        let (caller, count) = ended.unwrap();
        expected.extend((0..count).map(|number| caller * APART + number));
    }
    lab.lines = expected.len() as u64;
    lab.drain().await;
    let mut out = lab.out();
    out.sort_unstable();
    assert!(out.iter().copied().eq(expected.iter().copied()), "each message came out once");
    lab.engine.close(Duration::from_secs(5)).await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_turn_of_an_idle_pipeline_wakes_nobody() {
    let mut lab = Lab::running(lines, &ALL).await;
    let begun = Instant::now();
    for _ in 0..3 {
        // Wishes that are repeated hurry nobody.
        for vertex in ALL {
            lab.engine.share(vertex, shares(&[("v1", 1)]));
            lab.engine.read(vertex, true);
            lab.engine.ensure(vertex, &name("v1", 0)).unwrap();
        }
        lab.engine.changed().await;
        lab.engine.turn().await.unwrap();
    }
    assert!(
        begun.elapsed() >= Duration::from_millis(200),
        "nothing happens, so nothing is done: {:?}",
        begun.elapsed()
    );
    lab.engine.close(Duration::from_secs(1)).await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_run_ends_when_its_file_has_ended_and_a_door_that_cannot_open_ends_the_start() {
    let directory = tempfile::tempdir().unwrap();
    let text = lines(directory.path()).replace("follow: true", "follow: false");
    let object = load(&text);
    let programs = version(&object, "cat", "run", &[]).programs.clone();
    let Err(error) = Engine::start(config(directory.path(), &object), programs.clone()).await else {
        panic!("the file is missing");
    };
    assert_eq!(error.to_string(), "open the file source of vertex in");
    std::fs::remove_dir(directory.path().join("run")).unwrap();
    let mut written = Vec::new();
    for number in 0..10_000 {
        writeln!(written, "{number}").unwrap();
    }
    std::fs::write(directory.path().join("in.txt"), &written).unwrap();
    let mut engine = Engine::start(config(directory.path(), &object), programs).await.unwrap();
    let ended = async {
        engine.exhausted().await.unwrap();
        engine.drain(LIMIT).await.unwrap()
    };
    let drained = tokio::time::timeout(LIMIT, ended).await.expect("the file ends");
    assert!(drained.complete, "{drained:?}");
    assert_eq!(engine.stop(Duration::from_secs(5)).await.unwrap().total(), 0);
    let out = std::fs::read_to_string(directory.path().join("out.txt")).unwrap();
    let out: BTreeSet<u64> = out.lines().map(|line| line.parse().unwrap()).collect();
    assert!(out.into_iter().eq(0..10_000), "each line came out");
}
