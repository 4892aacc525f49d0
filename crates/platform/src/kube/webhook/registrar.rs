//! The certificate of the webhook: made by whoever comes first, kept in a secret, shown by all, renewed long before it
//! ends, and told to the API server. Invariant: the API server is told of an authority no later than anybody shows what it
//! has signed, and goes on believing the one before.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use k8s_openapi::ByteString;
use k8s_openapi::api::admissionregistration::v1::ValidatingWebhookConfiguration;
use k8s_openapi::api::core::v1::Secret;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use k8s_openapi::jiff::Timestamp;
use k8s_openapi::jiff::civil::Date;
use k8s_openapi::jiff::tz::TimeZone;
use kube::api::{Api, Patch, PatchParams};
use serde_json::json;
use tokio::sync::watch;
use tokio_rustls::rustls::ServerConfig;
use tokio_rustls::rustls::crypto::ring;
use tokio_rustls::rustls::pki_types::pem::PemObject;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer};

use super::Place;
use crate::kube::act::{self, Hands};
use crate::kube::certificate;
use crate::kube::client::Client;

/// How long a certificate is good, and how long before its end it is renewed.
const DAYS: i32 = 365;
const RENEWED_BEFORE_DAYS: i32 = 60;
/// How often the secret is looked at, and how soon again after a failure.
const LOOK_EVERY: Duration = Duration::from_mins(1);
const AGAIN: Duration = Duration::from_secs(2);
/// When the certificate ends.
const ENDS_ANNOTATION: &str = "tidegate.io/ends";

/// Keys of the secret.
const KEY: &str = "server-key.pem";
const CERTIFICATE: &str = "server-cert.pem";
const AUTHORITY: &str = "ca-cert.pem";

/// Why there is no certificate.
#[derive(Debug, thiserror::Error)]
pub(super) enum Error {
    /// A request failed.
    #[error(transparent)]
    Act(#[from] act::Error),
    /// No certificate could be made.
    #[error("make a certificate")]
    Make(#[source] rcgen::Error),
    /// What is in the secret is none.
    #[error("use the certificate in the secret {}", deploy::names::WEBHOOK_SECRET)]
    Use(#[source] Box<dyn std::error::Error + Send + Sync>),
}

/// What the secret holds.
#[derive(Clone, PartialEq, Eq)]
struct Kept {
    key: String,
    certificate: String,
    /// Who signed it, and who signed the one before it.
    authorities: String,
    ends: Option<Date>,
}

/// Keeps the certificate for ever.
pub(super) async fn keep(client: Client, place: Place, shown: watch::Sender<Option<Arc<ServerConfig>>>) {
    let keeper = Keeper { hands: Hands::new(client.clone()), client, place };
    let mut known = None;
    loop {
        let wait = match keeper.round(&mut known, &shown).await {
            Ok(()) => LOOK_EVERY,
            Err(error) => {
                tracing::warn!(error = %crate::kube::chain(&error), "the certificate of the webhook is not as it should be");
                AGAIN
            }
        };
        tokio::time::sleep(wait).await;
    }
}

struct Keeper {
    hands: Hands,
    client: Client,
    place: Place,
}

impl Keeper {
    async fn round(
        &self,
        known: &mut Option<Kept>,
        shown: &watch::Sender<Option<Arc<ServerConfig>>>,
    ) -> Result<(), Error> {
        let kept = self.secret(Timestamp::now().to_zoned(TimeZone::UTC).date()).await?;
        self.register(&kept.authorities).await?;
        if known.as_ref() != Some(&kept) {
            shown.send_replace(Some(Arc::new(config(&kept).map_err(Error::Use)?)));
            tracing::info!(ends = ?kept.ends, "the webhook shows its certificate");
            *known = Some(kept);
        }
        Ok(())
    }

    /// What the secret holds; it is made, or made again, where it has to be.
    async fn secret(&self, today: Date) -> Result<Kept, Error> {
        let (namespace, name) = (self.place.namespace.as_str(), deploy::names::WEBHOOK_SECRET);
        let found: Option<Secret> = self.hands.get(namespace, name).await?;
        let kept = found.as_ref().and_then(read);
        if let Some(kept) = kept.as_ref().filter(|kept| is_good(kept, today)) {
            return Ok(kept.clone());
        }
        let made = self.make(kept.as_ref(), today)?;
        let secret = write(&made, found.as_ref(), namespace);
        let outcome = match found {
            Some(_) => self.hands.replace(namespace, &secret).await,
            None => self.hands.create(namespace, &secret).await,
        };
        match outcome {
            Ok(_) => Ok(made),
            // Another controller was faster, and its certificate is as good as ours.
            Err(error) if error.is_conflict() => {
                let found: Option<Secret> = self.hands.get(namespace, name).await?;
                found.as_ref().and_then(read).ok_or(Error::Act(error))
            }
            Err(error) => Err(error.into()),
        }
    }

    fn make(&self, before: Option<&Kept>, today: Date) -> Result<Kept, Error> {
        let service = deploy::names::WEBHOOK;
        let namespace = &self.place.namespace;
        let names = [
            format!("{service}.{namespace}.svc"),
            format!("{service}.{namespace}.svc.cluster.local"),
            format!("{service}.{namespace}"),
            service.to_owned(),
        ];
        let issued = certificate::issue(&names, today, DAYS).map_err(Error::Make)?;
        // The first certificate in the text is the one that was signed last.
        let end = "-----END CERTIFICATE-----";
        let last = before.and_then(|kept| kept.authorities.split_inclusive(end).next());
        Ok(Kept {
            key: issued.key,
            certificate: issued.certificate,
            authorities: format!("{}\n{}\n", issued.authority.trim(), last.unwrap_or_default().trim())
                .trim()
                .to_owned(),
            ends: Some(issued.ends),
        })
    }

    /// Tells the API server whom to believe, if it does not know.
    async fn register(&self, authorities: &str) -> Result<(), Error> {
        let api: Api<ValidatingWebhookConfiguration> = Api::all(self.client.clone());
        let name = &self.place.registration;
        let found = act::within(format!("read the registration {name}"), api.get(name)).await?;
        let webhooks = found.webhooks.unwrap_or_default();
        let is_told =
            |known: Option<&ByteString>| known.is_some_and(|known| known.0 == authorities.as_bytes());
        let told: Vec<_> = webhooks
            .iter()
            .filter(|one| !is_told(one.client_config.ca_bundle.as_ref()))
            .map(|one| json!({"name": one.name, "clientConfig": {"caBundle": STANDARD.encode(authorities)}}))
            .collect();
        if told.is_empty() {
            return Ok(());
        }
        // Webhooks are merged by their names.
        let patch = Patch::Strategic(json!({"webhooks": told}));
        let params = PatchParams {
            field_manager: Some(crate::kube::FIELD_MANAGER.to_owned()),
            ..PatchParams::default()
        };
        act::within(format!("change the registration {name}"), api.patch(name, &params, &patch)).await?;
        Ok(())
    }
}

fn is_good(kept: &Kept, today: Date) -> bool {
    let margin = k8s_openapi::jiff::Span::new().days(RENEWED_BEFORE_DAYS);
    kept.ends.is_some_and(|ends| ends > today.saturating_add(margin)) && config(kept).is_ok()
}

fn read(secret: &Secret) -> Option<Kept> {
    let data = secret.data.as_ref()?;
    let text = |key: &str| String::from_utf8(data.get(key)?.0.clone()).ok();
    let ends = secret
        .metadata
        .annotations
        .as_ref()
        .and_then(|annotations| annotations.get(ENDS_ANNOTATION)?.parse().ok());
    Some(Kept { key: text(KEY)?, certificate: text(CERTIFICATE)?, authorities: text(AUTHORITY)?, ends })
}

/// The secret as it should be; what was read of it tells the API server which one is meant.
fn write(kept: &Kept, found: Option<&Secret>, namespace: &str) -> Secret {
    let Kept { key, certificate, authorities, ends } = kept;
    let annotations = ends.map(|ends| BTreeMap::from([(ENDS_ANNOTATION.to_owned(), ends.to_string())]));
    let (part_of, ours) = crate::kube::names::PART_OF;
    let metadata = ObjectMeta {
        name: Some(deploy::names::WEBHOOK_SECRET.to_owned()),
        namespace: Some(namespace.to_owned()),
        labels: Some(BTreeMap::from([(part_of.to_owned(), ours.to_owned())])),
        annotations,
        resource_version: found.and_then(|found| found.metadata.resource_version.clone()),
        ..ObjectMeta::default()
    };
    let data = [(KEY, key), (CERTIFICATE, certificate), (AUTHORITY, authorities)];
    Secret {
        metadata,
        data: Some(data.map(|(name, text)| (name.to_owned(), ByteString(text.clone().into_bytes()))).into()),
        type_: Some("Opaque".to_owned()),
        ..Secret::default()
    }
}

fn config(kept: &Kept) -> Result<ServerConfig, Box<dyn std::error::Error + Send + Sync>> {
    let chain: Vec<CertificateDer<'static>> =
        CertificateDer::pem_slice_iter(kept.certificate.as_bytes()).collect::<Result<_, _>>()?;
    let key = PrivateKeyDer::from_pem_slice(kept.key.as_bytes())?;
    Ok(ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()?
        .with_no_client_auth()
        .with_single_cert(chain, key)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    const TODAY: Date = Date::constant(2026, 11, 21);

    fn keeper() -> Keeper {
        let config = kube::Config::new("http://127.0.0.1:1".parse().unwrap());
        let client = Client::try_from(config).unwrap();
        let place = Place { namespace: "flows".to_owned(), registration: "x".to_owned(), port: 0 };
        Keeper { hands: Hands::new(client.clone()), client, place }
    }

    #[tokio::test]
    async fn a_certificate_is_renewed_in_time_and_both_authorities_are_believed() {
        let keeper = keeper();
        let first = keeper.make(None, TODAY).unwrap();
        assert!(is_good(&first, TODAY));
        let late = TODAY.saturating_add(k8s_openapi::jiff::Span::new().days(DAYS - RENEWED_BEFORE_DAYS));
        assert!(!is_good(&first, late));
        let second = keeper.make(Some(&first), late).unwrap();
        assert!(is_good(&second, late));
        let third = keeper.make(Some(&second), late).unwrap();
        let count = |kept: &Kept| kept.authorities.matches("BEGIN CERTIFICATE").count();
        assert_eq!([count(&first), count(&second), count(&third)], [1, 2, 2]);
        assert!(second.authorities.ends_with(first.authorities.as_str()));
        assert!(!third.authorities.contains(first.authorities.as_str()), "only the last two are believed");
    }

    #[tokio::test]
    async fn a_secret_holds_what_was_put_in() {
        let kept = keeper().make(None, TODAY).unwrap();
        let secret = write(&kept, None, "flows");
        assert!(read(&secret) == Some(kept));
        let mut broken = secret;
        broken.data.as_mut().unwrap().insert(KEY.to_owned(), ByteString(b"no key".to_vec()));
        assert!(read(&broken).is_some_and(|broken| !is_good(&broken, TODAY)));
    }
}
