//! A sink made with the Rust SDK that appends each message as a line to a file and answers when the file has it.
//!
//! `sdk_sink FILE`. A message `refuse` is answered with a failure, `fallback` is referred to the fallback sink.

use std::fs::OpenOptions;
use std::io::Write;

use numaflow::sink::{self, Response, SinkRequest};
use tokio::sync::mpsc::Receiver;

struct Lines(String);

#[tonic::async_trait]
impl sink::Sinker for Lines {
    async fn sink(&self, mut input: Receiver<SinkRequest>) -> Vec<Response> {
        let mut responses = Vec::new();
        let mut lines = Vec::new();
        while let Some(request) = input.recv().await {
            match request.value.as_slice() {
                b"refuse" => responses.push(Response::failure(request.id, "told to refuse".to_owned())),
                b"fallback" => responses.push(Response::fallback(request.id)),
                value => {
                    lines.extend_from_slice(value);
                    lines.push(b'\n');
                    responses.push(Response::ok(request.id));
                }
            }
        }
        let mut file = OpenOptions::new()
            .create(true)
            .append(true)
            .open(&self.0)
            .expect("the test gives a path that can be written");
        file.write_all(&lines).expect("the file can be written");
        responses
    }
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error + Send + Sync>> {
    let path = std::env::args().nth(1).ok_or("usage: sdk_sink FILE")?;
    sink::Server::new(Lines(path)).start().await
}
