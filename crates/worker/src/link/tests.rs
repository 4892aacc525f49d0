//! Notes are read back as they were written, whatever a later version adds, and a remote hand only listens to its life.

use model::Slot;

use super::*;

fn unit(number: u32) -> UnitReport {
    UnitReport {
        unit: Unit::Source(number),
        epoch: Epoch(9),
        sequence: 12,
        in_hand: 3,
        done: 1_000,
        latest: Some(Time::from_nanos(-5)),
        empty_at: None,
        outside: Some(0),
        rests_until: Some(Time::from_nanos(7)),
        since_progress: Duration::from_millis(30),
    }
}

fn report(incarnation: u64, number: u64) -> Report {
    Report {
        incarnation: Incarnation(incarnation),
        number,
        followed: 4,
        units: vec![unit(0), UnitReport { unit: Unit::Slot(Slot::RETRY), ..unit(1) }],
        signals: Signals { read: 7, nacks: 2, ..Signals::default() },
        standing: Standing {
            is_exhausted: true,
            is_ready: true,
            urls: vec!["http://127.0.0.1:8090/vertices/in".to_owned()],
            revision: "4f21".to_owned(),
        },
        notices: vec![Notice {
            container: "udf".to_owned(),
            code: "crashed".to_owned(),
            message: "it exited with 1".to_owned(),
            details: String::new(),
            messages: vec!["in-3-0".to_owned()],
            at_millis: 5,
        }],
        notices_total: 11,
    }
}

#[test]
fn notes_are_read_back_and_what_a_later_version_adds_is_passed_over() {
    let said = report(u64::MAX, 3);
    let orders = Orders {
        number: 8,
        units: [(Unit::Source(2), Epoch(1)), (Unit::Slot(Slot { partition: 1, number: 63 }), Epoch(2))]
            .into(),
        stop: true,
        watermark: Time::from_nanos(-1),
        ..Orders::none(Incarnation(5))
    };
    assert_eq!(Report::decode(&said.encode()).unwrap(), said);
    assert_eq!(Orders::decode(&orders.encode()).unwrap(), orders);
    assert_eq!(Orders::decode(&Orders::none(Incarnation(5)).encode()).unwrap().watermark, Time::UNKNOWN);
    // Field 100, two bytes.
    let later = |note: Bytes| Bytes::from([&note[..], &[0xa2, 0x06, 2, 1, 2]].concat());
    assert_eq!(Report::decode(&later(said.encode())).unwrap(), said);
    assert_eq!(Orders::decode(&later(orders.encode())).unwrap(), orders);
    let cut = orders.encode().slice(..10);
    assert_eq!(Orders::decode(&cut).unwrap_err().class(), Class::Reject);
}

#[test]
fn a_remote_hand_listens_to_the_newest_report_of_its_own_life() {
    let remote = Remote::new(report(5, 1));
    assert_eq!(remote.heard(), Some(1));
    let more = Report { followed: 6, ..report(5, 3) };
    assert!(remote.hear(more.clone()));
    assert!(!remote.hear(report(5, 2)), "it is older");
    assert!(!remote.hear(report(6, 9)), "it is of another life");
    assert_eq!((remote.heard(), remote.followed(), remote.last()), (Some(2), 6, more));
}

#[test]
fn what_others_wait_for_is_told_from_what_can_wait() {
    let said = report(5, 1);
    let mut later = said.clone();
    later.units[0].since_progress += Duration::from_secs(1);
    assert!(!later.differs_from(&said));
    later.units[0].done += 1;
    assert!(later.differs_from(&said) && later.moves() == said.moves());
    later.units.pop();
    assert!(later.moves() != said.moves());
    let followed = Report { followed: 5, ..said.clone() };
    assert!(followed.moves() != said.moves());
}
