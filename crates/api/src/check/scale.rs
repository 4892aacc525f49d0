//! Rules about scaling, by load and by the clock.

use super::Report;
use crate::cron::Cron;
use crate::path::Path;
use crate::spec::{Scale, ScaleCron, ScaleSchedule};

const MAX: i32 = 50;

pub(super) fn complain(scale: &Scale, path: &Path, report: &mut Report<'_>) {
    for (field, value) in [("min", scale.min), ("max", scale.max)] {
        if value.is_some_and(|value| value < 0) {
            report.error("scale-negative", &path.field(field), format!("`{field}` must not be negative"));
        }
    }
    let (min, max) = (scale.min.unwrap_or(0), scale.max.unwrap_or(MAX));
    if min > max && max >= 0 {
        let message = match scale.max {
            Some(_) => format!("`min` ({min}) must not be above `max` ({max})"),
            None => format!("`min` ({min}) must not be above `max`, which is {MAX} unless set"),
        };
        report.error("scale-bounds", &path.field("min"), message);
    }
    if scale.target_buffer_availability.is_some_and(|percent| percent > 100) {
        report.error(
            "scale-percentage",
            &path.field("targetBufferAvailability"),
            "a percentage is a number from 0 to 100",
        );
    }
    if scale.replicas_per_scale.is_some() {
        report
            .warning("deprecated", &path.field("replicasPerScale"), "`replicasPerScale` is deprecated")
            .hint("write `replicasPerScaleUp` and `replicasPerScaleDown`");
    }
    if let Some(written) = &scale.cron {
        let at = path.field("cron");
        if scale.disabled == Some(true) {
            let message = "scaling is disabled, so it cannot follow the clock";
            report.error("scale-cron-disabled", &at, message).hint("remove `scale.disabled` or `scale.cron`");
        }
        cron(written, &at, report);
    }
}

fn cron(cron: &ScaleCron, path: &Path, report: &mut Report<'_>) {
    report.timezone(&path.field("timezone"), cron.timezone.as_deref());
    if cron.schedules.is_empty() {
        report.error("scale-cron-empty", &path.field("schedules"), "at least one schedule is needed");
    }
    for (index, written) in cron.schedules.iter().enumerate() {
        schedule(written, &path.field("schedules").index(index), report);
    }
}

fn schedule(schedule: &ScaleSchedule, path: &Path, report: &mut Report<'_>) {
    let mut parses = true;
    for (field, text) in [("start", &schedule.start), ("end", &schedule.end)] {
        if let Err(error) = Cron::parse(text) {
            let message = format!("`{text}` is no cron expression: {error}");
            report
                .error("scale-cron-expression", &path.field(field), message)
                .hint("for example `0 30 8 * * 1-5`");
            parses = false;
        }
    }
    if parses {
        let fields = |text: &str| text.split_whitespace().map(str::to_owned).collect::<Vec<_>>();
        let (start, end) = (fields(&schedule.start), fields(&schedule.end));
        if start == end {
            report.error("scale-cron-same", &path.field("end"), "`end` is the same as `start`");
        } else if start[3..] != end[3..] {
            let message = "day of month, month and day of week of `start` and `end` must be the same";
            report.error("scale-cron-days", &path.field("end"), message).hint("write one schedule per day");
        }
    }
    for (field, value) in [("min", schedule.min), ("max", schedule.max)] {
        match value {
            None => {
                report.error(
                    "scale-cron-replicas",
                    &path.field(field),
                    format!("`{field}` is required and missing"),
                );
            }
            Some(value) if value < 0 => {
                report.error(
                    "scale-cron-replicas",
                    &path.field(field),
                    format!("`{field}` must not be negative"),
                );
            }
            Some(_) => {}
        }
    }
    if let (Some(min), Some(max)) = (schedule.min, schedule.max)
        && min > max
    {
        let message = format!("`min` ({min}) must not be above `max` ({max})");
        report.error("scale-cron-replicas", &path.field("min"), message);
    }
}
