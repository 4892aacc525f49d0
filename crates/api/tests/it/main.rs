//! What users see of this crate: complaints with their places, objects, defaults. Fixtures carry what is expected
//! of them as comments: `# => rule path` in the line that the complaint has to name.

mod bounds;
mod changes;
mod changes_classified;
mod defaults;
mod definitions;
mod documents;
mod fixture;
mod neighbours;
mod revisions;
mod rules_mono_vertex;
mod rules_other;
mod rules_pipeline;
mod rules_vertex;
mod shape;
mod status;
mod whole;
