//! `status` and `pause`: waits until an object is as it should be, and shows the way there. Invariant: what ends a wait is
//! decided by [`judge`] alone, from one look at the object.

use std::collections::{BTreeMap, VecDeque};
use std::io::{self, Write};
use std::time::{Duration, Instant};

use platform::place::Wish;
use platform::view::{Object, Vertex};

use super::{LOOK, ask};
use crate::args::site::{Goal, PauseArgs, StatusArgs};
use crate::client::{Client, encode};
use crate::exit::{Exit, Outcome, say};
use crate::live::Live;
use crate::text::{grouped, rate, span};

/// How far back the rate of a drain looks.
const SPAN: Duration = Duration::from_secs(5);
/// The most looks that are remembered for it.
const LOOKS_MAX: usize = 64;

/// Says how an object is, or waits.
pub(super) async fn status(client: &Client, args: &StatusArgs) -> Outcome {
    if let Some(goal) = args.wait {
        return until(client, &args.name, goal, args.timeout).await;
    }
    let object: Object = client.get(&format!("/objects/{}", encode(&args.name))).await?;
    let mut out = io::stdout();
    writeln!(out, "{} {}", object.name, object.phase)?;
    for line in remarks(&object) {
        writeln!(out, "  {line}")?;
    }
    Ok(Exit::Done)
}

/// Pauses an object, and shows the drain if that is wanted.
pub(super) async fn pause(client: &Client, args: &PauseArgs) -> Outcome {
    ask(client, &args.name, &Wish::Pause, "is paused: sources stop, then everything drains").await?;
    let is_waited_for = args.wait || (!args.no_wait && Live::new().is_terminal());
    if !is_waited_for {
        return Ok(Exit::Done);
    }
    until(client, &args.name, Goal::Drained, args.timeout).await
}

/// Waits until an object is as it should be, or cannot be any more.
pub(super) async fn until(client: &Client, name: &str, goal: Goal, timeout: Duration) -> Outcome {
    let mut live = Live::new();
    let waiting = watch(client, name, goal, &mut live);
    if let Ok(outcome) = tokio::time::timeout(timeout, waiting).await {
        return outcome;
    }
    say(format_args!("tidegate: {name} is not {} after {}", words(goal), span(timeout)));
    Ok(Exit::TimedOut)
}

fn words(goal: Goal) -> &'static str {
    match goal {
        Goal::Running => "running",
        Goal::Paused => "paused",
        Goal::Drained => "drained",
        Goal::Idle => "idle",
        Goal::RolledOut => "rolled out",
        Goal::Gone => "gone",
    }
}

async fn watch(client: &Client, name: &str, goal: Goal, live: &mut Live) -> Outcome {
    let path = format!("/objects/{}", encode(name));
    let mut version = client.watch(0).await?;
    let mut pace = Pace::default();
    loop {
        let looked = Instant::now();
        match client.get::<Object>(&path).await {
            Ok(object) => {
                pace.look(&object);
                let head = format!("{} {}", object.name, object.phase);
                let drains = pace.lines(&object);
                let mut view = vec![head.clone()];
                view.extend(drains.iter().map(|line| format!("  {line}")));
                view.extend(remarks(&object).into_iter().map(|line| format!("  {line}")));
                let line = if drains.is_empty() { head } else { format!("{head}: {}", drains.join("; ")) };
                let verdict = judge(&object, goal);
                let mark = format!("{} {verdict:?}", first_word(&object.phase));
                live.show(&view, &[line], &mark)?;
                if let Some(exit) = verdict {
                    return Ok(exit);
                }
            }
            Err(error) if error.is_not_found() && goal == Goal::Gone => {
                writeln!(io::stdout(), "{name} is gone")?;
                return Ok(Exit::Done);
            }
            Err(error) => return Err(error.into()),
        }
        version = client.watch(version).await?;
        tokio::time::sleep(LOOK.saturating_sub(looked.elapsed())).await;
    }
}

fn first_word(phase: &str) -> &str {
    phase.split(" (").next().unwrap_or(phase)
}

/// What a look says about a goal: none as long as it is to be waited for.
fn judge(object: &Object, goal: Goal) -> Option<Exit> {
    let phase = first_word(&object.phase);
    let is_current =
        object.status["observedGeneration"].as_u64().is_none_or(|seen| seen >= object.generation);
    if !is_current {
        return None;
    }
    if phase == "Failed" && goal != Goal::Gone {
        return Some(Exit::GivenUp);
    }
    let is_full = object.vertices.iter().all(|vertex| vertex.ready >= vertex.desired);
    let is_rolling = object.vertices.iter().any(|vertex| vertex.rollout.is_some());
    let is_drained = object.phase == "Paused (drained)" || object.status["drainedOnPause"] == true;
    match goal {
        Goal::Running => (phase == "Running" && is_full).then_some(Exit::Done),
        Goal::Paused => (phase == "Paused").then_some(Exit::Done),
        Goal::Drained if phase != "Paused" => None,
        Goal::Drained if is_drained => Some(Exit::Done),
        // With `onPauseTimeout: wait` the drain goes on after the grace period.
        Goal::Drained if object.status["drain"]["verdict"] == "draining" => None,
        Goal::Drained => Some(Exit::Left),
        Goal::Idle => {
            let is_idle = object.vertices.iter().all(|vertex| vertex.activity == "Idle");
            (phase == "Running" && is_idle).then_some(Exit::Done)
        }
        Goal::RolledOut if phase == "Rolled back" => Some(Exit::GivenUp),
        Goal::RolledOut => (phase == "Running" && !is_rolling && is_full).then_some(Exit::Done),
        Goal::Gone => None,
    }
}

/// What is unusual about an object.
pub(super) fn remarks(object: &Object) -> Vec<String> {
    let mut lines: Vec<String> = object.failure.iter().map(|why| format!("cannot run: {why}")).collect();
    lines.extend(object.waiting.iter().map(|waiting| format!("{}: {}", waiting.about, waiting.message)));
    for vertex in &object.vertices {
        lines.extend(vertex.stuck_because.iter().map(|why| format!("{} is stuck: {why}", vertex.name)));
        lines.extend(vertex.rollout.iter().map(|rollout| format!("{}: {rollout}", vertex.name)));
    }
    lines
}

/// How fast what is left becomes less.
#[derive(Debug, Default)]
struct Pace {
    looks: VecDeque<(i64, BTreeMap<String, u64>)>,
}

impl Pace {
    fn look(&mut self, object: &Object) {
        let now = object.as_of.millis();
        let span = i64::try_from(SPAN.as_millis()).unwrap_or(i64::MAX);
        while self.looks.len() >= LOOKS_MAX
            || self.looks.get(1).is_some_and(|(then, _)| now.saturating_sub(*then) >= span)
        {
            self.looks.pop_front();
        }
        let left = object.vertices.iter().map(|vertex| (vertex.name.clone(), left(vertex))).collect();
        self.looks.push_back((now, left));
    }

    /// A line for each vertex with something left, while the object drains or has drained.
    fn lines(&self, object: &Object) -> Vec<String> {
        let phase = first_word(&object.phase);
        if !["Pausing", "Paused", "Deleting", "Reshaping"].contains(&phase) {
            return Vec::new();
        }
        let inside = object.vertices.iter().filter(|vertex| vertex.kind != "source" && left(vertex) > 0);
        inside.map(|vertex| self.line(vertex)).collect()
    }

    fn line(&self, vertex: &Vertex) -> String {
        let left = left(vertex);
        let mut text = format!("{} {} left", vertex.name, grouped(left));
        if let Some(pending) = vertex.pending.as_ref().filter(|pending| pending.len() > 1) {
            let parts: Vec<String> = pending
                .iter()
                .enumerate()
                .filter(|(_, count)| **count > 0)
                .map(|(partition, count)| format!("partition {partition}: {}", grouped(*count)))
                .collect();
            if !parts.is_empty() {
                text = format!("{text} ({})", parts.join(", "));
            }
        }
        if let Some(pace) = self.per_second(&vertex.name, left).filter(|pace| *pace > 0.0) {
            let rest = Duration::from_secs_f64((left as f64 / pace).min(1e9).ceil());
            text = format!("{text}, {}/s, about {}", rate(pace), span(rest));
        }
        text
    }

    fn per_second(&self, vertex: &str, left: u64) -> Option<f64> {
        let (then, before) = self.looks.front()?;
        let (now, _) = self.looks.back()?;
        let seconds = now.saturating_sub(*then) as f64 / 1_000.0;
        (seconds > 0.0)
            .then(|| before.get(vertex).map_or(0.0, |before| before.saturating_sub(left) as f64 / seconds))
    }
}

fn left(vertex: &Vertex) -> u64 {
    // What a source or a mono vertex waits for lies outside; for others what is in hand is still pending.
    match vertex.kind.as_str() {
        "source" | "mono" => vertex.in_hand,
        _ => vertex.pending.iter().flatten().sum(),
    }
}

#[cfg(test)]
mod tests;
