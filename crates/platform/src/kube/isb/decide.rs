//! What to do about the servers of a buffer service, and how it is. Pure. Invariant: of a cluster that has worked at most
//! one server is missing by our doing, and a server that would take the only copy of something with it is left alone.

use api::spec::PersistenceStrategy;
use serde::{Deserialize, Serialize};

use super::servers::Servers;

/// What a service cannot change without losing what it keeps.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Shape {
    /// How many servers.
    pub replicas: u32,
    /// Their volumes.
    pub persistence: Option<PersistenceStrategy>,
    /// Whether clients and servers speak TLS.
    pub tls: bool,
    /// Whether what lies on disk is encrypted.
    pub encryption: bool,
}

impl Shape {
    /// Of servers.
    pub fn of(servers: &Servers) -> Self {
        Self {
            replicas: servers.replicas,
            persistence: servers.spec.persistence.clone(),
            tls: servers.has_tls(),
            encryption: servers.is_encrypted(),
        }
    }
}

/// Takes back what of the servers cannot become so from what there is, and says what that was. An API server that knows
/// the full definition has refused such an edit before; with the minimal one it gets here.
pub fn keep(servers: &mut Servers, there: &Shape) -> Vec<String> {
    let mut refused = Vec::new();
    let mut refuse = |what: String| refused.push(format!("{what}; make another service beside it"));
    let (wanted, before) = (servers.replicas, there.replicas);
    let is_cluster = |count: u32| count >= 3;
    if wanted < before || is_cluster(wanted) != is_cluster(before) {
        refuse(format!("{before} servers cannot become {wanted}, because what they keep would be lost"));
        servers.replicas = before;
    }
    if servers.spec.persistence != there.persistence {
        refuse("the volumes of a service cannot change".to_owned());
        servers.spec.persistence.clone_from(&there.persistence);
    }
    if servers.has_tls() != there.tls {
        refuse("tls cannot be switched while servers talk to each other".to_owned());
        servers.spec.tls = Some(there.tls);
    }
    if servers.is_encrypted() != there.encryption {
        refuse("the encryption of what lies on disk cannot be switched".to_owned());
        servers.spec.encryption = Some(there.encryption);
    }
    refused
}

/// A server that is there.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Member {
    /// The name of its pod.
    pub pod: String,
    /// The one life of that name.
    pub uid: String,
    /// Its number.
    pub ordinal: u32,
    /// Which revision of the set it was made of.
    pub revision: String,
    /// It answers and has caught up with the others.
    pub is_ready: bool,
    /// It was told to go.
    pub is_ending: bool,
    /// Why it does not work.
    pub trouble: Option<String>,
}

/// What is seen of a service.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Look {
    /// The revision that the set would make servers of; none while it has not said.
    pub revision: Option<String>,
    /// Its servers.
    pub members: Vec<Member>,
    /// All of them were ready at once before.
    pub has_worked: bool,
    /// They were being replaced when they were looked at last.
    pub was_updating: bool,
    /// Why the set does not make one that is missing.
    pub refused: Option<String>,
    /// Pipelines that use it; only looked for where it matters.
    pub users: Vec<String>,
}

/// What to do about servers of an older revision.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Replacement {
    /// Nothing: there are none, or one is on its way.
    Nothing,
    /// This one goes, and the set makes it again.
    Replace(Member),
    /// They stay until something else is so.
    Waits(String),
}

/// Which server is replaced next.
pub fn replacement(servers: &Servers, look: &Look) -> Replacement {
    let Some(revision) = &look.revision else { return Replacement::Nothing };
    let mut old: Vec<&Member> = look.members.iter().filter(|member| member.revision != *revision).collect();
    old.sort_by_key(|member| std::cmp::Reverse(member.ordinal));
    let Some(last) = old.first() else { return Replacement::Nothing };
    if look.members.iter().any(|member| member.is_ending) {
        return Replacement::Nothing;
    }
    if servers.forgets() && look.has_worked && !look.users.is_empty() {
        let users = look.users.join(", ");
        return Replacement::Waits(format!(
            "an update waits: the servers keep the only copy of what is unread on disks that go with their pods; pause \
             and delete what uses the service ({users}), or make another service with `persistence`"
        ));
    }
    // A server that does not work anyway is missed by nobody.
    if let Some(broken) = old.iter().find(|member| !member.is_ready) {
        let others_ready = look.members.iter().filter(|member| member.is_ready).count();
        let others = servers.replicas.saturating_sub(1) as usize;
        if others_ready == others || broken.trouble.is_some() || !look.has_worked {
            return Replacement::Replace((*broken).clone());
        }
    }
    let ready = look.members.iter().filter(|member| member.is_ready).count();
    if ready == servers.replicas as usize {
        return Replacement::Replace((*last).clone());
    }
    Replacement::Waits(format!(
        "an update waits until all {} servers are ready; {ready} are",
        servers.replicas
    ))
}

/// How a service is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Health {
    /// It can be used.
    pub is_good: bool,
    /// A word.
    pub reason: &'static str,
    /// A sentence; empty when there is nothing to say.
    pub message: String,
}

/// How the servers are. A service that has worked once is good as long as a majority is ready: that many can agree.
pub fn health(servers: &Servers, look: &Look, replacement: &Replacement) -> Health {
    let wanted = servers.replicas;
    let ready = look.members.iter().filter(|member| member.is_ready && !member.is_ending).count() as u32;
    let said = |is_good, reason, message: String| Health { is_good, reason, message };
    if look.revision.is_none() && !look.has_worked {
        return said(false, "Progressing", "the servers are being made".to_owned());
    }
    let count = format!("{ready} of {wanted} servers are ready");
    let with_trouble = |count: String| {
        let troubles: Vec<String> = look
            .members
            .iter()
            .filter_map(|member| Some(format!("{}: {}", member.pod, member.trouble.as_ref()?)))
            .chain(look.refused.clone())
            .collect();
        if troubles.is_empty() { count } else { format!("{count}; {}", troubles.join("; ")) }
    };
    if ready < wanted && !look.has_worked {
        return said(false, "Progressing", with_trouble(count));
    }
    if ready < wanted / 2 + 1 {
        return said(false, "Unavailable", with_trouble(format!("{count}, too few to agree")));
    }
    let is_old =
        |member: &&Member| look.revision.as_ref().is_some_and(|revision| member.revision != *revision);
    let old = look.members.iter().filter(is_old).count();
    let has_trouble = look.refused.is_some() || look.members.iter().any(|member| member.trouble.is_some());
    let is_updating = match replacement {
        Replacement::Waits(why) if ready == wanted => return said(true, "UpdateWaits", why.clone()),
        Replacement::Replace(_) => true,
        // The one that was taken comes back, or is on its way out.
        Replacement::Nothing | Replacement::Waits(_) => ready < wanted && look.was_updating && !has_trouble,
    };
    if is_updating {
        return said(true, "Updating", format!("{count}; {old} are still of the revision before"));
    }
    if ready < wanted {
        return said(true, "Degraded", with_trouble(count));
    }
    said(true, "Healthy", String::new())
}

#[cfg(test)]
mod tests;
