//! What a run prints: lines that stay and, on a terminal, a view below them that is redrawn.
//!
//! How the view looks is in [`render`]. Invariant: lines and view are written under one lock, and the view is always the
//! last thing on the terminal. An output that is gone is no reason to stop a run, so failed writes are passed over.

use std::io::{self, IsTerminal, Write};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use platform::local::snapshot::{Phase, Snapshot};

use crate::args::LogFormat;

mod render;
mod window;

use window::Window;

/// The width when the terminal does not say.
const WIDTH: usize = 100;
/// How often a line is printed where there is no terminal.
const PLAIN_EVERY: Duration = Duration::from_secs(10);
/// The shortest time between two drawings that lines make necessary.
const REDRAW_MIN: Duration = Duration::from_millis(50);

/// The output of a run.
pub(crate) struct Screen {
    mode: Mode,
    state: Mutex<State>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Mode {
    /// A view that is redrawn.
    Live,
    /// A line now and then.
    Plain,
    /// The same, as log events.
    Events,
    /// Nothing.
    Quiet,
}

#[derive(Default)]
struct State {
    /// How many lines of the view are on the terminal.
    drawn: usize,
    /// The view.
    view: Vec<String>,
    drawn_at: Option<Instant>,
    said_at: Option<Instant>,
    said_phase: Option<Phase>,
    window: Window,
}

impl Screen {
    /// The screen for these flags: live when standard error is a terminal.
    pub(crate) fn new(is_quiet: bool, log_format: LogFormat) -> Arc<Self> {
        let mode = match log_format {
            _ if is_quiet => Mode::Quiet,
            LogFormat::Json => Mode::Events,
            LogFormat::Text if io::stderr().is_terminal() => Mode::Live,
            LogFormat::Text => Mode::Plain,
        };
        Arc::new(Self { mode, state: Mutex::default() })
    }

    /// Whether there is a view that is redrawn.
    pub(crate) fn is_live(&self) -> bool {
        self.mode == Mode::Live
    }

    /// A line on standard error.
    pub(crate) fn print(&self, line: &str) {
        self.write(&mut io::stderr().lock(), line);
    }

    /// A line on standard output: what the run is for.
    pub(crate) fn print_result(&self, line: &str) {
        self.write(&mut io::stdout().lock(), line);
    }

    /// Lines about the run itself; they are log events where the log is for programs, and left out when quiet.
    pub(crate) fn announce(&self, lines: &[String]) {
        match self.mode {
            Mode::Live | Mode::Plain => lines.iter().for_each(|line| self.print(line)),
            Mode::Events => lines.iter().for_each(|line| tracing::info!(target: "run", "{}", line.trim())),
            Mode::Quiet => {}
        }
    }

    /// Removes the view and prints the last lines.
    pub(crate) fn finish(&self, lines: &[String]) {
        {
            let mut state = self.state.lock().expect("nothing panics while the screen is locked");
            erase(&mut state);
            state.view.clear();
        }
        self.announce(lines);
    }

    /// Shows the run as it is.
    pub(crate) fn show(&self, snapshot: Snapshot) {
        let snapshot = &{
            let mut state = self.state.lock().expect("nothing panics while the screen is locked");
            state.window.smooth(snapshot)
        };
        match self.mode {
            Mode::Live => {
                let width =
                    terminal_size::terminal_size_of(io::stderr()).map_or(WIDTH, |(width, _)| width.0.into());
                let mut state = self.state.lock().expect("nothing panics while the screen is locked");
                erase(&mut state);
                state.view = render::view(snapshot, width);
                draw(&mut state);
            }
            Mode::Plain => {
                if self.is_time_to_say(snapshot) {
                    self.print(&render::line(snapshot));
                }
            }
            Mode::Events => {
                if self.is_time_to_say(snapshot) {
                    tracing::info!(target: "run", "{}", render::line(snapshot));
                }
            }
            Mode::Quiet => {}
        }
    }

    /// Whether the phase changed, or enough time has passed.
    fn is_time_to_say(&self, snapshot: &Snapshot) -> bool {
        let mut state = self.state.lock().expect("nothing panics while the screen is locked");
        let is_new = state.said_phase.as_ref().map(std::mem::discriminant)
            != Some(std::mem::discriminant(&snapshot.phase));
        let is_due = state.said_at.is_none_or(|at| at.elapsed() >= PLAIN_EVERY);
        if is_new || is_due {
            state.said_at = Some(Instant::now());
            state.said_phase = Some(snapshot.phase.clone());
        }
        is_new || is_due
    }

    fn write(&self, output: &mut impl Write, line: &str) {
        let mut state = self.state.lock().expect("nothing panics while the screen is locked");
        erase(&mut state);
        drop(output.write_all(format!("{line}\n").as_bytes()));
        if state.drawn_at.is_none_or(|at| at.elapsed() >= REDRAW_MIN) {
            draw(&mut state);
        }
    }
}

/// Takes the view off the terminal.
fn erase(state: &mut State) {
    if state.drawn > 0 {
        // Up to the first line of the view, then everything from there on.
        drop(write!(io::stderr(), "\x1b[{}A\r\x1b[J", state.drawn));
        state.drawn = 0;
    }
}

/// Puts the view on the terminal in one write.
fn draw(state: &mut State) {
    if state.view.is_empty() {
        return;
    }
    let text: String = state.view.iter().flat_map(|line| [line.as_str(), "\n"]).collect();
    drop(io::stderr().write_all(text.as_bytes()));
    state.drawn = state.view.len();
    state.drawn_at = Some(Instant::now());
}
