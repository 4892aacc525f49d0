//! Objects on a real cluster, watched as a person with `kubectl` would watch them. `cargo xtask e2e --cluster` installs a
//! controller in a namespace of its own, runs these and removes everything; by themselves they need what it says in its
//! variables. Invariant: every object that a test makes has the test's name and is gone when the test has passed.

mod block;
mod definitions;
mod deleting;
mod examples;
mod failures;
mod grid;
mod kills;
mod kubectl;
mod lines;
mod manifests;
mod pausing;
mod running;
mod scaling;
mod services;
mod updating;
mod watch;
mod webhook;
