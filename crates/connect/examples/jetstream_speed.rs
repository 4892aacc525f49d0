//! How fast frames go to a NATS server and come back: many units publish at a time, each with its fence, and one
//! consumer for each slot reads.
//!
//! `cargo run --release --example jetstream_speed -p tidegate-connect -- nats://localhost:4222 64 50000 200`: the
//! server, how many slots and units, the bytes of a frame, and how many frames each unit writes.
#![expect(clippy::print_stdout, reason = "it is there to print")]

use std::error::Error;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use lane::broker::{Broker, Consume, Delivery, Expect, Publish, StreamName};
use smol_str::format_smolstr;
use tidegate_connect::buffer::jetstream::{Nats, Settings, StreamPlan};
use tokio::task::JoinSet;

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let mut arguments = std::env::args().skip(1);
    let url = arguments.next().ok_or("the server is missing, such as nats://localhost:4222")?;
    let mut number = |default: u64| arguments.next().map_or(Ok(default), |text| text.parse::<u64>());
    let (units, bytes, frames) = (number(64)?, number(50_000)?, number(200)?);
    let nats = Arc::new(Nats::connect(&Settings::to(&url)).await?);
    let stream = format_smolstr!("speed-{}", std::process::id());
    nats.create_stream(&StreamPlan::bare(&stream)).await?;
    let began = Instant::now();
    let mut writers = JoinSet::new();
    for unit in 0..units {
        writers.spawn(write(Arc::clone(&nats), stream.clone(), unit, (bytes, frames)));
    }
    writers.join_all().await;
    say("written one after the other by each unit", began.elapsed(), units * frames, bytes);
    let began = Instant::now();
    let mut readers = JoinSet::new();
    for slot in 0..units {
        readers.spawn(read(Arc::clone(&nats), stream.clone(), slot, frames));
    }
    readers.join_all().await;
    say("read by one consumer for each slot", began.elapsed(), units * frames, bytes);
    nats.delete_stream(&stream).await?;
    Ok(())
}

fn say(what: &str, took: Duration, frames: u64, bytes: u64) {
    let seconds = took.as_secs_f64();
    let (rate, megabytes) = (frames as f64 / seconds, (frames * bytes) as f64 / seconds / 1e6);
    println!(
        "{frames} frames of {bytes} bytes {what}: {seconds:.2} s, {rate:.0} frames/s, {megabytes:.0} MB/s"
    );
}

async fn write(nats: Arc<Nats>, stream: StreamName, unit: u64, (bytes, frames): (u64, u64)) {
    let payload = Bytes::from(vec![7; bytes as usize]);
    let mut last = 0;
    for _ in 0..frames {
        let publish = Publish {
            stream: stream.clone(),
            subject: format!("{stream}.{unit}.in.s{unit}"),
            expect: Some(Expect { filter: format!("{stream}.*.in.s{unit}"), last }),
            meta: Bytes::from(vec![1; 150]),
            payload: payload.clone(),
        };
        last = nats.publish(publish).await.expect("the server takes it");
    }
}

async fn read(nats: Arc<Nats>, stream: StreamName, slot: u64, frames: u64) {
    let consume = Consume {
        filters: vec![format!("{stream}.{slot}.*.*")],
        stream,
        after: 0,
        headers_only: false,
        last_per_subject: false,
    };
    let mut consumer = nats.consume(consume).await.expect("the stream is there");
    let mut seen = 0;
    while seen < frames {
        if let Delivery::Message { number, .. } = consumer.next().await.expect("the server gives") {
            seen += 1;
            assert_eq!(number, seen);
        }
    }
}
