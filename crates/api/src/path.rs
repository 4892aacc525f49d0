//! Where in an object something is: `spec.vertices[2].udf`. The invariant: a path names steps from the
//! object's root, and printing it gives what people write, with unusual keys in brackets and quotes.

use std::fmt;

/// One step down.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Step {
    /// Into a member of an object.
    Field(String),
    /// Into an element of a list.
    Index(usize),
}

/// Steps from an object's root.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Path {
    steps: Vec<Step>,
}

impl Path {
    /// The object itself.
    pub fn root() -> Self {
        Self::default()
    }

    /// The member of that name.
    #[must_use]
    pub fn field(&self, name: &str) -> Self {
        self.with(Step::Field(name.to_owned()))
    }

    /// The element at that index.
    #[must_use]
    pub fn index(&self, index: usize) -> Self {
        self.with(Step::Index(index))
    }

    /// The member that several names lead to, one inside the other.
    #[must_use]
    pub fn fields(&self, names: &[&str]) -> Self {
        names.iter().fold(self.clone(), |path, name| path.field(name))
    }

    /// True when `self` is `other` or lies inside it.
    pub fn is_within(&self, other: &Self) -> bool {
        self.steps.starts_with(&other.steps)
    }

    pub(crate) fn steps(&self) -> &[Step] {
        &self.steps
    }

    fn with(&self, step: Step) -> Self {
        let mut steps = Vec::with_capacity(self.steps.len() + 1);
        steps.extend_from_slice(&self.steps);
        steps.push(step);
        Self { steps }
    }
}

impl fmt::Display for Path {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (position, step) in self.steps.iter().enumerate() {
            match step {
                Step::Index(index) => write!(f, "[{index}]")?,
                Step::Field(name) if !is_plain(name) => write!(f, "[{name:?}]")?,
                Step::Field(name) if position == 0 => f.write_str(name)?,
                Step::Field(name) => write!(f, ".{name}")?,
            }
        }
        Ok(())
    }
}

fn is_plain(name: &str) -> bool {
    !name.is_empty() && name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_' || c == '-')
}

#[cfg(test)]
mod tests {
    use super::Path;

    #[test]
    fn a_path_prints_as_people_write_it() {
        let path = Path::root().field("spec").field("vertices").index(2).fields(&["udf", "container"]);
        assert_eq!(path.to_string(), "spec.vertices[2].udf.container");
        let path = Path::root().field("metadata").field("labels").field("a.b/c");
        assert_eq!(path.to_string(), "metadata.labels[\"a.b/c\"]");
        assert_eq!(Path::root().to_string(), "");
    }

    #[test]
    fn a_path_is_within_itself_and_its_ancestors_only() {
        let parent = Path::root().field("spec").index(1);
        assert!(parent.is_within(&parent));
        assert!(parent.field("x").is_within(&parent));
        assert!(!parent.is_within(&parent.field("x")));
        assert!(!Path::root().field("spec").index(12).is_within(&parent));
    }
}
