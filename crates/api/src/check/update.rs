//! Rules about update strategies.

use super::Report;
use crate::path::Path;
use crate::resolve::{PROGRESS_DEADLINE_SECONDS, Share, UpdateKind, parse_ratio};
use crate::schema::hints::{did_you_mean, list};
use crate::spec::stock::IntOrString;
use crate::spec::{Analysis, CanaryStep, UpdateStrategy};

pub(super) fn complain(strategy: &UpdateStrategy, path: &Path, report: &mut Report<'_>) {
    let word = strategy.kind.as_deref().unwrap_or_default();
    let kind = UpdateKind::parse(word);
    if kind.is_none() {
        let message = format!("`{word}` is not one of {}", list(&UpdateKind::NAMES));
        let hint = did_you_mean(word, UpdateKind::NAMES.into_iter());
        report.error("update-type", &path.field("type"), message).hint(hint.unwrap_or_default());
    }
    if let Some(rolling) = &strategy.rolling_update {
        let at = path.field("rollingUpdate");
        let unavailable =
            share("max-unavailable", rolling.max_unavailable.as_ref(), &at.field("maxUnavailable"), report);
        let surge = share("max-surge", rolling.max_surge.as_ref(), &at.field("maxSurge"), report);
        if unavailable.is_some_and(Share::is_zero) && surge.is_some_and(Share::is_zero) {
            let message = "with `maxUnavailable` and `maxSurge` both 0 no worker could ever be replaced";
            report.error("update-both-zero", &at, message);
        }
    }
    deadline(strategy, path, report);
    let steps = strategy.canary.as_ref().map(|canary| canary.steps.as_slice()).unwrap_or_default();
    if kind == Some(UpdateKind::Canary) && steps.is_empty() {
        let at = path.fields(&["canary", "steps"]);
        report
            .error("canary-steps", &at, "a canary needs at least one step")
            .hint("begin with `- setWeight: 10`");
    }
    for (index, step) in steps.iter().enumerate() {
        canary_step(step, &path.fields(&["canary", "steps"]).index(index), report);
    }
    if let Some(written) = &strategy.analysis {
        analysis(written, &path.field("analysis"), report);
    }
    let unused = [
        ("canary", strategy.canary.is_some(), UpdateKind::Canary),
        ("blueGreen", strategy.blue_green.is_some(), UpdateKind::BlueGreen),
    ];
    for (field, is_set, belongs_to) in unused {
        if is_set && kind.is_some_and(|kind| kind != belongs_to) {
            let message = format!("`{field}` is not used with this type");
            report
                .warning("update-unused", &path.field(field), message)
                .hint(format!("write `type: {belongs_to:?}`"));
        }
    }
}

fn deadline(strategy: &UpdateStrategy, path: &Path, report: &mut Report<'_>) {
    let min_ready = strategy.min_ready_seconds.unwrap_or(0);
    let deadline = strategy.progress_deadline_seconds.unwrap_or(PROGRESS_DEADLINE_SECONDS);
    if min_ready < deadline {
        return;
    }
    let written = strategy.progress_deadline_seconds.is_some();
    let field = if written { "progressDeadlineSeconds" } else { "minReadySeconds" };
    let message = format!(
        "a worker counts after {min_ready} s (`minReadySeconds`), and without progress for {deadline} s \
         (`progressDeadlineSeconds`) a rollout has failed: none could succeed"
    );
    report
        .error("update-deadline", &path.field(field), message)
        .hint(format!("set `progressDeadlineSeconds` above {min_ready}"));
}

fn share(
    rule: &'static str,
    value: Option<&IntOrString>,
    path: &Path,
    report: &mut Report<'_>,
) -> Option<Share> {
    let parsed = Share::parse(value?);
    if parsed.is_none() {
        report
            .error(rule, path, "it is neither a count nor a percentage")
            .hint("write for example 1 or \"25%\"");
    }
    parsed
}

fn canary_step(step: &CanaryStep, path: &Path, report: &mut Report<'_>) {
    let CanaryStep { set_weight, analysis, pause } = step;
    let set = [set_weight.is_some(), analysis.is_some(), pause.is_some()];
    if set.into_iter().filter(|is_set| *is_set).count() != 1 {
        let message = "a step is exactly one of `setWeight`, `analysis` and `pause`";
        report.error("canary-step", path, message).hint("make a step of each");
    }
    if analysis.as_ref().is_some_and(|analysis| analysis.duration <= crate::Duration::ZERO) {
        report.error("canary-analysis", &path.fields(&["analysis", "for"]), "it must be longer than 0s");
    }
}

fn analysis(analysis: &Analysis, path: &Path, report: &mut Report<'_>) {
    let ratios = [
        ("maxErrorRatio", &analysis.max_error_ratio),
        ("outputRatioTolerance", &analysis.output_ratio_tolerance),
    ];
    for (field, text) in ratios {
        if let Some(text) = text.as_deref().filter(|text| parse_ratio(text).is_none()) {
            let message = format!("`{text}` is no percentage");
            report.error("analysis-ratio", &path.field(field), message).hint("write for example \"1%\"");
        }
    }
    if analysis.max_latency_ratio.is_some_and(|ratio| ratio <= 0.0) {
        report.error("analysis-latency", &path.field("maxLatencyRatio"), "it must be above 0");
    }
    for (index, query) in analysis.prometheus.iter().enumerate() {
        if query.min.is_none() && query.max.is_none() {
            let at = path.field("prometheus").index(index);
            report.error("analysis-query", &at, "a query needs `min` or `max`");
        }
    }
}
