//! What is wrong with a manifest, and how that is printed: for people, for GitHub, for programs. The invariant:
//! a complaint says where, what and, when we know it, what to do.

use std::fmt::{self, Write as _};

use serde::{Serialize, Serializer};

use crate::path::Path;

/// How much a complaint weighs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Severity {
    /// Worth knowing.
    Note,
    /// It runs, and maybe not as meant.
    Warning,
    /// It does not run.
    Error,
}

impl Severity {
    /// The word that is printed.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Note => "note",
            Self::Warning => "warning",
            Self::Error => "error",
        }
    }
}

/// One thing that is wrong.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Complaint {
    /// How much it weighs.
    pub severity: Severity,
    /// A stable short name of what was checked, such as `edge-unknown-vertex`.
    pub rule: &'static str,
    /// Where in the object.
    #[serde(serialize_with = "path_as_text")]
    pub path: Path,
    /// The file; empty when the object came from no file.
    pub file: String,
    /// The line, from 1; 0 when it is not known.
    pub line: u32,
    /// The column in characters, from 1; 0 when it is not known.
    pub column: u32,
    /// What is wrong.
    pub message: String,
    /// What to do; empty when there is nothing to say.
    pub hint: String,
}

fn path_as_text<S: Serializer>(path: &Path, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_str(path)
}

impl Complaint {
    /// True for an error.
    pub fn is_error(&self) -> bool {
        self.severity == Severity::Error
    }

    /// A complaint about a file as a whole.
    pub(crate) fn about_file(file: &str, rule: &'static str, message: String, hint: &str) -> Self {
        Self {
            severity: Severity::Error,
            rule,
            path: Path::root(),
            file: file.to_owned(),
            line: 0,
            column: 0,
            message,
            hint: hint.to_owned(),
        }
    }
}

impl fmt::Display for Complaint {
    /// `file:line:column: error[rule] path: message (hint)`; parts that are not known are left out.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if !self.file.is_empty() {
            write!(f, "{}:", self.file)?;
            if self.line > 0 {
                write!(f, "{}:{}:", self.line, self.column)?;
            }
            f.write_str(" ")?;
        }
        write!(f, "{}[{}] ", self.severity.as_str(), self.rule)?;
        let path = self.path.to_string();
        if !path.is_empty() {
            write!(f, "{path}: ")?;
        }
        f.write_str(&self.message)?;
        if !self.hint.is_empty() {
            write!(f, " ({})", self.hint)?;
        }
        Ok(())
    }
}

/// How many complaints of a severity there are.
pub fn count(complaints: &[Complaint], severity: Severity) -> usize {
    complaints.iter().filter(|complaint| complaint.severity == severity).count()
}

/// One line per complaint, each ended by a line feed.
pub fn to_text(complaints: &[Complaint]) -> String {
    let mut text = String::new();
    for complaint in complaints {
        writeln!(text, "{complaint}").expect("a string takes whatever is written to it");
    }
    text
}

/// Workflow commands that GitHub shows beside the lines of a change.
pub fn to_github(complaints: &[Complaint]) -> String {
    let mut text = String::new();
    for complaint in complaints {
        let command =
            if complaint.severity == Severity::Note { "notice" } else { complaint.severity.as_str() };
        let mut properties = vec![format!("title={}", escape_property(complaint.rule))];
        if !complaint.file.is_empty() {
            properties.push(format!("file={}", escape_property(&complaint.file)));
        }
        if complaint.line > 0 {
            properties.push(format!("line={},col={}", complaint.line, complaint.column));
        }
        let bare = Complaint { file: String::new(), line: 0, column: 0, ..complaint.clone() };
        writeln!(text, "::{command} {}::{}", properties.join(","), escape_data(&bare.to_string()))
            .expect("a string takes whatever is written to it");
    }
    text
}

/// A JSON array of complaints, ended by a line feed.
pub fn to_json(complaints: &[Complaint]) -> String {
    let mut text = serde_json::to_string_pretty(complaints).expect("complaints are plain data");
    text.push('\n');
    text
}

fn escape_data(text: &str) -> String {
    text.replace('%', "%25").replace('\r', "%0D").replace('\n', "%0A")
}

fn escape_property(text: &str) -> String {
    escape_data(text).replace(':', "%3A").replace(',', "%2C")
}

/// So many errors, and so many others, are kept for one object; the rest are only counted.
pub const COMPLAINTS_MAX: usize = 1000;

/// Complaints of one object while it is looked at; places in the file are added at the end.
#[derive(Debug, Default)]
pub(crate) struct Findings {
    found: Vec<Found>,
    errors: usize,
    others: usize,
    /// Takes the words of those that are only counted.
    uncounted: Option<Found>,
}

/// A complaint without a file.
#[derive(Clone, Debug)]
pub(crate) struct Found {
    pub(crate) severity: Severity,
    pub(crate) rule: &'static str,
    pub(crate) path: Path,
    pub(crate) message: String,
    pub(crate) hint: String,
}

impl Findings {
    /// Notes an error; the result takes a hint.
    pub(crate) fn error(
        &mut self,
        rule: &'static str,
        path: &Path,
        message: impl Into<String>,
    ) -> &mut Found {
        self.push(Severity::Error, rule, path, message.into())
    }

    /// Notes a warning; the result takes a hint.
    pub(crate) fn warning(
        &mut self,
        rule: &'static str,
        path: &Path,
        message: impl Into<String>,
    ) -> &mut Found {
        self.push(Severity::Warning, rule, path, message.into())
    }

    /// Notes something worth knowing; the result takes a hint.
    pub(crate) fn note(&mut self, rule: &'static str, path: &Path, message: impl Into<String>) -> &mut Found {
        self.push(Severity::Note, rule, path, message.into())
    }

    pub(crate) fn push(
        &mut self,
        severity: Severity,
        rule: &'static str,
        path: &Path,
        message: String,
    ) -> &mut Found {
        let found = Found { severity, rule, path: path.clone(), message, hint: String::new() };
        let count = if severity == Severity::Error { &mut self.errors } else { &mut self.others };
        *count += 1;
        if *count > COMPLAINTS_MAX {
            return self.uncounted.insert(found);
        }
        let position = self.found.len();
        self.found.push(found);
        &mut self.found[position]
    }

    /// What was found, and if there was too much of it, how much more.
    pub(crate) fn into_inner(mut self) -> Vec<Found> {
        let more = [self.errors, self.others].map(|count| count.saturating_sub(COMPLAINTS_MAX));
        if more != [0, 0] {
            let message =
                format!("{} more errors and {} more warnings and notes are not shown", more[0], more[1]);
            let path = Path::root();
            let severity = if more[0] > 0 { Severity::Error } else { Severity::Note };
            self.found.push(Found {
                severity,
                rule: "too-many-complaints",
                path,
                message,
                hint: String::new(),
            });
        }
        self.found
    }
}

impl Found {
    /// Says what to do.
    pub(crate) fn hint(&mut self, hint: impl Into<String>) {
        self.hint = hint.into();
    }
}

#[cfg(test)]
mod tests {
    use super::{Complaint, Severity, to_github, to_json, to_text};
    use crate::path::Path;

    fn sample() -> Complaint {
        Complaint {
            severity: Severity::Error,
            rule: "edge-unknown-vertex",
            path: Path::root().field("spec").field("edges").index(0).field("to"),
            file: "dir/a,b.yaml".to_owned(),
            line: 7,
            column: 5,
            message: "there is no vertex `x`\nreally, 100%".to_owned(),
            hint: "did you mean `y`?".to_owned(),
        }
    }

    #[test]
    fn text_leads_with_a_place_editors_understand() {
        assert_eq!(
            to_text(&[sample()]),
            "dir/a,b.yaml:7:5: error[edge-unknown-vertex] spec.edges[0].to: there is no vertex `x`\nreally, 100% \
             (did you mean `y`?)\n"
        );
        let bare = Complaint { file: String::new(), path: Path::root(), hint: String::new(), ..sample() };
        assert_eq!(to_text(&[bare]), "error[edge-unknown-vertex] there is no vertex `x`\nreally, 100%\n");
    }

    #[test]
    fn github_commands_are_one_line_and_escaped() {
        assert_eq!(
            to_github(&[sample()]),
            "::error title=edge-unknown-vertex,file=dir/a%2Cb.yaml,line=7,col=5::error[edge-unknown-vertex] \
             spec.edges[0].to: there is no vertex `x`%0Areally, 100%25 (did you mean `y`?)\n"
        );
        let note = Complaint { severity: Severity::Note, ..sample() };
        assert!(to_github(&[note]).starts_with("::notice "));
    }

    #[test]
    fn json_has_every_part() {
        let parsed: serde_json::Value = serde_json::from_str(&to_json(&[sample()])).unwrap();
        assert_eq!(
            parsed,
            serde_json::json!([{
                "severity": "error", "rule": "edge-unknown-vertex", "path": "spec.edges[0].to",
                "file": "dir/a,b.yaml", "line": 7, "column": 5,
                "message": "there is no vertex `x`\nreally, 100%", "hint": "did you mean `y`?",
            }])
        );
    }
}
