//! A full disk: an error with a name, settlements that still go, and a journal that works again when there is
//! room, whether it was opened anew or not.

use journal::sim_disk::SimDisk;
use journal::{Error, Journal, LogId, Options, Transaction};

const CAPACITY: u64 = 1 << 20;

fn options() -> Options {
    Options {
        segment_bytes: 64 << 10,
        checkpoint_bytes: 128 << 10,
        reserve_bytes: 64 << 10,
        cache_bytes: 16 << 10,
        ..Options::default()
    }
}

fn append(journal: &Journal<SimDisk>, log: LogId, length: usize) -> Result<u64, Error> {
    let mut transaction = Transaction::new();
    transaction.append(log, vec![7; length]);
    journal.commit(transaction).map(|receipt| receipt.sequences.first().unwrap())
}

fn settle(journal: &Journal<SimDisk>, log: LogId, through: u64) -> Result<(), Error> {
    let mut transaction = Transaction::new();
    transaction.settle_through(log, through).put("position", through.to_le_bytes());
    journal.commit(transaction).map(drop)
}

/// Appends until the disk is full. Returns the sequences.
fn fill(journal: &Journal<SimDisk>, log: LogId) -> Vec<u64> {
    let mut sequences = Vec::new();
    loop {
        match append(journal, log, 3000) {
            Ok(sequence) => sequences.push(sequence),
            Err(Error::Full { .. }) => return sequences,
            Err(other) => panic!("{other}"),
        }
    }
}

fn read(journal: &Journal<SimDisk>, log: LogId) -> Vec<u64> {
    let mut entries = Vec::new();
    journal.read(log, 0, usize::MAX, &mut entries).unwrap();
    entries.iter().map(|entry| entry.sequence).collect()
}

#[test]
fn settlements_go_on_a_full_disk_and_make_room() {
    let disk = SimDisk::new(1);
    disk.set_capacity(Some(CAPACITY));
    let journal = Journal::open(disk.clone(), options()).unwrap();
    let log = journal.log("a").unwrap();
    let filled = fill(&journal, log);
    assert!(filled.len() > 250, "{} frames of 3000 bytes in 1 MiB", filled.len());
    assert!(journal.status().full);
    assert!(journal.status().poisoned.is_none());
    assert_eq!(read(&journal, log), filled);

    for sequence in &filled[..100] {
        settle(&journal, log, *sequence).unwrap();
        assert_eq!(journal.get(b"position").unwrap(), sequence.to_le_bytes().to_vec());
    }
    let again = fill(&journal, log);
    assert!(again.len() > 60, "room of what was settled is used again: {}", again.len());
    let expected: Vec<u64> = filled[100..].iter().chain(&again).copied().collect();
    assert_eq!(read(&journal, log), expected);
}

#[test]
fn appends_work_again_as_soon_as_there_is_room() {
    let disk = SimDisk::new(2);
    disk.set_capacity(Some(CAPACITY));
    let journal = Journal::open(disk.clone(), options()).unwrap();
    let log = journal.log("a").unwrap();
    let mut expected = fill(&journal, log);
    disk.set_capacity(Some(2 * CAPACITY));
    let more = append(&journal, log, 3000).unwrap();
    assert!(more > *expected.last().unwrap());
    assert!(!journal.status().full);
    expected.push(more);
    assert_eq!(read(&journal, log), expected);
}

#[test]
fn a_journal_on_a_full_disk_opens_unharmed() {
    let disk = SimDisk::new(3);
    disk.set_capacity(Some(CAPACITY));
    let journal = Journal::open(disk.clone(), options()).unwrap();
    let log = journal.log("a").unwrap();
    let filled = fill(&journal, log);
    drop(journal);

    let disk = disk.after_power_loss(1);
    disk.set_capacity(Some(disk.used()));
    let journal = Journal::open(disk.clone(), options()).unwrap();
    let log = journal.log("a").unwrap();
    assert_eq!(read(&journal, log), filled);
    assert!(matches!(append(&journal, log, 3000), Err(Error::Full { .. })));
    drop(journal);

    let disk = disk.after_process_death(2);
    disk.set_capacity(Some(disk.used() + (128 << 10)));
    let journal = Journal::open(disk, options()).unwrap();
    let log = journal.log("a").unwrap();
    let more = append(&journal, log, 3000).unwrap();
    assert_eq!(read(&journal, log).last(), Some(&more));
    assert_eq!(read(&journal, log).len(), filled.len() + 1);
}

#[test]
fn a_group_on_a_full_disk_keeps_its_settlements_and_refuses_its_appends() {
    let disk = SimDisk::new(4);
    disk.set_capacity(Some(CAPACITY));
    let (journal, mut stepper) = Journal::open_stepped(disk.clone(), options()).unwrap();
    let log = journal.log("a").unwrap();
    let mut first = Transaction::new();
    first.append(log, "kept");
    journal.submit(first, |result| assert!(result.is_ok())).unwrap();
    while stepper.step() {}
    disk.set_capacity(Some(disk.used()));

    let mut big = Transaction::new();
    big.append(log, vec![1; 2000]).put("key", "refused");
    journal.submit(big, |result| assert!(matches!(result, Err(Error::Full { .. })))).unwrap();
    let mut small = Transaction::new();
    small.settle_through(log, 1).put("key", "taken");
    journal.submit(small, |result| assert!(result.is_ok())).unwrap();
    while stepper.step() {}
    assert_eq!(journal.get(b"key").unwrap(), "taken");
    assert_eq!(journal.stats(log).unwrap().frames, 0);
    assert_eq!(journal.status().transactions, 2);
}
