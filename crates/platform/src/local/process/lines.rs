//! What a program prints: cut into lines of bounded length, shown, kept in its log, the last ones remembered.

use std::collections::VecDeque;
use std::io;
use std::process::ExitStatus;
use std::sync::Arc;
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncReadExt};
use tokio::process::{Child, ChildStderr, ChildStdout};

use super::Name;
use super::log::LogFile;

/// The longest line in bytes; what is longer goes on in a further line.
pub(super) const LINE_MAX: usize = 16 * 1024;
/// How many lines of standard error are remembered for the report of a crash.
const REMEMBERED: usize = 20;
/// How much is read at once.
const CHUNK_SIZE: usize = 4 * 1024;

/// Where a line was printed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stream {
    /// Standard output.
    Out,
    /// Standard error.
    Err,
}

/// A line, or a piece of one that was too long.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Line {
    /// Where it was printed.
    pub stream: Stream,
    /// The text without its end; bytes that are not UTF-8 are replaced.
    pub text: String,
    /// Whether the next line of this stream continues it.
    pub is_partial: bool,
}

/// Who gets every line, with the container that printed it.
pub type Echo = Arc<dyn Fn(&Name, &Line) + Send + Sync>;

/// Cuts bytes into lines.
#[derive(Debug)]
pub(super) struct Splitter {
    stream: Stream,
    held: Vec<u8>,
}

impl Splitter {
    pub(super) fn new(stream: Stream) -> Self {
        Self { stream, held: Vec::new() }
    }

    /// The lines that are complete with these bytes.
    pub(super) fn push(&mut self, mut bytes: &[u8]) -> Vec<Line> {
        let mut lines = Vec::new();
        while !bytes.is_empty() {
            let room = LINE_MAX - self.held.len();
            let end = bytes.iter().position(|&byte| byte == b'\n');
            match end {
                Some(end) if end <= room => {
                    self.held.extend_from_slice(&bytes[..end]);
                    bytes = &bytes[end + 1..];
                    lines.push(self.take(false));
                }
                _ if bytes.len() < room => {
                    self.held.extend_from_slice(bytes);
                    bytes = &[];
                }
                _ => {
                    self.held.extend_from_slice(&bytes[..room]);
                    bytes = &bytes[room..];
                    lines.push(self.take(true));
                }
            }
        }
        lines
    }

    /// The last line, when it had no end.
    pub(super) fn finish(&mut self) -> Option<Line> {
        (!self.held.is_empty()).then(|| self.take(false))
    }

    fn take(&mut self, is_partial: bool) -> Line {
        let held = std::mem::take(&mut self.held);
        let bytes = if is_partial { &held[..] } else { held.strip_suffix(b"\r").unwrap_or(&held) };
        Line { stream: self.stream, text: String::from_utf8_lossy(bytes).into_owned(), is_partial }
    }
}

/// The output of one life of a program.
pub(super) struct Output<'a> {
    name: &'a Name,
    echo: &'a Echo,
    log: &'a mut LogFile,
    out: Option<ChildStdout>,
    err: Option<ChildStderr>,
    out_lines: Splitter,
    err_lines: Splitter,
    errors: VecDeque<String>,
}

impl<'a> Output<'a> {
    pub(super) fn new(name: &'a Name, echo: &'a Echo, log: &'a mut LogFile) -> Self {
        Self {
            name,
            echo,
            log,
            out: None,
            err: None,
            out_lines: Splitter::new(Stream::Out),
            err_lines: Splitter::new(Stream::Err),
            errors: VecDeque::new(),
        }
    }

    pub(super) fn attach(&mut self, child: &mut Child) {
        self.out = child.stdout.take();
        self.err = child.stderr.take();
    }

    /// Passes output on until the process ends.
    pub(super) async fn until_end(&mut self, child: &mut Child) -> io::Result<ExitStatus> {
        loop {
            tokio::select! {
                () = self.pass_on() => {}
                ended = child.wait() => return ended,
            }
        }
    }

    /// Passes on what an ended process left in its pipes, within `limit`.
    pub(super) async fn drain(&mut self, limit: Duration) {
        let all = async {
            while self.out.is_some() || self.err.is_some() {
                self.pass_on().await;
            }
        };
        if tokio::time::timeout(limit, all).await.is_err() {
            tracing::debug!(container = %self.name, "a process outside of the group still holds the output open");
        }
        for line in [self.out_lines.finish(), self.err_lines.finish()].into_iter().flatten() {
            self.show(&line);
        }
    }

    /// The last lines of standard error.
    pub(super) fn last_errors(&self) -> String {
        Vec::from(self.errors.clone()).join("\n")
    }

    /// Waits for the next bytes and passes them on; for ever when both streams have ended.
    async fn pass_on(&mut self) {
        let (mut out_bytes, mut err_bytes) = ([0; CHUNK_SIZE], [0; CHUNK_SIZE]);
        let lines = tokio::select! {
            read = read(&mut self.out, &mut out_bytes) => match read {
                0 => { self.out = None; Vec::new() }
                size => self.out_lines.push(&out_bytes[..size]),
            },
            read = read(&mut self.err, &mut err_bytes) => match read {
                0 => { self.err = None; Vec::new() }
                size => self.err_lines.push(&err_bytes[..size]),
            },
        };
        for line in &lines {
            self.show(line);
        }
    }

    fn show(&mut self, line: &Line) {
        (self.echo)(self.name, line);
        self.log.write(line);
        if line.stream == Stream::Err {
            if self.errors.len() == REMEMBERED {
                self.errors.pop_front();
            }
            self.errors.push_back(line.text.clone());
        }
    }
}

/// Reads once; 0 at the end. A stream that is gone is never ready. A pipe that fails counts as ended.
async fn read<R: AsyncRead + Unpin>(stream: &mut Option<R>, bytes: &mut [u8]) -> usize {
    match stream {
        Some(stream) => stream.read(bytes).await.unwrap_or(0),
        None => std::future::pending().await,
    }
}
