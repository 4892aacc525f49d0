//! What the journal buffer promises beyond what every buffer does: what a full, failing or damaged disk means at the
//! door, what is left of a commit that was given up while it waited, and that the id index is bounded.

use std::future::Future;
use std::pin::pin;
use std::sync::Arc;

use bytes::Bytes;
use journal::sim_disk::{Fault, SimDisk};
use journal::{Journal, Options, Stepper};
use model::door::buffer::{
    Buffer, Claim, Claimed, Commit, Committer, IDS_REMEMBERED, Output, Passage, VertexSettings, WhenFull,
};
use model::door::{Class, Error};
use model::frame::Body;
use model::{
    Epoch, Incarnation, Message, Origin, Place, Position, Progress, Slot, Time, Topology, Unit, UnitId,
};
use smol_str::{SmolStr, format_smolstr};
use tidegate_connect::buffer::journal::{JournalBuffer, note_source};

use crate::journal_buffer_bench::{alone, settings};

const SLOT: Slot = Slot { partition: 0, number: 0 };
const LIMIT: u64 = 4;

fn open(disk: &SimDisk, options: Options) -> (Arc<Journal<SimDisk>>, JournalBuffer<SimDisk>) {
    let journal = Arc::new(Journal::open(disk.clone(), options).unwrap());
    let buffer = over(journal.clone());
    (journal, buffer)
}

fn over(journal: Arc<Journal<SimDisk>>) -> JournalBuffer<SimDisk> {
    let vertex = |name| VertexSettings {
        name: SmolStr::new(name),
        topology: Topology { partitions: 1, slots_per_partition: 1 },
        writers: 1,
        messages_max: LIMIT,
        bytes_max: 1 << 40,
    };
    JournalBuffer::open(journal, settings(&[vertex("in"), vertex("map")])).unwrap()
}

fn options() -> Options {
    Options { reserve_bytes: 64 * 1024, segment_bytes: 64 * 1024, ..Options::default() }
}

fn unit(vertex: &str, unit: Unit) -> UnitId {
    UnitId { vertex: SmolStr::new(vertex), unit }
}

async fn claim(buffer: &dyn Buffer, unit: UnitId, epoch: u64) -> Claimed {
    let claim = Claim { unit, owner: Incarnation(epoch), replica: 0, epoch: Epoch(epoch) };
    buffer.claim(claim).await.unwrap_or_else(|error| panic!("{}", error.chain()))
}

async fn source(buffer: &dyn Buffer, epoch: u64) -> (u64, Box<dyn Committer>) {
    let claimed = claim(buffer, unit("in", Unit::Source(0)), epoch).await;
    (claimed.progress.position.sequence, claimed.committer)
}

fn message_of(bytes: usize) -> Output {
    let offset = Origin::Numbered { number: 1, partition: 0 };
    let message = Message::from_source(SmolStr::new("in"), offset, Bytes::from(vec![1; bytes]), Time::MIN);
    let to = Place { vertex: SmolStr::new("map"), slot: SLOT };
    Output { to, body: Body::encode([&message]), when_full: WhenFull::Wait, passage: Passage::Onward }
}

fn commit(position: u64, outputs: Vec<Output>) -> Commit {
    let progress = Progress::to(Position { sequence: position, index: 0 });
    Commit { outputs, progress, ..Commit::default() }
}

fn class<T>(result: Result<T, Error>) -> Option<Class> {
    result.err().map(|error| error.class())
}

async fn messages(buffer: &dyn Buffer) -> u64 {
    buffer.levels("map").await.unwrap().iter().map(|level| level.messages).sum()
}

#[test]
fn a_commit_given_up_while_it_waits_stores_nothing_and_its_committer_goes_on() {
    alone(async {
        let (_journal, buffer) = open(&SimDisk::new(1), options());
        let (_, mut committer) = source(&buffer, 1).await;
        for position in 1..=LIMIT {
            committer.commit(commit(position, vec![message_of(10)])).await.unwrap();
        }
        for _ in 0..10 {
            let waiting = committer.commit(commit(LIMIT + 1, vec![message_of(10)]));
            tokio::select! {
                biased;
                _ = waiting => panic!("the partition is full"),
                () = tokio::task::yield_now() => {}
            }
        }
        assert_eq!(messages(&buffer).await, LIMIT);
        let mut map = claim(&buffer, unit("map", Unit::Slot(SLOT)), 1).await;
        let last = map.reader.as_mut().unwrap().read(1 << 20).await.unwrap().pop().unwrap();
        let settled = Progress::to(Position::after(last.sequence));
        map.committer.commit(Commit { progress: settled, ..Commit::default() }).await.unwrap();
        committer.commit(commit(LIMIT + 1, vec![message_of(10)])).await.unwrap();
        assert_eq!(messages(&buffer).await, 1);
    });
}

/// Waits for `future` while the journal is turned by hand.
async fn turning<T>(stepper: &mut Stepper<SimDisk>, future: impl Future<Output = T>) -> T {
    let mut future = pin!(future);
    loop {
        tokio::select! {
            biased;
            result = &mut future => return result,
            () = tokio::task::yield_now() => { stepper.step(); }
        }
    }
}

#[test]
fn after_an_abandoned_commit_only_a_claim_goes_on() {
    alone(async {
        let (journal, mut stepper) = Journal::open_stepped(SimDisk::new(8), options()).unwrap();
        let buffer = over(Arc::new(journal));
        let (_, mut committer) = turning(&mut stepper, source(&buffer, 1)).await;
        tokio::select! {
            biased;
            _ = committer.commit(commit(1, vec![message_of(10)])) => panic!("the journal was not turned"),
            () = std::future::ready(()) => {}
        }
        assert_eq!(class(committer.commit(commit(1, vec![message_of(10)])).await), Some(Class::Lost));
        let (position, mut committer) = turning(&mut stepper, source(&buffer, 1)).await;
        assert_eq!(position, 1, "it had been handed over");
        turning(&mut stepper, committer.commit(commit(2, vec![message_of(10)]))).await.unwrap();
        assert_eq!(messages(&buffer).await, 2);
    });
}

#[test]
fn positions_of_another_source_are_not_gone_on_from() {
    alone(async {
        let disk = SimDisk::new(5);
        let life = |word: &str| {
            let journal = Arc::new(Journal::open(disk.clone(), options()).unwrap());
            let former = note_source(&journal, "in", word).unwrap();
            (former, over(journal.clone()), journal)
        };
        let (former, buffer, journal) = life("file /a");
        assert_eq!(former, None);
        let (_, mut committer) = source(&buffer, 3).await;
        committer.commit(commit(7, vec![message_of(10)])).await.unwrap();
        let mut map = claim(&buffer, unit("map", Unit::Slot(SLOT)), 3).await;
        map.committer.commit(commit(0, Vec::new())).await.unwrap();
        drop((committer, map, buffer));
        journal.close().unwrap();

        let (former, buffer, journal) = life("file /a");
        assert_eq!(former, None, "it is the same one");
        assert_eq!(source(&buffer, 4).await.0, 7);
        drop(buffer);
        journal.close().unwrap();

        let (former, buffer, journal) = life("file /b");
        assert_eq!(former.as_deref(), Some("file /a"));
        assert_eq!(buffer.highest_epoch(), Epoch(4), "whoever owned it before cannot come back");
        let (position, mut committer) = source(&buffer, 5).await;
        assert_eq!(position, 0);
        assert_eq!(messages(&buffer).await, 1, "what the former source gave is still inside");
        committer.commit(commit(2, vec![message_of(10)])).await.unwrap();
        drop((committer, buffer));
        journal.close().unwrap();
        assert_eq!(source(&life("file /b").1, 6).await.0, 2);
    });
}

#[test]
fn what_is_inside_before_any_source_was_noted_is_gone_on_from() {
    alone(async {
        let disk = SimDisk::new(6);
        let (journal, buffer) = open(&disk, options());
        let (_, mut committer) = source(&buffer, 1).await;
        committer.commit(commit(7, Vec::new())).await.unwrap();
        drop((committer, buffer));
        journal.close().unwrap();
        let journal = Arc::new(Journal::open(disk, options()).unwrap());
        assert_eq!(note_source(&journal, "in", "generator").unwrap(), None);
        assert_eq!(source(&over(journal), 2).await.0, 7);
    });
}

#[test]
fn a_full_disk_is_retry_and_stores_nothing_until_there_is_room() {
    alone(async {
        let disk = SimDisk::new(2);
        let (journal, buffer) = open(&disk, options());
        let (_, mut committer) = source(&buffer, 1).await;
        committer.commit(commit(1, vec![message_of(1000)])).await.unwrap();
        let mut map = claim(&buffer, unit("map", Unit::Slot(SLOT)), 1).await;
        let first = map.reader.as_mut().unwrap().read(1).await.unwrap().pop().unwrap();

        disk.set_capacity(Some(disk.used()));
        let id = [SmolStr::new("order-1")];
        assert_eq!(committer.known(&id).await.unwrap(), [false]);
        let large = Commit { ids: id.to_vec(), ..commit(2, vec![message_of(200_000)]) };
        for _ in 0..3 {
            assert_eq!(class(committer.commit(large.clone()).await), Some(Class::Retry));
            assert_eq!(messages(&buffer).await, 1, "nothing of a refused commit is stored");
        }
        let settled = Progress::to(Position::after(first.sequence));
        map.committer.commit(Commit { progress: settled, ..Commit::default() }).await.unwrap();
        assert_eq!(messages(&buffer).await, 0, "settling needs no room");

        let (position, mut committer) = source(&buffer, 2).await;
        assert_eq!(position, 1, "a refused commit moves nothing");
        assert_eq!(committer.known(&id).await.unwrap(), [false]);
        assert_eq!(class(committer.commit(large.clone()).await), Some(Class::Retry));

        disk.set_capacity(None);
        committer.commit(large).await.unwrap();
        assert_eq!(committer.known(&id).await.unwrap(), [true]);
        assert_eq!(messages(&buffer).await, 1);
        drop((committer, map, buffer));
        journal.close().unwrap();
        drop(journal);
        let (_journal, buffer) = open(&disk, options());
        assert_eq!(source(&buffer, 3).await.0, 2);
        assert_eq!(messages(&buffer).await, 1);
    });
}

#[test]
fn a_failing_disk_is_fatal_for_every_unit() {
    alone(async {
        let disk = SimDisk::new(3);
        let (_journal, buffer) = open(&disk, options());
        let (_, mut committer) = source(&buffer, 1).await;
        committer.commit(commit(1, vec![message_of(10)])).await.unwrap();
        disk.set_fault(Some(Fault::FailSyncAt(1)));
        assert_eq!(class(committer.commit(commit(2, vec![message_of(10)])).await), Some(Class::Fatal));
        assert_eq!(messages(&buffer).await, 1, "what failed does not count");
        assert_eq!(class(committer.commit(commit(2, vec![message_of(10)])).await), Some(Class::Fatal));
        let claim =
            Claim { unit: unit("in", Unit::Source(1)), owner: Incarnation(1), replica: 0, epoch: Epoch(1) };
        assert_eq!(class(buffer.claim(claim).await), Some(Class::Fatal));
    });
}

#[test]
fn a_commit_beyond_what_the_journal_takes_is_rejected_and_takes_no_room() {
    alone(async {
        let options = Options { transaction_bytes_max: 10_000, ..options() };
        let (_journal, buffer) = open(&SimDisk::new(4), options);
        let (_, mut committer) = source(&buffer, 1).await;
        for _ in 0..3 * LIMIT {
            let refused = committer.commit(commit(1, vec![message_of(10_000)])).await;
            assert_eq!(class(refused), Some(Class::Reject));
        }
        for position in 1..=LIMIT {
            committer.commit(commit(position, vec![message_of(10)])).await.unwrap();
        }
        assert_eq!(messages(&buffer).await, LIMIT);
        assert_eq!(source(&buffer, 2).await.0, LIMIT, "a refused commit keeps nobody from claiming");
    });
}

#[test]
fn a_place_that_was_not_announced_is_named() {
    alone(async {
        let (_journal, buffer) = open(&SimDisk::new(5), options());
        let (_, mut committer) = source(&buffer, 1).await;
        for (vertex, slot, said) in [
            (
                "map",
                Slot { partition: 0, number: 9 },
                "find slot map/0.9 in the buffer: the vertex has no such slot",
            ),
            ("mop", SLOT, "find vertex mop in the buffer: it was not announced"),
        ] {
            let to = Place { vertex: SmolStr::new(vertex), slot };
            let error = committer.commit(commit(1, vec![Output { to, ..message_of(1) }])).await.unwrap_err();
            assert_eq!((error.class(), error.to_string()), (Class::Fatal, said.to_owned()));
        }
        assert_eq!(class(buffer.levels("mop").await), Some(Class::Fatal));
        committer.commit(commit(1, vec![message_of(1)])).await.unwrap();
    });
}

#[test]
fn the_oldest_ids_are_forgotten() {
    const BATCH: usize = 5000;
    alone(async {
        let disk = SimDisk::new(6);
        let (journal, buffer) = open(&disk, options());
        let (_, mut committer) = source(&buffer, 1).await;
        let all: Vec<_> = (0..2 * IDS_REMEMBERED).map(|number| format_smolstr!("order-{number}")).collect();
        for (batch, position) in all.chunks(BATCH).zip(1..) {
            let commit = Commit { ids: batch.to_vec(), ..commit(position, Vec::new()) };
            committer.commit(commit).await.unwrap();
        }
        let frames = journal.stats(journal.log("ids/in").unwrap()).unwrap().frames as usize;
        assert!(frames * BATCH <= IDS_REMEMBERED + 2 * BATCH, "{frames} frames of ids are kept");
        let known = committer.known(&all).await.unwrap();
        let count = known.iter().filter(|known| **known).count();
        assert!((IDS_REMEMBERED..IDS_REMEMBERED + BATCH).contains(&count), "{count} ids are known");
        assert!(known[known.len() - count..].iter().all(|known| *known), "the latest ones");
        drop((committer, buffer));
        journal.close().unwrap();
        drop(journal);
        let (_journal, buffer) = open(&disk, options());
        let (_, mut committer) = source(&buffer, 2).await;
        let again = committer.known(&all).await.unwrap();
        assert_eq!(again, known, "the same ids are known in the next life");
    });
}

#[test]
fn a_released_unit_needs_no_higher_epoch() {
    alone(async {
        let (_journal, buffer) = open(&SimDisk::new(7), options());
        for owner in 1..=5 {
            let claim = Claim {
                unit: unit("in", Unit::Source(0)),
                owner: Incarnation(owner),
                replica: 0,
                epoch: Epoch(1),
            };
            let Claimed { progress, mut committer, .. } = buffer.claim(claim).await.unwrap();
            let next = progress.position.sequence + 1;
            assert_eq!(next, owner);
            committer.commit(commit(next, Vec::new())).await.unwrap();
            committer.release().await.unwrap();
        }
    });
}
