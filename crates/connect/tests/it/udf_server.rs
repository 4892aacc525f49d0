//! A map server that does as it is told, also what no SDK does: crash in the middle, hang, answer twice or out of
//! order, end batches early, shake no hands. It lives on a runtime of its own, so that it can be killed like a process.

use std::collections::VecDeque;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use futures::stream::BoxStream;
use model::{Message, Name, Origin, Time};
use proto::map::map_server::{Map, MapServer};
use proto::map::{Handshake, MapRequest, MapResponse, ReadyResponse, TransmissionStatus, map_response};
use tidegate_connect::incident::{Incident, Incidents};
use tidegate_connect::udf::Settings;
use tidegate_connect::udf::info::TERMINATOR;
use tokio::net::UnixListener;
use tokio_stream::wrappers::UnixListenerStream;
use tonic::{Request, Response, Status, Streaming};

pub(crate) type Out = VecDeque<Result<MapResponse, Status>>;
/// Given the number of the stream (from 1), a request other than the handshake, and where answers go.
pub(crate) type Script = Arc<dyn Fn(u32, MapRequest, &mut Out) + Send + Sync>;

struct Scripted {
    script: Script,
    streams: AtomicU32,
    shakes_hands: bool,
}

struct Stream {
    number: u32,
    script: Script,
    incoming: Streaming<MapRequest>,
    out: Out,
    shakes_hands: bool,
}

#[tonic::async_trait]
impl Map for Scripted {
    type MapFnStream = BoxStream<'static, Result<MapResponse, Status>>;

    async fn map_fn(
        &self,
        request: Request<Streaming<MapRequest>>,
    ) -> Result<Response<Self::MapFnStream>, Status> {
        let state = Stream {
            number: self.streams.fetch_add(1, Ordering::SeqCst) + 1,
            script: Arc::clone(&self.script),
            incoming: request.into_inner(),
            out: Out::new(),
            shakes_hands: self.shakes_hands,
        };
        let stream = futures::stream::unfold(state, |mut state| async move {
            loop {
                if let Some(response) = state.out.pop_front() {
                    return Some((response, state));
                }
                match state.incoming.message().await {
                    Ok(Some(request)) if request.handshake.is_some() => {
                        let handshake = state.shakes_hands.then_some(Handshake { sot: true });
                        state.out.push_back(Ok(MapResponse { handshake, ..MapResponse::default() }));
                    }
                    Ok(Some(request)) => (state.script)(state.number, request, &mut state.out),
                    Ok(None) | Err(_) => return None,
                }
            }
        });
        Ok(Response::new(Box::pin(stream)))
    }

    async fn is_ready(&self, _: Request<()>) -> Result<Response<ReadyResponse>, Status> {
        Ok(Response::new(ReadyResponse { ready: true }))
    }
}

/// A running server.
pub(crate) struct Server {
    runtime: Option<tokio::runtime::Runtime>,
}

impl Server {
    /// Serves a map in `mode` (as in the info file) under `directory`.
    pub(crate) fn start(directory: &Path, mode: &str, script: Script) -> Self {
        Self::start_with(directory, mode, script, true)
    }

    pub(crate) fn start_with(directory: &Path, mode: &str, script: Script, shakes_hands: bool) -> Self {
        let socket = match mode {
            "batch-map" => "batchmap.sock",
            "stream-map" => "mapstream.sock",
            _ => "map.sock",
        };
        let socket = directory.join(socket);
        if socket.exists() {
            std::fs::remove_file(&socket).unwrap();
        }
        let runtime =
            tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
        let listener = {
            let _inside = runtime.enter();
            UnixListener::bind(&socket).unwrap()
        };
        let service = MapServer::new(Scripted { script, streams: AtomicU32::new(0), shakes_hands });
        runtime.spawn(
            tonic::transport::Server::builder()
                .add_service(service)
                .serve_with_incoming(UnixListenerStream::new(listener)),
        );
        write_info(directory, "mapper", mode);
        Self { runtime: Some(runtime) }
    }

    /// Stops it at once and leaves its files behind, as SIGKILL does.
    pub(crate) fn kill(mut self) {
        self.runtime.take().unwrap().shutdown_background();
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}

pub(crate) fn write_info(directory: &Path, component: &str, mode: &str) {
    let json = format!(
        r#"{{"protocol":"uds","language":"rust","minimum_numaflow_version":"1.4.0-z","version":"0.6.0","metadata":{{"MAP_MODE":"{mode}"}}}}"#
    );
    std::fs::write(directory.join(format!("{component}-server-info")), json + TERMINATOR).unwrap();
}

/// The answer that repeats the value under the keys of the request.
pub(crate) fn echo(request: &MapRequest) -> MapResponse {
    let body = request.request.clone().unwrap();
    let result =
        map_response::Result { keys: body.keys, value: body.value, ..map_response::Result::default() };
    MapResponse { results: vec![result], id: request.id.clone(), ..MapResponse::default() }
}

pub(crate) fn end() -> MapResponse {
    MapResponse { status: Some(TransmissionStatus { eot: true }), ..MapResponse::default() }
}

pub(crate) fn is_end(request: &MapRequest) -> bool {
    request.status.is_some_and(|status| status.eot)
}

pub(crate) fn value(request: &MapRequest) -> String {
    String::from_utf8(request.request.clone().unwrap_or_default().value.to_vec()).unwrap()
}

pub(crate) fn script(act: impl Fn(u32, MapRequest, &mut Out) + Send + Sync + 'static) -> Script {
    Arc::new(act)
}

/// A directory that user code and we share, and settings for it that lose no time.
pub(crate) struct Place {
    pub(crate) directory: tempfile::TempDir,
    pub(crate) settings: Settings,
    pub(crate) incidents: Incidents,
}

impl Place {
    pub(crate) fn new() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let vertex = Name::new_static("cat");
        let settings = Settings::new(directory.path(), vertex.clone());
        Self { directory, settings, incidents: Incidents::new(vertex, 0) }
    }

    pub(crate) fn path(&self) -> PathBuf {
        self.directory.path().to_owned()
    }

    /// The incidents so far with this code.
    pub(crate) fn incidents(&self, code: &str) -> Vec<Incident> {
        self.incidents.recent().into_iter().filter(|incident| incident.code == code).collect()
    }

    /// Waits for an incident with this code and returns the first.
    pub(crate) async fn incident(&self, code: &str) -> Incident {
        until(&format!("an incident {code}"), || !self.incidents(code).is_empty()).await;
        self.incidents(code).remove(0)
    }
}

/// Looks again and again whether something holds, for at most half a minute.
pub(crate) async fn until(what: &str, mut holds: impl FnMut() -> bool) {
    let mut looks = tokio::time::interval(Duration::from_millis(5));
    for _ in 0..6000 {
        if holds() {
            return;
        }
        looks.tick().await;
    }
    panic!("{what} was waited for in vain");
}

/// Messages `range` of vertex `in`, with their number as value and key.
pub(crate) fn messages(range: std::ops::Range<u64>) -> Arc<Vec<Message>> {
    let message = |number: u64| {
        let mut message = Message::from_source(
            Name::new_static("in"),
            Origin::Numbered { number, partition: 0 },
            number.to_string().into(),
            Time::from_millis(number as i64),
        );
        message.keys = vec![format!("k{number}").into()];
        message
    };
    Arc::new(range.map(message).collect())
}
