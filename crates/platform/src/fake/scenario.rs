//! What people want of the fake object, and how they change their minds. Invariant: every edit raises the generation, as it
//! does where people really edit.

use std::collections::BTreeMap;
use std::sync::OnceLock;
use std::time::Duration;

use api::resolve::{CanaryStep, EdgeSettings, PipelineSettings, Share, Update, UpdateKind, VertexSettings};
use api::revision::Revision;
use api::spec::{OnPauseTimeout, ResumeStrategy};
use plan::Time;
use plan::wanted::{Asked, Deletion, Wanted, Word, WordKind};

use super::world::Quality;

const MANIFEST: &str = "
apiVersion: numaflow.numaproj.io/v1alpha1
kind: Pipeline
metadata: {name: fake}
spec:
  vertices:
    - {name: in, source: {generator: {}}}
    - {name: cat, udf: {container: {image: cat}}}
    - {name: out, sink: {log: {}}}
  edges: [{from: in, to: cat}, {from: cat, to: out}]
";

/// What is wanted at the moment.
#[derive(Clone, Debug)]
pub struct Scenario {
    pub(super) settings: PipelineSettings,
    /// Another shape that waits.
    pub(super) next: Option<PipelineSettings>,
    pub(super) generation: u64,
    pub(super) revisions: BTreeMap<String, Revision>,
    pub(super) asked: BTreeMap<String, Asked>,
    pub(super) deletion: Option<Deletion>,
    versions: u64,
}

impl Scenario {
    /// The wishes that a seed begins with.
    pub(super) fn new(random: &mut fastrand::Rng) -> Self {
        let mut settings = base().clone();
        match random.u8(..8) {
            0 => {
                settings.vertices.truncate(1);
                settings.edges.clear();
            }
            1 => {
                let back = EdgeSettings {
                    from: "cat".to_owned(),
                    to: "cat".to_owned(),
                    ..settings.edges[0].clone()
                };
                settings.edges.push(back);
            }
            2 => {
                settings.vertices[1].ordered = true;
                settings.vertices[1].partitions = random.u32(1..4);
            }
            _ => {}
        }
        let life = &mut settings.lifecycle;
        life.pause_grace = Duration::from_secs(random.u64(0..12));
        life.deletion_grace = Duration::from_secs(random.u64(0..8));
        life.on_pause_timeout =
            *choose(random, &[OnPauseTimeout::Keep, OnPauseTimeout::Wait, OnPauseTimeout::Resume]);
        life.resume = *choose(random, &[ResumeStrategy::Fast, ResumeStrategy::Slow]);
        life.resume_replicas_per_minute = 60;
        life.paused = random.u8(..8) == 0;
        for vertex in &mut settings.vertices {
            scale(vertex, life.paused, random);
            update(&mut vertex.update, random);
        }
        let mut scenario = Self {
            revisions: BTreeMap::new(),
            asked: BTreeMap::new(),
            next: None,
            generation: 1,
            deletion: None,
            versions: 0,
            settings,
        };
        for vertex in scenario.settings.vertices.clone() {
            scenario.version(&vertex.name);
        }
        scenario
    }

    /// The wishes as a decision takes them.
    pub(super) fn wanted(&self) -> Wanted<'_> {
        Wanted {
            settings: &self.settings,
            generation: self.generation,
            revisions: &self.revisions,
            asked: &self.asked,
            deletion: self.deletion,
            reshape: self.next.is_some(),
        }
    }

    /// Asks for another version of a vertex.
    fn version(&mut self, vertex: &str) -> Revision {
        self.versions += 1;
        let revision = Revision::from_text(format!("{vertex}-{}", self.versions));
        self.revisions.insert(vertex.to_owned(), revision.clone());
        revision
    }

    /// Somebody changes their mind. Gives a version that was made, with its quality.
    pub(super) fn edit(&mut self, random: &mut fastrand::Rng, now: Time) -> Option<(Revision, Quality)> {
        let names: Vec<String> = self.settings.vertices.iter().map(|vertex| vertex.name.clone()).collect();
        let vertex = choose(random, &names).clone();
        if self.deletion.is_some_and(|deletion| deletion.force) {
            return None;
        }
        match random.u8(..24) {
            0..=6 => self.settings.lifecycle.paused = !self.settings.lifecycle.paused,
            7 => self.settings.lifecycle.paused = true,
            8..=13 => {
                let quality =
                    *choose(random, &[Quality::Good, Quality::Good, Quality::Crashes, Quality::NeverReady]);
                let revision = self.version(&vertex);
                self.generation += 1;
                return Some((revision, quality));
            }
            14 | 15 => {
                let asked = self.asked.entry(vertex).or_default();
                asked.replicas = Some(random.u32(0..5));
                asked.replicas_number += 1;
            }
            16 => {
                let settings = self.settings.vertices.iter_mut().find(|settings| settings.name == vertex);
                let settings = settings.filter(|settings| !settings.ordered)?;
                settings.scale.max = random.u32(0..6);
                settings.scale.min = random.u32(..=settings.scale.max);
            }
            17 => self.settings.lifecycle.pause_grace = Duration::from_secs(random.u64(0..20)),
            18 | 19 if self.settings.vertices.len() > 1 => self.reshape(random),
            20 => self.next = None,
            21 => {
                let number =
                    self.asked.get(&vertex).and_then(|asked| Some(asked.word.as_ref()?.number)).unwrap_or(0)
                        + 1;
                let kinds = [
                    WordKind::Promote,
                    WordKind::PromoteFully,
                    WordKind::Abort,
                    WordKind::Undo { to: None },
                    WordKind::Retry,
                ];
                let kind = choose(random, &kinds).clone();
                self.asked.entry(vertex).or_default().word = Some(Word { number, kind });
            }
            22 if random.u8(..6) == 0 => {
                self.deletion = Some(Deletion { since: now, force: random.u8(..3) == 0 });
            }
            _ => {}
        }
        self.generation += 1;
        None
    }

    /// Another shape: the middle has another number of partitions.
    fn reshape(&mut self, random: &mut fastrand::Rng) {
        let mut next = self.settings.clone();
        let middle = &mut next.vertices[1];
        middle.partitions = random.u32(1..8);
        if middle.ordered {
            (middle.scale.min, middle.scale.max) = (middle.partitions, middle.partitions);
        }
        self.next = (next.vertices[1].partitions != self.settings.vertices[1].partitions).then_some(next);
    }

    /// The shape that waits takes over; what was edited since stays.
    pub(super) fn take_over(&mut self) -> bool {
        let Some(next) = self.next.take() else { return false };
        let lifecycle = self.settings.lifecycle.clone();
        self.settings = PipelineSettings { lifecycle, ..next };
        true
    }
}

/// Bounds of a vertex.
fn scale(vertex: &mut VertexSettings, paused: bool, random: &mut fastrand::Rng) {
    let max = random.u32(0..6);
    vertex.scale.max = max;
    vertex.scale.min = random.u32(..=max);
    vertex.scale.automatic = random.bool();
    vertex.scale.cooldown_up = Duration::from_secs(2);
    vertex.scale.cooldown_down = Duration::from_secs(2);
    vertex.scale.lookback = Duration::from_secs(10);
    if vertex.ordered {
        (vertex.scale.min, vertex.scale.max, vertex.scale.automatic) =
            (vertex.partitions, vertex.partitions, false);
    }
    vertex.replicas = if paused { 0 } else { 1.clamp(vertex.scale.min, vertex.scale.max) };
}

/// The update strategy of a vertex.
fn update(update: &mut Update, random: &mut fastrand::Rng) {
    update.kind = *choose(
        random,
        &[
            UpdateKind::RollingUpdate,
            UpdateKind::RollingUpdate,
            UpdateKind::Recreate,
            UpdateKind::Canary,
            UpdateKind::BlueGreen,
        ],
    );
    update.min_ready = Duration::from_secs(random.u64(0..2));
    update.progress_deadline = Duration::from_secs(random.u64(6..15));
    update.max_unavailable =
        *choose(random, &[Share::Count(0), Share::Count(1), Share::Percent(25), Share::Percent(50)]);
    update.max_surge = *choose(random, &[Share::Count(1), Share::Count(2), Share::Percent(30)]);
    update.canary =
        vec![CanaryStep::SetWeight(25), CanaryStep::Wait(Duration::from_secs(2)), CanaryStep::SetWeight(50)];
    update.blue_green.preview = Duration::from_secs(1);
    update.blue_green.keep_old = Duration::from_secs(2);
}

fn base() -> &'static PipelineSettings {
    static BASE: OnceLock<PipelineSettings> = OnceLock::new();
    BASE.get_or_init(|| {
        let loaded = api::load([("fake.yaml", MANIFEST.as_bytes())]);
        let (objects, _) = loaded.accept().expect("the manifest is right");
        let api::Object::Pipeline(pipeline) = &objects[0] else {
            unreachable!("the manifest has one pipeline")
        };
        api::resolve::pipeline(pipeline)
    })
}

pub(super) fn choose<'a, T>(random: &mut fastrand::Rng, among: &'a [T]) -> &'a T {
    &among[random.usize(..among.len())]
}
