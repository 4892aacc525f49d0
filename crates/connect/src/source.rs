//! Sources: where messages come from. One file each; what they share is how text is cut into lines and what a
//! source looks like that wants no acknowledgements.
//!
//! Every source here runs the conformance suite of the source door.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use async_trait::async_trait;
use model::door::Error;
use model::door::source::{Answer, Answers, Batch, Memory, Opened, Receipt, Source};
use model::{Position, Time};

use crate::store::Pools;

pub mod file;
pub mod generator;
pub mod http;
pub mod lines;
pub mod stdin;
pub mod user;

/// What the inlets of one process share, so that one source can take over from another and nothing is lost in between,
/// and so that workers keep within a rate together. Clones share it too; whoever opens inlets keeps one for as long as
/// any of them may be opened.
#[derive(Clone, Debug, Default)]
pub struct Inputs {
    /// Ports, and what came in through them.
    pub listeners: http::Listeners,
    /// Standard input.
    pub stdin: stdin::Input,
    /// Rates.
    pub pools: Pools,
}

/// The time of the clock.
pub(crate) fn now() -> Time {
    // A clock before 1970 counts as 1970.
    Time::default().after(SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or(Duration::ZERO))
}

/// The answering half of a source that resumes by position: there is nothing to acknowledge and nothing to let go of.
#[derive(Debug)]
pub(crate) struct NoAnswers;

#[async_trait]
impl Answers for NoAnswers {
    async fn answer(&mut self, _: &[(Receipt, Answer)]) -> Result<(), Error> {
        Ok(())
    }

    async fn pending(&mut self) -> Result<Option<u64>, Error> {
        Ok(None)
    }

    async fn close(&mut self) -> Result<(), Error> {
        Ok(())
    }
}

/// The source of a replica whose sibling reads everything there is.
#[derive(Debug)]
pub(crate) struct Nothing {
    /// Whether the input ends at once, or is never over.
    pub(crate) ends: bool,
}

impl Nothing {
    pub(crate) fn opened(self) -> Opened {
        Opened { source: Box::new(self), answers: Box::new(NoAnswers), memory: Memory::Position }
    }
}

#[async_trait]
impl Source for Nothing {
    async fn resume(&mut self, _: Position) -> Result<(), Error> {
        Ok(())
    }

    async fn read(&mut self, _: usize, wait: Duration) -> Result<Option<Batch>, Error> {
        if self.ends {
            return Ok(None);
        }
        tokio::time::sleep(wait).await;
        Ok(Some(Batch::default()))
    }
}
