//! One worker of a vertex with its user code: processes are started, doors opened, the worker runs, and whatever fails
//! is begun again after a wait that grows, until the worker is told to go.
//!
//! What it owns is not decided here: its handle is shown to whoever orders. Invariant: each life of the worker has an
//! incarnation of its own, and a life that is over is shown until it was taken note of.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::{Duration, Instant, SystemTime};

use connect::incident::{Incident, Incidents};
use connect::open::{Context, Limits};
use connect::udf::native::StandIn;
use model::door::chain;
use model::{Epoch, Incarnation, Name, Unit};
use plan::seen::{WorkerName, WorkerState};
use tokio::sync::{Notify, Semaphore, watch};
use tokio::task::{JoinError, JoinSet};
use tokio_util::sync::CancellationToken;
use worker::wire::{Surroundings, wire};
use worker::{Ended, Hand, Watermark, Worker};

use super::Error;
use super::apart::Apart;
use super::parts::{Here, Kept, Parts, Ways};
use super::probe::{Health, Watched};
use super::user_code;
use crate::local::process::{self, Supervisor};

/// The wait before what failed is begun again, at first and at most.
const AGAIN_FIRST: Duration = Duration::from_millis(200);
const AGAIN_MAX: Duration = Duration::from_secs(10);
/// What ran for so long begins with the first wait again.
const STEADY: Duration = Duration::from_mins(1);

/// What a worker shall do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Wish {
    Run,
    /// Finish what is in hand if that takes no longer than this, and end.
    Stop {
        within: Duration,
    },
    /// Finish what cannot be left half done if that takes no longer than this, and end.
    Cut {
        within: Duration,
    },
}

/// One life of a worker.
#[derive(Clone)]
pub(super) struct Life {
    pub(super) incarnation: Incarnation,
    pub(super) handle: Arc<dyn Hand>,
}

/// What a worker shows of itself.
#[derive(Clone)]
pub(super) struct Shown {
    inner: Arc<Mutex<Inner>>,
    pub(super) changed: Arc<Notify>,
}

pub(super) struct Inner {
    pub(super) phase: Phase,
    pub(super) life: Option<Life>,
    ended: Vec<Life>,
    containers: Vec<Watched>,
    pub(super) restarts: u32,
    /// The first error, if it came before the doors were open for the first time.
    refused: Option<Error>,
    pub(super) has_opened: bool,
    pub(super) urls: Vec<String>,
    announcements: Vec<String>,
    /// What a life had when it was first heard of, until that was taken note of.
    pub(super) found: Option<Found>,
}

/// A life that had units before anybody here knew of it.
#[derive(Debug)]
pub(super) struct Found {
    pub(super) incarnation: Incarnation,
    pub(super) units: BTreeMap<Unit, Epoch>,
}

pub(super) enum Phase {
    /// Processes are started and doors opened.
    Opening,
    /// Another worker has what only one can have; in words.
    Waiting(&'static str),
    Working,
    /// Its source has nothing more to give.
    Exhausted,
    /// It is begun again after a wait.
    Failing(String),
}

impl Shown {
    pub(super) fn new(changed: Arc<Notify>) -> Self {
        let inner = Inner {
            phase: Phase::Opening,
            life: None,
            ended: Vec::new(),
            containers: Vec::new(),
            restarts: 0,
            refused: None,
            has_opened: false,
            urls: Vec::new(),
            announcements: Vec::new(),
            found: None,
        };
        Self { inner: Arc::new(Mutex::new(inner)), changed }
    }

    /// What the worker is doing, as long as nobody told it to go.
    pub(super) fn state(&self) -> WorkerState {
        let inner = self.lock();
        if let Phase::Failing(reason) = &inner.phase {
            return WorkerState::Failing { reason: reason.clone() };
        }
        let mut state = match inner.phase {
            Phase::Opening | Phase::Waiting(_) | Phase::Failing(_) => WorkerState::Starting,
            Phase::Working | Phase::Exhausted => WorkerState::Ready,
        };
        for container in &inner.containers {
            match container.health() {
                Health::Ready => {}
                Health::Starting => state = WorkerState::Starting,
                Health::Failing(reason) => return WorkerState::Failing { reason },
            }
        }
        state
    }

    /// What it waits for that another worker has.
    pub(super) fn waits(&self) -> Option<&'static str> {
        match self.lock().phase {
            Phase::Waiting(why) => Some(why),
            Phase::Opening | Phase::Working | Phase::Exhausted | Phase::Failing(_) => None,
        }
    }

    pub(super) fn restarts(&self) -> u32 {
        let inner = self.lock();
        inner.containers.iter().map(Watched::restarts).fold(inner.restarts, u32::saturating_add)
    }

    pub(super) fn life(&self) -> Option<Life> {
        self.lock().life.clone()
    }

    pub(super) fn is_exhausted(&self) -> bool {
        matches!(self.lock().phase, Phase::Exhausted)
    }

    /// Lives that are over and were not taken note of.
    pub(super) fn take_ended(&self) -> Vec<Life> {
        std::mem::take(&mut self.lock().ended)
    }

    /// What a life had when it was first heard of, once.
    pub(super) fn take_found(&self) -> Option<Found> {
        self.lock().found.take()
    }

    /// Whether the doors have been open once; the error that kept them from it, once.
    pub(super) fn first_opening(&self) -> Result<bool, Error> {
        let mut inner = self.lock();
        match inner.refused.take() {
            Some(error) => Err(error),
            None => Ok(inner.has_opened),
        }
    }

    pub(super) fn urls(&self) -> Vec<String> {
        self.lock().urls.clone()
    }

    pub(super) fn announcements(&self) -> Vec<String> {
        self.lock().announcements.clone()
    }

    pub(super) fn containers(&self) -> Vec<Watched> {
        self.lock().containers.clone()
    }

    pub(super) fn change(&self, change: impl FnOnce(&mut Inner)) {
        change(&mut self.lock());
        self.changed.notify_one();
    }

    pub(super) fn enter(&self, phase: Phase) {
        self.change(|inner| inner.phase = phase);
    }

    fn refuse(&self, error: Error) {
        let mut inner = self.lock();
        if !inner.has_opened && inner.refused.is_none() {
            inner.refused = Some(error);
        }
    }

    pub(super) fn end_life(&self) {
        self.change(|inner| inner.ended.extend(inner.life.take()));
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().expect("nothing panics while it is locked")
    }
}

/// Everything that runs one worker.
pub(super) struct Member {
    pub(super) parts: Arc<Parts>,
    pub(super) kept: Arc<Kept>,
    pub(super) name: WorkerName,
    pub(super) replica: u16,
    pub(super) vertex: Name,
    pub(super) incidents: Incidents,
    pub(super) watermark: Watermark,
    /// What only one worker can have, and why.
    pub(super) alone: Option<(Arc<Semaphore>, &'static str)>,
    pub(super) shown: Shown,
    pub(super) wish: watch::Receiver<Wish>,
}

/// How a life ended.
pub(super) enum End {
    Stopped,
    Exhausted,
    Failed(String),
}

/// The user code of a worker: where the sockets of each container are, and what this process stands in for.
type Code<'a> = (&'a BTreeMap<String, PathBuf>, &'a BTreeMap<String, StandIn>);

/// Waits that double.
struct Waits(Duration);

impl Waits {
    fn after(&mut self, uptime: Duration) -> Duration {
        let wait = if uptime > STEADY { AGAIN_FIRST } else { self.0 };
        self.0 = (wait * 2).min(AGAIN_MAX);
        wait
    }
}

impl Member {
    /// Runs until told to stop. Dropping the future ends the worker and its processes at once, where they are this
    /// machine's.
    pub(super) async fn run(self) {
        match &self.parts.ways {
            Ways::Here(here) => self.run_here(here).await,
            Ways::Away(away) => self.run_away(away).await,
        }
    }

    async fn run_here(&self, here: &Here) {
        let mut waits = Waits(AGAIN_FIRST);
        loop {
            let begun = Instant::now();
            let Err(error) = self.tenure(here).await else { return };
            let wait = waits.after(begun.elapsed());
            let why = chain(&error);
            self.shown.refuse(error);
            self.fail(&why, wait);
            tokio::select! {
                () = tokio::time::sleep(wait) => {}
                _ = self.told() => return,
            }
            self.shown.enter(Phase::Opening);
        }
    }

    /// From the start of the processes to their end.
    async fn tenure(&self, here: &Here) -> Result<(), Error> {
        let prepared = user_code::prepare((&self.parts, here), &self.kept, &self.name)?;
        let user_code::UserCode { containers, directories, stand_ins, announcements } = prepared;
        let stop = CancellationToken::new();
        let (mut processes, mut probes, mut watched) = (JoinSet::new(), JoinSet::new(), Vec::new());
        for (component, container) in containers {
            let sockets = container.directories.sockets.clone();
            let host = here.host.clone();
            let (supervisor, handle) = Supervisor::new(container, host, self.incidents.clone());
            let (container, probe) = Watched::new(component, sockets, handle, self.shown.changed.clone());
            watched.push(container);
            probes.spawn(probe);
            processes.spawn(supervisor.run(stop.clone()));
        }
        self.shown.change(|inner| (inner.containers, inner.announcements) = (watched, announcements));
        let mut outcome = tokio::select! {
            () = self.lives(here, (&directories, &stand_ins)) => Ok(()),
            Some(joined) = processes.join_next() => ended(joined),
        };
        self.shown.end_life();
        stop.cancel();
        while let Some(joined) = processes.join_next().await {
            outcome = outcome.and(ended(joined));
        }
        probes.shutdown().await;
        user_code::clean(directories.values(), &here.run_dir);
        match outcome {
            // Whoever is to go has gone; what cannot be ended is told and left.
            Err(error) if *self.wish.borrow() != Wish::Run => {
                self.tell(format!("failed to {}", chain(&error)));
                Ok(())
            }
            outcome => outcome,
        }
    }

    /// Lives of the worker, one after the other, until it is told to stop.
    async fn lives(&self, here: &Here, code: Code<'_>) {
        let mut waits = Waits(AGAIN_FIRST);
        loop {
            let begun = Instant::now();
            let why = match self.life(here, code).await {
                End::Stopped => return,
                End::Exhausted => {
                    self.shown.enter(Phase::Exhausted);
                    self.told().await;
                    return;
                }
                End::Failed(why) => why,
            };
            let wait = waits.after(begun.elapsed());
            self.fail(&why, wait);
            tokio::select! {
                () = tokio::time::sleep(wait) => {}
                // There is nothing in hand to finish.
                _ = self.told() => return,
            }
            self.shown.enter(Phase::Opening);
        }
    }

    async fn life(&self, here: &Here, code: Code<'_>) -> End {
        let _alone = match &self.alone {
            None => None,
            Some((alone, why)) => {
                self.shown.enter(Phase::Waiting(why));
                tokio::select! {
                    permit = alone.clone().acquire_owned() => Some(permit.expect("the semaphore is never closed")),
                    _ = self.told() => return End::Stopped,
                }
            }
        };
        self.shown.enter(Phase::Opening);
        if let Some((processes, mail)) = &here.processes {
            let (mail, directories) = (mail.clone(), code.0);
            return self.life_apart(Apart { here, processes, mail, directories }).await;
        }
        let opened = tokio::select! {
            opened = self.open(here, code) => opened,
            _ = self.told() => return End::Stopped,
        };
        let (worker, life) = match opened {
            Ok(opened) => opened,
            Err(error) => {
                let why = chain(&error);
                self.shown.refuse(error.into());
                return End::Failed(why);
            }
        };
        let handle = life.handle.clone();
        let mut running = JoinSet::new();
        running.spawn(worker.run());
        self.shown.change(|inner| (inner.life, inner.phase) = (Some(life), Phase::Working));
        let joined = tokio::select! {
            joined = running.join_next() => joined,
            within = self.told() => {
                handle.stop();
                let joined = tokio::select! {
                    joined = running.join_next() => joined,
                    () = tokio::time::sleep(within) => None,
                    within = self.cut() => {
                        handle.cut();
                        tokio::time::timeout(within, running.join_next()).await.unwrap_or(None)
                    }
                };
                running.shutdown().await;
                joined
            }
        };
        self.shown.end_life();
        match joined {
            Some(Ok(Ok(Ended::Stopped))) | None => End::Stopped,
            Some(Ok(Ok(Ended::Exhausted))) => End::Exhausted,
            Some(Ok(Err(error))) => End::Failed(error.chain()),
            Some(Err(error)) => End::Failed(format!("keep it running: it ended with {error}")),
        }
    }

    /// Opens every door for a life of the worker.
    async fn open(
        &self,
        here: &Here,
        (directories, stand_ins): Code<'_>,
    ) -> Result<(Worker, Life), connect::open::Error> {
        let context = Context {
            pipeline: Name::new(&self.parts.pipeline.name),
            vertex: self.vertex.clone(),
            replica: self.replica,
            user_code_directory: PathBuf::new(),
            secrets: self.kept.version.values.secrets().clone(),
            incidents: self.incidents.clone(),
            http_bind: here.http_bind,
            inputs: here.inputs.clone(),
            limits: Limits::of(&self.kept.settings),
        };
        let incarnation = here.next_incarnation();
        let surroundings = Surroundings {
            context,
            directories,
            graph: &self.parts.graph,
            buffer: self.parts.buffer.clone(),
            incarnation,
            watermark: self.watermark.clone(),
            // Every life counts on where the one before has ended.
            metrics: self.parts.families.resolve(&self.parts.who(&self.kept.settings), self.replica),
            stand_ins,
            lease: self.parts.lease.clone(),
        };
        let wired = wire(self.kept.part(), surroundings).await?;
        let (worker, handle) = Worker::new(wired.setup);
        self.shown.change(|inner| (inner.has_opened, inner.urls) = (true, wired.urls));
        Ok((worker, Life { incarnation, handle: Arc::new(handle) }))
    }

    /// Returns when the worker shall end without finishing everything, with the time it has for that.
    pub(super) async fn cut(&self) -> Duration {
        let mut wish = self.wish.clone();
        let cut = wish.wait_for(|wish| matches!(wish, Wish::Cut { .. })).await.map(|wish| *wish);
        match cut {
            Ok(Wish::Cut { within }) => within,
            Ok(Wish::Run | Wish::Stop { .. }) | Err(_) => std::future::pending().await,
        }
    }

    /// Returns when the worker shall stop, with the time it has for that.
    pub(super) async fn told(&self) -> Duration {
        let mut wish = self.wish.clone();
        match wish.wait_for(|wish| *wish != Wish::Run).await.map(|wish| *wish) {
            Ok(Wish::Stop { within } | Wish::Cut { within }) => within,
            // Nobody is left who could say so.
            Ok(Wish::Run) | Err(_) => Duration::ZERO,
        }
    }

    fn fail(&self, why: &str, wait: Duration) {
        self.tell(format!("failed to {why}; the worker is started again in {wait:?}"));
        let reason = why.to_owned();
        self.shown.change(|inner| {
            inner.restarts = inner.restarts.saturating_add(1);
            inner.phase = Phase::Failing(reason);
        });
    }

    fn tell(&self, message: String) {
        self.incidents.report(Incident {
            container: "numa".to_owned(),
            code: "worker-failed".into(),
            message,
            details: String::new(),
            messages: Vec::new(),
            at: SystemTime::now(),
        });
    }
}

/// What the end of a supervisor means.
fn ended(joined: Result<Result<(), process::Error>, JoinError>) -> Result<(), Error> {
    match joined {
        Ok(ended) => Ok(ended?),
        Err(error) => Err(Error::Task { worker: "user code".to_owned(), why: error.to_string() }),
    }
}
