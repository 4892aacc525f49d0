//! A sink made with the Rust SDK that appends each message as a line to a file and answers when the file has it.
//!
//! A message `refuse` is answered with a failure, `fallback` is referred to the fallback sink.

use std::collections::BTreeSet;
use std::fs::{File, OpenOptions};
use std::io::{Read, Write};
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::time::Duration;

use clap::Parser;
use numaflow::sink::{self, Response, SinkRequest};
use tokio::sync::mpsc::Receiver;
use tokio::time::Instant;

/// Appends lines to a file.
#[derive(Clone, Parser)]
struct Arguments {
    /// The file.
    file: PathBuf,
    /// Write a line whose first word is in the file already to FILE.repeated instead; any number of processes may share
    /// the file.
    #[arg(long)]
    once: bool,
    /// Take no more than so many messages a second, each process for itself.
    #[arg(long)]
    rate: Option<u32>,
    /// Answer everything with a failure while this file exists.
    #[arg(long)]
    refuse_while: Option<PathBuf>,
}

struct Lines {
    arguments: Arguments,
    file: Mutex<Written>,
    /// When the next message may be taken, where there is a rate.
    next: tokio::sync::Mutex<Instant>,
}

struct Written {
    file: File,
    repeated: File,
    words: BTreeSet<Vec<u8>>,
}

impl Written {
    fn open(path: &Path) -> std::io::Result<Self> {
        let open = |path: &Path| OpenOptions::new().create(true).read(true).append(true).open(path);
        let repeated = open(&path.with_added_extension("repeated"))?;
        Ok(Self { file: open(path)?, repeated, words: BTreeSet::new() })
    }

    fn append(&mut self, lines: &[Vec<u8>], once: bool) -> std::io::Result<()> {
        if !once {
            return self.file.write_all(&joined(lines));
        }
        self.file.lock()?;
        let outcome = self.append_once(lines);
        self.file.unlock()?;
        outcome
    }

    fn append_once(&mut self, lines: &[Vec<u8>]) -> std::io::Result<()> {
        // What others have written meanwhile; the position is where this process has read to.
        let mut text = Vec::new();
        self.file.read_to_end(&mut text)?;
        self.words.extend(text.split(|byte| *byte == b'\n').filter(|line| !line.is_empty()).map(first_word));
        let (mut fresh, mut repeated) = (Vec::new(), Vec::new());
        for line in lines {
            let list = if self.words.insert(first_word(line)) { &mut fresh } else { &mut repeated };
            list.push(line.clone());
        }
        self.repeated.write_all(&joined(&repeated))?;
        self.file.write_all(&joined(&fresh))
    }
}

fn first_word(line: &[u8]) -> Vec<u8> {
    line.split(|byte| *byte == b' ').next().unwrap_or_default().to_vec()
}

fn joined(lines: &[Vec<u8>]) -> Vec<u8> {
    let mut text = Vec::new();
    for line in lines {
        text.extend_from_slice(line);
        text.push(b'\n');
    }
    text
}

impl Lines {
    fn write(&self, lines: &[Vec<u8>]) {
        let mut file = self.file.lock().expect("nothing panics while the file is locked");
        file.append(lines, self.arguments.once).expect("the file can be written");
    }

    fn refuses(&self) -> bool {
        self.arguments.refuse_while.as_ref().is_some_and(|path| path.exists())
    }
}

#[tonic::async_trait]
impl sink::Sinker for Lines {
    async fn sink(&self, mut input: Receiver<SinkRequest>) -> Vec<Response> {
        let mut responses = Vec::new();
        let mut lines = Vec::new();
        while let Some(request) = input.recv().await {
            if self.refuses() {
                responses.push(Response::failure(request.id, "told to refuse everything".to_owned()));
                continue;
            }
            match request.value.as_slice() {
                b"refuse" => responses.push(Response::failure(request.id, "told to refuse".to_owned())),
                b"fallback" => responses.push(Response::fallback(request.id)),
                value => {
                    lines.push(value.to_vec());
                    responses.push(Response::ok(request.id));
                }
            }
            if let Some(rate) = self.arguments.rate {
                let mut next = self.next.lock().await;
                tokio::time::sleep_until(*next).await;
                *next = Instant::now() + Duration::from_secs(1) / rate;
                self.write(&std::mem::take(&mut lines));
            }
        }
        self.write(&lines);
        responses
    }
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error + Send + Sync>> {
    let arguments = Arguments::parse();
    let file = Mutex::new(Written::open(&arguments.file)?);
    let next = tokio::sync::Mutex::new(Instant::now());
    sink::Server::new(Lines { arguments, file, next }).start().await
}
