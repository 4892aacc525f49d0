//! What the load asks for: each rule with the sentence that it says.

use tidegate_plan::scale::{Decision, Downstream, History, Input, Load, Memory, Phase, Sample, replicas};

use super::world::{Place, at, settings};

/// The moment of the decisions; looks are every ten seconds before that.
const NOW: u64 = 600;

/// A vertex that was seen to do so many a second for two minutes, with so much waiting at the start and the end.
#[derive(Clone)]
struct Seen {
    place: Place,
    scale: &'static str,
    more: &'static str,
    replicas: u32,
    rate: f64,
    waiting: (u64, u64),
    changed: u64,
    downstream: Vec<Downstream>,
    units: Option<u32>,
}

impl Seen {
    fn decide(&self) -> Decision {
        let (settings, lifecycle) = settings(self.place, self.scale, self.more);
        let mut history = History::default();
        for step in 0..=12u32 {
            let (first, last) = (self.waiting.0 as f64, self.waiting.1 as f64);
            let waiting = (last - first).mul_add(f64::from(step) / 12.0, first) as u64;
            history.push(Sample {
                at: at(NOW - 120 + u64::from(step) * 10),
                ready: self.replicas,
                processed: Some((self.rate * f64::from(step) * 10.0) as u64),
                waiting: Some(vec![waiting]),
                in_hand: 0,
            });
        }
        let memory =
            Memory { replicas: Some(self.replicas), raised: Some(at(self.changed)), ..Memory::default() };
        let load = Load { history: &history, downstream: &self.downstream, units: self.units };
        let input = Input {
            settings: &settings,
            lifecycle: &lifecycle,
            phase: Phase::Running,
            hand: None,
            frozen: None,
            load,
            memory: &memory,
        };
        replicas(&input, at(NOW))
    }
}

fn seen(replicas: u32, rate: f64, waiting: (u64, u64)) -> Seen {
    Seen {
        place: Place::Source,
        scale: "",
        more: "",
        replicas,
        rate,
        waiting,
        changed: 0,
        downstream: Vec::new(),
        units: None,
    }
}

fn full(direct: bool, drops: bool, used_percent: f64, age: u64) -> Vec<Downstream> {
    vec![Downstream { vertex: "out".to_owned(), direct, drops, used_percent, at: at(NOW - age) }]
}

fn check(table: &[(Seen, u32, &str)]) {
    for (seen, replicas, reason) in table {
        let decision = seen.decide();
        assert_eq!((decision.replicas, decision.reason.as_str()), (*replicas, *reason));
    }
}

#[test]
fn a_backlog_asks_for_as_many_as_work_it_off_in_the_target_time() {
    let backlog = seen(2, 200.0, (12_000, 12_000));
    let steps = "replicasPerScaleUp: 50";
    check(&[
        (
            backlog.clone(),
            4,
            "up from 2 to 4 (6 in the end): 12000 pending take 60 s with 2 at 100/s each, and 20 s is the target",
        ),
        (
            Seen { scale: steps, ..backlog.clone() },
            6,
            "up from 2 to 6: 12000 pending take 60 s with 2 at 100/s each, and 20 s is the target",
        ),
        (
            Seen { place: Place::MonoVertex, scale: "max: 3", ..backlog.clone() },
            3,
            "up from 2 to 3 (6 in the end): 12000 pending take 60 s with 2 at 100/s each, and 20 s is the target",
        ),
        (
            Seen { units: Some(3), ..backlog.clone() },
            3,
            "up from 2 to 3 (6 in the end): 12000 pending take 60 s with 2 at 100/s each, and 20 s is the target",
        ),
        (
            Seen { changed: NOW - 89, ..backlog.clone() },
            2,
            "stays at 2: it changed a moment ago; then up, since 12000 pending take 60 s with 2 at 100/s each, and 20 s \
             is the target",
        ),
        // At the target there is no backlog that more would be needed for, but for what lies there already.
        (
            seen(2, 200.0, (4000, 4000)),
            3,
            "up from 2 to 3: 4000 pending and 200/s coming in, where a worker does 100/s",
        ),
    ]);
}

#[test]
fn numbers_out_of_all_proportion_stay_within_a_step() {
    let most = i64::MAX as u64;
    for rate in [1.0, 1e-3 + 0.01, 1e12] {
        for waiting in [most, u64::MAX] {
            let decision = seen(2, rate, (waiting, waiting)).decide();
            assert_eq!(decision.replicas, 4, "{rate} {waiting}: {}", decision.reason);
        }
    }
}

#[test]
fn a_backlog_at_rate_zero_is_held_and_said() {
    let decision = seen(3, 0.0, (500, 500)).decide();
    assert_eq!((decision.replicas, decision.warning.as_ref()), (3, Some(&decision.reason)));
    assert_eq!(decision.reason, "stays at 3: 500 messages are pending and none was finished");
}

#[test]
fn nothing_to_do_goes_down_by_steps() {
    check(&[
        (
            seen(5, 0.0, (0, 0)),
            3,
            "down from 5 to 3 (0 in the end): nothing came for 120 s and nothing is pending",
        ),
        (
            Seen { scale: "min: 4", ..seen(5, 0.0, (0, 0)) },
            4,
            "down from 5 to 4: nothing came for 120 s and nothing is pending",
        ),
        (
            Seen { scale: "min: 5", ..seen(5, 0.0, (0, 0)) },
            5,
            "stays at 5: nothing came for 120 s and nothing is pending",
        ),
        (
            Seen { scale: "lookbackSeconds: 300", ..seen(5, 0.0, (0, 0)) },
            5,
            "stays at 5: idle, but not yet for 300 s",
        ),
        (seen(5, 3.5, (0, 0)), 3, "down from 5 to 3 (1 in the end): nothing is pending at 3.5/s"),
        (
            Seen { changed: NOW - 60, ..seen(5, 3.5, (0, 0)) },
            5,
            "stays at 5: it changed a moment ago; then down, since nothing is pending at 3.5/s",
        ),
    ]);
}

#[test]
fn a_buffer_that_fills_up_asks_for_more_than_time_does() {
    let map = |waiting| Seen { place: Place::Map, ..seen(2, 2000.0, (waiting, waiting)) };
    check(&[
        (
            Seen { scale: "replicasPerScaleUp: 9", ..map(16_000) },
            4,
            "up from 2 to 4: 16000 wait in a partition, 53 %, and 50 % should be free",
        ),
        (
            Seen { scale: "replicasPerScaleUp: 9", ..map(24_000) },
            11,
            "up from 2 to 11: the buffer is full: 24000 wait in a partition, 80 %",
        ),
        // Below the zone that should be free, time counts.
        (map(14_000), 3, "up from 2 to 3: 14000 pending and 2000/s coming in, where a worker does 1000/s"),
    ]);
}

#[test]
fn whoever_waits_for_somebody_downstream_does_not_grow() {
    let backlog = |downstream| Seen { downstream, ..seen(3, 300.0, (30_000, 30_000)) };
    let up = "up from 3 to 5 (15 in the end): 30000 pending take 100 s with 3 at 100/s each, and 20 s is the target";
    check(&[
        (backlog(full(true, false, 92.0, 1)), 2, "down from 3 to 2: `out`, which it writes to, is 92 % full"),
        (backlog(full(false, false, 92.0, 1)), 3, "stays at 3: `out` further down is 92 % full"),
        (
            Seen { scale: "min: 3", ..backlog(full(true, false, 92.0, 1)) },
            3,
            "stays at 3: `out`, which it writes to, is 92 % full",
        ),
        (backlog(full(true, false, 89.0, 1)), 5, up),
        // An edge that drops does not press, and what was long ago does not either.
        (backlog(full(true, true, 100.0, 1)), 5, up),
        (backlog(full(true, false, 100.0, 61)), 5, up),
    ]);
}

#[test]
fn a_rate_limit_is_no_lack_of_workers() {
    let limited = Seen { more: ", limits: {rateLimit: {max: 200}}", ..seen(2, 200.0, (12_000, 12_000)) };
    check(&[(limited, 2, "stays at 2: 200/s is what its rate limit of 200/s allows")]);
}

#[test]
fn what_nobody_knows_holds() {
    let look = |sample: Sample, replicas_now: u32| {
        let (settings, lifecycle) = settings(Place::Source, "", "");
        let mut history = History::default();
        history.push(sample);
        let memory = Memory { replicas: Some(replicas_now), raised: Some(at(0)), ..Memory::default() };
        let load = Load { history: &history, downstream: &[], units: None };
        let (phase, hand, frozen) = (Phase::Running, None, None);
        let input =
            Input { settings: &settings, lifecycle: &lifecycle, phase, hand, frozen, load, memory: &memory };
        let decision = replicas(&input, at(NOW));
        (decision.replicas, decision.reason)
    };
    let sample = Sample { at: at(NOW), ready: 2, processed: Some(5), waiting: Some(vec![1]), in_hand: 0 };
    let table = [
        (Sample { at: at(NOW - 61), ..sample.clone() }, "stays at 2: nothing was observed for 61 s"),
        (Sample { ready: 0, ..sample.clone() }, "stays at 2: no worker is ready"),
        (Sample { waiting: None, ..sample.clone() }, "stays at 2: it is not known how much is pending"),
        (sample, "stays at 2: observed for 0 s since the last change, 10 s are needed"),
    ];
    for (sample, reason) in table {
        assert_eq!(look(sample, 2), (2, reason.to_owned()));
    }
}

#[test]
fn a_decision_is_written_as_plain_values_and_read_back() {
    let decision = seen(2, 200.0, (12_000, 12_000)).decide();
    let written = serde_json::to_value(&decision).unwrap();
    assert_eq!(written["rule"], "load");
    assert_eq!(written["memory"]["learned"]["capacity"]["perWorker"], 100.0);
    assert_eq!(written["memory"]["raised"], at(NOW).millis());
    assert_eq!(serde_json::from_value::<Decision>(written).unwrap(), decision);
    // A memory of an earlier time that lacks fields is read as one that knows nothing of them.
    assert_eq!(serde_json::from_str::<Memory>("{}").unwrap(), Memory::default());
}
