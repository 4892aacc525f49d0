//! The only build tool: `cargo xtask check`, `test`, `gen`, `image`, `sim`, `e2e` and `bench`.
//!
//! This file reads the command line and nothing else; each command has its module. Invariant: `check` needs nothing
//! but the toolchain, and what the other commands need they find, install below `target/`, or name as skipped.

#![expect(clippy::print_stdout, reason = "what a build tool finds out goes to standard output")]

use std::process::ExitCode;

use anyhow::Result;
use clap::{Parser, Subcommand};

mod bench;
mod cargo;
mod check;
mod cluster;
mod deps;
mod finding;
#[cfg(test)]
mod generate;
mod image;
mod licenses;
mod python;
mod rules;
mod source;
mod suite;
mod tool;

/// Checks, tests and measures the project.
#[derive(Parser)]
#[command(name = "cargo xtask", bin_name = "cargo xtask")]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Hold the project against its rules: format, lints, directions, purity, sizes, words.
    Check(check::Arguments),
    /// Run every test, after preparing what the tests need; list by name what had to be skipped.
    Test(suite::Test),
    /// Make the generated files; `test` says which are stale.
    Gen,
    /// Make what an image builder needs for a container image: static programs and a Dockerfile.
    Image(image::Arguments),
    /// Run the simulation tests in release mode with many seeds.
    Sim(suite::Sim),
    /// Run the long form of the end-to-end tests in release mode.
    E2e(suite::E2e),
    /// Measure, and print a table with the medians of several runs.
    Bench(bench::Arguments),
}

fn main() -> ExitCode {
    match run(Arguments::parse().command) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            println!("failed: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(command: Command) -> Result<()> {
    match command {
        Command::Check(arguments) => check::run(&arguments),
        Command::Test(arguments) => suite::test(&arguments),
        Command::Gen => suite::generate(),
        Command::Image(arguments) => image::run(&arguments),
        Command::Sim(arguments) => suite::sim(&arguments),
        Command::E2e(arguments) => suite::e2e(&arguments),
        Command::Bench(arguments) => bench::run(&arguments),
    }
}
