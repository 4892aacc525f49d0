//! Files as they are written and found.

use super::*;

fn entry(container: &str, message: &str) -> Entry {
    Entry {
        container: container.to_owned(),
        timestamp: 1_767_225_661,
        code: "crashed".to_owned(),
        message: message.to_owned(),
        details: "at line 1".to_owned(),
    }
}

fn names(directory: &Path) -> Vec<String> {
    let mut names: Vec<String> = fs::read_dir(directory)
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort();
    names
}

fn messages(store: &Store) -> Vec<String> {
    store.read().unwrap().into_iter().map(|entry| entry.message).collect()
}

#[test]
fn an_error_is_one_object_in_a_file_that_is_named_by_its_time() {
    let dir = tempfile::tempdir().unwrap();
    let root = dir.path().join("application-errors");
    let store = Store::new(&root);
    assert_eq!(store.read().unwrap(), []);
    store.write(&entry("udf", "it divided by zero")).unwrap();
    let [name] = &names(&root.join("udf"))[..] else { panic!("one file") };
    let parts: Vec<&str> = name.split('-').collect();
    assert!(parts[0].parse::<u128>().unwrap() > 1_600_000_000_000_000_000);
    assert_eq!(parts[1..], ["0", "numa.json"]);
    assert_eq!(
        fs::read_to_string(root.join("udf").join(name)).unwrap(),
        r#"{"container":"udf","timestamp":1767225661,"code":"crashed","message":"it divided by zero","details":"at line 1"}"#
    );
    assert_eq!(store.read().unwrap(), [entry("udf", "it divided by zero")]);
    for directory in [root.clone(), root.join("udf")] {
        assert_eq!(fs::metadata(directory).unwrap().permissions().mode() & 0o777, 0o777);
    }
}

#[test]
fn the_newest_ten_of_each_container_stay_in_order() {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::new(dir.path());
    for number in 0..25 {
        store.write(&entry("udf", &number.to_string())).unwrap();
    }
    store.write(&entry("udsink", "other")).unwrap();
    assert_eq!(names(&dir.path().join("udf")).len(), KEPT);
    let expected: Vec<String> =
        (15..25).map(|number| number.to_string()).chain(["other".to_owned()]).collect();
    assert_eq!(messages(&store), expected);
}

#[test]
fn of_many_files_of_others_the_newest_ten_are_read() {
    let dir = tempfile::tempdir().unwrap();
    let udf = dir.path().join("udf");
    fs::create_dir_all(&udf).unwrap();
    for number in 0..12 {
        let text = serde_json::to_string(&entry("udf", &number.to_string())).unwrap();
        fs::write(udf.join(format!("{}-0-udf.json", 90 + number)), text).unwrap();
    }
    let expected: Vec<String> = (2..12).map(|number| number.to_string()).collect();
    assert_eq!(messages(&Store::new(dir.path())), expected);
}

#[test]
fn unfinished_current_broken_and_foreign_files_are_passed_over() {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::new(dir.path());
    store.write(&entry("udf", "whole")).unwrap();
    let udf = dir.path().join("udf");
    let text = serde_json::to_string(&entry("udf", "not finished")).unwrap();
    fs::write(udf.join("1-0-numa.json.tmp"), &text).unwrap();
    fs::write(udf.join("current-udf.json"), &text).unwrap();
    fs::write(udf.join("2-0-udf.json"), &text[..20]).unwrap();
    fs::write(udf.join("3-0-udf.json"), vec![b' '; FILE_BYTES_MAX as usize + 1]).unwrap();
    fs::write(dir.path().join("a file"), &text).unwrap();
    assert_eq!(messages(&store), ["whole"]);
}

#[test]
fn the_name_of_a_container_leads_nowhere_else() {
    let dir = tempfile::tempdir().unwrap();
    let root = dir.path().join("errors");
    let store = Store::new(&root);
    for container in ["../../escaped", "..", "", "/"] {
        store.write(&entry(container, "kept")).unwrap();
    }
    assert_eq!(names(dir.path()), ["errors"]);
    assert_eq!(names(&root), ["escaped", "numa"]);
    assert_eq!(messages(&store).len(), 4);
}

#[test]
fn an_error_of_any_size_can_be_read_again() {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::new(dir.path());
    for text in ["\u{1}".repeat(1_000_000), "ä".repeat(1_000_000)] {
        let large = Entry { details: text.clone(), message: text.clone(), ..entry("udf", "") };
        store.write(&large).unwrap();
        let [read] = &store.read().unwrap()[..] else { panic!("it is read") };
        assert!(text.starts_with(&read.details));
        assert!(read.details.len() > TEXT_BYTES_MAX - 2);
        fs::remove_dir_all(dir.path().join("udf")).unwrap();
    }
}

#[test]
fn what_cannot_be_read_is_named() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("file");
    fs::write(&file, "").unwrap();
    let error = Store::new(&file).read().unwrap_err();
    assert_eq!(error.to_string(), format!("list {}", file.display()));
    assert!(std::error::Error::source(&error).is_some());
    assert!(Store::new(&file).write(&entry("udf", "x")).is_err());
}

#[test]
fn an_incident_becomes_an_entry_with_its_messages_before_its_details() {
    let mut incident = Incident {
        at: serde_json::from_str("1767225661999").unwrap(),
        object: "p".to_owned(),
        vertex: "cat".to_owned(),
        replica: 0,
        container: "udf".to_owned(),
        code: "crashed".to_owned(),
        message: "it divided by zero".to_owned(),
        details: "at line 1".to_owned(),
        messages: vec!["in-0-1".to_owned(), "in-0-2".to_owned()],
    };
    let expected = Entry {
        details: "messages: in-0-1, in-0-2 | details: at line 1".to_owned(),
        ..entry("udf", "it divided by zero")
    };
    assert_eq!(Entry::from(&incident), expected);
    incident.messages.clear();
    assert_eq!(Entry::from(&incident).details, "at line 1");
}

#[test]
fn of_a_list_of_the_latest_those_are_unseen_that_came_since() {
    let latest = [7, 8, 9];
    assert_eq!(unseen(&latest, 10, 10), [0; 0]);
    assert_eq!(unseen(&latest, 10, 9), [9]);
    assert_eq!(unseen(&latest, 10, 8), [8, 9]);
    assert_eq!(unseen(&latest, 10, 0), [7, 8, 9]);
    assert_eq!(unseen(&latest, 10, 11), [0; 0]);
}
