//! Notes in the memory of this process. Invariant: every change has a number of its own, larger than any before it, and a
//! watch gives changes in the order of their numbers.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard};

use async_trait::async_trait;
use bytes::Bytes;
use model::door::mail::{Change, KEY_TOKENS, Mail, Watch};
use model::door::{Class, Error};
use tokio::sync::watch;

use super::{NOTE_BYTES_MAX, check, is_below};

/// Keys that may have a note; more than any object has workers.
const KEYS_MAX: usize = 65_536;
/// Keys whose note was taken away that are remembered, for those who watch slowly.
const REMOVED_MAX: usize = 4_096;

/// A place for notes. Clones are the same place.
#[derive(Clone)]
pub struct HostedMail {
    board: Arc<Mutex<Board>>,
    /// The number of the last change.
    changed: Arc<watch::Sender<u64>>,
}

#[derive(Default)]
struct Board {
    count: u64,
    notes: BTreeMap<String, Note>,
    removed: usize,
}

struct Note {
    number: u64,
    /// None when it was taken away.
    note: Option<Bytes>,
}

impl Default for HostedMail {
    fn default() -> Self {
        Self { board: Arc::default(), changed: Arc::new(watch::channel(0).0) }
    }
}

impl HostedMail {
    fn lock(&self) -> MutexGuard<'_, Board> {
        self.board.lock().expect("nothing panics while notes are locked")
    }

    fn change(&self, key: &str, note: Option<Bytes>) -> Result<(), Error> {
        check(key, KEY_TOKENS..=KEY_TOKENS)?;
        if note.as_ref().is_some_and(|note| note.len() > NOTE_BYTES_MAX) {
            let attempt = format!("leave note {key}: {NOTE_BYTES_MAX} bytes are the most that are taken");
            return Err(Error::new(Class::Reject, attempt));
        }
        let mut board = self.lock();
        let was_there = board.notes.get(key).map(|known| known.note.is_some());
        if note.is_none() && was_there != Some(true) {
            return Ok(());
        }
        if was_there.is_none() && board.notes.len() >= KEYS_MAX + REMOVED_MAX {
            let attempt = format!("leave note {key}: there are {KEYS_MAX} others, and no more are taken");
            return Err(Error::new(Class::Retry, attempt));
        }
        match (was_there, note.is_some()) {
            (Some(false), true) => board.removed -= 1,
            (Some(true), false) => board.removed += 1,
            (Some(_) | None, _) => {}
        }
        board.count += 1;
        let number = board.count;
        board.notes.insert(key.to_owned(), Note { number, note });
        board.forget();
        drop(board);
        self.changed.send_replace(number);
        Ok(())
    }

    /// The note that lies under a key.
    pub fn get(&self, key: &str) -> Option<Bytes> {
        self.lock().notes.get(key)?.note.clone()
    }

    /// The keys below the first tokens of one that have a note.
    pub fn list(&self, under: &str) -> Vec<String> {
        let board = self.lock();
        let below = board.notes.iter().filter(|(key, note)| note.note.is_some() && is_below(key, under));
        below.map(|(key, _)| key.clone()).collect()
    }
}

impl Board {
    /// Forgets the oldest of the keys whose note was taken away, beyond those that are remembered.
    fn forget(&mut self) {
        while self.removed > REMOVED_MAX {
            let removed = self.notes.iter().filter(|(_, note)| note.note.is_none());
            let oldest = removed.min_by_key(|(_, note)| note.number).map(|(key, _)| key.clone());
            let Some(oldest) = oldest else { return };
            self.notes.remove(&oldest);
            self.removed -= 1;
        }
    }
}

#[async_trait]
impl Mail for HostedMail {
    async fn put(&self, key: &str, note: Bytes) -> Result<(), Error> {
        self.change(key, Some(note))
    }

    async fn remove(&self, key: &str) -> Result<(), Error> {
        self.change(key, None)
    }

    async fn watch(&self, under: &str) -> Result<Box<dyn Watch>, Error> {
        check(under, 1..=KEY_TOKENS)?;
        let (mail, changed) = (self.clone(), self.changed.subscribe());
        Ok(Box::new(Watching { mail, changed, under: under.to_owned(), through: 0 }))
    }
}

struct Watching {
    mail: HostedMail,
    changed: watch::Receiver<u64>,
    under: String,
    /// The number of the last change that was given.
    through: u64,
}

#[async_trait]
impl Watch for Watching {
    async fn next(&mut self) -> Result<Change, Error> {
        loop {
            self.changed.borrow_and_update();
            {
                let board = self.mail.lock();
                let news = board
                    .notes
                    .iter()
                    .filter(|(key, note)| note.number > self.through && is_below(key, &self.under));
                if let Some((key, Note { number, note })) = news.min_by_key(|(_, note)| note.number) {
                    self.through = *number;
                    return Ok(Change { key: key.clone(), note: note.clone() });
                }
            }
            if self.changed.changed().await.is_err() {
                let attempt = "watch notes: nobody keeps them any more";
                return Err(Error::new(Class::Fatal, attempt));
            }
        }
    }
}
