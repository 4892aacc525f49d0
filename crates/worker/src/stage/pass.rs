//! One pass of a batch: transformer, bypass, map, bypass, sink, each at most once.
//!
//! Every result remembers which message of the batch it came from; once that message is sent back, none of its other
//! results goes any further.

use std::collections::BTreeMap;
use std::sync::Arc;

use model::door::Error;
use model::verdict::Condition;
use model::{Message, Time};

use super::leave::Leaving;
use super::{Returned, Stage};
use crate::desk::{DeskHandle, Window};
use crate::setup::Bypass;

/// What one pass made of some messages.
pub(super) struct Passed {
    pub(super) outputs: Vec<Message>,
    /// For each output the place of the message it came from; ascending.
    pub(super) of: Vec<u32>,
    pub(super) returned: BTreeMap<u32, Returned>,
    pub(super) originals: Arc<Vec<Message>>,
    /// See [`Processed::latest`](crate::batch::Processed::latest).
    pub(super) latest: Option<Time>,
    /// Results that user code dropped.
    pub(super) dropped: u64,
}

/// Messages on their way through a pass and where they came from.
pub(super) struct Flow {
    pub(super) messages: Arc<Vec<Message>>,
    pub(super) of: Vec<u32>,
    /// The largest event time that the last call gave.
    pub(super) latest: Option<Time>,
    /// Results that user code dropped, in all calls.
    pub(super) dropped: u64,
}

impl Flow {
    /// Takes out what came from messages that are sent back.
    fn forget(&mut self, returned: &BTreeMap<u32, Returned>) {
        if returned.is_empty() {
            return;
        }
        let messages = unshare(std::mem::take(&mut self.messages));
        let of = std::mem::take(&mut self.of);
        let left = of.into_iter().zip(messages).filter(|(place, _)| !returned.contains_key(place));
        let (of, messages) = left.unzip();
        (self.of, self.messages) = (of, Arc::new(messages));
    }
}

impl Bypass {
    fn is_set(&self) -> bool {
        self.sink.is_some() || self.fallback.is_some() || self.on_success.is_some()
    }
}

impl Stage {
    pub(super) async fn pass(&self, messages: Vec<Message>, leaving: &Leaving) -> Result<Passed, Error> {
        let of = (0..messages.len() as u32).collect();
        let mut returned = BTreeMap::new();
        if let (None, None, Some((desk, bypass))) = (&self.transform, &self.map, &self.desk)
            && !bypass.is_set()
        {
            let originals =
                self.hand_in((desk, leaving), Window::Primary, (messages, of), &mut returned).await?;
            return Ok(Passed {
                outputs: Vec::new(),
                of: Vec::new(),
                returned,
                originals: Arc::new(originals),
                latest: None,
                dropped: 0,
            });
        }
        let originals = Arc::new(messages);
        let mut flow = Flow { messages: originals.clone(), of, latest: None, dropped: 0 };
        if let Some(call) = &self.transform {
            flow = self.call(call, flow, &mut returned, leaving).await?;
        }
        let latest = flow.latest;
        flow = self.divert(flow, &mut returned, leaving).await?;
        if let Some(call) = &self.map {
            flow = self.call(call, flow, &mut returned, leaving).await?;
            flow = self.divert(flow, &mut returned, leaving).await?;
        }
        flow.forget(&returned);
        let (messages, of, dropped) = (unshare(flow.messages), flow.of, flow.dropped);
        match &self.desk {
            None => return Ok(Passed { outputs: messages, of, returned, originals, latest, dropped }),
            Some((_, bypass)) if bypass.sink.is_some() => {
                self.metrics.dropped.bypassed.inc_by(messages.len() as u64);
            }
            Some((desk, _)) => {
                self.hand_in((desk, leaving), Window::Primary, (messages, of), &mut returned).await?;
            }
        }
        Ok(Passed { outputs: Vec::new(), of: Vec::new(), returned, originals, latest, dropped })
    }

    /// Writes to a sink and gives the messages back.
    async fn hand_in(
        &self,
        (desk, leaving): (&DeskHandle, &Leaving),
        to: Window,
        (messages, of): (Vec<Message>, Vec<u32>),
        returned: &mut BTreeMap<u32, Returned>,
    ) -> Result<Vec<Message>, Error> {
        let written = desk.write(to, messages, leaving).await?;
        for (at, nack) in written.back {
            returned.entry(of[at as usize]).or_insert(Returned::Nack(nack));
        }
        Ok(written.messages)
    }

    /// Sends what a bypass takes straight to its sink; gives on the rest.
    async fn divert(
        &self,
        mut flow: Flow,
        returned: &mut BTreeMap<u32, Returned>,
        leaving: &Leaving,
    ) -> Result<Flow, Error> {
        let Some((desk, bypass)) = self.desk.as_ref().filter(|(_, bypass)| bypass.is_set()) else {
            return Ok(flow);
        };
        flow.forget(returned);
        let mut rest: Vec<_> = flow.of.into_iter().zip(unshare(flow.messages)).collect();
        let ways = [
            (Window::Primary, &bypass.sink),
            (Window::Fallback, &bypass.fallback),
            (Window::OnSuccess, &bypass.on_success),
        ];
        for (window, condition) in ways {
            let Some(condition) = condition else { continue };
            let takes = |(_, message): &(u32, Message)| Condition::passes(condition, &message.tags);
            let (taken, left): (Vec<_>, Vec<_>) = rest.into_iter().partition(takes);
            let (of, messages) = taken.into_iter().unzip();
            self.hand_in((desk, leaving), window, (messages, of), returned).await?;
            rest = left;
        }
        let (of, messages): (Vec<_>, Vec<_>) = rest.into_iter().unzip();
        Ok(Flow { messages: Arc::new(messages), of, latest: flow.latest, dropped: flow.dropped })
    }
}

fn unshare(messages: Arc<Vec<Message>>) -> Vec<Message> {
    Arc::try_unwrap(messages).unwrap_or_else(|shared| shared.to_vec())
}
