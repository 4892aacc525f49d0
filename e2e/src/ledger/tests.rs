//! What holds for numbers that several processes share. Invariant: dropping a ledger here is the death of its process.

use std::collections::BTreeSet;

use super::*;

fn terms(count: u64) -> Terms {
    Terms { count, rate: 1_000_000_000, patience: Duration::from_mins(1) }
}

/// Takes until there is something; the rate of the source may not yet allow any.
fn some(ledger: &mut Ledger, most: usize) -> Vec<u64> {
    crate::wait::until("there are numbers", || {
        Some(ledger.take(most).unwrap()).filter(|taken| !taken.is_empty())
    })
}

#[test]
fn processes_side_by_side_share_the_numbers_out() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("ledger");
    let mut first = Ledger::join(&path, terms(10)).unwrap();
    let mut second = Ledger::join(&path, terms(10)).unwrap();
    let ours: BTreeSet<u64> = some(&mut first, 4).into_iter().collect();
    let theirs: BTreeSet<u64> = some(&mut second, 100).into_iter().collect();
    assert_eq!(&ours | &theirs, (0..10).collect());
    assert!(ours.is_disjoint(&theirs));
    assert_eq!(first.take(100).unwrap(), [0; 0]);
    assert_eq!(second.pending().unwrap(), 0);
}

#[test]
fn what_the_dead_held_is_given_out_again_and_what_was_acknowledged_is_not() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("ledger");
    let mut first = Ledger::join(&path, terms(10)).unwrap();
    let mut second = Ledger::join(&path, terms(10)).unwrap();
    let held = some(&mut first, 10);
    first.acknowledge(&held[..4]).unwrap();
    first.give_back(&held[9..]).unwrap();
    assert_eq!(some(&mut second, 10), [9]);
    drop(first);
    let orphans = some(&mut second, 10);
    assert_eq!(orphans, held[4..9]);
    second.acknowledge(&orphans).unwrap();
    second.acknowledge(&[9]).unwrap();
    assert_eq!(acknowledged(&path), (0..10).collect());
}

#[test]
fn half_a_line_of_somebody_who_was_killed_counts_for_nothing() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("ledger");
    let mut first = Ledger::join(&path, terms(3)).unwrap();
    let taken = some(&mut first, 3);
    OpenOptions::new().append(true).open(&path).unwrap().write_all(b"acked 1").unwrap();
    first.acknowledge(&taken[..1]).unwrap();
    assert_eq!(acknowledged(&path), BTreeSet::from([0]));
}

#[test]
fn a_rate_of_few_a_second_gives_them_one_by_one() {
    let directory = tempfile::tempdir().unwrap();
    let terms = Terms { rate: 4, ..terms(3) };
    let mut ledger = Ledger::join(&directory.path().join("ledger"), terms).unwrap();
    let taken: Vec<Vec<u64>> = (0..3).map(|_| some(&mut ledger, 10)).collect();
    assert_eq!(taken, [[0], [1], [2]]);
}
