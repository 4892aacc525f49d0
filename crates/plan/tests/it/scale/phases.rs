//! Lifecycle, resume, hand, clock and bounds: each rule with the sentence that it says.

use std::time::Duration;

use api::resolve::{Lifecycle, VertexSettings};
use api::spec::ResumeStrategy;
use tidegate_plan::Time;
use tidegate_plan::scale::{Decision, Hand, History, Input, Load, Memory, Phase, Rule, Sample, replicas};

use super::world::{Place, at, settings};

/// A vertex with a count, and so much waiting in it.
struct Case {
    settings: VertexSettings,
    lifecycle: Lifecycle,
    phase: Phase,
    hand: Option<Hand>,
    frozen: Option<&'static str>,
    history: History,
    memory: Memory,
}

impl Case {
    fn new(place: Place, scale: &str, replicas: u32, waiting: u64) -> Self {
        let (settings, lifecycle) = settings(place, scale, "");
        let mut history = History::default();
        history.push(Sample {
            at: at(0),
            waiting: Some(vec![waiting]),
            processed: Some(0),
            ready: replicas,
            in_hand: 0,
        });
        let memory = Memory { replicas: Some(replicas), raised: Some(at(0)), ..Memory::default() };
        let (phase, hand, frozen) = (Phase::Running, None, None);
        Self { settings, lifecycle, phase, hand, frozen, history, memory }
    }

    fn drains(self) -> Self {
        Self { phase: Phase::Draining { wake: false }, ..self }
    }

    fn turn(&mut self, now: Time) -> Decision {
        let load = Load { history: &self.history, downstream: &[], units: None };
        let Self { settings, lifecycle, phase, hand, frozen, memory, .. } = &*self;
        let input = Input { settings, lifecycle, phase: *phase, hand: *hand, frozen: *frozen, load, memory };
        let decision = replicas(&input, now);
        self.memory = decision.memory.clone();
        decision
    }

    fn says(&mut self, seconds: u64) -> (u32, String) {
        let decision = self.turn(at(seconds));
        (decision.replicas, decision.reason)
    }
}

fn said(replicas: u32, reason: &str) -> (u32, String) {
    (replicas, reason.to_owned())
}

#[test]
fn draining_takes_nothing_away_and_wakes_whoever_has_something_to_do() {
    let drain = |scale: &str, replicas, waiting| Case::new(Place::Map, scale, replicas, waiting).drains();
    let table = [
        (drain("", 0, 0), said(0, "draining: nothing waits here, so the 0 that are there stay")),
        (drain("min: 3", 3, 0), said(3, "draining: nothing waits here, so the 3 that are there stay")),
        (drain("", 0, 7), said(1, "draining: 7 messages are left, so one worker is woken")),
        (drain("disabled: true", 0, 7), said(1, "draining: 7 messages are left, so one worker is woken")),
        (
            drain("min: 0, max: 0, disabled: true", 0, 7),
            said(1, "draining: 7 messages are left, so one worker is woken"),
        ),
        (drain("", 2, 7), said(2, "draining: 7 messages are left, and 2 work on it")),
        (drain("min: 0, max: 0", 0, 7), said(0, "draining: 7 messages are left, but `scale.max` is 0")),
    ];
    for (mut case, expected) in table {
        assert_eq!(case.says(10), expected);
    }
    let mut case = Case { phase: Phase::Draining { wake: true }, ..Case::new(Place::Map, "", 0, 0) };
    assert_eq!(case.says(10), said(1, "draining: it must report, so one worker is woken"));
    let mut case = drain("max: 0", 0, 7);
    let warning = case.turn(at(1)).warning;
    assert_eq!(
        warning.as_deref(),
        Some("7 messages are left, and `scale.max` is 0: it cannot drain until `scale.max` is raised")
    );
}

#[test]
fn what_waits_outside_of_a_source_is_not_drained() {
    let mut case = Case::new(Place::Source, "", 0, 5000).drains();
    assert_eq!(case.says(10), said(0, "draining: nothing waits here, so the 0 that are there stay"));
    let mut case = Case::new(Place::MonoVertex, "", 2, 5000).drains();
    let in_hand = Sample { at: at(1), ready: 2, processed: Some(0), waiting: Some(vec![5000]), in_hand: 9 };
    case.history.push(in_hand);
    assert_eq!(case.says(10), said(2, "draining: 9 messages are left, and 2 work on it"));
}

#[test]
fn a_pause_stops_all_and_a_fast_resume_starts_as_many_as_before() {
    for (scale, before) in [("", 7), ("min: 2, max: 9", 7), ("disabled: true", 70)] {
        let mut case = Case::new(Place::Map, scale, before, 0).drains();
        case.turn(at(10));
        case.phase = Phase::Stopped;
        assert_eq!(case.says(20), said(0, "no worker is wanted: it is stopped"));
        assert_eq!(case.says(30).0, 0);
        case.phase = Phase::Running;
        assert_eq!(case.says(40), said(before, &format!("resumed with the {before} from before the pause")));
        assert_eq!(case.says(50).0, before);
    }
    // Made while it was paused: it starts as if it had been made when it was resumed.
    let mut case = Case { memory: Memory::default(), ..Case::new(Place::Source, "min: 2", 0, 0) };
    for (phase, expected) in [(Phase::Draining { wake: false }, 0), (Phase::Stopped, 0), (Phase::Running, 2)]
    {
        case.phase = phase;
        assert_eq!(case.says(10).0, expected, "{phase:?}");
    }
    // Bounds that changed while it was paused hold.
    let mut case = Case { phase: Phase::Stopped, ..Case::new(Place::Map, "max: 5", 9, 0) };
    case.turn(at(1));
    case.phase = Phase::Running;
    assert_eq!(case.says(2), said(5, "resumed with the 9 from before the pause"));
}

#[test]
fn a_slow_resume_adds_so_many_each_minute_and_a_pause_in_between_forgets_nothing() {
    let mut case = Case { phase: Phase::Stopped, ..Case::new(Place::Map, "min: 2, max: 9", 9, 0) };
    case.lifecycle.resume = ResumeStrategy::Slow;
    case.lifecycle.resume_replicas_per_minute = 3;
    case.turn(at(0));
    case.phase = Phase::Running;
    let reason = "resuming slowly: from 2 to 9, 3 more each minute";
    for (seconds, expected) in [(100, 2), (159, 2), (160, 5), (219, 5), (220, 8), (279, 8)] {
        assert_eq!(case.says(seconds), said(expected, reason), "after {seconds} s");
    }
    assert_eq!(case.turn(at(279)).look_again, Some(at(280)));
    case.phase = Phase::Stopped;
    case.turn(at(280));
    case.phase = Phase::Running;
    assert_eq!(case.says(300), said(2, reason));
    assert_eq!(case.says(420).0, 8);
    assert_eq!(case.says(480).0, 9);
    assert_eq!(case.memory.ramp, None);
}

#[test]
fn a_request_by_hand_counts_once_and_within_the_bounds() {
    let hand = |replicas, number| Some(Hand { replicas, number });
    let mut case = Case::new(Place::Map, "max: 6", 3, 0);
    case.hand = hand(20, 1);
    assert_eq!(case.says(1), said(6, "20 were asked for by hand, and `scale` allows 0 to 6"));
    assert_eq!(case.turn(at(2)).rule, Rule::Load);
    case.hand = hand(0, 2);
    assert_eq!(case.says(3), said(0, "0 were asked for by hand"));
    assert_eq!(case.says(4), said(0, "stays at 0: nothing is pending"));
    // A look that is late brings an earlier request.
    case.hand = hand(5, 1);
    assert_eq!(case.says(5).0, 0);
    let mut case = Case::new(Place::Map, "disabled: true, max: 6", 3, 0);
    assert_eq!(
        case.says(1),
        said(3, "`scale.disabled` is set, so the count stays until somebody changes it")
    );
    case.hand = hand(20, 1);
    assert_eq!(case.says(2), said(20, "20 were asked for by hand"));
    assert_eq!(case.says(9000), said(20, "as asked for by hand; `scale.disabled` is set"));
}

#[test]
fn the_clock_sets_bounds_even_beyond_those_of_scale() {
    // The first of January 2026 is a Thursday; the test begins at midnight.
    let scale = "min: 1, max: 4, cron: {timezone: Asia/Tokyo, schedules: [{start: 0 0 10 * * *, end: 0 0 11 * * *, \
                 min: 6, max: 8}, {start: 0 0 11 * * *, end: 0 0 12 * * *, min: 0, max: 0}]}";
    let mut case = Case::new(Place::Source, scale, 2, 5);
    let before = case.turn(at(3599));
    assert_eq!((before.replicas, before.look_again), (2, Some(at(3600))));
    let reason = "the schedule from `0 0 10 * * *` to `0 0 11 * * *` allows 6 to 8, and there were 2";
    assert_eq!(case.says(3600), said(6, reason));
    assert_eq!(case.says(7199).0, 6);
    let closed = case.turn(at(7200));
    assert_eq!((closed.replicas, closed.rule), (0, Rule::Bounds));
    let warning = "5 messages wait, and the schedule from `0 0 11 * * *` to `0 0 12 * * *` allows no worker: raise its `max`";
    assert_eq!(closed.warning.as_deref(), Some(warning));
    // A pause is not kept from working by the clock.
    let phase = Phase::Draining { wake: true };
    let memory = case.memory.clone();
    let mut draining = Case { phase, memory, ..Case::new(Place::Source, scale, 0, 5) };
    assert_eq!(draining.says(7201).0, 1);
    assert_eq!(case.says(10_800), said(1, "`scale` allows 1 to 4, and there were 0"));
}

#[test]
fn partitions_fix_the_count_of_ordered_and_reduce_vertices() {
    let (settings, _) = settings(Place::Map, "", ", partitions: 5, ordered: {enabled: true}");
    let mut case = Case { settings, ..Case::new(Place::Map, "", 1, 3) };
    case.hand = Some(Hand { replicas: 2, number: 1 });
    assert_eq!(case.says(1), said(5, "one for each of the 5 partitions"));
    case.phase = Phase::Draining { wake: false };
    assert_eq!(
        case.says(2),
        said(5, "draining: 3 messages are left, and each of the 5 partitions has its own")
    );
    case.phase = Phase::Stopped;
    assert_eq!(case.says(3).0, 0);
    case.phase = Phase::Running;
    assert_eq!(case.says(4).0, 5);
}

#[test]
fn bounds_hold_at_once() {
    let mut case = Case::new(Place::Map, "min: 2, max: 4", 9, 0);
    assert_eq!(case.says(1), said(4, "`scale` allows 2 to 4, and there were 9"));
    let mut case = Case::new(Place::Map, "min: 3, max: 3", 3, 0);
    assert_eq!(case.says(1), said(3, "`scale` allows 3 and no other number"));
    let mut case = Case { frozen: Some("a step of the rollout waits"), ..Case::new(Place::Map, "", 0, 9) };
    assert_eq!(case.says(1), said(0, "stays at 0: a step of the rollout waits"));
}

#[test]
fn a_source_at_zero_is_woken_after_its_sleep_or_by_what_is_pending() {
    let mut case = Case::new(Place::Source, "zeroReplicaSleepSeconds: 30", 0, 0);
    case.memory.lowered = Some(at(0));
    let asleep = case.turn(at(29));
    assert_eq!((asleep.replicas, asleep.reason.as_str()), (0, "stays at 0: the source sleeps"));
    assert_eq!(asleep.look_again, Some(at(0).after(Duration::from_secs(30))));
    assert_eq!(case.says(30), said(1, "woken: it is time to look whether the source has something"));
    let mut case = Case::new(Place::Source, "zeroReplicaSleepSeconds: 30", 0, 4);
    assert_eq!(case.says(1), said(1, "woken: 4 messages are pending"));
}
