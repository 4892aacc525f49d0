//! The journal buffer keeps what every buffer promises: each case over a simulated disk and over files, plainly and
//! through a buffer that is out of reach now and then.

use model::conformance::buffer::Bench;
use model::conformance::buffer::faulty::{Faults, FaultyBench};

use crate::journal_buffer_bench::{FileBench, SimBench, alone, together};

const SEED: u64 = 1;

fn simulated(case: impl AsyncFnOnce(&dyn Bench)) {
    alone(case(&SimBench::new(SEED)));
}

fn simulated_with_faults(case: impl AsyncFnOnce(&dyn Bench)) {
    alone(case(&FaultyBench::new(SimBench::new(SEED), Faults::MILD, SEED)));
}

fn on_files(case: impl AsyncFnOnce(&dyn Bench)) {
    together(case(&FileBench::new()));
}

fn on_files_with_faults(case: impl AsyncFnOnce(&dyn Bench)) {
    together(case(&FaultyBench::new(FileBench::new(), Faults::MILD, SEED)));
}

mod simulated {
    model::buffer_conformance!(super::simulated);
}

mod simulated_with_faults {
    model::buffer_conformance!(super::simulated_with_faults);
}

mod on_files {
    model::buffer_conformance!(super::on_files);
}

mod on_files_with_faults {
    model::buffer_conformance!(super::on_files_with_faults);
}
