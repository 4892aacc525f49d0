//! How fast the journal buffer is beside the disk it writes to: 64 units commit frames of a given size to 64 slots,
//! 64 readers read and settle them, with `disk` durability.
//!
//! `cargo run --release -p tidegate-connect --example buffer_speed -- [DIRECTORY] [FRAME_KIB] [SECONDS]`
#![expect(clippy::print_stdout, reason = "the figures are the result")]

use std::error::Error;
use std::fs::File;
use std::io::{Seek, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use bytes::Bytes;
use journal::{FileDisk, Journal, Options};
use model::door::buffer::{Buffer, Claim, Claimed, Commit, Output, Passage, VertexSettings, WhenFull};
use model::frame::Body;
use model::{
    Epoch, Incarnation, Message, Origin, Place, Position, Progress, Slot, Time, Topology, Unit, UnitId,
};
use smol_str::SmolStr;
use tidegate_connect::buffer::journal::JournalBuffer;
use tokio::task::JoinSet;

type Result<T> = std::result::Result<T, Box<dyn Error + Send + Sync>>;

const UNITS: u32 = 64;
const TOPOLOGY: Topology = Topology { partitions: 4, slots_per_partition: 16 };
const VALUE_BYTES: usize = 100;
const PARTITION_BYTES_MAX: u64 = 64 << 20;
/// As much as the journal writes and syncs at once.
const GROUP_BYTES: usize = 8 << 20;
const RUNS: usize = 3;

#[derive(Default)]
struct Counts {
    messages: AtomicU64,
    bytes: AtomicU64,
    stop: AtomicBool,
}

fn body(bytes: usize) -> Body {
    let message = |number| {
        let offset = Origin::Numbered { number, partition: 0 };
        Message::from_source(
            SmolStr::new("in"),
            offset,
            Bytes::from(vec![7; VALUE_BYTES]),
            Time::from_millis(number as i64),
        )
    };
    let one = Body::encode([&message(1), &message(2)]).payload.len() / 2;
    Body::encode(&(0..(bytes / one) as u64).map(message).collect::<Vec<_>>())
}

fn claim(vertex: &str, unit: Unit) -> Claim {
    let unit = UnitId { vertex: SmolStr::new(vertex), unit };
    Claim { unit, owner: Incarnation(1), replica: 0, epoch: Epoch(1) }
}

async fn write(
    buffer: Arc<dyn Buffer>,
    number: u32,
    slot: Slot,
    body: Body,
    counts: Arc<Counts>,
) -> Result<()> {
    let Claimed { mut committer, .. } = buffer.claim(claim("in", Unit::Source(number))).await?;
    let to = Place { vertex: SmolStr::new("out"), slot };
    for sequence in 1.. {
        if counts.stop.load(Ordering::Relaxed) {
            break;
        }
        let (when_full, passage) = (WhenFull::Wait, Passage::Onward);
        let outputs = vec![Output { to: to.clone(), body: body.clone(), when_full, passage }];
        let progress = Progress::to(Position { sequence, index: 0 });
        committer.commit(Commit { outputs, progress, ..Commit::default() }).await?;
    }
    committer.release().await?;
    Ok(())
}

async fn settle(buffer: Arc<dyn Buffer>, slot: Slot, counts: Arc<Counts>) -> Result<()> {
    let Claimed { reader, mut committer, .. } = buffer.claim(claim("out", Unit::Slot(slot))).await?;
    let mut reader = reader.ok_or("the unit of a slot has a reader")?;
    loop {
        let frames = reader.read(256 * 1024).await?;
        let last = frames.last().ok_or("a read gives a frame")?.sequence;
        let progress = Progress::to(Position::after(last));
        committer.commit(Commit { progress, ..Commit::default() }).await?;
        let messages: u64 = frames.iter().map(|stored| u64::from(stored.frame.header.count)).sum();
        let bytes: u64 = frames.iter().map(|stored| stored.frame.payload.len() as u64).sum();
        counts.messages.fetch_add(messages, Ordering::Relaxed);
        counts.bytes.fetch_add(bytes, Ordering::Relaxed);
    }
}

/// Messages and bytes per second that were written, read and settled.
fn buffer_rate(directory: &Path, frame: &Body, time: Duration) -> Result<(f64, f64)> {
    let journal = Arc::new(Journal::open(FileDisk::open(directory)?, Options::default())?);
    let vertex = |name| VertexSettings {
        name: SmolStr::new(name),
        topology: TOPOLOGY,
        writers: 1,
        messages_max: u64::MAX,
        bytes_max: PARTITION_BYTES_MAX,
    };
    let buffer = JournalBuffer::open(journal.clone(), vec![vertex("in"), vertex("out")])?;
    let buffer: Arc<dyn Buffer> = Arc::new(buffer);
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    runtime.block_on(async {
        let counts = Arc::new(Counts::default());
        let (mut writers, mut readers) = (JoinSet::new(), JoinSet::new());
        let started = Instant::now();
        for number in 0..UNITS {
            let slot = TOPOLOGY.slot(u64::from(number));
            writers.spawn(write(buffer.clone(), number, slot, frame.clone(), counts.clone()));
            readers.spawn(settle(buffer.clone(), slot, counts.clone()));
        }
        tokio::time::sleep(time).await;
        let elapsed = started.elapsed().as_secs_f64();
        let rate = |count: &AtomicU64| count.load(Ordering::Relaxed) as f64 / elapsed;
        let rates = (rate(&counts.messages), rate(&counts.bytes));
        counts.stop.store(true, Ordering::Relaxed);
        while let Some(ended) = writers.join_next().await {
            ended??;
        }
        readers.shutdown().await;
        let status = journal.status();
        println!(
            "    {} groups, {} syncs, {:.0} KiB a group",
            status.groups,
            status.syncs,
            status.written_bytes as f64 / status.groups as f64 / 1024.0
        );
        Ok(rates)
    })
}

/// Bytes per second of writes one after the other, each made durable: into a file that grows, and over a file that is
/// there already. The journal lies between the two, since it begins files and deletes them all the time.
fn disk_rates(directory: &Path, time: Duration) -> Result<(f64, f64)> {
    let path = directory.join("sequential");
    let mut file = File::create(&path)?;
    let chunk = vec![7; GROUP_BYTES];
    let growing = rate_of(time, || file.write_all(&chunk).and_then(|()| file.sync_data()))?;
    let end = file.stream_position()?;
    file.rewind()?;
    let there = rate_of(time, || {
        if file.stream_position()? == end {
            file.rewind()?;
        }
        file.write_all(&chunk).and_then(|()| file.sync_data())
    })?;
    std::fs::remove_file(path)?;
    Ok((growing, there))
}

/// Bytes per second of a call that writes [`GROUP_BYTES`].
fn rate_of(time: Duration, mut call: impl FnMut() -> std::io::Result<()>) -> Result<f64> {
    let started = Instant::now();
    let mut calls = 0;
    while started.elapsed() < time {
        call()?;
        calls += 1;
    }
    Ok((calls * GROUP_BYTES) as f64 / started.elapsed().as_secs_f64())
}

fn main() -> Result<()> {
    let mut arguments = std::env::args().skip(1);
    let temporary = tempfile::tempdir()?;
    let directory = arguments.next().map_or_else(|| temporary.path().to_owned(), PathBuf::from);
    let frame_kib: usize = arguments.next().map_or(Ok(256), |text| text.parse())?;
    let seconds: u64 = arguments.next().map_or(Ok(5), |text| text.parse())?;
    let time = Duration::from_secs(seconds);
    let frame = body(frame_kib * 1024);
    println!("{UNITS} units, frames of {frame_kib} KiB with {} messages of {VALUE_BYTES} B", frame.count);
    for run in 0..RUNS {
        let (growing, there) = disk_rates(&directory, time / 4)?;
        let state = directory.join(format!("journal-{run}"));
        let (messages, bytes) = buffer_rate(&state, &frame, time)?;
        std::fs::remove_dir_all(&state)?;
        println!(
            "run {run}: disk {:.0} MB/s growing, {:.0} MB/s overwriting, synced every 8 MiB; \
             buffer {:.2} M msg/s, {:.0} MB/s ({:.0} % of growing, {:.0} % of overwriting)",
            growing / 1e6,
            there / 1e6,
            messages / 1e6,
            bytes / 1e6,
            100.0 * bytes / growing,
            100.0 * bytes / there
        );
    }
    Ok(())
}
