//! One scripted life with everything in it (new segments, checkpoints, moves, settlements, a full disk, closing
//! and opening), stopped at every single operation on the disk.

use journal::sim_disk::{Fault, Random, SimDisk};
use journal::{Durability, Error, Journal, Options};

use crate::oracle::{Deed, Oracle, Outcome};

/// How many ways of losing what was not synced are tried for each operation.
const WAYS: u64 = 6;

fn options() -> Options {
    Options {
        durability: Durability::Disk,
        segment_bytes: 2500,
        cache_bytes: 2000,
        group_bytes: 900,
        live_share_min: 0.5,
        checkpoint_bytes: 4000,
        reserve_bytes: 3000,
        ..Options::default()
    }
}

/// Runs the script until the end or the first failure. Returns what was submitted, in order.
fn script(disk: &SimDisk) -> Vec<(Deed, Outcome)> {
    let mut random = Random::new(7);
    let mut submitted = Vec::new();
    let mut given = 0;
    for opening in 0..3 {
        let Ok((journal, mut stepper)) = Journal::open_stepped(disk.clone(), options()) else {
            return submitted;
        };
        for count in 0..30 {
            if opening == 1 {
                disk.set_capacity((10..20).contains(&count).then(|| disk.used()));
            }
            let mut deed = Deed::random(&mut random, 4, given, 1500);
            let Ok(outcome) = deed.submit(&journal) else { return submitted };
            given = given.max((deed.first_sequence + deed.appends.len() as u64).saturating_sub(1));
            submitted.push((deed, outcome));
            if count % 3 == 2 {
                while stepper.step() {}
            }
        }
        if journal.close().and_then(|()| stepper.finish()).is_err() {
            return submitted;
        }
    }
    submitted
}

/// Checks what is there against what was submitted; returns what it is.
fn check(journal: &Journal<SimDisk>, submitted: &[(Deed, Outcome)]) -> Oracle {
    let mut oracle = Oracle::default();
    let mut open = Vec::new();
    for (deed, outcome) in submitted {
        match outcome.lock().unwrap().as_ref() {
            Some(Ok(_)) => {
                assert!(open.is_empty(), "nothing is acknowledged before what came first");
                oracle.apply(deed);
            }
            Some(Err(Error::Full { .. })) => {}
            Some(Err(Error::Poisoned { .. })) | None => open.push(deed),
            Some(Err(other)) => panic!("answered with {other}"),
        }
    }
    let mut difference = oracle.differs_from(journal);
    for deed in open {
        if difference.is_none() {
            break;
        }
        oracle.apply(deed);
        difference = oracle.differs_from(journal);
    }
    assert_eq!(difference, None);
    oracle
}

fn goes_on(disk: &SimDisk, mut oracle: Oracle) {
    let mut random = Random::new(oracle.highest);
    let (journal, mut stepper) = Journal::open_stepped(disk.clone(), options()).unwrap();
    for _ in 0..10 {
        let mut deed = Deed::random(&mut random, 4, oracle.highest, 500);
        let outcome = deed.submit(&journal).unwrap();
        while stepper.step() {}
        outcome.lock().unwrap().as_ref().expect("answered").as_ref().expect("durable");
        oracle.apply(&deed);
    }
    drop((journal, stepper));
    let disk = disk.after_power_loss(oracle.highest);
    let (journal, _stepper) = Journal::open_stepped(disk, options()).unwrap();
    assert_eq!(oracle.differs_from(&journal), None);
}

#[test]
fn a_crash_at_any_operation_loses_nothing_that_was_acknowledged() {
    let disk = SimDisk::new(1);
    let whole = script(&disk);
    let operations = disk.operations();
    let answered = |(_, outcome): &&(Deed, Outcome)| matches!(*outcome.lock().unwrap(), Some(Ok(_)));
    assert_eq!(whole.len(), 90, "the script runs to its end");
    assert!(whole.iter().filter(answered).count() > 70);
    assert!(whole.iter().filter(answered).count() < 90, "the disk was full for a while");
    assert!(operations > 250, "{operations}");

    for at in 1..=operations {
        for way in 0..WAYS {
            let disk = SimDisk::new(way);
            disk.set_fault(Some(Fault::CrashAt(at)));
            let submitted = script(&disk);
            assert!(disk.has_crashed(), "operation {at}");
            let disk = disk.after_power_loss(at * WAYS + way);
            disk.set_capacity(None);
            let result = std::panic::catch_unwind(|| {
                let (journal, stepper) = Journal::open_stepped(disk.clone(), options()).unwrap();
                let oracle = check(&journal, &submitted);
                assert!(journal.status().damaged.is_empty());
                drop((journal, stepper));
                goes_on(&disk, oracle);
            });
            assert!(result.is_ok(), "crash at operation {at}, way {way}");
        }
    }
}
