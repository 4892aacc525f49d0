//! A backlog far larger than the cache: writes 2 GB of unsettled frames under a 64 MiB cache, opens the journal
//! anew, reads everything back and settles it, and prints how much memory the process had at each point:
//! `cargo run -p tidegate-journal --release --example backlog [DIRECTORY] [MEGABYTES]`.

use std::fs;
use std::path::PathBuf;
use std::sync::mpsc::sync_channel;
use std::time::Instant;

use bytes::{BufMut, Bytes, BytesMut};
use journal::{FileDisk, Journal, LogId, Options, Transaction};

const LOGS: u64 = 64;
const FRAME_BYTES: usize = 32 * 1024;
const IN_FLIGHT: usize = 256;

type Outcome = Result<(), Box<dyn std::error::Error>>;

fn main() -> Outcome {
    let mut arguments = std::env::args().skip(1);
    let base = arguments.next().map_or_else(std::env::temp_dir, PathBuf::from);
    let megabytes: u64 = arguments.next().map_or(Ok(2000), |text| text.parse())?;
    let frames = megabytes * 1_000_000 / FRAME_BYTES as u64;
    let directory = base.join(format!("tidegate-backlog-{}", std::process::id()));
    say("at the start", "");

    let journal = Journal::open(FileDisk::open(&directory)?, Options::default())?;
    let start = Instant::now();
    write(&journal, frames)?;
    let status = journal.status();
    say("written", &format!("{} MB unsettled in {:.1?}", status.live_bytes / 1_000_000, start.elapsed()));
    say("cached", &format!("{} MB", status.cache_bytes / 1_000_000));
    journal.close()?;
    drop(journal);

    let start = Instant::now();
    let journal = Journal::open(FileDisk::open(&directory)?, Options::default())?;
    say("opened anew", &format!("in {:.1?}", start.elapsed()));
    let start = Instant::now();
    let seen = read_back(&journal)?;
    say("read back and settled", &format!("{seen} of {frames} frames in {:.1?}", start.elapsed()));
    let status = journal.status();
    say(
        "at the end",
        &format!("{} MB on disk, {} frames left", status.disk_bytes / 1_000_000, status.live_frames),
    );
    journal.close()?;
    drop(journal);
    fs::remove_dir_all(&directory)?;
    if seen == frames { Ok(()) } else { Err("frames are missing".into()) }
}

/// What the frame number `count` holds: its number in every word, so that no two are alike.
fn frame(count: u64) -> Bytes {
    let mut bytes = BytesMut::with_capacity(FRAME_BYTES);
    for word in 0..FRAME_BYTES as u64 / 8 {
        bytes.put_u64_le(count.wrapping_mul(0x9e37_79b9_7f4a_7c15) ^ word);
    }
    bytes.freeze()
}

fn write(journal: &Journal<FileDisk>, frames: u64) -> Outcome {
    let logs = logs(journal)?;
    let (done, answers) = sync_channel(IN_FLIGHT);
    for count in 0..frames {
        if count >= IN_FLIGHT as u64 {
            let answer: Result<_, journal::Error> = answers.recv()?;
            answer?;
        }
        let mut transaction = Transaction::new();
        transaction.append(logs[(count % LOGS) as usize], frame(count));
        let done = done.clone();
        journal.submit(transaction, move |result| {
            done.try_send(result).expect("there is room for all that are in flight");
        })?;
    }
    for answer in answers.iter().take(IN_FLIGHT.min(frames as usize)) {
        answer?;
    }
    Ok(())
}

fn read_back(journal: &Journal<FileDisk>) -> Result<u64, Box<dyn std::error::Error>> {
    let mut seen = 0;
    let mut entries = Vec::new();
    let mut positions: Vec<(u64, LogId, u64)> =
        (0..).zip(logs(journal)?).map(|(n, log)| (n, log, 0)).collect();
    while !positions.is_empty() {
        for (next, log, from) in &mut positions {
            journal.read(*log, *from, 1 << 20, &mut entries)?;
            let Some(last) = entries.last().map(|entry| entry.sequence) else {
                *from = u64::MAX;
                continue;
            };
            for entry in entries.drain(..) {
                if entry.bytes != frame(*next) {
                    return Err(format!("frame {next} is not what was written").into());
                }
                *next += LOGS;
                seen += 1;
            }
            *from = last + 1;
            let mut transaction = Transaction::new();
            transaction.settle_through(*log, last);
            journal.commit(transaction)?;
        }
        positions.retain(|(.., from)| *from != u64::MAX);
    }
    Ok(seen)
}

fn logs(journal: &Journal<FileDisk>) -> Result<Vec<LogId>, journal::Error> {
    (0..LOGS).map(|log| journal.log(&format!("log-{log}"))).collect()
}

/// Prints a line with the memory of this process, where the system tells.
#[expect(clippy::print_stdout, reason = "the output of this program")]
fn say(what: &str, more: &str) {
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    let field = |name: &str| {
        let line = status.lines().find_map(|line| line.strip_prefix(name));
        line.map_or("?", |rest| rest.trim_start_matches(':').trim()).to_owned()
    };
    println!("{what:<22} {more:<40} resident {:>10}, at most {:>10}", field("VmRSS"), field("VmHWM"));
}
