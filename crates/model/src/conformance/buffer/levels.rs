//! Levels: how much lies in each slot, exactly.

use super::Bench;
use super::kit::{Crew, Owner, body, level, levels, output, place, slot, slot_unit, source, within, world};
use crate::door::buffer::{Commit, Level, Passage, VertexSettings};
use crate::{Position, Progress, Slot};

fn empty(vertex: &VertexSettings, slot: Slot) -> Level {
    let place = place(&vertex.name, slot);
    Level { place, frames: 0, messages: 0, bytes: 0, last: 0, progress: Progress::default() }
}

/// Counts of frames, messages and bytes, the last number and the progress, while frames come and go.
pub async fn levels_are_exact(bench: &dyn Bench) {
    let world = world();
    let map = &world[1];
    let buffer = bench.open(&world).await;
    for level in levels(&buffer, map).await {
        assert_eq!(level, empty(map, level.place.slot), "nothing lies in a slot that was never written to");
    }
    let mut writer = Owner::claim(&buffer, &source("in", 0), 1, 1).await;
    let mut reader = Owner::claim(&buffer, &slot_unit("map", slot(1, 0)), 1, 1).await;
    let mut stored = Vec::new();
    let mut bytes = Vec::new();
    for count in 1..=5 {
        let body = body(0..count);
        bytes.push(body.payload.len() as u64);
        stored.extend(writer.write(vec![output("map", slot(1, 0), body)]).await);
    }
    for settled in 0..=5 {
        if settled > 0 {
            reader.settle_through(stored[settled - 1]).await;
        }
        let expected = Level {
            frames: 5 - settled as u64,
            messages: (settled as u64 + 1..=5).sum(),
            bytes: bytes[settled..].iter().sum(),
            last: stored[4],
            progress: reader.progress.clone(),
            ..empty(map, slot(1, 0))
        };
        assert_eq!(level(&buffer, map, slot(1, 0)).await, expected);
    }
    let others = levels(&buffer, map).await.into_iter().filter(|level| level.place.slot != slot(1, 0));
    for level in others {
        assert_eq!(level, empty(map, level.place.slot));
    }
}

/// The same levels stand after a restart, also of slots in which nothing is left and of the retry slot.
pub async fn levels_are_exact_after_a_restart(bench: &dyn Bench) {
    let world = world();
    let map = &world[1];
    let buffer = bench.open(&world).await;
    let mut writer = Owner::claim(&buffer, &source("in", 0), 1, 1).await;
    let slots = [slot(0, 0), slot(0, 1), slot(1, 1), Slot::RETRY];
    let mut stored = Vec::new();
    for count in 1..=4 {
        stored.push(writer.write(slots.map(|slot| output("map", slot, body(0..count))).into()).await);
    }
    let at = |sequence, index| Position { sequence, index };
    let progress = [
        Progress::to(Position::after(stored[3][0])),
        Progress::to(at(stored[2][1], 2)),
        Progress::default(),
        Progress { position: at(stored[0][3], 0), above: vec![stored[1][3], stored[3][3]] },
    ];
    for (slot, progress) in slots.into_iter().zip(progress) {
        Owner::claim(&buffer, &slot_unit("map", slot), 1, 1).await.settle(progress).await;
    }
    let before = levels(&buffer, map).await;
    let messages: Vec<_> = before.iter().map(|level| (level.frames, level.messages)).collect();
    assert_eq!(messages, [(0, 0), (2, 5), (2, 4), (0, 0), (4, 10)], "slots 0.0, 0.1, retry, 1.0, 1.1");
    drop((writer, buffer));
    for _ in 0..2 {
        let buffer = bench.restart().await;
        assert_eq!(levels(&buffer, map).await, before, "what is there is there in every life");
    }
}

/// Messages of the first frame that the position is beyond are not counted, the frame still is.
pub async fn levels_count_what_is_left_of_a_frame(bench: &dyn Bench) {
    let world = world();
    let buffer = bench.open(&world).await;
    let mut writer = Owner::claim(&buffer, &source("in", 0), 1, 1).await;
    let first = writer.write(vec![output("map", slot(0, 0), body(0..10))]).await[0];
    writer.write(vec![output("map", slot(0, 0), body(0..5))]).await;
    let mut reader = Owner::claim(&buffer, &slot_unit("map", slot(0, 0)), 1, 1).await;
    for done in 1..10 {
        reader.settle(Progress::to(Position { sequence: first, index: done })).await;
        let level = level(&buffer, &world[1], slot(0, 0)).await;
        assert_eq!((level.frames, level.messages), (2, 15 - u64::from(done)));
    }
    reader.settle_through(first).await;
    let level = level(&buffer, &world[1], slot(0, 0)).await;
    assert_eq!((level.frames, level.messages), (1, 5));
}

/// A message that moves from a slot to the retry slot of the same vertex and back is in the levels at every moment:
/// whoever looks never finds the vertex empty.
pub async fn a_message_on_its_way_back_is_always_counted(bench: &dyn Bench) {
    const ROUNDS: u64 = 60;
    let world = world();
    let buffer = bench.open(&world).await;
    let mut writer = Owner::claim(&buffer, &source("in", 0), 1, 1).await;
    writer.write(vec![output("map", slot(0, 0), body([1]))]).await;
    let units = [slot(0, 0), Slot::RETRY];
    let mut owners = Vec::new();
    for slot in units {
        owners.push(Owner::claim(&buffer, &slot_unit("map", slot), 1, 1).await);
    }
    let (done, mut ended) = tokio::sync::oneshot::channel();
    let mut crew = Crew::default();
    crew.spawn(async move {
        for round in 0..ROUNDS {
            for (from, to) in [(0, units[1]), (1, units[0])] {
                let sequence = owners[from].read_frames(1).await[0].sequence;
                let mut back = output("map", to, body([round]));
                back.passage = Passage::Around;
                let progress = Progress::to(Position::after(sequence));
                owners[from].commit(Commit { outputs: vec![back], progress, ..Commit::default() }).await;
            }
        }
        assert!(done.send(()).is_ok(), "the case waits for it");
    });
    within("the message goes round", async {
        while ended.try_recv().is_err() {
            let total: u64 = levels(&buffer, &world[1]).await.iter().map(|level| level.messages).sum();
            assert_eq!(total, 1, "the one message is somewhere");
            crew.look();
            tokio::task::yield_now().await;
        }
    })
    .await;
    crew.join("the message has gone round").await;
}
