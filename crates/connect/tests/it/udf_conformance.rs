//! User-defined sources and sinks against the suites of their doors, through real SDK servers.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use model::conformance;
use model::door::sink::Sink;
use model::door::source::Opened;
use model::{Message, sink_conformance, source_conformance};
use numaflow::shared::ServerExtras;
use numaflow::sink;
use tidegate_connect::sink::user::{Role, UserSink};
use tokio::sync::mpsc;

use crate::udf_sdk::{Hosted, files};
use crate::udf_server::Place;
use crate::udf_source::{Well, number, serve};

fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap()
}

mod source {
    use super::*;

    struct WellBench {
        place: Place,
        well: Arc<Well>,
        offered: u64,
        _server: Hosted,
    }

    impl WellBench {
        fn new() -> Self {
            let (place, well) = (Place::new(), Well::with(0..0));
            let server = serve(&place.path(), &well);
            Self { place, well, offered: 0, _server: server }
        }
    }

    #[async_trait]
    impl conformance::source::Bench for WellBench {
        async fn open(&mut self) -> Opened {
            self.well.restart();
            let (settings, incidents) = (self.place.settings.clone(), self.place.incidents.clone());
            tidegate_connect::source::user::open(settings, incidents).0
        }

        async fn offer(&mut self, count: u64) {
            for number in self.offered..self.offered + count {
                self.well.offer(number);
            }
            self.offered += count;
        }

        fn number(&self, message: &Message) -> u64 {
            number(message)
        }
    }

    fn run(case: impl AsyncFn(&mut dyn conformance::source::Bench)) {
        runtime().block_on(async move {
            case(&mut WellBench::new()).await;
            for seed in [1, 2] {
                case(&mut conformance::source::faulty::Faulty::new(WellBench::new(), seed)).await;
            }
        });
    }

    source_conformance! { run: every, fed, answers }
}

mod sinks {
    use super::*;

    /// Writes down what it is given.
    struct Notes(Arc<Mutex<Vec<Bytes>>>);

    #[tonic::async_trait]
    impl sink::Sinker for Notes {
        async fn sink(&self, mut input: mpsc::Receiver<sink::SinkRequest>) -> Vec<sink::Response> {
            let mut responses = Vec::new();
            while let Some(request) = input.recv().await {
                self.0.lock().unwrap().push(request.value.into());
                responses.push(sink::Response::ok(request.id));
            }
            responses
        }
    }

    struct NotesBench {
        place: Place,
        notes: Arc<Mutex<Vec<Bytes>>>,
        _server: Hosted,
    }

    impl NotesBench {
        fn new() -> Self {
            let (place, notes) = (Place::new(), Arc::new(Mutex::new(Vec::new())));
            let (socket, info) = files(&place.path(), "sink.sock", "sinker");
            let server = Hosted::start({
                let notes = Arc::clone(&notes);
                move |stop| {
                    sink::Server::new(Notes(Arc::clone(&notes)))
                        .with_socket_file(&socket)
                        .with_server_info_file(&info)
                        .start_with_shutdown(stop)
                }
            });
            Self { place, notes, _server: server }
        }
    }

    #[async_trait]
    impl conformance::sink::Bench for NotesBench {
        async fn open(&mut self) -> Box<dyn Sink> {
            let (settings, incidents) = (self.place.settings.clone(), self.place.incidents.clone());
            let sink = UserSink::open(Role::Primary, settings, incidents);
            let mut looks = tokio::time::interval(Duration::from_millis(5));
            while !sink.ready().await {
                looks.tick().await;
            }
            Box::new(sink)
        }

        async fn outside(&mut self) -> Vec<Bytes> {
            self.notes.lock().unwrap().clone()
        }
    }

    fn run(case: impl AsyncFn(&mut dyn conformance::sink::Bench)) {
        runtime().block_on(async move {
            case(&mut NotesBench::new()).await;
            for seed in [1, 2] {
                case(&mut conformance::sink::faulty::Faulty::new(NotesBench::new(), seed)).await;
            }
        });
    }

    sink_conformance! { run: every, seen }
}
