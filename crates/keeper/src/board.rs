//! A keeper shared between those who report and those who look. No decision is made here. Invariant: pictures appear in
//! the order of their numbers.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, MutexGuard};

use api::resolve::Watermark;
use model::{Name, Time};
use tokio::sync::watch;

use crate::keeper::{Ignored, Keeper};
use crate::picture::Picture;
use crate::report::Report;

/// A cheap handle to one keeper.
#[derive(Clone, Debug)]
pub struct Board {
    keeper: Arc<Mutex<Keeper>>,
    picture: watch::Sender<Arc<Picture>>,
}

impl Board {
    /// Shares a keeper. The first picture is empty.
    pub fn new(keeper: Keeper) -> Self {
        Self { keeper: Arc::new(Mutex::new(keeper)), picture: watch::Sender::new(Arc::default()) }
    }

    /// See [`Keeper::hear`].
    pub fn hear(&self, report: Report, now: Time) -> Vec<Ignored> {
        self.lock().hear(report, now)
    }

    /// See [`Keeper::expect`].
    pub fn expect(&self, source: &Name, units: BTreeSet<u32>) {
        self.lock().expect(source, units);
    }

    /// See [`Keeper::set_watermark`].
    pub fn set_watermark(&self, watermark: Watermark) {
        self.lock().set_watermark(watermark);
    }

    /// Makes the next picture and shows it to everybody.
    pub fn pass(&self, now: Time) -> Arc<Picture> {
        let mut keeper = self.lock();
        let picture = Arc::new(keeper.pass(now));
        self.picture.send_replace(picture.clone());
        picture
    }

    /// The last picture.
    pub fn picture(&self) -> Arc<Picture> {
        self.picture.borrow().clone()
    }

    /// Pictures as they come; who is slow sees only the last.
    pub fn watch(&self) -> watch::Receiver<Arc<Picture>> {
        self.picture.subscribe()
    }

    fn lock(&self) -> MutexGuard<'_, Keeper> {
        self.keeper.lock().expect("nothing panics while the keeper is locked")
    }
}
