//! Which of several controllers acts: whoever holds a lease. Invariant: a holder that has not renewed in time stops acting
//! before anybody else may begin, by its own clock alone; clocks of two machines are never compared.

use std::time::Duration;

use k8s_openapi::api::coordination::v1::{Lease, LeaseSpec};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{MicroTime, ObjectMeta};
use k8s_openapi::jiff::Timestamp;
use tokio::time::Instant;

use super::act::{Error, Hands};

/// How long a lease holds, within which time it has to be renewed, and how often that is tried.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Timing {
    /// How long others wait after the last sign of a holder.
    pub duration: Duration,
    /// How long a holder that cannot renew goes on.
    pub renew_within: Duration,
    /// How often the lease is looked at.
    pub retry: Duration,
}

impl Default for Timing {
    fn default() -> Self {
        let seconds = Duration::from_secs;
        Self { duration: seconds(15), renew_within: seconds(10), retry: seconds(2) }
    }
}

impl Timing {
    /// Whether the times are in the order without which two could hold the lease.
    pub fn is_safe(&self) -> bool {
        self.duration > self.renew_within && self.renew_within > self.retry && !self.retry.is_zero()
    }
}

/// A lease that somebody may hold.
pub struct Candidate {
    hands: Hands,
    namespace: String,
    name: String,
    identity: String,
    timing: Timing,
    /// What was seen of the holder last, and when by our clock.
    seen: Option<(String, Option<MicroTime>, Instant)>,
}

impl Candidate {
    /// For a lease, under a name that nobody else has.
    pub fn new(hands: Hands, (namespace, name): (&str, &str), identity: &str, timing: Timing) -> Self {
        let (namespace, name, identity) = (namespace.to_owned(), name.to_owned(), identity.to_owned());
        Self { hands, namespace, name, identity, timing, seen: None }
    }

    /// Returns when the lease is ours.
    pub async fn acquire(&mut self) {
        loop {
            match self.attempt().await {
                Ok(true) => {
                    tracing::info!(lease = self.name, identity = self.identity, "this controller acts");
                    return;
                }
                Ok(false) => {}
                Err(error) => tracing::warn!(error = error.text(), "the lease cannot be had"),
            }
            tokio::time::sleep(self.timing.retry).await;
        }
    }

    /// Renews the lease until it is lost.
    pub async fn hold(&mut self) {
        let mut renewed = Instant::now();
        loop {
            tokio::time::sleep(self.timing.retry).await;
            let left = self.timing.renew_within.saturating_sub(renewed.elapsed());
            let begun = Instant::now();
            match tokio::time::timeout(left, self.attempt()).await {
                Ok(Ok(true)) => renewed = begun,
                Ok(Ok(false)) => {
                    tracing::error!(lease = self.name, "another controller holds the lease");
                    return;
                }
                Ok(Err(error)) => tracing::warn!(error = error.text(), "the lease was not renewed"),
                Err(_) => {}
            }
            if renewed.elapsed() >= self.timing.renew_within {
                tracing::error!(lease = self.name, "the lease could not be renewed in time");
                return;
            }
        }
    }

    /// Gives the lease back, so that nobody has to wait.
    pub async fn release(&mut self) {
        let outcome = match self.hands.get::<Lease>(&self.namespace, &self.name).await {
            Ok(Some(mut lease)) if self.is_ours(&lease) => {
                let spec = lease.spec.get_or_insert_default();
                spec.holder_identity = Some(String::new());
                self.hands.replace(&self.namespace, &lease).await.map(drop)
            }
            outcome => outcome.map(drop),
        };
        if let Err(error) = outcome {
            tracing::warn!(error = error.text(), "the lease was not given back, and runs out by itself");
        }
    }

    /// Takes or renews the lease, if that is possible now.
    async fn attempt(&mut self) -> Result<bool, Error> {
        let found = self.hands.get::<Lease>(&self.namespace, &self.name).await?;
        let outcome = match found {
            None => self.hands.create(&self.namespace, &self.lease(None)).await,
            Some(lease) if self.is_ours(&lease) || self.is_free(&lease) => {
                self.hands.replace(&self.namespace, &self.lease(Some(lease))).await
            }
            Some(_) => return Ok(false),
        };
        match outcome {
            Ok(_) => Ok(true),
            Err(error) if error.is_conflict() => Ok(false),
            Err(error) => Err(error),
        }
    }

    fn is_ours(&self, lease: &Lease) -> bool {
        let holder = lease.spec.as_ref().and_then(|spec| spec.holder_identity.as_deref());
        holder == Some(self.identity.as_str())
    }

    /// Whether the holder has given no sign for as long as the lease holds, as seen from here.
    fn is_free(&mut self, lease: &Lease) -> bool {
        let spec = lease.spec.clone().unwrap_or_default();
        let holder = spec.holder_identity.unwrap_or_default();
        if holder.is_empty() {
            return true;
        }
        let held = spec.lease_duration_seconds.and_then(|seconds| u64::try_from(seconds).ok());
        let held = held.map_or(self.timing.duration, Duration::from_secs);
        match &self.seen {
            Some((known, renewed, at)) if *known == holder && *renewed == spec.renew_time => {
                at.elapsed() >= held
            }
            Some(_) | None => {
                self.seen = Some((holder, spec.renew_time, Instant::now()));
                false
            }
        }
    }

    /// The lease as ours.
    fn lease(&self, found: Option<Lease>) -> Lease {
        let now = MicroTime(Timestamp::now());
        let mut lease = found.unwrap_or_else(|| Lease {
            metadata: ObjectMeta {
                name: Some(self.name.clone()),
                namespace: Some(self.namespace.clone()),
                ..ObjectMeta::default()
            },
            spec: None,
        });
        let was_ours = self.is_ours(&lease);
        let before = lease.spec.take().unwrap_or_default();
        let transitions = before.lease_transitions.unwrap_or(0) + i32::from(!was_ours);
        lease.spec = Some(LeaseSpec {
            holder_identity: Some(self.identity.clone()),
            lease_duration_seconds: i32::try_from(self.timing.duration.as_secs()).ok(),
            acquire_time: if was_ours { before.acquire_time } else { Some(now.clone()) },
            renew_time: Some(now),
            lease_transitions: Some(transitions),
            ..LeaseSpec::default()
        });
        lease
    }
}

#[cfg(test)]
mod tests;
