//! Security settings of pods and containers: what the `restricted` profile asks for, where a manifest says nothing else.
//! Invariant: a field that a user has set is never changed.

use k8s_openapi::api::core::v1::{Capabilities, PodSecurityContext, SeccompProfile, SecurityContext};

/// The user and group that containers run as when nobody says; it has no name and owns nothing.
const NOBODY: i64 = 9737;

/// Of a pod whose manifest says nothing.
pub(super) fn pod() -> PodSecurityContext {
    PodSecurityContext {
        run_as_non_root: Some(true),
        run_as_user: Some(NOBODY),
        run_as_group: Some(NOBODY),
        fs_group: Some(NOBODY),
        seccomp_profile: Some(SeccompProfile {
            type_: "RuntimeDefault".to_owned(),
            ..SeccompProfile::default()
        }),
        ..PodSecurityContext::default()
    }
}

/// Of one of our own containers, with what a template says in its place.
pub(in crate::kube) fn own(template: Option<&SecurityContext>) -> SecurityContext {
    template
        .cloned()
        .unwrap_or_else(|| SecurityContext { read_only_root_filesystem: Some(true), ..closed(None) })
}

/// Of a container with somebody else's program.
pub(super) fn closed(said: Option<&SecurityContext>) -> SecurityContext {
    let mut context = said.cloned().unwrap_or_default();
    let is_privileged = context.privileged == Some(true);
    if !is_privileged {
        context.allow_privilege_escalation = context.allow_privilege_escalation.or(Some(false));
    }
    context.capabilities = context
        .capabilities
        .or_else(|| Some(Capabilities { drop: Some(vec!["ALL".to_owned()]), ..Capabilities::default() }));
    context
}
