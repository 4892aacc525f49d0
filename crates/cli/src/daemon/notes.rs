//! The notes of a mono vertex, as its daemon hosts them: the place of `connect` in the words of `server`. Nothing is done
//! here. Invariant: what the daemon itself leaves and what comes over its port lie in the same place.

use async_trait::async_trait;
use bytes::Bytes;
use connect::mail::HostedMail;
use connect::mail::remote::{ALIVE, record};
use model::door::mail::{Mail, Watch};
use model::door::{Class, Error};
use platform::place::{Refusal, RefusalKind};
use server::daemon::notes::{Changes, Notes};

/// See the head of this file.
pub(super) struct Hosted(pub(super) HostedMail);

struct Watched(Box<dyn Watch>);

fn refusal(error: &Error) -> Refusal {
    let kind = match error.class() {
        Class::Reject => RefusalKind::Invalid,
        Class::Retry | Class::Lost | Class::Fatal => RefusalKind::Failed,
    };
    Refusal::new(kind, error.chain())
}

#[async_trait]
impl Notes for Hosted {
    async fn put(&self, key: &str, note: Bytes) -> Result<(), Refusal> {
        self.0.put(key, note).await.map_err(|error| refusal(&error))
    }

    async fn remove(&self, key: &str) -> Result<(), Refusal> {
        self.0.remove(key).await.map_err(|error| refusal(&error))
    }

    fn get(&self, key: &str) -> Option<Bytes> {
        self.0.get(key)
    }

    fn list(&self, under: &str) -> Vec<String> {
        self.0.list(under)
    }

    async fn watch(&self, under: &str) -> Result<Box<dyn Changes>, Refusal> {
        let watch = self.0.watch(under).await.map_err(|error| refusal(&error))?;
        Ok(Box::new(Watched(watch)))
    }

    fn alive(&self) -> Bytes {
        Bytes::from_static(&ALIVE)
    }
}

#[async_trait]
impl Changes for Watched {
    async fn next(&mut self) -> Option<Bytes> {
        match self.0.next().await {
            Ok(change) => Some(record(&change)),
            Err(error) => {
                tracing::debug!(error = error.chain(), "a watch of notes ends");
                None
            }
        }
    }
}

#[cfg(test)]
mod tests;
