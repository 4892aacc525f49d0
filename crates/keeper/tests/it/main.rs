//! What the keeper promises, shown from outside: by hand-made reports and by simulated pipelines.

mod activity;
mod made;
mod owners;
mod simulated;
mod watermarks;
mod world;
