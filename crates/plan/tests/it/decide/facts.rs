//! Facts about whole objects that no case shows: what stays as it was, and what comes of any order of wishes.

use tidegate_plan::why::explain;

use super::place::{Place, chain};

fn running(lifecycle: &str) -> Place {
    let mut place = Place::new(&chain("{min: 1, max: 3}", lifecycle));
    place.until(10, |plan| plan.phase.to_string() == "Running" && plan.retire.is_empty());
    place.turn();
    place
}

#[test]
fn an_object_without_faults_has_no_findings() {
    let mut place = running("{}");
    let plan = place.turn();
    assert_eq!(explain(&place.wanted(), &place.seen, &plan, place.now), []);
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
