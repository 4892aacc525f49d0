//! A place in memory: objects are what a test puts there, wishes are noted and change them in the simplest way.

use std::collections::BTreeMap;
use std::sync::Mutex;

use async_trait::async_trait;
use plan::Time;
use platform::place::{Apply, Place, Refusal, RefusalKind, Wish};
use platform::view::{
    Applied, Change, Container, Event, Finding, History, HistoryEntry, Incident, Object, Revision, Vertex,
    Worker,
};
use serde_json::json;
use tokio::sync::watch;

/// What happens to an object at the next wish or look, given its name.
pub(crate) type Script = Box<dyn FnMut(&mut Object) + Send>;

/// The place.
pub(crate) struct Fake {
    state: Mutex<State>,
    version: watch::Sender<u64>,
}

#[derive(Default)]
struct State {
    objects: BTreeMap<String, Object>,
    applied: Vec<Apply>,
    wishes: Vec<(String, Wish)>,
    events: Vec<Event>,
    script: Option<Script>,
    answer: Option<Vec<Applied>>,
    is_shut_down: bool,
}

impl Fake {
    pub(crate) fn new() -> Self {
        Self { state: Mutex::default(), version: watch::Sender::new(1) }
    }

    /// Puts an object there, or another in its place.
    pub(crate) fn put(&self, object: Object) {
        self.edit(|state| {
            state.objects.insert(object.name.clone(), object);
        });
    }

    /// Changes an object.
    pub(crate) fn change(&self, name: &str, change: impl FnOnce(&mut Object)) {
        self.edit(|state| change(state.objects.get_mut(name).unwrap()));
    }

    /// Each look at an object goes through this first.
    pub(crate) fn script(&self, script: Script) {
        self.edit(|state| state.script = Some(script));
    }

    /// What applying answers.
    pub(crate) fn answer(&self, answer: Vec<Applied>) {
        self.edit(|state| state.answer = Some(answer));
    }

    pub(crate) fn say(&self, object: &str, event: plan::Event) {
        self.edit(|state| {
            let number = state.events.len() as u64 + 1;
            state.events.push(Event {
                number,
                at: Time::from_millis(1_000),
                object: object.to_owned(),
                event,
            });
        });
    }

    pub(crate) fn wishes(&self) -> Vec<(String, Wish)> {
        self.state.lock().unwrap().wishes.clone()
    }

    pub(crate) fn applied(&self) -> Vec<Apply> {
        self.state.lock().unwrap().applied.clone()
    }

    pub(crate) fn is_shut_down(&self) -> bool {
        self.state.lock().unwrap().is_shut_down
    }

    fn edit(&self, edit: impl FnOnce(&mut State)) {
        edit(&mut self.state.lock().unwrap());
        self.version.send_modify(|version| *version += 1);
    }

    fn look(&self, name: &str) -> Result<Object, Refusal> {
        let mut state = self.state.lock().unwrap();
        let State { objects, script, .. } = &mut *state;
        let object = objects.get_mut(name).ok_or_else(|| missing(name))?;
        if let Some(script) = script {
            script(object);
            self.version.send_modify(|version| *version += 1);
        }
        let found = object.clone();
        if found.phase == "gone" {
            objects.remove(name);
            return Err(missing(name));
        }
        Ok(found)
    }
}

fn missing(name: &str) -> Refusal {
    Refusal::new(RefusalKind::NotFound, format!("find {name}: there is no such object"))
}

#[async_trait]
impl Place for Fake {
    async fn apply(&self, apply: Apply) -> Result<Vec<Applied>, Refusal> {
        if apply.files.iter().any(|file| file.text.contains("nonsense")) {
            let mut refusal = Refusal::new(RefusalKind::Invalid, "apply manifests with errors");
            refusal.complaints = vec!["p.yaml:1: error: nonsense".to_owned()];
            return Err(refusal);
        }
        let mut answer = Vec::new();
        self.edit(|state| {
            answer = state.answer.clone().unwrap_or_default();
            state.applied.push(apply);
        });
        Ok(answer)
    }

    async fn objects(&self) -> Result<Vec<Object>, Refusal> {
        let names: Vec<String> = self.state.lock().unwrap().objects.keys().cloned().collect();
        Ok(names.iter().filter_map(|name| self.look(name).ok()).collect())
    }

    async fn object(&self, name: &str) -> Result<Object, Refusal> {
        if name == "broken" {
            return Err(Refusal::new(RefusalKind::Failed, "read the journal: the disk is gone"));
        }
        self.look(name)
    }

    async fn ask(&self, name: &str, wish: Wish) -> Result<Object, Refusal> {
        if matches!(&wish, Wish::Promote { .. }) {
            return Err(Refusal::new(RefusalKind::Conflict, format!("promote {name}: nothing rolls out")));
        }
        let mut object = self.look(name)?;
        object.phase = match &wish {
            Wish::Pause => "Pausing (draining, 9 left)".to_owned(),
            Wish::Resume => "Running".to_owned(),
            _ => object.phase,
        };
        self.edit(|state| {
            state.wishes.push((name.to_owned(), wish));
            state.objects.insert(name.to_owned(), object.clone());
        });
        Ok(object)
    }

    async fn events(&self, name: Option<&str>, after: u64, limit: usize) -> Result<Vec<Event>, Refusal> {
        let state = self.state.lock().unwrap();
        let events = state.events.iter().filter(|event| event.number > after);
        Ok(events.filter(|event| name.is_none_or(|name| event.object == name)).take(limit).cloned().collect())
    }

    async fn incidents(&self, name: &str) -> Result<Vec<Incident>, Refusal> {
        self.look(name)?;
        Ok(vec![Incident {
            at: Time::from_millis(1_000),
            object: name.to_owned(),
            vertex: "cat".to_owned(),
            replica: 0,
            container: "udf".to_owned(),
            code: "UserCodeFailed".to_owned(),
            message: "it divided by zero".to_owned(),
            details: "line 7".to_owned(),
            messages: vec!["in-3".to_owned()],
        }])
    }

    async fn why(&self, name: &str) -> Result<Vec<Finding>, Refusal> {
        let is_well = self.look(name)?.phase == "Running";
        let finding = Finding {
            what: "cat has 9 messages left and no worker".to_owned(),
            advice: "give it one with `tidegate scale`".to_owned(),
        };
        Ok(if is_well { Vec::new() } else { vec![finding] })
    }

    async fn history(&self, name: &str) -> Result<History, Refusal> {
        self.look(name)?;
        let entry = |number, state: &str, reason: Option<&str>| HistoryEntry {
            number,
            revision: format!("rev{number}"),
            created_at: Time::from_millis(1_000),
            state: state.to_owned(),
            reason: reason.map(str::to_owned),
        };
        let entries = vec![entry(1, "Active", None), entry(2, "RolledBack", Some("it was never ready"))];
        Ok(History::from([("cat".to_owned(), entries)]))
    }

    async fn metrics(&self) -> Result<String, Refusal> {
        Ok("# EOF\n".to_owned())
    }

    async fn changed(&self, after: u64) -> u64 {
        let mut version = self.version.subscribe();
        *version.wait_for(|version| *version != after).await.unwrap()
    }

    async fn shut_down(&self) {
        self.edit(|state| state.is_shut_down = true);
    }
}

/// A pipeline that runs, with one of everything in its view.
pub(crate) fn pipeline(name: &str) -> Object {
    let container = Container {
        name: "udf".to_owned(),
        state: "Running".to_owned(),
        process: Some(4_242),
        ..Container::default()
    };
    let worker =
        Worker { state: "Ready".to_owned(), holds: 4, containers: vec![container], ..Worker::default() };
    let revision = Revision {
        revision: "abc123".to_owned(),
        number: Some(1),
        role: "stable".to_owned(),
        weight: 100,
        workers: vec![worker],
        ..Revision::default()
    };
    let vertex = |name: &str, kind: &str, pending: Option<Vec<u64>>| Vertex {
        name: name.to_owned(),
        kind: kind.to_owned(),
        ready: 1,
        desired: 1,
        read_rate: 5.0,
        write_rate: 5.0,
        read_total: 1_200,
        write_total: 1_200,
        pending,
        activity: "Progressing".to_owned(),
        revisions: vec![revision.clone()],
        ..Vertex::default()
    };
    Object {
        kind: "Pipeline".to_owned(),
        name: name.to_owned(),
        namespace: "default".to_owned(),
        generation: 1,
        created_at: Time::from_millis(1_000),
        as_of: Time::from_millis(61_000),
        phase: "Running".to_owned(),
        manifest: json!({
            "apiVersion": "numaflow.numaproj.io/v1alpha1", "kind": "Pipeline", "metadata": {"name": name},
            "spec": {"vertices": [{"name": "in"}, {"name": "cat", "scale": {"min": 1}}]},
        }),
        status: json!({"phase": "Running", "observedGeneration": 1}),
        vertices: vec![vertex("in", "source", None), vertex("cat", "map", Some(vec![1_000, 234]))],
        edges: vec![("in".to_owned(), "cat".to_owned())],
        waiting: vec![plan::Waiting::new("vertex cat", "WorkersNotReady", "1 worker is starting")],
        urls: vec![("in".to_owned(), "http://127.0.0.1:8090/vertices/in".to_owned())],
        substitutes: vec!["the embedded journal stands for JetStream".to_owned()],
        failure: None,
    }
}

/// What applying answers for one object whose changes have these classes.
pub(crate) fn applied(name: &str, outcome: &str, classes: &[&str]) -> Applied {
    let change = |class: &&str| Change {
        path: "spec.vertices[1].udf.container.image".to_owned(),
        vertex: Some("cat".to_owned()),
        before: Some("a:1".to_owned()),
        after: Some("a:2".to_owned()),
        class: (*class).to_owned(),
        note: "workers are replaced one by one".to_owned(),
    };
    Applied {
        kind: "Pipeline".to_owned(),
        name: name.to_owned(),
        outcome: outcome.to_owned(),
        class: classes.last().map(|class| (*class).to_owned()),
        changes: classes.iter().map(change).collect(),
        warnings: vec!["p.yaml:3: warning: limits are not set".to_owned()],
        substitutes: vec!["the embedded journal stands for JetStream".to_owned()],
    }
}
