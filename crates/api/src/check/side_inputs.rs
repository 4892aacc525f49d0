//! Rules about side inputs and the vertices that use them.

use std::collections::{BTreeSet, HashSet};

use super::{Report, containers};
use crate::cron::Cron;
use crate::path::Path;
use crate::schema::hints::{CANDIDATES_MAX, did_you_mean};
use crate::spec::{PipelineSpec, SideInput};

pub(super) fn complain(spec: &PipelineSpec, path: &Path, report: &mut Report<'_>) {
    let mut known = BTreeSet::new();
    for (index, side_input) in spec.side_inputs.iter().enumerate() {
        let at = path.field("sideInputs").index(index);
        one(side_input, &at, report);
        if !side_input.name.is_empty() && !known.insert(side_input.name.as_str()) {
            let message = format!("the name `{}` is taken by another side input", side_input.name);
            report.error("side-input-duplicate", &at.field("name"), message);
        }
    }
    for (index, vertex) in spec.vertices.iter().enumerate() {
        let mut used = HashSet::new();
        for (position, name) in vertex.side_inputs.iter().enumerate() {
            let at = path.field("vertices").index(index).field("sideInputs").index(position);
            if !known.contains(name.as_str()) {
                let hint = did_you_mean(name, known.iter().copied().take(CANDIDATES_MAX));
                let hint = hint.unwrap_or_else(|| "add it to `spec.sideInputs`".to_owned());
                report
                    .error("side-input-unknown", &at, format!("there is no side input `{name}`"))
                    .hint(hint);
            } else if !used.insert(name.as_str()) {
                report.error("side-input-repeated", &at, format!("the side input `{name}` is listed twice"));
            }
        }
    }
}

fn one(side_input: &SideInput, path: &Path, report: &mut Report<'_>) {
    if side_input.name.is_empty() {
        report.error("side-input-name", &path.field("name"), "the side input has no name");
    }
    let container = path.field("container");
    containers::image("side-input-image", &side_input.container, &container, report);
    containers::mounts_of(&[(&side_input.container, container)], &side_input.volumes, report);
    let trigger = path.field("trigger");
    let schedule = &side_input.trigger.schedule;
    if schedule.is_empty() {
        report.error("side-input-schedule", &trigger.field("schedule"), "the schedule is missing");
    } else if let Err(error) = Cron::parse_with_words(schedule) {
        let message = format!("`{schedule}` is no schedule: {error}");
        report
            .error("side-input-schedule", &trigger.field("schedule"), message)
            .hint("write six fields, seconds first, or a word such as `@hourly`");
    }
    report.timezone(&trigger.field("timezone"), side_input.trigger.timezone.as_deref());
}
