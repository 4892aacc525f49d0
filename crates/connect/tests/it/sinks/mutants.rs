//! The suite notices what it is there for: each of these sinks breaks one promise, and a case fails for it.

use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use bytes::Bytes;
use model::conformance::sink::{Bench, every, seen};
use model::door::Error;
use model::door::sink::{Outcome, Sink};
use model::{Message, Time};

#[derive(Clone, Copy, Debug, PartialEq)]
enum Fault {
    None,
    OutcomesMissing,
    LosesLast,
    Doubles,
    Reverses,
    ForgetsAtOpen,
    Trims,
    KeepsUntilClosed,
    StoresBeforeItWaits,
}

struct Memory {
    fault: Fault,
    outside: Arc<Mutex<Vec<Bytes>>>,
}

struct MemorySink {
    fault: Fault,
    outside: Arc<Mutex<Vec<Bytes>>>,
    kept: Vec<Bytes>,
}

#[async_trait]
impl Bench for Memory {
    async fn open(&mut self) -> Box<dyn Sink> {
        if self.fault == Fault::ForgetsAtOpen {
            self.outside.lock().unwrap().clear();
        }
        Box::new(MemorySink { fault: self.fault, outside: Arc::clone(&self.outside), kept: Vec::new() })
    }

    async fn outside(&mut self) -> Vec<Bytes> {
        self.outside.lock().unwrap().clone()
    }
}

#[async_trait]
impl Sink for MemorySink {
    async fn write(&mut self, messages: &[Message], _: Time) -> Result<Vec<Outcome>, Error> {
        let mut values: Vec<_> = messages.iter().map(|message| message.value.clone()).collect();
        let mut outcomes = vec![Outcome::Done; messages.len()];
        match self.fault {
            Fault::None | Fault::ForgetsAtOpen => {}
            Fault::OutcomesMissing => drop(outcomes.pop()),
            Fault::LosesLast => drop(values.pop()),
            Fault::Doubles => values.extend(values.last().cloned()),
            Fault::Reverses => values.reverse(),
            Fault::Trims => values.retain(|value| !value.is_empty()),
            Fault::KeepsUntilClosed => self.kept.append(&mut values),
            Fault::StoresBeforeItWaits => self.outside.lock().unwrap().extend(values.clone()),
        }
        tokio::task::yield_now().await;
        if self.fault == Fault::StoresBeforeItWaits {
            // What was put outside before the wait is taken back, unless nobody comes here any more.
            let mut outside = self.outside.lock().unwrap();
            let len = outside.len() - values.len();
            outside.truncate(len);
        }
        self.outside.lock().unwrap().extend(values);
        Ok(outcomes)
    }

    async fn ready(&self) -> bool {
        true
    }

    async fn close(&mut self) -> Result<(), Error> {
        self.outside.lock().unwrap().append(&mut self.kept);
        Ok(())
    }
}

fn fails(fault: Fault, case: impl AsyncFn(&mut dyn Bench) + Send + 'static) -> bool {
    let run = move || super::run(|| Memory { fault, outside: Arc::default() }, case);
    std::thread::spawn(run).join().is_err()
}

#[test]
fn a_broken_sink_fails_and_an_honest_one_does_not() {
    for fault in [
        Fault::OutcomesMissing,
        Fault::LosesLast,
        Fault::Doubles,
        Fault::Reverses,
        Fault::ForgetsAtOpen,
        Fault::Trims,
        Fault::KeepsUntilClosed,
    ] {
        let caught = [
            fails(fault, every::each_message_has_an_outcome),
            fails(fault, seen::what_is_done_is_outside_in_order),
            fails(fault, seen::values_arrive_as_they_are),
            fails(fault, seen::a_later_life_goes_on),
        ];
        assert!(caught.contains(&true), "{fault:?}");
    }
    assert!(!fails(Fault::StoresBeforeItWaits, seen::an_abandoned_write_harms_no_other), "once is allowed");
    assert!(fails(Fault::Doubles, seen::an_abandoned_write_harms_no_other));
    for honest in [
        fails(Fault::None, every::each_message_has_an_outcome),
        fails(Fault::None, every::an_empty_batch_is_written),
        fails(Fault::None, every::a_sink_closes_and_opens_again),
        fails(Fault::None, seen::what_is_done_is_outside_in_order),
        fails(Fault::None, seen::values_arrive_as_they_are),
        fails(Fault::None, seen::a_later_life_goes_on),
        fails(Fault::None, seen::an_abandoned_write_harms_no_other),
    ] {
        assert!(!honest);
    }
}
