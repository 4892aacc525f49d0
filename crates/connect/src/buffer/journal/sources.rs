//! Which source the positions of a vertex belong to. A position means nothing in another source, so where the source has
//! changed the units of the vertex begin afresh.
//!
//! This is done before the buffer is opened, when nobody can own a unit. Invariant: a unit's position and the word for
//! its source change in one transaction, so whoever goes on from a position goes on in the source that it is of.

use ::journal::{Disk, Journal, Transaction};
use model::Progress;
use model::door::Error;

use super::record::Record;
use super::{door_error, names};

/// Notes which source a vertex has, as the word `identity` for it. When that was another one before, every source unit of
/// the vertex is set back to the beginning, and the former word is given. What the units have written stays. A vertex of
/// which nothing was noted keeps its positions.
pub fn note_source<D: Disk>(
    journal: &Journal<D>,
    vertex: &str,
    identity: &str,
) -> Result<Option<String>, Error> {
    let key = names::source_key(vertex);
    let former = journal.get(key.as_bytes());
    if former.as_deref() == Some(identity.as_bytes()) {
        return Ok(None);
    }
    let mut transaction = Transaction::new();
    transaction.put(key, identity.as_bytes());
    if former.is_some() {
        for (key, value) in journal.scan(names::source_units_prefix(vertex).as_bytes()) {
            // A record of a later version is refused by name when the buffer is opened.
            let Some(record) = Record::decode(&value) else { continue };
            transaction.put(key, Record { progress: Progress::default(), ..record }.encode());
        }
    }
    let stored = journal.commit(transaction);
    stored.map_err(|error| door_error(format!("note the source of vertex {vertex}"), error))?;
    Ok(former.map(|former| String::from_utf8_lossy(&former).into_owned()))
}
