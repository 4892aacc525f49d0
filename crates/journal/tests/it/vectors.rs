//! Whole files as they are in this version: a change of any byte of the format shows here. Whoever means it
//! raises the version and changes docs/format/journal.md.

use journal::sim_disk::SimDisk;
use journal::{Journal, Options, Transaction};

/// A short life that writes every kind of record and of checkpoint piece.
fn life() -> SimDisk {
    let disk = SimDisk::new(42);
    let options = Options {
        segment_bytes: 600,
        checkpoint_bytes: 900,
        live_share_min: 0.6,
        reserve_bytes: 0,
        ..Options::default()
    };
    let (journal, mut stepper) = Journal::open_stepped(disk.clone(), options).unwrap();
    let (a, b) = (journal.log("a").unwrap(), journal.log("b").unwrap());
    for count in 1..=12_u64 {
        let mut transaction = Transaction::new();
        transaction.append(a, vec![count as u8; 50]).append(b, vec![0xff; 9]);
        transaction.put("position", count.to_le_bytes()).put("other", "x").delete("other");
        if count > 3 {
            transaction.settle_through(b, 2 * count - 4).settle_one(a, 2 * count - 5);
        }
        journal.submit(transaction, |result| assert!(result.is_ok())).unwrap();
        while stepper.step() {}
    }
    assert!(journal.status().moved_bytes > 0);
    assert!(journal.status().checkpoints > 1);
    journal.close().unwrap();
    stepper.finish().unwrap();
    disk
}

#[test]
fn the_files_of_a_short_life_are_these() {
    let disk = life();
    let files: Vec<(String, u64, u32)> = disk
        .files()
        .into_iter()
        .map(|(name, length)| (name.clone(), length, crc32fast::hash(&disk.content(&name).unwrap())))
        .collect();
    let files: Vec<(&str, u64, u32)> =
        files.iter().map(|(name, length, crc)| (name.as_str(), *length, *crc)).collect();
    let expected = [
        ("00000000000000000004.checkpoint", 222, 1_397_808_574),
        ("0000000006.segment", 544, 204_105_183),
        ("0000000007.segment", 528, 1_844_521_988),
    ];
    assert_eq!(files, expected);
}
