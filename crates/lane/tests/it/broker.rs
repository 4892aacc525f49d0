//! The simulated broker does what the door says, so that what is shown on it counts.

use std::future::Future;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use bytes::Bytes;
use lane::broker::{Broker, Consume, Consumer, Delivery, Expect, Failure, Message, Publish};
use tidegate_lane as lane;

use crate::sim::client::SimBroker;
use crate::sim::cluster::Cluster;
use crate::sim::executor::{Executor, Process, World};
use crate::sim::faults::Faults;
use crate::sim::ground::Ground;
use crate::sim::stream::Shape;

const ME: Process = Process(0);

/// Runs a test as a process of its own; it must end.
fn run<F>(seed: u64, faults: Faults, test: impl FnOnce(Cluster, SimBroker, World) -> F)
where
    F: Future<Output = ()> + Send + 'static,
{
    let mut executor = Executor::new(seed);
    let cluster = Cluster::new(Ground::World(executor.world()), seed, faults);
    cluster.create("s", Shape::default());
    let broker = SimBroker::new(cluster.clone(), 1000);
    let test = test(cluster, broker, executor.world());
    let ended = Arc::new(AtomicBool::new(false));
    let flag = ended.clone();
    executor.world().spawn(ME, async move {
        test.await;
        flag.store(true, Ordering::Relaxed);
    });
    let done = executor.run(Duration::from_hours(1), || ended.load(Ordering::Relaxed));
    assert!(done, "the test ends");
}

fn message(subject: &str, value: u64) -> Publish {
    Publish {
        stream: subject.split('.').next().unwrap().into(),
        subject: subject.to_owned(),
        expect: None,
        meta: Bytes::from_static(b"meta"),
        payload: Bytes::copy_from_slice(&value.to_be_bytes()),
    }
}

fn expecting(subject: &str, value: u64, filter: &str, last: u64) -> Publish {
    Publish { expect: Some(Expect { filter: filter.to_owned(), last }), ..message(subject, value) }
}

fn from(filters: &[&str], after: u64) -> Consume {
    let filters = filters.iter().map(|filter| (*filter).to_owned()).collect();
    Consume { stream: "s".into(), filters, after, headers_only: false, last_per_subject: false }
}

fn value(message: &Message) -> u64 {
    u64::from_be_bytes(message.payload[..].try_into().unwrap())
}

async fn messages(consumer: &mut Box<dyn Consumer>, count: usize) -> Vec<(u64, u64, u64)> {
    let mut found = Vec::new();
    while found.len() < count {
        match consumer.next().await.unwrap() {
            Delivery::Message { number, pending, message } => {
                found.push((number, pending, message.sequence));
            }
            Delivery::Idle { number } => panic!("idle at {number} after {found:?}"),
        }
    }
    found
}

#[test]
fn a_publish_is_stored_only_on_what_it_expects() {
    run(1, Faults::NONE, |_, broker, _| async move {
        assert_eq!(broker.publish(expecting("s.0.a", 1, "s.*.a", 0)).await, Ok(1));
        assert_eq!(broker.publish(expecting("s.1.a", 2, "s.*.a", 0)).await, Err(Failure::Refused));
        assert_eq!(broker.publish(expecting("s.1.b", 3, "s.*.b", 0)).await, Ok(2));
        assert_eq!(broker.publish(expecting("s.1.a", 4, "s.*.a", 1)).await, Ok(3));
        let last = broker.last(&"s".into(), "s.*.a").await.unwrap().unwrap();
        assert_eq!((last.sequence, last.subject.as_str(), value(&last)), (3, "s.1.a", 4));
        broker.purge(&"s".into(), "s.*.a", 3).await.unwrap();
        assert_eq!(broker.publish(expecting("s.1.a", 5, "s.*.a", 3)).await, Err(Failure::Refused));
        assert_eq!(
            broker.publish(expecting("s.1.a", 5, "s.*.a", 0)).await,
            Ok(4),
            "what was purged does not count"
        );
        let state = broker.state(&"s".into()).await.unwrap();
        assert_eq!((state.first, state.last, state.messages, state.bytes), (2, 4, 2, 24));
    });
}

#[test]
fn a_full_stream_takes_nothing() {
    run(1, Faults::NONE, |cluster, broker, _| async move {
        cluster.create("few", Shape { messages_max: Some(2), ..Shape::default() });
        cluster.create("keys", Shape { messages_max: Some(2), last_per_subject: true, ..Shape::default() });
        for number in 1..=2 {
            assert_eq!(broker.publish(message("few.a", number)).await, Ok(number));
            assert_eq!(broker.publish(message(&format!("keys.{number}"), number)).await, Ok(number));
        }
        assert_eq!(broker.publish(message("few.a", 3)).await, Err(Failure::Full));
        assert_eq!(broker.publish(message("keys.3", 3)).await, Err(Failure::Full));
        assert_eq!(broker.publish(message("keys.2", 3)).await, Ok(3), "it takes the place of the former");
        assert_eq!(broker.get(&"keys".into(), 2).await, Ok(None));
        broker.purge(&"few".into(), "few.a", 1).await.unwrap();
        assert_eq!(broker.publish(message("few.a", 3)).await, Ok(3));
        assert_eq!(broker.publish(message("none.a", 3)).await, Err(Failure::NoStream("none".into())));
        let large = Publish { payload: Bytes::from(vec![0; 1000]), ..message("s.0.a", 1) };
        assert_eq!(broker.publish(large).await, Err(Failure::TooLarge { limit: 1000 }));
    });
}

#[test]
fn a_consumer_gives_what_it_was_asked_for_in_order() {
    run(1, Faults::NONE, |_, broker, _| async move {
        for number in 1..=6 {
            broker.publish(message(&format!("s.{}.a", number % 3), number)).await.unwrap();
        }
        let mut consumer = broker.consume(from(&["s.0.a", "s.1.*"], 1)).await.unwrap();
        assert_eq!(messages(&mut consumer, 3).await, [(1, 2, 3), (2, 1, 4), (3, 0, 6)]);
        assert_eq!(consumer.next().await, Ok(Delivery::Idle { number: 3 }));
        broker.publish(message("s.2.a", 7)).await.unwrap();
        broker.publish(message("s.1.a", 8)).await.unwrap();
        assert_eq!(messages(&mut consumer, 1).await, [(4, 0, 8)]);
        let keys = Consume { last_per_subject: true, headers_only: true, ..from(&["s.*.a"], 0) };
        let mut consumer = broker.consume(keys).await.unwrap();
        broker.publish(message("s.2.a", 9)).await.unwrap();
        assert_eq!(messages(&mut consumer, 4).await, [(1, 2, 6), (2, 1, 7), (3, 0, 8), (4, 0, 9)]);
    });
}

#[test]
fn what_a_consumer_loses_shows_in_its_numbers() {
    let faults = Faults { skipped: 3, ..Faults::CALM };
    run(7, faults, |_, broker, _| async move {
        let mut consumer = broker.consume(from(&["s.*.a"], 0)).await.unwrap();
        for number in 1..=200 {
            broker.publish(message("s.0.a", number)).await.unwrap();
        }
        let (mut lost, mut seen) = (0, 0);
        while seen < 200 {
            match consumer.next().await.unwrap() {
                Delivery::Message { number, message, .. } => {
                    assert_eq!(number, message.sequence, "every message has its number, lost or not");
                    lost += number - seen - 1;
                    seen = number;
                }
                Delivery::Idle { number } => {
                    lost += number - seen;
                    seen = number;
                }
            }
        }
        assert!((30..120).contains(&lost), "{lost} of 200 were lost");
    });
}

#[test]
fn a_consumer_that_is_dead_or_cut_fails() {
    for faults in [Faults { dead: 5, ..Faults::CALM }, Faults { cut: 5, ..Faults::CALM }] {
        run(3, faults, |_, broker, _| async move {
            for number in 1..=50 {
                broker.publish(message("s.0.a", number)).await.unwrap();
            }
            let mut consumer = broker.consume(from(&["s.*.a"], 0)).await.unwrap();
            let mut seen = 0;
            let failure = loop {
                match consumer.next().await {
                    Ok(Delivery::Message { number, .. }) => {
                        assert_eq!(number, seen + 1);
                        seen = number;
                    }
                    Ok(Delivery::Idle { number }) => assert_eq!(number, seen),
                    Err(failure) => break failure,
                }
            };
            assert!(matches!(failure, Failure::Unavailable(_)), "{failure}");
            assert!(seen < 50, "it ended in the middle");
        });
    }
}

#[test]
fn an_answer_that_is_lost_says_nothing_about_the_deed() {
    let faults = Faults { lost: 4, unanswered: 4, late: 4, unavailable: 4, ..Faults::CALM };
    run(5, faults, |cluster, broker, world| async move {
        let mut unanswered = Vec::new();
        let mut stored = Vec::new();
        for number in 1..=200 {
            match broker.publish(message("s.0.a", number)).await {
                Ok(sequence) => stored.push((sequence, number)),
                Err(Failure::Unanswered(_)) => unanswered.push(number),
                Err(Failure::Unavailable(_)) => {}
                Err(other) => panic!("{other}"),
            }
        }
        world.sleep(Duration::from_secs(10)).await;
        cluster.set_faults(Faults::CALM);
        for (sequence, number) in stored {
            let found = broker.get(&"s".into(), sequence).await.unwrap().unwrap();
            assert_eq!(value(&found), number, "what was answered is there");
        }
        let last = broker.state(&"s".into()).await.unwrap().last;
        let mut all = Vec::new();
        for sequence in 1..=last {
            all.push(value(&broker.get(&"s".into(), sequence).await.unwrap().unwrap()));
        }
        let done = unanswered.iter().filter(|number| all.contains(number)).count();
        assert!(done > 0, "some were done");
        assert!(done < unanswered.len(), "some were not");
        assert!(!all.is_sorted(), "some were done late");
    });
}

#[test]
fn a_request_goes_on_without_its_process() {
    run(
        1,
        Faults { latency_max: Duration::from_millis(20), ..Faults::CALM },
        |_, broker, world| async move {
            let (killed, suspended) = (Process(1), Process(2));
            for (process, subject) in [(killed, "s.1.a"), (suspended, "s.2.a")] {
                let other = broker.clone();
                world.spawn(process, async move {
                    other.publish(message(subject, 1)).await.unwrap();
                    other.publish(message(subject, 2)).await.unwrap();
                });
            }
            // Both have had a turn once time has gone on.
            world.sleep(Duration::from_micros(1)).await;
            world.kill(killed);
            world.suspend(suspended);
            world.sleep(Duration::from_secs(1)).await;
            assert_eq!(
                broker.state(&"s".into()).await.unwrap().messages,
                2,
                "what had been asked for was done"
            );
            world.resume(suspended);
            world.sleep(Duration::from_secs(1)).await;
            let last = broker.last(&"s".into(), "s.*.a").await.unwrap().unwrap();
            assert_eq!((last.sequence, last.subject.as_str()), (3, "s.2.a"), "who was suspended goes on");
        },
    );
}

#[test]
fn a_stream_made_again_has_another_identity_and_ends_its_consumers() {
    run(1, Faults::CALM, |cluster, broker, _| async move {
        for number in 1..=5 {
            broker.publish(message("s.0.a", number)).await.unwrap();
        }
        let before = broker.state(&"s".into()).await.unwrap();
        let mut consumer = broker.consume(from(&["s.*.a"], 0)).await.unwrap();
        cluster.rewind("s", 2);
        let rewound = broker.state(&"s".into()).await.unwrap();
        assert_eq!((rewound.identity, rewound.last), (before.identity, 3));
        while consumer.next().await.is_ok() {}
        cluster.recreate("s");
        let made_again = broker.state(&"s".into()).await.unwrap();
        assert_eq!((made_again.last, made_again.messages), (0, 0));
        assert_ne!(made_again.identity, before.identity);
    });
}

#[test]
fn a_leader_that_is_away_does_nothing() {
    run(1, Faults::CALM, |cluster, broker, world| async move {
        cluster.change_leader("s", Duration::from_secs(2));
        let answer = broker.publish(message("s.0.a", 1)).await;
        assert!(matches!(answer, Err(Failure::Unavailable(_))), "{answer:?}");
        world.sleep(Duration::from_secs(2)).await;
        assert_eq!(broker.publish(message("s.0.a", 2)).await, Ok(1));
    });
}

#[test]
fn a_seed_decides_every_turn() {
    let trace = |seed| {
        let (sender, receiver) = std::sync::mpsc::sync_channel(1000);
        run(seed, Faults { slow: 5, ..Faults::CALM }, |_, broker, world| async move {
            for task in 0..5 {
                let (broker, sender) = (broker.clone(), sender.clone());
                world.spawn(ME, async move {
                    for number in 0..10 {
                        let sequence = broker.publish(message("s.0.a", number)).await;
                        sender.send((task, number, sequence)).unwrap();
                    }
                });
            }
            world.sleep(Duration::from_mins(1)).await;
        });
        receiver.into_iter().collect::<Vec<_>>()
    };
    assert_eq!(trace(1).len(), 50);
    assert_eq!(trace(1), trace(1));
    assert_ne!(trace(1), trace(2));
}
