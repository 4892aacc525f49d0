//! What the decisions promise, shown from outside.

mod assign;
mod book;
mod decide;
mod rollout;
mod scale;
mod world;
