//! `tidegate lint`: everything that can be said about manifests without running them.

use std::io::{self, Write};

use api::complaint::{self, Severity};

use crate::args::{LintArgs, LintFormat};
use crate::exit::{Exit, Failure, Outcome};
use crate::input;

/// Prints complaints; there are some when the exit code is 1.
pub(crate) fn lint(args: &LintArgs) -> Outcome {
    let inputs = input::read_all(&args.files).map_err(Failure::usage)?;
    let loaded = api::load(inputs.iter().map(|input| (input.name.as_str(), input.bytes.as_slice())));
    let complaints = loaded.complaints;
    let text = match args.format {
        LintFormat::Text => complaint::to_text(&complaints) + &summary(&complaints, inputs.len()),
        LintFormat::Json => complaint::to_json(&complaints),
        LintFormat::Github => complaint::to_github(&complaints),
    };
    io::stdout().write_all(text.as_bytes())?;
    let worst = complaints.iter().map(|complaint| complaint.severity).max();
    let limit = if args.strict { Severity::Warning } else { Severity::Error };
    Ok(if worst >= Some(limit) { Exit::Failed } else { Exit::Done })
}

/// How many complaints there are, in words.
fn summary(complaints: &[api::Complaint], files: usize) -> String {
    let counted = [(Severity::Error, "error"), (Severity::Warning, "warning"), (Severity::Note, "note")];
    let parts: Vec<String> = counted
        .into_iter()
        .map(|(severity, word)| (complaint::count(complaints, severity), word))
        .filter(|(count, _)| *count > 0)
        .map(|(count, word)| plural(count, word))
        .collect();
    let found = if parts.is_empty() { "nothing to complain about".to_owned() } else { parts.join(", ") };
    format!("{found} in {}\n", plural(files, "file"))
}

fn plural(count: usize, word: &str) -> String {
    if count == 1 { format!("1 {word}") } else { format!("{count} {word}s") }
}
