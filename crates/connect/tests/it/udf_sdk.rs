//! The doors against real SDK servers: the crate `numaflow`, each server on a runtime of its own.

use std::collections::{BTreeMap, HashMap};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, Once};

use model::door::map::Map;
use model::verdict::{Reply, Verdict, judge};
use model::{Attributes, Groups, Message, Parts, Time};
use numaflow::shared::{NackOptions, ServerExtras};
use numaflow::{batchmap, map, mapstream, sourcetransform};
use tidegate_connect::udf::map::UserMap;
use tidegate_connect::udf::transform::UserTransformer;
use tokio::sync::{mpsc, oneshot};

use crate::udf_server::{Place, messages, until};

type Ended = Result<(), Box<dyn std::error::Error + Send + Sync>>;

/// A server that is started again whenever it ends, as a platform does with a container.
pub(crate) struct Hosted {
    runtime: Option<tokio::runtime::Runtime>,
}

impl Hosted {
    pub(crate) fn start<F>(make: impl Fn(oneshot::Receiver<()>) -> F + Send + 'static) -> Self
    where
        F: Future<Output = Ended> + Send,
    {
        let runtime =
            tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
        PANICS.call_once(|| keep_panics_visible(&runtime));
        runtime.spawn(async move {
            loop {
                let (_running, stop) = oneshot::channel();
                // How it ends is seen by the client.
                drop(make(stop).await);
            }
        });
        Self { runtime: Some(runtime) }
    }
}

static PANICS: Once = Once::new();

/// The first SDK server of a process takes over its panic hook and prints nothing; this lets one start and stop, and
/// gives the hook back.
fn keep_panics_visible(runtime: &tokio::runtime::Runtime) {
    let hook = std::panic::take_hook();
    let directory = tempfile::tempdir().unwrap();
    let (socket, info) = files(directory.path(), "map.sock", "mapper");
    let (stop, stopped) = oneshot::channel();
    stop.send(()).unwrap();
    let server = map::Server::new(Cat).with_socket_file(socket).with_server_info_file(info);
    let (over, end) = std::sync::mpsc::sync_channel(1);
    runtime.spawn(async move { over.send(server.start_with_shutdown(stopped).await.is_ok()) });
    assert!(end.recv().unwrap());
    std::panic::set_hook(hook);
}

impl Drop for Hosted {
    fn drop(&mut self) {
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}

pub(crate) fn files(directory: &Path, socket: &str, info: &str) -> (PathBuf, PathBuf) {
    (directory.join(socket), directory.join(format!("{info}-server-info")))
}

fn values(reply: &Reply) -> Vec<String> {
    reply.outputs.iter().map(|output| String::from_utf8(output.value.to_vec()).unwrap()).collect()
}

struct Cat;

#[tonic::async_trait]
impl map::Mapper for Cat {
    async fn map(&self, input: map::MapRequest) -> Vec<map::Message> {
        let text = String::from_utf8(input.value.clone()).unwrap();
        assert_eq!(input.eventtime.timestamp_millis().to_string(), text);
        assert_eq!(input.watermark.timestamp_millis(), -1);
        match text.as_str() {
            "0" => vec![map::Message::message_to_drop()],
            "1" => vec![map::Message::message_to_nack(Some(NackOptions {
                delay: Some(250),
                max_deliveries: Some(4),
                reason: Some("not yet".to_owned()),
            }))],
            "2" => Vec::new(),
            _ => {
                let tags = input.headers.into_values().collect();
                let first = map::Message::new(input.value)
                    .with_keys(input.keys)
                    .with_tags(tags)
                    .with_user_metadata(input.user_metadata);
                vec![first, map::Message::new(b"more".to_vec())]
            }
        }
    }
}

fn cat(directory: &Path) -> Hosted {
    let (socket, info) = files(directory, "map.sock", "mapper");
    Hosted::start(move |stop| {
        map::Server::new(Cat).with_socket_file(&socket).with_server_info_file(&info).start_with_shutdown(stop)
    })
}

#[tokio::test]
async fn a_unary_map_keeps_everything_a_message_carries() {
    let place = Place::new();
    let _server = cat(&place.path());
    let map = UserMap::open(place.settings.clone(), place.incidents.clone());
    let user: Groups = BTreeMap::from([("g".to_owned(), BTreeMap::from([("k".to_owned(), "v".into())]))]);
    let mut sent: Vec<Message> = messages(0..1000).to_vec();
    sent[7].attributes = Attributes::new(Parts {
        headers: BTreeMap::from([("h".to_owned(), "tagged".to_owned())]),
        system: BTreeMap::from([("s".to_owned(), BTreeMap::new())]),
        user: user.clone(),
    });
    let replies = map.map(Arc::new(sent.clone()), Time::MIN).await.unwrap();
    assert_eq!(judge(replies[0].clone()), Verdict::Forward { outputs: Vec::new(), dropped: 1 });
    let Verdict::SendBack(nack) = judge(replies[1].clone()) else { panic!("message 1 is sent back") };
    assert_eq!(
        (nack.reason.as_str(), nack.deliveries_max, nack.delay.as_millis()),
        ("not yet", Some(4), 250)
    );
    assert!(replies[2].outputs.is_empty());
    for (number, reply) in replies.iter().enumerate().skip(3) {
        assert_eq!(values(reply), [number.to_string(), "more".to_owned()]);
        assert_eq!(reply.outputs[0].keys, sent[number].keys);
        assert!(reply.outputs[1].keys.is_empty());
    }
    assert_eq!(replies[7].outputs[0].tags, ["tagged"]);
    assert_eq!(replies[7].outputs[0].attributes.parts().user, user);
    assert_eq!(replies[7].outputs[0].attributes.parts().headers["h"], "tagged");
    assert_eq!(replies[7].outputs[1].attributes.parts().user, Groups::new());
    assert!(map.ready().await);
    map.close().await;
    assert_eq!(place.incidents.total(), 0);
}

struct Batches;

#[tonic::async_trait]
impl batchmap::BatchMapper for Batches {
    async fn batchmap(&self, mut input: mpsc::Receiver<batchmap::Datum>) -> Vec<batchmap::BatchResponse> {
        let mut responses = Vec::new();
        while let Some(datum) = input.recv().await {
            let mut response = batchmap::BatchResponse::from_id(datum.id);
            response.append(batchmap::Message::new(datum.value).with_keys(datum.keys));
            responses.insert(0, response);
        }
        responses
    }
}

#[tokio::test]
async fn a_batch_map_answers_every_message() {
    let place = Place::new();
    let (socket, info) = files(&place.path(), "batchmap.sock", "mapper");
    let _server = Hosted::start(move |stop| {
        batchmap::Server::new(Batches)
            .with_socket_file(&socket)
            .with_server_info_file(&info)
            .start_with_shutdown(stop)
    });
    let map = UserMap::open(place.settings.clone(), place.incidents.clone());
    for round in 0..3 {
        let sent = messages(round * 1300..round * 1300 + 1300);
        let replies = map.map(Arc::clone(&sent), Time::UNKNOWN).await.unwrap();
        assert!(sent.iter().zip(&replies).all(|(sent, reply)| {
            reply.outputs.len() == 1
                && reply.outputs[0].value == sent.value
                && reply.outputs[0].keys == sent.keys
        }));
    }
    map.close().await;
    assert_eq!(place.incidents.total(), 0);
}

struct Streams;

#[tonic::async_trait]
impl mapstream::MapStreamer for Streams {
    async fn map_stream(
        &self,
        input: mapstream::MapStreamRequest,
        results: mpsc::Sender<mapstream::Message>,
    ) {
        let count: u64 = String::from_utf8(input.value).unwrap().parse().unwrap();
        for number in 0..count % 50 {
            results.send(mapstream::Message::new(number.to_string().into_bytes())).await.unwrap();
        }
    }
}

#[tokio::test]
async fn a_stream_map_gives_any_number_of_results() {
    let place = Place::new();
    let (socket, info) = files(&place.path(), "mapstream.sock", "mapper");
    let _server = Hosted::start(move |stop| {
        mapstream::Server::new(Streams)
            .with_socket_file(&socket)
            .with_server_info_file(&info)
            .start_with_shutdown(stop)
    });
    let map = UserMap::open(place.settings.clone(), place.incidents.clone());
    let replies = map.map(messages(0..600), Time::UNKNOWN).await.unwrap();
    for (number, reply) in (0_u64..).zip(&replies) {
        let wanted: Vec<String> = (0..number % 50).map(|index| index.to_string()).collect();
        assert_eq!(values(reply), wanted);
        assert!((0..).zip(&reply.outputs).all(|(index, output)| output.id.index == index));
    }
    assert_eq!(place.incidents.total(), 0);
}

/// Moves event times by a second; forgets its results for 5 the first time.
struct Clock {
    forgets: Arc<AtomicU32>,
    seen: Arc<Mutex<HashMap<String, u32>>>,
}

#[tonic::async_trait]
impl sourcetransform::SourceTransformer for Clock {
    async fn transform(
        &self,
        input: sourcetransform::SourceTransformRequest,
    ) -> Vec<sourcetransform::Message> {
        let text = String::from_utf8(input.value.clone()).unwrap();
        *self.seen.lock().unwrap().entry(text.clone()).or_default() += 1;
        if text == "5"
            && self
                .forgets
                .fetch_update(Ordering::SeqCst, Ordering::SeqCst, |left| left.checked_sub(1))
                .is_ok()
        {
            return Vec::new();
        }
        let later = input.eventtime + std::time::Duration::from_secs(1);
        if text == "6" {
            return vec![sourcetransform::Message::message_to_drop(later)];
        }
        vec![sourcetransform::Message::new(input.value, later).with_keys(input.keys)]
    }
}

#[tokio::test]
async fn a_transformer_sets_event_times_and_an_empty_answer_is_a_breach() {
    let place = Place::new();
    let (socket, info) = files(&place.path(), "sourcetransform.sock", "sourcetransformer");
    let (forgets, seen) = (Arc::new(AtomicU32::new(1)), Arc::new(Mutex::new(HashMap::new())));
    let seen_inside = Arc::clone(&seen);
    let _server = Hosted::start(move |stop| {
        let clock = Clock { forgets: Arc::clone(&forgets), seen: Arc::clone(&seen_inside) };
        sourcetransform::Server::new(clock)
            .with_socket_file(&socket)
            .with_server_info_file(&info)
            .start_with_shutdown(stop)
    });
    let transformer = UserTransformer::open(place.settings.clone(), place.incidents.clone());
    // The same offset may come twice at the same time.
    let mut sent = messages(0..300).to_vec();
    sent.push(sent[299].clone());
    let replies = transformer.map(Arc::new(sent.clone()), Time::UNKNOWN).await.unwrap();
    for (message, reply) in sent.iter().zip(replies) {
        if message.value == "6" {
            assert_eq!(judge(reply), Verdict::Forward { outputs: Vec::new(), dropped: 1 });
            continue;
        }
        let output = &reply.outputs[0];
        assert_eq!((&output.value, &output.keys), (&message.value, &message.keys));
        assert_eq!(output.event_time.millis(), message.event_time.millis() + 1000);
        assert_eq!(output.id.to_string(), format!("in-{}-0", message.offset));
    }
    let incident = place.incident("protocol").await;
    assert_eq!(
        (incident.container.as_str(), incident.messages),
        ("transformer", vec!["in-5-0-0".to_owned()])
    );
    assert_eq!(seen.lock().unwrap()["5"], 2);
    until("the transformer to be ready", || true).await;
    assert!(transformer.ready().await);
}
