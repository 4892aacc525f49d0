//! A worker that may have lost its units writes nothing outside of what it read before.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use model::door::source::Memory;
use worker::{Hand, Lease};

use crate::kit::sources::Outside;
use crate::kit::{Gate, Running, World, numbers, sinks, source_unit, three, until};

const COUNT: u64 = 400;
/// The most that one write takes.
const BATCH: usize = 50;

#[derive(Default)]
struct Lapsing(AtomicU64);

impl Lease for Lapsing {
    fn lapses(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }

    fn is_out(&self) -> bool {
        false
    }
}

#[tokio::test]
async fn what_was_read_before_a_lapse_is_not_written_after_it() {
    let world = World::new(5, three());
    let outside = Outside::new(Memory::Position, COUNT).ending();
    let source = world.source("in", outside.open(), vec![world.edge("out")]);
    Running::start(source, world.orders(&source_unit())).ended().await.unwrap();
    let (gate, lease) = (Gate::closed(), Arc::new(Lapsing::default()));
    let (sink, taken) = sinks::collecting();
    let mut setup = world.sink("out", sinks::only(sink.behind(&gate)));
    setup.lease = Some(lease.clone());
    let units = world.units("out");
    let running = Running::start(setup, world.orders(&units));
    let in_hand = || running.handle.report().iter().map(|unit| unit.in_hand).sum::<u64>();
    until("everything is in hand", async || in_hand() == COUNT).await;
    lease.0.store(1, Ordering::Relaxed);
    gate.open();
    until("everything is given up", async || in_hand() == 0).await;
    assert!(taken.count() <= BATCH, "only the write that was under way came to its end: {}", taken.count());
    running.handle.order(world.orders(&units));
    until("everything is out", async || world.left("out").await == 0).await;
    running.stop().await;
    let mut values = taken.values();
    assert!(values.len() as u64 <= COUNT + BATCH as u64, "only what was under way may come twice");
    values.dedup();
    assert_eq!(values, numbers(COUNT));
}
