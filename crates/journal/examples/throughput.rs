//! What the journal does beside what its disk does, measured in one run:
//! `cargo run -p tidegate-journal --release --example throughput [DIRECTORY]`.
//!
//! Prints the disk's own sequential rate, the rate of 64 KiB frames from 64 submitters with `fdatasync`, the
//! rate of small frames, and the latency of a lone 200-byte transaction beside that of a bare write and sync.

use std::fs::{self, File};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use bytes::Bytes;
use journal::{FileDisk, Journal, Options, Transaction};

const SUBMITTERS: usize = 64;
const RUN: Duration = Duration::from_secs(4);
const LONE_TRANSACTIONS: usize = 3000;

type Outcome = Result<(), Box<dyn std::error::Error>>;

#[expect(clippy::print_stdout, reason = "the output of this program")]
fn main() -> Outcome {
    let base = std::env::args().nth(1).map_or_else(std::env::temp_dir, PathBuf::from);
    let directory = base.join(format!("tidegate-throughput-{}", std::process::id()));
    fs::create_dir_all(&directory)?;
    for round in 1..=3 {
        for group in [1 << 20, 8 << 20] {
            let rate = disk_rate(&directory, group)?;
            println!("round {round}: disk, {:>2} MiB write + fdatasync   {rate:8.0} MB/s", group >> 20);
        }
        for (frame, per_transaction) in [(64 * 1024, 1), (512 * 1024, 1), (100, 100)] {
            let (rate, groups) = journal_rate(&directory, frame, per_transaction)?;
            println!(
                "round {round}: journal, {SUBMITTERS} x {per_transaction} frames of {frame:>6} B {rate:8.0} MB/s, {groups:.0} KiB per sync"
            );
        }
        let (p50, p99) = bare_latency(&directory)?;
        println!("round {round}: lone 200 B, bare write + fdatasync  p50 {p50:?} p99 {p99:?}");
        let (p50, p99) = journal_latency(&directory)?;
        println!("round {round}: lone 200 B transaction              p50 {p50:?} p99 {p99:?}");
    }
    fs::remove_dir_all(&directory)?;
    Ok(())
}

fn disk_rate(directory: &Path, group: usize) -> Result<f64, Box<dyn std::error::Error>> {
    let noise = noise(group);
    let start = Instant::now();
    let mut written = 0;
    let mut number = 0;
    while start.elapsed() < RUN / 2 {
        // As the journal does it: files of 64 MiB, the ones before deleted.
        let path = directory.join(format!("plain-{number}"));
        let mut file = File::create(&path)?;
        for _ in 0..(64 << 20) / group {
            file.write_all(&noise)?;
            file.sync_data()?;
            written += group;
        }
        fs::remove_file(&path)?;
        number += 1;
    }
    Ok(written as f64 / start.elapsed().as_secs_f64() / 1e6)
}

/// 64 submitters that each have two transactions in flight; what is durable is settled at once.
fn journal_rate(
    directory: &Path,
    frame: usize,
    per_transaction: usize,
) -> Result<(f64, f64), Box<dyn std::error::Error>> {
    let path = directory.join("journal");
    let journal = Arc::new(Journal::open(FileDisk::open(&path)?, Options::default())?);
    let bytes = Arc::new(AtomicU64::new(0));
    let frame = Bytes::from(noise(frame));
    let start = Instant::now();
    let threads = (0..SUBMITTERS).map(|submitter| {
        let (journal, bytes, frame) = (Arc::clone(&journal), Arc::clone(&bytes), frame.clone());
        std::thread::spawn(move || -> Result<(), journal::Error> {
            let log = journal.log(&format!("log-{submitter}"))?;
            let mut settled = None;
            while start.elapsed() < RUN {
                let mut transaction = Transaction::new();
                for _ in 0..per_transaction {
                    transaction.append(log, frame.clone());
                }
                if let Some(settled) = settled {
                    transaction.settle_through(log, settled);
                }
                transaction.put(format!("position-{submitter}"), b"0123456789abcdef");
                settled = journal.commit(transaction)?.sequences.last();
                bytes.fetch_add((frame.len() * per_transaction) as u64, Ordering::Relaxed);
            }
            Ok(())
        })
    });
    for thread in threads.collect::<Vec<_>>() {
        thread.join().expect("a submitter does not panic")?;
    }
    let seconds = start.elapsed().as_secs_f64();
    let status = journal.status();
    journal.close()?;
    drop(journal);
    fs::remove_dir_all(path)?;
    let per_sync = status.written_bytes as f64 / status.syncs as f64 / 1024.0;
    Ok((bytes.load(Ordering::Relaxed) as f64 / seconds / 1e6, per_sync))
}

fn bare_latency(directory: &Path) -> Result<(Duration, Duration), Box<dyn std::error::Error>> {
    let path = directory.join("bare");
    let mut file = File::create(&path)?;
    let bytes = noise(280);
    let mut times = Vec::new();
    for _ in 0..LONE_TRANSACTIONS {
        let start = Instant::now();
        file.write_all(&bytes)?;
        file.sync_data()?;
        times.push(start.elapsed());
    }
    fs::remove_file(path)?;
    Ok(percentiles(times))
}

fn journal_latency(directory: &Path) -> Result<(Duration, Duration), Box<dyn std::error::Error>> {
    let path = directory.join("journal");
    let journal = Journal::open(FileDisk::open(&path)?, Options::default())?;
    let log = journal.log("log")?;
    let frame = Bytes::from(noise(200));
    let mut times = Vec::new();
    for _ in 0..LONE_TRANSACTIONS {
        let start = Instant::now();
        let mut transaction = Transaction::new();
        transaction.append(log, frame.clone());
        journal.commit(transaction)?;
        times.push(start.elapsed());
    }
    journal.close()?;
    drop(journal);
    fs::remove_dir_all(path)?;
    Ok(percentiles(times))
}

fn percentiles(mut times: Vec<Duration>) -> (Duration, Duration) {
    times.sort();
    (times[times.len() / 2], times[times.len() * 99 / 100])
}

/// Bytes that do not compress.
fn noise(length: usize) -> Vec<u8> {
    let mut word = 0x9e37_79b9_7f4a_7c15_u64;
    let next = || {
        word ^= word << 13;
        word ^= word >> 7;
        word ^= word << 17;
        word as u8
    };
    std::iter::repeat_with(next).take(length).collect()
}
