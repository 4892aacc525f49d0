//! Looks at a place and makes a plan true there.

pub mod local;
