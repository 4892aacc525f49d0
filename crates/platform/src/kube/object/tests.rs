//! Tests of what is pure about an object of a cluster: pods and looks in, plans' material out.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use k8s_openapi::api::core::v1::Pod;
use kube::api::DynamicObject;
use plan::Time;
use plan::seen::{WorkerName, WorkerState};
use serde_json::{Value, json};

use super::facts::Facts;
use super::record::Record;
use super::seen::{Before, Heard};
use super::wanted::{self, Looked};
use super::{status, wishes};
use crate::exchange::{Look, VertexLook, WorkerLook, WorkerWish};
use crate::kube::names::{Key, ObjectKind};
use crate::kube::render::Owner;
use crate::kube::store::Scope;

const NOW: Time = Time::from_millis(1_000_000_000);

fn key() -> Key {
    Key { namespace: "blue".to_owned(), kind: ObjectKind::Pipeline, name: "simple".to_owned() }
}

fn manifest() -> Value {
    json!({
        "apiVersion": "numaflow.numaproj.io/v1alpha1",
        "kind": "Pipeline",
        "metadata": {"name": "simple", "namespace": "blue", "uid": "life-1"},
        "spec": {
            "vertices": [
                {"name": "in", "source": {"generator": {}}},
                {"name": "cat", "udf": {"container": {"image": "cat:1"}}},
                {"name": "out", "sink": {"log": {}}},
            ],
            "edges": [{"from": "in", "to": "cat"}, {"from": "cat", "to": "out"}],
        },
    })
}

fn object(manifest: Value) -> DynamicObject {
    serde_json::from_value(manifest).unwrap()
}

fn begun() -> Record {
    let record = Record::new("life-1", &super::material::manifest(&object(manifest())), None);
    take(&record, &manifest(), &Scope::default()).unwrap().0
}

fn take(
    record: &Record,
    manifest: &Value,
    scope: &Scope,
) -> Result<(Record, super::material::Material), wanted::Error> {
    wanted::take(record, &Looked::of(&object(manifest.clone()), scope)?)
}

/// What the manifest says, and nobody anything else.
fn wanted_of(material: &super::material::Material) -> plan::wanted::Wanted<'_> {
    static NOTHING_ASKED: BTreeMap<String, plan::wanted::Asked> = BTreeMap::new();
    plan::wanted::Wanted {
        settings: &material.settings,
        generation: 1,
        revisions: &material.revisions,
        asked: &NOTHING_ASKED,
        deletion: None,
        reshape: false,
    }
}

fn pod(name: &str, replica: u32, status: &Value) -> Arc<Pod> {
    let pod = json!({
        "metadata": {
            "name": name,
            "uid": name,
            "labels": {
                "numaflow.numaproj.io/pipeline-name": "simple",
                "numaflow.numaproj.io/vertex-name": "cat",
                "app.kubernetes.io/component": "vertex",
            },
            "annotations": {
                "numaflow.numaproj.io/hash": "aa",
                "numaflow.numaproj.io/replica": replica.to_string(),
            },
        },
        "status": status,
    });
    Arc::new(serde_json::from_value(pod).unwrap())
}

fn running(is_ready: bool) -> Value {
    json!({
        "phase": "Running",
        "conditions": [{"type": "Ready", "status": if is_ready { "True" } else { "False" }}],
        "containerStatuses": [{
            "name": "numa", "image": "", "imageID": "", "ready": is_ready, "restartCount": 1, "started": true,
            "state": {"running": {}},
        }],
    })
}

fn scope(pods: Vec<Arc<Pod>>) -> Scope {
    let named = |pod: Arc<Pod>| (pod.metadata.name.clone().unwrap(), pod);
    Scope { pods: pods.into_iter().map(named).collect(), ..Scope::default() }
}

fn ending(pod: &Pod, at: &str) -> Arc<Pod> {
    let mut value = serde_json::to_value(pod).unwrap();
    value["metadata"]["deletionTimestamp"] = json!(at);
    Arc::new(serde_json::from_value(value).unwrap())
}

fn worker(replica: u32) -> WorkerName {
    format!("aa-{replica}").parse().unwrap()
}

#[test]
fn a_container_that_crashes_says_why() {
    let mut crashing = running(false);
    crashing["initContainerStatuses"] = json!([{
        "name": "udf", "image": "", "imageID": "", "ready": false, "restartCount": 4,
        "state": {"waiting": {"reason": "CrashLoopBackOff", "message": "back-off 40s"}},
        "lastState": {"terminated": {
            "exitCode": 3, "reason": "Error", "message": "starting\nno model\nnote: run with RUST_BACKTRACE=1\n",
        }},
    }]);
    let facts = Facts::of(&key(), &scope(vec![pod("a", 0, &crashing)]), NOW);
    let found = &facts.workers["cat"][&worker(0)];
    assert_eq!(
        found.failing.as_deref(),
        Some("container udf: CrashLoopBackOff: it ended with code 3: no model")
    );
    assert_eq!(found.restarts, 5);
}

#[test]
fn a_pod_that_no_node_takes_is_starting_and_says_why() {
    let pending = json!({
        "phase": "Pending",
        "conditions": [{"type": "PodScheduled", "status": "False", "message": "0/1 nodes are available"}],
    });
    let facts = Facts::of(&key(), &scope(vec![pod("a", 0, &pending)]), NOW);
    let found = &facts.workers["cat"][&worker(0)];
    assert_eq!(found.pending.as_deref(), Some("no node takes its pod: 0/1 nodes are available"));
    assert_eq!(found.failing, None);
    assert!(!found.has_started);
}

#[test]
fn of_two_pods_of_a_worker_the_one_that_is_ready_stays() {
    let facts =
        Facts::of(&key(), &scope(vec![pod("a", 0, &running(false)), pod("b", 0, &running(true))]), NOW);
    assert_eq!(facts.workers["cat"][&worker(0)].pod, "b");
    assert_eq!(facts.surplus, [("a".to_owned(), "another pod is the same worker".to_owned())]);
}

#[test]
fn a_pod_that_goes_has_its_successor_beside_it() {
    let old = ending(&pod("a", 0, &running(true)), "2100-01-01T00:00:00Z");
    let facts = Facts::of(&key(), &scope(vec![old, pod("b", 0, &running(false))]), NOW);
    assert_eq!(facts.workers["cat"][&worker(0)].pod, "b");
    assert_eq!(facts.surplus, []);
}

#[test]
fn a_pod_on_a_lost_node_is_gone_when_its_time_is_over() {
    let lost = ending(&pod("a", 0, &running(true)), "1970-01-01T00:00:01Z");
    assert_eq!(Facts::of(&key(), &scope(vec![lost]), NOW), Facts::default());
    let late = ending(&pod("a", 0, &running(true)), "2100-01-01T00:00:00Z");
    assert!(Facts::of(&key(), &scope(vec![late]), NOW).workers["cat"][&worker(0)].is_ending);
}

#[test]
fn a_pod_that_has_ended_for_good_is_removed() {
    let evicted = json!({"phase": "Failed", "reason": "Evicted", "message": "low on memory"});
    let facts = Facts::of(&key(), &scope(vec![pod("a", 0, &evicted)]), NOW);
    assert_eq!(facts.surplus, [("a".to_owned(), "Evicted".to_owned())]);
    assert!(facts.workers.is_empty());
}

#[test]
fn a_worker_is_ready_when_daemon_and_kubelet_say_so() {
    let (record, material) = take(&begun(), &manifest(), &Scope::default()).unwrap();
    drop(record);
    let told = |state: WorkerState| Look {
        number: 7,
        vertices: [(
            "cat".to_owned(),
            VertexLook {
                workers: [("aa-0".to_owned(), WorkerLook { state, holds: 3, restarts: 0, urls: Vec::new() })]
                    .into(),
                ..VertexLook::default()
            },
        )]
        .into(),
        ..Look::default()
    };
    let state = |is_ready, look: Option<&Look>| {
        let facts = Facts::of(&key(), &scope(vec![pod("a", 0, &running(is_ready))]), NOW);
        let heard = Heard { look, order: None };
        let seen = Before::nothing().look(&material.settings, &facts, heard, NOW);
        seen.vertices["cat"].workers[&worker(0)].state.clone()
    };
    let (ready, starting) = (told(WorkerState::Ready), told(WorkerState::Starting));
    for (is_ready, look, expected) in [
        (true, Some(&ready), WorkerState::Ready),
        (false, Some(&ready), WorkerState::Starting),
        (true, Some(&starting), WorkerState::Starting),
        // Without a daemon the kubelet's word has to do.
        (true, None, WorkerState::Ready),
        (false, None, WorkerState::Starting),
        (true, Some(&Look::default()), WorkerState::Starting),
    ] {
        assert_eq!(state(is_ready, look), expected, "{is_ready} {look:?}");
    }
}

#[test]
fn a_verdict_under_another_order_does_not_count() {
    let material = take(&begun(), &manifest(), &Scope::default()).unwrap().1;
    let drain = plan::seen::Drain { drained: true, sources_stopped: true, ..plan::seen::Drain::default() };
    let look = Look { number: 7, drain: Some(drain), ..Look::default() };
    let number = |order| {
        let heard = Heard { look: Some(&look), order };
        let seen = Before::nothing().look(&material.settings, &Facts::default(), heard, NOW);
        seen.drain.unwrap().number
    };
    assert_eq!(number(Some(2)), Some(2));
    assert_eq!(number(None), Some(u64::MAX));
}

#[test]
fn the_time_of_a_state_is_when_it_began() {
    let material = take(&begun(), &manifest(), &Scope::default()).unwrap().1;
    let mut before = Before::nothing();
    let mut since = |is_ready, at| {
        let facts = Facts::of(&key(), &scope(vec![pod("a", 0, &running(is_ready))]), at);
        let seen = before.look(&material.settings, &facts, Heard { look: None, order: None }, at);
        seen.vertices["cat"].workers[&worker(0)].since
    };
    let later = |millis| Time::from_millis(NOW.millis() + millis);
    // At first sight the kubelet's time counts, which says nothing here.
    assert_eq!(since(false, NOW), Time::default());
    assert_eq!(since(true, later(10)), later(10));
    assert_eq!(since(true, later(20)), later(10));
}

#[test]
fn edits_are_taken_over_wait_for_a_drain_or_are_refused() {
    let record = begun();
    let mut live = manifest();
    live["spec"]["vertices"][1]["scale"] = json!({"max": 3});
    let (next, _) = take(&record, &live, &Scope::default()).unwrap();
    assert_eq!(next.shape, next.manifest);
    assert_eq!(next.generation, record.generation + 1);

    let mut shape = manifest();
    shape["spec"]["vertices"][1]["partitions"] = json!(2);
    let (next, material) = take(&record, &shape, &Scope::default()).unwrap();
    assert_ne!(next.shape, next.manifest);
    assert_eq!(material.settings.vertices[1].partitions, 1);
    let mut paused = shape.clone();
    paused["spec"]["lifecycle"] = json!({"desiredPhase": "Paused"});
    let (_, material) = take(&next, &paused, &Scope::default()).unwrap();
    assert!(material.settings.lifecycle.paused, "what is live takes effect although the rest waits");

    let mut bad = manifest();
    bad["spec"]["edges"][0]["to"] = json!("nowhere");
    let error = take(&record, &bad, &Scope::default()).unwrap_err();
    assert!(error.to_string().contains("nowhere"), "{error}");
}

#[test]
fn a_reshape_forgets_the_versions_of_the_other_shape() {
    let record = begun();
    let mut shape = manifest();
    shape["spec"]["vertices"][1]["partitions"] = json!(2);
    let (mut next, before) = take(&record, &shape, &Scope::default()).unwrap();
    let (base, versions) = (next.base.clone(), next.versions["cat"].clone());
    let after = next.reshape(&before).unwrap();
    assert_eq!(after.settings.vertices[1].partitions, 2);
    assert_ne!(next.base, base);
    assert_ne!(next.versions["cat"], versions);
    assert!(next.versions["cat"].values().all(|hash| *hash == next.base));
    // The sink has the same version in both shapes, made of the first one.
    assert_eq!(next.versions["out"], record.versions["out"]);
}

#[test]
fn a_count_that_somebody_sets_is_a_wish() {
    let vertex = |replicas: u32, mark: Option<&str>, life: &str| {
        let vertex = json!({
            "apiVersion": "numaflow.numaproj.io/v1alpha1", "kind": "Vertex",
            "metadata": {
                "name": "simple-cat", "uid": life,
                "annotations": mark.map(|mark| json!({"tidegate.io/autoscaled-since": mark})),
            },
            "spec": {"name": "cat", "replicas": replicas},
        });
        let object = Arc::new(serde_json::from_value(vertex).unwrap());
        Scope { vertices: [("simple-cat".to_owned(), object)].into(), ..Scope::default() }
    };
    let next = |record: &Record, scope| take(record, &manifest(), &scope).unwrap().0;
    let asked =
        |record: &Record| record.asked.get("cat").map(|asked| (asked.replicas, asked.replicas_number));
    let made = next(&begun(), vertex(1, None, "a"));
    assert_eq!(asked(&made), None, "what it was made with is no wish");
    let scaled = next(&made, vertex(4, None, "a"));
    assert_eq!(asked(&scaled), Some((Some(4), 1)));
    assert_eq!(asked(&next(&scaled, vertex(4, None, "a"))), Some((Some(4), 1)));
    let back = next(&scaled, vertex(4, Some("now"), "a"));
    assert_eq!(asked(&back), Some((None, 2)), "it is the autoscaler's again");
    assert_eq!(asked(&next(&back, vertex(2, Some("now"), "a"))), Some((Some(2), 3)));
    let other = next(&scaled, vertex(1, None, "b"));
    assert_eq!(asked(&other), Some((Some(4), 1)), "a vertex that is made again forgets no wish");
}

#[test]
fn words_and_restarts_come_from_an_annotation() {
    let record = begun();
    let mut said = manifest();
    let words = json!({
        "words": {"cat": {"number": 3, "kind": "promoteFully"}},
        "restarts": {"out": "now"},
    });
    said["metadata"]["annotations"] = json!({"tidegate.io/asked": words.to_string()});
    let (next, material) = take(&record, &said, &Scope::default()).unwrap();
    assert_eq!(next.asked["cat"].word.as_ref().unwrap().number, 3);
    assert_ne!(Some(&material.revisions["out"]), record.versions["out"].keys().next());
    said["metadata"]["annotations"] = json!({"tidegate.io/asked": "promote"});
    let error = take(&record, &said, &Scope::default()).unwrap_err();
    assert_eq!(error.to_string(), "understand the annotation tidegate.io/asked");
}

#[test]
fn a_record_is_read_as_it_was_written_and_only_for_its_life() {
    let record = begun();
    let owner = Owner { kind: "Pipeline".to_owned(), name: "simple".to_owned(), uid: "life-1".to_owned() };
    let map = record.write(&key(), &owner).unwrap();
    assert_eq!(Record::read(&map, "life-1").unwrap(), Some(record));
    assert_eq!(Record::read(&map, "life-2").unwrap(), None);
}

#[test]
fn pods_that_are_there_are_in_the_wishes() {
    let (record, material) = take(&begun(), &manifest(), &Scope::default()).unwrap();
    let facts = Facts::of(&key(), &scope(vec![pod("a", 0, &running(true))]), NOW);
    let seen = Before::nothing().look(&material.settings, &facts, Heard { look: None, order: None }, NOW);
    let wanted = wanted_of(&material);
    let plan = plan::decide(&wanted, &seen, &plan::Memory::default(), NOW);
    let wishes = wishes::of(&material.settings, &plan, &facts, &record.shape);
    let cat = &wishes.vertices["cat"];
    let wanted = format!("{}-0", material.revisions["cat"]);
    assert_eq!(cat.workers.get(&wanted), Some(&WorkerWish::Work), "{cat:?}");
    assert!(cat.workers.contains_key("aa-0"), "{cat:?}");
    assert!(wishes.vertices["in"].reading);
}

#[test]
fn conditions_keep_their_times_while_nothing_changes() {
    let material = take(&begun(), &manifest(), &Scope::default()).unwrap().1;
    let wanted = wanted_of(&material);
    let plan = plan::decide(&wanted, &plan::seen::Seen::default(), &plan::Memory::default(), NOW);
    let beside = status::Beside { generation: Some(4), ..status::Beside::default() };
    let first = status::of_plan(&key(), &plan, &beside, &Value::Null, NOW);
    let later = Time::from_millis(NOW.millis() + 60_000);
    let second = status::of_plan(&key(), &plan, &beside, &first, later);
    assert_eq!(first, second);
    let names: Vec<_> =
        first["conditions"].as_array().unwrap().iter().map(|one| one["type"].as_str().unwrap()).collect();
    for name in ["Configured", "Deployed", "Drained", "Paused", "RolledOut", "VerticesHealthy"] {
        assert!(names.contains(&name), "{names:?}");
    }
    assert_eq!(first["observedGeneration"], 4);
    let waits = (Some("Deployed"), "BufferServiceNotReady", "waits for it");
    let waiting = status::of_nothing(&key(), waits, &beside, &Value::Null, NOW);
    assert_eq!(waiting["phase"], Value::Null, "waiting is no failure");
    assert_eq!(waiting["message"], "waits for it");
}

#[test]
fn a_first_version_is_rolled_out_once_it_has_proved_itself() {
    let material = take(&begun(), &manifest(), &Scope::default()).unwrap().1;
    let wanted = wanted_of(&material);
    let vertex = |(name, revision): (&String, &api::revision::Revision)| {
        let worker = WorkerName { revision: revision.clone(), replica: 0 };
        let ready = plan::seen::Worker { state: WorkerState::Ready, since: NOW, holds: 1, restarts: 0 };
        let workers = [(worker, ready)].into();
        (name.clone(), plan::seen::Vertex { workers, settled: true, ..plan::seen::Vertex::default() })
    };
    let seen = plan::seen::Seen { vertices: material.revisions.iter().map(vertex).collect(), drain: None };
    let mut memory =
        plan::decide(&wanted, &plan::seen::Seen::default(), &plan::Memory::default(), NOW).memory;
    let mut is_rolled_out = |now: Time| {
        let plan = plan::decide(&wanted, &seen, &memory, now);
        memory = plan.memory.clone();
        let status = status::of_plan(&key(), &plan, &status::Beside::default(), &Value::Null, now);
        let conditions = status["conditions"].as_array().unwrap();
        conditions.iter().any(|one| one["type"] == "RolledOut" && one["status"] == "True")
    };
    // A worker has to be ready for five seconds, unless somebody says something else.
    assert!(!is_rolled_out(NOW.after(Duration::from_secs(1))), "there is nothing yet to go back to");
    assert!(is_rolled_out(NOW.after(Duration::from_secs(10))));
}
