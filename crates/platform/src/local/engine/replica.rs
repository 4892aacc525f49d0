//! One replica for the length of a run: its worker is opened, runs, and is opened again after a failure, with a wait
//! that grows. Every life has an incarnation of its own, and takes its units over under a higher epoch.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant, SystemTime};

use api::resolve::{VertexKind, VertexSettings};
use connect::incident::{Incident, Incidents};
use connect::open::{Context, Limits};
use connect::udf::native::{Code, StandIn};
use model::{Epoch, Name, Slot, Unit};
use std::num::NonZeroUsize;
use tokio::sync::watch;
use worker::wire::{Surroundings, UserCode, wire};
use worker::{Ended, Handle, Metrics, Orders, Watermark, Worker};

use super::Error;
use super::parts::Parts;
use crate::local::process;

/// The wait before a failed worker is opened again, at first and at most.
const AGAIN_FIRST: Duration = Duration::from_millis(200);
const AGAIN_MAX: Duration = Duration::from_secs(10);
/// A worker that ran for so long begins with the first wait again.
const STEADY: Duration = Duration::from_mins(1);

/// What a replica shall do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Desired {
    Run,
    /// Finish what is in hand, and end.
    Finish,
}

/// How a replica ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Outcome {
    Finished,
    Exhausted,
}

/// What others may look at while the replica runs.
#[derive(Clone)]
pub(super) struct View {
    pub(super) vertex: Name,
    pub(super) metrics: Arc<Metrics>,
    pub(super) incidents: Incidents,
    /// The handle of the worker's present life.
    pub(super) worker: Arc<Mutex<Option<Handle>>>,
    pub(super) processes: Vec<process::Handle>,
}

pub(super) struct Replica {
    parts: Arc<Parts>,
    settings: VertexSettings,
    number: u16,
    replicas: u16,
    directories: BTreeMap<String, PathBuf>,
    pub(super) stand_ins: BTreeMap<String, StandIn>,
    view: View,
}

/// A worker that has not begun, and where its source listens.
pub(super) struct Opened {
    worker: Worker,
    handle: Handle,
    pub(super) urls: Vec<String>,
}

impl Replica {
    pub(super) fn new(
        parts: Arc<Parts>,
        settings: VertexSettings,
        (number, replicas): (u16, u16),
        directories: BTreeMap<String, PathBuf>,
    ) -> Self {
        let vertex = Name::new(&settings.name);
        let view = View {
            metrics: parts.families.resolve(&parts.who(&settings), number),
            incidents: Incidents::new(vertex.clone(), number),
            vertex,
            worker: Arc::default(),
            processes: Vec::new(),
        };
        Self { parts, settings, number, replicas, directories, stand_ins: BTreeMap::new(), view }
    }

    pub(super) fn incidents(&self) -> Incidents {
        self.view.incidents.clone()
    }

    pub(super) fn watch(&mut self, process: process::Handle) {
        self.view.processes.push(process);
    }

    pub(super) fn view(&self) -> View {
        self.view.clone()
    }

    /// Opens every door for a new life of the worker.
    pub(super) async fn open(&self) -> Result<Opened, connect::open::Error> {
        let limits = &self.settings.limits;
        let some = |count: u64| {
            NonZeroUsize::new(usize::try_from(count).unwrap_or(usize::MAX)).unwrap_or(NonZeroUsize::MIN)
        };
        let context = Context {
            pipeline: Name::new(&self.parts.pipeline.name),
            vertex: self.view.vertex.clone(),
            replica: self.number,
            user_code_directory: PathBuf::new(),
            secrets: self.parts.values.secrets().clone(),
            incidents: self.view.incidents.clone(),
            http_bind: self.parts.http_bind,
            limits: Limits {
                batch_messages: some(limits.read_batch_size),
                read_timeout: limits.read_timeout,
                concurrency: some(limits.concurrency),
            },
        };
        let surroundings = Surroundings {
            context,
            directories: &self.directories,
            graph: &self.parts.graph,
            buffer: self.parts.buffer.clone(),
            incarnation: self.parts.next_incarnation(),
            watermark: Watermark::default(),
            metrics: self.view.metrics.clone(),
            map: self.user_code("udf"),
            transformer: self.user_code("transformer"),
            sinks: self.native_sinks(),
        };
        let wired = wire(self.parts.part(&self.settings), surroundings).await?;
        let (worker, handle) = Worker::new(wired.setup);
        Ok(Opened { worker, handle, urls: wired.urls })
    }

    fn user_code(&self, container: &str) -> UserCode {
        match self.stand_ins.get(container) {
            Some(StandIn { code: Code::Map(make), .. }) => UserCode::Native(make(self.view.vertex.clone())),
            Some(StandIn { code: Code::Sink(_), .. }) | None => UserCode::Program,
        }
    }

    fn native_sinks(&self) -> BTreeMap<String, fn() -> Box<dyn model::door::sink::Sink>> {
        let sink = |(name, stand_in): (&String, &StandIn)| match stand_in.code {
            Code::Sink(make) => Some((name.clone(), make)),
            Code::Map(_) => None,
        };
        self.stand_ins.iter().filter_map(sink).collect()
    }

    /// Runs lives of the worker until told to finish or until the source has ended.
    pub(super) async fn run(
        self,
        first: Opened,
        mut desired: watch::Receiver<Desired>,
    ) -> Result<Outcome, Error> {
        let mut next = Some(first);
        let mut wait = AGAIN_FIRST;
        loop {
            let begun = Instant::now();
            let failure = match next.take() {
                Some(opened) => match self.live(opened, &mut desired).await {
                    Ok(outcome) => return Ok(outcome),
                    Err(error) => error.chain(),
                },
                None => match self.open().await {
                    Ok(opened) => {
                        next = Some(opened);
                        continue;
                    }
                    Err(error) => error.to_string(),
                },
            };
            wait = if begun.elapsed() > STEADY { AGAIN_FIRST } else { wait };
            self.report(&failure, wait);
            tokio::select! {
                () = tokio::time::sleep(wait) => {}
                () = told_to_finish(&mut desired) => {
                    // There is nothing in hand to finish.
                    return Ok(Outcome::Finished);
                }
            }
            wait = (wait * 2).min(AGAIN_MAX);
        }
    }

    /// One life, from orders to its end.
    async fn live(
        &self,
        opened: Opened,
        desired: &mut watch::Receiver<Desired>,
    ) -> Result<Outcome, model::door::Error> {
        let Opened { worker, handle, urls: _ } = opened;
        let units = self.units();
        let epoch = self.parts.next_epoch();
        handle.order(Orders {
            units: units.into_iter().map(|unit| (unit, epoch)).collect::<BTreeMap<Unit, Epoch>>(),
            stop: false,
        });
        *self.view.worker.lock().expect("nothing panics while the handle is locked") = Some(handle.clone());
        let running = worker.run();
        tokio::pin!(running);
        let ended = tokio::select! {
            ended = &mut running => ended,
            () = told_to_finish(desired) => {
                handle.stop();
                running.await
            }
        };
        *self.view.worker.lock().expect("nothing panics while the handle is locked") = None;
        Ok(match ended? {
            Ended::Stopped => Outcome::Finished,
            Ended::Exhausted => Outcome::Exhausted,
        })
    }

    /// The share of the vertex's units that falls to this replica. Every replica asks the same function with the same
    /// arguments, so that their answers fit together.
    fn units(&self) -> BTreeSet<Unit> {
        if self.settings.kind == VertexKind::Source {
            return BTreeSet::from([Unit::Source(u32::from(self.number))]);
        }
        let topology = self.parts.graph.topology(&self.settings.name).expect("the graph has every vertex");
        let slots = (0..u64::from(topology.slots())).map(|number| topology.slot(number));
        let units = slots.chain([Slot::RETRY]).map(Unit::Slot).collect();
        let all = plan::Revision { weight: 1, workers: (0..self.replicas).collect() };
        let owners = plan::assign(&units, &[all], &BTreeMap::new());
        owners.into_iter().filter(|(_, owner)| *owner == self.number).map(|(unit, _)| unit).collect()
    }

    fn report(&self, failure: &str, wait: Duration) {
        self.view.incidents.report(Incident {
            container: "numa".to_owned(),
            code: "worker-failed",
            message: format!("failed to {failure}; the worker is started again in {wait:?}"),
            details: String::new(),
            messages: Vec::new(),
            at: SystemTime::now(),
        });
    }
}

/// Returns when the replica shall finish, or when nobody is left who could say so.
async fn told_to_finish(desired: &mut watch::Receiver<Desired>) {
    drop(desired.wait_for(|desired| *desired == Desired::Finish).await);
}
