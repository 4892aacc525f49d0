//! The record of a unit: who owns it and how far it is. Rewritten with every commit, so it is small.

use bytes::{Buf, BufMut};
use model::{Epoch, Incarnation, Position, Progress};

const VERSION: u8 = 1;

#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Record {
    pub(super) epoch: Epoch,
    /// None after a release.
    pub(super) owner: Option<Incarnation>,
    /// Messages the unit has ever written.
    pub(super) written: u64,
    pub(super) progress: Progress,
}

impl Record {
    pub(super) fn encode(&self) -> Vec<u8> {
        let Self { epoch, owner, written, progress } = self;
        let Progress { position, above } = progress;
        let mut out = Vec::with_capacity(48 + above.len() * 8);
        out.put_u8(VERSION);
        out.put_u64(epoch.0);
        out.put_u8(u8::from(owner.is_some()));
        out.put_u64(owner.map_or(0, |owner| owner.0));
        out.put_u64(*written);
        out.put_u64(position.sequence);
        out.put_u32(position.index);
        out.put_u32(u32::try_from(above.len()).expect("the set above a position is bounded"));
        for sequence in above {
            out.put_u64(*sequence);
        }
        out
    }

    /// None when the bytes are of another version.
    pub(super) fn decode(bytes: &[u8]) -> Option<Self> {
        let mut bytes = bytes;
        if bytes.try_get_u8().ok()? != VERSION {
            return None;
        }
        let epoch = Epoch(bytes.try_get_u64().ok()?);
        let owned = bytes.try_get_u8().ok()? != 0;
        let owner = Incarnation(bytes.try_get_u64().ok()?);
        let written = bytes.try_get_u64().ok()?;
        let position = Position { sequence: bytes.try_get_u64().ok()?, index: bytes.try_get_u32().ok()? };
        let count = bytes.try_get_u32().ok()?;
        let above = (0..count).map(|_| bytes.try_get_u64().ok()).collect::<Option<Vec<_>>>()?;
        Some(Self { epoch, owner: owned.then_some(owner), written, progress: Progress { position, above } })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_record_is_read_back_and_a_later_version_is_not() {
        let record = Record {
            epoch: Epoch(9),
            owner: Some(Incarnation(u64::MAX)),
            written: 12,
            progress: Progress { position: Position { sequence: 4, index: 2 }, above: vec![6, 9] },
        };
        let mut bytes = record.encode();
        assert_eq!(Record::decode(&bytes), Some(record));
        for cut in 0..bytes.len() {
            assert_eq!(Record::decode(&bytes[..cut]), None);
        }
        bytes[0] = 2;
        assert_eq!(Record::decode(&bytes), None);
    }
}
