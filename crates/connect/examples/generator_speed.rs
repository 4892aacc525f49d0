//! How long one message of a generator takes, from nothing to the blackhole, on one core: by the clock, and in time on
//! the processor, which other programs on the machine hardly change.
//!
//! `cargo run --release --package tidegate-connect --example generator_speed [seconds]`

use std::time::{Duration, Instant};

use model::Time;
use tidegate_connect::sink::blackhole;
use tidegate_connect::source::generator::{Settings, open};

const BATCHES: [usize; 3] = [100, 500, 5000];

/// Nanoseconds that this thread has been on a processor, where the kernel says so.
fn on_processor() -> Option<f64> {
    std::fs::read_to_string("/proc/thread-self/schedstat").ok()?.split(' ').next()?.parse().ok()
}

async fn measure(name: &str, settings: Settings, batch_messages: usize, length: Duration) -> String {
    let mut opened = open(settings).expect("the settings are within their bounds");
    let mut sink = blackhole::open();
    let (mut messages, mut bytes) = (0u64, 0u64);
    let (start, processor_start) = (Instant::now(), on_processor());
    while start.elapsed() < length {
        let read = opened.source.read(batch_messages, Duration::from_secs(1)).await;
        let batch = read.expect("a generator does not fail").expect("a generator does not end");
        messages += batch.messages.len() as u64;
        bytes += batch.messages.iter().map(|message| message.value.len() as u64).sum::<u64>();
        let outcomes = sink.write(&batch.messages, Time::UNKNOWN).await.expect("a blackhole does not fail");
        assert_eq!(outcomes.len(), batch.messages.len());
    }
    let nanos = start.elapsed().as_nanos() as f64 / messages as f64;
    let processor = on_processor().zip(processor_start).map(|(end, start)| (end - start) / messages as f64);
    let processor = processor.map_or_else(|| "unknown".to_owned(), |nanos| format!("{nanos:6.1} ns"));
    let size = bytes / messages;
    format!(
        "{name:<20} {size:>4} B, batches of {batch_messages:>4}: {nanos:6.1} ns/message, {processor} on the processor"
    )
}

#[expect(clippy::print_stdout, reason = "printing is what this program is for")]
fn main() {
    let seconds = std::env::args().nth(1).and_then(|text| text.parse().ok()).unwrap_or(1);
    let length = Duration::from_secs(seconds);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build();
    let runtime = runtime.expect("a runtime without sockets can always be built");
    let plain = Settings { messages_per_unit: u64::MAX, ..Settings::new("in".into(), 0) };
    let cases = [
        ("default payload", plain.clone()),
        ("with 16 keys", Settings { keys: 16, ..plain.clone() }),
        ("100 bytes verbatim", Settings { payload: Some(vec![b'x'; 100].into()), ..plain.clone() }),
        ("msgSize 100", Settings { message_bytes: 100, ..plain }),
    ];
    for (name, settings) in cases {
        for batch_messages in BATCHES {
            println!("{}", runtime.block_on(measure(name, settings.clone(), batch_messages, length)));
        }
    }
}
