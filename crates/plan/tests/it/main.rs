//! What the decisions promise, shown from outside.

mod assign;
mod book;
