//! What is left on a simulated disk after the machine stopped. Decided by a seed, within what real disks and
//! file systems may do: what was synced stays, everything else is lost, kept or torn, sector by sector.

use std::sync::{Arc, Mutex};

use super::{Change, Content, Inner, Random, SimDisk};
use crate::locks::lock;

/// What a disk writes as one: more than this may be torn, less is not.
const SECTOR_BYTES: usize = 512;

/// How the changes that were not synced fare.
#[derive(Clone, Copy)]
enum Fate {
    Lost,
    Kept,
    /// The first ones are kept, the one after them in part.
    Prefix,
    /// Each sector on its own.
    Holes,
}

impl Fate {
    fn choose(random: &mut Random) -> Fate {
        match random.below(4) {
            0 => Fate::Lost,
            1 => Fate::Kept,
            2 => Fate::Prefix,
            _ => Fate::Holes,
        }
    }
}

impl SimDisk {
    /// The disk after a loss of power and a new start. `self` is of no use any more.
    pub fn after_power_loss(&self, seed: u64) -> SimDisk {
        let mut random = Random::new(seed);
        let mut inner = lock(&self.inner);
        inner.crashed = true;
        let names = surviving_names(&inner, &mut random);
        let files = inner.files.iter().map(|content| surviving_content(content, &mut random)).collect();
        self.restarted(&inner, names, files, random)
    }

    /// The disk after the death of the process alone: everything that was written is there, though not
    /// durable. `self` is of no use any more.
    pub fn after_process_death(&self, seed: u64) -> SimDisk {
        let mut inner = lock(&self.inner);
        inner.crashed = true;
        let names = inner.names.clone();
        let files = std::mem::take(&mut inner.files);
        let durable_names = inner.durable_names.clone();
        let disk = self.restarted(&inner, names, files, Random::new(seed));
        let mut restarted = lock(&disk.inner);
        restarted.durable_names = durable_names;
        restarted.name_changes = std::mem::take(&mut inner.name_changes);
        drop(restarted);
        disk
    }

    #[expect(clippy::unused_self, reason = "it is the disk that is started again")]
    fn restarted(
        &self,
        inner: &Inner,
        names: std::collections::BTreeMap<String, usize>,
        files: Vec<Content>,
        random: Random,
    ) -> SimDisk {
        let restarted = Inner {
            files,
            durable_names: names.clone(),
            names,
            name_changes: Vec::new(),
            random,
            capacity: inner.capacity,
            fault: None,
            fail_reads: false,
            operations: 0,
            crashed: false,
            identity: inner.identity,
        };
        SimDisk { inner: Arc::new(Mutex::new(restarted)) }
    }
}

/// Changes of names are kept or lost in their order, or each on its own.
fn surviving_names(inner: &Inner, random: &mut Random) -> std::collections::BTreeMap<String, usize> {
    let mut names = inner.durable_names.clone();
    let fate = Fate::choose(random);
    let kept = random.below(inner.name_changes.len() as u64 + 1) as usize;
    for (at, change) in inner.name_changes.iter().enumerate() {
        let survives = match fate {
            Fate::Lost => false,
            Fate::Kept => true,
            Fate::Prefix => at < kept,
            Fate::Holes => random.once_in(2),
        };
        if survives {
            change.apply(&mut names);
        }
    }
    names
}

fn surviving_content(content: &Content, random: &mut Random) -> Content {
    let mut bytes = content.durable.clone();
    let fate = Fate::choose(random);
    let kept = random.below(content.changes.len() as u64 + 1) as usize;
    for (at, change) in content.changes.iter().enumerate() {
        match fate {
            Fate::Lost => {}
            Fate::Kept => change.apply(&mut bytes),
            Fate::Prefix if at < kept => change.apply(&mut bytes),
            Fate::Prefix if at > kept => {}
            Fate::Prefix => tear(change, &mut bytes, random),
            Fate::Holes => scatter(change, &mut bytes, random),
        }
    }
    Content { seen: bytes.clone(), durable: bytes, changes: Vec::new() }
}

/// Applies the beginning of a write.
fn tear(change: &Change, bytes: &mut Vec<u8>, random: &mut Random) {
    match change {
        Change::Write(offset, new) => {
            let length = random.below(new.len() as u64 + 1) as usize;
            Change::Write(*offset, new[..length].to_vec()).apply(bytes);
        }
        Change::Truncate(_) => {
            if random.once_in(2) {
                change.apply(bytes);
            }
        }
    }
}

/// Applies some sectors of a write. Those between them read as zeros if the file was shorter.
fn scatter(change: &Change, bytes: &mut Vec<u8>, random: &mut Random) {
    let Change::Write(offset, new) = change else { return tear(change, bytes, random) };
    let end = *offset as usize + new.len();
    if bytes.len() < end && random.once_in(2) {
        // The length was written, the data was not.
        bytes.resize(end, 0);
    }
    let mut at = 0;
    while at < new.len() {
        let start = *offset as usize + at;
        let length = (SECTOR_BYTES - start % SECTOR_BYTES).min(new.len() - at);
        if random.once_in(2) {
            Change::Write(start as u64, new[at..at + length].to_vec()).apply(bytes);
        }
        at += length;
    }
}
