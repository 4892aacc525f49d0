//! A buffer as a worker sees it that can be suspended: while the gate is closed no call goes through and no answer
//! comes back, as for a process that is stopped and goes on later.

use std::sync::Arc;

use async_trait::async_trait;
use model::door::Error;
use model::door::buffer::{
    Bounds, Buffer, Claim, Claimed, Commit, Committed, Committer, Reader, Stored, Survey,
};
use smol_str::SmolStr;

use super::Gate;

pub(crate) struct Gated {
    pub(crate) inner: Arc<dyn Buffer>,
    pub(crate) gate: Gate,
}

struct GatedReader {
    inner: Box<dyn Reader>,
    gate: Gate,
}

struct GatedCommitter {
    inner: Box<dyn Committer>,
    gate: Gate,
}

#[async_trait]
impl Buffer for Gated {
    fn bounds(&self) -> Bounds {
        self.inner.bounds()
    }

    async fn claim(&self, claim: Claim) -> Result<Claimed, Error> {
        self.gate.passed().await;
        let claimed = self.inner.claim(claim).await;
        self.gate.passed().await;
        let Claimed { progress, reader, committer } = claimed?;
        let gate = self.gate.clone();
        let reader =
            reader.map(|inner| -> Box<dyn Reader> { Box::new(GatedReader { inner, gate: gate.clone() }) });
        let committer = Box::new(GatedCommitter { inner: committer, gate: self.gate.clone() });
        Ok(Claimed { progress, reader, committer })
    }

    async fn survey(&self) -> Result<Survey, Error> {
        self.inner.survey().await
    }
}

#[async_trait]
impl Reader for GatedReader {
    async fn read(&mut self, bytes_max: usize) -> Result<Vec<Stored>, Error> {
        // Nothing waits after the read: what it gave would be lost if the future were dropped there.
        self.gate.passed().await;
        self.inner.read(bytes_max).await
    }
}

#[async_trait]
impl Committer for GatedCommitter {
    async fn known(&mut self, ids: &[SmolStr]) -> Result<Vec<bool>, Error> {
        self.gate.passed().await;
        let known = self.inner.known(ids).await;
        self.gate.passed().await;
        known
    }

    async fn commit(&mut self, commit: Commit) -> Result<Committed, Error> {
        self.gate.passed().await;
        let committed = self.inner.commit(commit).await;
        self.gate.passed().await;
        committed
    }

    async fn release(self: Box<Self>) -> Result<(), Error> {
        self.gate.passed().await;
        let released = self.inner.release().await;
        self.gate.passed().await;
        released
    }
}
