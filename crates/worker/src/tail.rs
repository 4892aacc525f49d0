//! The end of a unit: what batches became is routed, committed with the unit's progress, and answered to the source.
//!
//! One commit is under way at a time; whatever has collected meanwhile goes into the next. Nothing is answered before
//! it is committed.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::{Duration, Instant};

use model::door::buffer::{Bounds, Commit, Committer, Output, Passage, WhenFull};
use model::door::source::{Answer, Answers, Memory, Receipt};
use model::door::{Class, Error};
use model::frame::Body;
use model::{Message, Name, Origin, Place, Position, Progress, Slot, Unit, UnitId};
use smol_str::SmolStr;
use tokio_util::sync::CancellationToken;
use tracing::{error, warn};

use crate::backoff::Patience;
use crate::batch::{Bundle, Oversized};
use crate::metrics::Metrics;
use crate::route::{Spread, route};
use crate::setup::{Edge, Lease, Watermark};
use crate::unit::Gauge;

/// The reference's pause between attempts to acknowledge.
const ANSWER_AGAIN: Duration = Duration::from_millis(100);

/// How long a source may take to say how much waits outside.
const LOOK_MAX: Duration = Duration::from_secs(1);
/// What the gauge shows when nobody knows.
const UNKNOWN_PENDING: i64 = -1;

pub(crate) struct Tail {
    pub(crate) unit: UnitId,
    pub(crate) committer: Option<Box<dyn Committer>>,
    pub(crate) answers: Option<Box<dyn Answers>>,
    pub(crate) memory: Option<Memory>,
    pub(crate) edges: Arc<[Edge]>,
    pub(crate) spread: Spread,
    pub(crate) bounds: Bounds,
    pub(crate) watermark: Watermark,
    pub(crate) metrics: Arc<Metrics>,
    pub(crate) gauge: Arc<Gauge>,
    pub(crate) lease: Option<Arc<dyn Lease>>,
    /// The position of the last commit, or of the claim.
    pub(crate) committed: Position,
}

impl Tail {
    /// The most that the messages of one commit may take in frames: each may go along every edge. Where all of them go to
    /// one slot, they are no more than one frame has room for, if the buffer likes that best.
    pub(crate) fn bundle_bytes_max(&self) -> usize {
        match (&self.edges[..], self.bounds.lone_frame_bytes, self.unit.unit) {
            ([edge], Some(bytes), Unit::Source(_)) if !edge.keyed => bytes,
            ([edge], Some(_), Unit::Slot(_)) if !edge.keyed => self.bounds.frame_bytes_max,
            (edges, _, _) => self.bounds.commit_bytes_max / edges.len().max(1),
        }
    }

    /// Commits and answers. `above` is for the retry slot only.
    pub(crate) async fn settle(
        mut self: Box<Self>,
        mut bundle: Bundle,
        above: Vec<u64>,
    ) -> (Box<Self>, Result<(), Error>) {
        let result = self.settle_bundle(&mut bundle, above).await;
        (self, result)
    }

    async fn settle_bundle(&mut self, bundle: &mut Bundle, above: Vec<u64>) -> Result<(), Error> {
        let ids = self.recognise(bundle).await?;
        let sent_back = bundle.back.len() as u64;
        let commit = Commit {
            outputs: self.outputs(bundle),
            progress: Progress { position: bundle.end, above },
            ids,
            stamp: self.watermark.get(),
        };
        let written = commit.outputs.iter().map(|output| output.body.latest).max();
        self.commit(commit, u64::from(bundle.taken), bundle.dropped).await?;
        if matches!(self.unit.unit, Unit::Source(_)) {
            self.gauge.stored(written.max(bundle.latest));
        }
        if bundle.answers.is_empty() {
            self.metrics.ack.inc_by(u64::from(bundle.taken) - sent_back);
        }
        self.answer(&bundle.answers).await?;
        for started in &bundle.started {
            self.metrics.took(started.elapsed());
        }
        Ok(())
    }

    /// For a source that gives ids: takes out what was committed before, or comes twice. Gives the ids to remember.
    async fn recognise(&mut self, bundle: &mut Bundle) -> Result<Vec<SmolStr>, Error> {
        let (Some(Memory::Ids), Some(committer)) = (self.memory, &mut self.committer) else {
            return Ok(Vec::new());
        };
        let (mut places, mut ids) = (Vec::new(), Vec::new());
        let mut seen = HashSet::new();
        let mut repeated = HashSet::new();
        for (place, (offset, (_, answer))) in (0u32..).zip(bundle.offsets.iter().zip(&bundle.answers)) {
            if *answer != Answer::Done {
                continue;
            }
            let id = text(offset);
            if seen.insert(id.clone()) {
                places.push(place);
                ids.push(id);
            } else {
                repeated.insert(place);
            }
        }
        let mut patience = Patience::default();
        let known = loop {
            match committer.known(&ids).await {
                Ok(known) => break known,
                Err(error) => patience.after(error).await?,
            }
        };
        let mut fresh = Vec::with_capacity(ids.len());
        for ((place, id), known) in places.into_iter().zip(ids).zip(known) {
            if known {
                repeated.insert(place);
            } else {
                fresh.push(id);
            }
        }
        self.take_out(bundle, &repeated);
        Ok(fresh)
    }

    /// Takes out everything that came of these messages.
    fn take_out(&self, bundle: &mut Bundle, repeated: &HashSet<u32>) {
        if repeated.is_empty() {
            return;
        }
        for place in repeated {
            bundle.answers[*place as usize].1 = Answer::Repeated;
        }
        self.metrics.dropped.repeated.inc_by(repeated.len() as u64);
        let mut of = bundle.of.iter();
        bundle.outputs.retain(|_| of.next().is_some_and(|place| !repeated.contains(place)));
        bundle.of.retain(|place| !repeated.contains(place));
    }

    fn outputs(&mut self, bundle: &mut Bundle) -> Vec<Output> {
        let mut outputs = Vec::new();
        if !bundle.outputs.is_empty() {
            let routed = route(&bundle.outputs, &self.edges, &mut self.spread, self.bounds);
            self.metrics.dropped.unmatched.inc_by(routed.unmatched);
            for (message, size) in routed.oversized {
                let limit = self.bounds.frame_bytes_max;
                error!(id = %message.id, size, limit, "message is larger than a frame may be and was dropped");
                self.metrics.dropped.oversized.inc();
                self.metrics.critical.inc();
            }
            outputs = routed.outputs;
        }
        if self.unit.unit == Unit::Slot(Slot::RETRY) {
            for output in &mut outputs {
                output.passage = Passage::Around;
            }
        }
        outputs.extend(bundle.back.drain(..).map(|message| to_retry_slot(&self.unit.vertex, &message)));
        outputs
    }

    /// Makes the commit of so many messages, as often as it takes, and counts what came of it; `dropped` is how many
    /// results user code dropped.
    async fn commit(&mut self, commit: Commit, taken: u64, dropped: u64) -> Result<(), Error> {
        let Some(committer) = &mut self.committer else {
            assert!(commit.outputs.is_empty(), "a vertex without a buffer has no next vertex");
            self.metrics.count_done(taken, || self.metrics.udf_drop.inc_by(dropped));
            return Ok(());
        };
        assert!(commit.progress.position >= self.committed, "progress never goes back");
        let source = matches!(self.unit.unit, Unit::Source(_));
        if source
            && commit.outputs.is_empty()
            && commit.ids.is_empty()
            && commit.progress.position == self.committed
        {
            self.metrics.count_done(taken, || self.metrics.udf_drop.inc_by(dropped));
            return Ok(());
        }
        let started = Instant::now();
        let mut patience = Patience::default();
        let committed = loop {
            match committer.commit(commit.clone()).await {
                Ok(committed) => break committed,
                Err(error) => {
                    self.metrics.write_error.inc();
                    patience.after(error).await?;
                }
            }
        };
        let Commit { outputs, progress, ids: _, stamp: _ } = commit;
        self.committed = progress.position;
        let onward =
            outputs.iter().zip(&committed.stored).filter(|(output, _)| output.to.slot != Slot::RETRY);
        self.metrics.count_done(taken, || {
            self.metrics.udf_drop.inc_by(dropped);
            for (output, stored) in onward {
                let counter = if stored.is_some() { &self.metrics.write } else { &self.metrics.dropped.full };
                counter.inc_by(u64::from(output.body.count));
            }
        });
        if !outputs.is_empty() {
            self.metrics.write_time.observe(started.elapsed().as_secs_f64() * 1e6);
        }
        Ok(())
    }

    async fn answer(&mut self, list: &[(Receipt, Answer)]) -> Result<(), Error> {
        let (Some(answers), false) = (&mut self.answers, list.is_empty()) else { return Ok(()) };
        while self.lease.as_ref().is_some_and(|lease| lease.is_out()) {
            // The source may have given the same to somebody else meanwhile; a commit before this was stored all the same.
            tokio::time::sleep(ANSWER_AGAIN).await;
        }
        let mut failures = 0u32;
        while let Err(error) = answers.answer(list).await {
            if error.class() != Class::Retry {
                return Err(error);
            }
            failures = failures.saturating_add(1);
            if failures.is_power_of_two() {
                let error = error.chain();
                warn!(unit = %self.unit, failures, error, "source does not take answers; trying again");
            }
            tokio::time::sleep(ANSWER_AGAIN).await;
        }
        let sent_back = list.iter().filter(|(_, answer)| matches!(answer, Answer::Nack(_))).count() as u64;
        self.metrics.nack.inc_by(sent_back);
        self.metrics.ack.inc_by(list.len() as u64 - sent_back);
        Ok(())
    }

    /// Asks the source how much waits outside and shows it; no longer than until the unit is told to finish.
    pub(crate) async fn look(
        mut self: Box<Self>,
        finish: CancellationToken,
    ) -> (Box<Self>, Result<(), Error>) {
        if let Some(answers) = &mut self.answers {
            let asked = tokio::select! {
                asked = tokio::time::timeout(LOOK_MAX, answers.pending()) => asked,
                () = finish.cancelled() => return (self, Ok(())),
            };
            let pending = match asked {
                Ok(Ok(pending)) => pending,
                // Not in time; the next look may find out.
                Ok(Err(_)) | Err(_) => None,
            };
            let shown = pending.map_or(UNKNOWN_PENDING, |pending| i64::try_from(pending).unwrap_or(i64::MAX));
            self.metrics.pending.set(shown);
            self.gauge.outside(pending);
        }
        (self, Ok(()))
    }

    /// Counts and reports what fits no commit.
    pub(crate) fn report(metrics: &Metrics, oversized: Vec<Oversized>) {
        for Oversized { first, results, bytes } in oversized {
            error!(first = %first.id, results, bytes, "the results of one message fit no commit and were dropped");
            metrics.dropped.oversized.inc_by(results);
            metrics.critical.inc();
        }
    }

    /// Gives the unit up after the last commit. The answering half of a source comes back.
    pub(crate) async fn release(self: Box<Self>) -> Result<Option<Box<dyn Answers>>, Error> {
        let Self { committer, answers, .. } = *self;
        let released = match committer {
            Some(committer) => committer.release().await,
            None => Ok(()),
        };
        match released {
            // The next owner takes the unit without it.
            Err(error) if error.class() == Class::Retry => {
                warn!(error = error.chain(), "unit could not be released; its next owner takes it");
            }
            other => other?,
        }
        Ok(answers)
    }
}

fn text(offset: &Origin) -> SmolStr {
    match offset {
        Origin::Text(text) => text.clone(),
        Origin::Numbered { .. } | Origin::Buffered { .. } => smol_str::format_smolstr!("{offset}"),
    }
}

/// One frame for each message, so that each waits for its own time.
fn to_retry_slot(vertex: &Name, message: &Message) -> Output {
    Output {
        to: Place { vertex: vertex.clone(), slot: Slot::RETRY },
        body: Body::encode([message]),
        when_full: WhenFull::Wait,
        passage: Passage::Around,
    }
}
