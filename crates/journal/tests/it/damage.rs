//! Bits that flip, files that vanish or shrink, disks that cannot be read: always said, never passed over.

use std::collections::{BTreeMap, BTreeSet};

use journal::sim_disk::{Random, SimDisk};
use journal::{Error, Journal, Options};

use crate::oracle::{Deed, Oracle, read_all};
use crate::seeds::{run_seed, seeds};

/// How many journals are built, and how often each is damaged.
const SEEDS: u64 = 150;
const DAMAGES: u64 = 30;

struct Built {
    disk: SimDisk,
    /// The state after each transaction.
    history: Vec<Oracle>,
    /// Every frame that was ever appended.
    frames: BTreeMap<(String, u64), Vec<u8>>,
    values: BTreeSet<(Vec<u8>, Vec<u8>)>,
    closed: bool,
}

fn options() -> Options {
    Options {
        segment_bytes: 3000,
        cache_bytes: 1000,
        checkpoint_bytes: 6000,
        reserve_bytes: 0,
        ..Options::default()
    }
}

fn build(seed: u64) -> Built {
    let mut random = Random::new(seed);
    let disk = SimDisk::new(seed);
    let (journal, mut stepper) = Journal::open_stepped(disk.clone(), options()).unwrap();
    let mut oracle = Oracle::default();
    let mut history = vec![oracle.clone()];
    let mut frames = BTreeMap::new();
    let mut values = BTreeSet::new();
    for _ in 0..10 + random.below(80) {
        let mut deed = Deed::random(&mut random, 4, oracle.highest, 1500);
        deed.submit(&journal).unwrap();
        while stepper.step() {}
        for (sequence, (log, frame)) in (deed.first_sequence..).zip(&deed.appends) {
            frames.insert((log.clone(), sequence), frame.clone());
        }
        for (key, value) in &deed.writes {
            values.extend(value.clone().map(|value| (key.clone(), value)));
        }
        oracle.apply(&deed);
        history.push(oracle.clone());
    }
    assert_eq!(oracle.differs_from(&journal), None);
    let closed = random.once_in(2);
    if closed {
        journal.close().unwrap();
        stepper.finish().unwrap();
    }
    Built { disk, history, frames, values, closed }
}

fn copy(disk: &SimDisk) -> SimDisk {
    let copy = SimDisk::new(1);
    for (name, _) in disk.files() {
        copy.set_content(&name, disk.content(&name).unwrap());
    }
    copy
}

/// Damages one file and says how.
fn damage(disk: &SimDisk, random: &mut Random) -> String {
    let files = disk.files();
    let (name, length) = &files[random.below(files.len() as u64) as usize];
    match random.below(8) {
        0 => {
            disk.lose(name);
            format!("{name} lost")
        }
        1 if *length > 0 => {
            let at = random.below(*length);
            let mut bytes = disk.content(name).unwrap();
            bytes.truncate(at as usize);
            disk.set_content(name, bytes);
            format!("{name} of {length} cut at {at}")
        }
        2 if *length > 0 => {
            let mut bytes = disk.content(name).unwrap();
            let from = random.below(*length) as usize;
            let to = (from + random.below(600) as usize).min(bytes.len());
            bytes[from..to].fill(0);
            disk.set_content(name, bytes);
            format!("{name}: {from}..{to} zeroed")
        }
        _ if *length > 0 => {
            let bit = random.below(length * 8);
            disk.flip_bit(name, bit);
            format!("{name} of {length}: bit {} of byte {} flipped", bit % 8, bit / 8)
        }
        _ => "nothing".to_owned(),
    }
}

/// Whether the journal is this state, apart from frames that it says it cannot read.
fn is_right(journal: &Journal<SimDisk>, oracle: &Oracle) -> bool {
    let state: BTreeMap<Vec<u8>, Vec<u8>> =
        journal.scan(b"").into_iter().map(|(key, value)| (key.to_vec(), value.to_vec())).collect();
    let counts = |name: &String, last: u64| {
        let expected = oracle.logs.get(name);
        expected.map_or((0, 0), |(frames, last)| (frames.len() as u64, *last)) == (count(journal, name), last)
    };
    let logs = journal.logs();
    state == oracle.state
        && oracle
            .logs
            .iter()
            .all(|(name, (frames, _))| frames.is_empty() || logs.iter().any(|(n, _)| n == name))
        && logs.iter().all(|(name, id)| counts(name, journal.stats(*id).unwrap().last))
        && logs.iter().all(|(name, id)| match read_all(journal, *id, 2000) {
            Ok(frames) => oracle.logs.get(name).is_none_or(|(expected, _)| frames == *expected),
            Err(error) => matches!(error, Error::Damaged { .. }),
        })
}

fn count(journal: &Journal<SimDisk>, name: &str) -> u64 {
    journal.stats(journal.log(name).unwrap()).unwrap().frames
}

impl Built {
    /// A journal that opened in spite of the damage must be right, or be without its last transactions, of
    /// which it may miss `missing_max`.
    fn check_opened(&self, journal: &Journal<SimDisk>, missing_max: usize) {
        let status = journal.status();
        assert!(status.damaged.is_empty());
        let missing = self.history.iter().rev().position(|oracle| is_right(journal, oracle));
        let missing = missing.expect("a prefix of what was written");
        assert!(missing <= missing_max, "{missing} transactions are missing: {status:?}");
    }

    /// Accepting the damage leaves only what was written, and the next opening has nothing to complain about.
    fn check_accepting(&self, disk: &SimDisk) {
        let accepting = Options { accept_damage: true, ..options() };
        let (journal, mut stepper) = match Journal::open_stepped(disk.clone(), accepting) {
            Ok(opened) => opened,
            // Without knowing which journal it is, or its version, nothing can be read.
            Err(Error::Version { .. }) => return,
            Err(Error::Damaged { what, .. }) => {
                assert_eq!(what, "no segment says which journal it is of");
                return;
            }
            Err(other) => panic!("{other:?}"),
        };
        assert!(!journal.status().damaged.is_empty());
        self.check_known(&journal);
        let log = journal.log("after").unwrap();
        let mut transaction = journal::Transaction::new();
        transaction.append(log, "still works");
        let sequences = journal.submit(transaction, |result| assert!(result.is_ok())).unwrap();
        while stepper.step() {}
        journal.close().unwrap();
        stepper.finish().unwrap();

        for verify_everything in [false, true] {
            let again = Options { verify_everything, ..options() };
            let (journal, _stepper) = Journal::open_stepped(disk.clone(), again).unwrap();
            self.check_known(&journal);
            let after = read_all(&journal, journal.log("after").unwrap(), 100).unwrap();
            assert_eq!(after, BTreeMap::from([(sequences.first().unwrap(), b"still works".to_vec())]));
        }
    }

    fn check_known(&self, journal: &Journal<SimDisk>) {
        for (name, id) in journal.logs() {
            for (sequence, frame) in read_all(journal, id, 2000).unwrap() {
                if name != "after" && !name.starts_with("lost.") {
                    assert_eq!(self.frames.get(&(name.clone(), sequence)), Some(&frame));
                }
            }
        }
        for (key, value) in journal.scan(b"") {
            assert!(self.values.contains(&(key.to_vec(), value.to_vec())), "a value that was put");
        }
    }
}

#[test]
fn damage_is_said_and_never_passed_over() {
    let mut refused = 0;
    let mut opened = 0;
    for seed in seeds(SEEDS) {
        let built = build(seed);
        let mut random = Random::new(seed);
        for _ in 0..DAMAGES {
            let disk = copy(&built.disk);
            let what = damage(&disk, &mut random);
            let verify_everything = random.once_in(2);
            let mut outcome = (0, 0);
            let counted = std::panic::AssertUnwindSafe(&mut outcome);
            run_seed("damage", seed, || {
                let counted = counted;
                println!("{what}");
                let first = Journal::open_stepped(disk.clone(), Options { verify_everything, ..options() });
                match first {
                    Ok((journal, _stepper)) => {
                        // Each record is the witness of those before it, and closing is the witness of the
                        // last one. Only if witnesses go as well can something be missing.
                        let missing_max = match (what.contains("flipped"), built.closed) {
                            (true, true) => 0,
                            (true, false) => 1,
                            (false, _) => usize::MAX,
                        };
                        built.check_opened(&journal, missing_max);
                        counted.0.1 += 1;
                    }
                    Err(Error::Damaged { .. } | Error::Version { .. }) => {
                        built.check_accepting(&disk);
                        counted.0.0 += 1;
                    }
                    Err(other) => panic!("{other:?}"),
                }
            });
            refused += outcome.0;
            opened += outcome.1;
        }
    }
    assert!(refused > opened, "most damage is found when opening: {refused} refused, {opened} opened");
}

#[test]
fn a_disk_that_cannot_be_read_is_an_error_that_names_the_file() {
    let built = build(3);
    built.disk.set_fail_reads(true);
    let Err(error) = Journal::open_stepped(copy_failing(&built.disk), options()) else { panic!("it opened") };
    assert!(
        matches!(&error, Error::Io { action: "read", file, .. } if file.ends_with("segment") || file.ends_with("checkpoint"))
    );
}

fn copy_failing(disk: &SimDisk) -> SimDisk {
    let copy = copy(disk);
    copy.set_fail_reads(true);
    copy
}

/// Twenty records of one frame each, in one segment, closed. Returns the disk.
fn twenty(options: &Options) -> SimDisk {
    let disk = SimDisk::new(1);
    let journal = Journal::open(disk.clone(), options.clone()).unwrap();
    let log = journal.log("a").unwrap();
    for count in 0..20_u8 {
        let mut transaction = journal::Transaction::new();
        transaction.append(log, vec![count; 100]).put("count", format!("{count}."));
        journal.commit(transaction).unwrap();
    }
    journal.close().unwrap();
    disk
}

const FIRST: &str = "0000000001.segment";

/// The damaged range that opening reports, checked to be the one that accepting it reports.
fn range(disk: &SimDisk) -> (String, u64, u64) {
    let error =
        Journal::open(disk.clone(), Options { verify_everything: true, ..Options::default() }).unwrap_err();
    let Error::Damaged { file, from, to, .. } = error else { panic!("{error:?}") };
    let journal = Journal::open(disk.clone(), Options { accept_damage: true, ..Options::default() }).unwrap();
    let damaged = &journal.status().damaged;
    assert_eq!(damaged.len(), 1);
    assert_eq!((&damaged[0].file, damaged[0].from, damaged[0].to), (&file, from, to));
    (file, from, to)
}

fn frames_left(disk: &SimDisk) -> Vec<u8> {
    let journal =
        Journal::open(disk.clone(), Options { verify_everything: true, ..Options::default() }).unwrap();
    let frames = read_all(&journal, journal.log("a").unwrap(), 1000).unwrap();
    assert_eq!(journal.get(b"count").unwrap(), "19.");
    frames.values().map(|frame| frame[0]).collect()
}

#[test]
fn a_damaged_frame_costs_that_frame_only() {
    let disk = twenty(&Options::default());
    let bytes = disk.content(FIRST).unwrap();
    let at = bytes.windows(100).position(|window| window == [7; 100]).unwrap() as u64;
    disk.flip_bit(FIRST, (at + 50) * 8);
    assert_eq!(range(&disk), (FIRST.to_owned(), at, at + 100));
    assert_eq!(frames_left(&disk), (0..20).filter(|count| *count != 7).collect::<Vec<_>>());
}

#[test]
fn a_damaged_record_costs_that_record_only() {
    let disk = twenty(&Options::default());
    let bytes = disk.content(FIRST).unwrap();
    let starts: Vec<u64> =
        (0..bytes.len() as u64).step_by(8).filter(|at| bytes[*at as usize..].starts_with(b"TGr1")).collect();
    // The name of the log, twenty transactions, the mark of closing.
    assert_eq!(starts.len(), 22);
    disk.flip_bit(FIRST, (starts[8] + 10) * 8);
    assert_eq!(range(&disk), (FIRST.to_owned(), starts[8], starts[9]));
    assert_eq!(frames_left(&disk), (0..20).filter(|count| *count != 7).collect::<Vec<_>>());
}

#[test]
fn a_frame_damaged_under_an_open_journal_is_an_error_when_it_is_read() {
    let disk = twenty(&Options::default());
    let journal = Journal::open(disk.clone(), Options::default()).unwrap();
    let bytes = disk.content(FIRST).unwrap();
    let at = bytes.windows(100).position(|window| window == [7; 100]).unwrap() as u64;
    disk.flip_bit(FIRST, at * 8);
    let mut entries = Vec::new();
    let error = journal.read(journal.log("a").unwrap(), 0, 1 << 20, &mut entries).unwrap_err();
    let Error::Damaged { file, from, to, .. } = error else { panic!("{error:?}") };
    assert_eq!((file.as_str(), from, to), (FIRST, at, at + 100));
    assert_eq!(entries.len(), 7, "the frames before it are given");
}

#[test]
fn records_that_a_checkpoint_knows_of_are_missed() {
    let options = Options { checkpoint_bytes: 1500, reserve_bytes: 0, ..Options::default() };
    let disk = twenty(&options);
    assert!(disk.files().iter().any(|(name, _)| name.ends_with("checkpoint")));
    let bytes = disk.content(FIRST).unwrap();
    disk.set_content(FIRST, bytes[..64].to_vec());
    let error = Journal::open(disk, options).unwrap_err();
    assert!(
        matches!(error, Error::Damaged { what: "the last records are missing", from: 64, .. }),
        "{error:?}"
    );
}

#[test]
fn a_file_of_another_version_or_another_journal_is_refused_by_name() {
    let disk = twenty(&Options::default());
    let other = SimDisk::new(77);
    drop(Journal::open(other.clone(), Options::default()).unwrap());
    disk.set_content("0000000002.segment", other.content(FIRST).unwrap());
    let error = Journal::open(disk, Options::default()).unwrap_err();
    assert!(matches!(error, Error::Damaged { file, .. } if file == "0000000002.segment"));
}
