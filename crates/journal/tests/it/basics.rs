//! Appending, reading, settling, keys, and opening again, on a disk without faults.

use journal::sim_disk::SimDisk;
use journal::{Entry, Error, Journal, Options, Transaction};

fn frames(journal: &Journal<SimDisk>, log: &str) -> Vec<(u64, Vec<u8>)> {
    let id = journal.log(log).unwrap();
    let mut entries: Vec<Entry> = Vec::new();
    journal.read(id, 0, usize::MAX, &mut entries).unwrap();
    entries.into_iter().map(|entry| (entry.sequence, entry.bytes.to_vec())).collect()
}

#[test]
fn what_was_committed_is_there_after_opening_again() {
    let disk = SimDisk::new(1);
    let journal = Journal::open(disk.clone(), Options::default()).unwrap();
    let (a, b) = (journal.log("a").unwrap(), journal.log("b").unwrap());
    let mut transaction = Transaction::new();
    transaction.append(a, "one").append(b, "two").append(a, "three");
    transaction.put("position", "7").put("gone", "x").delete("gone");
    let receipt = journal.commit(transaction).unwrap();
    assert_eq!(receipt.sequences.iter().collect::<Vec<_>>(), [1, 2, 3]);

    let mut transaction = Transaction::new();
    transaction.settle_through(a, 1);
    journal.commit(transaction).unwrap();
    let check = |journal: &Journal<SimDisk>| {
        assert_eq!(frames(journal, "a"), [(3, b"three".to_vec())]);
        assert_eq!(frames(journal, "b"), [(2, b"two".to_vec())]);
        assert_eq!(journal.get(b"position").unwrap(), "7");
        assert_eq!(journal.get(b"gone"), None);
        let stats = journal.stats(journal.log("a").unwrap()).unwrap();
        assert_eq!((stats.first, stats.last, stats.frames, stats.bytes), (Some(3), 3, 1, 5));
    };
    check(&journal);
    journal.close().unwrap();
    check(&journal);
    drop(journal);

    let journal = Journal::open(disk, Options::default()).unwrap();
    check(&journal);
    let c = journal.log("b").unwrap();
    let mut transaction = Transaction::new();
    transaction.append(c, "four");
    assert_eq!(journal.commit(transaction).unwrap().sequences.first(), Some(4));
    assert_eq!(journal.status().cut, None);
}

#[test]
fn settling_ahead_of_the_last_sequence_is_refused() {
    let journal = Journal::open(SimDisk::new(1), Options::default()).unwrap();
    let log = journal.log("a").unwrap();
    let mut transaction = Transaction::new();
    transaction.settle_through(log, 1);
    assert!(matches!(journal.commit(transaction), Err(Error::SettledAhead { sequence: 1, highest: 0 })));
}
