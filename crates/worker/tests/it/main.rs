//! A worker between scripted doors and the real embedded buffer. What all files share is in `kit`.

extern crate tidegate_worker as worker;

mod flow;
mod kit;
mod metrics;
mod retries;
mod stopping;
