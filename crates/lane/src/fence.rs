//! Storing one message by compare-and-set, whatever answers get lost.
//!
//! Invariant: the bytes are the same in every attempt, and a message counts as stored only when the broker said so or
//! when it was found there.

use model::door::Error;

use crate::broker::{Broker, Failure, Message, Publish};
use crate::failure::failed;
use crate::gate::Holding;
use crate::link::{Link, Pauses};

/// What the last message of a fence means for one that was refused.
pub(crate) enum Verdict {
    /// It is this very message.
    Stored(u64),
    /// It was not stored: try again after this one.
    After(u64),
    /// The broker shows less than it has confirmed. It may be a former leader that does not know yet; if it goes on
    /// saying so it has lost its end.
    Behind(Error),
}

/// How often a broker may show less than it has confirmed: about five seconds.
pub(crate) const BEHIND_MAX: u32 = 12;

/// Stores a message, however long that takes while the unit is ours, and gives its sequence. `judge` is asked about the last message of its fence when it was refused;
/// `full` is called when there is no room.
pub(crate) async fn store<B: Broker>(
    link: &Link<B>,
    mut publish: Publish,
    holding: &Holding,
    judge: impl Fn(Option<&Message>) -> Result<Verdict, Error>,
    full: impl Fn(),
) -> Result<u64, Error> {
    let attempted = |publish: &Publish| format!("store a message under {}", publish.subject);
    let mut pauses = Pauses::without_end();
    let mut behind = Pauses::at_most(BEHIND_MAX);
    loop {
        let failure = match holding.unless_lost(link.publish(publish.clone())).await? {
            Ok(sequence) => return Ok(sequence),
            Err(failure) => failure,
        };
        match &failure {
            Failure::Refused | Failure::Full => {}
            Failure::Unanswered(_) | Failure::Unavailable(_) => {
                holding.unless_lost(link.pause(&mut pauses)).await?;
                continue;
            }
            Failure::TooLarge { .. } | Failure::NoStream(_) | Failure::Denied(_) => {
                return Err(failed(attempted(&publish), failure));
            }
        }
        let expect = publish.expect.as_mut().expect("what is stored here has a fence");
        let tail = link.last(&publish.stream, &expect.filter, Pauses::without_end());
        let tail = holding.unless_lost(tail).await??;
        expect.last = match judge(tail.as_ref())? {
            Verdict::Stored(sequence) => return Ok(sequence),
            Verdict::Behind(error) => {
                if !holding.unless_lost(link.pause(&mut behind)).await? {
                    return Err(error);
                }
                continue;
            }
            Verdict::After(sequence) => {
                let again = expect.last == sequence;
                if failure == Failure::Full || again {
                    if failure == Failure::Full {
                        full();
                    }
                    holding.unless_lost(link.pause(&mut pauses)).await?;
                }
                sequence
            }
        };
    }
}
