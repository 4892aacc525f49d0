//! The view that a real program gets, as the user who runs the tests and, for root, as a user without rights as well.

use std::ffi::OsString;
use std::fs;
use std::io::Write;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use tempfile::TempDir;
use tidegate_platform::local::namespace::{EXIT_NOT_STARTED, Error, Launcher, Mount, Request, SUBCOMMAND};

/// A user and a group without rights.
const NOBODY: &str = "65534";

struct Place {
    dir: TempDir,
    /// What comes before the launcher on the command line.
    prefix: Vec<OsString>,
}

impl Place {
    /// As the user who runs the tests.
    fn as_tester() -> Self {
        let dir = tempfile::tempdir().unwrap();
        fs::set_permissions(dir.path(), fs::Permissions::from_mode(0o777)).unwrap();
        Self { dir, prefix: Vec::new() }
    }

    /// As a user without rights; `None`, with a notice, where the test cannot become one.
    fn as_nobody() -> Option<Self> {
        let args = ["--reuid", NOBODY, "--regid", NOBODY, "--clear-groups"];
        let is_possible = Command::new("setpriv").args(args).arg("true").output();
        if !is_possible.is_ok_and(|output| output.status.success()) {
            let notice = "skipped: becoming a user without rights needs root and setpriv\n";
            std::io::stderr().write_all(notice.as_bytes()).unwrap();
            return None;
        }
        let prefix = std::iter::once("setpriv").chain(args).map(OsString::from).collect();
        Some(Self { prefix, ..Self::as_tester() })
    }

    fn directory(&self, name: &str) -> PathBuf {
        let path = self.dir.path().join(name);
        fs::create_dir_all(&path).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o777)).unwrap();
        path
    }

    /// Runs a script in a view. The shell around it makes the launcher's parent the one it is told.
    fn run(&self, mounts: Vec<Mount>, script: &str) -> Output {
        let request = Request {
            parent: std::process::id(),
            stage: self.directory("stage"),
            mounts,
            command: ["sh", "-c", script].map(OsString::from).to_vec(),
        };
        let mut words = self.prefix.clone();
        words.push(env!("CARGO_BIN_EXE_tidegate-test-launcher").into());
        words.push(SUBCOMMAND.into());
        words.extend(request.to_args());
        Command::new(&words[0]).args(&words[1..]).current_dir("/").output().unwrap()
    }
}

fn text(output: &Output) -> String {
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout.clone()).unwrap()
}

fn each_user(check: impl Fn(&Place)) {
    check(&Place::as_tester());
    if let Some(place) = Place::as_nobody() {
        check(&place);
    }
}

#[test]
fn every_program_has_a_socket_directory_of_its_own() {
    each_user(|place| {
        for name in ["one", "two"] {
            let sockets = place.directory(name);
            let mounts = vec![Mount::writable(&sockets, Path::new("/var/run/numaflow"))];
            let script = format!("echo {name} > /var/run/numaflow/file && cat /run/numaflow/*");
            assert_eq!(text(&place.run(mounts, &script)), format!("{name}\n"));
            assert_eq!(fs::read_to_string(sockets.join("file")).unwrap(), format!("{name}\n"));
        }
    });
}

#[test]
fn the_rest_of_a_covered_directory_stays_as_it_is() {
    each_user(|place| {
        let mounts = vec![
            Mount::writable(&place.directory("a"), Path::new("/var/run/numaflow")),
            Mount::writable(&place.directory("b"), Path::new("/etc/tidegate-test/deep")),
            Mount::writable(&place.directory("c"), Path::new("/tidegate-test-at-root")),
        ];
        let list = |directory: &str| {
            let mut names: Vec<String> = fs::read_dir(directory)
                .unwrap()
                .map(|entry| entry.unwrap().file_name().into_string().unwrap())
                .filter(|name| name != "numaflow")
                .collect();
            names.sort();
            names.join("\n")
        };
        let shown =
            text(&place.run(mounts, "ls -A /run; echo --; ls -A /etc; echo --; ls -A /; cat /etc/passwd"));
        let parts: Vec<&str> = shown.splitn(3, "--\n").collect();
        let without = |part: &str, added: &str| {
            let mut names: Vec<&str> = part.lines().filter(|name| *name != added).collect();
            names.sort_unstable();
            names.join("\n")
        };
        assert_eq!(without(parts[0], "numaflow"), list("/run"));
        assert_eq!(without(parts[1], "tidegate-test"), list("/etc"));
        let root = &parts[2][..parts[2].find("root:").unwrap()];
        assert_eq!(without(root, "tidegate-test-at-root"), list("/"));
        assert!(!Path::new("/etc/tidegate-test").exists());
        assert!(!Path::new("/tidegate-test-at-root").exists());
    });
}

#[test]
fn a_read_only_mount_cannot_be_written() {
    each_user(|place| {
        let files = place.directory("files");
        fs::write(files.join("key"), "value").unwrap();
        let mounts = vec![Mount::read_only(&files, Path::new("/var/numaflow/side-inputs"))];
        let script = "cat /var/numaflow/side-inputs/key; ! touch /var/numaflow/side-inputs/x 2>/dev/null";
        assert_eq!(text(&place.run(mounts, script)), "value");
    });
}

#[test]
fn a_single_file_can_be_mounted() {
    each_user(|place| {
        let file = place.directory("files").join("settings");
        fs::write(&file, "a: 1\n").unwrap();
        let mounts = vec![Mount::read_only(&file, Path::new("/etc/tidegate-test/settings.yaml"))];
        assert_eq!(text(&place.run(mounts, "cat /etc/tidegate-test/settings.yaml")), "a: 1\n");
    });
}

#[test]
fn the_user_and_the_working_directory_stay_the_same() {
    each_user(|place| {
        let mounts = vec![Mount::writable(&place.directory("a"), Path::new("/at-root"))];
        let user =
            if place.prefix.is_empty() { nix::unistd::getuid().to_string() } else { NOBODY.to_owned() };
        assert_eq!(text(&place.run(mounts, "id -u; pwd")), format!("{user}\n/\n"));
    });
}

#[test]
fn the_exit_code_and_the_signal_of_the_program_are_handed_on() {
    let place = Place::as_tester();
    assert_eq!(place.run(Vec::new(), "exit 7").status.code(), Some(7));
    assert_eq!(place.run(Vec::new(), "kill -9 $$").status.code(), Some(128 + 9));
}

#[test]
fn a_program_that_does_not_exist_is_named() {
    let place = Place::as_tester();
    let request = Request {
        parent: std::process::id(),
        stage: place.directory("stage"),
        mounts: Vec::new(),
        command: vec!["/no/such/program".into()],
    };
    let launcher = Launcher::new(Path::new(env!("CARGO_BIN_EXE_tidegate-test-launcher")));
    let output = launcher.command(&request).output().unwrap();
    assert_eq!(output.status.code(), Some(i32::from(EXIT_NOT_STARTED)));
    assert_eq!(
        String::from_utf8(output.stderr).unwrap(),
        "tidegate: failed to start \"/no/such/program\": No such file or directory (os error 2)\n"
    );
}

#[test]
fn a_missing_source_is_named() {
    let place = Place::as_tester();
    let output =
        place.run(vec![Mount::writable(Path::new("/no/such"), Path::new("/var/run/numaflow"))], "true");
    assert_eq!(
        String::from_utf8(output.stderr).unwrap(),
        "tidegate: failed to mount /no/such at /var/run/numaflow: No such file or directory (os error 2)\n"
    );
}

#[test]
fn a_trial_succeeds_here_and_fails_with_what_the_launcher_says() {
    let place = Place::as_tester();
    let launcher = Launcher::new(Path::new(env!("CARGO_BIN_EXE_tidegate-test-launcher")));
    launcher.try_out(&place.directory("trial")).unwrap();
    let error = launcher.try_out(Path::new("/no/such")).unwrap_err();
    assert!(matches!(&error, Error::Trial(said) if said.starts_with("mount /no/such at ")), "{error}");
    let error = Launcher::new(Path::new("/no/such")).try_out(&place.directory("trial")).unwrap_err();
    assert!(matches!(error, Error::Launcher { .. }), "{error}");
}
