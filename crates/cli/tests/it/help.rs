//! Help, version and completion.

use std::path::Path;

use super::call;

#[test]
fn help_names_every_command_and_the_exit_codes() {
    let called = call(Path::new("/"), &["--help"]);
    assert_eq!(called.code, 0);
    for command in ["run", "lint", "examples", "version", "completion"] {
        assert!(called.out.contains(&format!("\n  {command}")), "{}", called.out);
    }
    assert!(called.out.contains("Exit codes: 0 done"), "{}", called.out);
    assert!(!called.out.contains("user-code-launcher"), "{}", called.out);
}

#[test]
fn the_help_of_run_explains_every_flag() {
    let called = call(Path::new("/"), &["run", "--help"]);
    for flag in [
        "--exec",
        "--secret ",
        "--secret-file",
        "--secrets-dir",
        "--config-map ",
        "--state-dir",
        "--force",
        "--durability",
        "--for",
        "--drain-timeout",
        "--http-bind",
        "--http-port",
        "--metrics",
        "--open-paths",
        "--quiet",
        "--log-format",
        "--name",
    ] {
        assert!(called.out.contains(flag), "{flag}: {}", called.out);
    }
}

#[test]
fn a_flag_that_does_not_exist_ends_with_2() {
    let called = call(Path::new("/"), &["run", "--nope", "x.yaml"]);
    assert_eq!(called.code, 2);
    assert!(called.err.contains("--nope"), "{}", called.err);
    assert_eq!(call(Path::new("/"), &[]).code, 2);
}

#[test]
fn the_version_is_text_or_json() {
    let called = call(Path::new("/"), &["version"]);
    let expected = format!("tidegate {} (numaflow.numaproj.io/v1alpha1, ", env!("CARGO_PKG_VERSION"));
    assert!(called.out.starts_with(&expected), "{}", called.out);
    let called = call(Path::new("/"), &["version", "--format", "json"]);
    let value: serde_json::Value = serde_json::from_str(&called.out).unwrap();
    assert_eq!(value["version"], env!("CARGO_PKG_VERSION"));
    assert_eq!(value["arch"], std::env::consts::ARCH);
}

#[test]
fn every_shell_gets_a_completion_script() {
    for shell in ["bash", "zsh", "fish", "elvish", "powershell"] {
        let called = call(Path::new("/"), &["completion", shell]);
        assert_eq!(called.code, 0);
        assert!(called.out.contains("tidegate") && called.out.contains("secrets-dir"), "{shell}");
    }
    assert_eq!(call(Path::new("/"), &["completion", "nosh"]).code, 2);
}

#[test]
fn the_help_of_each_word_about_rollouts_has_an_example_of_that_word() {
    for word in ["status", "history", "promote", "abort", "undo", "restart", "retry"] {
        let called = call(Path::new("/"), &["rollout", word, "--help"]);
        let example = format!("Example: tidegate rollout {word} my-pipeline");
        assert!(called.out.contains(&example), "{word}: {}", called.out);
    }
}
