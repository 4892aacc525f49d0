//! Bytes appended are in order and, once acknowledged, survive a crash; nothing else is promised.
//!
//! A journal is one directory of segment files. Into it go [`Transaction`]s: frames appended to named logs,
//! settlements of frames that are done with, and puts and deletes of a small key-value state. A transaction
//! is in the journal whole or not at all, and transactions are in it in the order in which they were
//! submitted. What the bytes mean is not known here.
//!
//! ```
//! use journal::{Journal, Options, Transaction, sim_disk::SimDisk};
//!
//! let journal = Journal::open(SimDisk::new(1), Options::default())?;
//! let orders = journal.log("orders")?;
//! let mut transaction = Transaction::new();
//! transaction.append(orders, "first");
//! transaction.put("position", "17");
//! let receipt = journal.commit(transaction)?; // `submit` is the form that does not wait
//!
//! let mut frames = Vec::new();
//! journal.read(orders, 0, 1 << 20, &mut frames)?;
//! assert_eq!(frames[0].bytes, "first");
//!
//! let mut transaction = Transaction::new();
//! transaction.settle_through(orders, receipt.sequences.last().expect("one frame was appended"));
//! journal.commit(transaction)?;
//! assert_eq!(journal.stats(orders)?.frames, 0);
//! journal.close()?;
//! # Ok::<(), journal::Error>(())
//! ```
//!
//! The invariant: *acknowledged ⊆ recovered ⊆ written, in order*. After any crash the journal holds a prefix
//! of the submitted transactions, and that prefix holds every transaction that was answered. Where the disk
//! breaks that (flipped bits, files lost), opening or reading says so and names the place.

mod cache;
mod checkpoint;
mod committer;
mod compact;
mod disk;
mod error;
mod format;
mod hub;
mod index;
mod journal;
mod locks;
mod names;
mod options;
mod queue;
mod read;
mod recover;
mod scan;
pub mod sim_disk;
mod status;
mod transaction;

pub use disk::{Disk, DiskFile, FileDisk};
pub use error::Error;
pub use journal::{Journal, Stepper};
pub use options::{Durability, Options};
pub use status::{Cut, Damage, LogStats, Status};
pub use transaction::{Entry, LogId, Receipt, Sequences, Transaction};
