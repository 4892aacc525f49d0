//! Buffer services on a cluster: NATS servers with JetStream, made and looked after for each `InterStepBufferService`.
//! What should be so is decided by the pure parts (`servers`, `render`, `decide`); `reconcile` looks and acts. Invariant:
//! no server is taken away while another one is missing, unless it has never worked or there is only one.

mod conditions;
mod conf;
mod credentials;
pub mod decide;
mod reconcile;
pub mod render;
pub mod servers;
mod work;

pub use reconcile::{Setup, run};
