//! What happens to a batch between being read and being committed: transformer, map, bypass, sinks, and what becomes of
//! messages that are sent back. It holds nothing from one batch to the next.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use model::door::Error;
use model::door::source::Answer;
use model::verdict::Nack;
use model::{Message, Redelivery, Time};
use tokio::sync::{Semaphore, SemaphorePermit};
use tokio_util::sync::CancellationToken;
use tracing::warn;

use crate::batch::{Processed, Work};
use crate::desk::{DeskHandle, Window, cut_off};
use crate::metrics::Metrics;
use crate::setup::{Bypass, Call, Exhausted, Lease, Redeliveries, Watermark};

mod call;
mod leave;
mod pass;

pub(crate) use leave::{Hold, Leaving};
use pass::Passed;

/// Where a message goes that is sent back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Return {
    /// Into the vertex's retry slot.
    Slot,
    /// To the source that gave it.
    Source,
    /// Nowhere: it is tried again on the spot, and everything behind it waits.
    InPlace,
}

pub(crate) struct Stage {
    pub(crate) transform: Option<Call>,
    pub(crate) map: Option<Call>,
    pub(crate) desk: Option<(DeskHandle, Bypass)>,
    pub(crate) returns: Return,
    pub(crate) redelivery: Redeliveries,
    pub(crate) watermark: Watermark,
    pub(crate) metrics: Arc<Metrics>,
    /// Bounds what is in user code over all units of the worker.
    pub(crate) in_flight: Arc<Semaphore>,
    pub(crate) in_flight_max: usize,
    /// Whether the units of the worker may be taken for its own.
    pub(crate) lease: Option<Arc<dyn Lease>>,
    /// Nothing more is asked of user code and sinks, and what they have not answered is given up.
    pub(crate) cut: CancellationToken,
}

/// Why a message does not go on.
#[derive(Clone, Debug, PartialEq)]
enum Returned {
    /// It was sent back.
    Nack(Nack),
    /// It can never be taken.
    Refused,
}

impl Stage {
    /// Turns a batch into what it became. Waits for as long as user code and sinks take; for user code only until the
    /// unit is to be released and user code fails or hangs.
    pub(crate) async fn process(self: Arc<Self>, work: Work, leaving: Leaving) -> Result<Processed, Error> {
        let Work { messages, receipts, steps, end, bytes } = work;
        assert!(
            receipts.is_empty() || receipts.len() == messages.len(),
            "a receipt for each message, or none"
        );
        let taken = messages.len() as u32;
        let started = Some(Instant::now());
        let offsets = if receipts.is_empty() {
            Vec::new()
        } else {
            messages.iter().map(|message| message.offset.clone()).collect()
        };
        let answers: Vec<_> = receipts.into_iter().map(|receipt| (receipt, Answer::Done)).collect();
        let mut processed =
            Processed { answers, offsets, steps, end, taken, bytes, started, ..Processed::default() };
        if messages.is_empty() {
            return Ok(processed);
        }
        if self.transform.is_none() && self.map.is_none() && self.desk.is_none() {
            processed.of = (0..taken).collect();
            processed.outputs = messages;
            return Ok(processed);
        }
        let passed = self.admitted(messages, &leaving).await?;
        // What a sink may have taken is seen to its end: the next owner would write all of it once more.
        let leaving = if self.desk.is_some() { leaving.patient() } else { leaving };
        self.conclude(passed, &mut processed, &leaving).await?;
        Ok(processed)
    }

    /// One pass, with room in user code.
    async fn admitted(&self, messages: Vec<Message>, leaving: &Leaving) -> Result<Passed, Error> {
        let _permit = self.unless_left(leaving, async { Ok(self.admit(messages.len()).await) }).await?;
        self.pass(messages, leaving).await
    }

    /// What a wait for user code comes to, unless the worker is cut off before, or the unit is to be released and does
    /// not wait any longer.
    async fn unless_left<T>(
        &self,
        leaving: &Leaving,
        wait: impl Future<Output = Result<T, Error>>,
    ) -> Result<T, Error> {
        tokio::select! {
            biased;
            result = self.unless_cut(wait) => result,
            () = leaving.out_of_patience() => Err(leaving.give_up()),
        }
    }

    /// What a wait comes to, unless the worker is cut off before.
    async fn unless_cut<T>(&self, wait: impl Future<Output = Result<T, Error>>) -> Result<T, Error> {
        tokio::select! {
            biased;
            result = wait => result,
            () = self.cut.cancelled() => Err(cut_off()),
        }
    }

    async fn admit(&self, messages: usize) -> Option<SemaphorePermit<'_>> {
        if self.transform.is_none() && self.map.is_none() {
            return None;
        }
        let permits = messages.min(self.in_flight_max) as u32;
        Some(self.in_flight.acquire_many(permits).await.expect("the bound is never closed"))
    }

    /// Decides about what was sent back.
    async fn conclude(
        &self,
        passed: Passed,
        processed: &mut Processed,
        leaving: &Leaving,
    ) -> Result<(), Error> {
        let Passed { outputs, of, mut returned, originals, latest, dropped } = passed;
        (processed.outputs, processed.of, processed.latest) = (outputs, of, latest);
        processed.dropped = dropped;
        if returned.is_empty() {
            return Ok(());
        }
        let returns = match self.returns {
            // A source that takes no answers takes nothing back.
            Return::Source if processed.answers.is_empty() => Return::InPlace,
            returns => returns,
        };
        match returns {
            Return::Source => {
                let exhausted = self.take_exhausted(&mut returned, &originals);
                for (place, nack) in self.give_up(exhausted, leaving).await? {
                    returned.insert(place, Returned::Nack(nack));
                }
                for (place, reason) in returned {
                    if let (Returned::Nack(nack), Some(answer)) =
                        (reason, processed.answers.get_mut(place as usize))
                    {
                        let deliveries_max = nack.deliveries_max.or(self.redelivery.deliveries_max);
                        answer.1 = Answer::Nack(Nack { deliveries_max, ..nack });
                    }
                }
            }
            Return::Slot => processed.back = self.send_back(returned, &originals, leaving).await?,
            Return::InPlace => self.again_in_place((returned, &originals), processed, leaving).await?,
        }
        Ok(())
    }

    /// Tries again until everything has gone on, was given up for good, or the unit is to be released. Results keep the
    /// order of the messages.
    async fn again_in_place(
        &self,
        (returned, originals): (BTreeMap<u32, Returned>, &[Message]),
        processed: &mut Processed,
        leaving: &Leaving,
    ) -> Result<(), Error> {
        let mut again = self.send_back(returned, originals, leaving).await?;
        if again.is_empty() {
            return Ok(());
        }
        let outputs = std::mem::take(&mut processed.outputs);
        let mut all: Vec<_> = std::mem::take(&mut processed.of).into_iter().zip(outputs).collect();
        while !again.is_empty() {
            let due =
                again.iter().filter_map(|(_, message)| message.redelivery.as_ref()).map(|r| r.not_before);
            let wait = async {
                tokio::select! {
                    biased;
                    () = leaving.asked() => Err(leaving.give_up()),
                    () = wait_until(due.max()) => Ok(()),
                }
            };
            self.unless_cut(wait).await?;
            let (places, messages): (Vec<_>, Vec<_>) = again.into_iter().unzip();
            let Passed { outputs, of, returned, originals, latest, dropped } =
                self.admitted(messages, leaving).await?;
            processed.latest = processed.latest.max(latest);
            processed.dropped += dropped;
            all.extend(of.into_iter().map(|own| places[own as usize]).zip(outputs));
            let own = self.send_back(returned, &originals, leaving).await?;
            again = own.into_iter().map(|(own, message)| (places[own as usize], message)).collect();
        }
        all.sort_by_key(|(place, _)| *place);
        (processed.of, processed.outputs) = all.into_iter().unzip();
        Ok(())
    }

    /// The messages that were sent back, with one delivery more, ready for the next; exhausted ones leave here.
    async fn send_back(
        &self,
        mut returned: BTreeMap<u32, Returned>,
        originals: &[Message],
        leaving: &Leaving,
    ) -> Result<Vec<(u32, Message)>, Error> {
        let exhausted = self.take_exhausted(&mut returned, originals);
        for (place, nack) in self.give_up(exhausted, leaving).await? {
            returned.insert(place, Returned::Nack(nack));
        }
        self.metrics.nack.inc_by(returned.len() as u64);
        let again = |(place, reason)| {
            let message = &originals[place as usize];
            let nack = match reason {
                Returned::Nack(nack) => nack,
                Returned::Refused => unreachable!("what is refused is exhausted at once"),
            };
            let redelivery = Redelivery {
                attempt: attempt(message).saturating_add(1),
                not_before: now().after(nack.delay.max(self.redelivery.delay_min)),
                deliveries_max: nack.deliveries_max.or(self.redelivery.deliveries_max),
                reason: nack.reason,
            };
            (place, Message { redelivery: Some(Box::new(redelivery)), ..message.clone() })
        };
        Ok(returned.into_iter().map(again).collect())
    }

    /// Takes out what was delivered as often as allowed.
    fn take_exhausted(
        &self,
        returned: &mut BTreeMap<u32, Returned>,
        originals: &[Message],
    ) -> Vec<(u32, Message)> {
        let exhausted = |place: &u32, reason: &mut Returned| match reason {
            Returned::Refused => true,
            Returned::Nack(nack) => {
                let most = nack.deliveries_max.or(self.redelivery.deliveries_max);
                most.is_some_and(|most| attempt(&originals[*place as usize]) >= most)
            }
        };
        returned
            .extract_if(.., exhausted)
            .map(|(place, _)| (place, originals[place as usize].clone()))
            .collect()
    }

    /// Lets messages go for good. Gives those back that the fallback sink sends back: nothing is lost that has a place
    /// to go to.
    async fn give_up(
        &self,
        exhausted: Vec<(u32, Message)>,
        leaving: &Leaving,
    ) -> Result<Vec<(u32, Nack)>, Error> {
        let Some((_, first)) = exhausted.first() else { return Ok(Vec::new()) };
        warn!(messages = exhausted.len(), first = %first.id, "messages were delivered as often as allowed");
        let (Exhausted::Fallback, Some((desk, _))) = (self.redelivery.exhausted, &self.desk) else {
            self.metrics.dropped.exhausted.inc_by(exhausted.len() as u64);
            return Ok(Vec::new());
        };
        let (places, messages): (Vec<_>, Vec<_>) = exhausted.into_iter().unzip();
        let written = desk.write(Window::Fallback, messages, leaving).await?;
        let refused = written.back.into_iter().map(|(at, nack)| (places[at as usize], nack)).collect();
        Ok(refused)
    }
}

fn attempt(message: &Message) -> u32 {
    message.redelivery.as_ref().map_or(1, |redelivery| redelivery.attempt)
}

/// The wall clock.
pub(crate) fn now() -> Time {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or(Duration::ZERO);
    Time::from_nanos(i64::try_from(since.as_nanos()).unwrap_or(i64::MAX))
}

/// Waits until the wall clock has reached this time.
pub(crate) async fn wait_until(time: Option<Time>) {
    if let Some(time) = time {
        tokio::time::sleep(time.since(now())).await;
    }
}
