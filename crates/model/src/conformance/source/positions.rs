//! What holds for sources that go on after a position.

use super::Bench;
use super::kit::{Life, numbers};
use crate::Position;
use crate::door::source::Memory;

/// In each life reading goes on exactly after the position, whatever the former life had read beyond it.
pub async fn reading_goes_on_after_the_position(bench: &mut dyn Bench) {
    let mut random = fastrand::Rng::with_seed(2);
    let mut position = Position::default();
    let mut done = 0;
    let mut offered = 0;
    for _ in 0..10 {
        let more = random.u64(20..60);
        bench.offer(more).await;
        offered += more;
        let mut life = Life::start(bench, position).await;
        assert_eq!(life.opened.memory, Memory::Position);
        let left = usize::try_from(offered - done).expect("a few hundred");
        let settled = random.usize(1..left);
        life.read_until(bench, settled, 7).await;
        let committed = life.end.expect("a batch with messages has an end");
        assert!(committed > position);
        let beyond = random.usize(settled..=left);
        life.read_until(bench, beyond, 7).await;
        assert_eq!(life.numbers(bench), numbers(bench, done, beyond as u64));
        life.close().await;
        position = committed;
        done += settled as u64;
    }
}

/// Without a commit the next life begins where the first began.
pub async fn a_unit_that_never_committed_starts_at_the_beginning(bench: &mut dyn Bench) {
    bench.offer(10).await;
    for _ in 0..3 {
        let mut life = Life::start(bench, Position::default()).await;
        life.read_until(bench, 10, 4).await;
        assert_eq!(life.numbers(bench), numbers(bench, 0, 10));
        life.close().await;
    }
}
