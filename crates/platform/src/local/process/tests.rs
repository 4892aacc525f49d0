//! Waits, lines, dates, variables and volumes: the parts of supervision that need no process.

use std::fs;
use std::path::Path;
use std::time::{Duration, SystemTime};

use api::spec::Container;
use api::spec::stock::{Volume, VolumeMount};
use serde_json::{Value, json};

use super::environment::{self, Identity, Machine, assemble, expand, expand_all};
use super::lines::{LINE_MAX, Line, Splitter, Stream};
use super::log::{LogFile, SIZE_MAX, timestamp};
use super::volumes::{self, Places, prepare};
use super::{Backoff, Directories};
use crate::local::namespace::Mount;
use crate::local::secrets::{Kind, Values};

#[test]
fn waits_double_up_to_ten_seconds_and_start_anew_after_a_minute() {
    let mut backoff = Backoff::default();
    let waits: Vec<u128> = (0..8).map(|_| backoff.after(Duration::from_secs(1)).as_millis()).collect();
    assert_eq!(waits, [200, 400, 800, 1_600, 3_200, 6_400, 10_000, 10_000]);
    assert_eq!(backoff.after(Duration::from_mins(1)).as_millis(), 200);
    assert_eq!(backoff.after(Duration::from_secs(59)).as_millis(), 400);
}

fn line(text: &str, is_partial: bool) -> Line {
    Line { stream: Stream::Out, text: text.to_owned(), is_partial }
}

#[test]
fn lines_are_the_same_however_the_bytes_arrive() {
    let bytes = b"one\r\ntwo\n\nthr\xffee";
    let expected = [line("one", false), line("two", false), line("", false), line("thr\u{fffd}ee", false)];
    for size in 1..=bytes.len() {
        let mut splitter = Splitter::new(Stream::Out);
        let mut lines: Vec<Line> = bytes.chunks(size).flat_map(|chunk| splitter.push(chunk)).collect();
        lines.extend(splitter.finish());
        assert_eq!(lines, expected, "in chunks of {size}");
    }
}

#[test]
fn a_line_of_exactly_the_limit_is_whole() {
    let mut splitter = Splitter::new(Stream::Out);
    let mut bytes = vec![b'x'; LINE_MAX];
    bytes.push(b'\n');
    let pieces: Vec<(usize, bool)> =
        splitter.push(&bytes).iter().map(|line| (line.text.len(), line.is_partial)).collect();
    assert_eq!(pieces, [(LINE_MAX, false)]);
    assert_eq!(splitter.finish(), None);
}

#[test]
fn times_are_written_as_rfc_3339() {
    for (millis, expected) in [
        (0, "1970-01-01T00:00:00.000Z"),
        (951_782_400_000, "2000-02-29T00:00:00.000Z"),
        (1_709_251_199_999, "2024-02-29T23:59:59.999Z"),
        (1_767_225_600_001, "2026-01-01T00:00:00.001Z"),
        (4_107_542_400_000, "2100-03-01T00:00:00.000Z"),
    ] {
        assert_eq!(timestamp(SystemTime::UNIX_EPOCH + Duration::from_millis(millis)), expected);
    }
}

#[test]
fn a_full_log_is_put_aside_once() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("deep/udf.log");
    let mut log = LogFile::open(&path).unwrap();
    let text = "x".repeat(LINE_MAX);
    let per_file = SIZE_MAX as usize / LINE_MAX;
    for _ in 0..per_file * 5 / 2 {
        log.write(&line(&text, false));
    }
    let size = |path: &Path| fs::metadata(path).unwrap().len();
    let older = path.with_file_name("udf.log.1");
    assert!(size(&older) <= SIZE_MAX && size(&older) > SIZE_MAX - 2 * LINE_MAX as u64);
    assert!(size(&path) < SIZE_MAX);
    assert_eq!(fs::read_dir(dir.path().join("deep")).unwrap().count(), 2);
    drop(log);
    let before = size(&path);
    LogFile::open(&path).unwrap().write(&line("more", true));
    assert!(size(&path) > before);
    assert!(fs::read_to_string(&path).unwrap().ends_with("Z stdout P more\n"));
}

#[test]
fn socket_paths_are_short() {
    let run_dir = Path::new("/run/user/1000000/tidegate-0123456789abcdef");
    let sockets = Directories::below(run_dir, 9_999).sockets;
    assert!(sockets.join("sourcetransform.sock").as_os_str().len() <= 107);
}

fn identity(vertex: Option<&str>) -> Identity {
    Identity {
        namespace: "default".to_owned(),
        object: "pl".to_owned(),
        vertex: vertex.map(str::to_owned),
        replica: 1,
        container: "udf".to_owned(),
        extra: vec![("NUMAFLOW_READ_BATCH_SIZE".to_owned(), "500".to_owned())],
    }
}

fn values() -> Values {
    let mut values = Values::default();
    values.insert(Kind::Secret, &"s/password=p ss".parse().unwrap());
    values.insert(Kind::ConfigMap, &"c/mode=fast".parse().unwrap());
    values.insert(Kind::ConfigMap, &"c/level=3".parse().unwrap());
    values
}

const MACHINE: Machine = Machine { processors: 8, memory_bytes: 1 << 34 };

fn variables(spec: Value) -> Result<Vec<(String, String)>, environment::Error> {
    let container: Container = serde_json::from_value(spec).unwrap();
    assemble(&container, &identity(Some("cat")), &values(), MACHINE)
}

fn get<'a>(variables: &'a [(String, String)], name: &str) -> Option<&'a str> {
    variables.iter().find_map(|(held, value)| (held == name).then_some(value.as_str()))
}

#[test]
fn a_user_container_sees_what_it_sees_in_a_cluster() {
    let resources = json!({"limits": {"cpu": "1500m", "memory": "64Mi"}, "requests": {"memory": "1e6"}});
    let set = variables(json!({ "resources": resources })).unwrap();
    for (name, value) in [
        ("NUMAFLOW_NAMESPACE", "default"),
        ("NUMAFLOW_POD", "pl-cat-1-local"),
        ("NUMAFLOW_REPLICA", "1"),
        ("NUMAFLOW_UD_CONTAINER_TYPE", "udf"),
        ("NUMAFLOW_PIPELINE_NAME", "pl"),
        ("NUMAFLOW_VERTEX_NAME", "cat"),
        ("NUMAFLOW_CPU_LIMIT", "2"),
        ("NUMAFLOW_CPU_REQUEST", "2"),
        ("NUMAFLOW_MEMORY_LIMIT", "67108864"),
        ("NUMAFLOW_MEMORY_REQUEST", "1000000"),
        ("NUMAFLOW_READ_BATCH_SIZE", "500"),
    ] {
        assert_eq!(get(&set, name), Some(value), "{name}");
    }
    let mono = assemble(&Container::default(), &identity(None), &values(), MACHINE).unwrap();
    assert_eq!(get(&mono, "NUMAFLOW_MONO_VERTEX_NAME"), Some("pl"));
    assert_eq!(get(&mono, "NUMAFLOW_VERTEX_NAME"), None);
    assert_eq!(get(&mono, "NUMAFLOW_CPU_LIMIT"), Some("8"));
    assert_eq!(get(&mono, "NUMAFLOW_MEMORY_LIMIT"), Some("17179869184"));
}

#[test]
fn references_are_resolved_and_the_last_of_a_name_wins() {
    let set = variables(json!({
        "envFrom": [{"prefix": "C_", "configMapRef": {"name": "c"}}],
        "env": [
            {"name": "P", "valueFrom": {"secretKeyRef": {"name": "s", "key": "password"}}},
            {"name": "M", "valueFrom": {"configMapKeyRef": {"name": "c", "key": "mode"}}},
            {"name": "O", "valueFrom": {"secretKeyRef": {"name": "s", "key": "none", "optional": true}}},
            {"name": "N", "valueFrom": {"fieldRef": {"fieldPath": "metadata.name"}}},
            {"name": "R", "valueFrom": {"resourceFieldRef": {"resource": "limits.cpu"}}},
            {"name": "E", "value": "$(M)/$(C_level)/$(NONE)/$$(M)"},
            {"name": "C_mode", "value": "slow"},
            {"name": "NUMAFLOW_POD", "value": "mine"},
        ],
    }))
    .unwrap();
    for (name, value) in [
        ("P", Some("p ss")),
        ("M", Some("fast")),
        ("O", None),
        ("N", Some("pl-cat-1-local")),
        ("R", Some("8")),
        ("E", Some("fast/3/$(NONE)/$(M)")),
        ("C_mode", Some("slow")),
        ("NUMAFLOW_POD", Some("mine")),
    ] {
        assert_eq!(get(&set, name), value, "{name}");
    }
    let command = ["$(M)".to_owned(), "x$(NUMAFLOW_VERTEX_NAME)".to_owned()];
    assert_eq!(expand_all(&command, &set), ["fast", "xcat"]);
    assert_eq!(expand("$(a", |_| None), "$(a");
}

#[test]
fn a_reference_that_cannot_be_resolved_is_named() {
    for (value_from, expected) in [
        (json!({"secretKeyRef": {"name": "s", "key": "x"}}), "secret s has no key x"),
        (json!({"fieldRef": {"fieldPath": "metadata.uid"}}), "metadata.uid does not exist"),
        (json!({"resourceFieldRef": {"resource": "limits.gpu"}}), "resource limits.gpu does not exist"),
    ] {
        let error = variables(json!({"env": [{"name": "V", "valueFrom": value_from}]})).unwrap_err();
        let text = error.to_string();
        assert!(text.starts_with(&format!("set the variable V: {expected}")), "{text}");
    }
    let wrong = json!({"resources": {"limits": {"cpu": "two"}}});
    assert!(variables(wrong).unwrap_err().to_string().ends_with("\"two\" is not a quantity"));
}

struct Disk {
    dir: tempfile::TempDir,
    places: Places,
}

impl Disk {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let at = |name: &str| dir.path().join(name);
        let places = Places { replica: at("replica"), claims: at("claims"), files: at("files") };
        Self { dir, places }
    }

    fn prepare(&self, volumes: Value, mounts: Value) -> Result<volumes::Mounted, volumes::Error> {
        let volumes: Vec<Volume> = serde_json::from_value(volumes).unwrap();
        let mounts: Vec<VolumeMount> = serde_json::from_value(mounts).unwrap();
        prepare(&volumes, &mounts, &self.places, &values())
    }
}

#[test]
fn each_kind_of_volume_becomes_a_directory_or_files() {
    let disk = Disk::new();
    let host = disk.dir.path().join("host");
    let volumes = json!([
        {"name": "scratch", "emptyDir": {}},
        {"name": "data", "persistentVolumeClaim": {"claimName": "my-claim"}},
        {"name": "secret", "secret": {"secretName": "s", "items": [{"key": "password", "path": "in/pw"}]}},
        {"name": "config", "configMap": {"name": "c"}},
        {"name": "both", "projected": {"sources": [{"secret": {"name": "s"}}, {"configMap": {"name": "c"}}]}},
        {"name": "host", "hostPath": {"path": host, "type": "DirectoryOrCreate"}},
    ]);
    let mounts = json!([
        {"name": "scratch", "mountPath": "/scratch"},
        {"name": "scratch", "mountPath": "/sub", "subPath": "a/b"},
        {"name": "data", "mountPath": "/data", "readOnly": true},
        {"name": "secret", "mountPath": "/secret"},
        {"name": "config", "mountPath": "/etc/mode", "subPath": "mode"},
        {"name": "both", "mountPath": "/both"},
        {"name": "host", "mountPath": "/host"},
    ]);
    let mounted = disk.prepare(volumes, mounts).unwrap();
    let Places { replica, claims, files } = &disk.places;
    assert_eq!(
        mounted.mounts,
        [
            Mount::writable(&replica.join("scratch"), Path::new("/scratch")),
            Mount::writable(&replica.join("scratch/a/b"), Path::new("/sub")),
            Mount::read_only(&claims.join("my-claim"), Path::new("/data")),
            Mount::read_only(&files.join("secret"), Path::new("/secret")),
            Mount::read_only(&files.join("config/mode"), Path::new("/etc/mode")),
            Mount::read_only(&files.join("both"), Path::new("/both")),
            Mount::writable(&host, Path::new("/host")),
        ]
    );
    assert!(mounted.mounts.iter().all(|mount| mount.from.exists()));
    assert_eq!(fs::read_to_string(files.join("secret/in/pw")).unwrap(), "p ss");
    assert_eq!(fs::read_to_string(files.join("config/mode")).unwrap(), "fast");
    assert_eq!(fs::read_dir(files.join("both")).unwrap().count(), 3);
    let said = format!("volume claim my-claim is the directory {}", claims.join("my-claim").display());
    assert_eq!(mounted.announcements, [said]);
}

#[test]
fn a_volume_that_cannot_be_had_is_named() {
    let mount = json!([{"name": "v", "mountPath": "/v"}]);
    for (volume, mounts, expected) in [
        (
            json!({"name": "w", "emptyDir": {}}),
            &mount,
            "mount volume v: the vertex has no volume of that name",
        ),
        (json!({"name": "v", "nfs": {"server": "s", "path": "/"}}), &mount, "mount volume v: on one machine"),
        (
            json!({"name": "v", "configMap": {"name": "c", "items": [{"key": "x", "path": "x"}]}}),
            &mount,
            "fill volume v: config map c has no key x",
        ),
        (
            json!({"name": "v", "configMap": {"name": "c", "items": [{"key": "mode", "path": "../x"}]}}),
            &mount,
            "mount volume v: \"../x\" must be a relative path without `..`",
        ),
        (
            json!({"name": "v", "emptyDir": {}}),
            &json!([{"name": "v", "mountPath": "v"}]),
            "mount volume v: mountPath \"v\" must be absolute",
        ),
        (
            json!({"name": "v", "hostPath": {"path": "/etc/passwd", "type": "Directory"}}),
            &mount,
            "make /etc/passwd",
        ),
    ] {
        let text = Disk::new().prepare(json!([volume]), mounts.clone()).unwrap_err().to_string();
        assert!(text.starts_with(expected), "{text}");
    }
}
