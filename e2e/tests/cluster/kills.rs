//! Sudden ends: our own process in the pods of a source, a map and a sink, a user's process, the daemon and the controller.
//! Processes are killed where the node's processes can be seen; where the node is another machine, these tests say so and
//! are passed over. Invariant: whoever dies, every number arrives, and only what a dying sink had in its hands comes twice.

use std::time::{Duration, Instant};

use e2e::lab::{processes_of, signal, skipped};
use e2e::wait;
use nix::sys::signal::Signal;
use serde_json::{Value, json};

use crate::kubectl::{self, LIMIT, ask_for};
use crate::lines::{self, Lines};
use crate::manifests::{PIPELINE, finish_exact, kept_numbers, log, map, numbers, pipeline};
use crate::pausing::{assert_drained, pause};
use crate::services;
use crate::watch::Watch;

const RATE: u64 = 100;
/// The longest that a message may be under way when a process dies; the goal is 8 s.
const LATENCY_MAX: Duration = Duration::from_secs(20);
/// Why a test is passed over.
const NOT_SEEN: &str = "the processes of the node cannot be seen from here";
/// The variable that tells of which user container a process is.
const USER_CONTAINER: &str = "NUMAFLOW_UD_CONTAINER_TYPE";

/// The first pod of a vertex that was not told to go.
fn pod_of(pipeline: &str, vertex: &str) -> String {
    let selector = format!("{PIPELINE}={pipeline},numaflow.numaproj.io/vertex-name={vertex}");
    let pods = kubectl::list("pods", &selector);
    let pod = pods.iter().find(|pod| pod["metadata"]["deletionTimestamp"].is_null());
    pod.and_then(|pod| pod["metadata"]["name"].as_str()).expect("the vertex has a pod").to_owned()
}

/// Kills the process of a container of a pod; none is our own. False when the node is not this machine.
fn kill(pod: &str, container: Option<&str>) -> bool {
    let found: Vec<u32> = processes_of("NUMAFLOW_POD", pod)
        .into_iter()
        .filter(|pid| e2e::lab::variable_of(*pid, USER_CONTAINER).as_deref() == container)
        .collect();
    for pid in &found {
        signal(*pid, Signal::SIGKILL).expect("the process can be killed");
    }
    !found.is_empty()
}

fn start(name: &str, count: u64, workers: u32) -> Lines {
    let lines = Lines::of_sink(name);
    let map = map(workers, &[], json!({}));
    kubectl::apply(&pipeline(name, vec![numbers(count, RATE), map, log()]));
    kubectl::rolled_out(name);
    lines.until_more(0, 100);
    lines
}

/// The longest way of the messages that were given after a moment.
fn slowest(lines: &Lines, since_nanos: i128) -> Duration {
    let after = |line: &lines::Line| i128::from(line.event_millis) * 1_000_000 > since_nanos - 1_000_000_000;
    lines.all().into_iter().filter(after).map(|line| line.latency()).max().unwrap_or_default()
}

#[test]
fn processes_of_ours_may_be_killed() {
    let (name, count) = ("killed", 6_000);
    let lines = start(name, count, 2);
    for vertex in ["in", "cat", "out"] {
        let pod = pod_of(name, vertex);
        let killed = lines::now_nanos();
        if !kill(&pod, None) {
            skipped("processes_of_ours_may_be_killed", NOT_SEEN);
            break;
        }
        kubectl::until("pod", &pod, "started again", |pod| {
            let statuses = pod["status"]["containerStatuses"].as_array().into_iter().flatten();
            statuses.into_iter().any(|one| {
                one["name"] == "numa" && one["restartCount"].as_u64() >= Some(1) && one["ready"] == true
            })
        });
        let before = lines.len();
        lines.until_more(before, 200);
        let took = slowest(&lines, killed);
        println!("our process in the pod of {vertex} was killed: longest way of a message {took:?}");
        assert!(took <= LATENCY_MAX, "{vertex}: {took:?}");
        if vertex != "out" {
            let twice = lines.numbers().into_iter().find(|(_, times)| *times > 1);
            assert_eq!(twice, None, "a number came twice after the kill in {vertex}");
        }
    }
    lines.until_complete(count, LIMIT);
    let all = lines.numbers();
    let again: u32 = all.values().map(|times| times - 1).sum();
    println!("{again} messages came again after the kill of the sink");
    assert!(u64::from(again) <= 500, "{again} came again, and one batch of the sink has at most 500");
    assert_eq!(all.len() as u64, count);
    drop(lines);
    kubectl::delete("pipeline", name, PIPELINE);
}

#[test]
fn a_users_process_may_be_killed_and_the_others_go_on() {
    let (name, count) = ("user", 3_000);
    let lines = start(name, count, 2);
    let pod = pod_of(name, "cat");
    let killed = lines::now_nanos();
    if !kill(&pod, Some("udf")) {
        skipped("a_users_process_may_be_killed_and_the_others_go_on", NOT_SEEN);
    }
    lines.until_complete(count, LIMIT);
    println!("user code was killed: longest way of a message {:?}", slowest(&lines, killed));
    let during: Vec<_> = lines.all().into_iter().filter(|line| line.at_nanos >= killed).collect();
    println!("messages of each second after it: {:?}", Lines::rates(&during));
    lines.assert_exact(count);
    drop(lines);
    kubectl::delete("pipeline", name, PIPELINE);
}

/// Removes the pods with these labels without a word to them.
fn remove(selector: &str) {
    kubectl::run(&["delete", "pods", "-l", selector, "--force", "--grace-period=0", "--wait=false"]);
}

/// Kills all processes of the pods with these labels, and removes the pods, so that others come without a pause of the
/// kubelet between two lives. False when the node is not this machine.
fn kill_hard(selector: &str) -> bool {
    let pods = kubectl::list("pods", selector);
    let names = pods.iter().filter_map(|pod| pod["metadata"]["name"].as_str());
    let processes: Vec<u32> = names.flat_map(|name| processes_of("HOSTNAME", name)).collect();
    for process in &processes {
        signal(*process, Signal::SIGKILL).expect("the process can be killed");
    }
    remove(selector);
    !processes.is_empty()
}

const CONTROLLER: &str = "app.kubernetes.io/component=controller-manager";

#[test]
fn controller_and_daemon_may_die_while_a_pipeline_pauses() {
    let (name, count) = ("deputies", 4_000);
    let source = kept_numbers(name, (count, RATE), &[]);
    let lines = Lines::of_sink(name);
    kubectl::apply(&pipeline(name, vec![source, map(1, &[], json!({})), log()]));
    kubectl::rolled_out(name);
    lines.until_more(0, 100);
    let daemon = format!("{PIPELINE}={name},app.kubernetes.io/component=daemon");
    let mut random = fastrand::Rng::with_seed(6);
    for who in [&[CONTROLLER][..], &[&daemon], &[CONTROLLER, &daemon]] {
        let begun = Instant::now();
        ask_for(name, "Paused");
        wait::a_while(&mut random, Duration::from_millis(1_500));
        for selector in who {
            remove(selector);
        }
        let (object, _) = pause(name);
        println!("{who:?} removed while it paused: paused after {:?}", begun.elapsed());
        assert_drained(name, &object);
        let came = lines.len();
        lines.assert_exact(came as u64);
        ask_for(name, "Running");
        lines.until_more(came, 50);
    }
    finish_exact(name, lines, count);
}

#[test]
fn controller_and_daemon_may_die_at_each_write_of_a_pause() {
    let test = "controller_and_daemon_may_die_at_each_write_of_a_pause";
    let (name, count) = ("scribe", 6_000);
    let lines = Lines::of_sink(name);
    let source = kept_numbers(name, (count, RATE), &[]);
    kubectl::apply(&pipeline(name, vec![source, map(1, &[], json!({})), log()]));
    kubectl::rolled_out(name);
    lines.until_more(0, 100);
    let daemon = format!("{PIPELINE}={name},app.kubernetes.io/component=daemon");
    for (victim, who) in [("controller", CONTROLLER), ("daemon", &daemon)] {
        for phase in ["Paused", "Running"] {
            let mut watch = Watch::one("pipeline", name, LIMIT);
            watch.until("it is there", |objects| objects.get(name).map(drop));
            let (asked, came) = (Instant::now(), lines.len());
            ask_for(name, phase);
            // The wish itself is no write of theirs.
            let (mut written, mut kills): (Option<Value>, u32) = (None, 0);
            let (object, _) =
                watch.until(&format!("{name} is {phase} though its {victim} dies"), |objects| {
                    let object = objects.get(name)?;
                    let status = &object["status"];
                    let stands = ["Pausing", "Paused"].iter().any(|phase| status["phase"] == *phase);
                    let is_drained = status["drainedOnPause"] == true;
                    assert!(stands || !is_drained, "drained without a pause: {status:#}");
                    if status["phase"] == phase {
                        return Some(object.clone());
                    }
                    if written.replace(status.clone()).is_some_and(|before| before != *status) {
                        if !kill_hard(who) {
                            skipped(test, NOT_SEEN);
                        }
                        kills += 1;
                    }
                    None
                });
            println!("{victim} killed at each of {kills} writes: {phase} after {:?}", asked.elapsed());
            if phase == "Paused" {
                assert_drained(name, &object);
                lines.assert_exact(lines.len() as u64);
            } else {
                lines.until_more(came, 50);
            }
        }
    }
    let lease = kubectl::get("lease", "numaflow-controller-lock").expect("the controller holds it");
    let controller = &kubectl::list("pods", CONTROLLER)[0]["metadata"]["name"];
    assert_eq!(lease["spec"]["holderIdentity"], *controller, "one that comes back in its pod has it");
    finish_exact(name, lines, count);
}

#[test]
fn servers_of_three_may_be_killed_one_and_all() {
    let (service, name, count) = ("struck", "over-three", 6_000);
    kubectl::apply(&services::service(service));
    kubectl::until("isbsvc", service, "healthy", services::is_healthy);
    let mut manifest = pipeline(name, vec![numbers(count, RATE), map(1, &[], json!({})), log()]);
    manifest["spec"]["interStepBufferServiceName"] = json!(service);
    let lines = Lines::of_sink(name);
    kubectl::apply(&manifest);
    kubectl::rolled_out(name);
    lines.until_more(0, 100);
    let server = |number: u32| format!("isbsvc-{service}-js-{number}");
    // The kubelet starts a container again at once the first time only.
    for victims in [&[0, 1, 2][..], &[1]] {
        let pods: Vec<String> = victims.iter().map(|number| server(*number)).collect();
        let before: Vec<Option<u64>> = pods.iter().map(|pod| restarts(pod)).collect();
        let killed = lines::now_nanos();
        let processes: Vec<u32> = pods.iter().flat_map(|pod| processes_of("POD_NAME", pod)).collect();
        if processes.is_empty() {
            skipped("servers_of_three_may_be_killed_one_and_all", NOT_SEEN);
            break;
        }
        for process in processes {
            signal(process, Signal::SIGKILL).expect("the process can be killed");
        }
        for (pod, before) in pods.iter().zip(before) {
            wait::within(LIMIT, &format!("{pod} is started again"), || {
                (restarts(pod) > before).then_some(())
            });
        }
        kubectl::until("isbsvc", service, "healthy again", services::is_healthy);
        let came = lines.len();
        lines.until_more(came, 100);
        println!(
            "{} of three servers killed: nothing came for {:?}",
            pods.len(),
            longest_gap(&lines, killed)
        );
    }
    lines.until_complete(count, LIMIT);
    lines.assert_exact(count);
    drop(lines);
    kubectl::delete("pipeline", name, PIPELINE);
    kubectl::run(&["delete", "isbsvc", service]);
}

/// How often the containers of a pod were started again.
fn restarts(pod: &str) -> Option<u64> {
    let pod = kubectl::get("pod", pod)?;
    let statuses = pod["status"]["containerStatuses"].as_array()?;
    Some(statuses.iter().filter_map(|status| status["restartCount"].as_u64()).sum())
}

/// The longest time without a message since a moment.
fn longest_gap(lines: &Lines, since_nanos: i128) -> Duration {
    let all = lines.all();
    let times = all.iter().map(|line| line.at_nanos).filter(|at| *at >= since_nanos);
    let times: Vec<i128> = std::iter::once(since_nanos).chain(times).collect();
    let gap = times.windows(2).map(|pair| pair[1] - pair[0]).max().unwrap_or_default();
    Duration::from_nanos(u64::try_from(gap).unwrap_or_default())
}

#[test]
fn controller_and_daemon_may_die_while_a_version_rolls_out() {
    let (name, count) = ("halfway", 9_000);
    let lines = start(name, count, 3);
    let daemon = format!("{PIPELINE}={name},app.kubernetes.io/component=daemon");
    let mut random = fastrand::Rng::with_seed(7);
    for (mark, who) in [("two", CONTROLLER), ("three", &daemon)] {
        let map = map(3, &["--mark", mark], json!({}));
        kubectl::apply(&pipeline(name, vec![numbers(count, RATE), map, log()]));
        let begun = Instant::now();
        wait::a_while(&mut random, Duration::from_secs(6));
        remove(who);
        let is_done = |vertex: &Value| {
            let status = &vertex["status"];
            status["currentHash"] == status["updateHash"]
                && status["updatedReadyReplicas"] == 3
                && status["replicas"] == 3
                && status["observedGeneration"] == vertex["metadata"]["generation"]
        };
        let before = lines.len();
        lines.until_more(before, 50);
        kubectl::until("vertex", &format!("{name}-cat"), "rolled out", is_done);
        println!("{who} removed while {mark} rolled out: done after {:?}", begun.elapsed());
    }
    lines.until_complete(count, LIMIT);
    lines.assert_exact(count);
    let last = lines.all().pop().expect("messages have come");
    assert_eq!(last.mark, "three");
    drop(lines);
    kubectl::delete("pipeline", name, PIPELINE);
}
