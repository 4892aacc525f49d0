//! What the decisions promise, shown from outside.

mod assign;
mod book;
mod cases;
mod decide;
mod print;
mod rollout;
mod scale;
mod world;
