//! What of an object cannot be changed while it exists. The invariant: what is refused here would otherwise
//! leave data behind that nobody reads.

use std::collections::BTreeMap;

use crate::check::{Checked, without_place};
use crate::complaint::{Complaint, Findings};
use crate::path::Path;
use crate::resolve::VertexKind;
use crate::spec::{Kind, PipelineVertex, Resource};
use crate::{InterStepBufferService, MonoVertex, Pipeline, names};

const HINT: &str = "delete the object and make it again, or make another one beside it";

/// What of the change from one pipeline to another is not possible.
pub fn pipeline(old: &Checked<Pipeline>, new: &Checked<Pipeline>) -> Vec<Complaint> {
    let mut findings = Findings::default();
    instance(&**old, &**new, &mut findings);
    let spec = Path::root().field("spec");
    let service = |pipeline: &Pipeline| match pipeline.spec.inter_step_buffer_service_name.as_deref() {
        None | Some("") => "default".to_owned(),
        Some(name) => name.to_owned(),
    };
    if service(old) != service(new) {
        let message =
            format!("the buffer service cannot change from `{}` to `{}`", service(old), service(new));
        findings
            .error("change-buffer-service", &spec.field("interStepBufferServiceName"), message)
            .hint(HINT);
    }
    let before: BTreeMap<&str, &PipelineVertex> =
        old.spec.vertices.iter().map(|vertex| (vertex.name.as_str(), vertex)).collect();
    for (index, vertex) in new.spec.vertices.iter().enumerate() {
        if let Some(before) = before.get(vertex.name.as_str()) {
            kept_vertex(before, vertex, &spec.field("vertices").index(index), &mut findings);
        }
    }
    findings.into_inner().into_iter().map(without_place).collect()
}

/// What of the change from one mono vertex to another is not possible.
pub fn mono_vertex(old: &Checked<MonoVertex>, new: &Checked<MonoVertex>) -> Vec<Complaint> {
    let mut findings = Findings::default();
    instance(&**old, &**new, &mut findings);
    findings.into_inner().into_iter().map(without_place).collect()
}

/// What of the change from one buffer service to another is not possible.
pub fn inter_step_buffer_service(
    old: &Checked<InterStepBufferService>,
    new: &Checked<InterStepBufferService>,
) -> Vec<Complaint> {
    let mut findings = Findings::default();
    instance(&**old, &**new, &mut findings);
    let persistence = |service: &InterStepBufferService| {
        service.spec.jetstream.as_ref().and_then(|jetstream| jetstream.persistence.clone())
    };
    if persistence(old) != persistence(new) {
        let path = Path::root().fields(&["spec", "jetstream", "persistence"]);
        findings
            .error("change-persistence", &path, "the volumes of a buffer service cannot change")
            .hint(HINT);
    }
    findings.into_inner().into_iter().map(without_place).collect()
}

fn instance<S: Kind>(old: &Resource<S>, new: &Resource<S>, findings: &mut Findings) {
    let of =
        |object: &Resource<S>| object.annotation(names::INSTANCE_ANNOTATION).unwrap_or_default().to_owned();
    if of(old) != of(new) {
        let path = Path::root().fields(&["metadata", "annotations"]).field(names::INSTANCE_ANNOTATION);
        findings.error("change-instance", &path, "an object cannot move to another controller").hint(HINT);
    }
}

fn kept_vertex(old: &PipelineVertex, new: &PipelineVertex, path: &Path, findings: &mut Findings) {
    let word = |vertex: &PipelineVertex| vertex.kind().map_or("nothing", VertexKind::as_str);
    if old.kind() != new.kind() {
        let message = format!("the vertex `{}` cannot change from {} to {}", new.name, word(old), word(new));
        findings.error("change-vertex-kind", path, message).hint("give the new vertex another name");
        return;
    }
    if new.kind() != Some(VertexKind::Reduce) {
        return;
    }
    if old.partitions_effective() != new.partitions_effective() {
        let message =
            "the partitions of a reduce vertex cannot change, because windows are kept by partition";
        findings
            .error("change-partitions", &path.field("partitions"), message)
            .hint("give the vertex another name");
    }
    let storage = |vertex: &PipelineVertex| {
        vertex
            .udf
            .as_ref()
            .and_then(|udf| udf.group_by.as_ref())
            .and_then(|group_by| group_by.storage.clone())
    };
    if storage(old) != storage(new) {
        let path = path.fields(&["udf", "groupBy", "storage"]);
        let message = "the storage of a reduce vertex cannot change, because open windows are in it";
        findings.error("change-storage", &path, message).hint("give the vertex another name");
    }
}
