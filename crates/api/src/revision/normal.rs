//! Manifests as a worker reads them: every default written out, everything taken out that no worker has to be replaced
//! for. The invariant: a field that is added to a spec replaces workers until it is decided here that it need not; the
//! structs most of which is decided about are taken apart by name, so that they do not compile before it is.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use crate::check::Checked;
use crate::resolve::{self, Compression, HttpListener, OnFailure, RateLimitMode, Retry, VertexKind};
use crate::spec::container::{Container, PodTemplate};
use crate::spec::limits::{OnlyIfUsed, RateLimit, RateLimitModes};
use crate::spec::pipeline::{Edge, Ordered, PipelineSpec};
use crate::spec::sink::{AbstractSink, FileSink, KafkaSink, Sink, UdSink};
use crate::spec::source::{
    FileSource, GeneratorSource, HttpSource, JetStreamSource, KafkaSource, PulsarSource, Source, SqsSource,
    Transformer, UdSource,
};
use crate::spec::udf::{FixedWindow, GroupBy, SlidingWindow, Udf, Window};
use crate::spec::{
    Backoff, Bypass, BypassRule, Empty, GoBackN, HttpPorts, MonoVertexLimits, MonoVertexSpec, PipelineVertex,
    Redelivery, RetryStrategy, TagConditions, UserCode, VertexLimits,
};
use crate::{Duration, MonoVertex};

const DELIVER_POLICY: &str = "all";
const PULSAR_UNANSWERED_MAX: u32 = 1000;
const SQS_VISIBILITY_SECONDS: i32 = 30;
const SQS_MESSAGES: i32 = 10;
const SQS_WAIT_SECONDS: i32 = 0;

/// A vertex of a pipeline.
pub(super) fn vertex(pipeline: &PipelineSpec, written: &PipelineVertex) -> PipelineVertex {
    let settings = resolve::vertex(pipeline, written, false);
    let kind = settings.kind;
    let PipelineVertex {
        name,
        source,
        sink,
        udf,
        pod,
        container_template,
        init_container_template,
        side_inputs_container_template,
        volumes,
        init_containers,
        sidecars,
        limits: _,
        scale: _,
        partitions: _,
        mut side_inputs,
        update_strategy: _,
        ordered: _,
        redelivery: _,
        user_code: _,
    } = resolve::with_template(pipeline, written);
    side_inputs.sort();
    PipelineVertex {
        name,
        source: source.map(boxed(self::source)),
        sink: sink.map(boxed(self::sink)),
        udf: udf.map(boxed(self::udf)),
        pod: self::pod(pod),
        container_template: unless_empty(container_template),
        init_container_template: unless_empty(init_container_template),
        side_inputs_container_template: unless_empty(side_inputs_container_template),
        volumes,
        init_containers,
        sidecars,
        limits: Some(limits(settings.limits, kind)),
        scale: None,
        partitions: Some(i32::try_from(settings.partitions).unwrap_or(i32::MAX)),
        side_inputs,
        update_strategy: None,
        ordered: Some(Ordered { enabled: Some(settings.ordered) }),
        redelivery: Some(redelivery(&settings.redelivery)),
        user_code: Some(user_code(&settings.user_code)),
    }
}

/// A mono vertex.
pub(super) fn mono_vertex(mono_vertex: &Checked<MonoVertex>) -> MonoVertexSpec {
    let (settings, _) = resolve::mono_vertex(mono_vertex);
    let MonoVertexSpec {
        replicas: _,
        source,
        sink,
        udf,
        pod,
        container_template,
        daemon_template: _,
        volumes,
        init_containers,
        sidecars,
        limits: _,
        scale: _,
        update_strategy: _,
        lifecycle: _,
        bypass,
        streaming,
        redelivery: _,
        user_code: _,
    } = mono_vertex.spec.clone();
    let VertexLimits {
        read_batch_size,
        read_timeout,
        buffer_max_length: _,
        buffer_usage_limit: _,
        rate_limit,
        concurrency,
    } = limits(settings.limits, VertexKind::Source);
    MonoVertexSpec {
        replicas: None,
        source: source.map(boxed(self::source)),
        sink: sink.map(boxed(self::sink)),
        udf: udf.map(boxed(self::udf)),
        pod: self::pod(pod),
        container_template: unless_empty(container_template),
        daemon_template: None,
        volumes,
        init_containers,
        sidecars,
        limits: Some(MonoVertexLimits { read_batch_size, read_timeout, rate_limit, concurrency }),
        scale: None,
        update_strategy: None,
        lifecycle: None,
        bypass: unless_empty(bypass.map(self::bypass)),
        streaming: Some(streaming.unwrap_or(false)),
        redelivery: Some(redelivery(&settings.redelivery)),
        user_code: Some(user_code(&settings.user_code)),
    }
}

/// The vertices that write to a vertex, and the edges that leave it with what is to be known of their other ends.
pub(super) fn edges(
    pipeline: &PipelineSpec,
    vertex: &str,
) -> (BTreeMap<String, Value>, BTreeMap<String, Value>) {
    let mut incoming = BTreeMap::new();
    let mut outgoing = BTreeMap::new();
    for Edge { from, to, conditions, on_full } in &pipeline.edges {
        if to == vertex {
            incoming.insert(from.clone(), json!({}));
        }
        let reader = pipeline.vertices.iter().find(|reader| reader.name == *to);
        if let Some(reader) = reader.filter(|_| from == vertex) {
            let conditions = conditions.clone().map(|conditions| tags(conditions.tags));
            let ordered = reader.ordered_effective(pipeline);
            let edge = json!({
                // Without values every message passes, as without conditions.
                "conditions": conditions.filter(|tags| !tags.values.is_empty()),
                "onFull": on_full.unwrap_or_default(),
                "partitions": reader.partitions_effective(),
                "ordered": ordered || reader.kind() == Some(VertexKind::Reduce),
            });
            outgoing.insert(to.clone(), edge);
        }
    }
    (incoming, outgoing)
}

/// How frames between vertices are packed.
pub(super) fn compression(pipeline: &PipelineSpec) -> Option<&'static str> {
    let buffer = pipeline.inter_step_buffer.as_ref();
    let word = buffer.and_then(|buffer| buffer.compression.as_ref()?.kind.as_deref()).unwrap_or_default();
    match Compression::parse(word).unwrap_or_default() {
        Compression::None => None,
        Compression::Gzip => Some("gzip"),
        Compression::Zstd => Some("zstd"),
        Compression::Lz4 => Some("lz4"),
    }
}

/// A template that says nothing is no template.
fn unless_empty<T: Default + PartialEq>(template: Option<T>) -> Option<T> {
    template.filter(|template| *template != T::default())
}

fn pod(written: PodTemplate) -> PodTemplate {
    // Labels and annotations of running pods can be changed.
    PodTemplate { metadata: None, ..written }
}

fn container(written: Container) -> Container {
    // The user's readiness probe is read and not used.
    Container { readiness_probe: None, ..written }
}

/// The same for what is boxed.
fn boxed<T>(normal: fn(T) -> T) -> impl Fn(Box<T>) -> Box<T> {
    move |written| Box::new(normal(*written))
}

fn source(written: Source) -> Source {
    let Source {
        generator,
        http,
        kafka,
        nats,
        jetstream,
        pulsar,
        sqs,
        serving,
        udsource,
        stdin,
        file,
        transformer,
    } = written;
    Source {
        generator: generator.map(|written| self::generator(&written)),
        http: http.map(|HttpSource { auth, service: _, ports }| {
            let HttpListener { https_port, http_port } = HttpListener::from_spec(ports.as_ref());
            let ports = HttpPorts { https: Some(https_port.into()), http: http_port.map(Into::into) };
            // The Service in front of it is not the worker's.
            HttpSource { auth, service: None, ports: Some(ports) }
        }),
        kafka: kafka.map(|written| KafkaSource { kafka_version: None, ..written }),
        nats,
        jetstream: jetstream.map(|written| JetStreamSource {
            deliver_policy: written.deliver_policy.or_else(|| Some(DELIVER_POLICY.to_owned())),
            ..written
        }),
        pulsar: pulsar.map(|written| PulsarSource {
            max_unack: written.max_unack.or(Some(PULSAR_UNANSWERED_MAX)),
            ..written
        }),
        sqs: sqs.map(|written| SqsSource {
            visibility_timeout: written.visibility_timeout.or(Some(SQS_VISIBILITY_SECONDS)),
            max_number_of_messages: written.max_number_of_messages.or(Some(SQS_MESSAGES)),
            wait_time_seconds: written.wait_time_seconds.or(Some(SQS_WAIT_SECONDS)),
            ..written
        }),
        serving,
        udsource: udsource.map(|UdSource { container }| UdSource { container: self::container(container) }),
        stdin,
        file: file
            .map(|FileSource { path, follow }| FileSource { path, follow: Some(follow.unwrap_or(false)) }),
        transformer: transformer.map(|Transformer { container, retry_strategy }| Transformer {
            container: container.map(self::container),
            retry_strategy: Some(retry(retry_strategy.as_ref())),
        }),
    }
}

fn generator(written: &GeneratorSource) -> GeneratorSource {
    let blob = written.value_blob.clone().filter(|blob| !blob.is_empty());
    let resolve::Generator { records_per_unit, unit, message_bytes, keys, value, jitter, payload } =
        written.resolve();
    let has_payload = payload.is_some();
    GeneratorSource {
        rpu: Some(i64::try_from(records_per_unit).unwrap_or(i64::MAX)),
        duration: Some(duration(unit)),
        // A whole payload leaves these two nothing to say.
        msg_size: (!has_payload).then(|| i32::try_from(message_bytes).unwrap_or(i32::MAX)),
        value: value.filter(|_| !has_payload),
        key_count: Some(keys.into()),
        jitter: Some(duration(jitter)),
        value_blob: blob,
    }
}

fn sink(written: Sink) -> Sink {
    let Sink { primary, fallback, on_success, retry_strategy } = written;
    Sink {
        primary: one_sink(primary),
        fallback: fallback.map(one_sink),
        on_success: on_success.map(one_sink),
        retry_strategy: Some(retry(retry_strategy.as_ref())),
    }
}

fn one_sink(written: AbstractSink) -> AbstractSink {
    let AbstractSink { log, blackhole, serve, udsink, kafka, pulsar, sqs, stdout, file } = written;
    AbstractSink {
        log,
        blackhole,
        serve,
        udsink: udsink.map(|UdSink { container }| UdSink { container: self::container(container) }),
        kafka: kafka.map(|written| KafkaSink { set_key: Some(written.set_key.unwrap_or(false)), ..written }),
        pulsar,
        sqs,
        stdout,
        file: file.map(|FileSink { path, sync }| FileSink { path, sync: Some(sync.unwrap_or(true)) }),
    }
}

fn udf(written: Udf) -> Udf {
    let Udf { container, group_by, retry_strategy } = written;
    // A reduce has no retry strategy.
    let retry_strategy = group_by.is_none().then(|| retry(retry_strategy.as_ref()));
    Udf { container: container.map(self::container), group_by: group_by.map(self::group_by), retry_strategy }
}

fn group_by(written: GroupBy) -> GroupBy {
    let GroupBy { window: Window { fixed, sliding, session, accumulator }, keyed, allowed_lateness, storage } =
        written;
    let fixed = fixed.map(|FixedWindow { length, streaming }| FixedWindow {
        length,
        streaming: Some(streaming.unwrap_or(false)),
    });
    let sliding = sliding.map(|SlidingWindow { length, slide, streaming }| SlidingWindow {
        length,
        slide,
        streaming: Some(streaming.unwrap_or(false)),
    });
    GroupBy {
        window: Window { fixed, sliding, session, accumulator },
        keyed: Some(keyed.unwrap_or(false)),
        allowed_lateness: Some(allowed_lateness.unwrap_or_default()),
        storage,
    }
}

fn limits(resolved: resolve::Limits, kind: VertexKind) -> VertexLimits {
    let resolve::Limits {
        read_batch_size,
        read_timeout,
        buffer_max_length,
        buffer_usage_limit_percent,
        concurrency,
        rate_limit,
    } = resolved;
    // A source has no buffer of its own.
    let has_buffer = kind != VertexKind::Source;
    VertexLimits {
        read_batch_size: Some(read_batch_size),
        read_timeout: Some(duration(read_timeout)),
        buffer_max_length: has_buffer.then_some(buffer_max_length),
        buffer_usage_limit: has_buffer.then_some(buffer_usage_limit_percent),
        rate_limit: rate_limit.map(self::rate_limit),
        concurrency: Some(concurrency),
    }
}

fn rate_limit(resolved: resolve::RateLimit) -> RateLimit {
    let resolve::RateLimit { max, min, ramp_up, store, mode, resumed_ramp_up, ttl } = resolved;
    let none = RateLimitModes::default();
    let modes = match mode {
        RateLimitMode::Scheduled => RateLimitModes { scheduled: Some(Empty {}), ..none },
        RateLimitMode::Relaxed => RateLimitModes { relaxed: Some(Empty {}), ..none },
        RateLimitMode::OnlyIfUsed { threshold } => RateLimitModes {
            only_if_used: Some(OnlyIfUsed { threshold_percentage: Some(threshold) }),
            ..none
        },
        RateLimitMode::GoBackN { cool_down, ramp_down, threshold } => {
            let settings = GoBackN {
                cool_down_period: Some(duration(cool_down)),
                ramp_down_percentage: Some(ramp_down),
                threshold_percentage: Some(threshold),
            };
            RateLimitModes { go_back_n: Some(settings), ..none }
        }
    };
    RateLimit {
        max,
        min: Some(min),
        ramp_up_duration: Some(duration(ramp_up)),
        store,
        modes: Some(modes),
        resumed_ramp_up: Some(resumed_ramp_up),
        ttl: Some(duration(ttl)),
    }
}

fn retry(written: Option<&RetryStrategy>) -> RetryStrategy {
    let Retry { interval, steps, factor, cap, jitter, on_failure } = Retry::from_spec(written);
    let word = match on_failure {
        OnFailure::Retry => "retry",
        OnFailure::Fallback => "fallback",
        OnFailure::Drop => "drop",
    };
    let backoff = Backoff {
        interval: Some(duration(interval)),
        steps,
        factor: Some(factor),
        cap: Some(duration(cap)),
        jitter: Some(jitter),
    };
    RetryStrategy { backoff: Some(backoff), on_failure: Some(word.to_owned()) }
}

fn redelivery(resolved: &resolve::Redelivery) -> Redelivery {
    let resolve::Redelivery { deliveries_max, on_exhausted, hold_watermark } = resolved;
    Redelivery {
        max_deliveries: *deliveries_max,
        on_exhausted: Some(*on_exhausted),
        hold_watermark: Some(duration(*hold_watermark)),
    }
}

fn user_code(resolved: &resolve::UserCode) -> UserCode {
    let resolve::UserCode { unresponsive_after, poison_attempts } = resolved;
    UserCode {
        unresponsive_after: Some(duration(*unresponsive_after)),
        poison_attempts: poison_attempts.map(std::num::NonZeroU32::get),
    }
}

fn bypass(written: Bypass) -> Bypass {
    let Bypass { sink, fallback, on_success } = written;
    let rule =
        |rule: Option<BypassRule>| rule.map(|BypassRule { tags }| BypassRule { tags: self::tags(tags) });
    Bypass { sink: rule(sink), fallback: rule(fallback), on_success: rule(on_success) }
}

/// The order of tags and how often one is named do not matter.
fn tags(written: TagConditions) -> TagConditions {
    let TagConditions { operator, mut values } = written;
    values.sort();
    values.dedup();
    TagConditions { operator: Some(operator.unwrap_or_default()), values }
}

fn duration(resolved: std::time::Duration) -> Duration {
    Duration::from_nanos(i64::try_from(resolved.as_nanos()).unwrap_or(i64::MAX))
}
