//! Volumes of a pod, as directories and files of this machine.
//!
//! `emptyDir` and persistent claims are directories below the state directory, `secret`, `configMap` and `projected`
//! are files written from the given values, `hostPath` is the path itself. Everything else needs a cluster and is
//! refused by name. Invariant: files with secrets lie in a directory that only this user can read.

use std::fs;
use std::io;
use std::path::{Component, Path, PathBuf};

use api::spec::stock::{Volume, VolumeMount};
use k8s_openapi::api::core::v1::{HostPathVolumeSource, KeyToPath, ProjectedVolumeSource};

use crate::local::namespace::Mount;
use crate::local::secrets::{Kind, Values};

/// Why a volume cannot be had here.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A container mounts a volume that the vertex does not have.
    #[error("mount volume {name}: the vertex has no volume of that name")]
    Unknown {
        /// The volume.
        name: String,
    },
    /// A kind of volume that only a cluster has.
    #[error(
        "mount volume {name}: on one machine a volume is one of emptyDir, persistentVolumeClaim, secret, configMap, \
         projected (of secrets and config maps) and hostPath"
    )]
    Unsupported {
        /// The volume.
        name: String,
    },
    /// A key that the given values do not have.
    #[error("fill volume {volume}: {kind} {name} has no key {key}")]
    NoValue {
        /// The volume.
        volume: String,
        /// Secret or config map.
        kind: Kind,
        /// Its name.
        name: String,
        /// The key.
        key: String,
    },
    /// A path that leads out of its volume.
    #[error("mount volume {name}: {path:?} must be a relative path without `..`")]
    Escapes {
        /// The volume.
        name: String,
        /// The path.
        path: String,
    },
    /// The container's path is not absolute.
    #[error("mount volume {name}: mountPath {path:?} must be absolute")]
    NotAbsolute {
        /// The volume.
        name: String,
        /// The path.
        path: String,
    },
    /// A directory or file cannot be made or is not of the type that was asked for.
    #[error("make {} for volume {name}", path.display())]
    Write {
        /// The volume.
        name: String,
        /// The directory or file.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
}

/// Where volumes are kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Places {
    /// For `emptyDir`: a directory of the replica.
    pub replica: PathBuf,
    /// For persistent claims: a directory of the whole run.
    pub claims: PathBuf,
    /// For files made from values: a directory of the container that others cannot read.
    pub files: PathBuf,
}

/// What a container mounts, and a sentence for everything that stands in for something else.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Mounted {
    /// The mounts.
    pub mounts: Vec<Mount>,
    /// What is a substitute.
    pub announcements: Vec<String>,
}

/// Makes the volumes that a container mounts.
pub fn prepare(
    volumes: &[Volume],
    mounts: &[VolumeMount],
    places: &Places,
    values: &Values,
) -> Result<Mounted, Error> {
    let mut mounted = Mounted::default();
    for mount in mounts {
        let unknown = || Error::Unknown { name: mount.name.clone() };
        let volume = volumes.iter().find(|volume| volume.name == mount.name).ok_or_else(unknown)?;
        if !mount.mount_path.starts_with('/') {
            return Err(Error::NotAbsolute { name: mount.name.clone(), path: mount.mount_path.clone() });
        }
        let made = make(volume, places, values, &mut mounted.announcements)?;
        let from = match mount.sub_path.as_deref() {
            None | Some("") => made.path.clone(),
            Some(sub_path) => sub_directory(&made, volume, sub_path)?,
        };
        mounted.mounts.push(Mount {
            from,
            at: PathBuf::from(&mount.mount_path),
            is_read_only: made.is_read_only || mount.read_only == Some(true),
        });
    }
    Ok(mounted)
}

struct Made {
    path: PathBuf,
    is_read_only: bool,
}

fn make(
    volume: &Volume,
    places: &Places,
    values: &Values,
    announcements: &mut Vec<String>,
) -> Result<Made, Error> {
    let name = &volume.name;
    if volume.empty_dir.is_some() {
        return make_directory(name, &places.replica.join(name));
    }
    if let Some(claim) = &volume.persistent_volume_claim {
        let path = places.claims.join(&claim.claim_name);
        announcements.push(format!("volume claim {} is the directory {}", claim.claim_name, path.display()));
        return make_directory(name, &path);
    }
    if let Some(host_path) = &volume.host_path {
        return make_host_path(name, host_path);
    }
    let mut files = Files { volume: name, values, directory: places.files.join(name) };
    if let Some(secret) = &volume.secret {
        let object = (Kind::Secret, secret.secret_name.as_deref().unwrap_or_default());
        files.write_all(object, secret.items.as_deref(), secret.optional == Some(true))?;
    } else if let Some(map) = &volume.config_map {
        files.write_all((Kind::ConfigMap, &map.name), map.items.as_deref(), map.optional == Some(true))?;
    } else if let Some(projected) = &volume.projected {
        files.write_projected(projected)?;
    } else {
        return Err(Error::Unsupported { name: name.clone() });
    }
    Ok(Made { path: files.directory, is_read_only: true })
}

fn make_directory(name: &str, path: &Path) -> Result<Made, Error> {
    fs::create_dir_all(path).map_err(|source| Error::Write {
        name: name.to_owned(),
        path: path.to_owned(),
        source,
    })?;
    Ok(Made { path: path.to_owned(), is_read_only: false })
}

fn make_host_path(name: &str, host_path: &HostPathVolumeSource) -> Result<Made, Error> {
    let path = PathBuf::from(&host_path.path);
    let failed = |source| Error::Write { name: name.to_owned(), path: path.clone(), source };
    let kind = host_path.type_.as_deref().unwrap_or_default();
    match kind {
        "DirectoryOrCreate" => fs::create_dir_all(&path).map_err(failed)?,
        "FileOrCreate" if !path.exists() => drop(fs::File::create(&path).map_err(failed)?),
        _ => {}
    }
    let found = fs::metadata(&path).map_err(failed)?;
    let is_wrong = match kind {
        "Directory" | "DirectoryOrCreate" => !found.is_dir(),
        "File" | "FileOrCreate" => !found.is_file(),
        _ => false,
    };
    if is_wrong {
        return Err(failed(io::Error::other(format!("it is not a {kind}"))));
    }
    Ok(Made { path, is_read_only: false })
}

/// A path inside a volume; in one that can be written to, a missing one is made as a directory.
fn sub_directory(made: &Made, volume: &Volume, sub_path: &str) -> Result<PathBuf, Error> {
    let path = made.path.join(relative(&volume.name, sub_path)?);
    if !path.exists() && !made.is_read_only {
        make_directory(&volume.name, &path)?;
    }
    Ok(path)
}

fn relative<'a>(volume: &str, path: &'a str) -> Result<&'a Path, Error> {
    let parts = Path::new(path).components().all(|part| matches!(part, Component::Normal(_)));
    if parts && !path.is_empty() {
        return Ok(Path::new(path));
    }
    Err(Error::Escapes { name: volume.to_owned(), path: path.to_owned() })
}

/// Files made from values.
struct Files<'a> {
    volume: &'a str,
    values: &'a Values,
    directory: PathBuf,
}

impl Files<'_> {
    fn write_projected(&mut self, projected: &ProjectedVolumeSource) -> Result<(), Error> {
        for source in projected.sources.iter().flatten() {
            if let Some(secret) = &source.secret {
                let is_optional = secret.optional == Some(true);
                self.write_all((Kind::Secret, &secret.name), secret.items.as_deref(), is_optional)?;
            } else if let Some(map) = &source.config_map {
                let is_optional = map.optional == Some(true);
                self.write_all((Kind::ConfigMap, &map.name), map.items.as_deref(), is_optional)?;
            } else {
                return Err(Error::Unsupported { name: self.volume.to_owned() });
            }
        }
        Ok(())
    }

    /// Writes every key of an object, or those that `items` names to the paths it gives.
    fn write_all(
        &mut self,
        (kind, name): (Kind, &str),
        items: Option<&[KeyToPath]>,
        is_optional: bool,
    ) -> Result<(), Error> {
        self.make_directory(&self.directory.clone())?;
        let Some(items) = items.filter(|items| !items.is_empty()) else {
            let values = self.values;
            for (key, value) in values.of(kind).all(name) {
                self.write(key, value)?;
            }
            return Ok(());
        };
        for KeyToPath { key, path, mode: _, user: _ } in items {
            match self.values.value(kind, name, key) {
                Some(value) => self.write(path, value)?,
                None if is_optional => {}
                None => {
                    return Err(Error::NoValue {
                        volume: self.volume.to_owned(),
                        kind,
                        name: name.to_owned(),
                        key: key.clone(),
                    });
                }
            }
        }
        Ok(())
    }

    fn write(&self, path: &str, value: &str) -> Result<(), Error> {
        let path = self.directory.join(relative(self.volume, path)?);
        if let Some(parent) = path.parent() {
            self.make_directory(parent)?;
        }
        fs::write(&path, value).map_err(|source| self.failed(&path, source))
    }

    fn make_directory(&self, path: &Path) -> Result<(), Error> {
        fs::create_dir_all(path).map_err(|source| self.failed(path, source))
    }

    fn failed(&self, path: &Path, source: io::Error) -> Error {
        Error::Write { name: self.volume.to_owned(), path: path.to_owned(), source }
    }
}
