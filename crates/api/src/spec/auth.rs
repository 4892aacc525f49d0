//! How connectors prove who they are: TLS, SASL, tokens, roles. Only references to secrets are here, never a
//! secret itself.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_with::skip_serializing_none;

use super::stock::SecretKeySelector;

/// TLS towards a broker.
#[skip_serializing_none]
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, rename_all = "camelCase")]
pub struct Tls {
    /// Accept any server certificate.
    pub insecure_skip_verify: Option<bool>,
    /// The certificate authority to trust (PEM).
    pub ca_cert_secret: Option<SecretKeySelector>,
    /// The client certificate (PEM); needs `keySecret` beside it.
    pub cert_secret: Option<SecretKeySelector>,
    /// The client's private key (PEM).
    pub key_secret: Option<SecretKeySelector>,
}

/// A user and a password.
#[skip_serializing_none]
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, rename_all = "camelCase")]
pub struct BasicAuth {
    /// Where the user name is.
    pub user: Option<SecretKeySelector>,
    /// Where the password is.
    pub password: Option<SecretKeySelector>,
}

/// NATS credentials; `basic` wins over `nkey`, `nkey` over `token`.
#[skip_serializing_none]
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, rename_all = "camelCase")]
pub struct NatsAuth {
    /// User and password.
    pub basic: Option<BasicAuth>,
    /// A token.
    pub token: Option<SecretKeySelector>,
    /// An NKey seed.
    pub nkey: Option<SecretKeySelector>,
}

/// A bearer token that callers must show.
#[skip_serializing_none]
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, rename_all = "camelCase")]
pub struct Authorization {
    /// Where the token is.
    pub token: Option<SecretKeySelector>,
}

/// Pulsar credentials; `token` wins.
#[skip_serializing_none]
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, rename_all = "camelCase")]
pub struct PulsarAuth {
    /// A JSON web token.
    pub token: Option<SecretKeySelector>,
    /// User and password.
    pub basic_auth: Option<PulsarBasicAuth>,
}

/// A Pulsar user and password.
#[skip_serializing_none]
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, rename_all = "camelCase")]
pub struct PulsarBasicAuth {
    /// Where the user name is.
    pub username: Option<SecretKeySelector>,
    /// Where the password is.
    pub password: Option<SecretKeySelector>,
}

/// Redis credentials.
#[skip_serializing_none]
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, rename_all = "camelCase")]
pub struct RedisAuth {
    /// Where the user name is.
    pub username: Option<SecretKeySelector>,
    /// Where the password is.
    pub password: Option<SecretKeySelector>,
}

/// Kafka SASL: a mechanism and the block of that mechanism.
#[skip_serializing_none]
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, rename_all = "camelCase")]
pub struct Sasl {
    /// `PLAIN`, `SCRAM-SHA-256`, `SCRAM-SHA-512`, `GSSAPI` or `OAUTHBEARER`, in any letter case.
    pub mechanism: String,
    /// Settings of `GSSAPI`.
    pub gssapi: Option<Gssapi>,
    /// Settings of `PLAIN`.
    pub plain: Option<SaslPlain>,
    /// Settings of `SCRAM-SHA-256`.
    #[serde(rename = "scramsha256")]
    pub scram_sha_256: Option<SaslPlain>,
    /// Settings of `SCRAM-SHA-512`.
    #[serde(rename = "scramsha512")]
    pub scram_sha_512: Option<SaslPlain>,
    /// Settings of `OAUTHBEARER`.
    pub oauth: Option<SaslOauth>,
}

/// User and password for SASL `PLAIN` and `SCRAM`.
#[skip_serializing_none]
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, rename_all = "camelCase")]
pub struct SaslPlain {
    /// Where the user name is.
    pub user_secret: SecretKeySelector,
    /// Where the password is.
    pub password_secret: Option<SecretKeySelector>,
    /// Kept for compatibility; the handshake always happens.
    pub handshake: bool,
}

/// Kerberos for Kafka.
#[skip_serializing_none]
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, rename_all = "camelCase")]
pub struct Gssapi {
    /// The Kerberos service name of the brokers.
    pub service_name: String,
    /// The Kerberos realm.
    pub realm: String,
    /// Where the user name is.
    pub username_secret: SecretKeySelector,
    /// `KRB5_USER_AUTH` or `KRB5_KEYTAB_AUTH`.
    pub auth_type: String,
    /// Where the password is.
    pub password_secret: Option<SecretKeySelector>,
    /// Where the keytab is.
    pub keytab_secret: Option<SecretKeySelector>,
    /// Where the Kerberos configuration is.
    pub kerberos_config_secret: Option<SecretKeySelector>,
}

/// OAuth client credentials for Kafka.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, rename_all = "camelCase")]
pub struct SaslOauth {
    /// Where the client id is.
    #[serde(rename = "clientID")]
    pub client_id: SecretKeySelector,
    /// Where the client secret is.
    pub client_secret: SecretKeySelector,
    /// Where tokens are asked for.
    pub token_endpoint: String,
}

/// An AWS role to take on before talking to SQS.
#[skip_serializing_none]
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, rename_all = "camelCase")]
pub struct AwsAssumeRole {
    /// `arn:aws:iam::ACCOUNT:role/NAME`.
    pub role_arn: String,
    /// 2 to 64 characters of letters, digits and `_.,@=-`.
    pub session_name: Option<String>,
    /// 900 to 43200 seconds.
    pub duration_seconds: Option<i32>,
    /// The external id that the role's trust policy asks for.
    #[serde(rename = "externalID")]
    pub external_id: Option<String>,
    /// An inline session policy (JSON).
    pub policy: Option<String>,
    /// Managed session policies.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub policy_arns: Vec<String>,
}
