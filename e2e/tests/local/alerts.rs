//! The alert rules, judged by Prometheus' own checker. That their metrics are ours is held where the metrics are made.

use std::path::Path;

use e2e::lab;

#[test]
fn the_alert_rules_fire_when_they_should_and_only_then() {
    let Some(mut promtool) = lab::promtool("the_alert_rules_fire_when_they_should_and_only_then") else {
        return;
    };
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("../deploy/alerts");
    let output =
        promtool.current_dir(directory).args(["test", "rules", "tidegate.rules.test.yaml"]).output().unwrap();
    let said = String::from_utf8_lossy(&output.stdout) + String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{said}");
    assert!(said.contains("SUCCESS"), "{said}");
}
