//! Who owns which unit, as the workers say in their notes on the broker, in the order in which they said it. Invariant: of
//! a worker only its latest word counts, and what happened between two words is not made up.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use connect::buffer::broker::{self, Pipeline};
use connect::buffer::jetstream::Settings;
use e2e::{lab, wait};
use model::door::mail::Change;
use model::{Epoch, Unit};
use tokio::runtime::Builder;
use worker::link::{REPORTS, Report};

/// How often it is looked whether nobody wants more.
const LOOK: Duration = Duration::from_millis(50);

/// The slots of a vertex with one partition, and the one for what is tried again.
pub(crate) const UNITS: usize = 65;

/// What one worker said at one moment.
pub(crate) struct Word {
    pub(crate) at: Instant,
    /// The worker, by the name of its note and its life.
    pub(crate) worker: (String, u64),
    /// What it holds.
    pub(crate) units: BTreeMap<Unit, Epoch>,
    /// Its note was taken away.
    pub(crate) gone: bool,
}

type Words = Arc<Mutex<Vec<Word>>>;

/// A thread that reads what the workers of a vertex say.
pub(crate) struct Listener {
    stop: Arc<AtomicBool>,
    words: Words,
    thread: JoinHandle<()>,
}

impl Listener {
    /// Begins to listen to a vertex of a pipeline; returns once all its units are known to be held.
    pub(crate) fn start(url: &str, pipeline: &str, vertex: &str) -> Self {
        let (stop, words) = (Arc::new(AtomicBool::new(false)), Words::default());
        let (url, prefix, under) =
            (url.to_owned(), broker::prefix("", pipeline), format!("{REPORTS}.{vertex}"));
        let (is_over, heard) = (stop.clone(), words.clone());
        let thread = std::thread::spawn(move || {
            let runtime = Builder::new_current_thread().enable_all().build().unwrap();
            runtime.block_on(listen(&url, prefix, &under, (&is_over, &heard)));
        });
        wait::until("every unit is known to be held", || {
            let words = words.lock().unwrap();
            let held: BTreeMap<_, _> = words.iter().map(|word| (&word.worker, word.units.len())).collect();
            (held.values().sum::<usize>() == UNITS).then_some(())
        });
        Self { stop, words, thread }
    }

    /// Ends, and gives everything that was said.
    pub(crate) fn stop(self) -> Vec<Word> {
        self.stop.store(true, Ordering::Relaxed);
        self.thread.join().unwrap();
        std::mem::take(&mut self.words.lock().unwrap())
    }
}

async fn listen(url: &str, prefix: String, under: &str, (is_over, words): (&AtomicBool, &Words)) {
    let settings = Settings::to(url);
    let pipeline = Pipeline { prefix, process: "listener".to_owned(), vertices: Vec::new() };
    let opened = broker::open(&settings, pipeline).await.unwrap();
    let mut watch = opened.mail.watch(under).await.unwrap();
    let mut lives = BTreeMap::new();
    while !is_over.load(Ordering::Relaxed) {
        let Ok(change) = tokio::time::timeout(LOOK, watch.next()).await else { continue };
        let Change { key, note } = change.unwrap();
        let at = Instant::now();
        let Some(note) = note else {
            let life = lives.get(&key).copied().unwrap_or_default();
            let word = Word { at, worker: (key, life), units: BTreeMap::new(), gone: true };
            words.lock().unwrap().push(word);
            continue;
        };
        let report = Report::decode(&note).unwrap();
        lives.insert(key.clone(), report.incarnation.0);
        let units = report.units.iter().map(|unit| (unit.unit, unit.epoch)).collect();
        let word = Word { at, worker: (key, report.incarnation.0), units, gone: false };
        words.lock().unwrap().push(word);
    }
}

/// The life of a worker that a process is.
pub(crate) fn life_of(pid: u32) -> u64 {
    lab::variable_of(pid, "TIDEGATE_INCARNATION").unwrap().parse().unwrap()
}

/// A unit that went from one worker to another.
#[derive(Clone, Debug)]
pub(crate) struct Move {
    pub(crate) unit: Unit,
    pub(crate) from: (String, u64),
    pub(crate) to: (String, u64),
    /// When the former owner did not hold it any more, and when the next one did.
    pub(crate) let_go: Instant,
    pub(crate) taken: Instant,
}

/// Follows what was said from a moment on. Gives each change of an owner.
///
/// # Panics
/// When two workers hold a unit at once, unless one of them is among the `dead`, whose last word nobody takes back.
pub(crate) fn moves(words: &[Word], dead: &BTreeSet<(String, u64)>) -> Vec<Move> {
    let mut held: BTreeMap<&(String, u64), &BTreeMap<Unit, Epoch>> = BTreeMap::new();
    let mut last: BTreeMap<Unit, ((String, u64), Instant)> = BTreeMap::new();
    let mut moves = Vec::new();
    for Word { at, worker, units, gone: _ } in words {
        let before = held.insert(worker, units);
        for unit in
            before.into_iter().flatten().map(|(unit, _)| unit).filter(|unit| !units.contains_key(unit))
        {
            last.insert(*unit, (worker.clone(), *at));
        }
        for unit in units.keys().filter(|unit| before.is_none_or(|before| !before.contains_key(unit))) {
            let others = held.iter().filter(|(other, _)| **other != worker && !dead.contains(**other));
            let other = others.filter(|(_, units)| units.contains_key(unit)).map(|(other, _)| other).next();
            assert!(other.is_none(), "{unit:?} is held by {worker:?} and by {other:?}");
            let taken_from = held
                .iter()
                .filter(|(other, units)| dead.contains(**other) && units.contains_key(unit))
                .map(|(other, _)| ((*other).clone(), *at))
                .next();
            if let Some((from, let_go)) = last.get(unit).cloned().or(taken_from)
                && from != *worker
            {
                moves.push(Move { unit: *unit, from, to: worker.clone(), let_go, taken: *at });
            }
        }
    }
    moves
}
