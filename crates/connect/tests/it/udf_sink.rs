//! User-defined sinks behind their door, against the crate `numaflow`.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex};

use model::door::sink::{Outcome, Replacement, Sink};
use model::{Message, Time};
use numaflow::shared::{NackOptions, ServerExtras};
use numaflow::sink;
use tidegate_connect::sink::user::{Role, UserSink};
use tokio::sync::mpsc;

use crate::udf_sdk::{Hosted, files};
use crate::udf_server::{Place, messages};

/// Given the number of the batch (from 1) and its requests, the responses.
type Script = Arc<dyn Fn(u32, Vec<sink::SinkRequest>) -> Vec<sink::Response> + Send + Sync>;

struct Scripted {
    script: Script,
    batches: Arc<AtomicU32>,
}

#[tonic::async_trait]
impl sink::Sinker for Scripted {
    async fn sink(&self, mut input: mpsc::Receiver<sink::SinkRequest>) -> Vec<sink::Response> {
        let mut requests = Vec::new();
        while let Some(request) = input.recv().await {
            requests.push(request);
        }
        // A client that says goodbye causes an empty batch.
        if requests.is_empty() {
            return Vec::new();
        }
        (self.script)(self.batches.fetch_add(1, Ordering::SeqCst) + 1, requests)
    }
}

fn serve(
    directory: &Path,
    (socket, info): (&str, &str),
    script: impl Fn(u32, Vec<sink::SinkRequest>) -> Vec<sink::Response> + Send + Sync + 'static,
) -> Hosted {
    let (socket, info) = files(directory, socket, info);
    let (script, batches): (Script, _) = (Arc::new(script), Arc::new(AtomicU32::new(0)));
    Hosted::start(move |stop| {
        let scripted = Scripted { script: Arc::clone(&script), batches: Arc::clone(&batches) };
        sink::Server::new(scripted)
            .with_socket_file(&socket)
            .with_server_info_file(&info)
            .start_with_shutdown(stop)
    })
}

const PRIMARY: (&str, &str) = ("sink.sock", "sinker");

fn all_done(requests: Vec<sink::SinkRequest>) -> Vec<sink::Response> {
    requests.into_iter().map(|request| sink::Response::ok(request.id)).collect()
}

fn open(place: &Place) -> UserSink {
    UserSink::open(Role::Primary, place.settings.clone(), place.incidents.clone())
}

#[tokio::test]
async fn every_status_has_its_outcome_and_ids_are_the_documented_ones() {
    let place = Place::new();
    let ids = Arc::new(Mutex::new(Vec::new()));
    let seen = Arc::clone(&ids);
    let _server = serve(&place.path(), PRIMARY, move |_, requests| {
        let answer = |request: sink::SinkRequest| {
            seen.lock().unwrap().push(request.id.clone());
            let id = request.id;
            match request.value.as_slice() {
                b"0" => sink::Response::ok(id),
                b"1" => sink::Response::failure(id, "disk full".to_owned()),
                b"2" => sink::Response::fallback(id),
                b"3" => sink::Response::serve(id, b"answer".to_vec()),
                b"4" => sink::Response::on_success(id, None),
                b"5" => {
                    let message = sink::Message::new(b"other".to_vec()).with_keys(vec!["k".to_owned()]);
                    sink::Response::on_success(id, message.build())
                }
                _ => {
                    let (delay, max_deliveries, reason) = (Some(10), Some(2), Some("later".to_owned()));
                    sink::Response::nack(id, Some(NackOptions { delay, max_deliveries, reason }))
                }
            }
        };
        requests.into_iter().rev().map(answer).collect()
    });
    let mut sink = open(&place);
    let outcomes = sink.write(&messages(0..7), Time::UNKNOWN).await.unwrap();
    assert_eq!(outcomes[0], Outcome::Done);
    assert_eq!(outcomes[1], Outcome::Failed("disk full".to_owned()));
    assert_eq!(outcomes[2], Outcome::Fallback);
    assert_eq!(outcomes[3], Outcome::Serve(Some("answer".into())));
    assert_eq!(outcomes[4], Outcome::OnSuccess(None));
    let replacement = Replacement { value: "other".into(), keys: vec!["k".into()], user: BTreeMap::new() };
    assert_eq!(outcomes[5], Outcome::OnSuccess(Some(Box::new(replacement))));
    let Outcome::Nack(nack) = &outcomes[6] else { panic!("message 6 is sent back") };
    assert_eq!((nack.reason.as_str(), nack.deliveries_max, nack.delay.as_millis()), ("later", Some(2), 10));
    let wanted: Vec<String> = (0..7).rev().map(|number| format!("in-{number}-0-0")).collect();
    assert_eq!(*ids.lock().unwrap(), wanted);
    assert!(sink.ready().await);
    sink.close().await.unwrap();
    assert_eq!(place.incidents.total(), 0);
}

#[tokio::test]
async fn user_code_sees_how_often_a_message_was_tried_before() {
    let place = Place::new();
    let counts = Arc::new(Mutex::new(Vec::new()));
    let seen = Arc::clone(&counts);
    let _server = serve(&place.path(), PRIMARY, move |_, requests| {
        let count = |request: &sink::SinkRequest| request.system_metadata.value("sink", "retry_count");
        seen.lock()
            .unwrap()
            .extend(requests.iter().map(|request| String::from_utf8(count(request)).unwrap()));
        all_done(requests)
    });
    let mut sink = open(&place);
    let mut batch = messages(0..2).to_vec();
    batch[1].attributes = batch[1].attributes.with_system("sink", "retry_count", "3".into());
    assert_eq!(sink.write(&batch, Time::UNKNOWN).await.unwrap(), vec![Outcome::Done; 2]);
    sink.close().await.unwrap();
    assert_eq!(*counts.lock().unwrap(), ["0", "3"]);
}

#[tokio::test]
async fn fallback_and_on_success_sinks_have_sockets_of_their_own() {
    let place = Place::new();
    for (role, files) in
        [(Role::Fallback, ("fb-sink.sock", "fb-sinker")), (Role::OnSuccess, ("ons-sink.sock", "ons-sinker"))]
    {
        let _server = serve(&place.path(), files, |_, requests| all_done(requests));
        let mut sink = UserSink::open(role, place.settings.clone(), place.incidents.clone());
        let outcomes = sink.write(&messages(0..1500), Time::UNKNOWN).await.unwrap();
        assert_eq!(outcomes, vec![Outcome::Done; 1500]);
        sink.close().await.unwrap();
    }
    assert_eq!(place.incidents.total(), 0);
}

/// What user code wrote when it broke the rules in the first batch: values, and the incident.
async fn breach(
    wrong: impl Fn(Vec<sink::SinkRequest>) -> Vec<sink::Response> + Send + Sync + 'static,
) -> (Vec<String>, String) {
    let place = Place::new();
    let written = Arc::new(Mutex::new(Vec::new()));
    let inside = Arc::clone(&written);
    let _server = serve(&place.path(), PRIMARY, move |batch, requests| {
        let values = requests.iter().map(|request| String::from_utf8(request.value.clone()).unwrap());
        inside.lock().unwrap().extend(values);
        if batch == 1 { wrong(requests) } else { all_done(requests) }
    });
    let mut sink = open(&place);
    assert_eq!(sink.write(&messages(0..4), Time::UNKNOWN).await.unwrap(), vec![Outcome::Done; 4]);
    let incident = place.incident("protocol").await;
    let written = written.lock().unwrap().clone();
    (written, format!("{} {}", incident.message, incident.messages.join(" ")))
}

#[tokio::test]
async fn a_missing_result_is_told_and_only_that_message_is_written_again() {
    let (written, told) = breach(|requests| all_done(requests).into_iter().take(3).collect()).await;
    assert!(told.contains("without an answer") && told.contains("in-3-0-0"), "{told}");
    assert_eq!(written, ["0", "1", "2", "3", "3"]);
}

#[tokio::test]
async fn two_results_for_one_message_and_results_for_nothing_are_told() {
    let (_, told) = breach(|requests| {
        let mut responses = all_done(requests);
        let again = sink::Response::ok(responses[1].id.clone());
        responses.insert(2, again);
        responses
    })
    .await;
    assert!(told.contains("twice") && told.contains("in-1-0-0"), "{told}");
    let (_, told) = breach(|requests| {
        let mut responses = all_done(requests);
        responses[0].id = "somebody".to_owned();
        responses
    })
    .await;
    assert!(told.contains("somebody"), "{told}");
}

#[tokio::test]
async fn a_message_that_crashes_the_sink_is_named_and_the_others_are_written() {
    let mut place = Place::new();
    place.settings.poison_attempts = std::num::NonZeroU32::new(1);
    let _server = serve(&place.path(), PRIMARY, |_, requests| {
        assert!(!requests.iter().any(|request| request.value == b"2"), "two is not written here");
        all_done(requests)
    });
    let mut sink = open(&place);
    let outcomes = sink.write(&messages(0..4), Time::UNKNOWN).await.unwrap();
    let Outcome::Nack(nack) = &outcomes[2] else { panic!("{outcomes:?}") };
    assert_eq!(nack.deliveries_max, Some(1));
    assert_eq!([&outcomes[0], &outcomes[1], &outcomes[3]], [&Outcome::Done; 3]);
    let named = place.incidents("crashed").pop().unwrap();
    assert_eq!(named.messages, ["in-2-0-0"]);
    assert!(named.message.contains("two is not written here"), "{}", named.message);
    assert_eq!(named.container, "udsink");
}

#[tokio::test]
async fn the_same_message_may_be_in_a_batch_twice() {
    let place = Place::new();
    let _server = serve(&place.path(), PRIMARY, |_, requests| all_done(requests));
    let mut sink = open(&place);
    let twice: Vec<Message> = vec![messages(0..1)[0].clone(), messages(0..1)[0].clone()];
    assert_eq!(sink.write(&twice, Time::UNKNOWN).await.unwrap(), vec![Outcome::Done; 2]);
    assert_eq!(place.incidents.total(), 0);
}
