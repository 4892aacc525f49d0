//! User code of one worker that hangs: the others flow on, and everybody is told where and why work does not get done.

use e2e::lab::{self, Lab};
use e2e::manifest::Pipeline;
use e2e::nats::Nats;
use e2e::up::Up;
use e2e::wait;
use nix::sys::signal::Signal;

use super::{complete, until_more};

#[test]
fn a_process_of_user_code_that_hangs_is_named_and_the_others_flow_on() {
    let lab = Lab::new().unwrap();
    let Some(nats) = Nats::start("user code that hangs", &lab).unwrap() else { return };
    let up = Up::start_with(&lab, &["--isb", &nats.url(), "--isolate"]).unwrap();
    let count = 12_000;
    let pipeline = Pipeline::named("hangs")
        .numbers(&lab, "in", (count, 400), "scale: {min: 1, max: 1}")
        .map("cat", "", "scale: {min: 2, max: 2}")
        .lines(&lab, "out", "", "scale: {min: 1, max: 1}")
        .edge("in", "cat")
        .edge("cat", "out");
    pipeline.apply(&lab, &up).unwrap();
    let steady = up.steady("hangs");
    until_more(&lab, &pipeline, 100);
    let hung = u32::try_from(steady.workers("cat")[0].processes[0]).unwrap();
    // With whatever it was started by.
    let family = lab::family_of(hung);
    for pid in &family {
        lab::signal(*pid, Signal::SIGSTOP).unwrap();
    }
    let object = up.until("hangs", "says that it is stuck", |object| {
        (object.vertex("cat")["activity"] == "Stuck").then(|| object.clone())
    });
    let reason = object.vertex("cat")["stuckBecause"].as_str().unwrap_or_default().to_owned();
    println!("{reason}");
    assert!(reason.starts_with("cat/0.") && reason.contains("user code hangs"), "{reason}");
    // A little later its worker is known not to answer, and its slots are somebody else's.
    let why = wait::until("the worker is named", || {
        let said = up.must(&["why", "hangs"]).ok()?;
        said.contains("udf does not answer").then_some(said)
    });
    println!("{why}");
    assert!(why.contains("vertex cat: worker 0"), "{why}");
    until_more(&lab, &pipeline, 200);
    for pid in &family {
        lab::signal(*pid, Signal::SIGCONT).unwrap();
    }
    up.until("hangs", "goes on", |object| (object.vertex("cat")["activity"] != "Stuck").then_some(()));
    complete(&lab, &pipeline, count);
    assert_eq!(pipeline.repeated(&lab), 0);
    up.down().unwrap();
}
