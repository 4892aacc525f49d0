//! How many requests an HTTP source takes per second, from callers that keep their connections. Callers and source
//! share this process and its cores.
//!
//! `cargo run --release --package tidegate-connect --example http_speed [callers] [seconds]`

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use model::door::source::{Answer, Opened};
use tidegate_connect::source::http::{Listeners, Settings, open};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::task::JoinSet;

const REQUEST: &[u8] = b"POST /vertices/in HTTP/1.1\r\nhost: localhost\r\ncontent-length: 100\r\n\r\n";

/// Answers everything as soon as it is read.
async fn work(mut opened: Opened) {
    while let Some(batch) =
        opened.source.read(500, Duration::from_secs(1)).await.expect("reading does not fail")
    {
        let answers: Vec<_> = batch.receipts.into_iter().map(|receipt| (receipt, Answer::Done)).collect();
        opened.answers.answer(&answers).await.expect("answering does not fail");
    }
}

async fn call(address: SocketAddr, received: Arc<AtomicU64>, stop: Arc<AtomicBool>) {
    let mut stream = TcpStream::connect(address).await.expect("the source listens");
    stream.set_nodelay(true).expect("the connection is open");
    let request = [REQUEST, &[b'x'; 100]].concat();
    let mut reply = [0; 4096];
    while !stop.load(Ordering::Relaxed) {
        stream.write_all(&request).await.expect("the connection is open");
        let mut len = 0;
        // A reply ends with the brace of its body.
        while len == 0 || reply[len - 1] != b'}' {
            let read = stream.read(&mut reply[len..]).await.expect("the connection is open");
            assert!(read > 0, "the source closed the connection");
            len += read;
        }
        if reply.starts_with(b"HTTP/1.1 200") {
            received.fetch_add(1, Ordering::Relaxed);
        }
    }
}

#[expect(clippy::print_stdout, reason = "printing is what this program is for")]
#[tokio::main(flavor = "multi_thread", worker_threads = 2)]
async fn main() {
    let mut numbers = std::env::args().skip(1).map(|text| text.parse().expect("arguments are numbers"));
    let (callers, seconds) = (numbers.next().unwrap_or(128), numbers.next().unwrap_or(3));
    let settings = Settings {
        vertex: "in".into(),
        replica: 0,
        bind: IpAddr::V4(Ipv4Addr::LOCALHOST),
        https_port: 0,
        http_port: Some(0),
        token: None,
    };
    let (opened, listening) = open(settings, &Listeners::default()).await.expect("there are free ports");
    let address = listening.http.expect("plain HTTP was asked for");
    let mut worker = JoinSet::new();
    worker.spawn(work(opened));
    let (received, stop) = (Arc::new(AtomicU64::new(0)), Arc::new(AtomicBool::new(false)));
    let mut calls = JoinSet::new();
    for _ in 0..callers {
        calls.spawn(call(address, Arc::clone(&received), Arc::clone(&stop)));
    }
    let start = Instant::now();
    tokio::time::sleep(Duration::from_secs(seconds)).await;
    let per_second = received.load(Ordering::Relaxed) as f64 / start.elapsed().as_secs_f64();
    stop.store(true, Ordering::Relaxed);
    calls.join_all().await;
    println!("{callers} callers: {per_second:.0} requests/s answered 200");
}
