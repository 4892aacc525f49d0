//! Rules of a buffer service.

use super::{Report, Rules, object_name};
use crate::names;
use crate::path::Path;
use crate::read::is_yaml_object;
use crate::spec::{InterStepBufferServiceSpec, Resource};

impl Rules for InterStepBufferServiceSpec {
    fn complain(object: &Resource<Self>, report: &mut Report<'_>) {
        let name_at = object_name(object, report);
        report.derived_label(&name_at, &names::isb_service(object.name()));
        let path = Path::root().field("spec").field("jetstream");
        let Some(jetstream) = &object.spec.jetstream else {
            let message = "a buffer service needs the block `jetstream`";
            report.error("isb-jetstream", &path, message).hint("write `jetstream: {version: latest}`");
            return;
        };
        if jetstream.version.as_deref().is_none_or(str::is_empty) {
            report
                .error("isb-version", &path.field("version"), "the version is missing")
                .hint("write for example `version: latest`");
        }
        match jetstream.replicas {
            Some(count) if count < 1 => {
                report.error("isb-replicas", &path.field("replicas"), "at least 1 server is needed");
            }
            Some(2) => {
                let message = "2 servers cannot agree when one is gone";
                report.error("isb-replicas", &path.field("replicas"), message).hint("write 1, 3 or 5");
            }
            _ => {}
        }
        let texts = [("settings", &jetstream.settings), ("bufferConfig", &jetstream.buffer_config)];
        for (field, text) in texts {
            if text.as_deref().is_some_and(|text| !is_yaml_object(text)) {
                let message = format!("`{field}` is not a YAML object");
                report
                    .error("isb-yaml", &path.field(field), message)
                    .hint("begin it with `|` and write `key: value` lines");
            }
        }
    }
}
