//! What only shows with real processes: views of the file system and supervision.

mod namespace;
mod process;
