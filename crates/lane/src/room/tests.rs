//! Room: shares, what is given back, and what may be removed.

use model::{Position, Topology, Unit};
use smol_str::SmolStr;

use super::*;

fn room(writers: u16, messages_max: u64) -> Arc<Room> {
    let topology = Topology { partitions: 1, slots_per_partition: 2 };
    let settings =
        VertexSettings { name: SmolStr::new("map"), topology, writers, messages_max, bytes_max: 1 << 40 };
    let room = Arc::new(Room::new(&settings));
    room.complete();
    room
}

fn held(vertex: &str, messages: u64) -> Held {
    let unit = UnitId { vertex: SmolStr::new(vertex), unit: Unit::Source(0) };
    Held { unit, messages, bytes: 10 }
}

#[test]
fn each_writer_has_its_share_and_what_goes_around_twice_that() {
    let room = room(2, 10);
    let (fast, slow) = (SmolStr::new("fast"), SmolStr::new("slow"));
    let reserved = room.take(held("fast", 5));
    assert!(!room.has(&fast, Passage::Onward).unwrap());
    assert!(room.has(&fast, Passage::Around).unwrap());
    assert!(room.has(&slow, Passage::Onward).unwrap());
    reserved.stored(0, 4);
    assert!(!room.has(&fast, Passage::Onward).unwrap());
    room.note(0, 4, held("fast", 5));
    room.settle(0, &Progress::to(Position::after(4)));
    assert!(room.has(&fast, Passage::Onward).unwrap(), "it was counted once");
    drop(room.take(held("fast", 50)));
    assert!(room.has(&fast, Passage::Onward).unwrap());
}

#[test]
fn frames_that_are_settled_before_they_are_heard_of_take_no_room() {
    let room = room(1, 1);
    room.settle(1, &Progress { position: Position::after(3), above: vec![7] });
    for (sequence, has) in [(2, true), (7, true), (8, false)] {
        room.note(1, sequence, held("in", 1));
        assert_eq!(room.has(&SmolStr::new("in"), Passage::Onward).unwrap(), has, "after frame {sequence}");
    }
    room.settle(1, &Progress::to(Position::after(2)));
    room.settle(1, &Progress { position: Position::after(3), above: vec![7, 8] });
    assert!(room.has(&SmolStr::new("in"), Passage::Onward).unwrap());
}

#[test]
fn what_is_removed_is_below_the_position_and_never_the_end_of_a_lane() {
    let room = room(1, 1 << 30);
    for sequence in [2, 3, 9] {
        room.note(0, sequence, held("in", 1));
    }
    let unit = held("in", 1).unit;
    let at = Time::from_millis(0);
    room.settle(0, &Progress { position: Position::after(2), above: vec![9] });
    assert_eq!(room.purges(Due::Worth, at, |_| true), [], "it is not worth it");
    assert_eq!(room.purges(Due::All, at, |_| false), [], "it is not ours");
    let purge = |shelf, through| Purge { unit: unit.clone(), shelf, through };
    assert_eq!(room.purges(Due::All, at, |_| true), [purge(Shelf::Slot(0), 2)]);
    room.settle(0, &Progress::to(Position::after(9)));
    assert_eq!(room.purges(Due::All, at, |_| true), [purge(Shelf::Slot(0), 8)]);
    room.note_mark(&unit, 12);
    room.note_mark(&unit, 15);
    let later = at.after(std::time::Duration::from_mins(1));
    assert_eq!(room.purges(Due::Worth, at, |_| true), []);
    assert_eq!(room.purges(Due::Worth, later, |_| true), [purge(Shelf::Claims, 14)]);
}

#[test]
fn what_a_reader_leaves_of_a_writer_is_counted_in_messages() {
    let room = room(1, 10);
    for (sequence, messages) in [(2, 4), (3, 3), (9, 5)] {
        room.note(0, sequence, held("in", messages));
    }
    let at = |sequence, index| Position { sequence, index };
    room.settle(0, &Progress::to(at(2, 1)));
    room.note(0, 4, held("other", 100));
    let leaves_of = |writer: &str, position, above: &[u64]| {
        room.leaves(0, &SmolStr::new(writer), &Progress { position, above: above.into() })
    };
    let leaves = |position, above| leaves_of("in", position, above);
    assert_eq!(leaves_of("other", at(4, 7), &[]), 7);
    assert_eq!(leaves_of("other", at(10, 0), &[]), 100);
    assert_eq!(leaves(at(2, 1), &[]), 0);
    assert_eq!(leaves(at(2, 3), &[]), 2);
    assert_eq!(leaves(at(3, 0), &[]), 3);
    assert_eq!(leaves(at(3, 2), &[9]), 3 + 2 + 5);
    assert_eq!(leaves(at(10, 0), &[]), 3 + 3 + 5);
}
