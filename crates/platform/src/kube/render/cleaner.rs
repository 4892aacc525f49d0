//! The job that removes what a pipeline kept in its buffer service. Invariant: it is only made when nobody reads or writes
//! there any more and everything was drained, or its loss was asked for.

use k8s_openapi::api::batch::v1::{Job, JobSpec};
use k8s_openapi::api::core::v1::{PodSpec, PodTemplateSpec};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;

use api::spec::JobTemplate;

use super::{Owner, Scene, bare_pipeline, container, env, metadata, pod};
use crate::kube::names::{self, Key};
use crate::local::engine::Object;

/// How often it is tried, and how long it may take in all.
const TRIES: i32 = 20;
const SECONDS_MAX: i64 = 600;
/// How long it is kept after its end.
const KEPT_SECONDS: i32 = 30;

/// The job; none for a mono vertex, which keeps nothing.
pub fn job(scene: &Scene<'_>, owner: &Owner) -> Option<Job> {
    let Object::Pipeline(pipeline) = scene.object else { return None };
    let key = scene.key;
    let said =
        pipeline.spec.templates.as_ref().and_then(|templates| templates.job.clone()).unwrap_or_default();
    let JobTemplate { pod: about_pod, container_template, ttl_seconds_after_finished, backoff_limit } = said;
    let mut variables = vec![
        env::object("NUMAFLOW_PIPELINE_OBJECT", &bare_pipeline(pipeline)),
        env::value("NUMAFLOW_PIPELINE_NAME", &key.name),
    ];
    variables.extend(env::place());
    variables.extend(scene.broker.into_iter().flat_map(env::broker));
    let mut numa = container::own(scene.settings, ("isbsvc", variables), container_template.as_ref());
    // What is left was drained, or is to be dropped.
    numa.args = Some(["isbsvc", "delete", "--force"].map(str::to_owned).into());
    let mut spec = PodSpec {
        containers: vec![numa],
        restart_policy: Some("OnFailure".to_owned()),
        automount_service_account_token: Some(about_pod.automount_service_account_token.unwrap_or(false)),
        enable_service_links: Some(false),
        ..PodSpec::default()
    };
    pod::fill(&mut spec, &about_pod);
    let mut labels = super::labels(key, "pipeline-controller", "job");
    labels.insert(names::NAME_LABEL.to_owned(), key.cleaner());
    let pod_metadata = ObjectMeta { labels: Some(labels.clone()), ..ObjectMeta::default() };
    Some(Job {
        metadata: metadata(key, key.cleaner(), owner, labels),
        spec: Some(JobSpec {
            backoff_limit: Some(backoff_limit.unwrap_or(TRIES)),
            active_deadline_seconds: Some(SECONDS_MAX),
            ttl_seconds_after_finished: Some(ttl_seconds_after_finished.unwrap_or(KEPT_SECONDS)),
            template: PodTemplateSpec {
                metadata: Some(pod::with_said(pod_metadata, about_pod.metadata.as_ref())),
                spec: Some(spec),
            },
            ..JobSpec::default()
        }),
        status: None,
    })
}

/// Whether a pod is of such a job.
pub fn is_of_job(key: &Key, labels: Option<&std::collections::BTreeMap<String, String>>) -> bool {
    labels.and_then(|labels| labels.get(names::NAME_LABEL)).is_some_and(|name| *name == key.cleaner())
}
