//! User-defined sources behind their door, against the crate `numaflow`.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use model::door::source::{Answer, Batch, Memory, Opened, Receipt};
use model::verdict::Nack;
use model::{Message, Position};
use numaflow::shared::ServerExtras;
use numaflow::source;
use tidegate_connect::source::user::{self, Partitions};
use tokio::sync::mpsc;

use crate::udf_sdk::{Hosted, files};
use crate::udf_server::{Place, until};

const WAIT: Duration = Duration::from_millis(200);

/// A source that hands out what is not acknowledged again when it starts again.
#[derive(Default)]
pub(crate) struct Well {
    waiting: Mutex<VecDeque<u64>>,
    out: Mutex<BTreeSet<u64>>,
    nacks: Mutex<Vec<(u64, Option<u64>)>>,
    /// Panic after so many messages of a read.
    panic_after: Mutex<Option<usize>>,
    /// Do not come back from reads.
    blocks: AtomicBool,
}

impl Well {
    pub(crate) fn with(range: std::ops::Range<u64>) -> Arc<Self> {
        let well = Self::default();
        well.waiting.lock().unwrap().extend(range);
        Arc::new(well)
    }

    /// One more message.
    pub(crate) fn offer(&self, number: u64) {
        self.waiting.lock().unwrap().push_back(number);
    }

    /// What is out is handed out again, in order, as after a restart.
    pub(crate) fn restart(&self) {
        let mut waiting = self.waiting.lock().unwrap();
        waiting.extend(std::mem::take(&mut *self.out.lock().unwrap()));
        waiting.make_contiguous().sort_unstable();
    }

    fn left(&self) -> usize {
        self.waiting.lock().unwrap().len() + self.out.lock().unwrap().len()
    }

    fn number(offset: &[u8]) -> u64 {
        std::str::from_utf8(offset).unwrap().strip_prefix("n-").unwrap().parse().unwrap()
    }
}

struct Served(Arc<Well>);

#[tonic::async_trait]
impl source::Sourcer for Served {
    async fn read(&self, request: source::SourceReadRequest, results: mpsc::Sender<source::Message>) {
        for place in 0..request.count {
            let panics = self.0.panic_after.lock().unwrap().take_if(|after| *after == place).is_some();
            if panics {
                self.0.restart();
                panic!("the well runs dry");
            }
            let Some(number) = self.0.waiting.lock().unwrap().pop_front() else { break };
            self.0.out.lock().unwrap().insert(number);
            let message = source::Message {
                value: number.to_string().into_bytes(),
                offset: source::Offset { offset: format!("n-{number}").into_bytes(), partition_id: 2 },
                event_time: chrono::DateTime::from_timestamp_millis(number as i64).unwrap(),
                keys: vec![format!("k{number}")],
                headers: std::collections::HashMap::from([("h".to_owned(), "1".to_owned())]),
                user_metadata: None,
            };
            results.send(message).await.unwrap();
        }
        if self.0.blocks.load(Ordering::SeqCst) {
            std::future::pending::<()>().await;
        }
    }

    async fn ack(&self, offsets: Vec<source::Offset>) {
        let mut out = self.0.out.lock().unwrap();
        for offset in offsets {
            assert_eq!(offset.partition_id, 2);
            out.remove(&Well::number(&offset.offset));
        }
    }

    async fn nack(&self, offsets: Vec<source::NackOffset>) {
        for nacked in offsets {
            let number = Well::number(&nacked.offset.offset);
            self.0.nacks.lock().unwrap().push((number, nacked.options.and_then(|options| options.delay)));
            self.0.out.lock().unwrap().remove(&number);
            self.0.waiting.lock().unwrap().push_back(number);
        }
    }

    async fn pending(&self) -> Option<usize> {
        Some(self.0.waiting.lock().unwrap().len())
    }

    async fn active_partitions(&self) -> Option<Vec<i32>> {
        Some(vec![2])
    }

    async fn total_partitions(&self) -> Option<i32> {
        Some(5)
    }
}

pub(crate) fn serve(directory: &Path, well: &Arc<Well>) -> Hosted {
    let (socket, info) = files(directory, "source.sock", "sourcer");
    let well = Arc::clone(well);
    Hosted::start(move |stop| {
        source::Server::new(Served(Arc::clone(&well)))
            .with_socket_file(&socket)
            .with_server_info_file(&info)
            .start_with_shutdown(stop)
    })
}

pub(crate) fn number(message: &Message) -> u64 {
    std::str::from_utf8(&message.value).unwrap().parse().unwrap()
}

fn done(receipts: &[Receipt]) -> Vec<(Receipt, Answer)> {
    receipts.iter().map(|receipt| (receipt.clone(), Answer::Done)).collect()
}

/// Reads until something comes.
async fn some(opened: &mut Opened, messages_max: usize) -> Batch {
    for _ in 0..100 {
        let batch = opened.source.read(messages_max, WAIT).await.unwrap().expect("a source has no end");
        if !batch.messages.is_empty() {
            return batch;
        }
    }
    panic!("nothing came");
}

#[tokio::test]
async fn messages_are_read_and_acknowledged_and_sent_back() {
    let place = Place::new();
    let well = Well::with(0..2000);
    let _server = serve(&place.path(), &well);
    let (mut opened, view) = user::open(place.settings.clone(), place.incidents.clone());
    assert_eq!(opened.memory, Memory::Opaque);
    opened.source.resume(Position::default()).await.unwrap();
    let mut seen = BTreeMap::new();
    let mut sent_back = false;
    while well.left() > 0 {
        let batch = some(&mut opened, 300).await;
        assert!(batch.messages.len() <= 300);
        assert_eq!(batch.messages.len(), batch.receipts.len());
        for message in &batch.messages {
            *seen.entry(number(message)).or_insert(0) += 1;
            assert_eq!(message.keys[0], format!("k{}", number(message)));
            assert_eq!(message.attributes.parts().headers["h"], "1");
            assert_eq!(message.event_time.millis(), number(message) as i64);
        }
        let mut answers = done(&batch.receipts);
        if !sent_back {
            assert_eq!(batch.messages[0].id.to_string(), "cat-bi0w-2-0");
            let delay = Duration::from_millis(70);
            answers[0].1 = Answer::Nack(Nack { delay, ..Nack::default() });
            sent_back = true;
        }
        opened.answers.answer(&answers).await.unwrap();
    }
    assert_eq!(seen.len(), 2000);
    assert_eq!(seen.iter().filter(|(_, times)| **times > 1).collect::<Vec<_>>(), [(&0, &2)]);
    assert_eq!(*well.nacks.lock().unwrap(), [(0, Some(70))]);
    assert_eq!(opened.answers.pending().await.unwrap(), Some(0));
    assert_eq!(view.partitions().await.unwrap(), Partitions { own: vec![2], total: Some(5) });
    assert!(view.ready().await);
    let empty = opened.source.read(10, WAIT).await.unwrap().unwrap();
    assert!(empty.messages.is_empty());
    drop(opened.source);
    opened.answers.close().await.unwrap();
    assert_eq!(place.incidents.total(), 0);
}

#[tokio::test]
async fn a_read_that_blocks_holds_up_neither_messages_nor_acknowledgements() {
    let place = Place::new();
    let well = Well::with(0..5);
    well.blocks.store(true, Ordering::SeqCst);
    let _server = serve(&place.path(), &well);
    let (mut opened, _) = user::open(place.settings.clone(), place.incidents.clone());
    let mut receipts = Vec::new();
    while receipts.len() < 5 {
        receipts.extend(some(&mut opened, 100).await.receipts);
    }
    opened.answers.answer(&done(&receipts)).await.unwrap();
    assert_eq!(well.left(), 0);
    // The read is still under way, and stopping does not wait for it.
    assert!(opened.source.read(100, WAIT).await.unwrap().unwrap().messages.is_empty());
    drop(opened.source);
    opened.answers.close().await.unwrap();
}

#[tokio::test]
async fn a_read_that_is_dropped_loses_nothing() {
    let place = Place::new();
    let well = Well::with(0..3000);
    let _server = serve(&place.path(), &well);
    let (mut opened, _) = user::open(place.settings.clone(), place.incidents.clone());
    let mut seen = BTreeSet::new();
    let mut round = 0_u64;
    while seen.len() < 3000 {
        round += 1;
        assert!(round < 100_000, "only {} messages came", seen.len());
        // Every other read is given up after its first steps, at another point each time.
        let read = opened.source.read(70, WAIT);
        let batch = if round.is_multiple_of(2) {
            read.await.unwrap().unwrap()
        } else {
            tokio::select! {
                biased;
                batch = read => batch.unwrap().unwrap(),
                () = yields(round % 13) => continue,
            }
        };
        for message in &batch.messages {
            assert!(seen.insert(number(message)), "{} came twice", message.id);
        }
        opened.answers.answer(&done(&batch.receipts)).await.unwrap();
    }
    assert_eq!(well.left(), 0);
}

async fn yields(times: u64) {
    for _ in 0..times {
        tokio::task::yield_now().await;
    }
}

#[tokio::test]
async fn a_crash_in_the_middle_of_a_read_keeps_what_came_and_reads_on() {
    let place = Place::new();
    let well = Well::with(0..400);
    *well.panic_after.lock().unwrap() = Some(150);
    let _server = serve(&place.path(), &well);
    let (mut opened, _) = user::open(place.settings.clone(), place.incidents.clone());
    let mut seen = BTreeSet::new();
    while seen.len() < 400 || well.left() > 0 {
        let batch = some(&mut opened, 200).await;
        seen.extend(batch.messages.iter().map(number));
        let answers = done(&batch.receipts);
        // Acknowledgements go on as well, once user code is back.
        let mut answered = false;
        until("an acknowledgement", || std::mem::replace(&mut answered, true)).await;
        while let Err(error) = opened.answers.answer(&answers).await {
            assert_eq!(error.class(), model::door::Class::Retry);
        }
    }
    assert_eq!(seen, (0..400).collect());
    let incident = place.incident("crashed").await;
    assert_eq!(incident.container, "udsource");
}
