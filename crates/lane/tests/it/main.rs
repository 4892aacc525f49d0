//! What the lane protocol keeps, on a broker that exists in memory only.

#![expect(clippy::unwrap_used, reason = "what helps a test is part of it")]

mod broker;
mod conformance;
mod open;
mod seeds;
mod sim;
mod simulation;
mod world;
