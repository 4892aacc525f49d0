//! The pause that drains: what it waits for, what it says, and that its verdict is never wrong.

use std::collections::BTreeSet;
use std::ops::ControlFlow;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use e2e::lab::{Lab, is_long};
use e2e::manifest::Pipeline;
use e2e::object::Object;
use e2e::up::Up;
use e2e::wait;

/// What a source that gives all it has gives a second.
const FLOOD: u64 = 50_000;

fn drained(object: &Object) -> Option<Object> {
    (object.is_paused() && object.is_drained()).then(|| object.clone())
}

#[test]
fn a_pipeline_that_never_had_data_is_drained_soon() {
    let lab = Lab::new().unwrap();
    let up = Up::start(&lab).unwrap();
    for (name, block) in [("honours", ""), ("blocks", "--block")] {
        let pipeline = Pipeline::named(name)
            .numbers(&lab, "in", (0, 1), "scale: {min: 1, max: 3}")
            .vertex("out", "scale: {min: 1, max: 3}, sink: {log: {}}")
            .edge("in", "out");
        let exec = format!("{} {block}", pipeline.exec[0]);
        let pipeline = Pipeline { exec: vec![exec], ..pipeline };
        pipeline.apply(&lab, &up).unwrap();
        let before = up.steady(name);
        let begun = Instant::now();
        up.pause(name).unwrap();
        let object = up.until(name, "is drained", drained);
        let took = begun.elapsed();
        println!("{name}: drained after {took:?}");
        // The goal is one of a machine of its own.
        assert!(!is_long() || took <= Duration::from_secs(3), "{name} took {took:?}: {object}");
        assert_eq!(object.phase(), "Paused (drained)");
        assert_eq!(object.status("/drain/verdict"), "drained");
        up.resume(name).unwrap();
        let after = up.steady(name);
        assert!(!after.is_drained());
        for vertex in ["in", "out"] {
            assert_eq!(after.desired(vertex), before.desired(vertex), "{vertex} of {name} after the pause");
        }
    }
    up.down().unwrap();
}

/// Numbers that come at once, before a sink that takes a hundred a second.
fn before_a_slow_sink(lab: &Lab, name: &str, (count, rate): (u64, u64), lifecycle: &str) -> Pipeline {
    Pipeline::named(name)
        .with(&format!("lifecycle: {{{lifecycle}}}"))
        .with("limits: {readBatchSize: 50}")
        .numbers(lab, "in", (count, rate), "")
        .lines(lab, "out", "--rate 100", "scale: {min: 1, max: 1}")
        .edge("in", "out")
}

#[test]
fn sources_stop_first_and_everything_in_flight_gets_out() {
    let lab = Lab::new().unwrap();
    let up = Up::start(&lab).unwrap();
    let count = if is_long() { 1_000 } else { 300 };
    let grace = "pauseGracePeriodSeconds: 60";
    let all = before_a_slow_sink(&lab, "all", (count, FLOOD), grace);
    let endless = before_a_slow_sink(&lab, "endless", (1_000_000, 400), grace);
    for pipeline in [&all, &endless] {
        pipeline.apply(&lab, &up).unwrap();
    }
    wait::until("everything is in flight", || {
        (all.acknowledged(&lab).len() as u64 == count && endless.acknowledged(&lab).len() > 150).then_some(())
    });
    for pipeline in [&all, &endless] {
        up.pause(&pipeline.name).unwrap();
    }
    let written = all.written(&lab).len() as u64;
    assert!(written < count, "all {written} had left before the pause began");
    let at_the_pause = endless.written(&lab).len();
    wait::until("the drain goes on", || (endless.written(&lab).len() > at_the_pause + 20).then_some(()));
    let taken_in = endless.acknowledged(&lab);
    assert!(endless.written(&lab).len() < taken_in.len(), "nothing was left to drain");
    for pipeline in [&all, &endless] {
        up.until(&pipeline.name, "is drained", drained);
        assert_eq!(pipeline.repeated(&lab), 0);
    }
    assert_eq!(all.written(&lab), (0..count).collect::<Vec<_>>());
    assert_eq!(endless.acknowledged(&lab), taken_in, "the source was read after it had to stop");
    assert_eq!(endless.written(&lab), taken_in.into_iter().collect::<Vec<_>>());
    up.down().unwrap();
}

#[test]
fn a_pause_that_is_cut_off_names_what_is_left_and_goes_on_exactly() {
    let lab = Lab::new().unwrap();
    let up = Up::start(&lab).unwrap();
    let count: u64 = if is_long() { 1_000 } else { 600 };
    let keep = before_a_slow_sink(&lab, "keep", (count, FLOOD), "pauseGracePeriodSeconds: 1");
    let lifecycle = "pauseGracePeriodSeconds: 1, onPauseTimeout: wait";
    let waits = before_a_slow_sink(&lab, "waits", (count, FLOOD), lifecycle);
    for pipeline in [&keep, &waits] {
        pipeline.apply(&lab, &up).unwrap();
    }
    wait::until("everything is in flight", || {
        [&keep, &waits].iter().all(|one| one.acknowledged(&lab).len() as u64 == count).then_some(())
    });
    up.pause("waits").unwrap();
    let paused = up.tidegate(&["pause", "keep", "--wait"]).unwrap();
    assert_eq!(paused.code, 3, "a pause that was cut off has an exit code of its own: {paused:?}");
    let object = up.until("keep", "is paused", |object| {
        let gone = object.workers("out").is_empty();
        (object.is_paused() && gone).then(|| object.clone())
    });
    assert!(!object.is_drained(), "{object}");
    assert_eq!(object.status("/drain/verdict"), "cutOff");
    let remaining = object.status("/drain/remaining").as_u64().unwrap();
    let written = keep.written(&lab).len() as u64;
    assert!(written < count, "everything got out within a second");
    // What was in hand when the time was over may have been written and not settled: one batch.
    assert!(
        (count - written..=count - written + 50).contains(&remaining),
        "{remaining} left of {count}, {written} out"
    );
    let named = object.status("/drain/vertices");
    assert_eq!(named[0]["vertex"], "out", "{named:#}");
    assert_eq!(named[0]["partition"], 0, "{named:#}");
    assert_eq!(named[0]["messages"], remaining, "{named:#}");
    assert!(object.phase().starts_with("Paused ("), "{}", object.phase());

    let late = up.until("waits", "is paused", |object| object.is_paused().then(|| object.clone()));
    assert!(!late.is_drained(), "{late}");
    up.must(&["status", "waits", "--wait=drained"]).unwrap();
    assert_eq!(waits.written(&lab), (0..count).collect::<Vec<_>>());

    up.resume("keep").unwrap();
    let complete = || (keep.written(&lab).len() as u64 >= count).then_some(());
    wait::until("everything is out after the pause", complete);
    assert_eq!(keep.written(&lab), (0..count).collect::<Vec<_>>());
    assert!(keep.repeated(&lab) <= 50, "{} were written twice", keep.repeated(&lab));
    up.down().unwrap();
}

#[test]
fn a_deletion_loses_nothing_unless_it_is_forced() {
    let lab = Lab::new().unwrap();
    let up = Up::start(&lab).unwrap();
    let count = 200;
    let drains = before_a_slow_sink(&lab, "drains", (count, FLOOD), "deletionGracePeriodSeconds: 1");
    let forced = before_a_slow_sink(&lab, "forced", (count, FLOOD), "");
    for pipeline in [&drains, &forced] {
        pipeline.apply(&lab, &up).unwrap();
    }
    wait::until("everything is in flight", || {
        [&drains, &forced].iter().all(|one| one.acknowledged(&lab).len() as u64 == count).then_some(())
    });
    up.must(&["delete", "drains"]).unwrap();
    let said = up.must(&["delete", "forced", "--force", "--wait"]).unwrap();
    let events = up.events("forced").unwrap();
    let dropped = events.iter().find(|event| event.starts_with("Warning RecordsDropped")).unwrap();
    let number = dropped.split_whitespace().find_map(|word| word.parse::<u64>().ok()).unwrap();
    let left = count - forced.written(&lab).len() as u64;
    assert!((left..=left + 50).contains(&number), "{left} were not written, and it says: {dropped}");
    let message = dropped.split_once(": ").unwrap().1;
    assert!(said.contains(message), "{message:?} is in the events and not in {said:?}");
    // Where they came from, so that somebody can have them given again.
    let (_, offsets) =
        message.split_once("; source in").and_then(|(_, text)| text.split_once("from offset ")).unwrap();
    let words: Vec<&str> = offsets.split([' ', ',']).collect();
    let offset = |at: usize| -> u64 { words[at].parse().unwrap_or_else(|_| panic!("no offsets: {message}")) };
    let (first, last) = (offset(0), offset(2));
    let written: BTreeSet<u64> = forced.written(&lab).into_iter().collect();
    let is_named = |number: &u64| written.contains(number) || (first..=last).contains(number);
    assert!((0..count).all(|number| is_named(&number)), "{message}, and out are {written:?}");
    assert!(last < count, "{message}");
    up.must(&["status", "drains", "--wait=gone"]).unwrap();
    assert_eq!(drains.written(&lab), (0..count).collect::<Vec<_>>());
    up.down().unwrap();
}

/// Asks whether a pipeline is drained as fast as possible; gives how often it was asked and how often it was.
fn poll(up: &Up<'_>, lab: &Lab, pipeline: &Pipeline, is_over: &AtomicBool) -> (u64, u64) {
    let mut api = up.api();
    let (mut asked, mut yes) = (0, 0);
    wait::every(Duration::ZERO, || {
        let taken_in = pipeline.acknowledged(lab);
        let Some(object) = api.object(&pipeline.name) else { return ControlFlow::Continue(()) };
        asked += 1;
        if object.is_drained() {
            yes += 1;
            let out: BTreeSet<u64> = pipeline.written(lab).into_iter().collect();
            let inside: Vec<_> = taken_in.difference(&out).collect();
            assert!(
                inside.is_empty(),
                "{} says it is drained, and {inside:?} are inside: {object}",
                pipeline.name
            );
        }
        if is_over.load(Ordering::Relaxed) { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
    });
    (asked, yes)
}

/// Pauses in the middle of things, again and again.
fn pause_and_resume(up: &Up<'_>, lab: &Lab, pipeline: &Pipeline, rounds: usize) {
    for round in 0..rounds {
        let before = pipeline.acknowledged(lab).len();
        wait::until("a record is inside", || (pipeline.acknowledged(lab).len() > before).then_some(()));
        up.pause(&pipeline.name).unwrap();
        up.until(&pipeline.name, "is drained", drained);
        if round % 2 == 0 {
            up.resume(&pipeline.name).unwrap();
        } else {
            // The manifest says that it runs.
            pipeline.apply(lab, up).unwrap();
        }
    }
}

#[test]
fn drained_is_never_said_while_a_record_is_inside() {
    let lab = Lab::new().unwrap();
    let up = Up::start(&lab).unwrap();
    let (rate, rounds, asked_min) = if is_long() { (1, 20, 10_000) } else { (10, 5, 200) };
    let sink_first = Pipeline::named("sink-first")
        .with("lifecycle: {desiredPhase: Running}")
        .lines(&lab, "out", "", "")
        .map("c", "--delay 60", "")
        .map("b", "--delay 60", "")
        .map("a", "--delay 60", "")
        .numbers(&lab, "in", (1_000_000, rate), "")
        .edge("c", "out")
        .edge("b", "c")
        .edge("a", "b")
        .edge("in", "a");
    let cycle = Pipeline::named("cycle")
        .with("lifecycle: {desiredPhase: Running}")
        .lines(&lab, "out", "", "")
        .map("b", "--delay 40 --rounds 3", "")
        .map("a", "--delay 40", "")
        .numbers(&lab, "in", (1_000_000, rate), "")
        .edge("in", "a")
        .edge("a", "b")
        .edge_if("b", "a", "again")
        .edge_if("b", "out", "done");
    for pipeline in [&sink_first, &cycle] {
        pipeline.apply(&lab, &up).unwrap();
    }
    let is_over = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let polls = [&sink_first, &cycle].map(|pipeline| {
            let (up, lab, is_over) = (&up, &lab, &is_over);
            scope.spawn(move || poll(up, lab, pipeline, is_over))
        });
        let drivers = [&sink_first, &cycle].map(|pipeline| {
            let (up, lab) = (&up, &lab);
            scope.spawn(move || pause_and_resume(up, lab, pipeline, rounds))
        });
        let outcomes = drivers.map(std::thread::ScopedJoinHandle::join);
        is_over.store(true, Ordering::Relaxed);
        for (pipeline, poll) in [&sink_first, &cycle].into_iter().zip(polls) {
            let (asked, yes) = poll.join().unwrap();
            println!("{}: asked {asked} times, {yes} times drained", pipeline.name);
            assert!(asked >= asked_min, "{} was asked only {asked} times", pipeline.name);
            assert!(yes > 0, "{} was never seen drained", pipeline.name);
        }
        for outcome in outcomes {
            outcome.unwrap();
        }
    });
    up.down().unwrap();
}
