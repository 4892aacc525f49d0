//! Ourselves killed with SIGKILL, again and again, between people who send and files that receive.

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicUsize, Ordering};

use e2e::http::{Client, free_address};
use e2e::lab::{Lab, own_program, python};
use e2e::wait;

const KILLS: usize = 10;

fn http_to_file(http: SocketAddr, https: SocketAddr) -> String {
    format!(
        "apiVersion: numaflow.numaproj.io/v1alpha1\nkind: Pipeline\nmetadata: {{name: http}}\nspec:\n  vertices:\n\
         \x20 - name: in\n    source: {{http: {{ports: {{http: {}, https: {}}}}}}}\n\
         \x20 - name: cat\n    udf: {{container: {{image: cat}}}}\n\
         \x20 - name: out\n    sink: {{file: {{path: out.txt}}}}\n\
         \x20 edges:\n  - {{from: in, to: cat}}\n  - {{from: cat, to: out}}\n",
        http.port(),
        https.port()
    )
}

/// Posts the numbers of one sender, each until it is answered with 200, through as many connections as it takes.
fn send(address: SocketAddr, numbers: impl Iterator<Item = usize>, answered: &AtomicUsize) {
    let mut client = None;
    for number in numbers {
        let id = format!("id-{number}");
        wait::until("a message is answered", || {
            if client.is_none() {
                client = Client::connect(address).ok();
            }
            let posted = client.as_mut()?.post(
                "/vertices/in",
                &[("X-Numaflow-Id", &id)],
                number.to_string().as_bytes(),
            );
            match posted {
                Ok(answer) if answer.status == 200 => Some(()),
                Ok(answer) => {
                    // In flight from a connection that broke, shutting down, or full: asked again.
                    assert!([409, 429, 500].contains(&answer.status), "unexpected answer {answer:?}");
                    None
                }
                Err(_) => {
                    client = None;
                    None
                }
            }
        });
        answered.fetch_add(1, Ordering::Relaxed);
    }
}

#[test]
fn what_was_answered_with_200_is_in_the_file_though_we_are_killed_ten_times() {
    let Some(python) = python("what_was_answered_with_200_is_in_the_file_though_we_are_killed_ten_times")
    else {
        return;
    };
    let total = 20_000;
    let senders = 16;
    let lab = Lab::new().unwrap();
    let (http, https) = (free_address(), free_address());
    let manifest = lab.write("http.yaml", &http_to_file(http, https)).unwrap();
    let program = concat!(env!("CARGO_MANIFEST_DIR"), "/programs/map_cat.py");
    let exec = format!("cat={python} {program}");
    let answered = AtomicUsize::new(0);
    std::thread::scope(|scope| {
        for sender in 0..senders {
            let answered = &answered;
            scope.spawn(move || send(http, (sender..total).step_by(senders), answered));
        }
        for kill in 1..=KILLS {
            let run = lab.run(&manifest, &["--exec", &exec]).unwrap();
            let goal = total * kill / (KILLS + 1);
            wait::until("enough is answered", || (answered.load(Ordering::Relaxed) >= goal).then_some(()));
            run.kill().unwrap();
        }
        let run = lab.run(&manifest, &["--exec", &exec]).unwrap();
        wait::until("everything is answered", || (answered.load(Ordering::Relaxed) == total).then_some(()));
        assert!(run.interrupt().unwrap().success(), "{}", lab.log());
    });
    let counts = lab.counts("out.txt");
    let found: BTreeSet<usize> = counts.keys().map(|line| line.parse().unwrap()).collect();
    assert_eq!(found, (0..total).collect::<BTreeSet<_>>());
    let repeated: usize = counts.values().map(|count| count - 1).sum();
    println!("{KILLS} kills: {total} messages, {repeated} written twice by the sink");
    // What a crash may repeat is what the sink had written and not settled: a few batches of 500 for each kill.
    assert!(repeated <= KILLS * 2_000, "{repeated} repetitions are more than was in flight");
}

#[test]
fn a_user_defined_source_and_sink_see_every_number_though_we_are_killed() {
    let total = 20_000;
    let lab = Lab::new().unwrap();
    let manifest = "apiVersion: numaflow.numaproj.io/v1alpha1\nkind: Pipeline\nmetadata: {name: numbers}\nspec:\n  vertices:\n\
        \x20 - name: in\n    source: {udsource: {container: {image: numbers}}}\n\
        \x20 - name: cat\n    udf: {container: {image: cat}}\n\
        \x20 - name: out\n    sink: {udsink: {container: {image: lines}}}\n\
        \x20 edges:\n  - {from: in, to: cat}\n  - {from: cat, to: out}\n";
    let manifest = lab.write("numbers.yaml", manifest).unwrap();
    let source = format!("in={} {total} 20000 {}", own_program("sdk_source"), lab.path("acked").display());
    let map = format!("cat={}", own_program("sdk_map"));
    let sink = format!("out={} {}", own_program("sdk_sink"), lab.path("out.txt").display());
    let arguments = ["--exec", &source, "--exec", &map, "--exec", &sink];
    for kill in 1..=5 {
        let run = lab.run(&manifest, &arguments).unwrap();
        let goal = total * kill / 6;
        wait::until("enough is out", || (lab.lines("out.txt").len() >= goal).then_some(()));
        run.kill().unwrap();
    }
    let run = lab.run(&manifest, &arguments).unwrap();
    wait::until("everything is out", || (lab.counts("out.txt").len() == total).then_some(()));
    assert!(run.interrupt().unwrap().success(), "{}", lab.log());
    let counts = lab.counts("out.txt");
    let found: BTreeSet<usize> = counts.keys().map(|line| line.parse().unwrap()).collect();
    assert_eq!(found, (0..total).collect::<BTreeSet<_>>());
}
