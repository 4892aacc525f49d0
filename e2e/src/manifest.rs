//! Manifests of the pipelines and mono vertices that tests run: numbers go in, and what comes out is compared with them.

use std::collections::BTreeSet;
use std::fmt::Write as _;

use anyhow::Result;

use crate::lab::{Lab, own_program};
use crate::ledger;
use crate::up::Up;

const HEAD: &str = "apiVersion: numaflow.numaproj.io/v1alpha1\n";

/// A pipeline or a mono vertex, put together from texts.
#[derive(Clone, Debug, Default)]
pub struct Pipeline {
    /// Its name.
    pub name: String,
    /// It is a mono vertex: the settings are all there is to it.
    pub is_mono: bool,
    /// Fields of the spec beside vertices and edges, such as `lifecycle: {…}`.
    pub settings: Vec<String>,
    /// Fields of its metadata beside the name.
    pub metadata: Vec<String>,
    /// Names of vertices with their fields, in flow style.
    pub vertices: Vec<(String, String)>,
    /// From, to and further fields.
    pub edges: Vec<(String, String, String)>,
    /// Commands of its containers.
    pub exec: Vec<String>,
}

impl Pipeline {
    /// One without anything.
    pub fn named(name: &str) -> Self {
        Self { name: name.to_owned(), ..Self::default() }
    }

    /// A mono vertex with a user-defined source of `count` numbers at `rate` a second, which keeps its ledger in the lab,
    /// and a sink that writes them to a file there.
    pub fn mono(lab: &Lab, name: &str, (count, rate): (u64, u64)) -> Self {
        let mono = Self { is_mono: true, ..Self::named(name) };
        let (source, sink) = (mono.source(lab, (count, rate)), lab.path(&mono.out()));
        mono.with("source: {udsource: {container: {image: numbers}}}")
            .with(&format!("sink: {{file: {{path: {}}}}}", sink.display()))
            .exec(&format!("{name}/udsource"), &source)
    }

    /// With another field of the spec.
    #[must_use]
    pub fn with(mut self, field: &str) -> Self {
        self.settings.push(field.to_owned());
        self
    }

    /// With another vertex; its fields in flow style, without braces.
    #[must_use]
    pub fn vertex(mut self, name: &str, fields: &str) -> Self {
        self.vertices.push((name.to_owned(), fields.to_owned()));
        self
    }

    /// With an edge.
    #[must_use]
    pub fn edge(self, from: &str, to: &str) -> Self {
        self.edge_with(from, to, "")
    }

    /// With an edge for messages with a tag.
    #[must_use]
    pub fn edge_if(self, from: &str, to: &str, tag: &str) -> Self {
        self.edge_with(from, to, &format!(", conditions: {{tags: {{operator: or, values: [{tag}]}}}}"))
    }

    fn edge_with(mut self, from: &str, to: &str, more: &str) -> Self {
        self.edges.push((from.to_owned(), to.to_owned(), more.to_owned()));
        self
    }

    /// With a user-defined source of `count` numbers at `rate` a second, which keeps its ledger in the lab.
    #[must_use]
    pub fn numbers(self, lab: &Lab, name: &str, (count, rate): (u64, u64), fields: &str) -> Self {
        let command = self.source(lab, (count, rate));
        let vertex = format!("source: {{udsource: {{container: {{image: numbers}}}}}}{}", more(fields));
        self.vertex(name, &vertex).exec(name, &command)
    }

    fn source(&self, lab: &Lab, (count, rate): (u64, u64)) -> String {
        format!("{} {count} {rate} {}", own_program("sdk_source"), lab.path(&self.ledger()).display())
    }

    /// With a map that `sdk_map` with these arguments plays.
    #[must_use]
    pub fn map(self, name: &str, arguments: &str, fields: &str) -> Self {
        let vertex = format!("udf: {{container: {{image: map}}}}{}", more(fields));
        self.vertex(name, &vertex).exec(name, &map_command(arguments))
    }

    /// With a sink that `sdk_sink` plays, which keeps its lines in the lab.
    #[must_use]
    pub fn lines(self, lab: &Lab, name: &str, arguments: &str, fields: &str) -> Self {
        let file = lab.path(&self.out());
        let command = format!("{} {} --once {arguments}", own_program("sdk_sink"), file.display());
        let vertex = format!("sink: {{udsink: {{container: {{image: lines}}}}}}{}", more(fields));
        self.vertex(name, &vertex).exec(name, &command)
    }

    /// With a command for the container of a vertex.
    #[must_use]
    pub fn exec(mut self, vertex: &str, command: &str) -> Self {
        self.exec.push(format!("{vertex}={command}"));
        self
    }

    /// Applies it.
    pub fn apply(&self, lab: &Lab, up: &Up<'_>) -> Result<String> {
        let manifest = lab.write(&format!("{}.yaml", self.name), &self.text())?;
        up.apply(&manifest, &self.exec)
    }

    /// Pauses it and holds what came out against what went in: every number once, but those that `may_miss` allows.
    /// Gives the numbers that are missing.
    ///
    /// # Panics
    /// When something else is missing, or came out twice.
    pub fn assert_exact(&self, lab: &Lab, up: &Up<'_>, may_miss: impl Fn(u64) -> bool) -> Vec<u64> {
        let (missing, early) = self.compared(lab, up);
        assert!(early.is_empty(), "{}: {early:?} came out and are not acknowledged", self.name);
        let lost: Vec<_> = missing.iter().filter(|number| !may_miss(**number)).collect();
        assert!(lost.is_empty(), "{}: {} are lost: {lost:?}", self.name, lost.len());
        missing
    }

    /// Pauses it after somebody was killed: every number that its source may forget came out, once. Gives the numbers that
    /// came out although the source may not forget them yet: a kill between the commit and the acknowledgement leaves
    /// them to be given once more, which [`Pipeline::acknowledged`] shows when it goes on.
    ///
    /// # Panics
    /// When something is missing, or came out twice.
    pub fn assert_nothing_lost(&self, lab: &Lab, up: &Up<'_>) -> BTreeSet<u64> {
        let (missing, early) = self.compared(lab, up);
        assert!(missing.is_empty(), "{}: {} are lost: {missing:?}", self.name, missing.len());
        early
    }

    /// Pauses it until it is drained; gives what was acknowledged and did not come out, and the other way round.
    fn compared(&self, lab: &Lab, up: &Up<'_>) -> (Vec<u64>, BTreeSet<u64>) {
        up.pause(&self.name).expect("a pause is asked for");
        up.until(&self.name, "is drained", |object| {
            (object.is_paused() && object.is_drained()).then_some(())
        });
        let (taken_in, written) = (self.acknowledged(lab), self.written(lab));
        let out: BTreeSet<u64> = written.iter().copied().collect();
        assert_eq!(
            out.len(),
            written.len(),
            "{}: lines came out twice although the sink keeps them single",
            self.name
        );
        (taken_in.difference(&out).copied().collect(), out.difference(&taken_in).copied().collect())
    }

    /// The numbers that its source may forget.
    pub fn acknowledged(&self, lab: &Lab) -> BTreeSet<u64> {
        ledger::acknowledged(&lab.path(&self.ledger()))
    }

    /// The numbers that its sink has written, sorted, each as often as it was.
    pub fn written(&self, lab: &Lab) -> Vec<u64> {
        lab.numbers(&self.out())
    }

    /// How often its sink was given what it had.
    pub fn repeated(&self, lab: &Lab) -> usize {
        lab.lines(&format!("{}.repeated", self.out())).len()
    }

    /// The name of its source's ledger.
    pub fn ledger(&self) -> String {
        format!("{}.ledger", self.name)
    }

    /// The name of the file that its sink writes.
    pub fn out(&self) -> String {
        format!("{}.out", self.name)
    }

    /// The manifest.
    pub fn text(&self) -> String {
        let mut metadata = format!("name: {}", self.name);
        self.metadata.iter().for_each(|field| metadata.push_str(&more(field)));
        let kind = if self.is_mono { "MonoVertex" } else { "Pipeline" };
        let mut text = format!("{HEAD}kind: {kind}\nmetadata: {{{metadata}}}\nspec:\n");
        let write =
            |text: &mut String, line: String| writeln!(text, "  {line}").expect("a String takes any text");
        self.settings.iter().for_each(|field| write(&mut text, field.clone()));
        if self.is_mono {
            return text;
        }
        write(&mut text, "vertices:".to_owned());
        for (name, fields) in &self.vertices {
            write(&mut text, format!("- {{name: {name}, {fields}}}"));
        }
        write(&mut text, "edges:".to_owned());
        for (from, to, more) in &self.edges {
            write(&mut text, format!("- {{from: {from}, to: {to}{more}}}"));
        }
        text
    }
}

/// The command that starts `sdk_map` with these arguments.
pub fn map_command(arguments: &str) -> String {
    format!("{} {arguments}", own_program("sdk_map")).trim_end().to_owned()
}

fn more(fields: &str) -> String {
    if fields.is_empty() { String::new() } else { format!(", {fields}") }
}
