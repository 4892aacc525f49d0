//! How fast workers are without a network and without user code in other processes: a mono vertex from a source that
//! costs nothing to a sink that keeps nothing, and three vertices over the journal on a real disk, beside what the
//! disk itself takes.
//!
//! `cargo run --release -p tidegate-worker --example pipeline_speed [mono|three|disk] [DIRECTORY]`

#![expect(clippy::print_stdout, reason = "it prints a table")]
#![expect(clippy::unwrap_used, reason = "a measurement that fails says where")]

extern crate tidegate_worker as worker;

use std::fs::File;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use async_trait::async_trait;
use bytes::Bytes;
use connect::buffer::journal::JournalBuffer;
use journal::{Durability, FileDisk, Journal, Options};
use model::door::Error;
use model::door::buffer::{Buffer, VertexSettings, WhenFull};
use model::door::map::Map;
use model::door::source::{Answer, Answers, Batch, Memory, Opened, Receipt, Source};
use model::verdict::{Condition, Reply};
use model::{Epoch, Incarnation, Message, Name, Origin, Position, Slot, Time, Topology, Unit};
use prometheus_client::registry::Registry;
use tokio::task::JoinSet;
use worker::{
    Bypass, Call, Edge, Exhausted, Families, Hand, Handle, Input, Limits, Metrics, Orders, Out, Redeliveries,
    Setup, Sinks, Strategy, Watermark, Who, Worker,
};

/// Gives the same payload for ever, or so many times.
struct Given {
    name: Name,
    payload: Bytes,
    next: u64,
    until: u64,
}

#[async_trait]
impl Source for Given {
    async fn resume(&mut self, from: Position) -> Result<(), Error> {
        self.next = from.sequence;
        Ok(())
    }

    async fn read(&mut self, messages_max: usize, _: Duration) -> Result<Option<Batch>, Error> {
        let until = self.until.min(self.next + messages_max as u64);
        if until == self.next {
            return Ok(None);
        }
        let message = |number| {
            let origin = Origin::Numbered { number, partition: 0 };
            let time = Time::from_millis(number as i64);
            Message::from_source(self.name.clone(), origin, self.payload.clone(), time)
        };
        let messages = (self.next..until).map(message).collect();
        self.next = until;
        Ok(Some(Batch { messages, receipts: Vec::new(), end: Some(Position { sequence: until, index: 0 }) }))
    }
}

struct Nobody;

#[async_trait]
impl Answers for Nobody {
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

fn given(size: usize, count: u64) -> Opened {
    let payload = Bytes::from(vec![b'x'; size]);
    let source = Given { name: Name::new("in"), payload, next: 0, until: count };
    Opened { source: Box::new(source), answers: Box::new(Nobody), memory: Memory::Position }
}

struct Cat(Name);

#[async_trait]
impl Map for Cat {
    async fn map(&self, messages: Arc<Vec<Message>>, _: Time) -> Result<Vec<Reply>, Error> {
        let pass = |message: &Message| Reply {
            outputs: vec![message.child(&self.0, 0, message.value.clone())],
            nack: None,
        };
        Ok(messages.iter().map(pass).collect())
    }

    async fn ready(&self) -> bool {
        true
    }
}

fn metrics(vertex: &str) -> Arc<Metrics> {
    let who = Who::Vertex { pipeline: "speed".to_owned(), vertex: vertex.to_owned(), kind: "MapUDF" };
    Families::register(&mut Registry::default()).resolve(&who, 0)
}

fn setup(vertex: &str, input: Input, output: Out, buffer: Option<Arc<dyn Buffer>>) -> Setup {
    Setup {
        lease: None,
        vertex: Name::new(vertex),
        replica: 0,
        incarnation: Incarnation(1),
        input,
        ordered: false,
        transform: None,
        map: None,
        output,
        buffer,
        limits: Limits { batch_messages: 500, read_wait: Duration::from_secs(1), in_flight_messages: 5000 },
        rate_limit: None,
        redelivery: Redeliveries {
            deliveries_max: None,
            exhausted: Exhausted::Drop,
            delay_min: Duration::from_millis(100),
        },
        watermark: Watermark::default(),
        metrics: metrics(vertex),
    }
}

fn blackhole() -> Out {
    Out::Sinks(Sinks {
        primary: connect::sink::blackhole::open(),
        fallback: None,
        on_success: None,
        again: Strategy::default(),
        bypass: Bypass::default(),
    })
}

fn edge(to: &str) -> Edge {
    let (topology, condition) = (Topology::of(1, false), Condition::Always);
    let codec = model::frame::Codec::None;
    Edge {
        to: Name::new(to),
        topology,
        condition,
        when_full: WhenFull::Wait,
        keyed: false,
        back: false,
        codec,
    }
}

fn start(tasks: &mut JoinSet<()>, setup: Setup, units: Vec<Unit>) -> Handle {
    let (worker, handle) = Worker::new(setup);
    handle.order(Orders { units: units.into_iter().map(|unit| (unit, Epoch(1))).collect(), stop: false });
    tasks.spawn(async move {
        worker.run().await.unwrap();
    });
    handle
}

fn slots() -> Vec<Unit> {
    let topology = Topology::of(1, false);
    let all = (0..u64::from(topology.slots())).map(|number| topology.slot(number));
    all.chain([Slot::RETRY]).map(Unit::Slot).collect()
}

/// Processor time of this process so far.
fn processor() -> Duration {
    let stat = std::fs::read_to_string("/proc/self/stat").unwrap();
    let fields: Vec<_> = stat.rsplit(')').next().unwrap().split_whitespace().collect();
    let ticks: u64 = fields[11].parse::<u64>().unwrap() + fields[12].parse::<u64>().unwrap();
    Duration::from_millis(ticks * 10)
}

fn say(what: &str, count: u64, begun: (Instant, Duration)) {
    let (wall, used) = (begun.0.elapsed().as_secs_f64(), processor().saturating_sub(begun.1));
    let rate = count as f64 / wall / 1e6;
    let each = used.as_nanos() as f64 / count as f64;
    println!("{what}: {rate:.2} M msg/s, {each:.0} ns of processor time per message, {wall:.1} s");
}

async fn mono(count: u64) {
    let begun = (Instant::now(), processor());
    let mut tasks = JoinSet::new();
    let setup = setup("mono", Input::Source(given(100, count)), blackhole(), None);
    let handle = start(&mut tasks, setup, vec![Unit::Source(0)]);
    tasks.join_next().await.unwrap().unwrap();
    drop(handle);
    say("mono vertex, nothing in between", count, begun);
}

fn vertex(name: &str) -> VertexSettings {
    VertexSettings {
        name: Name::new(name),
        topology: Topology::of(1, false),
        writers: 1,
        messages_max: 1_000_000,
        bytes_max: 256 << 20,
    }
}

async fn three(size: usize, count: u64, directory: &Path) {
    let directory = directory.join(format!("speed-{size}"));
    if directory.exists() {
        std::fs::remove_dir_all(&directory).unwrap();
    }
    let options = Options { durability: Durability::Disk, ..Options::default() };
    let journal = Arc::new(Journal::open(FileDisk::open(&directory).unwrap(), options).unwrap());
    let vertices = vec![vertex("in"), vertex("map"), vertex("out")];
    let buffer = Arc::new(JournalBuffer::open(journal.clone(), vertices).unwrap());
    let begun = (Instant::now(), processor());
    let mut tasks = JoinSet::new();
    let door = || Some(buffer.clone() as Arc<dyn Buffer>);
    let sink = setup("out", Input::Slots(Topology::of(1, false)), blackhole(), door());
    let written = sink.metrics.write.clone();
    let sink = start(&mut tasks, sink, slots());
    let mut map = setup("map", Input::Slots(Topology::of(1, false)), Out::Edges(vec![edge("out")]), door());
    map.map = Some(Call { door: Arc::new(Cat(Name::new("map"))), again: Strategy::default() });
    let map = start(&mut tasks, map, slots());
    let source = setup("in", Input::Source(given(size, count)), Out::Edges(vec![edge("map")]), door());
    let source = start(&mut tasks, source, vec![Unit::Source(0)]);
    while written.get() < count {
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    let seconds = begun.0.elapsed().as_secs_f64();
    say(&format!("three vertices, {size} B"), count, begun);
    let status = journal.status();
    println!(
        "  {:.0} MB/s into the journal, {} transactions in {} groups, {} MB moved",
        status.written_bytes as f64 / seconds / 1e6,
        status.transactions,
        status.groups,
        status.moved_bytes / 1_000_000,
    );
    for handle in [source, map, sink] {
        handle.stop();
    }
    while let Some(ended) = tasks.join_next().await {
        ended.unwrap();
    }
    journal.close().unwrap();
    std::fs::remove_dir_all(&directory).unwrap();
}

/// What the disk takes in order, with a sync after every 8 MiB as the journal does at most.
fn disk(directory: &Path) {
    let path = directory.join("speed-disk");
    let chunk = vec![7u8; 8 << 20];
    let mut file = File::create(&path).unwrap();
    let begun = Instant::now();
    let chunks = 128u32;
    for _ in 0..chunks {
        file.write_all(&chunk).unwrap();
        file.sync_data().unwrap();
    }
    let rate = f64::from(chunks) * chunk.len() as f64 / begun.elapsed().as_secs_f64() / 1e6;
    println!("the disk, 8 MiB at a time: {rate:.0} MB/s");
    std::fs::remove_file(path).unwrap();
}

fn main() {
    let mut arguments = std::env::args().skip(1);
    let which = arguments.next().unwrap_or_default();
    let directory = arguments.next().map_or_else(|| PathBuf::from("target"), PathBuf::from);
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
    let wants = |name: &str| which.is_empty() || which == name;
    if wants("mono") {
        runtime.block_on(mono(20_000_000));
    }
    if wants("disk") {
        disk(&directory);
    }
    if wants("three") {
        runtime.block_on(three(100, 4_000_000, &directory));
        runtime.block_on(three(1024, 500_000, &directory));
    }
}
