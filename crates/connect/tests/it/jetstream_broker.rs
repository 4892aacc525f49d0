//! What the protocol of lanes asks of a broker, asked of a real NATS server: each case states one fact of the door
//! [`lane::broker`].

use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use futures::future::join_all;
use lane::broker::{Broker, Consume, Consumer, Delivery, Expect, Failure, Message, Publish, StreamName};
use smol_str::SmolStr;
use tidegate_connect::buffer::jetstream::{Nats, StreamPlan};
use tokio::task::{JoinSet, yield_now};
use tokio::time::timeout;

use crate::nats::{self, Options, PATIENCE, block_on};

/// A stream of its own on the shared server.
pub(crate) struct Ground {
    pub(crate) nats: Arc<Nats>,
    pub(crate) stream: StreamName,
}

impl Ground {
    pub(crate) async fn on(server: &nats::Server, name: &str, change: impl FnOnce(&mut StreamPlan)) -> Self {
        let nats = Arc::new(server.connect().await);
        let stream = SmolStr::new(nats::unique(name));
        let mut plan = StreamPlan::bare(&stream);
        change(&mut plan);
        nats.create_stream(&plan).await.unwrap();
        Self { nats, stream }
    }

    pub(crate) fn subject(&self, rest: &str) -> String {
        format!("{}.{rest}", self.stream)
    }

    fn publish(&self, rest: &str, payload: &[u8]) -> Publish {
        Publish {
            stream: self.stream.clone(),
            subject: self.subject(rest),
            expect: None,
            meta: Bytes::from_static(b"\x00meta\r\n"),
            payload: Bytes::copy_from_slice(payload),
        }
    }

    pub(crate) async fn store(&self, rest: &str, payload: &[u8]) -> u64 {
        self.nats.publish(self.publish(rest, payload)).await.unwrap()
    }

    async fn store_after(&self, rest: &str, filter: &str, last: u64) -> Result<u64, Failure> {
        let mut publish = self.publish(rest, b"fenced");
        publish.expect = Some(Expect { filter: self.subject(filter), last });
        self.nats.publish(publish).await
    }

    pub(crate) fn consume(&self, filters: &[&str]) -> Consume {
        Consume {
            stream: self.stream.clone(),
            filters: filters.iter().map(|filter| self.subject(filter)).collect(),
            after: 0,
            headers_only: false,
            last_per_subject: false,
        }
    }

    pub(crate) async fn read(&self, consume: Consume) -> Box<dyn Consumer> {
        self.nats.consume(consume).await.unwrap()
    }
}

pub(crate) async fn soon<T>(what: &str, future: impl Future<Output = T>) -> T {
    timeout(PATIENCE, future).await.unwrap_or_else(|_| panic!("{what}: it has not happened"))
}

/// The next message, whatever signs of life come before it.
pub(crate) async fn next(consumer: &mut Box<dyn Consumer>) -> (u64, u64, Message) {
    loop {
        if let Delivery::Message { number, pending, message } =
            soon("a message comes", consumer.next()).await.unwrap()
        {
            return (number, pending, message);
        }
    }
}

/// The next sign of life; fails if a message comes.
async fn idle(consumer: &mut Box<dyn Consumer>) -> u64 {
    match soon("a sign of life comes", consumer.next()).await.unwrap() {
        Delivery::Idle { number } => number,
        Delivery::Message { message, .. } => panic!("nothing was left, and {message:?} came"),
    }
}

/// Runs a case on the shared server.
pub(crate) fn on_shared(name: &str, case: impl AsyncFnOnce(&nats::Server)) {
    let Some(server) = nats::shared(&format!("jetstream_broker::{name}")) else { return };
    block_on(case(server));
}

#[test]
fn a_message_comes_back_as_it_was_stored() {
    on_shared("a_message_comes_back_as_it_was_stored", async |server| {
        let ground = Ground::on(server, "back", |_| {}).await;
        assert_eq!(ground.store("0.a", b"one").await, 1);
        let large: Vec<u8> = (0..600_000_u32).map(|byte| byte as u8).collect();
        assert_eq!(ground.store("0.b", &large).await, 2);
        let whole = |sequence, rest: &str, payload: &[u8]| Message {
            sequence,
            subject: ground.subject(rest),
            meta: Bytes::from_static(b"\x00meta\r\n"),
            payload: Bytes::copy_from_slice(payload),
        };
        let (first, second) = (whole(1, "0.a", b"one"), whole(2, "0.b", &large));
        let nats = &ground.nats;
        assert_eq!(nats.get(&ground.stream, 1).await.unwrap(), Some(first.clone()));
        assert_eq!(nats.last(&ground.stream, &ground.subject("*.b")).await.unwrap(), Some(second.clone()));
        assert_eq!(nats.last(&ground.stream, &ground.subject("*.*")).await.unwrap(), Some(second.clone()));
        assert_eq!(nats.last(&ground.stream, &ground.subject("*.c")).await.unwrap(), None);
        assert_eq!(nats.get(&ground.stream, 3).await.unwrap(), None);
        let mut consumer = ground.read(ground.consume(&["0.*"])).await;
        assert_eq!(next(&mut consumer).await, (1, 1, first));
        assert_eq!(next(&mut consumer).await, (2, 0, second));
    });
}

#[test]
fn a_fence_goes_by_the_last_sequence_over_its_filter() {
    on_shared("a_fence_goes_by_the_last_sequence_over_its_filter", async |server| {
        let ground = Ground::on(server, "fence", |_| {}).await;
        assert_eq!(ground.store_after("0.v.1", "*.v.1", 0).await, Ok(1));
        assert_eq!(ground.store_after("1.v.1", "*.v.1", 0).await, Err(Failure::Refused));
        assert_eq!(ground.store_after("1.v.1", "*.v.1", 1).await, Ok(2));
        // Another lane does not count.
        assert_eq!(ground.store_after("0.v.2", "*.v.2", 0).await, Ok(3));
        assert_eq!(ground.store_after("0.v.1", "*.v.1", 3).await, Err(Failure::Refused));
        assert_eq!(ground.store_after("0.v.1", "*.v.1", 2).await, Ok(4));
        let state = ground.nats.state(&ground.stream).await.unwrap();
        assert_eq!((state.messages, state.first, state.last), (4, 1, 4));
        // A lane whose frames are all gone begins anew.
        ground.nats.purge(&ground.stream, &ground.subject("*.v.1"), 4).await.unwrap();
        assert_eq!(ground.store_after("0.v.1", "*.v.1", 4).await, Err(Failure::Refused));
        assert_eq!(ground.store_after("0.v.1", "*.v.1", 0).await, Ok(5));
    });
}

#[test]
fn of_many_publishes_under_one_fence_one_is_stored() {
    on_shared("of_many_publishes_under_one_fence_one_is_stored", async |server| {
        let ground = Arc::new(Ground::on(server, "race", |_| {}).await);
        let mut last = 0;
        for _ in 0..20 {
            let mut racers = JoinSet::new();
            for slot in 0..8 {
                let ground = Arc::clone(&ground);
                let rest = format!("{slot}.v.1");
                racers.spawn(async move { ground.store_after(&rest, "*.v.1", last).await });
            }
            let results = racers.join_all().await;
            let stored: Vec<u64> = results.iter().filter_map(|result| result.clone().ok()).collect();
            assert_eq!(stored.len(), 1, "{results:?}");
            let refused = results.iter().filter(|result| **result == Err(Failure::Refused)).count();
            assert_eq!(refused, 7, "{results:?}");
            last = stored[0];
        }
    });
}

#[test]
fn purging_removes_what_lies_under_the_filter_up_to_the_sequence() {
    on_shared("purging_removes_what_lies_under_the_filter_up_to_the_sequence", async |server| {
        let ground = Ground::on(server, "purge", |_| {}).await;
        for rest in ["0.a", "0.b", "0.a", "1.a", "0.a"] {
            ground.store(rest, b"x").await;
        }
        ground.nats.purge(&ground.stream, &ground.subject("0.a"), 3).await.unwrap();
        let mut left = Vec::new();
        for sequence in 1..=5 {
            let message = ground.nats.get(&ground.stream, sequence).await.unwrap();
            left.extend(message.map(|message| message.sequence));
        }
        assert_eq!(left, [2, 4, 5]);
        ground.nats.purge(&ground.stream, &ground.subject("*.*"), 5).await.unwrap();
        let state = ground.nats.state(&ground.stream).await.unwrap();
        assert_eq!((state.messages, state.first, state.last), (0, 6, 5));
    });
}

#[test]
fn a_full_stream_refuses_and_takes_again_when_there_is_room() {
    on_shared("a_full_stream_refuses_and_takes_again_when_there_is_room", async |server| {
        let ground = Ground::on(server, "full", |plan| plan.messages_max = Some(2)).await;
        ground.store("0.a", b"x").await;
        ground.store("0.a", b"x").await;
        assert_eq!(ground.nats.publish(ground.publish("0.a", b"x")).await, Err(Failure::Full));
        let state = ground.nats.state(&ground.stream).await.unwrap();
        assert_eq!((state.messages, state.messages_max, state.bytes_max), (2, Some(2), None));
        ground.nats.purge(&ground.stream, &ground.subject("0.a"), 1).await.unwrap();
        assert_eq!(ground.nats.publish(ground.publish("0.a", b"x")).await, Ok(3));
        let bytes = Ground::on(server, "full", |plan| plan.bytes_max = Some(2000)).await;
        bytes.store("0.a", &[0; 1000]).await;
        assert_eq!(bytes.nats.publish(bytes.publish("0.a", &[0; 1000])).await, Err(Failure::Full));
    });
}

#[test]
fn a_message_that_is_too_large_is_refused_for_good() {
    on_shared("a_message_that_is_too_large_is_refused_for_good", async |server| {
        let ground = Ground::on(server, "large", |_| {}).await;
        let limit = ground.nats.limits().message_bytes_max;
        let too_large = Err(Failure::TooLarge { limit });
        let mut publish = ground.publish("0.a", b"");
        publish.payload = Bytes::from(vec![1; limit - publish.meta.len()]);
        publish.expect = Some(Expect { filter: ground.subject("*.a"), last: 0 });
        assert_eq!(ground.nats.publish(publish.clone()).await, Ok(1));
        publish.payload = Bytes::from(vec![1; limit - publish.meta.len() + 1]);
        assert_eq!(ground.nats.publish(publish.clone()).await, too_large);
        publish.payload = Bytes::new();
        publish.meta = Bytes::from(vec![7; 47 * 1024]);
        publish.expect = None;
        assert_eq!(ground.nats.publish(publish.clone()).await, Ok(2));
        let stored = ground.nats.get(&ground.stream, 2).await.unwrap().unwrap();
        assert_eq!(stored.meta, publish.meta);
        publish.meta = Bytes::from(vec![7; 47 * 1024 + 1]);
        assert_eq!(ground.nats.publish(publish).await, too_large);
    });
}

#[test]
fn what_does_not_exist_is_named() {
    on_shared("what_does_not_exist_is_named", async |server| {
        let ground = Ground::on(server, "gone", |_| {}).await;
        let gone = StreamName::new("never-made");
        let none = Failure::NoStream(gone.clone());
        let nats = &ground.nats;
        assert_eq!(nats.state(&gone).await, Err(none.clone()));
        assert_eq!(nats.last(&gone, "never-made.>").await, Err(none.clone()));
        assert_eq!(nats.purge(&gone, "never-made.>", 1).await, Err(none.clone()));
        let mut publish = ground.publish("0.a", b"x");
        (publish.stream, publish.subject) = (gone.clone(), "never-made.0".to_owned());
        assert_eq!(nats.publish(publish).await, Err(none.clone()));
        let consume = Consume { stream: gone, ..ground.consume(&["0.a"]) };
        assert_eq!(nats.consume(consume).await.err(), Some(none));
    });
}

#[test]
fn a_stream_made_again_has_another_identity() {
    on_shared("a_stream_made_again_has_another_identity", async |server| {
        let ground = Ground::on(server, "again", |_| {}).await;
        let before = ground.nats.state(&ground.stream).await.unwrap();
        assert_eq!((before.first, before.last, before.messages), (1, 0, 0));
        assert_eq!(ground.nats.state(&ground.stream).await.unwrap().identity, before.identity);
        ground.nats.delete_stream(&ground.stream).await.unwrap();
        ground.nats.create_stream(&StreamPlan::bare(&ground.stream)).await.unwrap();
        assert_ne!(ground.nats.state(&ground.stream).await.unwrap().identity, before.identity);
    });
}

#[test]
fn a_consumer_gives_its_subjects_in_order_after_its_start() {
    on_shared("a_consumer_gives_its_subjects_in_order_after_its_start", async |server| {
        let ground = Ground::on(server, "order", |_| {}).await;
        for slot in [0, 1, 2, 0, 1, 2, 0] {
            ground.store(&format!("{slot}.a"), b"x").await;
        }
        let mut consume = ground.consume(&["0.*", "2.*"]);
        consume.after = 3;
        let mut consumer = ground.read(consume).await;
        for (number, pending, sequence) in [(1, 2, 4), (2, 1, 6), (3, 0, 7)] {
            let (said, left, message) = next(&mut consumer).await;
            assert_eq!((said, left, message.sequence), (number, pending, sequence));
        }
        assert_eq!(idle(&mut consumer).await, 3);
        assert_eq!(ground.store("2.b", b"late").await, 8);
        let (number, pending, message) = next(&mut consumer).await;
        assert_eq!((number, pending, message.sequence, &message.payload[..]), (4, 0, 8, &b"late"[..]));
    });
}

#[test]
fn a_consumer_with_nothing_to_give_says_so_at_once() {
    on_shared("a_consumer_with_nothing_to_give_says_so_at_once", async |server| {
        let ground = Ground::on(server, "empty", |_| {}).await;
        ground.store("0.a", b"x").await;
        let mut consumer = ground.read(ground.consume(&["1.*"])).await;
        assert_eq!(idle(&mut consumer).await, 0);
        assert_eq!(idle(&mut consumer).await, 0);
        ground.store("1.a", b"x").await;
        assert_eq!(next(&mut consumer).await.0, 1);
    });
}

#[test]
fn headers_alone_have_the_meta_and_no_payload() {
    on_shared("headers_alone_have_the_meta_and_no_payload", async |server| {
        let ground = Ground::on(server, "headers", |_| {}).await;
        ground.store("0.a", &vec![1; 100_000]).await;
        let mut consume = ground.consume(&["*.*"]);
        consume.headers_only = true;
        let (_, _, message) = next(&mut ground.read(consume).await).await;
        assert_eq!((&message.meta[..], message.payload.len()), (&b"\x00meta\r\n"[..], 0));
    });
}

#[test]
fn the_last_of_each_subject_comes_first_and_then_everything() {
    on_shared("the_last_of_each_subject_comes_first_and_then_everything", async |server| {
        let ground = Ground::on(server, "keys", |_| {}).await;
        for key in ["k.a", "k.b", "k.a", "k.c", "k.b"] {
            ground.store(key, key.as_bytes()).await;
        }
        let mut consume = ground.consume(&["k.*"]);
        consume.last_per_subject = true;
        let mut consumer = ground.read(consume.clone()).await;
        for (number, pending, sequence) in [(1, 2, 3), (2, 1, 4), (3, 0, 5)] {
            let (said, left, message) = next(&mut consumer).await;
            assert_eq!((said, left, message.sequence), (number, pending, sequence));
        }
        ground.store("k.a", b"new").await;
        assert_eq!(next(&mut consumer).await.2.sequence, 6);
        // What is passed over does not count.
        consume.after = 4;
        let mut consumer = ground.read(consume.clone()).await;
        for (number, sequence) in [(1, 5), (2, 6)] {
            let (said, _, message) = next(&mut consumer).await;
            assert_eq!((said, message.sequence), (number, sequence));
        }
        consume.after = 6;
        let mut consumer = ground.read(consume).await;
        assert_eq!(idle(&mut consumer).await, 0);
        ground.store("k.a", b"newer").await;
        let (number, _, message) = next(&mut consumer).await;
        assert_eq!((number, message.sequence), (1, 7));
    });
}

#[test]
fn a_consumer_asked_late_and_often_misses_nothing() {
    on_shared("a_consumer_asked_late_and_often_misses_nothing", async |server| {
        let ground = Ground::on(server, "late", |_| {}).await;
        let mut consumer = ground.read(ground.consume(&["0.*"])).await;
        // More messages, and more bytes, than are ever on their way at a time.
        let mut writers = JoinSet::new();
        for writer in 0..8 {
            let (nats, publish) =
                (Arc::clone(&ground.nats), ground.publish(&format!("0.{writer}"), b"small"));
            writers.spawn(async move {
                for count in 0..400 {
                    let mut publish = publish.clone();
                    if count % 40 == 0 {
                        publish.payload = Bytes::from(vec![9; 300_000]);
                    }
                    nats.publish(publish).await.unwrap();
                }
            });
        }
        soon("all is stored", writers.join_all()).await;
        let mut expected = 1;
        while expected <= 3200 {
            // A wait that is given up loses nothing.
            let Ok(delivery) = timeout(Duration::from_micros(50), consumer.next()).await else { continue };
            if let Delivery::Message { number, message, .. } = delivery.unwrap() {
                assert_eq!((number, message.sequence), (expected, expected));
                expected += 1;
            }
        }
    });
}

#[test]
fn a_message_larger_than_what_is_asked_for_at_a_time_arrives() {
    let name = "jetstream_broker::a_message_larger_than_what_is_asked_for_at_a_time_arrives";
    let options = Options { lines: "max_payload: 8MB".to_owned(), ..Options::default() };
    let Some(server) = nats::own(name, &options) else { return };
    block_on(async {
        let ground = Ground::on(&server, "huge", |_| {}).await;
        let huge = vec![3; 7_500_000];
        ground.store("0.a", b"small").await;
        ground.store("0.a", &huge).await;
        ground.store("0.a", b"small").await;
        let mut consumer = ground.read(ground.consume(&["0.*"])).await;
        for (number, length) in [(1, 5), (2, huge.len()), (3, 5)] {
            let (said, _, message) = next(&mut consumer).await;
            assert_eq!((said, message.payload.len()), (number, length));
        }
        let last = ground.nats.get(&ground.stream, 2).await.unwrap().unwrap();
        assert_eq!(last.payload, huge);
    });
}

#[test]
fn many_publishes_are_underway_at_a_time() {
    on_shared("many_publishes_are_underway_at_a_time", async |server| {
        let ground = Arc::new(Ground::on(server, "many", |_| {}).await);
        let mut units = JoinSet::new();
        for unit in 0..64 {
            let ground = Arc::clone(&ground);
            units.spawn(async move {
                let mut last = 0;
                for slot in 0..20 {
                    let rest = format!("{slot}.v.{unit}");
                    last = ground.store_after(&rest, &format!("*.v.{unit}"), last).await.unwrap();
                }
            });
        }
        soon("all is stored", units.join_all()).await;
        let state = ground.nats.state(&ground.stream).await.unwrap();
        assert_eq!(state.messages, 64 * 20);
    });
}

#[test]
fn consumers_that_nobody_asks_cost_no_connection() {
    on_shared("consumers_that_nobody_asks_cost_no_connection", async |server| {
        const SLOTS: u64 = 64;
        const FRAMES: u64 = 8;
        let ground = Ground::on(server, "unread", |_| {}).await;
        let mut consumers = Vec::new();
        for slot in 0..SLOTS {
            let mut consumer = ground.read(ground.consume(&[&format!("{slot}.*")])).await;
            assert_eq!(idle(&mut consumer).await, 0);
            // What it wishes for stands from here on.
            let nothing = timeout(Duration::from_millis(10), consumer.next()).await;
            assert!(nothing.is_err(), "nothing is there: {nothing:?}");
            consumers.push(consumer);
        }
        for frame in 0..FRAMES {
            for slot in 0..SLOTS {
                let sequence = ground.store(&format!("{slot}.a"), &vec![7; 200_000]).await;
                assert_eq!(sequence, frame * SLOTS + slot + 1);
            }
        }
        for (slot, mut consumer) in (0..SLOTS).zip(consumers) {
            for frame in 0..FRAMES {
                let (number, _, message) = next(&mut consumer).await;
                assert_eq!((number, message.sequence), (frame + 1, frame * SLOTS + slot + 1));
            }
        }
    });
}

#[test]
fn a_server_without_space_refuses_and_takes_again_when_there_is_some() {
    let name = "jetstream_broker::a_server_without_space_refuses_and_takes_again_when_there_is_some";
    let options = Options { jetstream_lines: "max_file_store: 3MB".to_owned(), ..Options::default() };
    let Some(server) = nats::own(name, &options) else { return };
    block_on(async {
        let ground = Ground::on(&server, "space", |_| {}).await;
        let mut stored = Vec::new();
        let failure = loop {
            assert!(stored.len() < 100, "it takes more than it has");
            match ground.nats.publish(ground.publish("0.a", &vec![7; 100_000])).await {
                Ok(sequence) => stored.push(sequence),
                Err(failure) => break failure,
            }
        };
        assert_eq!(failure, Failure::Full);
        // Nothing of what is there is lost.
        let state = ground.nats.state(&ground.stream).await.unwrap();
        assert_eq!(state.messages, stored.len() as u64);
        ground.nats.purge(&ground.stream, &ground.subject("0.a"), stored[stored.len() / 2]).await.unwrap();
        let last = *stored.last().unwrap();
        assert_eq!(ground.nats.publish(ground.publish("0.a", &vec![7; 100_000])).await, Ok(last + 1));
    });
}

#[test]
fn consumers_of_large_messages_cost_a_slow_process_no_connection() {
    const SLOTS: u64 = 48;
    const FRAMES: u64 = 4;
    let name = "jetstream_broker::consumers_of_large_messages_cost_a_slow_process_no_connection";
    let options = Options { lines: "max_payload: 8MB".to_owned(), ..Options::default() };
    let Some(server) = nats::own(name, &options) else { return };
    let one_thread = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    one_thread.block_on(async {
        let ground = Ground::on(&server, "large", |_| {}).await;
        let frame = vec![7; 1_500_000];
        let mut consumers = Vec::new();
        for _ in 0..FRAMES {
            for slot in 0..SLOTS {
                ground.store(&format!("{slot}.a"), &frame).await;
            }
        }
        for slot in 0..SLOTS {
            consumers.push((slot, ground.read(ground.consume(&[&format!("{slot}.*")])).await));
        }
        let read = join_all(consumers.into_iter().map(async |(slot, mut consumer)| {
            for frame in 0..FRAMES {
                let (number, _, message) = next(&mut consumer).await;
                assert_eq!((number, message.sequence), (frame + 1, frame * SLOTS + slot + 1));
            }
        }));
        // What else the process has to do leaves it little time to read its connection.
        let busy = async {
            loop {
                let until = Instant::now() + Duration::from_millis(5);
                while Instant::now() < until {
                    std::hint::spin_loop();
                }
                yield_now().await;
            }
        };
        tokio::select! {
            _ = read => {}
            () = busy => unreachable!("it goes on until all is read"),
        }
    });
}
