//! Service names as they stand in the HTTP/2 path.
//!
//! Method names are part of the generated clients and servers and are not repeated here. Invariant: a changed name
//! makes every existing user container, or every client of a daemon, unreachable.

use tidegate_proto::{
    accumulator, daemon, map, mono_vertex_daemon, reduce, serving, session_reduce, side_input, sink, source,
    source_transform,
};

#[test]
fn services_keep_the_names_that_user_containers_serve() {
    let names = [
        source::source_server::SERVICE_NAME,
        source_transform::source_transform_server::SERVICE_NAME,
        map::map_server::SERVICE_NAME,
        reduce::reduce_server::SERVICE_NAME,
        session_reduce::session_reduce_server::SERVICE_NAME,
        accumulator::accumulator_server::SERVICE_NAME,
        sink::sink_server::SERVICE_NAME,
        side_input::side_input_server::SERVICE_NAME,
        serving::serving_store_server::SERVICE_NAME,
    ];
    assert_eq!(
        names,
        [
            "source.v1.Source",
            "sourcetransformer.v1.SourceTransform",
            "map.v1.Map",
            "reduce.v1.Reduce",
            "sessionreduce.v1.SessionReduce",
            "accumulator.v1.Accumulator",
            "sink.v1.Sink",
            "sideinput.v1.SideInput",
            "serving.v1.ServingStore",
        ]
    );
}

#[test]
fn daemons_keep_the_names_that_clients_ask_for() {
    assert_eq!(daemon::daemon_service_server::SERVICE_NAME, "daemon.DaemonService");
    assert_eq!(
        mono_vertex_daemon::mono_vertex_daemon_service_server::SERVICE_NAME,
        "mvtxdaemon.MonoVertexDaemonService"
    );
}
