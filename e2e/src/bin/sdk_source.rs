//! A bounded source made with the Rust SDK: the numbers 0 to `COUNT` − 1, at most `RATE` a second, each handed out until
//! it is acknowledged, also to the next life of this program.
//!
//! `sdk_source COUNT RATE ACKED_FILE`: acknowledged numbers are lines of the file.

use std::collections::BTreeSet;
use std::fs::{File, OpenOptions};
use std::io::Write;
use std::sync::Mutex;
use std::time::{Duration, Instant};

use anyhow::Context;
use numaflow::source::{self, Message, NackOffset, Offset, SourceReadRequest, Sourcer};
use tokio::sync::mpsc::Sender;

struct Numbers {
    rate: u64,
    begun: Instant,
    state: Mutex<State>,
}

struct State {
    /// To be handed out.
    waiting: BTreeSet<u64>,
    /// Handed out and not acknowledged.
    open: BTreeSet<u64>,
    given: u64,
    acked: File,
}

impl Numbers {
    fn open(count: u64, rate: u64, path: &str) -> anyhow::Result<Self> {
        let before = std::fs::read_to_string(path).unwrap_or_default();
        let done: BTreeSet<u64> = before.lines().filter_map(|line| line.parse().ok()).collect();
        let waiting = (0..count).filter(|number| !done.contains(number)).collect();
        let acked = OpenOptions::new()
            .create(true)
            .append(true)
            .open(path)
            .context("open the file of acknowledged numbers")?;
        let state = State { waiting, open: BTreeSet::new(), given: 0, acked };
        Ok(Self { rate, begun: Instant::now(), state: Mutex::new(state) })
    }

    /// Up to `most` numbers, as far as the rate allows.
    fn take(&self, most: usize) -> Vec<u64> {
        let mut state = self.state.lock().expect("nothing panics while the state is locked");
        let allowed = (self.begun.elapsed().as_secs_f64() * self.rate as f64) as u64;
        let most = most.min(usize::try_from(allowed.saturating_sub(state.given)).unwrap_or(usize::MAX));
        let taken: Vec<u64> = state.waiting.iter().copied().take(most).collect();
        for number in &taken {
            state.waiting.remove(number);
            state.open.insert(*number);
        }
        state.given += taken.len() as u64;
        taken
    }
}

fn number_of(offset: &[u8]) -> u64 {
    String::from_utf8_lossy(offset).parse().expect("offsets are the numbers that were given")
}

#[tonic::async_trait]
impl Sourcer for Numbers {
    async fn read(&self, request: SourceReadRequest, transmitter: Sender<Message>) {
        let until = Instant::now() + request.timeout;
        let mut numbers = self.take(request.count);
        while numbers.is_empty() && Instant::now() < until {
            tokio::time::sleep(Duration::from_millis(1)).await;
            numbers = self.take(request.count);
        }
        for number in numbers {
            let message = Message {
                value: number.to_string().into_bytes(),
                event_time: std::time::SystemTime::now().into(),
                offset: Offset { offset: number.to_string().into_bytes(), partition_id: 0 },
                keys: Vec::new(),
                headers: std::collections::HashMap::default(),
                user_metadata: None,
            };
            if transmitter.send(message).await.is_err() {
                return;
            }
        }
    }

    async fn ack(&self, offsets: Vec<Offset>) {
        let mut state = self.state.lock().expect("nothing panics while the state is locked");
        let mut lines = String::new();
        for offset in offsets {
            let number = number_of(&offset.offset);
            if state.open.remove(&number) {
                lines.push_str(&number.to_string());
                lines.push('\n');
            }
        }
        state.acked.write_all(lines.as_bytes()).expect("the file can be written");
    }

    async fn nack(&self, offsets: Vec<NackOffset>) {
        let mut state = self.state.lock().expect("nothing panics while the state is locked");
        for offset in offsets {
            let number = number_of(&offset.offset.offset);
            if state.open.remove(&number) {
                state.waiting.insert(number);
            }
        }
    }

    async fn pending(&self) -> Option<usize> {
        Some(self.state.lock().expect("nothing panics while the state is locked").waiting.len())
    }
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error + Send + Sync>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [count, rate, path] = arguments.as_slice() else {
        return Err("usage: sdk_source COUNT RATE ACKED_FILE".into());
    };
    let numbers = Numbers::open(count.parse()?, rate.parse()?, path)?;
    source::Server::new(numbers).start().await
}
