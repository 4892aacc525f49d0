//! Which SDKs and platforms work together. Pure.
//!
//! The invariant of the comparison: a minimum marked `-z` (Python: `rc100`) asks for the stable release, and when the
//! numbers themselves differ, marks do not count.

use std::cmp::Ordering;

use super::Component;
use super::info::{Info, Language};

/// User code and this platform do not work together.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Incompatible {
    /// The SDK asks for a later platform.
    #[error("work with user code that needs platform {minimum} or later; this one speaks for {own}")]
    Platform {
        /// What it asks for.
        minimum: String,
        /// What we are.
        own: String,
    },
    /// The SDK is older than what is spoken here.
    #[error("work with user code built on SDK {found}; {minimum} or later is needed")]
    Sdk {
        /// What it was built on.
        found: String,
        /// What is needed.
        minimum: &'static str,
    },
    /// It listens on TCP.
    #[error("work with user code that listens on TCP; only unix sockets are spoken")]
    Tcp,
}

/// Whether user code that says `info` of itself works with a platform of version `own`. What it does not say, or says
/// in a way nobody can read, is not held against it.
pub fn check(component: Component, info: &Info, own: &str) -> Result<(), Incompatible> {
    if info.tcp {
        return Err(Incompatible::Tcp);
    }
    if !own.contains("latest") && !info.minimum_platform.is_empty() && older(own, &info.minimum_platform) {
        return Err(Incompatible::Platform { minimum: info.minimum_platform.clone(), own: own.to_owned() });
    }
    if let Some(language) = info.language {
        let minimum = sdk_minimum(component, language);
        if older(&info.version, minimum) {
            return Err(Incompatible::Sdk { found: info.version.clone(), minimum });
        }
    }
    Ok(())
}

/// Whether a source takes messages back.
pub fn takes_nacks(info: &Info) -> bool {
    let minimum = match info.language {
        Some(Language::Go | Language::Java) => "0.11.0-z",
        Some(Language::Python) => "0.11.0rc100",
        Some(Language::Rust) => "0.4.0-z",
        None => return false,
    };
    Version::parse(&info.version).is_some() && !older(&info.version, minimum)
}

fn sdk_minimum(component: Component, language: Language) -> &'static str {
    let on_success = component == Component::OnSuccessSink;
    match language {
        Language::Go | Language::Java if on_success => "0.10.2-z",
        Language::Go | Language::Java => "0.9.0-z",
        Language::Python if on_success => "0.11.1rc100",
        Language::Python => "0.9.0rc100",
        Language::Rust if on_success => "0.4.0-z",
        Language::Rust => "0.2.0-z",
    }
}

/// Whether both can be read and `version` does not satisfy `minimum`.
fn older(version: &str, minimum: &str) -> bool {
    match (Version::parse(version), Version::parse(minimum)) {
        (Some(version), Some(minimum)) => !version.satisfies(&minimum),
        (_, None) | (None, _) => false,
    }
}

struct Version<'a> {
    numbers: [u64; 3],
    /// What marks it as coming before the release; empty for the release itself.
    mark: &'a str,
}

impl<'a> Version<'a> {
    fn parse(text: &'a str) -> Option<Self> {
        let text = text.trim();
        let text = text.strip_prefix('v').unwrap_or(text);
        let text = text.split('+').next().unwrap_or(text);
        let mut numbers = [0; 3];
        let mut rest = text;
        for (place, number) in numbers.iter_mut().enumerate() {
            let after_dot = if place == 0 { Some(rest) } else { rest.strip_prefix('.') };
            let Some(candidate) = after_dot else { break };
            let digits = candidate.len() - candidate.trim_start_matches(|c: char| c.is_ascii_digit()).len();
            if digits == 0 {
                break;
            }
            *number = candidate[..digits].parse().ok()?;
            rest = &candidate[digits..];
        }
        if rest.len() == text.len() {
            return None;
        }
        let mark = rest.trim_start_matches(['-', '.', '_']);
        // A post release comes after the release it belongs to.
        Some(Self { numbers, mark: if mark.starts_with("post") { "" } else { mark } })
    }

    fn satisfies(&self, minimum: &Self) -> bool {
        match self.numbers.cmp(&minimum.numbers) {
            Ordering::Greater => true,
            Ordering::Less => false,
            Ordering::Equal if self.mark.is_empty() => true,
            Ordering::Equal => match minimum.mark {
                "" | "z" | "rc100" => false,
                mark => natural(self.mark, mark) != Ordering::Less,
            },
        }
    }
}

/// Compares marks such as `rc2` and `rc10`: digits as numbers, the rest as text.
fn natural(left: &str, right: &str) -> Ordering {
    let split = |mark: &str| {
        let text = mark.trim_end_matches(|c: char| c.is_ascii_digit()).to_owned();
        let number: u64 = mark[text.len()..].parse().unwrap_or(0);
        (text, number)
    };
    split(left).cmp(&split(right))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sdk(language: Language, version: &str) -> Info {
        Info { language: Some(language), version: version.to_owned(), ..Info::default() }
    }

    #[test]
    fn a_minimum_with_z_asks_for_the_stable_release() {
        for (version, minimum, fine) in [
            ("1.4.0", "1.4.0-z", true),
            ("v1.4.0", "1.4.0-z", true),
            ("1.4.0-rc9", "1.4.0-z", false),
            ("1.5.0-rc1", "1.4.0-z", true),
            ("1.3.9", "1.4.0-z", false),
            ("0.10.0-rc1", "0.9.0-z", true),
            ("0.9.0rc3", "0.9.0rc100", false),
            ("0.9.0.post1", "0.9.0rc100", true),
            ("0.14.0", "0.9.0rc100", true),
            ("1.4.0-rc10", "1.4.0-rc2", true),
            ("1.4.0-rc1", "1.4.0-rc2", false),
            ("1.4.0+build", "1.4.0", true),
        ] {
            assert_eq!(!older(version, minimum), fine, "{version} against {minimum}");
        }
    }

    #[test]
    fn what_cannot_be_read_is_not_held_against_user_code() {
        assert_eq!(check(Component::Map, &sdk(Language::Go, ""), "1.8.0"), Ok(()));
        assert_eq!(check(Component::Map, &sdk(Language::Go, "(devel)"), "1.8.0"), Ok(()));
        assert_eq!(
            check(Component::Map, &Info { version: "0.0.1".into(), ..Info::default() }, "1.8.0"),
            Ok(())
        );
    }

    #[test]
    fn the_minimum_depends_on_the_component() {
        let old = sdk(Language::Rust, "0.3.0");
        assert_eq!(check(Component::Sink, &old, "1.8.0"), Ok(()));
        assert!(matches!(check(Component::OnSuccessSink, &old, "1.8.0"), Err(Incompatible::Sdk { .. })));
        assert!(matches!(
            check(Component::Map, &sdk(Language::Go, "v0.8.1"), "1.8.0"),
            Err(Incompatible::Sdk { minimum: "0.9.0-z", .. })
        ));
    }

    #[test]
    fn a_platform_that_is_too_old_is_named() {
        let info = Info { minimum_platform: "9.0.0-z".into(), ..Info::default() };
        assert!(matches!(check(Component::Map, &info, "1.8.0"), Err(Incompatible::Platform { .. })));
        assert_eq!(check(Component::Map, &info, "latest"), Ok(()));
    }

    #[test]
    fn nacks_need_an_sdk_that_knows_them() {
        assert!(takes_nacks(&sdk(Language::Rust, "0.6.0")));
        assert!(!takes_nacks(&sdk(Language::Rust, "0.3.9")));
        assert!(takes_nacks(&sdk(Language::Python, "0.11.0")));
        assert!(!takes_nacks(&sdk(Language::Python, "0.10.9")));
        assert!(!takes_nacks(&sdk(Language::Go, "")));
        assert!(!takes_nacks(&Info::default()));
    }
}
