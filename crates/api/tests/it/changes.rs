//! What of an object cannot be changed while it exists.

use api::{Checked, Complaint, InterStepBufferService, Object, Pipeline, change};
use tidegate_api as api;

use crate::fixture::middle;

const REDUCE: &str = "      partitions: 2
      udf:
        container: {image: x}
        groupBy: {keyed: true, window: {fixed: {length: 60s}}, storage: {emptyDir: {}}}";

fn load(text: &str) -> Object {
    let objects = api::load([("f", text.as_bytes())]).accept().expect("a good manifest").0;
    objects.into_iter().next().expect("an object")
}

fn pipeline(text: &str) -> Checked<Pipeline> {
    let Object::Pipeline(pipeline) = load(text) else { panic!("a pipeline") };
    *pipeline
}

fn service(spec: &str) -> Checked<InterStepBufferService> {
    let text = format!(
        "apiVersion: numaflow.numaproj.io/v1alpha1\nkind: InterStepBufferService\nmetadata: {{name: default}}\nspec: {{jetstream: {{version: latest{spec}}}}}"
    );
    let Object::InterStepBufferService(service) = load(&text) else { panic!("a buffer service") };
    *service
}

fn shown(complaints: &[Complaint]) -> Vec<(&'static str, String)> {
    complaints.iter().map(|complaint| (complaint.rule, complaint.path.to_string())).collect()
}

#[test]
fn a_pipeline_keeps_what_its_data_hangs_on() {
    let text = middle(REDUCE);
    let old = pipeline(&text);
    let table = [
        ("partitions: 2", "partitions: 3", Some(("change-partitions", "spec.vertices[1].partitions"))),
        ("emptyDir: {}", "no_store: {}", Some(("change-storage", "spec.vertices[1].udf.groupBy.storage"))),
        (
            "emptyDir: {}",
            "emptyDir: {medium: Memory}",
            Some(("change-storage", "spec.vertices[1].udf.groupBy.storage")),
        ),
        (
            "spec:\n",
            "spec:\n  interStepBufferServiceName: b\n",
            Some(("change-buffer-service", "spec.interStepBufferServiceName")),
        ),
        ("spec:\n", "spec:\n  interStepBufferServiceName: default\n", None),
        (
            "  name: p\n",
            "  name: p\n  annotations: {numaflow.numaproj.io/instance: x}\n",
            Some(("change-instance", "metadata.annotations[\"numaflow.numaproj.io/instance\"]")),
        ),
        ("length: 60s", "length: 30s", None),
        ("image: x", "image: y", None),
        (REDUCE, "      udf: {container: {image: x}}", Some(("change-vertex-kind", "spec.vertices[1]"))),
    ];
    for (from, to, expected) in table {
        let new = pipeline(&text.replace(from, to));
        let expected: Vec<_> = expected.into_iter().map(|(rule, path)| (rule, path.to_owned())).collect();
        assert_eq!(shown(&change::pipeline(&old, &new)), expected, "{to}");
    }
    let renamed =
        text.replace("name: v\n", "name: w\n").replace("to: v}", "to: w}").replace("from: v,", "from: w,");
    let renamed = renamed.replace("partitions: 2", "partitions: 5");
    assert_eq!(change::pipeline(&old, &pipeline(&renamed)), []);
}

#[test]
fn a_buffer_service_keeps_its_volumes() {
    let old = service(", persistence: {volumeSize: 3Gi}");
    assert_eq!(
        change::inter_step_buffer_service(&old, &service(", replicas: 5, persistence: {volumeSize: 3Gi}")),
        []
    );
    for other in ["", ", persistence: {volumeSize: 4Gi}"] {
        let found = change::inter_step_buffer_service(&old, &service(other));
        assert_eq!(shown(&found), [("change-persistence", "spec.jetstream.persistence".to_owned())]);
    }
}
