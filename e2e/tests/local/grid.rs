//! The pause grid: whatever bounds, autoscaling, data, counts of zero and kinds of sources there are, a pause ends drained,
//! and going on brings back what was there.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use e2e::grid::{self, Cell, Data, Shape};
use e2e::lab::{Lab, is_long};
use e2e::manifest::Pipeline;
use e2e::up::Up;
use e2e::wait;

/// Objects that run side by side.
const BESIDE: usize = 15;

/// A cell as it runs on this machine.
fn local(cell: Cell, lab: &Lab, number: usize) -> Pipeline {
    let name = format!("cell-{number}");
    let bound = |name: &str, value: Option<u32>| value.map(|value| format!(", {name}: {value}"));
    let bounds = [bound("min", cell.min), bound("max", cell.max)].map(Option::unwrap_or_default).concat();
    let scale = format!("scale: {{disabled: {}{bounds}}}", !cell.autoscaling);
    let terms = match cell.data {
        Data::Never => (0, 1),
        Data::Trickle => (1_000_000, 10),
        Data::Flood => (1_000_000, if is_long() { 1_000 } else { 500 }),
    };
    let mut pipeline = match cell.shape {
        Shape::Pipeline => three(lab, &name, terms, (&scale, &scale)),
        Shape::MapAtZero => three(lab, &name, terms, (&scale, "scale: {min: 0, max: 0}")),
        Shape::Mono => Pipeline::mono(lab, &name, terms).with(&scale),
    };
    if cell.blocks {
        pipeline.exec[0].push_str(" --block");
    }
    pipeline
}

/// A pipeline of three vertices, the middle one with its own bounds.
fn three(lab: &Lab, name: &str, terms: (u64, u64), (scale, middle): (&str, &str)) -> Pipeline {
    let out = lab.path(&format!("{name}.out"));
    let cat = "udf: {container: {image: quay.io/numaio/numaflow-go/map-cat:stable}}";
    Pipeline::named(name)
        .numbers(lab, "in", terms, scale)
        .vertex("mid", &format!("{cat}, {middle}"))
        .vertex("out", &format!("sink: {{file: {{path: {}}}}}, {scale}", out.display()))
        .edge("in", "mid")
        .edge("mid", "out")
}

/// Runs cells side by side: lets data in, pauses, looks, goes on, and pauses once more. Gives a row for each.
fn run(cells: &[Cell]) -> Vec<String> {
    let lab = Lab::new().unwrap();
    let up = Up::start(&lab).unwrap();
    let pipelines: Vec<_> =
        cells.iter().enumerate().map(|(number, cell)| (*cell, local(*cell, &lab, number))).collect();
    for (_, pipeline) in &pipelines {
        pipeline.apply(&lab, &up).unwrap();
    }
    for (cell, pipeline) in &pipelines {
        wait_for_data(&lab, &up, *cell, pipeline, 0);
    }
    let before: Vec<_> = pipelines.iter().map(|(cell, pipeline)| counts(&up, *cell, pipeline)).collect();
    let rows = pause_all(&lab, &up, &pipelines);
    let taken_in: Vec<_> = pipelines.iter().map(|(_, pipeline)| pipeline.acknowledged(&lab).len()).collect();
    for (_, pipeline) in &pipelines {
        up.resume(&pipeline.name).unwrap();
    }
    for (((cell, pipeline), before), taken_in) in pipelines.iter().zip(before).zip(taken_in) {
        wait_for_data(&lab, &up, *cell, pipeline, taken_in);
        up.until(&pipeline.name, "has what it had before the pause", |_| {
            (counts(&up, *cell, pipeline) == before).then_some(())
        });
    }
    pause_all(&lab, &up, &pipelines);
    up.down().unwrap();
    rows
}

/// Waits until a pipeline runs with workers that are ready and, where any can come, has taken data in.
fn wait_for_data(lab: &Lab, up: &Up<'_>, cell: Cell, pipeline: &Pipeline, before: usize) {
    up.until(&pipeline.name, "runs", |object| {
        let ready = |vertex: &String| object.ready(vertex) as u64 == object.desired(vertex);
        let all = !object.vertices().is_empty() && object.vertices().iter().all(ready);
        (object.status_phase() == "Running" && all).then_some(())
    });
    if cell.reads() {
        wait::until(&format!("{} of {cell:?} takes data in", pipeline.name), || {
            (pipeline.acknowledged(lab).len() > before).then_some(())
        });
    }
}

/// The workers that each vertex should have, where nothing but the manifest decides that.
fn counts(up: &Up<'_>, cell: Cell, pipeline: &Pipeline) -> Vec<u64> {
    let object = up.api().object(&pipeline.name).unwrap();
    let is_fixed = !cell.autoscaling || cell.min.unwrap_or(0) == cell.max.unwrap_or(50);
    if is_fixed {
        object.vertices().iter().map(|vertex| object.desired(vertex)).collect()
    } else {
        Vec::new()
    }
}

fn pause_all(lab: &Lab, up: &Up<'_>, pipelines: &[(Cell, Pipeline)]) -> Vec<String> {
    let begun = Instant::now();
    for (_, pipeline) in pipelines {
        up.pause(&pipeline.name).unwrap();
    }
    let row = |(cell, pipeline): &(Cell, Pipeline)| {
        let what = format!("is paused and drained; its cell is {cell}");
        // The grace period of 30 s is over by then, so that a verdict that came too late is seen as well.
        let limit = Duration::from_secs(40);
        let object = up.within(limit, &pipeline.name, &what, |object| {
            (object.is_paused() && object.is_drained()).then(|| object.clone())
        });
        let took = begun.elapsed().as_secs_f64();
        let out: BTreeSet<u64> = pipeline.written(lab).into_iter().collect();
        assert_eq!(out, pipeline.acknowledged(lab), "{cell}: what came out is not what went in");
        assert_eq!(out.len(), pipeline.written(lab).len(), "{cell}: something came out twice");
        format!("{cell} {:16} | {took:5.1} | {:7} |", object.phase(), out.len())
    };
    pipelines.iter().map(row).collect()
}

#[test]
fn every_cell_of_the_pause_grid_ends_drained() {
    let cells = if is_long() { grid::all() } else { grid::some() };
    println!("{}", grid::head(&["verdict         ", "s    ", "records"]));
    for cells in cells.chunks(BESIDE) {
        for row in run(cells) {
            println!("{row}");
        }
    }
}
