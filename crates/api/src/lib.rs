//! What a user writes: kinds, defaults, and every complaint that can be made without looking at the world.
//! Nothing here reads a clock, a file, the environment or the network.
//!
//! ```
//! let file = br"
//! apiVersion: numaflow.numaproj.io/v1alpha1
//! kind: Pipeline
//! metadata: {name: simple}
//! spec:
//!   vertices:
//!     - {name: in, source: {generator: {rpu: 10}}}
//!     - {name: out, sink: {log: {}}}
//!   edges:
//!     - {from: in, to: out}
//! ";
//! // `lint` prints what it finds,
//! let loaded = api::load([("simple.yaml", file.as_slice())]);
//! assert_eq!(api::complaint::to_text(&loaded.complaints), "");
//! // `run` wants objects without errors,
//! let (objects, _warnings) = loaded.accept().expect("no errors");
//! let api::Object::Pipeline(pipeline) = &objects[0] else { panic!("a pipeline") };
//! // and whoever makes workers wants plain values with every default filled in.
//! let settings = api::resolve::pipeline(pipeline);
//! assert_eq!(settings.vertices[0].limits.read_batch_size, 500);
//! assert_eq!(pipeline.spec.vertices[0].source.as_ref().unwrap().generator.as_ref().unwrap().resolve().records_per_unit, 10);
//! # use tidegate_api as api;
//! ```

pub mod change;
pub mod check;
pub mod complaint;
pub mod cron;
pub mod duration;
pub mod fingerprint;
pub mod load;
pub mod names;
pub mod path;
pub mod read;
pub mod resolve;
pub mod revision;
pub mod schema;
pub mod spec;
pub mod yaml;

pub use check::{Checked, check};
pub use complaint::{Complaint, Severity};
pub use duration::Duration;
pub use load::{Loaded, Object, Values, fingerprint_text, load};
pub use path::Path;
pub use spec::resource::{
    API_VERSION, InterStepBufferService, Kind, MonoVertex, Pipeline, Resource, ServingPipeline, Vertex,
};
