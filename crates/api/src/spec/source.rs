//! What a vertex can read from: one struct per source.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_with::skip_serializing_none;

use super::Empty;
use super::auth::{Authorization, AwsAssumeRole, NatsAuth, PulsarAuth, Sasl, Tls};
use super::container::Container;
use super::limits::RetryStrategy;
use super::serving::HttpPorts;
use crate::duration::Duration;

/// Where messages come from; one member is set, and `transformer` may stand beside any.
#[skip_serializing_none]
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, rename_all = "camelCase")]
pub struct Source {
    /// Messages made up at a given rate.
    pub generator: Option<GeneratorSource>,
    /// Messages posted over HTTP.
    pub http: Option<HttpSource>,
    /// A Kafka topic.
    pub kafka: Option<KafkaSource>,
    /// A NATS subject.
    pub nats: Option<NatsSource>,
    /// A JetStream stream.
    pub jetstream: Option<JetStreamSource>,
    /// A Pulsar topic.
    pub pulsar: Option<PulsarSource>,
    /// An SQS queue.
    pub sqs: Option<SqsSource>,
    /// Requests of a serving pipeline.
    pub serving: Option<Empty>,
    /// The user's own source.
    pub udsource: Option<UdSource>,
    /// Tidegate extension: the lines of standard input; for work on one machine.
    pub stdin: Option<Empty>,
    /// Tidegate extension: the lines of a file; for work on one machine.
    pub file: Option<FileSource>,
    /// User code that sees each message before anybody else.
    pub transformer: Option<Transformer>,
}

/// Messages made up at a given rate, per replica.
#[skip_serializing_none]
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, rename_all = "camelCase")]
pub struct GeneratorSource {
    /// Records per unit of `duration`. Default 5.
    pub rpu: Option<i64>,
    /// The unit. Default 1s.
    pub duration: Option<Duration>,
    /// Bytes of padding. Default 8; a negative value counts as not set.
    pub msg_size: Option<i32>,
    /// How many keys messages are spread over; 0 for none.
    pub key_count: Option<i32>,
    /// The number in each message, instead of the time.
    pub value: Option<u64>,
    /// How far event times are moved back, at most. Default 0s.
    pub jitter: Option<Duration>,
    /// The whole payload, base64; wins over `value` and `msgSize`.
    pub value_blob: Option<String>,
}

/// Messages posted over HTTP.
#[skip_serializing_none]
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, rename_all = "camelCase")]
pub struct HttpSource {
    /// The token callers must show.
    pub auth: Option<Authorization>,
    /// Make a Service in front of the pods.
    pub service: Option<bool>,
    /// Where it listens.
    pub ports: Option<HttpPorts>,
}

/// A Kafka topic.
#[skip_serializing_none]
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, rename_all = "camelCase")]
pub struct KafkaSource {
    /// Addresses of brokers.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub brokers: Vec<String>,
    /// One topic, or several with commas between.
    pub topic: String,
    /// The consumer group.
    pub consumer_group: Option<String>,
    /// TLS towards the brokers.
    pub tls: Option<Tls>,
    /// SASL towards the brokers.
    pub sasl: Option<Sasl>,
    /// Client options, one `key: value` per line.
    pub config: Option<String>,
    /// Accepted and not used.
    pub kafka_version: Option<String>,
}

/// A NATS subject.
#[skip_serializing_none]
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, rename_all = "camelCase")]
pub struct NatsSource {
    /// Address of the server.
    pub url: String,
    /// The subject.
    pub subject: String,
    /// The queue group.
    pub queue: String,
    /// TLS towards the server.
    pub tls: Option<Tls>,
    /// Credentials.
    pub auth: Option<NatsAuth>,
}

/// A JetStream stream.
#[skip_serializing_none]
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, rename_all = "camelCase")]
pub struct JetStreamSource {
    /// Address of the server.
    pub url: String,
    /// The stream.
    pub stream: String,
    /// The durable consumer; made if it is missing. Default: a name built from the vertex.
    pub consumer: Option<String>,
    /// `all` (default), `new`, `last`, `last_per_subject`, `by_start_sequence N` or `by_start_time EPOCH_MS`.
    #[serde(rename = "deliver_policy")]
    pub deliver_policy: Option<String>,
    /// Only these subjects.
    #[serde(rename = "filter_subjects", skip_serializing_if = "Vec::is_empty")]
    pub filter_subjects: Vec<String>,
    /// TLS towards the server.
    pub tls: Option<Tls>,
    /// Credentials.
    pub auth: Option<NatsAuth>,
}

/// A Pulsar topic.
#[skip_serializing_none]
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, rename_all = "camelCase")]
pub struct PulsarSource {
    /// Address of the server.
    pub server_addr: String,
    /// The topic.
    pub topic: String,
    /// The name of the consumer.
    pub consumer_name: String,
    /// The subscription.
    pub subscription_name: String,
    /// Messages without an answer, at most. Default 1000.
    pub max_unack: Option<u32>,
    /// Credentials.
    pub auth: Option<PulsarAuth>,
    /// Where messages go that were delivered too often.
    pub dead_letter_policy: Option<DeadLetterPolicy>,
}

/// Where messages go that were delivered too often.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default, rename_all = "camelCase")]
pub struct DeadLetterPolicy {
    /// The topic for them.
    pub topic: String,
    /// How often is too often.
    pub max_redelivery: u32,
}

/// An SQS queue.
#[skip_serializing_none]
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, rename_all = "camelCase")]
pub struct SqsSource {
    /// The region.
    pub aws_region: String,
    /// The queue.
    pub queue_name: String,
    /// The account that owns it: 12 digits.
    #[serde(rename = "queueOwnerAWSAccountID")]
    pub queue_owner_aws_account_id: String,
    /// Seconds a message is hidden after it was read: 0 to 43200. Default 30.
    pub visibility_timeout: Option<i32>,
    /// Messages in one answer: 1 to 10. Default 10.
    pub max_number_of_messages: Option<i32>,
    /// Seconds a request waits for messages: 0 to 20. Default 0.
    pub wait_time_seconds: Option<i32>,
    /// Another address than AWS's own.
    pub endpoint_url: Option<String>,
    /// System attributes to ask for.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub attribute_names: Vec<String>,
    /// Message attributes to ask for.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub message_attribute_names: Vec<String>,
    /// A role to take on.
    pub assume_role: Option<AwsAssumeRole>,
}

/// The user's own source.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, rename_all = "camelCase")]
pub struct UdSource {
    /// The container with it.
    pub container: Container,
}

/// User code that sees each message right after the source.
#[skip_serializing_none]
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, rename_all = "camelCase")]
pub struct Transformer {
    /// The container with it.
    pub container: Option<Container>,
    /// What happens when it fails; `fallback` is not possible here.
    pub retry_strategy: Option<RetryStrategy>,
}

/// Tidegate extension: the lines of a file.
#[skip_serializing_none]
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default, rename_all = "camelCase")]
pub struct FileSource {
    /// The file; a relative path starts at the working directory.
    pub path: String,
    /// Wait for more lines at the end instead of stopping. Default false.
    pub follow: Option<bool>,
}
