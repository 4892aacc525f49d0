//! Hosts and the processes on them: started, told what they own, killed, suspended. A process opens the lanes, runs
//! their driver, and begins and ends units as it is told; what it is told may be late, wrong, or never come.

use std::collections::BTreeMap;
use std::sync::atomic::AtomicBool;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Poll, Waker};
use std::time::Duration;

use futures::channel::oneshot;
use futures::future::poll_fn;
use lane::Lanes;
use lane::broker::Broker;
use model::door::Class;
use model::door::buffer::VertexSettings;
use model::{Epoch, Incarnation, UnitId};
use tidegate_lane as lane;

use super::ledger::Ledger;
use super::plan::Plan;
use super::worker::{End, Worker};
use crate::open::open;
use crate::sim::client::SimBroker;
use crate::sim::cluster::Cluster;
use crate::sim::executor::{Process, World};

/// What a life consists of.
#[derive(Clone)]
pub(crate) struct Scene {
    pub(crate) world: World,
    pub(crate) cluster: Cluster,
    pub(crate) ledger: Ledger,
    pub(crate) plan: Arc<Plan>,
    pub(crate) vertices: Arc<Vec<VertexSettings>>,
    table: Arc<Mutex<Table>>,
    /// The sink that stands still may go on.
    pub(crate) rested: Arc<AtomicBool>,
}

/// Who is where and owns what.
pub(crate) struct Table {
    pub(crate) hosts: Vec<Host>,
    pub(crate) units: BTreeMap<UnitId, Assigned>,
    lives: u64,
    rng: fastrand::Rng,
}

pub(crate) struct Host {
    /// The life on it; none while it is down.
    pub(crate) life: Option<Life>,
    pub(crate) suspended: bool,
}

#[derive(Clone)]
pub(crate) struct Life {
    pub(crate) owner: Incarnation,
    pub(crate) orders: Orders,
    pub(crate) broker: SimBroker,
}

#[derive(Clone, Copy, Debug)]
pub(crate) struct Assigned {
    pub(crate) host: usize,
    pub(crate) epoch: u64,
    /// It was given up by its owner.
    pub(crate) released: bool,
    /// Its owner says that it is somebody else's.
    pub(crate) disowned: bool,
}

/// What a process is told to own.
#[derive(Clone, Default)]
pub(crate) struct Orders(Arc<Mutex<Told>>);

#[derive(Default)]
struct Told {
    units: BTreeMap<UnitId, u64>,
    version: u64,
    waker: Option<Waker>,
}

impl Orders {
    fn lock(&self) -> MutexGuard<'_, Told> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn change(&self, change: impl FnOnce(&mut BTreeMap<UnitId, u64>)) {
        let mut told = self.lock();
        change(&mut told.units);
        told.version += 1;
        if let Some(waker) = told.waker.take() {
            waker.wake();
        }
    }

    pub(crate) fn own(&self, unit: &UnitId, epoch: u64) {
        self.change(|units| {
            units.insert(unit.clone(), epoch);
        });
    }

    pub(crate) fn disown(&self, unit: &UnitId) {
        self.change(|units| {
            units.remove(unit);
        });
    }

    /// What is told once it is newer than a version.
    async fn after(&self, version: u64) -> (u64, BTreeMap<UnitId, u64>) {
        poll_fn(|context| {
            let mut told = self.lock();
            if told.version > version {
                return Poll::Ready((told.version, told.units.clone()));
            }
            told.waker = Some(context.waker().clone());
            Poll::Pending
        })
        .await
    }
}

impl Scene {
    pub(crate) fn new(world: World, cluster: Cluster, plan: Plan, seed: u64) -> Self {
        let hosts = (0..plan.hosts).map(|_| Host { life: None, suspended: false }).collect();
        let rng = fastrand::Rng::with_seed(seed ^ 0x0f_ab1e);
        let table = Table { hosts, units: BTreeMap::new(), lives: 0, rng };
        let vertices = Arc::new(plan.vertices());
        Self {
            world,
            cluster,
            ledger: Ledger::default(),
            plan: Arc::new(plan),
            vertices,
            table: Arc::new(Mutex::new(table)),
            rested: Arc::default(),
        }
    }

    pub(crate) fn table(&self) -> MutexGuard<'_, Table> {
        self.table.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn broker(&self) -> SimBroker {
        SimBroker::new(self.cluster.clone(), self.plan.message_bytes_max)
    }

    /// Begins a life on a host.
    pub(crate) fn start(&self, host: usize) {
        let broker = self.broker();
        let (life, rng) = {
            let mut table = self.table();
            table.lives += 1;
            let life = Life { owner: Incarnation(table.lives), orders: Orders::default(), broker };
            assert!(table.hosts[host].life.is_none(), "host {host} is free");
            table.hosts[host].life = Some(life.clone());
            (life, table.rng.fork())
        };
        let (process, scene) = (Process(life.owner.0), self.clone());
        self.world.spawn(process, async move { scene.live(host, life, rng).await });
    }

    /// Ends the life on a host where it is.
    pub(crate) fn kill(&self, host: usize) {
        let mut table = self.table();
        if let Some(life) = table.hosts[host].life.take() {
            self.world.kill(Process(life.owner.0));
            self.ledger.lock().counts.kills += 1;
        }
        table.hosts[host].suspended = false;
    }

    pub(crate) fn suspend(&self, host: usize) {
        let mut table = self.table();
        if let Some(life) = &table.hosts[host].life {
            self.world.suspend(Process(life.owner.0));
            self.ledger.lock().counts.suspensions += 1;
            table.hosts[host].suspended = true;
        }
    }

    /// Nothing gets through to or from a host for so long.
    pub(crate) fn cut_off(&self, host: usize, lasts: Duration) {
        if let Some(life) = &self.table().hosts[host].life {
            life.broker.cut_off(lasts);
            self.ledger.lock().counts.cut_off += 1;
        }
    }

    pub(crate) fn resume(&self, host: usize) {
        let mut table = self.table();
        if let Some(life) = &table.hosts[host].life {
            self.world.resume(Process(life.owner.0));
        }
        table.hosts[host].suspended = false;
    }

    /// Opens the lanes in a process and has their driver run.
    pub(crate) async fn open(
        &self,
        process: Process,
        name: &str,
        broker: &SimBroker,
    ) -> Option<Arc<Lanes<SimBroker>>> {
        loop {
            match open(broker.clone(), name, &self.vertices).await {
                Ok((lanes, driver)) => {
                    self.world.spawn(process, driver);
                    return Some(lanes);
                }
                Err(error) if error.class() == Class::Retry => {
                    broker.sleep(Duration::from_millis(50)).await;
                }
                Err(error) => {
                    self.ledger.fatal(format!("open: {}", error.chain()));
                    return None;
                }
            }
        }
    }

    async fn live(&self, host: usize, life: Life, mut rng: fastrand::Rng) {
        let process = Process(life.owner.0);
        let Some(lanes) = self.open(process, &format!("host-{host}"), &life.broker).await else { return };
        let mut running: BTreeMap<UnitId, (u64, oneshot::Sender<()>)> = BTreeMap::new();
        let mut version = 0;
        loop {
            let (told_version, told) = life.orders.after(version).await;
            version = told_version;
            running.retain(|unit, (epoch, _)| told.get(unit) == Some(epoch));
            for (unit, epoch) in told {
                if running.contains_key(&unit) {
                    continue;
                }
                let (sender, stop) = oneshot::channel();
                running.insert(unit.clone(), (epoch, sender));
                let worker = Worker {
                    lanes: lanes.clone(),
                    broker: life.broker.clone(),
                    ledger: self.ledger.clone(),
                    plan: self.plan.clone(),
                    owner: life.owner,
                    replica: host as u16,
                    unit: unit.clone(),
                    epoch: Epoch(epoch),
                    rng: rng.fork(),
                    stop,
                };
                let scene = self.clone();
                self.world.spawn(process, async move {
                    let end = worker.run().await;
                    scene.ended(host, &unit, epoch, end);
                });
            }
        }
    }

    /// A unit has ended in a process.
    fn ended(&self, host: usize, unit: &UnitId, epoch: u64, end: End) {
        let mut table = self.table();
        let assigned = table.units.get_mut(unit).expect("every unit is assigned");
        if assigned.host == host && assigned.epoch == epoch {
            assigned.released = true;
            assigned.disowned = end == End::Lost;
        }
    }
}
