//! Counters under the reference's names. The families are registered once per process; every replica resolves its own
//! handles once, so that counting is one atomic addition.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::{Family, MetricConstructor};
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::Registry;

use crate::signals::{Latencies, Signals, Tally};

/// What a replica is, for its labels.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Who {
    /// A vertex of a pipeline.
    Vertex {
        /// The pipeline.
        pipeline: String,
        /// The vertex.
        vertex: String,
        /// `Source`, `MapUDF`, `ReduceUDF` or `Sink`.
        kind: &'static str,
    },
    /// A mono vertex with its name.
    Mono(String),
}

type Labels = Vec<(&'static str, String)>;

#[derive(Clone)]
struct Buckets {
    longest_us: f64,
}

impl MetricConstructor<Histogram> for Buckets {
    fn new_metric(&self) -> Histogram {
        const SHORTEST_US: f64 = 100.0;
        let factor = (self.longest_us / SHORTEST_US).powf(1.0 / 9.0);
        Histogram::new((0..10).map(|step| SHORTEST_US * factor.powi(step)))
    }
}

const MINUTES_US: f64 = 60_000_000.0;

type Counters = Family<Labels, Counter>;
type Times = Family<Labels, Histogram, Buckets>;

struct Names {
    read: &'static str,
    read_bytes: &'static str,
    write: &'static str,
    drop: &'static str,
    ack: &'static str,
    nack: &'static str,
    udf_error: &'static str,
    udf_drop: &'static str,
    critical: &'static str,
    write_error: &'static str,
    throttled: &'static str,
    udf_time: &'static str,
    write_time: &'static str,
    total_time: &'static str,
    pending: &'static str,
    batch: &'static str,
    write_fallback: &'static str,
    write_on_success: &'static str,
}

const VERTEX: Names = Names {
    read: "forwarder_data_read",
    read_bytes: "forwarder_data_read_bytes",
    write: "forwarder_write",
    drop: "forwarder_drop",
    ack: "forwarder_ack",
    nack: "forwarder_nack",
    udf_error: "forwarder_udf_error",
    udf_drop: "forwarder_ud_drop",
    critical: "forwarder_critical_error",
    write_error: "forwarder_write_error",
    throttled: "forwarder_throttled",
    udf_time: "forwarder_udf_processing_time",
    write_time: "forwarder_write_processing_time",
    total_time: "forwarder_processing_time",
    pending: "vertex_pending_messages_raw",
    batch: "forwarder_read_batch_size",
    write_fallback: "forwarder_fbsink_write",
    write_on_success: "forwarder_onsuccess_sink_write",
};

const MONO: Names = Names {
    read: "monovtx_read",
    read_bytes: "monovtx_read_bytes",
    write: "monovtx_sink_write",
    drop: "monovtx_dropped",
    ack: "monovtx_ack",
    nack: "monovtx_nack",
    udf_error: "monovtx_udf_error",
    udf_drop: "monovtx_udf_drop",
    critical: "monovtx_critical_error",
    write_error: "monovtx_sink_write_errors",
    throttled: "monovtx_throttled",
    udf_time: "monovtx_udf_time",
    write_time: "monovtx_sink_time",
    total_time: "monovtx_processing_time",
    pending: "monovtx_pending_raw",
    batch: "monovtx_read_batch_size",
    write_fallback: "monovtx_fallback_sink_write",
    write_on_success: "monovtx_onsuccess_sink_write",
};

/// All families of pipelines or of mono vertices.
struct Set {
    read: Counters,
    read_all: Option<Counters>,
    read_bytes: Counters,
    write: Counters,
    write_fallback: Counters,
    write_on_success: Counters,
    drop: Counters,
    ack: Counters,
    nack: Counters,
    udf_error: Counters,
    udf_drop: Counters,
    critical: Counters,
    write_error: Counters,
    throttled: Counters,
    udf_time: Times,
    write_time: Times,
    total_time: Times,
    pending: Family<Labels, Gauge>,
    batch: Family<Labels, Gauge>,
}

impl Set {
    fn register(registry: &mut Registry, names: &Names, mono: bool) -> Self {
        let mut counters = |name: &str, help: &str| {
            let family = Counters::default();
            registry.register(name, help, family.clone());
            family
        };
        let read_all = (!mono).then(|| counters("forwarder_read", "Messages read, of any kind"));
        let set_counters = [
            (names.read, "Data messages read"),
            (names.read_bytes, "Payload bytes read"),
            (names.write, "Messages written"),
            (names.write_fallback, "Messages written to the fallback sink"),
            (names.write_on_success, "Messages written to the on-success sink"),
            (names.drop, "Messages dropped, by reason"),
            (names.ack, "Messages acknowledged"),
            (names.nack, "Messages sent back"),
            (names.udf_error, "Failed calls of user code"),
            (names.udf_drop, "Messages that user code dropped"),
            (names.critical, "Critical errors, by reason"),
            (names.write_error, "Failed writes"),
            (names.throttled, "Times that a rate limit let nothing begin although something was there"),
        ]
        .map(|(name, help)| counters(name, help));
        let [
            read,
            read_bytes,
            write,
            write_fallback,
            write_on_success,
            drop,
            ack,
            nack,
            udf_error,
            udf_drop,
            critical,
            write_error,
            throttled,
        ] = set_counters;
        let mut times = |name: &str, help: &str, minutes: f64| {
            let family = Times::new_with_constructor(Buckets { longest_us: minutes * MINUTES_US });
            registry.register(name, help, family.clone());
            family
        };
        let udf_time = times(names.udf_time, "Time in user code per batch, in microseconds", 15.0);
        let write_time = times(names.write_time, "Time to write a batch, in microseconds", 20.0);
        let total_time = times(names.total_time, "Time from read to done per batch, in microseconds", 20.0);
        let pending = Family::default();
        registry.register(names.pending, "Messages waiting to be read; -1 when unknown", pending.clone());
        let batch = Family::default();
        registry.register(names.batch, "Messages in the last batch read", batch.clone());
        Self {
            read,
            read_all,
            read_bytes,
            write,
            write_fallback,
            write_on_success,
            drop,
            ack,
            nack,
            udf_error,
            udf_drop,
            critical,
            write_error,
            throttled,
            udf_time,
            write_time,
            total_time,
            pending,
            batch,
        }
    }
}

/// The families of one process.
pub struct Families {
    vertex: Set,
    mono: Set,
}

impl Families {
    /// Registers every family.
    pub fn register(registry: &mut Registry) -> Self {
        Self { vertex: Set::register(registry, &VERTEX, false), mono: Set::register(registry, &MONO, true) }
    }

    /// The handles of one replica.
    pub fn resolve(&self, who: &Who, replica: u16) -> Arc<Metrics> {
        let replica = replica.to_string();
        let reads_source = matches!(who, Who::Mono(_) | Who::Vertex { kind: "Source", .. });
        let (set, common, partition) = match who {
            Who::Vertex { pipeline, vertex, kind } => {
                let common = vec![
                    ("pipeline", pipeline.clone()),
                    ("vertex", vertex.clone()),
                    ("vertex_type", (*kind).to_owned()),
                    ("replica", replica.clone()),
                ];
                (&self.vertex, common, Some(vertex.clone()))
            }
            Who::Mono(name) => {
                (&self.mono, vec![("mvtx_name", name.clone()), ("mvtx_replica", replica.clone())], None)
            }
        };
        let mut labels = common.clone();
        if let Some(name) = partition {
            labels.push(("partition_name", name));
        }
        let mut read = labels.clone();
        if reads_source {
            read.push(("source_partition", replica.clone()));
        }
        let reasons = |reason: &str| {
            let mut labels = labels.clone();
            labels.push(("reason", reason.to_owned()));
            labels
        };
        let mut critical = common.clone();
        critical.push(("reason", "map_runtime_error".to_owned()));
        let counter = |family: &Counters, labels: &Labels| family.get_or_create(labels).clone();
        let tally = |family: &Counters, labels: &Labels| Tally::of(counter(family, labels));
        Arc::new(Metrics {
            read: tally(&set.read, &read),
            read_all: set.read_all.as_ref().map(|family| counter(family, &read)),
            read_bytes: counter(&set.read_bytes, &read),
            write: tally(&set.write, &labels),
            write_fallback: tally(&set.write_fallback, &labels),
            write_on_success: tally(&set.write_on_success, &labels),
            ack: counter(&set.ack, &labels),
            nack: tally(&set.nack, &labels),
            udf_error: tally(&set.udf_error, &common),
            udf_drop: tally(&set.udf_drop, &common),
            critical: counter(&set.critical, &critical),
            write_error: tally(&set.write_error, &labels),
            throttled: counter(&set.throttled, &labels),
            dropped: Drops {
                full: tally(&set.drop, &reasons("buffer-full")),
                unmatched: tally(&set.drop, &reasons("forwarding-rules-not-met")),
                repeated: tally(&set.drop, &reasons("duplicate-id")),
                exhausted: tally(&set.drop, &reasons("deliveries-exhausted")),
                udf_retries: tally(&set.drop, &reasons("retries-exhausted")),
                sink_retries: tally(&set.drop, &reasons("Retries exhausted in the Sink")),
                oversized: tally(&set.drop, &reasons("message-too-large")),
                bypassed: tally(&set.drop, &reasons("no-bypass-rule-met")),
            },
            udf_time: set.udf_time.get_or_create(&common).clone(),
            write_time: set.write_time.get_or_create(&labels).clone(),
            total_time: set.total_time.get_or_create(&labels).clone(),
            pending: set.pending.get_or_create(&labels).clone(),
            batch: set.batch.get_or_create(&labels).clone(),
            frames_read: Arc::default(),
            done: Arc::default(),
            latencies: Arc::default(),
        })
    }
}

/// The handles of one replica. Everything counts messages unless its name says otherwise.
#[derive(Clone)]
pub struct Metrics {
    /// Read.
    pub read: Tally,
    read_all: Option<Counter>,
    /// Payload bytes read.
    pub read_bytes: Counter,
    /// Written to the next vertices or the primary sink.
    pub write: Tally,
    /// Written to the fallback sink.
    pub write_fallback: Tally,
    /// Written to the on-success sink.
    pub write_on_success: Tally,
    /// Done, as their source was told.
    pub ack: Counter,
    /// Sent back.
    pub nack: Tally,
    /// Failed calls of user code.
    pub udf_error: Tally,
    /// Dropped by user code.
    pub udf_drop: Tally,
    /// Errors that a person should look at.
    pub critical: Counter,
    /// Failed writes.
    pub write_error: Tally,
    /// Times that a rate limit let nothing begin although something was there.
    pub throttled: Counter,
    /// Dropped by us, by reason.
    pub dropped: Drops,
    /// Microseconds in user code per batch.
    pub udf_time: Histogram,
    /// Microseconds to write a batch.
    pub write_time: Histogram,
    /// Microseconds from read to done per batch.
    pub total_time: Histogram,
    /// Waiting to be read; -1 when unknown.
    pub pending: Gauge,
    /// Size of the last batch read.
    pub batch: Gauge,
    frames_read: Arc<AtomicU64>,
    /// Messages whose commit is stored; raised with what that commit wrote, so that whoever looks sees both or neither.
    done: Arc<Mutex<u64>>,
    latencies: Arc<Latencies>,
}

/// Why messages were dropped.
#[derive(Clone)]
pub struct Drops {
    /// The next vertex had no room and the edge says `discardLatest`.
    pub full: Tally,
    /// No edge took it.
    pub unmatched: Tally,
    /// It had been committed before.
    pub repeated: Tally,
    /// It was sent back as often as allowed.
    pub exhausted: Tally,
    /// User code failed on it as often as its retry strategy allows.
    pub udf_retries: Tally,
    /// The sink did not take it as often as its retry strategy allows.
    pub sink_retries: Tally,
    /// It fits no frame.
    pub oversized: Tally,
    /// It reached a sink that only takes what a bypass sends.
    pub bypassed: Tally,
}

impl Drops {
    fn afresh(&self) -> Self {
        let Self { full, unmatched, repeated, exhausted, udf_retries, sink_retries, oversized, bypassed } =
            self;
        Self {
            full: full.afresh(),
            unmatched: unmatched.afresh(),
            repeated: repeated.afresh(),
            exhausted: exhausted.afresh(),
            udf_retries: udf_retries.afresh(),
            sink_retries: sink_retries.afresh(),
            oversized: oversized.afresh(),
            bypassed: bypassed.afresh(),
        }
    }

    fn own(&self) -> u64 {
        let Self { full, unmatched, repeated, exhausted, udf_retries, sink_retries, oversized, bypassed } =
            self;
        let all = [full, unmatched, repeated, exhausted, udf_retries, sink_retries, oversized, bypassed];
        all.into_iter().map(Tally::own).sum()
    }
}

impl Metrics {
    /// The same handles for one worker, whose signals begin with nothing.
    pub(crate) fn of_worker(&self) -> Self {
        Self {
            read: self.read.afresh(),
            write: self.write.afresh(),
            write_fallback: self.write_fallback.afresh(),
            write_on_success: self.write_on_success.afresh(),
            nack: self.nack.afresh(),
            udf_error: self.udf_error.afresh(),
            udf_drop: self.udf_drop.afresh(),
            write_error: self.write_error.afresh(),
            dropped: self.dropped.afresh(),
            frames_read: Arc::default(),
            done: Arc::default(),
            latencies: Arc::default(),
            ..self.clone()
        }
    }

    /// What was counted by one worker.
    pub(crate) fn signals(&self) -> Signals {
        let done = self.done();
        Signals {
            frames_read: self.frames_read.load(Ordering::Relaxed),
            read: self.read.own(),
            done: *done,
            written: self.write.own() + self.write_fallback.own(),
            user_code_errors: self.udf_error.own(),
            write_errors: self.write_error.own(),
            user_code_drops: self.udf_drop.own(),
            nacks: self.nack.own(),
            platform_drops: self.dropped.own(),
            latency: self.latencies.snapshot(),
        }
    }

    /// Counts what one read gave: frames, messages in them, and bytes of payload.
    pub(crate) fn count_read(&self, frames: u64, messages: u64, bytes: u64) {
        self.frames_read.fetch_add(frames, Ordering::Relaxed);
        self.read.inc_by(messages);
        if let Some(all) = &self.read_all {
            all.inc_by(messages);
        }
        self.read_bytes.inc_by(bytes);
        self.batch.set(messages as i64);
    }

    /// So many messages are done. What their commit wrote is counted by `others`, in the same instant for whoever asks
    /// for signals.
    pub(crate) fn count_done(&self, messages: u64, others: impl FnOnce()) {
        let mut done = self.done();
        others();
        *done += messages;
    }

    fn done(&self) -> MutexGuard<'_, u64> {
        self.done.lock().expect("nothing panics while it is counted")
    }

    /// Notes how long a batch took from being read to being done.
    pub(crate) fn took(&self, latency: Duration) {
        self.total_time.observe(latency.as_secs_f64() * 1e6);
        self.latencies.observe(latency);
    }
}

/// Encodable as they are: pairs of name and value.
const _: fn() = || {
    fn encodable<T: EncodeLabelSet>() {}
    encodable::<Labels>();
};
