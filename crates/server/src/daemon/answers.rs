//! What a daemon answers, as the messages that gRPC sends. Invariant: no answer takes longer than [`ANSWER`], and a
//! question about something that does not exist is answered with `NotFound`, never with nothing.

use std::collections::BTreeMap;
use std::future::Future;
use std::time::Duration;

use keeper::load::{Load, Pending};
use platform::place::{Refusal, RefusalKind};
use prost_types::Timestamp;
use proto::{daemon as wire, mono_vertex_daemon as mono_wire};
use tonic::{Code, Status};

use super::{Buffer, Daemon, EdgeWatermarks, Subject};
use crate::runtime_errors::Entry;

/// How long a daemon may take.
const ANSWER: Duration = Duration::from_secs(10);
/// A pending that nobody has seen.
const PENDING_UNSEEN: i64 = i64::MIN;
/// A pending of a source that cannot tell.
const PENDING_UNTOLD: i64 = -1;
/// A rate that is not known.
const RATE_UNSEEN: f64 = i64::MIN as f64;
/// A watermark that is not known.
const WATERMARK_UNKNOWN: i64 = -1;
/// A watermark where there are none.
const WATERMARK_DISABLED: i64 = 0;

pub(super) async fn list_buffers(daemon: &dyn Daemon) -> Result<wire::ListBuffersResponse, Status> {
    let pipeline = pipeline(daemon)?;
    let buffers = asked(daemon.buffers()).await?;
    Ok(wire::ListBuffersResponse {
        buffers: buffers.into_iter().map(|buffer| buffer_info(&pipeline, buffer)).collect(),
    })
}

pub(super) async fn get_buffer(
    daemon: &dyn Daemon,
    request: &wire::GetBufferRequest,
) -> Result<wire::GetBufferResponse, Status> {
    let pipeline = pipeline(daemon)?;
    let mut buffers = asked(daemon.buffers()).await?;
    let place = buffers.iter().position(|buffer| buffer.name == request.buffer).ok_or_else(|| {
        let names: Vec<&str> = buffers.iter().map(|buffer| buffer.name.as_str()).collect();
        let message =
            format!("pipeline {pipeline} has no buffer {:?}; there are {}", request.buffer, names.join(", "));
        Status::not_found(message)
    })?;
    Ok(wire::GetBufferResponse { buffer: Some(buffer_info(&pipeline, buffers.swap_remove(place))) })
}

pub(super) async fn get_vertex_metrics(
    daemon: &dyn Daemon,
    request: &wire::GetVertexMetricsRequest,
) -> Result<wire::GetVertexMetricsResponse, Status> {
    let pipeline = pipeline(daemon)?;
    let loads = asked(daemon.loads(&request.vertex)).await?;
    let metrics = |load: Load| {
        let (processing_rates, pendings) = figures(&load);
        let (pipeline, vertex) = (pipeline.clone(), request.vertex.clone());
        wire::VertexMetrics { pipeline, vertex, processing_rates, pendings }
    };
    Ok(wire::GetVertexMetricsResponse { vertex_metrics: loads.into_iter().map(metrics).collect() })
}

pub(super) async fn get_pipeline_watermarks(
    daemon: &dyn Daemon,
) -> Result<wire::GetPipelineWatermarksResponse, Status> {
    let pipeline = pipeline(daemon)?;
    let edges = asked(daemon.watermarks()).await?;
    let watermark = |edge: EdgeWatermarks| {
        let EdgeWatermarks { from, to, watermarks, is_enabled } = edge;
        let shown = |known: Option<i64>| match known {
            _ if !is_enabled => WATERMARK_DISABLED,
            Some(millis) => millis,
            None => WATERMARK_UNKNOWN,
        };
        wire::EdgeWatermark {
            pipeline: pipeline.clone(),
            edge: format!("{from}-{to}"),
            watermarks: watermarks.into_iter().map(shown).collect(),
            is_watermark_enabled: Some(is_enabled),
            from,
            to,
        }
    };
    Ok(wire::GetPipelineWatermarksResponse {
        pipeline_watermarks: edges.into_iter().map(watermark).collect(),
    })
}

pub(super) async fn get_pipeline_status(
    daemon: &dyn Daemon,
) -> Result<wire::GetPipelineStatusResponse, Status> {
    pipeline(daemon)?;
    let health = asked(daemon.health()).await?;
    Ok(wire::GetPipelineStatusResponse {
        status: Some(wire::PipelineStatus {
            status: health.level.word().to_owned(),
            message: health.message,
            code: health.level.code().to_owned(),
        }),
    })
}

pub(super) async fn get_vertex_errors(
    daemon: &dyn Daemon,
    request: &wire::GetVertexErrorsRequest,
) -> Result<wire::GetVertexErrorsResponse, Status> {
    pipeline(daemon)?;
    let replicas = asked(daemon.errors(&request.vertex)).await?;
    let error = |entry: Entry| {
        let timestamp = Some(Timestamp { seconds: entry.timestamp, nanos: 0 });
        let Entry { container, timestamp: _, code, message, details } = entry;
        wire::ContainerError { container, timestamp, code, message, details }
    };
    let errors = replicas.into_iter().map(|replica| wire::ReplicaErrors {
        replica: replica.replica,
        container_errors: replica.errors.into_iter().map(error).collect(),
    });
    Ok(wire::GetVertexErrorsResponse { errors: errors.collect() })
}

pub(super) async fn get_mono_vertex_metrics(
    daemon: &dyn Daemon,
) -> Result<mono_wire::GetMonoVertexMetricsResponse, Status> {
    let mono_vertex = mono_vertex(daemon)?;
    let loads = asked(daemon.loads(&mono_vertex)).await?;
    let load = loads.first().ok_or_else(|| Status::unavailable("nothing is known of the load yet"))?;
    let (processing_rates, pendings) = figures(load);
    let metrics = mono_wire::MonoVertexMetrics { mono_vertex, processing_rates, pendings };
    Ok(mono_wire::GetMonoVertexMetricsResponse { metrics: Some(metrics) })
}

pub(super) async fn get_mono_vertex_status(
    daemon: &dyn Daemon,
) -> Result<mono_wire::GetMonoVertexStatusResponse, Status> {
    mono_vertex(daemon)?;
    let health = asked(daemon.health()).await?;
    Ok(mono_wire::GetMonoVertexStatusResponse {
        status: Some(mono_wire::MonoVertexStatus {
            status: health.level.word().to_owned(),
            message: health.message,
            code: health.level.code().to_owned(),
        }),
    })
}

pub(super) async fn get_mono_vertex_errors(
    daemon: &dyn Daemon,
) -> Result<mono_wire::GetMonoVertexErrorsResponse, Status> {
    let mono_vertex = mono_vertex(daemon)?;
    let replicas = asked(daemon.errors(&mono_vertex)).await?;
    let error = |entry: Entry| {
        let timestamp = Some(Timestamp { seconds: entry.timestamp, nanos: 0 });
        let Entry { container, timestamp: _, code, message, details } = entry;
        mono_wire::ContainerError { container, timestamp, code, message, details }
    };
    let errors = replicas.into_iter().map(|replica| mono_wire::ReplicaErrors {
        replica: replica.replica,
        container_errors: replica.errors.into_iter().map(error).collect(),
    });
    Ok(mono_wire::GetMonoVertexErrorsResponse { errors: errors.collect() })
}

/// The name of the pipeline. The one in a request is not compared with it: callers address a daemon by its host.
fn pipeline(daemon: &dyn Daemon) -> Result<String, Status> {
    match daemon.subject() {
        Subject::Pipeline { name, vertices: _ } => Ok(name),
        Subject::MonoVertex { name } => {
            Err(Status::unimplemented(format!("this is the daemon of mono vertex {name}, not of a pipeline")))
        }
    }
}

fn mono_vertex(daemon: &dyn Daemon) -> Result<String, Status> {
    match daemon.subject() {
        Subject::MonoVertex { name } => Ok(name),
        Subject::Pipeline { name, vertices: _ } => {
            Err(Status::unimplemented(format!("this is the daemon of pipeline {name}, not of a mono vertex")))
        }
    }
}

/// Waits for a daemon, but not for ever.
pub(super) async fn asked<T>(answer: impl Future<Output = Result<T, Refusal>>) -> Result<T, Status> {
    within(ANSWER, answer).await
}

async fn within<T>(limit: Duration, answer: impl Future<Output = Result<T, Refusal>>) -> Result<T, Status> {
    match tokio::time::timeout(limit, answer).await {
        Ok(Ok(answer)) => Ok(answer),
        Ok(Err(refusal)) => Err(Status::new(code(refusal.kind), refusal.message)),
        Err(_) => {
            let message = format!("the daemon did not answer within {limit:?}");
            Err(Status::deadline_exceeded(message))
        }
    }
}

fn code(kind: RefusalKind) -> Code {
    match kind {
        RefusalKind::NotFound => Code::NotFound,
        RefusalKind::Invalid => Code::InvalidArgument,
        RefusalKind::Conflict => Code::FailedPrecondition,
        RefusalKind::Failed => Code::Unavailable,
    }
}

fn buffer_info(pipeline: &str, buffer: Buffer) -> wire::BufferInfo {
    let (usage, is_full) = (buffer.usage(), buffer.is_full());
    let Buffer { name, pending, in_hand, stored, length, usage_limit } = buffer;
    wire::BufferInfo {
        pipeline: pipeline.to_owned(),
        buffer_name: name,
        pending_count: pending.map(signed),
        ack_pending_count: in_hand.map(signed),
        total_messages: stored.map(signed),
        buffer_length: length.map(signed),
        buffer_usage_limit: usage_limit,
        buffer_usage: usage,
        is_full,
    }
}

/// Rates and pending by window. Clients look for every window, so what is not known has a value that says so.
fn figures(load: &Load) -> (BTreeMap<String, f64>, BTreeMap<String, i64>) {
    let rate = |known: Option<f64>| known.unwrap_or(RATE_UNSEEN);
    let pending = |known: Pending| match known {
        Pending::Known(count) => signed(count),
        Pending::Untold => PENDING_UNTOLD,
        Pending::Unseen => PENDING_UNSEEN,
    };
    let windows = || load.windows.iter();
    (
        windows().map(|(name, figures)| ((*name).to_owned(), rate(figures.rate))).collect(),
        windows().map(|(name, figures)| ((*name).to_owned(), pending(figures.pending))).collect(),
    )
}

fn signed(count: u64) -> i64 {
    i64::try_from(count).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_daemon_that_hangs_is_an_error_in_time() {
        let status = within(Duration::from_millis(1), std::future::pending::<Result<(), _>>()).await;
        let status = status.unwrap_err();
        assert_eq!(status.code(), Code::DeadlineExceeded);
        assert_eq!(status.message(), "the daemon did not answer within 1ms");
    }

    #[tokio::test]
    async fn every_kind_of_refusal_has_a_code() {
        for (kind, code) in [
            (RefusalKind::NotFound, Code::NotFound),
            (RefusalKind::Invalid, Code::InvalidArgument),
            (RefusalKind::Conflict, Code::FailedPrecondition),
            (RefusalKind::Failed, Code::Unavailable),
        ] {
            let refused = asked(async { Err::<(), _>(Refusal::new(kind, "why")) }).await.unwrap_err();
            assert_eq!((refused.code(), refused.message()), (code, "why"));
        }
    }
}
