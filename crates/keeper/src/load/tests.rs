//! Tables of looks and the figures that follow.

use super::*;

/// What each worker shows at each look, five seconds apart; none when it does not answer.
fn seen(workers: &[&[Option<u64>]]) -> (Loads, Time) {
    let mut loads = Loads::new(1, Duration::from_mins(2));
    let looks = workers.iter().map(|worker| worker.len()).max().unwrap_or_default();
    let mut now = Time::from_millis(1_000_000);
    for look in 0..looks {
        let shown = |(number, worker): (usize, &&[Option<u64>])| {
            let count = worker.get(look).copied().flatten()?;
            Some(((format!("pod-{number}"), 0), count))
        };
        let counters = workers.iter().enumerate().filter_map(shown).collect();
        assert!(loads.see(now, Look { counters, pending: BTreeMap::new() }));
        now = now.after(LOOK_EVERY);
    }
    (loads, now)
}

fn rate(workers: &[&[Option<u64>]]) -> Option<f64> {
    let (loads, now) = seen(workers);
    loads.partitions(now)[0].windows["1m"].rate
}

const NO: Option<u64> = None;

fn some<const N: usize>(counts: [u64; N]) -> [Option<u64>; N] {
    counts.map(Some)
}

#[test]
fn nothing_is_said_before_two_looks() {
    assert_eq!(rate(&[]), None);
    assert_eq!(rate(&[&some([7])]), None);
}

#[test]
fn workers_add_up_and_a_first_sight_is_no_throughput() {
    assert_eq!(rate(&[&some([0, 50, 100, 150])]), Some(10.0));
    assert_eq!(rate(&[&some([1_000_000, 1_000_050, 1_000_100])]), Some(10.0));
    assert_eq!(rate(&[&some([0, 50, 100]), &some([9000, 9005, 9010])]), Some(11.0));
    assert_eq!(rate(&[&some([5, 5, 5])]), Some(0.0));
    // A worker that came later did nothing before.
    assert_eq!(rate(&[&some([0, 0, 0]), &[NO, Some(1_000_000), Some(1_000_100)]]), Some(10.0));
}

#[test]
fn a_missed_look_changes_nothing() {
    let whole = rate(&[&some([0, 50, 100, 150, 200]), &some([0, 50, 100, 150, 200])]);
    assert_eq!(whole, Some(20.0));
    let other = some([0, 50, 100, 150, 200]);
    for missed in 0..5 {
        let mut worker = other;
        worker[missed] = None;
        let got = rate(&[&other, &worker]);
        if missed == 0 {
            // It was never seen before, so it may have come only then.
            assert_eq!(got, Some(10.0 + 7.5));
        } else {
            assert_eq!(got, whole, "missed {missed}");
        }
    }
}

#[test]
fn a_worker_missed_at_the_first_look_of_the_window_was_there_before() {
    let mut worker = some([0; 20]);
    for (look, count) in worker.iter_mut().enumerate() {
        *count = Some(look as u64 * 50);
    }
    let (loads, now) = seen(&[&worker]);
    let first =
        (0..20).find(|look| now.since(Time::from_millis(1_000_000 + look * 5000)) <= Duration::from_mins(1));
    worker[first.unwrap() as usize] = None;
    assert_eq!(loads.partitions(now)[0].windows["1m"].rate, Some(10.0));
    // Another worker makes the look happen.
    let other = [Some(0); 20];
    assert_eq!(rate(&[&worker, &other]), Some(10.0));
}

#[test]
fn a_counter_that_fell_began_anew() {
    assert_eq!(rate(&[&some([1000, 1050, 50, 100])]), Some(10.0));
    assert_eq!(rate(&[&some([1000, 1000, 0, 0])]), Some(0.0));
    // Gone for a while and back with another beginning: what it shows was done in between.
    assert_eq!(rate(&[&[Some(1000), NO, NO, Some(75), Some(100)]]), Some(5.0));
}

#[test]
fn a_worker_that_is_gone_did_what_it_did_and_nothing_since() {
    let stays = some([0, 0, 0, 0, 0, 0]);
    let goes = [Some(0), Some(100), NO, NO, NO, NO];
    // 100 messages in 25 s.
    assert_eq!(rate(&[&stays, &goes]), Some(4.0));
    // Missed for less than that, it is taken to go on.
    assert_eq!(rate(&[&stays[..4], &goes[..4]]), Some(20.0));
    assert_eq!(rate(&[&[NO, NO, NO]]), Some(0.0));
}

#[test]
fn nothing_is_said_when_looks_stopped() {
    let (loads, now) = seen(&[&some([0, 50, 100])]);
    let later = now.after(Duration::from_mins(2));
    let load = &loads.partitions(later)[0];
    assert_eq!(load.windows["1m"], Figures { rate: None, pending: Pending::Unseen });
    assert_eq!(load.windows["5m"].rate, Some(10.0));
    assert_eq!(load.windows.keys().copied().collect::<Vec<_>>(), ["15m", "1m", "5m", "default"]);
}

#[test]
fn partitions_are_counted_apart() {
    let mut loads = Loads::new(2, Duration::from_mins(2));
    for look in 0..3_u32 {
        let counters =
            [(("a".to_owned(), 0), u64::from(look) * 50), (("a".to_owned(), 1), u64::from(look) * 5)];
        let look =
            Look { counters: counters.into(), pending: [(0, Some(u64::from(look))), (1, None)].into() };
        let before = loads.looks.len() as u64;
        assert!(loads.see(Time::from_millis(before as i64 * 5000), look));
    }
    let now = Time::from_millis(10_000);
    let figures: Vec<_> = loads.partitions(now).into_iter().map(|load| load.windows["default"]).collect();
    assert_eq!(
        figures,
        [
            Figures { rate: Some(10.0), pending: Pending::Known(1) },
            Figures { rate: Some(1.0), pending: Pending::Untold },
        ]
    );
}

#[test]
fn pending_is_the_average_over_looks_that_know() {
    let table: [(&[Option<u64>], Pending); 5] = [
        (&[], Pending::Unseen),
        (&[None, None], Pending::Untold),
        (&[Some(10), None, Some(20)], Pending::Known(15)),
        (&[Some(0)], Pending::Known(0)),
        (&[Some(u64::MAX), Some(u64::MAX)], Pending::Known(u64::MAX)),
    ];
    for (looks, expected) in table {
        let mut loads = Loads::new(1, Duration::from_mins(2));
        let mut now = Time::from_millis(0);
        for pending in looks {
            now = now.after(LOOK_EVERY);
            loads.see(now, Look { counters: BTreeMap::new(), pending: [(0, *pending)].into() });
        }
        assert_eq!(loads.partitions(now)[0].windows["1m"].pending, expected, "{looks:?}");
    }
}

#[test]
fn the_default_window_grows_with_slow_work_and_not_with_idleness() {
    // Done at these looks, with this pending all the while.
    let table: [(&[u32], Option<u64>, u64); 6] = [
        (&[], Some(0), 120),
        (&[3, 5], Some(9), 120),
        // Four minutes for one message.
        (&[1, 49], Some(9), 240),
        (&[1, 50], Some(9), 300),
        (&[1, 49], Some(0), 120),
        (&[1, 300], None, 600),
    ];
    for (done, pending, seconds) in table {
        let mut loads = Loads::new(1, Duration::from_mins(2));
        let mut now = Time::from_millis(0);
        let mut count = 0;
        for look in 0..320 {
            now = now.after(LOOK_EVERY);
            count += u64::from(done.contains(&look));
            loads.see(
                now,
                Look { counters: [(("a".to_owned(), 0), count)].into(), pending: [(0, pending)].into() },
            );
        }
        assert_eq!(loads.default_window(now).as_secs(), seconds, "{done:?} {pending:?}");
    }
}

#[test]
fn looks_are_bounded_in_number_and_age() {
    let mut loads = Loads::new(1, Duration::from_mins(2));
    for second in 0..10_000 {
        let look = Look {
            counters: [((format!("pod-{}", second / 1000), 0), second)].into(),
            pending: BTreeMap::new(),
        };
        let is_taken = loads.see(Time::from_millis(second as i64 * 1000), look);
        assert_eq!(is_taken, second.is_multiple_of(5));
    }
    assert_eq!(loads.looks.len(), 361);
    // Pods 8 and 9; those of earlier looks are forgotten with them.
    assert_eq!(loads.counters.len(), 2);
}
