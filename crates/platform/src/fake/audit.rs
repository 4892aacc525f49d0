//! Judges plans and the world by what is true. It shares no code with the decisions. Invariant: it complains only about
//! what is wrong whatever anybody had seen.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use api::resolve::{UpdateKind, VertexKind, VertexSettings};
use plan::lifecycle::{Purpose, Stage};
use plan::seen::WorkerName;
use plan::{Piece, Plan};

use super::scenario::Scenario;
use super::world::World;

/// What is wrong.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Complaint {
    /// The seed of the life.
    pub seed: u64,
    /// The tick at which it was noticed.
    pub tick: u32,
    /// What, in a sentence.
    pub what: String,
}

impl fmt::Display for Complaint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "seed {}, tick {}: {}", self.seed, self.tick, self.what)
    }
}

/// Workers of each vertex that are not told to go.
pub(super) type There = BTreeMap<String, Vec<Standing>>;

/// How a worker stands.
#[derive(Clone, Debug)]
pub(super) struct Standing {
    pub(super) name: WorkerName,
    /// It is ready.
    pub(super) ready: bool,
    /// It has been for long enough to count.
    pub(super) proven: bool,
}

/// What must be so at every moment.
pub(super) fn world(world: &World) -> Result<(), String> {
    for (name, place) in &world.places {
        let mut owners: BTreeMap<u32, u32> = BTreeMap::new();
        for body in place.workers.values() {
            for (unit, _) in
                body.holds.iter().filter(|(unit, (epoch, _))| place.fence[**unit as usize] == *epoch)
            {
                *owners.entry(*unit).or_default() += 1;
            }
        }
        if let Some((unit, count)) = owners.into_iter().find(|(_, count)| *count > 1) {
            return Err(format!("unit {unit} of vertex {name} has {count} owners"));
        }
    }
    Ok(())
}

/// What must be so of a plan that was stored.
pub(super) fn plan(plan: &Plan, world: &World, scenario: &Scenario) -> Result<(), String> {
    let life = &plan.memory.lifecycle;
    if life.verdict.is_some() && life.stage != Stage::Running {
        let (inside, open) = (world.inside(), world.is_open());
        if inside > 0 || open {
            return Err(format!("it says drained with {inside} messages inside, sources open: {open}"));
        }
    }
    if life.stage == Stage::Running && life.verdict.is_some() {
        return Err("a verdict outlived its pause".to_owned());
    }
    for settings in &scenario.settings.vertices {
        let Some(status) = plan.vertices.get(&settings.name) else { continue };
        let bound = settings.ordered || settings.kind == VertexKind::Reduce;
        let (min, max) = (settings.scale.min, settings.scale.max);
        let desired = status.desired_replicas;
        if life.purpose == Purpose::Run
            && settings.scale.automatic
            && !bound
            && !(min..=max).contains(&desired)
        {
            return Err(format!(
                "vertex {} should have {desired} workers, and {min} to {max} are allowed",
                settings.name
            ));
        }
        let starts = plan
            .ensure
            .iter()
            .any(|piece| matches!(piece, Piece::Worker { vertex, .. } if *vertex == settings.name));
        if life.stage == Stage::Stopped && starts {
            return Err(format!("vertex {} has workers although everything is stopped", settings.name));
        }
    }
    Ok(())
}

/// What must be so of a plan that was made from a fresh look and done in full: `before` is how things stood at the look.
pub(super) fn done(plan: &Plan, before: &There, world: &World, scenario: &Scenario) -> Result<(), String> {
    for settings in &scenario.settings.vertices {
        let name = &settings.name;
        let Some(place) = world.places.get(name) else { continue };
        let wanted: BTreeSet<&WorkerName> = plan
            .ensure
            .iter()
            .filter_map(|piece| match piece {
                Piece::Worker { vertex, name: worker } if vertex == name => Some(worker),
                _ => None,
            })
            .collect();
        let unread: u64 = place.waiting.iter().sum();
        let stage = plan.memory.lifecycle.stage;
        let gap = settings.update.kind == UpdateKind::Recreate;
        let there = before.get(name).map_or(&[][..], Vec::as_slice);
        // Workers that cannot work may have to go before others can come.
        let gap = gap || !place.workers.is_empty() && !there.iter().any(|worker| worker.ready);
        let gap = gap || plan.memory.vertices.get(name).is_some_and(|memory| memory.thawed);
        if stage == Stage::Draining
            && !gap
            && settings.kind != VertexKind::Source
            && unread > 0
            && wanted.is_empty()
        {
            return Err(format!("vertex {name} is to drain {unread} messages without a worker"));
        }
        if stage != Stage::Running {
            continue;
        }
        let desired = plan.vertices.get(name).map_or(0, |status| status.desired_replicas);
        let known = plan.memory.vertices.get(name).map_or(&[][..], |memory| &memory.rollout.workers);
        let dismissed = known.iter().filter(|known| known.dismissed).count();
        let existing = place.workers.len().max(known.len());
        nobody(settings, desired, (existing, dismissed), wanted.is_empty())?;
        capacity(settings, desired, there, &wanted)?;
        ceiling(settings, desired, there, &wanted)?;
    }
    Ok(())
}

/// A vertex that runs has a worker, or is to have one, unless workers are in the way that exist, or may, because nobody
/// could see yet that an order to start them was lost. Those that a standstill sent away are only in the way of whoever
/// must not run beside them.
fn nobody(
    settings: &VertexSettings,
    desired: u32,
    (existing, dismissed): (usize, usize),
    none: bool,
) -> Result<(), String> {
    let alone = settings.update.kind == UpdateKind::Recreate || settings.ordered;
    let most = desired + settings.update.max_surge.of_rounded_up(desired);
    let full = existing.saturating_sub(dismissed) >= most as usize;
    if none && desired > 0 && !(alone && existing > 0 || full) {
        return Err(format!("it runs, and vertex {} is to have no worker of {desired}", settings.name));
    }
    Ok(())
}

/// A plan takes no more ready workers away than the strategy allows to be missing.
fn capacity(
    settings: &VertexSettings,
    desired: u32,
    before: &[Standing],
    wanted: &BTreeSet<&WorkerName>,
) -> Result<(), String> {
    let update = &settings.update;
    let bound = settings.ordered || settings.kind == VertexKind::Reduce;
    if update.kind == UpdateKind::Recreate || bound {
        return Ok(());
    }
    let mut missing = update.max_unavailable.of_rounded_down(desired);
    if missing == 0 && update.max_surge.of_rounded_up(desired) == 0 {
        missing = 1;
    }
    let floor = desired.saturating_sub(missing) as usize;
    let short = |counts: fn(&Standing) -> bool| {
        let had = before.iter().filter(|worker| counts(worker)).count();
        let keeps = before.iter().filter(|worker| counts(worker) && wanted.contains(&worker.name)).count();
        (keeps < floor.min(had)).then_some((keeps, had))
    };
    match (short(|worker| worker.ready), short(|worker| worker.proven)) {
        (Some((keeps, had)), Some(_)) => Err(format!(
            "vertex {} keeps {keeps} of {had} ready workers, and {floor} of {desired} must stay",
            settings.name
        )),
        (Some(_) | None, None) | (None, Some(_)) => Ok(()),
    }
}

/// A plan starts no worker above the most that may be there.
fn ceiling(
    settings: &VertexSettings,
    desired: u32,
    before: &[Standing],
    wanted: &BTreeSet<&WorkerName>,
) -> Result<(), String> {
    let surge = match settings.update.kind {
        UpdateKind::BlueGreen | UpdateKind::Canary => desired,
        UpdateKind::RollingUpdate | UpdateKind::Recreate => 0,
    };
    let most = (desired + surge + settings.update.max_surge.of_rounded_up(desired)) as usize;
    let starts = wanted.iter().any(|name| !before.iter().any(|there| there.name == **name));
    if starts && wanted.len() > most {
        return Err(format!(
            "vertex {} starts workers beyond {most}: {} for {desired}",
            settings.name,
            wanted.len()
        ));
    }
    Ok(())
}
