//! Consumers of headers alone, which follow what writers say of what they store: whoever says nothing, and whatever is
//! removed, everything comes in its order. Invariant: each case also holds for a reader of the stream itself.

use std::collections::BTreeSet;

use lane::broker::{Broker as _, Consumer, Delivery, Failure};
use tidegate_connect::buffer::jetstream::StreamPlan;

use crate::jetstream_broker::{Ground, next, on_shared, soon};

/// Stores a message as somebody does who says nothing of it.
async fn store_silently(silent: &async_nats::Client, ground: &Ground, rest: &str) {
    let answer = silent.request(ground.subject(rest), "silent".into()).await.unwrap();
    let text = String::from_utf8_lossy(&answer.payload).into_owned();
    assert!(text.contains("\"seq\""), "{text}");
}

async fn follow(ground: &Ground, filter: &str) -> Box<dyn Consumer> {
    let mut consume = ground.consume(&[filter]);
    consume.headers_only = true;
    ground.read(consume).await
}

#[test]
fn everything_comes_in_order_though_some_writers_say_nothing() {
    on_shared("everything_comes_in_order_though_some_writers_say_nothing", async |server| {
        for seed in 0..6 {
            let mut random = fastrand::Rng::with_seed(seed);
            let ground = Ground::on(server, "mixed", |_| {}).await;
            let silent = async_nats::connect(server.url()).await.unwrap();
            let (mut all, mut odd) = (follow(&ground, "*.*").await, follow(&ground, "1.*").await);
            let (mut sequence, mut expected, mut expected_odd) = (0, Vec::new(), Vec::new());
            // From never a silent writer to hardly another one.
            let silence = [0.0, 0.02, 0.1, 0.5, 0.9, 1.0][seed as usize];
            for _ in 0..60 {
                for _ in 0..random.usize(1..8) {
                    let rest = if random.bool() { "1.a" } else { "0.a" };
                    sequence += 1;
                    if random.f64() < silence {
                        store_silently(&silent, &ground, rest).await;
                    } else {
                        assert_eq!(ground.store(rest, &[7; 1000]).await, sequence);
                    }
                    expected.push(sequence);
                    if rest == "1.a" {
                        expected_odd.push(sequence);
                    }
                }
                // Whoever listens is sometimes behind.
                if random.u8(..4) == 0 {
                    take(&mut all, &mut expected).await;
                    take(&mut odd, &mut expected_odd).await;
                }
            }
            take(&mut all, &mut expected).await;
            take(&mut odd, &mut expected_odd).await;
        }
    });
}

/// Takes these sequences, which are emptied.
async fn take(consumer: &mut Box<dyn Consumer>, expected: &mut Vec<u64>) {
    for sequence in expected.drain(..) {
        let (_, _, message) = next(consumer).await;
        assert_eq!((message.sequence, message.payload.len()), (sequence, 0));
    }
}

#[test]
fn numbers_are_whole_and_what_was_removed_is_not_missed() {
    on_shared("numbers_are_whole_and_what_was_removed_is_not_missed", async |server| {
        let ground = Ground::on(server, "removed", |_| {}).await;
        let silent = async_nats::connect(server.url()).await.unwrap();
        let mut consumer = follow(&ground, "*.*").await;
        assert_eq!(ground.store("0.a", b"x").await, 1);
        assert_eq!(next(&mut consumer).await.2.sequence, 1);
        for _ in 0..3 {
            store_silently(&silent, &ground, "0.b").await;
        }
        ground.nats.purge(&ground.stream, &ground.subject("*.b"), 4).await.unwrap();
        // Nothing is there that was not given, and the end is known again.
        assert_eq!(soon("a sign of life comes", consumer.next()).await, Ok(Delivery::Idle { number: 1 }));
        let last = ground.store("0.a", b"x").await;
        let (number, _, message) = next(&mut consumer).await;
        assert_eq!((number, message.sequence, &message.meta[..]), (2, last, &b"\x00meta\r\n"[..]));
    });
}

#[test]
fn a_stream_that_is_made_anew_ends_it() {
    on_shared("a_stream_that_is_made_anew_ends_it", async |server| {
        let ground = Ground::on(server, "anew", |_| {}).await;
        let mut consumer = follow(&ground, "*.*").await;
        ground.store("0.a", b"x").await;
        // Twice, so that its life has been looked at.
        let mut seen = BTreeSet::new();
        while seen.len() < 2 {
            match soon("it says something", consumer.next()).await.unwrap() {
                Delivery::Message { .. } => seen.insert("message"),
                Delivery::Idle { .. } => seen.insert("idle"),
            };
        }
        ground.nats.delete_stream(&ground.stream).await.unwrap();
        ground.nats.create_stream(&StreamPlan::bare(&ground.stream)).await.unwrap();
        let ended = soon("it ends", async {
            loop {
                if let Err(failure) = consumer.next().await {
                    return failure;
                }
            }
        });
        assert!(matches!(ended.await, Failure::Unavailable(_)));
    });
}
