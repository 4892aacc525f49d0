//! Lanes over a real NATS server keep what every buffer promises: each case over a server that trusts the system with
//! its writes, plainly and through a buffer that is out of reach now and then, and over one that syncs each of them.

use model::conformance::buffer::Bench;
use model::conformance::buffer::faulty::{Faults, FaultyBench};

use crate::jetstream_bench::NatsBench;
use crate::nats::{self, block_on};

const SEED: u64 = 1;

fn on_a_server(case: impl AsyncFnOnce(&dyn Bench)) {
    let Some(server) = nats::shared("jetstream_buffer") else { return };
    block_on(async { case(&NatsBench::new(server)).await });
}

fn on_a_server_with_faults(case: impl AsyncFnOnce(&dyn Bench)) {
    let Some(server) = nats::shared("jetstream_buffer") else { return };
    block_on(async { case(&FaultyBench::new(NatsBench::new(server), Faults::MILD, SEED)).await });
}

fn on_a_server_that_syncs(case: impl AsyncFnOnce(&dyn Bench)) {
    let Some(server) = nats::shared_that_syncs("jetstream_buffer") else { return };
    block_on(async { case(&NatsBench::new(server)).await });
}

mod on_a_server {
    model::buffer_conformance!(super::on_a_server);
}

mod on_a_server_with_faults {
    model::buffer_conformance!(super::on_a_server_with_faults);
}

mod on_a_server_that_syncs {
    model::buffer_conformance!(super::on_a_server_that_syncs);
}
