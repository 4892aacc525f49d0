//! What an unknown name was probably meant to be. The invariant: a hint only names fields and values that exist.

use serde_json::Value;

use super::{Spot, Walk};

/// The share of two names that must be alike for one to be taken for the other.
const ALIKE: f64 = 0.6;
/// So many of a user's own names are compared, so that a file full of slips is not looked at for minutes.
pub(crate) const CANDIDATES_MAX: usize = 200;
/// Up to so many known names are simply listed.
const LISTED: usize = 12;

/// Fields that used to exist, with what to do instead.
const REMOVED: [(&str, &str); 3] = [
    ("builtin", "built-in functions do not exist any more; use `container` with an image"),
    ("redis", "Redis as a buffer service does not exist any more; use `jetstream`"),
    ("redisStreams", "the Redis Streams source does not exist any more; use a `udsource`"),
];

/// The name that is most like `name`, as a question.
pub(crate) fn did_you_mean<'n>(name: &str, known: impl Iterator<Item = &'n str>) -> Option<String> {
    let folded = fold(name);
    let (score, best) = known
        .map(|candidate| (strsim::normalized_damerau_levenshtein(&folded, &fold(candidate)), candidate))
        .max_by(|(left, _), (right, _)| left.total_cmp(right))?;
    (score >= ALIKE).then(|| format!("did you mean `{best}`?"))
}

fn fold(name: &str) -> String {
    name.to_ascii_lowercase().replace(['_', '-'], "")
}

/// Names in a row, in code quotes.
pub(crate) fn list(names: &[&str]) -> String {
    let quoted: Vec<_> =
        names.iter().filter(|name| !name.is_empty()).map(|name| format!("`{name}`")).collect();
    quoted.join(", ")
}

/// What to do about an unknown field.
pub(super) enum Advice {
    /// It was meant for a field that exists.
    Slip(String),
    /// It is like nothing here.
    Stranger(String),
}

pub(super) fn for_unknown_field<'a>(walk: &Walk<'a>, name: &str, spot: &Spot<'a, '_>) -> Advice {
    if let Some((_, instead)) = REMOVED.iter().find(|(removed, _)| *removed == name) {
        return Advice::Slip((*instead).to_owned());
    }
    let Some(properties) = spot.schema.properties() else { return Advice::Stranger(String::new()) };
    if let Some(known) = properties.keys().find(|known| fold(known) == fold(name)) {
        return Advice::Slip(format!("did you mean `{known}`?"));
    }
    if let Some(hint) = elsewhere(walk, name, spot) {
        return Advice::Slip(hint);
    }
    if let Some(hint) = did_you_mean(name, properties.keys().map(String::as_str)) {
        return Advice::Slip(hint);
    }
    let known: Vec<&str> = properties.keys().map(String::as_str).collect();
    if known.is_empty() {
        Advice::Stranger("nothing can be set here".to_owned())
    } else if known.len() <= LISTED {
        Advice::Stranger(format!("known here: {}", list(&known)))
    } else {
        Advice::Stranger("remove it".to_owned())
    }
}

/// Where a field of that very name exists close by: further out, or in exactly one member.
fn elsewhere<'a>(walk: &Walk<'a>, name: &str, spot: &Spot<'a, '_>) -> Option<String> {
    let mut outer = spot.parent;
    while let Some(ancestor) = outer {
        let knows = ancestor.schema.properties().is_some_and(|properties| properties.contains_key(name));
        if knows && !ancestor.schema.is_stock() && name != "name" {
            let path = ancestor.path.to_string();
            let place = if path.is_empty() { "the object itself".to_owned() } else { format!("`{path}`") };
            return Some(format!("`{name}` belongs to {place}; look at the indentation"));
        }
        outer = ancestor.parent;
    }
    let knows = |schema: &'a Value| {
        let inner = walk.resolve(schema);
        !inner.is_stock() && inner.properties().is_some_and(|properties| properties.contains_key(name))
    };
    let mut members = spot.schema.properties()?.iter().filter(|(_, schema)| knows(schema));
    match (members.next(), members.next()) {
        (Some((member, _)), None) => Some(format!("`{name}` belongs inside `{member}`")),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::{did_you_mean, list};

    #[test]
    fn a_slip_is_recognised_and_a_stranger_is_not() {
        let known = ["readBatchSize", "readTimeout", "bufferMaxLength"];
        for slip in ["readBatchsize", "read_batch_size", "redBatchSize", "readBatchSizes"] {
            assert_eq!(
                did_you_mean(slip, known.into_iter()).as_deref(),
                Some("did you mean `readBatchSize`?"),
                "{slip}"
            );
        }
        assert_eq!(did_you_mean("volumes", known.into_iter()), None);
        assert_eq!(did_you_mean("x", [].into_iter()), None);
    }

    #[test]
    fn lists_leave_out_the_empty_name() {
        assert_eq!(list(&["", "Running", "Paused"]), "`Running`, `Paused`");
    }
}
