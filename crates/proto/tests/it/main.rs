//! What user containers depend on: names on the wire and the layout of messages.
//!
//! How the messages are used is tested where they are used, in `connect`. Invariant: the expected values are written
//! out here and never computed from the generated code.

mod layout;
mod names;
