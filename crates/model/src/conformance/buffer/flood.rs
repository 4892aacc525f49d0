//! A flood of numbers through three vertices while units change hands: every number arrives exactly once, in order,
//! whoever owned what when.
//!
//! Two source units write numbers to the slots of `map`; its units read them, send some back to the retry slot, and
//! commit the rest to `out` and every third also to `side`; sinks read both. Meanwhile an assigner moves units between
//! owners by the seed: after a graceful release, without asking, while the owner is suspended (it wakes later and must
//! find itself refused), to two claimants at once; and now and then everything is killed and starts again.
//!
//! Every call is checked against a [`Ledger`](ledger::Ledger): positions never go back, what was acknowledged is there,
//! a frame reads the same each time, no number is stored twice, and no commit that began after another had claimed the
//! unit is stored.

use std::sync::Arc;
use std::sync::atomic::AtomicU64;

use super::Bench;
use super::kit::{Owner, levels, slot_unit, source, vertex};
use crate::door::Class;
use crate::door::buffer::{Buffer, VertexSettings};
use crate::{Slot, Topology, UnitId};

mod assigner;
mod ledger;
mod roles;

use assigner::Assigner;
use ledger::Ledger;

/// Source units.
const SOURCES: u32 = 2;
/// Numbers of each source unit.
const NUMBERS: u64 = 120;
/// Messages that may lie in one partition: few, so that writers often wait.
const LIMIT: u64 = 24;
const TOPOLOGY: Topology = Topology { partitions: 2, slots_per_partition: 2 };

/// The epoch and owner of the last look at everything.
const LAST: u64 = 1 << 40;
const LAST_LIVES_MAX: u32 = 100;

/// What a flood came to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Outcome {
    /// Changes of ownership, restarts included.
    pub moves: u64,
    /// Times everything was killed.
    pub restarts: u64,
    /// Commits that were stored.
    pub commits: u64,
}

/// What the tasks of one flood share.
struct Flood {
    ledger: Ledger,
    /// Grows with every call that was answered.
    events: AtomicU64,
}

fn flood_world() -> Vec<VertexSettings> {
    let narrow = |text| VertexSettings {
        messages_max: LIMIT,
        ..vertex(text, TOPOLOGY.partitions, TOPOLOGY.slots_per_partition)
    };
    vec![vertex("in", 1, 1), narrow("map"), narrow("out"), narrow("side")]
}

/// All units that have work.
fn units() -> Vec<UnitId> {
    let mut units: Vec<_> = (0..SOURCES).map(|number| source("in", number)).collect();
    for vertex in ["map", "out", "side"] {
        units.extend((0..u64::from(TOPOLOGY.slots())).map(|at| slot_unit(vertex, TOPOLOGY.slot(at))));
    }
    units.push(slot_unit("map", Slot::RETRY));
    units
}

/// Runs one flood. The seed decides about every move; on a bench that runs on one thread it decides about everything.
pub async fn flood(bench: &dyn Bench, seed: u64) -> Outcome {
    let world = flood_world();
    let shared = Arc::new(Flood { ledger: Ledger::default(), events: AtomicU64::new(0) });
    let buffer = bench.open(&world).await;
    let mut assigner = Assigner::new(bench, buffer, shared.clone(), seed);
    assigner.run().await;
    let (mut buffer, moves, restarts) = assigner.finish(&world).await;
    shared.ledger.expect_all();
    expect_empty(&buffer, &world).await;
    drop(buffer);
    for _ in 0..LAST_LIVES_MAX {
        buffer = bench.restart().await;
        if check_positions(&buffer, &shared.ledger).await {
            expect_empty(&buffer, &world).await;
            return Outcome { moves, restarts, commits: shared.ledger.commits() };
        }
        assert!(bench.may_die(), "a life ended though its storage is sound");
        drop(buffer);
    }
    panic!("{LAST_LIVES_MAX} lives ended by themselves, one after the other");
}

async fn expect_empty(buffer: &Arc<dyn Buffer>, world: &[VertexSettings]) {
    for vertex in &world[1..] {
        for level in levels(buffer, vertex).await {
            assert_eq!((level.frames, level.messages, level.bytes), (0, 0, 0), "{} is empty", level.place);
        }
    }
}

/// In a last life every unit is where it was. False when the life ended in between.
async fn check_positions(buffer: &Arc<dyn Buffer>, ledger: &Ledger) -> bool {
    for unit in units() {
        match Owner::try_claim(buffer, &unit, LAST, LAST).await {
            Ok(last) => ledger.expect_progress(&unit, &last.progress),
            Err(error) if error.class() == Class::Fatal => return false,
            Err(error) => panic!("claim {unit}: {}", error.chain()),
        }
    }
    true
}
