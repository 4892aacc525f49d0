//! The graph of a pipeline: which edges close a cycle, whatever the order of the manifest.

use std::collections::BTreeSet;
use std::fmt::Write as _;

use api::load::{Object, load};
use worker::Graph;

const CASES: u64 = 40;

/// A pipeline with two sources; every other vertex is a map, and the edges are as given.
fn manifest(vertices: &[String], edges: &[(String, String)]) -> String {
    let mut text =
        "apiVersion: numaflow.numaproj.io/v1alpha1\nkind: Pipeline\nmetadata: {name: p}\nspec:\n".to_owned();
    text.push_str("  vertices:\n");
    for name in vertices {
        let what = match name.split('-').next().unwrap() {
            "in" => "source: {generator: {}}",
            "out" => "sink: {blackhole: {}}",
            _ => "udf: {container: {image: cat}}",
        };
        writeln!(text, "  - {{name: {name}, {what}}}").unwrap();
    }
    text.push_str("  edges:\n");
    for (from, to) in edges {
        writeln!(text, "  - {{from: {from}, to: {to}}}").unwrap();
    }
    text
}

/// The edges that close a cycle.
fn back_edges(text: &str) -> BTreeSet<(String, String)> {
    let (objects, _) = load([("p.yaml", text.as_bytes())]).accept().unwrap();
    let Some(Object::Pipeline(pipeline)) = objects.first() else { panic!("a pipeline") };
    let settings = api::resolve::pipeline(pipeline);
    let graph = Graph::of(&settings);
    let of = |name: &str| {
        let back = graph.edges_from(name).into_iter().filter(|edge| edge.back);
        back.map(|edge| (name.to_owned(), edge.to.to_string())).collect::<Vec<_>>()
    };
    settings.vertices.iter().flat_map(|vertex| of(&vertex.name)).collect()
}

/// Maps in a row behind two sources, with more edges among them at random, some of them back.
fn random_pipeline(random: &mut fastrand::Rng) -> (Vec<String>, Vec<(String, String)>) {
    let maps: Vec<String> = (0..random.usize(2..7)).map(|number| format!("map-{number}")).collect();
    let mut edges: BTreeSet<(String, String)> =
        maps.windows(2).map(|pair| (pair[0].clone(), pair[1].clone())).collect();
    edges.insert(("in-b".to_owned(), maps[0].clone()));
    edges.insert(("in-a".to_owned(), maps[random.usize(..maps.len())].clone()));
    edges.insert((maps[maps.len() - 1].clone(), "out".to_owned()));
    for _ in 0..random.usize(1..6) {
        let mut one = || maps[random.usize(..maps.len())].clone();
        edges.insert((one(), one()));
    }
    let vertices = ["in-a", "in-b", "out"].map(str::to_owned).into_iter().chain(maps).collect();
    (vertices, edges.into_iter().collect())
}

/// Whether every edge but those in `back` leads from an earlier to a later vertex of some order.
fn is_acyclic(edges: &[(String, String)], back: &BTreeSet<(String, String)>) -> bool {
    let mut left: Vec<_> = edges.iter().filter(|edge| !back.contains(edge)).collect();
    loop {
        let before = left.len();
        let targets: BTreeSet<_> = left.iter().map(|(_, to)| to.clone()).collect();
        left.retain(|(from, _)| targets.contains(from));
        if left.len() == before {
            return left.is_empty();
        }
    }
}

#[test]
fn the_order_of_a_manifest_does_not_choose_which_edges_close_a_cycle() {
    let mut with_cycles = 0;
    for seed in 0..CASES {
        let mut random = fastrand::Rng::with_seed(seed);
        let (mut vertices, mut edges) = random_pipeline(&mut random);
        let expected = back_edges(&manifest(&vertices, &edges));
        assert!(is_acyclic(&edges, &expected), "seed {seed}: {expected:?} of {edges:?}");
        with_cycles += u64::from(!expected.is_empty());
        for _ in 0..3 {
            random.shuffle(&mut vertices);
            random.shuffle(&mut edges);
            assert_eq!(
                back_edges(&manifest(&vertices, &edges)),
                expected,
                "seed {seed}: {vertices:?} {edges:?}"
            );
        }
    }
    assert!(with_cycles > CASES / 3, "only {with_cycles} of {CASES} had a cycle");
}
