//! One life of the fake object: wishes and faults for a while, then quiet, in which everything must come to what was wished
//! last. Invariant: the same seed lives the same life.

use std::collections::VecDeque;

use api::spec::{OnPauseTimeout, Phase};
use plan::Plan;
use plan::lifecycle::Purpose;
use plan::seen::{Seen, WorkerState};
use plan::status::Summary;

use super::audit::{self, Complaint};
use super::controller::{Controller, Faults, LOOKS, Store, Turn};
use super::scenario::Scenario;
use super::world::{Quality, World};

/// How long a life is and how finely it is looked at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Form {
    /// Ticks in which everything happens.
    wild: u32,
    /// Ticks in which nothing more happens and everything must come to rest.
    quiet: u32,
    /// Ticks for which things must be at rest.
    rest: u32,
    /// Milliseconds of a tick.
    tick_ms: i64,
    /// Of so many ticks all have an edit in the busiest life, nearly.
    calm: u8,
}

impl Form {
    /// Coarse and short, for many lives in little time.
    pub const SHORT: Self = Self { wild: 40, quiet: 360, rest: 3, tick_ms: 400, calm: 12 };
    /// Fine and long.
    pub const LONG: Self = Self { wild: 64, quiet: 480, rest: 4, tick_ms: 250, calm: 16 };
}

/// One life.
pub struct Life {
    seed: u64,
    form: Form,
    world: World,
    scenario: Scenario,
    store: Store,
    looks: VecDeque<Seen>,
    controllers: [Controller; 2],
    faults: Faults,
    report: Report,
}

/// What a life came to, to see what lives there are.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Report {
    /// Ticks until everything was at rest.
    pub ticks: u32,
    /// Plans that were stored.
    pub plans: u32,
    /// Times that a drain was found complete.
    pub drained: u32,
    /// It ended paused.
    pub paused: bool,
    /// It ended forgotten.
    pub forgotten: bool,
    /// A version was given up.
    pub rolled_back: bool,
    /// Messages that came through.
    pub sunk: u64,
}

impl Life {
    /// The life of a seed in a form, at its beginning.
    pub fn new(seed: u64, form: Form) -> Self {
        let mut random = fastrand::Rng::with_seed(seed);
        let scenario = Scenario::new(&mut random);
        let faults =
            Faults { late: random.bool(), crashes: random.bool(), loses: random.bool(), slow: random.bool() };
        Self {
            seed,
            form,
            world: World::new(&scenario.settings, random, form.tick_ms),
            scenario,
            store: Store::default(),
            looks: VecDeque::new(),
            controllers: [Controller::default(), Controller::default()],
            faults,
            report: Report::default(),
        }
    }

    /// Lives it.
    pub fn run(mut self) -> Result<Report, Complaint> {
        let supply = self.world.random.u64(0..6);
        let busy = self.world.random.u8(1..12);
        let quiet = Faults { late: false, crashes: false, loses: false, slow: false };
        let Form { wild, quiet: quiet_ticks, rest: rest_min, tick_ms: _, calm } = self.form;
        for tick in 0..wild {
            if self.world.random.u8(..calm) < busy && tick > 2 {
                self.edit();
            }
            self.misfortune();
            let faults = self.faults;
            self.step(supply, faults).map_err(|what| self.complain(tick, what))?;
            if self.world.forgotten {
                return Ok(self.report(tick));
            }
        }
        for body in self.world.places.values_mut().flat_map(|place| place.workers.values_mut()) {
            body.hangs_until = self.world.now;
        }
        let mut rest = 0;
        let mut unrest = String::new();
        for tick in wild..wild + quiet_ticks {
            let plan = self.step(0, quiet).map_err(|what| self.complain(tick, what))?;
            if self.world.forgotten {
                return Ok(self.report(tick));
            }
            match plan.map(|plan| self.judge_rest(&plan)) {
                Some(Ok(())) => rest += 1,
                Some(Err(what)) => (rest, unrest) = (0, what),
                None => {}
            }
            if rest >= rest_min {
                return Ok(self.report(tick));
            }
        }
        Err(self.complain(wild + quiet_ticks, format!("it does not come to rest: {unrest}")))
    }

    fn complain(&self, tick: u32, what: String) -> Complaint {
        Complaint { seed: self.seed, tick, what }
    }

    fn report(&self, ticks: u32) -> Report {
        let mut report = self.report;
        report.ticks = ticks;
        report.paused = self.store.memory.lifecycle.purpose == Purpose::Pause;
        (report.forgotten, report.sunk) = (self.world.forgotten, self.world.sunk);
        report
    }

    fn edit(&mut self) {
        let now = self.world.now;
        if let Some((revision, quality)) = self.scenario.edit(&mut self.world.random, now) {
            self.world.quality.insert(revision, quality);
        }
        if self.world.random.u8(..6) == 0 {
            self.world.supply(40);
        }
    }

    /// Workers crash and hang, controllers crash.
    fn misfortune(&mut self) {
        let World { random, places, now, tick_ms, .. } = &mut self.world;
        for place in places.values_mut() {
            let names: Vec<_> = place.workers.keys().cloned().collect();
            for name in names {
                let luck = random.u16(..400);
                if luck == 0 {
                    place.lose(&name);
                    place.workers.remove(&name);
                } else if luck == 1 {
                    place.lose(&name);
                    let body = place.workers.get_mut(&name).expect("it was listed");
                    if body.state == WorkerState::Ready {
                        body.state = WorkerState::Failing { reason: "out of memory".to_owned() };
                        body.since = *now;
                        body.restarts += 1;
                    }
                } else if luck == 2 {
                    let until = now.millis() + random.i64(2..30) * *tick_ms;
                    place.workers.get_mut(&name).expect("it was listed").hangs_until =
                        plan::Time::from_millis(until);
                }
            }
        }
        if self.world.random.u8(..50) == 0 {
            let which = self.world.random.usize(..2);
            self.controllers[which].crash();
        }
    }

    /// One tick of everything. Gives the plan of the controller that is in charge, if it made one.
    fn step(&mut self, supply: u64, faults: Faults) -> Result<Option<Plan>, String> {
        self.world.tick(supply);
        self.world.keep();
        audit::world(&self.world)?;
        if self.looks.len() == LOOKS {
            self.looks.pop_front();
        }
        self.looks.push_back(self.world.look());
        // The second controller is at work only now and then, and slowly.
        let second = faults.slow && self.world.random.u8(..6) == 0;
        let mut last = None;
        for index in 0..=usize::from(second) {
            let faults = Faults { slow: faults.slow && index == 1, ..faults };
            let number = self.store.memory.lifecycle.verdict.is_some();
            let controller = &mut self.controllers[index];
            let turn =
                controller.turn(&mut self.world, &mut self.scenario, (&mut self.store, &self.looks), faults);
            match turn {
                Turn::Nothing => {}
                Turn::Wrong(what) => return Err(what),
                Turn::Planned { plan, whole, before } => {
                    self.report.plans += 1;
                    self.report.drained += u32::from(!number && plan.memory.lifecycle.verdict.is_some());
                    self.report.rolled_back |= matches!(plan.phase, Summary::RolledBack { .. });
                    audit::plan(&plan, &self.world, &self.scenario)?;
                    if whole && !self.faults.slow {
                        audit::done(&plan, &before, &self.world, &self.scenario)?;
                    }
                    if index == 0 {
                        last = Some(*plan);
                    }
                }
            }
        }
        Ok(last)
    }

    /// Whether everything is as it was wished last.
    fn judge_rest(&self, plan: &Plan) -> Result<(), String> {
        let life = &plan.memory.lifecycle;
        let wanted = self.scenario.wanted();
        let settings = &self.scenario.settings;
        // Where no version ever worked, nothing can come to rest; that it says so is judged elsewhere.
        let lost = settings.vertices.iter().any(|vertex| self.is_lost(plan, &vertex.name));
        if lost && life.purpose != Purpose::Run {
            return Ok(());
        }
        let wish = match wanted.deletion {
            Some(_) => {
                return Err(format!("it is deleted and still there, {}: {:?}", plan.phase, plan.waiting));
            }
            None if settings.lifecycle.paused && life.gave_up.is_none() => Purpose::Pause,
            None if wanted.reshape => {
                return Err(format!("the other shape still waits, {}: {:?}", plan.phase, plan.waiting));
            }
            None => Purpose::Run,
        };
        if life.purpose != wish {
            return Err(format!("it is wished to {wish:?} and does {:?}", life.purpose));
        }
        if wish == Purpose::Pause {
            return self.judge_pause(plan);
        }
        for vertex in &settings.vertices {
            let place = &self.world.places[&vertex.name];
            let ready = place.workers.values().filter(|body| body.state == WorkerState::Ready).count();
            let desired = plan.vertices[&vertex.name].desired_replicas as usize;
            if self.is_lost(plan, &vertex.name) {
                continue;
            }
            if ready != desired {
                return Err(format!(
                    "vertex {} has {ready} ready workers of {desired}, {}: {:?}",
                    vertex.name, plan.phase, plan.waiting
                ));
            }
            let kept = vertex.scale.min > 0 || vertex.ordered;
            if desired == 0 && kept && vertex.scale.automatic {
                return Err(format!("it runs, and vertex {} has no worker", vertex.name));
            }
            if place.kind == api::resolve::VertexKind::Source && !place.reading.0 {
                return Err(format!("it runs, and vertex {} does not read", vertex.name));
            }
            let bad = |revision: &api::revision::Revision| {
                self.world.quality.get(revision).is_some_and(|quality| *quality != Quality::Good)
            };
            if place.shares.iter().any(|(revision, weight)| *weight > 0 && bad(revision)) && desired > 0 {
                return Err(format!("a version that does not work serves in vertex {}", vertex.name));
            }
        }
        match &plan.phase {
            Summary::Running | Summary::RolledBack { .. } => Ok(()),
            Summary::Failed { .. }
                if settings.vertices.iter().any(|vertex| self.is_lost(plan, &vertex.name)) =>
            {
                Ok(())
            }
            other => Err(format!("it runs, and says {other}")),
        }
    }

    /// Whether no version of the vertex has ever worked, or somebody insisted on one that does not.
    fn is_lost(&self, plan: &Plan, vertex: &str) -> bool {
        let insisted = self.scenario.asked.get(vertex).is_some_and(|asked| asked.word.is_some());
        let rollout = &plan.memory.vertices[vertex].rollout;
        let bad = self
            .world
            .quality
            .get(&self.scenario.revisions[vertex])
            .is_some_and(|quality| *quality != Quality::Good);
        bad && (insisted || rollout.stable.is_none())
    }

    fn judge_pause(&self, plan: &Plan) -> Result<(), String> {
        let keeps = self.scenario.settings.lifecycle.on_pause_timeout == OnPauseTimeout::Keep;
        let drained = plan.status.drained_on_pause() == Some(true);
        let inside = self.world.inside();
        let workers = self.world.places.values().map(|place| place.workers.len()).sum::<usize>();
        if plan.status.phase() != Phase::Paused || (drained || keeps) && workers > 0 {
            return Err(format!(
                "it is not paused: {} with {workers} workers: {:?}",
                plan.phase, plan.waiting
            ));
        }
        if !drained && (!keeps || inside == 0) {
            return Err(format!(
                "it is not drained with {inside} messages inside, {}: {:?}",
                plan.phase, plan.waiting
            ));
        }
        Ok(())
    }
}
