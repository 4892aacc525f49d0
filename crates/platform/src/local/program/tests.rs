//! Which program is chosen, how it is announced, and what is said when there is none.

use std::path::Path;

use api::spec::{Container, MonoVertexSpec};
use serde_json::json;

use super::{
    Error, Exec, ImageMap, Program, UserContainer, Ways, choose, of_mono_vertex, to_command, without_tag,
};

fn container(vertex: &str, name: &str, spec: serde_json::Value) -> UserContainer {
    let spec: Container = serde_json::from_value(spec).unwrap();
    UserContainer { vertex: vertex.to_owned(), name: name.to_owned(), spec, volumes: Vec::new() }
}

fn exec(text: &str) -> Exec {
    text.parse().unwrap()
}

struct Case {
    execs: Vec<Exec>,
    images: ImageMap,
}

impl Case {
    fn new(execs: &[&str], images: &serde_json::Value) -> Self {
        let images =
            ImageMap::from_value(json!({ "images": images }), Path::new("sub/tidegate.yaml")).unwrap();
        Self { execs: execs.iter().map(|text| exec(text)).collect(), images }
    }

    fn choose(&self, containers: Vec<UserContainer>) -> Result<Vec<(String, Vec<String>)>, Error> {
        let ways = Ways {
            execs: &self.execs,
            images: &self.images,
            search_path: Some("/nowhere:/bin:/usr/bin".into()),
            working_dir: Path::new("/here"),
            has_stand_in: &|image| image == "demo/cat:stable",
        };
        let chosen = choose(containers, &ways)?;
        Ok(chosen
            .into_iter()
            .map(|one| match one.program {
                Program::Process(process) => (one.announcement, process.command),
                Program::StandIn { image } => (one.announcement, vec!["stand-in".to_owned(), image]),
            })
            .collect())
    }

    fn one(&self, spec: serde_json::Value) -> (String, Vec<String>) {
        self.choose(vec![container("cat", "udf", spec)]).unwrap().remove(0)
    }
}

#[test]
fn a_flag_wins_over_the_map_over_the_own_command_over_a_stand_in() {
    let spec = json!({"image": "demo/cat:stable", "command": ["sh", "-c"], "args": ["true"]});
    let map = json!({"demo/cat": {"command": ["./cat"]}});
    let (said, command) = Case::new(&["cat=python3 udf.py"], &map).one(spec.clone());
    assert_eq!(said, "cat/udf is the process `python3 udf.py` (--exec)");
    assert_eq!(command, ["python3", "udf.py"]);
    let (said, command) = Case::new(&[], &map).one(spec.clone());
    assert_eq!(said, "cat/udf is the process `./cat true` in place of image demo/cat (tidegate.yaml)");
    assert_eq!(command, ["./cat", "true"]);
    let (said, command) = Case::new(&[], &json!({})).one(spec);
    assert!(said.starts_with("cat/udf is the process /") && said.ends_with("(its own command)"), "{said}");
    assert_eq!(command, ["sh", "-c", "true"]);
    let (said, command) =
        Case::new(&[], &json!({})).one(json!({"image": "demo/cat:stable", "command": ["/no/such"]}));
    assert_eq!(said, "cat/udf is a native stand-in for image demo/cat:stable");
    assert_eq!(command, ["stand-in", "demo/cat:stable"]);
}

#[test]
fn the_map_prefers_the_entry_with_the_tag_and_keeps_the_port_of_a_registry() {
    let case =
        Case::new(&[], &json!({"a/b": {"command": ["any"]}, "a/b:1": {"command": ["one"], "args": ["x"]}}));
    assert_eq!(case.one(json!({"image": "a/b:1"})).1, ["one", "x"]);
    assert_eq!(case.one(json!({"image": "a/b:2"})).1, ["any"]);
    assert_eq!(case.one(json!({"image": "a/b@sha256:00"})).1, ["any"]);
    assert_eq!(without_tag("localhost:5000/a"), "localhost:5000/a");
    assert_eq!(without_tag("localhost:5000/a:1"), "localhost:5000/a");
}

#[test]
fn the_map_starts_programs_beside_itself() {
    let value = json!({"images": {"i": {"command": ["x"], "env": {"A": "1"}, "workingDir": "deep"}}});
    let images = ImageMap::from_value(value, Path::new("sub/tidegate.yaml")).unwrap();
    let ways = Ways {
        execs: &[],
        images: &images,
        search_path: None,
        working_dir: Path::new("/here"),
        has_stand_in: &|_| false,
    };
    let chosen = choose(vec![container("v", "udf", json!({"image": "i"}))], &ways).unwrap();
    let Program::Process(process) = &chosen[0].program else { panic!("{chosen:?}") };
    assert_eq!(process.working_dir, Path::new("/here/sub/deep"));
    assert_eq!(process.env, [("A".to_owned(), "1".to_owned())]);
}

#[test]
fn a_wrong_map_is_an_error_with_the_field() {
    for (value, named) in [
        (json!({"images": {"i": {"command": []}}}), "images.\"i\".command is empty"),
        (json!({"images": {"i": {"comand": ["x"]}}}), "unknown field `comand`"),
        (json!({"image": {}}), "unknown field `image`"),
    ] {
        let text = ImageMap::from_value(value, Path::new("d/tidegate.yaml")).unwrap_err().to_string();
        assert!(text.starts_with("understand d/tidegate.yaml: ") && text.contains(named), "{text}");
    }
}

#[test]
fn the_map_is_read_from_yaml() {
    let text = "# comment\nimages:\n  quay.io/a/b:stable:\n    command: [python3, 'my udf.py']\n    env: {LEVEL: 3}\n";
    let images = ImageMap::parse(text, Path::new("tidegate.yaml")).unwrap();
    let (_, entry) = images.find("quay.io/a/b:stable").unwrap();
    assert_eq!(entry.command, ["python3", "my udf.py"]);
    assert_eq!(entry.env["LEVEL"], "3");
    assert_eq!(ImageMap::parse("# nothing\n", Path::new("tidegate.yaml")).unwrap(), ImageMap::default());
    for (text, named) in [
        ("images: [", "this is no YAML"),
        ("images:\n  a: &x {command: [b]}\n  c: *x\n", "line 3: aliases are not used here"),
        ("images:\n  a: {command: [b]}\n  a: {command: [c]}\n", "line 3: \"a\" is there twice"),
        ("[[[[[[[[[[1]]]]]]]]]]", "nested more than 8 deep"),
    ] {
        let error = ImageMap::parse(text, Path::new("tidegate.yaml")).unwrap_err().to_string();
        assert!(error.contains(named), "{error}");
    }
}

#[test]
fn everything_without_a_program_is_listed_at_once() {
    let containers = vec![
        container("a", "udf", json!({"image": "x/y:1"})),
        container("b", "udsink", json!({"image": "z", "command": ["/no/such/program"]})),
        container("b", "fb-udsink", json!({"image": "z"})),
    ];
    let text = Case::new(&["b=true", "nope=true"], &json!({})).choose(containers).unwrap_err().to_string();
    let expected = "find a program for every container:\n  \
        --exec b names several containers: b/udsink, b/fb-udsink\n  \
        --exec nope names no container; those of the manifest: a/udf, b/udsink, b/fb-udsink\n  \
        a/udf: image x/y:1\n\
        give --exec a/udf='COMMAND', or ";
    assert!(text.starts_with(expected), "{text}");
    let containers = vec![container("b", "udsink", json!({"image": "z", "command": ["/no/such/program"]}))];
    let text = Case::new(&[], &json!({})).choose(containers).unwrap_err().to_string();
    assert!(
        text.contains("b/udsink: image z, and its command /no/such/program does not exist here"),
        "{text}"
    );
}

#[test]
fn the_containers_of_a_mono_vertex_have_their_cluster_names() {
    let spec: MonoVertexSpec = serde_json::from_value(json!({
        "source": {"udsource": {"container": {"image": "a"}}, "transformer": {"container": {"image": "b"}}},
        "udf": {"container": {"image": "c"}},
        "sink": {
            "udsink": {"container": {"image": "d"}},
            "fallback": {"udsink": {"container": {"image": "e"}}},
            "onSuccess": {"udsink": {"container": {"image": "f"}}},
        },
    }))
    .unwrap();
    let found = of_mono_vertex("mv", &spec);
    let found: Vec<(String, &str)> =
        found.iter().map(|one| (one.to_string(), one.spec.image.as_deref().unwrap())).collect();
    let expected = [
        ("mv/udsource", "a"),
        ("mv/transformer", "b"),
        ("mv/udf", "c"),
        ("mv/udsink", "d"),
        ("mv/fb-udsink", "e"),
        ("mv/ons-udsink", "f"),
    ];
    assert_eq!(found, expected.map(|(name, image)| (name.to_owned(), image)));
}

#[test]
fn a_flag_without_vertex_or_command_is_refused() {
    for text in ["cat", "=x", "cat=", "cat= ", "cat/=x"] {
        let error = text.parse::<Exec>().unwrap_err();
        assert!(matches!(error, Error::Exec(_)), "{text}: {error}");
    }
    let error = "cat=python3 'x".parse::<Exec>().unwrap_err();
    assert_eq!(
        error.to_string(),
        "understand the command of --exec cat: a quote is not closed in \"python3 'x\""
    );
}

#[test]
fn a_command_is_split_and_shell_syntax_goes_to_a_shell() {
    let split = |text: &str| to_command(text).unwrap();
    assert_eq!(split("python3 'my udf.py' --a=\"b c\" x\\ y"), ["python3", "my udf.py", "--a=b c", "x y"]);
    assert_eq!(split("awk '{print $1 | \"sort\"}'"), ["awk", "{print $1 | \"sort\"}"]);
    assert_eq!(split("./a~b --tag=x"), ["./a~b", "--tag=x"]);
    for text in [
        "a | b",
        "a && b",
        "a > f",
        "PORT=1 a",
        "a $HOME",
        "a \"$HOME\"",
        "a *.py",
        "~/a",
        "(a)",
        "a `b`",
        "a;b",
    ] {
        assert_eq!(split(text), ["sh", "-c", text], "{text}");
    }
    assert_eq!(to_command("a 'b"), None);
    assert_eq!(to_command("  "), None);
}
