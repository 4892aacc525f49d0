//! How well the data flows, in one word with a reason: from how full the buffers were over the last minutes and from
//! what the keeper found stuck. Pure: it is told what time it is.
//!
//! Invariant: `Healthy` is said only of what was looked at lately; what nobody knows is `Unknown`, which outranks all.

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use model::Time;

use crate::picture::{Picture, Reason, State};

/// How often to look at the buffers. Looks that come sooner after one another are left out.
pub const HEALTH_EVERY: Duration = Duration::from_secs(10);
/// Looks that count: five minutes.
const LOOKS: usize = 30;
/// How much of the average the newest look is.
const WEIGHT: f64 = 2.0 / (LOOKS as f64 + 1.0);
/// Above this the average usage, in percent, is a warning.
const WARNING_PERCENT: f64 = 80.0;
/// Above this it is critical.
const CRITICAL_PERCENT: f64 = 95.0;
/// Of the latest so many averages ...
const JUDGED: usize = 6;
/// ... so many have to be critical.
const CRITICAL_LEAST: usize = 3;
/// What was not looked at for so long is unknown.
const STALE_AFTER: Duration = Duration::from_mins(1);
/// What is stuck for so long is critical.
const STUCK_CRITICAL_AFTER: Duration = Duration::from_mins(5);
/// How much earlier than [`HEALTH_EVERY`] a look may come, because timers are not exact.
const EARLY: Duration = Duration::from_secs(1);

/// How well data flows, the worst last.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Level {
    /// It does.
    Healthy,
    /// Something is nearly full, or stands still.
    Warning,
    /// Something is full, has stood still for long, or cannot keep up.
    Critical,
    /// Nobody knows.
    Unknown,
}

impl Level {
    /// The word for programs.
    pub fn word(self) -> &'static str {
        match self {
            Self::Healthy => "healthy",
            Self::Warning => "warning",
            Self::Critical => "critical",
            Self::Unknown => "unknown",
        }
    }

    /// The code that clients of the reference know.
    pub fn code(self) -> &'static str {
        match self {
            Self::Healthy => "D1",
            Self::Warning => "D2",
            Self::Critical => "D3",
            Self::Unknown => "D4",
        }
    }
}

/// A level and why.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Health {
    /// The level.
    pub level: Level,
    /// Where and why, a sentence.
    pub message: String,
}

impl Health {
    fn new(level: Level, message: impl Into<String>) -> Self {
        Self { level, message: message.into() }
    }
}

/// How full each buffer was lately.
#[derive(Clone, Debug, Default)]
pub struct Usages {
    buffers: BTreeMap<String, VecDeque<(Time, f64)>>,
    looked: Option<Time>,
}

impl Usages {
    /// Takes in how full each buffer is, as a fraction of its length; a buffer that nobody could look at is left out. Looks
    /// that come too soon are left out. Buffers that are named no longer are forgotten once their last look is old.
    pub fn see(&mut self, now: Time, usages: &BTreeMap<String, f64>) {
        if self.looked.is_some_and(|last| now < last.after(HEALTH_EVERY.saturating_sub(EARLY))) {
            return;
        }
        self.looked = Some(now);
        for (buffer, usage) in usages {
            let looks = self.buffers.entry(buffer.clone()).or_default();
            looks.push_back((now, usage * 100.0));
            if looks.len() > LOOKS {
                looks.pop_front();
            }
        }
    }

    /// Leaves out all buffers but these, such as after an edit of the pipeline.
    pub fn keep(&mut self, is_kept: impl Fn(&str) -> bool) {
        self.buffers.retain(|buffer, _| is_kept(buffer));
    }

    /// The worst of the buffers: `expected` are those that there are.
    fn worst<'a>(&'a self, expected: &'a [String], now: Time) -> Option<Health> {
        let judged = expected.iter().map(|buffer| match self.buffers.get(buffer) {
            Some(looks) => judge(buffer, looks, now),
            None => Health::new(Level::Unknown, format!("nobody has looked at buffer {buffer} yet")),
        });
        worst(judged)
    }
}

/// How well data flows through a pipeline with these buffers.
pub fn of_pipeline(usages: &Usages, buffers: &[String], picture: &Picture, now: Time) -> Health {
    let found = usages.worst(buffers, now).into_iter().chain(standstill(picture, now));
    worst(found).unwrap_or_else(|| Health::new(Level::Healthy, "data flows through all vertices"))
}

/// How well data flows through a mono vertex. `wanted` is how many workers the load calls for, without regard to the
/// limit; none when that is not known.
pub fn of_mono_vertex(wanted: Option<u32>, max: u32, picture: &Picture, now: Time) -> Health {
    let load = match wanted {
        None => {
            Health::new(Level::Unknown, "rate or pending is not known, so nobody can say whether it keeps up")
        }
        Some(wanted) if wanted > max => Health::new(
            Level::Critical,
            format!("the load calls for {wanted} workers and `scale.max` allows {max}"),
        ),
        Some(_) => Health::new(Level::Healthy, "data flows"),
    };
    worst(standstill(picture, now)).filter(|found| found.level > load.level).unwrap_or(load)
}

/// Vertices that have work and do not get on with it. One that waits for another is not to blame.
fn standstill(picture: &Picture, now: Time) -> impl Iterator<Item = Health> {
    picture.vertices.values().filter_map(move |known| {
        let State::Stuck { unit, since, reason } = &known.state else { return None };
        let seconds = now.since(*since).as_secs();
        let what = match reason {
            Reason::Behind { .. } => return None,
            Reason::Silent => {
                let message = format!("nothing was heard of unit {unit} for {seconds} s");
                return Some(Health::new(Level::Unknown, message));
            }
            Reason::NoOwner => "no worker has it".to_owned(),
            Reason::InHand { messages } => format!("{messages} messages were read and do not get done"),
            Reason::Unread { messages } => format!("{messages} messages are not read"),
        };
        let is_long = now.since(*since) >= STUCK_CRITICAL_AFTER;
        let level = if is_long { Level::Critical } else { Level::Warning };
        Some(Health::new(level, format!("unit {unit} stands still for {seconds} s: {what}")))
    })
}

/// The first of the worst.
fn worst(found: impl Iterator<Item = Health>) -> Option<Health> {
    found.filter(|health| health.level > Level::Healthy).fold(None, |worst: Option<Health>, health| {
        match worst {
            Some(worst) if worst.level >= health.level => Some(worst),
            _ => Some(health),
        }
    })
}

fn judge(buffer: &str, looks: &VecDeque<(Time, f64)>, now: Time) -> Health {
    if looks.back().is_none_or(|(last, _)| now.since(*last) >= STALE_AFTER) {
        let message = format!("nobody has looked at buffer {buffer} for {} s", STALE_AFTER.as_secs());
        return Health::new(Level::Unknown, message);
    }
    let mut average = looks.front().map_or(0.0, |(_, usage)| *usage);
    let averages: Vec<f64> = looks
        .iter()
        .map(|(_, usage)| {
            average += WEIGHT * (usage - average);
            average
        })
        .collect();
    let critical = averages.iter().rev().take(JUDGED).filter(|average| **average > CRITICAL_PERCENT).count();
    let level = if average > CRITICAL_PERCENT && critical >= CRITICAL_LEAST {
        Level::Critical
    } else if average > WARNING_PERCENT {
        Level::Warning
    } else {
        Level::Healthy
    };
    Health::new(level, format!("buffer {buffer} is {average:.0} % full on the average of the last minutes"))
}

#[cfg(test)]
mod tests {
    use model::{Name, Slot, Unit, UnitId};

    use super::*;
    use crate::picture::VertexPicture;

    const NOW: Time = Time::from_millis(10_000_000);

    fn names(names: &[&str]) -> Vec<String> {
        names.iter().map(|name| (*name).to_owned()).collect()
    }

    /// Looks at one buffer, the last one at `NOW`.
    fn usages(percents: &[f64]) -> Usages {
        let mut usages = Usages::default();
        for (ago, percent) in (0..percents.len()).rev().zip(percents) {
            let at = Time::from_millis(NOW.millis() - ago as i64 * 10_000);
            usages.see(at, &BTreeMap::from([("b".to_owned(), percent / 100.0)]));
        }
        usages
    }

    fn level(percents: &[f64]) -> Level {
        of_pipeline(&usages(percents), &names(&["b"]), &Picture::default(), NOW).level
    }

    fn stuck(since_s: i64, reason: Reason) -> Picture {
        let vertex = Name::new("cat");
        let unit = UnitId { vertex: vertex.clone(), unit: Unit::Slot(Slot::RETRY) };
        let since = Time::from_millis(NOW.millis() - since_s * 1000);
        let state = State::Stuck { unit, since, reason };
        let known =
            VertexPicture { watermark: None, held_by: None, pending: 3, outside: None, in_hand: 3, state };
        Picture { number: 1, vertices: [(vertex, known)].into(), drained: false }
    }

    #[test]
    fn the_average_over_five_minutes_decides() {
        assert_eq!(level(&[0.0; 30]), Level::Healthy);
        assert_eq!(level(&[80.0; 30]), Level::Healthy);
        assert_eq!(level(&[81.0; 30]), Level::Warning);
        assert_eq!(level(&[95.0; 30]), Level::Warning);
        assert_eq!(level(&[96.0; 30]), Level::Critical);
        // One full look after a long time of nothing is a burst.
        assert_eq!(level(&[[0.0; 29].as_slice(), &[100.0]].concat()), Level::Healthy);
        assert_eq!(level(&[[0.0; 5].as_slice(), &[100.0; 25]].concat()), Level::Warning);
        // What was long ago does not count.
        assert_eq!(level(&[[100.0; 60].as_slice(), &[0.0; 30]].concat()), Level::Healthy);
    }

    #[test]
    fn critical_takes_three_looks() {
        assert_eq!(level(&[100.0]), Level::Warning);
        assert_eq!(level(&[100.0, 100.0]), Level::Warning);
        assert_eq!(level(&[100.0, 100.0, 100.0]), Level::Critical);
    }

    #[test]
    fn what_nobody_looked_at_lately_is_unknown_and_outranks_all() {
        let full = usages(&[100.0; 30]);
        let of = |usages: &Usages, buffers: &[&str], now| {
            of_pipeline(usages, &names(buffers), &Picture::default(), now)
        };
        assert_eq!(of(&full, &["b"], NOW).level, Level::Critical);
        assert_eq!(of(&full, &["b", "c"], NOW).level, Level::Unknown);
        assert!(of(&full, &["b", "c"], NOW).message.contains("buffer c"));
        assert_eq!(of(&full, &["b"], NOW.after(STALE_AFTER)).level, Level::Unknown);
        assert_eq!(of(&Usages::default(), &["b"], NOW).level, Level::Unknown);
        // A mono vertex or a pipeline without buffers has nothing that could be full.
        assert_eq!(of(&Usages::default(), &[], NOW).level, Level::Healthy);
    }

    #[test]
    fn buffers_that_are_gone_have_no_say() {
        let mut usages = usages(&[100.0; 30]);
        usages.keep(|buffer| buffer != "b");
        assert_eq!(of_pipeline(&usages, &[], &Picture::default(), NOW).level, Level::Healthy);
        assert!(usages.buffers.is_empty());
    }

    #[test]
    fn a_vertex_that_stands_still_is_not_healthy_however_empty_the_buffers_are() {
        let empty = usages(&[0.0; 30]);
        let of = |picture: &Picture| of_pipeline(&empty, &names(&["b"]), picture, NOW);
        let in_hand = || Reason::InHand { messages: 3 };
        assert_eq!(of(&stuck(10, in_hand())).level, Level::Warning);
        assert_eq!(of(&stuck(300, in_hand())).level, Level::Critical);
        let message = of(&stuck(10, in_hand())).message;
        assert!(message.contains("cat") && message.contains("3 messages were read"), "{message}");
        assert_eq!(of(&stuck(10, Reason::Silent)).level, Level::Unknown);
        assert_eq!(of(&stuck(300, Reason::Behind { vertex: Name::new("out") })).level, Level::Healthy);
    }

    #[test]
    fn a_mono_vertex_is_critical_when_its_limit_does_not_allow_what_the_load_calls_for() {
        let of = |wanted| of_mono_vertex(wanted, 4, &Picture::default(), NOW).level;
        assert_eq!(of(Some(0)), Level::Healthy);
        assert_eq!(of(Some(4)), Level::Healthy);
        assert_eq!(of(Some(5)), Level::Critical);
        assert_eq!(of(None), Level::Unknown);
        assert_eq!(of_mono_vertex(Some(1), 4, &stuck(10, Reason::NoOwner), NOW).level, Level::Warning);
    }

    #[test]
    fn levels_have_the_words_and_codes_that_clients_know() {
        let all = [Level::Healthy, Level::Warning, Level::Critical, Level::Unknown];
        assert_eq!(all.map(Level::word), ["healthy", "warning", "critical", "unknown"]);
        assert_eq!(all.map(Level::code), ["D1", "D2", "D3", "D4"]);
    }
}
