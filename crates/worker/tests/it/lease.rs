//! A worker that may have lost its units writes nothing outside of what it read before.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use model::door::source::Memory;
use tokio::task::yield_now;
use worker::{Hand, Lease};

use crate::kit::gated::Gated;
use crate::kit::sinks::Taken;
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

/// A sink that has 400 messages in hand and waits at a gate, over a buffer that answers while another gate is open.
struct Scene {
    world: World,
    sink: Gate,
    buffer: Gate,
    lease: Arc<Lapsing>,
    taken: Taken,
    running: Running,
}

impl Scene {
    async fn new() -> Self {
        let world = World::new(5, three());
        let outside = Outside::new(Memory::Position, COUNT).ending();
        let source = world.source("in", outside.open(), vec![world.edge("out")]);
        Running::start(source, world.orders(&source_unit())).ended().await.unwrap();
        let (gate, buffer, lease) = (Gate::closed(), Gate::opened(), Arc::new(Lapsing::default()));
        let (sink, taken) = sinks::collecting();
        let mut setup = world.sink("out", sinks::only(sink.behind(&gate)));
        setup.lease = Some(lease.clone());
        setup.buffer = Some(Arc::new(Gated { inner: world.buffer.clone(), gate: buffer.clone() }));
        let orders = world.orders(&world.units("out"));
        let running = Running::start(setup, orders);
        let scene = Self { world, sink: gate, buffer, lease, taken, running };
        until("everything is in hand", async || scene.in_hand() == COUNT).await;
        scene
    }

    fn in_hand(&self) -> u64 {
        self.running.handle.report().iter().map(|unit| unit.in_hand).sum()
    }

    /// Owns everything again and writes the rest.
    async fn goes_on(self) -> Vec<String> {
        until("everything is given up", async || self.in_hand() == 0).await;
        let count = self.taken.count();
        assert!(count <= BATCH, "only the write that was under way came to its end: {count}");
        self.running.handle.order(self.world.orders(&self.world.units("out")));
        until("everything is out", async || self.world.left("out").await == 0).await;
        self.running.stop().await;
        self.taken.values()
    }
}

#[tokio::test]
async fn what_was_read_before_a_lapse_is_not_written_after_it() {
    let scene = Scene::new().await;
    scene.lease.0.store(1, Ordering::Relaxed);
    scene.sink.open();
    // Nobody else had the units, so that what was under way has been committed, and does not come again.
    assert_eq!(scene.goes_on().await, numbers(COUNT));
}

#[tokio::test]
async fn what_was_written_before_a_lapse_is_committed_however_late_and_does_not_come_again() {
    let scene = Scene::new().await;
    scene.buffer.close();
    scene.lease.0.store(1, Ordering::Relaxed);
    scene.sink.open();
    until("what was under way is written", async || scene.taken.count() > 0).await;
    // Whoever has something to do without the buffer does it.
    for _ in 0..1_000 {
        yield_now().await;
    }
    scene.buffer.open();
    assert_eq!(scene.goes_on().await, numbers(COUNT));
}
