//! Updates nobody notices: rolling, by canary, blue-green, taken back by themselves, under load and without a gap.

use std::time::Duration;

use e2e::lab::{Lab, is_long};
use e2e::manifest::map_command;
use e2e::object::Object;
use e2e::sampler::{Sample, Sampler, assert_capacity};
use e2e::up::Up;
use e2e::wait;

use crate::rollout::{ENDLESS, begin, marks, numbers, rolled_back, rolled_out};

/// The most that a version other than `old` was seen to have done.
fn most(samples: &[Sample], old: &str, signal: &str) -> u64 {
    let versions = samples.iter().flat_map(|sample| sample.object.versions("cat"));
    versions
        .filter(|version| version.revision() != old)
        .map(|version| version.signal(signal))
        .max()
        .unwrap_or(0)
}

#[test]
fn a_rolling_update_keeps_its_capacity_and_loses_nothing() {
    let lab = Lab::new().unwrap();
    let up = Up::start(&lab).unwrap();
    let count = if is_long() { 20_000 } else { 16_000 };
    let strategy = "minReadySeconds: 1, rollingUpdate: {maxUnavailable: 1, maxSurge: 1}";
    let pipeline = numbers(&lab, ("four", 4), (count, 1_000), "--mark v1", strategy);
    let old = begin(&lab, &up, &pipeline);
    let sampler = Sampler::start(&up, "four");
    up.set_exec("four", "cat", &map_command("--mark v2")).unwrap();
    up.until("four", "has new workers only", |object| {
        let workers = object.workers("cat");
        (workers.len() == 4 && workers.iter().all(|worker| worker.revision != old)).then_some(())
    });
    assert!(
        (pipeline.acknowledged(&lab).len() as u64) < count,
        "the load ended before the workers were replaced"
    );
    let after = rolled_out(&up, "four", &old);
    let samples = sampler.stop();
    assert_capacity(&samples, "cat", 3, 5);
    assert_eq!(after.ready("cat"), 4);
    wait::until("everything is out", || (pipeline.written(&lab).len() as u64 >= count).then_some(()));
    assert_eq!(pipeline.assert_exact(&lab, &up, |_| false), [0; 0]);
    assert_eq!(pipeline.written(&lab), (0..count).collect::<Vec<_>>());
    assert_eq!(pipeline.repeated(&lab), 0, "graceful hand-overs repeat nothing");
    for mark in ["v1", "v2"] {
        assert!(marks(&lab, &pipeline, mark) > 0, "{mark} had no record");
    }
    up.down().unwrap();
}

#[test]
fn a_single_worker_is_replaced_without_a_dark_moment() {
    let lab = Lab::new().unwrap();
    let up = Up::start(&lab).unwrap();
    let pipeline = numbers(
        &lab,
        ("one", 1),
        (ENDLESS, 500),
        "--mark v1",
        "minReadySeconds: 1, rollingUpdate: {maxSurge: 1}",
    );
    let old = begin(&lab, &up, &pipeline);
    let sampler = Sampler::start(&up, "one");
    up.set_exec("one", "cat", &map_command("--mark v2 --slow-start 500")).unwrap();
    let new = rolled_out(&up, "one", &old).only_version("cat").unwrap();
    // Words on the command line: back to the version before, and fresh processes of the same version.
    up.must(&["rollout", "undo", "one", "--vertex", "cat"]).unwrap();
    let back = rolled_out(&up, "one", &new);
    assert_eq!(
        back.only_version("cat").as_deref(),
        Some(old.as_str()),
        "undo goes back to the version before"
    );
    assert_capacity(&sampler.stop(), "cat", 1, 2);
    pipeline.assert_exact(&lab, &up, |_| false);
    assert_eq!(pipeline.repeated(&lab), 0);
    up.down().unwrap();
}

#[test]
fn bad_versions_are_taken_back_by_themselves_with_their_reasons() {
    let lab = Lab::new().unwrap();
    let up = Up::start(&lab).unwrap();
    let strategy = "minReadySeconds: 3, progressDeadlineSeconds: 6, analysis: {minRecords: 50}, \
                    rollingUpdate: {maxUnavailable: 0, maxSurge: 1}";
    let bad = [
        ("exits", "--exit 3", 300, ""),
        ("never-ready", "--never-ready", 300, "no progress"),
        ("fails", "--fail 20", 300, "errors"),
        ("panics", "--panic 20", 300, ""),
        ("drops", "--drop 5", 800, "dropped"),
    ];
    let pipelines: Vec<_> = bad
        .iter()
        .map(|(name, _, rate, _)| numbers(&lab, (name, 2), (ENDLESS, *rate), "--mark v1", strategy))
        .collect();
    let olds: Vec<_> = pipelines.iter().map(|pipeline| begin(&lab, &up, pipeline)).collect();
    let samplers: Vec<_> = pipelines.iter().map(|pipeline| Sampler::start(&up, &pipeline.name)).collect();
    for (name, arguments, _, _) in bad {
        up.set_exec(name, "cat", &map_command(arguments)).unwrap();
    }
    let mut samples = Vec::new();
    for (((name, _, _, reason), sampler), old) in bad.iter().zip(samplers).zip(&olds) {
        let object = rolled_back(&up, name, old, "rolled back");
        println!("{name}: {}", object.rollout("cat"));
        assert!(object.phase().starts_with("Rolled back"), "{name}: {}", object.phase());
        assert!(object.rollout("cat").contains(reason), "{name}: {}", object.rollout("cat"));
        let history = up.history(name, "cat");
        assert_eq!(history.len(), 2, "{name}: {history:?}");
        assert_eq!(
            (history[0].1.as_str(), history[1].1.as_str()),
            ("Serving", "Failed"),
            "{name}: {history:?}"
        );
        assert!(
            !history[1].2.is_empty() && object.rollout("cat").contains(&history[1].2),
            "{name}: {history:?}"
        );
        let events = up.events(name).unwrap();
        assert!(events.iter().any(|event| event.starts_with("Warning RolledBack")), "{name}: {events:#?}");
        samples.push(sampler.stop());
    }
    for (((name, _, _, _), pipeline), samples) in bad.iter().zip(&pipelines).zip(&samples) {
        assert_capacity(samples, "cat", 2, 3);
        let drops = *name == "drops";
        let missing = pipeline.assert_exact(&lab, &up, |_| drops).len() as u64;
        let counted = dropped(&up, name);
        assert_eq!(
            missing, counted,
            "{name}: what user code dropped is counted, and nothing else is missing"
        );
        assert_eq!(missing > 0, drops, "{name}");
        assert_eq!(pipeline.repeated(&lab), 0, "{name}");
    }
    up.down().unwrap();
}

/// What user code has dropped on purpose, by the metrics.
fn dropped(up: &Up<'_>, name: &str) -> u64 {
    let page = up.api().metrics().unwrap();
    let lines = page.lines().filter(|line| line.starts_with("forwarder_ud_drop_total{"));
    let own = lines.filter(|line| line.contains(&format!("\"{name}\"")) && line.contains("vertex=\"cat\""));
    own.map(|line| line.rsplit(' ').next().unwrap().parse::<f64>().unwrap() as u64).sum()
}

#[test]
fn a_canary_gets_its_share_and_is_promoted_by_word() {
    let lab = Lab::new().unwrap();
    let up = Up::start(&lab).unwrap();
    let strategy = "type: Canary, minReadySeconds: 1, canary: {steps: [{setWeight: 25}, {pause: {}}]}";
    let pipeline = numbers(&lab, ("share", 4), (ENDLESS, 1_000), "--mark v1", strategy);
    let old = begin(&lab, &up, &pipeline);
    let sampler = Sampler::start(&up, "share");
    up.set_exec("share", "cat", &map_command("--mark v2")).unwrap();
    let frames = |object: &Object| {
        let of = |is_old: bool| -> u64 {
            let versions = object.versions("cat").into_iter().filter(|one| (one.revision() == old) == is_old);
            versions.map(|version| version.signal("frames")).sum()
        };
        (of(false), of(true))
    };
    let first = up.until("share", "waits for a word", |object| {
        object.waits().contains(&"RolloutPaused".to_owned()).then(|| frames(object))
    });
    let enough = if is_long() { 10_000 } else { 1_500 };
    let last = up.until("share", "has had enough frames", |object| {
        let (canary, stable) = frames(object);
        (canary + stable >= first.0 + first.1 + enough).then_some((canary, stable))
    });
    let (canary, stable) = (last.0 - first.0, last.1 - first.1);
    let share = canary as f64 / (canary + stable) as f64;
    println!("{canary} of {} frames, {share:.3}", canary + stable);
    assert!((0.20..=0.30).contains(&share), "the canary had {share:.3} of the frames instead of 0.25");
    up.must(&["rollout", "promote", "share"]).unwrap();
    rolled_out(&up, "share", &old);
    let samples = sampler.stop();
    // Stable keeps its capacity, and the surge pays for the trial.
    assert_capacity(&samples, "cat", 3, 5);
    pipeline.assert_exact(&lab, &up, |_| false);
    assert_eq!(pipeline.repeated(&lab), 0);
    up.down().unwrap();
}

#[test]
fn a_failed_canary_leaves_nothing_behind_and_silence_is_no_pass() {
    let lab = Lab::new().unwrap();
    let up = Up::start(&lab).unwrap();
    let steps = "canary: {steps: [{setWeight: 25}, {analysis: {for: 2s}}]}";
    let strategy = format!("type: Canary, minReadySeconds: 1, analysis: {{minRecords: 50}}, {steps}");
    let fails = numbers(&lab, ("fails", 4), (ENDLESS, 500), "--mark v1", &strategy);
    let silent = numbers(&lab, ("silent", 2), (0, 1), "--mark v1", &strategy);
    let old = begin(&lab, &up, &fails);
    silent.apply(&lab, &up).unwrap();
    let silent_old = up.proved("silent").only_version("cat").unwrap();
    let sampler = Sampler::start(&up, "fails");
    up.set_exec("fails", "cat", &map_command("--mark v2 --fail 20")).unwrap();
    up.set_exec("silent", "cat", &map_command("--mark v2")).unwrap();

    let back = rolled_back(&up, "fails", &old, "rolled back");
    println!("{}", back.rollout("cat"));
    assert!(back.rollout("cat").contains("errors"), "{}", back.rollout("cat"));
    let samples = sampler.stop();
    assert!(most(&samples, &old, "frames") > 0, "the canary never had work");
    assert_capacity(&samples, "cat", 4, 5);
    fails.assert_exact(&lab, &up, |_| false);
    assert_eq!(fails.repeated(&lab), 0);

    let waits = |object: &Object| object.waits().contains(&"InsufficientData".to_owned());
    let since = up.until("silent", "waits for data", |object| waits(object).then(|| object.as_of()));
    up.until("silent", "has waited for longer", |object| {
        assert!(waits(object), "{object}");
        (object.as_of() > since + 2_000).then_some(())
    });
    up.must(&["rollout", "promote", "silent", "--full"]).unwrap();
    rolled_out(&up, "silent", &silent_old);
    up.down().unwrap();
}

#[test]
fn blue_green_switches_at_one_instant_and_is_taken_back() {
    let lab = Lab::new().unwrap();
    let up = Up::start(&lab).unwrap();
    let strategy = |keep: u32| {
        let blue_green = format!("blueGreen: {{previewSeconds: 2, keepOldSeconds: {keep}}}");
        format!("type: BlueGreen, minReadySeconds: 1, analysis: {{minRecords: 50}}, {blue_green}")
    };
    let good = numbers(&lab, ("good", 3), (ENDLESS, 500), "--mark v1", &strategy(3));
    let bad = numbers(&lab, ("bad", 3), (ENDLESS, 500), "--mark v1", &strategy(60));
    let olds = [&good, &bad].map(|pipeline| begin(&lab, &up, pipeline));
    let samplers = ["good", "bad"].map(|name| Sampler::start(&up, name));
    up.set_exec("good", "cat", &map_command("--mark v2")).unwrap();
    up.set_exec("bad", "cat", &map_command("--mark v2 --fail 20")).unwrap();
    let back = rolled_back(&up, "bad", &olds[1], "rolled back");
    println!("{}", back.rollout("cat"));
    rolled_out(&up, "good", &olds[0]);
    let [good_samples, bad_samples] = samplers.map(Sampler::stop);
    for (samples, old) in [(&good_samples, &olds[0]), (&bad_samples, &olds[1])] {
        assert_switch(samples, old);
        assert_capacity(samples, "cat", 3, 6);
    }
    assert!(most(&bad_samples, &olds[1], "read") > 0, "the bad version never had work");
    for pipeline in [&good, &bad] {
        pipeline.assert_exact(&lab, &up, |_| false);
        assert_eq!(pipeline.repeated(&lab), 0);
    }
    up.down().unwrap();
}

/// Asserts that at each moment one version had everything, and that a version without work had none.
fn assert_switch(samples: &[Sample], old: &str) {
    let mut beside = Duration::ZERO;
    for pair in samples.windows(2) {
        let versions = pair[0].object.versions("cat");
        for version in &versions {
            let weight = version.weight();
            assert!(weight == 0 || weight == 100, "a version has {weight} %: {:#}", version.0);
        }
        let green = versions.iter().find(|version| version.revision() != old);
        let waiting = green.is_some_and(|green| green.workers().len() == 3 && green.weight() == 0);
        if waiting && versions.iter().any(|version| version.revision() == old && version.weight() == 100) {
            beside += pair[1].at - pair[0].at;
        }
        let is_before = samples[0].at == pair[0].at || green.is_some_and(|green| green.signal("read") == 0);
        if let Some(green) = green.filter(|green| is_before && green.weight() == 0) {
            let holds: u64 = green.workers().iter().filter_map(|worker| worker["holds"].as_u64()).sum();
            assert_eq!(holds, 0, "green owns something before the switch: {:#}", green.0);
        }
    }
    assert!(beside >= Duration::from_secs(1), "green was complete beside blue for only {beside:?}");
}
