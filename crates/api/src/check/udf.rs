//! Rules of functions: map and reduce.

use super::{Report, containers, retry};
use crate::Duration;
use crate::path::Path;
use crate::spec::{GroupBy, PbqStorage, Udf, Window};

pub(super) fn complain(udf: &Udf, path: &Path, report: &mut Report<'_>) {
    match &udf.group_by {
        None => map(udf, path, report),
        Some(group_by) => reduce(udf, group_by, path, report),
    }
}

pub(super) fn map(udf: &Udf, path: &Path, report: &mut Report<'_>) {
    let at = path.field("container");
    match &udf.container {
        Some(container) => containers::image("udf-image", container, &at, report),
        None => {
            report.error("udf-container", &at, "the function needs a `container` with an `image`");
        }
    }
    if let Some(strategy) = &udf.retry_strategy {
        retry::without_fallback("udf-fallback", strategy, &path.field("retryStrategy"), report);
    }
}

fn reduce(udf: &Udf, group_by: &GroupBy, path: &Path, report: &mut Report<'_>) {
    let at = path.field("container");
    match &udf.container {
        Some(container) => containers::image("reduce-image", container, &at, report),
        None => {
            report.error("reduce-container", &at, "the reduce function needs a `container` with an `image`");
        }
    }
    if udf.retry_strategy.is_some() {
        report
            .error(
                "reduce-retry",
                &path.field("retryStrategy"),
                "a reduce function cannot have a retry strategy",
            )
            .hint("leave it out; a window that fails is done again from what is stored");
    }
    let at = path.field("groupBy");
    window(&group_by.window, &at.field("window"), report);
    storage(group_by.storage.as_ref(), &at.field("storage"), report);
}

fn window(window: &Window, path: &Path, report: &mut Report<'_>) {
    let Window { fixed, sliding, session, accumulator } = window;
    let exclusive =
        [("fixed", fixed.is_some()), ("sliding", sliding.is_some()), ("session", session.is_some())];
    let present: Vec<&str> =
        exclusive.into_iter().filter(|(_, is_set)| *is_set).map(|(name, _)| name).collect();
    match (present.as_slice(), accumulator.is_some()) {
        ([], false) => {
            let message = "the window is missing";
            report
                .error("window-missing", path, message)
                .hint("add one of `fixed`, `sliding`, `session`, `accumulator`");
        }
        ([first, others @ ..], has_accumulator) => {
            for other in others {
                let message = format!("`{other}` and `{first}` cannot stand together");
                report.error("window-several", &path.field(other), message).hint("keep one of them");
            }
            if has_accumulator {
                let message = format!("`accumulator` is not used, because `{first}` comes first");
                report
                    .warning("window-several", &path.field("accumulator"), message)
                    .hint("keep one of them");
            }
        }
        ([], true) => {}
    }
    if let Some(fixed) = fixed {
        length("window-length", fixed.length, &path.fields(&["fixed", "length"]), report);
    }
    if let Some(sliding) = sliding {
        length("window-length", sliding.length, &path.fields(&["sliding", "length"]), report);
        length("window-slide", sliding.slide, &path.fields(&["sliding", "slide"]), report);
    }
    if let Some(session) = session {
        length("window-timeout", session.timeout, &path.fields(&["session", "timeout"]), report);
    }
    if let Some(accumulator) = accumulator {
        length("window-timeout", accumulator.timeout, &path.fields(&["accumulator", "timeout"]), report);
    }
}

fn length(rule: &'static str, length: Option<Duration>, path: &Path, report: &mut Report<'_>) {
    match length {
        None => {
            report.error(rule, path, "it is required and missing").hint("write for example 60s");
        }
        Some(length) if length <= Duration::ZERO => {
            report.error(rule, path, "it must be longer than 0s");
        }
        Some(_) => {}
    }
}

fn storage(storage: Option<&PbqStorage>, path: &Path, report: &mut Report<'_>) {
    const HINT: &str = "add one of `persistentVolumeClaim: {}`, `emptyDir: {}`, `no_store: {}`";
    let Some(PbqStorage { persistent_volume_claim, empty_dir, no_store }) = storage else {
        report
            .error("storage-missing", path, "a reduce function needs `storage` for open windows")
            .hint(HINT);
        return;
    };
    let kinds = [persistent_volume_claim.is_some(), empty_dir.is_some(), no_store.is_some()];
    match kinds.into_iter().filter(|is_set| *is_set).count() {
        0 => report.error("storage-kind", path, "the storage does not say of which kind it is").hint(HINT),
        1 => {}
        _ => report
            .error("storage-kind", path, "only one kind of storage is possible")
            .hint("keep one of them"),
    }
}
