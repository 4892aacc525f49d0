//! How many replicas the load asks for. Bounds that a user set are handed in, and everything is computed from what was
//! observed and learned; lifecycle and hand are not known here. Invariant: the answer is the present count, or lies
//! between it and what one step allows, and the reason names the numbers it came from.

mod learned;

use std::time::Duration;

use api::resolve::{Scale, VertexKind};
use serde::{Deserialize, Serialize};

pub use learned::{Capacity, Eased, Learned, Plateau, Trial};

use super::Input;
use super::history::{Sample, Window};
use crate::Time;

/// Observations older than this say nothing about the present.
const STALE: Duration = Duration::from_mins(1);
/// The shortest stretch that a rate is taken from, unless the user's look-back is shorter.
const SPAN_MIN: Duration = Duration::from_secs(10);
/// How long workers may take to become ready before scaling goes on with those that are.
const START_MAX: Duration = Duration::from_mins(5);
/// The share of a downstream vertex's usable buffer from which it presses back.
const PRESSURE_PERCENT: f64 = 90.0;
/// A backlog on top of arrivals is worked off in so many times `targetProcessingSeconds`.
const CATCH_UP: f64 = 3.0;
/// Capacity that is kept free when workers are taken away, so that they are not missed at once.
const SPARE: f64 = 1.25;
/// A want for less than so much of a worker is not worth one.
const FRACTION: f64 = 0.05;

/// How full a vertex is that this one's output reaches, read from its buffer.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Downstream {
    /// Its name.
    pub vertex: String,
    /// True when an edge leads there; false when others are in between.
    pub direct: bool,
    /// True when an edge to it drops what it cannot take, so that nobody waits for it.
    pub drops: bool,
    /// What is pending in it, in percent of the usable length of its buffer.
    pub used_percent: f64,
    /// When that was so.
    pub at: Time,
}

/// What the judgement is made from.
pub(super) struct View<'a> {
    pub(super) input: &'a Input<'a>,
    pub(super) current: u32,
    pub(super) min: u32,
    pub(super) max: u32,
    pub(super) changed: Option<Time>,
}

/// A count and the reason for it.
pub(super) struct Verdict {
    pub(super) replicas: u32,
    pub(super) reason: String,
    pub(super) warning: Option<String>,
    pub(super) look_again: Option<Time>,
}

impl Verdict {
    fn new(replicas: u32, reason: impl Into<String>) -> Self {
        Self { replicas, reason: reason.into(), warning: None, look_again: None }
    }

    fn at(self, look_again: Time) -> Self {
        Self { look_again: Some(look_again), ..self }
    }

    fn warned(self) -> Self {
        Self { warning: Some(self.reason.clone()), ..self }
    }
}

/// The load, as figures.
struct Figures<'a> {
    window: Window<'a>,
    /// Messages per second.
    rate: f64,
    /// All that is pending.
    pending: u64,
    /// Messages per second that come in.
    arrivals: f64,
    /// Workers that were ready.
    ready: f64,
    /// Nobody waited for messages: the rate is all that the workers can do.
    saturated: bool,
}

/// A count that the load asks for.
struct Want {
    replicas: u32,
    why: String,
}

impl View<'_> {
    fn scale(&self) -> &Scale {
        &self.input.settings.scale
    }

    fn is_source(&self) -> bool {
        self.input.settings.kind == VertexKind::Source
    }

    fn hold(&self, why: impl AsRef<str>) -> Verdict {
        Verdict::new(self.current, format!("stays at {}: {}", self.current, why.as_ref()))
    }

    /// When a step may be made that needs `cooldown` since the last one; none when it may be made.
    fn cooling(&self, cooldown: Duration, now: Time) -> Option<Time> {
        self.changed.map(|changed| changed.after(cooldown)).filter(|over| *over > now)
    }

    fn pressing(&self, now: Time) -> impl Iterator<Item = &Downstream> {
        let is_fresh = move |downstream: &&Downstream| now.since(downstream.at) <= STALE;
        self.input
            .load
            .downstream
            .iter()
            .filter(is_fresh)
            .filter(|downstream| downstream.used_percent >= PRESSURE_PERCENT)
    }

    fn direct_pressure(&self, now: Time) -> Option<&Downstream> {
        self.pressing(now).find(|downstream| downstream.direct && !downstream.drops)
    }
}

/// The count that the load asks for `now`.
pub(super) fn judge(view: &View<'_>, learned: &mut Learned, now: Time) -> Verdict {
    learned.forget(now);
    if view.direct_pressure(now).is_some() {
        learned.blocked = Some(now);
    }
    if let Some(why) = view.input.frozen {
        return view.hold(why);
    }
    if view.current == 0 {
        return asleep(view, now);
    }
    if let Some(verdict) = unknown(view, now) {
        return verdict;
    }
    let figures = match figures(view, now) {
        Ok(figures) => figures,
        Err(verdict) => return verdict,
    };
    learned.learn(view, &figures, now);
    if figures.pending == 0 && figures.rate <= 0.0 {
        return idle(view, now);
    }
    if figures.rate <= 0.0 {
        let why = format!("{} messages are pending and none was finished", figures.pending);
        return view.hold(why).warned();
    }
    let needed = needed(view, &figures, learned);
    let want = up_to(&needed, by_backlog(view, &figures, learned));
    if want.replicas > view.current && figures.pending > 0 {
        if learned.test.is_some() && view.current < view.max {
            learned.test_failed(now);
            return taken_back(view, &want);
        }
        learned.spare = None;
        return up(view, &figures, &want, learned, now);
    }
    let spared = up_to(&want, spared(&figures, learned));
    if let Some(plateau) = learned.plateau.filter(|plateau| plateau.replicas < view.current) {
        let why = format!("more than {} did not do more", plateau.replicas);
        return down(view, &Want { replicas: plateau.replicas, why }, now);
    }
    if spared.replicas < view.current && learned.is_spare(view, &spared, now) {
        return down(view, &spared, now);
    }
    if spared.replicas >= view.current {
        learned.spare = None;
    }
    let may_step = view.current > view.min.max(1) && view.scale().step_up > 0;
    if may_step && want.replicas < view.current && learned.is_test_due(view.changed, now) {
        return test(view, &spared, learned, now);
    }
    view.hold(spared.why)
}

/// One less, to see whether the others can do more than is known.
fn test(view: &View<'_>, spared: &Want, learned: &mut Learned, now: Time) -> Verdict {
    let why = format!("to see whether one less is enough: {} as far as is known", spared.why);
    let verdict = down(view, &Want { replicas: view.current - 1, why }, now);
    if verdict.replicas < view.current {
        learned.test_begun(now);
    }
    verdict
}

/// A test that failed is undone at once.
fn taken_back(view: &View<'_>, want: &Want) -> Verdict {
    let replicas = view.current + 1;
    Verdict::new(
        replicas,
        format!("up from {} to {replicas}: one less was not enough, with {}", view.current, want.why),
    )
}

/// At zero: what is there to do wakes one at once; a source that cannot tell looks again after its sleep.
fn asleep(view: &View<'_>, now: Time) -> Verdict {
    let one = view.min.max(1);
    let last = view.input.load.history.last().filter(|last| now.since(last.at) <= STALE);
    match last.map(Sample::pending) {
        Some(Some(pending)) if pending > 0 => {
            return Verdict::new(one, format!("woken: {pending} messages are pending"));
        }
        Some(None) | None if !view.is_source() => {
            return view.hold("it is not known whether anything is pending");
        }
        _ => {}
    }
    if !view.is_source() {
        return view.hold("nothing is pending");
    }
    match view.cooling(view.scale().zero_replica_sleep, now) {
        Some(wake) => view.hold("the source sleeps").at(wake),
        None => Verdict::new(one, "woken: it is time to look whether the source has something"),
    }
}

/// Reasons for which the present load is not known.
fn unknown(view: &View<'_>, now: Time) -> Option<Verdict> {
    let Some(last) = view.input.load.history.last() else {
        return Some(view.hold("nothing was observed yet"));
    };
    let age = now.since(last.at);
    if age > STALE {
        return Some(view.hold(format!("nothing was observed for {} s", age.as_secs())).warned());
    }
    if last.ready == 0 {
        return Some(view.hold("no worker is ready"));
    }
    let patience = view.changed.map(|changed| changed.after(START_MAX)).filter(|over| *over > now);
    if let Some(over) = patience.filter(|_| last.ready < view.current) {
        let why = format!("{} of {} workers are ready", last.ready, view.current);
        return Some(view.hold(why).at(over));
    }
    last.pending().is_none().then(|| view.hold("it is not known how much is pending"))
}

fn figures<'a>(view: &'a View<'_>, now: Time) -> Result<Figures<'a>, Verdict> {
    let history = view.input.load.history;
    let since = Time::from_millis(now.millis().saturating_sub_unsigned(millis(view.scale().lookback)));
    // What was before the last change, and while its workers started, tells nothing about how they do now.
    let ready = history.last().map_or(0, |last| last.ready).min(view.current);
    let window = history.window(since.max(view.changed.unwrap_or(since)), ready);
    let (span, least) = (window.span(), SPAN_MIN.min(view.scale().lookback));
    if span < least || span.is_zero() {
        let why = format!(
            "observed for {} s since the last change, {} s are needed",
            span.as_secs(),
            least.as_secs()
        );
        return Err(view.hold(why));
    }
    let (Some(rate), Some(pending)) = (window.rate(), window.pending()) else {
        return Err(view.hold("how much was finished is not known"));
    };
    let ready = window.ready();
    Ok(Figures {
        rate,
        pending,
        arrivals: (rate + window.growth()).max(0.0),
        ready,
        saturated: window.always_waiting(rate.max(ready).max(1.0)),
        window,
    })
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

/// Nothing comes and nothing is there: down to the least, once that has been so for the whole look-back.
fn idle(view: &View<'_>, now: Time) -> Verdict {
    let lookback = view.scale().lookback;
    let since = Time::from_millis(now.millis().saturating_sub_unsigned(millis(lookback)));
    let window = view.input.load.history.window(since, 0);
    let seen = window.start().map_or(Duration::ZERO, |start| now.since(start));
    let is_idle = window.always_empty() && window.rate().is_some_and(|rate| rate <= 0.0);
    // A look may come a little late.
    if !is_idle || seen < lookback.mul_f64(0.9) {
        return view.hold(format!("idle, but not yet for {} s", lookback.as_secs()));
    }
    let want = Want {
        replicas: 0,
        why: format!("nothing came for {} s and nothing is pending", lookback.as_secs()),
    };
    if view.current > view.min { down(view, &want, now) } else { view.hold(want.why) }
}

/// The count that the backlog asks for.
fn by_backlog(view: &View<'_>, figures: &Figures<'_>, learned: &Learned) -> Want {
    if figures.pending == 0 {
        return Want { replicas: 1, why: format!("nothing is pending at {}/s", number(figures.rate)) };
    }
    let target = view.scale().target_processing.as_secs_f64().max(1.0);
    let each = learned.per_worker(view, figures);
    let seconds = figures.pending as f64 / (each * figures.ready);
    let mut want = Want {
        replicas: count(figures.pending as f64 / each / target),
        why: format!(
            "{} pending take {} s with {} at {}/s each, and {} s is the target",
            figures.pending,
            number(seconds),
            number(figures.ready),
            number(each),
            number(target),
        ),
    };
    if let Some(full) = by_fullness(view, figures, each) {
        want = full;
    }
    want.replicas = want.replicas.clamp(1, u32::try_from(figures.pending).unwrap_or(u32::MAX));
    want
}

/// The count that the fullest partition asks for when it is fuller than it should be; time does not count then.
fn by_fullness(view: &View<'_>, figures: &Figures<'_>, each: f64) -> Option<Want> {
    if view.is_source() {
        return None;
    }
    let last = view.input.load.history.last()?;
    let waiting = *last.waiting.as_ref()?.iter().max()?;
    let limits = &view.input.settings.limits;
    let (length, limit) = (limits.buffer_max_length as f64, limits.buffer_usable_length());
    let free_percent = f64::from(view.scale().target_buffer_availability_percent.min(100));
    // What the workers will have done before another one could help is not a buffer that fills up.
    let lasts = waiting as f64 > each * figures.ready;
    if !lasts || waiting as f64 <= length * (1.0 - free_percent / 100.0) {
        return None;
    }
    let percent = number(waiting as f64 * 100.0 / length.max(1.0));
    if waiting >= limit {
        let replicas = view.current.saturating_add(view.scale().step_up);
        return Some(Want {
            replicas,
            why: format!("the buffer is full: {waiting} wait in a partition, {percent} %"),
        });
    }
    let room = (limit - waiting) as f64 / figures.ready;
    Some(Want {
        replicas: count(length * free_percent / 100.0 / room),
        why: format!(
            "{waiting} wait in a partition, {percent} %, and {} % should be free",
            number(free_percent)
        ),
    })
}

/// The count that keeps pace with what comes in and works the backlog off besides; needs to know what a worker can do.
fn needed(view: &View<'_>, figures: &Figures<'_>, learned: &Learned) -> Want {
    let Some(capacity) = learned.capacity.filter(|_| figures.pending > 0) else { return Want::none() };
    let target = view.scale().target_processing.as_secs_f64().max(1.0);
    let behind = figures.pending as f64 - figures.rate;
    let backlog = if figures.saturated { behind.max(0.0) / (CATCH_UP * target) } else { 0.0 };
    let workers = (figures.arrivals + backlog) / capacity.per_worker;
    Want {
        replicas: count((workers - FRACTION).ceil()).min(u32::try_from(figures.pending).unwrap_or(u32::MAX)),
        why: format!(
            "{} pending and {}/s coming in, where a worker does {}/s",
            figures.pending,
            number(figures.arrivals),
            number(capacity.per_worker)
        ),
    }
}

/// The fewest that keep pace with something to spare.
fn spared(figures: &Figures<'_>, learned: &Learned) -> Want {
    let Some(capacity) = learned.capacity else { return Want::none() };
    let coming = figures.arrivals.max(figures.rate);
    Want {
        replicas: count((coming * SPARE / capacity.per_worker).ceil()),
        why: format!("{}/s come in, and a worker does {}/s", number(coming), number(capacity.per_worker)),
    }
}

impl Want {
    fn none() -> Self {
        Self { replicas: 0, why: String::new() }
    }
}

fn up_to(first: &Want, second: Want) -> Want {
    if first.replicas > second.replicas {
        Want { replicas: first.replicas, why: first.why.clone() }
    } else {
        second
    }
}

/// A step up, unless something else is what holds the vertex back.
fn up(view: &View<'_>, figures: &Figures<'_>, want: &Want, learned: &mut Learned, now: Time) -> Verdict {
    let limit = view.input.settings.limits.rate_limit.as_ref().and_then(|limit| limit.max);
    if let Some(limit) = limit.filter(|limit| figures.rate.ceil() >= *limit as f64) {
        return view.hold(format!("{}/s is what its rate limit of {limit}/s allows", number(figures.rate)));
    }
    if let Some(full) = view.direct_pressure(now) {
        let why = format!("`{}`, which it writes to, is {} % full", full.vertex, number(full.used_percent));
        return ease(view, why, learned, now);
    }
    if let Some(full) = view.pressing(now).find(|downstream| !downstream.direct) {
        return view.hold(format!("`{}` further down is {} % full", full.vertex, number(full.used_percent)));
    }
    let (ceiling, limit) = ceiling(view, learned);
    if ceiling <= view.current {
        return view.hold(format!("{limit}; wanted were {}, since {}", want.replicas, want.why));
    }
    if let Some(over) = view.cooling(view.scale().cooldown_up, now) {
        return view.hold(format!("it changed a moment ago; then up, since {}", want.why)).at(over);
    }
    let step = view.current.saturating_add(view.scale().step_up);
    let replicas = want.replicas.min(step).min(ceiling);
    if replicas <= view.current {
        return view
            .hold(format!("no step up is allowed; wanted were {}, since {}", want.replicas, want.why));
    }
    learned.raised(view.current, figures, now);
    let part =
        if replicas < want.replicas { format!(" ({} in the end)", want.replicas) } else { String::new() };
    Verdict::new(replicas, format!("up from {} to {replicas}{part}: {}", view.current, want.why))
}

/// The most that can be of use, and why it is not more.
fn ceiling(view: &View<'_>, learned: &Learned) -> (u32, String) {
    let mut ceiling = (view.max, format!("{} is the most that is allowed", view.max));
    let mut lower = |count: u32, why: String| {
        if count < ceiling.0 {
            ceiling = (count, why);
        }
    };
    if let Some(units) = view.input.load.units {
        lower(units.max(1), format!("its work has {units} parts"));
    }
    if let Some(plateau) = learned.plateau {
        lower(plateau.replicas, format!("more than {} did not do more", plateau.replicas));
    }
    if let Some(eased) = learned.eased {
        lower(eased.from, format!("more than {} had to wait for what is downstream", eased.from));
    }
    ceiling
}

/// Fewer when waiting for somebody downstream, down to the fewest that still fill it.
fn ease(view: &View<'_>, why: String, learned: &mut Learned, now: Time) -> Verdict {
    if learned.eased.is_some_and(|eased| eased.from == view.current) {
        return view.hold(format!("{why}, and with one less it was not"));
    }
    if view.current <= view.min.max(1) || view.scale().step_down == 0 {
        return view.hold(why);
    }
    if let Some(over) = view.cooling(view.scale().cooldown_down, now) {
        return view.hold(format!("{why}; it changed a moment ago")).at(over);
    }
    learned.eased(view.current, now);
    Verdict::new(view.current - 1, format!("down from {} to {}: {why}", view.current, view.current - 1))
}

fn down(view: &View<'_>, want: &Want, now: Time) -> Verdict {
    let wanted = want.replicas.max(view.min);
    let replicas = wanted.max(view.current.saturating_sub(view.scale().step_down));
    if replicas >= view.current {
        return view.hold(format!("no step down is allowed; {}", want.why));
    }
    if let Some(over) = view.cooling(view.scale().cooldown_down, now) {
        return view.hold(format!("it changed a moment ago; then down, since {}", want.why)).at(over);
    }
    let part = if replicas > wanted { format!(" ({wanted} in the end)") } else { String::new() };
    Verdict::new(replicas, format!("down from {} to {replicas}{part}: {}", view.current, want.why))
}

/// Rounds; what is too big for a count is the biggest one.
fn count(value: f64) -> u32 {
    value.round() as u32
}

/// A number as people write it.
fn number(value: f64) -> String {
    if value >= 1e15 {
        format!("{value:.1e}")
    } else if value >= 10.0 || value.fract() == 0.0 {
        format!("{value:.0}")
    } else {
        format!("{value:.1}")
    }
}
