//! Surveys: slots and units of one instant, exactly, also after owners have changed and in the next life.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::Bench;
use super::kit::{
    Crew, Owner, RETRIES_MAX, body, no_error, output, place, slot, slot_unit, source, within, world,
};
use crate::door::buffer::{Buffer, Commit, Passage, Survey, UnitSurvey, WriterSurvey};
use crate::door::{Class, Error};
use crate::{Epoch, Incarnation, Place, Position, Progress, Slot, Time, UnitId};

/// A survey, asked for as often as it takes.
pub(super) async fn try_survey(buffer: &Arc<dyn Buffer>) -> Result<Survey, Error> {
    for _ in 0..RETRIES_MAX {
        match within("survey", buffer.survey()).await {
            Err(error) if error.class() == Class::Retry => tokio::task::yield_now().await,
            other => return other,
        }
    }
    panic!("survey: {RETRIES_MAX} attempts were to be repeated");
}

async fn survey(buffer: &Arc<dyn Buffer>) -> Survey {
    let survey = no_error("survey", try_survey(buffer).await);
    check(&survey);
    survey
}

/// What holds in every survey: it is in order, slots and units agree on what was written, and whoever is said to have
/// written to a slot has frames there.
pub(super) fn check(survey: &Survey) {
    let Survey { slots, units } = survey;
    assert!(
        slots.is_sorted_by(|left, right| left.level.place < right.level.place),
        "each slot once, in order"
    );
    assert!(units.is_sorted_by(|left, right| left.unit < right.unit), "each unit once, in order");
    let mut last: BTreeMap<&Place, u64> = BTreeMap::new();
    for unit in units {
        assert!(unit.written.is_sorted_by(|left, right| left.0 < right.0), "{}: each place once", unit.unit);
        for (place, sequence) in &unit.written {
            let most = last.entry(place).or_default();
            *most = (*most).max(*sequence);
        }
    }
    for slot in slots {
        let (level, place) = (&slot.level, &slot.level.place);
        assert_eq!(level.frames > 0, !slot.writers.is_empty(), "{place}: frames have writers");
        assert!(
            slot.writers.is_sorted_by(|left, right| left.vertex < right.vertex),
            "{place}: each writer once"
        );
        let written = last.remove(place).unwrap_or(0);
        assert!(
            written <= level.last,
            "{place}: frame {written} was written, and {} is the last",
            level.last
        );
        // Of a retry slot the last frame may be settled before others are; and what has been decided and has no number yet
        // may lie behind a last frame that is settled.
        let is_last_unsettled = level.last >= level.progress.position.sequence;
        if level.frames > 0 && place.slot != Slot::RETRY && is_last_unsettled {
            assert_eq!(written, level.last, "{place}: whoever wrote the last frame is known");
        }
    }
    assert!(last.is_empty(), "units write to slots that are there: {last:?}");
}

fn unit<'a>(survey: &'a Survey, id: &UnitId) -> &'a UnitSurvey {
    survey.unit(id).unwrap_or_else(|| panic!("{id} was claimed and is in every survey"))
}

fn lowest(survey: &Survey, place: &Place) -> Vec<(String, i64)> {
    let slot = survey.slot(place).unwrap_or_else(|| panic!("{place} is in every survey"));
    let one = |writer: &WriterSurvey| (writer.vertex.to_string(), writer.lowest.millis());
    slot.writers.iter().map(one).collect()
}

/// Writes one frame with these numbers, which are its event times in milliseconds too, under a stamp.
async fn write(owner: &mut Owner, to: &Place, numbers: &[u64], stamp: Time) -> u64 {
    let outputs = vec![output(&to.vertex, to.slot, body(numbers.iter().copied()))];
    let commit = Commit { stamp, ..owner.next(outputs) };
    owner.commit(commit).await.stored[0].expect("an output that waits is not left out")
}

/// For each vertex that wrote to a slot, the smallest time that its unsettled frames hold back; a frame holds back
/// nothing before its stamp.
pub async fn a_survey_knows_what_each_writer_holds_back(bench: &dyn Bench) {
    let world = world();
    let buffer = bench.open(&world).await;
    assert!(survey(&buffer).await.units.is_empty(), "nobody has claimed anything");
    let to = place("out", slot(0, 0));
    let mut first = Owner::claim(&buffer, &source("in", 0), 1, 1).await;
    let mut second = Owner::claim(&buffer, &source("map", 7), 1, 1).await;
    let mut reader = Owner::claim(&buffer, &slot_unit("out", to.slot), 1, 1).await;
    let at = Time::from_millis;
    let mut stored = Vec::new();
    stored.push(write(&mut first, &to, &[50, 40], at(10)).await);
    stored.push(write(&mut second, &to, &[5], at(30)).await);
    stored.push(write(&mut first, &to, &[20, 90], Time::UNKNOWN).await);
    stored.push(write(&mut first, &to, &[70], at(60)).await);
    let expected: [&[(&str, i64)]; 5] =
        [&[("in", 20), ("map", 30)], &[("in", 20), ("map", 30)], &[("in", 20)], &[("in", 70)], &[]];
    for (settled, expected) in expected.iter().enumerate() {
        if settled > 0 {
            reader.settle_through(stored[settled - 1]).await;
        }
        let found = lowest(&survey(&buffer).await, &to);
        let expected: Vec<_> = expected.iter().map(|(name, time)| ((*name).to_owned(), *time)).collect();
        assert_eq!(found, expected, "after {settled} frames were settled");
    }
}

/// The same for frames of the retry slot, which are settled in any order.
pub async fn a_survey_knows_what_is_left_of_a_retry_slot(bench: &dyn Bench) {
    let world = world();
    let buffer = bench.open(&world).await;
    let to = place("map", Slot::RETRY);
    let mut writer = Owner::claim(&buffer, &slot_unit("map", slot(0, 0)), 1, 1).await;
    let mut retry = Owner::claim(&buffer, &slot_unit("map", Slot::RETRY), 1, 1).await;
    let mut stored = Vec::new();
    for time in [30, 10, 20, 10] {
        let out = output("map", Slot::RETRY, body([time]));
        let outputs = vec![crate::door::buffer::Output { passage: Passage::Around, ..out }];
        let progress = writer.progress.clone();
        let commit = Commit { outputs, progress, stamp: Time::UNKNOWN, ..Commit::default() };
        stored.extend(writer.commit(commit).await.stored[0]);
    }
    let first = Position { sequence: stored[0], index: 0 };
    let mut steps = vec![(Vec::new(), 10), (vec![stored[1]], 10), (vec![stored[1], stored[3]], 20)];
    steps.push((vec![stored[1], stored[2], stored[3]], 30));
    for (above, least) in steps {
        retry.settle(Progress { position: first, above }).await;
        assert_eq!(lowest(&survey(&buffer).await, &to), [("map".to_owned(), least)]);
    }
    let buffer = {
        drop((writer, retry, buffer));
        bench.restart().await
    };
    assert_eq!(lowest(&survey(&buffer).await, &to), [("map".to_owned(), 30)], "in the next life too");
}

/// Epoch, owner and what a unit has written go on across owners; places where something is left are known in the next
/// life.
pub async fn a_survey_knows_owners_and_what_units_have_written(bench: &dyn Bench) {
    let world = world();
    let buffer = bench.open(&world).await;
    let (id, near, far) = (source("in", 0), place("map", slot(0, 0)), place("out", slot(1, 1)));
    let mut former = Owner::claim(&buffer, &id, 1, 3).await;
    write(&mut former, &near, &[1], Time::UNKNOWN).await;
    let far_first = write(&mut former, &far, &[2], Time::UNKNOWN).await;
    let mut owner = Owner::claim(&buffer, &id, 2, 5).await;
    let near_last = write(&mut owner, &near, &[3], Time::UNKNOWN).await;
    let found = unit(&survey(&buffer).await, &id).clone();
    assert_eq!((found.epoch, found.owner), (Epoch(5), Some(Incarnation(2))));
    assert_eq!(found.written, [(near.clone(), near_last), (far.clone(), far_first)]);
    owner.release().await;
    let found = unit(&survey(&buffer).await, &id).clone();
    assert_eq!((found.epoch, found.owner), (Epoch(5), None), "a release leaves the epoch");
    let mut reader = Owner::claim(&buffer, &slot_unit("map", near.slot), 1, 1).await;
    reader.settle_through(near_last).await;
    let before = survey(&buffer).await;
    drop((former, reader, buffer));
    let buffer = bench.restart().await;
    let after = survey(&buffer).await;
    assert_eq!(after.slots, before.slots);
    let found = unit(&after, &id);
    assert_eq!((found.epoch, found.owner), (Epoch(5), None));
    assert!(found.written.contains(&(far, far_first)), "something is left there");
    let near = found.written.iter().find(|(place, _)| *place == near);
    assert!(near.is_none_or(|(_, sequence)| *sequence == near_last), "nothing wrong is said of the other");
}

/// One message goes from slot to slot through the commits of several units. Every survey finds it in exactly one
/// place, and every frame that it became is known to have been written.
pub async fn a_survey_is_of_one_instant(bench: &dyn Bench) {
    const ROUNDS: u64 = 60;
    let world = world();
    let buffer = bench.open(&world).await;
    let ring = [("map", slot(0, 0)), ("out", slot(1, 0)), ("side", slot(0, 1))];
    let mut writer = Owner::claim(&buffer, &source("in", 0), 1, 1).await;
    writer.write(vec![output(ring[0].0, ring[0].1, body([1]))]).await;
    let mut owners = Vec::new();
    for (vertex, slot) in ring {
        owners.push(Owner::claim(&buffer, &slot_unit(vertex, slot), 1, 1).await);
    }
    let (done, mut ended) = tokio::sync::oneshot::channel();
    let mut crew = Crew::default();
    crew.spawn(async move {
        for round in 0..ROUNDS {
            for at in 0..ring.len() {
                let (vertex, slot) = ring[(at + 1) % ring.len()];
                let sequence = owners[at].read_frames(1).await[0].sequence;
                let mut next = output(vertex, slot, body([round]));
                next.passage = Passage::Around;
                let progress = Progress::to(Position::after(sequence));
                owners[at].commit(Commit { outputs: vec![next], progress, ..Commit::default() }).await;
            }
        }
        assert!(done.send(()).is_ok(), "the case waits for it");
    });
    within("the message goes round", async {
        while ended.try_recv().is_err() {
            let survey = survey(&buffer).await;
            let total: u64 = survey.slots.iter().map(|slot| slot.level.messages).sum();
            assert_eq!(total, 1, "the one message is somewhere");
            crew.look();
            tokio::task::yield_now().await;
        }
    })
    .await;
    crew.join("the message has gone round").await;
}
