//! Committed prints: what a test has to say is held against a file. With `TIDEGATE_UPDATE_CASES` in the environment the files
//! are written anew. Invariant: a test passes only when its print is the committed one, or was just made it by somebody
//! who said so.

use std::path::Path;

/// What somebody does who meant the difference.
pub(crate) const HOW: &str =
    "if that is meant: TIDEGATE_UPDATE_CASES=1 cargo test -p tidegate-plan --test it";

/// Where a print differs from the committed one, if it does.
pub(crate) fn differs(path: &Path, found: &str) -> Option<String> {
    let wanted = std::fs::read_to_string(path).unwrap_or_default();
    if wanted == found {
        return None;
    }
    if std::env::var_os("TIDEGATE_UPDATE_CASES").is_some() {
        std::fs::write(path, found).expect("the prints can be written");
        return None;
    }
    let lines = wanted.lines().map(Some).chain(std::iter::repeat(None));
    let mut pairs = found.lines().map(Some).chain([None]).zip(lines).zip(1..);
    let ((found, wanted), line) = pairs.find(|((found, wanted), _)| found != wanted)?;
    Some(format!("{}, line {line}:\n  found  {found:?}\n  wanted {wanted:?}", path.display()))
}
