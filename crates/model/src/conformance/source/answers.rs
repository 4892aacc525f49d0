//! What holds for sources that give again what was not answered.

use std::collections::BTreeSet;

use super::Bench;
use super::kit::Life;
use crate::Position;
use crate::door::source::{Answer, Memory};
use crate::verdict::Nack;

/// Without a receipt nothing could be answered.
pub async fn every_message_has_a_receipt(bench: &mut dyn Bench) {
    bench.offer(10).await;
    let mut life = Life::start(bench, Position::default()).await;
    assert_ne!(life.opened.memory, Memory::Position);
    life.read_until(bench, 10, 4).await;
    assert!(life.given.iter().all(|given| given.receipt.is_some()));
    life.answer(0..10, &Answer::Done).await;
    life.close().await;
}

/// What one life has done does not come in the next.
pub async fn what_is_done_is_not_given_again(bench: &mut dyn Bench) {
    done_once(bench, &Answer::Done).await;
}

/// A repetition is done with as well: it does not come a third time.
pub async fn a_repetition_counts_as_done(bench: &mut dyn Bench) {
    done_once(bench, &Answer::Repeated).await;
}

async fn done_once(bench: &mut dyn Bench, answer: &Answer) {
    bench.offer(10).await;
    let mut life = Life::start(bench, Position::default()).await;
    life.read_until(bench, 10, 4).await;
    life.answer(0..10, answer).await;
    life.close().await;
    bench.offer(5).await;
    let mut life = Life::start(bench, Position::default()).await;
    life.read_until(bench, 5, 4).await;
    life.answer(0..5, &Answer::Done).await;
    // What is given again would come by now, before something that was offered later.
    bench.offer(1).await;
    life.read_until(bench, 6, 4).await;
    let mut numbers = life.numbers(bench);
    numbers.sort_unstable();
    assert_eq!(numbers, [10, 11, 12, 13, 14, 15]);
    life.answer(5..6, &Answer::Done).await;
    life.close().await;
}

/// What a life has not answered comes in the next, and what it has answered does not.
pub async fn what_was_not_answered_is_given_again(bench: &mut dyn Bench) {
    const OFFERED: u64 = 60;
    bench.offer(OFFERED).await;
    let mut random = fastrand::Rng::with_seed(3);
    let mut missing: BTreeSet<u64> = (0..OFFERED).collect();
    while !missing.is_empty() {
        let mut life = Life::start(bench, Position::default()).await;
        let count = random.usize(1..=missing.len());
        life.read_until(bench, count, 9).await;
        let settled = random.usize(0..=count);
        life.answer(0..settled, &Answer::Done).await;
        let mut seen = BTreeSet::new();
        for (index, given) in life.given.iter().enumerate() {
            assert!(
                missing.contains(&given.number),
                "message {} was answered in a former life",
                given.number
            );
            assert!(seen.insert(given.number), "message {} was given twice", given.number);
            assert!(index < count);
        }
        for given in &life.given[..settled] {
            missing.remove(&given.number);
        }
        life.close().await;
    }
}

/// What is sent back comes again, and what is not does not.
pub async fn what_is_sent_back_is_given_again(bench: &mut dyn Bench) {
    const OFFERED: usize = 12;
    bench.offer(OFFERED as u64).await;
    let mut life = Life::start(bench, Position::default()).await;
    life.read_until(bench, OFFERED, 5).await;
    let (even, odd): (Vec<_>, Vec<_>) = (0..OFFERED).partition(|index| life.given[*index].number % 2 == 0);
    life.answer(odd.into_iter(), &Answer::Done).await;
    life.answer(even.into_iter(), &Answer::Nack(Nack::default())).await;
    life.read_until(bench, OFFERED + OFFERED / 2, 5).await;
    let mut again: Vec<_> = life.given[OFFERED..].iter().map(|given| given.number).collect();
    again.sort_unstable();
    assert_eq!(again, [0, 2, 4, 6, 8, 10]);
    life.answer(OFFERED..OFFERED + OFFERED / 2, &Answer::Done).await;
    life.close().await;
}
