//! The pause grid: whatever the bounds, the autoscaler, the counts and the load, a pause ends drained and a resume brings
//! the counts back.

use api::spec::Phase;
use tidegate_plan::wanted::Asked;

use super::place::{Place, chain};

/// What comes in, per turn.
const NEVER: u64 = 0;
const TRICKLE: u64 = 1;
const FLOOD: u64 = 400;

#[test]
fn every_cell_of_the_pause_grid_drains_and_resumes() {
    let mut cells = 0;
    for min in [None, Some(0), Some(1), Some(3)] {
        for max in [None, Some(0), Some(1), Some(3), Some(6)] {
            if min.unwrap_or(0) > max.unwrap_or(50) {
                continue;
            }
            for flow in [NEVER, TRICKLE, FLOOD] {
                for disabled in [false, true] {
                    for zero in [None, Some("in"), Some("cat"), Some("out")] {
                        cell((min, max), flow, disabled, zero);
                        cells += 1;
                    }
                }
            }
        }
    }
    assert_eq!(cells, 408);
}

fn cell((min, max): (Option<u32>, Option<u32>), flow: u64, disabled: bool, zero: Option<&str>) {
    let name = format!("min {min:?} max {max:?} flow {flow} disabled {disabled} zero {zero:?}");
    let field =
        |name: &str, value: Option<u32>| value.map(|value| format!("{name}: {value}, ")).unwrap_or_default();
    let scale = format!("{{{}{}disabled: {disabled}}}", field("min", min), field("max", max));
    let mut place = Place::new(&chain(&scale, "{pauseGracePeriodSeconds: 600}"));
    place.flow = flow;
    if let Some(vertex) = zero {
        place.asked.insert(vertex.to_owned(), Asked { replicas: Some(0), replicas_number: 1, word: None });
    }
    for _ in 0..8 {
        place.turn();
    }
    if flow > 0 {
        // Whatever the counts let through, something is inside when the pause begins.
        place.put("cat", 30);
        place.put("out", 30);
    }
    place.turn();
    let before = ["in", "cat", "out"].map(|vertex| place.workers(vertex));
    place.pause(true);
    let plan = place.until(400, |plan| plan.status.phase() == Phase::Paused);
    assert_eq!(plan.status.drained_on_pause(), Some(true), "{name}");
    assert_eq!(plan.phase.to_string(), "Paused (drained)", "{name}");
    assert_eq!(["in", "cat", "out"].map(|vertex| place.workers(vertex)), [0; 3], "{name}");
    let inside: u64 = ["cat", "out"]
        .iter()
        .filter_map(|vertex| place.seen.vertices[*vertex].pending.clone())
        .flatten()
        .sum();
    assert_eq!(inside, 0, "{name}");
    place.flow = 0;
    place.pause(false);
    place.turn();
    place.turn();
    let after = ["in", "cat", "out"].map(|vertex| place.workers(vertex));
    let by_load = zero.filter(|_| !disabled);
    for (place, vertex) in ["in", "cat", "out"].into_iter().enumerate() {
        // The autoscaler may look at once at what waits where somebody had set a count of zero.
        assert!(after[place] == before[place] || by_load == Some(vertex), "{name}: {before:?} {after:?}");
    }
    assert!(place.reading, "{name}");
}
