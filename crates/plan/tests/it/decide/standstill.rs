//! Workers before, during and after a standstill: what a drain asks for counts, and nobody waits for what is gone.

use std::collections::BTreeSet;

use tidegate_plan::seen::{WorkerName, WorkerState};
use tidegate_plan::{Piece, Plan};

use super::place::Place;

/// A pipeline whose middle vertex has so many workers and that update strategy.
fn running(workers: u32, update: &str) -> Place {
    let mut place = Place::new(&format!(
        "
apiVersion: numaflow.numaproj.io/v1alpha1
kind: Pipeline
metadata: {{name: p}}
spec:
  lifecycle: {{pauseGracePeriodSeconds: 600}}
  vertices:
    - {{name: in, source: {{generator: {{}}}}}}
    - name: cat
      udf: {{container: {{image: cat}}}}
      scale: {{min: {workers}, max: {workers}}}
      updateStrategy: {update}
    - {{name: out, sink: {{log: {{}}}}}}
  edges: [{{from: in, to: cat}}, {{from: cat, to: out}}]
"
    ));
    place.until(60, |plan| plan.phase.to_string() == "Running" && plan.retire.is_empty());
    place.until(60, |plan| plan.memory.vertices["cat"].rollout.rollout.is_none());
    place
}

fn wanted(plan: &Plan) -> BTreeSet<WorkerName> {
    let of_cat = |piece: &Piece| match piece {
        Piece::Worker { vertex, name } if vertex == "cat" => Some(name.clone()),
        _ => None,
    };
    plan.ensure.iter().filter_map(of_cat).collect()
}

fn set(place: &mut Place, revision: &str, state: &WorkerState) {
    let (vertex, now) = (place.seen.vertices.get_mut("cat").expect("the pipeline has it"), place.now);
    for (name, worker) in &mut vertex.workers {
        if name.revision.to_string() == revision {
            (worker.state, worker.since) = (state.clone(), now);
        }
    }
}

#[test]
fn a_worker_that_a_drain_asked_for_serves_on_after_it() {
    let mut place = running(1, "{rollingUpdate: {maxSurge: 0, maxUnavailable: 1}}");
    set(&mut place, "r1", &WorkerState::Stopping);
    assert_eq!(wanted(&place.turn()), BTreeSet::new());
    place.put("cat", 1_000_000);
    place.pause(true);
    let asked = wanted(&place.turn());
    assert_eq!(asked.len(), 1);
    set(&mut place, "r1", &WorkerState::Ready);
    place.turn();
    place.pause(false);
    let plan = place.turn();
    assert_eq!((wanted(&plan), plan.retire), (asked, vec![]));
}

#[test]
fn a_vertex_drains_with_a_version_that_is_given_work() {
    let mut place = running(1, "{type: BlueGreen, blueGreen: {autoPromote: false}}");
    place.revise("cat", "r2");
    for _ in 0..4 {
        place.turn();
    }
    assert_eq!(place.workers("cat"), 2);
    set(&mut place, "r1", &WorkerState::Stopping);
    place.turn();
    place.put("cat", 1_000_000);
    place.pause(true);
    let plan = place.turn();
    let shares = &plan.memory.vertices["cat"].shares;
    assert!(wanted(&plan).iter().any(|name| shares.contains_key(&name.revision)), "{shares:?}");
}

#[test]
fn a_smaller_count_that_was_set_during_a_pause_counts_at_once() {
    let mut place = running(4, "{type: Canary, canary: {steps: [{setWeight: 100}, {pause: {}}]}}");
    place.revise("cat", "r2");
    for _ in 0..6 {
        place.turn();
    }
    assert_eq!(place.workers("cat"), 8);
    place.pause(true);
    place.until(20, |plan| plan.phase.to_string() == "Paused (drained)");
    let scale = &mut place.settings.vertices[1].scale;
    (scale.min, scale.max) = (2, 2);
    place.pause(false);
    assert_eq!(wanted(&place.turn()).len(), 4);
}

#[test]
fn after_a_pause_nobody_waits_for_workers_that_are_gone() {
    for update in [
        "{type: Recreate}",
        "{rollingUpdate: {maxSurge: 0, maxUnavailable: 1}}",
        "{type: BlueGreen}",
        "{type: Canary, canary: {steps: [{setWeight: 50}]}}",
    ] {
        let mut place = running(2, update);
        place.pause(true);
        place.until(20, |plan| plan.phase.to_string() == "Paused (drained)");
        for edit in 0..3 {
            place.revise("cat", &format!("r1{edit}"));
            place.turn();
        }
        place.pause(false);
        let plan = place.turn();
        assert!(!wanted(&plan).is_empty(), "{update}: {:?}", plan.waiting);
        assert_eq!(place.workers("cat"), wanted(&plan).len(), "{update}");
    }
}

#[test]
fn workers_that_a_pause_sent_away_take_nobodys_place() {
    let mut place = running(2, "{rollingUpdate: {maxSurge: 0, maxUnavailable: 1}}");
    place.pause(true);
    let gone = place.until(20, |plan| !plan.retire.is_empty()).retire;
    // They take their time.
    place.seen.vertices.get_mut("cat").unwrap().workers.extend(
        gone.into_iter().filter(|(vertex, _)| vertex == "cat").map(|(_, name)| {
            let (state, since) = (WorkerState::Stopping, place.now);
            (name, tidegate_plan::seen::Worker { state, since, holds: 0, restarts: 0 })
        }),
    );
    assert_eq!(place.workers("cat"), 2);
    let kept = place.seen.clone();
    place.turn();
    place.seen = kept;
    place.pause(false);
    assert_eq!(wanted(&place.turn()).len(), 2);
}
