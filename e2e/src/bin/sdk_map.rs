//! A map made with the Rust SDK that does what its input says, so that tests and benchmarks can make it misbehave.
//!
//! Every message goes on as it is, but: `drop` is dropped, `twice` comes out twice, `panic` panics, `panic-once FILE`
//! panics unless FILE exists and makes it, `hang-once FILE` likewise never answers.

use std::path::Path;

use numaflow::map::{self, MapRequest, Message};

struct Obedient;

/// Whether this is the first time that anybody asks for this file; makes it.
fn first_time(file: &str) -> bool {
    let first = !Path::new(file).exists();
    if first {
        std::fs::write(file, "seen").expect("the test gives a path that can be written");
    }
    first
}

#[tonic::async_trait]
impl map::Mapper for Obedient {
    async fn map(&self, input: MapRequest) -> Vec<Message> {
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
        vec![Message::new(input.value).with_keys(input.keys)]
    }
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error + Send + Sync>> {
    map::Server::new(Obedient).start().await
}
