//! What ends a wait, and what a drain says.

use plan::Time;
use platform::view::{Object, Vertex};
use serde_json::json;

use super::{Pace, judge};
use crate::args::site::Goal;
use crate::exit::Exit;

fn object(phase: &str) -> Object {
    let vertex = Vertex { name: "cat".to_owned(), ready: 1, desired: 1, ..Vertex::default() };
    Object { phase: phase.to_owned(), vertices: vec![vertex], generation: 2, ..Object::default() }
}

#[test]
fn every_phase_has_one_verdict_for_every_goal() {
    for (phase, goal, verdict) in [
        ("Running", Goal::Running, Some(Exit::Done)),
        ("Rolling out (1/2)", Goal::Running, None),
        ("Paused (drained)", Goal::Running, None),
        ("Failed (no program)", Goal::Running, Some(Exit::GivenUp)),
        ("Pausing (draining)", Goal::Paused, None),
        ("Paused (243 left)", Goal::Paused, Some(Exit::Done)),
        ("Paused (243 left)", Goal::Drained, Some(Exit::Left)),
        ("Paused (drained)", Goal::Drained, Some(Exit::Done)),
        ("Pausing (drained, workers stop)", Goal::Drained, None),
        ("Rolled back (never ready)", Goal::RolledOut, Some(Exit::GivenUp)),
        ("Rolling out (1/2)", Goal::RolledOut, None),
        ("Running", Goal::RolledOut, Some(Exit::Done)),
        ("Running", Goal::Idle, None),
        ("Deleting (draining)", Goal::Gone, None),
        ("Failed (no program)", Goal::Gone, None),
    ] {
        assert_eq!(judge(&object(phase), goal), verdict, "{phase} {goal:?}");
    }
}

#[test]
fn what_was_seen_before_the_last_edit_is_no_verdict() {
    let mut object = object("Running");
    object.status = json!({"observedGeneration": 1});
    assert_eq!(judge(&object, Goal::RolledOut), None);
    object.status = json!({"observedGeneration": 2});
    assert_eq!(judge(&object, Goal::RolledOut), Some(Exit::Done));
    object.vertices[0].ready = 0;
    assert_eq!(judge(&object, Goal::RolledOut), None);
}

#[test]
fn a_drain_says_what_is_left_where_how_fast_and_how_long() {
    let mut pace = Pace::default();
    let mut object = object("Pausing (draining)");
    for (second, pending) in [(0, [1_500, 500]), (1, [1_300, 500]), (2, [1_100, 500])] {
        object.as_of = Time::from_millis(second * 1_000);
        object.vertices[0].pending = Some(pending.to_vec());
        pace.look(&object);
    }
    assert_eq!(
        pace.lines(&object),
        ["cat 1 600 left (partition 0: 1 100, partition 1: 500), 200/s, about 8 s"]
    );
    object.phase = "Running".to_owned();
    assert!(pace.lines(&object).is_empty());
}
