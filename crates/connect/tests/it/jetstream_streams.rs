//! Streams are made, changed, looked at and removed, and nothing that is stored is lost by it.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use lane::broker::{Broker, Publish};
use lane::{Lanes, Settings, layout};
use model::door::buffer::{Buffer as _, Claim, Commit, Output, Passage, VertexSettings, WhenFull};
use model::frame::Body;
use model::{
    Epoch, Incarnation, Message, Name, Origin, Place, Position, Progress, Slot, Time, Topology, Unit, UnitId,
};
use smol_str::SmolStr;
use tidegate_connect::buffer::broker;
use tidegate_connect::buffer::jetstream::config::{BufferConfig, Storage};
use tidegate_connect::buffer::jetstream::service::{Service, vertices_of};
use tidegate_connect::buffer::jetstream::streams::{Error, Made};
use tidegate_connect::buffer::jetstream::{Nats, Settings as Reach, StreamPlan};

use crate::nats::{self, block_on};

fn on_shared(name: &str, case: impl AsyncFnOnce(Nats, &nats::Server)) {
    let Some(server) = nats::shared(&format!("jetstream_streams::{name}")) else { return };
    block_on(async { case(server.connect().await, server).await });
}

async fn fill(nats: &Nats, plan: &StreamPlan, count: usize) {
    for _ in 0..count {
        let (stream, subject) = (plan.name.clone(), format!("{}.0", plan.name));
        let publish = Publish { stream, subject, expect: None, meta: "m".into(), payload: "p".into() };
        nats.publish(publish).await.unwrap();
    }
}

#[test]
fn making_a_stream_twice_changes_nothing() {
    on_shared("making_a_stream_twice_changes_nothing", async |nats, _| {
        let mut plan = StreamPlan::bare(&nats::unique("twice"));
        (plan.messages_max, plan.messages_per_subject_max) = (Some(100), Some(1));
        assert_eq!(nats.create_stream(&plan).await.unwrap(), Made::Created);
        fill(&nats, &plan, 3).await;
        assert_eq!(nats.create_stream(&plan).await.unwrap(), Made::AsItWas);
        let state = nats.validate_stream(&plan.name).await.unwrap();
        // Of each subject one message stays.
        assert_eq!((state.messages, state.last, state.messages_max), (1, 3, Some(100)));
        assert!(nats.delete_stream(&plan.name).await.unwrap());
        assert!(!nats.delete_stream(&plan.name).await.unwrap());
        let error = nats.validate_stream(&plan.name).await.unwrap_err();
        assert!(error.to_string().contains("`tidegate isbsvc create` makes it"), "{error}");
    });
}

#[test]
fn a_limit_is_raised_and_lowered_while_there_is_room() {
    on_shared("a_limit_is_raised_and_lowered_while_there_is_room", async |nats, _| {
        let mut plan = StreamPlan::bare(&nats::unique("limits"));
        plan.messages_max = Some(100);
        nats.create_stream(&plan).await.unwrap();
        fill(&nats, &plan, 40).await;
        plan.messages_max = Some(1000);
        let raised = Made::Changed(vec!["max_msgs 100 → 1000".to_owned()]);
        assert_eq!(nats.create_stream(&plan).await.unwrap(), raised);
        plan.messages_max = Some(79);
        let error = nats.create_stream(&plan).await.unwrap_err();
        assert!(matches!(error, Error::Shrinks { stored: 40, to: 79, .. }), "{error}");
        assert!(error.to_string().starts_with("lower max_msgs of stream limits-"), "{error}");
        assert_eq!(nats.state(&plan.name).await.unwrap().messages_max, Some(1000));
        plan.messages_max = Some(80);
        nats.create_stream(&plan).await.unwrap();
        plan.bytes_max = Some(10);
        let error = nats.create_stream(&plan).await.unwrap_err();
        assert!(matches!(error, Error::Shrinks { setting: "max_bytes", .. }), "{error}");
        let state = nats.state(&plan.name).await.unwrap();
        assert_eq!((state.messages, state.messages_max, state.bytes_max), (40, Some(80), None));
    });
}

#[test]
fn what_the_server_cannot_change_is_said() {
    on_shared("what_the_server_cannot_change_is_said", async |nats, _| {
        let mut plan = StreamPlan::bare(&nats::unique("fixed"));
        nats.create_stream(&plan).await.unwrap();
        plan.storage = Storage::Memory;
        let error = nats.create_stream(&plan).await.unwrap_err();
        assert!(error.to_string().contains("drain the pipeline, delete its buffers"), "{error}");
        plan = StreamPlan::bare(&nats::unique("copies"));
        plan.replicas = 3;
        let error = nats.create_stream(&plan).await.unwrap_err();
        assert!(error.to_string().contains("set `replicas: 1`"), "{error}");
    });
}

#[test]
fn a_stream_that_discards_what_is_unread_is_refused_and_made_right() {
    on_shared("a_stream_that_discards_what_is_unread_is_refused_and_made_right", async |nats, server| {
        let plan = StreamPlan::bare(&nats::unique("discards"));
        nats.create_stream(&plan).await.unwrap();
        // Somebody else changed it.
        let client = async_nats::connect(server.url()).await.unwrap();
        let config = serde_json::json!({
            "name": plan.name.as_str(), "subjects": plan.subjects, "retention": "limits", "discard": "old",
            "max_age": 3_600_000_000_000_u64, "storage": "file", "num_replicas": 1,
        });
        let subject = format!("$JS.API.STREAM.UPDATE.{}", plan.name);
        client.request(subject, config.to_string().into()).await.unwrap();
        let error = nats.validate_stream(&plan.name).await.unwrap_err();
        assert!(error.to_string().contains("discard is old; a full stream would lose its oldest"), "{error}");
        let made = nats.create_stream(&plan).await.unwrap();
        let Made::Changed(changes) = made else { panic!("{made:?}") };
        assert!(changes.contains(&"max_age 3600000000000 → 0".to_owned()), "{changes:?}");
        nats.validate_stream(&plan.name).await.unwrap();
    });
}

#[test]
fn the_layout_of_a_pipeline_is_made_with_what_the_user_says() {
    on_shared("the_layout_of_a_pipeline_is_made_with_what_the_user_says", async |nats, _| {
        let vertex = |name: &str, partitions| VertexSettings {
            name: Name::new(name),
            topology: Topology { partitions, slots_per_partition: 64 },
            writers: 1,
            messages_max: 24_000,
            bytes_max: 1 << 30,
        };
        let settings = Settings {
            prefix: SmolStr::new(nats::unique("default-simple")),
            process: SmolStr::new_static("test"),
            vertices: vec![vertex("in", 1), vertex("out", 2)],
        };
        let (config, _) = BufferConfig::read("stream: {storage: 1, duplicates: 90s}").unwrap();
        for spec in layout(&settings) {
            let plan = StreamPlan::of(&spec, &config, 1);
            assert_eq!(plan.duplicates, Duration::from_secs(90));
            // What is forgotten with the server may be frames, never who owns them.
            let is_partition = matches!(spec.holds, lane::Holds::Partition { .. });
            assert_eq!(plan.storage == Storage::Memory, is_partition, "{spec:?}");
            assert_eq!(nats.create_stream(&plan).await.unwrap(), Made::Created, "{spec:?}");
            nats.validate_stream(&plan.name).await.unwrap();
            assert_eq!(nats.create_stream(&plan).await.unwrap(), Made::AsItWas, "{spec:?}");
        }
    });
}

#[test]
fn a_pipeline_that_finds_no_streams_makes_them_as_the_user_says() {
    on_shared("a_pipeline_that_finds_no_streams_makes_them_as_the_user_says", async |nats, server| {
        let prefix = nats::unique("ns-said");
        let vertices = vertices_of(&prefix, &[format!("{prefix}-out-0")], &[]).unwrap();
        let (config, _) = BufferConfig::read("stream: {maxMsgs: 100, storage: 1, duplicates: 90s}").unwrap();
        let reach = Reach { streams: config.clone(), ..Reach::to(&server.url()) };
        let pipeline = broker::Pipeline {
            prefix: prefix.clone(),
            process: "test".to_owned(),
            vertices: vertices.clone(),
        };
        drop(broker::open(&reach, pipeline).await.unwrap());
        let service = Service::new(Arc::new(nats), &prefix, vertices, config);
        for (stream, made) in service.create().await.unwrap() {
            assert_eq!(made, Made::AsItWas, "{stream}");
        }
        service.delete().await.unwrap();
    });
}

#[test]
fn all_streams_of_a_pipeline_are_made_counted_and_removed() {
    on_shared("all_streams_of_a_pipeline_are_made_counted_and_removed", async |nats, server| {
        let prefix = nats::unique("ns-pl");
        let names = |names: &[&str]| names.iter().map(|name| format!("{prefix}-{name}")).collect::<Vec<_>>();
        let (buffers, buckets) = (names(&["cat-0", "cat-1", "out-0"]), names(&["in_SOURCE", "in-cat"]));
        let vertices = vertices_of(&prefix, &buffers, &buckets).unwrap();
        let nats = Arc::new(nats);
        let service = Service::new(nats, &prefix, vertices, BufferConfig::default());
        let found = service.inspect().await;
        let count = found.len();
        // A partition for the source, those of the others, and what is kept under keys.
        assert!(count > 4, "{found:?}");
        assert!(found.iter().all(|found| matches!(found.state, Err(Error::Missing { .. }))), "{found:?}");
        let made = service.create().await.unwrap();
        assert!(made.iter().all(|(_, made)| *made == Made::Created), "{made:?}");
        let again = service.create().await.unwrap();
        assert!(again.iter().all(|(_, made)| *made == Made::AsItWas), "{again:?}");
        let settings = Settings {
            prefix: SmolStr::new(&prefix),
            process: SmolStr::new_static("in-0"),
            vertices: vertices_of(&prefix, &buffers, &buckets).unwrap(),
        };
        let (lanes, driver) = Lanes::open(Arc::new(server.connect().await), settings).await.unwrap();
        let written = async {
            let unit = UnitId { vertex: Name::new("in"), unit: Unit::Source(0) };
            let claim = Claim { unit, owner: Incarnation(1), replica: 0, epoch: Epoch(1) };
            let mut claimed = lanes.claim(claim).await.unwrap();
            let offset = Origin::Numbered { number: 1, partition: 0 };
            let message = Message::from_source(Name::new("in"), offset, Bytes::from_static(b"x"), Time::MIN);
            let slot = Slot { partition: 1, number: 3 };
            let output = Output {
                to: Place { vertex: Name::new("cat"), slot },
                body: Body::encode([&message, &message]),
                when_full: WhenFull::Wait,
                passage: Passage::Onward,
            };
            let progress = Progress::to(Position { sequence: 1, index: 0 });
            let commit = Commit { outputs: vec![output], progress, ..Commit::default() };
            claimed.committer.commit(commit).await.unwrap();
        };
        tokio::select! {
            () = written => {}
            () = driver => panic!("the driver goes on"),
        }
        let unread = service.unread().await.unwrap();
        let unread: Vec<_> = unread.iter().map(|(vertex, count)| (&vertex[..], *count)).collect();
        assert_eq!(unread, [("cat", 2), ("in", 0), ("out", 0)]);
        assert_eq!(service.delete().await.unwrap().len(), count);
        assert_eq!(service.delete().await.unwrap().len(), 0);
    });
}
