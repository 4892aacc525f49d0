//! Ids by which a vertex recognises what it has committed before.

use std::pin::pin;

use smol_str::{SmolStr, format_smolstr};

use super::Bench;
use super::kit::{
    Crew, Owner, PLENTY, body, expect_lost, levels, numbers, output, polled, slot, slot_unit, source, within,
    world,
};
use crate::Position;
use crate::door::buffer::{Commit, IDS_REMEMBERED};

fn id(number: u64) -> SmolStr {
    format_smolstr!("order-{number}")
}

/// The commit of a message that came with an id.
fn with_id(owner: &Owner, number: u64) -> Commit {
    Commit { ids: vec![id(number)], ..owner.next(vec![output("map", slot(0, 0), body([number]))]) }
}

/// Before the commit an id is not known, after it it is; within one call the second of the same ids is.
pub async fn an_id_is_known_once_its_commit_is_stored(bench: &dyn Bench) {
    let buffer = bench.open(&world()).await;
    let mut owner = Owner::claim(&buffer, &source("in", 0), 1, 1).await;
    assert_eq!(owner.known(&[]).await, []);
    for number in 0..20 {
        assert_eq!(owner.known(&[id(number), id(number)]).await, [false, true]);
        owner.commit(with_id(&owner, number)).await;
        assert_eq!(owner.known(&[id(number), id(number + 1)]).await, [true, false]);
    }
    assert_eq!(
        owner.known(&(0..21).map(id).collect::<Vec<_>>()).await,
        [vec![true; 20], vec![false]].concat()
    );
}

/// An id is known to every unit of its vertex, to no other vertex, and in every later life.
pub async fn ids_are_known_to_other_units_and_after_a_restart(bench: &dyn Bench) {
    let mut buffer = bench.open(&world()).await;
    for life in 1..=3 {
        let mut first = Owner::claim(&buffer, &source("in", 0), life, life).await;
        assert_eq!(first.known(&[id(life)]).await, [false]);
        first.commit(with_id(&first, life)).await;
        let mut second = Owner::claim(&buffer, &source("in", 1), life, life).await;
        assert!(second.known(&(1..=life).map(id).collect::<Vec<_>>()).await.iter().all(|known| *known));
        let mut stranger = Owner::claim(&buffer, &source("side", 0), life, life).await;
        let strange = stranger.known(&(1..=life).map(id).collect::<Vec<_>>()).await;
        assert!(strange.iter().all(|known| !known), "another vertex has other ids");
        drop((first, second, stranger, buffer));
        buffer = bench.restart().await;
    }
    let mut owner = Owner::claim(&buffer, &source("in", 7), 1, 1).await;
    assert_eq!(owner.known(&(0..5).map(id).collect::<Vec<_>>()).await, [false, true, true, true, false]);
}

/// After a commit that was given up or refused, its id is known exactly if its frame is stored.
pub async fn an_id_of_an_abandoned_commit_is_known_exactly_if_it_is_stored(bench: &dyn Bench) {
    const ROUNDS: u64 = 60;
    let buffer = bench.open(&world()).await;
    let mut rng = fastrand::Rng::with_seed(21);
    let mut stored = Vec::new();
    for round in 1..=ROUNDS {
        let mut owner = Owner::claim(&buffer, &source("in", 0), round, 2 * round).await;
        assert_eq!(owner.known(&[id(round)]).await, [false]);
        let commit = with_id(&owner, round);
        if rng.bool() {
            drop(polled(pin!(owner.committer.commit(commit)), rng.u32(0..6)).await);
        } else {
            let taken = Owner::claim(&buffer, &source("in", 0), 1000 + round, 2 * round + 1).await;
            expect_lost("commit of a former owner", within("commit", owner.try_commit(commit)).await);
            drop(taken);
        }
        drop(owner);
        let mut next = Owner::claim(&buffer, &source("in", 0), 1000 + round, 2 * round + 1).await;
        let moved = next.progress.position == Position { sequence: stored.len() as u64 + 1, index: 0 };
        assert_eq!(next.known(&[id(round)]).await, [moved], "round {round}: known exactly if it is stored");
        stored.extend(moved.then_some(round));
    }
    let mut reader = Owner::claim(&buffer, &slot_unit("map", slot(0, 0)), 1, 1).await;
    let frames = reader.read_frames(stored.len()).await;
    assert!(frames.iter().flat_map(|frame| numbers(frame, slot(0, 0))).eq(stored));
}

/// Several units of a vertex get a message with the same id at the same time: exactly one stores it.
pub async fn one_of_two_units_with_the_same_id_stores_it(bench: &dyn Bench) {
    const UNITS: u32 = 4;
    const IDS: u64 = 40;
    let world = world();
    let buffer = bench.open(&world).await;
    let mut crew = Crew::default();
    for unit in 0..UNITS {
        let buffer = buffer.clone();
        crew.spawn(async move {
            let mut owner = Owner::claim(&buffer, &source("in", unit), 1, 1).await;
            for number in 0..IDS {
                // Each begins somewhere else, so that they meet.
                let number = (number + u64::from(unit)) % IDS;
                if owner.known(&[id(number)]).await == [false] {
                    owner.commit(with_id(&owner, number)).await;
                }
            }
        });
    }
    crew.join("all ids are offered").await;
    let mut reader = Owner::claim(&buffer, &slot_unit("map", slot(0, 0)), 1, 1).await;
    let total: u64 = levels(&buffer, &world[1]).await.iter().map(|level| level.messages).sum();
    let mut found = Vec::new();
    while (found.len() as u64) < total {
        found.extend(reader.read(PLENTY).await.iter().flat_map(|frame| numbers(frame, slot(0, 0))));
    }
    found.sort_unstable();
    assert!(found.iter().copied().eq(0..IDS), "each id is stored once: {found:?}");
}

/// An owner that looked an id up and went away, was taken from, or gave its commit up, does not keep others from it.
pub async fn an_owner_that_is_gone_keeps_no_id_from_others(bench: &dyn Bench) {
    const ROUNDS: u64 = 40;
    let buffer = bench.open(&world()).await;
    let mut rng = fastrand::Rng::with_seed(4);
    for round in 0..ROUNDS {
        let (unit, other) = (source("in", 2 * round as u32), source("in", 2 * round as u32 + 1));
        let mut first = Owner::claim(&buffer, &unit, 1, 1).await;
        let mut second = Owner::claim(&buffer, &other, 1, 1).await;
        // One that will be committed with its message, and one that nobody commits.
        let ids = [id(round), id(1000 + round)];
        assert_eq!(first.known(&ids).await, [false, false], "the ids are offered for the first time");
        let commit = with_id(&first, round);
        let mut zombie = None;
        match round % 4 {
            0 => drop(first),
            1 => first.release().await,
            2 => {
                drop(polled(pin!(first.committer.commit(commit.clone())), rng.u32(1..6)).await);
                drop(first);
            }
            _ => zombie = Some((first, Owner::claim(&buffer, &unit, 2, 2).await)),
        }
        let known = second.known(&ids).await;
        assert!(!known[1], "nobody has committed it");
        if !known[0] {
            second.commit(with_id(&second, round)).await;
        }
        if let Some((mut former, _owner)) = zombie {
            expect_lost("look-up of a former owner", former.try_known(&ids).await);
            expect_lost("commit of a former owner", within("commit", former.try_commit(commit)).await);
        }
    }
    let mut reader = Owner::claim(&buffer, &slot_unit("map", slot(0, 0)), 1, 1).await;
    let frames = reader.read_frames(ROUNDS as usize).await;
    assert!(
        frames.iter().flat_map(|frame| numbers(frame, slot(0, 0))).eq(0..ROUNDS),
        "each id is stored once"
    );
}

/// At least the last [`IDS_REMEMBERED`] ids of a vertex are known, also after a restart.
pub async fn the_latest_ids_are_remembered(bench: &dyn Bench) {
    const BATCH: usize = 2500;
    let buffer = bench.open(&world()).await;
    let total = IDS_REMEMBERED + 3 * BATCH;
    let all: Vec<_> = (0..total as u64).map(id).collect();
    let mut owner = Owner::claim(&buffer, &source("in", 0), 1, 1).await;
    for batch in all.chunks(BATCH) {
        assert!(owner.known(batch).await.iter().all(|known| !known));
        let commit = Commit { ids: batch.to_vec(), ..owner.next(Vec::new()) };
        owner.commit(commit).await;
    }
    let latest = &all[total - IDS_REMEMBERED..];
    assert!(owner.known(latest).await.iter().all(|known| *known), "the latest ids are known");
    drop((owner, buffer));
    let buffer = bench.restart().await;
    let mut owner = Owner::claim(&buffer, &source("in", 1), 1, 1).await;
    assert!(owner.known(latest).await.iter().all(|known| *known), "the latest ids are known after a restart");
}
