//! The notes of a daemon over its real port.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use connect::mail::{HostedMail, RemoteMail, remote};
use model::door::Class;
use model::door::mail::Mail;
use platform::exchange::{Look, Wishes};
use server::daemon::owner::{Owner, Wishing};
use server::daemon::{notes, serve_owned};
use server::secure::Port;
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use super::super::desk::Desk;
use super::*;
use crate::processor::subject::read_json;

const TOKEN: &str = "a token";

struct Nobody;

#[async_trait]
impl Wishing for Nobody {
    async fn wish(&self, _: Wishes) -> Look {
        Look::default()
    }

    async fn look(&self, _: Option<i64>) -> Look {
        Look::default()
    }
}

/// A daemon's port, which ends when dropped.
struct Host {
    port: u16,
    shutdown: CancellationToken,
    serving: JoinSet<()>,
}

impl Host {
    async fn start(port: u16, mail: HostedMail) -> Self {
        let manifest = serde_json::json!({
            "apiVersion": "numaflow.numaproj.io/v1alpha1", "kind": "MonoVertex", "metadata": {"name": "m"},
            "spec": {"source": {"generator": {}}, "sink": {"blackhole": {}}},
        });
        let object = read_json("the test", &manifest).unwrap();
        let (desk, _) = Desk::open(&object, mpsc::channel(1).0);
        let owner = Owner {
            token: Some(TOKEN.to_owned()),
            wishing: Arc::new(Nobody),
            notes: Some(Arc::new(Hosted(mail))),
        };
        let port = Port::bind(([127, 0, 0, 1], port).into()).await.unwrap();
        let (number, shutdown, mut serving) =
            (port.address().port(), CancellationToken::new(), JoinSet::new());
        serving.spawn(serve_owned(Arc::new(desk), owner, port, shutdown.clone()));
        Self { port: number, shutdown, serving }
    }

    fn mail(&self, token: &str) -> RemoteMail {
        RemoteMail::new(&format!("https://localhost:{}", self.port), token).unwrap()
    }

    async fn end(mut self) {
        self.shutdown.cancel();
        while self.serving.join_next().await.is_some() {}
    }
}

#[expect(clippy::needless_pass_by_value, reason = "the suite gives cases away")]
fn remote(case: impl AsyncFn(&dyn Mail), _: &str) {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
    runtime.block_on(async {
        let host = Host::start(0, HostedMail::default()).await;
        case(&host.mail(TOKEN)).await;
        host.end().await;
    });
}

model::mail_conformance! { remote }

#[test]
fn whoever_asks_looks_where_notes_are() {
    assert_eq!(remote::NOTES, notes::NOTES);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn nobody_without_the_token_is_heard() {
    let host = Host::start(0, HostedMail::default()).await;
    let error = host.mail("another").put("report.m.a-0", Bytes::from_static(b"x")).await.unwrap_err();
    assert!(error.chain().contains("401"), "{}", error.chain());
    host.mail(TOKEN).put("report.m.a-0", Bytes::from_static(b"x")).await.unwrap();
    host.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn a_watch_goes_on_with_the_next_host() {
    let (first, second) = (HostedMail::default(), HostedMail::default());
    let host = Host::start(0, first.clone()).await;
    let (port, mail) = (host.port, host.mail(TOKEN));
    let mut watch = mail.watch("orders.m").await.unwrap();
    first.put("orders.m.a-0", Bytes::from_static(b"one")).await.unwrap();
    assert_eq!(watch.next().await.unwrap().note, Some(Bytes::from_static(b"one")));
    host.end().await;
    let away = mail.put("report.m.a-0", Bytes::from_static(b"x")).await.unwrap_err();
    assert_eq!(away.class(), Class::Retry);
    let host = Host::start(port, second.clone()).await;
    second.put("orders.m.a-0", Bytes::from_static(b"two")).await.unwrap();
    let next = tokio::time::timeout(Duration::from_secs(30), watch.next()).await.unwrap().unwrap();
    assert_eq!(next.note, Some(Bytes::from_static(b"two")), "nothing is said to be taken away");
    mail.put("report.m.a-0", Bytes::from_static(b"y")).await.unwrap();
    assert_eq!(second.get("report.m.a-0"), Some(Bytes::from_static(b"y")));
    host.end().await;
}
