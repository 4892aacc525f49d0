//! From what a vertex is to open doors: the one file of this crate that knows what lies behind them.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::UNIX_EPOCH;

use api::resolve::{
    self, OnFailure, PipelineSettings, RateLimitMode, Redelivery, Retry, TagTest, VertexKind, VertexSettings,
};
use api::spec::{self, OnExhausted};
use connect::buffer::broker;
use connect::incident::{Incident, Incidents};
use connect::open::{self, Context, Role};
use connect::source::http::Listening;
use connect::store::{pool_of_mono_vertex, pool_of_vertex};
use connect::udf::map::UserMap;
use connect::udf::native::{Code, StandIn};
use connect::udf::transform::UserTransformer;
use model::door::buffer::{self, Buffer};
use model::door::map::Map;
use model::door::sink::Sink;
use model::{Incarnation, Name, Topology};

use crate::backoff::{Strategy, Then};
use crate::graph::{Graph, condition};
use crate::link::Notice;
use crate::metrics::Metrics;
use crate::setup::{
    Bypass, Call, Exhausted, Input, Lease, Limits, Out, RateLimit, Redeliveries, Setup, Sinks, Watermark,
};
use crate::throttle::{Clock, Mode, Rate};

/// The shortest wait before a message that was sent back is tried again.
const REDELIVERY_DELAY: std::time::Duration = std::time::Duration::from_millis(100);

/// The parts of a vertex that a manifest gives.
#[derive(Clone, Copy)]
pub struct Part<'a> {
    /// Everything resolved.
    pub settings: &'a VertexSettings,
    /// Its source, if it has one.
    pub source: Option<&'a spec::Source>,
    /// Its map, if it has one.
    pub udf: Option<&'a spec::Udf>,
    /// Its sink, if it has one.
    pub sink: Option<&'a spec::Sink>,
    /// What skips the map (mono vertices).
    pub bypass: Option<&'a spec::Bypass>,
}

/// What a replica runs in.
pub struct Surroundings<'a> {
    /// For connectors; settings of the vertex are filled in here.
    pub context: Context,
    /// Where each user container's sockets are, by container name; the context's directory for those not named.
    pub directories: &'a BTreeMap<String, PathBuf>,
    /// The pipeline's graph; empty for a mono vertex.
    pub graph: &'a Graph,
    /// The buffer between vertices.
    pub buffer: Option<Arc<dyn Buffer>>,
    /// This life of the replica.
    pub incarnation: Incarnation,
    /// The vertex's watermark.
    pub watermark: Watermark,
    /// The replica's counters.
    pub metrics: Arc<Metrics>,
    /// Code of this process that stands in for user containers, by container name.
    pub stand_ins: &'a BTreeMap<String, StandIn>,
    /// How long the process may take its units for its own; none where nobody else can take them.
    pub lease: Option<broker::Lease>,
}

/// The lease of a process over a broker.
struct OverBroker(broker::Lease);

impl Lease for OverBroker {
    fn lapses(&self) -> u64 {
        self.0.lapses()
    }

    fn is_out(&self) -> bool {
        self.0.is_out()
    }
}

/// A replica that is ready to run, and what people have to be told about it.
pub struct Wired {
    /// Everything it needs.
    pub setup: Setup,
    /// Where its source listens, when it does.
    pub urls: Vec<String>,
}

/// What went wrong in a worker, as it is told to other processes, and how often anything did in all.
pub fn notices(incidents: &Incidents) -> (Vec<Notice>, u64) {
    let notice = |incident: Incident| {
        let Incident { container, code, message, details, messages, at } = incident;
        let at_millis = at.duration_since(UNIX_EPOCH).unwrap_or_default().as_millis();
        let (code, at_millis) = (code.into_owned(), u64::try_from(at_millis).unwrap_or(u64::MAX));
        Notice { container, code, message, details, messages, at_millis }
    };
    (incidents.recent().into_iter().map(notice).collect(), incidents.total())
}

/// Unsettled bytes in one partition, at most.
const PARTITION_BYTES_MAX: u64 = 1 << 30;

/// What a buffer has to know about the vertices of a pipeline.
pub fn buffers(pipeline: &PipelineSettings, graph: &Graph) -> Vec<buffer::VertexSettings> {
    let of_vertex = |vertex: &VertexSettings| buffer::VertexSettings {
        name: Name::new(&vertex.name),
        topology: graph.topology(&vertex.name).unwrap_or(Topology { partitions: 1, slots_per_partition: 1 }),
        writers: graph.writers(&vertex.name),
        messages_max: vertex.limits.buffer_usable_length(),
        bytes_max: PARTITION_BYTES_MAX,
    };
    pipeline.vertices.iter().map(of_vertex).collect()
}

/// Opens every door of a replica.
pub async fn wire(part: Part<'_>, surroundings: Surroundings<'_>) -> Result<Wired, open::Error> {
    let Part { settings, source, udf, sink, bypass } = part;
    let Surroundings {
        context,
        directories,
        graph,
        buffer,
        incarnation,
        watermark,
        metrics,
        stand_ins,
        lease,
    } = surroundings;
    let context_of = |container: &str| {
        let directory = directories.get(container).unwrap_or(&context.user_code_directory);
        Context { user_code_directory: directory.clone(), ..context.clone() }
    };
    let (input, urls) = if let Some(spec) = source {
        let opened = open::open_source(spec, &context_of("udsource")).await?;
        let urls = opened.listening.map(|at| urls(&settings.name, at)).unwrap_or_default();
        (Input::Source(opened.opened), urls)
    } else {
        let topology = graph.topology(&settings.name).expect("the graph has every vertex of its pipeline");
        (Input::Slots(topology), Vec::new())
    };
    let code = |container: &str| -> Arc<dyn Map> {
        let context = context_of(container);
        match stand_ins.get(container) {
            Some(StandIn { code: Code::Map(make), .. }) => make(context.vertex.clone()),
            Some(StandIn { code: Code::Sink(_), .. }) | None if container == "transformer" => {
                Arc::new(UserTransformer::open(context.user_code(), context.incidents.clone()))
            }
            Some(StandIn { code: Code::Sink(_), .. }) | None => {
                Arc::new(UserMap::open(context.user_code(), context.incidents.clone()))
            }
        }
    };
    let transform = source.and_then(|source| source.transformer.as_ref()).map(|transform| Call {
        door: code("transformer"),
        again: strategy(transform.retry_strategy.as_ref()),
    });
    let map = udf.map(|udf| Call { door: code("udf"), again: strategy(udf.retry_strategy.as_ref()) });
    let output = match sink {
        None => Out::Edges(graph.edges_from(&settings.name)),
        Some(spec) => Out::Sinks(SinkOpener { stand_ins, context_of }.open(spec, bypass).await?),
    };
    let rate_limit = rate_limit(settings, graph, &context)?;
    let setup = Setup {
        vertex: context.vertex.clone(),
        replica: context.replica,
        incarnation,
        input,
        ordered: settings.ordered,
        transform,
        map,
        output,
        buffer,
        limits: limits(settings),
        rate_limit,
        redelivery: redeliveries(&settings.redelivery),
        watermark,
        metrics,
        lease: lease.map(|lease| Arc::new(OverBroker(lease)) as Arc<dyn Lease>),
    };
    Ok(Wired { setup, urls })
}

/// Opens the sinks of a vertex.
struct SinkOpener<'a, F> {
    stand_ins: &'a BTreeMap<String, StandIn>,
    context_of: F,
}

impl<F: Fn(&str) -> Context> SinkOpener<'_, F> {
    async fn open(self, spec: &spec::Sink, bypass: Option<&spec::Bypass>) -> Result<Sinks, open::Error> {
        let primary = self.open_one(&spec.primary, Role::Primary).await?;
        let fallback = match &spec.fallback {
            Some(fallback) => Some(self.open_one(fallback, Role::Fallback).await?),
            None => None,
        };
        let on_success = match &spec.on_success {
            Some(sink) => Some(self.open_one(sink, Role::OnSuccess).await?),
            None => None,
        };
        let rule = |rule: &Option<spec::BypassRule>| {
            rule.as_ref().map(|rule| condition(Some(&TagTest::from(&rule.tags))))
        };
        let bypass = bypass.map_or_else(Bypass::default, |bypass| Bypass {
            sink: rule(&bypass.sink),
            fallback: rule(&bypass.fallback),
            on_success: rule(&bypass.on_success),
        });
        let again = strategy(spec.retry_strategy.as_ref());
        Ok(Sinks { primary, fallback, on_success, again, bypass })
    }

    async fn open_one(&self, spec: &spec::AbstractSink, role: Role) -> Result<Box<dyn Sink>, open::Error> {
        let container = container_of(role);
        if let Some(StandIn { code: Code::Sink(make), .. }) = self.stand_ins.get(container) {
            return Ok(make());
        }
        let context = (self.context_of)(container);
        open::open_sink(spec, role, &context).await
    }
}

/// The container that serves a sink of this role.
fn container_of(role: Role) -> &'static str {
    match role {
        Role::Primary => "udsink",
        Role::Fallback => "fb-udsink",
        Role::OnSuccess => "ons-udsink",
    }
}

/// Where messages can be posted for a vertex.
fn urls(vertex: &str, listening: Listening) -> Vec<String> {
    let Listening { https, http } = listening;
    let plain = http.map(|address| format!("http://{address}/vertices/{vertex}"));
    plain.into_iter().chain([format!("https://{https}/vertices/{vertex}")]).collect()
}

fn strategy(spec: Option<&spec::RetryStrategy>) -> Strategy {
    let Retry { interval, steps, factor, cap, jitter, on_failure } = Retry::from_spec(spec);
    Strategy {
        interval,
        factor,
        cap,
        jitter,
        attempts_max: steps,
        then: match on_failure {
            OnFailure::Retry => Then::Retry,
            OnFailure::Fallback => Then::Fallback,
            OnFailure::Drop => Then::Drop,
        },
    }
}

fn limits(settings: &VertexSettings) -> Limits {
    let whole = |count: u64| usize::try_from(count).unwrap_or(usize::MAX).max(1);
    Limits {
        batch_messages: whole(settings.limits.read_batch_size),
        read_wait: settings.limits.read_timeout,
        in_flight_messages: whole(settings.in_flight_max()).min(tokio::sync::Semaphore::MAX_PERMITS),
    }
}

/// A seat where the workers of the vertex agree how many share its rate; none without a rate, or where nothing is read
/// message by message.
fn rate_limit(
    settings: &VertexSettings,
    graph: &Graph,
    context: &Context,
) -> Result<Option<RateLimit>, open::Error> {
    let Some(limit) = settings.limits.rate_limit.as_ref().filter(|_| settings.kind != VertexKind::Reduce)
    else {
        return Ok(None);
    };
    let Some(rate) = rate(limit) else { return Ok(None) };
    let pool = match graph.topology(&settings.name) {
        Some(_) => pool_of_vertex(context.pipeline.as_str(), &settings.name),
        None => pool_of_mono_vertex(&settings.name),
    };
    let store = open::open_store(limit, &pool, context)?;
    Ok(Some(RateLimit { rate, store, ttl: limit.ttl, resumes: limit.resumed_ramp_up, clock: Clock::start() }))
}

/// The rate of all workers together; none when there is no end to its ramp.
fn rate(limit: &resolve::RateLimit) -> Option<Rate> {
    let mode = match limit.mode {
        RateLimitMode::Scheduled => Mode::Scheduled,
        RateLimitMode::Relaxed => Mode::Relaxed,
        RateLimitMode::OnlyIfUsed { threshold } => Mode::OnlyIfUsed { threshold },
        RateLimitMode::GoBackN { cool_down, ramp_down, threshold } => {
            Mode::GoBackN { cool_down, ramp_down, threshold }
        }
    };
    Some(Rate { max: limit.max?, min: limit.min, ramp_up: limit.ramp_up, mode })
}

fn redeliveries(redelivery: &Redelivery) -> Redeliveries {
    Redeliveries {
        deliveries_max: redelivery.deliveries_max,
        exhausted: match redelivery.on_exhausted {
            OnExhausted::Drop => Exhausted::Drop,
            OnExhausted::Fallback => Exhausted::Fallback,
        },
        delay_min: REDELIVERY_DELAY,
    }
}
