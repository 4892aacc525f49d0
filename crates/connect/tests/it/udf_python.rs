//! The doors against pynumaflow, in processes of its own. Needs a Python that has it, named by `TIDEGATE_TEST_PYTHON`;
//! a test that has none says that it was skipped.

use std::collections::BTreeMap;
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::time::Duration;

use model::Time;
use model::door::map::Map;
use model::door::sink::{Outcome, Sink};
use model::door::source::Answer;
use model::verdict::Nack;
use tidegate_connect::sink::user::{Role, UserSink};
use tidegate_connect::source::user::{self, Partitions};
use tidegate_connect::udf::map::UserMap;
use tidegate_connect::udf::transform::UserTransformer;

use crate::udf_process::Process;
use crate::udf_server::{Place, messages};

/// A pynumaflow server that is started again when it ends; none without a Python, which is said and noted for `test`.
#[expect(clippy::print_stdout, reason = "a skipped test says so")]
fn serve(test: &str, kind: &str, directory: &Path) -> Option<Process> {
    let Ok(python) = std::env::var("TIDEGATE_TEST_PYTHON") else {
        println!("SKIPPED {test}: TIDEGATE_TEST_PYTHON names no Python with pynumaflow");
        if let Ok(file) = std::env::var("TIDEGATE_SKIPPED") {
            use std::io::Write as _;
            let mut skipped = std::fs::OpenOptions::new().append(true).create(true).open(file).unwrap();
            writeln!(skipped, "udf_python::{test}").unwrap();
        }
        return None;
    };
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/it/udf_python.py");
    let (kind, directory) = (kind.to_owned(), directory.to_owned());
    Some(Process::keep(move || {
        let mut command = Command::new(&python);
        command.arg(&script).arg(&kind).arg(&directory).stdout(Stdio::null()).stderr(Stdio::null());
        command.spawn().unwrap()
    }))
}

/// Messages, one of which makes the server fail once, come back from a map of this kind.
async fn assert_maps(test: &str, kind: &str) {
    let place = Place::new();
    let Some(_server) = serve(test, kind, &place.path()) else { return };
    let (settings, incidents) = (place.settings.clone(), place.incidents.clone());
    let map: Box<dyn Map> = match kind {
        "transform" => Box::new(UserTransformer::open(settings, incidents)),
        _ => Box::new(UserMap::open(settings, incidents)),
    };
    let sent = messages(0..300);
    let replies = map.map(Arc::clone(&sent), Time::UNKNOWN).await.unwrap();
    assert_eq!(replies.len(), sent.len());
    for (message, reply) in sent.iter().zip(&replies) {
        let output = &reply.outputs[0];
        assert_eq!((&output.value, &output.keys), (&message.value, &message.keys));
        assert_eq!(output.event_time, message.event_time);
        assert_eq!(output.tags, ["seen"]);
    }
    let crash = place.incident("crashed").await;
    assert!(crash.message.contains("thirteen is too much"), "{}", crash.message);
    assert!(map.ready().await);
}

#[tokio::test]
async fn async_maps_answer() {
    assert_maps("async_maps_answer", "map").await;
}

#[tokio::test]
async fn sync_maps_answer() {
    assert_maps("sync_maps_answer", "map-sync").await;
}

#[tokio::test]
async fn batch_maps_answer() {
    assert_maps("batch_maps_answer", "batch-map").await;
}

#[tokio::test]
async fn stream_maps_answer() {
    assert_maps("stream_maps_answer", "stream-map").await;
}

#[tokio::test]
async fn transformers_answer() {
    assert_maps("transformers_answer", "transform").await;
}

async fn assert_sinks(test: &str, kind: &str) {
    let place = Place::new();
    let Some(_server) = serve(test, kind, &place.path()) else { return };
    let mut sink = UserSink::open(Role::Primary, place.settings.clone(), place.incidents.clone());
    let outcomes = sink.write(&messages(0..300), Time::UNKNOWN).await.unwrap();
    for (number, outcome) in outcomes.iter().enumerate() {
        let wanted = if number % 10 == 7 { Outcome::Failed("sevens fail".to_owned()) } else { Outcome::Done };
        assert_eq!(*outcome, wanted, "message {number}");
    }
    assert!(place.incident("crashed").await.message.contains("thirteen is too much"));
    sink.close().await.unwrap();
}

#[tokio::test]
async fn async_sinks_write() {
    assert_sinks("async_sinks_write", "sink").await;
}

#[tokio::test]
async fn sync_sinks_write() {
    assert_sinks("sync_sinks_write", "sink-sync").await;
}

#[tokio::test]
async fn sources_are_read_to_their_end() {
    let place = Place::new();
    let Some(_server) = serve("sources_are_read_to_their_end", "source", &place.path()) else { return };
    let (mut opened, view) = user::open(place.settings.clone(), place.incidents.clone());
    let mut seen: BTreeMap<String, u32> = BTreeMap::new();
    let mut rounds = 0;
    while seen.len() < 1000 || opened.answers.pending().await.unwrap() != Some(0) {
        rounds += 1;
        assert!(rounds < 1000, "only {} messages came", seen.len());
        let batch = opened.source.read(90, Duration::from_millis(500)).await.unwrap().unwrap();
        let mut answers = Vec::new();
        for (message, receipt) in batch.messages.iter().zip(&batch.receipts) {
            let times = seen.entry(String::from_utf8(message.value.to_vec()).unwrap()).or_default();
            *times += 1;
            let back = message.value == "500" && *times == 1;
            answers.push((receipt.clone(), if back { Answer::Nack(Nack::default()) } else { Answer::Done }));
        }
        opened.answers.answer(&answers).await.unwrap();
    }
    assert_eq!(seen.iter().filter(|(_, times)| **times != 1).collect::<Vec<_>>(), [(&"500".to_owned(), &2)]);
    assert_eq!(view.partitions().await.unwrap(), Partitions { own: vec![1], total: None });
    drop(opened.source);
    opened.answers.close().await.unwrap();
    assert_eq!(place.incidents.total(), 0);
}
