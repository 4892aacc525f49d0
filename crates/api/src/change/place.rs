//! Places in a manifest or in a worker, with the elements of named lists by their names instead of their positions, and
//! from which places of a manifest a place in a worker comes. The invariant: moving an element of a named list changes
//! no place.

use std::collections::BTreeMap;

use serde_json::{Map, Value};

use crate::path::Path;

/// The lists of a spec whose elements have names.
const NAMED_LISTS: [&str; 3] = ["vertices", "edges", "sideInputs"];

/// Where the elements of named lists stand, by list and name.
pub(super) type Positions = BTreeMap<(&'static str, String), usize>;

/// Names from the root down.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Place {
    names: Vec<String>,
}

impl Place {
    pub(super) fn of(names: &[&str]) -> Self {
        Self { names: names.iter().map(|name| (*name).to_owned()).collect() }
    }

    pub(super) fn inside(&self, name: &str) -> Self {
        let mut names = self.names.clone();
        names.push(name.to_owned());
        Self { names }
    }

    /// True when one of the two is the other or lies inside it.
    pub(super) fn overlaps(&self, other: &Self) -> bool {
        self.names.iter().zip(&other.names).all(|(left, right)| left == right)
    }

    pub(super) fn names(&self) -> Vec<&str> {
        self.names.iter().map(String::as_str).collect()
    }

    /// What follows `spec`; nothing for a place outside of it.
    pub(super) fn of_spec(&self) -> Vec<&str> {
        match self.names().as_slice() {
            ["spec", rest @ ..] => rest.to_vec(),
            _ => Vec::new(),
        }
    }

    /// The path that people write; elements that are in none of the lists stand at position 0.
    pub(super) fn path(&self, positions: &[&Positions]) -> Path {
        let names = self.names();
        let mut path = Path::root();
        for (depth, name) in names.iter().enumerate() {
            let list = match names[..depth] {
                ["spec", list] => NAMED_LISTS.into_iter().find(|named| *named == list),
                _ => None,
            };
            path = match list {
                Some(list) => {
                    let key = (list, (*name).to_owned());
                    let position = positions.iter().find_map(|positions| positions.get(&key));
                    path.index(position.copied().unwrap_or(0))
                }
                None => path.field(name),
            };
        }
        path
    }
}

/// The name of an edge.
fn edge(from: &str, to: &str) -> String {
    format!("{from} to {to}")
}

/// Makes the named lists of a spec objects.
pub(super) fn arrange(spec: &mut Value) -> Positions {
    let mut positions = Positions::new();
    for list in NAMED_LISTS {
        let Some(Value::Array(elements)) = spec.get_mut(list).map(Value::take) else { continue };
        let mut named = Map::new();
        for (position, element) in elements.into_iter().enumerate() {
            let text = |field: &str| element.get(field).and_then(Value::as_str).unwrap_or_default();
            let name = if list == "edges" { edge(text("from"), text("to")) } else { text("name").to_owned() };
            positions.insert((list, name.clone()), position);
            named.insert(name, element);
        }
        spec[list] = Value::Object(named);
    }
    positions
}

/// The places of a pipeline's manifest that a place in a worker of the vertex comes from; the first is the vertex's own.
pub(super) fn of_pipeline(vertex: &str, place: &Place) -> Vec<Place> {
    let own = |rest: &[&str]| Place::of(&[&["spec", "vertices", vertex], rest].concat());
    let spec = |rest: &[&str]| Place::of(&[&["spec"], rest].concat());
    let of_partitions = |vertex: &str| {
        vec![
            spec(&["vertices", vertex, "partitions"]),
            spec(&["vertices", vertex, "udf", "groupBy", "keyed"]),
        ]
    };
    let of_order = |vertex: &str| vec![spec(&["vertices", vertex, "ordered"]), spec(&["ordered"])];
    match place.names().as_slice() {
        ["vertex", "limits", "concurrency"] => vec![
            own(&["limits", "concurrency"]),
            spec(&["limits", "concurrency"]),
            // It is the pipeline's batch size when nobody sets it.
            spec(&["limits", "readBatchSize"]),
        ],
        ["vertex", "limits", rest @ ..] => {
            vec![own(&[&["limits"], rest].concat()), spec(&[&["limits"], rest].concat())]
        }
        ["vertex", "partitions"] => of_partitions(vertex),
        ["vertex", "ordered", ..] => of_order(vertex),
        ["vertex", rest @ ..] => {
            vec![own(rest), spec(&[&["templates", "vertex"], rest].concat())]
        }
        ["to", to, "partitions"] => of_partitions(to),
        ["to", to, "ordered"] => {
            let mut origins = of_order(to);
            origins.push(spec(&["vertices", to, "udf", "groupBy"]));
            origins
        }
        ["to", to, "conditions", ..] => vec![spec(&["edges", &edge(vertex, to), "conditions"])],
        ["to", to, rest @ ..] => vec![spec(&[&["edges", &edge(vertex, to)], rest].concat())],
        ["from", from, ..] => vec![spec(&["edges", &edge(from, vertex)])],
        ["compression"] => vec![spec(&["interStepBuffer", "compression", "type"])],
        _ => Vec::new(),
    }
}

/// The places of a mono vertex's manifest that a place in a worker comes from.
pub(super) fn of_mono_vertex(place: &Place) -> Vec<Place> {
    let spec = |rest: &[&str]| Place::of(&[&["spec"], rest].concat());
    match place.names().as_slice() {
        ["vertex", "limits", "concurrency"] => {
            vec![spec(&["limits", "concurrency"]), spec(&["limits", "readBatchSize"])]
        }
        ["vertex", rest @ ..] => vec![spec(rest)],
        _ => Vec::new(),
    }
}
