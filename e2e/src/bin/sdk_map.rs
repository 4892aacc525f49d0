//! A map made with the Rust SDK that does what its arguments and its input say, so that tests and benchmarks can make it
//! misbehave.
//!
//! Every message goes on as it is, but: `drop` is dropped, `twice` comes out twice, `panic` panics, `panic-once FILE`
//! panics unless FILE exists and makes it, `hang-once FILE` likewise never answers. What befalls a share of the messages
//! befalls the same ones each time they come.

use std::hash::{DefaultHasher, Hash, Hasher};
use std::path::{Path, PathBuf};
use std::time::Duration;

use clap::Parser;
use numaflow::map::{self, MapRequest, Message};

/// Sends messages on.
#[derive(Default, Parser)]
struct Arguments {
    /// A word that is added to each message, after a space.
    #[arg(long)]
    mark: Option<String>,
    /// Percentage of messages that make it panic.
    #[arg(long, default_value_t = 0)]
    panic: u64,
    /// Percentage of messages that are answered with a failure.
    #[arg(long, default_value_t = 0)]
    fail: u64,
    /// Percentage of messages that are sent back.
    #[arg(long, default_value_t = 0)]
    nack: u64,
    /// Percentage of messages that are dropped.
    #[arg(long, default_value_t = 0)]
    drop: u64,
    /// Milliseconds that each message takes.
    #[arg(long, default_value_t = 0)]
    delay: u64,
    /// Never answer while this file exists.
    #[arg(long)]
    hang_while: Option<PathBuf>,
    /// Answer everything with a failure while this file exists.
    #[arg(long)]
    fail_while: Option<PathBuf>,
    /// Tag each message `again` so many times and `done` after that, counted in its key.
    #[arg(long)]
    rounds: Option<u32>,
    /// Milliseconds before it listens.
    #[arg(long, default_value_t = 0)]
    slow_start: u64,
    /// Never listen.
    #[arg(long)]
    never_ready: bool,
    /// End at once with this code.
    #[arg(long)]
    exit: Option<u8>,
}

struct Obedient(Arguments);

/// Whether this is the first time that anybody asks for this file; makes it.
fn first_time(file: &str) -> bool {
    let first = !Path::new(file).exists();
    if first {
        std::fs::write(file, "seen").expect("the test gives a path that can be written");
    }
    first
}

/// Whether a message is among the share that something befalls; each `what` chooses by itself.
fn befalls(what: &str, percent: u64, value: &[u8]) -> bool {
    let mut hasher = DefaultHasher::new();
    (what, value).hash(&mut hasher);
    hasher.finish() % 100 < percent
}

impl Obedient {
    /// What a share of the messages comes to instead of going on.
    async fn instead(&self, input: &MapRequest) -> Option<Message> {
        let Arguments { panic, fail, nack, drop, delay, hang_while, fail_while, .. } = &self.0;
        let exists = |path: &Option<PathBuf>| path.as_ref().is_some_and(|path| path.exists());
        if *delay > 0 {
            tokio::time::sleep(Duration::from_millis(*delay)).await;
        }
        while exists(hang_while) {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        assert!(!befalls("panic", *panic, &input.value), "told to panic");
        if befalls("fail", *fail, &input.value) || exists(fail_while) {
            return Some(Message::new(input.value.clone()).with_tags(vec!["U+005C__FAIL__".to_owned()]));
        }
        if befalls("nack", *nack, &input.value) {
            return Some(Message::message_to_nack(None));
        }
        befalls("drop", *drop, &input.value).then(Message::message_to_drop)
    }
}

#[tonic::async_trait]
impl map::Mapper for Obedient {
    async fn map(&self, mut input: MapRequest) -> Vec<Message> {
        if let Some(instead) = self.instead(&input).await {
            return vec![instead];
        }
        let text = String::from_utf8_lossy(&input.value).into_owned();
        let (word, rest) = text.split_once(' ').unwrap_or((&text, ""));
        match word {
            "drop" => return vec![Message::message_to_drop()],
            "panic" => panic!("told to panic"),
            "panic-once" if first_time(rest) => panic!("told to panic once"),
            "hang-once" if first_time(rest) => std::future::pending::<()>().await,
            "twice" => {
                let once = || Message::new(input.value.clone()).with_keys(input.keys.clone());
                return vec![once(), once()];
            }
            _ => {}
        }
        if let Some(mark) = &self.0.mark {
            input.value.push(b' ');
            input.value.extend_from_slice(mark.as_bytes());
        }
        let Some(rounds) = self.0.rounds else {
            return vec![Message::new(input.value).with_keys(input.keys)];
        };
        let round: u32 = input.keys.first().and_then(|key| key.parse().ok()).unwrap_or(0);
        let tag = if round < rounds { "again" } else { "done" };
        let message = Message::new(input.value).with_keys(vec![(round + 1).to_string()]);
        vec![message.with_tags(vec![tag.to_owned()])]
    }
}

#[tokio::main]
async fn main() -> Result<std::process::ExitCode, Box<dyn std::error::Error + Send + Sync>> {
    let arguments = Arguments::parse();
    if let Some(code) = arguments.exit {
        return Ok(code.into());
    }
    if arguments.never_ready {
        std::future::pending::<()>().await;
    }
    tokio::time::sleep(Duration::from_millis(arguments.slow_start)).await;
    map::Server::new(Obedient(arguments)).start().await?;
    Ok(std::process::ExitCode::SUCCESS)
}
