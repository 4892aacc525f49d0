//! A bounded source made with the Rust SDK: the numbers 0 to `COUNT` − 1, at most `RATE` a second, each handed out until
//! it is acknowledged. Any number of processes share one ledger, so that every number is acknowledged once whoever reads.

use std::path::PathBuf;
use std::sync::{Mutex, MutexGuard};
use std::time::{Duration, Instant};

use clap::Parser;
use e2e::ledger::{Ledger, Terms};
use numaflow::source::{self, Message, NackOffset, Offset, SourceReadRequest, Sourcer};
use tokio::sync::mpsc::Sender;

/// The numbers from 0 up.
#[derive(Parser)]
struct Arguments {
    /// How many numbers there are; with 0 there are never any.
    count: u64,
    /// How many a second, at most.
    #[arg(value_parser = clap::value_parser!(u64).range(1..))]
    rate: u64,
    /// The file that says what the numbers are doing.
    ledger: PathBuf,
    /// Stay in Read until there is a number, however long that takes and whatever the request says.
    #[arg(long)]
    block: bool,
    /// Seconds after which a number that is neither acknowledged nor given back is handed out again.
    #[arg(long, default_value_t = 30)]
    patience: u64,
}

struct Numbers {
    block: bool,
    ledger: Mutex<Ledger>,
}

impl Numbers {
    fn ledger(&self) -> MutexGuard<'_, Ledger> {
        self.ledger.lock().expect("nothing panics while the ledger is locked")
    }

    fn take(&self, most: usize) -> Vec<u64> {
        self.ledger().take(most).expect("the ledger can be used")
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
        while numbers.is_empty() && (self.block || Instant::now() < until) {
            tokio::time::sleep(Duration::from_millis(2)).await;
            numbers = self.take(request.count);
        }
        for (index, number) in numbers.iter().enumerate() {
            let message = Message {
                value: number.to_string().into_bytes(),
                event_time: std::time::SystemTime::now().into(),
                offset: Offset { offset: number.to_string().into_bytes(), partition_id: 0 },
                keys: Vec::new(),
                headers: std::collections::HashMap::default(),
                user_metadata: None,
            };
            if transmitter.send(message).await.is_err() {
                // Whoever asked has gone.
                self.ledger().give_back(&numbers[index..]).expect("the ledger can be used");
                return;
            }
        }
    }

    async fn ack(&self, offsets: Vec<Offset>) {
        let numbers: Vec<u64> = offsets.iter().map(|offset| number_of(&offset.offset)).collect();
        self.ledger().acknowledge(&numbers).expect("the ledger can be used");
    }

    async fn nack(&self, offsets: Vec<NackOffset>) {
        let numbers: Vec<u64> = offsets.iter().map(|offset| number_of(&offset.offset.offset)).collect();
        self.ledger().give_back(&numbers).expect("the ledger can be used");
    }

    async fn pending(&self) -> Option<usize> {
        let pending = self.ledger().pending().expect("the ledger can be used");
        usize::try_from(pending).ok()
    }
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error + Send + Sync>> {
    let Arguments { count, rate, ledger, block, patience } = Arguments::parse();
    let terms = Terms { count, rate, patience: Duration::from_secs(patience) };
    let ledger = Mutex::new(Ledger::join(&ledger, terms)?);
    source::Server::new(Numbers { block, ledger }).start().await
}
