//! Rules of sinks. The invariant: the order of precedence here is the one workers use.

use super::{Report, auth, containers, retry, source};
use crate::path::Path;
use crate::spec::{AbstractSink, Sink};

/// The members that are set, in the order in which workers choose.
pub(super) fn members(sink: &AbstractSink) -> Vec<&'static str> {
    let AbstractSink { log, blackhole, serve, udsink, kafka, pulsar, sqs, stdout, file } = sink;
    let all = [
        ("udsink", udsink.is_some()),
        ("log", log.is_some()),
        ("blackhole", blackhole.is_some()),
        ("serve", serve.is_some()),
        ("sqs", sqs.is_some()),
        ("kafka", kafka.is_some()),
        ("pulsar", pulsar.is_some()),
        ("stdout", stdout.is_some()),
        ("file", file.is_some()),
    ];
    all.into_iter().filter(|(_, is_set)| *is_set).map(|(name, _)| name).collect()
}

pub(super) fn complain(sink: &Sink, path: &Path, report: &mut Report<'_>) {
    one(&sink.primary, path, report);
    let wants_fallback = retry::wants_fallback(sink.retry_strategy.as_ref());
    let fallback_at = path.field("fallback");
    // `serve` answers a request and cannot take what failed.
    let can_take = |sink: &AbstractSink| members(sink).iter().any(|name| *name != "serve");
    if wants_fallback && !sink.fallback.as_ref().is_some_and(can_take) {
        report
            .error("fallback-missing", &fallback_at, "`onFailure: fallback` needs a fallback sink")
            .hint("add for example `fallback: {log: {}}`");
    } else if let Some(fallback) = &sink.fallback {
        one(fallback, &fallback_at, report);
    }
    if let Some(on_success) = &sink.on_success {
        one(on_success, &path.field("onSuccess"), report);
    }
    if let Some(strategy) = &sink.retry_strategy {
        retry::complain(strategy, &path.field("retryStrategy"), report);
    }
}

fn one(sink: &AbstractSink, path: &Path, report: &mut Report<'_>) {
    let members = members(sink);
    match members.as_slice() {
        [] => {
            report
                .error("sink-missing", path, "the sink does not say what it writes to")
                .hint("add for example `log: {}` or `blackhole: {}`");
        }
        [first, ignored @ ..] => {
            for name in ignored {
                let message = format!("`{name}` is not used, because `{first}` comes first");
                report.warning("sink-several", &path.field(name), message).hint("keep one of them");
            }
        }
    }
    if let Some(own) = &sink.udsink {
        containers::program("udsink-image", &own.container, &path.fields(&["udsink", "container"]), report);
    }
    if let Some(kafka) = &sink.kafka {
        let at = path.field("kafka");
        source::brokers(&kafka.brokers, &at, report);
        report.not_empty(&at.field("topic"), &kafka.topic);
        auth::tls(kafka.tls.as_ref(), &at.field("tls"), report);
        auth::sasl(kafka.sasl.as_ref(), &at.field("sasl"), report);
    }
    if let Some(pulsar) = &sink.pulsar {
        let at = path.field("pulsar");
        let required = [
            ("serverAddr", &pulsar.server_addr),
            ("topic", &pulsar.topic),
            ("producerName", &pulsar.producer_name),
        ];
        for (field, text) in required {
            report.not_empty(&at.field(field), text);
        }
        auth::pulsar(pulsar.auth.as_ref(), &at.field("auth"), report);
    }
    if let Some(sqs) = &sink.sqs {
        let at = path.field("sqs");
        let queue =
            (sqs.aws_region.as_str(), sqs.queue_name.as_str(), sqs.queue_owner_aws_account_id.as_str());
        auth::sqs_queue(queue, &at, report);
        auth::assume_role(sqs.assume_role.as_ref(), &at.field("assumeRole"), report);
    }
    if let Some(file) = &sink.file {
        report.not_empty(&path.fields(&["file", "path"]), &file.path);
    }
}
