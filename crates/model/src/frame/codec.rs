//! Packing a frame's payload. Every frame names its codec, so writers may change theirs at any time.

use std::io::{Read, Write};

use bytes::Bytes;

use super::Error;

/// The largest payload that unpacking gives: far above what any writer makes, and a bound for bytes that lie.
const UNPACKED_BYTES_MAX: usize = 256 * 1024 * 1024;
const ZSTD_LEVEL: i32 = 3;

/// How a payload is packed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Codec {
    /// As it is.
    #[default]
    None,
    /// gzip.
    Gzip,
    /// Zstandard.
    Zstd,
    /// An LZ4 block with its length in front.
    Lz4,
}

impl Codec {
    pub(super) fn number(self) -> u64 {
        match self {
            Self::None => 0,
            Self::Gzip => 1,
            Self::Zstd => 2,
            Self::Lz4 => 3,
        }
    }

    pub(super) fn from_number(number: u64) -> Result<Self, Error> {
        match number {
            0 => Ok(Self::None),
            1 => Ok(Self::Gzip),
            2 => Ok(Self::Zstd),
            3 => Ok(Self::Lz4),
            _ => Err(Error::Codec(number)),
        }
    }

    /// Packs a payload. A payload that does not get smaller stays as it is.
    pub(super) fn pack(self, payload: Bytes) -> (Self, Bytes) {
        let packed = match self {
            Self::None => return (Self::None, payload),
            Self::Gzip => {
                let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
                encoder.write_all(&payload).and_then(|()| encoder.finish()).expect("memory takes any bytes")
            }
            Self::Zstd => zstd::bulk::compress(&payload, ZSTD_LEVEL).expect("memory takes any bytes"),
            Self::Lz4 => lz4_flex::compress_prepend_size(&payload),
        };
        if packed.len() < payload.len() { (self, Bytes::from(packed)) } else { (Self::None, payload) }
    }

    /// Unpacks what [`Codec::pack`] made.
    pub(super) fn unpack(self, packed: &Bytes) -> Result<Bytes, Error> {
        let broken = |codec| move |_| Error::Packed(codec);
        let unpacked = match self {
            Self::None => return Ok(packed.clone()),
            Self::Gzip => {
                let mut out = Vec::new();
                let decoder = flate2::read::GzDecoder::new(packed.as_ref());
                decoder.take(UNPACKED_BYTES_MAX as u64 + 1).read_to_end(&mut out).map_err(broken("gzip"))?;
                out
            }
            Self::Zstd => {
                let mut out = Vec::new();
                let decoder = zstd::stream::read::Decoder::new(packed.as_ref()).map_err(broken("zstd"))?;
                decoder.take(UNPACKED_BYTES_MAX as u64 + 1).read_to_end(&mut out).map_err(broken("zstd"))?;
                out
            }
            Self::Lz4 => {
                let (size, _) =
                    lz4_flex::block::uncompressed_size(packed).map_err(|_| Error::Packed("lz4"))?;
                if size > UNPACKED_BYTES_MAX {
                    return Err(Error::Packed("lz4"));
                }
                lz4_flex::decompress_size_prepended(packed).map_err(|_| Error::Packed("lz4"))?
            }
        };
        if unpacked.len() > UNPACKED_BYTES_MAX {
            return Err(Error::Packed("a codec"));
        }
        Ok(Bytes::from(unpacked))
    }
}
