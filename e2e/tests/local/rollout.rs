//! A pipeline of numbers whose map gets other versions, and how that ends.

use e2e::lab::Lab;
use e2e::manifest::Pipeline;
use e2e::object::Object;
use e2e::up::Up;
use e2e::wait;

/// More numbers than come out in any test.
pub(crate) const ENDLESS: u64 = 100_000_000;

/// So many numbers, so many a second, through a map with so many workers, arguments and a strategy.
pub(crate) fn numbers(
    lab: &Lab,
    (name, replicas): (&str, u32),
    (count, rate): (u64, u64),
    arguments: &str,
    strategy: &str,
) -> Pipeline {
    let one = "scale: {min: 1, max: 1}, updateStrategy: {minReadySeconds: 0}";
    let map = format!("scale: {{min: {replicas}, max: {replicas}}}, updateStrategy: {{{strategy}}}");
    Pipeline::named(name)
        .numbers(lab, "in", (count, rate), one)
        .map("cat", arguments, &map)
        .lines(lab, "out", "", one)
        .edge("in", "cat")
        .edge("cat", "out")
}

/// Applies a pipeline and waits until it runs and records come out. Gives the version that its map runs.
pub(crate) fn begin(lab: &Lab, up: &Up<'_>, pipeline: &Pipeline) -> String {
    pipeline.apply(lab, up).unwrap();
    let version = up.proved(&pipeline.name).only_version("cat").unwrap();
    more_comes_out(lab, pipeline);
    version
}

pub(crate) fn more_comes_out(lab: &Lab, pipeline: &Pipeline) {
    let before = pipeline.written(lab).len();
    wait::until("more comes out", || (pipeline.written(lab).len() > before + 100).then_some(()));
}

/// Waits until another version than `old` serves alone.
pub(crate) fn rolled_out(up: &Up<'_>, name: &str, old: &str) -> Object {
    up.until(name, "is rolled out", |object| {
        let is_new = object.only_version("cat").is_some_and(|version| version != old);
        (is_new && object.is_steady()).then(|| object.clone())
    })
}

/// Waits until `old` serves alone again, and says for what reason.
pub(crate) fn rolled_back(up: &Up<'_>, name: &str, old: &str, reason: &str) -> Object {
    up.until(name, "is rolled back", |object| {
        let is_back = object.only_version("cat").as_deref() == Some(old);
        let says_so = object.phase().starts_with("Rolled back") && object.rollout("cat").contains(reason);
        (is_back && says_so && object.is_steady()).then(|| object.clone())
    })
}

/// How many lines end with a mark.
pub(crate) fn marks(lab: &Lab, pipeline: &Pipeline, mark: &str) -> usize {
    lab.lines(&pipeline.out()).iter().filter(|line| line.ends_with(mark)).count()
}
