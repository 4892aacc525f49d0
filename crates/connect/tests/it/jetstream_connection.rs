//! How a connection to a NATS server comes about, is refused, lost and made again.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use futures::StreamExt as _;
use lane::broker::{Broker, Consume, Delivery, Expect, Failure, Publish, StreamName};
use smol_str::SmolStr;
use tidegate_connect::buffer::jetstream::{
    ConnectError, Login, Nats, OLDEST, Settings, StreamPlan, Tls, Trust,
};
use tokio::time::timeout;

use crate::nats::{self, Options, PATIENCE, Server, block_on};
use crate::standstill::{go_on, stand_still};

/// The error with which one attempt ends.
async fn refused(settings: &Settings) -> ConnectError {
    match Nats::connect(settings).await {
        Ok(_) => panic!("it connects"),
        Err(error) => error,
    }
}

/// The first error that is not about a server that is still starting.
async fn refused_in_the_end(settings: &Settings, passes: impl Fn(&ConnectError) -> bool) -> ConnectError {
    let ended = timeout(PATIENCE, async {
        loop {
            let error = refused(settings).await;
            if !passes(&error) {
                return error;
            }
            tokio::task::yield_now().await;
        }
    });
    ended.await.expect("the server starts")
}

fn unreachable(error: &ConnectError) -> bool {
    matches!(error, ConnectError::Unreachable { .. } | ConnectError::NoAnswer { .. })
}

#[test]
fn nobody_there_is_said_with_the_address() {
    let port = nats::free_port();
    let error = block_on(refused(&Settings::to(&format!("nats://me:secret@127.0.0.1:{port}"))));
    let text = error.to_string();
    assert!(matches!(error, ConnectError::Unreachable { .. }), "{text}");
    assert!(text.contains(&format!("nats://127.0.0.1:{port}: look whether it runs")), "{text}");
    assert!(error.may_pass());
    let error = block_on(refused(&Settings::to("")));
    assert!(matches!(error, ConnectError::NoAddress), "{error}");
}

#[test]
fn logins_are_checked() {
    let lines = "authorization { user: me, password: \"pass word\" }".to_owned();
    let options = Options { lines, ..Options::default() };
    let Some(server) = nats::own("jetstream_connection::logins_are_checked", &options) else { return };
    block_on(async {
        let mut settings = Settings::to(&server.url());
        let error = refused_in_the_end(&settings, unreachable).await;
        assert!(matches!(error, ConnectError::Login { .. }), "{error}");
        let user = |password: &str| Login::User { name: "me".to_owned(), password: password.to_owned() };
        settings.login = user("wrong");
        let error = refused(&settings).await;
        let text = error.to_string();
        assert!(text.contains("as user me: it refuses"), "{text}");
        assert!(!text.contains("wrong") && !error.may_pass(), "{text}");
        settings.login = user("pass word");
        server.connect_as(&settings).await;
    });
}

#[test]
fn tokens_are_checked() {
    let lines = "authorization { token: \"hush\" }".to_owned();
    let options = Options { lines, ..Options::default() };
    let Some(server) = nats::own("jetstream_connection::tokens_are_checked", &options) else { return };
    block_on(async {
        let mut settings = Settings::to(&server.url());
        settings.login = Login::Token("hush".to_owned());
        server.connect_as(&settings).await;
        settings.login = Login::Token("loud".to_owned());
        let error = refused(&settings).await;
        assert!(matches!(error, ConnectError::Login { .. }), "{error}");
    });
}

#[test]
fn a_server_that_stores_nothing_is_refused() {
    let options = Options { jetstream: false, ..Options::default() };
    let name = "jetstream_connection::a_server_that_stores_nothing_is_refused";
    let Some(server) = nats::own(name, &options) else { return };
    block_on(async {
        let error = refused_in_the_end(&Settings::to(&server.url()), unreachable).await;
        let text = error.to_string();
        assert!(matches!(error, ConnectError::NoJetStream { .. }), "{text}");
        assert!(text.contains("start the server with `-js`"), "{text}");
    });
}

#[test]
fn a_user_who_may_not_is_told_what_is_missing() {
    let lines = "authorization { users: [\n\
                 {user: all, password: x},\n\
                 {user: none, password: x, permissions: {publish: [\"a\"], subscribe: [\"_INBOX.>\"]}},\n\
                 {user: deaf, password: x, permissions: {publish: [\">\"], subscribe: [\"a\"]}},\n\
                 {user: some, password: x, permissions: {publish: [\"$JS.API.>\"], subscribe: [\"_INBOX.>\"]}}\n\
                 ] }"
    .to_owned();
    let options = Options { lines, ..Options::default() };
    let name = "jetstream_connection::a_user_who_may_not_is_told_what_is_missing";
    let Some(server) = nats::own(name, &options) else { return };
    let as_user = |name: &str| Settings {
        login: Login::User { name: name.to_owned(), password: "x".to_owned() },
        ..Settings::to(&server.url())
    };
    block_on(async {
        let all = server.connect_as(&as_user("all")).await;
        let stream = SmolStr::new("allowed");
        all.create_stream(&StreamPlan::bare(&stream)).await.unwrap();
        for user in ["none", "deaf"] {
            let error = refused(&as_user(user)).await;
            let text = error.to_string();
            assert!(matches!(error, ConnectError::NotAllowed { .. }), "{user}: {text}");
            assert!(text.contains("Permissions Violation"), "{user}: {text}");
        }
        let some = Nats::connect(&as_user("some")).await.unwrap();
        match some.publish(message(&stream, "0", None)).await {
            Err(Failure::Denied(text)) => assert!(text.contains("\"allowed.0\""), "{text}"),
            other => panic!("it is not allowed, and {other:?} came"),
        }
    });
}

#[test]
fn the_oldest_server_will_do_and_an_older_one_is_refused_by_name() {
    let name = "jetstream_connection::the_oldest_server_will_do_and_an_older_one_is_refused_by_name";
    let Some(program) = std::env::var_os("TIDEGATE_TEST_NATS_OLDEST").map(PathBuf::from) else {
        nats::skipped(name, &format!("no nats-server {OLDEST} (TIDEGATE_TEST_NATS_OLDEST)"));
        return;
    };
    let server = Server::start(&program, &Options::default());
    block_on(async {
        let nats = server.connect().await;
        assert_eq!(nats.version(), OLDEST.to_string());
    });
}

/// A server that says what a test wants it to say of itself and nothing else.
fn pretender(version: &str) -> Settings {
    use std::io::Write as _;
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let info = format!(
        "INFO {{\"server_id\":\"x\",\"version\":\"{version}\",\"max_payload\":1048576,\"headers\":true}}\r\nPONG\r\n"
    );
    std::thread::spawn(move || {
        // One connection for questions and one for reading, held until the other side ends them.
        let mut streams: Vec<_> = (0..2).map(|_| listener.accept().unwrap().0).collect();
        for stream in &mut streams {
            stream.write_all(info.as_bytes()).unwrap();
        }
        for stream in &mut streams {
            std::io::copy(stream, &mut std::io::sink()).unwrap();
        }
    });
    Settings::to(&format!("nats://127.0.0.1:{port}"))
}

#[test]
fn a_server_too_old_is_refused_by_name() {
    for version in ["2.11.0", "2.10.29", "2.9.0", "two"] {
        let error = block_on(refused(&pretender(version)));
        let text = error.to_string();
        assert!(matches!(error, ConnectError::TooOld { .. }), "{text}");
        assert!(
            text.contains(&format!("it is version {version}, and {OLDEST} or later is needed")),
            "{text}"
        );
        assert!(!error.may_pass());
    }
}

fn pem(what: &str, der: &[u8]) -> String {
    let lines: Vec<String> = STANDARD
        .encode(der)
        .as_bytes()
        .chunks(64)
        .map(|line| String::from_utf8(line.to_vec()).unwrap())
        .collect();
    format!("-----BEGIN {what}-----\n{}\n-----END {what}-----\n", lines.join("\n"))
}

/// A certificate for the loopback that nobody else has signed, and its key.
fn certificate(directory: &Path) -> (PathBuf, PathBuf) {
    let made =
        rcgen::generate_simple_self_signed(vec!["127.0.0.1".to_owned(), "localhost".to_owned()]).unwrap();
    let (certificate, key) = (directory.join("cert.pem"), directory.join("key.pem"));
    std::fs::write(&certificate, pem("CERTIFICATE", made.cert.der())).unwrap();
    std::fs::write(&key, pem("PRIVATE KEY", &made.signing_key.serialize_der())).unwrap();
    (certificate, key)
}

#[test]
fn tls_is_spoken_and_certificates_are_checked() {
    let directory = tempfile::tempdir().unwrap();
    let (certificate, key) = certificate(directory.path());
    let lines = format!("tls {{ cert_file: {certificate:?}, key_file: {key:?} }}");
    let options = Options { lines, ..Options::default() };
    let name = "jetstream_connection::tls_is_spoken_and_certificates_are_checked";
    let Some(server) = nats::own(name, &options) else { return };
    let trusting = |trust: Trust| Settings {
        tls: Tls { required: true, trust, client: None },
        ..Settings::to(&server.url())
    };
    block_on(async {
        let nats = server.connect_as(&trusting(Trust::Authority(certificate.clone()))).await;
        let stream = SmolStr::new("secret");
        nats.create_stream(&StreamPlan::bare(&stream)).await.unwrap();
        assert_eq!(nats.publish(message(&stream, "0", None)).await, Ok(1));
        let anyone = Nats::connect(&trusting(Trust::Anyone)).await.unwrap();
        assert_eq!(anyone.state(&stream).await.unwrap().messages, 1);
        let error = refused(&trusting(Trust::System)).await;
        let text = error.to_string();
        assert!(!matches!(error, ConnectError::Login { .. }) && text.contains("127.0.0.1"), "{text}");
        let mut both = trusting(Trust::Anyone);
        both.tls.client = Some((certificate.clone(), key.clone()));
        let error = refused(&both).await;
        assert!(matches!(error, ConnectError::CertificateForAnyone), "{error}");
    });
}

#[test]
fn a_server_without_tls_is_refused_when_tls_is_required() {
    let name = "jetstream_connection::a_server_without_tls_is_refused_when_tls_is_required";
    let Some(server) = nats::shared(name) else { return };
    block_on(async {
        server.connect().await;
        let tls = Tls { required: true, trust: Trust::Anyone, client: None };
        let error = refused(&Settings { tls, ..Settings::to(&server.url()) }).await;
        assert!(error.to_string().contains("127.0.0.1"), "{error}");
    });
}

fn message(stream: &StreamName, rest: &str, last: Option<u64>) -> Publish {
    let subject = format!("{stream}.{rest}");
    Publish {
        stream: stream.clone(),
        expect: last.map(|last| Expect { filter: subject.clone(), last }),
        subject,
        meta: Bytes::from_static(b"m"),
        payload: Bytes::from_static(b"p"),
    }
}

/// Stores a message and makes sure that it is there, as the protocol does: what is unanswered is sent again, and what
/// is refused is looked up.
async fn store(nats: &Nats, stream: &StreamName, last: u64) -> u64 {
    loop {
        match nats.publish(message(stream, "0", Some(last))).await {
            Ok(sequence) => return sequence,
            Err(Failure::Refused) => match nats.last(stream, &format!("{stream}.0")).await {
                Ok(Some(stored)) if stored.sequence > last => return stored.sequence,
                Ok(_) | Err(Failure::Unanswered(_) | Failure::Unavailable(_)) => {}
                Err(failure) => panic!("{failure}"),
            },
            Err(Failure::Unanswered(_) | Failure::Unavailable(_)) => {}
            Err(failure) => panic!("{failure}"),
        }
    }
}

#[test]
fn a_server_killed_again_and_again_loses_nothing_that_it_acknowledged() {
    const KILLS: u64 = 3;
    let name = "jetstream_connection::a_server_killed_again_and_again_loses_nothing_that_it_acknowledged";
    let Some(mut server) = nats::own(name, &Options::that_syncs()) else { return };
    block_on(async {
        let nats = Arc::new(server.connect().await);
        let stream = SmolStr::new("killed");
        nats.create_stream(&StreamPlan::bare(&stream)).await.unwrap();
        let mut stored = Vec::new();
        for kill in 1..=KILLS {
            while stored.len() < 50 * kill as usize {
                let last = stored.last().copied().unwrap_or(0);
                stored.push(timeout(PATIENCE, store(&nats, &stream, last)).await.unwrap());
            }
            let consume = Consume {
                stream: stream.clone(),
                // What is unanswered below may be stored later, under another subject.
                filters: vec![format!("{stream}.0")],
                after: 0,
                headers_only: false,
                last_per_subject: false,
            };
            let mut consumer = nats.consume(consume).await.unwrap();
            let mut read = Vec::new();
            while read.len() < stored.len() {
                if let Delivery::Message { number, message, .. } = consumer.next().await.unwrap() {
                    assert_eq!(number, read.len() as u64 + 1);
                    read.push(message.sequence);
                }
            }
            assert_eq!(read, stored);
            server.kill();
            // A consumer does not outlive its connection.
            let ended = timeout(PATIENCE, async {
                loop {
                    match consumer.next().await {
                        Ok(Delivery::Idle { .. }) => {}
                        Ok(Delivery::Message { message, .. }) => panic!("{message:?} came from nowhere"),
                        Err(failure) => return failure,
                    }
                }
            });
            let failure = ended.await.unwrap();
            assert!(matches!(failure, Failure::Unavailable(_)), "{failure}");
            let failure = nats.publish(message(&stream, "1", None)).await.unwrap_err();
            assert!(matches!(failure, Failure::Unavailable(_) | Failure::Unanswered(_)), "{failure}");
            server.run();
        }
        let last = stored.last().copied().unwrap_or(0);
        stored.push(timeout(PATIENCE, store(&nats, &stream, last)).await.unwrap());
        let state = nats.state(&stream).await.unwrap();
        let others = state.messages - stored.len() as u64;
        assert!(others <= KILLS, "{state:?}: what was unanswered may be stored once, nothing else");
    });
}

#[test]
fn a_silent_server_is_noticed_and_everything_goes_on_when_it_speaks_again() {
    let name = "jetstream_connection::a_silent_server_is_noticed_and_everything_goes_on_when_it_speaks_again";
    let Some(server) = nats::own(name, &Options::default()) else { return };
    block_on(async {
        let nats = server.connect().await;
        let stream = SmolStr::new("silent");
        nats.create_stream(&StreamPlan::bare(&stream)).await.unwrap();
        let first = store(&nats, &stream, 0).await;
        stand_still(server.process()).await;
        let unheard = timeout(PATIENCE, nats.publish(message(&stream, "0", Some(first)))).await.unwrap();
        assert!(matches!(unheard, Err(Failure::Unanswered(_))), "{unheard:?}");
        go_on(server.process());
        let second = timeout(PATIENCE, store(&nats, &stream, first)).await.unwrap();
        assert!(second > first);
        // Whichever of the two it is: it is stored once.
        assert_eq!(nats.state(&stream).await.unwrap().messages, 2);
    });
}

#[test]
fn a_question_is_asked_again_while_nobody_in_the_lead_hears_it() {
    let name = "jetstream_connection::a_question_is_asked_again_while_nobody_in_the_lead_hears_it";
    let Some(server) = nats::own(name, &Options { jetstream: false, ..Options::default() }) else { return };
    block_on(async {
        // Stands for servers without a leader, which take questions and say nothing, until they have elected one.
        let options = async_nats::ConnectOptions::new().retry_on_initial_connect();
        let leader = options.connect(server.url()).await.unwrap();
        let mut questions = leader.subscribe("$JS.API.>").await.unwrap();
        leader.flush().await.unwrap();
        let elected = async {
            let mut unheard = 0;
            while let Some(question) = questions.next().await {
                let is_account = question.subject.as_str() == "$JS.API.INFO";
                if !is_account && unheard < 2 {
                    unheard += 1;
                    continue;
                }
                let state = r#"{"messages": 1, "bytes": 10, "first_seq": 7, "last_seq": 7}"#;
                let answer =
                    format!(r#"{{"config": {{}}, "created": "2026-01-01T00:00:00Z", "state": {state}}}"#);
                leader.publish(question.reply.unwrap(), answer.into()).await.unwrap();
                leader.flush().await.unwrap();
            }
        };
        let asks = async {
            let nats = Nats::connect(&Settings::to(&server.url())).await.unwrap();
            nats.state(&SmolStr::new("led")).await.unwrap()
        };
        tokio::select! {
            state = timeout(PATIENCE, asks) => assert_eq!(state.unwrap().last, 7),
            () = elected => panic!("nobody asks any more"),
        }
    });
}
