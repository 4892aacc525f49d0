//! Full partitions: who waits, who need not, and that nothing is lost meanwhile.
//!
//! That a commit waits is shown by an order of events: it must not return before the reader has begun to settle,
//! however much else the buffer stores in between.

use std::pin::pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};

use super::Bench;
use super::kit::{
    Crew, Owner, body, body_of_size, level, numbers, output, place, polled, slot, slot_unit, source, within,
    world,
};
use crate::door::Class;
use crate::door::buffer::{Buffer, Output, Passage, VertexSettings, WhenFull};
use crate::{Position, Slot};

/// Messages of one partition of `map`.
const LIMIT: u64 = 10;

fn narrow() -> Vec<VertexSettings> {
    let mut world = world();
    world[1].messages_max = LIMIT;
    world
}

/// Commits to elsewhere, each of which had the chance to carry along what should be waiting.
async fn let_others_go_on(buffer: &Arc<dyn Buffer>) {
    let mut other = Owner::claim(buffer, &source("side", 0), 1, 1).await;
    for _ in 0..10 {
        other.write(vec![output("out", slot(0, 0), body([1]))]).await;
    }
}

/// Starts commits that must all wait until `settling` is set.
fn start_waiting(crew: &mut Crew, mut owner: Owner, outputs: Vec<Output>, settling: &Arc<AtomicBool>) {
    let settling = settling.clone();
    crew.spawn(async move {
        owner.write(outputs).await;
        assert!(settling.load(Ordering::SeqCst), "a commit returned though its partition was full");
    });
}

/// A commit to a full partition waits, in whichever slot of it, and goes on once the reader has settled.
pub async fn a_commit_to_a_full_partition_waits_for_its_reader(bench: &dyn Bench) {
    let world = narrow();
    let buffer = bench.open(&world).await;
    let mut writer = Owner::claim(&buffer, &source("in", 0), 1, 1).await;
    let mut reader = Owner::claim(&buffer, &slot_unit("map", slot(0, 0)), 1, 1).await;
    let mut stored = Vec::new();
    for _ in 0..2 {
        stored.extend(writer.write(vec![output("map", slot(0, 0), body(0..LIMIT / 2))]).await);
    }
    let settling = Arc::new(AtomicBool::new(false));
    let mut crew = Crew::default();
    let waiting = vec![output("map", slot(1, 0), body([1])), output("map", slot(0, 1), body([2]))];
    start_waiting(&mut crew, writer, waiting, &settling);
    let_others_go_on(&buffer).await;
    crew.look();
    let_others_go_on(&buffer).await;
    assert_eq!(
        level(&buffer, &world[1], slot(1, 0)).await.messages,
        0,
        "nothing of a waiting commit is stored"
    );
    settling.store(true, Ordering::SeqCst);
    reader.settle_through(stored[0]).await;
    crew.join("the commit goes on").await;
    assert_eq!(level(&buffer, &world[1], slot(0, 1)).await.messages, 1);
    assert_eq!(level(&buffer, &world[1], slot(1, 0)).await.messages, 1);
}

/// The limit in bytes holds like the limit in messages.
pub async fn a_limit_in_bytes_makes_commits_wait(bench: &dyn Bench) {
    let mut world = world();
    world[1].bytes_max = 2000;
    let buffer = bench.open(&world).await;
    let mut writer = Owner::claim(&buffer, &source("in", 0), 1, 1).await;
    let mut reader = Owner::claim(&buffer, &slot_unit("map", slot(0, 0)), 1, 1).await;
    let mut stored = Vec::new();
    for _ in 0..2 {
        stored.extend(writer.write(vec![output("map", slot(0, 0), body_of_size(1000))]).await);
    }
    let settling = Arc::new(AtomicBool::new(false));
    let mut crew = Crew::default();
    start_waiting(&mut crew, writer, vec![output("map", slot(0, 1), body([1]))], &settling);
    let_others_go_on(&buffer).await;
    crew.look();
    settling.store(true, Ordering::SeqCst);
    reader.settle_through(stored[0]).await;
    crew.join("the commit goes on").await;
}

/// An output that may be dropped is left out of a full partition, is named as such, and nothing else is.
pub async fn an_output_that_may_be_dropped_is_left_out(bench: &dyn Bench) {
    let world = narrow();
    let buffer = bench.open(&world).await;
    let mut writer = Owner::claim(&buffer, &source("in", 0), 1, 1).await;
    let may_be_dropped = |slot, numbers: Vec<u64>| Output {
        when_full: WhenFull::Discard,
        ..output("map", slot, body(numbers))
    };
    let first = writer.next(vec![may_be_dropped(slot(0, 0), (0..LIMIT).collect())]);
    let stored = writer.commit(first).await.stored;
    assert!(stored[0].is_some(), "there was room");
    let second = writer.next(vec![
        may_be_dropped(slot(0, 0), vec![50]),
        may_be_dropped(slot(1, 0), vec![51]),
        output("out", slot(0, 0), body([52])),
        may_be_dropped(slot(0, 1), vec![53]),
    ]);
    let stored_then = writer.commit(second).await.stored;
    let present: Vec<_> = stored_then.iter().map(Option::is_some).collect();
    assert_eq!(present, [false, true, true, false]);
    let again = Owner::claim(&buffer, &source("in", 0), 2, 2).await;
    assert_eq!(again.progress.position, Position { sequence: 2, index: 0 }, "what was dropped is done");
    for (vertex, slot, number, at) in [("map", slot(1, 0), 51, 1), ("out", slot(0, 0), 52, 2)] {
        let mut reader = Owner::claim(&buffer, &slot_unit(vertex, slot), 1, 1).await;
        let frames = reader.read_frames(1).await;
        assert_eq!(numbers(&frames[0], slot), [number]);
        assert_eq!(Some(frames[0].sequence), stored_then[at]);
    }
    let mut reader = Owner::claim(&buffer, &slot_unit("map", slot(0, 0)), 1, 1).await;
    assert_eq!(reader.read_frames(1).await[0].sequence, stored[0].expect("it was stored"));
    reader.expect_nothing().await;
}

/// Of two vertices that write to one, the one that has filled its share waits, and the other still gets through.
pub async fn a_fast_writer_leaves_the_share_of_the_slow_one(bench: &dyn Bench) {
    let mut world = narrow();
    world[1].writers = 2;
    let share = LIMIT / 2;
    let buffer = bench.open(&world).await;
    let mut fast = Owner::claim(&buffer, &source("in", 0), 1, 1).await;
    let mut slow = Owner::claim(&buffer, &source("side", 1), 1, 1).await;
    let mut reader = Owner::claim(&buffer, &slot_unit("map", slot(0, 0)), 1, 1).await;
    let mut own = Vec::new();
    for number in 0..share {
        own.extend(fast.write(vec![output("map", slot(0, 0), body([number]))]).await);
    }
    let settling = Arc::new(AtomicBool::new(false));
    let mut crew = Crew::default();
    start_waiting(&mut crew, fast, vec![output("map", slot(0, 0), body([99]))], &settling);
    let mut others = Vec::new();
    for number in 0..share {
        others.extend(slow.write(vec![output("map", slot(0, 0), body([100 + number]))]).await);
    }
    start_waiting(&mut crew, slow, vec![output("map", slot(0, 1), body([199]))], &settling);
    let_others_go_on(&buffer).await;
    crew.look();
    settling.store(true, Ordering::SeqCst);
    reader.settle_through(others[0]).await;
    crew.join("both go on").await;
    assert!(own.last() < others.first(), "frames are numbered as they are stored");
}

/// What goes round in a circle has room where what comes in has none, up to twice the limit.
pub async fn what_goes_around_has_more_room(bench: &dyn Bench) {
    let world = narrow();
    let buffer = bench.open(&world).await;
    let around = |body| Output { passage: Passage::Around, ..output("map", slot(0, 0), body) };
    let mut writer = Owner::claim(&buffer, &source("in", 0), 1, 1).await;
    let mut second = Owner::claim(&buffer, &source("in", 1), 1, 1).await;
    let mut reader = Owner::claim(&buffer, &slot_unit("map", slot(0, 0)), 1, 1).await;
    let first = writer.write(vec![output("map", slot(0, 0), body(0..LIMIT))]).await[0];
    let settling = Arc::new(AtomicBool::new(false));
    let mut crew = Crew::default();
    start_waiting(&mut crew, writer, vec![output("map", slot(0, 0), body([99]))], &settling);
    for _ in 0..2 {
        second.write(vec![around(body(0..LIMIT / 2))]).await;
    }
    start_waiting(&mut crew, second, vec![around(body([98]))], &settling);
    let_others_go_on(&buffer).await;
    crew.look();
    assert_eq!(level(&buffer, &world[1], slot(0, 0)).await.messages, 2 * LIMIT);
    let frames = reader.read_frames(3).await;
    assert_eq!(frames[0].sequence, first);
    settling.store(true, Ordering::SeqCst);
    // Afterwards the limit is reached exactly: there is room for what goes around, and none yet for what comes in.
    reader.settle_through(first).await;
    reader.settle_through(frames[1].sequence).await;
    crew.join("both go on").await;
}

/// What an earlier life left in a partition takes its room still.
pub async fn room_is_still_taken_after_a_restart(bench: &dyn Bench) {
    let world = narrow();
    let mut buffer = bench.open(&world).await;
    let mut writer = Owner::claim(&buffer, &source("in", 0), 1, 1).await;
    let stored = writer.write(vec![output("map", slot(0, 1), body(0..LIMIT))]).await[0];
    drop((writer, buffer));
    buffer = bench.restart().await;
    let writer = Owner::claim(&buffer, &source("in", 0), 2, 2).await;
    let mut reader = Owner::claim(&buffer, &slot_unit("map", slot(0, 1)), 2, 2).await;
    let settling = Arc::new(AtomicBool::new(false));
    let mut crew = Crew::default();
    start_waiting(&mut crew, writer, vec![output("map", slot(0, 0), body([99]))], &settling);
    let_others_go_on(&buffer).await;
    crew.look();
    settling.store(true, Ordering::SeqCst);
    reader.settle_through(stored).await;
    crew.join("the commit goes on").await;
}

/// A commit that is given up while it waits is stored as a whole or not at all, and takes no room if it is not.
pub async fn an_abandoned_wait_stores_all_or_nothing(bench: &dyn Bench) {
    let world = narrow();
    let buffer = bench.open(&world).await;
    let mut owner = Owner::claim(&buffer, &source("in", 0), 1, 1).await;
    let mut reader = Owner::claim(&buffer, &slot_unit("map", slot(0, 0)), 1, 1).await;
    let mut other = Owner::claim(&buffer, &slot_unit("map", slot(1, 0)), 1, 1).await;
    for round in 0..20 {
        let full = owner.write(vec![output("map", slot(0, 0), body(0..LIMIT))]).await[0];
        let at = owner.progress.clone();
        let outputs =
            vec![output("map", slot(1, 0), body([round])), output("map", slot(0, 0), body([round]))];
        let commit = owner.next(outputs);
        let waited = polled(pin!(owner.committer.commit(commit)), 50).await;
        assert!(!matches!(waited, Some(Ok(_))), "the partition is full");
        // Only after this: what was decided already is stored before a claim returns, and needs the room.
        assert_eq!(reader.read_frames(1).await[0].sequence, full);
        reader.settle_through(full).await;
        owner = Owner::claim(&buffer, &source("in", 0), 1, 1).await;
        let left = level(&buffer, &world[1], slot(0, 0)).await.messages;
        assert_eq!(level(&buffer, &world[1], slot(1, 0)).await.messages, left, "all or nothing");
        assert_eq!(owner.progress != at, left == 1, "the progress says which");
        for reader in if left == 1 { vec![&mut reader, &mut other] } else { Vec::new() } {
            let sequence = reader.read_frames(1).await[0].sequence;
            reader.settle_through(sequence).await;
        }
    }
    assert_eq!(owner.write(vec![output("map", slot(0, 0), body(0..LIMIT))]).await.len(), 1);
}

/// Several units write numbers until they have to wait.
fn start_writers(crew: &mut Crew, buffer: &Arc<dyn Buffer>, epoch: u64, until: u64) {
    for unit in 0..WRITERS {
        let buffer = buffer.clone();
        crew.spawn(async move {
            let mut owner = Owner::claim(&buffer, &source("in", unit), 10 * epoch, epoch).await;
            while owner.progress.position.sequence < until {
                let number = u64::from(unit) * 1000 + owner.progress.position.sequence;
                let commit = owner.next(vec![output("map", slot(0, unit as u16 % 2), body([number]))]);
                match owner.try_commit(commit).await {
                    Ok(_) => {}
                    // The life ends around this task.
                    Err(error) if error.class() == Class::Fatal => return,
                    Err(error) => panic!("commit: {}", error.chain()),
                }
            }
        });
    }
}

const WRITERS: u32 = 8;

async fn stored_messages(buffer: &Arc<dyn Buffer>, map: &VertexSettings) -> u64 {
    level(buffer, map, slot(0, 0)).await.messages + level(buffer, map, slot(0, 1)).await.messages
}

/// Eight writers on one full buffer whose reader is dead, all restarted at once, again and again: they wait, the
/// limit holds, and once there is a reader every message arrives, once and in order.
pub async fn writers_on_a_full_buffer_lose_nothing_when_all_restart(bench: &dyn Bench) {
    const EACH: u64 = 12;
    let world = narrow();
    let mut buffer = bench.open(&world).await;
    for epoch in 1..=4 {
        let mut crew = Crew::default();
        start_writers(&mut crew, &buffer, epoch, EACH);
        within("the partition fills up", async {
            while stored_messages(&buffer, &world[1]).await < LIMIT {
                crew.look();
                tokio::task::yield_now().await;
            }
        })
        .await;
        let_others_go_on(&buffer).await;
        crew.look();
        let stored = stored_messages(&buffer, &world[1]).await;
        assert!(
            stored <= LIMIT + u64::from(WRITERS),
            "each writer is beyond the limit by one commit at most"
        );
        crew.abort().await;
        drop(buffer);
        buffer = bench.restart().await;
        assert!(stored_messages(&buffer, &world[1]).await >= stored, "what was stored is there");
    }
    let mut crew = Crew::default();
    start_writers(&mut crew, &buffer, 5, EACH);
    let found: Arc<Mutex<Vec<u64>>> = Arc::default();
    for number in 0..2 {
        let mut reader = Owner::claim(&buffer, &slot_unit("map", slot(0, number)), 5, 5).await;
        let found = found.clone();
        crew.spawn(async move {
            let mut left = u64::from(WRITERS) * EACH / 2;
            while left > 0 {
                let frames = reader.read(100).await;
                left -= frames.len() as u64;
                let read = frames.iter().flat_map(|frame| numbers(frame, slot(0, number)));
                found.lock().expect("not poisoned").extend(read);
                reader.settle_through(frames.last().expect("a read gives a frame").sequence).await;
            }
        });
    }
    crew.join("all writers and readers end").await;
    let found = found.lock().expect("not poisoned").clone();
    for unit in 0..u64::from(WRITERS) {
        let own = found.iter().copied().filter(|number| number / 1000 == unit);
        assert!(own.eq(unit * 1000..unit * 1000 + EACH), "unit {unit}: each once, in order");
    }
}

/// Many units write to one partition while its reader settles a frame at a time: the limit is passed by no more than
/// one commit of each unit.
pub async fn the_limit_is_kept_by_many_writers(bench: &dyn Bench) {
    const EACH: u64 = 15;
    let world = narrow();
    let buffer = bench.open(&world).await;
    let mut crew = Crew::default();
    start_writers(&mut crew, &buffer, 1, EACH);
    for number in 0..2 {
        let mut reader = Owner::claim(&buffer, &slot_unit("map", slot(0, number)), 1, 1).await;
        let (buffer, map) = (buffer.clone(), world[1].clone());
        crew.spawn(async move {
            for _ in 0..u64::from(WRITERS) * EACH / 2 {
                let frames = reader.read(1).await;
                assert_eq!(frames.len(), 1);
                let stored = stored_messages(&buffer, &map).await;
                assert!(
                    stored <= LIMIT + u64::from(WRITERS),
                    "{stored} messages lie in a partition for {LIMIT}"
                );
                reader.settle_through(frames[0].sequence).await;
            }
        });
    }
    crew.join("all writers and readers end").await;
    assert_eq!(stored_messages(&buffer, &world[1]).await, 0);
    let retry = level(&buffer, &world[1], Slot::RETRY).await;
    assert_eq!((retry.place, retry.last), (place("map", Slot::RETRY), 0));
}
