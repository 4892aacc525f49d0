//! A Kubernetes cluster as a place: what is watched there, what is made there, and who does it. What should be so is
//! decided by `plan`; this module looks, asks and acts, as `local` does for one machine. Invariant: every write is
//! idempotent and carries one field manager, so that doing it twice, or by two controllers after another, is doing it
//! once.

pub mod client;

/// Who we are in the `managedFields` of objects.
pub const FIELD_MANAGER: &str = "tidegate";
