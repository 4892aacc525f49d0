//! `tidegate examples`: the manifests of the directory `examples/`, inside the binary.
//!
//! Invariant: the first line of each example is a comment that says what it shows.

use std::io::{self, Write};

use anyhow::anyhow;

use crate::args::{ExamplesArgs, ExamplesCommand};
use crate::environment::Environment;
use crate::exit::{Exit, Failure, Outcome};
use crate::input::Input;
use crate::run;

macro_rules! examples {
    ($($name:literal),* $(,)?) => {
        &[$(Example { name: $name, text: include_str!(concat!("../../../examples/", $name, ".yaml")) }),*]
    };
}

struct Example {
    name: &'static str,
    text: &'static str,
}

/// From the simplest to the most involved.
const EXAMPLES: &[Example] = examples![
    "simple",
    "mono-vertex",
    "even-odd",
    "http-to-file",
    "file-to-file",
    "flat-map",
    "filter-with-secret",
    "multi-partition",
    "join",
    "cycle",
    "rate-limit",
    "user-code",
    "pause",
    "canary",
    "blue-green",
];

/// Lists, prints or runs examples.
pub(crate) fn examples(args: ExamplesArgs, environment: &Environment) -> Outcome {
    match args.command.unwrap_or(ExamplesCommand::List) {
        ExamplesCommand::List => {
            let width = EXAMPLES.iter().map(|example| example.name.len()).max().unwrap_or_default();
            let mut out = io::stdout();
            for example in EXAMPLES {
                writeln!(out, "{:width$}  {}", example.name, example.what())?;
            }
            writeln!(out, "\nTry: tidegate examples run {}", EXAMPLES[0].name)?;
        }
        ExamplesCommand::Print { example } => io::stdout().write_all(find(&example)?.text.as_bytes())?,
        ExamplesCommand::Run { example, options } => {
            let example = find(&example)?;
            let name = format!("examples/{}.yaml", example.name);
            let input = Input { name, path: None, bytes: example.text.as_bytes().to_vec() };
            return run::run_inputs(&[input], &options, environment);
        }
    }
    Ok(Exit::Done)
}

impl Example {
    /// What its first comment says.
    fn what(&self) -> &'static str {
        self.text.lines().next().unwrap_or_default().trim_start_matches(['#', ' '])
    }
}

fn find(name: &str) -> Result<&'static Example, Failure> {
    let bare = name.strip_suffix(".yaml").unwrap_or(name);
    EXAMPLES.iter().find(|example| example.name == bare).ok_or_else(|| {
        let names: Vec<&str> = EXAMPLES.iter().map(|example| example.name).collect();
        Failure::usage(anyhow!("find the example {name:?}: there are {}", names.join(", ")))
    })
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;
    use std::fs;
    use std::path::Path;

    use super::EXAMPLES;

    #[test]
    fn every_file_of_the_directory_is_inside() {
        let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../examples");
        let files: BTreeSet<String> = fs::read_dir(directory)
            .unwrap()
            .filter_map(|entry| {
                entry.unwrap().file_name().into_string().unwrap().strip_suffix(".yaml").map(str::to_owned)
            })
            .collect();
        let inside: BTreeSet<String> = EXAMPLES.iter().map(|example| example.name.to_owned()).collect();
        assert_eq!(inside, files);
    }

    #[test]
    fn every_example_says_what_it_shows() {
        for example in EXAMPLES {
            let first = example.text.lines().next().unwrap();
            assert!(first.starts_with("# ") && first.ends_with('.'), "{}: {first}", example.name);
        }
    }
}
