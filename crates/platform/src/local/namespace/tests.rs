//! The launcher's arguments and error texts. What it does to a real process is in `tests/it/namespace.rs`.

use std::ffi::OsString;
use std::io;
use std::path::{Path, PathBuf};

use super::{Error, Mount, Request, describe};

#[test]
fn a_request_survives_being_arguments() {
    let request = Request {
        parent: 4711,
        stage: PathBuf::from("/tmp/a stage"),
        mounts: vec![
            Mount::writable(Path::new("/tmp/--bind"), Path::new("/var/run/numaflow")),
            Mount::read_only(Path::new("/tmp/s"), Path::new("/etc/secret")),
        ],
        command: ["python3", "--", "--bind", "x y"].map(OsString::from).to_vec(),
    };
    assert_eq!(Request::parse(request.to_args().into_iter()).unwrap(), request);
}

#[test]
fn an_unknown_argument_is_named() {
    for (args, named) in [
        (vec!["--bogus"], "--bogus"),
        (vec!["--parent", "x", "--"], "x"),
        (vec!["--bind", "/a"], "--bind"),
        (vec![], "(none)"),
    ] {
        let error = Request::parse(args.into_iter().map(OsString::from)).unwrap_err();
        assert_eq!(error.to_string(), format!("understand the launcher's argument {named:?}"));
    }
}

#[test]
fn an_error_is_described_with_its_causes() {
    let error = Error::MountPoint { path: "/x".into(), source: io::Error::other("full") };
    assert_eq!(describe(&error), "tidegate: failed to make the mount point /x: full");
}
