//! What holds for sources that wait for what comes from outside.

use std::time::Duration;

use super::super::wait::PATIENCE;
use super::Bench;
use super::kit::{Life, numbers};
use crate::Position;

const BRIEFLY: Duration = Duration::from_millis(5);

/// A read of a source that has nothing ends, and says that there was nothing.
pub async fn an_empty_source_says_so(bench: &mut dyn Bench) {
    let mut life = Life::start(bench, Position::default()).await;
    for _ in 0..3 {
        assert_eq!(life.read(bench, 10, BRIEFLY).await, Some(0));
    }
    bench.offer(1).await;
    life.read_until(bench, 1, 10).await;
    assert_eq!(life.read(bench, 10, BRIEFLY).await, Some(0));
    life.close().await;
}

/// A read that waits gives what arrives, and does not wait to the end of its time for more.
pub async fn a_waiting_read_wakes_up_when_a_message_arrives(bench: &mut dyn Bench) {
    let mut life = Life::start(bench, Position::default()).await;
    for round in 1..=10 {
        // Begins to wait, and is given up by the time something arrives.
        assert_eq!(life.read_briefly(bench, 10, 2).await, 0);
        bench.offer(1).await;
        assert_eq!(life.read(bench, 10, PATIENCE).await, Some(1));
        assert_eq!(life.numbers(bench), numbers(bench, 0, round));
    }
    life.close().await;
}

/// Single messages are given as they come, not held until there are more.
pub async fn a_trickle_is_given_message_by_message(bench: &mut dyn Bench) {
    let mut life = Life::start(bench, Position::default()).await;
    for number in 0..20 {
        bench.offer(1).await;
        life.read_until(bench, number + 1, 100).await;
    }
    assert_eq!(life.numbers(bench), numbers(bench, 0, 20));
    life.close().await;
}

/// After everything was given the end is said, and said again.
pub async fn an_end_is_an_end(bench: &mut dyn Bench) {
    bench.offer(7).await;
    bench.end().await;
    let mut life = Life::start(bench, Position::default()).await;
    life.read_until(bench, 7, 3).await;
    assert_eq!(life.numbers(bench), numbers(bench, 0, 7));
    for _ in 0..3 {
        assert_eq!(life.read(bench, 10, PATIENCE).await, None);
    }
    life.close().await;
}
