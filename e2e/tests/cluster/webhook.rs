//! The admission webhook of a controller that looks after all namespaces, beside the one of the other tests. Invariant: it
//! has an instance of its own and so touches no object but those of these tests; it goes with the test.

use e2e::lab::tidegate;
use e2e::wait;
use serde_json::{Value, json};

use crate::kubectl::{self, LIMIT};
use crate::manifests::pipeline;

const CONTROLLER: &str = "deployment/numaflow-controller";

/// A controller for all namespaces, of an instance of its own.
struct Installed {
    /// Its namespace, and its instance.
    name: String,
    manifests: String,
}

impl Installed {
    fn new() -> Self {
        let name = format!("{}-webhook", kubectl::namespace());
        let image = kubectl::image();
        let words = ["install", "--namespace", &name, "--instance", &name, "--image", &image];
        let output = tidegate().args(words).args(["--definitions", "none"]).output();
        let output = output.expect("tidegate can be started");
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        let manifests = String::from_utf8(output.stdout).expect("manifests are text");
        let installed = Self { name, manifests };
        kubectl::feed(&["apply", "--server-side", "-f", "-", "--namespace", ""], &installed.manifests)
            .expect("the controller can be installed");
        installed.is_there(1);
        installed
    }

    /// Has so many controllers, and waits for them.
    fn is_there(&self, count: u32) {
        let count = format!("--replicas={count}");
        kubectl::run(&["--namespace", &self.name, "scale", CONTROLLER, &count]);
        let limit = format!("--timeout={}s", LIMIT.as_secs());
        kubectl::run(&["--namespace", &self.name, "rollout", "status", CONTROLLER, &limit]);
        let pods = ["--namespace", &self.name, "get", "pods", "-o", "name"];
        if count == "--replicas=0" {
            wait::within(LIMIT, "the controller is gone", || kubectl::run(&pods).is_empty().then_some(()));
        }
    }

    /// A pipeline that this controller looks after, and for which no pod is ever made.
    fn pipeline(&self, name: &str) -> Value {
        let source = json!({"name": "in", "source": {"generator": {"rpu": 1}}});
        let map = json!({"name": "map", "udf": {"container": {"image": "none"}}});
        let sink = json!({"name": "out", "sink": {"blackhole": {}}});
        let mut manifest = pipeline(name, vec![source, map, sink]);
        manifest["metadata"]["annotations"] = json!({"numaflow.numaproj.io/instance": self.name});
        manifest["spec"]["interStepBufferServiceName"] = json!("missing");
        manifest
    }
}

impl Drop for Installed {
    fn drop(&mut self) {
        let words = ["delete", "--ignore-not-found", "--timeout=120s", "-f", "-", "--namespace", ""];
        let gone = kubectl::feed(&words, &self.manifests);
        // A test that has failed for another reason says that one.
        assert!(
            std::thread::panicking() || gone.is_ok(),
            "the controller of the webhook is not wholly gone: {gone:?}"
        );
    }
}

fn apply(manifest: &Value) -> Result<(), String> {
    kubectl::feed(&["apply", "-f", "-"], &manifest.to_string())
}

#[test]
fn what_is_wrong_is_refused_when_it_is_applied_and_said_in_the_status_when_nobody_answers() {
    let installed = Installed::new();
    let name = "reviewed";
    let good = installed.pipeline(name);
    let mut bad = good.clone();
    bad["spec"]["edges"][1]["to"] = json!("uot");

    let said = wait::within(LIMIT, "a bad manifest is refused", || {
        let said = apply(&bad).err();
        if said.is_none() {
            // The API server has not heard of the certificate yet.
            kubectl::run(&["delete", "pipeline", name]);
        }
        said
    });
    assert!(said.contains("spec.edges[1].to: "), "{said}");
    assert!(said.contains("did you mean `out`?"), "{said}");
    let secret = kubectl::run(&[
        "--namespace",
        &installed.name,
        "get",
        "secret",
        "numaflow-webhook-certs",
        "-o",
        "jsonpath={.data.ca-cert\\.pem}",
    ]);
    assert!(!secret.trim().is_empty());

    // Objects of other controllers are none of its business.
    let mut other = bad.clone();
    other["metadata"] = json!({"name": name, "annotations": {"numaflow.numaproj.io/instance": "nobody"}});
    apply(&other).expect("a manifest of another controller is let through");
    kubectl::run(&["delete", "pipeline", name]);

    apply(&good).expect("a good manifest is taken");
    let mut lossy = good.clone();
    lossy["spec"]["vertices"][1] = json!({"name": "map", "sink": {"blackhole": {}}});
    lossy["spec"]["edges"][1]["from"] = json!("in");
    let said = apply(&lossy).expect_err("a change that would lose something is refused");
    assert!(said.contains("the vertex `map` cannot change from"), "{said}");

    installed.is_there(0);
    let mut edited = bad.clone();
    edited["spec"]["vertices"][0]["source"]["generator"]["rpu"] = json!(2);
    apply(&edited).expect("nothing depends on the webhook");
    installed.is_there(1);
    let found = kubectl::until("pipeline", name, "told what is wrong", |found| {
        found["status"]["message"].as_str().is_some_and(|message| message.contains("uot"))
    });
    let conditions = found["status"]["conditions"].as_array().into_iter().flatten();
    let configured = conditions.filter(|one| one["type"] == "Configured").map(|one| &one["status"]);
    assert_eq!(configured.collect::<Vec<_>>(), ["False"], "{:#}", found["status"]);
    kubectl::run(&["delete", "pipeline", name, "--timeout=60s"]);
}
