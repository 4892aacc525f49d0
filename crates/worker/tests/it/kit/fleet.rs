//! Several workers of one vertex whose units are moved about, and a source whose worker is replaced.

use std::collections::BTreeMap;
use std::sync::Arc;

use model::{Epoch, Unit};
use worker::{Hand, Orders, Setup};

use super::gated::Gated;
use super::maps::Scripted;
use super::sources::Outside;
use super::{Gate, Running, World, call, source_unit, until};

/// One worker, running or suspended.
pub(crate) struct Member {
    pub(crate) running: Running,
    gate: Gate,
    units: BTreeMap<Unit, Epoch>,
}

impl Member {
    fn start(world: &World, mut setup: Setup, units: BTreeMap<Unit, Epoch>) -> Self {
        let gate = Gate::opened();
        setup.buffer = Some(Arc::new(Gated { inner: world.buffer.clone(), gate: gate.clone() }));
        setup.redelivery.delay_min = std::time::Duration::ZERO;
        let running = Running::start(setup, Orders { units: units.clone(), stop: false });
        Self { running, gate, units }
    }

    fn order(&self) {
        self.running.handle.order(Orders { units: self.units.clone(), stop: false });
    }
}

/// The workers of the vertex `map` and of the vertex `in`.
pub(crate) struct Fleet {
    pub(crate) world: World,
    pub(crate) outside: Outside,
    pub(crate) map: Scripted,
    pub(crate) maps: Vec<Member>,
    /// The last one reads; the ones before it are suspended.
    pub(crate) sources: Vec<Member>,
    random: fastrand::Rng,
}

impl Fleet {
    pub(crate) fn start(world: World, outside: Outside, map: Scripted, random: fastrand::Rng) -> Self {
        let mut fleet = Self { world, outside, map, maps: Vec::new(), sources: Vec::new(), random };
        fleet.begin();
        fleet
    }

    /// Starts a source and two or three maps that share the units.
    fn begin(&mut self) {
        self.replace_source();
        for _ in 0..self.random.usize(2..4) {
            let member = self.map_worker();
            self.maps.push(member);
        }
        self.share_out(&self.world.units("map"));
    }

    fn map_worker(&self) -> Member {
        let mut setup = self.world.map("map", self.map.clone(), vec![self.world.edge("out")]);
        setup.limits.batch_messages = 7;
        Member::start(&self.world, setup, BTreeMap::new())
    }

    /// Gives units to random workers under higher numbers; nobody is asked.
    fn share_out(&mut self, units: &[Unit]) {
        for unit in units {
            let to = self.random.usize(..self.maps.len());
            let epoch = self.world.epoch();
            self.maps[to].units.insert(*unit, epoch);
        }
        for member in &self.maps {
            member.order();
        }
    }

    fn some_units(&mut self) -> Vec<Unit> {
        let mut units = self.world.units("map");
        units.retain(|_| self.random.bool());
        units
    }

    /// Moves some units in order: whoever has them lets go first.
    pub(crate) async fn move_in_order(&mut self) {
        let units = self.some_units();
        for member in &mut self.maps {
            member.units.retain(|unit, _| !units.contains(unit));
            member.order();
        }
        let released =
            |member: &Member| !member.running.handle.report().iter().any(|unit| units.contains(&unit.unit));
        until("units are released", async || self.maps.iter().all(released)).await;
        self.share_out(&units);
    }

    /// Takes some units away without asking; whoever had them hears of it some time later.
    pub(crate) async fn take_away(&mut self) {
        let units = self.some_units();
        let former: Vec<_> = self.maps.iter().map(|member| member.units.clone()).collect();
        self.share_out(&units);
        self.turns().await;
        for (member, former) in self.maps.iter_mut().zip(former) {
            member.units.retain(|unit, epoch| !units.contains(unit) || former.get(unit) != Some(epoch));
            member.order();
        }
    }

    /// Suspends a worker, gives what it had to the others, and lets it go on later.
    pub(crate) async fn suspend(&mut self) {
        let at = self.random.usize(..self.maps.len());
        let mut zombie = self.maps.swap_remove(at);
        zombie.gate.close();
        self.turns().await;
        let units: Vec<_> = zombie.units.keys().copied().collect();
        self.share_out(&units);
        self.turns().await;
        zombie.gate.open();
        self.turns().await;
        zombie.units.clear();
        zombie.order();
        self.maps.push(zombie);
    }

    /// Ends a worker at whatever it is doing and starts another in its place.
    pub(crate) async fn crash(&mut self) {
        let at = self.random.usize(..self.maps.len());
        let dead = self.maps.swap_remove(at);
        let units: Vec<_> = dead.units.keys().copied().collect();
        dead.running.crash().await;
        let member = self.map_worker();
        self.maps.push(member);
        self.share_out(&units);
    }

    fn replace_source(&mut self) {
        let mut setup = self.world.source("in", self.outside.open(), vec![self.world.edge("map")]);
        setup.transform = Some(call(super::maps::cat()));
        setup.limits.batch_messages = 11;
        let units = source_unit().into_iter().map(|unit| (unit, self.world.epoch())).collect();
        let member = Member::start(&self.world, setup, units);
        self.sources.push(member);
    }

    /// Ends the source's worker and starts another.
    pub(crate) async fn crash_source(&mut self) {
        let dead = self.sources.pop().unwrap();
        dead.running.crash().await;
        self.replace_source();
    }

    /// Suspends the source's worker, starts another, and lets the former go on later.
    pub(crate) async fn suspend_source(&mut self) {
        let zombie = self.sources.pop().unwrap();
        zombie.gate.close();
        self.turns().await;
        self.replace_source();
        self.turns().await;
        zombie.gate.open();
        self.sources.insert(0, zombie);
    }

    /// The end of the whole process and another life.
    pub(crate) async fn crash_all(&mut self) {
        for member in self.maps.drain(..).chain(self.sources.drain(..)) {
            member.running.crash().await;
        }
        let seed = self.random.u64(..);
        self.world.restart(seed).await;
        self.begin();
    }

    /// Everybody else has some turns.
    pub(crate) async fn turns(&mut self) {
        for _ in 0..self.random.u32(0..60) {
            tokio::task::yield_now().await;
        }
        if self.random.u8(0..4) == 0 {
            tokio::time::sleep(std::time::Duration::from_millis(1)).await;
        }
    }
}
