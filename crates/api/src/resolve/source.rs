//! Sources that have defaults worth a type of their own. The invariant: a payload given as base64 is valid,
//! because `check` has decoded it before.

use std::time::Duration;

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;

use crate::spec::serving::HttpPorts;
use crate::spec::source::GeneratorSource;

const RECORDS_PER_UNIT: u64 = 5;
const UNIT: Duration = Duration::from_secs(1);
const MESSAGE_BYTES: u32 = 8;
const HTTPS_PORT: u16 = 8443;
const KEYS_MAX: u8 = u8::MAX;

/// What a generator does, per replica.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Generator {
    /// Records in each unit of time.
    pub records_per_unit: u64,
    /// The unit.
    pub unit: Duration,
    /// Bytes of padding.
    pub message_bytes: u32,
    /// How many keys messages are spread over; 0 for none.
    pub keys: u8,
    /// The number in each message, instead of the time.
    pub value: Option<u64>,
    /// How far event times are moved back, at most.
    pub jitter: Duration,
    /// The whole payload; wins over `value` and `message_bytes`.
    pub payload: Option<Vec<u8>>,
}

impl GeneratorSource {
    /// Fills in the defaults.
    pub fn resolve(&self) -> Generator {
        Generator {
            records_per_unit: self.rpu.map_or(RECORDS_PER_UNIT, |rpu| u64::try_from(rpu).unwrap_or(0)),
            unit: self.duration.map_or(UNIT, crate::Duration::to_std),
            message_bytes: self.msg_size.and_then(|bytes| u32::try_from(bytes).ok()).unwrap_or(MESSAGE_BYTES),
            keys: self.key_count.map_or(0, |count| u8::try_from(count.max(0)).unwrap_or(KEYS_MAX)),
            value: self.value,
            jitter: self.jitter.unwrap_or_default().to_std(),
            payload: self.value_blob.as_deref().filter(|blob| !blob.is_empty()).map(|blob| {
                BASE64_STANDARD
                    .decode(blob.trim())
                    .expect("a checked manifest has no payload that is not base64")
            }),
        }
    }
}

/// Whether a payload can be decoded.
pub(crate) fn is_base64(text: &str) -> bool {
    BASE64_STANDARD.decode(text.trim()).is_ok()
}

/// Where an HTTP listener listens.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HttpListener {
    /// The TLS port.
    pub https_port: u16,
    /// The plain port; nothing means none.
    pub http_port: Option<u16>,
}

impl HttpListener {
    /// Fills in the defaults of an optional `ports` block.
    pub fn from_spec(ports: Option<&HttpPorts>) -> Self {
        let port = |port: Option<i32>| port.and_then(|port| u16::try_from(port).ok());
        Self {
            https_port: ports.and_then(|ports| port(ports.https)).unwrap_or(HTTPS_PORT),
            http_port: ports.and_then(|ports| port(ports.http)),
        }
    }
}
