//! Everything one replica of a vertex needs, as values and open doors. Nothing is decided here.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use model::door::buffer::{Buffer, WhenFull};
use model::door::map::Map;
use model::door::sink::Sink;
use model::door::source;
use model::door::store::Store;
use model::frame::Codec;
use model::verdict::Condition;
use model::{Incarnation, Name, Time, Topology};

use crate::backoff::Strategy;
use crate::metrics::Metrics;
use crate::throttle::{Clock, Rate};

/// One replica of a vertex.
pub struct Setup {
    /// The vertex.
    pub vertex: Name,
    /// The replica number.
    pub replica: u16,
    /// This life of the replica.
    pub incarnation: Incarnation,
    /// Where messages come from.
    pub input: Input,
    /// The order within each partition is kept: what is tried again holds up what is behind it.
    pub ordered: bool,
    /// The source transformer.
    pub transform: Option<Call>,
    /// The map.
    pub map: Option<Call>,
    /// Where messages go.
    pub output: Out,
    /// The buffer between vertices. A mono vertex whose source needs no memory has none.
    pub buffer: Option<Arc<dyn Buffer>>,
    /// Bounds on what is read and in hand.
    pub limits: Limits,
    /// How fast it may read; none means as fast as it can.
    pub rate_limit: Option<RateLimit>,
    /// What happens to messages that user code sends back.
    pub redelivery: Redeliveries,
    /// The vertex's watermark as the keeper last published it. It goes into frames as their stamp, and to user code and
    /// sinks with every batch.
    pub watermark: Watermark,
    /// Counters, resolved for this replica.
    pub metrics: Arc<Metrics>,
    /// Whether its units may still be taken for its own; none where nobody else can take them.
    pub lease: Option<Arc<dyn Lease>>,
}

/// Whether a worker may take its units for its own. While the place that says who owns what is out of reach for long,
/// others may have them, and what is written outside or acknowledged then would be done by two.
pub trait Lease: Send + Sync {
    /// How often it may have lost them, now included. What was read before this has changed must not be written outside.
    fn lapses(&self) -> u64;

    /// It may have lost them now.
    fn is_out(&self) -> bool;
}

/// Where messages come from.
pub enum Input {
    /// From outside.
    Source(source::Opened),
    /// From the slots of the vertex.
    Slots(Topology),
}

/// User code and how often it is called again.
#[derive(Clone)]
pub struct Call {
    /// The door.
    pub door: Arc<dyn Map>,
    /// What a result tagged to fail asks for.
    pub again: Strategy,
}

/// Where messages go.
pub enum Out {
    /// To other vertices.
    Edges(Vec<Edge>),
    /// To the outside.
    Sinks(Sinks),
}

/// One edge of the graph, seen from the vertex it leaves.
#[derive(Clone, Debug)]
pub struct Edge {
    /// The vertex it leads to.
    pub to: Name,
    /// The slots of that vertex.
    pub topology: Topology,
    /// Which messages take it.
    pub condition: Condition,
    /// What happens while the vertex has no room.
    pub when_full: WhenFull,
    /// Messages with the same keys go to the same slot (reduce and ordered vertices).
    pub keyed: bool,
    /// It closes a cycle.
    pub back: bool,
    /// How frames are packed.
    pub codec: Codec,
}

/// The sinks of a vertex.
pub struct Sinks {
    /// Where everything goes first.
    pub primary: Box<dyn Sink>,
    /// Where messages go that the primary sink refers there, or that it cannot take.
    pub fallback: Option<Box<dyn Sink>>,
    /// Where the primary sink sends word of what it did.
    pub on_success: Option<Box<dyn Sink>>,
    /// How often a message that a sink did not take is written again.
    pub again: Strategy,
    /// Which messages skip the map and go straight to one of the sinks.
    pub bypass: Bypass,
}

/// Which messages of a mono vertex go straight to a sink.
#[derive(Clone, Debug, Default)]
pub struct Bypass {
    /// Straight to the primary sink; when set, nothing else reaches it.
    pub sink: Option<Condition>,
    /// Straight to the fallback sink.
    pub fallback: Option<Condition>,
    /// Straight to the on-success sink.
    pub on_success: Option<Condition>,
}

/// Bounds of one replica.
#[derive(Clone, Debug)]
pub struct Limits {
    /// Messages that user code or a sink sees in one batch, at most.
    pub batch_messages: usize,
    /// How long a source waits for a message before it says that there is none.
    pub read_wait: Duration,
    /// Messages that are in user code or waiting for it, over all units.
    pub in_flight_messages: usize,
}

/// A rate that the workers of a vertex keep to together.
#[derive(Clone)]
pub struct RateLimit {
    /// The rate of all of them.
    pub rate: Rate,
    /// This worker's seat where they agree how many they are.
    pub store: Arc<dyn Store>,
    /// When a worker that says nothing does not count any more.
    pub ttl: Duration,
    /// The ramp goes on where a former worker of the same name left off.
    pub resumes: bool,
    /// The clock whose seconds count.
    pub clock: Clock,
}

/// What happens to messages that are sent back.
#[derive(Clone, Debug)]
pub struct Redeliveries {
    /// Deliveries after which a message is given up; none means never, unless user code says so.
    pub deliveries_max: Option<u32>,
    /// Where it goes then.
    pub exhausted: Exhausted,
    /// The shortest wait before the next try.
    pub delay_min: Duration,
}

/// What becomes of a message that was delivered too often.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Exhausted {
    /// It is dropped and counted.
    Drop,
    /// It goes to the fallback sink.
    Fallback,
}

/// The watermark of a vertex, which one side publishes and many read: of everything that lies in its input or is still
/// to come into it, nothing has an earlier event time, unless it is late. So it is the watermark of the vertex's input,
/// and as long as nothing but messages makes output it holds for what the vertex will still write too. It may be stale,
/// never too late.
#[derive(Clone, Debug)]
pub struct Watermark(Arc<AtomicI64>);

impl Default for Watermark {
    fn default() -> Self {
        Self(Arc::new(AtomicI64::new(Time::UNKNOWN.nanos())))
    }
}

impl Watermark {
    /// The last published watermark.
    pub fn get(&self) -> Time {
        Time::from_nanos(self.0.load(Ordering::Relaxed))
    }

    /// Publishes a watermark; one that is not later than the last is left out.
    pub fn publish(&self, time: Time) {
        self.0.fetch_max(time.nanos(), Ordering::Relaxed);
    }
}
