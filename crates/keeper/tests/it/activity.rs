//! Pending, idle, progressing, stuck and drained.

use model::{Name, Slot, Unit};
use tidegate_keeper::{Board, Keeper, Reason, Report, State, UnitReport};

use crate::made::{SLOT, at, keeper, lies, place, plain, slot, source, source_input, tell, unit};

fn quiet(mut report: UnitReport) -> UnitReport {
    source_input(&mut report).empty_at = Some(at(1));
    report
}

fn states(keeper: &mut Keeper, time: i64) -> (State, State) {
    let picture = keeper.pass(at(time));
    (picture.vertices["in"].state.clone(), picture.vertices["out"].state.clone())
}

fn work() -> UnitReport {
    lies(slot(SLOT, 1), "in", (5, 1))
}

fn stuck(slot: Slot, since: i64, reason: Reason) -> State {
    State::Stuck { unit: unit("out", Unit::Slot(slot)), since: at(since), reason }
}

#[test]
fn idle_is_polled_and_empty() {
    let mut keeper = keeper(plain());
    tell(&mut keeper, 1, vec![source(0, None), slot(SLOT, 1), slot(Slot::RETRY, 1)]);
    assert_eq!(states(&mut keeper, 1), (State::Progressing, State::Idle));
    tell(&mut keeper, 2, vec![quiet(source(0, None))]);
    assert_eq!(states(&mut keeper, 2), (State::Idle, State::Idle));
    tell(&mut keeper, 3, vec![quiet(source(0, None)), work()]);
    assert_eq!(states(&mut keeper, 3), (State::Idle, State::Progressing));
    let picture = keeper.pass(at(3));
    assert_eq!((picture.vertices["out"].pending, picture.vertices["in"].outside), (1, None));
}

#[test]
fn work_that_does_not_go_on_is_stuck_and_says_why() {
    let mut keeper = keeper(plain());
    let others = || vec![quiet(source(0, None)), slot(Slot::RETRY, 1)];
    let tell_with = |keeper: &mut Keeper, time, report| {
        let mut units = others();
        units.push(report);
        tell(keeper, time, units);
    };
    // An hour of nothing to do is no standstill.
    tell_with(&mut keeper, 1_000, slot(SLOT, 1));
    for time in [3_600_000, 3_605_000, 3_607_999] {
        tell_with(&mut keeper, time, UnitReport { in_hand: 1, ..work() });
        assert_eq!(states(&mut keeper, time).1, State::Progressing);
    }
    tell_with(&mut keeper, 3_608_000, UnitReport { in_hand: 1, ..work() });
    let hanging = stuck(SLOT, 3_600_000, Reason::InHand { messages: 1 });
    assert_eq!(states(&mut keeper, 3_608_000).1, hanging);
    tell_with(&mut keeper, 3_611_000, work());
    assert_eq!(states(&mut keeper, 3_611_000).1, stuck(SLOT, 3_600_000, Reason::Unread { messages: 1 }));
    tell_with(&mut keeper, 3_612_000, UnitReport { held: false, ..work() });
    assert_eq!(states(&mut keeper, 3_612_000).1, stuck(SLOT, 3_600_000, Reason::NoOwner));
    assert_eq!(states(&mut keeper, 3_617_000).1, stuck(SLOT, 3_600_000, Reason::Silent));
    tell_with(&mut keeper, 3_618_000, lies(slot(SLOT, 2), "in", (5, 2)));
    assert_eq!(states(&mut keeper, 3_618_000).1, State::Progressing);
}

#[test]
fn a_retry_that_is_not_due_is_not_stuck() {
    let mut keeper = keeper(plain());
    let retry =
        |rests_until| UnitReport { rests_until, in_hand: 1, ..lies(slot(Slot::RETRY, 1), "out", (5, 1)) };
    for time in [1_000, 21_000] {
        tell(&mut keeper, time, vec![source(0, None), slot(SLOT, 1), retry(Some(at(30_000)))]);
        assert_eq!(states(&mut keeper, time).1, State::Progressing);
    }
    tell(&mut keeper, 40_000, vec![slot(SLOT, 1), retry(Some(at(30_000)))]);
    assert_eq!(states(&mut keeper, 40_000).1, stuck(Slot::RETRY, 30_000, Reason::InHand { messages: 1 }));
}

#[test]
fn who_waits_for_room_is_stuck_behind_the_vertex_that_takes_nothing() {
    let mut keeper = keeper(plain());
    for time in [1_000, 11_000] {
        let full = UnitReport { in_hand: 3, ..source(0, Some(5)) };
        let hanging = UnitReport { in_hand: 1, ..work() };
        tell(&mut keeper, time, vec![full, hanging, slot(Slot::RETRY, 1)]);
        keeper.pass(at(time));
    }
    let (above, below) = states(&mut keeper, 11_000);
    assert_eq!(below, stuck(SLOT, 1_000, Reason::InHand { messages: 1 }));
    let reason = Reason::Behind { vertex: Name::new("out") };
    assert_eq!(above, State::Stuck { unit: unit("in", Unit::Source(0)), since: at(1_000), reason });
}

#[test]
fn units_that_nobody_speaks_of_are_stuck_after_a_while() {
    let mut keeper = keeper(plain());
    assert_eq!(states(&mut keeper, 1_000).1, State::Progressing);
    let silent = State::Stuck { unit: unit("in", Unit::Source(0)), since: at(1_000), reason: Reason::Silent };
    assert_eq!(states(&mut keeper, 11_000).0, silent);
}

fn stopped() -> UnitReport {
    let mut report = quiet(source(0, Some(5)));
    source_input(&mut report).stopped = true;
    report
}

/// One report and one pass; whether everything is drained.
fn drained(keeper: &mut Keeper, (number, heard): (u64, u64), units: Vec<UnitReport>) -> bool {
    let time = at(number as i64);
    assert_eq!(keeper.hear(Report { heard, number, units }, time), []);
    keeper.pass(time).drained
}

#[test]
fn drained_takes_two_looks_the_second_wholly_after_the_first() {
    let mut keeper = keeper(plain());
    let empty = || vec![stopped(), slot(SLOT, 1), slot(Slot::RETRY, 1)];
    assert!(!drained(&mut keeper, (1, 0), empty()));
    assert!(!drained(&mut keeper, (2, 0), empty()), "the reporter had not seen the first look");
    assert!(!drained(&mut keeper, (3, 1), empty()[1..].to_vec()), "one unit was not heard again");
    assert!(drained(&mut keeper, (4, 1), empty()));
}

#[test]
fn anything_inside_or_running_keeps_it_from_being_drained() {
    let mut unseen = stopped();
    unseen.written = vec![(place(SLOT), 4)];
    let cases = [
        vec![source(0, Some(5)), slot(SLOT, 1), slot(Slot::RETRY, 1)],
        vec![stopped(), work(), slot(Slot::RETRY, 1)],
        vec![stopped(), slot(SLOT, 1), lies(slot(Slot::RETRY, 1), "out", (5, 1))],
        vec![stopped(), UnitReport { in_hand: 1, ..slot(SLOT, 1) }, slot(Slot::RETRY, 1)],
        vec![stopped(), slot(SLOT, 1)],
        vec![unseen, slot(SLOT, 1), slot(Slot::RETRY, 1)],
    ];
    for (number, units) in cases.into_iter().enumerate() {
        let mut keeper = keeper(plain());
        for turn in 1..5 {
            assert!(!drained(&mut keeper, (turn, turn - 1), units.clone()), "case {number}");
        }
    }
}

#[test]
fn what_came_and_went_between_two_looks_starts_them_over() {
    let mut keeper = keeper(plain());
    let look = |done| vec![stopped(), UnitReport { done, ..slot(SLOT, 1 + done) }, slot(Slot::RETRY, 1)];
    assert!(!drained(&mut keeper, (1, 0), look(0)));
    assert!(!drained(&mut keeper, (2, 1), look(7)));
    assert!(drained(&mut keeper, (3, 2), look(7)));
}

#[test]
fn a_board_shows_the_last_picture_to_everybody() {
    let board = Board::new(keeper(plain()));
    let watching = board.watch();
    assert_eq!(board.picture().number, 0);
    board.hear(Report { heard: 0, number: 1, units: vec![source(0, Some(100))] }, at(1));
    assert_eq!(board.pass(at(1)).vertices["in"].watermark, Some(at(90)));
    assert_eq!((board.picture().number, watching.borrow().number), (1, 1));
}
