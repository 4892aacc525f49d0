//! A command line as people write it, as a program and its arguments, and back.
//!
//! A command without shell syntax is split by the rules of quoting and started directly, so that signals and exit codes
//! are its own. One with shell syntax (a pipe, a redirection, a variable, a pattern, a leading assignment …) is given to
//! `sh -c`. Invariant: what is inside quotes never makes a command one for the shell, except `$` and a backquote inside
//! double quotes, as in the shell itself.

/// Characters that mean something to a shell when they are not quoted.
const SHELL_SYNTAX: &[char] = &['|', '&', ';', '<', '>', '(', ')', '$', '`', '*', '?', '[', '\n'];

/// Splits a command line, or wraps it in `sh -c`; `None` when a quote is not closed or there is no word in it.
pub fn to_command(text: &str) -> Option<Vec<String>> {
    let words = shlex::split(text)?;
    if words.is_empty() {
        return None;
    }
    if needs_shell(text) {
        return Some(vec!["sh".to_owned(), "-c".to_owned(), text.trim().to_owned()]);
    }
    Some(words)
}

/// A program and its arguments as one would type them.
pub(super) fn to_text(command: &[String]) -> String {
    let quoted = shlex::try_join(command.iter().map(String::as_str));
    quoted.unwrap_or_else(|_| command.join(" "))
}

fn needs_shell(text: &str) -> bool {
    let text = text.trim();
    let mut quote = None;
    let mut characters = text.chars();
    let mut is_word_start = true;
    while let Some(character) = characters.next() {
        match (quote, character) {
            (None | Some('"'), '\\') => {
                characters.next();
            }
            (None, '\'' | '"') => quote = Some(character),
            (Some(open), _) if open == character => quote = None,
            (None, '~') if is_word_start => return true,
            (None, _) if SHELL_SYNTAX.contains(&character) => return true,
            (Some('"'), '$' | '`') => return true,
            (None | Some(_), _) => {}
        }
        is_word_start = character.is_whitespace();
    }
    starts_with_assignment(text)
}

fn starts_with_assignment(text: &str) -> bool {
    let first = text.split_whitespace().next().unwrap_or_default();
    first.split_once('=').is_some_and(|(name, _)| {
        !name.starts_with(|c: char| c.is_ascii_digit())
            && !name.is_empty()
            && name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_')
    })
}
