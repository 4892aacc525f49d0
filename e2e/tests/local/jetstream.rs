//! Pipelines over a real NATS server, each worker in a process of its own: whoever is killed, every number comes out, and
//! a pause still tells the truth.

use std::time::Duration;

use e2e::lab::{self, Lab, children_of, is_long};
use e2e::manifest::{Pipeline, map_command};
use e2e::nats::Nats;
use e2e::up::Up;
use e2e::wait;
use nix::sys::signal::Signal;

mod cluster;
mod full;
mod handover;
mod owners;
mod stuck;
mod zombies;

/// More numbers than any test takes.
const ENDLESS: u64 = 100_000_000;

/// A pipeline of a bounded source, a map with two workers and a sink.
fn numbers(lab: &Lab, name: &str, (count, rate): (u64, u64)) -> Pipeline {
    let strategy = "updateStrategy: {minReadySeconds: 1}";
    Pipeline::named(name)
        .numbers(lab, "in", (count, rate), "scale: {min: 1, max: 1}")
        .map("cat", "--mark v0", &format!("scale: {{min: 2, max: 2}}, {strategy}"))
        .lines(lab, "out", "", "scale: {min: 1, max: 1}")
        .edge("in", "cat")
        .edge("cat", "out")
}

fn complete(lab: &Lab, pipeline: &Pipeline, count: u64) {
    wait::until("every number has come out", || (pipeline.written(lab).len() as u64 >= count).then_some(()));
    assert_eq!(pipeline.written(lab), (0..count).collect::<Vec<_>>());
}

fn until_more(lab: &Lab, pipeline: &Pipeline, more: usize) {
    let before = pipeline.written(lab).len();
    wait::until("more comes out", || (pipeline.written(lab).len() >= before + more).then_some(()));
}

#[test]
fn every_number_comes_out_whichever_worker_is_killed() {
    let lab = Lab::new().unwrap();
    let Some(nats) = Nats::start("killed workers on JetStream", &lab).unwrap() else { return };
    let up = Up::start_with(&lab, &["--isb", &nats.url(), "--isolate"]).unwrap();
    let (count, rounds) = if is_long() { (20_000, 30) } else { (2_500, 4) };
    let pipeline = numbers(&lab, "killed", (count, 500));
    pipeline.apply(&lab, &up).unwrap();
    let mut random = fastrand::Rng::with_seed(11);
    until_more(&lab, &pipeline, 20);
    assert_eq!(children_of(up.pid(), "processor").len(), 4, "each worker is a process");
    for _ in 0..rounds {
        let workers = children_of(up.pid(), "processor");
        if let Some(worker) = random.choice(&workers) {
            lab::signal(*worker, Signal::SIGKILL).unwrap();
        }
        until_more(&lab, &pipeline, 50);
    }
    complete(&lab, &pipeline, count);
    println!("{} of {count} were written again after {rounds} kills", pipeline.repeated(&lab));
    up.down().unwrap();
}

#[test]
fn a_run_in_processes_shows_its_rates_and_drains_when_a_terminal_interrupts_them_all() {
    let lab = Lab::new().unwrap();
    let Some(nats) = Nats::start("a run in processes on JetStream", &lab).unwrap() else { return };
    let pipeline = Pipeline::named("rates")
        .vertex("in", "source: {generator: {rpu: 300, duration: 1s}}")
        .vertex("out", &format!("sink: {{file: {{path: {}}}}}", lab.path("out").display()))
        .edge("in", "out");
    let service = "apiVersion: numaflow.numaproj.io/v1alpha1\nkind: InterStepBufferService\nmetadata: {name: default}\n\
                   spec: {jetstream: {version: latest, bufferConfig: \"stream: {maxMsgs: 5000, duplicates: 90s}\"}}";
    let manifest = lab.write("rates.yaml", &format!("{}\n---\n{service}\n", pipeline.text())).unwrap();
    let run = lab.run(&manifest, &["--isb", &nats.url(), "--isolate"]).unwrap();
    wait::until("messages come out", || (lab.lines("out").len() > 100).then_some(()));
    wait::until("the output shows rates", || {
        let log = lab.log();
        let mut rates = log.lines().filter_map(|line| line.split("\u{b7} out in ").nth(1));
        rates.any(|rate| !rate.starts_with("0.0/s")).then_some(())
    });
    assert!(run.interrupt().unwrap().success(), "{}", lab.log());
    assert!(!lab.log().contains("WARN"), "{}", lab.log());
    let create =
        lab::tidegate().args(["isbsvc", "create", "--isb", &nats.url()]).arg(&manifest).output().unwrap();
    let said = String::from_utf8(create.stdout).unwrap();
    let are_as_said = said.lines().all(|line| line.ends_with("is as it shall be"));
    assert!(said.lines().count() > 3 && are_as_said, "streams are made as bufferConfig says: {said}");
}

#[test]
fn every_number_comes_out_though_the_broker_and_the_site_are_killed() {
    let lab = Lab::new().unwrap();
    let Some(mut nats) = Nats::start("killed broker", &lab).unwrap() else { return };
    let url = nats.url();
    let flags = ["--isb", url.as_str(), "--isolate"];
    let mut up = Up::start_with(&lab, &flags).unwrap();
    let (count, rounds) = if is_long() { (20_000, 10) } else { (2_500, 2) };
    let pipeline = numbers(&lab, "broker", (count, 500));
    pipeline.apply(&lab, &up).unwrap();
    until_more(&lab, &pipeline, 20);
    for round in 0..rounds {
        nats.kill_and_start(&lab).unwrap();
        until_more(&lab, &pipeline, 50);
        if round % 2 == 1 {
            up.kill().unwrap();
            up = Up::start_with(&lab, &flags).unwrap();
            until_more(&lab, &pipeline, 50);
        }
    }
    complete(&lab, &pipeline, count);
    println!("{} of {count} were written again", pipeline.repeated(&lab));
    up.down().unwrap();
}

#[test]
fn a_pause_drains_and_an_update_rolls_over_a_broker() {
    let lab = Lab::new().unwrap();
    let Some(nats) = Nats::start("pause and update on JetStream", &lab).unwrap() else { return };
    for isolate in [false, true] {
        let name = if isolate { "apart" } else { "together" };
        let url = nats.url();
        let mut flags = vec!["--isb", url.as_str()];
        flags.extend(isolate.then_some("--isolate"));
        let up = Up::start_with(&lab, &flags).unwrap();
        let pipeline = numbers(&lab, name, (ENDLESS, 300));
        pipeline.apply(&lab, &up).unwrap();
        until_more(&lab, &pipeline, 100);
        up.pause(name).unwrap();
        up.until(name, "is drained", |object| object.is_drained().then_some(()));
        let taken_in: Vec<u64> = pipeline.acknowledged(&lab).into_iter().collect();
        let mut out = pipeline.written(&lab);
        out.retain(|number| taken_in.contains(number));
        assert_eq!(out, taken_in, "drained, and everything that was taken in is out");
        up.resume(name).unwrap();
        until_more(&lab, &pipeline, 100);
        up.set_exec(name, "cat", &map_command("--mark v1")).unwrap();
        wait::within(Duration::from_mins(2), "the new version answers alone", || {
            let lines = lab.lines(&pipeline.out());
            lines.iter().rev().take(50).all(|line| line.ends_with("v1")).then_some(())
        });
        up.pause(name).unwrap();
        up.until(name, "is drained again", |object| object.is_drained().then_some(()));
        assert_eq!(pipeline.repeated(&lab), 0, "nothing was written twice");
        up.must(&["delete", name, "--wait"]).unwrap();
        up.down().unwrap();
    }
}
