//! `image`: what an image builder needs to make a container image: a directory with static programs and a Dockerfile.
//!
//! The Dockerfiles are in `deploy/` and `e2e/`; here are the programs. Invariant: a program that asks for a dynamic
//! linker goes into an image only together with what it asks for, because there is nothing else in it.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail, ensure};
use clap::Args;

use crate::cargo::{self, Workspace};

/// What a static program does not have: the name of a dynamic linker among its program headers.
const INTERPRETER: u32 = 3;

/// Arguments of `image`.
#[derive(Args)]
pub(crate) struct Arguments {
    /// Instead of our own program, the user code of the end-to-end tests.
    #[arg(long)]
    programs: bool,
    /// How the programs are built; `lab` is quick to build and slower to run.
    #[arg(long, value_name = "PROFILE", default_value = "release")]
    profile: String,
    /// Link as every other build does, and put the libraries of this machine into the image: nothing is compiled again
    /// for the image alone. For tests; an image for others is static.
    #[arg(long)]
    dynamic: bool,
    /// The name of the image.
    #[arg(long, value_name = "IMAGE")]
    name: Option<String>,
    /// Run this with the image and the directory as its last arguments, such as "docker build -t"; without it, only the
    /// directory is made.
    #[arg(long, value_name = "COMMAND")]
    with: Option<String>,
}

impl Arguments {
    /// Both images of tests on a cluster, made of what the tests themselves are built of.
    pub(crate) fn for_tests(image: &str, programs: &str, builder: &str) -> [Self; 2] {
        [(image, false), (programs, true)].map(|(name, programs)| Self {
            programs,
            profile: "dev".to_owned(),
            dynamic: true,
            name: Some(name.to_owned()),
            with: Some(builder.to_owned()),
        })
    }
}

/// The directory with the libraries of programs that are linked dynamically.
const LIBRARIES: &str = "root";

#[derive(Clone, Copy, PartialEq, Eq)]
enum Link {
    Static,
    Dynamic,
}

/// An image that can be made.
struct Image {
    name: &'static str,
    package: &'static str,
    programs: &'static [&'static str],
    dockerfile: &'static str,
}

const TIDEGATE: Image = Image {
    name: "tidegate",
    package: "tidegate-cli",
    programs: &["tidegate"],
    dockerfile: "deploy/Dockerfile",
};

const PROGRAMS: Image = Image {
    name: "tidegate-e2e",
    package: "e2e",
    programs: &["sdk_demo", "sdk_map", "sdk_sink", "sdk_source"],
    dockerfile: "e2e/Dockerfile",
};

/// Builds the programs, makes the directory, and has the image built if somebody is named who can.
pub(crate) fn run(arguments: &Arguments) -> Result<()> {
    let workspace = Workspace::load()?;
    let image = if arguments.programs { PROGRAMS } else { TIDEGATE };
    let dir = workspace.target.join("image").join(image.name);
    if dir.exists() {
        fs::remove_dir_all(&dir).with_context(|| format!("empty {}", dir.display()))?;
    }
    fs::create_dir_all(&dir).with_context(|| format!("create {}", dir.display()))?;
    let link = if arguments.dynamic { Link::Dynamic } else { Link::Static };
    let mut dockerfile = fs::read_to_string(workspace.root.join(image.dockerfile))
        .with_context(|| format!("read {}", image.dockerfile))?;
    let built = build(&workspace, &image, &arguments.profile, link)?;
    if link == Link::Dynamic {
        copy_libraries(&built, &dir.join(LIBRARIES))?;
        dockerfile = dockerfile.replace("FROM scratch\n", &format!("FROM scratch\nCOPY {LIBRARIES} /\n"));
    }
    write(&dir.join("Dockerfile"), dockerfile.as_bytes())?;
    for path in built {
        let file = dir.join(path.file_name().context("a program has a name")?);
        strip(&path, &file)?;
        let bytes = fs::read(&file).with_context(|| format!("read {}", file.display()))?;
        ensure!(
            link == Link::Dynamic || is_static(&bytes)?,
            "{} asks for a dynamic linker, and the image has none",
            path.display()
        );
        println!("{}: {:.1} MB", file.display(), bytes.len() as f64 / 1e6);
    }
    let name = arguments.name.clone().unwrap_or_else(|| format!("{}:latest", image.name));
    let Some(builder) = &arguments.with else {
        println!("make the image with, for example: docker build -t {name} {}", dir.display());
        return Ok(());
    };
    build_image(builder, &name, &dir)
}

/// Builds the programs, and says where they are.
fn build(workspace: &Workspace, image: &Image, profile: &str, link: Link) -> Result<Vec<PathBuf>> {
    let profile_dir = if profile == "dev" { "debug" } else { profile };
    let mut dir = workspace.target.clone();
    let mut command = cargo::command(&workspace.root, ["build", "--profile", profile]);
    if link == Link::Static {
        let target = cargo::host()?;
        ensure!(
            target.ends_with("-linux-gnu") || target.ends_with("-linux-musl"),
            "images are built on Linux, and this is {target}"
        );
        let flags = std::env::var("RUSTFLAGS").unwrap_or_default();
        command.env("RUSTFLAGS", format!("{flags} -C target-feature=+crt-static").trim());
        command.args(["--package", image.package, "--target", &target]);
        for program in image.programs {
            command.args(["--bin", program]);
        }
        dir.push(target);
    } else {
        // For `dev` the very command that makes the tests ready, or the choice of packages would choose other features.
        command.args(["--workspace", if profile == "dev" { "--all-targets" } else { "--bins" }]);
    }
    cargo::run(&mut command)?;
    Ok(image.programs.iter().map(|program| dir.join(profile_dir).join(program)).collect())
}

/// Puts what the programs ask for where they look for it, below a directory that becomes the root of the image.
fn copy_libraries(programs: &[PathBuf], root: &Path) -> Result<()> {
    for program in programs {
        let listed = cargo::output(Command::new("ldd").arg(program))?;
        for path in libraries(&listed) {
            let to = root.join(path.strip_prefix("/").context("ldd names whole paths")?);
            fs::create_dir_all(to.parent().context("a library lies in a directory")?)
                .with_context(|| format!("create the directory of {}", to.display()))?;
            fs::copy(path, &to).with_context(|| format!("copy {} to {}", path.display(), to.display()))?;
        }
    }
    Ok(())
}

/// The files that `ldd` found; what the kernel maps by itself has none.
fn libraries(listed: &str) -> impl Iterator<Item = &Path> {
    listed.lines().filter_map(|line| {
        let line = line.split_once("=>").map_or(line, |(_, path)| path);
        let path = line.split_whitespace().next()?;
        path.starts_with('/').then(|| Path::new(path))
    })
}

/// Copies a program without what only a debugger reads.
fn strip(from: &Path, to: &Path) -> Result<()> {
    cargo::run(Command::new("strip").arg("--strip-debug").arg("-o").arg(to).arg(from))
}

fn write(path: &Path, bytes: &[u8]) -> Result<()> {
    fs::write(path, bytes).with_context(|| format!("write {}", path.display()))
}

fn build_image(builder: &str, name: &str, dir: &Path) -> Result<()> {
    let mut words = builder.split_whitespace();
    let program = words.next().context("--with names no program")?;
    let mut command = Command::new(program);
    command.args(words).arg(name).arg(dir);
    let line = cargo::line(&command);
    let status = command.status().with_context(|| format!("start `{line}`"))?;
    if !status.success() {
        bail!("`{line}` ended with {status}");
    }
    println!("made {name}");
    Ok(())
}

/// Whether a 64-bit little-endian ELF program needs nobody to load it.
fn is_static(bytes: &[u8]) -> Result<bool> {
    let number = |at: usize, size: usize| -> Result<u64> {
        let field = bytes.get(at..at + size).context("the program ends in its header")?;
        Ok(field.iter().rev().fold(0, |sum, byte| sum << 8 | u64::from(*byte)))
    };
    ensure!(bytes.starts_with(b"\x7fELF\x02\x01"), "the program is not a 64-bit ELF file");
    let (start, size, count) = (number(32, 8)? as usize, number(54, 2)? as usize, number(56, 2)? as usize);
    for index in 0..count {
        if number(start + index * size, 4)? == u64::from(INTERPRETER) {
            return Ok(false);
        }
    }
    Ok(true)
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::{is_static, libraries};

    #[test]
    fn libraries_are_read_from_what_ldd_prints() {
        let listed = "\tlinux-vdso.so.1 (0x00007fed343dd000)\n\tlibc.so.6 => /lib/x86_64-linux-gnu/libc.so.6 (0x0000)\n\t/lib64/ld-linux-x86-64.so.2 (0x0000)\n";
        let found: Vec<_> = libraries(listed).collect();
        assert_eq!(found, ["/lib/x86_64-linux-gnu/libc.so.6", "/lib64/ld-linux-x86-64.so.2"].map(Path::new));
    }

    /// A file with two program headers of these types.
    fn program(kinds: [u32; 2]) -> Vec<u8> {
        let mut bytes = b"\x7fELF\x02\x01".to_vec();
        bytes.resize(64, 0);
        (bytes[32], bytes[54], bytes[56]) = (64, 56, 2);
        for kind in kinds {
            bytes.extend(kind.to_le_bytes());
            bytes.resize(bytes.len() + 52, 0);
        }
        bytes
    }

    #[test]
    fn a_program_that_asks_for_a_dynamic_linker_is_told_apart() {
        assert!(is_static(&program([1, 2])).unwrap());
        assert!(!is_static(&program([1, 3])).unwrap());
        let cut = program([1, 1]);
        assert_eq!(is_static(&cut[..100]).unwrap_err().to_string(), "the program ends in its header");
        assert_eq!(is_static(b"#!/bin/sh").unwrap_err().to_string(), "the program is not a 64-bit ELF file");
    }
}
