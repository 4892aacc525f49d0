//! Ownership: who may claim, what a claim promises, and what is left to the former owner (nothing).

use std::sync::Arc;

use super::Bench;
use super::kit::{
    Crew, Owner, body, claim_of, expect_lost, numbers, output, place, slot, slot_unit, source, vertex,
    within, world,
};
use crate::door::Class;
use crate::door::buffer::{Buffer, Commit, VertexSettings};
use crate::{Position, Progress, Slot};

/// A first claim finds position 0; the unit of a slot has a reader, the unit of a source has none.
pub async fn a_unit_never_claimed_is_at_its_beginning(bench: &dyn Bench) {
    let buffer = bench.open(&world()).await;
    let in_source = Owner::claim(&buffer, &source("in", 0), 1, 1).await;
    assert_eq!(in_source.progress, Progress::default());
    assert!(in_source.reader.is_none(), "a source is not read through the buffer");
    for slot in [slot(0, 0), slot(1, 1), Slot::RETRY] {
        let unit = Owner::claim(&buffer, &slot_unit("map", slot), 1, 1).await;
        assert_eq!(unit.progress, Progress::default());
        assert!(unit.reader.is_some(), "a slot is read");
    }
}

/// A claim under an epoch below the current one is `Lost`, and the owner goes on.
pub async fn a_lower_epoch_is_refused(bench: &dyn Bench) {
    let buffer = bench.open(&world()).await;
    let mut owner = Owner::claim(&buffer, &source("in", 0), 1, 5).await;
    for epoch in [0, 1, 4] {
        expect_lost("claim under a lower epoch", Owner::try_claim(&buffer, &source("in", 0), 2, epoch).await);
        expect_lost(
            "claim under an own lower epoch",
            Owner::try_claim(&buffer, &source("in", 0), 1, epoch).await,
        );
    }
    owner.write(vec![output("map", slot(0, 0), body([1]))]).await;
}

/// A claim under the current epoch by another incarnation is `Lost`, and the owner goes on.
pub async fn the_current_epoch_is_refused_to_another_owner(bench: &dyn Bench) {
    let buffer = bench.open(&world()).await;
    let mut owner = Owner::claim(&buffer, &slot_unit("map", slot(0, 1)), 1, 5).await;
    let other = Owner::try_claim(&buffer, &slot_unit("map", slot(0, 1)), 2, 5).await;
    expect_lost("claim under the epoch of another", other);
    let mut writer = Owner::claim(&buffer, &source("in", 0), 2, 5).await;
    let sequence = writer.write(vec![output("map", slot(0, 1), body([1]))]).await[0];
    assert_eq!(owner.read_frames(1).await[0].sequence, sequence);
    owner.settle_through(sequence).await;
}

/// The owner may claim again under its epoch and finds its progress.
pub async fn the_same_owner_may_claim_again(bench: &dyn Bench) {
    let buffer = bench.open(&world()).await;
    let mut first = Owner::claim(&buffer, &source("in", 0), 1, 5).await;
    first.write(vec![output("map", slot(0, 0), body([1]))]).await;
    drop(first);
    let mut second = Owner::claim(&buffer, &source("in", 0), 1, 5).await;
    assert_eq!(second.progress.position, Position { sequence: 1, index: 0 });
    second.write(vec![output("map", slot(0, 0), body([2]))]).await;
    let mut reader = Owner::claim(&buffer, &slot_unit("map", slot(0, 0)), 1, 1).await;
    let frames = reader.read_frames(2).await;
    assert_eq!(frames.iter().flat_map(|frame| numbers(frame, slot(0, 0))).collect::<Vec<_>>(), [1, 2]);
}

/// After a claim under a higher epoch everything the former owner tries is `Lost`, and nothing of it is stored.
pub async fn a_higher_epoch_takes_the_unit_from_its_owner(bench: &dyn Bench) {
    let buffer = bench.open(&world()).await;
    let unit = slot_unit("map", slot(0, 0));
    let mut writer = Owner::claim(&buffer, &source("in", 0), 9, 1).await;
    let sequence = writer.write(vec![output("map", slot(0, 0), body([1]))]).await[0];
    let mut zombies = Vec::new();
    for epoch in 1..=3 {
        zombies.push(Owner::claim(&buffer, &unit, epoch, epoch).await);
    }
    let mut owner = zombies.pop().expect("the last claimant is the owner");
    for mut zombie in zombies {
        let commit = Commit {
            outputs: vec![output("out", slot(0, 0), body([13]))],
            progress: Progress::to(Position::after(sequence)),
            ..Commit::default()
        };
        expect_lost("commit of a former owner", within("commit", zombie.try_commit(commit.clone())).await);
        expect_lost("read of a former owner", within("read", zombie.try_read(1000)).await);
        expect_lost("a second commit of a former owner", within("commit", zombie.try_commit(commit)).await);
        expect_lost("release of a former owner", within("release", zombie.committer.release()).await);
    }
    assert_eq!(owner.progress, Progress::default());
    assert_eq!(owner.read_frames(1).await[0].sequence, sequence);
    let stored = owner
        .commit(Commit {
            outputs: vec![output("out", slot(0, 0), body([14]))],
            progress: Progress::to(Position::after(sequence)),
            ..Commit::default()
        })
        .await;
    let mut sink = Owner::claim(&buffer, &slot_unit("out", slot(0, 0)), 1, 1).await;
    let frames = sink.read_frames(1).await;
    assert_eq!(Some(frames[0].sequence), stored.stored[0]);
    assert_eq!(numbers(&frames[0], slot(0, 0)), [14]);
    sink.expect_nothing().await;
}

/// A read that waits for a frame is `Lost` when the unit is taken.
pub async fn a_waiting_read_ends_when_the_unit_is_taken(bench: &dyn Bench) {
    let buffer = bench.open(&world()).await;
    let unit = slot_unit("map", slot(1, 0));
    let mut former = Owner::claim(&buffer, &unit, 1, 1).await;
    let mut crew = Crew::default();
    crew.spawn(async move { expect_lost("the read under way", within("read", former.try_read(1000)).await) });
    for _ in 0..20 {
        tokio::task::yield_now().await;
    }
    let mut owner = Owner::claim(&buffer, &unit, 2, 2).await;
    crew.join("the former owner ends").await;
    let mut writer = Owner::claim(&buffer, &source("in", 0), 1, 1).await;
    writer.write(vec![output("map", slot(1, 0), body([4]))]).await;
    owner.read_frames(1).await;
}

fn narrow_world() -> Vec<VertexSettings> {
    let mut world = world();
    for vertex in &mut world {
        vertex.messages_max = 10;
    }
    world
}

/// A commit that waits for room is `Lost` when the unit is taken, and nothing of it is stored.
pub async fn a_waiting_commit_ends_when_the_unit_is_taken(bench: &dyn Bench) {
    let buffer = bench.open(&narrow_world()).await;
    let mut former = Owner::claim(&buffer, &source("in", 0), 1, 1).await;
    former.write(vec![output("map", slot(0, 0), body(0..10))]).await;
    let mut crew = Crew::default();
    crew.spawn(async move {
        // One frame decides its commit itself; several may be decided before they find room.
        let commit = former.next(vec![output("map", slot(0, 1), body([100]))]);
        expect_lost("the commit under way", within("commit", former.try_commit(commit)).await);
    });
    for _ in 0..20 {
        tokio::task::yield_now().await;
    }
    let owner = Owner::claim(&buffer, &source("in", 0), 2, 2).await;
    crew.join("the former owner ends").await;
    assert_eq!(owner.progress.position, Position { sequence: 1, index: 0 });
    let mut full = Owner::claim(&buffer, &slot_unit("map", slot(0, 0)), 1, 1).await;
    let sequence = full.read_frames(1).await[0].sequence;
    full.settle_through(sequence).await;
    Owner::claim(&buffer, &slot_unit("map", slot(0, 1)), 1, 1).await.expect_nothing().await;
}

/// Whatever the former owner has under way when the unit is taken: the progress of the claim covers exactly what is
/// stored, and nothing is added to it afterwards.
pub async fn the_progress_of_a_claim_is_final(bench: &dyn Bench) {
    const ROUNDS: u64 = 40;
    let buffer = bench.open(&world()).await;
    let mut sinks = Vec::new();
    for slot in [slot(0, 0), slot(1, 1)] {
        sinks.push((slot, Owner::claim(&buffer, &slot_unit("map", slot), 1, 1).await, Vec::new()));
    }
    let mut rng = fastrand::Rng::with_seed(11);
    let mut crew = Crew::default();
    let mut written = 0;
    for round in 1..=ROUNDS {
        let mut owner = Owner::claim(&buffer, &source("in", 0), round, round).await;
        let sequence = owner.progress.position.sequence;
        assert!(sequence >= written, "a position never goes back");
        written = sequence;
        for (slot, sink, seen) in &mut sinks {
            while (seen.len() as u64) < written {
                for frame in sink.read(1 << 20).await {
                    seen.extend(numbers(&frame, *slot));
                }
            }
            assert!(
                seen.iter().copied().eq(0..written),
                "exactly what the progress covers is stored: {seen:?}"
            );
        }
        crew.spawn(async move {
            loop {
                let number = owner.progress.position.sequence;
                let outputs = [slot(0, 0), slot(1, 1)].map(|slot| output("map", slot, body([number])));
                let commit = owner.next(outputs.into());
                match within("commit of an owner to be", owner.try_commit(commit)).await {
                    Ok(_) => {}
                    Err(error) if error.class() == Class::Lost => break,
                    Err(error) => panic!("commit: {}", error.chain()),
                }
            }
        });
        for _ in 0..rng.u32(0..60) {
            tokio::task::yield_now().await;
        }
    }
    let owner = Owner::claim(&buffer, &source("in", 0), ROUNDS + 1, ROUNDS + 1).await;
    crew.join("all former owners end").await;
    let again = Owner::claim(&buffer, &source("in", 0), ROUNDS + 1, ROUNDS + 1).await;
    assert_eq!(again.progress, owner.progress, "nobody moved the progress after the claim");
}

async fn race(buffer: &Arc<dyn Buffer>, claims: [(u64, u64); 2]) -> Vec<(u64, Owner)> {
    let (sender, mut receiver) = tokio::sync::mpsc::channel(2);
    let mut crew = Crew::default();
    for (owner, epoch) in claims {
        let (buffer, sender) = (buffer.clone(), sender.clone());
        crew.spawn(async move {
            match Owner::try_claim(&buffer, &source("in", 0), owner, epoch).await {
                Ok(claimed) => assert!(sender.send((owner, claimed)).await.is_ok(), "the case waits for it"),
                Err(error) => assert_eq!(error.class(), Class::Lost, "{}", error.chain()),
            }
        });
    }
    drop(sender);
    let mut won = Vec::new();
    while let Some(owner) = within("claims end", receiver.recv()).await {
        won.push(owner);
    }
    crew.join("claimants end").await;
    won
}

/// Two incarnations claim under the same epoch at the same time: exactly one becomes the owner and stays it.
pub async fn one_of_two_claimants_under_one_epoch_wins(bench: &dyn Bench) {
    let buffer = bench.open(&world()).await;
    for epoch in 1..=30 {
        let mut won = race(&buffer, [(2 * epoch, epoch), (2 * epoch + 1, epoch)]).await;
        assert_eq!(won.len(), 1, "one claimant under epoch {epoch} wins");
        let (_, mut owner) = won.remove(0);
        assert_eq!(owner.progress.position.sequence, epoch - 1);
        owner.write(vec![output("map", slot(0, 0), body([epoch]))]).await;
    }
}

/// Two epochs are claimed at the same time: the higher one always wins, and whoever had the lower one is `Lost`.
pub async fn of_two_epochs_claimed_at_once_the_higher_stays(bench: &dyn Bench) {
    let buffer = bench.open(&world()).await;
    for round in 1..=30 {
        let (lower, higher) = (2 * round, 2 * round + 1);
        let won = race(&buffer, [(lower, lower), (higher, higher)]).await;
        let mut stayed = false;
        for (owner, mut unit) in won {
            let commit = unit.next(vec![output("map", slot(0, 0), body([round]))]);
            if owner == higher {
                unit.commit(commit).await;
                stayed = true;
            } else {
                expect_lost("commit under the lower epoch", within("commit", unit.try_commit(commit)).await);
            }
        }
        assert!(stayed, "the higher epoch is never refused");
    }
}

/// After a restart the same rules hold: lower epochs and other owners are refused, the owner itself is not.
pub async fn ownership_survives_a_restart(bench: &dyn Bench) {
    let mut buffer = bench.open(&[vertex("in", 1, 1), vertex("map", 1, 1)]).await;
    let mut owner = Owner::claim(&buffer, &source("in", 0), 1, 7).await;
    owner.write(vec![output("map", slot(0, 0), body([1]))]).await;
    let idle = Owner::claim(&buffer, &slot_unit("map", slot(0, 0)), 1, 7).await;
    drop((owner, idle, buffer));
    buffer = bench.restart().await;
    for unit in [source("in", 0), slot_unit("map", slot(0, 0))] {
        expect_lost("claim under a lower epoch", Owner::try_claim(&buffer, &unit, 1, 6).await);
        expect_lost("claim under the epoch of another", Owner::try_claim(&buffer, &unit, 2, 7).await);
        Owner::claim(&buffer, &unit, 1, 7).await;
        Owner::claim(&buffer, &unit, 2, 8).await;
    }
}

/// A unit that was released is claimed by another without waiting for anything, and finds its progress.
pub async fn a_released_unit_is_taken_at_once(bench: &dyn Bench) {
    let buffer = bench.open(&world()).await;
    for epoch in 1..=20 {
        let mut owner = Owner::claim(&buffer, &source("in", 0), epoch, epoch).await;
        assert_eq!(owner.progress.position.sequence, epoch - 1);
        owner.write(vec![output("map", slot(0, 0), body([epoch]))]).await;
        owner.release().await;
    }
    let claim = claim_of(&source("in", 0), 3, 3);
    let refused = buffer.claim(claim).await.err().map(|error| error.class());
    assert!(matches!(refused, Some(Class::Lost | Class::Retry)), "a release does not lower the epoch");
    let level = super::kit::level(&buffer, &world()[1], slot(0, 0)).await;
    assert_eq!((level.place, level.messages), (place("map", slot(0, 0)), 20));
}
