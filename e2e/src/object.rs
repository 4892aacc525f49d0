//! What the control plane says of an object, read as any client would: JSON with names. Invariant: a field that is not
//! there is no answer and never counts as one.

use std::fmt;

use serde_json::Value;

/// An object at one moment.
#[derive(Clone, Debug, Default)]
pub struct Object(pub Value);

/// A worker within it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Worker {
    /// The vertex.
    pub vertex: String,
    /// The version.
    pub revision: String,
    /// What the version is, such as `stable`.
    pub role: String,
    /// Its number.
    pub replica: u64,
    /// `Starting`, `Ready`, `Failing` or `Stopping`.
    pub state: String,
    /// Units it owns.
    pub holds: u64,
    /// The processes of its containers.
    pub processes: Vec<u64>,
}

/// A version of a vertex.
#[derive(Clone, Debug)]
pub struct Version(pub Value);

impl Version {
    /// Its hash.
    pub fn revision(&self) -> String {
        text(&self.0["revision"])
    }

    /// What it is, such as `stable`.
    pub fn role(&self) -> String {
        text(&self.0["role"])
    }

    /// Its share of the units, in percent.
    pub fn weight(&self) -> u64 {
        self.0["weight"].as_u64().unwrap_or(0)
    }

    /// What it did, such as `read` or `droppedByUserCode`.
    pub fn signal(&self, name: &str) -> u64 {
        self.0["signals"][name].as_u64().unwrap_or(0)
    }

    /// Its workers.
    pub fn workers(&self) -> &[Value] {
        list(&self.0["workers"])
    }
}

fn text(value: &Value) -> String {
    value.as_str().unwrap_or_default().to_owned()
}

fn list(value: &Value) -> &[Value] {
    value.as_array().map(Vec::as_slice).unwrap_or_default()
}

impl fmt::Display for Object {
    /// What matters, a line for each vertex and version.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{}; status {}", self.phase(), self.0["status"])?;
        for waiting in list(&self.0["waiting"]) {
            writeln!(f, "  waits: {waiting}")?;
        }
        for name in self.vertices() {
            let vertex = self.vertex(&name);
            let field = |field: &str| vertex[field].to_string();
            let fields =
                ["ready", "desired", "pending", "inHand", "activity", "stuckBecause", "rollout", "errors"];
            let line: Vec<String> = fields.iter().map(|name| format!("{name} {}", field(name))).collect();
            writeln!(f, "  {name}: {}", line.join(", "))?;
            for version in self.versions(&name) {
                let Version(value) = &version;
                writeln!(
                    f,
                    "    {} {} {} %: {}",
                    value["revision"], value["role"], value["weight"], value["signals"]
                )?;
                for worker in version.workers() {
                    writeln!(
                        f,
                        "      {} {} {} holds {}",
                        worker["replica"], worker["state"], worker["reason"], worker["holds"]
                    )?;
                }
            }
        }
        write!(f, "  failure {}", self.0["failure"])
    }
}

impl Object {
    /// The line that says what it is doing.
    pub fn phase(&self) -> String {
        text(&self.0["phase"])
    }

    /// The word of the status.
    pub fn status_phase(&self) -> String {
        text(&self.0["status"]["phase"])
    }

    /// Whether it says that it is drained.
    pub fn is_drained(&self) -> bool {
        self.0["status"]["drainedOnPause"].as_bool() == Some(true)
    }

    /// Whether it is paused, as far as it says.
    pub fn is_paused(&self) -> bool {
        self.status_phase() == "Paused"
    }

    /// A field of the status, by JSON pointer.
    pub fn status(&self, pointer: &str) -> &Value {
        self.0["status"].pointer(pointer).unwrap_or(&Value::Null)
    }

    /// One of its vertices, as it is shown.
    pub fn vertex(&self, name: &str) -> &Value {
        list(&self.0["vertices"]).iter().find(|vertex| vertex["name"] == name).unwrap_or(&Value::Null)
    }

    /// The names of its vertices.
    pub fn vertices(&self) -> Vec<String> {
        list(&self.0["vertices"]).iter().map(|vertex| text(&vertex["name"])).collect()
    }

    /// The workers that a vertex should have.
    pub fn desired(&self, vertex: &str) -> u64 {
        self.vertex(vertex)["desired"].as_u64().unwrap_or(0)
    }

    /// The versions of a vertex.
    pub fn versions(&self, vertex: &str) -> Vec<Version> {
        list(&self.vertex(vertex)["revisions"]).iter().cloned().map(Version).collect()
    }

    /// All workers of a vertex.
    pub fn workers(&self, vertex: &str) -> Vec<Worker> {
        let mut workers = Vec::new();
        for version in self.versions(vertex) {
            for worker in version.workers() {
                let processes = list(&worker["containers"]).iter().filter_map(|one| one["process"].as_u64());
                workers.push(Worker {
                    vertex: vertex.to_owned(),
                    revision: version.revision(),
                    role: version.role(),
                    replica: worker["replica"].as_u64().unwrap_or(0),
                    state: text(&worker["state"]),
                    holds: worker["holds"].as_u64().unwrap_or(0),
                    processes: processes.collect(),
                });
            }
        }
        workers
    }

    /// Workers of a vertex that are ready.
    pub fn ready(&self, vertex: &str) -> usize {
        self.workers(vertex).iter().filter(|worker| worker.state == "Ready").count()
    }

    /// Whether each vertex has the workers it should have, all ready and of one version.
    pub fn is_steady(&self) -> bool {
        self.status_phase() == "Running"
            && self.vertices().iter().all(|vertex| {
                let workers = self.workers(vertex);
                let desired = self.desired(vertex) as usize;
                let ready = workers.iter().filter(|worker| worker.state == "Ready").count();
                let one = workers.windows(2).all(|pair| pair[0].revision == pair[1].revision);
                desired > 0 && ready == desired && workers.len() == desired && one
            })
    }

    /// The words for what is waited for.
    pub fn waits(&self) -> Vec<String> {
        list(&self.0["waiting"]).iter().map(|waiting| text(&waiting["reason"])).collect()
    }

    /// The version of a vertex when all its workers run one, and it is the one that serves.
    pub fn only_version(&self, vertex: &str) -> Option<String> {
        match self.versions(vertex).as_slice() {
            [version] if version.role() == "stable" => Some(version.revision()),
            _ => None,
        }
    }

    /// What is said of the rollout of a vertex.
    pub fn rollout(&self, vertex: &str) -> String {
        text(&self.vertex(vertex)["rollout"])
    }

    /// When it was looked at, in milliseconds since the Unix epoch.
    pub fn as_of(&self) -> u64 {
        self.0["asOf"].as_u64().unwrap_or(0)
    }

    /// The processes of all its containers, sorted.
    pub fn processes(&self) -> Vec<u64> {
        let vertices = self.vertices();
        let mut all: Vec<u64> = vertices
            .iter()
            .flat_map(|vertex| self.workers(vertex))
            .flat_map(|worker| worker.processes)
            .collect();
        all.sort_unstable();
        all
    }
}
