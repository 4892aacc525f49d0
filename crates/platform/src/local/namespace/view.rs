//! The mounts of one process, made by itself inside a namespace of its own.
//!
//! A mount point that does not exist is created where that is harmless (as root, below `/run` and `/var/numaflow`) and
//! otherwise conjured: the deepest directory that exists is covered by a small memory file system that shows the same
//! entries plus the missing one. Invariant: everything here happens after [`enter`], so no other process sees it.

use std::ffi::OsStr;
use std::fs::{self, File};
use std::io;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};

use nix::errno::Errno;
use nix::mount::{MsFlags, mount};
use nix::sched::{CloneFlags, unshare};
use nix::sys::statvfs::{FsFlags, statvfs};
use nix::unistd::{chdir, chroot, getgid, getuid};

use super::{Error, Mount, Request};

/// Directories below which root creates missing mount points for good.
const CREATED_BELOW: [&str; 3] = ["/run", "/var/run", "/var/numaflow"];
/// How large the memory file systems may grow that carry conjured mount points.
const COVER_OPTIONS: &str = "mode=0755,size=16m";

/// Puts this process into a mount namespace of its own, if need be inside a user namespace.
pub(super) fn enter() -> Result<(), Error> {
    if unshare(CloneFlags::CLONE_NEWNS).is_err() {
        enter_as_user().map_err(Error::Refused)?;
    }
    let flags = MsFlags::MS_REC | MsFlags::MS_PRIVATE;
    mount(None::<&str>, "/", None::<&str>, flags, None::<&str>).map_err(|error| Error::Refused(error.into()))
}

/// A user namespace in which the process keeps its user and group and may mount.
fn enter_as_user() -> io::Result<()> {
    let (user, group) = (getuid(), getgid());
    unshare(CloneFlags::CLONE_NEWUSER | CloneFlags::CLONE_NEWNS)?;
    fs::write("/proc/self/setgroups", "deny")?;
    fs::write("/proc/self/uid_map", format!("{user} {user} 1"))?;
    fs::write("/proc/self/gid_map", format!("{group} {group} 1"))
}

/// Makes every mount of the request, outer ones first.
pub(super) fn mount_all(request: &Request) -> Result<(), Error> {
    let mut mounts: Vec<&Mount> = request.mounts.iter().collect();
    mounts.sort_by_key(|mount| mount.at.components().count());
    let mut covers = Covers { stage: &request.stage, made: 0 };
    for mount in mounts {
        let failed = |source| Error::Mount { from: mount.from.clone(), at: mount.at.clone(), source };
        let is_dir = fs::metadata(&mount.from).map_err(failed)?.is_dir();
        let at = covers
            .provide(&mount.at, is_dir)
            .map_err(|source| Error::MountPoint { path: mount.at.clone(), source })?;
        bind(&mount.from, &at).map_err(failed)?;
        if mount.is_read_only {
            make_read_only(&at).map_err(failed)?;
        }
    }
    Ok(())
}

fn bind(from: &Path, at: &Path) -> io::Result<()> {
    let flags = MsFlags::MS_BIND | MsFlags::MS_REC;
    Ok(mount(Some(from), at, None::<&str>, flags, None::<&str>)?)
}

/// Remounts a bind read-only. Flags that the namespace inherited locked must be repeated, or the kernel refuses.
fn make_read_only(at: &Path) -> io::Result<()> {
    let held = statvfs(at)?.flags();
    let mut flags = MsFlags::MS_REMOUNT | MsFlags::MS_BIND | MsFlags::MS_RDONLY;
    for (is, then) in [
        (FsFlags::ST_NOSUID, MsFlags::MS_NOSUID),
        (FsFlags::ST_NODEV, MsFlags::MS_NODEV),
        (FsFlags::ST_NOEXEC, MsFlags::MS_NOEXEC),
        (FsFlags::ST_NOATIME, MsFlags::MS_NOATIME),
        (FsFlags::ST_NODIRATIME, MsFlags::MS_NODIRATIME),
        (FsFlags::ST_RELATIME, MsFlags::MS_RELATIME),
    ] {
        if held.contains(is) {
            flags |= then;
        }
    }
    Ok(mount(None::<&str>, at, None::<&str>, flags, None::<&str>)?)
}

/// Directories covered by a memory file system, so that entries can be added to them.
struct Covers<'a> {
    stage: &'a Path,
    made: u32,
}

impl Covers<'_> {
    /// A mount point at `wanted`, with its links resolved.
    fn provide(&mut self, wanted: &Path, is_dir: bool) -> io::Result<PathBuf> {
        let (found, missing) = split_at_missing(wanted)?;
        if missing.is_empty() {
            return Ok(found);
        }
        let path = missing.iter().fold(found.clone(), |path, part| path.join(part));
        let may_stay = CREATED_BELOW.iter().any(|below| wanted.starts_with(below));
        if may_stay && create(&path, is_dir).is_ok() {
            return Ok(path);
        }
        if !is_own_cover(&found)? {
            self.cover(&found)?;
        }
        create(&path, is_dir)?;
        Ok(path)
    }

    /// Covers a directory by one that shows the same entries and can be written to.
    fn cover(&mut self, directory: &Path) -> io::Result<()> {
        let here = std::env::current_dir();
        let stage = self.stage.join(self.made.to_string());
        self.made += 1;
        fs::create_dir_all(&stage)?;
        mount(Some("tidegate"), &stage, Some("tmpfs"), MsFlags::empty(), Some(COVER_OPTIONS))?;
        for entry in fs::read_dir(directory)? {
            let entry = entry?;
            let shown = stage.join(entry.file_name());
            let kind = entry.file_type()?;
            if kind.is_symlink() {
                symlink(fs::read_link(entry.path())?, &shown)?;
                continue;
            }
            create(&shown, kind.is_dir())?;
            match bind(&entry.path(), &shown) {
                Ok(()) => {}
                // Gone since it was listed.
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                Err(error) => return Err(error),
            }
        }
        if directory == Path::new("/") {
            chroot(&stage)?;
            chdir("/")?;
        } else {
            bind(&stage, directory)?;
        }
        // The working directory still is the covered one; enter it again through the cover.
        match here {
            Ok(here) => Ok(chdir(&here)?),
            Err(_) => Ok(()),
        }
    }
}

/// The part of a path that exists, links resolved, and the names that are missing below it.
fn split_at_missing(path: &Path) -> io::Result<(PathBuf, Vec<&OsStr>)> {
    let mut missing = Vec::new();
    let mut existing = path;
    loop {
        match fs::canonicalize(existing) {
            Ok(found) => {
                missing.reverse();
                return Ok((found, missing));
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                if fs::symlink_metadata(existing).is_ok() {
                    let text = format!("{} is a link to nothing", existing.display());
                    return Err(io::Error::new(io::ErrorKind::NotFound, text));
                }
            }
            Err(error) => return Err(error),
        }
        let (Some(parent), Some(name)) = (existing.parent(), existing.file_name()) else {
            return Err(Errno::EINVAL.into());
        };
        missing.push(name);
        existing = parent;
    }
}

/// Whether a directory is one of our memory file systems: those are the only mounts in which a name may be made that
/// the machine does not get to see.
fn is_own_cover(directory: &Path) -> io::Result<bool> {
    let mounts = fs::read_to_string("/proc/self/mounts")?;
    let last = mounts.lines().filter_map(|line| {
        let mut fields = line.split(' ');
        let device = fields.next()?;
        let at = fields.next()?;
        directory.starts_with(at).then_some((at.len(), device == "tidegate"))
    });
    // The longest mount point decides; of equal ones the last, which lies on top.
    Ok(last.max_by_key(|&(length, _)| length).is_some_and(|(_, is_ours)| is_ours))
}

fn create(path: &Path, is_dir: bool) -> io::Result<()> {
    if is_dir {
        return fs::create_dir_all(path);
    }
    if let Some(parent) = path.parent() {
        fs::create_dir_all(parent)?;
    }
    if !path.exists() {
        File::create(path)?;
    }
    Ok(())
}
