//! Workers that somebody else starts, wherever that is: they are heard of by what they report, and told by notes what to
//! own. Each name has one life at a time. Nothing is started or ended here.
//!
//! A daemon may come and go while its workers go on. Whoever is heard of for the first time keeps what it has until
//! enough is known to decide ([`Adoption`]). Invariant: of two lives under one name the later one counts, unless only the
//! earlier one is heard.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use connect::buffer::jetstream;
use model::Incarnation;
use model::door::buffer::Survey;
use model::door::mail::Mail;
use plan::seen::WorkerName;
use tokio::sync::{Notify, watch};
use tokio::time::Instant;
use worker::Hand;
use worker::link::{self, LAST_WORD, REPORTS, Remote, Report};

use super::apart::{AGAIN, SILENT_AFTER, next_note};
use super::keeping::{SEALER, WorkerView};
use super::member::{Found, Life, Member, Phase, Wish};

/// How long owners are waited for that the buffer names and nobody has heard of.
const OWNERS_WITHIN: Duration = SILENT_AFTER;
/// How long workers are waited for where no buffer says who owns anything.
const WORKERS_WITHIN: Duration = Duration::from_secs(1);
/// How long notes of a name may take to be removed.
const REMOVED_WITHIN: Duration = Duration::from_secs(2);
/// Names that are listened to, at most: no object has so many workers.
const NAMES_MAX: usize = 16_384;

/// Where workers are met.
#[derive(Clone)]
pub enum Meeting {
    /// On the broker that keeps the object's buffers, for pipelines.
    Broker(Arc<jetstream::Settings>),
    /// At a place for notes, for mono vertices, which have no buffers.
    Mail(Arc<dyn Mail>),
}

type Key = (String, WorkerName);

/// What is heard of workers.
pub(super) struct Away {
    mail: Arc<dyn Mail>,
    changed: Arc<Notify>,
    /// The latest report under each name; none where only somebody listens.
    heard: Mutex<BTreeMap<Key, watch::Sender<Option<Report>>>>,
}

impl Away {
    pub(super) fn new(mail: Arc<dyn Mail>, changed: Arc<Notify>) -> Self {
        Self { mail, changed, heard: Mutex::default() }
    }

    /// Takes in reports, until dropped.
    pub(super) async fn listen(self: Arc<Self>) {
        loop {
            let mut watch = match self.mail.watch(REPORTS).await {
                Ok(watch) => watch,
                Err(error) => {
                    tracing::warn!(error = error.chain(), "reports cannot be looked for; trying again");
                    tokio::time::sleep(AGAIN).await;
                    continue;
                }
            };
            loop {
                if let Some((key, report)) = next_note(&mut watch).await {
                    self.take(&key, report);
                }
            }
        }
    }

    fn take(&self, key: &str, report: Option<Report>) {
        let named = link::read_report_key(key);
        let named = named.and_then(|(vertex, worker)| Some((vertex.to_owned(), worker.parse().ok()?)));
        let Some(named) = named else {
            tracing::debug!(key, "a report of nobody that can be a worker is passed over");
            return;
        };
        let mut heard = self.lock();
        match (heard.get(&named), report) {
            (Some(heard), Some(report)) => drop(heard.send_replace(Some(report))),
            (None, Some(_)) if heard.len() >= NAMES_MAX => {
                tracing::warn!(key, "too many workers report; this one is passed over");
            }
            (None, Some(report)) => {
                heard.insert(named, watch::channel(Some(report)).0);
                self.changed.notify_one();
            }
            (_, None) => {}
        }
    }

    /// The names that something was heard of.
    pub(super) fn names(&self) -> Vec<Key> {
        let heard = self.lock();
        let said = heard.iter().filter(|(_, report)| report.borrow().is_some());
        said.map(|(key, _)| key.clone()).collect()
    }

    fn subscribe(&self, vertex: &str, name: &WorkerName) -> watch::Receiver<Option<Report>> {
        let mut heard = self.lock();
        let reports = heard.entry((vertex.to_owned(), name.clone()));
        let mut reports = reports.or_insert_with(|| watch::channel(None).0).subscribe();
        // What lies there already is news to whoever begins to listen.
        reports.mark_changed();
        reports
    }

    /// Forgets a name, and takes its notes away.
    async fn remove(&self, vertex: &str, name: &WorkerName) {
        self.lock().remove(&(vertex.to_owned(), name.clone()));
        let worker = name.to_string();
        let keys = [link::orders_key(vertex, &worker), link::report_key(vertex, &worker)];
        let removed = tokio::time::timeout(REMOVED_WITHIN, async {
            for key in &keys {
                self.mail.remove(key).await?;
            }
            Ok::<(), model::door::Error>(())
        });
        match removed.await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => tracing::debug!(vertex, error = error.chain(), "a note is left behind"),
            Err(_) => tracing::debug!(vertex, "a note is left behind, for want of time"),
        }
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<Key, watch::Sender<Option<Report>>>> {
        self.heard.lock().expect("nothing panics while it is locked")
    }
}

/// What comes after a life.
enum Next {
    /// Another life, with its first report.
    Life(Box<Report>),
    /// Nobody, until somebody is heard of.
    Nobody,
    /// The name is gone for good.
    Gone,
}

impl Member {
    /// Lives of a worker that somebody else starts, until its name is gone for good.
    pub(super) async fn run_away(&self, away: &Away) {
        let mut reports = away.subscribe(&self.vertex, &self.name);
        let (mut is_cut, mut first) = (false, None);
        loop {
            let report = if let Some(report) = first.take() {
                report
            } else {
                tokio::select! {
                    report = heard(&mut reports) => report,
                    () = self.gone() => break,
                }
            };
            // The last word of a life that is over already.
            if report.number == LAST_WORD {
                continue;
            }
            match self.life_away(report, &mut reports, (away, &mut is_cut)).await {
                Next::Life(report) => first = Some(*report),
                Next::Nobody => self.shown.enter(Phase::Opening),
                Next::Gone => break,
            }
            self.shown.change(|inner| inner.restarts = inner.restarts.saturating_add(1));
        }
        self.shown.end_life();
        away.remove(&self.vertex, &self.name).await;
    }

    async fn life_away(
        &self,
        first: Report,
        reports: &mut watch::Receiver<Option<Report>>,
        (away, is_cut): (&Away, &mut bool),
    ) -> Next {
        let remote = Arc::new(Remote::going_on(first.clone()));
        let incarnation = remote.incarnation();
        let life = Life { incarnation, handle: remote.clone() };
        let units = first.units.iter().map(|unit| (unit.unit, unit.epoch)).collect();
        self.shown.change(|inner| {
            (inner.life, inner.has_opened) = (Some(life), true);
            inner.found = Some(Found { incarnation, units });
        });
        let mut told = 0;
        let mut was_ready = self.note(&first, (&mut told, false));
        let orders = link::orders_key(&self.vertex, &self.name.to_string());
        let notes = remote.write(away.mail.as_ref(), &orders);
        tokio::pin!(notes);
        let (mut heard_at, mut is_silent) = (Instant::now(), false);
        let next = loop {
            let report = tokio::select! {
                () = &mut notes => unreachable!("notes are passed for as long as somebody waits for them"),
                report = heard(reports) => report,
                () = tokio::time::sleep_until(heard_at + SILENT_AFTER), if !is_silent => {
                    is_silent = true;
                    self.is_silent();
                    continue;
                }
                () = self.gone() => break Next::Gone,
                () = self.cut_or_not(*is_cut) => {
                    *is_cut = !*is_cut;
                    if *is_cut {
                        remote.cut();
                    }
                    continue;
                }
            };
            if report.incarnation == incarnation {
                let is_last = report.number == LAST_WORD;
                if remote.hear(report.clone()) {
                    (heard_at, is_silent) = (Instant::now(), false);
                    was_ready = self.note(&report, (&mut told, was_ready));
                }
                if is_last {
                    break Next::Nobody;
                }
            } else if report.incarnation > incarnation || is_silent {
                break Next::Life(Box::new(report));
            }
        };
        self.shown.end_life();
        next
    }

    /// Takes note of what a report says beside units. Gives whether its life was ever ready.
    fn note(&self, report: &Report, (told, was_ready): (&mut u64, bool)) -> bool {
        self.note_incidents(report, told);
        let standing = &report.standing;
        let phase = match (standing.is_ready, was_ready) {
            _ if standing.is_exhausted => Phase::Exhausted,
            (true, _) => Phase::Working,
            (false, true) => Phase::Failing("its user code does not answer".to_owned()),
            (false, false) => Phase::Opening,
        };
        let urls = standing.urls.clone();
        self.shown.change(|inner| (inner.phase, inner.urls) = (phase, urls));
        was_ready || standing.is_ready
    }

    /// Returns when the name is gone for good.
    async fn gone(&self) {
        let mut wish = self.wish.clone();
        if wish.wait_for(|wish| matches!(wish, Wish::Stop { .. })).await.is_err() {
            // The engine is dropped, which says nothing about the worker.
            std::future::pending::<()>().await;
        }
    }

    /// Returns when the worker is to be cut off and was not, or was and is not to be any more.
    async fn cut_or_not(&self, is_cut: bool) {
        let mut wish = self.wish.clone();
        let differs = |wish: &Wish| match wish {
            Wish::Run => is_cut,
            Wish::Cut { .. } => !is_cut,
            Wish::Stop { .. } => false,
        };
        if wish.wait_for(differs).await.is_err() {
            std::future::pending::<()>().await;
        }
    }
}

/// The next report under a name.
async fn heard(reports: &mut watch::Receiver<Option<Report>>) -> Report {
    loop {
        if reports.changed().await.is_err() {
            // The name was forgotten; whoever forgot it says so in another way.
            std::future::pending::<()>().await;
        }
        if let Some(report) = reports.borrow_and_update().clone() {
            return report;
        }
    }
}

/// The time in which owners so far are learnt, before anything is decided.
pub(super) struct Adoption {
    begun: Instant,
    /// Wishes have come.
    pub(super) is_wished: bool,
}

impl Adoption {
    pub(super) fn begun() -> Self {
        Self { begun: Instant::now(), is_wished: false }
    }

    /// Whether enough is known: every owner that the buffer names is heard of, and without a buffer everybody who is
    /// wished for; or waiting for them has taken long enough.
    pub(super) fn is_over(
        &self,
        survey: Option<&Survey>,
        lives: &[WorkerView],
        everybody_is_heard: bool,
    ) -> bool {
        if !self.is_wished {
            return false;
        }
        let Some(survey) = survey else {
            return everybody_is_heard || self.begun.elapsed() >= WORKERS_WITHIN;
        };
        let is_heard = |owner: Incarnation| {
            owner == SEALER || lives.iter().any(|life| life.incarnation == owner && !life.gone)
        };
        survey.units.iter().filter_map(|unit| unit.owner).all(is_heard)
            || self.begun.elapsed() >= OWNERS_WITHIN
    }
}
