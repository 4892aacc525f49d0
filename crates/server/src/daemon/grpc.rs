//! The daemon over gRPC. Nothing is here but which method is which answer.

use std::sync::Arc;

use axum::Router;
use proto::daemon::daemon_service_server::{DaemonService, DaemonServiceServer};
use proto::mono_vertex_daemon::mono_vertex_daemon_service_server::{
    MonoVertexDaemonService, MonoVertexDaemonServiceServer,
};
use proto::{daemon as wire, mono_vertex_daemon as mono_wire};
use tonic::service::RoutesBuilder;
use tonic::{Request, Response, Status, async_trait};

use super::{Daemon, Subject, answers};

/// The largest request; they hold names and nothing else.
const REQUEST_BYTES_MAX: usize = 16 * 1024;

/// The services of a daemon: the one of its kind.
pub(super) fn router(daemon: Arc<dyn Daemon>) -> Router {
    let mut routes = RoutesBuilder::default();
    match daemon.subject() {
        Subject::Pipeline { .. } => {
            let service = DaemonServiceServer::new(Service(daemon));
            routes.add_service(service.max_decoding_message_size(REQUEST_BYTES_MAX));
        }
        Subject::MonoVertex { .. } => {
            let service = MonoVertexDaemonServiceServer::new(Service(daemon));
            routes.add_service(service.max_decoding_message_size(REQUEST_BYTES_MAX));
        }
    }
    routes.routes().into_axum_router().reset_fallback()
}

struct Service(Arc<dyn Daemon>);

#[async_trait]
impl DaemonService for Service {
    async fn list_buffers(
        &self,
        _: Request<wire::ListBuffersRequest>,
    ) -> Result<Response<wire::ListBuffersResponse>, Status> {
        answers::list_buffers(&*self.0).await.map(Response::new)
    }

    async fn get_buffer(
        &self,
        request: Request<wire::GetBufferRequest>,
    ) -> Result<Response<wire::GetBufferResponse>, Status> {
        answers::get_buffer(&*self.0, request.get_ref()).await.map(Response::new)
    }

    async fn get_vertex_metrics(
        &self,
        request: Request<wire::GetVertexMetricsRequest>,
    ) -> Result<Response<wire::GetVertexMetricsResponse>, Status> {
        answers::get_vertex_metrics(&*self.0, request.get_ref()).await.map(Response::new)
    }

    async fn get_pipeline_watermarks(
        &self,
        _: Request<wire::GetPipelineWatermarksRequest>,
    ) -> Result<Response<wire::GetPipelineWatermarksResponse>, Status> {
        answers::get_pipeline_watermarks(&*self.0).await.map(Response::new)
    }

    async fn get_pipeline_status(
        &self,
        _: Request<wire::GetPipelineStatusRequest>,
    ) -> Result<Response<wire::GetPipelineStatusResponse>, Status> {
        answers::get_pipeline_status(&*self.0).await.map(Response::new)
    }

    async fn get_vertex_errors(
        &self,
        request: Request<wire::GetVertexErrorsRequest>,
    ) -> Result<Response<wire::GetVertexErrorsResponse>, Status> {
        answers::get_vertex_errors(&*self.0, request.get_ref()).await.map(Response::new)
    }
}

#[async_trait]
impl MonoVertexDaemonService for Service {
    async fn get_mono_vertex_metrics(
        &self,
        _: Request<()>,
    ) -> Result<Response<mono_wire::GetMonoVertexMetricsResponse>, Status> {
        answers::get_mono_vertex_metrics(&*self.0).await.map(Response::new)
    }

    async fn get_mono_vertex_status(
        &self,
        _: Request<()>,
    ) -> Result<Response<mono_wire::GetMonoVertexStatusResponse>, Status> {
        answers::get_mono_vertex_status(&*self.0).await.map(Response::new)
    }

    async fn get_mono_vertex_errors(
        &self,
        _: Request<mono_wire::GetMonoVertexErrorsRequest>,
    ) -> Result<Response<mono_wire::GetMonoVertexErrorsResponse>, Status> {
        answers::get_mono_vertex_errors(&*self.0).await.map(Response::new)
    }
}
