//! The configuration file of a NATS server. Pure. Invariant: nothing secret is in it; logins and keys come from files and
//! variables that are mounted beside it.

use std::fmt::Write as _;

use api::names;

use super::servers::Servers;

/// Where clients, other servers and probes connect.
pub(super) const CLIENT_PORT: i32 = 4222;
/// Where the servers of a cluster connect to each other.
pub(super) const CLUSTER_PORT: i32 = 6222;
/// Where a server says how it is.
pub(super) const MONITOR_PORT: i32 = 8222;

/// The directory in which configuration and secrets are mounted.
pub(super) const CONFIG_DIR: &str = "/etc/nats-config";
/// The name of the file there.
pub(super) const CONFIG_FILE: &str = "nats-js.conf";
/// The file with logins, there too.
pub(super) const AUTH_FILE: &str = "auth.conf";
/// The directory of what is kept.
pub(super) const DATA_DIR: &str = "/data/jetstream";
/// The directory of the file that says which process the server is.
pub(super) const PID_DIR: &str = "/var/run/nats";
/// That file.
pub(super) const PID_FILE: &str = "/var/run/nats/nats.pid";

/// How long a server that was told to go waits, after it has given up its leaderships, before it sends clients away.
const LAME_DUCK_GRACE: &str = "2s";
/// Within which it sends them all away; the shortest that the server takes.
const LAME_DUCK: &str = "30s";
/// How often a server tries to reach another one at the start, once a second.
const CONNECT_RETRIES: u32 = 120;

/// The file.
pub(super) fn conf(servers: &Servers) -> String {
    let mut text = String::new();
    let mut line = |words: String| {
        text.push_str(&words);
        text.push('\n');
    };
    line(format!("port: {CLIENT_PORT}"));
    line(format!("http: {MONITOR_PORT}"));
    line(format!("pid_file: \"{PID_FILE}\""));
    line("server_name: $SERVER_NAME".to_owned());
    // Clients hear of the other servers by names, which stay when a pod and its address go.
    line("client_advertise: $CLIENT_ADVERTISE".to_owned());
    line(format!("lame_duck_grace_period: \"{LAME_DUCK_GRACE}\""));
    line(format!("lame_duck_duration: \"{LAME_DUCK}\""));
    let setting = |name: &str| servers.settings.iter().find(|(known, _)| *known == name);
    if let Some((name, value)) = setting("max_payload") {
        line(format!("{name}: {value}"));
    }
    line("jetstream {".to_owned());
    line(format!("  store_dir: \"{DATA_DIR}/store\""));
    for name in ["max_memory_store", "max_file_store"] {
        if let Some((name, value)) = setting(name) {
            line(format!("  {name}: {value}"));
        }
    }
    if servers.is_encrypted() {
        line("  key: $JS_KEY".to_owned());
    }
    line("}".to_owned());
    if servers.is_cluster() {
        line(cluster(servers));
    }
    if servers.has_tls() {
        line(tls("", "server", ""));
    }
    line(format!("include \"{AUTH_FILE}\""));
    text
}

fn cluster(servers: &Servers) -> String {
    let set = names::isb_stateful_set(&servers.name);
    let domain = format!("{}.{}.svc", names::isb_service(&servers.name), servers.namespace);
    let mut text = format!("cluster {{\n  name: \"{}\"\n  port: {CLUSTER_PORT}\n", servers.name);
    text.push_str("  cluster_advertise: $CLUSTER_ADVERTISE\n");
    text.push_str("  routes: [\n");
    for ordinal in 0..servers.replicas {
        writeln!(text, "    \"nats://{set}-{ordinal}.{domain}:{CLUSTER_PORT}\"")
            .expect("text takes all that is written");
    }
    writeln!(text, "  ]\n  connect_retries: {CONNECT_RETRIES}").expect("text takes all that is written");
    if servers.has_tls() {
        text.push_str(&tls("  ", "cluster-server", "cluster-"));
        text.push('\n');
    }
    text.push('}');
    text
}

fn tls(indent: &str, server: &str, authority: &str) -> String {
    let mut text = format!("{indent}tls {{\n");
    for (name, file) in [
        ("cert_file", format!("{server}-cert.pem")),
        ("key_file", format!("{server}-key.pem")),
        ("ca_file", format!("{authority}ca-cert.pem")),
    ] {
        writeln!(text, "{indent}  {name}: \"{CONFIG_DIR}/{file}\"").expect("text takes all that is written");
    }
    text.push_str(indent);
    text.push('}');
    text
}
