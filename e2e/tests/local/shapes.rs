//! The shapes of the reference's examples, with exact results: a bounded file goes in, and what comes out is compared.

use std::fmt::Write as _;

use e2e::lab::Lab;

const HEAD: &str =
    "apiVersion: numaflow.numaproj.io/v1alpha1\nkind: Pipeline\nmetadata: {name: shape}\nspec:\n";

/// The numbers below `count`, one on each line.
fn numbers(count: usize) -> String {
    (0..count).fold(String::new(), |mut text, number| {
        writeln!(text, "{number}").expect("a String takes any text");
        text
    })
}

fn vertex(name: &str, what: &str) -> String {
    format!("  - name: {name}\n    {what}\n")
}

fn map(name: &str, image: &str) -> String {
    vertex(name, &format!("udf: {{container: {{image: quay.io/numaio/numaflow-go/{image}:stable}}}}"))
}

fn source() -> String {
    vertex("in", "source: {file: {path: in.txt}}")
}

fn sink(name: &str) -> String {
    vertex(name, &format!("sink: {{file: {{path: {name}.txt}}}}"))
}

/// Runs a pipeline over the numbers below `count` until its source has ended and everything is out.
fn run(vertices: &str, edges: &str, count: usize) -> Lab {
    let lab = Lab::new().unwrap();
    lab.write("in.txt", &numbers(count)).unwrap();
    let manifest =
        lab.write("shape.yaml", &format!("{HEAD}  vertices:\n{vertices}  edges:\n{edges}")).unwrap();
    let status = lab.run(&manifest, &[]).unwrap().ends().unwrap();
    assert!(status.success(), "{status}: {}", lab.log());
    lab
}

fn sorted(lab: &Lab, name: &str) -> Vec<usize> {
    let mut found: Vec<usize> = lab.lines(name).iter().map(|line| line.parse().unwrap()).collect();
    found.sort_unstable();
    found
}

#[test]
fn a_simple_pipeline_passes_every_message_once() {
    let vertices = source() + &map("cat", "map-cat") + &sink("out");
    let lab = run(&vertices, "  - {from: in, to: cat}\n  - {from: cat, to: out}\n", 20_000);
    assert_eq!(sorted(&lab, "out.txt"), (0..20_000).collect::<Vec<_>>());
}

#[test]
fn even_and_odd_numbers_part_ways_and_meet() {
    let vertices = source() + &map("parity", "map-even-odd") + &sink("even") + &sink("odd") + &sink("number");
    let edges = "  - {from: in, to: parity}\n\
        \x20 - {from: parity, to: even, conditions: {tags: {operator: or, values: [even-tag]}}}\n\
        \x20 - {from: parity, to: odd, conditions: {tags: {operator: not, values: [even-tag]}}}\n\
        \x20 - {from: parity, to: number, conditions: {tags: {operator: or, values: [odd-tag, even-tag]}}}\n";
    let lab = run(&vertices, edges, 5_000);
    assert_eq!(sorted(&lab, "even.txt"), (0..5_000).step_by(2).collect::<Vec<_>>());
    assert_eq!(sorted(&lab, "odd.txt"), (1..5_000).step_by(2).collect::<Vec<_>>());
    assert_eq!(sorted(&lab, "number.txt"), (0..5_000).collect::<Vec<_>>());
}

#[test]
fn a_join_gets_everything_from_both_sides() {
    let vertices = source() + &map("left", "map-cat") + &map("right", "map-cat") + &sink("out");
    let edges = "  - {from: in, to: left}\n  - {from: in, to: right}\n  - {from: left, to: out}\n  - {from: right, to: out}\n";
    let lab = run(&vertices, edges, 5_000);
    let expected: Vec<_> = (0..5_000).flat_map(|number| [number, number]).collect();
    assert_eq!(sorted(&lab, "out.txt"), expected);
}

#[test]
fn several_partitions_and_replicas_lose_and_double_nothing() {
    let vertices = source()
        + &map("cat", "map-cat")
            .replace("    udf", "    partitions: 3\n    scale: {min: 4, max: 4}\n    udf")
        + &sink("out").replace("    sink", "    partitions: 2\n    sink");
    let lab = run(&vertices, "  - {from: in, to: cat}\n  - {from: cat, to: out}\n", 20_000);
    assert_eq!(sorted(&lab, "out.txt"), (0..20_000).collect::<Vec<_>>());
}

#[test]
fn packed_buffers_give_back_what_was_put_in() {
    let vertices = source() + &map("cat", "map-cat") + &sink("out");
    for codec in ["gzip", "zstd", "LZ4"] {
        let edges = format!(
            "  - {{from: in, to: cat}}\n  - {{from: cat, to: out}}\n  interStepBuffer: {{compression: {{type: {codec}}}}}\n"
        );
        let lab = run(&vertices, &edges, 5_000);
        assert_eq!(sorted(&lab, "out.txt"), (0..5_000).collect::<Vec<_>>(), "{codec}");
    }
}

#[test]
fn an_ordered_pipeline_keeps_the_order_of_its_source() {
    let vertices = source() + &map("cat", "map-cat") + &sink("out");
    let edges = "  - {from: in, to: cat}\n  - {from: cat, to: out}\n  ordered: {enabled: true}\n";
    let lab = run(&vertices, edges, 2_000);
    let found: Vec<usize> = lab.lines("out.txt").iter().map(|line| line.parse().unwrap()).collect();
    assert_eq!(found, (0..2_000).collect::<Vec<_>>());
}

#[test]
fn a_mono_vertex_passes_every_message_once() {
    let lab = Lab::new().unwrap();
    lab.write("in.txt", &numbers(20_000)).unwrap();
    let manifest = "apiVersion: numaflow.numaproj.io/v1alpha1\nkind: MonoVertex\nmetadata: {name: mono}\nspec:\n\
        \x20 source: {file: {path: in.txt}}\n\
        \x20 udf: {container: {image: quay.io/numaio/numaflow-go/map-cat:stable}}\n\
        \x20 sink: {file: {path: out.txt}}\n";
    let manifest = lab.write("mono.yaml", manifest).unwrap();
    let status = lab.run(&manifest, &[]).unwrap().ends().unwrap();
    assert!(status.success(), "{}", lab.log());
    assert_eq!(sorted(&lab, "out.txt"), (0..20_000).collect::<Vec<_>>());
}

#[test]
fn a_drain_leaves_nothing_inside_and_the_next_run_goes_on() {
    let lab = Lab::new().unwrap();
    lab.write("in.txt", &numbers(200_000)).unwrap();
    let vertices = source() + &map("cat", "map-cat") + &sink("out");
    let edges = "  - {from: in, to: cat}\n  - {from: cat, to: out}\n";
    let manifest =
        lab.write("shape.yaml", &format!("{HEAD}  vertices:\n{vertices}  edges:\n{edges}")).unwrap();
    let first = lab.run(&manifest, &[]).unwrap();
    e2e::wait::until("something is out", || (!lab.lines("out.txt").is_empty()).then_some(()));
    assert!(first.interrupt().unwrap().success(), "{}", lab.log());
    let drained = sorted(&lab, "out.txt");
    assert_eq!(drained, (0..drained.len()).collect::<Vec<_>>(), "a drain lets out exactly what came in");
    assert!(lab.run(&manifest, &[]).unwrap().ends().unwrap().success(), "{}", lab.log());
    assert_eq!(sorted(&lab, "out.txt"), (0..200_000).collect::<Vec<_>>());
}
