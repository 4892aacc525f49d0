//! Examples as a person applies them, and what their heads promise. Where one names a demo image, which not every cluster
//! can pull, a program of the tests does the same; all else is as it is written.

use std::io::{BufRead as _, BufReader};
use std::net::SocketAddr;
use std::process::{Child, ChildStdout, Stdio};

use e2e::http::Client;
use e2e::wait;
use serde_json::{Value, json};

use crate::kubectl::{self, LIMIT, context, programs, tidegate};
use crate::manifests::{MONO_VERTEX, PIPELINE};

/// Where the demo images are.
const IMAGES: &str = "image: quay.io/numaio/numaflow-go/";
/// The port of a source's service, and the one that the examples add.
const HTTPS: u16 = 8443;
const HTTP: u16 = 8090;

/// An example that runs.
struct Example {
    kind: &'static str,
    name: &'static str,
}

impl Example {
    /// Applies the file and waits until everything serves.
    fn pipeline(file: &str, name: &'static str) -> Self {
        Self::apply("pipeline", file, name)
    }

    fn apply(kind: &'static str, file: &str, name: &'static str) -> Self {
        let path = format!("{}/../examples/{file}", env!("CARGO_MANIFEST_DIR"));
        let text = std::fs::read_to_string(&path).expect("the example is there");
        let text: Vec<String> = text.lines().map(with_program).collect();
        kubectl::feed(&["apply", "-f", "-"], &text.join("\n")).expect("the example is taken");
        let example = Self { kind, name };
        example.rolled_out();
        example
    }

    fn rolled_out(&self) {
        kubectl::wait_for("condition=RolledOut", &format!("{}/{}", self.kind, self.name), LIMIT);
    }

    fn label(&self) -> &'static str {
        if self.kind == "pipeline" { PIPELINE } else { MONO_VERTEX }
    }

    /// What a sink has logged of its messages.
    fn logged(&self, vertex: &str) -> Vec<Logged> {
        let which = match self.kind {
            "pipeline" => format!("numaflow.numaproj.io/vertex-name={vertex}"),
            _ => "app.kubernetes.io/component=mono-vertex".to_owned(),
        };
        let selector = format!("{}={},{which}", self.label(), self.name);
        let text = kubectl::run(&["logs", "-l", &selector, "-c", "numa", "--tail=-1"]);
        text.lines().filter_map(Logged::of).collect()
    }

    /// Waits until a sink has logged this many messages, and gives them.
    fn until_logged(&self, vertex: &str, count: usize) -> Vec<Logged> {
        wait::within(LIMIT, &format!("{vertex} of {} has logged {count} messages", self.name), || {
            let logged = self.logged(vertex);
            (logged.len() >= count).then_some(logged)
        })
    }

    /// The payloads that a sink has logged once there are as many as there should be, sorted.
    fn payloads(&self, vertex: &str, count: usize) -> Vec<String> {
        let mut payloads: Vec<_> =
            self.until_logged(vertex, count).into_iter().map(|logged| logged.payload).collect();
        payloads.sort_unstable();
        payloads
    }

    /// How many messages each pod of a vertex says that it has read.
    fn read_by_pods(&self, vertex: &str) -> Vec<u64> {
        let selector = format!("{PIPELINE}={},numaflow.numaproj.io/vertex-name={vertex}", self.name);
        let read = |pod: &str| {
            let pod = pod.trim_start_matches("pod/");
            let path =
                format!("/api/v1/namespaces/{}/pods/https:{pod}:2469/proxy/metrics", kubectl::namespace());
            let metrics = kubectl::run(&["get", "--raw", &path]);
            let lines = metrics.lines().filter(|line| line.starts_with("forwarder_data_read_total{"));
            lines.filter_map(|line| line.rsplit(' ').next()?.parse::<u64>().ok()).sum()
        };
        kubectl::run(&["get", "pods", "-l", &selector, "-o", "name"]).lines().map(read).collect()
    }

    /// Posts to the HTTP source `in`; the status of the answer.
    fn send(&self, port: u16, headers: &[(&str, &str)], body: &str) -> u16 {
        let source = format!("{}-in", self.name);
        let target = if port == HTTPS {
            format!("service/{source}")
        } else {
            let selector = format!("{PIPELINE}={},numaflow.numaproj.io/vertex-name=in", self.name);
            kubectl::run(&["get", "pods", "-l", &selector, "-o", "name"]).trim().to_owned()
        };
        let way = Way::to(&target, port);
        let mut client =
            if port == HTTPS { Client::connect_securely(way.address) } else { Client::connect(way.address) }
                .expect("somebody listens");
        client.post("/vertices/in", headers, body.as_bytes()).expect("it is answered").status
    }

    /// Removes it as it is: what a limited rate leaves behind takes long to drain.
    fn remove(self) {
        kubectl::run(&["annotate", self.kind, self.name, "tidegate.io/deletion=force"]);
        kubectl::delete(self.kind, self.name, self.label());
    }

    /// Removes it after a drain.
    fn drain(self) {
        kubectl::delete(self.kind, self.name, self.label());
    }
}

/// The line of a manifest, with a program of the tests in place of a demo image.
fn with_program(line: &str) -> String {
    let Some((before, image)) = line.split_once(IMAGES) else { return line.to_owned() };
    let image = image.split(':').next().unwrap_or_default();
    let fields = [
        format!("image: {}", programs()),
        "imagePullPolicy: IfNotPresent".to_owned(),
        "command: [/sdk_demo]".to_owned(),
        format!("args: [{image}]"),
    ];
    let lines = fields.map(|field| format!("{before}{field}"));
    lines.join("\n")
}

/// A line of a log sink.
struct Logged {
    payload: String,
    id: String,
}

impl Logged {
    fn of(line: &str) -> Option<Self> {
        let (_, rest) = line.split_once("Payload - ")?;
        let (payload, rest) = rest.split_once(" Keys - ")?;
        let (_, id) = rest.split_once(" ID - ")?;
        Some(Self { payload: payload.to_owned(), id: id.to_owned() })
    }
}

/// A way from here to a port in the cluster, until it is dropped.
struct Way {
    child: Child,
    address: SocketAddr,
    /// Read from no more; `kubectl` ends when it can say nothing.
    _said: BufReader<ChildStdout>,
}

impl Way {
    fn to(target: &str, port: u16) -> Self {
        let mut child = kubectl::command(&["port-forward", target, &format!(":{port}")])
            .stdout(Stdio::piped())
            .spawn()
            .expect("kubectl can be started");
        let mut said = BufReader::new(child.stdout.take().expect("it was asked for"));
        let mut line = String::new();
        said.read_line(&mut line).expect("kubectl prints text");
        let address = line.split_whitespace().find_map(|word| word.parse().ok());
        let address = address.unwrap_or_else(|| panic!("no way to {target}: {line}"));
        Self { child, address, _said: said }
    }
}

impl Drop for Way {
    fn drop(&mut self) {
        // One that has ended by itself is fine.
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

#[test]
fn the_simple_pipeline_flows() {
    let example = Example::pipeline("simple.yaml", "simple-pipeline");
    example.until_logged("out", 10);
    example.drain();
}

#[test]
fn the_mono_vertex_flows() {
    let example = Example::apply("monovertex", "mono-vertex.yaml", "mono-vertex");
    example.until_logged("", 10);
    example.drain();
}

#[test]
fn the_limited_rate_flows() {
    let example = Example::pipeline("rate-limit.yaml", "rate-limit");
    example.until_logged("out", 10);
    example.remove();
}

#[test]
fn numbers_go_where_their_tags_say() {
    let example = Example::pipeline("even-odd.yaml", "even-odd");
    assert_eq!(example.send(HTTPS, &[], "42"), 200);
    assert_eq!(example.send(HTTP, &[], "7"), 200);
    assert_eq!(example.payloads("number-sink", 2), ["42", "7"]);
    assert_eq!(example.payloads("even-sink", 1), ["42"]);
    assert_eq!(example.payloads("odd-sink", 1), ["7"]);
    example.drain();
}

#[test]
fn what_goes_around_comes_out_once() {
    let example = Example::pipeline("cycle.yaml", "cycle");
    for word in ["hello", "again"] {
        assert_eq!(example.send(HTTP, &[], word), 200);
    }
    assert_eq!(example.payloads("out", 2), ["again", "hello"]);
    example.drain();
}

#[test]
fn a_text_becomes_its_parts() {
    let example = Example::pipeline("flat-map.yaml", "flat-map");
    assert_eq!(example.send(HTTP, &[], "red,green,blue"), 200);
    let mut logged = example.until_logged("out", 3);
    logged.sort_unstable_by(|one, other| one.id.cmp(&other.id));
    let parts: Vec<_> =
        logged.iter().map(|one| (one.payload.as_str(), &one.id[one.id.len() - 2..])).collect();
    assert_eq!(parts, [("red", "-0"), ("green", "-1"), ("blue", "-2")]);
    example.drain();
}

#[test]
fn a_token_is_asked_for_and_some_are_dropped() {
    let secret = json!({
        "apiVersion": "v1",
        "kind": "Secret",
        "metadata": {"name": "my-secret"},
        "stringData": {"my-key": "open-sesame"},
    });
    kubectl::apply(&secret);
    let example = Example::pipeline("filter-with-secret.yaml", "filter-with-secret");
    let token = [("Authorization", "Bearer open-sesame")];
    let (dropped, kept) = (r#"{"id": 101, "msg": "no"}"#, r#"{"id": 1, "msg": "hello"}"#);
    for port in [HTTP, HTTPS] {
        assert_eq!(example.send(port, &[], kept), 401);
        assert_eq!(example.send(port, &token, dropped), 200);
        assert_eq!(example.send(port, &token, kept), 200);
    }
    assert_eq!(example.payloads("out", 2), [kept; 2]);
    example.drain();
    kubectl::run(&["delete", "secret", "my-secret"]);
}

#[test]
fn two_ways_meet() {
    let example = Example::pipeline("join.yaml", "join");
    wait::within(LIMIT, "messages have come by both ways", || {
        let logged = example.logged("out");
        let by = |way: &str| logged.iter().filter(|one| one.id.starts_with(way)).count();
        (by("fast-cat-") >= 40 && by("slow-cat-") >= 2).then_some(())
    });
    example.drain();
}

#[test]
fn work_is_divided_among_replicas() {
    let example = Example::pipeline("multi-partition.yaml", "multi-partition");
    for vertex in ["cat", "out"] {
        wait::within(LIMIT, &format!("two workers of {vertex} have read"), || {
            let read = example.read_by_pods(vertex);
            (read.len() == 2 && read.iter().all(|count| *count > 0)).then_some(())
        });
    }
    example.drain();
}

#[test]
fn orders_are_paused_drained_and_go_on() {
    let example = Example::pipeline("pause.yaml", "orders");
    tidegate(&["pause", "orders", "--wait", "--context", &context()]);
    let object = kubectl::get("pipeline", "orders").expect("it is there");
    assert_eq!(
        (&object["status"]["phase"], &object["status"]["drainedOnPause"]),
        (&json!("Paused"), &json!(true))
    );
    tidegate(&["resume", "orders", "--context", &context()]);
    kubectl::until("pipeline", "orders", "running", |object| object["status"]["phase"] == "Running");
    example.rolled_out();
    example.drain();
}

/// Gives the map another version, which is the same program.
fn change(name: &str) -> Value {
    let before = kubectl::get("vertex", &format!("{name}-cat")).expect("it is there");
    let change = json!([{"op": "add", "path": "/spec/vertices/1/udf/container/env", "value": [{"name": "V", "value": "2"}]}]);
    kubectl::run(&["patch", "pipeline", name, "--type=json", "-p", &change.to_string()]);
    kubectl::until("vertex", &format!("{name}-cat"), "asked for another version", |vertex| {
        vertex["status"]["updateHash"] != before["status"]["updateHash"]
    })
}

/// Waits until the map has nothing but its new version.
fn changed(name: &str, wanted: &Value) {
    kubectl::until("vertex", &format!("{name}-cat"), "at its new version", |vertex| {
        vertex["status"]["currentHash"] == wanted["status"]["updateHash"]
    });
}

#[test]
fn the_canary_is_promoted() {
    let example = Example::pipeline("canary.yaml", "canary");
    let wanted = change("canary");
    tidegate(&["rollout", "promote", "canary", "--context", &context()]);
    changed("canary", &wanted);
    example.rolled_out();
    example.drain();
}

#[test]
fn green_takes_over_by_itself() {
    let example = Example::pipeline("blue-green.yaml", "blue-green");
    let wanted = change("blue-green");
    changed("blue-green", &wanted);
    example.rolled_out();
    example.drain();
}
