//! Rules of sources. The invariant: the order of precedence here is the one workers use.

use super::{Report, auth, containers, retry};
use crate::path::Path;
use crate::resolve::is_base64;
use crate::spec::Source;
use crate::spec::serving::HttpPorts;
use crate::spec::source::{
    GeneratorSource, JetStreamSource, KafkaSource, NatsSource, PulsarSource, SqsSource,
};

const KEYS_MAX: i32 = 255;
/// The shortest unit of time that a generator can keep.
const UNIT_MIN: crate::Duration = crate::Duration::from_millis(10);
/// Padding is written as numbers, so that a payload stays below a mebibyte.
const MESSAGE_BYTES_MAX: i32 = 256 * 1024;

/// The members that are set, in the order in which workers choose.
pub(super) fn members(source: &Source) -> Vec<&'static str> {
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
        transformer: _,
    } = source;
    let all = [
        ("generator", generator.is_some()),
        ("udsource", udsource.is_some()),
        ("pulsar", pulsar.is_some()),
        ("sqs", sqs.is_some()),
        ("serving", serving.is_some()),
        ("jetstream", jetstream.is_some()),
        ("nats", nats.is_some()),
        ("kafka", kafka.is_some()),
        ("http", http.is_some()),
        ("stdin", stdin.is_some()),
        ("file", file.is_some()),
    ];
    all.into_iter().filter(|(_, is_set)| *is_set).map(|(name, _)| name).collect()
}

pub(super) fn complain(source: &Source, path: &Path, report: &mut Report<'_>) {
    choice(source, path, report);
    if let Some(own) = &source.udsource {
        containers::image("udsource-image", &own.container, &path.fields(&["udsource", "container"]), report);
    }
    transformer(source, path, report);
    if let Some(written) = &source.generator {
        generator(written, &path.field("generator"), report);
    }
    if let Some(http) = &source.http {
        ports(http.ports.as_ref(), &path.fields(&["http", "ports"]), report);
    }
    if let Some(written) = &source.kafka {
        kafka(written, &path.field("kafka"), report);
    }
    if let Some(written) = &source.nats {
        nats(written, &path.field("nats"), report);
    }
    if let Some(written) = &source.jetstream {
        jetstream(written, &path.field("jetstream"), report);
    }
    if let Some(written) = &source.pulsar {
        pulsar(written, &path.field("pulsar"), report);
    }
    if let Some(written) = &source.sqs {
        sqs(written, &path.field("sqs"), report);
    }
    if let Some(file) = &source.file {
        report.not_empty(&path.fields(&["file", "path"]), &file.path);
    }
}

fn choice(source: &Source, path: &Path, report: &mut Report<'_>) {
    let members = members(source);
    let Some(first) = members.first() else {
        report
            .error("source-missing", path, "the source does not say what it reads from")
            .hint("add for example `generator: {}` or `http: {}`");
        return;
    };
    if source.udsource.is_some() {
        let mut is_refused = false;
        for other in members.iter().filter(|name| ["http", "kafka", "nats", "generator"].contains(name)) {
            let message = format!("`{other}` and `udsource` cannot stand together");
            report.error("udsource-with-builtin", &path.field(other), message).hint("keep one of them");
            is_refused = true;
        }
        if is_refused {
            return;
        }
    }
    for ignored in &members[1..] {
        let message = format!("`{ignored}` is not used, because `{first}` comes first");
        report.warning("source-several", &path.field(ignored), message).hint("keep one of them");
    }
}

fn transformer(source: &Source, path: &Path, report: &mut Report<'_>) {
    let Some(transformer) = &source.transformer else { return };
    let at = path.field("transformer");
    match &transformer.container {
        Some(container) => containers::image("transformer-image", container, &at.field("container"), report),
        None => {
            report.error(
                "transformer-container",
                &at.field("container"),
                "the transformer needs a `container`",
            );
        }
    }
    if let Some(strategy) = &transformer.retry_strategy {
        retry::without_fallback("transformer-fallback", strategy, &at.field("retryStrategy"), report);
    }
}

fn generator(generator: &GeneratorSource, path: &Path, report: &mut Report<'_>) {
    if generator.rpu.is_some_and(|rpu| rpu < 0) {
        report.error("generator-rpu", &path.field("rpu"), "`rpu` must not be negative");
    }
    if let Some(duration) = generator.duration.filter(|duration| *duration < UNIT_MIN) {
        let message = format!("the unit of time is {duration}, at least {UNIT_MIN} is needed");
        report
            .error("generator-duration", &path.field("duration"), message)
            .hint("write a longer `duration` and raise `rpu` with it");
    }
    if generator.msg_size.is_some_and(|bytes| bytes > MESSAGE_BYTES_MAX) {
        let message = format!("messages have at most {MESSAGE_BYTES_MAX} bytes of padding");
        report
            .error("generator-size", &path.field("msgSize"), message)
            .hint("write a smaller number, or give the whole payload as `valueBlob`");
    }
    if generator.key_count.is_some_and(|count| count > KEYS_MAX) {
        let message = format!("there are at most {KEYS_MAX} keys, so {KEYS_MAX} are used");
        report.warning("generator-keys", &path.field("keyCount"), message);
    }
    if generator.value_blob.as_deref().is_some_and(|blob| !is_base64(blob)) {
        report
            .error("generator-blob", &path.field("valueBlob"), "`valueBlob` is not base64")
            .hint("encode the payload, for example with `base64 -w0`");
    }
}

pub(super) fn ports(ports: Option<&HttpPorts>, path: &Path, report: &mut Report<'_>) {
    let Some(HttpPorts { https, http }) = ports else { return };
    for (field, port) in [("https", https), ("http", http)] {
        if port.is_some_and(|port| u16::try_from(port).is_err() || port == 0) {
            report.error("port-range", &path.field(field), "a port is a number from 1 to 65535");
        }
    }
    if http.is_some() && https.unwrap_or(8443) == http.unwrap_or_default() {
        report.error("port-clash", &path.field("http"), "`https` and `http` cannot share a port");
    }
}

fn kafka(kafka: &KafkaSource, path: &Path, report: &mut Report<'_>) {
    brokers(&kafka.brokers, path, report);
    report.not_empty(&path.field("topic"), &kafka.topic);
    auth::tls(kafka.tls.as_ref(), &path.field("tls"), report);
    auth::sasl(kafka.sasl.as_ref(), &path.field("sasl"), report);
}

pub(super) fn brokers(brokers: &[String], path: &Path, report: &mut Report<'_>) {
    if brokers.is_empty() {
        report
            .error("kafka-brokers", &path.field("brokers"), "at least one broker is needed")
            .hint("write for example `brokers: [\"kafka:9092\"]`");
    }
}

fn nats(nats: &NatsSource, path: &Path, report: &mut Report<'_>) {
    for (field, text) in [("url", &nats.url), ("subject", &nats.subject), ("queue", &nats.queue)] {
        report.not_empty(&path.field(field), text);
    }
    auth::tls(nats.tls.as_ref(), &path.field("tls"), report);
    auth::nats(nats.auth.as_ref(), &path.field("auth"), report);
}

fn jetstream(jetstream: &JetStreamSource, path: &Path, report: &mut Report<'_>) {
    report.not_empty(&path.field("url"), &jetstream.url);
    report.not_empty(&path.field("stream"), &jetstream.stream);
    auth::tls(jetstream.tls.as_ref(), &path.field("tls"), report);
    auth::nats(jetstream.auth.as_ref(), &path.field("auth"), report);
    if let Some(policy) = jetstream.deliver_policy.as_deref().filter(|policy| !is_deliver_policy(policy)) {
        let message = format!("`{policy}` is no way to begin a stream");
        let hint = "write `all`, `new`, `last`, `last_per_subject`, `by_start_sequence N` or `by_start_time EPOCH_MS`";
        report.error("deliver-policy", &path.field("deliver_policy"), message).hint(hint);
    }
}

fn is_deliver_policy(policy: &str) -> bool {
    let lower = policy.to_ascii_lowercase();
    let words: Vec<&str> = lower.split_whitespace().collect();
    match words.as_slice() {
        [] | ["all" | "new" | "last" | "last_per_subject"] => true,
        ["by_start_sequence" | "by_start_time", number] => number.parse::<u64>().is_ok(),
        _ => false,
    }
}

fn pulsar(pulsar: &PulsarSource, path: &Path, report: &mut Report<'_>) {
    let required = [
        ("serverAddr", &pulsar.server_addr),
        ("topic", &pulsar.topic),
        ("consumerName", &pulsar.consumer_name),
        ("subscriptionName", &pulsar.subscription_name),
    ];
    for (field, text) in required {
        report.not_empty(&path.field(field), text);
    }
    auth::pulsar(pulsar.auth.as_ref(), &path.field("auth"), report);
}

fn sqs(sqs: &SqsSource, path: &Path, report: &mut Report<'_>) {
    let queue = (sqs.aws_region.as_str(), sqs.queue_name.as_str(), sqs.queue_owner_aws_account_id.as_str());
    auth::sqs_queue(queue, path, report);
    auth::assume_role(sqs.assume_role.as_ref(), &path.field("assumeRole"), report);
    let ranges = [
        ("visibilityTimeout", sqs.visibility_timeout, 0..=43_200),
        ("maxNumberOfMessages", sqs.max_number_of_messages, 1..=10),
        ("waitTimeSeconds", sqs.wait_time_seconds, 0..=20),
    ];
    for (field, value, range) in ranges {
        if value.is_some_and(|value| !range.contains(&value)) {
            let message = format!("`{field}` is a number from {} to {}", range.start(), range.end());
            report.error("sqs-range", &path.field(field), message);
        }
    }
}
