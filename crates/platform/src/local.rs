//! One machine: every vertex runs in this process, user code in processes of its own.

pub mod disk;
pub mod engine;
pub mod namespace;
pub mod process;
pub mod program;
pub mod secrets;
pub mod site;
pub mod snapshot;
pub mod state;
