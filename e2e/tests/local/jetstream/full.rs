//! Buffers and stores that are full: writers wait, nothing is lost, and everything goes on by itself once there is room.

use std::time::Duration;

use e2e::lab::{self, Lab};
use e2e::manifest::Pipeline;
use e2e::nats::Nats;
use e2e::up::Up;
use e2e::wait;
use nix::sys::signal::Signal;
use tokio::runtime::Builder;

use super::{complete, until_more};

/// Workers that write to the full buffer.
const WRITERS: u32 = 8;
/// Messages that it may hold. Writers that begin at once pass it by what each has begun to store.
const LENGTH: u64 = 200;
const BATCH: u64 = 20;

#[test]
fn eight_writers_on_a_full_buffer_wait_and_lose_nothing_when_all_are_killed() {
    let lab = Lab::new().unwrap();
    let Some(nats) = Nats::start("writers on a full buffer", &lab).unwrap() else { return };
    let up = Up::start_with(&lab, &["--isb", &nats.url(), "--isolate"]).unwrap();
    let count = 6_000;
    let shut = lab.write("shut", "").unwrap();
    let limits =
        format!("limits: {{bufferMaxLength: {LENGTH}, bufferUsageLimit: 100, readBatchSize: {BATCH}}}");
    let writers = format!("scale: {{min: {WRITERS}, max: {WRITERS}}}, limits: {{readBatchSize: {BATCH}}}");
    let pipeline = Pipeline::named("full")
        .numbers(&lab, "in", (count, 2_000), &writers)
        .lines(
            &lab,
            "out",
            &format!("--refuse-while {}", shut.display()),
            &format!("scale: {{min: 1, max: 1}}, {limits}"),
        )
        .edge("in", "out");
    pipeline.apply(&lab, &up).unwrap();
    let is_full = |object: &e2e::object::Object| {
        let pending = object.vertex("out")["pending"][0].as_u64().unwrap_or(0);
        assert!(pending < count / 2, "{object}");
        let waiting = object.vertex("in")["inHand"].as_u64().unwrap_or(0);
        (pending >= LENGTH && waiting > 0 && object.ready("in") == WRITERS as usize).then_some(pending)
    };
    up.until("full", "is full, and its writers wait", is_full);
    for _ in 0..3 {
        let before = up.processors("in");
        assert_eq!(before.len(), WRITERS as usize);
        for pid in &before {
            lab::signal(*pid, Signal::SIGKILL).unwrap();
        }
        wait::until("all have begun another life", || {
            let after = up.processors("in");
            let fresh = after.iter().all(|pid| !before.contains(pid));
            (fresh && after.len() == WRITERS as usize).then_some(())
        });
        let pending = up.until("full", "is full, and its writers wait", is_full);
        println!("{pending} lie before the sink, {} are acknowledged", pipeline.acknowledged(&lab).len());
    }
    assert_eq!(pipeline.written(&lab).len(), 0, "nobody reads");
    std::fs::remove_file(shut).unwrap();
    complete(&lab, &pipeline, count);
    println!("{} of {count} were given twice by the source", pipeline.repeated(&lab));
    up.down().unwrap();
}

/// Fills what a server may store with a stream of its own, and takes that away again.
struct Ballast {
    url: String,
}

impl Ballast {
    const STREAM: &str = "ballast";

    /// Gives the number of megabytes.
    fn fill(&self) -> usize {
        self.run(async |client| {
            let config =
                format!("{{\"name\":\"{0}\",\"subjects\":[\"{0}\"],\"storage\":\"file\"}}", Self::STREAM);
            let made =
                asked(&client, &format!("$JS.API.STREAM.CREATE.{}", Self::STREAM), config.into()).await;
            assert!(!made.contains("error"), "{made}");
            let mut stored = 0;
            for size in [1 << 20, 1 << 14, 1 << 10, 64] {
                while !asked(&client, Self::STREAM, vec![7; size]).await.contains("error") {
                    stored += size;
                }
            }
            stored >> 20
        })
    }

    fn free(&self) {
        self.run(async |client| {
            let deleted =
                asked(&client, &format!("$JS.API.STREAM.DELETE.{}", Self::STREAM), Vec::new()).await;
            assert!(!deleted.contains("error"), "{deleted}");
        });
    }

    fn run<T>(&self, what: impl AsyncFnOnce(async_nats::Client) -> T) -> T {
        let runtime = Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async { what(async_nats::connect(&self.url).await.unwrap()).await })
    }
}

async fn asked(client: &async_nats::Client, subject: &str, payload: Vec<u8>) -> String {
    let answer = client.request(subject.to_owned(), payload.into()).await.unwrap();
    String::from_utf8_lossy(&answer.payload).into_owned()
}

#[test]
fn a_store_that_was_full_goes_on_by_itself_and_nothing_is_lost() {
    let lab = Lab::new().unwrap();
    let Some(nats) = Nats::start_with("a full store", &lab, "64MB").unwrap() else { return };
    let up = Up::start_with(&lab, &["--isb", &nats.url(), "--isolate"]).unwrap();
    let count = 10_000;
    let pipeline = super::numbers(&lab, "stored", (count, 500));
    pipeline.apply(&lab, &up).unwrap();
    until_more(&lab, &pipeline, 200);
    let before = {
        let mut all = lab::children_of(up.pid(), "processor");
        all.sort_unstable();
        all
    };
    let ballast = Ballast { url: nats.url() };
    println!("{} MB fill the store", ballast.fill());
    let (mut last, mut still) = (pipeline.acknowledged(&lab).len(), 0);
    wait::every(Duration::from_millis(100), || {
        let at = pipeline.acknowledged(&lab).len();
        still = if at == last { still + 1 } else { 0 };
        last = at;
        if still < 20 { std::ops::ControlFlow::Continue(()) } else { std::ops::ControlFlow::Break(()) }
    });
    println!("nothing was taken in for 2 s after {last} of {count}");
    assert!((last as u64) < count, "the store was full before everything was through");
    ballast.free();
    until_more(&lab, &pipeline, 200);
    complete(&lab, &pipeline, count);
    let mut after = lab::children_of(up.pid(), "processor");
    after.sort_unstable();
    assert_eq!(after, before, "no process needed help");
    println!("{} of {count} were written again", pipeline.repeated(&lab));
    up.down().unwrap();
}
