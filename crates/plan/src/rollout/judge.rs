//! How good a version is, from what it did and what the stable one did. Pure arithmetic on counts; what follows from a
//! verdict is decided elsewhere. Invariant: silence is never a pass, and chance alone is hardly ever a failure.

use std::collections::BTreeMap;
use std::time::Duration;

use api::resolve::Analysis;
use api::revision::Revision;
use serde::{Deserialize, Serialize};

use super::memory::Memory;
use crate::Time;
use crate::seen::Signals;

/// How many standard errors a share must be above its limit to be a failure. It is looked at again and again, so that
/// two would find something wrong in a good version once in a while.
const STANDARD_ERRORS: f64 = 3.0;
/// A failure must have been seen for so long: counts of one batch are not all raised at one instant.
const CONFIRM: Duration = Duration::from_secs(1);
/// Latencies that differ by less are the same: the first batches of any process are slow.
const LATENCY_SLACK_NANOS: f64 = 100_000_000.0;
/// With fewer batches a latency says nothing.
const LATENCY_BATCHES: u64 = 20;
/// Drops are counted one by one, so that they may be above the stable version's by this part of the tolerance only.
const DROP_PART: f64 = 0.5;

/// What is known about a version while it is judged.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct Judge {
    /// Since when it has had work; none before that.
    pub since: Option<Time>,
    /// What it had done until then.
    pub mark: Signals,
    /// What the stable version had done until then: what it is measured by when both do not work side by side.
    pub stable_mark: Signals,
    /// Since when it looks like a failure.
    pub doubt_since: Option<Time>,
    /// The present verdict.
    pub verdict: Option<Verdict>,
}

/// A verdict with everything it was made from.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Verdict {
    /// What it says.
    pub kind: VerdictKind,
    /// The version that it is about.
    pub revision: Revision,
    /// A sentence.
    pub message: String,
    /// It does not look good, although that may be chance.
    pub suspicious: bool,
    /// From when to when.
    pub since: Time,
    /// When it was made.
    pub at: Time,
    /// What it was measured by.
    pub against: Against,
    /// What the version did.
    pub rates: Rates,
    /// What the stable version did.
    pub stable: Option<Rates>,
    /// Results of queries, by name; none when there was no number.
    pub queries: BTreeMap<String, Option<f64>>,
    /// What was held against which bound, by the name of the number; what was not compared is not in it.
    #[serde(default)]
    pub bounds: BTreeMap<String, Bound>,
}

/// A bound that a number was held against.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Bound {
    /// The bound.
    pub limit: f64,
    /// Whether it is kept; none while it is not and that may be chance, or there was too little to say.
    pub passed: Option<bool>,
}

/// What a verdict says.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum VerdictKind {
    /// The version is good.
    Pass,
    /// It is not.
    Fail,
    /// Nobody can say.
    InsufficientData,
}

/// What a version is measured by.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Against {
    /// The stable version over the same interval.
    SameInterval,
    /// The stable version before that.
    Before,
    /// Fixed limits only, for want of anything else.
    Nothing,
}

/// What a version did in some time.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct Rates {
    /// Messages that it read.
    pub read: u64,
    /// Messages that it was done with, and attempts that failed.
    pub records: u64,
    /// The share of those that failed.
    pub error_ratio: f64,
    /// Messages sent back, as a share.
    pub nack_ratio: f64,
    /// Messages that were dropped, as a share of those done.
    pub drop_ratio: f64,
    /// Messages written for each one done.
    pub output_ratio: f64,
    /// Mean nanoseconds of a batch.
    pub latency_nanos: f64,
    /// Batches in that mean.
    pub batches: u64,
}

impl Rates {
    fn of(signals: &Signals) -> Self {
        let attempts = signals.done.saturating_add(signals.errors).saturating_add(signals.nacks);
        let dropped = signals.dropped_by_user_code.saturating_add(signals.dropped);
        let ratio = |part: u64, whole: u64| if whole == 0 { 0.0 } else { part as f64 / whole as f64 };
        Self {
            read: signals.read,
            records: attempts,
            error_ratio: ratio(signals.errors, attempts),
            nack_ratio: ratio(signals.nacks, attempts),
            drop_ratio: ratio(dropped, signals.done),
            output_ratio: ratio(signals.written, signals.done),
            latency_nanos: ratio(signals.latency_nanos, signals.batches),
            batches: signals.batches,
        }
    }
}

/// What was done since a mark; all of it when counting began anew.
fn since_mark(signals: &Signals, mark: &Signals) -> Signals {
    let reset = signals.done < mark.done || signals.read < mark.read || signals.batches < mark.batches;
    let mark = if reset { Signals::default() } else { *mark };
    Signals {
        frames: signals.frames.saturating_sub(mark.frames),
        read: signals.read.saturating_sub(mark.read),
        done: signals.done.saturating_sub(mark.done),
        written: signals.written.saturating_sub(mark.written),
        errors: signals.errors.saturating_sub(mark.errors),
        dropped_by_user_code: signals.dropped_by_user_code.saturating_sub(mark.dropped_by_user_code),
        dropped: signals.dropped.saturating_sub(mark.dropped),
        nacks: signals.nacks.saturating_sub(mark.nacks),
        latency_nanos: signals.latency_nanos.saturating_sub(mark.latency_nanos),
        batches: signals.batches.saturating_sub(mark.batches),
    }
}

/// What a verdict is made from.
pub(super) struct Evidence<'a> {
    pub(super) revision: &'a Revision,
    pub(super) stable: Option<&'a Revision>,
    pub(super) signals: &'a BTreeMap<Revision, Signals>,
    pub(super) queries: &'a BTreeMap<String, Option<f64>>,
    pub(super) analysis: &'a Analysis,
    pub(super) now: Time,
}

impl Evidence<'_> {
    fn signals_of(&self, revision: &Revision) -> Signals {
        self.signals.get(revision).copied().unwrap_or_default()
    }
}

impl Judge {
    /// Begins to judge: what was done so far does not count.
    pub(super) fn begin(&mut self, evidence: &Evidence<'_>) {
        let stable = evidence.stable.map(|stable| evidence.signals_of(stable));
        *self = Self {
            since: Some(evidence.now),
            mark: evidence.signals_of(evidence.revision),
            stable_mark: stable.unwrap_or_default(),
            ..Self::default()
        };
    }

    /// Judges what was done since it began. A failure is not a verdict before it has been seen for a while.
    pub(super) fn look(&mut self, evidence: &Evidence<'_>) {
        let Some(since) = self.since else { return };
        let rates = Rates::of(&since_mark(&evidence.signals_of(evidence.revision), &self.mark));
        let (against, stable) = self.measure(evidence);
        let mut findings = Findings::default();
        findings.compare(&rates, stable.as_ref(), against, evidence.analysis);
        findings.query(evidence);
        let least = evidence.analysis.min_records.max(1);
        let enough = rates.records >= least;
        findings.note("records", least as f64, enough.then_some(true));
        let silent = rates.records == 0 && rates.read > 0;
        let fails = enough && !findings.failed.is_empty();
        self.doubt_since = if fails { self.doubt_since.or(Some(evidence.now)) } else { None };
        let sure = self.doubt_since.is_some_and(|since| evidence.now.since(since) >= CONFIRM);
        let clean = enough && findings.failed.is_empty() && findings.doubted.is_empty();
        let (kind, message) = if sure {
            (VerdictKind::Fail, findings.failed.join(", "))
        } else if clean {
            (VerdictKind::Pass, format!("{} records are within all limits", rates.records))
        } else {
            (VerdictKind::InsufficientData, insufficient(&rates, &findings, evidence.analysis))
        };
        self.verdict = Some(Verdict {
            kind,
            revision: evidence.revision.clone(),
            message,
            suspicious: silent || !findings.failed.is_empty() || !findings.doubted.is_empty(),
            since,
            at: evidence.now,
            against,
            rates,
            stable,
            queries: finite(evidence.queries),
            bounds: findings.bounds,
        });
    }

    /// What the version is measured by.
    fn measure(&self, evidence: &Evidence<'_>) -> (Against, Option<Rates>) {
        let Some(stable) = evidence.stable else { return (Against::Nothing, None) };
        let enough = |rates: &Rates| rates.records >= evidence.analysis.min_records.max(1);
        let beside = Rates::of(&since_mark(&evidence.signals_of(stable), &self.stable_mark));
        if enough(&beside) {
            return (Against::SameInterval, Some(beside));
        }
        let before = Rates::of(&self.stable_mark);
        if enough(&before) { (Against::Before, Some(before)) } else { (Against::Nothing, None) }
    }

    pub(super) fn fails(&self) -> bool {
        self.verdict.as_ref().is_some_and(|verdict| verdict.kind == VerdictKind::Fail)
    }

    pub(super) fn passes(&self) -> bool {
        self.verdict.as_ref().is_some_and(|verdict| verdict.kind == VerdictKind::Pass)
    }

    pub(super) fn is_suspicious(&self) -> bool {
        self.verdict.as_ref().is_some_and(|verdict| verdict.suspicious)
    }

    /// Whether the version has been given anything to do since it began.
    pub(super) fn has_read(&self) -> bool {
        self.verdict.as_ref().is_some_and(|verdict| verdict.rates.read > 0 || verdict.rates.records > 0)
    }

    /// When it should be looked at again, for what looks like a failure.
    pub(super) fn next_look(&self) -> Option<Time> {
        self.doubt_since.filter(|_| !self.fails()).map(|since| since.after(CONFIRM))
    }
}

fn finite(queries: &BTreeMap<String, Option<f64>>) -> BTreeMap<String, Option<f64>> {
    let finite = |value: &Option<f64>| value.filter(|value| value.is_finite());
    queries.iter().map(|(name, value)| (name.clone(), finite(value))).collect()
}

/// What speaks against a version.
#[derive(Default)]
struct Findings {
    /// Beyond chance.
    failed: Vec<String>,
    /// Above a limit, which may be chance, or without a number.
    doubted: Vec<String>,
    /// All bounds.
    bounds: BTreeMap<String, Bound>,
}

impl Findings {
    fn note(&mut self, name: &str, limit: f64, passed: Option<bool>) {
        self.bounds.insert(name.to_owned(), Bound { limit, passed });
    }

    fn compare(&mut self, rates: &Rates, stable: Option<&Rates>, against: Against, analysis: &Analysis) {
        let records = rates.records.max(1) as f64;
        let other = stable.copied().unwrap_or_default();
        let others = other.records.max(1) as f64;
        let noise = |p: f64, q: f64| (spread(p) / records + spread(q) / others).sqrt() * STANDARD_ERRORS;
        for (name, what, here, there) in [
            ("errorRatio", "errors", rates.error_ratio, other.error_ratio),
            ("nackRatio", "nacks", rates.nack_ratio, other.nack_ratio),
        ] {
            let text = format!("{what} {}, stable {}", percent(here), percent(there));
            let limit = there + analysis.max_error_ratio;
            self.judge((name, limit), here - limit, noise(here, there), text);
        }
        let Some(other) = stable else { return };
        let (here, there) = (rates.drop_ratio, other.drop_ratio);
        let text = format!("dropped {}, stable {}", percent(here), percent(there));
        let limit = there + analysis.output_ratio_tolerance * DROP_PART;
        self.judge(("dropRatio", limit), here - limit, noise(here, there), text);
        let (here, there) = (rates.output_ratio, other.output_ratio);
        let tolerated = analysis.output_ratio_tolerance * there.max(1.0);
        let text = format!("{here:.2} written per record, stable {there:.2}");
        if rates.records > 0 && rates.error_ratio < 1.0 {
            let limit = if here < there { there - tolerated } else { there + tolerated };
            self.judge(("outputRatio", limit), (here - there).abs() - tolerated, noise(here, there), text);
        }
        let measured = rates.batches >= LATENCY_BATCHES && other.batches >= LATENCY_BATCHES;
        if measured && against == Against::SameInterval {
            let (here, there) = (rates.latency_nanos, other.latency_nanos);
            let text = format!("a batch takes {:.1} ms, stable {:.1} ms", here / 1e6, there / 1e6);
            let limit = (there * analysis.max_latency_ratio).max(there + LATENCY_SLACK_NANOS);
            self.judge(("latencyNanos", limit), here - limit, 0.0, text);
        }
    }

    fn judge(&mut self, (name, limit): (&str, f64), over: f64, noise: f64, text: String) {
        let passed = if over > noise {
            self.failed.push(text);
            Some(false)
        } else if over > 0.0 {
            self.doubted.push(text);
            None
        } else {
            Some(true)
        };
        self.note(name, limit, passed);
    }

    fn query(&mut self, evidence: &Evidence<'_>) {
        for query in &evidence.analysis.prometheus {
            let value =
                evidence.queries.get(&query.name).copied().flatten().filter(|value| value.is_finite());
            let Some(value) = value else {
                self.doubted.push(format!("query {} has no number", query.name));
                continue;
            };
            let low = query.min.filter(|min| value < *min);
            let high = query.max.filter(|max| value > *max);
            let broken = low.or(high);
            if let Some(limit) = broken.or(query.max).or(query.min) {
                self.note(&query.name, limit, Some(broken.is_none()));
            }
            if broken.is_some() {
                self.failed.push(format!("query {} is {value}", query.name));
            }
        }
    }
}

/// The variance of one record's part in a ratio: a share up to one, a count above.
fn spread(ratio: f64) -> f64 {
    if ratio <= 1.0 { ratio * (1.0 - ratio) } else { ratio }
}

fn percent(ratio: f64) -> String {
    format!("{:.1} %", ratio * 100.0)
}

fn insufficient(rates: &Rates, findings: &Findings, analysis: &Analysis) -> String {
    let so_far = format!("{} of {} records", rates.records, analysis.min_records);
    let doubts: Vec<&str> = findings.failed.iter().chain(&findings.doubted).map(String::as_str).collect();
    match (rates.records >= analysis.min_records.max(1), doubts.is_empty()) {
        (_, false) => format!("{so_far}; not certain yet: {}", doubts.join(", ")),
        (false, true) if rates.records == 0 && rates.read > 0 => {
            format!("{so_far}, although {} were read", rates.read)
        }
        (_, true) => so_far,
    }
}

impl Memory {
    /// Keeps the present verdict for people to read when the rollout is over.
    pub(super) fn keep_verdict(&mut self) {
        if let Some(verdict) = self.rollout.as_ref().and_then(|rollout| rollout.judge.verdict.clone()) {
            self.verdict = Some(verdict);
        }
    }
}
