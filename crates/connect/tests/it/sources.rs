//! Every source against the suite of its door.

use model::conformance::source::Bench;
use model::conformance::source::faulty::Faulty;

mod file;
mod generator;
mod http;
mod mutants;
mod stdin;

/// Runs a case on a bench as it is, and on others that are slow and out of reach now and then.
#[expect(clippy::needless_pass_by_value, reason = "the suite hands its cases over by value")]
fn run<B: Bench>(bench: impl Fn() -> B, case: impl AsyncFn(&mut dyn Bench)) {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
    runtime.block_on(async {
        case(&mut bench()).await;
        for seed in [1, 2] {
            case(&mut Faulty::new(bench(), seed)).await;
        }
    });
}
