//! Rollouts of one vertex: a few whole stories, printed, and thousands of random ones, audited.

mod auditor;
mod simulation;
mod stories;
