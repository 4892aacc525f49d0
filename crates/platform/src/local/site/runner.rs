//! The control loop of one object: look, decide, act, again and again. Invariant: what is wanted is on disk before
//! anybody hears that it was accepted, and what was decided is there before it shows; between any two steps the process
//! may die, and the next one goes on from what is seen.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use api::revision::Revision;
use model::door::chain;
use plan::lifecycle::{DROPPED, Purpose, Stage};
use plan::seen::{Seen, Worker, WorkerName};
use plan::wanted::Wanted;
use plan::{Piece, Plan, Time, decide};
use tokio::sync::{mpsc, oneshot, watch};

use super::material::Material;
use super::queries::Queries;
use super::record::{self, Record, Version};
use super::show::{Turn, View};
use super::wishes;
use super::{Shared, apply};
use crate::local::engine::{self, Engine};
use crate::local::state::{self, OnDifference, StateDir};
use crate::place::{Refusal, RefusalKind, Wish};
use crate::view::{Applied, Object};

/// How often an object is looked at when nothing happens.
const LOOK: Duration = Duration::from_millis(100);
/// The shortest time between two looks.
const LOOK_MIN: Duration = Duration::from_millis(5);
/// How long what is in hand may take when the site ends.
const IN_HAND: Duration = Duration::from_secs(5);
/// How long a write that is under way may take when the time of a pause is over, and when an object is deleted by force.
const CUT_OFF: Duration = Duration::from_secs(5);
const FORCED: Duration = Duration::from_secs(1);
/// How long an answer about a forced deletion may wait for its end.
const ANSWER_WITHIN: Duration = Duration::from_secs(10);
/// How long after a failure the engine is opened again.
const AGAIN: Duration = Duration::from_secs(5);
/// How often what is remembered is written when nothing of weight has changed in it.
const SAVE: Duration = Duration::from_secs(5);
/// How often a view is made while nothing but counts changes.
const SHOW: Duration = Duration::from_secs(1);
/// Commands that may wait.
pub(super) const COMMANDS_MAX: usize = 64;

/// Something asked of a runner. The answer comes once the wish is on disk.
pub(super) enum Command {
    /// Become what a manifest says, or say what that would mean.
    Apply(Box<apply::Wish>, bool, oneshot::Sender<Result<Applied, Refusal>>),
    /// Anything else.
    Ask(Wish, oneshot::Sender<Result<Object, Refusal>>),
}

/// The phase, and the workers of each vertex.
type Essence = (String, BTreeMap<String, BTreeMap<WorkerName, Worker>>);

/// One object of a site.
pub(super) struct Runner {
    shared: Arc<Shared>,
    directory: PathBuf,
    pub(super) record: Record,
    /// What is to run: of the shape that the buffers have.
    material: Material,
    engine: Option<Engine>,
    plan: Option<Plan>,
    queries: Queries,
    failure: Option<String>,
    /// The failure is that the buffers cannot be looked at.
    is_blind: bool,
    again: Option<Instant>,
    /// What of the record is on disk may differ by more than memory.
    edited: bool,
    /// When the record was written, and with which memory.
    saved: (Instant, plan::Memory),
    /// When the last view was made, and of what that shows at once.
    shown: Option<(Instant, Essence)>,
    /// Who has asked something that was accepted; they hear what the next turn made of it.
    asked: Vec<(Instant, oneshot::Sender<Result<Object, Refusal>>)>,
    view: watch::Sender<Arc<View>>,
}

impl Runner {
    /// Of a record that is on disk.
    pub(super) fn new(
        shared: Arc<Shared>,
        directory: PathBuf,
        record: Record,
    ) -> Result<(Self, watch::Receiver<Arc<View>>), Refusal> {
        let material = Material::of(&record.shape, &record.ways, &record.values, &record.restarts)?;
        let (view, receiver) = watch::channel(Arc::new(View::of_record(&record, &material, None)));
        let saved = (Instant::now(), record.memory.clone());
        let runner = Self {
            shared,
            directory,
            record,
            material,
            engine: None,
            plan: None,
            queries: Queries::default(),
            failure: None,
            is_blind: false,
            again: None,
            edited: false,
            saved,
            shown: None,
            asked: Vec::new(),
            view,
        };
        Ok((runner, receiver))
    }

    /// Until the object is gone or the site ends.
    pub(super) async fn run(mut self, mut commands: mpsc::Receiver<Command>) {
        loop {
            let is_gone = self.turn().await;
            // Who has forced the object to go hears what was dropped.
            let waits = is_forced(&self.record) && !is_gone;
            let waiting = self.asked.iter().position(|(since, _)| waits && since.elapsed() < ANSWER_WITHIN);
            for (_, asked) in self.asked.drain(..waiting.unwrap_or(self.asked.len())) {
                // Whoever asked may have gone.
                drop(asked.send(Ok(self.view.borrow().object.clone())));
            }
            if is_gone {
                return;
            }
            let look = self.plan.as_ref().and_then(|plan| plan.look_again);
            let wait = look.map_or(LOOK, |at| at.since(now())).clamp(LOOK_MIN, LOOK);
            tokio::select! {
                command = commands.recv() => {
                    let Some(command) = command else {
                        self.close().await;
                        return;
                    };
                    self.obey(command);
                }
                () = changed(self.engine.as_mut()) => {}
                () = tokio::time::sleep(wait) => {}
            }
        }
    }

    /// Looks, decides and acts once. True when the object is gone.
    async fn turn(&mut self) -> bool {
        if self.engine.is_none() && self.again.is_none_or(|again| Instant::now() >= again) {
            match self.open().await {
                Ok(engine) => (self.engine, self.failure, self.again) = (Some(engine), None, None),
                Err(why) => self.fail(why),
            }
        }
        let Some(engine) = &mut self.engine else { return self.forget_unopened().await };
        if let Err(error) = engine.turn().await {
            // A broker that is away for a while is no reason to stop who can go on without being looked at.
            self.is_blind = matches!(error, engine::Error::Away(_));
            if !self.is_blind {
                self.close().await;
            }
            self.fail(chain(&error));
            return false;
        }
        if std::mem::take(&mut self.is_blind) {
            self.failure = None;
        }
        let mut seen = engine.seen();
        if is_forced(&self.record) && seen.vertices.values().all(|vertex| vertex.workers.is_empty()) {
            match engine.cuts().await {
                Ok(cuts) => seen.drain.get_or_insert_default().cuts = cuts,
                // What cannot be looked up is not named; the object goes all the same.
                Err(error) => tracing::warn!(error = %chain(&error), "what is dropped cannot be looked at"),
            }
        }
        self.queries.turn(&self.material.settings, self.plan.as_ref(), &mut seen);
        let wanted = wanted(&self.record, &self.material);
        let plan = decide(&wanted, &seen, &self.record.memory, now());
        self.record.memory = plan.memory.clone();
        if let Err(error) = self.save() {
            self.fail(chain(&error));
            return false;
        }
        for event in &plan.events {
            self.shared.events.add(&self.record.name, event.clone(), now());
        }
        let outcome = self.act(&plan).await;
        if outcome == Ok(true) {
            self.show_last(plan.waiting.clone());
        } else {
            self.show(&seen, &plan);
        }
        self.plan = Some(plan);
        match outcome {
            Ok(is_gone) => is_gone,
            Err(why) => {
                self.fail(why);
                false
            }
        }
    }

    /// An object that cannot be opened can still be deleted by force. True when it is gone.
    async fn forget_unopened(&mut self) -> bool {
        if !is_forced(&self.record) {
            return false;
        }
        if let Err(why) = self.remove().await {
            self.fail(why);
            return false;
        }
        let message =
            "deleted by force: it could not be opened, so nobody could count the records that are dropped";
        let event = plan::Event::warning("", DROPPED, message);
        self.shared.events.add(&self.record.name, event, now());
        self.show_last(vec![plan::Waiting::new("", DROPPED, message)]);
        true
    }

    /// Does what a plan says. True when the object is gone.
    async fn act(&mut self, plan: &Plan) -> Result<bool, String> {
        for piece in &plan.ensure {
            let Some(engine) = &mut self.engine else { return Ok(false) };
            match piece {
                Piece::Reading { vertex, on } => engine.read(vertex, *on),
                Piece::Worker { vertex, name } => {
                    // What cannot be started is seen as failing, and the plan goes by that.
                    if let Err(error) = engine.ensure(vertex, name) {
                        return Err(chain(&error));
                    }
                }
                Piece::Shares { vertex, shares } => engine.share(vertex, shares.clone()),
                Piece::Keep { vertex, revisions } => self.keep(vertex, revisions),
                Piece::Reshape => {
                    self.reshape().await?;
                    return Ok(false);
                }
                Piece::Forget => {
                    self.close().await;
                    self.remove().await?;
                    return Ok(true);
                }
            }
        }
        if let Some(engine) = &mut self.engine {
            for (vertex, name) in &plan.retire {
                match grace(plan) {
                    Some(within) => engine.cut(vertex, name, within),
                    None => engine.retire(vertex, name),
                }
            }
        }
        Ok(false)
    }

    /// Forgets versions of a vertex that nobody will run again.
    fn keep(&mut self, vertex: &str, revisions: &BTreeSet<Revision>) {
        if let Some(versions) = self.record.versions.get_mut(vertex) {
            let wanted = self.material.revisions.get(vertex);
            let before = versions.len();
            versions.retain(|revision, _| revisions.contains(revision) || Some(revision) == wanted);
            self.edited |= versions.len() != before;
            if let Some(engine) = &mut self.engine {
                engine.forget(vertex, &versions.keys().cloned().collect());
            }
        }
    }

    /// Takes over the shape that waited for a drain.
    async fn reshape(&mut self) -> Result<(), String> {
        self.close().await;
        let Record { manifest, ways, values, restarts, .. } = &self.record;
        let material = Material::of(manifest, ways, values, restarts).map_err(|refusal| refusal.message)?;
        self.record.shape = self.record.manifest.clone();
        self.edited = true;
        for (vertex, revision) in &material.revisions {
            if self.material.revisions.get(vertex) == Some(revision) {
                continue;
            }
            // What ran in the other shape cannot run in this one: its input may be another, and positions mean other things.
            self.record.versions.remove(vertex);
            if let Some(memory) = self.record.memory.vertices.get_mut(vertex) {
                let obeyed = memory.rollout.obeyed;
                memory.rollout = plan::rollout::Memory { obeyed, ..plan::rollout::Memory::default() };
            }
        }
        self.record.versions.retain(|vertex, _| material.revisions.contains_key(vertex));
        self.material = material;
        self.note_versions();
        self.save().map_err(|error| chain(&error))
    }

    /// Opens the engine with every version that may have to run.
    async fn open(&mut self) -> Result<Engine, String> {
        let site = self.shared.clone();
        let disk = site.disk.as_ref();
        let state = StateDir::open_on(disk, &self.directory, &self.record.shape, OnDifference::Force);
        let state = state.map_err(|error| chain(&error))?;
        let run_dir = site.run_dir.join(state::run_dir_name(&state));
        state::make_private(&run_dir).map_err(|error| chain(&error))?;
        self.note_versions();
        self.save().map_err(|error| chain(&error))?;
        let config = engine::Config {
            object: self.material.object.clone(),
            values: self.material.values.clone(),
            state,
            run_dir,
            host: site.host.clone(),
            machine: site.machine,
            http_bind: site.http_bind,
            storage: site.storage.clone(),
        };
        let mut engine = Engine::open(config).await.map_err(|error| chain(&error))?;
        for announcement in engine.announcements() {
            let event = plan::Event::warning("", "SourceChanged", announcement);
            self.shared.events.add(&self.record.name, event, now());
        }
        self.keep_versions(&mut engine, |_, _| true);
        Ok(engine)
    }

    /// Makes the versions on disk that are asked for known to an engine.
    fn keep_versions(&self, engine: &mut Engine, is_asked: impl Fn(&str, &Revision) -> bool) {
        let versions = self.record.versions.iter();
        let all = versions.flat_map(|(vertex, versions)| versions.iter().map(move |one| (vertex, one)));
        for (vertex, (revision, Version { manifest, ways })) in all {
            if !is_asked(vertex, revision) {
                continue;
            }
            match Material::of(manifest, ways, &self.record.values, &BTreeMap::new()) {
                Ok(material) => engine.keep(vertex, material.version(vertex, revision)),
                Err(refusal) => {
                    let message = format!("version {revision} cannot be run again: {}", refusal.message);
                    let event = plan::Event::warning(format!("vertex {vertex}"), "VersionLost", message);
                    self.shared.events.add(&self.record.name, event, now());
                }
            }
        }
    }

    /// Makes sure that the versions which are wanted are among those that are kept, on disk and in the engine.
    fn note_versions(&mut self) {
        for (vertex, revision) in &self.material.revisions {
            let versions = self.record.versions.entry(vertex.clone()).or_default();
            if !versions.contains_key(revision) {
                let version = Version { manifest: self.record.shape.clone(), ways: self.record.ways.clone() };
                versions.insert(revision.clone(), version);
                self.edited = true;
            }
            if let Some(engine) = &mut self.engine {
                engine.keep(vertex, self.material.version(vertex, revision));
            }
        }
    }

    async fn close(&mut self) {
        if let Some(engine) = self.engine.take()
            && let Err(error) = engine.close(IN_HAND).await
        {
            tracing::warn!(object = self.record.name, error = %chain(&error), "the object did not stop in order");
        }
        self.plan = None;
    }

    fn fail(&mut self, why: String) {
        if self.failure.as_ref() != Some(&why) {
            let event = plan::Event::warning("", "Failed", why.clone());
            self.shared.events.add(&self.record.name, event, now());
        }
        (self.failure, self.again) = (Some(why), Some(Instant::now() + AGAIN));
        if self.engine.is_none() {
            self.publish(View::of_record(&self.record, &self.material, self.failure.as_ref()));
        } else if self.is_blind {
            let mut view = View::clone(&self.view.borrow());
            view.object.failure.clone_from(&self.failure);
            self.publish(view);
        }
    }

    /// Writes the record when something of weight has changed, or after a while.
    fn save(&mut self) -> Result<(), record::Error> {
        let (at, saved) = &self.saved;
        let memory = &self.record.memory;
        let rests = !self.edited && !weighs(saved, memory);
        if rests && (at.elapsed() < SAVE || saved == memory) {
            return Ok(());
        }
        self.record.save(self.shared.disk.as_ref(), &self.directory)?;
        (self.edited, self.saved) = (false, (Instant::now(), memory.clone()));
        Ok(())
    }

    async fn remove(&self) -> Result<(), String> {
        let removed = Box::pin(engine::remove(&self.shared.storage, &self.material.object)).await;
        removed.map_err(|error| chain(&error))?;
        super::remove(self.shared.disk.as_ref(), &self.directory)
            .map_err(|error| format!("remove {}: {error}", self.directory.display()))
    }

    /// Makes a view: at once when workers or the phase have changed, after a while when only counts may have.
    fn show(&mut self, seen: &Seen, plan: &Plan) {
        let workers =
            seen.vertices.iter().map(|(name, vertex)| (name.clone(), vertex.workers.clone())).collect();
        let essence = (plan.phase.to_string(), workers);
        let is_fresh =
            self.shown.as_ref().is_some_and(|(at, shown)| at.elapsed() < SHOW && *shown == essence);
        let Some(engine) = self.engine.as_mut().filter(|_| !is_fresh) else { return };
        self.shown = Some((Instant::now(), essence));
        let wanted = &wanted(&self.record, &self.material);
        let mut turn = Turn { engine, seen, plan, wanted };
        let mut view = View::of_turn(&self.record, &self.material, &mut turn);
        view.object.failure.clone_from(&self.failure);
        self.publish(view);
    }

    /// The last view of an object that is gone.
    fn show_last(&self, said: Vec<plan::Waiting>) {
        let mut view = View::clone(&self.view.borrow());
        "Deleted".clone_into(&mut view.object.phase);
        view.object.waiting = said;
        self.publish(view);
    }

    fn publish(&self, view: View) {
        let differs = self.view.borrow().differs_from(&view);
        self.view.send_replace(Arc::new(view));
        if differs {
            self.shared.bump();
        }
    }

    fn obey(&mut self, command: Command) {
        match command {
            Command::Apply(wish, dry_run, reply) => {
                let outcome = wishes::apply(&self.record, *wish);
                let answer = outcome.and_then(|(applied, next)| {
                    if dry_run {
                        return Ok(applied);
                    }
                    match wishes::refusal(&applied) {
                        Some(refusal) => Err(refusal),
                        None => self.take(next).map(|()| applied),
                    }
                });
                // Whoever asked may have gone.
                drop(reply.send(answer));
            }
            Command::Ask(wish, reply) => {
                let outcome = wishes::ask(&self.record, &self.material.object, self.plan.as_ref(), wish);
                match outcome.and_then(|next| self.take(next)) {
                    Ok(()) => self.asked.push((Instant::now(), reply)),
                    Err(refusal) => drop(reply.send(Err(refusal))),
                }
                self.shown = None;
            }
        }
    }

    /// Takes over a record that a wish has changed: on disk first.
    fn take(&mut self, next: Record) -> Result<(), Refusal> {
        let Record { shape, ways, values, restarts, .. } = &next;
        let material = Material::of(shape, ways, values, restarts)?;
        let disk = self.shared.disk.as_ref();
        next.save(disk, &self.directory).map_err(|error| Refusal::new(RefusalKind::Failed, chain(&error)))?;
        let before = std::mem::replace(&mut self.record, next);
        self.material = material;
        if let Some(mut engine) = self.engine.take() {
            engine.set_watermark(self.material.settings.watermark.clone());
            let is_added = |vertex: &str, revision: &Revision| {
                before.versions.get(vertex).is_none_or(|versions| !versions.contains_key(revision))
            };
            self.keep_versions(&mut engine, is_added);
            self.engine = Some(engine);
        }
        self.note_versions();
        Ok(())
    }
}

fn is_forced(record: &Record) -> bool {
    record.deletion.is_some_and(|deletion| deletion.force)
}

fn wanted<'a>(record: &'a Record, material: &'a Material) -> Wanted<'a> {
    Wanted {
        settings: &material.settings,
        generation: record.generation,
        revisions: &material.revisions,
        asked: &record.asked,
        deletion: record.deletion,
        reshape: record.shape != record.manifest,
    }
}

/// Whether something was decided between two memories; samples and estimates may be lost.
fn weighs(before: &plan::Memory, after: &plan::Memory) -> bool {
    let rollouts = |memory: &plan::Memory| {
        let rollout = |(vertex, memory): (&String, &plan::decide::VertexMemory)| {
            (vertex.clone(), memory.rollout.clone())
        };
        memory.vertices.iter().map(rollout).collect::<BTreeMap<_, _>>()
    };
    before.lifecycle != after.lifecycle || rollouts(before) != rollouts(after)
}

/// How long workers may take that have to go although not everything is done; none where there is no hurry.
fn grace(plan: &Plan) -> Option<Duration> {
    let lifecycle = &plan.memory.lifecycle;
    let is_cut = lifecycle.stage == Stage::Stopped && lifecycle.verdict.is_none();
    match lifecycle.purpose {
        Purpose::Pause if is_cut => Some(CUT_OFF),
        Purpose::DeleteNow => Some(FORCED),
        Purpose::Run | Purpose::Pause | Purpose::Reshape | Purpose::Delete => None,
    }
}

/// Returns when something in the engine has changed.
async fn changed(engine: Option<&mut Engine>) {
    match engine {
        Some(engine) => engine.changed().await,
        None => std::future::pending().await,
    }
}

/// The wall clock.
pub(super) fn now() -> Time {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or(Duration::ZERO);
    Time::from_millis(i64::try_from(since.as_millis()).unwrap_or(i64::MAX))
}
