//! Looks at a place and makes a plan true there.

pub mod exchange;
pub mod fake;
pub mod kube;
pub mod local;
pub mod place;
pub mod view;
