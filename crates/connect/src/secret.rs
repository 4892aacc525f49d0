//! Secret values, as the place where a vertex runs has them.
//!
//! Values are resolved before a connector is opened; none is ever printed.

use std::collections::BTreeMap;
use std::fmt;

/// The secrets (and config maps) that connectors may ask for: name → key → value.
#[derive(Clone, Default)]
pub struct Secrets(BTreeMap<String, BTreeMap<String, String>>);

/// A secret that a manifest names and nobody provided.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("find key {key} of secret {name}")]
pub struct Missing {
    /// The secret.
    pub name: String,
    /// The key within it.
    pub key: String,
}

impl Secrets {
    /// Adds one value, replacing an earlier one.
    pub fn insert(&mut self, name: &str, key: &str, value: String) {
        self.0.entry(name.to_owned()).or_default().insert(key.to_owned(), value);
    }

    /// The value of `key` in secret `name`, without surrounding white space.
    pub fn get(&self, name: &str, key: &str) -> Result<&str, Missing> {
        let found = self.0.get(name).and_then(|keys| keys.get(key));
        found.map(|value| value.trim()).ok_or_else(|| Missing { name: name.to_owned(), key: key.to_owned() })
    }

    /// Every value with its name and key.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &str, &str)> {
        self.0.iter().flat_map(|(name, keys)| {
            keys.iter().map(move |(key, value)| (name.as_str(), key.as_str(), value.as_str()))
        })
    }

    /// All keys of a secret.
    pub fn all(&self, name: &str) -> impl Iterator<Item = (&str, &str)> {
        self.0.get(name).into_iter().flatten().map(|(key, value)| (key.as_str(), value.as_str()))
    }
}

impl fmt::Debug for Secrets {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names = self.0.iter().map(|(name, keys)| (name, keys.keys().collect::<Vec<_>>()));
        f.debug_map().entries(names).finish()
    }
}
