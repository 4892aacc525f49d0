//! Who may begin how much, when several want to.

use super::*;

/// A throttle that gives so many messages in every second, from this one on.
fn giving(messages: u64) -> Throttle {
    let rate = Rate { max: messages, min: messages, ramp_up: Duration::from_secs(1), mode: Mode::Relaxed };
    let throttle = Throttle::new(rate, Clock::start_at(Duration::from_millis(1_250)));
    throttle.give(Part { members: 1, place: 0 }, Begin::AtOnce);
    throttle
}

/// What a gate may begin of so many, and has begun then.
fn begins(gate: &Gate, wanted: usize) -> usize {
    let may = gate.may(wanted);
    gate.begin(may as u64);
    may
}

#[tokio::test(start_paused = true)]
async fn nothing_begins_before_there_is_a_part() {
    let rate = Rate { max: 7, min: 7, ramp_up: Duration::from_secs(1), mode: Mode::Relaxed };
    let throttle = Throttle::new(rate, Clock::start_at(Duration::from_millis(1_250)));
    let gate = throttle.gate();
    assert_eq!(gate.may(10), 0);
    throttle.give(Part { members: 2, place: 0 }, Begin::NextSecond);
    assert_eq!(gate.may(10), 0, "the others have had this second");
    let (one, other) = (gate.more(), async {
        gate.more().await;
        gate.may(10)
    });
    drop(one);
    assert!([3, 4].contains(&other.await));
    // Another part at once is one for the next second too.
    throttle.give(Part { members: 1, place: 0 }, Begin::AtOnce);
    assert!(gate.may(10) <= 4);
    gate.more().await;
    assert_eq!(gate.may(10), 7);
}

#[tokio::test(start_paused = true)]
async fn who_is_alone_may_have_everything_and_what_is_not_begun_is_still_there() {
    let throttle = giving(10);
    let gate = throttle.gate();
    assert_eq!((gate.may(4), gate.may(100)), (4, 10));
    assert_eq!((begins(&gate, 6), begins(&gate, 6), begins(&gate, 6)), (6, 4, 0));
    gate.more().await;
    assert_eq!(begins(&gate, 100), 10);
}

#[tokio::test(start_paused = true)]
async fn those_who_wait_get_as_much_each() {
    let throttle = giving(10);
    let gates: Vec<_> = (0..4).map(|_| throttle.gate()).collect();
    assert_eq!(begins(&gates[0], 100), 10);
    assert!(gates.iter().all(|gate| gate.may(100) == 0));
    gates[0].more().await;
    let begun: Vec<_> = gates.iter().rev().map(|gate| begins(gate, 100)).collect();
    assert_eq!(begun, [3, 3, 2, 2]);
}

#[tokio::test(start_paused = true)]
async fn when_there_is_too_little_for_all_they_take_turns() {
    let throttle = giving(2);
    let gates: Vec<_> = (0..5).map(|_| throttle.gate()).collect();
    let mut begun = [0; 5];
    for _ in 0..10 {
        gates[0].more().await;
        // The same ones are always the quickest.
        for (gate, begun) in gates.iter().zip(&mut begun) {
            *begun += begins(gate, 100);
        }
        for (gate, begun) in gates.iter().zip(&mut begun) {
            *begun += begins(gate, 100);
        }
    }
    assert_eq!(begun.iter().sum::<usize>(), 20);
    assert!(begun.iter().all(|count| (3..=6).contains(count)), "{begun:?}");
}

#[tokio::test(start_paused = true)]
async fn who_leaves_the_line_stands_in_nobodys_way() {
    let throttle = giving(1);
    let (first, second, third) = (throttle.gate(), throttle.gate(), throttle.gate());
    assert_eq!(begins(&first, 1), 1);
    assert_eq!((second.may(1), third.may(1)), (0, 0));
    second.leave();
    first.more().await;
    assert_eq!(begins(&third, 1), 1);
    assert_eq!((second.may(1), third.may(1)), (0, 0));
    drop(second);
    third.more().await;
    assert_eq!(begins(&third, 1), 1);
}

#[tokio::test(start_paused = true)]
async fn what_begins_beyond_what_may_is_made_up_for() {
    let throttle = giving(10);
    let gate = throttle.gate();
    gate.begin(25);
    // The demand of the first second finds what is owed.
    assert_eq!(gate.may(100), 0);
    gate.more().await;
    assert_eq!(gate.may(100), 0);
    gate.more().await;
    assert_eq!(gate.may(100), 5);
}
