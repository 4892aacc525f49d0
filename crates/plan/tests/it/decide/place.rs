//! A place without surprises: workers are ready at once, and each ready worker of a vertex finishes so many messages in
//! each turn. What is unread when there is no worker stays unread.

#![expect(clippy::unwrap_used, reason = "helpers of tests fail as tests do")]

use std::collections::BTreeMap;
use std::time::Duration;

use api::resolve::{PipelineSettings, VertexKind};
use api::revision::Revision;
use plan::seen::{Drain, Left, Seen, Vertex, Worker, WorkerState};
use plan::wanted::{Asked, Deletion, Wanted};
use plan::{Memory, Piece, Plan, Time, decide};
use tidegate_plan as plan;

/// Messages that a worker finishes in a turn.
const PACE: u64 = 50;
/// Milliseconds of a turn.
pub(crate) const TURN_MS: u64 = 250;

/// An object and the place where it is.
pub(crate) struct Place {
    pub(crate) settings: PipelineSettings,
    pub(crate) generation: u64,
    pub(crate) asked: BTreeMap<String, Asked>,
    pub(crate) deletion: Option<Deletion>,
    pub(crate) reshape: bool,
    pub(crate) memory: Memory,
    pub(crate) now: Time,
    pub(crate) seen: Seen,
    /// Messages that each source takes in per turn while it reads.
    pub(crate) flow: u64,
    pub(crate) reading: bool,
    /// Vertices that finish nothing.
    pub(crate) stuck: Vec<String>,
    revisions: BTreeMap<String, Revision>,
    empty_looks: u32,
}

impl Place {
    pub(crate) fn new(manifest: &str) -> Self {
        let loaded = api::load([("case.yaml", manifest.as_bytes())]);
        let (objects, _) = loaded.accept().expect("the manifest of a case is right");
        let api::Object::Pipeline(pipeline) = &objects[0] else { panic!("a pipeline") };
        let settings = api::resolve::pipeline(pipeline);
        let revision = |name: &str| (name.to_owned(), Revision::from_text("r1"));
        Self {
            revisions: settings.vertices.iter().map(|vertex| revision(&vertex.name)).collect(),
            seen: Seen {
                vertices: settings
                    .vertices
                    .iter()
                    .map(|vertex| (vertex.name.clone(), Vertex::default()))
                    .collect(),
                drain: None,
            },
            settings,
            generation: 1,
            asked: BTreeMap::new(),
            deletion: None,
            reshape: false,
            memory: Memory::default(),
            now: Time::from_millis(1_000_000),
            flow: 0,
            reading: false,
            stuck: Vec::new(),
            empty_looks: 0,
        }
    }

    pub(crate) fn pause(&mut self, paused: bool) {
        self.settings.lifecycle.paused = paused;
        self.generation += 1;
    }

    pub(crate) fn revise(&mut self, vertex: &str, revision: &str) {
        self.revisions.insert(vertex.to_owned(), Revision::from_text(revision));
        self.generation += 1;
    }

    pub(crate) fn wanted(&self) -> Wanted<'_> {
        Wanted {
            settings: &self.settings,
            generation: self.generation,
            revisions: &self.revisions,
            asked: &self.asked,
            deletion: self.deletion,
            reshape: self.reshape,
        }
    }

    /// Adds messages to what waits for a vertex.
    pub(crate) fn put(&mut self, vertex: &str, count: u64) {
        self.seen.vertices.get_mut(vertex).unwrap().pending.get_or_insert_with(|| vec![0])[0] += count;
    }

    pub(crate) fn workers(&self, vertex: &str) -> usize {
        self.seen.vertices[vertex].workers.len()
    }

    /// Time goes by, messages flow, a plan is made and done. The memory goes through its stored form.
    pub(crate) fn turn(&mut self) -> Plan {
        self.now = self.now.after(Duration::from_millis(TURN_MS));
        self.flow();
        self.look();
        let plan = decide(&self.wanted(), &self.seen, &self.memory, self.now);
        let stored = serde_json::to_string(&plan.memory).unwrap();
        self.memory = serde_json::from_str(&stored).unwrap();
        for (vertex, name) in &plan.retire {
            self.seen.vertices.get_mut(vertex).unwrap().workers.remove(name);
        }
        for piece in &plan.ensure {
            self.make(piece);
        }
        plan
    }

    /// Turns until something is so, which must be within so many.
    pub(crate) fn until(&mut self, turns: u32, so: impl Fn(&Plan) -> bool) -> Plan {
        let mut last = None;
        for _ in 0..turns {
            let plan = self.turn();
            if so(&plan) {
                return plan;
            }
            last = Some(plan.phase.to_string());
        }
        panic!("not within {turns} turns: {last:?}");
    }

    fn make(&mut self, piece: &Piece) {
        match piece {
            Piece::Worker { vertex, name } => {
                let worker = Worker { state: WorkerState::Ready, since: self.now, holds: 0, restarts: 0 };
                self.seen.vertices.get_mut(vertex).unwrap().workers.entry(name.clone()).or_insert(worker);
            }
            Piece::Reading { on, .. } => self.reading = *on,
            Piece::Reshape => self.reshape = false,
            Piece::Shares { .. } | Piece::Keep { .. } | Piece::Forget => {}
        }
    }

    /// Each vertex, the last first, finishes what it can.
    fn flow(&mut self) {
        for place in (0..self.settings.vertices.len()).rev() {
            let settings = &self.settings.vertices[place];
            let vertex = self.seen.vertices.get_mut(&settings.name).unwrap();
            let ready = vertex.workers.values().filter(|worker| worker.is_ready()).count() as u64;
            let can = if self.stuck.contains(&settings.name) { 0 } else { ready * PACE };
            let source = settings.kind == VertexKind::Source;
            let waits = vertex.pending.as_ref().map_or(0, |pending| pending[0]);
            let done =
                if source { can.min(if self.reading { self.flow } else { 0 }) } else { can.min(waits) };
            vertex.processed += done;
            if !source && vertex.pending.is_some() {
                vertex.pending = Some(vec![waits - done]);
            }
            if let Some(next) = self.settings.vertices.get(place + 1).map(|next| next.name.clone()) {
                self.put(&next, done);
            }
        }
    }

    fn look(&mut self) {
        let left: Vec<Left> = self.settings.vertices[1..]
            .iter()
            .filter_map(|vertex| {
                let messages = self.seen.vertices[&vertex.name].pending.as_ref()?[0];
                (messages > 0).then(|| Left { vertex: vertex.name.clone(), partition: 0, messages })
            })
            .collect();
        let stopped = !self.reading;
        self.empty_looks = if left.is_empty() && stopped { self.empty_looks + 1 } else { 0 };
        self.seen.drain = Some(Drain {
            sources_stopped: stopped,
            drained: self.empty_looks >= 2,
            left,
            ..Drain::default()
        });
        for vertex in self.seen.vertices.values_mut() {
            vertex.settled = true;
        }
    }
}

/// A pipeline of three with settings of the middle vertex and of the pipeline, in flow style.
pub(crate) fn chain(scale: &str, lifecycle: &str) -> String {
    format!(
        "
apiVersion: numaflow.numaproj.io/v1alpha1
kind: Pipeline
metadata: {{name: p}}
spec:
  lifecycle: {lifecycle}
  vertices:
    - {{name: in, source: {{generator: {{}}}}, scale: {scale}}}
    - {{name: cat, udf: {{container: {{image: cat}}}}, scale: {scale}}}
    - {{name: out, sink: {{log: {{}}}}, scale: {scale}}}
  edges: [{{from: in, to: cat}}, {{from: cat, to: out}}]
"
    )
}
