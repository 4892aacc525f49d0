//! Which servers will do. The one invariant: a server that cannot compare the last sequence over a filter of subjects
//! is never used, because it would ignore the question and store the message.

use std::fmt;

/// A version of the server.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Version {
    /// Incompatible changes.
    pub major: u32,
    /// New abilities.
    pub minor: u32,
    /// Corrections.
    pub patch: u32,
}

/// The oldest server that will do. Before 2.11 a server takes `Nats-Expected-Last-Subject-Sequence-Subject` for a header
/// of the user; 2.11.0 knows it and finds the last sequence over a filter wrongly, so that two writers pass one fence.
pub const OLDEST: Version = Version { major: 2, minor: 12, patch: 0 };

impl Version {
    /// Reads `2.11.4`, `v2.11.4` or `2.12.0-RC.1`; what follows the three numbers does not count.
    pub fn read(text: &str) -> Option<Self> {
        let text = text.trim().trim_start_matches('v');
        let numbers = text.split(['-', '+']).next()?;
        let mut parts = numbers.split('.').map(|part| part.parse::<u32>().ok());
        let (major, minor, patch) = (parts.next()??, parts.next()??, parts.next()??);
        parts.next().is_none().then_some(Self { major, minor, patch })
    }
}

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}.{}", self.major, self.minor, self.patch)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_are_read_and_ordered() {
        let version = |major, minor, patch| Some(Version { major, minor, patch });
        for (text, read) in [
            ("2.11.0", version(2, 11, 0)),
            ("v2.15.2", version(2, 15, 2)),
            ("2.12.0-RC.1", version(2, 12, 0)),
            ("2.11", None),
            ("2.11.0.1", None),
            ("", None),
        ] {
            assert_eq!(Version::read(text), read, "{text}");
        }
        assert!(Version::read("2.9.25") < Some(OLDEST));
        assert!(Version::read("2.11.0") < Some(OLDEST));
        assert!(Version::read("2.100.0") > Some(OLDEST));
    }
}
