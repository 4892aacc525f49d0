//! Rules about retries.

use super::Report;
use crate::Duration;
use crate::path::Path;
use crate::resolve::OnFailure;
use crate::schema::hints::{did_you_mean, list};
use crate::spec::{Backoff, RetryStrategy};

const LEAST_CAP: Duration = Duration::from_millis(1);

/// Whether what fails too often is to go to a fallback sink.
pub(super) fn wants_fallback(strategy: Option<&RetryStrategy>) -> bool {
    let word = strategy.and_then(|strategy| strategy.on_failure.as_deref());
    word.and_then(OnFailure::parse) == Some(OnFailure::Fallback)
}

pub(super) fn complain(strategy: &RetryStrategy, path: &Path, report: &mut Report<'_>) {
    if let Some(word) = strategy.on_failure.as_deref().filter(|word| OnFailure::parse(word).is_none()) {
        let message = format!("`{word}` is not one of {} and counts as `retry`", list(&OnFailure::NAMES));
        let hint = did_you_mean(word, OnFailure::NAMES.into_iter());
        report
            .warning("on-failure-unknown", &path.field("onFailure"), message)
            .hint(hint.unwrap_or_default());
    }
    if let Some(written) = &strategy.backoff {
        backoff(written, &path.field("backoff"), report);
    }
}

/// The same where there is no fallback sink to go to.
pub(super) fn without_fallback(
    rule: &'static str,
    strategy: &RetryStrategy,
    path: &Path,
    report: &mut Report<'_>,
) {
    complain(strategy, path, report);
    if wants_fallback(Some(strategy)) {
        report
            .error(rule, &path.field("onFailure"), "`fallback` is for sinks; there is no fallback sink here")
            .hint("write `retry` or `drop`");
    }
}

fn backoff(backoff: &Backoff, path: &Path, report: &mut Report<'_>) {
    if backoff.steps == Some(0) {
        report
            .error("backoff-steps", &path.field("steps"), "0 tries are not possible")
            .hint("write 1 to try once");
    }
    if backoff.factor.is_some_and(|factor| factor < 1.0) {
        report.error("backoff-factor", &path.field("factor"), "`factor` must be at least 1");
    }
    if let Some(cap) = backoff.cap {
        let least = backoff.interval.unwrap_or(LEAST_CAP);
        if cap < least {
            let message = format!("`cap` ({cap}) must not be shorter than `interval` ({least})");
            report.error("backoff-cap", &path.field("cap"), message);
        }
    }
    if backoff.jitter.is_some_and(|jitter| !(0.0..1.0).contains(&jitter)) {
        report.error(
            "backoff-jitter",
            &path.field("jitter"),
            "`jitter` is a number from 0 up to but not including 1",
        );
    }
}
