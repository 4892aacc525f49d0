//! Rates that processes share: what comes out of all of them in a second is what the manifest says.
//!
//! What a second gives comes at its beginning, so outputs are counted in the middle of each second.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use e2e::lab::{self, Lab, Run};
use e2e::redis::Redis;
use e2e::wait;

const MAX: usize = 200;

/// A process of its own whose source gives far more than may come out, but not so much in a test that it must wait.
fn start(lab: &Lab, store: &str) -> Run {
    let manifest = format!(
        "apiVersion: numaflow.numaproj.io/v1alpha1\nkind: Pipeline\nmetadata: {{name: shared}}\nspec:\n  vertices:\n\
         \x20 - {{name: in, source: {{generator: {{rpu: 1000, duration: 1s}}}}}}\n\
         \x20 - name: out\n    scale: {{min: 1, max: 1}}\n    sink: {{file: {{path: out.txt}}}}\n\
         \x20   limits: {{rateLimit: {{max: {MAX}, min: {MAX}, store: {store}}}}}\n\
         \x20 edges:\n  - {{from: in, to: out}}\n"
    );
    let manifest = lab.write("shared.yaml", &manifest).unwrap();
    lab.run(&manifest, &[]).unwrap()
}

fn out(labs: &[&Lab]) -> usize {
    labs.iter().map(|lab| lab.lines("out.txt").len()).sum()
}

/// What comes out of these in each of so many whole seconds.
fn counts(labs: &[&Lab], seconds: usize) -> Vec<usize> {
    let half = Duration::from_millis(500);
    let now = || SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
    // The next middle of a second is in this second or in the one that follows.
    let first = (now() + half).as_secs();
    let samples: Vec<_> = (0..=seconds as u64)
        .map(|second| {
            let middle = Duration::from_secs(first + second) + half;
            wait::until("the middle of a second", || (now() >= middle).then_some(()));
            out(labs)
        })
        .collect();
    samples.windows(2).map(|pair| pair[1] - pair[0]).collect()
}

/// What came out in these seconds is what should have, but for one second's worth that came late before the first look or
/// after the last one; and at least one second gave exactly its part.
fn assert_rate(counts: &[usize]) {
    let near = |count: usize| count.abs_diff(MAX) <= MAX / 20;
    assert!(counts.iter().any(|count| near(*count)), "{counts:?} should be {MAX} each");
    let (sum, whole) = (counts.iter().sum::<usize>(), MAX * counts.len());
    assert!(sum.abs_diff(whole) <= MAX + whole / 20, "{counts:?} should be {MAX} each");
}

#[test]
fn processes_share_a_rate_through_redis_and_go_on_without_it() {
    let Some(program) = lab::redis("processes_share_a_rate_through_redis_and_go_on_without_it") else {
        return;
    };
    let labs = [Lab::new().unwrap(), Lab::new().unwrap()];
    let [one, other] = &labs;
    let redis = Redis::start(program, one).unwrap();
    let store = format!("{{redisStore: {{mode: single, url: '{}'}}}}", redis.url());
    let (first, second) = (start(one, &store), start(other, &store));
    for lab in [one, other] {
        wait::until("each has begun", || (out(&[lab]) > 0).then_some(()));
    }
    // They agree within the second in which the later one has come.
    assert_rate(&counts(&[one, other], 4)[1..]);
    // Who is alone has all of it from the next second on, as the other one says that it leaves.
    second.interrupt_twice().unwrap();
    assert_rate(&counts(&[one], 3)[1..]);
    drop(redis);
    assert_rate(&counts(&[one], 3));
    first.kill().unwrap();
}

#[test]
fn a_process_keeps_to_its_rate_in_memory() {
    let lab = Lab::new().unwrap();
    let run = start(&lab, "{inMemoryStore: {}}");
    wait::until("it has begun", || (out(&[&lab]) > 0).then_some(()));
    assert_rate(&counts(&[&lab], 4)[1..]);
    run.kill().unwrap();
}
