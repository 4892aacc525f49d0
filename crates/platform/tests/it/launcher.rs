//! The launcher of user code on its own, for the tests of this crate. Users run it as a hidden command of `tidegate`.
//!
//! Invariant: it does nothing but call the library, so what is tested is what users run.

use std::io::Write;
use std::process::ExitCode;

use tidegate_platform::local::namespace;

fn main() -> ExitCode {
    match namespace::launch(std::env::args_os().skip(2)) {
        Ok(code) => ExitCode::from(code),
        Err(error) => {
            let text = namespace::describe(&error);
            if writeln!(std::io::stderr(), "{text}").is_err() {
                return ExitCode::FAILURE;
            }
            ExitCode::from(namespace::EXIT_NOT_STARTED)
        }
    }
}
