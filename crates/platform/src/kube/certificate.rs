//! Certificates that we make ourselves, for servers inside of a cluster. Invariant: an authority signs one certificate and
//! its key is then forgotten, so that nothing else can ever be signed in its name.

use k8s_openapi::jiff::civil::Date;
use rcgen::{
    BasicConstraints, CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer,
    KeyPair, KeyUsagePurpose,
};

/// A certificate, its key and who signed it, each in PEM.
#[derive(Clone, PartialEq, Eq)]
pub struct Issued {
    /// Who signed it.
    pub authority: String,
    /// The certificate.
    pub certificate: String,
    /// Its private key.
    pub key: String,
    /// The first day on which it is no longer good.
    pub ends: Date,
}

/// A certificate for a server of these names, good from the day before `today` for so many days.
pub fn issue(names: &[String], today: Date, days: i32) -> Result<Issued, rcgen::Error> {
    let day = k8s_openapi::jiff::Span::new().days(1);
    let life = k8s_openapi::jiff::Span::new().days(days);
    // Clocks of a cluster differ a little.
    let (starts, ends) = (today.saturating_sub(day), today.saturating_add(life));
    let mut authority = params(&[], "authority", starts, ends)?;
    authority.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    authority.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    let authority_key = KeyPair::generate()?;
    let authority_certificate = authority.self_signed(&authority_key)?;
    let issuer = Issuer::new(authority, authority_key);
    let first = names.first().map_or("server", String::as_str);
    let mut server = params(names, first, starts, ends)?;
    server.key_usages = vec![KeyUsagePurpose::DigitalSignature, KeyUsagePurpose::KeyEncipherment];
    server.extended_key_usages =
        vec![ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::ClientAuth];
    let key = KeyPair::generate()?;
    let certificate = server.signed_by(&key, &issuer)?;
    Ok(Issued {
        authority: authority_certificate.pem(),
        certificate: certificate.pem(),
        key: key.serialize_pem(),
        ends,
    })
}

fn params(
    names: &[String],
    common: &str,
    starts: Date,
    ends: Date,
) -> Result<CertificateParams, rcgen::Error> {
    let mut params = CertificateParams::new(names.to_vec())?;
    let mut name = DistinguishedName::new();
    name.push(DnType::OrganizationName, "io.numaproj");
    // A common name has at most 64 characters, and a name of a service may have more; the alternative names count.
    name.push(DnType::CommonName, common.chars().take(64).collect::<String>());
    params.distinguished_name = name;
    let [not_before, not_after] = [starts, ends].map(|date| {
        rcgen::date_time_ymd(i32::from(date.year()), date.month().unsigned_abs(), date.day().unsigned_abs())
    });
    (params.not_before, params.not_after) = (not_before, not_after);
    Ok(params)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_certificate_is_good_for_its_time_and_its_own() {
        let today = Date::constant(2026, 11, 21);
        let names = ["a.b.svc".to_owned(), "*.b.svc".to_owned()];
        let (first, second) = (issue(&names, today, 365).unwrap(), issue(&names, today, 365).unwrap());
        assert_eq!(first.ends, Date::constant(2027, 11, 21));
        for text in [&first.authority, &first.certificate] {
            assert!(text.starts_with("-----BEGIN CERTIFICATE-----"), "{text}");
        }
        assert!(first.key.starts_with("-----BEGIN PRIVATE KEY-----"));
        assert_ne!(first.authority, second.authority);
        assert_ne!(first.key, second.key);
    }
}
