//! What the numbers of a bounded source are doing: a file of lines that all processes of the source append to, so that
//! any number of them may run side by side, be killed and come back.
//!
//! The numbers 0 to `count` − 1 are each in one of four states: not yet given out, given out, given back, acknowledged.
//! Invariant: what happens to a number is decided under the lock of the file, from everything written before; a number
//! is given out again only when it was given back, its holder is dead, or its holder has waited too long.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::fs::{self, File, OpenOptions};
use std::io::{Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use anyhow::{Context, Result, bail};

/// The rate is kept over this much time, or over that of one number where that is longer: an idle source may make up for
/// so much, and for no more.
const BURST: Duration = Duration::from_millis(100);
/// How often holders are looked at for signs of life.
const LOOK: Duration = Duration::from_millis(200);

/// What a source gives.
#[derive(Clone, Copy, Debug)]
pub struct Terms {
    /// How many numbers there are.
    pub count: u64,
    /// How many of them a second, all processes together.
    pub rate: u64,
    /// How long a number may be held before it is given out again.
    pub patience: Duration,
}

/// One process of the source.
pub struct Ledger {
    terms: Terms,
    file: File,
    /// Where each holder has a file that it keeps locked while it lives.
    holders: PathBuf,
    me: String,
    _alive: File,
    mine: BTreeMap<u64, Instant>,
    looked: Instant,
    state: State,
}

/// What the lines say.
#[derive(Default)]
struct State {
    /// Up to where they have been read.
    offset: u64,
    next: u64,
    back: BTreeSet<u64>,
    open: BTreeMap<u64, String>,
    /// Up to when the rate is used up, in microseconds since the Unix epoch.
    spent: u64,
}

impl Ledger {
    /// Joins the processes of a source; makes the file when it is the first.
    pub fn join(path: &Path, terms: Terms) -> Result<Self> {
        let file = OpenOptions::new().create(true).read(true).append(true).open(path);
        let file = file.with_context(|| format!("open {}", path.display()))?;
        let holders = path.with_added_extension("holders");
        fs::create_dir_all(&holders).with_context(|| format!("create {}", holders.display()))?;
        let me = format!("{}-{}", std::process::id(), now_micros());
        let alive = File::create_new(holders.join(&me)).context("make the sign of life")?;
        alive.lock().context("lock the sign of life")?;
        let (mine, state) = (BTreeMap::new(), State::default());
        Ok(Self { terms, file, holders, me, _alive: alive, mine, looked: Instant::now(), state })
    }

    /// Up to `most` numbers, as far as the rate allows and there are any.
    pub fn take(&mut self, most: usize) -> Result<Vec<u64>> {
        let look = self.looked.elapsed() >= LOOK;
        self.turn(|ledger, lines| {
            if look {
                ledger.looked = Instant::now();
                ledger.call_in(lines)?;
            }
            let Terms { count, rate, .. } = ledger.terms;
            let now = now_micros();
            let burst = u64::try_from(BURST.as_micros()).expect("a burst is short");
            let burst = burst.max(1_000_000_u64.div_ceil(rate));
            let begin = ledger.state.spent.max(now.saturating_sub(burst));
            let allowed = usize::try_from((now.saturating_sub(begin)) * rate / 1_000_000)?;
            let mut taken: Vec<u64> = ledger.state.back.iter().copied().take(most.min(allowed)).collect();
            let left = u64::try_from(most.min(allowed) - taken.len())?;
            taken.extend(ledger.state.next..ledger.state.next.saturating_add(left).min(count));
            if taken.is_empty() {
                return Ok(taken);
            }
            let used = u64::try_from(taken.len())? * 1_000_000 / rate;
            writeln!(lines, "spent {}", begin + used)?;
            for number in &taken {
                writeln!(lines, "given {number} {}", ledger.me)?;
                ledger.mine.insert(*number, Instant::now());
            }
            Ok(taken)
        })
    }

    /// These are done for good.
    pub fn acknowledge(&mut self, numbers: &[u64]) -> Result<()> {
        self.say("acked", numbers)
    }

    /// These may be given out again.
    pub fn give_back(&mut self, numbers: &[u64]) -> Result<()> {
        self.say("back", numbers)
    }

    /// How many are not given out.
    pub fn pending(&mut self) -> Result<u64> {
        self.turn(|ledger, _| Ok(ledger.terms.count - ledger.state.next + ledger.state.back.len() as u64))
    }

    fn say(&mut self, word: &str, numbers: &[u64]) -> Result<()> {
        self.turn(|ledger, lines| {
            for number in numbers {
                ledger.mine.remove(number);
                let is_held = ledger.state.open.contains_key(number);
                if is_held || ledger.state.back.contains(number) {
                    writeln!(lines, "{word} {number}")?;
                }
            }
            Ok(())
        })
    }

    /// Takes back what the dead hold, and what this process has held for too long.
    fn call_in(&mut self, lines: &mut String) -> Result<()> {
        let patience = self.terms.patience;
        let late: Vec<u64> = self
            .mine
            .iter()
            .filter(|(_, since)| since.elapsed() > patience)
            .map(|(number, _)| *number)
            .collect();
        for number in late {
            self.mine.remove(&number);
            if self.state.open.get(&number) == Some(&self.me) {
                self.state.apply(&format!("back {number}"))?;
                writeln!(lines, "back {number}")?;
            }
        }
        let holders: BTreeSet<&String> =
            self.state.open.values().filter(|holder| **holder != self.me).collect();
        let dead: Vec<String> = holders.into_iter().filter(|holder| self.is_dead(holder)).cloned().collect();
        let held = |holder: &String| dead.contains(holder);
        let orphans: Vec<u64> =
            self.state.open.iter().filter(|(_, holder)| held(holder)).map(|(number, _)| *number).collect();
        for number in orphans {
            self.state.apply(&format!("back {number}"))?;
            writeln!(lines, "back {number}")?;
        }
        Ok(())
    }

    /// A lock goes with its process, however that ends.
    fn is_dead(&self, holder: &str) -> bool {
        File::open(self.holders.join(holder)).is_ok_and(|file| file.try_lock().is_ok())
    }

    /// Decides under the lock, from all that was written, and writes down what was decided.
    fn turn<T>(&mut self, decide: impl FnOnce(&mut Self, &mut String) -> Result<T>) -> Result<T> {
        self.file.lock().context("lock the ledger")?;
        let outcome = self.locked(decide);
        self.file.unlock().context("unlock the ledger")?;
        outcome
    }

    fn locked<T>(&mut self, decide: impl FnOnce(&mut Self, &mut String) -> Result<T>) -> Result<T> {
        self.file.seek(SeekFrom::Start(self.state.offset))?;
        let mut text = String::new();
        self.file.read_to_string(&mut text)?;
        let whole = text.rfind('\n').map_or(0, |end| end + 1);
        for line in text[..whole].lines() {
            self.state.apply(line)?;
        }
        self.state.offset += u64::try_from(whole)?;
        if whole < text.len() {
            // Somebody was killed in the middle of a line; nobody has acted on it.
            self.file.set_len(self.state.offset)?;
        }
        let mut lines = String::new();
        let outcome = decide(self, &mut lines)?;
        if !lines.is_empty() {
            self.file.write_all(lines.as_bytes()).context("write to the ledger")?;
        }
        Ok(outcome)
    }
}

impl State {
    fn apply(&mut self, line: &str) -> Result<()> {
        let words: Vec<&str> = line.split(' ').collect();
        match words.as_slice() {
            ["spent", micros] => self.spent = micros.parse()?,
            ["given", number, holder] => {
                let number: u64 = number.parse()?;
                self.back.remove(&number);
                self.open.insert(number, (*holder).to_owned());
                self.next = self.next.max(number + 1);
            }
            ["acked", number] => {
                let number = number.parse()?;
                self.back.remove(&number);
                self.open.remove(&number);
            }
            ["back", number] => {
                let number = number.parse()?;
                if self.open.remove(&number).is_some() {
                    self.back.insert(number);
                }
            }
            _ => bail!("{line:?} is no line of a ledger"),
        }
        Ok(())
    }
}

/// The numbers that were acknowledged, in a ledger that may be in use.
pub fn acknowledged(path: &Path) -> BTreeSet<u64> {
    let text = fs::read_to_string(path).unwrap_or_default();
    text.lines().filter_map(|line| line.strip_prefix("acked ")?.parse().ok()).collect()
}

fn now_micros() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).expect("it is later than 1970");
    u64::try_from(since.as_micros()).expect("it is not yet the year 500 000")
}

#[cfg(test)]
mod tests;
