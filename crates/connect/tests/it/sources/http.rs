//! The HTTP source with callers that post until they are told 200, as callers should.

use std::net::SocketAddr;

use async_trait::async_trait;
use model::conformance::source::Bench;
use model::door::source::Opened;
use model::{Message, source_conformance};
use tidegate_connect::source::http;
use tokio::sync::watch;
use tokio::task::JoinSet;

use crate::http::client::Client;

struct Callers {
    address: watch::Sender<Option<SocketAddr>>,
    posting: JoinSet<()>,
    offered: u64,
}

impl Callers {
    fn new() -> Self {
        Self { address: watch::Sender::new(None), posting: JoinSet::new(), offered: 0 }
    }
}

async fn post(number: u64, mut address: watch::Receiver<Option<SocketAddr>>) {
    let id = format!("id-{number}");
    loop {
        let Ok(current) = address.wait_for(Option::is_some).await.map(|address| *address) else { return };
        let current = current.expect("it was waited for");
        if let Ok(mut client) = Client::plain(current).await
            && let Ok(reply) =
                client.post("/vertices/in", &[("x-numaflow-id", &id)], number.to_string()).await
        {
            match reply.status {
                200 => return,
                500 | 429 => {}
                status => panic!("message {number} was answered {status} {}", reply.body),
            }
        }
        tokio::task::yield_now().await;
    }
}

#[async_trait]
impl Bench for Callers {
    async fn open(&mut self) -> Opened {
        let (opened, listening) =
            http::open(crate::http::settings(), &http::Listeners::default()).await.unwrap();
        self.address.send_replace(listening.http);
        opened
    }

    async fn offer(&mut self, count: u64) {
        for number in self.offered..self.offered + count {
            self.posting.spawn(post(number, self.address.subscribe()));
        }
        self.offered += count;
    }

    fn number(&self, message: &Message) -> u64 {
        std::str::from_utf8(&message.value).unwrap().parse().unwrap()
    }

    fn ordered(&self) -> bool {
        false
    }
}

fn run(case: impl AsyncFn(&mut dyn Bench)) {
    super::run(Callers::new, case);
}

source_conformance! { run: every, fed, answers }
