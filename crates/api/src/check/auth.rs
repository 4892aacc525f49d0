//! Rules about proving who one is: TLS, SASL, NATS, Pulsar and AWS.

use super::Report;
use crate::path::Path;
use crate::schema::hints::{did_you_mean, list};
use crate::spec::{AwsAssumeRole, NatsAuth, PulsarAuth, Sasl, Tls};

const MECHANISMS: [&str; 5] = ["PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512", "GSSAPI", "OAUTHBEARER"];
const KERBEROS_TYPES: [&str; 2] = ["KRB5_USER_AUTH", "KRB5_KEYTAB_AUTH"];
const ACCOUNT_DIGITS: usize = 12;

pub(super) fn tls(tls: Option<&Tls>, path: &Path, report: &mut Report<'_>) {
    let Some(tls) = tls else { return };
    if tls.cert_secret.is_some() && tls.key_secret.is_none() {
        report.error("tls-key", &path.field("keySecret"), "a client certificate needs its key");
    }
    if tls.key_secret.is_some() && tls.cert_secret.is_none() {
        report.error("tls-cert", &path.field("certSecret"), "a client key needs its certificate");
    }
}

pub(super) fn nats(auth: Option<&NatsAuth>, path: &Path, report: &mut Report<'_>) {
    if auth.is_some_and(|auth| auth.basic.is_none() && auth.token.is_none() && auth.nkey.is_none()) {
        report.error("auth-empty", path, "`auth` needs one of `basic`, `token` and `nkey`");
    }
}

pub(super) fn pulsar(auth: Option<&PulsarAuth>, path: &Path, report: &mut Report<'_>) {
    if auth.is_some_and(|auth| auth.token.is_none() && auth.basic_auth.is_none()) {
        report.error("auth-empty", path, "`auth` needs one of `token` and `basicAuth`");
    }
}

pub(super) fn sasl(sasl: Option<&Sasl>, path: &Path, report: &mut Report<'_>) {
    let Some(sasl) = sasl else { return };
    let (block, is_there) = match sasl.mechanism.to_ascii_uppercase().as_str() {
        "PLAIN" => ("plain", sasl.plain.is_some()),
        "SCRAM-SHA-256" => ("scramsha256", sasl.scram_sha_256.is_some()),
        "SCRAM-SHA-512" => ("scramsha512", sasl.scram_sha_512.is_some()),
        "GSSAPI" => ("gssapi", sasl.gssapi.is_some()),
        "OAUTHBEARER" | "OAUTH" => ("oauth", sasl.oauth.is_some()),
        _ => {
            let message = format!("`{}` is not one of {}", sasl.mechanism, list(&MECHANISMS));
            let hint = did_you_mean(&sasl.mechanism, MECHANISMS.into_iter());
            report.error("sasl-mechanism", &path.field("mechanism"), message).hint(hint.unwrap_or_default());
            return;
        }
    };
    if !is_there {
        let message = format!("the mechanism `{}` needs the block `{block}`", sasl.mechanism);
        report.error("sasl-block", &path.field(block), message);
    }
    let user_password =
        [("plain", &sasl.plain), ("scramsha256", &sasl.scram_sha_256), ("scramsha512", &sasl.scram_sha_512)];
    for (name, written) in user_password {
        if name == block && written.as_ref().is_some_and(|written| written.password_secret.is_none()) {
            report.error("sasl-password", &path.fields(&[name, "passwordSecret"]), "the password is missing");
        }
    }
    if let Some(kerberos) =
        sasl.gssapi.as_ref().filter(|kerberos| !KERBEROS_TYPES.contains(&kerberos.auth_type.as_str()))
    {
        let message = format!("`{}` is not one of {}", kerberos.auth_type, list(&KERBEROS_TYPES));
        let hint = did_you_mean(&kerberos.auth_type, KERBEROS_TYPES.into_iter());
        report
            .error("sasl-kerberos", &path.fields(&["gssapi", "authType"]), message)
            .hint(hint.unwrap_or_default());
    }
}

/// Region, queue and account of an SQS queue.
pub(super) fn sqs_queue(queue: (&str, &str, &str), path: &Path, report: &mut Report<'_>) {
    let (region, name, account) = queue;
    if region.is_empty() {
        report.error("sqs-region", &path.field("awsRegion"), "the region is missing");
    }
    if name.is_empty() {
        report.error("sqs-queue", &path.field("queueName"), "the name of the queue is missing");
    }
    if account.len() != ACCOUNT_DIGITS || !account.bytes().all(|byte| byte.is_ascii_digit()) {
        report
            .error("sqs-account", &path.field("queueOwnerAWSAccountID"), "an account is 12 digits")
            .hint("in YAML put it in quotes, so that leading zeros stay");
    }
}

pub(super) fn assume_role(role: Option<&AwsAssumeRole>, path: &Path, report: &mut Report<'_>) {
    let Some(role) = role else { return };
    if !role.role_arn.starts_with("arn:aws:iam::") || !role.role_arn.contains(":role/") {
        report
            .error("assume-role-arn", &path.field("roleArn"), format!("`{}` is no role", role.role_arn))
            .hint("write `arn:aws:iam::ACCOUNT:role/NAME`");
    }
    if role.duration_seconds.is_some_and(|seconds| !(900..=43_200).contains(&seconds)) {
        let message = "`durationSeconds` is a number from 900 to 43200";
        report.error("assume-role-duration", &path.field("durationSeconds"), message);
    }
    if role.session_name.as_deref().is_some_and(|name| !is_session_name(name)) {
        let message = "a session name has 2 to 64 letters, digits and characters of `_.,@=-`";
        report.error("assume-role-session", &path.field("sessionName"), message);
    }
}

fn is_session_name(name: &str) -> bool {
    let is_good = |c: char| c.is_ascii_alphanumeric() || "_.,@=-".contains(c);
    (2..=64).contains(&name.len()) && name.chars().all(is_good)
}
