//! Rules of a serving pipeline: those of its front, and those of the pipeline behind it.

use super::pipeline::{self, PipelineContext};
use super::{Report, Rules, containers, object_name, source};
use crate::names;
use crate::path::Path;
use crate::spec::{Resource, ServingPipelineSpec};

impl Rules for ServingPipelineSpec {
    fn complain(object: &Resource<Self>, report: &mut Report<'_>) {
        let name_at = object_name(object, report);
        report.derived_label(&name_at, &names::serving_server(object.name()));
        let path = Path::root().field("spec");
        let at = path.field("serving");
        let serving = &object.spec.serving;
        report.not_empty(&at.field("msgIDHeaderKey"), &serving.msg_id_header_key);
        source::ports(serving.ports.as_ref(), &at.field("ports"), report);
        if serving.request_timeout_seconds == Some(0) {
            let message = "`requestTimeoutSeconds` must be at least 1";
            report.error("serving-timeout", &at.field("requestTimeoutSeconds"), message);
        }
        if let Some(store) = &serving.store {
            containers::image(
                "serving-store-image",
                &store.container,
                &at.fields(&["store", "container"]),
                report,
            );
        }
        let sub_pipeline = names::serving_sub_pipeline(object.name());
        let context = PipelineContext { name: &sub_pipeline, spec: &object.spec.pipeline, has_front: true };
        pipeline::complain(&context, &path.field("pipeline"), report);
    }
}
