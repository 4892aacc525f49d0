//! Real threads, a simulated crash: the same promise where the order of things is not the test's to choose.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use journal::sim_disk::{Fault, Random, SimDisk};
use journal::{Journal, Options, Transaction};

use crate::oracle::read_all;
use crate::seeds::{run_seed, seeds};

const SEEDS: u64 = 300;
const SUBMITTERS: u64 = 4;
const FRAMES: u64 = 60;

fn options() -> Options {
    Options {
        segment_bytes: 4096,
        checkpoint_bytes: 8192,
        cache_bytes: 2000,
        queue_transactions: 20,
        group_bytes: 1000,
        reserve_bytes: 0,
        ..Options::default()
    }
}

/// Every submitter appends its count to its own log until the disk stops. Returns how many of each were
/// acknowledged.
fn flood(disk: &SimDisk) -> Vec<u64> {
    let journal = Journal::open(disk.clone(), options()).unwrap();
    let acknowledged: Vec<Arc<AtomicU64>> = (0..SUBMITTERS).map(|_| Arc::default()).collect();
    disk.set_fault(Some(Fault::CrashAt(disk.operations() + 1 + disk.operations() * 977 % 150)));
    std::thread::scope(|scope| {
        for (number, acknowledged) in acknowledged.iter().enumerate() {
            let journal = &journal;
            scope.spawn(move || {
                let log = journal.log(&format!("log-{number}")).unwrap();
                for count in 0..FRAMES {
                    let mut transaction = Transaction::new();
                    transaction.append(log, count.to_le_bytes().to_vec());
                    let acknowledged = Arc::clone(acknowledged);
                    let done = move |result: Result<_, _>| {
                        if result.is_ok() {
                            let before = acknowledged.fetch_add(1, Ordering::SeqCst);
                            assert_eq!(before, count, "answers come in order");
                        }
                    };
                    if journal.submit(transaction, done).is_err() {
                        return;
                    }
                }
            });
        }
    });
    // The commit thread ends with the crash or with everything written.
    drop(journal);
    acknowledged.iter().map(|count| count.load(Ordering::SeqCst)).collect()
}

#[test]
fn concurrent_submitters_keep_what_was_acknowledged_and_one_order() {
    for seed in seeds(SEEDS) {
        run_seed("threads", seed, || {
            let mut random = Random::new(seed);
            let disk = SimDisk::new(seed);
            // Some operations first, so that the crash comes at a different one for each seed.
            for _ in 0..random.below(40) {
                journal::Disk::sync_directory(&disk).unwrap();
            }
            let acknowledged = flood(&disk);
            let journal = Journal::open(disk.after_power_loss(seed), options()).unwrap();
            let mut sequences = Vec::new();
            for (number, acknowledged) in acknowledged.iter().enumerate() {
                let frames = read_all(&journal, journal.log(&format!("log-{number}")).unwrap(), 500).unwrap();
                assert!(frames.len() as u64 >= *acknowledged, "log {number}");
                for (count, frame) in (0_u64..).zip(frames.values()) {
                    assert_eq!(*frame, count.to_le_bytes());
                }
                sequences.extend(frames.keys().copied());
            }
            sequences.sort_unstable();
            let count = sequences.len() as u64;
            assert_eq!(sequences, (1..=count).collect::<Vec<_>>(), "a prefix of all that was submitted");
        });
    }
}
