//! What the cases are made of: a world with a buffer over a simulated disk, workers in it, and scripted doors.
//!
//! Nothing waits for time: cases wait for conditions, and every wait is bounded.

use std::collections::BTreeMap;
use std::future::Future;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use connect::buffer::journal::JournalBuffer;
use journal::sim_disk::SimDisk;
use journal::{Journal, Options, Stepper};
use model::door::buffer::{Buffer, Claim, Level, VertexSettings, WhenFull};
use model::door::{Error, source};
use model::verdict::Condition;
use model::{Epoch, Incarnation, Message, Name, Slot, Topology, Unit, UnitId};
use prometheus_client::registry::Registry;
use tokio::task::JoinSet;
use worker::{
    Call, Edge, Ended, Exhausted, Families, Hand, Handle, Input, Limits, Metrics, Orders, Out, Redeliveries,
    Setup, Sinks, Strategy, Watermark, Who, Worker,
};

pub(crate) mod fleet;
pub(crate) mod gated;
pub(crate) mod maps;
pub(crate) mod rates;
pub(crate) mod sinks;
pub(crate) mod sources;

/// How long anything may take before a case fails. Far longer than anything takes.
const PATIENCE: Duration = Duration::from_mins(1);

pub(crate) async fn within<T>(what: &str, future: impl Future<Output = T>) -> T {
    match tokio::time::timeout(PATIENCE, future).await {
        Ok(value) => value,
        Err(tokio::time::error::Elapsed { .. }) => {
            panic!("{what}: it has not happened within {} s", PATIENCE.as_secs())
        }
    }
}

/// Waits until `holds`.
pub(crate) async fn until(what: &str, mut holds: impl AsyncFnMut() -> bool) {
    within(what, async {
        while !holds().await {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    })
    .await;
}

/// `count` seeds, or as the variable `TIDEGATE_SEEDS` says: another count, or `from..to`.
pub(crate) fn seeds(count: u64) -> std::ops::Range<u64> {
    let Ok(asked) = std::env::var("TIDEGATE_SEEDS") else { return 0..count };
    match asked.split_once("..") {
        Some((from, to)) => from.parse().unwrap()..to.parse().unwrap(),
        None => 0..asked.parse::<u64>().unwrap(),
    }
}

pub(crate) fn name(text: &str) -> Name {
    Name::new(text)
}

/// A buffer and the names and numbers that are given out in it.
pub(crate) struct World {
    disk: SimDisk,
    pub(crate) buffer: Arc<dyn Buffer>,
    pub(crate) registry: Registry,
    families: Families,
    lives: AtomicU64,
    epochs: AtomicU64,
    vertices: Vec<VertexSettings>,
    /// Turns the commit thread of a buffer whose every step follows from a seed.
    stepper: JoinSet<()>,
}

/// A vertex with slots and without limits that matter.
pub(crate) fn vertex(text: &str, partitions: u16, slots_per_partition: u16) -> VertexSettings {
    let topology = Topology { partitions, slots_per_partition };
    VertexSettings { name: name(text), topology, writers: 1, messages_max: 1 << 40, bytes_max: 1 << 40 }
}

fn options() -> Options {
    Options { segment_bytes: 1 << 18, checkpoint_bytes: 1 << 20, reserve_bytes: 0, ..Options::default() }
}

/// Turns a commit thread at times that follow from the seed, until the end of its life.
async fn turn(mut stepper: Stepper<SimDisk>, seed: u64) {
    let mut random = fastrand::Rng::with_seed(seed);
    let mut idle = 0;
    loop {
        let steps = random.u32(0..3);
        idle = if (0..steps).fold(false, |any, _| stepper.step() || any) { 0 } else { idle + 1 };
        if idle > 20 {
            // Time may go on only when nothing is to be done.
            tokio::time::sleep(Duration::from_millis(1)).await;
        } else {
            tokio::task::yield_now().await;
        }
    }
}

/// A source `in`, a `map` with eight slots and an `out` with eight.
pub(crate) fn three() -> Vec<VertexSettings> {
    vec![vertex("in", 1, 1), vertex("map", 2, 4), vertex("out", 2, 4)]
}

impl World {
    /// A buffer with a commit thread of its own.
    pub(crate) fn new(seed: u64, vertices: Vec<VertexSettings>) -> Self {
        let disk = SimDisk::new(seed);
        let journal = Journal::open(disk.clone(), options()).unwrap();
        Self::over(disk, journal, vertices)
    }

    /// A buffer that goes on only when everybody else has had a turn; for a runtime with one thread.
    pub(crate) fn stepped(seed: u64, vertices: Vec<VertexSettings>) -> Self {
        let disk = SimDisk::new(seed);
        let (journal, stepper) = Journal::open_stepped(disk.clone(), options()).unwrap();
        let mut world = Self::over(disk, journal, vertices);
        world.stepper.spawn(turn(stepper, seed));
        world
    }

    fn over(disk: SimDisk, journal: Journal<SimDisk>, vertices: Vec<VertexSettings>) -> Self {
        let buffer = Arc::new(JournalBuffer::open(Arc::new(journal), vertices.clone()).unwrap());
        let mut registry = Registry::default();
        let families = Families::register(&mut registry);
        let (lives, epochs) = (AtomicU64::new(1), AtomicU64::new(1));
        Self { disk, buffer, registry, families, lives, epochs, vertices, stepper: JoinSet::new() }
    }

    /// Ends the life of everything that holds the buffer and opens what is on the disk. The workers are gone already.
    pub(crate) async fn restart(&mut self, seed: u64) {
        self.stepper.abort_all();
        while self.stepper.join_next().await.is_some() {}
        self.disk = if seed.is_multiple_of(2) {
            self.disk.after_power_loss(seed)
        } else {
            self.disk.after_process_death(seed)
        };
        let (journal, stepper) = Journal::open_stepped(self.disk.clone(), options()).unwrap();
        self.buffer = Arc::new(JournalBuffer::open(Arc::new(journal), self.vertices.clone()).unwrap());
        self.stepper.spawn(turn(stepper, seed));
    }

    pub(crate) fn topology(&self, vertex: &str) -> Topology {
        self.vertices.iter().find(|settings| settings.name == vertex).unwrap().topology
    }

    pub(crate) fn incarnation(&self) -> Incarnation {
        Incarnation(self.lives.fetch_add(1, Ordering::Relaxed))
    }

    pub(crate) fn epoch(&self) -> Epoch {
        Epoch(self.epochs.fetch_add(1, Ordering::Relaxed))
    }

    pub(crate) fn metrics(&self, vertex: &str) -> Arc<Metrics> {
        let who = Who::Vertex { pipeline: "p".to_owned(), vertex: vertex.to_owned(), kind: "MapUDF" };
        self.families.resolve(&who, 0)
    }

    pub(crate) fn mono_metrics(&self, vertex: &str) -> Arc<Metrics> {
        self.families.resolve(&Who::Mono(vertex.to_owned()), 0)
    }

    /// All metrics as text.
    pub(crate) fn text(&self) -> String {
        let mut text = String::new();
        prometheus_client::encoding::text::encode(&mut text, &self.registry).unwrap();
        text
    }

    pub(crate) fn edge(&self, to: &str) -> Edge {
        Edge {
            to: name(to),
            topology: self.topology(to),
            condition: Condition::Always,
            when_full: WhenFull::Wait,
            keyed: false,
            back: false,
            codec: model::frame::Codec::None,
        }
    }

    fn setup(&self, vertex: &str, input: Input, output: Out) -> Setup {
        Setup {
            lease: None,
            vertex: name(vertex),
            replica: 0,
            incarnation: self.incarnation(),
            input,
            ordered: self
                .vertices
                .iter()
                .any(|known| known.name == vertex && known.topology.slots_per_partition == 1),
            transform: None,
            map: None,
            output,
            buffer: Some(self.buffer.clone()),
            limits: Limits {
                batch_messages: 50,
                read_wait: Duration::from_millis(5),
                in_flight_messages: 400,
            },
            rate_limit: None,
            redelivery: Redeliveries {
                deliveries_max: None,
                exhausted: Exhausted::Drop,
                delay_min: Duration::from_millis(1),
            },
            watermark: Watermark::default(),
            metrics: self.metrics(vertex),
        }
    }

    /// A source vertex.
    pub(crate) fn source(&self, vertex: &str, opened: source::Opened, edges: Vec<Edge>) -> Setup {
        self.setup(vertex, Input::Source(opened), Out::Edges(edges))
    }

    /// A map vertex.
    pub(crate) fn map(&self, vertex: &str, map: maps::Scripted, edges: Vec<Edge>) -> Setup {
        let mut setup = self.setup(vertex, Input::Slots(self.topology(vertex)), Out::Edges(edges));
        setup.map = Some(call(map));
        setup
    }

    /// A sink vertex.
    pub(crate) fn sink(&self, vertex: &str, sinks: Sinks) -> Setup {
        self.setup(vertex, Input::Slots(self.topology(vertex)), Out::Sinks(sinks))
    }

    /// A source with sinks and nothing in between.
    pub(crate) fn mono(&self, vertex: &str, opened: source::Opened, sinks: Sinks) -> Setup {
        let mut setup = self.setup(vertex, Input::Source(opened), Out::Sinks(sinks));
        setup.metrics = self.mono_metrics(vertex);
        setup
    }

    /// All units of a vertex that reads slots, the retry slot included.
    pub(crate) fn units(&self, vertex: &str) -> Vec<Unit> {
        let topology = self.topology(vertex);
        let slots = (0..u64::from(topology.slots())).map(|number| topology.slot(number));
        slots.chain([Slot::RETRY]).map(Unit::Slot).collect()
    }

    /// Orders to own all of these under numbers that were never given out.
    pub(crate) fn orders(&self, units: &[Unit]) -> Orders {
        Orders { units: units.iter().map(|unit| (*unit, self.epoch())).collect(), stop: false }
    }

    pub(crate) async fn levels(&self, vertex: &str) -> Vec<Level> {
        self.buffer.levels(vertex).await.unwrap()
    }

    /// Messages that lie in the slots of a vertex and are not settled.
    pub(crate) async fn left(&self, vertex: &str) -> u64 {
        self.levels(vertex).await.iter().map(|level| level.messages).sum()
    }

    /// Everything that lies unsettled in the slots of a vertex, slot by slot, in order.
    pub(crate) async fn content(&self, vertex: &str) -> BTreeMap<Slot, Vec<Message>> {
        let mut content = BTreeMap::new();
        for level in self.levels(vertex).await {
            let unit = UnitId { vertex: name(vertex), unit: Unit::Slot(level.place.slot) };
            let epoch = Epoch((1 << 40) + self.epoch().0);
            let claim = Claim { unit, owner: self.incarnation(), replica: 9, epoch };
            let mut claimed = self.buffer.claim(claim).await.unwrap();
            let from = claimed.progress.position;
            let reader = claimed.reader.as_mut().unwrap();
            let mut messages = Vec::new();
            while (messages.len() as u64) < level.messages {
                for stored in within("read what is there", reader.read(1 << 20)).await.unwrap() {
                    let done = if stored.sequence == from.sequence { from.index as usize } else { 0 };
                    let all = stored.frame.messages(stored.sequence, level.place.slot.partition).unwrap();
                    messages.extend(all.into_iter().skip(done));
                }
            }
            content.insert(level.place.slot, messages);
        }
        content
    }

    /// The payloads of [`World::content`], sorted.
    pub(crate) async fn values(&self, vertex: &str) -> Vec<String> {
        let content = self.content(vertex).await;
        let mut values: Vec<_> = content.values().flatten().map(value).collect();
        values.sort();
        values
    }
}

pub(crate) fn call(map: maps::Scripted) -> Call {
    Call { door: Arc::new(map), again: Strategy::default() }
}

pub(crate) fn value(message: &Message) -> String {
    String::from_utf8(message.value.to_vec()).unwrap()
}

/// `0` to `count`, as payloads, sorted as text.
pub(crate) fn numbers(count: u64) -> Vec<String> {
    let mut all: Vec<_> = (0..count).map(|number| number.to_string()).collect();
    all.sort();
    all
}

/// A worker that runs.
pub(crate) struct Running {
    pub(crate) handle: Handle,
    task: JoinSet<Result<Ended, Error>>,
}

impl Running {
    pub(crate) fn start(setup: Setup, orders: Orders) -> Self {
        let (worker, handle) = Worker::new(setup);
        handle.order(orders);
        let mut task = JoinSet::new();
        task.spawn(worker.run());
        Self { handle, task }
    }

    /// Waits until it has ended by itself.
    pub(crate) async fn ended(mut self) -> Result<Ended, Error> {
        within("the worker ends", self.task.join_next()).await.unwrap().unwrap()
    }

    /// Lets go of the handle and waits until it has ended.
    pub(crate) async fn abandoned(self) -> Result<Ended, Error> {
        let Self { handle, mut task } = self;
        drop(handle);
        within("the worker ends", task.join_next()).await.unwrap().unwrap()
    }

    pub(crate) async fn stop(self) {
        self.handle.stop();
        assert_eq!(self.ended().await.unwrap(), Ended::Stopped);
    }

    /// Ends it where it is.
    pub(crate) async fn crash(mut self) {
        self.task.abort_all();
        while self.task.join_next().await.is_some() {}
    }

    pub(crate) fn in_hand(&self) -> u64 {
        self.handle.report().iter().map(|unit| unit.in_hand).sum()
    }
}

/// The order of the source unit.
pub(crate) fn source_unit() -> [Unit; 1] {
    [Unit::Source(0)]
}

/// Lets through whoever comes while it is open.
#[derive(Clone)]
pub(crate) struct Gate(tokio::sync::watch::Sender<bool>);

impl Gate {
    pub(crate) fn closed() -> Self {
        Self(tokio::sync::watch::Sender::new(false))
    }

    pub(crate) fn open(&self) {
        self.0.send_replace(true);
    }

    pub(crate) fn opened() -> Self {
        Self(tokio::sync::watch::Sender::new(true))
    }

    pub(crate) fn close(&self) {
        self.0.send_replace(false);
    }

    pub(crate) async fn passed(&self) {
        self.0.subscribe().wait_for(|open| *open).await.expect("this holds the sender");
    }
}
