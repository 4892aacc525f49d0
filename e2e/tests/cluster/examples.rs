//! Examples as a person applies them: those whose images every cluster has, because they have none but ours.

use e2e::wait;

use crate::kubectl::{self, LIMIT};
use crate::manifests::{MONO_VERTEX, PIPELINE};

fn flows((kind, name): (&str, &str), file: &str, label: &str) {
    let path = format!("{}/../examples/{file}", env!("CARGO_MANIFEST_DIR"));
    kubectl::run(&["apply", "-f", &path]);
    kubectl::wait_for("condition=RolledOut", &format!("{kind}/{name}"), LIMIT);
    let component = if label == PIPELINE { "vertex" } else { "mono-vertex" };
    let selector = format!("{label}={name},app.kubernetes.io/component={component}");
    wait::within(LIMIT, "the sink has logged", || {
        let lines = kubectl::run(&["logs", "-l", &selector, "-c", "numa", "--tail=-1"]);
        (lines.matches("Payload - ").count() > 10).then_some(())
    });
    // A limited rate leaves more behind than a test can wait for to be drained.
    kubectl::run(&["annotate", kind, name, "tidegate.io/deletion=force"]);
    kubectl::delete(kind, name, label);
}

#[test]
fn the_mono_vertex_flows() {
    flows(("monovertex", "mono-vertex"), "mono-vertex.yaml", MONO_VERTEX);
}

#[test]
fn the_limited_rate_flows() {
    flows(("pipeline", "rate-limit"), "rate-limit.yaml", PIPELINE);
}
