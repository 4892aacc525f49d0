//! `image`: what an image builder needs to make a container image: a directory with static programs and a Dockerfile.
//!
//! The Dockerfiles are in `deploy/` and `e2e/`; here are the programs. Invariant: a program that asks for a dynamic
//! linker is refused, because an image without anything else could not start it.

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
    /// The name of the image.
    #[arg(long, value_name = "IMAGE")]
    name: Option<String>,
    /// Run this with the image and the directory as its last arguments, such as "docker build -t"; without it, only the
    /// directory is made.
    #[arg(long, value_name = "COMMAND")]
    with: Option<String>,
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
    programs: &["sdk_map", "sdk_sink", "sdk_source"],
    dockerfile: "e2e/Dockerfile",
};

/// Builds the programs, makes the directory, and has the image built if somebody is named who can.
pub(crate) fn run(arguments: &Arguments) -> Result<()> {
    let Arguments { programs, profile, name, with } = arguments;
    let image = if *programs { PROGRAMS } else { TIDEGATE };
    let workspace = Workspace::load()?;
    let target = cargo::host()?;
    ensure!(
        target.ends_with("-linux-gnu") || target.ends_with("-linux-musl"),
        "images are built on Linux, and this is {target}"
    );
    let built = build(&workspace, &image, profile, &target)?;
    let dir = workspace.target.join("image").join(image.name);
    fs::create_dir_all(&dir).with_context(|| format!("create {}", dir.display()))?;
    let dockerfile = workspace.root.join(image.dockerfile);
    copy(&dockerfile, &dir.join("Dockerfile"))?;
    for path in built {
        let bytes = fs::read(&path).with_context(|| format!("read {}", path.display()))?;
        ensure!(is_static(&bytes)?, "{} asks for a dynamic linker, and the image has none", path.display());
        let file = path.file_name().context("a program has a name")?;
        copy(&path, &dir.join(file))?;
        println!("{}: {:.1} MB", dir.join(file).display(), bytes.len() as f64 / 1e6);
    }
    let name = name.clone().unwrap_or_else(|| format!("{}:latest", image.name));
    let Some(builder) = with else {
        println!("make the image with, for example: docker build -t {name} {}", dir.display());
        return Ok(());
    };
    build_image(builder, &name, &dir)
}

/// Builds the programs so that they need no library, and says where they are.
fn build(workspace: &Workspace, image: &Image, profile: &str, target: &str) -> Result<Vec<PathBuf>> {
    let mut command = cargo::command(&workspace.root, ["build", "--package", image.package]);
    command.args(["--profile", profile, "--target", target]);
    for program in image.programs {
        command.args(["--bin", program]);
    }
    let flags = std::env::var("RUSTFLAGS").unwrap_or_default();
    command.env("RUSTFLAGS", format!("{flags} -C target-feature=+crt-static").trim());
    let line = cargo::line(&command);
    let status = command.status().with_context(|| format!("start `{line}`"))?;
    ensure!(status.success(), "`{line}` ended with {status}");
    let dir = workspace.target.join(target).join(if profile == "dev" { "debug" } else { profile });
    Ok(image.programs.iter().map(|program| dir.join(program)).collect())
}

fn copy(from: &Path, to: &Path) -> Result<()> {
    fs::copy(from, to).with_context(|| format!("copy {} to {}", from.display(), to.display()))?;
    Ok(())
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
    use super::is_static;

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
