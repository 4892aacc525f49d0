//! The HTTP source as its callers see it: what they are told, and what becomes a message.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::time::Duration;

use bytes::Bytes;
use hyper::Method;
use model::door::source::{Answer, Answers, Memory, Opened, Receipt, Source};
use model::verdict::Nack;
use model::{Message, Time};
use tidegate_connect::source::http::{
    self, BODY_BYTES_MAX, CLOSE_WAIT, ID_BYTES_MAX, Listeners, Listening, QUEUE_MESSAGES, Settings, Token,
};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::task::JoinSet;
use tokio::time::timeout;

pub(crate) mod client;

use client::{Client, Failure, Reply};

const PATH: &str = "/vertices/in";
/// Longer than anything here takes; only a test that fails waits so long.
const PATIENCE: Duration = Duration::from_secs(30);

pub(crate) fn settings() -> Settings {
    Settings {
        vertex: "in".into(),
        replica: 2,
        bind: IpAddr::V4(Ipv4Addr::LOCALHOST),
        https_port: 0,
        http_port: Some(0),
        token: None,
    }
}

async fn open(settings: Settings) -> (Opened, Listening) {
    http::open(settings, &Listeners::default()).await.unwrap()
}

async fn open_plain() -> (Opened, SocketAddr) {
    let (opened, listening) = open(settings()).await;
    (opened, listening.http.unwrap())
}

/// Reads until so many messages are there.
async fn take(source: &mut Box<dyn Source>, count: usize) -> Vec<(Message, Receipt)> {
    let mut taken = Vec::new();
    while taken.len() < count {
        let batch = source.read(count - taken.len(), PATIENCE).await.unwrap().expect("the source is open");
        assert!(!batch.messages.is_empty(), "{} of {count} messages came", taken.len());
        taken.extend(batch.messages.into_iter().zip(batch.receipts));
    }
    taken
}

async fn answer_all(answers: &mut Box<dyn Answers>, receipts: Vec<Receipt>, answer: Answer) {
    let all: Vec<_> = receipts.into_iter().map(|receipt| (receipt, answer.clone())).collect();
    answers.answer(&all).await.unwrap();
}

/// Reads and answers until it is dropped, and gives the messages to `seen`.
async fn work(mut opened: Opened, seen: tokio::sync::mpsc::Sender<Message>) {
    loop {
        let Some(batch) = opened.source.read(500, PATIENCE).await.unwrap() else { return };
        answer_all(&mut opened.answers, batch.receipts, Answer::Done).await;
        for message in batch.messages {
            if seen.send(message).await.is_err() {
                return;
            }
        }
    }
}

struct Posting(JoinSet<Result<Reply, Failure>>);

impl Posting {
    fn start(address: SocketAddr, headers: &[(&'static str, &'static str)], body: &'static str) -> Self {
        let headers = headers.to_vec();
        let mut tasks = JoinSet::new();
        tasks.spawn(async move { Client::plain(address).await?.post(PATH, &headers, body).await });
        Self(tasks)
    }

    async fn reply(&mut self) -> (u16, String) {
        let reply =
            timeout(PATIENCE, self.0.join_next()).await.expect("a reply comes").unwrap().unwrap().unwrap();
        (reply.status, reply.body)
    }
}

fn told(status: u16, body: &str) -> (u16, String) {
    (status, body.to_owned())
}

#[tokio::test]
async fn a_request_is_told_when_its_message_is_done_and_not_before() {
    let (mut opened, address) = open_plain().await;
    assert_eq!(opened.memory, Memory::Ids);
    let mut posting = Posting::start(address, &[("X-Numaflow-Id", "one")], "hello");
    let (message, receipt) = take(&mut opened.source, 1).await.remove(0);
    assert_eq!(message.value, "hello");
    assert_eq!(receipt, Receipt { offset: Bytes::from_static(b"one"), partition: 2 });
    assert!(posting.0.try_join_next().is_none(), "nobody has answered");
    answer_all(&mut opened.answers, vec![receipt], Answer::Done).await;
    assert_eq!(posting.reply().await, told(200, r#"{"message":"Data received successfully","id":"one"}"#));
}

#[tokio::test]
async fn a_repetition_has_been_received_and_a_refusal_has_not() {
    let (mut opened, address) = open_plain().await;
    let received = told(200, r#"{"message":"Data received successfully","id":"a \"b\""}"#);
    let failed = told(500, r#"{"error":"Request processing failed","id":"a \"b\""}"#);
    for (answer, expected) in [
        (Answer::Nack(Nack::default()), failed),
        (Answer::Repeated, received.clone()),
        (Answer::Done, received),
    ] {
        let mut posting = Posting::start(address, &[("x-numaflow-id", "a \"b\"")], "");
        let (message, receipt) = take(&mut opened.source, 1).await.remove(0);
        assert_eq!(message.value, "");
        answer_all(&mut opened.answers, vec![receipt], answer).await;
        assert_eq!(posting.reply().await, expected);
    }
}

#[tokio::test]
async fn an_id_in_flight_is_a_duplicate_until_it_is_answered() {
    let (mut opened, address) = open_plain().await;
    let id = &[("X-Numaflow-Id", "same")];
    let duplicate = told(409, r#"{"error":"Duplicate request ID","id":"same"}"#);
    let mut first = Posting::start(address, id, "1");
    let (_, receipt) = take(&mut opened.source, 1).await.remove(0);
    assert_eq!(Posting::start(address, id, "2").reply().await, duplicate);
    assert_eq!(Posting::start(address, id, "3").reply().await, duplicate);
    answer_all(&mut opened.answers, vec![receipt], Answer::Done).await;
    assert_eq!(first.reply().await.0, 200);
    let mut again = Posting::start(address, id, "4");
    assert_eq!(
        take(&mut opened.source, 1).await[0].0.value,
        "4",
        "whether it is known is for the buffer to say"
    );
    assert!(again.0.try_join_next().is_none());
}

#[tokio::test]
async fn a_message_carries_what_the_request_said() {
    let (mut opened, address) = open_plain().await;
    let headers = [
        ("X-Numaflow-Id", "id/1"),
        ("X-Numaflow-Keys", "k1, k2 ,,"),
        ("X-Numaflow-Event-Time", "1700000000123"),
        ("Authorization", "Bearer not-for-user-code"),
        ("X-Own", "yes"),
    ];
    let _posting = Posting::start(address, &headers, "v");
    let (message, _) = take(&mut opened.source, 1).await.remove(0);
    assert_eq!(message.id.to_string(), "in-id/1-0");
    assert_eq!(message.offset.to_string(), "id/1");
    assert_eq!(message.keys, ["k1", "k2"]);
    assert_eq!(message.event_time, Time::from_millis(1_700_000_000_123));
    let host = address.to_string();
    let expected = [
        ("X-Numaflow-Id", "id/1"),
        ("x-numaflow-id", "id/1"),
        ("x-numaflow-keys", "k1, k2 ,,"),
        ("x-own", "yes"),
        ("host", &host),
        ("content-length", "1"),
    ];
    let expected: BTreeMap<_, _> = expected.map(|(name, value)| (name.to_owned(), value.to_owned())).into();
    assert_eq!(message.attributes.parts().headers, expected);
}

#[tokio::test]
async fn a_message_without_an_id_gets_one_that_is_told() {
    let (mut opened, address) = open_plain().await;
    let before =
        Time::from_millis(i64::try_from(std::time::UNIX_EPOCH.elapsed().unwrap().as_millis()).unwrap());
    let mut postings: Vec<_> = (0..3).map(|_| Posting::start(address, &[], "v")).collect();
    let taken = take(&mut opened.source, 3).await;
    let ids: std::collections::BTreeSet<_> =
        taken.iter().map(|(message, _)| message.offset.to_string()).collect();
    assert_eq!(ids.len(), 3);
    for (message, receipt) in taken {
        let id = message.offset.to_string();
        assert_eq!((id.len(), id.as_bytes()[14]), (36, b'7'), "{id}");
        assert_eq!(message.attributes.parts().headers["X-Numaflow-Id"], id);
        assert!(message.event_time >= before);
        answer_all(&mut opened.answers, vec![receipt], Answer::Done).await;
    }
    for posting in &mut postings {
        let (status, body) = posting.reply().await;
        let body: serde_json::Value = serde_json::from_str(&body).unwrap();
        assert_eq!(status, 200);
        assert!(ids.contains(body["id"].as_str().unwrap()), "{body}");
    }
}

#[tokio::test]
async fn requests_that_are_no_messages_are_told_why() {
    let (_opened, address) = open_plain().await;
    let long = "x".repeat(ID_BYTES_MAX + 1);
    let json = Some("application/json");
    let table = [
        (Method::GET, "/health", ("x-a", "b"), 200, None, ""),
        (Method::HEAD, "/health", ("x-a", "b"), 200, None, ""),
        (Method::POST, "/health", ("x-a", "b"), 405, None, ""),
        (Method::GET, PATH, ("x-a", "b"), 405, None, ""),
        (Method::PUT, PATH, ("x-a", "b"), 405, None, ""),
        (Method::POST, "/", ("x-a", "b"), 404, None, ""),
        (Method::POST, "/vertices/other", ("x-a", "b"), 404, None, ""),
        (Method::POST, "/vertices/in/", ("x-a", "b"), 404, None, ""),
        (
            Method::POST,
            PATH,
            ("x-numaflow-event-time", "noon"),
            400,
            json,
            r#"{"error":"Invalid X-Numaflow-Event-Time header","details":"\"noon\" is not a time in milliseconds since 1970"}"#,
        ),
        (
            Method::POST,
            PATH,
            ("x-numaflow-id", ""),
            400,
            json,
            r#"{"error":"Invalid X-Numaflow-Id header","details":"an id has 1 to 1024 bytes, not 0"}"#,
        ),
        (
            Method::POST,
            PATH,
            ("x-numaflow-id", &long),
            400,
            json,
            r#"{"error":"Invalid X-Numaflow-Id header","details":"an id has 1 to 1024 bytes, not 1025"}"#,
        ),
        (
            Method::POST,
            PATH,
            ("x-numaflow-keys", "caf\u{e9}"),
            400,
            json,
            r#"{"error":"Invalid X-Numaflow-Keys header","details":"it has other than visible ASCII characters"}"#,
        ),
    ];
    let mut client = Client::plain(address).await.unwrap();
    for (method, path, header, status, content_type, body) in table {
        let case = format!("{method} {path} {header:?}");
        let reply = client.request(method, path, &[header], "").await.unwrap();
        assert_eq!((reply.status, reply.body.as_str()), (status, body), "{case}");
        let shown = reply.headers.get("content-type").map(|value| value.to_str().unwrap());
        assert_eq!(shown, content_type, "{case}");
    }
}

#[tokio::test]
async fn a_wrong_token_opens_nothing() {
    let (mut opened, listening) = open(Settings { token: Some(Token::new("s3cret")), ..settings() }).await;
    let mut client = Client::plain(listening.http.unwrap()).await.unwrap();
    for shown in [None, Some("Bearer wrong"), Some("Bearer s3cre"), Some("s3cret"), Some("bearer s3cret")] {
        let headers: Vec<_> = shown.iter().map(|shown| ("authorization", *shown)).collect();
        for (method, path) in [(Method::GET, "/health"), (Method::POST, PATH), (Method::GET, "/nothing")] {
            let reply = client.request(method, path, &headers, "").await.unwrap();
            assert_eq!((reply.status, reply.body.as_str()), (401, "Unauthorized"), "{shown:?} {path}");
            assert_eq!(reply.headers["content-type"], "text/plain; charset=utf-8");
        }
    }
    let right = &[("authorization", "Bearer s3cret")];
    assert_eq!(client.request(Method::GET, "/health", right, "").await.unwrap().status, 200);
    let mut posting = Posting::start(listening.http.unwrap(), right, "in");
    let (message, receipt) = take(&mut opened.source, 1).await.remove(0);
    assert!(!message.attributes.parts().headers.contains_key("authorization"));
    answer_all(&mut opened.answers, vec![receipt], Answer::Done).await;
    assert_eq!(posting.reply().await.0, 200);
    assert_eq!(format!("{:?}", Token::new("s3cret")), "Token(…)");
}

#[tokio::test]
async fn a_full_queue_is_told_and_takes_more_once_it_was_read() {
    let (mut opened, address) = open_plain().await;
    let full = told(429, r#"{"error":"Pipeline has stalled, buffer is full","details":"Channel Full: 429"}"#);
    let mut waiting: Vec<Posting> = Vec::new();
    let mut refused = 0;
    // Which of them come first is for the scheduler to say; that exactly so many find room is not.
    for _ in 0..QUEUE_MESSAGES + 20 {
        waiting.push(Posting::start(address, &[], "x"));
    }
    while refused < 20 {
        for posting in &mut waiting {
            if let Some(reply) = posting.0.try_join_next() {
                let reply = reply.unwrap().unwrap();
                assert_eq!((reply.status, reply.body), full);
                refused += 1;
            }
        }
        tokio::task::yield_now().await;
    }
    waiting.retain(|posting| !posting.0.is_empty());
    assert_eq!(waiting.len(), QUEUE_MESSAGES);
    assert_eq!(Posting::start(address, &[], "x").reply().await, full);

    let (_, receipt) = take(&mut opened.source, 1).await.remove(0);
    waiting.push(Posting::start(address, &[], "x"));
    let rest = take(&mut opened.source, QUEUE_MESSAGES).await;
    let receipts = rest.into_iter().map(|(_, receipt)| receipt).chain([receipt]).collect();
    answer_all(&mut opened.answers, receipts, Answer::Done).await;
    for posting in &mut waiting {
        assert_eq!(posting.reply().await.0, 200);
    }
}

#[tokio::test]
async fn bodies_have_a_limit() {
    let (mut opened, address) = open_plain().await;
    let too_large = "Failed to buffer the request body: length limit exceeded";
    let mut client = Client::plain(address).await.unwrap();
    let mut largest = JoinSet::new();
    largest.spawn(async move { client.post(PATH, &[], vec![b'x'; BODY_BYTES_MAX]).await.unwrap().status });
    let (message, receipt) = take(&mut opened.source, 1).await.remove(0);
    assert_eq!(message.value.len(), BODY_BYTES_MAX);
    answer_all(&mut opened.answers, vec![receipt], Answer::Done).await;
    assert_eq!(largest.join_next().await.unwrap().unwrap(), 200);

    let mut announced = TcpStream::connect(address).await.unwrap();
    let head = format!("POST {PATH} HTTP/1.1\r\nhost: x\r\ncontent-length: {}\r\n\r\n", BODY_BYTES_MAX + 1);
    announced.write_all(head.as_bytes()).await.unwrap();
    assert!(read_reply(&mut announced, too_large).await.starts_with("HTTP/1.1 413 Payload Too Large\r\n"));

    let mut chunked = TcpStream::connect(address).await.unwrap();
    let head = format!("POST {PATH} HTTP/1.1\r\nhost: x\r\ntransfer-encoding: chunked\r\n\r\n");
    chunked.write_all(head.as_bytes()).await.unwrap();
    for _ in 0..3 {
        chunked.write_all(b"100000\r\n").await.unwrap();
        // The server may have heard enough before everything is sent.
        if chunked.write_all(&vec![b'x'; 1 << 20]).await.is_err() || chunked.write_all(b"\r\n").await.is_err()
        {
            break;
        }
    }
    assert!(read_reply(&mut chunked, too_large).await.starts_with("HTTP/1.1 413 Payload Too Large\r\n"));
}

async fn read_reply(stream: &mut TcpStream, until: &str) -> String {
    let mut reply = Vec::new();
    let mut buffer = [0; 4096];
    loop {
        let len = timeout(PATIENCE, stream.read(&mut buffer)).await.expect("a reply comes").unwrap();
        reply.extend_from_slice(&buffer[..len]);
        let text = String::from_utf8_lossy(&reply);
        if text.contains(until) {
            return text.into_owned();
        }
        assert!(len > 0, "the connection ended after {text:?}");
    }
}

#[tokio::test]
async fn a_caller_that_hangs_up_leaves_its_message() {
    let (mut opened, address) = open_plain().await;
    let mut hasty = TcpStream::connect(address).await.unwrap();
    let request =
        format!("POST {PATH} HTTP/1.1\r\nhost: x\r\nx-numaflow-id: h\r\ncontent-length: 1\r\n\r\n1");
    hasty.write_all(request.as_bytes()).await.unwrap();
    let (_, receipt) = take(&mut opened.source, 1).await.remove(0);
    drop(hasty);
    answer_all(&mut opened.answers, vec![receipt], Answer::Done).await;
    let mut next = Posting::start(address, &[("x-numaflow-id", "h")], "2");
    let (_, receipt) = take(&mut opened.source, 1).await.remove(0);
    answer_all(&mut opened.answers, vec![receipt], Answer::Done).await;
    assert_eq!(next.reply().await.0, 200);
}

#[tokio::test]
async fn closing_interrupts_who_waits_and_ends_idle_connections() {
    let (mut opened, address) = open_plain().await;
    let mut idle = Client::plain(address).await.unwrap();
    assert_eq!(idle.request(Method::GET, "/health", &[], "").await.unwrap().status, 200);
    let mut in_hand = Posting::start(address, &[("x-numaflow-id", "1")], "");
    take(&mut opened.source, 1).await;
    let mut queued = Posting::start(address, &[("x-numaflow-id", "2")], "");
    let (message, _) = take(&mut opened.source, 1).await.remove(0);
    assert_eq!(message.offset.to_string(), "2");
    let closing = opened.answers.close();
    timeout(CLOSE_WAIT / 2, closing).await.expect("nobody has to be cut off").unwrap();
    for (posting, id) in [(&mut in_hand, 1), (&mut queued, 2)] {
        let body = format!(r#"{{"error":"Request processing was interrupted","id":"{id}"}}"#);
        assert_eq!(posting.reply().await, told(500, &body));
    }
    assert!(idle.request(Method::GET, "/health", &[], "").await.is_err());
    assert!(TcpStream::connect(address).await.is_err(), "nobody listens any more");
}

#[tokio::test]
async fn without_a_reader_requests_are_interrupted_at_once() {
    let (mut opened, address) = open_plain().await;
    // One of two with the same id is turned away, and by then the other is in the queue.
    let mut both = Posting::start(address, &[("x-numaflow-id", "1")], "");
    both.0
        .spawn(async move { Client::plain(address).await?.post(PATH, &[("x-numaflow-id", "1")], "").await });
    assert_eq!(both.reply().await, told(409, r#"{"error":"Duplicate request ID","id":"1"}"#));
    drop(opened.source);
    let interrupted =
        |id| told(500, &format!(r#"{{"error":"Request processing was interrupted","id":"{id}"}}"#));
    assert_eq!(both.reply().await, interrupted(1));
    assert_eq!(Posting::start(address, &[("x-numaflow-id", "3")], "").reply().await, interrupted(3));
    opened.answers.close().await.unwrap();
}

#[tokio::test]
async fn tls_speaks_both_versions_of_http_with_a_certificate_of_its_own() {
    let (opened, listening) = open(Settings { http_port: None, ..settings() }).await;
    assert_eq!(listening.http, None);
    let (seen, mut messages) = tokio::sync::mpsc::channel(10);
    let mut worker = JoinSet::new();
    worker.spawn(work(opened, seen));
    let mut certificates = Vec::new();
    for (offered, http2) in [(&["h2", "http/1.1"][..], true), (&["http/1.1"], false), (&[], false)] {
        let (mut client, certificate) = Client::tls(listening.https, offered).await;
        assert_eq!(client.is_http2(), http2);
        assert_eq!(client.request(Method::GET, "/health", &[], "").await.unwrap().status, 200);
        let reply = client.post(PATH, &[("X-Numaflow-Id", "t")], "secret").await.unwrap();
        assert_eq!(reply.body, r#"{"message":"Data received successfully","id":"t"}"#);
        assert_eq!(messages.recv().await.unwrap().value, "secret");
        certificates.push(certificate);
    }
    assert!(certificates.windows(2).all(|pair| pair[0] == pair[1]));

    let mut client = Client::plain(listening.https).await.unwrap();
    assert!(client.post(PATH, &[], "").await.is_err(), "plain HTTP is not understood here");
}

#[tokio::test]
async fn http2_works_on_the_plain_port_and_serves_requests_side_by_side() {
    let (mut opened, address) = open_plain().await;
    let mut client = Client::plain_http2(address).await.unwrap();
    assert_eq!(client.request(Method::GET, "/health", &[], "").await.unwrap().status, 200);
    let mut posting = JoinSet::new();
    posting.spawn(async move { client.post(PATH, &[("x-numaflow-id", "2")], "two").await.unwrap().status });
    let (message, receipt) = take(&mut opened.source, 1).await.remove(0);
    assert_eq!(message.value, "two");
    answer_all(&mut opened.answers, vec![receipt], Answer::Done).await;
    assert_eq!(posting.join_next().await.unwrap().unwrap(), 200);
    timeout(CLOSE_WAIT / 2, opened.answers.close()).await.unwrap().unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_source_takes_over_from_another_and_no_caller_notices() {
    const CALLERS: usize = 20;
    const EACH: usize = 50;
    let listeners = Listeners::default();
    let (first, listening) = http::open(settings(), &listeners).await.unwrap();
    let address = listening.http.unwrap();
    let (seen, mut messages) = tokio::sync::mpsc::channel(CALLERS * EACH);
    let mut callers = JoinSet::new();
    for caller in 0..CALLERS {
        callers.spawn(async move {
            // One connection for everything: it outlives the source that was there when it came.
            let mut client = Client::plain(address).await.unwrap();
            for number in 0..EACH {
                let id = format!("{caller}-{number}");
                let reply = client.post(PATH, &[("x-numaflow-id", &id)], id.clone()).await.unwrap();
                assert_eq!((reply.status, &reply.body), (200, &reply.body), "message {id}");
            }
        });
    }
    let mut current = first;
    for _ in 0..5 {
        let (next, same) = http::open(settings(), &listeners).await.unwrap();
        assert_eq!(same, listening, "it listens where the other one does");
        // Both read for a while; then the first finishes what it has and closes.
        for opened in [&mut current] {
            for _ in 0..3 {
                let batch = opened.source.read(7, PATIENCE).await.unwrap().unwrap();
                answer_all(&mut opened.answers, batch.receipts, Answer::Done).await;
                for message in batch.messages {
                    seen.send(message).await.unwrap();
                }
            }
        }
        let Opened { source, mut answers, memory: _ } = std::mem::replace(&mut current, next);
        drop(source);
        timeout(CLOSE_WAIT / 2, answers.close()).await.unwrap().unwrap();
    }
    let mut worker = JoinSet::new();
    worker.spawn(work(current, seen));
    while let Some(ended) = timeout(PATIENCE, callers.join_next()).await.unwrap() {
        ended.unwrap();
    }
    // A caller may hear of its message before the reader has told us.
    let mut ids = BTreeSet::new();
    while ids.len() < CALLERS * EACH {
        let message = timeout(PATIENCE, messages.recv()).await.expect("each message was read").unwrap();
        assert!(ids.insert(message.offset.to_string()), "{} was read twice", message.offset);
    }
}

#[tokio::test]
async fn a_source_that_is_dropped_leaves_what_it_had_not_read_to_the_other() {
    let listeners = Listeners::default();
    let (mut first, listening) = http::open(settings(), &listeners).await.unwrap();
    let (mut second, _) = http::open(settings(), &listeners).await.unwrap();
    let address = listening.http.unwrap();
    let mut posting = Posting::start(address, &[("x-numaflow-id", "a")], "one");
    take(&mut first.source, 1).await;
    let mut other = Posting::start(address, &[("x-numaflow-id", "b")], "two");
    drop(first);
    let reply = posting.reply().await;
    assert_eq!(reply.0, 500, "nobody will ever say what became of it: {reply:?}");
    let (message, receipt) = take(&mut second.source, 1).await.remove(0);
    assert_eq!(message.value, "two");
    answer_all(&mut second.answers, vec![receipt], Answer::Done).await;
    assert_eq!(other.reply().await.0, 200);
    // Its port is free when the last one has closed.
    drop(second.source);
    second.answers.close().await.unwrap();
    tokio::net::TcpListener::bind(address).await.unwrap();
}

#[tokio::test]
async fn while_sources_differ_in_their_token_either_opens_and_afterwards_the_last() {
    let listeners = Listeners::default();
    let with = |token: &str| Settings { token: Some(Token::new(token)), ..settings() };
    let (mut old, listening) = http::open(with("old"), &listeners).await.unwrap();
    let (_new, _) = http::open(with("new"), &listeners).await.unwrap();
    let address = listening.http.unwrap();
    let status = async |token: &str| {
        let token = format!("Bearer {token}");
        let mut client = Client::plain(address).await.unwrap();
        client.request(Method::GET, "/health", &[("authorization", &token)], "").await.unwrap().status
    };
    assert_eq!((status("old").await, status("new").await, status("other").await), (200, 200, 401));
    drop(old.source);
    old.answers.close().await.unwrap();
    assert_eq!((status("old").await, status("new").await), (401, 200));
}

#[tokio::test]
async fn an_occupied_port_is_named_with_what_to_do() {
    let (_opened, listening) = open(settings()).await;
    let port = listening.http.unwrap().port();
    let error = http::open(Settings { http_port: Some(port), ..settings() }, &Listeners::default())
        .await
        .err()
        .unwrap();
    assert_eq!(
        error.to_string(),
        format!(
            "listen on 127.0.0.1:{port} for HTTP; another program or another HTTP source has this port: stop it, or \
             set another one under `http.ports` of the source"
        )
    );
    assert!(std::error::Error::source(&error).unwrap().to_string().contains("Address already in use"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn thousands_of_callers_are_all_served_once() {
    const CALLERS: usize = 400;
    const EACH: usize = 10;
    let (opened, address) = open_plain().await;
    let (seen, mut messages) = tokio::sync::mpsc::channel(CALLERS * EACH);
    let mut worker = JoinSet::new();
    worker.spawn(work(opened, seen));
    let mut callers = JoinSet::new();
    for caller in 0..CALLERS {
        callers.spawn(async move {
            let mut client = Client::plain(address).await.unwrap();
            for number in 0..EACH {
                let body = format!("{caller}-{number}");
                loop {
                    let reply = client.post(PATH, &[("X-Numaflow-Id", &body)], body.clone()).await.unwrap();
                    if reply.status == 200 {
                        break;
                    }
                    assert_eq!(reply.status, 429, "{}", reply.body);
                }
            }
        });
    }
    callers.join_all().await;
    let mut values = std::collections::HashMap::new();
    while let Ok(message) = messages.try_recv() {
        *values.entry(message.value).or_insert(0) += 1;
    }
    assert_eq!(values.len(), CALLERS * EACH);
    assert!(values.values().all(|count| *count == 1));
}
