//! What holds for any source.

use super::super::wait::PATIENCE;
use super::Bench;
use super::kit::{Life, numbers};
use crate::Position;

/// What is outside is given, all of it, once, in order.
pub async fn everything_is_given(bench: &mut dyn Bench) {
    let mut random = fastrand::Rng::with_seed(1);
    let mut life = Life::start(bench, Position::default()).await;
    let mut offered = 0;
    for _ in 0..10 {
        let more = random.u64(1..100);
        bench.offer(more).await;
        offered += more;
        let max = random.usize(1..120);
        life.read_until(bench, offered as usize, max).await;
    }
    assert_eq!(life.numbers(bench), numbers(bench, 0, offered));
    life.close().await;
}

/// A read gives no more than it was asked for, and leaves the rest where it is.
pub async fn reads_are_bounded(bench: &mut dyn Bench) {
    bench.offer(20).await;
    let mut life = Life::start(bench, Position::default()).await;
    let mut given = 0;
    for messages_max in [1, 1, 3, 2, 5, 1, 7] {
        let read = life.read(bench, messages_max, PATIENCE).await.expect("the input has not ended");
        assert!((1..=messages_max).contains(&read), "{read} messages were given, {messages_max} asked for");
        given += read;
    }
    life.read_until(bench, 20, 1).await;
    assert!(given <= 20);
    assert_eq!(life.numbers(bench), numbers(bench, 0, 20));
    life.close().await;
}

/// Reads that are given up at any point lose nothing and double nothing.
pub async fn abandoned_reads_lose_nothing(bench: &mut dyn Bench) {
    let mut life = Life::start(bench, Position::default()).await;
    let mut offered = 0;
    for seed in 0..60 {
        let mut random = fastrand::Rng::with_seed(seed);
        let more = random.u64(0..8);
        bench.offer(more).await;
        offered += more;
        for _ in 0..random.u32(1..5) {
            let left = offered as usize - life.given.len();
            let max = random.usize(1..6).min(left.max(1));
            // A source that makes its messages itself would go on beyond what was offered.
            if left > 0 {
                life.read_briefly(bench, max, random.u32(1..6)).await;
            }
        }
    }
    life.read_until(bench, offered as usize, 50).await;
    assert_eq!(life.numbers(bench), numbers(bench, 0, offered));
    life.close().await;
}

/// A source closes with messages that were given and not answered, and with others that were not given.
pub async fn closing_lets_go_of_messages_in_hand(bench: &mut dyn Bench) {
    bench.offer(10).await;
    let mut life = Life::start(bench, Position::default()).await;
    life.read_until(bench, 5, 5).await;
    life.close().await;
}
