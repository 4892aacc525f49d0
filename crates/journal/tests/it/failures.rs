//! What does not depend on luck: failed syncs and writes, panics, full queues, limits, closing.

use std::sync::mpsc;
use std::sync::{Arc, Mutex};

use journal::sim_disk::{Fault, SimDisk};
use journal::{Error, Journal, Options, Transaction};

fn append(journal: &Journal<SimDisk>, frame: &'static str) -> Transaction {
    let mut transaction = Transaction::new();
    transaction.append(journal.log("a").unwrap(), frame);
    transaction
}

#[test]
fn a_failed_sync_answers_everything_that_waits_and_everything_later() {
    let disk = SimDisk::new(1);
    let (journal, mut stepper) = Journal::open_stepped(disk.clone(), Options::default()).unwrap();
    disk.set_fault(Some(Fault::FailSyncAt(1)));
    let answers = Arc::new(Mutex::new(Vec::new()));
    for frame in ["one", "two"] {
        let answers = Arc::clone(&answers);
        journal.submit(append(&journal, frame), move |result| answers.lock().unwrap().push(result)).unwrap();
    }
    while stepper.step() {}
    let answers = answers.lock().unwrap();
    assert_eq!(answers.len(), 2);
    for answer in answers.iter() {
        let Err(Error::Poisoned { cause }) = answer else { panic!("{answer:?}") };
        assert!(matches!(&**cause, Error::Io { action: "sync", .. }));
    }
    assert!(matches!(journal.submit(append(&journal, "three"), |_| ()), Err(Error::Poisoned { .. })));
    assert!(matches!(journal.status().poisoned, Some(Error::Poisoned { .. })));
    assert_eq!(
        journal.stats(journal.log("a").unwrap()).unwrap().frames,
        0,
        "what is not durable is not shown"
    );
    assert!(matches!(stepper.finish(), Err(Error::Poisoned { .. })));
}

#[test]
fn a_failed_write_is_not_tried_again() {
    let disk = SimDisk::new(1);
    let journal = Journal::open(disk.clone(), Options::default()).unwrap();
    disk.set_fault(Some(Fault::FailWriteAt(1)));
    let error = journal.commit(append(&journal, "one")).unwrap_err();
    assert!(matches!(error, Error::Poisoned { .. }));
    let operations = disk.operations();
    assert!(matches!(journal.commit(append(&journal, "two")), Err(Error::Poisoned { .. })));
    assert!(matches!(journal.close(), Err(Error::Poisoned { .. })));
    assert_eq!(disk.operations(), operations);
}

#[test]
fn a_panic_in_an_answer_stops_the_journal_and_not_its_users() {
    let journal = Journal::open(SimDisk::new(1), Options::default()).unwrap();
    journal.submit(append(&journal, "one"), |_| panic!("expected by the test")).unwrap();
    let error = loop {
        // The answers of those that come before the panic are good ones.
        if let Err(error) = journal.commit(append(&journal, "two")) {
            break error;
        }
    };
    assert!(matches!(error, Error::Poisoned { .. } | Error::Closed), "{error:?}");
    assert!(std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| journal.close())).is_err());
}

#[test]
fn the_commit_thread_does_not_wait_for_itself() {
    let options = Options { queue_transactions: 1, ..Options::default() };
    let journal = Arc::new(Journal::open(SimDisk::new(1), options).unwrap());
    let (sender, receiver) = mpsc::sync_channel(1);
    let inner = Arc::clone(&journal);
    let log = journal.log("a").unwrap();
    let answer = move |_| {
        let mut results = Vec::new();
        for _ in 0..2 {
            let mut transaction = Transaction::new();
            transaction.append(log, "from an answer");
            results.push(inner.submit(transaction, |_| ()));
        }
        sender.send(results).unwrap();
    };
    journal.submit(append(&journal, "one"), answer).unwrap();
    let results = receiver.recv().unwrap();
    assert!(matches!(results[..], [Ok(_), Err(Error::QueueFull)]), "{results:?}");
}

#[test]
fn submitters_wait_for_room_in_the_queue() {
    let options = Options { queue_transactions: 4, ..Options::default() };
    let (journal, mut stepper) = Journal::open_stepped(SimDisk::new(1), options).unwrap();
    let log = journal.log("a").unwrap();
    std::thread::scope(|scope| {
        for _ in 0..8 {
            scope.spawn(|| {
                for _ in 0..20 {
                    let mut transaction = Transaction::new();
                    transaction.append(log, "frame");
                    journal.submit(transaction, |result| assert!(result.is_ok())).unwrap();
                }
            });
        }
        while journal.stats(log).unwrap().frames < 160 {
            stepper.step();
            std::thread::yield_now();
        }
    });
    assert_eq!(journal.status().transactions, 160);
    assert!(journal.status().groups >= 40, "at most four at a time");
}

#[test]
fn what_is_too_large_is_refused_before_it_is_queued() {
    let options = Options { transaction_bytes_max: 1000, logs_max: 1, ..Options::default() };
    let journal = Journal::open(SimDisk::new(1), options).unwrap();
    let log = journal.log("a").unwrap();
    let mut transaction = Transaction::new();
    transaction.append(log, vec![0; 1000]);
    let error = journal.commit(transaction).unwrap_err();
    assert!(matches!(error, Error::TooLarge { limit_bytes: 1000, .. }), "{error}");
    let mut transaction = Transaction::new();
    transaction.put(vec![0; 70_000], "");
    let error = journal.commit(transaction).unwrap_err();
    assert!(matches!(error, Error::TooLarge { what: "a key", size_bytes: 70_000, .. }), "{error}");
    assert!(matches!(journal.log("b"), Err(Error::TooManyLogs { limit: 1, .. })));
    assert!(matches!(journal.log(&"x".repeat(256)), Err(Error::TooLarge { limit_bytes: 255, .. })));
    assert!(matches!(journal.log(""), Err(Error::Option { option: "log name", .. })));

    let other = Journal::open(SimDisk::new(2), Options::default()).unwrap();
    other.log("x").unwrap();
    let strange = other.log("y").unwrap();
    let mut transaction = Transaction::new();
    transaction.append(strange, "x");
    assert!(matches!(journal.commit(transaction), Err(Error::UnknownLog { log: 1 })));
}

#[test]
fn closing_writes_what_waits_and_refuses_what_comes_later() {
    let disk = SimDisk::new(1);
    let journal = Journal::open(disk.clone(), Options::default()).unwrap();
    let answered = Arc::new(Mutex::new(0));
    for _ in 0..100 {
        let answered = Arc::clone(&answered);
        let done = move |result: Result<_, _>| {
            assert!(result.is_ok());
            *answered.lock().unwrap() += 1;
        };
        journal.submit(append(&journal, "frame"), done).unwrap();
    }
    journal.close().unwrap();
    journal.close().unwrap();
    assert_eq!(*answered.lock().unwrap(), 100);
    assert!(matches!(journal.commit(append(&journal, "late")), Err(Error::Closed)));
    assert_eq!(journal.stats(journal.log("a").unwrap()).unwrap().frames, 100);
}

#[test]
fn options_that_cannot_be_are_refused() {
    for (options, name) in [
        (Options { segment_bytes: 2 << 30, ..Options::default() }, "segment_bytes"),
        (Options { queue_transactions: 0, ..Options::default() }, "queue_transactions, queue_bytes"),
        (Options { live_share_min: 1.0, ..Options::default() }, "live_share_min"),
    ] {
        let Err(Error::Option { option, .. }) = Journal::open(SimDisk::new(1), options) else {
            panic!("{name}")
        };
        assert_eq!(option, name);
    }
}
