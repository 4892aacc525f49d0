//! What keeps a journal small: segments deleted, stragglers moved, checkpoints instead of replays, a bounded
//! cache.

use journal::sim_disk::{Random, SimDisk};
use journal::{Journal, LogId, Options, Stepper, Transaction};

const KIB: usize = 1024;

fn options() -> Options {
    Options {
        segment_bytes: 64 << 10,
        checkpoint_bytes: 128 << 10,
        cache_bytes: 32 << 10,
        reserve_bytes: 0,
        ..Options::default()
    }
}

fn append(journal: &Journal<SimDisk>, stepper: &mut Stepper<SimDisk>, log: LogId, length: usize) -> u64 {
    let mut transaction = Transaction::new();
    transaction.append(log, vec![length as u8; length]).put("position", "x");
    let sequences = journal.submit(transaction, |result| assert!(result.is_ok())).unwrap();
    while stepper.step() {}
    sequences.first().unwrap()
}

fn settle(journal: &Journal<SimDisk>, stepper: &mut Stepper<SimDisk>, log: LogId, sequence: u64) {
    let mut transaction = Transaction::new();
    transaction.settle_through(log, sequence);
    journal.submit(transaction, |result| assert!(result.is_ok())).unwrap();
    while stepper.step() {}
}

#[test]
fn what_is_settled_leaves_the_disk() {
    let disk = SimDisk::new(1);
    let (journal, mut stepper) = Journal::open_stepped(disk.clone(), options()).unwrap();
    let log = journal.log("a").unwrap();
    let mut largest = 0;
    for _ in 0..5000 {
        let sequence = append(&journal, &mut stepper, log, KIB);
        settle(&journal, &mut stepper, log, sequence);
        largest = largest.max(disk.used());
    }
    assert!(largest < 400 << 10, "5 MB went through {largest} bytes of disk");
    assert_eq!(journal.status().live_bytes, 0);
    assert_eq!(disk.used(), journal.status().disk_bytes);
}

#[test]
fn one_forgotten_frame_in_each_segment_does_not_hold_the_segments() {
    let disk = SimDisk::new(1);
    let (journal, mut stepper) = Journal::open_stepped(disk.clone(), options()).unwrap();
    let (busy, stuck) = (journal.log("busy").unwrap(), journal.log("stuck").unwrap());
    let mut forgotten = Vec::new();
    for count in 0..5000 {
        if count % 50 == 0 {
            forgotten.push(append(&journal, &mut stepper, stuck, 100));
        }
        let sequence = append(&journal, &mut stepper, busy, KIB);
        settle(&journal, &mut stepper, busy, sequence);
    }
    let status = journal.status();
    assert!(status.disk_bytes < 450 << 10, "{status:?}");
    assert!(status.moved_bytes >= 90 * 100, "{status:?}");
    assert!(status.moved_bytes < status.written_bytes / 10, "moving is a small part of writing: {status:?}");
    drop((journal, stepper));

    let disk = disk.after_power_loss(1);
    let (journal, _stepper) = Journal::open_stepped(disk, options()).unwrap();
    let mut entries = Vec::new();
    journal.read(journal.log("stuck").unwrap(), 0, usize::MAX, &mut entries).unwrap();
    assert_eq!(entries.iter().map(|entry| entry.sequence).collect::<Vec<_>>(), forgotten);
    assert!(entries.iter().all(|entry| entry.bytes == vec![100; 100]));
}

#[test]
fn a_backlog_far_larger_than_the_cache_is_read_back_whole() {
    const FRAMES: u64 = 4000;
    let disk = SimDisk::new(1);
    let options = Options { cache_bytes: 128 * KIB, ..Options::default() };
    let (journal, mut stepper) = Journal::open_stepped(disk, options).unwrap();
    let logs: Vec<LogId> = (0..8).map(|n| journal.log(&format!("log-{n}")).unwrap()).collect();
    let frame = |sequence: u64| {
        let mut random = Random::new(sequence);
        let length = random.below(2000) as usize;
        vec![random.next() as u8; length]
    };
    for count in 1..=FRAMES {
        let mut transaction = Transaction::new();
        transaction.append(logs[count as usize % 8], frame(count));
        journal.submit(transaction, |result| assert!(result.is_ok())).unwrap();
        if count % 20 == 0 {
            while stepper.step() {}
            assert!(journal.status().cache_bytes <= 128 * KIB);
        }
    }
    assert!(journal.status().live_bytes > 25 * 128 * KIB as u64);
    let mut seen = 0;
    for &log in &logs {
        let mut from = 0;
        loop {
            let mut entries = Vec::new();
            if journal.read(log, from, 50_000, &mut entries).unwrap() == 0 {
                break;
            }
            let bytes: usize = entries.iter().map(|entry| entry.bytes.len() + 32).sum();
            assert!(bytes <= 50_000);
            for entry in entries {
                assert_eq!(entry.bytes, frame(entry.sequence));
                seen += 1;
                from = entry.sequence + 1;
            }
        }
    }
    assert_eq!(seen, FRAMES);
}

#[test]
fn a_large_state_is_checkpointed_in_pieces_while_it_changes() {
    let disk = SimDisk::new(1);
    let (journal, mut stepper) = Journal::open_stepped(disk.clone(), options()).unwrap();
    let value = |round: u64, key: u64| vec![(round + key) as u8; 200];
    for round in 0..3 {
        for key in 0..4000_u64 {
            let mut transaction = Transaction::new();
            if (round + key) % 7 == 0 {
                transaction.delete(format!("key-{key}"));
            } else {
                transaction.put(format!("key-{key}"), value(round, key));
            }
            journal.submit(transaction, |result| assert!(result.is_ok())).unwrap();
            // One step only: pieces of a checkpoint and changes alternate.
            stepper.step();
        }
    }
    while stepper.step() {}
    let status = journal.status();
    assert!(status.checkpoints >= 1, "{status:?}");
    assert!(status.disk_bytes < 6 << 20, "{status:?}");
    drop((journal, stepper));

    let (journal, _stepper) = Journal::open_stepped(disk.after_power_loss(3), options()).unwrap();
    for key in 0..4000_u64 {
        let expected = ((2 + key) % 7 != 0).then(|| value(2, key));
        assert_eq!(journal.get(format!("key-{key}").as_bytes()).map(Vec::from), expected);
    }
    assert_eq!(
        journal.scan(b"key-399").len(),
        (0..4000).filter(|k| format!("key-{k}").starts_with("key-399") && (2 + k) % 7 != 0).count()
    );
}
