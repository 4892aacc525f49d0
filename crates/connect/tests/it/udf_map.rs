//! User code that maps: what is given to it, what comes back, and what becomes of messages when it misbehaves.

use std::collections::BTreeMap;
use std::num::{NonZeroU32, NonZeroUsize};
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use model::door::map::Map;
use model::verdict::{NACK, Reply, Verdict, judge};
use model::{Attributes, Groups, Message, Parts, Time};
use proto::map::{MapResponse, map_response};
use proto::metadata::{KeyValueGroup, Metadata};
use proto::nack::NackOptions;
use tidegate_connect::udf::map::UserMap;
use tonic::{Code, Status};

use crate::udf_server::{Place, Server, echo, end, is_end, messages, script, until, value, write_info};

fn open(place: &Place) -> UserMap {
    UserMap::open(place.settings.clone(), place.incidents.clone())
}

/// Every message came back once, as itself, in order.
fn assert_echoed(sent: &[Message], replies: &[Reply]) {
    assert_eq!(sent.len(), replies.len());
    for (message, reply) in sent.iter().zip(replies) {
        assert_eq!(reply.outputs.len(), 1, "{}", message.id);
        assert_eq!(reply.outputs[0].value, message.value);
        assert_eq!(reply.outputs[0].keys, message.keys);
        assert_eq!(reply.outputs[0].id.to_string(), format!("cat-{}-0-0", message.offset));
    }
}

#[tokio::test]
async fn answers_out_of_order_come_back_in_order() {
    let place = Place::new();
    let held = Mutex::new(Vec::new());
    let _server = Server::start(
        &place.path(),
        "unary-map",
        script(move |_, request, out| {
            // Answers in reversed groups of ten.
            let mut held = held.lock().unwrap();
            held.push(echo(&request));
            if held.len() == 10 {
                out.extend(held.drain(..).rev().map(Ok));
            }
        }),
    );
    let map = open(&place);
    let sent = messages(0..2000);
    let replies = map.map(Arc::clone(&sent), Time::UNKNOWN).await.unwrap();
    assert_echoed(&sent, &replies);
    assert!(map.ready().await);
    assert_eq!(place.incidents.total(), 0);
}

#[tokio::test]
async fn several_callers_share_one_stream() {
    let place = Place::new();
    let streams = Arc::new(AtomicU32::new(0));
    let seen = Arc::clone(&streams);
    let _server = Server::start(
        &place.path(),
        "unary-map",
        script(move |stream, request, out| {
            seen.fetch_max(stream, Ordering::SeqCst);
            out.push_back(Ok(echo(&request)));
        }),
    );
    let map = open(&place);
    let calls = (0..20).map(|caller| {
        let map = &map;
        async move {
            let sent = messages(caller * 100..caller * 100 + 100);
            let replies = map.map(Arc::clone(&sent), Time::UNKNOWN).await.unwrap();
            assert_echoed(&sent, &replies);
        }
    });
    futures::future::join_all(calls).await;
    assert_eq!(streams.load(Ordering::SeqCst), 1);
}

#[tokio::test]
async fn no_more_messages_are_with_user_code_than_allowed() {
    let mut place = Place::new();
    place.settings.concurrency = NonZeroUsize::new(7).unwrap();
    let held = Arc::new(Mutex::new(Vec::new()));
    let most = Arc::new(AtomicU32::new(0));
    let (inside, peak) = (Arc::clone(&held), Arc::clone(&most));
    let _server = Server::start(
        &place.path(),
        "unary-map",
        script(move |_, request, out| {
            let mut held = inside.lock().unwrap();
            held.push(echo(&request));
            peak.fetch_max(held.len() as u32, Ordering::SeqCst);
            // The whole allowance has to arrive before anything is answered.
            if held.len() == 7 {
                out.extend(held.drain(..).map(Ok));
            }
        }),
    );
    let map = open(&place);
    let sent = messages(0..70);
    assert_echoed(&sent, &map.map(Arc::clone(&sent), Time::UNKNOWN).await.unwrap());
    assert_eq!(most.load(Ordering::SeqCst), 7);
}

#[tokio::test]
async fn system_metadata_and_headers_are_the_parents_and_user_metadata_is_what_user_code_says() {
    let place = Place::new();
    let seen = Arc::new(Mutex::new(None));
    let inside = Arc::clone(&seen);
    let _server = Server::start(
        &place.path(),
        "unary-map",
        script(move |_, request, out| {
            let mut response = echo(&request);
            *inside.lock().unwrap() = request.request;
            let group = |value: &'static str| {
                let key_value = BTreeMap::from([("k".to_owned(), value.into())]);
                BTreeMap::from([("g".to_owned(), KeyValueGroup { key_value })])
            };
            response.results[0].metadata = Some(Metadata {
                previous_vertex: "nonsense".to_owned(),
                sys_metadata: group("forged"),
                user_metadata: group("theirs"),
            });
            response.results[0].tags = vec!["even".to_owned()];
            response.results.push(map_response::Result {
                tags: vec![NACK.to_owned()],
                nack_options: Some(NackOptions {
                    reason: Some("later".to_owned()),
                    max_deliveries: Some(3),
                    delay: Some(1500),
                    nack_map: BTreeMap::new(),
                }),
                ..map_response::Result::default()
            });
            out.push_back(Ok(response));
        }),
    );
    let map = open(&place);
    let groups = |value: &'static str| -> Groups {
        BTreeMap::from([("g".to_owned(), BTreeMap::from([("k".to_owned(), value.into())]))])
    };
    let mut message = messages(5..6)[0].clone();
    message.attributes = Attributes::new(Parts {
        headers: BTreeMap::from([("h".to_owned(), "1".to_owned())]),
        system: groups("ours"),
        user: groups("before"),
    });
    let reply = map.map(Arc::new(vec![message.clone()]), Time::from_millis(4)).await.unwrap().remove(0);

    let request = seen.lock().unwrap().take().unwrap();
    assert_eq!(request.metadata.as_ref().unwrap().previous_vertex, "in");
    assert_eq!(request.metadata.unwrap().user_metadata["g"].key_value["k"], "before");
    assert_eq!(request.headers["h"], "1");
    assert_eq!((request.event_time.unwrap().seconds, request.event_time.unwrap().nanos), (0, 5_000_000));
    assert_eq!(request.watermark.unwrap().nanos, 4_000_000);

    let first = &reply.outputs[0];
    assert_eq!(first.attributes.parts().system, groups("ours"));
    assert_eq!(first.attributes.parts().user, groups("theirs"));
    assert_eq!(first.attributes.parts().headers["h"], "1");
    assert_eq!(first.tags, ["even"]);
    assert_eq!(first.event_time, message.event_time);
    // A result without metadata has no user metadata.
    assert_eq!(reply.outputs[1].attributes.parts().user, Groups::new());
    assert_eq!(reply.outputs[1].id.index, 1);
    let Verdict::SendBack(nack) = judge(reply) else { panic!("the nack wins") };
    assert_eq!((nack.reason.as_str(), nack.deliveries_max, nack.delay.as_millis()), ("later", Some(3), 1500));
}

#[tokio::test]
async fn a_batch_ends_before_the_next_begins() {
    let mut place = Place::new();
    place.settings.batch_max = NonZeroUsize::new(50).unwrap();
    let sizes = Arc::new(Mutex::new(Vec::new()));
    let inside = Arc::clone(&sizes);
    let held = Mutex::new(Vec::new());
    let _server = Server::start(
        &place.path(),
        "batch-map",
        script(move |_, request, out| {
            let mut held = held.lock().unwrap();
            if is_end(&request) {
                inside.lock().unwrap().push(held.len());
                out.extend(held.drain(..).rev().map(Ok));
                out.push_back(Ok(end()));
            } else {
                held.push(echo(&request));
            }
        }),
    );
    let map = open(&place);
    let (left, right) = (messages(0..120), messages(500..530));
    let (first, second) = futures::future::join(
        map.map(Arc::clone(&left), Time::UNKNOWN),
        map.map(Arc::clone(&right), Time::UNKNOWN),
    )
    .await;
    assert_echoed(&left, &first.unwrap());
    assert_echoed(&right, &second.unwrap());
    let sizes = sizes.lock().unwrap();
    assert_eq!(sizes.iter().sum::<usize>(), 150);
    assert!(sizes.iter().all(|size| (1..=50).contains(size)), "{sizes:?}");
    assert_eq!(place.incidents.total(), 0);
}

#[tokio::test]
async fn a_batch_that_ends_early_is_a_breach_that_names_the_messages() {
    let place = Place::new();
    let held = Mutex::new(Vec::new());
    let _server = Server::start(
        &place.path(),
        "batch-map",
        script(move |stream, request, out| {
            let mut held = held.lock().unwrap();
            if is_end(&request) {
                let mut answers: Vec<_> = held.drain(..).map(Ok).collect();
                if stream == 1 {
                    answers.truncate(8);
                }
                out.extend(answers);
                out.push_back(Ok(end()));
            } else {
                held.push(echo(&request));
            }
        }),
    );
    let map = open(&place);
    let sent = messages(0..10);
    assert_echoed(&sent, &map.map(Arc::clone(&sent), Time::UNKNOWN).await.unwrap());
    let incident = place.incident("protocol").await;
    assert_eq!(incident.messages, ["in-8-0-0", "in-9-0-0"]);
    assert_eq!(incident.container, "udf");
}

#[tokio::test]
async fn streamed_results_are_gathered_and_begin_anew_after_a_crash() {
    let place = Place::new();
    let _server = Server::start(
        &place.path(),
        "stream-map",
        script(move |stream, request, out| {
            let part = |text: &str| MapResponse {
                results: vec![map_response::Result {
                    value: format!("{}{text}", value(&request)).into(),
                    ..map_response::Result::default()
                }],
                ..echo(&request)
            };
            out.push_back(Ok(part("a")));
            if stream == 1 && value(&request) == "3" {
                out.push_back(Err(Status::internal("UDF_EXECUTION_ERROR(udf): in the middle")));
                return;
            }
            out.push_back(Ok(part("b")));
            out.push_back(Ok(MapResponse { id: request.id.clone(), ..end() }));
        }),
    );
    let map = open(&place);
    let replies = map.map(messages(0..6), Time::UNKNOWN).await.unwrap();
    for (number, reply) in replies.iter().enumerate() {
        let values: Vec<_> = reply.outputs.iter().map(|output| output.value.clone()).collect();
        assert_eq!(values, [format!("{number}a"), format!("{number}b")]);
        assert_eq!(reply.outputs[1].id.index, 1);
    }
    assert!(place.incident("crashed").await.message.contains("in the middle"));
}

#[tokio::test]
async fn a_crash_loses_nothing_and_tells_why() {
    let place = Place::new();
    let _server = Server::start(
        &place.path(),
        "unary-map",
        script(|stream, request, out| {
            if stream < 4 && value(&request) == format!("{}", stream * 300) {
                let details = "no gRPC structure at all".into();
                let told = "UDF_EXECUTION_ERROR(udf): index out of bounds";
                out.push_back(Err(Status::with_details(Code::Internal, told, details)));
            } else {
                out.push_back(Ok(echo(&request)));
            }
        }),
    );
    let map = open(&place);
    let sent = messages(0..2000);
    assert_echoed(&sent, &map.map(Arc::clone(&sent), Time::UNKNOWN).await.unwrap());
    let incident = place.incident("crashed").await;
    assert!(incident.message.contains("index out of bounds"), "{}", incident.message);
    assert_eq!(incident.details, "no gRPC structure at all");
    assert!(!incident.messages.is_empty());
}

#[tokio::test]
async fn a_message_that_always_crashes_user_code_is_named_and_given_up_alone() {
    let mut place = Place::new();
    place.settings.poison_attempts = NonZeroU32::new(2);
    let crashes = Arc::new(AtomicU32::new(0));
    let inside = Arc::clone(&crashes);
    let _server = Server::start(
        &place.path(),
        "unary-map",
        script(move |_, request, out| {
            if value(&request) == "42" {
                inside.fetch_add(1, Ordering::SeqCst);
                out.push_back(Err(Status::internal("UDF_EXECUTION_ERROR(udf): 42")));
            } else {
                out.push_back(Ok(echo(&request)));
            }
        }),
    );
    let map = open(&place);
    let sent = messages(0..200);
    let replies = map.map(Arc::clone(&sent), Time::UNKNOWN).await.unwrap();
    for (number, reply) in replies.into_iter().enumerate() {
        match (number, judge(reply)) {
            (42, Verdict::SendBack(nack)) => {
                assert_eq!(nack.deliveries_max, Some(1));
                assert!(nack.reason.contains("2 times"), "{}", nack.reason);
            }
            (_, Verdict::Forward { outputs, .. }) => assert_eq!(outputs[0].value, sent[number].value),
            (number, verdict) => panic!("message {number} became {verdict:?}"),
        }
    }
    // Once among others, twice alone.
    assert_eq!(crashes.load(Ordering::SeqCst), 3);
    let last = place.incidents("crashed").pop().unwrap();
    assert_eq!(last.messages, ["in-42-0-0"]);
    assert!(last.message.contains("given up"), "{}", last.message);
}

#[tokio::test]
async fn others_flow_while_a_message_keeps_crashing_user_code() {
    let place = Place::new();
    let _server = Server::start(
        &place.path(),
        "unary-map",
        script(|_, request, out| {
            out.push_back(if value(&request) == "42" {
                Err(Status::internal("UDF_EXECUTION_ERROR(udf): 42"))
            } else {
                Ok(echo(&request))
            });
        }),
    );
    let map = Arc::new(open(&place));
    let poison = map.map(messages(42..43), Time::UNKNOWN);
    let others = async {
        place.incident("crashed").await;
        for round in 1..20 {
            let sent = messages(round * 1000..round * 1000 + 500);
            assert_echoed(&sent, &map.map(Arc::clone(&sent), Time::UNKNOWN).await.unwrap());
        }
    };
    tokio::select! {
        answer = poison => panic!("the message was answered: {answer:?}"),
        () = others => {}
    }
    assert!(place.incidents("crashed").iter().all(|incident| incident.messages == ["in-42-0-0"]));
}

#[tokio::test]
async fn a_hang_is_told_again_and_again_and_fails_nothing() {
    let mut place = Place::new();
    place.settings.unresponsive_after = Duration::from_millis(100);
    let released = Arc::new(AtomicBool::new(false));
    let gate = Arc::clone(&released);
    let held = Mutex::new(Vec::new());
    let _server = Server::start(
        &place.path(),
        "unary-map",
        script(move |_, request, out| {
            let mut held = held.lock().unwrap();
            if value(&request) == "3" {
                held.push(echo(&request));
            } else {
                out.push_back(Ok(echo(&request)));
            }
            if gate.load(Ordering::SeqCst) {
                out.extend(held.drain(..).map(Ok));
            }
        }),
    );
    let map = open(&place);
    let sent = messages(0..10);
    let call = map.map(Arc::clone(&sent), Time::UNKNOWN);
    let rest = async {
        until("three reports", || place.incidents("unresponsive").len() >= 3).await;
        released.store(true, Ordering::SeqCst);
        map.map(messages(100..101), Time::UNKNOWN).await.unwrap()
    };
    let (replies, _) = futures::future::join(call, rest).await;
    assert_echoed(&sent, &replies.unwrap());
    let incident = place.incidents("unresponsive").remove(0);
    assert_eq!(incident.messages, ["in-3-0-0"]);
    assert!(incident.message.contains("process answers"), "{}", incident.message);
}

#[tokio::test]
async fn second_answers_and_answers_to_nothing_are_breaches() {
    for (twice, told) in [(true, "twice"), (false, "never made")] {
        let place = Place::new();
        let _server = Server::start(
            &place.path(),
            "unary-map",
            script(move |stream, request, out| {
                out.push_back(Ok(echo(&request)));
                if stream == 1 && value(&request) == "5" {
                    let id = if twice { request.id.clone() } else { "what".to_owned() };
                    out.push_back(Ok(MapResponse { id, ..echo(&request) }));
                }
            }),
        );
        let map = open(&place);
        let sent = messages(0..300);
        assert_echoed(&sent, &map.map(Arc::clone(&sent), Time::UNKNOWN).await.unwrap());
        let again = messages(300..310);
        assert_echoed(&again, &map.map(Arc::clone(&again), Time::UNKNOWN).await.unwrap());
        let incident = place.incident("protocol").await;
        assert!(incident.message.contains(told), "{}", incident.message);
        if twice {
            assert_eq!(incident.messages, ["in-5-0-0"]);
        }
    }
}

#[tokio::test]
async fn user_code_that_shakes_no_hands_is_told_and_replaced() {
    let place = Place::new();
    let server = Server::start_with(
        &place.path(),
        "unary-map",
        script(|_, request, out| out.push_back(Ok(echo(&request)))),
        false,
    );
    let map = open(&place);
    let sent = messages(0..5);
    let call = map.map(Arc::clone(&sent), Time::UNKNOWN);
    let repair = async {
        let incident = place.incident("protocol").await;
        assert!(incident.message.contains("handshake"), "{}", incident.message);
        assert!(!map.ready().await);
        server.kill();
        Server::start(&place.path(), "unary-map", script(|_, request, out| out.push_back(Ok(echo(&request)))))
    };
    let (replies, _server) = futures::future::join(call, repair).await;
    assert_echoed(&sent, &replies.unwrap());
}

#[tokio::test]
async fn files_left_over_from_an_earlier_process_are_not_believed() {
    let place = Place::new();
    let old = Server::start(&place.path(), "stream-map", script(|_, _, _| {}));
    old.kill();
    assert!(place.path().join("mapstream.sock").exists());
    let map = open(&place);
    let sent = messages(0..5);
    let call = map.map(Arc::clone(&sent), Time::UNKNOWN);
    let restart = async {
        // A file that is being written is not believed either.
        std::fs::write(place.path().join("mapper-server-info"), "{\"protocol\":\"uds\",").unwrap();
        tokio::task::yield_now().await;
        Server::start(&place.path(), "unary-map", script(|_, request, out| out.push_back(Ok(echo(&request)))))
    };
    let (replies, _server) = futures::future::join(call, restart).await;
    assert_echoed(&sent, &replies.unwrap());
}

#[tokio::test]
async fn a_killed_process_costs_time_and_no_message() {
    let place = Place::new();
    let total = Arc::new(AtomicU32::new(0));
    let start = || {
        let total = Arc::clone(&total);
        Server::start(
            &place.path(),
            "unary-map",
            script(move |_, request, out| {
                total.fetch_add(1, Ordering::SeqCst);
                out.push_back(Ok(echo(&request)));
            }),
        )
    };
    let map = open(&place);
    let server = Mutex::new(Some(start()));
    let sent = messages(0..20_000);
    let call = map.map(Arc::clone(&sent), Time::UNKNOWN);
    let kills = async {
        for round in 1..=3 {
            until("messages to flow", || total.load(Ordering::SeqCst) > round * 2000).await;
            server.lock().unwrap().take().unwrap().kill();
            let restarted = start();
            *server.lock().unwrap() = Some(restarted);
        }
    };
    let (replies, ()) = futures::future::join(call, kills).await;
    assert_echoed(&sent, &replies.unwrap());
}

#[tokio::test]
async fn a_caller_that_leaves_disturbs_nobody() {
    let place = Place::new();
    let _server = Server::start(
        &place.path(),
        "unary-map",
        script(|_, request, out| {
            // Number 7 is never answered.
            if value(&request) != "7" {
                out.push_back(Ok(echo(&request)));
            }
        }),
    );
    let map = open(&place);
    let left =
        tokio::time::timeout(Duration::from_millis(200), map.map(messages(0..10), Time::UNKNOWN)).await;
    assert!(left.is_err());
    let sent = messages(10..2000);
    assert_echoed(&sent, &map.map(Arc::clone(&sent), Time::UNKNOWN).await.unwrap());
    assert_eq!(place.incidents.total(), 0);
}

#[tokio::test]
async fn user_code_that_needs_another_platform_is_told_apart() {
    let mut place = Place::new();
    place.settings.own_version = "1.3.0".into();
    write_info(&place.path(), "mapper", "unary-map");
    let map = open(&place);
    let incident = place.incident("incompatible").await;
    assert!(incident.message.contains("1.4.0-z"), "{}", incident.message);
    assert!(!map.ready().await);
}
