//! A run from its start to its end: shows it, waits for a reason to stop, drains, stops.
//!
//! Invariant: the first wish to stop drains, the second stops at once, and either way the engine is stopped in order, so
//! that everything acknowledged is in the journal.

use std::io;
use std::time::{Duration, Instant};

use platform::local::engine::{Drained, Engine};
use platform::local::snapshot::Phase;

use super::metrics;
use crate::exit::{Exit, Outcome};
use crate::screen::Screen;

/// How often a terminal is redrawn.
const REDRAW: Duration = Duration::from_millis(250);
/// How long what is in hand may take when a run is stopped.
const IN_HAND: Duration = Duration::from_secs(5);

/// How long a run may take.
pub(super) struct Limits {
    /// After that it is drained; `None` for as long as nobody stops it.
    pub(super) run_for: Option<Duration>,
    /// How long a drain may take.
    pub(super) drain: Duration,
}

/// The user's wish to stop: Ctrl-C, or SIGTERM.
pub(crate) struct Signals {
    /// None where it is passed over.
    interrupt: Option<tokio::signal::unix::Signal>,
    terminate: tokio::signal::unix::Signal,
}

impl Signals {
    pub(crate) fn catch() -> io::Result<Self> {
        use tokio::signal::unix::{SignalKind, signal};
        let (interrupt, terminate) = (signal(SignalKind::interrupt())?, signal(SignalKind::terminate())?);
        Ok(Self { interrupt: Some(interrupt), terminate })
    }

    /// As a process that another one ends: a terminal interrupts both of them, and that is not meant for this one.
    pub(crate) fn catch_below_another() -> io::Result<Self> {
        // From here on it is caught, whoever listens.
        Ok(Self { interrupt: None, ..Self::catch()? })
    }

    /// Waits for the next wish.
    pub(crate) async fn next(&mut self) {
        tokio::select! {
            _ = async { self.interrupt.as_mut()?.recv().await }, if self.interrupt.is_some() => {}
            _ = self.terminate.recv() => {}
        }
    }
}

/// Why a run comes to its end.
enum Reason {
    /// The sources have given everything.
    Exhausted,
    /// The user wants it.
    Asked,
    /// It has run for as long as it should.
    TimeIsUp,
}

/// How a drain went.
enum Drain {
    Complete,
    TimedOut,
    CutShort,
}

/// Follows a run to its end.
pub(super) async fn follow(
    mut engine: Engine,
    screen: &Screen,
    limits: Limits,
    (mut signals, mut metrics): (Signals, Option<metrics::Server>),
) -> Outcome {
    let reason = watch(&mut engine, screen, &limits, (&mut signals, &mut metrics)).await?;
    screen.announce(&[match reason {
        Reason::Exhausted => "all sources have ended; draining".to_owned(),
        Reason::Asked => "draining; Ctrl-C again stops at once and keeps what is left".to_owned(),
        Reason::TimeIsUp => "the time is up; draining".to_owned(),
    }]);
    let drain = drain(&mut engine, screen, limits.drain, (&mut signals, &mut metrics)).await?;
    let drained = tokio::select! {
        drained = engine.stop(IN_HAND) => drained?,
        // Whoever asks once more does not want to wait for user code either; a crash loses nothing, so nor does this.
        () = signals.next() => {
            screen.finish(&["stopped without waiting; what is left is kept for the next run".to_owned()]);
            return Ok(Exit::Left);
        }
    };
    screen.finish(&[conclusion(&drain, &drained, limits.drain)]);
    Ok(if drained.total() == 0 { Exit::Done } else { Exit::Left })
}

/// Shows the run until there is a reason to end it.
async fn watch(
    engine: &mut Engine,
    screen: &Screen,
    limits: &Limits,
    (signals, metrics): (&mut Signals, &mut Option<metrics::Server>),
) -> Result<Reason, platform::local::engine::Error> {
    let started = Instant::now();
    let mut redraw = tokio::time::interval(REDRAW);
    loop {
        let rest = limits.run_for.map(|limit| limit.saturating_sub(started.elapsed()));
        tokio::select! {
            ended = engine.exhausted() => return ended.map(|()| Reason::Exhausted),
            () = signals.next() => return Ok(Reason::Asked),
            () = after(rest) => return Ok(Reason::TimeIsUp),
            request = metrics::next(metrics) => request.answer(engine.metrics()),
            _ = redraw.tick() => screen.show(engine.snapshot()),
        }
    }
}

/// Drains in short stretches, so that the countdown can be drawn between them.
async fn drain(
    engine: &mut Engine,
    screen: &Screen,
    limit: Duration,
    (signals, metrics): (&mut Signals, &mut Option<metrics::Server>),
) -> Result<Drain, platform::local::engine::Error> {
    let deadline = Instant::now() + limit;
    loop {
        let remaining = deadline.saturating_duration_since(Instant::now());
        if remaining.is_zero() {
            return Ok(Drain::TimedOut);
        }
        let stretch = remaining.min(REDRAW);
        tokio::select! {
            drained = engine.drain(stretch) => {
                let drained = drained?;
                if drained.complete {
                    return Ok(Drain::Complete);
                }
                let mut snapshot = engine.snapshot();
                snapshot.phase = Phase::Draining { left: drained.total(), remaining };
                screen.show(snapshot);
            }
            () = signals.next() => return Ok(Drain::CutShort),
            request = metrics::next(metrics) => request.answer(engine.metrics()),
        }
    }
}

async fn after(limit: Option<Duration>) {
    match limit {
        Some(limit) => tokio::time::sleep(limit).await,
        None => std::future::pending().await,
    }
}

/// The last line.
fn conclusion(drain: &Drain, drained: &Drained, limit: Duration) -> String {
    let how = match drain {
        Drain::Complete => "drained and stopped".to_owned(),
        Drain::TimedOut => format!("stopped after draining for {limit:?}"),
        Drain::CutShort => "stopped at once".to_owned(),
    };
    if drained.total() == 0 {
        return format!("{how}; nothing is left");
    }
    let places: Vec<String> =
        drained.left.iter().map(|(vertex, count)| format!("{count} in front of {vertex}")).collect();
    format!("{how}; kept for the next run: {}", places.join(", "))
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use platform::local::engine::Drained;

    use super::{Drain, conclusion};

    #[test]
    fn the_end_says_what_is_left_and_where() {
        let limit = Duration::from_secs(30);
        let nothing = Drained { complete: true, left: [].into() };
        assert_eq!(conclusion(&Drain::Complete, &nothing, limit), "drained and stopped; nothing is left");
        let some = Drained { complete: false, left: [("cat".to_owned(), 7), ("out".to_owned(), 2)].into() };
        assert_eq!(
            conclusion(&Drain::TimedOut, &some, limit),
            "stopped after draining for 30s; kept for the next run: 7 in front of cat, 2 in front of out"
        );
        assert_eq!(conclusion(&Drain::CutShort, &nothing, limit), "stopped at once; nothing is left");
    }
}
