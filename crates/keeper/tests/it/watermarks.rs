//! Watermarks one rule at a time.

use std::time::Duration;

use api::resolve::{IdleSource, Watermark};
use model::{Epoch, Name, Slot, Time, Unit};
use tidegate_keeper::{Hold, Ignored, IgnoredBecause, Keeper, Report, Why};

use crate::made::{SLOT, at, keeper, lies, place, plain, slot, source, source_input, tell, unit};

fn look(keeper: &mut Keeper, time: i64) -> [(Option<Time>, Why); 2] {
    let picture = keeper.pass(at(time));
    ["in", "out"].map(|name| {
        let vertex = &picture.vertices[&Name::new(name)];
        (vertex.watermark, vertex.held_by.clone().expect("time is held by something").why)
    })
}

fn waiting(writer: &str) -> Why {
    Why::Waiting { writer: Name::new(writer) }
}

#[test]
fn time_is_unknown_until_everything_expected_has_spoken() {
    let mut keeper = keeper(plain());
    assert_eq!(look(&mut keeper, 1), [(None, Why::Unreported), (None, Why::Unreported)]);
    tell(&mut keeper, 2, vec![source(0, None), slot(SLOT, 1), slot(Slot::RETRY, 1)]);
    assert_eq!(look(&mut keeper, 3), [(None, Why::NothingRead), (None, Why::NothingRead)]);
    tell(&mut keeper, 4, vec![source(0, Some(100))]);
    assert_eq!(look(&mut keeper, 5), [(Some(at(90)), Why::Latest), (Some(at(90)), Why::Latest)]);
}

#[test]
fn what_lies_in_a_slot_holds_time_back_and_never_turns_it_back() {
    let mut keeper = keeper(plain());
    tell(
        &mut keeper,
        1,
        vec![source(0, Some(100)), lies(slot(SLOT, 1), "in", (60, 1)), slot(Slot::RETRY, 1)],
    );
    assert_eq!(look(&mut keeper, 1)[1], (Some(at(60)), waiting("in")));
    tell(&mut keeper, 2, vec![lies(slot(SLOT, 2), "in", (50, 2))]);
    assert_eq!(look(&mut keeper, 2)[1], (Some(at(60)), waiting("in")));
    tell(&mut keeper, 3, vec![slot(SLOT, 3)]);
    assert_eq!(look(&mut keeper, 3)[1], (Some(at(90)), Why::Latest));
}

#[test]
fn the_promise_of_a_writer_counts_only_behind_everything_it_has_written() {
    let mut keeper = keeper(plain());
    let mut writer = source(0, Some(100));
    writer.written = vec![(place(SLOT), 7)];
    tell(&mut keeper, 1, vec![writer, slot(SLOT, 7), slot(Slot::RETRY, 1)]);
    assert_eq!(look(&mut keeper, 1)[1], (None, Why::Unseen { writer: Name::new("in") }));
    let mut stamped = lies(slot(SLOT, 7), "in", (95, 6));
    let tidegate_keeper::Input::Slot(input) = &mut stamped.input else { unreachable!() };
    input.writers[0].stamp = Some(at(80));
    tell(&mut keeper, 2, vec![stamped]);
    assert_eq!(look(&mut keeper, 2)[1], (Some(at(80)), Why::Unseen { writer: Name::new("in") }));
    // A new owner that has forgotten what was written changes nothing.
    let forgetful = tidegate_keeper::UnitReport { epoch: Epoch(2), ..source(0, Some(100)) };
    tell(&mut keeper, 3, vec![forgetful]);
    assert_eq!(look(&mut keeper, 3)[1].0, Some(at(80)));
    tell(&mut keeper, 4, vec![slot(SLOT, 8)]);
    assert_eq!(look(&mut keeper, 4)[1], (Some(at(90)), Why::Latest));
}

#[test]
fn a_retry_holds_time_back_only_for_so_long() {
    let mut keeper = keeper(plain());
    tell(&mut keeper, 1, vec![slot(SLOT, 1), lies(slot(Slot::RETRY, 1), "out", (20, 1))]);
    let mut least = Vec::new();
    for second in 1..=100 {
        let time = second * 1000;
        tell(&mut keeper, time, vec![source(0, Some(time)), slot(SLOT, 1)]);
        least.push(look(&mut keeper, time)[1].0.unwrap());
    }
    assert!(least[..60].iter().all(|time| *time == at(20)), "{least:?}");
    // Then it is dragged behind: what everything else allowed a minute ago, give or take a point of the history.
    assert!(least[65] >= at(3_990), "{least:?}");
    assert!(least[99] >= at(37_990), "{least:?}");
    assert!(least[99] <= at(39_990), "{least:?}");
    tell(&mut keeper, 100_001, vec![slot(Slot::RETRY, 2)]);
    assert_eq!(look(&mut keeper, 100_001)[1].0, Some(at(99_990)));
}

#[test]
fn a_silent_unit_is_named() {
    let mut keeper = keeper(plain());
    keeper.expect(&Name::new("in"), [0, 1].into());
    tell(
        &mut keeper,
        1,
        vec![source(0, Some(500)), source(1, Some(100)), slot(SLOT, 1), slot(Slot::RETRY, 1)],
    );
    look(&mut keeper, 1);
    tell(&mut keeper, 5_000, vec![source(0, Some(900)), slot(SLOT, 1), slot(Slot::RETRY, 1)]);
    let silent = Hold { unit: unit("in", Unit::Source(1)), why: Why::Silent };
    let picture = keeper.pass(at(5_001));
    assert_eq!(picture.vertices["in"].held_by.as_ref(), Some(&silent));
    assert_eq!(picture.vertices["out"].held_by.as_ref(), Some(&silent));
    assert_eq!(picture.vertices["out"].watermark, Some(at(90)));
}

#[test]
fn a_source_unit_that_is_not_wanted_has_its_say_until_it_has_stopped() {
    let mut keeper = keeper(plain());
    keeper.expect(&Name::new("in"), [0, 1].into());
    tell(&mut keeper, 1, vec![source(0, Some(500)), source(1, Some(100))]);
    keeper.expect(&Name::new("in"), [0].into());
    assert_eq!(look(&mut keeper, 1)[0].0, Some(at(90)));
    let mut stopped = source(1, Some(100));
    source_input(&mut stopped).stopped = true;
    tell(&mut keeper, 2, vec![stopped]);
    assert_eq!(look(&mut keeper, 2)[0].0, Some(at(490)));
}

#[test]
fn an_idle_source_moves_step_by_step_and_never_past_the_moment_it_was_seen() {
    let idle = IdleSource {
        threshold: Duration::from_millis(500),
        increment_by: Duration::from_millis(300),
        step_interval: Duration::from_millis(200),
        init_source_delay: None,
    };
    let mut keeper = keeper(Watermark { idle: Some(idle), ..plain() });
    let idle_unit = |time| {
        let mut unit = source(0, Some(100));
        source_input(&mut unit).empty_at = Some(at(time));
        unit
    };
    tell(&mut keeper, 1_000, vec![source(0, Some(100))]);
    assert_eq!(look(&mut keeper, 1_000)[0], (Some(at(90)), Why::Latest));
    let mut at_each = Vec::new();
    for time in (1_100..=2_900).step_by(100) {
        tell(&mut keeper, time, vec![idle_unit(time)]);
        at_each.push(look(&mut keeper, time)[0].0.unwrap().millis());
    }
    assert_eq!(at_each[..5], [90; 5]);
    assert_eq!(at_each[5..12], [390, 390, 690, 690, 990, 990, 1_290]);
    // No news, no steps.
    assert_eq!(look(&mut keeper, 9_000)[0], (Some(at(2_190)), Why::Silent));
    for time in (9_100..=9_900).step_by(100) {
        tell(&mut keeper, time, vec![idle_unit(time)]);
    }
    assert_eq!(look(&mut keeper, 9_900)[0].0, Some(at(9_900)));
    // Data that is older is late and changes nothing; newer data goes on from there.
    tell(&mut keeper, 9_901, vec![source(0, Some(8_000))]);
    assert_eq!(look(&mut keeper, 9_901)[0].0, Some(at(9_900)));
    tell(&mut keeper, 9_902, vec![source(0, Some(10_000))]);
    assert_eq!(look(&mut keeper, 9_902)[0], (Some(at(9_990)), Why::Latest));
}

#[test]
fn a_source_without_a_first_message_begins_at_the_present_after_its_delay() {
    let idle = |delay: Option<u64>| IdleSource {
        threshold: Duration::from_millis(100),
        increment_by: Duration::from_millis(50),
        step_interval: Duration::ZERO,
        init_source_delay: delay.map(Duration::from_millis),
    };
    for (delay, expected) in [(None, None), (Some(3_000), Some(at(4_000)))] {
        let mut keeper = keeper(Watermark { idle: Some(idle(delay)), ..plain() });
        let mut seen = None;
        for time in [1_000, 1_100, 3_900, 4_000] {
            let mut unit = source(0, None);
            source_input(&mut unit).empty_at = Some(at(time));
            tell(&mut keeper, time, vec![unit]);
            seen = look(&mut keeper, time)[0].0;
        }
        assert_eq!(seen, expected);
    }
}

#[test]
fn only_the_newest_report_of_the_present_owner_counts() {
    let mut keeper = keeper(plain());
    let owned = |epoch, sequence| tidegate_keeper::UnitReport { epoch: Epoch(epoch), ..slot(SLOT, sequence) };
    let mut hear = |number, report: tidegate_keeper::UnitReport| {
        let id = report.unit.clone();
        let ignored = keeper.hear(Report { heard: 0, number, units: vec![report] }, at(0));
        ignored.into_iter().next().map(|Ignored { unit, because }| {
            assert_eq!(unit, id);
            because
        })
    };
    assert_eq!(hear(5, owned(2, 10)), None);
    assert_eq!(hear(5, owned(2, 11)), Some(IgnoredBecause::Older));
    assert_eq!(hear(9, owned(1, 12)), Some(IgnoredBecause::LowerEpoch));
    assert_eq!(hear(6, owned(2, 9)), Some(IgnoredBecause::Backwards));
    assert_eq!(hear(1, owned(3, 10)), None);
    let foreign = Slot { partition: 1, number: 0 };
    assert_eq!(hear(7, slot(foreign, 1)), Some(IgnoredBecause::Unknown));
}

#[test]
fn a_pipeline_without_watermarks_has_none() {
    let mut keeper = keeper(Watermark { enabled: false, ..plain() });
    tell(&mut keeper, 1, vec![source(0, Some(100)), slot(SLOT, 1), slot(Slot::RETRY, 1)]);
    let picture = keeper.pass(at(2));
    assert_eq!(picture.vertices["out"].watermark, None);
    assert_eq!(picture.vertices["out"].held_by, None);
}

#[test]
fn settings_that_change_count_from_the_next_pass_and_take_nothing_back() {
    let mut keeper = keeper(plain());
    let told = |keeper: &mut Keeper, time, latest| {
        let mut idle = source(0, Some(latest));
        source_input(&mut idle).empty_at = Some(at(time));
        tell(keeper, time, vec![idle, slot(SLOT, 1), slot(Slot::RETRY, 1)]);
        look(keeper, time)
    };
    for time in [1_000, 2_000, 3_000] {
        assert_eq!(told(&mut keeper, time, 100), [(Some(at(90)), Why::Latest), (Some(at(90)), Why::Latest)]);
    }
    keeper.set_watermark(Watermark { max_delay: Duration::from_millis(50), ..plain() });
    assert_eq!(told(&mut keeper, 3_100, 120)[1].0, Some(at(90)), "a longer delay takes nothing back");
    assert_eq!(told(&mut keeper, 3_200, 150)[1].0, Some(at(100)), "it counts for what comes");
    let idle = IdleSource {
        threshold: Duration::from_millis(100),
        increment_by: Duration::from_secs(10),
        step_interval: Duration::ZERO,
        init_source_delay: None,
    };
    keeper.set_watermark(Watermark { idle: Some(idle), ..plain() });
    assert_eq!(told(&mut keeper, 3_300, 150)[1], (Some(at(3_300)), Why::Idle), "time goes on without data");
    keeper.set_watermark(Watermark { enabled: false, ..plain() });
    let picture = keeper.pass(at(3_400));
    assert_eq!((picture.vertices["out"].watermark, &picture.vertices["out"].held_by), (None, &None));
    keeper.set_watermark(plain());
    assert_eq!(told(&mut keeper, 3_500, 150)[1].0, Some(at(3_300)), "it goes on from where it stood");
}
