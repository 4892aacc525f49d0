//! A place that exists in memory only: workers that start late, crash or never become ready, messages as counts that flow
//! through a graph, people who change their minds, controllers that look late, act twice, crash and come in pairs. An
//! auditor judges it by what is true, not by what controllers saw. Invariant: a seed decides everything that happens.

mod audit;
mod controller;
mod keeper;
mod life;
mod scenario;
mod world;

pub use audit::Complaint;
pub use life::{Form, Life, Report};
pub use scenario::Scenario;
pub use world::{Quality, World};

/// Lives the life of a seed and says what it came to, or what was wrong with it.
pub fn live(seed: u64, form: Form) -> Result<Report, Complaint> {
    Life::new(seed, form).run()
}
