//! Names that leave the process: objects, services, buffers, keys. The invariant: every such name is built here
//! and nowhere else, and names that Kubernetes sees are the reference's.

/// The longest DNS-1035 label.
pub const LABEL_CHARS_MAX: usize = 63;

/// Why a text is no DNS-1035 label.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// It is empty.
    #[error("it is empty")]
    Empty,
    /// More than [`LABEL_CHARS_MAX`] characters.
    #[error("it has {0} characters and at most 63 are possible")]
    TooLong(usize),
    /// The first character is no small letter.
    #[error("it must begin with a small letter")]
    Start,
    /// The last character is a dash.
    #[error("it must end with a small letter or a digit")]
    End,
    /// A character that is no small letter, digit or dash.
    #[error("`{0}` is not possible, only small letters, digits and dashes are")]
    Character(char),
}

/// Whether `name` is a DNS-1035 label: `[a-z]([-a-z0-9]*[a-z0-9])?`, at most 63 characters.
pub fn check_label(name: &str) -> Result<(), Error> {
    let Some(first) = name.chars().next() else { return Err(Error::Empty) };
    let is_inner = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
    if let Some(bad) = name.chars().find(|c| !is_inner(*c)) {
        return Err(Error::Character(bad));
    }
    if !first.is_ascii_lowercase() {
        return Err(Error::Start);
    }
    if name.ends_with('-') {
        return Err(Error::End);
    }
    if name.len() > LABEL_CHARS_MAX {
        return Err(Error::TooLong(name.len()));
    }
    Ok(())
}

/// The `Vertex` object of a pipeline's vertex.
pub fn vertex(pipeline: &str, vertex: &str) -> String {
    format!("{pipeline}-{vertex}")
}

/// The headless service of a vertex.
pub fn vertex_headless(pipeline: &str, vertex: &str) -> String {
    format!("{pipeline}-{vertex}-headless")
}

/// The host name of a replica of a vertex.
pub fn vertex_replica(pipeline: &str, vertex: &str, replica: u32) -> String {
    format!("{pipeline}-{vertex}-{replica}")
}

/// The headless service of a mono vertex.
pub fn mono_vertex_headless(mono_vertex: &str) -> String {
    format!("{mono_vertex}-mv-headless")
}

/// The host name of a replica of a mono vertex.
pub fn mono_vertex_replica(mono_vertex: &str, replica: u32) -> String {
    format!("{mono_vertex}-mv-{replica}")
}

/// The daemon's deployment.
pub fn pipeline_daemon(pipeline: &str) -> String {
    format!("{pipeline}-daemon")
}

/// The daemon's service.
pub fn pipeline_daemon_service(pipeline: &str) -> String {
    format!("{pipeline}-daemon-svc")
}

/// The deployment of a mono vertex's daemon.
pub fn mono_vertex_daemon(mono_vertex: &str) -> String {
    format!("{mono_vertex}-mv-daemon")
}

/// The service of a mono vertex's daemon.
pub fn mono_vertex_daemon_service(mono_vertex: &str) -> String {
    format!("{mono_vertex}-mv-daemon-svc")
}

/// The deployment that fetches a side input.
pub fn side_input_manager(pipeline: &str, side_input: &str) -> String {
    format!("{pipeline}-si-{side_input}")
}

/// The pipeline a serving pipeline stands on.
pub fn serving_sub_pipeline(serving_pipeline: &str) -> String {
    format!("s-{serving_pipeline}")
}

/// The front of a serving pipeline.
pub fn serving_server(serving_pipeline: &str) -> String {
    format!("{serving_pipeline}-serving")
}

/// The volume claim of one partition of a reduce vertex.
pub fn reduce_volume_claim(pipeline: &str, vertex: &str, partition: u32) -> String {
    format!("pbq-vol-{pipeline}-{vertex}-{partition}")
}

/// The buffer of one partition; the reading vertex owns it.
pub fn buffer(namespace: &str, pipeline: &str, vertex: &str, partition: u32) -> String {
    format!("{namespace}-{pipeline}-{vertex}-{partition}")
}

/// The base name of what is kept about an edge.
pub fn edge_bucket(namespace: &str, pipeline: &str, from: &str, to: &str) -> String {
    format!("{namespace}-{pipeline}-{from}-{to}")
}

/// The base name of what is kept about a source vertex.
pub fn source_bucket(namespace: &str, pipeline: &str, vertex: &str) -> String {
    format!("{namespace}-{pipeline}-{vertex}_SOURCE")
}

/// The base name of what is kept about a sink vertex.
pub fn sink_bucket(namespace: &str, pipeline: &str, vertex: &str) -> String {
    format!("{namespace}-{pipeline}-{vertex}_SINK")
}

/// Where side inputs are kept; the key is the side input's name.
pub fn side_inputs_bucket(namespace: &str, pipeline: &str) -> String {
    format!("{namespace}-{pipeline}_SIDE_INPUTS")
}

/// The durable consumer a JetStream source makes when the user names none.
pub fn jetstream_consumer(pipeline: &str, vertex: &str, stream: &str) -> String {
    format!("numaflow-{pipeline}-{vertex}-{stream}")
}

/// The same in a mono vertex.
pub fn mono_vertex_jetstream_consumer(mono_vertex: &str, stream: &str) -> String {
    format!("numaflow-{mono_vertex}-mvtx-{stream}")
}

/// The stateful set of a buffer service; its pods add `-0`, `-1` and so on.
pub fn isb_stateful_set(service: &str) -> String {
    format!("isbsvc-{service}-js")
}

/// The headless service in front of a buffer service.
pub fn isb_service(service: &str) -> String {
    format!("isbsvc-{service}-js-svc")
}

/// The config map with the configuration of the servers of a buffer service.
pub fn isb_config_map(service: &str) -> String {
    format!("isbsvc-{service}-js-config")
}

/// The secret with what only the servers of a buffer service know.
pub fn isb_server_secret(service: &str) -> String {
    format!("isbsvc-{service}-js-server")
}

/// The secret that clients of a buffer service log in with.
pub fn isb_client_secret(service: &str) -> String {
    format!("isbsvc-{service}-js-client-auth")
}

/// The volume claim template of a buffer service.
pub fn isb_volume(service: &str) -> String {
    format!("isbsvc-{service}-js-vol")
}

/// Where clients reach a buffer service.
pub fn isb_url(namespace: &str, service: &str) -> String {
    format!("nats://{}.{namespace}.svc:4222", isb_service(service))
}

/// Label that marks the pipeline of a serving pipeline.
pub const SERVING_PIPELINE_LABEL: &str = "numaflow.numaproj.io/serving-pipeline-name";
/// Annotation that says how to resume: `slow` or `fast`.
pub const RESUME_STRATEGY_ANNOTATION: &str = "numaflow.numaproj.io/resume-strategy";
/// Annotation that names the controller an object belongs to.
pub const INSTANCE_ANNOTATION: &str = "numaflow.numaproj.io/instance";

/// Container names that the platform keeps for itself.
pub const RESERVED_CONTAINERS: [&str; 11] = [
    "init",
    "numa",
    "udf",
    "udsink",
    "fb-udsink",
    "ons-udsink",
    "transformer",
    "udsource",
    "udsi",
    "init-side-inputs",
    "side-inputs-synchronizer",
];

#[cfg(test)]
mod tests {
    use super::{Error, check_label};

    #[test]
    fn labels_are_what_dns_takes() {
        let long = "a".repeat(64);
        let table = [
            ("a", Ok(())),
            ("a-1", Ok(())),
            (&long[..63], Ok(())),
            ("", Err(Error::Empty)),
            ("1a", Err(Error::Start)),
            ("-a", Err(Error::Start)),
            ("a-", Err(Error::End)),
            ("aB", Err(Error::Character('B'))),
            ("a.b", Err(Error::Character('.'))),
            ("a\u{e9}", Err(Error::Character('\u{e9}'))),
            (long.as_str(), Err(Error::TooLong(64))),
        ];
        for (name, expected) in table {
            assert_eq!(check_label(name), expected, "{name}");
        }
    }
}
