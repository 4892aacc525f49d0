//! Decisions about servers as tables, and a walk of a whole update under every order of failures that a seed gives.
//! Invariant: the auditor counts by itself and asks the code under test nothing.

use serde_json::json;

use super::*;
use crate::kube::config::Config;

fn servers(jetstream: &serde_json::Value) -> Servers {
    let value = json!({
        "apiVersion": api::API_VERSION, "kind": "InterStepBufferService",
        "metadata": {"name": "default", "namespace": "flows"}, "spec": {"jetstream": jetstream},
    });
    let service = api::InterStepBufferService::from_value(value).unwrap();
    Servers::of(&api::check(service).unwrap().0, &Config::read("", "x").unwrap()).unwrap()
}

fn three() -> Servers {
    servers(&json!({"version": "latest", "replicas": 3}))
}

/// Servers by a word: `r` ready, `-` not ready, `x` in trouble, `e` ending; a capital letter is of the revision before.
fn look(word: &str) -> Look {
    let member = |(ordinal, letter): (usize, char)| Member {
        pod: format!("js-{ordinal}"),
        uid: format!("uid-{ordinal}"),
        ordinal: ordinal as u32,
        revision: if letter.is_uppercase() || letter == '=' { "one" } else { "two" }.to_owned(),
        is_ready: letter.eq_ignore_ascii_case(&'r'),
        is_ending: letter.eq_ignore_ascii_case(&'e'),
        trouble: letter.eq_ignore_ascii_case(&'x').then(|| "container main: CrashLoopBackOff: ".to_owned()),
    };
    let members = word.chars().enumerate().filter(|(_, letter)| *letter != ' ').map(member).collect();
    Look { revision: Some("two".to_owned()), members, has_worked: true, ..Look::default() }
}

fn replaced(servers: &Servers, look: &Look) -> Option<String> {
    match replacement(servers, look) {
        Replacement::Replace(member) => Some(member.pod),
        Replacement::Nothing => None,
        Replacement::Waits(why) => Some(why),
    }
}

#[test]
fn servers_are_replaced_one_at_a_time_from_the_last() {
    let waits = |ready: usize| Some(format!("an update waits until all 3 servers are ready; {ready} are"));
    let pod = |ordinal: u32| Some(format!("js-{ordinal}"));
    let table = [
        ("rrr", None),
        ("RRR", pod(2)),
        ("RRE", None),
        ("RR ", waits(2)),
        ("RR-", waits(2)),
        ("RRr", pod(1)),
        ("Rrr", pod(0)),
        // One that is broken goes first, though it is not the last.
        ("RXR", pod(1)),
        ("R=R", pod(1)),
        // A new one that is broken stops the update: the others still work.
        ("RRx", waits(2)),
        // Two that are broken: what is old and broken may go, what works may not.
        ("RXx", pod(1)),
        ("R=-", waits(1)),
    ];
    for (word, expected) in table {
        assert_eq!(replaced(&three(), &look(word)), expected, "{word}");
    }
}

#[test]
fn a_service_that_never_worked_is_not_waited_for() {
    let look = Look { has_worked: false, ..look("===") };
    assert_eq!(replaced(&three(), &look).as_deref(), Some("js-2"));
}

#[test]
fn the_only_copy_of_something_is_not_taken_away() {
    let one = servers(&json!({"version": "latest", "replicas": 1}));
    let used = Look { users: vec!["orders".to_owned()], ..look("R") };
    let Replacement::Waits(why) = replacement(&one, &used) else { panic!("it waits") };
    assert!(why.contains("(orders)"), "{why}");
    assert_eq!(health(&one, &used, &Replacement::Waits(why)).reason, "UpdateWaits");
    assert_eq!(replaced(&one, &look("R")).as_deref(), Some("js-0"), "nobody uses it");
    let kept = servers(&json!({"version": "latest", "replicas": 1, "persistence": {}}));
    assert_eq!(replaced(&kept, &used).as_deref(), Some("js-0"), "its volume stays");
}

#[test]
fn a_service_without_one_of_three_servers_is_degraded_and_good() {
    let table = [
        ("rrr", true, "Healthy", ""),
        ("rr-", true, "Degraded", "2 of 3 servers are ready"),
        ("rr ", true, "Degraded", "2 of 3 servers are ready"),
        ("rrx", true, "Degraded", "2 of 3 servers are ready; js-2: container main: CrashLoopBackOff: "),
        ("r--", false, "Unavailable", "1 of 3 servers are ready, too few to agree"),
        ("   ", false, "Unavailable", "0 of 3 servers are ready, too few to agree"),
        ("RRR", true, "Updating", "3 of 3 servers are ready; 3 are still of the revision before"),
        ("RRr", true, "Updating", "3 of 3 servers are ready; 2 are still of the revision before"),
        ("RRx", true, "Degraded", "2 of 3 servers are ready; js-2: container main: CrashLoopBackOff: "),
    ];
    for (word, is_good, reason, message) in table {
        let look = look(word);
        let found = health(&three(), &look, &replacement(&three(), &look));
        assert_eq!(found, Health { is_good, reason, message: message.to_owned() }, "{word}");
    }
}

#[test]
fn a_server_that_was_taken_for_an_update_is_no_trouble_until_it_has_some() {
    let table = [
        ("RRE", "Updating"),
        ("RR ", "Updating"),
        ("RR-", "Updating"),
        ("rr-", "Updating"),
        ("rrx", "Degraded"),
        ("rrr", "Healthy"),
    ];
    for (word, reason) in table {
        let look = Look { was_updating: true, ..look(word) };
        assert_eq!(health(&three(), &look, &replacement(&three(), &look)).reason, reason, "{word}");
    }
    let refused = Look { was_updating: true, refused: Some("exceeded quota".to_owned()), ..look("rr ") };
    let found = health(&three(), &refused, &Replacement::Nothing);
    assert_eq!(
        (found.reason, found.message.as_str()),
        ("Degraded", "2 of 3 servers are ready; exceeded quota")
    );
}

#[test]
fn a_set_that_has_not_seen_its_change_says_nothing_against_its_servers() {
    let look = Look { revision: None, ..look("RRR") };
    assert_eq!(health(&three(), &look, &replacement(&three(), &look)).reason, "Healthy");
}

#[test]
fn a_service_that_starts_is_not_used_before_all_servers_are_there() {
    for word in ["   ", "---", "rr-"] {
        let look = Look { has_worked: false, ..look(word) };
        let found = health(&three(), &look, &Replacement::Nothing);
        assert_eq!((found.is_good, found.reason), (false, "Progressing"), "{word}");
    }
    assert_eq!(
        health(&three(), &Look::default(), &Replacement::Nothing).message,
        "the servers are being made"
    );
}

#[test]
fn what_would_lose_something_is_taken_back() {
    let there = Shape::of(&three());
    let mut wanted = servers(&json!({"version": "latest", "replicas": 1, "tls": true, "persistence": {}}));
    let refused = keep(&mut wanted, &there);
    assert_eq!(
        refused,
        [
            "3 servers cannot become 1, because what they keep would be lost; make another service beside it",
            "the volumes of a service cannot change; make another service beside it",
            "tls cannot be switched while servers talk to each other; make another service beside it",
        ]
    );
    assert_eq!(Shape::of(&wanted), there);
    let mut more = servers(&json!({"version": "latest", "replicas": 5}));
    assert_eq!(keep(&mut more, &there), Vec::<String>::new());
    assert_eq!(more.replicas, 5);
}

/// A service whose servers come and go at random while an update is made; an auditor counts.
#[test]
fn an_update_ends_and_never_takes_a_server_that_is_needed() {
    let servers = three();
    for seed in 0..500_u64 {
        let mut random = fastrand::Rng::with_seed(seed);
        let mut seen = look("RRR");
        let mut turns = 0;
        while seen.members.iter().any(|member| member.revision == "one" || !member.is_ready) {
            turns += 1;
            assert!(turns < 10_000, "seed {seed}: the update does not end: {seen:?}");
            if let Replacement::Replace(gone) = replacement(&servers, &seen) {
                let ready =
                    seen.members.iter().filter(|member| member.is_ready && member.pod != gone.pod).count();
                assert!(ready >= 2 || !gone.is_ready, "seed {seed}: {gone:?} is taken of {seen:?}");
                let member = seen.members.iter_mut().find(|member| member.pod == gone.pod).unwrap();
                (member.is_ending, member.is_ready) = (true, false);
            }
            let member = &mut seen.members[random.usize(..3)];
            match random.u32(..10) {
                _ if member.is_ending => {
                    (member.is_ending, member.revision) = (false, "two".to_owned());
                }
                // A server fails now and then, and comes back sooner or later.
                0 => member.is_ready = false,
                1..=5 => (member.is_ready, member.trouble) = (true, None),
                6 if !member.is_ready => member.trouble = Some("it ended with code 1".to_owned()),
                _ => {}
            }
        }
    }
}
