//! The life of a pipeline on a broker and in a place where everything goes wrong by a seed, and then nothing does: a
//! source, a map that fans out, retries and goes round, two sinks, in processes that come and go. Whatever happened,
//! when nothing goes wrong any more everything arrives, exactly once, in bounded time. Invariant: the seed and the plan
//! decide everything.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use lane::Lanes;
use lane::broker::Broker;
use model::door::Class;
use model::door::buffer::{Buffer, Survey};
use tidegate_lane as lane;

use crate::open::create_streams;
use crate::sim::client::SimBroker;
use crate::sim::cluster::Cluster;
use crate::sim::executor::{Executor, Process};
use crate::sim::faults::{Faults, between};
use crate::sim::ground::Ground;

mod inspector;
mod keeper;
mod ledger;
mod place;
mod plan;
mod roles;
mod token;
mod verdict;
mod worker;

use inspector::inspect;
use keeper::{KEEPER, Keeper};
pub(crate) use ledger::Counts;
use ledger::Ledger;
use place::Scene;
pub(crate) use plan::Plan;

/// Looks on, and asks whether anything is inside.
const WATCHER: Process = Process((1 << 40) + 1);
/// Has the last look.
const INSPECTOR: Process = Process((1 << 40) + 2);
/// How long it may take until everything has arrived once nothing goes wrong any more.
const BOUND: Duration = Duration::from_mins(3);

/// What a life came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Report {
    pub(crate) counts: Counts,
    pub(crate) turns: u64,
    /// How long it took.
    pub(crate) lasted: Duration,
    /// Whether somebody said that it cannot go on.
    pub(crate) halted: bool,
}

/// Lives one life; panics when anything is not as it must be.
pub(crate) fn live(seed: u64, plan: Plan) -> Report {
    let mut executor = Executor::new(seed);
    let world = executor.world();
    let cluster = Cluster::new(Ground::World(world.clone()), seed, plan.faults);
    create_streams(&cluster, &plan.vertices());
    if let Some(broken) = plan.broken {
        cluster.break_rule(broken);
    }
    let chaos = plan.chaos;
    let may_halt = plan.trouble.rewind + plan.trouble.recreate > 0 || plan.broken.is_some();
    let scene = Scene::new(world.clone(), cluster.clone(), plan, seed);
    scene.ledger.lock().lenient = may_halt;
    world.spawn(KEEPER, Keeper::new(scene.clone(), seed).meddle());
    world.spawn(WATCHER, watch(scene.clone(), fastrand::Rng::with_seed(seed ^ 0x3a7c)));
    let fatal = || scene.ledger.lock().fatal.clone();
    let mut halted = executor.run(chaos, || fatal().is_some());
    world.kill(KEEPER);
    world.kill(WATCHER);
    cluster.set_faults(Faults::CALM);
    let done = Arc::new(AtomicBool::new(false));
    if !halted {
        world.spawn(KEEPER, Keeper::new(scene.clone(), seed ^ 1).calm());
        world.spawn(INSPECTOR, inspect(scene.clone(), done.clone()));
        let ended = executor.run(chaos + BOUND, || done.load(Ordering::Relaxed) || fatal().is_some());
        halted = fatal().is_some();
        let wrong = scene.ledger.lock().wrong.clone();
        assert!(ended, "stuck: {} {wrong:?}", stuck(&scene));
    }
    if let Some(text) = fatal() {
        assert!(may_halt, "nobody took anything away, and yet: {text}");
    } else {
        let (taken, wrong) = {
            let book = scene.ledger.lock();
            (book.taken.clone(), book.wrong.clone())
        };
        if scene.plan.trouble.rewind > 0 {
            verdict::check_all_is_read(&scene.ledger);
        } else {
            assert!(wrong.is_none(), "{taken:?}; nobody says so, but {wrong:?}");
            verdict::check(&scene.ledger, &scene.plan);
        }
    }
    let counts = scene.ledger.lock().counts;
    Report { counts, turns: executor.turns(), lasted: world.now(), halted }
}

/// Surveys while things go wrong.
async fn watch(scene: Scene, mut rng: fastrand::Rng) {
    let broker = scene.broker();
    let Some(lanes) = scene.open(WATCHER, "watcher", &broker).await else { return };
    loop {
        broker.sleep(between(&mut rng, Duration::from_millis(60))).await;
        let began = scene.ledger.survey_begins();
        if let Some(survey) = survey(&scene.ledger, &lanes).await {
            scene.ledger.surveyed(began, &survey);
        }
    }
}

async fn survey(ledger: &Ledger, lanes: &Arc<Lanes<SimBroker>>) -> Option<Survey> {
    match lanes.survey().await {
        Ok(survey) => Some(survey),
        Err(error) if error.class() == Class::Retry => None,
        Err(error) => {
            ledger.fatal(format!("survey: {}", error.chain()));
            None
        }
    }
}

/// What to look at when nothing goes on.
fn stuck(scene: &Scene) -> String {
    let book = scene.ledger.lock();
    let ends: Vec<_> = book
        .units
        .iter()
        .map(|(unit, known)| (unit.to_string(), known.epoch.0, &known.floor.position))
        .collect();
    let slots: Vec<_> = book
        .slots
        .iter()
        .map(|(place, frames)| (place.to_string(), frames.last_key_value().map(|(sequence, _)| *sequence)))
        .collect();
    let table = scene.table();
    format!("units {ends:?}\nslots {slots:?}\nassigned {:?}\nplan {:?}", table.units, scene.plan)
}
