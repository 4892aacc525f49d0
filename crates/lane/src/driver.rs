//! What goes on beside the calls of a buffer: hearing what others write and how far they are, saying how far we are,
//! and removing what is settled.
//!
//! Invariant: nothing here decides anything; dropping it is a crash, and what it did not do is done by the next life.

use std::collections::BTreeSet;
use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll};

use futures::StreamExt;
use futures::future::{BoxFuture, join4, select};
use futures::stream::FuturesUnordered;
use model::Name;

use crate::bell::Bell;
use crate::broker::Broker;
use crate::lanes::Inner;

mod pumps;
mod seen;
mod trims;

/// Everything that goes on beside the calls of a buffer. It never ends by itself.
pub struct Driver(BoxFuture<'static, ()>);

impl Future for Driver {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<()> {
        self.0.as_mut().poll(context)
    }
}

/// Something to listen to for as long as the buffer is open.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Pump {
    /// What is written to a partition.
    Room(Name, u16),
    /// What ids a vertex commits.
    Ids(Name),
}

/// What is listened to.
#[derive(Default)]
pub(crate) struct Pumps {
    wanted: Mutex<(BTreeSet<Pump>, Vec<Pump>)>,
    bell: Bell,
}

impl Pumps {
    /// Begins to listen, unless that was begun before.
    pub(crate) fn want(&self, pump: Pump) {
        let mut wanted = self.wanted.lock().expect("nothing panics while pumps are noted");
        let (all, new) = &mut *wanted;
        if !all.contains(&pump) {
            all.insert(pump.clone());
            new.push(pump);
            drop(wanted);
            self.bell.ring();
        }
    }

    /// What is wanted and not begun yet.
    fn begin(&self) -> Vec<Pump> {
        std::mem::take(&mut self.wanted.lock().expect("nothing panics while pumps are noted").1)
    }

    /// Everything that is listened to.
    fn all(&self) -> Vec<Pump> {
        self.wanted.lock().expect("nothing panics while pumps are noted").0.iter().cloned().collect()
    }
}

/// Everything that a buffer needs beside its calls.
pub(crate) fn drive<B: Broker>(inner: Arc<Inner<B>>) -> Driver {
    Driver(Box::pin(async move {
        join4(run_pumps(&inner), seen::say(&inner), seen::hear(&inner), trims::run(&inner)).await;
    }))
}

async fn run_pumps<B: Broker>(inner: &Inner<B>) {
    let mut running: FuturesUnordered<BoxFuture<'_, ()>> = FuturesUnordered::new();
    loop {
        let wanted = inner.pumps.bell.listen();
        for pump in inner.pumps.begin() {
            running.push(match pump {
                Pump::Room(vertex, partition) => Box::pin(pumps::room(inner, vertex, partition)),
                Pump::Ids(vertex) => Box::pin(pumps::ids(inner, vertex)),
            });
        }
        if running.is_empty() {
            wanted.await;
        } else {
            // A pump ends only when it cannot go on, which whoever needs it is told.
            select(running.next(), wanted).await;
        }
    }
}
