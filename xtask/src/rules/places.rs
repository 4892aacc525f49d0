//! Crates that may be named in one place of another crate only.
//!
//! That the dependency exists at all is allowed by the table in `deps`. Invariant: a crate that must stay behind a
//! seam is named in the file of that seam and nowhere else, tests excepted.

use std::path::Path;

use crate::finding::Finding;
use crate::source::Source;

/// In `package`, the crate `named` may appear only below `places`.
struct Place {
    package: &'static str,
    named: &'static str,
    places: &'static [&'static str],
}

/// Below `local/` the platform runs workers in its own process; see docs/adr/0001-platform-uses-model.md.
const LOCAL: &[&str] = &["crates/platform/src/local.rs", "crates/platform/src/local"];

const PLACES: [Place; 6] = [
    Place { package: "worker", named: "connect", places: &["crates/worker/src/wire.rs"] },
    Place { package: "keeper", named: "connect", places: &["crates/keeper/src/wire.rs"] },
    Place { package: "platform", named: "worker", places: LOCAL },
    Place { package: "platform", named: "keeper", places: LOCAL },
    Place { package: "platform", named: "model", places: LOCAL },
    Place { package: "platform", named: "journal", places: LOCAL },
];

/// Every crate the file names and may not.
pub(super) fn findings(source: &Source) -> Vec<Finding> {
    let rules = PLACES.iter().filter(|place| place.package == source.package && !source.is_example());
    let broken = rules.filter(|place| !place.places.iter().any(|prefix| is_below(&source.path, prefix)));
    broken
        .flat_map(|place| {
            lines_naming(source, place.named).map(move |line| {
                Finding::at(
                    &source.path,
                    line,
                    format!(
                        "`{}` may name `{}` only in {}",
                        place.package,
                        place.named,
                        place.places.join(", ")
                    ),
                    "move the call behind that seam, or pass in a door",
                )
            })
        })
        .collect()
}

fn is_below(path: &Path, prefix: &str) -> bool {
    path.starts_with(prefix)
}

/// Words that end before a path that starts with `::`.
const KEYWORDS: [&str; 8] = ["as", "dyn", "impl", "in", "match", "mut", "return", "use"];

/// Whether the word at `index` is the first of its path: no receiver and no other segment leads to it.
fn is_root(source: &Source, index: usize) -> bool {
    match source.text_before(index) {
        "." => false,
        "::" => {
            let before = source.text_before(index - 1);
            let is_segment = before.ends_with(|last: char| last.is_alphanumeric() || "_>".contains(last));
            !is_segment || KEYWORDS.contains(&before)
        }
        _ => true,
    }
}

/// Lines at which the crate is named as the root of a path or imported whole.
fn lines_naming<'a>(source: &'a Source, named: &'a str) -> impl Iterator<Item = usize> + 'a {
    source.tokens.iter().enumerate().filter_map(move |(index, token)| {
        let is_path = source.text_after(index) == "::" && is_root(source, index);
        let is_import = source.text_before(index) == "use";
        let is_named = token.text == named && (is_path || is_import);
        (is_named && !source.is_test(token)).then_some(token.line)
    })
}
