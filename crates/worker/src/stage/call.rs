//! Calling user code until it has said what becomes of every message.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Instant;

use model::door::map::Map;
use model::door::{Class, Error};
use model::verdict::{Reply, Verdict, judge};
use model::{Message, Time};
use tracing::warn;

use super::leave::Leaving;
use super::pass::Flow;
use super::{Returned, Stage};
use crate::backoff::{Next, Patience};
use crate::setup::{Call, Watermark};

/// What user code's door said about one message.
enum Said {
    /// With the largest event time among its results, dropped ones included.
    Verdict(Verdict, Option<Time>),
    /// It refuses the message as such.
    Refused,
}

impl Stage {
    /// Results of everything in `flow`, in its order. Fails when the unit is to be released and user code fails, or does
    /// not answer.
    pub(super) async fn call(
        &self,
        call: &Call,
        flow: Flow,
        returned: &mut BTreeMap<u32, Returned>,
        leaving: &Leaving,
    ) -> Result<Flow, Error> {
        let Flow { messages: input, of, latest: _, dropped } = flow;
        let started = Instant::now();
        let said = self.unless_left(leaving, async {
            let mut said = self.ask(call, &input).await?;
            self.ask_again(call, &input, &mut said, leaving).await?;
            Ok(said)
        });
        let said = said.await?;
        let mut results =
            Flow { messages: Arc::default(), of: Vec::with_capacity(input.len()), latest: None, dropped };
        let mut messages = Vec::with_capacity(input.len());
        for (place, said) in of.into_iter().zip(said) {
            match said {
                Said::Verdict(Verdict::Forward { mut outputs, dropped }, latest) => {
                    results.latest = results.latest.max(latest);
                    results.dropped += u64::from(dropped);
                    results.of.extend(std::iter::repeat_n(place, outputs.len()));
                    messages.append(&mut outputs);
                }
                Said::Verdict(Verdict::SendBack(nack), _) => {
                    returned.entry(place).or_insert(Returned::Nack(nack));
                }
                Said::Refused => drop(returned.insert(place, Returned::Refused)),
                Said::Verdict(Verdict::CallAgain, _) => {
                    unreachable!("user code was asked until no call is left to make again")
                }
            }
        }
        results.messages = Arc::new(messages);
        self.metrics.udf_time.observe(started.elapsed().as_secs_f64() * 1e6);
        Ok(results)
    }

    /// Makes failed calls again, as often as the strategy says; not once the unit is to be released.
    async fn ask_again(
        &self,
        call: &Call,
        input: &Arc<Vec<Message>>,
        said: &mut [Said],
        leaving: &Leaving,
    ) -> Result<(), Error> {
        let mut attempts = 0;
        loop {
            let failed: Vec<_> = (0..said.len())
                .filter(|at| matches!(said[*at], Said::Verdict(Verdict::CallAgain, _)))
                .collect();
            if failed.is_empty() {
                return Ok(());
            }
            attempts += 1;
            self.metrics.udf_error.inc_by(failed.len() as u64);
            match call.again.next(attempts, fastrand::f64()) {
                Next::After(wait) => tokio::select! {
                    biased;
                    () = leaving.asked() => return Err(leaving.give_up()),
                    () = tokio::time::sleep(wait) => {}
                },
                Next::Drop | Next::Fallback => {
                    self.metrics.dropped.udf_retries.inc_by(failed.len() as u64);
                    for at in failed {
                        said[at] = Said::Verdict(Verdict::Forward { outputs: Vec::new(), dropped: 0 }, None);
                    }
                    return Ok(());
                }
            }
            let subset = Arc::new(failed.iter().map(|at| input[*at].clone()).collect::<Vec<_>>());
            for (at, again) in failed.into_iter().zip(self.ask(call, &subset).await?) {
                said[at] = again;
            }
        }
    }

    /// One answer for each message. When user code refuses a batch as such, its messages are tried one by one, and the
    /// one it refuses alone is refused.
    async fn ask(&self, call: &Call, input: &Arc<Vec<Message>>) -> Result<Vec<Said>, Error> {
        let verdict = |reply: Reply| {
            let latest = reply.outputs.iter().map(|output| output.event_time).max();
            Said::Verdict(judge(reply), latest)
        };
        match once(call.door.as_ref(), input.clone(), &self.watermark).await {
            Ok(replies) => return Ok(replies.into_iter().map(verdict).collect()),
            Err(error) if error.class() == Class::Reject => {}
            Err(error) => return Err(error),
        }
        let mut said = Vec::with_capacity(input.len());
        for message in input.iter() {
            match once(call.door.as_ref(), Arc::new(vec![message.clone()]), &self.watermark).await {
                Ok(single) => said.extend(single.into_iter().map(verdict)),
                Err(error) if error.class() == Class::Reject => {
                    self.metrics.udf_error.inc();
                    self.metrics.critical.inc();
                    warn!(id = %message.id, error = error.chain(), "user code refuses the message");
                    said.push(Said::Refused);
                }
                Err(error) => return Err(error),
            }
        }
        Ok(said)
    }
}

async fn once(door: &dyn Map, input: Arc<Vec<Message>>, watermark: &Watermark) -> Result<Vec<Reply>, Error> {
    let expected = input.len();
    let mut patience = Patience::default();
    loop {
        match door.map(input.clone(), watermark.get()).await {
            Ok(replies) => {
                assert_eq!(replies.len(), expected, "user code's door gives one reply for each message");
                return Ok(replies);
            }
            Err(error) => patience.after(error).await?,
        }
    }
}
