//! Whole objects in a place that does at once what it is told: what a decision comes to when nothing goes wrong.

mod facts;
mod grid;
pub(crate) mod place;
mod standstill;
