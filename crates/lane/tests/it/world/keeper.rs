//! Who owns what, decided badly on purpose: units move gracefully and without asking, two processes are given the same
//! number, old orders arrive late, processes are killed and suspended, leaders go away. In the end, calmly and rightly.

use std::sync::atomic::Ordering;
use std::time::Duration;

use model::{Name, UnitId};
use smol_str::SmolStr;

use super::place::{Assigned, Scene};
use crate::open::partitions;
use crate::sim::executor::Process;
use crate::sim::faults::between;

/// Processes of the scene itself; no life has such a number.
pub(crate) const KEEPER: Process = Process(1 << 40);
/// How long a graceful move waits for the former owner, at most.
const GRACE: Duration = Duration::from_millis(400);
/// The sink that stands still for a while.
pub(crate) const RESTING: &str = "side";
/// When everything that was told in the bad times has arrived.
pub(crate) const CALMED: Duration = Duration::from_secs(1);
/// How often the keeper looks whether a unit has an owner, once everything is calm.
const LOOK: Duration = Duration::from_millis(100);

#[derive(Clone, Copy)]
enum Act {
    Graceful,
    Hard,
    Twice,
    Stale,
    Kill,
    Suspend,
    CutOff,
    Leader,
    Space,
    Rewind,
    Recreate,
}

pub(crate) struct Keeper {
    scene: Scene,
    rng: fastrand::Rng,
    units: Vec<UnitId>,
    acts: Vec<Act>,
}

impl Keeper {
    pub(crate) fn new(scene: Scene, seed: u64) -> Self {
        let units = scene.plan.units();
        let trouble = scene.plan.trouble;
        let weights = [
            (Act::Graceful, trouble.graceful),
            (Act::Hard, trouble.hard),
            (Act::Twice, trouble.twice),
            (Act::Stale, trouble.stale),
            (Act::Kill, trouble.kill),
            (Act::Suspend, trouble.suspend),
            (Act::CutOff, trouble.cut_off),
            (Act::Leader, trouble.leader),
            (Act::Space, trouble.space),
            (Act::Rewind, trouble.rewind),
            (Act::Recreate, trouble.recreate),
        ];
        let acts = weights.iter().flat_map(|(act, weight)| vec![*act; *weight as usize]).collect();
        Self { scene, rng: fastrand::Rng::with_seed(seed ^ 0x6ee_9e55), units, acts }
    }

    /// Starts everything, then has things go wrong until it is killed.
    pub(crate) async fn meddle(mut self) {
        for host in 0..self.scene.plan.hosts {
            self.scene.start(host);
        }
        for unit in self.units.clone() {
            let host = self.rng.usize(..self.scene.plan.hosts);
            self.assign(&unit, host);
        }
        loop {
            let pause = between(&mut self.rng, Duration::from_millis(120));
            self.scene.world.sleep(pause).await;
            if let Some(act) = self.rng.choice(self.acts.clone()) {
                self.act(act).await;
            }
        }
    }

    async fn act(&mut self, act: Act) {
        let unit = self.rng.choice(&self.units).expect("there are units").clone();
        let host = self.rng.usize(..self.scene.plan.hosts);
        match act {
            Act::Graceful => self.move_gracefully(&unit, host).await,
            Act::Hard => {
                self.move_hard(&unit, host);
            }
            Act::Twice => {
                let epoch = self.move_hard(&unit, host);
                let other = self.rng.usize(..self.scene.plan.hosts);
                self.tell_later(&unit, other, epoch, Duration::from_millis(50));
            }
            Act::Stale => {
                let epoch = self.scene.table().units[&unit].epoch;
                let old = epoch.saturating_sub(self.rng.u64(..3));
                self.tell_later(&unit, host, old, Duration::from_millis(300));
            }
            Act::Kill => self.kill(host).await,
            Act::Suspend => self.suspend(host),
            Act::CutOff => {
                let lasts = between(&mut self.rng, Duration::from_secs(9));
                self.scene.cut_off(host, lasts);
                if self.rng.bool() {
                    self.rehouse(host);
                }
            }
            Act::Leader => {
                let lasts = between(&mut self.rng, Duration::from_millis(1500));
                let name = self.stream();
                self.scene.cluster.change_leader(&name, lasts);
            }
            Act::Space => {
                self.scene.cluster.set_space(false);
                let lasts = between(&mut self.rng, Duration::from_millis(700));
                let cluster = self.scene.cluster.clone();
                self.scene.world.later(lasts, Box::new(move || cluster.set_space(true)));
            }
            Act::Rewind => {
                let (name, vertex, partition) = self.partition();
                let (count, cluster) = (self.rng.u64(1..6), &self.scene.cluster);
                let last = cluster.rewind(&name, count);
                self.scene.ledger.gone(&vertex, partition, last, format!("{name} lost its last {count}"));
            }
            Act::Recreate => {
                let (name, vertex, partition) = self.partition();
                self.scene.cluster.recreate(&name);
                self.scene.ledger.gone(&vertex, partition, 0, format!("{name} was made again"));
            }
        }
    }

    fn stream(&mut self) -> String {
        let state = self.scene.cluster.lock();
        let names: Vec<_> = state.streams.keys().cloned().collect();
        self.rng.choice(names).expect("there are streams").to_string()
    }

    /// A stream of frames, and what it holds.
    fn partition(&mut self) -> (SmolStr, Name, u16) {
        let partitions = partitions(&self.scene.vertices);
        self.rng.choice(partitions).expect("there are partitions")
    }

    /// Assigns a unit under a number that is higher than all before.
    fn assign(&mut self, unit: &UnitId, host: usize) -> u64 {
        let epoch = {
            let mut table = self.scene.table();
            let former = table.units.get(unit).map_or(0, |assigned| assigned.epoch);
            let epoch = former + self.rng.u64(1..3);
            let assigned = Assigned { host, epoch, released: false, disowned: false };
            table.units.insert(unit.clone(), assigned);
            epoch
        };
        self.tell_later(unit, host, epoch, Duration::from_millis(5));
        epoch
    }

    fn tell_later(&mut self, unit: &UnitId, host: usize, epoch: u64, max: Duration) {
        let Some(life) = self.scene.table().hosts[host].life.clone() else { return };
        let unit = unit.clone();
        let delay = between(&mut self.rng, max);
        self.scene.world.later(delay, Box::new(move || life.orders.own(&unit, epoch)));
    }

    fn disown_later(&mut self, unit: &UnitId, host: usize, max: Duration) {
        let Some(life) = self.scene.table().hosts[host].life.clone() else { return };
        let unit = unit.clone();
        let delay = between(&mut self.rng, max);
        self.scene.world.later(delay, Box::new(move || life.orders.disown(&unit)));
    }

    async fn move_gracefully(&mut self, unit: &UnitId, host: usize) {
        let former = self.scene.table().units[unit];
        if former.host == host {
            return;
        }
        self.disown_later(unit, former.host, Duration::from_millis(5));
        let mut waited = Duration::ZERO;
        while waited < GRACE && !self.scene.table().units[unit].released {
            self.scene.world.sleep(Duration::from_millis(20)).await;
            waited += Duration::from_millis(20);
        }
        self.scene.ledger.lock().counts.moves += 1;
        self.assign(unit, host);
    }

    fn move_hard(&mut self, unit: &UnitId, host: usize) -> u64 {
        let former = self.scene.table().units[unit];
        if former.host != host {
            self.disown_later(unit, former.host, Duration::from_secs(1));
        }
        self.scene.ledger.lock().counts.moves += 1;
        self.assign(unit, host)
    }

    async fn kill(&mut self, host: usize) {
        self.scene.kill(host);
        let away = between(&mut self.rng, Duration::from_millis(300));
        self.scene.world.sleep(away).await;
        self.scene.start(host);
        self.rehouse(host);
    }

    fn suspend(&mut self, host: usize) {
        self.scene.suspend(host);
        let lasts = between(&mut self.rng, Duration::from_secs(8));
        let scene = self.scene.clone();
        self.scene.world.later(lasts, Box::new(move || scene.resume(host)));
        self.rehouse(host);
    }

    /// Gives the units of a host to others, or to the same anew.
    fn rehouse(&mut self, host: usize) {
        for unit in self.units.clone() {
            let assigned = self.scene.table().units[&unit];
            if assigned.host == host {
                let to = self.rng.usize(..self.scene.plan.hosts);
                self.move_hard(&unit, to);
            }
        }
    }

    /// Ends everything that goes wrong, gives every unit to somebody who lives, and again when it must.
    pub(crate) async fn calm(mut self) {
        self.scene.cluster.set_space(true);
        for host in 0..self.scene.plan.hosts {
            self.scene.resume(host);
            self.scene.cut_off(host, Duration::ZERO);
            let down = self.scene.table().hosts[host].life.is_none();
            if down {
                self.scene.start(host);
            }
        }
        // What was told before and is still under way has arrived by then.
        self.scene.world.sleep(CALMED).await;
        let mut resting = self.scene.plan.rests;
        for unit in self.units.clone() {
            let host = self.rng.usize(..self.scene.plan.hosts);
            for other in 0..self.scene.plan.hosts {
                self.disown_later(&unit, other, Duration::ZERO);
            }
            if !resting || unit.vertex != RESTING {
                self.assign(&unit, host);
            }
        }
        loop {
            self.scene.world.sleep(LOOK).await;
            let rested = resting && self.scene.rested.load(Ordering::Relaxed);
            for unit in self.units.clone().into_iter().filter(|unit| rested && unit.vertex == RESTING) {
                let host = self.rng.usize(..self.scene.plan.hosts);
                self.assign(&unit, host);
            }
            resting &= !rested;
            for unit in self.units.clone() {
                let assigned = self.scene.table().units[&unit];
                if assigned.disowned && !(resting && unit.vertex == RESTING) {
                    self.assign(&unit, assigned.host);
                }
            }
        }
    }
}
