//! The same on a real directory, with real threads.

use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};

use journal::{Error, FileDisk, Journal, Options, Transaction};

/// A directory that is removed when the test ends.
struct Directory(PathBuf);

impl Directory {
    fn new() -> Directory {
        static COUNT: AtomicU64 = AtomicU64::new(0);
        let count = COUNT.fetch_add(1, Ordering::Relaxed);
        let name = format!("tidegate-journal-{}-{count}", std::process::id());
        Directory(std::env::temp_dir().join(name))
    }

    fn open(&self, options: Options) -> Journal<FileDisk> {
        Journal::open(FileDisk::open(&self.0).unwrap(), options).unwrap()
    }
}

impl Drop for Directory {
    fn drop(&mut self) {
        std::fs::remove_dir_all(&self.0).unwrap();
    }
}

fn options() -> Options {
    Options {
        segment_bytes: 256 << 10,
        checkpoint_bytes: 512 << 10,
        cache_bytes: 64 << 10,
        queue_transactions: 64,
        ..Options::default()
    }
}

const LOGS: u64 = 8;
const FRAMES: u64 = 600;

/// What the frame number `count` of a log holds.
fn frame(log: u64, count: u64) -> Vec<u8> {
    let mut bytes = vec![log as u8; (count * 37 % 3000) as usize];
    bytes.extend_from_slice(&count.to_le_bytes());
    bytes
}

#[test]
fn many_writers_and_readers_see_every_frame_once_and_in_order() {
    let directory = Directory::new();
    let journal = directory.open(options());
    std::thread::scope(|scope| {
        for log in 0..LOGS {
            let journal = &journal;
            let id = journal.log(&format!("log-{log}")).unwrap();
            scope.spawn(move || {
                for count in 0..FRAMES {
                    let mut transaction = Transaction::new();
                    transaction.append(id, frame(log, count));
                    journal.submit(transaction, |result| assert!(result.is_ok())).unwrap();
                }
            });
            scope.spawn(move || {
                let mut from = 0;
                let mut count = 0;
                while count < FRAMES {
                    let mut entries = Vec::new();
                    if journal.read(id, from, 40_000, &mut entries).unwrap() == 0 {
                        std::thread::yield_now();
                        continue;
                    }
                    for entry in &entries {
                        assert!(entry.sequence >= from);
                        assert_eq!(entry.bytes, frame(log, count));
                        count += 1;
                        from = entry.sequence + 1;
                    }
                    let mut transaction = Transaction::new();
                    transaction.settle_through(id, from - 1).put(format!("log-{log}"), count.to_le_bytes());
                    journal.commit(transaction).unwrap();
                }
            });
        }
    });
    let status = journal.status();
    assert_eq!((status.live_frames, status.live_bytes, status.cache_bytes), (0, 0, 0));
    assert!(status.groups < status.transactions, "transactions are committed in groups");
    assert!(status.checkpoints > 0);
    journal.close().unwrap();
    drop(journal);

    let journal = directory.open(options());
    for log in 0..LOGS {
        assert_eq!(journal.get(format!("log-{log}").as_bytes()).unwrap(), FRAMES.to_le_bytes().to_vec());
        assert_eq!(journal.stats(journal.log(&format!("log-{log}")).unwrap()).unwrap().frames, 0);
    }
}

#[test]
fn a_second_opener_is_told_which_directory_is_in_use() {
    let directory = Directory::new();
    let journal = directory.open(options());
    let Err(Error::Locked { directory: held }) = FileDisk::open(&directory.0) else {
        panic!("it is not locked")
    };
    assert_eq!(held, directory.0);
    drop(journal);
    directory.open(options()).close().unwrap();
}

#[test]
fn a_torn_file_on_a_real_disk_is_cut_and_goes_on() {
    let directory = Directory::new();
    let journal = directory.open(options());
    let log = journal.log("a").unwrap();
    for _ in 0..5 {
        let mut transaction = Transaction::new();
        transaction.append(log, vec![9; 10_000]);
        journal.commit(transaction).unwrap();
    }
    // As a process that dies would leave it: without the mark that closing writes.
    let path = directory.0.join("0000000001.segment");
    let whole = std::fs::read(&path).unwrap();
    drop(journal);
    std::fs::write(&path, &whole[..whole.len() - 4000]).unwrap();

    let journal = directory.open(options());
    let cut = journal.status().cut.unwrap();
    assert_eq!(cut.file, "0000000001.segment");
    assert_eq!(cut.at + cut.bytes, whole.len() as u64 - 4000);
    let log = journal.log("a").unwrap();
    assert_eq!(journal.stats(log).unwrap().frames, 4);
    let mut transaction = Transaction::new();
    transaction.append(log, "after");
    journal.commit(transaction).unwrap();
    let mut entries = Vec::new();
    assert_eq!(journal.read(log, 0, 1 << 20, &mut entries).unwrap(), 5);
    assert_eq!(entries[4].bytes, "after");
}
