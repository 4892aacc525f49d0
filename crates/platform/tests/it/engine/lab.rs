//! An engine with one pipeline in this process, and everything to watch it with. Invariant: a lab that is closed has seen
//! each line that went in come out once.

use std::collections::BTreeMap;
use std::fs::{File, OpenOptions};
use std::io::Write;
use std::net::{IpAddr, Ipv4Addr};
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use api::revision::Revision;
use plan::seen::{Seen, WorkerName};
use tempfile::TempDir;
use tidegate_platform::local::engine::{Config, Engine, Object, Storage, Version};
use tidegate_platform::local::process::environment::Machine;
use tidegate_platform::local::process::{Host, Starter};
use tidegate_platform::local::program::{self, Exec, ImageMap, Ways};
use tidegate_platform::local::secrets::Values;
use tidegate_platform::local::state::{OnDifference, StateDir};

/// How long anything may take; reached only when a test fails.
pub(super) const LIMIT: Duration = Duration::from_secs(30);
/// Lines that come in between two turns while a test wants a flood.
pub(super) const FLOOD: u64 = 250;

/// An engine that runs one pipeline, and the files at its ends.
pub(super) struct Lab {
    pub(super) directory: TempDir,
    pub(super) engine: Engine,
    pub(super) object: Object,
    pub(super) source: File,
    pub(super) lines: u64,
    /// Lines come in with each turn.
    pub(super) flood: bool,
}

pub(super) fn name(revision: &str, replica: u32) -> WorkerName {
    WorkerName { revision: Revision::from_text(revision), replica }
}

pub(super) fn shares(weights: &[(&str, u32)]) -> BTreeMap<Revision, u32> {
    weights.iter().map(|(revision, weight)| (Revision::from_text(*revision), *weight)).collect()
}

/// Lines through a map into a file.
pub(super) fn lines(directory: &Path) -> String {
    let path = |name: &str| directory.join(name).display().to_string();
    format!(
        r#"
apiVersion: numaflow.numaproj.io/v1alpha1
kind: Pipeline
metadata: {{name: lines}}
spec:
  vertices:
  - {{name: in, source: {{file: {{path: "{}", follow: true}}}}}}
  - {{name: cat, udf: {{container: {{image: quay.io/numaio/numaflow-rs/map-cat:stable}}}}}}
  - {{name: out, sink: {{file: {{path: "{}", sync: false}}}}}}
  edges: [{{from: in, to: cat}}, {{from: cat, to: out}}]
"#,
        path("in.txt"),
        path("out.txt")
    )
}

pub(super) fn load(manifest: &str) -> Object {
    let (mut objects, _) = api::load([("test.yaml", manifest.as_bytes())]).accept().unwrap();
    match objects.remove(0) {
        api::Object::Pipeline(pipeline) => Object::Pipeline(pipeline),
        api::Object::MonoVertex(mono) => Object::Mono(mono),
        other => panic!("the manifest is a {}", other.kind()),
    }
}

pub(super) fn version(object: &Object, vertex: &str, revision: &str, execs: &[Exec]) -> Arc<Version> {
    let containers = match object {
        Object::Pipeline(pipeline) => program::of_pipeline(&pipeline.spec),
        Object::Mono(mono) => program::of_mono_vertex(mono.name(), &mono.spec),
    };
    let ways = Ways {
        execs,
        images: &ImageMap::default(),
        search_path: None,
        working_dir: Path::new("/"),
        has_stand_in: &|image| connect::udf::native::stand_in(image).is_some(),
    };
    let own = containers.into_iter().filter(|container| container.vertex == vertex).collect();
    let programs = program::choose(own, &ways).unwrap();
    let (revision, object) = (Revision::from_text(revision), object.clone());
    Arc::new(Version { revision, object, programs, values: Values::default() })
}

pub(super) fn config(directory: &Path, object: &Object) -> Config {
    let run_dir = directory.join("run");
    std::fs::create_dir(&run_dir).unwrap();
    let manifest = serde_json::json!({"kind": "Pipeline"});
    Config {
        object: object.clone(),
        values: Values::default(),
        state: StateDir::open(&directory.join("state"), &manifest, OnDifference::Refuse).unwrap(),
        run_dir,
        host: Host { launcher: None, starter: Starter::new().unwrap(), echo: Arc::new(|_, _| {}) },
        machine: Machine { processors: 1, memory_bytes: 0 },
        http_bind: IpAddr::V4(Ipv4Addr::LOCALHOST),
        storage: Storage::Journal(journal::Durability::Os),
    }
}

impl Lab {
    pub(super) async fn new(manifest: fn(&Path) -> String) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let text = manifest(directory.path());
        let object = load(&text);
        let mut options = OpenOptions::new();
        let source = options.append(true).create(true).open(directory.path().join("in.txt")).unwrap();
        let config = config(directory.path(), &object);
        let engine = Engine::open(config).await.unwrap();
        Self { directory, engine, object, source, lines: 0, flood: false }
    }

    /// A lab in which every vertex has one worker of version `v1` that works.
    pub(super) async fn running(manifest: fn(&Path) -> String, vertices: &[&str]) -> Self {
        let mut lab = Self::new(manifest).await;
        for vertex in vertices {
            lab.keep(vertex, "v1");
            lab.engine.share(vertex, shares(&[("v1", 1)]));
            lab.engine.read(vertex, true);
            lab.engine.ensure(vertex, &name("v1", 0)).unwrap();
        }
        for vertex in vertices {
            lab.ready(vertex, "v1", 0).await;
        }
        lab
    }

    pub(super) fn keep(&mut self, vertex: &str, revision: &str) {
        self.engine.keep(vertex, version(&self.object, vertex, revision, &[]));
    }

    /// Puts lines into the source.
    pub(super) fn write(&mut self, count: u64) {
        let mut text = Vec::new();
        for number in self.lines..self.lines + count {
            writeln!(text, "{number}").unwrap();
        }
        self.source.write_all(&text).unwrap();
        self.lines += count;
    }

    /// Turns until something is so.
    pub(super) async fn until(&mut self, what: &str, is_so: impl Fn(&Seen) -> bool) -> Seen {
        let begun = Instant::now();
        loop {
            if self.flood {
                self.write(FLOOD);
            }
            self.engine.turn().await.unwrap();
            let seen = self.engine.seen();
            if is_so(&seen) {
                return seen;
            }
            assert!(
                begun.elapsed() < LIMIT,
                "waited in vain: {what}; {seen:#?}\n{:?}",
                self.engine.incidents()
            );
            self.engine.changed().await;
        }
    }

    pub(super) async fn ready(&mut self, vertex: &str, revision: &str, replica: u32) {
        let worker = name(revision, replica);
        self.until(&format!("{vertex} {revision} {replica} is ready and settled"), |seen| {
            let vertex = &seen.vertices[vertex];
            vertex.settled && vertex.workers.get(&worker).is_some_and(plan::seen::Worker::is_ready)
        })
        .await;
    }

    pub(super) async fn gone(&mut self, vertex: &str, revision: &str, replica: u32) {
        self.engine.retire(vertex, &name(revision, replica));
        let worker = name(revision, replica);
        let what = format!("{vertex} {revision} {replica} is gone");
        self.until(&what, |seen| !seen.vertices[vertex].workers.contains_key(&worker)).await;
    }

    /// Everything that is written comes out, and the pipeline is drained.
    pub(super) async fn drain(&mut self) -> Seen {
        self.flood = false;
        let lines = self.lines;
        let read =
            |seen: &Seen| seen.vertices["in"].signals.values().map(|signals| signals.done).sum::<u64>();
        self.until("everything is read", |seen| read(seen) >= lines).await;
        self.engine.read("in", false);
        self.until("it is drained", |seen| seen.drain.as_ref().unwrap().drained).await
    }

    pub(super) fn out(&self) -> Vec<u64> {
        let text = std::fs::read_to_string(self.directory.path().join("out.txt")).unwrap_or_default();
        text.lines().map(|line| line.parse().unwrap()).collect()
    }

    /// Ends the engine; what came out is what went in, each line once.
    pub(super) async fn close(mut self) {
        let seen = self.drain().await;
        assert_eq!(seen.drain.unwrap().left, []);
        let mut out = self.out();
        out.sort_unstable();
        assert_eq!(out.len() as u64, self.lines, "lines that came out");
        assert!(out.iter().copied().eq(0..self.lines), "each line came out once");
        self.engine.close(Duration::from_secs(5)).await.unwrap();
    }
}
