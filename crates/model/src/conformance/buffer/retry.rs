//! Messages that go back into a full retry slot: the unit that reads it goes on for ever, everybody else waits for it.
//!
//! A full retry slot can be emptied by its own reader alone. A commit of that reader that puts back as much as it takes
//! out must have room; were it to wait, nothing would ever be freed.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use super::Bench;
use super::kit::{Crew, Owner, body, level, numbers, output, slot, slot_unit, source, within, world};
use crate::door::buffer::{Buffer, Commit, Output, Passage, VertexSettings};
use crate::{Position, Progress, Slot, Time, Unit, UnitId};

/// Messages of one partition of `map`; what goes round may use twice as many.
const LIMIT: u64 = 6;
/// How often each message is sent back.
const ROUNDS: u64 = 5;

fn narrow() -> Vec<VertexSettings> {
    let mut world = world();
    world[1].messages_max = LIMIT;
    world
}

fn back(number: u64) -> Output {
    Output { passage: Passage::Around, ..output("map", Slot::RETRY, body([number])) }
}

fn retry_unit() -> UnitId {
    UnitId { vertex: "map".into(), unit: Unit::Slot(Slot::RETRY) }
}

/// Moves a slot past a frame, and sends a message back.
fn sending_back(through: u64, number: u64) -> Commit {
    let progress = Progress::to(Position::after(through));
    Commit { outputs: vec![back(number)], progress, ids: Vec::new(), stamp: Time::MIN }
}

/// Fills the retry slot through a slot of its vertex. Gives the owner of that slot.
async fn filled(buffer: &Arc<dyn Buffer>, map: &VertexSettings) -> Owner {
    let mut writer = Owner::claim(buffer, &source("in", 0), 1, 1).await;
    let mut reader = Owner::claim(buffer, &slot_unit("map", slot(0, 0)), 1, 1).await;
    for number in 0..2 * LIMIT {
        let through = writer.write(vec![output("map", slot(0, 0), body([number]))]).await[0];
        reader.commit(sending_back(through, number)).await;
    }
    assert_eq!(level(buffer, map, Slot::RETRY).await.messages, 2 * LIMIT);
    reader
}

/// The oldest message goes to the end, again and again.
pub async fn a_message_that_is_sent_back_again_does_not_wait_for_itself(bench: &dyn Bench) {
    let world = narrow();
    let buffer = bench.open(&world).await;
    drop(filled(&buffer, &world[1]).await);
    let mut retry = Owner::claim(&buffer, &retry_unit(), 1, 1).await;
    let (mut seen, mut frames) = (Vec::new(), Vec::new());
    for _ in 0..ROUNDS * 2 * LIMIT {
        if frames.is_empty() {
            frames = retry.read(1 << 20).await;
            frames.reverse();
        }
        let frame = frames.pop().expect("a read gives a frame");
        let number = numbers(&frame, Slot::RETRY)[0];
        seen.push(number);
        retry.commit(sending_back(frame.sequence, number)).await;
        assert_eq!(level(&buffer, &world[1], Slot::RETRY).await.messages, 2 * LIMIT);
    }
    let rounds = (0..ROUNDS).flat_map(|_| 0..2 * LIMIT);
    assert!(seen.iter().copied().eq(rounds), "each in its turn, once in a round: {seen:?}");
}

/// A message above the oldest goes to the end while the oldest waits.
pub async fn messages_sent_back_out_of_order_do_not_wait_for_themselves(bench: &dyn Bench) {
    let world = narrow();
    let buffer = bench.open(&world).await;
    drop(filled(&buffer, &world[1]).await);
    let mut retry = Owner::claim(&buffer, &retry_unit(), 1, 1).await;
    let mut frames = Vec::new();
    let mut above = Vec::new();
    for _ in 0..ROUNDS * 2 * LIMIT {
        while frames.len() < 2 {
            frames.extend(retry.read(1 << 20).await);
        }
        let frame = frames.remove(1);
        above.push(frame.sequence);
        let position = Position { sequence: frames[0].sequence, index: 0 };
        let progress = Progress { position, above: above.clone() };
        let outputs = vec![back(numbers(&frame, Slot::RETRY)[0])];
        retry.commit(Commit { outputs, progress, ids: Vec::new(), stamp: Time::MIN }).await;
        assert_eq!(level(&buffer, &world[1], Slot::RETRY).await.messages, 2 * LIMIT);
    }
    assert_eq!(numbers(&frames[0], Slot::RETRY), [0], "the oldest has waited");
}

/// What a slot sends back for the first time waits: else a vertex that sends everything back would fill the retry slot
/// without bound.
pub async fn a_message_that_is_sent_back_waits_for_room_that_others_make(bench: &dyn Bench) {
    let world = narrow();
    let buffer = bench.open(&world).await;
    let mut reader = filled(&buffer, &world[1]).await;
    let mut writer = Owner::claim(&buffer, &source("in", 1), 1, 1).await;
    let through = writer.write(vec![output("map", slot(0, 0), body([99]))]).await[0];
    let settling = Arc::new(AtomicBool::new(false));
    let mut crew = Crew::default();
    let settles = settling.clone();
    crew.spawn(async move {
        reader.commit(sending_back(through, 99)).await;
        assert!(settles.load(Ordering::SeqCst), "a message was sent back though the retry slot was full");
    });
    let mut other = Owner::claim(&buffer, &source("side", 0), 1, 1).await;
    for _ in 0..20 {
        other.write(vec![output("out", slot(0, 0), body([1]))]).await;
    }
    crew.look();
    let mut retry = Owner::claim(&buffer, &retry_unit(), 1, 1).await;
    let first = retry.read(1).await;
    settling.store(true, Ordering::SeqCst);
    retry.settle_through(first[0].sequence).await;
    crew.join("the message is sent back").await;
    within("it is there", async {
        while level(&buffer, &world[1], Slot::RETRY).await.messages != 2 * LIMIT {
            tokio::task::yield_now().await;
        }
    })
    .await;
}
