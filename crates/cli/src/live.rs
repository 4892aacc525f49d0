//! What a command shows while it waits: on a terminal a view that is redrawn, elsewhere a line whenever something is
//! different. Invariant: without a terminal no line is printed twice in a row, and none more often than [`PLAIN_EVERY`]
//! unless it is marked as one that matters.

use std::io::{self, IsTerminal, Write};
use std::time::{Duration, Instant};

use crate::text::clip;

/// The width when the terminal does not say.
const WIDTH: usize = 100;
/// How often the same kind of line is printed where there is no terminal.
const PLAIN_EVERY: Duration = Duration::from_secs(2);

/// What is on the output.
#[derive(Debug)]
pub(crate) struct Live {
    is_terminal: bool,
    drawn: usize,
    said: Vec<String>,
    mark: String,
    said_at: Option<Instant>,
}

impl Live {
    pub(crate) fn new() -> Self {
        let is_terminal = io::stdout().is_terminal();
        Self { is_terminal, drawn: 0, said: Vec::new(), mark: String::new(), said_at: None }
    }

    pub(crate) fn is_terminal(&self) -> bool {
        self.is_terminal
    }

    /// Shows a view on a terminal, or lines elsewhere; those come at once when the mark is another than before.
    pub(crate) fn show(&mut self, view: &[String], lines: &[String], mark: &str) -> io::Result<()> {
        if self.is_terminal { self.redraw(view) } else { self.say(lines, mark) }
    }

    fn redraw(&mut self, view: &[String]) -> io::Result<()> {
        let size = terminal_size::terminal_size();
        let width = size.map_or(WIDTH, |(width, _)| width.0.into());
        // Only what fits can be taken away again.
        let height = size.map_or(usize::MAX, |(_, height)| usize::from(height.0).saturating_sub(1));
        let mut text = String::new();
        if self.drawn > 0 {
            text = format!("\x1b[{}A\r\x1b[J", self.drawn);
        }
        for line in view.iter().take(height) {
            text.push_str(&clip(line, width));
            text.push('\n');
        }
        self.drawn = view.len().min(height);
        let mut out = io::stdout().lock();
        out.write_all(text.as_bytes())?;
        out.flush()
    }

    fn say(&mut self, lines: &[String], mark: &str) -> io::Result<()> {
        let is_marked = self.mark != mark || self.said_at.is_none();
        let is_due = self.said_at.is_none_or(|at| at.elapsed() >= PLAIN_EVERY);
        if self.said == lines || !(is_marked || is_due) {
            return Ok(());
        }
        self.said = lines.to_vec();
        mark.clone_into(&mut self.mark);
        self.said_at = Some(Instant::now());
        let mut out = io::stdout().lock();
        for line in lines {
            writeln!(out, "{line}")?;
        }
        out.flush()
    }
}
