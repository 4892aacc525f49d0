//! Looks at everything once nothing goes wrong any more: at levels while one sink stands still, at surveys until one
//! says that nothing is inside, and then once more at every unit.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use futures::future::{Either, select};
use lane::Lanes;
use lane::broker::Broker;
use model::door::Class;
use model::door::buffer::{Buffer, Claim, Claimed, Level, Reader, Survey};
use model::{Epoch, Incarnation, Place, Unit, UnitId};
use tidegate_lane as lane;

use super::keeper::{CALMED, RESTING};
use super::ledger::Held;
use super::place::Scene;
use super::{INSPECTOR, survey};
use crate::sim::client::SimBroker;

/// Whoever looks claims as this.
const OWNER: Incarnation = Incarnation(1 << 40);
/// How long a slot is watched in which nothing more must be.
const SILENCE: Duration = Duration::from_secs(2);
/// How long nothing may change until everything is taken to have come to rest.
const REST: Duration = Duration::from_secs(4);
/// How often a claim is tried.
const CLAIMS_MAX: u32 = 100;

struct Inspector {
    scene: Scene,
    lanes: Arc<Lanes<SimBroker>>,
    broker: SimBroker,
}

/// Waits until a survey says that everything is settled and the sources are at their end; then has the last look.
pub(super) async fn inspect(scene: Scene, done: Arc<AtomicBool>) {
    let broker = scene.broker();
    let Some(lanes) = scene.open(INSPECTOR, "inspector", &broker).await else { return };
    let inspector = Inspector { scene, lanes, broker };
    if inspector.run().await.is_some() {
        done.store(true, Ordering::Relaxed);
    }
}

impl Inspector {
    /// None when somebody cannot go on.
    async fn run(&self) -> Option<()> {
        let Self { scene, broker, .. } = self;
        // The last assignments are made by then.
        broker.sleep(2 * CALMED).await;
        if scene.plan.rests {
            self.look_at_rest().await?;
            scene.rested.store(true, Ordering::Relaxed);
        }
        loop {
            broker.sleep(Duration::from_millis(200)).await;
            let at_end = scene.ledger.sources_are_at(scene.plan.sources, scene.plan.inputs);
            if self.survey().await.is_some_and(|(_, empty)| empty && at_end) {
                break;
            }
        }
        for unit in scene.plan.units() {
            if matches!(unit.unit, Unit::Source(_)) {
                self.seal(&unit).await?;
            }
            let (mut held, mut claimed) = self.claim(&unit).await?;
            if let (Some(reader), Unit::Slot(slot)) = (&mut claimed.reader, unit.unit) {
                let place = Place { vertex: unit.vertex.clone(), slot };
                let (frames, _) = self.count(&mut held, reader, &place).await;
                assert_eq!(frames, 0, "{unit}: frames are left though all is settled");
            }
        }
        Some(())
    }

    /// The survey, and whether it says that nothing is inside.
    async fn survey(&self) -> Option<(Survey, bool)> {
        let surveying = self.scene.ledger.survey_begins();
        let survey = survey(&self.scene.ledger, &self.lanes).await?;
        let empty = self.scene.ledger.surveyed(surveying, &survey);
        Some((survey, empty))
    }

    /// While one sink stands still everything else comes to rest, and its levels say exactly what lies there. Its slots
    /// have an owner, who reads nothing: what nobody owns nobody speaks of, and writers wait for it.
    async fn look_at_rest(&self) -> Option<()> {
        let mut owned = Vec::new();
        for unit in self.scene.plan.units().into_iter().filter(|unit| unit.vertex == RESTING) {
            owned.push(self.claim(&unit).await?);
        }
        let mut former = None;
        let rest = loop {
            self.broker.sleep(REST).await;
            let now = self.survey().await.map(|(survey, _)| survey);
            if now.is_some() && now == former {
                break now?;
            }
            former = now;
        };
        for (mut held, mut claimed) in owned {
            let Unit::Slot(slot) = held.unit.unit else { continue };
            let place = Place { vertex: held.unit.vertex.clone(), slot };
            let level = rest.slot(&place).map(|slot| slot.level.clone());
            let Some(Level { frames, messages, progress, .. }) = level else {
                panic!("{place} is in every survey");
            };
            assert_eq!(claimed.progress, progress, "{place}: a survey says how far it is");
            let reader = claimed.reader.as_mut().expect("a slot has a reader");
            let (found, left) = self.count(&mut held, reader, &place).await;
            let left = left - u64::from(progress.position.index);
            assert_eq!((frames, messages), (found, left), "{place}: a survey says what lies there");
        }
        Some(())
    }

    /// How many frames there are to be read, and the messages in them.
    async fn count(&self, held: &mut Held, reader: &mut Box<dyn Reader>, place: &Place) -> (u64, u64) {
        let (mut frames, mut messages) = (0, 0);
        loop {
            match select(reader.read(1000), self.broker.sleep(SILENCE)).await {
                Either::Right(_) => return (frames, messages),
                Either::Left((Ok(read), _)) => {
                    self.scene.ledger.read(held, place, &read);
                    frames += read.len() as u64;
                    messages += read.iter().map(|stored| u64::from(stored.frame.header.count)).sum::<u64>();
                }
                Either::Left((Err(error), _)) => {
                    let known = self.scene.ledger.lock().units[&held.unit].epoch;
                    panic!("read {place} under {:?}, claimed under {known:?}: {}", held.epoch, error.chain())
                }
            }
        }
    }

    fn claim_above(&self, unit: &UnitId) -> Claim {
        let mut table = self.scene.table();
        let assigned = table.units.get_mut(unit).expect("every unit is assigned");
        assigned.epoch += 1000;
        Claim { unit: unit.clone(), owner: OWNER, replica: 0, epoch: Epoch(assigned.epoch) }
    }

    async fn seal(&self, unit: &UnitId) -> Option<()> {
        let claim = self.claim_above(unit);
        for _ in 0..CLAIMS_MAX {
            match self.lanes.seal(claim.clone()).await {
                Ok(progress) => {
                    self.scene.ledger.claimed(unit, claim.epoch, &progress);
                    return Some(());
                }
                Err(error) if error.class() == Class::Retry => {}
                Err(error) => {
                    self.scene.ledger.fatal(format!("the seal of {unit}: {}", error.chain()));
                    return None;
                }
            }
        }
        panic!("{unit}: {CLAIMS_MAX} seals were to be repeated");
    }

    async fn claim(&self, unit: &UnitId) -> Option<(Held, Claimed)> {
        let claim = self.claim_above(unit);
        for _ in 0..CLAIMS_MAX {
            match self.lanes.claim(claim.clone()).await {
                Ok(claimed) => {
                    let held = self.scene.ledger.claimed(unit, claim.epoch, &claimed.progress);
                    return Some((held, claimed));
                }
                Err(error) if error.class() == Class::Retry => {}
                Err(error) => {
                    self.scene.ledger.fatal(format!("the claim of {unit}: {}", error.chain()));
                    return None;
                }
            }
        }
        panic!("{unit}: {CLAIMS_MAX} claims were to be repeated");
    }
}
