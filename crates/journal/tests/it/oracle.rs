//! A journal as it should be: the transactions applied one by one to plain maps. And the comparison of the two.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use journal::sim_disk::{Random, SimDisk};
use journal::{Entry, Error, Journal, LogId, Receipt, Sequences, Transaction};

/// What a transaction does, in words that outlive an opening of the journal.
#[derive(Debug, Clone, Default)]
pub(crate) struct Deed {
    pub(crate) appends: Vec<(String, Vec<u8>)>,
    pub(crate) settlements: Vec<(String, u64, bool)>,
    pub(crate) writes: Vec<(Vec<u8>, Option<Vec<u8>>)>,
    pub(crate) first_sequence: u64,
}

pub(crate) type Outcome = Arc<Mutex<Option<Result<Receipt, Error>>>>;

impl Deed {
    /// Appends, settlements and writes as a seed would have them.
    pub(crate) fn random(random: &mut Random, logs: u64, highest: u64, frame_max: u64) -> Deed {
        let mut deed = Deed::default();
        let log = |random: &mut Random| format!("log-{}", random.below(logs));
        for _ in 0..random.below(4) {
            let length = if random.once_in(8) { random.below(frame_max) } else { random.below(60) };
            let seed = random.next();
            let frame = (0..length).map(|at| (seed >> (at % 57)) as u8 ^ at as u8).collect();
            deed.appends.push((log(random), frame));
        }
        if highest > 0 {
            for _ in 0..random.below(3) {
                let back = random.below(highest.min(40));
                deed.settlements.push((log(random), highest - back, random.once_in(3)));
            }
        }
        for _ in 0..random.below(3) {
            let key = format!("key-{}", random.below(20)).into_bytes();
            let value = (!random.once_in(4)).then(|| vec![random.next() as u8; random.below(80) as usize]);
            deed.writes.push((key, value));
        }
        deed
    }

    /// Submits it; the outcome is filled in when it is known.
    pub(crate) fn submit(&mut self, journal: &Journal<SimDisk>) -> Result<Outcome, Error> {
        let mut transaction = Transaction::new();
        let log = |name: &str| journal.log(name).unwrap();
        for (name, frame) in &self.appends {
            transaction.append(log(name), frame.clone());
        }
        for (name, sequence, through) in &self.settlements {
            if *through {
                transaction.settle_through(log(name), *sequence);
            } else {
                transaction.settle_one(log(name), *sequence);
            }
        }
        for (key, value) in &self.writes {
            match value {
                Some(value) => transaction.put(key, value),
                None => transaction.delete(key),
            };
        }
        let outcome = Outcome::default();
        let filled = Arc::clone(&outcome);
        let sequences: Sequences = journal.submit(transaction, move |result| {
            let before = filled.lock().unwrap().replace(result);
            assert!(before.is_none(), "a transaction is answered once");
        })?;
        assert_eq!(sequences.len(), self.appends.len());
        self.first_sequence = sequences.first().unwrap_or(0);
        Ok(outcome)
    }
}

#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Oracle {
    /// Unsettled frames and the highest sequence of each log.
    pub(crate) logs: BTreeMap<String, (BTreeMap<u64, Vec<u8>>, u64)>,
    pub(crate) state: BTreeMap<Vec<u8>, Vec<u8>>,
    pub(crate) highest: u64,
}

impl Oracle {
    pub(crate) fn apply(&mut self, deed: &Deed) {
        for (sequence, (log, frame)) in (deed.first_sequence..).zip(&deed.appends) {
            assert!(sequence > self.highest, "sequences rise and are not given twice");
            self.highest = sequence;
            let log = self.logs.entry(log.clone()).or_default();
            log.0.insert(sequence, frame.clone());
            log.1 = sequence;
        }
        for (log, sequence, through) in &deed.settlements {
            let log = self.logs.entry(log.clone()).or_default();
            if *through {
                log.0.retain(|at, _| at > sequence);
            } else {
                log.0.remove(sequence);
            }
        }
        for (key, value) in &deed.writes {
            match value {
                Some(value) => self.state.insert(key.clone(), value.clone()),
                None => self.state.remove(key),
            };
        }
    }

    /// What is different between this and the journal, if anything is.
    pub(crate) fn differs_from(&self, journal: &Journal<SimDisk>) -> Option<String> {
        let state: BTreeMap<Vec<u8>, Vec<u8>> =
            journal.scan(b"").into_iter().map(|(key, value)| (key.to_vec(), value.to_vec())).collect();
        if state != self.state {
            let got = state.iter().filter(|(key, value)| self.state.get(*key) != Some(*value));
            let missing = self.state.keys().filter(|key| !state.contains_key(*key)).count();
            return Some(format!("the state differs: {:?}, {missing} missing", got.collect::<Vec<_>>()));
        }
        let mut frames = 0;
        for (name, id) in journal.logs() {
            let empty = (BTreeMap::new(), 0);
            let (expected, last) = self.logs.get(&name).unwrap_or(&empty);
            let stats = journal.stats(id).unwrap();
            let bytes: usize = expected.values().map(Vec::len).sum();
            if stats.frames != expected.len() as u64
                || stats.bytes != bytes as u64
                || stats.last != *last
                || stats.first != expected.keys().next().copied()
            {
                return Some(format!("{name}: {stats:?}, expected {} frames, last {last}", expected.len()));
            }
            frames += expected.len();
            match read_all(journal, id, 3000) {
                Ok(read) if read == *expected => {}
                Ok(_) => return Some(format!("{name}: the frames differ")),
                Err(error) => return Some(format!("{name}: {error}")),
            }
        }
        let all: usize = self.logs.values().map(|(frames, _)| frames.len()).sum();
        (frames != all).then(|| "a log with frames is missing".to_owned())
    }
}

/// Reads a whole log, a few frames at a time.
pub(crate) fn read_all(
    journal: &Journal<SimDisk>,
    log: LogId,
    max_bytes: usize,
) -> Result<BTreeMap<u64, Vec<u8>>, Error> {
    let mut all = BTreeMap::new();
    let mut from = 0;
    loop {
        let mut entries: Vec<Entry> = Vec::new();
        if journal.read(log, from, max_bytes, &mut entries)? == 0 {
            return Ok(all);
        }
        for entry in entries {
            assert!(entry.sequence >= from, "reading goes forward");
            from = entry.sequence + 1;
            all.insert(entry.sequence, entry.bytes.to_vec());
        }
    }
}
