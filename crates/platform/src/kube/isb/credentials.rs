//! What only the servers of a buffer service and its clients know: logins, a key for what lies on disk, certificates.
//! Invariant: what a service was given once is never changed, because what is on its disks and in the memory of its clients
//! was made with it.

use std::collections::BTreeMap;

use api::names;
use k8s_openapi::jiff::civil::Date;

use crate::kube::certificate::{self, Issued};

/// How long certificates are good; nobody renews them while a service lives.
const DAYS: i32 = 3650;
/// Letters and digits.
const ALPHABET: &[u8; 62] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789";

/// Key of the login of clients: the user.
pub(super) const CLIENT_USER: &str = "client-auth-user";
/// Key of the login of clients: the password.
pub(super) const CLIENT_PASSWORD: &str = "client-auth-password";
/// Key of the key for what lies on disk.
pub(super) const ENCRYPTION: &str = "encryption";
/// Keys of the server's secret, and the files under which the server sees them.
pub(super) const FILES: [(&str, &str); 7] = [
    ("auth", super::conf::AUTH_FILE),
    ("private-key", "server-key.pem"),
    ("cert", "server-cert.pem"),
    ("ca-cert", "ca-cert.pem"),
    ("cluster-private-key", "cluster-server-key.pem"),
    ("cluster-cert", "cluster-server-cert.pem"),
    ("cluster-ca-cert", "cluster-ca-cert.pem"),
];

/// Why there are no credentials.
#[derive(Debug, thiserror::Error)]
pub(super) enum Error {
    /// The system gave no random bytes.
    #[error("get random bytes of the system")]
    Random(#[source] getrandom::Error),
    /// No certificate could be made.
    #[error("make a certificate")]
    Certificate(#[source] rcgen::Error),
}

/// Values of the two secrets, by key.
pub(super) struct Credentials {
    /// What the servers know.
    pub(super) server: BTreeMap<String, String>,
    /// What clients know.
    pub(super) client: BTreeMap<String, String>,
}

/// Credentials of a service that has none.
pub(super) fn make(namespace: &str, service: &str, today: Date) -> Result<Credentials, Error> {
    let (user, password) = (text(8)?, text(24)?);
    let system = text(24)?;
    let auth = format!(
        "accounts {{\n  js {{\n    jetstream: enabled\n    users: [{{user: \"{user}\", password: \"{password}\"}}]\n  }}\n  \
         sys {{\n    users: [{{user: \"sys\", password: \"{system}\"}}]\n  }}\n}}\nsystem_account: sys\n"
    );
    let domain = format!("{}.{namespace}.svc", names::isb_service(service));
    let mut hosts = vec!["localhost".to_owned()];
    for domain in [domain.clone(), format!("{domain}.cluster.local")] {
        hosts.push(format!("*.{domain}"));
        hosts.push(domain);
    }
    let issue = || certificate::issue(&hosts, today, DAYS).map_err(Error::Certificate);
    let (clients, cluster) = (issue()?, issue()?);
    let mut server = BTreeMap::from([
        ("auth".to_owned(), auth), // A word that begins with a digit could be read as a number where the server takes it from its environment.
        (ENCRYPTION.to_owned(), format!("k{}", text(31)?)),
    ]);
    for (prefix, Issued { authority, certificate, key, ends: _ }) in [("", clients), ("cluster-", cluster)] {
        server.insert(format!("{prefix}private-key"), key);
        server.insert(format!("{prefix}cert"), certificate);
        server.insert(format!("{prefix}ca-cert"), authority);
    }
    let client = BTreeMap::from([(CLIENT_USER.to_owned(), user), (CLIENT_PASSWORD.to_owned(), password)]);
    Ok(Credentials { server, client })
}

/// A word of so many letters and digits, each as likely as the others.
fn text(chars: usize) -> Result<String, Error> {
    let mut text = String::with_capacity(chars);
    while text.len() < chars {
        let mut bytes = [0_u8; 64];
        getrandom::fill(&mut bytes).map_err(Error::Random)?;
        // A byte from 248 on would make the first letters a little more likely.
        let fair = bytes.iter().filter(|byte| usize::from(**byte) < ALPHABET.len() * 4);
        let letters = fair.map(|byte| char::from(ALPHABET[usize::from(*byte) % ALPHABET.len()]));
        text.extend(letters.take(chars - text.len()));
    }
    Ok(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn servers_and_clients_know_the_same_login() {
        let made = make("flows", "default", Date::constant(2026, 11, 21)).unwrap();
        let (user, password) = (&made.client[CLIENT_USER], &made.client[CLIENT_PASSWORD]);
        assert_eq!((user.len(), password.len()), (8, 24));
        let login = format!("user: \"{user}\", password: \"{password}\"");
        assert!(made.server["auth"].contains(&login), "{}", made.server["auth"]);
        for (key, _) in FILES {
            assert!(made.server.contains_key(key), "{key}");
        }
        assert_eq!(made.server[ENCRYPTION].len(), 32);
        let other = make("flows", "default", Date::constant(2026, 11, 21)).unwrap();
        assert_ne!(made.client, other.client);
    }

    #[test]
    fn a_word_is_made_of_letters_and_digits() {
        let word = text(1000).unwrap();
        assert_eq!(word.len(), 1000);
        assert!(word.bytes().all(|byte| ALPHABET.contains(&byte)), "{word}");
        // A word of a thousand has nearly every letter.
        assert!(ALPHABET.iter().filter(|letter| word.as_bytes().contains(letter)).count() > 55, "{word}");
    }
}
