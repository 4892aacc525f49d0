//! Three NATS servers that keep everything three times, killed one at a time: every number comes out, and nobody has to be
//! started again.

use e2e::lab::{self, Lab, is_long};
use e2e::nats::Cluster;
use e2e::up::Up;

use super::{ENDLESS, numbers, until_more};

#[test]
fn every_number_comes_out_though_each_server_of_three_is_killed() {
    let lab = Lab::new().unwrap();
    let Some(mut cluster) = Cluster::start("a cluster of three servers", &lab).unwrap() else { return };
    let up = Up::start_with(&lab, &["--isb", &cluster.urls(), "--isolate"]).unwrap();
    let rounds = if is_long() { 9 } else { 3 };
    let pipeline = numbers(&lab, "three", (ENDLESS, 400));
    pipeline.apply(&lab, &up).unwrap();
    until_more(&lab, &pipeline, 50);
    let processes = || {
        let mut all = lab::children_of(up.pid(), "processor");
        all.sort_unstable();
        all
    };
    let before = processes();
    for round in 0..rounds {
        cluster.kill(round % cluster.servers()).unwrap();
        until_more(&lab, &pipeline, 100);
        cluster.revive(round % cluster.servers()).unwrap();
        cluster.is_well();
        until_more(&lab, &pipeline, 50);
    }
    assert_eq!(processes(), before, "no process needed help");
    assert_eq!(pipeline.assert_exact(&lab, &up, |_| false), [0; 0]);
    let (all, again) = (pipeline.written(&lab).len(), pipeline.repeated(&lab));
    println!("{again} of {all} were written again after {rounds} kills");
    up.down().unwrap();
}
