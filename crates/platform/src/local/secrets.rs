//! Secrets and config maps of a machine that has no cluster to ask: flags, files, directories and objects in the
//! manifests.
//!
//! Reading flags is for the caller. Invariant: no value is ever printed, and everything a manifest needs is asked for at
//! once, before anything starts.

use std::collections::BTreeSet;
use std::fmt;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::str::FromStr;

use connect::secret::Secrets;
use serde_json::Value;

#[cfg(test)]
mod tests;

/// The largest value that is read from a file; a cluster takes no more either.
pub const VALUE_SIZE_MAX: u64 = 1024 * 1024;

/// Which of the two kinds of object holds a value.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Kind {
    /// A secret.
    Secret,
    /// A config map.
    ConfigMap,
}

impl Kind {
    fn flag(self) -> &'static str {
        match self {
            Self::Secret => "--secret",
            Self::ConfigMap => "--config-map",
        }
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Secret => "secret",
            Self::ConfigMap => "config map",
        })
    }
}

/// Why secrets or config maps cannot be had.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A flag does not have the form `name/key=value`.
    #[error("understand {0:?}: a value is given as NAME/KEY=VALUE")]
    Assignment(String),
    /// A file or directory cannot be read.
    #[error("read {}", path.display())]
    Read {
        /// The file or directory.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// A file is too large to be a value.
    #[error("read {}: a value has at most {VALUE_SIZE_MAX} bytes", path.display())]
    TooLarge {
        /// The file.
        path: PathBuf,
    },
    /// A value is not text.
    #[error("read {kind} {name}: the value of {key} is not UTF-8 text, which is all that can be given here")]
    NotText {
        /// The kind of the object.
        kind: Kind,
        /// Its name.
        name: String,
        /// The key.
        key: String,
    },
    /// Values that the manifest needs and nobody gave.
    #[error("{0}")]
    Missing(Missing),
}

/// Everything a manifest needs and nobody gave, and how to give it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Missing(pub Vec<Need>);

impl fmt::Display for Missing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "find what the manifest needs:")?;
        for need in &self.0 {
            writeln!(f, "  {} {} (at {})", need.kind, need.place(), need.path)?;
        }
        write!(f, "give")?;
        let flags: BTreeSet<String> = self.0.iter().map(Need::to_flag).collect();
        for flag in flags {
            write!(f, " {flag}")?;
        }
        write!(
            f,
            ", or --secret-file NAME/KEY=PATH, or --secrets-dir DIR with a file DIR/NAME/KEY for each (likewise \
             --config-map-file and --config-maps-dir), or add the Secret and ConfigMap objects to the manifest"
        )
    }
}

/// One value, or one whole object, that a manifest refers to.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Need {
    /// Secret or config map.
    pub kind: Kind,
    /// Its name.
    pub name: String,
    /// The key within it; `None` when the whole object is used.
    pub key: Option<String>,
    /// Where the manifest refers to it, such as `spec.vertices[0].source.http.auth.token`.
    pub path: String,
}

impl Need {
    fn place(&self) -> String {
        match &self.key {
            Some(key) => format!("{}/{key}", self.name),
            None => self.name.clone(),
        }
    }

    fn to_flag(&self) -> String {
        format!("{} {}/{}=VALUE", self.kind.flag(), self.name, self.key.as_deref().unwrap_or("KEY"))
    }
}

/// `NAME/KEY=VALUE`, as a flag gives it. The value may be empty and may hold further `=`.
#[derive(Clone, PartialEq, Eq)]
pub struct Assignment {
    /// The secret or config map.
    pub name: String,
    /// The key within it.
    pub key: String,
    /// The value, or the path of the file that holds it.
    pub value: String,
}

impl FromStr for Assignment {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self, Error> {
        let place = text.split_once('=').map_or(text, |(place, _)| place);
        let wrong = || Error::Assignment(place.to_owned());
        let (place, value) = text.split_once('=').ok_or_else(wrong)?;
        let (name, key) = place.split_once('/').ok_or_else(wrong)?;
        if name.is_empty() || key.is_empty() {
            return Err(wrong());
        }
        Ok(Self { name: name.to_owned(), key: key.to_owned(), value: value.to_owned() })
    }
}

impl fmt::Debug for Assignment {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}=…", self.name, self.key)
    }
}

/// All values that were given.
#[derive(Clone, Debug, Default)]
pub struct Values {
    secrets: Secrets,
    config_maps: Secrets,
}

impl Values {
    /// The secrets alone, for connectors.
    pub fn secrets(&self) -> &Secrets {
        &self.secrets
    }

    /// The objects of one kind.
    pub fn of(&self, kind: Kind) -> &Secrets {
        match kind {
            Kind::Secret => &self.secrets,
            Kind::ConfigMap => &self.config_maps,
        }
    }

    /// Adds a value; of equal places the last wins.
    pub fn insert(&mut self, kind: Kind, assignment: &Assignment) {
        self.put(kind, &assignment.name, &assignment.key, assignment.value.clone());
    }

    /// Adds the content of the file that an assignment names.
    pub fn insert_file(&mut self, kind: Kind, assignment: &Assignment) -> Result<(), Error> {
        let Assignment { name, key, value } = assignment;
        let text = read_value(Path::new(value), kind, name, key)?;
        self.put(kind, name, key, text);
        Ok(())
    }

    /// Adds every file `directory/name/key`. Names that begin with a dot are passed over.
    pub fn insert_dir(&mut self, kind: Kind, directory: &Path) -> Result<(), Error> {
        for (name, path) in entries(directory)? {
            if !path.is_dir() {
                continue;
            }
            for (key, path) in entries(&path)? {
                if path.is_file() {
                    let text = read_value(&path, kind, &name, &key)?;
                    self.put(kind, &name, &key, text);
                }
            }
        }
        Ok(())
    }

    /// Adds the values of a Secret or ConfigMap of the manifest.
    pub fn insert_object(&mut self, kind: Kind, object: &api::load::Values) -> Result<(), Error> {
        for (key, bytes) in &object.data {
            let text = text_of(bytes.clone(), kind, &object.name, key)?;
            self.put(kind, &object.name, key, text);
        }
        Ok(())
    }

    /// The value exactly as it was given.
    pub fn value(&self, kind: Kind, name: &str, key: &str) -> Option<&str> {
        self.of(kind).all(name).find_map(|(held, value)| (held == key).then_some(value))
    }

    /// Fails with everything of `needs` that is not there.
    pub fn check(&self, needs: &[Need]) -> Result<(), Error> {
        let missing: Vec<Need> = needs.iter().filter(|need| !self.has(need)).cloned().collect();
        if missing.is_empty() { Ok(()) } else { Err(Error::Missing(Missing(missing))) }
    }

    fn has(&self, need: &Need) -> bool {
        match &need.key {
            Some(key) => self.value(need.kind, &need.name, key).is_some(),
            None => self.of(need.kind).all(&need.name).next().is_some(),
        }
    }

    fn put(&mut self, kind: Kind, name: &str, key: &str, value: String) {
        let held = match kind {
            Kind::Secret => &mut self.secrets,
            Kind::ConfigMap => &mut self.config_maps,
        };
        held.insert(name, key, value);
    }
}

/// Everything that an object refers to and that is not marked as optional, in the order of the manifest.
pub fn needs_of(object: &Value) -> Vec<Need> {
    let mut needs = Vec::new();
    find_needs(object, "", &mut needs);
    needs
}

/// Walks a manifest. References are told by their shape, so a field that is added to a kind is found as well.
fn find_needs(value: &Value, path: &str, needs: &mut Vec<Need>) {
    match value {
        Value::Object(fields) => {
            for (field, inner) in fields {
                let path = if path.is_empty() { field.clone() } else { format!("{path}.{field}") };
                match need_of(field, inner) {
                    Some((kind, name, key)) => needs.push(Need { kind, name, key, path }),
                    None => find_needs(inner, &path, needs),
                }
            }
        }
        Value::Array(items) => {
            for (index, item) in items.iter().enumerate() {
                find_needs(item, &format!("{path}[{index}]"), needs);
            }
        }
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}

/// What a field refers to, if it is a reference that must be there.
fn need_of(field: &str, value: &Value) -> Option<(Kind, String, Option<String>)> {
    if value["optional"].as_bool() == Some(true) {
        return None;
    }
    let text = |name: &str| value[name].as_str().map(str::to_owned);
    match field {
        // Whole objects: environment sources and volumes.
        "secretRef" => Some((Kind::Secret, text("name")?, None)),
        "configMapRef" | "configMap" => Some((Kind::ConfigMap, text("name")?, None)),
        "secret" if value["secretName"].is_string() => Some((Kind::Secret, text("secretName")?, None)),
        // A projected volume names its secret like a config map.
        "secret" if !value["key"].is_string() => Some((Kind::Secret, text("name")?, None)),
        // Everything else that has a name and a key is a selector, whatever the field is called.
        _ => {
            let fields = value.as_object()?;
            let is_selector = fields.keys().all(|key| matches!(key.as_str(), "name" | "key" | "optional"));
            let kind = if field == "configMapKeyRef" { Kind::ConfigMap } else { Kind::Secret };
            is_selector.then_some(())?;
            Some((kind, text("name")?, Some(text("key")?)))
        }
    }
}

fn entries(directory: &Path) -> Result<Vec<(String, PathBuf)>, Error> {
    let failed = |source| Error::Read { path: directory.to_owned(), source };
    let mut found = Vec::new();
    for entry in fs::read_dir(directory).map_err(failed)? {
        let entry = entry.map_err(failed)?;
        let name = entry.file_name().to_string_lossy().into_owned();
        if !name.starts_with('.') {
            found.push((name, entry.path()));
        }
    }
    found.sort();
    Ok(found)
}

fn read_value(path: &Path, kind: Kind, name: &str, key: &str) -> Result<String, Error> {
    let failed = |source| Error::Read { path: path.to_owned(), source };
    if fs::metadata(path).map_err(failed)?.len() > VALUE_SIZE_MAX {
        return Err(Error::TooLarge { path: path.to_owned() });
    }
    text_of(fs::read(path).map_err(failed)?, kind, name, key)
}

fn text_of(bytes: Vec<u8>, kind: Kind, name: &str, key: &str) -> Result<String, Error> {
    String::from_utf8(bytes).map_err(|_| Error::NotText { kind, name: name.to_owned(), key: key.to_owned() })
}
