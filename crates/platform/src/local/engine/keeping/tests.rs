//! The keeper of three real workers over a real buffer on a simulated disk, turn by turn: units change hands, workers die,
//! and watermarks, pending and drained are what they should be. What the keeper decides is tested where it lives.

use std::sync::Mutex;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use async_trait::async_trait;
use bytes::Bytes;
use connect::buffer::journal::JournalBuffer;
use journal::sim_disk::SimDisk;
use journal::{Journal, Options};
use keeper::Fleet;
use model::door::buffer::{VertexSettings, WhenFull};
use model::door::sink::{Outcome, Sink};
use model::door::source::{Answer, Answers, Batch, Memory, Opened, Receipt, Source};
use model::verdict::Condition;
use model::{Message, Origin, Position, Slot, Topology};
use prometheus_client::registry::Registry;
use tokio::sync::watch;
use tokio::task::JoinSet;
use worker::{
    Bypass, Edge, Ended, Exhausted, Families, Input as From, Limits, Out, Redeliveries, Setup, Sinks,
    Strategy, Who, Worker,
};

use super::*;

/// Far longer than anything takes.
const PATIENCE: Duration = Duration::from_mins(1);
/// The time between turns.
const PACE: Duration = Duration::from_millis(1);
const SHAPE: Topology = Topology { partitions: 2, slots_per_partition: 4 };
/// The first event time; message n is from n milliseconds later.
const BEGIN_MS: i64 = 1_000_000;

fn name(text: &str) -> Name {
    Name::new(text)
}

fn now() -> Time {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
    Time::from_nanos(since.as_nanos() as i64)
}

/// Numbers up to a limit that grows, and no end.
#[derive(Clone)]
struct Numbers {
    limit: watch::Receiver<u64>,
    next: u64,
}

#[async_trait]
impl Source for Numbers {
    async fn resume(&mut self, from: Position) -> Result<(), Error> {
        self.next = from.sequence;
        Ok(())
    }

    async fn read(&mut self, messages_max: usize, wait: Duration) -> Result<Option<Batch>, Error> {
        tokio::task::yield_now().await;
        let (mut limit, next) = (self.limit.clone(), self.next);
        // Time that runs out is a read that finds nothing.
        let more = tokio::time::timeout(wait, limit.wait_for(|limit| *limit > next)).await;
        let limit = more.map_or(next, |limit| *limit.unwrap());
        let until = limit.min(next + messages_max as u64);
        let message = |number: u64| {
            let origin = Origin::Numbered { number, partition: 0 };
            let time = Time::from_millis(BEGIN_MS + number as i64);
            Message::from_source(name("in"), origin, Bytes::from(number.to_string()), time)
        };
        let messages = (self.next..until).map(message).collect();
        self.next = until;
        let end = Some(Position { sequence: until, index: 0 });
        Ok(Some(Batch { messages, receipts: Vec::new(), end }))
    }
}

struct Silent;

#[async_trait]
impl Answers for Silent {
    async fn answer(&mut self, _: &[(Receipt, Answer)]) -> Result<(), Error> {
        Ok(())
    }

    async fn pending(&mut self) -> Result<Option<u64>, Error> {
        Ok(None)
    }

    async fn close(&mut self) -> Result<(), Error> {
        Ok(())
    }
}

/// Keeps what it takes, and takes only while it is open.
#[derive(Clone)]
struct Basket {
    taken: Arc<Mutex<Vec<u64>>>,
    open: watch::Sender<bool>,
}

#[async_trait]
impl Sink for Basket {
    async fn write(&mut self, messages: &[Message], _: Time) -> Result<Vec<Outcome>, Error> {
        self.open.subscribe().wait_for(|open| *open).await.unwrap();
        let number = |message: &Message| std::str::from_utf8(&message.value).unwrap().parse::<u64>().unwrap();
        self.taken.lock().unwrap().extend(messages.iter().map(number));
        Ok(messages.iter().map(|_| Outcome::Done).collect())
    }

    async fn ready(&self) -> bool {
        true
    }

    async fn close(&mut self) -> Result<(), Error> {
        Ok(())
    }
}

/// `in`, `map` and `out`, or a mono vertex `in`; what workers there are, and what is wanted.
struct Running {
    keeping: Keeping,
    buffer: Option<Arc<dyn Buffer>>,
    limit: watch::Sender<u64>,
    basket: Basket,
    views: Vec<WorkerView>,
    watermarks: BTreeMap<Incarnation, worker::Watermark>,
    wanted: BTreeMap<Name, Wanted>,
    tasks: BTreeMap<Incarnation, JoinSet<Result<Ended, Error>>>,
    lives: u64,
}

fn vertices() -> Vec<VertexSettings> {
    let one = |(text, topology): (&str, Topology)| VertexSettings {
        name: name(text),
        topology,
        writers: 1,
        messages_max: 2_000,
        bytes_max: 1 << 30,
    };
    [("in", Topology { partitions: 1, slots_per_partition: 1 }), ("map", SHAPE), ("out", SHAPE)]
        .map(one)
        .into()
}

fn settings() -> Settings {
    let watermark = api::resolve::Watermark { enabled: true, max_delay: Duration::ZERO, idle: None };
    Settings::new(watermark)
}

fn slots() -> BTreeSet<Unit> {
    let slots = (0..u64::from(SHAPE.slots())).map(|number| SHAPE.slot(number));
    slots.chain([Slot::RETRY]).map(Unit::Slot).collect()
}

impl Running {
    fn over(graph: keeper::Graph, buffer: Option<Arc<dyn Buffer>>) -> Self {
        Self {
            keeping: Keeping::new(graph, settings(), Epoch(0), buffer.clone()),
            buffer,
            limit: watch::Sender::new(0),
            basket: Basket { taken: Arc::default(), open: watch::Sender::new(true) },
            views: Vec::new(),
            watermarks: BTreeMap::new(),
            wanted: BTreeMap::new(),
            tasks: BTreeMap::new(),
            lives: 0,
        }
    }

    fn pipeline() -> Self {
        let journal = Journal::open(SimDisk::new(1), Options { reserve_bytes: 0, ..Options::default() });
        let buffer = JournalBuffer::open(Arc::new(journal.unwrap()), vertices()).unwrap();
        let vertex = |text: &str, feed| keeper::Vertex {
            name: name(text),
            feed,
            hold_watermark: Duration::from_mins(1),
        };
        let vertices = vec![
            vertex("in", Feed::Source(BTreeSet::new())),
            vertex("map", Feed::Slots(SHAPE)),
            vertex("out", Feed::Slots(SHAPE)),
        ];
        let edges = vec![(name("in"), name("map")), (name("map"), name("out"))];
        Self::over(keeper::Graph { vertices, edges }, Some(Arc::new(buffer)))
    }

    fn mono() -> Self {
        let feed = Feed::Source(BTreeSet::new());
        let vertex = keeper::Vertex { name: name("in"), feed, hold_watermark: Duration::ZERO };
        Self::over(keeper::Graph { vertices: vec![vertex], edges: Vec::new() }, None)
    }

    /// Starts a worker of a vertex; nothing is wanted of it yet.
    fn start(&mut self, vertex: &str) -> Incarnation {
        self.lives += 1;
        let (incarnation, watermark) = (Incarnation(self.lives), worker::Watermark::default());
        let edge = |to: &str| Edge {
            to: name(to),
            topology: SHAPE,
            condition: Condition::Always,
            when_full: WhenFull::Wait,
            keyed: false,
            back: false,
            codec: model::frame::Codec::None,
        };
        let input = match vertex {
            "in" => From::Source(Opened {
                source: Box::new(Numbers { limit: self.limit.subscribe(), next: 0 }),
                answers: Box::new(Silent),
                memory: Memory::Position,
            }),
            _ => From::Slots(SHAPE),
        };
        let output = match (vertex, &self.buffer) {
            ("in", Some(_)) => Out::Edges(vec![edge("map")]),
            ("map", _) => Out::Edges(vec![edge("out")]),
            _ => Out::Sinks(Sinks {
                primary: Box::new(self.basket.clone()),
                fallback: None,
                on_success: None,
                again: Strategy::default(),
                bypass: Bypass::default(),
            }),
        };
        let setup = Setup {
            lease: None,
            vertex: name(vertex),
            replica: 0,
            incarnation,
            input,
            ordered: false,
            transform: None,
            map: None,
            output,
            buffer: self.buffer.clone(),
            limits: Limits {
                batch_messages: 20,
                read_wait: Duration::from_millis(2),
                in_flight_messages: 400,
            },
            rate_limit: None,
            redelivery: Redeliveries {
                deliveries_max: None,
                exhausted: Exhausted::Drop,
                delay_min: Duration::ZERO,
            },
            watermark: watermark.clone(),
            metrics: Families::register(&mut Registry::default()).resolve(&Who::Mono(vertex.to_owned()), 0),
        };
        let (worker, handle) = Worker::new(setup);
        let mut task = JoinSet::new();
        task.spawn(worker.run());
        self.tasks.insert(incarnation, task);
        self.views.push(WorkerView {
            vertex: name(vertex),
            incarnation,
            handle: Arc::new(handle),
            gone: false,
        });
        self.watermarks.insert(incarnation, watermark);
        incarnation
    }

    /// The slots of a vertex belong to these workers.
    fn share(&mut self, vertex: &str, workers: &[Incarnation]) {
        let fleet = Fleet { weight: 1, workers: workers.iter().copied().collect() };
        let wanted = Wanted::Shared { units: slots(), revisions: vec![fleet] };
        self.wanted.insert(name(vertex), wanted);
    }

    /// The source is read by this worker, or by nobody.
    fn read_by(&mut self, worker: Option<Incarnation>) {
        let units = worker.map(|worker| (Unit::Source(0), worker)).into_iter().collect();
        self.wanted.insert(name("in"), Wanted::Bound(units));
    }

    async fn turn(&mut self) -> Arc<Picture> {
        for task in self.tasks.values_mut() {
            if let Some(ended) = task.try_join_next() {
                panic!("a worker has ended: {:?}", ended.unwrap().map_err(|error| error.chain()));
            }
        }
        self.keeping.turn(&self.views, &self.wanted, now()).await.unwrap()
    }

    /// Makes turns until it holds; gives how long it took.
    async fn until(&mut self, what: &str, mut holds: impl FnMut(&Self, &Picture) -> bool) -> Duration {
        let (begun, mut pace) = (Instant::now(), tokio::time::interval(PACE));
        loop {
            pace.tick().await;
            let picture = self.turn().await;
            if holds(self, &picture) {
                return begun.elapsed();
            }
            assert!(begun.elapsed() < PATIENCE, "{what}: {picture:#?}");
        }
    }

    async fn settled(&mut self, vertex: &str) -> Duration {
        self.until("it is settled", |running, _| running.keeping.is_settled(&name(vertex))).await
    }

    fn taken(&self) -> usize {
        self.basket.taken.lock().unwrap().len()
    }

    fn expect_taken(&self, count: u64) {
        let mut taken = self.basket.taken.lock().unwrap().clone();
        taken.sort_unstable();
        assert!(taken.into_iter().eq(0..count), "everything is out exactly once");
    }

    fn allow(&self, limit: u64) {
        self.limit.send_replace(limit);
    }

    fn watermark(&self, worker: Incarnation) -> Time {
        self.watermarks[&worker].get()
    }

    /// Ends a worker where it is.
    async fn crash(&mut self, worker: Incarnation) {
        let mut task = self.tasks.remove(&worker).unwrap();
        task.abort_all();
        while task.join_next().await.is_some() {}
        for view in self.views.iter_mut().filter(|view| view.incarnation == worker) {
            view.gone = true;
        }
    }
}

#[tokio::test]
async fn slots_change_hands_in_a_flood_and_everything_arrives_once() {
    const COUNT: u64 = 12_000;
    let mut running = Running::pipeline();
    let (source, sink) = (running.start("in"), running.start("out"));
    let maps = [running.start("map"), running.start("map")];
    running.read_by(Some(source));
    running.share("out", &[sink]);
    running.share("map", &maps[..1]);
    running.settled("map").await;
    let mut longest = Duration::ZERO;
    for round in 1..=12_u64 {
        running.allow(COUNT * round / 12);
        let share = [&maps[..1], &maps[1..], &maps[..]][(round % 3) as usize];
        running.share("map", share);
        longest = longest.max(running.settled("map").await);
        for worker in maps {
            let clear = running.keeping.is_clear(&name("map"), worker);
            assert_eq!(clear, !share.contains(&worker), "round {round}: who shall have nothing has nothing");
        }
        let goal = COUNT * round / 12 - 400;
        running.until("the flood goes on", |running, _| running.taken() as u64 >= goal).await;
    }
    assert!(longest < Duration::from_secs(5), "the longest hand-over took {longest:?}");
    // A source that is told to stop leaves what it has not read.
    running.until("everything is out", |running, _| running.taken() as u64 >= COUNT).await;
    running.read_by(None);
    running.until("it is drained", |_, picture| picture.drained).await;
    running.expect_taken(COUNT);
}

#[tokio::test]
async fn watermarks_reach_the_workers_and_never_pass_what_is_inside() {
    const COUNT: u64 = 3_000;
    let mut running = Running::pipeline();
    let workers = [running.start("in"), running.start("map"), running.start("out")];
    running.read_by(Some(workers[0]));
    running.share("map", &workers[1..2]);
    running.share("out", &workers[2..]);
    for round in 1..=10 {
        running.allow(COUNT * round / 10);
        for _ in 0..5 {
            // What is out before the turn is a part of what was out when the turn looked.
            running.turn().await;
            let out: BTreeSet<u64> = running.basket.taken.lock().unwrap().iter().copied().collect();
            let inside = (0..COUNT).find(|number| !out.contains(number)).unwrap_or(COUNT);
            let watermark = running.watermark(workers[2]);
            let first = Time::from_millis(BEGIN_MS + inside as i64);
            assert!(watermark <= first, "{watermark} was published and {first} is not out");
            tokio::task::yield_now().await;
        }
    }
    let last = Time::from_millis(BEGIN_MS + COUNT as i64 - 1);
    running
        .until("time has come everywhere", |running, picture| {
            let of = |worker| running.watermark(worker) == last;
            let shown = picture.vertices.values().all(|vertex| vertex.watermark == Some(last));
            shown && workers.into_iter().all(of)
        })
        .await;
    running.expect_taken(COUNT);
}

#[tokio::test]
async fn nothing_is_drained_while_one_record_is_inside() {
    let mut running = Running::pipeline();
    let workers = [running.start("in"), running.start("map"), running.start("out")];
    running.read_by(Some(workers[0]));
    running.share("map", &workers[1..2]);
    running.share("out", &workers[2..]);
    running.basket.open.send_replace(false);
    running.allow(1);
    running.until("it is at the sink", |_, picture| picture.vertices[&name("out")].in_hand == 1).await;
    assert!(!running.keeping.drained());
    running.read_by(None);
    running.settled("in").await;
    for turn in 0..200 {
        let picture = running.turn().await;
        assert!(!picture.drained, "turn {turn}: one record is inside");
        assert_eq!(picture.vertices[&name("out")].pending, 1);
    }
    running.basket.open.send_replace(true);
    running.until("it is drained", |running, _| running.keeping.drained()).await;
    running.expect_taken(1);
}

#[tokio::test]
async fn a_pipeline_that_never_read_anything_is_drained_after_two_looks() {
    let mut running = Running::pipeline();
    running.read_by(None);
    assert!(!running.turn().await.drained);
    assert!(running.turn().await.drained);
}

#[tokio::test]
async fn a_source_that_is_wanted_and_has_no_worker_has_not_stopped() {
    let mut running = Running::pipeline();
    let units = BTreeSet::from([Unit::Source(0)]);
    running.wanted.insert(name("in"), Wanted::Shared { units, revisions: Vec::new() });
    for _ in 0..5 {
        let picture = running.turn().await;
        assert!(!picture.drained);
        assert_eq!(picture.vertices[&name("in")].state, keeper::State::Progressing, "it is not idle");
    }
}

/// Stops and starts the source several times.
async fn stopped_and_started(mut running: Running, workers: &[Incarnation]) {
    for round in 1..=5 {
        running.read_by(Some(workers[0]));
        running.allow(300 * round - 7);
        running
            .until("something is out", |running, _| running.taken() as u64 > 300 * (round - 1) + 100)
            .await;
        running.read_by(None);
        running.until("it is drained", |_, picture| picture.drained).await;
        assert!(running.keeping.is_clear(&name("in"), workers[0]));
        let taken = running.taken();
        running.allow(300 * round);
        for _ in 0..20 {
            assert!(running.turn().await.drained, "it stays drained");
        }
        assert_eq!(running.taken(), taken, "nobody reads a source that is stopped");
    }
    running.read_by(Some(workers[0]));
    running.until("all is out", |running, _| running.taken() == 1500).await;
    running.expect_taken(1500);
}

#[tokio::test]
async fn a_source_is_stopped_and_started_again() {
    let mut running = Running::pipeline();
    let workers = [running.start("in"), running.start("map"), running.start("out")];
    running.share("map", &workers[1..2]);
    running.share("out", &workers[2..]);
    stopped_and_started(running, &workers).await;
}

#[tokio::test]
async fn a_mono_vertex_without_a_buffer_is_stopped_and_started_again() {
    let mut running = Running::mono();
    let workers = [running.start("in")];
    stopped_and_started(running, &workers).await;
}

#[tokio::test]
async fn a_source_whose_worker_has_died_is_sealed_and_read_again() {
    let mut running = Running::pipeline();
    let workers = [running.start("in"), running.start("map"), running.start("out")];
    running.read_by(Some(workers[0]));
    running.share("map", &workers[1..2]);
    running.share("out", &workers[2..]);
    running.allow(200);
    running.until("some is out", |running, _| running.taken() > 50).await;
    running.crash(workers[0]).await;
    running.read_by(None);
    running.until("it is drained", |_, picture| picture.drained).await;
    assert!(running.keeping.is_settled(&name("in")));
    assert!(running.keeping.is_clear(&name("in"), workers[0]));
    let unit = UnitId { vertex: name("in"), unit: Unit::Source(0) };
    let survey = running.buffer.as_ref().unwrap().survey().await.unwrap();
    assert_eq!(survey.unit(&unit).unwrap().owner, None);
    running.views.retain(|view| !view.gone);
    let next = running.start("in");
    running.read_by(Some(next));
    running.allow(400);
    running.until("all is out", |running, _| running.taken() == 400).await;
    running.expect_taken(400);
}
