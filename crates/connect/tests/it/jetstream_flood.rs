//! Units change hands in the middle of a flood over real NATS servers: while calls fail, while the server is killed and
//! started again, and, in the long form, while a cluster loses one server after the other.
//!
//! `TIDEGATE_SEED=17 cargo test -p tidegate-connect --test it jetstream_flood` repeats one seed; threads and servers
//! have turns of their own, so a failure may need several attempts.
#![expect(
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "a failure says its seed, a success what it covered"
)]

use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use lane::broker::Broker;
use lane::{Holds, layout};
use model::conformance::buffer::Bench;
use model::conformance::buffer::faulty::{Faults, FaultyBench};
use model::conformance::buffer::flood::{Outcome, flood};
use tidegate_connect::buffer::jetstream::{Nats, Settings};
use tokio::time::timeout;

use crate::jetstream_bench::NatsBench;
use crate::nats::{self, Options, Server, block_on};

/// How many messages are stored between two deaths of a server.
const STORED_BETWEEN_DEATHS: u64 = 60;

/// Runs a flood for each seed, or only the one that is asked for, and says which one failed.
fn floods(name: &str, seeds: std::ops::Range<u64>, run: impl Fn(u64) -> Outcome) {
    let asked = std::env::var("TIDEGATE_SEED").ok().map(|seed| seed.parse::<u64>().unwrap());
    let seeds = asked.map_or(seeds, |seed| seed..seed + 1);
    for seed in seeds {
        let outcome = catch_unwind(AssertUnwindSafe(|| run(seed))).unwrap_or_else(|panic| {
            eprintln!(
                "seed {seed} failed; TIDEGATE_SEED={seed} cargo test -p tidegate-connect --test it {name}"
            );
            resume_unwind(panic)
        });
        println!("{name}: seed {seed}: {outcome:?}");
    }
}

fn long() -> bool {
    std::env::var_os("TIDEGATE_LONG").is_some()
}

#[test]
fn flood_on_a_nats_server() {
    let Some(server) = nats::shared("jetstream_flood::flood_on_a_nats_server") else { return };
    let seeds = if long() { 0..20 } else { 0..2 };
    floods("flood_on_a_nats_server", seeds, |seed| block_on(flood(&NatsBench::new(server), seed)));
}

#[test]
fn flood_on_a_nats_server_with_faults() {
    let Some(server) = nats::shared("jetstream_flood::flood_on_a_nats_server_with_faults") else { return };
    let seeds = if long() { 0..20 } else { 0..2 };
    floods("flood_on_a_nats_server_with_faults", seeds, |seed| {
        block_on(flood(&FaultyBench::new(NatsBench::new(server), Faults::SEVERE, seed), seed))
    });
}

/// How long a stream may be asked for its state: one whose servers have not found each other says nothing at all.
const ASKED_WITHIN: Duration = Duration::from_millis(300);

/// How many messages were ever stored in the partitions.
async fn stored(nats: &Nats, bench: &NatsBench) -> u64 {
    let mut stored = 0;
    for spec in layout(&bench.settings()) {
        if matches!(spec.holds, Holds::Partition { .. })
            && let Ok(Ok(state)) = timeout(ASKED_WITHIN, nats.state(&spec.name)).await
        {
            stored += state.last;
        }
    }
    stored
}

/// Kills one server after the other and starts it again, each time that enough was stored since. Never ends.
async fn kill_in_turn(servers: Arc<Mutex<Vec<Server>>>, bench: &NatsBench, deaths: &mut u64) {
    let nats = bench.connect().await;
    let mut before = 0;
    loop {
        let stored = stored(&nats, bench).await;
        if stored < before + STORED_BETWEEN_DEATHS {
            tokio::task::yield_now().await;
            continue;
        }
        before = stored;
        {
            let mut servers = servers.lock().unwrap();
            let at = *deaths as usize % servers.len();
            servers[at].kill();
            servers[at].run();
        }
        *deaths += 1;
        nats::until_all_store(&bench.urls()).await;
    }
}

async fn flood_with_deaths(servers: Vec<Server>, bench: NatsBench, seed: u64) -> Outcome {
    nats::until_all_store(&bench.urls()).await;
    let servers = Arc::new(Mutex::new(servers));
    let mut deaths = 0;
    let outcome = tokio::select! {
        outcome = flood(&bench as &dyn Bench, seed) => outcome,
        () = kill_in_turn(servers, &bench, &mut deaths) => unreachable!("it goes on until the flood has ended"),
    };
    println!("seed {seed}: {deaths} deaths");
    assert!(deaths > 0, "the flood ended before a server died");
    outcome
}

#[test]
fn flood_on_a_nats_server_that_is_killed() {
    let name = "jetstream_flood::flood_on_a_nats_server_that_is_killed";
    let Some(program) = nats::program_for(name) else { return };
    let seeds = if long() { 0..10 } else { 0..1 };
    floods("flood_on_a_nats_server_that_is_killed", seeds, |seed| {
        let server = Server::start(&program, &Options::that_syncs());
        let bench = NatsBench::new(&server);
        block_on(flood_with_deaths(vec![server], bench, seed))
    });
}

#[test]
fn flood_on_a_cluster_that_loses_one_server_at_a_time() {
    let name = "jetstream_flood::flood_on_a_cluster_that_loses_one_server_at_a_time";
    if !long() {
        return;
    }
    let Some(program) = nats::program_for(name) else { return };
    floods("flood_on_a_cluster_that_loses_one_server_at_a_time", 0..5, |seed| {
        let servers = nats::cluster(&program, 3);
        let urls: Vec<String> = servers.iter().map(Server::url).collect();
        let bench = NatsBench::over(Settings::to(&urls.join(",")), 3);
        block_on(flood_with_deaths(servers, bench, seed))
    });
}
