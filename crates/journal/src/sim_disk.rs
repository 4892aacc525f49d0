//! A disk in memory that does what disks do: loses what was not synced, tears writes, fills up, flips bits,
//! fails. Every fault is chosen by the test or by a seed, so that a run can be repeated.
//!
//! The invariant: what was synced before a crash is there after it, and names are durable only after the directory was synced.

mod crash;

use std::collections::BTreeMap;
use std::io::{self, IoSlice};
use std::sync::{Arc, Mutex};

use crate::disk::{Disk, DiskFile};
use crate::locks::lock;

/// A simulated disk. Clones are handles of the same disk.
#[derive(Debug, Clone)]
pub struct SimDisk {
    inner: Arc<Mutex<Inner>>,
}

/// When the next fault comes, counted in operations that change the disk (create, write, sync, truncate, rename, delete).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// The machine stops in the middle of this operation. Everything after it fails.
    CrashAt(u64),
    /// The first sync from this operation on fails, and what it should have made durable is lost with the next crash.
    FailSyncAt(u64),
    /// The first write from this operation on fails after a part of it.
    FailWriteAt(u64),
}

#[derive(Debug)]
struct Inner {
    files: Vec<Content>,
    /// Names as they are seen.
    names: BTreeMap<String, usize>,
    /// Names as they are on the disk.
    durable_names: BTreeMap<String, usize>,
    /// What was done to names since the directory was synced.
    name_changes: Vec<NameChange>,
    random: Random,
    capacity: Option<u64>,
    fault: Option<Fault>,
    fail_reads: bool,
    operations: u64,
    crashed: bool,
    identity: u64,
}

/// One file: what is seen, what is on the disk, and the writes between the two.
#[derive(Debug, Default)]
struct Content {
    seen: Vec<u8>,
    durable: Vec<u8>,
    changes: Vec<Change>,
}

#[derive(Debug)]
enum Change {
    Write(u64, Vec<u8>),
    Truncate(u64),
}

#[derive(Debug)]
enum NameChange {
    Set(String, usize),
    Remove(String),
    Rename(String, String),
}

/// Small, fast and repeatable random numbers (xorshift64*), for faults and for the tests that choose them.
#[derive(Debug, Clone)]
pub struct Random(u64);

impl Random {
    /// A sequence of numbers that depends on the seed only.
    pub fn new(seed: u64) -> Random {
        let mut random = Random(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) ^ 0x5851_f42d_4c95_7f2d);
        if random.0 == 0 {
            random.0 = 1;
        }
        for _ in 0..4 {
            random.next();
        }
        random
    }

    /// The next number.
    #[expect(
        clippy::should_implement_trait,
        reason = "not an iterator: it never ends and is drawn from one by one"
    )]
    pub fn next(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d)
    }

    /// A number below `limit`, which must not be 0.
    pub fn below(&mut self, limit: u64) -> u64 {
        assert!(limit > 0, "there is no number below 0");
        // The upper bits are the better ones.
        (self.next() >> 16) % limit
    }

    /// True once in `in_how_many` times.
    pub fn once_in(&mut self, in_how_many: u64) -> bool {
        self.below(in_how_many) == 0
    }
}

impl SimDisk {
    /// An empty disk without limit. The seed decides how much of an operation survives a fault.
    pub fn new(seed: u64) -> SimDisk {
        let mut random = Random::new(seed);
        let identity = random.next();
        let inner = Inner {
            files: Vec::new(),
            names: BTreeMap::new(),
            durable_names: BTreeMap::new(),
            name_changes: Vec::new(),
            random,
            capacity: None,
            fault: None,
            fail_reads: false,
            operations: 0,
            crashed: false,
            identity,
        };
        SimDisk { inner: Arc::new(Mutex::new(inner)) }
    }

    /// Limits the bytes of all files together.
    pub fn set_capacity(&self, bytes: Option<u64>) {
        lock(&self.inner).capacity = bytes;
    }

    /// Sets or removes the next fault.
    pub fn set_fault(&self, fault: Option<Fault>) {
        lock(&self.inner).fault = fault;
    }

    /// Makes every read fail, or not.
    pub fn set_fail_reads(&self, fail: bool) {
        lock(&self.inner).fail_reads = fail;
    }

    /// Operations so far.
    pub fn operations(&self) -> u64 {
        lock(&self.inner).operations
    }

    /// Whether the machine has stopped.
    pub fn has_crashed(&self) -> bool {
        lock(&self.inner).crashed
    }

    /// Bytes of all files.
    pub fn used(&self) -> u64 {
        lock(&self.inner).used()
    }

    /// Names and lengths of all files.
    pub fn files(&self) -> Vec<(String, u64)> {
        let inner = lock(&self.inner);
        inner.names.iter().map(|(name, file)| (name.clone(), inner.files[*file].seen.len() as u64)).collect()
    }

    /// What is in a file.
    pub fn content(&self, name: &str) -> Option<Vec<u8>> {
        let inner = lock(&self.inner);
        inner.names.get(name).map(|file| inner.files[*file].seen.clone())
    }

    /// Replaces a file, as if it had always been so.
    pub fn set_content(&self, name: &str, bytes: Vec<u8>) {
        let mut inner = lock(&self.inner);
        let content = Content { seen: bytes.clone(), durable: bytes, changes: Vec::new() };
        inner.files.push(content);
        let file = inner.files.len() - 1;
        inner.names.insert(name.to_owned(), file);
        inner.durable_names.insert(name.to_owned(), file);
    }

    /// Inverts one bit of a file, on the disk and as it is seen.
    pub fn flip_bit(&self, name: &str, bit: u64) {
        let mut inner = lock(&self.inner);
        let file = inner.names.get(name).copied().expect("the file to be damaged exists");
        let content = &mut inner.files[file];
        let (at, mask) = ((bit / 8) as usize, 1 << (bit % 8));
        content.seen[at] ^= mask;
        if let Some(byte) = content.durable.get_mut(at) {
            *byte ^= mask;
        }
    }

    /// Removes a file without a trace.
    pub fn lose(&self, name: &str) {
        let mut inner = lock(&self.inner);
        inner.names.remove(name);
        inner.durable_names.remove(name);
    }
}

impl Inner {
    fn used(&self) -> u64 {
        self.names.values().map(|file| self.files[*file].seen.len() as u64).sum()
    }

    /// Counts an operation. Returns whether the machine stops in the middle of it.
    fn operate(&mut self) -> io::Result<bool> {
        if self.crashed {
            return Err(stopped());
        }
        self.operations += 1;
        if let Some(Fault::CrashAt(at)) = self.fault
            && self.operations >= at
        {
            self.crashed = true;
            return Ok(true);
        }
        Ok(false)
    }

    fn change_name(&mut self, change: NameChange) {
        change.apply(&mut self.names);
        self.name_changes.push(change);
    }

    /// Does an operation on names; one that the crash interrupts has happened or has not.
    fn name_operation(&mut self, change: NameChange) -> io::Result<()> {
        let crashes = self.operate()?;
        if !crashes || self.random.once_in(2) {
            self.change_name(change);
        }
        if crashes { Err(stopped()) } else { Ok(()) }
    }

    fn find(&self, name: &str) -> io::Result<usize> {
        if self.crashed {
            return Err(stopped());
        }
        self.names.get(name).copied().ok_or_else(|| io::ErrorKind::NotFound.into())
    }

    fn write(&mut self, file: usize, offset: u64, bytes: &[u8]) -> io::Result<()> {
        let crashes = self.operate()?;
        let fails = matches!(self.fault, Some(Fault::FailWriteAt(at)) if self.operations >= at);
        let end = offset + bytes.len() as u64;
        let grows = end.saturating_sub(self.files[file].seen.len() as u64);
        let room = self.capacity.map_or(u64::MAX, |capacity| capacity.saturating_sub(self.used()));
        let mut length = bytes.len();
        if grows > room {
            length -= (grows - room).min(length as u64) as usize;
        }
        if crashes || fails {
            length = self.random.below(length as u64 + 1) as usize;
        }
        if length > 0 {
            self.files[file].write(offset, &bytes[..length]);
        }
        if crashes {
            Err(stopped())
        } else if fails {
            self.fault = None;
            Err(io::Error::other("simulated write failure"))
        } else if grows > room {
            Err(io::ErrorKind::StorageFull.into())
        } else {
            Ok(())
        }
    }

    fn sync(&mut self, file: usize) -> io::Result<()> {
        if self.operate()? {
            // All, some or nothing of it may have reached the disk.
            return Err(stopped());
        }
        if matches!(self.fault, Some(Fault::FailSyncAt(at)) if self.operations >= at) {
            self.fault = None;
            // The operating system forgets what it could not write.
            self.files[file].changes.clear();
            return Err(io::Error::other("simulated sync failure"));
        }
        let content = &mut self.files[file];
        for change in std::mem::take(&mut content.changes) {
            change.apply(&mut content.durable);
        }
        Ok(())
    }
}

fn stopped() -> io::Error {
    io::Error::other("the simulated machine has stopped")
}

impl Content {
    fn write(&mut self, offset: u64, bytes: &[u8]) {
        let change = Change::Write(offset, bytes.to_vec());
        change.apply(&mut self.seen);
        self.changes.push(change);
    }
}

impl Change {
    fn apply(&self, bytes: &mut Vec<u8>) {
        match self {
            Change::Write(offset, new) => {
                let start = *offset as usize;
                let end = start + new.len();
                if bytes.len() < end {
                    bytes.resize(end, 0);
                }
                bytes[start..end].copy_from_slice(new);
            }
            Change::Truncate(length) => bytes.resize(*length as usize, 0),
        }
    }
}

impl NameChange {
    fn apply(&self, names: &mut BTreeMap<String, usize>) {
        match self {
            NameChange::Set(name, file) => {
                names.insert(name.clone(), *file);
            }
            NameChange::Remove(name) => {
                names.remove(name);
            }
            NameChange::Rename(from, to) => {
                if let Some(file) = names.remove(from) {
                    names.insert(to.clone(), file);
                }
            }
        }
    }
}

/// A file of a [`SimDisk`].
#[derive(Debug)]
pub struct SimFile {
    inner: Arc<Mutex<Inner>>,
    file: usize,
}

impl Disk for SimDisk {
    type File = SimFile;

    fn list(&self) -> io::Result<Vec<String>> {
        let inner = lock(&self.inner);
        if inner.crashed { Err(stopped()) } else { Ok(inner.names.keys().cloned().collect()) }
    }

    fn create(&self, name: &str) -> io::Result<SimFile> {
        let mut inner = lock(&self.inner);
        if inner.capacity == Some(0) {
            return Err(io::ErrorKind::StorageFull.into());
        }
        inner.files.push(Content::default());
        let file = inner.files.len() - 1;
        inner.name_operation(NameChange::Set(name.to_owned(), file))?;
        Ok(SimFile { inner: Arc::clone(&self.inner), file })
    }

    fn open(&self, name: &str) -> io::Result<SimFile> {
        let file = lock(&self.inner).find(name)?;
        Ok(SimFile { inner: Arc::clone(&self.inner), file })
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        let mut inner = lock(&self.inner);
        inner.find(from)?;
        inner.name_operation(NameChange::Rename(from.to_owned(), to.to_owned()))
    }

    fn delete(&self, name: &str) -> io::Result<()> {
        let mut inner = lock(&self.inner);
        inner.find(name)?;
        inner.name_operation(NameChange::Remove(name.to_owned()))
    }

    fn sync_directory(&self) -> io::Result<()> {
        let mut inner = lock(&self.inner);
        if inner.operate()? {
            return Err(stopped());
        }
        inner.durable_names = inner.names.clone();
        inner.name_changes.clear();
        Ok(())
    }

    fn identity(&self) -> u64 {
        lock(&self.inner).identity
    }

    fn place(&self) -> String {
        "a simulated disk".to_owned()
    }
}

impl DiskFile for SimFile {
    fn length(&self) -> io::Result<u64> {
        Ok(lock(&self.inner).files[self.file].seen.len() as u64)
    }

    fn read_at(&self, offset: u64, buffer: &mut [u8]) -> io::Result<usize> {
        let inner = lock(&self.inner);
        if inner.crashed {
            return Err(stopped());
        }
        if inner.fail_reads {
            return Err(io::Error::other("simulated read failure"));
        }
        let bytes = inner.files[self.file].seen.get(offset as usize..).unwrap_or_default();
        let read = bytes.len().min(buffer.len());
        buffer[..read].copy_from_slice(&bytes[..read]);
        Ok(read)
    }

    fn write_at(&self, offset: u64, parts: &mut [IoSlice<'_>]) -> io::Result<()> {
        let bytes: Vec<u8> = parts.iter().flat_map(|part| part.iter().copied()).collect();
        lock(&self.inner).write(self.file, offset, &bytes)
    }

    fn sync(&self) -> io::Result<()> {
        lock(&self.inner).sync(self.file)
    }

    fn truncate(&self, length: u64) -> io::Result<()> {
        let mut inner = lock(&self.inner);
        let crashes = inner.operate()?;
        if !crashes || inner.random.once_in(2) {
            let change = Change::Truncate(length);
            let content = &mut inner.files[self.file];
            change.apply(&mut content.seen);
            content.changes.push(change);
        }
        if crashes { Err(stopped()) } else { Ok(()) }
    }
}
