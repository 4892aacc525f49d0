//! What a vertex can write to: one struct per sink.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_with::skip_serializing_none;

use super::Empty;
use super::auth::{AwsAssumeRole, PulsarAuth, Sasl, Tls};
use super::container::Container;
use super::limits::RetryStrategy;

/// Where messages go in the end.
#[skip_serializing_none]
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, rename_all = "camelCase")]
pub struct Sink {
    /// The primary sink.
    #[serde(flatten)]
    pub primary: AbstractSink,
    /// Where messages go that user code sends there, or that failed too often.
    pub fallback: Option<AbstractSink>,
    /// Where messages go, as well, that user code sends there after a success.
    pub on_success: Option<AbstractSink>,
    /// What happens when a write fails.
    pub retry_strategy: Option<RetryStrategy>,
}

/// One of these members is set.
#[skip_serializing_none]
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, rename_all = "camelCase")]
pub struct AbstractSink {
    /// A line in the log for each message.
    pub log: Option<Empty>,
    /// Nowhere.
    pub blackhole: Option<Empty>,
    /// The answer of a serving pipeline.
    pub serve: Option<Empty>,
    /// The user's own sink.
    pub udsink: Option<UdSink>,
    /// A Kafka topic.
    pub kafka: Option<KafkaSink>,
    /// A Pulsar topic.
    pub pulsar: Option<PulsarSink>,
    /// An SQS queue.
    pub sqs: Option<SqsSink>,
    /// Tidegate extension: a line of standard output for each message; for work on one machine.
    pub stdout: Option<Empty>,
    /// Tidegate extension: a line of a file for each message; for work on one machine.
    pub file: Option<FileSink>,
}

/// The user's own sink.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, rename_all = "camelCase")]
pub struct UdSink {
    /// The container with it.
    pub container: Container,
}

/// A Kafka topic.
#[skip_serializing_none]
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, rename_all = "camelCase")]
pub struct KafkaSink {
    /// Addresses of brokers.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub brokers: Vec<String>,
    /// The topic.
    pub topic: String,
    /// Write the message's keys as the record's key. Default false.
    pub set_key: Option<bool>,
    /// TLS towards the brokers.
    pub tls: Option<Tls>,
    /// SASL towards the brokers.
    pub sasl: Option<Sasl>,
    /// Client options, one `key: value` per line.
    pub config: Option<String>,
}

/// A Pulsar topic.
#[skip_serializing_none]
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, rename_all = "camelCase")]
pub struct PulsarSink {
    /// Address of the server.
    pub server_addr: String,
    /// The topic.
    pub topic: String,
    /// The name of the producer.
    pub producer_name: String,
    /// Credentials.
    pub auth: Option<PulsarAuth>,
}

/// An SQS queue.
#[skip_serializing_none]
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, rename_all = "camelCase")]
pub struct SqsSink {
    /// The region.
    pub aws_region: String,
    /// The queue.
    pub queue_name: String,
    /// The account that owns it: 12 digits.
    #[serde(rename = "queueOwnerAWSAccountID")]
    pub queue_owner_aws_account_id: String,
    /// A role to take on.
    pub assume_role: Option<AwsAssumeRole>,
}

/// Tidegate extension: a line of a file for each message.
#[skip_serializing_none]
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default, rename_all = "camelCase")]
pub struct FileSink {
    /// The file, which grows; a relative path starts at the working directory.
    pub path: String,
    /// A message is done only when its line is on the disk, not already when the operating system has it. Default true.
    pub sync: Option<bool>,
}
