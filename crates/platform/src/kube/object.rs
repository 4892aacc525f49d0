//! One object of a cluster: what is wanted of it, what is seen of it, what is said about it, and the loop that joins
//! them. Everything but the loop is pure. Invariant: what was decided is in the record on the API server before anything
//! is done because of it, so that another controller goes on where this one ended.

mod courier;
mod facts;
mod material;
mod record;
mod runner;
mod seen;
mod status;
mod wanted;
mod wishes;

#[cfg(test)]
mod tests;

pub use material::Error as MaterialError;
pub use runner::{Runner, Shared};
