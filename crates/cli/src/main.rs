//! The one binary `tidegate`: the composition root, and the only place that reads flags and the environment.
//!
//! What a command does is in the file of its name; how one ends is in [`exit`]. Invariant: nothing happens before the
//! hidden launcher command is told apart, because it needs a process without a second thread.

mod args;
mod client;
mod cluster;
mod controller;
mod daemon;
mod environment;
mod examples;
mod exit;
mod input;
mod install;
mod isb;
mod isbsvc;
mod lint;
mod live;
mod logging;
mod ports;
mod processor;
mod run;
mod screen;
mod site;
mod text;
mod up;
mod version;

use std::process::ExitCode;

use clap::Parser;

use args::{Args, Command};
use environment::Environment;
use exit::Outcome;

fn main() -> ExitCode {
    let mut words = std::env::args_os().skip(1);
    if words.next().is_some_and(|word| word == platform::local::namespace::SUBCOMMAND) {
        return exit::of_launcher(platform::local::namespace::launch(words));
    }
    exit::install_panic_hook();
    exit::of(dispatch(Args::parse().command, &Environment::read()))
}

fn dispatch(command: Command, environment: &Environment) -> Outcome {
    match command {
        Command::Daemon => daemon::daemon(environment),
        Command::Processor(_) => processor::processor(environment),
        Command::Run(args) => run::run(&args, environment),
        Command::Up(args) => up::up(&args, environment),
        Command::Controller(args) => controller::controller(&args, environment),
        Command::Site(command) => site::run(command, environment),
        Command::Isbsvc(args) => isbsvc::isbsvc(&args, environment),
        Command::Install(args) => install::install(&args),
        Command::Lint(args) => lint::lint(&args),
        Command::Examples(args) => examples::examples(args, environment),
        Command::Version(args) => version::version(&args),
        Command::Completion(args) => args::complete(args.shell),
    }
}
