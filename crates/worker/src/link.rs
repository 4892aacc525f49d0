//! A worker in another process: it leaves notes about itself, and finds notes with what it shall own.
//!
//! [`Remote`] is how whoever gives orders sees such a worker: the same [`Hand`] that a worker of its own process has.
//! [`serve`] stands beside the worker. Nothing here is trusted to be fresh: what a report says held when it was written,
//! and a note for a former life of the worker is passed over. Invariant: of what one report says, what was followed was
//! looked up before the units were, as [`Hand::followed`] demands.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard};
use std::time::Duration;

use bytes::Bytes;
use model::door::mail::{Change, Mail};
use model::door::{Class, Error};
use model::{Epoch, Incarnation, Time, Unit};
use tokio::sync::watch;
use tokio::time::{Instant, MissedTickBehavior};

use crate::handle::{Hand, Handle, UnitReport};
use crate::signals::Signals;

mod note;

use note::Moves;
pub use note::{Notice, Orders, Report, Standing};

/// How often a worker looks whether it has anything to say, while it follows orders.
const LOOK_EVERY: Duration = Duration::from_millis(5);
/// How often it says how it is while nothing happens but work.
const SAY_EVERY: Duration = Duration::from_millis(100);
/// How often it says that it lives while nothing happens at all.
const LIVES_EVERY: Duration = Duration::from_secs(1);
/// The wait after a note could not be left or looked for.
const AGAIN: Duration = Duration::from_millis(200);

/// The key of the notes to a worker; `worker` is what it is called among those of its vertex.
pub fn orders_key(vertex: &str, worker: &str) -> String {
    format!("orders.{vertex}.{worker}")
}

/// The key of what a worker says.
pub fn report_key(vertex: &str, worker: &str) -> String {
    format!("report.{vertex}.{worker}")
}

/// The number of a report after which nothing more comes of a life.
pub const LAST_WORD: u64 = u64::MAX;

/// What all reports lie under.
pub const REPORTS: &str = "report";

/// The vertex and the worker in a key made by [`report_key`].
pub fn read_report_key(key: &str) -> Option<(&str, &str)> {
    key.strip_prefix("report.")?.split_once('.')
}

/// One life of a worker in another process, as whoever gives orders sees it.
#[derive(Debug)]
pub struct Remote {
    incarnation: Incarnation,
    told: watch::Sender<Orders>,
    heard: Mutex<Heard>,
}

#[derive(Debug)]
struct Heard {
    /// Grows with each report.
    count: u64,
    report: Report,
}

impl Remote {
    /// The life that a first report speaks of.
    pub fn new(first: Report) -> Self {
        let incarnation = first.incarnation;
        let (told, _) = watch::channel(Orders::none(incarnation));
        Self { incarnation, told, heard: Mutex::new(Heard { count: 1, report: first }) }
    }

    /// A life that is under way: until something else is ordered it is to own what it says that it has.
    pub fn going_on(first: Report) -> Self {
        let units = first.units.iter().map(|unit| (unit.unit, unit.epoch)).collect();
        let orders = Orders { number: first.followed, units, ..Orders::none(first.incarnation) };
        let remote = Self::new(first);
        remote.told.send_replace(orders);
        remote
    }

    /// Which life it is.
    pub fn incarnation(&self) -> Incarnation {
        self.incarnation
    }

    /// Takes in a report; one of another life, or an older one, is passed over and said so.
    pub fn hear(&self, report: Report) -> bool {
        let mut heard = self.lock();
        let is_newer = report.incarnation == self.incarnation && report.number > heard.report.number;
        if is_newer {
            heard.count += 1;
            heard.report = report;
        }
        is_newer
    }

    /// What the worker said last.
    pub fn last(&self) -> Report {
        self.lock().report.clone()
    }

    /// Leaves the worker's orders under its key, again whenever they change, until dropped.
    pub async fn write(&self, mail: &dyn Mail, key: &str) {
        let mut told = self.told.subscribe();
        loop {
            let note = told.borrow_and_update().encode();
            if let Err(error) = mail.put(key, note).await {
                tracing::warn!(key, error = error.chain(), "orders cannot be left; trying again");
                tokio::time::sleep(AGAIN).await;
                continue;
            }
            if told.changed().await.is_err() {
                return;
            }
        }
    }

    fn tell(&self, change: impl FnOnce(&mut Orders)) {
        self.told.send_if_modified(|current| {
            let before = current.clone();
            change(current);
            *current != before
        });
    }

    fn lock(&self) -> MutexGuard<'_, Heard> {
        self.heard.lock().expect("nothing panics while a report is locked")
    }
}

impl Hand for Remote {
    fn follow(&self, number: u64, units: BTreeMap<Unit, Epoch>) {
        self.tell(|orders| (orders.number, orders.units) = (number, units));
    }

    fn stop(&self) {
        self.tell(|orders| orders.stop = true);
    }

    fn cut(&self) {
        self.tell(|orders| (orders.stop, orders.cut) = (true, true));
    }

    fn followed(&self) -> u64 {
        self.lock().report.followed
    }

    fn report(&self) -> Vec<UnitReport> {
        self.lock().report.units.clone()
    }

    fn signals(&self) -> Signals {
        self.lock().report.signals.clone()
    }

    fn heard(&self) -> Option<u64> {
        Some(self.lock().count)
    }

    fn publish(&self, watermark: Time) {
        self.tell(|orders| orders.watermark = orders.watermark.max(watermark));
    }
}

/// A worker that is reached through notes.
pub struct Post<'a> {
    /// Where notes are left.
    pub mail: &'a dyn Mail,
    /// Its vertex.
    pub vertex: &'a str,
    /// What it is called among the workers of its vertex.
    pub worker: &'a str,
    /// Which life of it this is.
    pub incarnation: Incarnation,
    /// What it is told to do goes here.
    pub handle: Handle,
    /// What went wrong in it lately, oldest first, and how often anything did in all.
    pub notices: &'a (dyn Fn() -> (Vec<Notice>, u64) + Sync),
}

impl Post<'_> {
    /// Passes orders to the worker and reports from it, until dropped. What the worker is apart from its units comes from
    /// `standing`. The last report stays after the worker is gone; whoever ends it for good takes it away.
    pub async fn serve(&self, standing: watch::Receiver<Standing>) {
        tokio::join!(self.obey(), self.say(standing));
    }

    /// Says how the worker ended, and that it holds nothing any more.
    pub async fn last_word(&self, standing: &Standing) -> Result<(), Error> {
        let report = self.report(LAST_WORD, standing.clone());
        self.mail.put(&report_key(self.vertex, self.worker), report.encode()).await
    }

    async fn obey(&self) {
        let key = orders_key(self.vertex, self.worker);
        loop {
            let mut watch = match self.mail.watch(&key).await {
                Ok(watch) => watch,
                Err(error) => {
                    tracing::warn!(key, error = error.chain(), "orders cannot be looked for; trying again");
                    tokio::time::sleep(AGAIN).await;
                    continue;
                }
            };
            loop {
                match watch.next().await {
                    Ok(Change { note: Some(note), .. }) => self.take(&note),
                    Ok(Change { note: None, .. }) => {}
                    Err(error) if error.class() == Class::Fatal => {
                        tracing::warn!(key, error = error.chain(), "orders are looked for again");
                        tokio::time::sleep(AGAIN).await;
                        break;
                    }
                    Err(error) => {
                        tracing::debug!(key, error = error.chain(), "orders cannot be read at the moment");
                    }
                }
            }
        }
    }

    fn take(&self, note: &Bytes) {
        let orders = match Orders::decode(note) {
            Ok(orders) => orders,
            Err(error) => {
                tracing::warn!(%error, "orders that cannot be read are passed over");
                return;
            }
        };
        let Orders { incarnation, number, units, stop, cut, watermark } = orders;
        if incarnation != self.incarnation {
            return;
        }
        if watermark != Time::UNKNOWN {
            self.handle.publish(watermark);
        }
        self.handle.follow(number, units);
        if cut {
            self.handle.cut();
        } else if stop {
            self.handle.stop();
        }
    }

    async fn say(&self, mut standing: watch::Receiver<Standing>) {
        let key = report_key(self.vertex, self.worker);
        let mut tick = tokio::time::interval(LOOK_EVERY);
        tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let (mut said, mut said_at) = (None::<(Report, Moves)>, Instant::now());
        let (mut number, mut looked_at) = (0, said_at);
        loop {
            let moves = self.moves(standing.borrow_and_update().clone());
            let has_moved = said.as_ref().is_none_or(|(_, said)| *said != moves);
            // The whole of it is more than most looks need.
            if !has_moved && looked_at.elapsed() < SAY_EVERY {
                tick.tick().await;
                continue;
            }
            looked_at = Instant::now();
            let report = self.report(number + 1, moves.standing);
            let is_due = has_moved
                || said_at.elapsed() >= LIVES_EVERY
                || said.as_ref().is_none_or(|(said, _)| report.differs_from(said));
            if is_due {
                number += 1;
                match self.mail.put(&key, report.encode()).await {
                    Ok(()) => {
                        let moves = report.moves();
                        (said, said_at) = (Some((report, moves)), Instant::now());
                    }
                    Err(error) => {
                        tracing::debug!(key, error = error.chain(), "a report cannot be left; trying again");
                        tokio::time::sleep(AGAIN).await;
                    }
                }
            }
            tick.tick().await;
        }
    }

    fn moves(&self, standing: Standing) -> Moves {
        // First, as the invariant demands.
        let followed = self.handle.followed();
        Moves { followed, standing, notices_total: (self.notices)().1, held: self.handle.held() }
    }

    fn report(&self, number: u64, standing: Standing) -> Report {
        let followed = self.handle.followed();
        let (notices, notices_total) = (self.notices)();
        Report {
            incarnation: self.incarnation,
            number,
            followed,
            units: self.handle.report(),
            signals: self.handle.signals(),
            standing,
            notices,
            notices_total,
        }
    }
}

/// A note that cannot be read.
fn unreadable(what: &'static str, cause: prost::DecodeError) -> Error {
    Error::caused(Class::Reject, what, cause)
}

#[cfg(test)]
mod tests;
