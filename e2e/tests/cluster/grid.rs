//! Cells of the pause grid on pods: whatever bounds, autoscaling, data, counts of zero and kinds of sources there are, a pause
//! ends drained, going on brings back what was there, and every number arrives once. The whole grid runs on one machine in
//! `tests/it/grid.rs`; here are twelve of its cells, named as there.

use std::time::{Duration, Instant};

use e2e::grid::{self, Cell, Data, Shape};
use serde_json::{Value, json};

use crate::kubectl::{self, LIMIT, ask_for};
use crate::lines::Lines;
use crate::manifests::{PIPELINE, drop_claim, finish_exact, kept_numbers, log, map, pipeline};
use crate::pausing::assert_drained;
use crate::watch::Watch;

/// Cells that run side by side.
const BESIDE: usize = 3;
/// The grace period is 30 s; a verdict that needs more of it than this came too late.
const PAUSED_WITHIN: Duration = Duration::from_secs(25);

/// How many numbers its source has, and how many a second it gives.
fn terms(cell: Cell) -> (u64, u64) {
    match cell.data {
        Data::Never => (0, 1),
        Data::Trickle => (400, 10),
        Data::Flood => (6_000, 300),
    }
}

/// A cell as it runs on pods. A map at zero was scaled to no worker by hand.
fn manifest(cell: Cell, name: &str) -> Value {
    let mut scale = json!({"disabled": !cell.autoscaling});
    for (bound, value) in [("min", cell.min), ("max", cell.max)] {
        if let Some(value) = value {
            scale[bound] = json!(value);
        }
    }
    let more: &[&str] = if cell.blocks { &["--block"] } else { &[] };
    let (mut source, mut sink) = (kept_numbers(name, terms(cell), more), log());
    let mut middle = map(1, &[], json!({}));
    middle["scale"] = if is_map_at_zero(cell) { json!({"disabled": true}) } else { scale.clone() };
    source["scale"] = scale.clone();
    sink["scale"] = scale;
    pipeline(name, vec![source, middle, sink])
}

fn is_map_at_zero(cell: Cell) -> bool {
    cell.shape == Shape::MapAtZero
}

/// One cell as it runs.
struct Running {
    cell: Cell,
    name: String,
    lines: Lines,
}

impl Running {
    fn start(number: usize, cell: Cell) -> Self {
        let name = format!("cell-{number}");
        kubectl::apply(&manifest(cell, &name));
        let lines = Lines::of_sink(&name);
        Self { cell, name, lines }
    }

    /// Waits until it runs and, where any can come, data has come in.
    fn wait_for_data(&self) {
        kubectl::rolled_out(&self.name);
        if self.cell.reads() {
            self.lines.until_more(0, 20);
        }
        if is_map_at_zero(self.cell) {
            self.scale_map(0);
            kubectl::until("vertex", &format!("{}-cat", self.name), "at no worker", |vertex| {
                vertex["status"]["replicas"] == 0
            });
        }
    }

    /// Waits for the pause that was asked for, and gives a row about it.
    fn paused(&self, asked: Instant) -> String {
        let Self { cell, name, lines } = self;
        let mut watch = Watch::one("pipeline", name, LIMIT);
        let (object, _) = watch.until(&format!("{name} is paused; its cell is {cell}"), |objects| {
            objects.get(name).filter(|object| object["status"]["phase"] == "Paused").cloned()
        });
        let took = asked.elapsed();
        assert_drained(name, &object);
        assert!(took < PAUSED_WITHIN, "{cell}: paused after {took:?}");
        let twice = lines.numbers().into_iter().find(|(_, times)| *times > 1);
        assert_eq!(twice, None, "{cell}: a number came out twice");
        format!("{cell} {:5.1} | {:7} |", took.as_secs_f64(), lines.len())
    }

    /// Goes on after the pause; every number that there is arrives once, unless nothing ever reads.
    fn finish(self) {
        if !self.cell.reads() {
            assert_eq!(self.lines.len(), 0, "{}: something came out of nothing", self.cell);
            kubectl::delete("pipeline", &self.name, PIPELINE);
            drop_claim(&self.name);
            return;
        }
        ask_for(&self.name, "Running");
        if is_map_at_zero(self.cell) {
            self.scale_map(1);
        }
        finish_exact(&self.name, self.lines, terms(self.cell).0);
    }

    fn scale_map(&self, replicas: u32) {
        let (vertex, replicas) = (format!("{}-cat", self.name), format!("--replicas={replicas}"));
        kubectl::run(&["scale", "vertex", &vertex, &replicas]);
    }
}

#[test]
fn twelve_cells_of_the_pause_grid_end_drained() {
    println!("{}", grid::head(&["s    ", "records"]));
    let of_pipelines = grid::some().into_iter().filter(|cell| cell.shape != Shape::Mono);
    let cells: Vec<(usize, Cell)> = of_pipelines.enumerate().collect();
    for side_by_side in cells.chunks(BESIDE) {
        let running: Vec<Running> =
            side_by_side.iter().map(|(number, cell)| Running::start(*number, *cell)).collect();
        running.iter().for_each(Running::wait_for_data);
        let asked = Instant::now();
        for cell in &running {
            ask_for(&cell.name, "Paused");
        }
        for cell in &running {
            println!("{}", cell.paused(asked));
        }
        running.into_iter().for_each(Running::finish);
    }
}
