//! What a spec opens, and what is said of one that opens nothing.

use std::error::Error as _;
use std::net::{IpAddr, Ipv4Addr};
use std::num::{NonZeroU32, NonZeroUsize};
use std::time::Duration;

use api::spec::{AbstractSink, Source};
use model::door::source::{Memory, Opened};
use tidegate_connect::incident::Incidents;
use tidegate_connect::open::{
    Context, Error, Limits, OpenedSource, Role, open_sink, open_source, source_identity,
};
use tidegate_connect::secret::Secrets;
use tidegate_connect::source::Inputs;

pub(crate) fn context() -> Context {
    let many = NonZeroUsize::new(500).unwrap();
    Context {
        pipeline: "pipe".into(),
        vertex: "v".into(),
        replica: 0,
        user_code_directory: "/nowhere".into(),
        secrets: Secrets::default(),
        incidents: Incidents::new("v".into(), 0),
        http_bind: IpAddr::V4(Ipv4Addr::LOCALHOST),
        inputs: Inputs::default(),
        limits: Limits {
            batch_messages: many,
            read_timeout: Duration::from_secs(1),
            concurrency: many,
            unresponsive_after: Duration::from_secs(2),
            poison_attempts: NonZeroU32::new(3),
        },
    }
}

fn source(json: serde_json::Value) -> Source {
    serde_json::from_value(json).unwrap()
}

async fn opened(json: serde_json::Value) -> OpenedSource {
    open_source(&source(json), &context()).await.unwrap()
}

async fn refused(json: serde_json::Value) -> Error {
    open_source(&source(json), &context()).await.err().unwrap()
}

async fn values(opened: &mut Opened, max: usize) -> Vec<String> {
    let batch = opened.source.read(max, Duration::ZERO).await.unwrap().unwrap();
    batch.messages.iter().map(|message| String::from_utf8(message.value.to_vec()).unwrap()).collect()
}

#[test]
fn what_the_vertex_expects_of_user_code_arrives() {
    let settings = context().user_code();
    assert_eq!(settings.directory, std::path::Path::new("/nowhere"));
    assert_eq!((settings.concurrency.get(), settings.batch_max.get()), (500, 500));
    assert_eq!(settings.unresponsive_after, Duration::from_secs(2));
    assert_eq!(settings.poison_attempts.map(NonZeroU32::get), Some(3));
}

#[tokio::test]
async fn a_generator_without_settings_makes_five_messages() {
    let mut generator = opened(serde_json::json!({"generator": {}})).await.opened;
    assert_eq!(values(&mut generator, 500).await.len(), 5);
}

#[tokio::test]
async fn settings_of_a_generator_arrive() {
    let spec = serde_json::json!({"generator": {
        "rpu": 4, "duration": "2s", "msgSize": 10, "keyCount": 2, "value": 7, "jitter": "5s",
    }});
    let mut generator = opened(spec).await.opened;
    let batch = generator.source.read(500, Duration::ZERO).await.unwrap().unwrap();
    assert_eq!(batch.messages.len(), 4);
    assert_eq!(batch.messages[3].keys, ["key-1"]);
    let value: serde_json::Value = serde_json::from_slice(&batch.messages[0].value).unwrap();
    assert_eq!((&value["value"], value["padding"].as_array().unwrap().len()), (&7.into(), 2));

    let blob =
        serde_json::json!({"generator": {"valueBlob": "aGVsbG8=\n", "msgSize": -1, "keyCount": 100_000}});
    let mut generator = opened(blob).await.opened;
    assert_eq!(values(&mut generator, 1).await, ["hello"]);
}

#[test]
fn sources_whose_positions_differ_have_different_words() {
    let word = |json| source_identity(&source(json));
    let here = std::env::current_dir().unwrap();
    assert_eq!(word(serde_json::json!({"generator": {"rpu": 7}})), "generator");
    assert_eq!(word(serde_json::json!({"file": {"path": "/a"}, "generator": {}})), "generator");
    assert_eq!(word(serde_json::json!({"http": {}})), "http");
    assert_eq!(word(serde_json::json!({"file": {"path": "/a/b"}})), "file /a/b");
    assert_eq!(
        word(serde_json::json!({"file": {"path": "b", "follow": true}})),
        format!("file {}/b", here.display())
    );
}

#[tokio::test]
async fn what_a_connector_refuses_is_named_with_its_vertex() {
    let error = refused(serde_json::json!({"generator": {"duration": "1ms"}})).await;
    assert_eq!(error.to_string(), "open the generator source of vertex v");
    assert!(error.source().unwrap().to_string().contains("the shortest `duration` is 10ms"));
}

#[tokio::test]
async fn of_several_sources_the_first_counts() {
    let mut both = opened(serde_json::json!({"generator": {}, "http": {}, "kafka": {"topic": "t"}})).await;
    assert_eq!(values(&mut both.opened, 1).await.len(), 1);
    assert_eq!(both.listening, None);
    let error = refused(serde_json::json!({"kafka": {"topic": "t"}, "http": {}, "stdin": {}})).await;
    assert_eq!(
        error.to_string(),
        "open the source of vertex v: this build has no source of kind kafka (it has generator, http, udsource, \
         stdin and file)"
    );
}

#[tokio::test]
async fn what_is_not_built_in_is_named() {
    for kind in ["pulsar", "sqs", "serving", "jetstream", "nats", "kafka"] {
        let error = refused(serde_json::json!({ kind: {} })).await.to_string();
        assert!(error.contains(&format!("this build has no source of kind {kind} (")), "{error}");
    }
    for kind in ["serve", "sqs", "kafka", "pulsar"] {
        let sink: AbstractSink = serde_json::from_value(serde_json::json!({ kind: {} })).unwrap();
        let error = open_sink(&sink, Role::Primary, &context()).await.err().unwrap().to_string();
        assert!(error.contains(&format!("this build has no sink of kind {kind} (")), "{error}");
    }
    assert_eq!(
        refused(serde_json::json!({})).await.to_string(),
        "open the source of vertex v: no kind of source is set (there are generator, http, udsource, stdin and file)"
    );
    let error = open_sink(&AbstractSink::default(), Role::Primary, &context()).await.err().unwrap();
    assert_eq!(
        error.to_string(),
        "open the sink of vertex v: no kind of sink is set (there are udsink, log, blackhole, stdout and file)"
    );
}

#[tokio::test]
async fn an_http_source_says_where_it_listens_and_takes_its_token_from_a_secret() {
    let spec = serde_json::json!({"http": {
        "ports": {"https": 0, "http": 0}, "auth": {"token": {"name": "api", "key": "token"}},
    }});
    let missing = open_source(&source(spec.clone()), &context()).await.err().unwrap();
    assert_eq!(missing.to_string(), "open the http source of vertex v");
    assert_eq!(missing.source().unwrap().to_string(), "find key token of secret api");

    let mut context = context();
    context.secrets.insert("api", "token", "s3cret\n".to_owned());
    let opened = open_source(&source(spec), &context).await.unwrap();
    assert_eq!(opened.opened.memory, Memory::Ids);
    let listening = opened.listening.unwrap();
    assert_ne!(listening.https.port(), 0);
    let mut client = crate::http::client::Client::plain(listening.http.unwrap()).await.unwrap();
    let health = [None, Some("Bearer s3cret")].map(|token| {
        let shown: Vec<_> = token.map(|token| ("authorization", token)).into_iter().collect();
        shown
    });
    let mut statuses = Vec::new();
    for headers in &health {
        statuses.push(client.request(hyper::Method::GET, "/health", headers, "").await.unwrap().status);
    }
    assert_eq!(statuses, [401, 200]);
}

#[tokio::test]
async fn files_and_user_code_open() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("in");
    std::fs::write(&path, "one\n").unwrap();
    let mut file = opened(serde_json::json!({"file": {"path": path}})).await.opened;
    let batch = file.source.read(5, Duration::from_secs(30)).await.unwrap().unwrap();
    assert_eq!(batch.messages[0].value, "one");
    let error = refused(serde_json::json!({"file": {"path": directory.path().join("missing")}})).await;
    assert_eq!(error.to_string(), "open the file source of vertex v");
    assert!(error.source().unwrap().to_string().ends_with("/missing for reading"));

    let user = opened(serde_json::json!({"udsource": {"container": {"image": "x"}}})).await;
    assert_eq!(user.opened.memory, Memory::Opaque);
    assert!(user.user.is_some());

    let out = directory.path().join("out");
    for (json, role) in [
        (serde_json::json!({"udsink": {"container": {"image": "x"}}}), Role::OnSuccess),
        (serde_json::json!({"log": {}, "blackhole": {}}), Role::Primary),
        (serde_json::json!({"blackhole": {}}), Role::Fallback),
        (serde_json::json!({"stdout": {}}), Role::Primary),
        (serde_json::json!({"file": {"path": out}}), Role::Primary),
        (serde_json::json!({"file": {"path": out, "sync": false}}), Role::Primary),
    ] {
        let sink: AbstractSink = serde_json::from_value(json).unwrap();
        open_sink(&sink, role, &context()).await.unwrap();
    }
    assert!(out.exists());
}
