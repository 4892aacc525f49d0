//! What the disk itself takes: sequential writes, each followed by a sync of the data.
//!
//! The journal's figures are read beside these, from the same run. Invariant: the file is written past its end, as a
//! segment is, and every write is synced before the next.

use std::fs::File;
use std::io::Write;
use std::time::Instant;

use anyhow::{Context, Result};

use super::Lab;
use super::report::Figure;

/// Bytes of one write with a flood behind it: a full group commit.
const FLOOD_WRITE_BYTES: usize = 4 << 20;
const FLOOD_WRITES: u32 = 64;
/// Bytes of one write of a trickle: a small frame.
const TRICKLE_WRITE_BYTES: usize = 4 << 10;
const TRICKLE_WRITES: u32 = 200;

/// The rate of big writes and the time of a small one.
pub(super) fn measure(lab: &Lab) -> Result<Vec<Figure>> {
    let flood_seconds = write(lab, FLOOD_WRITE_BYTES, FLOOD_WRITES)?;
    let trickle_seconds = write(lab, TRICKLE_WRITE_BYTES, TRICKLE_WRITES)?;
    let megabytes = f64::from(FLOOD_WRITES) * FLOOD_WRITE_BYTES as f64 / 1e6;
    Ok(vec![
        Figure::new("4 MiB writes, each synced", megabytes / flood_seconds, "MB/s"),
        Figure::new("4 KiB write and sync", trickle_seconds / f64::from(TRICKLE_WRITES) * 1e3, "ms"),
    ])
}

/// Seconds that the writes take.
fn write(lab: &Lab, size_bytes: usize, count: u32) -> Result<f64> {
    let path = lab.scratch.join("disk");
    let mut file = File::create(&path).with_context(|| format!("create {}", path.display()))?;
    let bytes: Vec<u8> = (0..size_bytes).map(|index| (index * 31 % 251) as u8).collect();
    let start = Instant::now();
    for _ in 0..count {
        file.write_all(&bytes).with_context(|| format!("write {}", path.display()))?;
        file.sync_data().with_context(|| format!("sync {}", path.display()))?;
    }
    let seconds = start.elapsed().as_secs_f64();
    std::fs::remove_file(&path).with_context(|| format!("remove {}", path.display()))?;
    Ok(seconds)
}
