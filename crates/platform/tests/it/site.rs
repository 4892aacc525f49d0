//! A site as a whole: manifests applied, verbs obeyed, and what is left after it ends and begins again.

use std::net::{IpAddr, Ipv4Addr};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use tempfile::TempDir;
use tidegate_platform::local::engine::Storage;
use tidegate_platform::local::process::environment::Machine;
use tidegate_platform::local::process::{Host, Starter};
use tidegate_platform::local::site::{Config, Site};
use tidegate_platform::place::{Apply, ManifestFile, Place, RefusalKind, Wish};
use tidegate_platform::view::{Object, Vertex};
use tokio::task::JoinSet;

/// How long anything may take here.
const LIMIT: Duration = Duration::from_secs(30);

const FLOW: &str = "
apiVersion: numaflow.numaproj.io/v1alpha1
kind: Pipeline
metadata: {name: flow}
spec:
  vertices:
    - {name: in, source: {generator: {rpu: 50, duration: 100ms}}}
    - {name: cat, udf: {container: {image: quay.io/numaio/numaflow-go/map-cat:stable}}}
    - {name: out, sink: {blackhole: {}}}
  edges:
    - {from: in, to: cat}
    - {from: cat, to: out}
";

fn config(directory: &TempDir) -> Config {
    let host = Host { launcher: None, starter: Starter::new().unwrap(), echo: Arc::new(|_, _| {}) };
    Config {
        directory: directory.path().join("site"),
        run_dir: directory.path().join("run"),
        host,
        machine: Machine { processors: 1, memory_bytes: 1 << 30 },
        http_bind: IpAddr::V4(Ipv4Addr::LOCALHOST),
        storage: Storage::Journal(journal::Durability::Os),
    }
}

struct Running {
    site: Arc<Site>,
    loops: JoinSet<()>,
}

impl Running {
    fn open(directory: &TempDir) -> Self {
        let (site, loops) = Site::open(config(directory)).unwrap();
        let mut running = JoinSet::new();
        running.spawn(loops.run());
        Self { site, loops: running }
    }

    async fn close(mut self) {
        self.site.shut_down().await;
        tokio::time::timeout(LIMIT, self.loops.join_next()).await.unwrap().unwrap().unwrap();
    }

    async fn apply(
        &self,
        text: &str,
    ) -> Result<Vec<tidegate_platform::view::Applied>, tidegate_platform::place::Refusal> {
        let file = ManifestFile { name: "flow.yaml".to_owned(), text: text.to_owned(), image_map: None };
        let working_dir = Path::new("/").display().to_string();
        self.site.apply(Apply { files: vec![file], working_dir, ..Apply::default() }).await
    }

    /// Waits until the object is as wanted.
    async fn until(&self, what: &str, is_so: impl Fn(&Object) -> bool) -> Object {
        let mut version = 0;
        let waited = async {
            loop {
                let object = self.site.object("flow").await.unwrap();
                if is_so(&object) {
                    return object;
                }
                let step = tokio::time::timeout(Duration::from_millis(300), self.site.changed(version));
                version = step.await.unwrap_or(version);
            }
        };
        if let Ok(object) = tokio::time::timeout(LIMIT, waited).await {
            return object;
        }
        let object = self.site.object("flow").await.unwrap();
        let events = self.site.events(None, 0, 100).await.unwrap();
        panic!("waited for {what}; it is {object:#?}\n{events:#?}");
    }
}

fn ready(object: &Object) -> bool {
    object.phase == "Running" && object.vertices.iter().all(|vertex| vertex.ready == 1)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_pipeline_is_applied_paused_drained_resumed_and_deleted() {
    let directory = tempfile::tempdir().unwrap();
    let site = Running::open(&directory);
    let applied = site.apply(FLOW).await.unwrap();
    assert_eq!(applied[0].outcome, "created");
    site.until("it runs", ready).await;
    site.until("messages flow", |object| object.vertices[2].read_total > 100).await;
    site.site.ask("flow", Wish::Pause).await.unwrap();
    let paused = site.until("it is drained", |object| object.phase == "Paused (drained)").await;
    assert_eq!(paused.status["drainedOnPause"], true);
    assert!(
        paused
            .vertices
            .iter()
            .all(|vertex| vertex.revisions.iter().all(|revision| revision.workers.is_empty()))
    );
    site.site.ask("flow", Wish::Resume).await.unwrap();
    site.until("it runs again", ready).await;
    site.site.ask("flow", Wish::Delete { force: false }).await.unwrap();
    let gone = async {
        while site.site.object("flow").await.is_ok() {
            site.site.changed(0).await;
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(LIMIT, gone).await.unwrap();
    assert_eq!(site.site.object("flow").await.unwrap_err().kind, RefusalKind::NotFound);
    site.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_edit_rolls_and_what_was_accepted_survives_a_restart() {
    let directory = tempfile::tempdir().unwrap();
    let site = Running::open(&directory);
    site.apply(FLOW).await.unwrap();
    let before = site.until("it runs", ready).await;
    let edited = FLOW.replace("stable}", "stable, env: [{name: A, value: b}]}");
    let applied = site.apply(&edited).await.unwrap();
    assert_eq!((applied[0].outcome.as_str(), applied[0].class.as_deref()), ("configured", Some("rolling")));
    let old = before.vertices[1].revisions[0].revision.clone();
    let rolled = |object: &Object| {
        let revisions = &object.vertices[1].revisions;
        ready(object) && revisions.len() == 1 && revisions[0].revision != old
    };
    let after = site.until("the map is replaced", rolled).await;
    let since = |object: &Object| object.vertices[0].revisions[0].workers[0].since;
    assert_eq!(since(&after), since(&before), "nothing else was touched");
    site.close().await;
    let site = Running::open(&directory);
    let again = site.until("it runs after a restart", ready).await;
    assert_eq!(again.vertices[1].revisions[0].revision, after.vertices[1].revisions[0].revision);
    assert_eq!(again.generation, after.generation);
    site.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn watermark_settings_take_effect_in_a_pipeline_that_runs() {
    let directory = tempfile::tempdir().unwrap();
    let lines = directory.path().join("lines");
    std::fs::write(&lines, "one\n").unwrap();
    let manifest = |watermark: &str| {
        format!(
            "
apiVersion: numaflow.numaproj.io/v1alpha1
kind: Pipeline
metadata: {{name: flow}}
spec:
  watermark: {watermark}
  vertices:
    - {{name: in, source: {{file: {{path: {}, follow: true}}}}}}
    - {{name: out, sink: {{blackhole: {{}}}}}}
  edges:
    - {{from: in, to: out}}
",
            lines.display()
        )
    };
    let site = Running::open(&directory);
    site.apply(&manifest("{maxDelay: 1s}")).await.unwrap();
    let before =
        site.until("time is known", |object| ready(object) && object.vertices[1].watermark.is_some()).await;
    let idle = "{maxDelay: 1s, idleSource: {threshold: 200ms, incrementBy: 100ms}}";
    let applied = site.apply(&manifest(idle)).await.unwrap();
    assert_eq!(applied[0].class.as_deref(), Some("live"));
    // The only line was read at most a second after this time; nothing but idleness can lead further.
    let first = before.vertices[1].watermark.unwrap();
    let after = site
        .until("time goes on without data", |object| {
            object.vertices[1].watermark.is_some_and(|watermark| watermark > first + 1_000)
        })
        .await;
    assert_eq!(after.vertices[0].read_total, 1);
    for (before, after) in before.vertices.iter().zip(&after.vertices) {
        let since = |vertex: &Vertex| vertex.revisions[0].workers[0].since;
        assert_eq!(since(before), since(after), "no worker was replaced");
    }
    site.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn another_file_is_read_from_its_beginning_once_the_first_is_drained() {
    let directory = tempfile::tempdir().unwrap();
    let path = |name: &str| directory.path().join(name);
    std::fs::write(path("first"), "one\ntwo\nthree\n").unwrap();
    std::fs::write(path("second"), "four\n").unwrap();
    let manifest = |name: &str| {
        format!(
            "
apiVersion: numaflow.numaproj.io/v1alpha1
kind: Pipeline
metadata: {{name: flow}}
spec:
  vertices:
    - {{name: in, source: {{file: {{path: {}, follow: true}}}}}}
    - {{name: out, sink: {{file: {{path: {}}}}}}}
  edges:
    - {{from: in, to: out}}
",
            path(name).display(),
            path("out").display()
        )
    };
    let lines = || std::fs::read_to_string(path("out")).unwrap_or_default();
    let site = Running::open(&directory);
    site.apply(&manifest("first")).await.unwrap();
    site.until("the first file is out", |_| lines().lines().count() == 3).await;
    let applied = site.apply(&manifest("second")).await.unwrap();
    assert_eq!(applied[0].class.as_deref(), Some("needs drain"));
    site.until("the second file is out", |_| lines().lines().count() == 4).await;
    assert_eq!(lines(), "one\ntwo\nthree\nfour\n");
    let events = site.site.events(None, 0, 100).await.unwrap();
    let said = events.iter().find(|event| event.event.reason == "SourceChanged").unwrap();
    assert!(said.event.message.contains("second from its beginning"), "{said:?}");
    site.close().await;
    let site = Running::open(&directory);
    site.until("it runs again", ready).await;
    std::fs::write(path("second"), "four\nfive\n").unwrap();
    site.until("it goes on where it was", |_| lines().lines().count() > 4).await;
    assert_eq!(lines(), "one\ntwo\nthree\nfour\nfive\n");
    site.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_forced_deletion_names_what_it_drops_and_where_it_came_from() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("in");
    std::fs::write(&path, "one\ntwo\nthree\n").unwrap();
    let manifest = format!(
        "
apiVersion: numaflow.numaproj.io/v1alpha1
kind: Pipeline
metadata: {{name: flow}}
spec:
  vertices:
    - {{name: in, source: {{file: {{path: {}, follow: true}}}}}}
    - {{name: out, scale: {{min: 0, max: 0}}, sink: {{log: {{}}}}}}
  edges:
    - {{from: in, to: out}}
",
        path.display()
    );
    let site = Running::open(&directory);
    site.apply(&manifest).await.unwrap();
    site.until("everything is inside", |object| object.vertices[1].pending == Some(vec![3])).await;
    let gone = site.site.ask("flow", Wish::Delete { force: true }).await.unwrap();
    assert_eq!(gone.phase, "Deleted");
    let dropped = "deleted by force: 3 records are dropped: 3 in partition 0 of vertex out; source in was read up to \
                   position 14 in unit 0, and gave 3 of the records as they lie there, from offset 0 to 8 in partition \
                   0";
    let said: Vec<_> = gone.waiting.iter().map(|waiting| waiting.message.as_str()).collect();
    assert!(said.contains(&dropped), "{said:?}");
    let events = site.site.events(Some("flow"), 0, 100).await.unwrap();
    assert!(events.iter().any(|event| event.event.message == dropped), "{events:?}");
    // The answer comes from its loop, which ends after that.
    let refused = async {
        loop {
            match site.site.object("flow").await {
                Ok(_) => tokio::task::yield_now().await,
                Err(refusal) => return refusal,
            }
        }
    };
    let refused = tokio::time::timeout(Duration::from_mins(1), refused).await.unwrap();
    assert_eq!(refused.kind, RefusalKind::NotFound);
    site.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_record_that_is_not_whole_is_refused_by_name() {
    let directory = tempfile::tempdir().unwrap();
    let site = Running::open(&directory);
    site.apply(FLOW).await.unwrap();
    let before = site.until("it runs", ready).await;
    site.close().await;
    let path = directory.path().join("site/objects/flow/object.json");
    let whole = std::fs::read(&path).unwrap();
    for length in (0..whole.len()).step_by(61).chain([whole.len() - 1]) {
        let torn = whole[..length].to_vec();
        let mut hollow = torn.clone();
        hollow.resize(whole.len(), 0);
        for bytes in [torn, hollow] {
            std::fs::write(&path, bytes).unwrap();
            let error = Site::open(config(&directory)).err().unwrap().to_string();
            assert!(error.contains("object.json") && error.contains("damaged"), "{length}: {error}");
        }
    }
    // What was being written when a crash came is no record.
    std::fs::write(&path, &whole).unwrap();
    std::fs::write(path.with_extension("json.next"), &whole[..whole.len() / 2]).unwrap();
    let site = Running::open(&directory);
    let after = site.until("it runs again", ready).await;
    assert_eq!((after.generation, after.manifest), (before.generation, before.manifest));
    site.close().await;
}
