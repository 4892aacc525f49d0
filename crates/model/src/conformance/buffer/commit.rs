//! Commits: atomic over everything they write, durable when they return, in order.

use std::collections::BTreeMap;
use std::pin::pin;
use std::sync::{Arc, Mutex};

use super::Bench;
use super::kit::{
    Crew, Owner, PLENTY, body, body_of_size, level, name, numbers, output, polled, slot, slot_unit, source,
    vertex, within, world,
};
use crate::door::Class;
use crate::door::buffer::{Buffer, Commit, VertexSettings};
use crate::frame::Writer;
use crate::{Epoch, Incarnation, Position, Progress, Slot, Time, Unit};

/// One commit writes to two vertices, several slots and one slot twice; each frame carries who wrote it and when.
pub async fn one_commit_reaches_several_vertices_and_slots(bench: &dyn Bench) {
    let buffer = bench.open(&world()).await;
    let mut writer = Owner::claim(&buffer, &source("in", 0), 77, 3).await;
    let targets = [
        ("map", slot(0, 0), 1),
        ("out", slot(1, 1), 2),
        ("map", slot(0, 0), 3),
        ("map", Slot::RETRY, 4),
        ("map", slot(1, 0), 5),
    ];
    let outputs: Vec<_> =
        targets.iter().map(|(vertex, slot, count)| output(vertex, *slot, body(0..*count))).collect();
    let commit = Commit { stamp: Time::from_millis(123), ..writer.next(outputs) };
    let stored = writer.commit(commit).await.stored;
    let mut cumulative = BTreeMap::new();
    for (vertex, slot, count) in [targets[0], targets[1], targets[3], targets[4]] {
        let mut reader = Owner::claim(&buffer, &slot_unit(vertex, slot), 1, 1).await;
        let places: Vec<_> = (0..5).filter(|at| (targets[*at].0, targets[*at].1) == (vertex, slot)).collect();
        let frames = reader.read_frames(places.len()).await;
        for (frame, at) in frames.iter().zip(places) {
            assert_eq!(Some(frame.sequence), stored[at], "the commit says under which number it stored");
            let header = &frame.frame.header;
            let unit = Unit::Source(0);
            let (incarnation, epoch) = (Incarnation(77), Epoch(3));
            assert_eq!(header.writer, Writer { vertex: name("in"), unit, replica: 77, incarnation, epoch });
            assert_eq!(header.stamp, Time::from_millis(123));
            assert_eq!(header.count, targets[at].2 as u32);
            cumulative.insert(at, header.cumulative);
        }
        assert_eq!(numbers(&frames[0], slot).len(), count as usize);
        reader.expect_nothing().await;
    }
    assert_eq!(cumulative.into_values().collect::<Vec<_>>(), [1, 3, 6, 10, 15], "messages written so far");
}

/// Frames of one slot are read in the order of the commits, with numbers that no other slot of the partition has.
pub async fn frames_lie_in_the_order_of_their_commits(bench: &dyn Bench) {
    let buffer = bench.open(&world()).await;
    let mut writer = Owner::claim(&buffer, &source("in", 0), 1, 1).await;
    let mut used = Vec::new();
    for number in 0..30 {
        let outputs = vec![
            output("map", slot(0, 0), body([2 * number])),
            output("map", slot(0, 1), body([number])),
            output("map", slot(0, 0), body([2 * number + 1])),
        ];
        used.extend(writer.write(outputs).await);
    }
    used.sort_unstable();
    assert!(
        used.windows(2).all(|pair| pair[0] < pair[1]),
        "each number is given once in a partition: {used:?}"
    );
    assert!(used[0] > 0, "0 is the number of no frame");
    let mut reader = Owner::claim(&buffer, &slot_unit("map", slot(0, 0)), 1, 1).await;
    let frames = reader.read_frames(60).await;
    assert!(frames.iter().flat_map(|frame| numbers(frame, slot(0, 0))).eq(0..60));
}

/// The count of messages that a unit ever wrote goes on under another owner and in another life.
pub async fn cumulative_counts_go_on_across_owners_and_restarts(bench: &dyn Bench) {
    let mut buffer = bench.open(&world()).await;
    for epoch in 1..=6 {
        let mut writer = Owner::claim(&buffer, &source("in", 0), epoch, epoch).await;
        writer.write(vec![output("map", slot(0, 0), body(0..3))]).await;
        if epoch % 2 == 0 {
            drop((writer, buffer));
            buffer = bench.restart().await;
        }
    }
    let mut reader = Owner::claim(&buffer, &slot_unit("map", slot(0, 0)), 1, 1).await;
    let counts = reader.read_frames(6).await.into_iter().map(|stored| stored.frame.header.cumulative);
    assert_eq!(counts.collect::<Vec<_>>(), [3, 6, 9, 12, 15, 18]);
}

/// What was committed is there after a restart: frames, their numbers, and positions.
pub async fn frames_and_positions_survive_a_restart(bench: &dyn Bench) {
    let mut buffer = bench.open(&world()).await;
    let mut expected = Vec::new();
    for life in 0..4 {
        let mut writer = Owner::claim(&buffer, &source("in", 0), life + 1, life + 1).await;
        assert_eq!(writer.progress.position.sequence, 3 * life);
        for number in 3 * life..3 * life + 3 {
            let stored = writer.write(vec![output("map", slot(1, 1), body([number]))]).await;
            expected.push((stored[0], vec![number]));
        }
        drop((writer, buffer));
        buffer = bench.restart().await;
    }
    let mut reader = Owner::claim(&buffer, &slot_unit("map", slot(1, 1)), 1, 1).await;
    let frames = reader.read_frames(12).await;
    let found: Vec<_> = frames.iter().map(|frame| (frame.sequence, numbers(frame, slot(1, 1)))).collect();
    assert_eq!(found, expected);
}

/// A position within a frame is kept, and the frame is read again until all of it is done.
pub async fn a_position_may_lie_within_a_frame(bench: &dyn Bench) {
    let mut buffer = bench.open(&world()).await;
    let unit = slot_unit("map", slot(0, 1));
    let mut writer = Owner::claim(&buffer, &source("in", 0), 1, 1).await;
    let first = writer.write(vec![output("map", slot(0, 1), body(0..10))]).await[0];
    let second = writer.write(vec![output("map", slot(0, 1), body(10..12))]).await[0];
    drop(writer);
    let within_first = |index| Progress::to(Position { sequence: first, index });
    for (epoch, index) in [(1, 4), (2, 4), (3, 9)] {
        let mut owner = Owner::claim(&buffer, &unit, epoch, epoch).await;
        assert_eq!(owner.read_frames(2).await[0].sequence, first, "a frame is given until all of it is done");
        let outputs = vec![output("out", slot(0, 0), body(0..u64::from(index)))];
        owner.commit(Commit { outputs, progress: within_first(index), ..Commit::default() }).await;
        drop((owner, buffer));
        buffer = bench.restart().await;
        let next = Owner::claim(&buffer, &unit, epoch, epoch).await;
        assert_eq!(next.progress, within_first(index));
    }
    let mut owner = Owner::claim(&buffer, &unit, 4, 4).await;
    owner.settle_through(first).await;
    assert_eq!(Owner::claim(&buffer, &unit, 5, 5).await.read_frames(1).await[0].sequence, second);
}

/// In the retry slot frames above the position that are done are not read again, also after a restart.
pub async fn frames_done_above_the_position_stay_done(bench: &dyn Bench) {
    let mut buffer = bench.open(&world()).await;
    let unit = slot_unit("map", Slot::RETRY);
    let mut writer = Owner::claim(&buffer, &source("in", 0), 1, 1).await;
    let mut stored = Vec::new();
    for number in 0..6 {
        stored.extend(writer.write(vec![output("map", Slot::RETRY, body([number]))]).await);
    }
    drop(writer);
    let at = |sequence| Position { sequence, index: 0 };
    let steps = [
        (Progress { position: at(stored[0]), above: vec![stored[1], stored[4]] }, vec![0, 2, 3, 5]),
        (Progress { position: at(stored[2]), above: vec![stored[4]] }, vec![2, 3, 5]),
        (Progress { position: at(stored[2]), above: vec![stored[3], stored[4]] }, vec![2, 5]),
        (Progress { position: at(stored[5]), above: vec![] }, vec![5]),
    ];
    let mut epoch = 1;
    for (progress, left) in steps {
        let mut owner = Owner::claim(&buffer, &unit, epoch, epoch).await;
        owner.settle(progress.clone()).await;
        drop(owner);
        for _ in 0..2 {
            epoch += 1;
            let mut next = Owner::claim(&buffer, &unit, epoch, epoch).await;
            assert_eq!(next.progress, progress);
            let read = next.read_frames(left.len()).await.into_iter().map(|frame| frame.sequence);
            assert!(read.eq(left.iter().map(|at| stored[*at])), "only what is left is read");
            next.expect_nothing().await;
            drop((next, buffer));
            buffer = bench.restart().await;
        }
    }
}

/// A commit without output moves the position, durably, and wakes nobody.
pub async fn a_position_moves_without_output(bench: &dyn Bench) {
    let mut buffer = bench.open(&world()).await;
    let mut owner = Owner::claim(&buffer, &source("in", 0), 1, 1).await;
    owner.settle(Progress::to(Position { sequence: 9_000, index: 7 })).await;
    owner.settle(Progress::to(Position { sequence: 9_000, index: 7 })).await;
    owner.settle(Progress::to(Position { sequence: 1 << 60, index: 0 })).await;
    // A broker may keep a position without output in memory for a moment; a release writes it.
    owner.release().await;
    drop(buffer);
    buffer = bench.restart().await;
    let owner = Owner::claim(&buffer, &source("in", 0), 2, 2).await;
    assert_eq!(owner.progress, Progress::to(Position { sequence: 1 << 60, index: 0 }));
}

/// A commit that is given up at any point is there as a whole or not at all, and the next claim says which.
pub async fn an_abandoned_commit_is_stored_whole_or_not_at_all(bench: &dyn Bench) {
    const ROUNDS: u64 = 150;
    let buffer = bench.open(&world()).await;
    let mut rng = fastrand::Rng::with_seed(3);
    let mut stored = Vec::new();
    for round in 0..ROUNDS {
        let mut owner = Owner::claim(&buffer, &source("in", 0), 1, 1).await;
        let outputs =
            vec![output("map", slot(0, 0), body([round])), output("out", slot(1, 0), body([round + 1000]))];
        let commit = owner.next(outputs);
        let (before, after) = (owner.progress.clone(), commit.progress.clone());
        let answer = polled(pin!(owner.committer.commit(commit)), rng.u32(0..8)).await;
        let again = Owner::claim(&buffer, &source("in", 0), 1, 1).await;
        if again.progress == after {
            stored.push(round);
        } else {
            assert_eq!(again.progress, before);
            let refused = !matches!(answer, Some(Ok(_)));
            assert!(refused, "a commit that was answered is stored");
        }
    }
    let mut map = Owner::claim(&buffer, &slot_unit("map", slot(0, 0)), 1, 1).await;
    let mut out = Owner::claim(&buffer, &slot_unit("out", slot(1, 0)), 1, 1).await;
    let (left, right) = (map.read_frames(stored.len()).await, out.read_frames(stored.len()).await);
    assert!(left.iter().flat_map(|frame| numbers(frame, slot(0, 0))).eq(stored.iter().copied()));
    assert!(right.iter().flat_map(|frame| numbers(frame, slot(1, 0))).eq(stored.iter().map(|at| at + 1000)));
    map.expect_nothing().await;
    out.expect_nothing().await;
}

/// A commit of as many bytes as the buffer says, in frames of as many bytes as it says, is stored and read.
pub async fn a_commit_as_large_as_allowed_is_stored(bench: &dyn Bench) {
    let buffer = bench.open(&world()).await;
    let bounds = buffer.bounds();
    let count = bounds.commit_bytes_max / bounds.frame_bytes_max;
    assert!(count > 0, "a commit holds at least one frame");
    let mut writer = Owner::claim(&buffer, &source("in", 0), 1, 1).await;
    let body = body_of_size(bounds.frame_bytes_max);
    let stored = writer.write(vec![output("map", slot(0, 0), body.clone()); count]).await;
    let mut reader = Owner::claim(&buffer, &slot_unit("map", slot(0, 0)), 1, 1).await;
    let frames = reader.read_frames(count).await;
    assert!(frames.iter().map(|frame| frame.sequence).eq(stored));
    assert!(frames.iter().all(|stored| stored.frame.payload == body.payload));
}

/// Units commit side by side; each keeps its own order in every slot.
pub async fn many_units_commit_at_once(bench: &dyn Bench) {
    const UNITS: u64 = 16;
    const COMMITS: u64 = 20;
    let buffer = bench.open(&world()).await;
    let slots = [slot(0, 0), slot(0, 1), slot(1, 0), slot(1, 1)];
    let mut crew = Crew::default();
    for unit in 0..UNITS {
        let buffer = buffer.clone();
        crew.spawn(async move {
            let mut writer = Owner::claim(&buffer, &source("in", unit as u32), 1, 1).await;
            for number in 0..COMMITS {
                let to = slots[(unit + number) as usize % slots.len()];
                writer.write(vec![output("map", to, body([unit * COMMITS + number]))]).await;
            }
        });
    }
    crew.join("all units commit").await;
    let mut all = Vec::new();
    for slot in slots {
        let mut reader = Owner::claim(&buffer, &slot_unit("map", slot), 1, 1).await;
        let frames = reader.read_frames((UNITS * COMMITS) as usize / slots.len()).await;
        let found: Vec<_> = frames.iter().flat_map(|frame| numbers(frame, slot)).collect();
        for unit in 0..UNITS {
            let own = found.iter().filter(|number| **number / COMMITS == unit);
            assert!(own.is_sorted(), "unit {unit} is in order in slot {slot}");
        }
        all.extend(found);
    }
    all.sort_unstable();
    assert!(all.iter().copied().eq(0..UNITS * COMMITS), "each once");
}

async fn write_on(
    buffer: Arc<dyn Buffer>,
    unit: u32,
    epoch: u64,
    acknowledged: Arc<Mutex<BTreeMap<u32, u64>>>,
) {
    let mut owner = Owner::claim(&buffer, &source("in", unit), epoch, epoch).await;
    loop {
        let number = owner.progress.position.sequence;
        let lane = slot(0, unit as u16);
        let commit =
            owner.next(vec![output("map", lane, body([number])), output("out", lane, body([number]))]);
        match owner.try_commit(commit).await {
            Ok(_) => acknowledged.lock().expect("not poisoned").insert(unit, number + 1),
            // The life ends around this task.
            Err(error) if error.class() == Class::Fatal => return,
            Err(error) => panic!("commit: {}", error.chain()),
        };
    }
}

/// A restart in the middle of commits: what was acknowledged is there, and no commit is there in part.
pub async fn a_restart_in_the_middle_of_commits_splits_none(bench: &dyn Bench) {
    const UNITS: u32 = 3;
    let world: Vec<VertexSettings> = vec![vertex("in", 1, 1), vertex("map", 1, 3), vertex("out", 1, 3)];
    let mut buffer = bench.open(&world).await;
    let acknowledged: Arc<Mutex<BTreeMap<u32, u64>>> = Arc::default();
    let mut rng = fastrand::Rng::with_seed(8);
    for epoch in 1..=12 {
        let mut crew = Crew::default();
        for unit in 0..UNITS {
            crew.spawn(write_on(buffer.clone(), unit, epoch, acknowledged.clone()));
        }
        let target = acknowledged.lock().expect("not poisoned").values().sum::<u64>() + rng.u64(1..20);
        within("commits are answered", async {
            while acknowledged.lock().expect("not poisoned").values().sum::<u64>() < target {
                crew.look();
                tokio::task::yield_now().await;
            }
        })
        .await;
        crew.abort().await;
        drop(buffer);
        buffer = bench.restart().await;
        for unit in 0..UNITS {
            let owner = Owner::claim(&buffer, &source("in", unit), epoch, epoch).await;
            let at = owner.progress.position.sequence;
            let least = acknowledged.lock().expect("not poisoned").get(&unit).copied().unwrap_or(0);
            assert!(at >= least, "unit {unit}: {least} commits were acknowledged, and {at} are there");
            for vertex in &world[1..] {
                let mut reader =
                    Owner::claim(&buffer, &slot_unit(&vertex.name, slot(0, unit as u16)), 1, 1).await;
                let mut found = Vec::new();
                while (found.len() as u64) < at {
                    let frames = reader.read(PLENTY).await;
                    found.extend(frames.iter().flat_map(|frame| numbers(frame, slot(0, unit as u16))));
                }
                assert!(found.iter().copied().eq(0..at), "{}: exactly what the position covers", vertex.name);
                let level = level(&buffer, vertex, slot(0, unit as u16)).await;
                assert_eq!((level.messages, level.frames), (at, at));
            }
        }
    }
}
