//! Thousands of random lives of a journal: transactions, crashes in the middle of any operation, full disks,
//! ordinary closings. After each opening the journal must be a prefix of what was submitted that holds all that
//! was acknowledged.

use std::collections::VecDeque;

use journal::sim_disk::{Fault, Random, SimDisk};
use journal::{Durability, Error, Journal, Options, Stepper};

use crate::oracle::{Deed, Oracle, Outcome};
use crate::seeds::{run_seed, seeds};

/// How many lives the test command runs; `TIDEGATE_SEEDS` may ask for more (or for `from..to`).
const SEEDS: u64 = 6000;
const TRANSACTIONS: u64 = 150;
const LOGS: u64 = 5;

struct Life {
    random: Random,
    disk: SimDisk,
    options: Options,
    /// What was durable at the last opening, and what was acknowledged since.
    base: Oracle,
    acknowledged: Vec<Deed>,
    /// `base` with all that was acknowledged.
    expected: Oracle,
    /// Submitted, in order; not answered, or answered with a failure that leaves it open.
    open: VecDeque<(Deed, Outcome)>,
    /// Sequences up to this one have been given out.
    given: u64,
}

fn options(random: &mut Random) -> Options {
    Options {
        durability: if random.once_in(5) { Durability::Os } else { Durability::Disk },
        segment_bytes: 512 << random.below(6),
        cache_bytes: (random.below(4) * 2000) as usize,
        queue_bytes: 1 << 20,
        queue_transactions: 1000,
        group_bytes: 200 << random.below(6),
        live_share_min: [0.0, 0.25, 0.25, 0.6][random.below(4) as usize],
        checkpoint_bytes: 1000 << random.below(6),
        reserve_bytes: [0, 2000, 8000][random.below(3) as usize],
        verify_everything: random.once_in(2),
        ..Options::default()
    }
}

impl Life {
    fn new(seed: u64) -> Life {
        let mut random = Random::new(seed);
        let options = options(&mut random);
        Life {
            disk: SimDisk::new(random.next()),
            random,
            options,
            base: Oracle::default(),
            acknowledged: Vec::new(),
            expected: Oracle::default(),
            open: VecDeque::new(),
            given: 0,
        }
    }

    fn run(mut self) {
        let mut left = TRANSACTIONS;
        while left > 0 {
            let Some((journal, mut stepper)) = self.open_journal() else { continue };
            if self.random.once_in(3) {
                let at = self.disk.operations() + 1 + self.random.below(60);
                let fault = match self.random.below(6) {
                    0 => Fault::FailSyncAt(at),
                    1 => Fault::FailWriteAt(at),
                    _ => Fault::CrashAt(at),
                };
                self.disk.set_fault(Some(fault));
            }
            let stays = 1 + self.random.below(60);
            for _ in 0..stays.min(left) {
                left -= 1;
                self.live(&journal, &mut stepper);
            }
            self.end(journal, stepper);
        }
        self.disk.set_fault(None);
        self.disk.set_capacity(None);
        for _ in 0..100 {
            if self.open_journal().is_some() {
                return;
            }
        }
        panic!("the journal never opens");
    }

    /// One submission, and perhaps some steps, a look, or a change of the disk's size.
    fn live(&mut self, journal: &Journal<SimDisk>, stepper: &mut Stepper<SimDisk>) {
        if self.random.once_in(40) {
            let used = self.disk.used();
            let full = self.random.once_in(2).then(|| used + self.random.below(3000));
            self.disk.set_capacity(full);
        }
        let mut deed = Deed::random(&mut self.random, LOGS, self.given, 3000);
        match deed.submit(journal) {
            Ok(outcome) => {
                self.given =
                    self.given.max((deed.first_sequence + deed.appends.len() as u64).saturating_sub(1));
                self.open.push_back((deed, outcome));
            }
            Err(error) => assert!(matches!(error, Error::Poisoned { .. }), "{error}"),
        }
        for _ in 0..self.random.below(4) {
            stepper.step();
            self.take_answers();
        }
        if self.random.once_in(10) && journal.status().poisoned.is_none() {
            let mut steps = 0;
            while stepper.step() {
                steps += 1;
                assert!(steps < 10_000, "upkeep comes to an end: {:?}", journal.status());
            }
            self.take_answers();
        }
        if self.random.once_in(8) && !self.disk.has_crashed() {
            let difference = self.expected.differs_from(journal);
            assert_eq!(difference, None, "while open");
        }
    }

    fn take_answers(&mut self) {
        let mut still_open = VecDeque::new();
        for (deed, outcome) in self.open.drain(..) {
            let answer = outcome.lock().unwrap().clone();
            match answer {
                Some(Ok(receipt)) => {
                    assert_eq!(receipt.sequences.first().unwrap_or(0), deed.first_sequence);
                    self.expected.apply(&deed);
                    self.acknowledged.push(deed);
                }
                Some(Err(Error::Full { .. })) => {}
                Some(Err(Error::Poisoned { .. })) | None => still_open.push_back((deed, outcome)),
                Some(Err(other)) => panic!("answered with {other}"),
            }
        }
        self.open = still_open;
    }

    /// Closing in order, or one of the two kinds of crash.
    fn end(&mut self, journal: Journal<SimDisk>, stepper: Stepper<SimDisk>) {
        let seed = self.random.next();
        let poisoned = journal.status().poisoned.is_some();
        if !poisoned && self.random.once_in(3) {
            journal.close().unwrap();
            let result = stepper.finish();
            drop(journal);
            self.take_answers();
            if let Err(error) = result {
                assert!(matches!(error, Error::Poisoned { .. } | Error::Io { .. }), "{error}");
            } else {
                assert!(self.open.is_empty(), "closing answers everything");
                self.disk.set_fault(None);
                if self.random.once_in(2) {
                    self.disk = self.disk.after_power_loss(seed);
                }
                return;
            }
        } else {
            drop((journal, stepper));
        }
        self.take_answers();
        self.crash(seed);
    }

    fn crash(&mut self, seed: u64) {
        if self.random.once_in(3) {
            // What the operating system has taken is there.
            self.disk = self.disk.after_process_death(seed);
        } else {
            self.disk = self.disk.after_power_loss(seed);
            if self.options.durability == Durability::Os {
                // Anything since the last opening may be gone, but only from the end.
                let lost = std::mem::take(&mut self.acknowledged);
                for deed in lost.into_iter().rev() {
                    self.open.push_front((deed, Outcome::default()));
                }
                self.expected = self.base.clone();
            }
        }
    }

    /// Opens the journal and compares. `None` if it crashed again while opening.
    fn open_journal(&mut self) -> Option<(Journal<SimDisk>, Stepper<SimDisk>)> {
        if self.random.once_in(6) {
            self.disk.set_fault(Some(Fault::CrashAt(1 + self.random.below(12))));
        }
        match Journal::open_stepped(self.disk.clone(), self.options.clone()) {
            Ok((journal, stepper)) => {
                self.disk.set_fault(None);
                self.compare(&journal);
                Some((journal, stepper))
            }
            Err(error) => {
                let excused = self.disk.has_crashed() || matches!(error, Error::Full { .. });
                assert!(excused, "opening failed: {error:?}");
                self.disk.set_capacity(None);
                let seed = self.random.next();
                self.crash(seed);
                None
            }
        }
    }

    /// The journal must be `expected` with some of the open transactions, from the first on.
    fn compare(&mut self, journal: &Journal<SimDisk>) {
        let mut candidate = self.expected.clone();
        let mut difference = candidate.differs_from(journal);
        let mut differences = vec![difference.clone()];
        let open = std::mem::take(&mut self.open);
        let mut taken = 0;
        for (deed, _) in &open {
            if difference.is_none() {
                break;
            }
            candidate.apply(deed);
            taken += 1;
            difference = candidate.differs_from(journal);
            differences.push(difference.clone());
        }
        assert_eq!(difference, None, "after opening, {taken} open ones tried: {differences:?}");
        assert!(journal.status().damaged.is_empty());
        self.base = candidate.clone();
        self.expected = candidate;
        self.acknowledged.clear();
        // Sequences of transactions that are not in the journal may be given again.
        self.given = self.expected.highest;
    }
}

fn run_part(part: u64, parts: u64) {
    for seed in seeds(SEEDS).filter(|seed| seed % parts == part) {
        run_seed("simulation", seed, || {
            Life::new(seed).run();
        });
    }
}

#[test]
fn acknowledged_is_recovered_is_written_in_order_even_seeds() {
    run_part(0, 2);
}

#[test]
fn acknowledged_is_recovered_is_written_in_order_odd_seeds() {
    run_part(1, 2);
}
