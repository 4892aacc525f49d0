//! Single facts about whole objects.

use std::time::Duration;

use api::spec::Phase;
use api::spec::status::DrainReason;
use tidegate_plan::wanted::Deletion;
use tidegate_plan::why::explain;
use tidegate_plan::{Piece, Severity, Time};

use super::place::{Place, TURN_MS, chain};

fn running(lifecycle: &str) -> Place {
    let mut place = Place::new(&chain("{min: 1, max: 3}", lifecycle));
    place.until(10, |plan| plan.phase.to_string() == "Running" && plan.retire.is_empty());
    place.turn();
    place
}

#[test]
fn a_pause_that_is_cut_off_says_how_much_is_left_and_where() {
    let mut place = running("{pauseGracePeriodSeconds: 1}");
    place.stuck = vec!["out".to_owned()];
    place.put("out", 243);
    place.pause(true);
    let plan = place.until(20, |plan| plan.status.phase() == Phase::Paused);
    assert_eq!(plan.phase.to_string(), "Paused (243 left)");
    assert_eq!(plan.status.drained_on_pause(), Some(false));
    let left = &plan.status.drain().unwrap().vertices[0];
    assert_eq!((left.vertex.as_str(), left.partition, left.messages), ("out", Some(0), 243));
    assert_eq!(left.reason, Some(DrainReason::NoWorker));
    assert_eq!(place.workers("out"), 0);
    // A resume brings everything back, and the next pause gets its own verdict.
    place.stuck.clear();
    place.pause(false);
    let plan = place.turn();
    assert!(plan.events.iter().any(|event| event.reason == "Resumed"));
    place.until(20, |_| true);
    for _ in 0..20 {
        place.turn();
    }
    place.pause(true);
    let plan = place.until(20, |plan| plan.status.phase() == Phase::Paused);
    assert_eq!(plan.phase.to_string(), "Paused (drained)");
}

#[test]
fn with_wait_the_verdict_turns_true_by_itself() {
    let mut place = running("{pauseGracePeriodSeconds: 1, onPauseTimeout: wait}");
    place.put("out", 20_000);
    place.pause(true);
    let plan = place.until(20, |plan| plan.status.phase() == Phase::Paused);
    assert_eq!(plan.status.drained_on_pause(), Some(false));
    assert!(place.workers("out") > 0);
    let plan = place.until(2_000, |plan| plan.status.drained_on_pause() == Some(true));
    assert!(plan.events.iter().any(|event| event.reason == "Drained"));
    assert!(plan.status.drain().unwrap().drained_at.is_some());
}

#[test]
fn with_resume_a_pause_that_takes_too_long_is_given_up_until_the_next_edit() {
    let mut place = running("{pauseGracePeriodSeconds: 1, onPauseTimeout: resume}");
    place.stuck = vec!["out".to_owned()];
    place.put("out", 10);
    place.pause(true);
    let plan = place.until(20, |plan| plan.events.iter().any(|event| event.reason == "PauseTimeout"));
    assert_eq!(plan.status.phase(), Phase::Running);
    for _ in 0..40 {
        assert_eq!(place.turn().status.phase(), Phase::Running);
    }
    place.generation += 1;
    assert_eq!(place.turn().status.phase(), Phase::Pausing);
}

#[test]
fn a_drain_names_its_pace_and_how_long_it_takes() {
    let mut place = running("{pauseGracePeriodSeconds: 600}");
    place.put("out", 4_000);
    place.pause(true);
    for _ in 0..12 {
        place.turn();
    }
    let plan = place.turn();
    let text = plan.phase.to_string();
    assert!(text.starts_with("Pausing (draining, 3 ") && text.contains(" left, ~"), "{text}");
    assert!(plan.numbers.drain_estimate.is_some());
    assert_eq!(plan.numbers.drain_left.len(), 1);
}

#[test]
fn a_pause_that_does_not_move_says_why_within_ten_seconds_and_keeps_saying_it() {
    let mut place = running("{pauseGracePeriodSeconds: 600}");
    place.stuck = vec!["cat".to_owned()];
    place.put("cat", 10);
    place.pause(true);
    place.turn();
    place.seen.vertices.get_mut("cat").unwrap().in_hand = 10;
    let turns = (10_000 / TURN_MS) as u32;
    place.until(turns, |plan| plan.waiting.iter().any(|waiting| waiting.reason == "UserCodeHanging"));
    for _ in 0..40 {
        let plan = place.turn();
        assert!(plan.waiting.iter().any(|waiting| waiting.reason == "UserCodeHanging"));
        assert!(plan.numbers.stuck["cat"]);
    }
    let plan = place.turn();
    let findings = explain(&place.wanted(), &place.seen, &plan, place.now);
    assert!(
        findings[0].what.starts_with("vertex cat: 10 messages are left in partition 0: user code has had 10")
    );
}

#[test]
fn an_object_without_faults_has_no_findings() {
    let mut place = running("{}");
    let plan = place.turn();
    assert_eq!(explain(&place.wanted(), &place.seen, &plan, place.now), []);
}

#[test]
fn a_vertex_that_crashes_drains_with_the_version_that_is_applied_while_pausing() {
    let mut place = running("{pauseGracePeriodSeconds: 600}");
    place.put("cat", 100);
    place.stuck = vec!["cat".to_owned()];
    place.fail("cat", "exit code 1");
    place.pause(true);
    place.turn();
    place.fail("cat", "exit code 1");
    place.revise("cat", "r2");
    place.stuck.clear();
    let plan = place.until(200, |plan| plan.status.phase() == Phase::Paused);
    assert_eq!(plan.phase.to_string(), "Paused (drained)");
}

#[test]
fn a_pause_starts_no_worker_of_another_version_and_a_resume_does() {
    let mut place = running("{pauseGracePeriodSeconds: 600}");
    place.stuck = vec!["out".to_owned()];
    place.put("out", 10);
    place.pause(true);
    place.turn();
    place.revise("cat", "r2");
    for _ in 0..40 {
        place.turn();
        assert!(place.names("cat").iter().all(|name| name.revision.as_str() == "r1"));
    }
    place.stuck.clear();
    place.pause(false);
    place.until(200, |plan| {
        plan.phase.to_string() == "Running" && plan.vertices["cat"].current_hash.as_deref() == Some("r2")
    });
}

#[test]
fn a_deletion_waits_for_the_drain_however_long_it_takes() {
    let mut place = running("{deletionGracePeriodSeconds: 1}");
    place.stuck = vec!["out".to_owned()];
    place.put("out", 500);
    place.deletion = Some(Deletion { since: place.now, force: false });
    let plan = place.until(20, |plan| plan.events.iter().any(|event| event.reason == "DeletionWaits"));
    assert!(plan.events[0].message.contains("500 left"), "{:?}", plan.events);
    for _ in 0..100 {
        assert!(!place.turn().ensure.contains(&Piece::Forget));
    }
    place.stuck.clear();
    place.until(100, |plan| plan.ensure.contains(&Piece::Forget));
}

#[test]
fn a_forced_deletion_says_how_many_records_it_drops() {
    let mut place = running("{}");
    place.stuck = vec!["out".to_owned()];
    place.put("out", 10_000);
    place.deletion = Some(Deletion { since: place.now, force: true });
    let is_count = |event: &&tidegate_plan::Event| event.reason == "RecordsDropped";
    let plan = place.until(4, |plan| plan.events.iter().any(|event| is_count(&event)));
    let event = plan.events.iter().find(is_count).unwrap();
    assert_eq!(event.severity, Severity::Warning);
    assert!(event.message.contains("10 000 records"), "{}", event.message);
    assert!(plan.ensure.contains(&Piece::Forget));
}

#[test]
fn another_shape_takes_over_only_when_everything_is_drained() {
    let mut place = running("{}");
    place.put("cat", 300);
    place.flow = 5;
    place.reshape = true;
    let plan = place.turn();
    assert!(plan.phase.to_string().starts_with("Reshaping (draining"), "{}", plan.phase);
    let plan = place.until(200, |plan| plan.ensure.contains(&Piece::Reshape));
    assert_eq!(plan.memory.progress.left(), Some(0));
    let plan = place.until(10, |plan| plan.phase.to_string() == "Running");
    assert!(plan.memory.lifecycle.is_reading());
}

#[test]
fn conditions_keep_their_times_while_their_status_stays() {
    let mut place = running("{}");
    let before = place.turn().status;
    for _ in 0..20 {
        assert_eq!(place.turn().status, before);
    }
}

#[test]
fn fifty_wishes_in_five_seconds_end_with_the_last_one() {
    for seed in 0..40 {
        let mut random = fastrand::Rng::with_seed(seed);
        let mut place = running("{pauseGracePeriodSeconds: 2}");
        place.flow = 20;
        for command in 0..50u32 {
            match random.u8(..4) {
                0 | 1 => place.pause(random.bool()),
                2 => place.revise("cat", &format!("r{command}")),
                _ => place.generation += 1,
            }
            if random.bool() {
                place.turn();
            }
        }
        let paused = random.bool();
        place.pause(paused);
        let wanted = if paused { "Paused" } else { "Running" };
        let works =
            |plan: &tidegate_plan::Plan| plan.vertices.values().all(|status| status.ready_replicas > Some(0));
        place.until(400, |plan| plan.phase.to_string().starts_with(wanted) && (paused || works(plan)));
    }
}

#[test]
fn a_verdict_of_an_earlier_stop_does_not_count() {
    let mut place = running("{pauseGracePeriodSeconds: 600}");
    place.stuck = vec!["out".to_owned()];
    place.put("out", 10);
    place.pause(true);
    place.turn();
    let number = place.memory.lifecycle.number;
    let mut seen = place.seen.clone();
    let drain = seen.drain.get_or_insert_default();
    (drain.drained, drain.sources_stopped, drain.number) = (true, true, Some(number - 1));
    let later = Time::from_millis(place.now.millis() + 100);
    let decide = |seen: &_| tidegate_plan::decide(&place.wanted(), seen, &place.memory, later);
    assert_eq!(decide(&seen).memory.lifecycle.verdict, None);
    seen.drain.as_mut().unwrap().number = Some(number);
    assert!(decide(&seen).memory.lifecycle.verdict.is_some());
}

#[test]
fn a_slow_resume_adds_workers_at_its_pace() {
    let mut place = Place::new(&chain(
        "{min: 1, max: 6, disabled: true}",
        "{pauseGracePeriodSeconds: 600, resume: {strategy: slow, perMinute: 2}}",
    ));
    place.asked.insert(
        "cat".to_owned(),
        tidegate_plan::wanted::Asked { replicas: Some(5), replicas_number: 1, word: None },
    );
    place.until(40, |plan| plan.vertices["cat"].ready_replicas == Some(5));
    place.pause(true);
    place.until(40, |plan| plan.status.phase() == Phase::Paused);
    place.pause(false);
    place.turn();
    place.turn();
    assert_eq!(place.workers("cat"), 1);
    let minute = Duration::from_mins(1).as_millis() as u64 / TURN_MS;
    for _ in 0..=minute {
        place.turn();
    }
    assert_eq!(place.workers("cat"), 3);
    for _ in 0..=minute {
        place.turn();
    }
    assert_eq!(place.workers("cat"), 5);
}
