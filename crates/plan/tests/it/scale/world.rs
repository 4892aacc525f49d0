//! A vertex that is modelled by a queue and workers, under the decisions that are tested. Nothing is judged here.
//! Invariant: the same settings, load and numbers give the same run.

use std::time::Duration;

use api::resolve::{Lifecycle, VertexSettings};
use tidegate_plan::Time;
use tidegate_plan::scale::{
    Decision, Downstream, Hand, History, Input, Load, Memory, Phase, Sample, replicas,
};

/// Seconds between looks.
pub(super) const LOOK: u64 = 5;
/// 1 January 2026.
const START_MILLIS: i64 = 1_767_225_600_000;

/// Which vertex of a pipeline the settings are of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Place {
    Source,
    Map,
    MonoVertex,
}

/// Settings of a vertex with this `scale`, and more fields beside it.
pub(super) fn settings(place: Place, scale: &str, more: &str) -> (VertexSettings, Lifecycle) {
    let of =
        |wanted: Place| if place == wanted { format!(", scale: {{{scale}}}{more}") } else { String::new() };
    let head = "apiVersion: numaflow.numaproj.io/v1alpha1\nmetadata: {name: p}\n";
    let text = if place == Place::MonoVertex {
        format!(
            "{head}kind: MonoVertex\nspec: {{source: {{generator: {{}}}}, sink: {{log: {{}}}}{}}}\n",
            of(Place::MonoVertex)
        )
    } else {
        format!(
            "{head}kind: Pipeline\nspec:\n  vertices:\n  - {{name: in, source: {{generator: {{}}}}{}}}\n  \
             - {{name: cat, udf: {{container: {{image: cat}}}}{}}}\n  - {{name: out, sink: {{log: {{}}}}}}\n  \
             edges: [{{from: in, to: cat}}, {{from: cat, to: out}}]\n",
            of(Place::Source),
            of(Place::Map),
        )
    };
    let loaded = api::load([("test.yaml", text.as_bytes())]);
    let complaints = api::complaint::to_text(&loaded.complaints);
    let (objects, _) = loaded.accept().unwrap_or_else(|_| panic!("{complaints}\n{text}"));
    match (&objects[0], place) {
        (api::Object::Pipeline(pipeline), Place::Source | Place::Map) => {
            let settings = api::resolve::pipeline(pipeline);
            let vertex = settings.vertices[usize::from(place == Place::Map)].clone();
            (vertex, settings.lifecycle)
        }
        (api::Object::MonoVertex(mono_vertex), Place::MonoVertex) => api::resolve::mono_vertex(mono_vertex),
        other => panic!("not what was written: {other:?}"),
    }
}

/// Milliseconds and seconds since the start, as a moment.
pub(super) fn at(seconds: u64) -> Time {
    Time::from_millis(START_MILLIS).after(Duration::from_secs(seconds))
}

/// A vertex that works.
pub(super) struct World {
    pub(super) settings: VertexSettings,
    pub(super) lifecycle: Lifecycle,
    /// Messages per second that a worker can do.
    pub(super) capacity: f64,
    /// Messages per second that all of them together can do, whatever their number.
    pub(super) ceiling: f64,
    /// Seconds from start to ready.
    pub(super) start_up: u64,
    pub(super) phase: Phase,
    pub(super) hand: Option<Hand>,
    pub(super) downstream: Vec<Downstream>,
    /// Workers that are not ready although they should be.
    pub(super) unready: usize,
    /// Nobody looks.
    pub(super) missed: bool,
    pub(super) second: u64,
    pub(super) queue: f64,
    pub(super) memory: Memory,
    done: f64,
    /// When each worker was started.
    started: Vec<u64>,
    history: History,
    pub(super) decisions: Vec<(u64, Decision)>,
}

impl World {
    pub(super) fn new(place: Place, scale: &str) -> Self {
        let (settings, lifecycle) = settings(place, scale, "");
        Self::with(settings, lifecycle)
    }

    pub(super) fn with(settings: VertexSettings, lifecycle: Lifecycle) -> Self {
        Self {
            settings,
            lifecycle,
            capacity: 100.0,
            ceiling: f64::MAX,
            start_up: 10,
            phase: Phase::Running,
            hand: None,
            downstream: Vec::new(),
            unready: 0,
            missed: false,
            second: 0,
            queue: 0.0,
            memory: Memory::default(),
            done: 0.0,
            started: Vec::new(),
            history: History::default(),
            decisions: Vec::new(),
        }
    }

    pub(super) fn replicas(&self) -> u32 {
        self.started.len() as u32
    }

    pub(super) fn ready(&self) -> usize {
        let up = self.started.iter().filter(|started| self.second >= **started + self.start_up).count();
        up.saturating_sub(self.unready)
    }

    /// One second with so many messages coming in and at most `room` going out.
    pub(super) fn second(&mut self, arrivals: f64, room: f64) -> f64 {
        let able = (self.ready() as f64 * self.capacity).min(self.ceiling).min(room);
        self.queue += arrivals;
        let done = able.min(self.queue);
        self.queue -= done;
        self.done += done;
        self.second += 1;
        if self.second.is_multiple_of(LOOK) {
            self.look();
        }
        done
    }

    pub(super) fn run(&mut self, seconds: u64, arrivals: impl Fn(u64) -> f64) {
        for _ in 0..seconds {
            let arrivals = arrivals(self.second);
            self.second(arrivals, f64::MAX);
        }
    }

    fn look(&mut self) {
        let sample = Sample {
            at: at(self.second),
            ready: self.ready() as u32,
            processed: (!self.missed).then_some(self.done as u64),
            waiting: Some(vec![self.queue as u64]),
            in_hand: 0,
        };
        self.history.push(sample);
        let decision = self.decide();
        // What is remembered has been through a status.
        let text = serde_json::to_string(&decision.memory).expect("a memory is plain values");
        self.memory = serde_json::from_str(&text).expect("it was written a moment ago");
        self.started.resize(decision.replicas as usize, self.second);
        self.decisions.push((self.second, decision));
    }

    pub(super) fn decide(&self) -> Decision {
        let load = Load { history: &self.history, downstream: &self.downstream, units: None };
        let input = Input {
            settings: &self.settings,
            lifecycle: &self.lifecycle,
            phase: self.phase,
            hand: self.hand,
            frozen: None,
            load,
            memory: &self.memory,
        };
        replicas(&input, at(self.second))
    }

    /// Moments and counts of all changes from `since` on.
    pub(super) fn changes(&self, since: u64) -> Vec<(u64, u32, String)> {
        let pairs = self.decisions.windows(2).filter(|pair| pair[1].0 >= since);
        pairs
            .filter(|pair| pair[0].1.replicas != pair[1].1.replicas)
            .map(|pair| (pair[1].0, pair[1].1.replicas, pair[1].1.reason.clone()))
            .collect()
    }
}
