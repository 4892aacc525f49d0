//! Services: the names under which pods are found. Invariant: what selects pods is the same set of labels that the pods
//! were given.

use std::collections::BTreeMap;

use api::resolve::HttpListener;
use api::spec::Source;
use k8s_openapi::api::core::v1::{Service, ServicePort, ServiceSpec};
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;

use super::{Owner, metadata};
use crate::kube::names::{DAEMON_PORT, Key, METRICS_PORT, RUNTIME_PORT};

/// The service that gives every pod of a vertex a name.
pub fn headless(key: &Key, vertex: &str, owner: &Owner) -> Service {
    let labels = super::pod::selector(key, vertex);
    let spec = ServiceSpec {
        cluster_ip: Some("None".to_owned()),
        publish_not_ready_addresses: Some(true),
        ports: Some(vec![port("metrics", METRICS_PORT), port("runtime", RUNTIME_PORT)]),
        selector: Some(labels.clone()),
        ..ServiceSpec::default()
    };
    service(key, (key.headless(vertex), owner), labels, spec)
}

/// The service before the HTTP source of a vertex; none when it has none or does not ask for one.
pub fn http(key: &Key, vertex: &str, source: Option<&Source>, owner: &Owner) -> Option<Service> {
    let http = source?.http.as_ref().filter(|http| http.service == Some(true))?;
    let listener = HttpListener::from_spec(http.ports.as_ref());
    let labels = super::pod::selector(key, vertex);
    let mut ports = vec![port("https", i32::from(listener.https_port))];
    ports.extend(listener.http_port.map(|number| port("http", i32::from(number))));
    let spec = ServiceSpec { ports: Some(ports), selector: Some(labels.clone()), ..ServiceSpec::default() };
    Some(service(key, (key.http_service(vertex), owner), labels, spec))
}

/// The service before the daemon.
pub fn daemon(key: &Key, owner: &Owner) -> Service {
    let labels = super::daemon::labels(key);
    let spec = ServiceSpec {
        ports: Some(vec![port("tcp", DAEMON_PORT)]),
        selector: Some(labels.clone()),
        ..ServiceSpec::default()
    };
    service(key, (key.daemon_service(), owner), labels, spec)
}

fn service(
    key: &Key,
    (name, owner): (String, &Owner),
    labels: BTreeMap<String, String>,
    spec: ServiceSpec,
) -> Service {
    Service { metadata: metadata(key, name, owner, labels), spec: Some(spec), status: None }
}

/// A port of TCP.
pub(in crate::kube) fn port(name: &str, number: i32) -> ServicePort {
    ServicePort {
        name: Some(name.to_owned()),
        port: number,
        target_port: Some(IntOrString::Int(number)),
        protocol: Some("TCP".to_owned()),
        ..ServicePort::default()
    }
}
