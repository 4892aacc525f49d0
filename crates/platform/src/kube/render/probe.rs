//! Probes. What is probed is ours to say, and a user's numbers are theirs. Invariant: a container that answers is ready
//! within a second of its first answer.

use api::spec::Probe as Numbers;
use k8s_openapi::api::core::v1::{HTTPGetAction, Probe};
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;

/// A probe over HTTPS of a path, in seconds: the first wait, the period, the time for an answer, the failures.
pub(super) fn https(path: &str, port: i32, numbers: (i32, i32, i32, i32)) -> Probe {
    get("HTTPS", path, port, numbers)
}

/// The same over plain HTTP.
pub(in crate::kube) fn http(path: &str, port: i32, numbers: (i32, i32, i32, i32)) -> Probe {
    get("HTTP", path, port, numbers)
}

fn get(
    scheme: &str,
    path: &str,
    port: i32,
    (initial, period, timeout, failures): (i32, i32, i32, i32),
) -> Probe {
    Probe {
        http_get: Some(HTTPGetAction {
            path: Some(path.to_owned()),
            port: IntOrString::Int(port),
            scheme: Some(scheme.to_owned()),
            ..HTTPGetAction::default()
        }),
        initial_delay_seconds: Some(initial),
        period_seconds: Some(period),
        timeout_seconds: Some(timeout),
        failure_threshold: Some(failures),
        ..Probe::default()
    }
}

/// The probe with what a user says about its numbers.
pub(in crate::kube) fn with_numbers(mut probe: Probe, numbers: Option<&Numbers>) -> Probe {
    let Some(numbers) = numbers else { return probe };
    let Numbers {
        initial_delay_seconds,
        timeout_seconds,
        period_seconds,
        success_threshold,
        failure_threshold,
    } = numbers;
    for (ours, theirs) in [
        (&mut probe.initial_delay_seconds, initial_delay_seconds),
        (&mut probe.timeout_seconds, timeout_seconds),
        (&mut probe.period_seconds, period_seconds),
        (&mut probe.success_threshold, success_threshold),
        (&mut probe.failure_threshold, failure_threshold),
    ] {
        *ours = theirs.or(*ours);
    }
    probe
}
