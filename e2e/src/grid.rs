//! The pause grid: bounds, autoscaling, data, counts of zero and kinds of sources in every mixture. One machine runs all of
//! it, a cluster the few that meet every value.

use std::fmt::{self, Display};

/// How much its source has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Data {
    /// Nothing, ever.
    Never,
    /// A few numbers a second.
    Trickle,
    /// More than a pause of any length leaves time for.
    Flood,
}

/// What it is made of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Shape {
    /// A source, a map and a sink.
    Pipeline,
    /// The same; the map is kept at no worker.
    MapAtZero,
    /// A source and a sink in one worker.
    Mono,
}

/// One pipeline of the grid.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cell {
    /// `scale.min`.
    pub min: Option<u32>,
    /// `scale.max`.
    pub max: Option<u32>,
    /// How much its source has.
    pub data: Data,
    /// Whether `scale.disabled` is unset.
    pub autoscaling: bool,
    /// What it is made of.
    pub shape: Shape,
    /// The source stays in Read until there is something.
    pub blocks: bool,
}

const MINS: [Option<u32>; 4] = [None, Some(0), Some(1), Some(3)];
const MAXS: [Option<u32>; 5] = [None, Some(0), Some(1), Some(3), Some(6)];

/// Every cell of a pipeline whose bounds are valid, and those of mono vertices with bounds of each sort.
pub fn all() -> Vec<Cell> {
    let valid =
        |min: Option<u32>| MAXS.into_iter().filter(move |max| max.is_none_or(|max| min.unwrap_or(0) <= max));
    let bounds = MINS.into_iter().flat_map(|min| valid(min).map(move |max| (min, max)));
    let pipelines = bounds.flat_map(|bounds| cells(bounds, &[Shape::Pipeline, Shape::MapAtZero]));
    let mono = [(None, None), (None, Some(0)), (Some(0), Some(1)), (Some(1), Some(1)), (Some(3), Some(6))];
    pipelines.chain(mono.into_iter().flat_map(|bounds| cells(bounds, &[Shape::Mono]))).collect()
}

/// The cells with these bounds.
fn cells((min, max): (Option<u32>, Option<u32>), shapes: &[Shape]) -> Vec<Cell> {
    let mut cells = Vec::new();
    for data in [Data::Never, Data::Trickle, Data::Flood] {
        for shape in shapes.iter().copied() {
            for (autoscaling, blocks) in [(false, false), (true, false), (false, true), (true, true)] {
                cells.push(Cell { min, max, data, autoscaling, shape, blocks });
            }
        }
    }
    cells
}

/// A few in which every value of every dimension is met, and the cases that went wrong elsewhere.
pub fn some() -> Vec<Cell> {
    use Data::{Flood, Never, Trickle};
    use Shape::{MapAtZero, Mono, Pipeline};
    let cell =
        |min, max, data, (autoscaling, shape, blocks)| Cell { min, max, data, autoscaling, shape, blocks };
    vec![
        cell(Some(3), Some(6), Never, (true, Pipeline, false)),
        cell(Some(3), Some(6), Never, (true, Pipeline, true)),
        cell(Some(1), Some(1), Never, (true, Pipeline, true)),
        cell(Some(0), Some(0), Flood, (true, Pipeline, false)),
        cell(None, None, Trickle, (true, MapAtZero, true)),
        cell(None, Some(1), Flood, (false, MapAtZero, false)),
        cell(Some(0), Some(3), Trickle, (false, Pipeline, false)),
        cell(Some(1), Some(6), Flood, (true, MapAtZero, true)),
        cell(Some(3), Some(3), Flood, (false, Pipeline, true)),
        cell(None, Some(0), Never, (false, Pipeline, false)),
        cell(Some(1), None, Trickle, (false, MapAtZero, false)),
        cell(Some(0), Some(1), Never, (true, MapAtZero, false)),
        cell(Some(1), Some(3), Never, (true, Mono, true)),
        cell(Some(0), Some(1), Trickle, (true, Mono, false)),
        cell(Some(3), Some(6), Flood, (false, Mono, true)),
    ]
}

impl Cell {
    /// Whether its source is ever read.
    pub fn reads(self) -> bool {
        self.max != Some(0) && self.data != Data::Never
    }
}

impl Display for Cell {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let count = |count: Option<u32>| count.map_or_else(|| "unset".to_owned(), |count| count.to_string());
        let word = |is: bool, yes: &'static str, no: &'static str| if is { yes } else { no };
        let Self { min, max, data, autoscaling, shape, blocks } = self;
        let shape = match shape {
            Shape::Pipeline => "pipeline",
            Shape::MapAtZero => "map at zero",
            Shape::Mono => "mono vertex",
        };
        write!(
            f,
            "| {:>5} | {:>5} | {:7} | {:11} | {:11} | {:7} |",
            count(*min),
            count(*max),
            format!("{data:?}"),
            word(*autoscaling, "on", "off"),
            shape,
            word(*blocks, "blocks", "honours")
        )
    }
}

/// The two lines above a table of cells; `more` names the columns after those of a cell.
pub fn head(more: &[&str]) -> String {
    let columns = ["  min", "  max", "data   ", "autoscaling", "shape      ", "source "];
    let row = |cells: Vec<String>| format!("|{}|", cells.join("|"));
    let all = || columns.iter().chain(more);
    let names = row(all().map(|name| format!(" {name} ")).collect());
    let rule = row(all().map(|name| "-".repeat(name.len() + 2)).collect());
    format!("{names}\n{rule}")
}
