//! How many replicas a vertex should have at a moment. No other place computes that number: lifecycle, a slow resume,
//! hand, clock and load all speak here, in this order. What the load asks for is in [`auto`]. Invariant: outside of a
//! pause the answer of an automatic vertex is within its bounds, whatever was observed.

mod auto;
mod cron;
mod history;

use api::resolve::{Lifecycle, Scale, VertexKind, VertexSettings};
use api::spec::ResumeStrategy;
use serde::{Deserialize, Serialize};

pub use auto::{Capacity, Downstream, Eased, Learned, Plateau, Trial};
pub use history::{History, Sample};

use crate::Time;

const MINUTE_MILLIS: u64 = 60_000;

/// Everything that the count of a vertex's replicas depends on, but for the time.
#[derive(Clone, Copy, Debug)]
pub struct Input<'a> {
    /// What its manifest says.
    pub settings: &'a VertexSettings,
    /// How its object starts again after a pause.
    pub lifecycle: &'a Lifecycle,
    /// What its object is doing.
    pub phase: Phase,
    /// The latest count that somebody asked for by hand.
    pub hand: Option<Hand>,
    /// Why the autoscaler must not change anything, such as a step of a rollout.
    pub frozen: Option<&'a str>,
    /// What was observed.
    pub load: Load<'a>,
    /// The memory of the last answer.
    pub memory: &'a Memory,
}

/// What was observed of the load around a vertex.
#[derive(Clone, Copy, Debug)]
pub struct Load<'a> {
    /// Recent looks at the vertex.
    pub history: &'a History,
    /// Every vertex that its output reaches, with how full it is.
    pub downstream: &'a [Downstream],
    /// Into how many parts its work can be divided; more workers would have nothing to do. Nothing when nobody knows.
    pub units: Option<u32>,
}

/// What an object is doing, as far as its workers are concerned.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Phase {
    /// It runs.
    Running,
    /// What is inside is to be worked off, and nothing taken in.
    #[serde(rename_all = "camelCase")]
    Draining {
        /// A worker is needed even when nothing waits, to close windows or to report.
        wake: bool,
    },
    /// No worker should exist.
    Stopped,
}

/// A count that somebody asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Hand {
    /// How many.
    pub replicas: u32,
    /// Which request it is: it counts when its number is higher than that of the one before.
    pub number: u64,
}

/// How many replicas there should be, and why.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Decision {
    /// How many.
    pub replicas: u32,
    /// Which rule decided.
    pub rule: Rule,
    /// A sentence with what the rule saw.
    pub reason: String,
    /// Something that somebody should look at.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub warning: Option<String>,
    /// What to hand in next time.
    pub memory: Memory,
    /// When the answer may be another one although nothing else is observed.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub look_again: Option<Time>,
}

/// Which rule decided.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Rule {
    /// The object is paused, drains or goes away.
    Lifecycle,
    /// The object starts again after a pause.
    Resume,
    /// One replica for each partition.
    Fixed,
    /// Somebody asked for it.
    Hand,
    /// The least or the most that is allowed.
    Bounds,
    /// The load.
    Load,
}

/// What the next answer depends on. It belongs into the object's status.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct Memory {
    /// The last answer; none before the first one.
    pub replicas: Option<u32>,
    /// Whether the object was anything but running.
    pub paused: bool,
    /// The count before that; none when it never ran.
    pub before_pause: Option<u32>,
    /// A slow resume that is under way.
    pub ramp: Option<Ramp>,
    /// The last request that counted.
    pub hand: Option<Hand>,
    /// When the count last rose.
    pub raised: Option<Time>,
    /// When the count last fell.
    pub lowered: Option<Time>,
    /// What the autoscaler found out about the vertex. To be forgotten when another version of the code runs.
    pub learned: Learned,
}

/// A slow resume.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Ramp {
    /// When it began.
    pub since: Time,
    /// The count it began with.
    pub from: u32,
    /// The count it ends with.
    pub to: u32,
}

impl Memory {
    /// When the count last changed.
    pub fn changed(&self) -> Option<Time> {
        self.raised.max(self.lowered)
    }
}

/// The least and the most that is allowed at a moment.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Bounds {
    min: u32,
    max: u32,
    /// What sets them.
    by: String,
    until: Option<Time>,
    warning: Option<String>,
}

/// What one rule says.
struct Answer {
    replicas: u32,
    rule: Rule,
    reason: String,
    warning: Option<String>,
    look_again: Option<Time>,
}

impl Answer {
    fn new(replicas: u32, rule: Rule, reason: impl Into<String>) -> Self {
        Self { replicas, rule, reason: reason.into(), warning: None, look_again: None }
    }
}

/// How many replicas the vertex should have at `now`.
pub fn replicas(input: &Input<'_>, now: Time) -> Decision {
    let mut memory = input.memory.clone();
    let bounds = bounds(&input.settings.scale, now);
    let mut answer = match input.phase {
        Phase::Running => running(input, &bounds, &mut memory, now),
        Phase::Draining { wake } => {
            remember_pause(&mut memory);
            draining(input, &bounds, &mut memory, wake, now)
        }
        Phase::Stopped => {
            remember_pause(&mut memory);
            Answer::new(0, Rule::Lifecycle, "no worker is wanted: it is stopped")
        }
    };
    if input.phase == Phase::Running && input.settings.scale.automatic {
        answer.look_again = answer.look_again.into_iter().chain(bounds.until).min();
        answer.warning = answer.warning.or(bounds.warning);
    }
    let before = memory.replicas.unwrap_or(0);
    if answer.replicas > before || memory.replicas.is_none() {
        memory.raised = Some(now);
    } else if answer.replicas < before {
        memory.lowered = Some(now);
    }
    memory.replicas = Some(answer.replicas);
    let Answer { replicas, rule, reason, warning, look_again } = answer;
    Decision { replicas, rule, reason, warning, memory, look_again }
}

fn remember_pause(memory: &mut Memory) {
    if !memory.paused {
        memory.paused = true;
        // A resume that was under way is picked up where it was going.
        memory.before_pause = memory.ramp.map(|ramp| ramp.to).or(memory.replicas);
    }
    memory.ramp = None;
}

fn bounds(scale: &Scale, now: Time) -> Bounds {
    let base =
        Bounds { min: scale.min, max: scale.max, by: "`scale`".to_owned(), until: None, warning: None };
    let Some(cron) = scale.cron.as_ref().filter(|_| scale.automatic) else { return base };
    let active = match cron::active(cron, now) {
        Ok(active) => active,
        Err(error) => {
            let warning = format!("`scale.cron` cannot be followed: {error}; the bounds of `scale` hold");
            return Bounds { warning: Some(warning), ..base };
        }
    };
    let Some(schedule) = active.schedule else { return Bounds { until: active.until, ..base } };
    let count =
        |count: Option<i32>, default: u32| count.map_or(default, |count| u32::try_from(count).unwrap_or(0));
    let max = count(schedule.max, scale.max);
    Bounds {
        min: count(schedule.min, scale.min).min(max),
        max,
        by: format!("the schedule from `{}` to `{}`", schedule.start, schedule.end),
        until: active.until,
        warning: None,
    }
}

/// The replica count that partitions fix, if they do.
fn fixed(settings: &VertexSettings) -> Option<u32> {
    (settings.ordered || settings.kind == VertexKind::Reduce).then_some(settings.partitions)
}

fn unread(load: &Load<'_>) -> u64 {
    load.history.last().and_then(Sample::pending).unwrap_or(0)
}

/// What is to be worked off before a vertex is drained: a source stops reading, so what waits outside stays there.
fn undrained(input: &Input<'_>) -> u64 {
    if input.settings.kind == VertexKind::Source {
        input.load.history.last().map_or(0, |last| last.in_hand)
    } else {
        unread(&input.load)
    }
}

/// While draining nothing is taken away before all is done, and neither bounds nor hand can keep the last worker from a
/// vertex that has something to do; only a `max` of 0 says that there must be none.
fn draining(input: &Input<'_>, bounds: &Bounds, memory: &mut Memory, wake: bool, now: Time) -> Answer {
    let scale = &input.settings.scale;
    let unread = undrained(input);
    let current = memory.replicas.unwrap_or(0);
    let needed = wake || unread > 0;
    let count = |replicas, reason: String| Answer::new(replicas, Rule::Lifecycle, reason);
    if !needed {
        return count(current, format!("draining: nothing waits here, so the {current} that are there stay"));
    }
    let todo = if unread > 0 { format!("{unread} messages are left") } else { "it must report".to_owned() };
    if let Some(partitions) = fixed(input.settings) {
        return count(
            partitions,
            format!("draining: {todo}, and each of the {partitions} partitions has its own"),
        );
    }
    let ceiling = if scale.automatic { scale.max.max(bounds.max) } else { u32::MAX };
    if ceiling == 0 {
        let warning = format!("{todo}, and `scale.max` is 0: it cannot drain until `scale.max` is raised");
        return Answer {
            warning: Some(warning),
            ..count(0, format!("draining: {todo}, but `scale.max` is 0"))
        };
    }
    if current == 0 {
        return count(1, format!("draining: {todo}, so one worker is woken"));
    }
    if scale.automatic && input.frozen.is_none() && input.settings.kind != VertexKind::Source {
        let view =
            auto::View { input, current, min: current.min(ceiling), max: ceiling, changed: memory.changed() };
        let verdict = auto::judge(&view, &mut memory.learned, now);
        if verdict.replicas > current {
            return Answer {
                look_again: verdict.look_again,
                ..count(verdict.replicas, format!("draining: {}", verdict.reason))
            };
        }
    }
    count(current, format!("draining: {todo}, and {current} work on it"))
}

fn running(input: &Input<'_>, bounds: &Bounds, memory: &mut Memory, now: Time) -> Answer {
    if let Some(partitions) = fixed(input.settings) {
        (memory.paused, memory.ramp) = (false, None);
        return Answer::new(partitions, Rule::Fixed, format!("one for each of the {partitions} partitions"));
    }
    let mut started = None;
    if std::mem::take(&mut memory.paused) {
        started = Some(resume(input, bounds, memory, now));
    }
    let is_new = |hand: &Hand| memory.hand.is_none_or(|last| hand.number > last.number);
    if let Some(hand) = input.hand.filter(is_new) {
        (memory.hand, memory.ramp) = (Some(hand), None);
        return by_hand(hand, bounds, input.settings.scale.automatic);
    }
    if let Some(answer) = memory.ramp.and_then(|ramp| on_ramp(ramp, input, bounds, now)) {
        return answer;
    }
    let ramped = memory.ramp.take().map(|ramp| ramp.to);
    if let Some(answer) = started {
        return answer;
    }
    let current = ramped.or(memory.replicas).unwrap_or(input.settings.replicas);
    if !input.settings.scale.automatic {
        return unattended(current, memory.hand);
    }
    attended(input, bounds, memory, current, now)
}

fn clamp(replicas: u32, bounds: &Bounds, automatic: bool) -> u32 {
    if automatic { replicas.clamp(bounds.min, bounds.max) } else { replicas }
}

/// The first count after a pause.
fn resume(input: &Input<'_>, bounds: &Bounds, memory: &mut Memory, now: Time) -> Answer {
    let automatic = input.settings.scale.automatic;
    let before = memory.before_pause.take();
    let to = clamp(before.unwrap_or(input.settings.replicas), bounds, automatic);
    let reason = match before {
        Some(before) => format!("resumed with the {before} from before the pause"),
        None => format!("resumed for the first time, with {to}"),
    };
    let from = to.min(1u32.clamp(bounds.min, bounds.max.max(1)));
    if input.lifecycle.resume == ResumeStrategy::Slow && from < to {
        memory.ramp = Some(Ramp { since: now, from, to });
    }
    // What waits at zero is looked at at once.
    if to == 0 {
        memory.lowered = None;
        memory.raised = None;
    }
    Answer::new(to, Rule::Resume, reason)
}

/// The count on the way up after a pause; none when the way is over.
fn on_ramp(ramp: Ramp, input: &Input<'_>, bounds: &Bounds, now: Time) -> Option<Answer> {
    let per_minute = u64::from(input.lifecycle.resume_replicas_per_minute.max(1));
    let millis = u64::try_from(now.since(ramp.since).as_millis()).unwrap_or(u64::MAX);
    let added = (millis / MINUTE_MILLIS).saturating_mul(per_minute);
    let replicas = u64::from(ramp.from).saturating_add(added);
    if replicas >= u64::from(ramp.to) {
        return None;
    }
    let minutes = millis / MINUTE_MILLIS + 1;
    let next = std::time::Duration::from_millis(minutes.saturating_mul(MINUTE_MILLIS));
    let replicas = u32::try_from(replicas).unwrap_or(u32::MAX);
    let reason = format!("resuming slowly: from {} to {}, {per_minute} more each minute", ramp.from, ramp.to);
    Some(Answer {
        look_again: Some(ramp.since.after(next)),
        ..Answer::new(clamp(replicas, bounds, input.settings.scale.automatic), Rule::Resume, reason)
    })
}

fn by_hand(hand: Hand, bounds: &Bounds, automatic: bool) -> Answer {
    let replicas = clamp(hand.replicas, bounds, automatic);
    let mut reason = format!("{} were asked for by hand", hand.replicas);
    if replicas != hand.replicas {
        reason = format!("{reason}, and {} allows {} to {}", bounds.by, bounds.min, bounds.max);
    }
    Answer::new(replicas, Rule::Hand, reason)
}

fn unattended(current: u32, hand: Option<Hand>) -> Answer {
    let reason = match hand {
        Some(hand) if hand.replicas == current => "as asked for by hand; `scale.disabled` is set",
        _ => "`scale.disabled` is set, so the count stays until somebody changes it",
    };
    Answer::new(current, Rule::Hand, reason)
}

/// Bounds first, then load.
fn attended(input: &Input<'_>, bounds: &Bounds, memory: &mut Memory, current: u32, now: Time) -> Answer {
    let Bounds { min, max, by, .. } = bounds;
    let replicas = current.clamp(*min, *max);
    let mut answer = if replicas != current {
        Answer::new(replicas, Rule::Bounds, format!("{by} allows {min} to {max}, and there were {current}"))
    } else if min == max {
        Answer::new(replicas, Rule::Bounds, format!("{by} allows {max} and no other number"))
    } else {
        let view = auto::View { input, current, min: *min, max: *max, changed: memory.changed() };
        let verdict = auto::judge(&view, &mut memory.learned, now);
        Answer {
            look_again: verdict.look_again,
            warning: verdict.warning,
            ..Answer::new(verdict.replicas, Rule::Load, verdict.reason)
        }
    };
    let unread = unread(&input.load);
    if *max == 0 && unread > 0 {
        let warning = format!("{unread} messages wait, and {by} allows no worker: raise its `max`");
        answer.warning = Some(warning);
    }
    answer
}
