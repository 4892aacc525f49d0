//! A daemon and its workers, started by hand as a cluster starts them: everything flows, wherever the daemon is.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use e2e::cluster::Cluster;
use e2e::lab::{Lab, is_long};
use e2e::manifest::{Pipeline, map_command};
use e2e::nats::Nats;
use e2e::wait;
use serde_json::{Value, json};

/// How many messages a source or a sink has in hand at most.
const BATCH_MAX: usize = 500;

/// A bounded source, a map and a sink.
fn numbers(lab: &Lab, name: &str, (count, rate): (u64, u64)) -> Pipeline {
    Pipeline::named(name)
        .numbers(lab, "in", (count, rate), "")
        .map("cat", "--mark v0", "")
        .lines(lab, "out", "", "")
        .edge("in", "cat")
        .edge("cat", "out")
}

/// A pipeline with one worker of `in`, two of `cat` and one of `out`.
fn start(cluster: &mut Cluster<'_>) {
    cluster.start_daemon().unwrap();
    for (vertex, worker) in [("in", "a-0"), ("cat", "a-0"), ("cat", "a-1"), ("out", "a-0")] {
        cluster.start_pod(vertex, worker, None).unwrap();
    }
    cluster.want("in", true, &[("a", 1)], &[("a-0", "work")]);
    cluster.want("cat", true, &[("a", 1)], &[("a-0", "work"), ("a-1", "work")]);
    cluster.want("out", true, &[("a", 1)], &[("a-0", "work")]);
    cluster.post().unwrap();
}

fn until_more(lab: &Lab, cluster: &Cluster<'_>, more: usize) {
    let pipeline = cluster.pipeline();
    let before = pipeline.written(lab).len();
    wait::until("more comes out", || (pipeline.written(lab).len() >= before + more).then_some(()));
}

fn complete(lab: &Lab, cluster: &Cluster<'_>, count: u64) {
    let pipeline = cluster.pipeline();
    wait::until("every number has come out", || (pipeline.written(lab).len() as u64 >= count).then_some(()));
    assert_eq!(pipeline.written(lab), (0..count).collect::<Vec<_>>());
}

/// The units that each worker of a vertex holds.
fn holds(look: &Value, vertex: &str) -> BTreeMap<String, u64> {
    let workers = look["vertices"][vertex]["workers"].as_object().cloned().unwrap_or_default();
    workers.iter().map(|(name, worker)| (name.clone(), worker["holds"].as_u64().unwrap())).collect()
}

fn is_settled(look: &Value) -> bool {
    look["vertices"].as_object().is_some_and(|all| all.values().all(|vertex| vertex["settled"] == true))
}

fn restarts(look: &Value) -> u64 {
    let vertices = look["vertices"].as_object().unwrap();
    let workers = vertices.values().flat_map(|vertex| vertex["workers"].as_object().unwrap().values());
    workers.map(|worker| worker["restarts"].as_u64().unwrap()).sum()
}

#[test]
fn a_pipeline_flows_under_a_daemon_and_goes_on_while_it_is_away() {
    let lab = Lab::new().unwrap();
    let Some(nats) = Nats::start("a pipeline under a daemon", &lab).unwrap() else { return };
    let (count, away) =
        if is_long() { (45_000, Duration::from_mins(2)) } else { (3_000, Duration::from_secs(1)) };
    let mut cluster = Cluster::new(&lab, numbers(&lab, "kept", (count, 300)), Some(nats.url()));
    start(&mut cluster);
    let before = cluster.until("units are divided", |look| {
        let cat = holds(look, "cat");
        (is_settled(look) && cat.values().all(|held| *held >= 32)).then_some(cat)
    });
    until_more(&lab, &cluster, 100);
    answers(&cluster);
    cluster.kill_daemon().unwrap();
    let killed = Instant::now();
    while killed.elapsed() < away {
        until_more(&lab, &cluster, 150);
    }
    cluster.start_daemon().unwrap();
    // Nobody has wished for anything yet: everybody keeps what they have.
    until_more(&lab, &cluster, 100);
    cluster.post().unwrap();
    let after =
        cluster.until("units are where they were", |look| is_settled(look).then(|| holds(look, "cat")));
    assert_eq!(after, before, "nothing jumps");
    assert_eq!(restarts(&cluster.look().unwrap()), 0);
    complete(&lab, &cluster, count);
    assert_eq!(cluster.pipeline().repeated(&lab), 0, "nothing was written twice");
    for (vertex, worker) in [("in", "a-0"), ("cat", "a-1"), ("out", "a-0")] {
        assert_eq!(cluster.stop_pod(vertex, worker).unwrap(), Some(0), "{vertex} ends in order");
    }
    assert_eq!(cluster.stop_daemon().unwrap(), Some(0));
}

/// What daemon and workers answer while a pipeline flows.
fn answers(cluster: &Cluster<'_>) {
    let refused = cluster.post_with("another token", &json!({"number": 1_000_000})).unwrap();
    assert_eq!(refused.status, 401, "{refused:?}");
    let base = "/api/v1/pipelines/kept";
    let (status, buffers) = cluster.ask(&format!("{base}/buffers")).unwrap();
    let names: Vec<_> = buffers["buffers"].as_array().unwrap().iter().map(|one| &one["bufferName"]).collect();
    assert_eq!((status, names), (200, vec![&json!("default-kept-cat-0"), &json!("default-kept-out-0")]));
    wait::until("rates are known", || {
        let (_, metrics) = cluster.ask(&format!("{base}/vertices/cat/metrics")).ok()?;
        let rate = metrics["vertexMetrics"][0]["processingRates"]["default"].as_f64()?;
        (100.0..1000.0).contains(&rate).then_some(())
    });
    let (status, watermarks) = cluster.ask(&format!("{base}/watermarks")).unwrap();
    assert_eq!((status, watermarks["pipelineWatermarks"].as_array().unwrap().len()), (200, 2));
    wait::until("the pipeline is healthy", || {
        let (_, health) = cluster.ask(&format!("{base}/status")).ok()?;
        (health["status"]["code"] == "D1").then_some(())
    });
    let (status, errors) = cluster.ask(&format!("{base}/vertices/cat/errors")).unwrap();
    assert_eq!((status, errors), (200, json!({})));
    assert_eq!(cluster.ask(&format!("{base}/vertices/nobody/metrics")).unwrap().0, 404);
    for path in ["/livez", "/readyz", "/sidecar-livez"] {
        assert_eq!(cluster.ask_pod("cat", "a-0", path).unwrap().status, 204, "{path}");
    }
    let metrics = cluster.ask_pod("cat", "a-0", "/metrics").unwrap().body;
    assert!(metrics.contains("forwarder_data_read_total{pipeline=\"kept\""), "{metrics}");
    let watermark = cluster.ask_pod("out", "a-0", "/runtime/watermark").unwrap().body;
    assert!(watermark.starts_with("{\"partitions\":{\"0\":"), "{watermark}");
}

#[test]
fn workers_are_replaced_by_wishes_and_a_drain_says_so_only_when_all_is_out() {
    let lab = Lab::new().unwrap();
    let Some(nats) = Nats::start("workers replaced by wishes", &lab).unwrap() else { return };
    let mut cluster = Cluster::new(&lab, numbers(&lab, "rolled", (100_000_000, 300)), Some(nats.url()));
    start(&mut cluster);
    until_more(&lab, &cluster, 100);
    cluster.start_pod("cat", "b-0", Some(&map_command("--mark v1"))).unwrap();
    let work = |old: &'static str| [("a-0", old), ("a-1", old), ("b-0", "work")];
    cluster.want("cat", true, &[("a", 1), ("b", 1)], &work("work"));
    cluster.post().unwrap();
    cluster.until("both versions have their share", |look| {
        let cat = holds(look, "cat");
        (is_settled(look) && cat["b-0"] >= 32 && cat["a-0"] > 0).then_some(())
    });
    cluster.want("cat", true, &[("b", 1)], &work("retire"));
    cluster.post().unwrap();
    cluster.until("the former version holds nothing", |look| {
        let cat = holds(look, "cat");
        (cat["a-0"] == 0 && cat["a-1"] == 0).then_some(())
    });
    for worker in ["a-0", "a-1"] {
        assert_eq!(cluster.stop_pod("cat", worker).unwrap(), Some(0));
    }
    cluster.want("cat", true, &[("b", 1)], &[("b-0", "work")]);
    cluster.post().unwrap();
    cluster.until("the former workers are gone", |look| (holds(look, "cat").len() == 1).then_some(()));
    wait::within(Duration::from_mins(1), "the new version answers alone", || {
        let lines = lab.lines(&cluster.pipeline().out());
        lines.iter().rev().take(50).all(|line| line.ends_with("v1")).then_some(())
    });
    drained(&lab, &mut cluster);
    assert_eq!(cluster.pipeline().repeated(&lab), 0, "nothing was written twice");
}

/// Stops the source, and holds what came out against what went in once the daemon says that it is drained.
fn drained(lab: &Lab, cluster: &mut Cluster<'_>) {
    cluster.want("in", false, &[("a", 1)], &[("a-0", "work")]);
    cluster.post().unwrap();
    cluster.until("everything is out", |look| (look["drain"]["drained"] == true).then_some(()));
    let taken_in: Vec<u64> = cluster.pipeline().acknowledged(lab).into_iter().collect();
    let mut out = cluster.pipeline().written(lab);
    out.retain(|number| taken_in.contains(number));
    assert_eq!(out, taken_in, "drained, and everything that was taken in is out");
}

#[test]
fn a_worker_that_is_killed_comes_back_under_its_name_and_others_go_on() {
    let lab = Lab::new().unwrap();
    let Some(nats) = Nats::start("killed workers under a daemon", &lab).unwrap() else { return };
    let count = 4_000;
    let mut cluster = Cluster::new(&lab, numbers(&lab, "back", (count, 300)), Some(nats.url()));
    start(&mut cluster);
    for (vertex, worker) in [("cat", "a-0"), ("in", "a-0"), ("out", "a-0")] {
        until_more(&lab, &cluster, 200);
        cluster.kill_pod(vertex, worker).unwrap();
        cluster.start_pod(vertex, worker, None).unwrap();
        cluster.until("the worker is back", |look| {
            let found = &look["vertices"][vertex]["workers"][worker];
            (found["restarts"].as_u64() > Some(0) && found["holds"].as_u64() > Some(0)).then_some(())
        });
    }
    cluster.restart_user_code("cat", "a-1", &map_command("--mark v0")).unwrap();
    complete(&lab, &cluster, count);
    cluster.until("user code that was started again is ready", |look| {
        (look["vertices"]["cat"]["workers"]["a-1"]["state"] == "ready").then_some(())
    });
}

#[test]
fn every_number_comes_out_whichever_kind_of_process_is_killed_again_and_again() {
    // The daemon, and a worker of each vertex. In the long form each kind has a run of its own.
    let kinds = [None, Some(("in", "a-0")), Some(("cat", "a-0")), Some(("out", "a-0"))];
    if !is_long() {
        kills("kinds", &kinds, (3_000, 500), 1);
        return;
    }
    for (kind, name) in kinds.iter().zip(["daemons", "sources", "maps", "sinks"]) {
        let repeated = kills(name, &[*kind], (20_000, 250), 10);
        println!("{name} killed: {repeated:?} of 20000 were written again");
    }
}

/// Runs so many numbers at a rate and kills these, one after the other, so many times each; gives how many were written
/// again, if there is a server to run it over.
fn kills(name: &str, kinds: &[Option<(&str, &str)>], numbers_of: (u64, u64), rounds: usize) -> Option<usize> {
    let lab = Lab::new().unwrap();
    let nats = Nats::start(name, &lab).unwrap()?;
    let mut cluster = Cluster::new(&lab, numbers(&lab, name, numbers_of), Some(nats.url()));
    start(&mut cluster);
    for kind in kinds.iter().cycle().take(rounds * kinds.len()) {
        let since = Instant::now();
        until_more(&lab, &cluster, 100);
        while is_long() && since.elapsed() < Duration::from_secs(3) {
            until_more(&lab, &cluster, 100);
        }
        if let Some((vertex, worker)) = kind {
            cluster.kill_pod(vertex, worker).unwrap();
            cluster.start_pod(vertex, worker, None).unwrap();
        } else {
            cluster.kill_daemon().unwrap();
            cluster.start_daemon().unwrap();
            cluster.post().unwrap();
        }
    }
    complete(&lab, &cluster, numbers_of.0);
    let repeated = cluster.pipeline().repeated(&lab);
    // A source that was not told hands its numbers out again, and a file does not know what it has.
    let at_the_ends = kinds.iter().flatten().filter(|(vertex, _)| *vertex != "cat").count() * rounds;
    assert!(repeated <= at_the_ends * BATCH_MAX, "{repeated} were written again: more than was in hand");
    Some(repeated)
}

#[test]
fn a_mono_vertex_flows_under_a_daemon_that_hosts_its_notes() {
    let lab = Lab::new().unwrap();
    let count = 4_000;
    let mut cluster = Cluster::new(&lab, Pipeline::mono(&lab, "mono", (count, 300)), None);
    cluster.start_daemon().unwrap();
    for worker in ["a-0", "a-1"] {
        cluster.start_pod("mono", worker, None).unwrap();
    }
    cluster.want("mono", true, &[("a", 1)], &[("a-0", "work"), ("a-1", "work")]);
    cluster.post().unwrap();
    let both = |look: &Value| {
        let held = holds(look, "mono");
        (held["a-0"] == 1 && held["a-1"] == 1).then_some(())
    };
    cluster.until("each worker has a part of the source", both);
    until_more(&lab, &cluster, 200);
    cluster.kill_daemon().unwrap();
    // The workers go on with what they have.
    until_more(&lab, &cluster, 300);
    cluster.start_daemon().unwrap();
    cluster.post().unwrap();
    cluster.until("both are heard again", both);
    assert_eq!(restarts(&cluster.look().unwrap()), 0, "nobody had to begin again");
    until_more(&lab, &cluster, 200);
    cluster.want("mono", true, &[("a", 1)], &[("a-0", "work"), ("a-1", "retire")]);
    cluster.post().unwrap();
    cluster.until("the second holds nothing", |look| (holds(look, "mono")["a-1"] == 0).then_some(()));
    assert_eq!(cluster.stop_pod("mono", "a-1").unwrap(), Some(0));
    cluster.want("mono", true, &[("a", 1)], &[("a-0", "work")]);
    cluster.post().unwrap();
    complete(&lab, &cluster, count);
    let (status, metrics) = cluster.ask("/api/v1/metrics").unwrap();
    assert_eq!((status, &metrics["metrics"]["monoVertex"]), (200, &json!("mono")));
    cluster.want("mono", false, &[("a", 1)], &[("a-0", "work")]);
    cluster.post().unwrap();
    cluster.until("it is drained", |look| (look["drain"]["drained"] == true).then_some(()));
    let metrics = cluster.ask_pod("mono", "a-0", "/metrics").unwrap().body;
    assert!(metrics.contains("monovtx_read_total{mvtx_name=\"mono\""), "{metrics}");
    assert_eq!(cluster.ask_pod("mono", "a-0", "/runtime/watermark").unwrap().status, 404);
}
