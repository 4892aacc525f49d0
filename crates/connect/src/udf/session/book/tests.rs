//! Who waits for what: answers in any order, trouble at any moment, by cases and by seeds.

use model::{Name, Origin};

use super::*;

/// The answer: the value of the message, or how often it crashed before it was given up.
type Answer = Option<Result<String, u32>>;
type Waiting = oneshot::Receiver<Result<Vec<Answer>, Error>>;

fn limits() -> Limits {
    Limits {
        concurrency: 5,
        batch_max: 4,
        batch_wait: Duration::ZERO,
        patience_max: Duration::from_secs(30),
        poison_attempts: None,
    }
}

fn book(limits: Limits) -> Book<Answer> {
    Book::new(limits, Naming::Compact)
}

fn call(book: &mut Book<Answer>, numbers: std::ops::Range<u64>, now: Instant) -> Waiting {
    let message = |number: u64| {
        let offset = Origin::Numbered { number, partition: 0 };
        Message::from_source(Name::new_static("in"), offset, number.to_string().into(), Time::UNKNOWN)
    };
    let (reply, waiting) = oneshot::channel();
    book.admit(
        Call { messages: Arc::new(numbers.map(message).collect()), watermark: Time::UNKNOWN, reply },
        now,
    );
    waiting
}

fn out(book: &mut Book<Answer>, now: Instant) -> Vec<String> {
    book.give_out(now, |name, _, _| name.to_owned())
}

fn batch_out(book: &mut Book<Answer>, now: Instant) -> Vec<String> {
    book.give_out_batch(now, |name, _, _| name.to_owned())
}

fn answer(book: &mut Book<Answer>, name: &str) {
    let key = book.find(name).unwrap();
    let (message, answer) = book.open(key);
    *answer = Some(Ok(String::from_utf8(message.value.to_vec()).unwrap()));
    book.finish(key);
}

fn lost(book: &mut Book<Answer>, now: Instant, loss: Loss) -> Aftermath {
    book.lost(now, loss, |_, crashes| Some(Err(crashes)))
}

fn id(number: u64) -> String {
    format!("in-{number}-0-0")
}

#[test]
fn suspects_are_given_out_one_at_a_time_and_then_all_flows_again() {
    let mut book = book(limits());
    let now = Instant::now();
    let mut waiting = call(&mut book, 0..8, now);
    assert_eq!(out(&mut book, now).len(), 5);
    let after = lost(&mut book, now, Loss::Crash);
    assert_eq!((after.lost, after.culprit, after.ids), (5, None, (0..5).map(id).collect()));
    for _ in 0..5 {
        let alone = out(&mut book, now);
        assert_eq!(alone.len(), 1);
        assert!(out(&mut book, now).is_empty());
        answer(&mut book, &alone[0]);
    }
    let rest = out(&mut book, now);
    assert_eq!(rest.len(), 3);
    for name in &rest {
        answer(&mut book, name);
    }
    let answers = waiting.try_recv().unwrap().unwrap();
    assert_eq!(answers, (0..8).map(|number| Some(Ok(number.to_string()))).collect::<Vec<_>>());
    assert!(book.is_empty());
}

#[test]
fn a_slow_suspect_lets_the_next_follow() {
    let mut book = book(limits());
    let mut now = Instant::now();
    let _waiting = call(&mut book, 0..3, now);
    assert_eq!(out(&mut book, now).len(), 3);
    lost(&mut book, now, Loss::Crash);
    assert_eq!(out(&mut book, now).len(), 1);
    assert_eq!(book.deadline(now), Some(now + PATIENCE));
    now += PATIENCE;
    assert_eq!(out(&mut book, now).len(), 1);
    // A crash that leaves two in doubt makes the next look more patient.
    lost(&mut book, now, Loss::Crash);
    assert_eq!(out(&mut book, now).len(), 1);
    assert_eq!(book.deadline(now), Some(now + PATIENCE * 2));
}

#[test]
fn a_culprit_is_tried_again_by_itself_more_and_more_seldom() {
    let mut book = book(limits());
    let mut now = Instant::now();
    let _waiting = call(&mut book, 7..8, now);
    assert_eq!(out(&mut book, now).len(), 1);
    assert_eq!(lost(&mut book, now, Loss::Crash).culprit, Some((id(7), 1)));
    // The first time may have been an accident.
    assert_eq!(out(&mut book, now).len(), 1);
    assert_eq!(lost(&mut book, now, Loss::Crash).culprit, Some((id(7), 2)));
    let mut rests = Vec::new();
    for crashes in 3..10 {
        assert!(out(&mut book, now).is_empty());
        let due = book.deadline(now).unwrap();
        rests.push((due - now).as_secs());
        // While it rests, others flow; when its time has come they let it through alone.
        let mut others = call(&mut book, 100..102, now);
        let names = out(&mut book, now);
        assert_eq!(names.len(), 2);
        answer(&mut book, &names[0]);
        now = due;
        let _more = call(&mut book, 200..201, now);
        assert!(out(&mut book, now).is_empty());
        answer(&mut book, &names[1]);
        assert!(others.try_recv().unwrap().is_ok());
        assert_eq!(out(&mut book, now).len(), 1);
        assert!(out(&mut book, now).is_empty());
        let after = lost(&mut book, now, Loss::Crash);
        assert_eq!(after.culprit, Some((id(7), crashes)));
        let names = out(&mut book, now);
        assert_eq!(names.len(), 1);
        answer(&mut book, &names[0]);
    }
    assert_eq!(rests, [1, 2, 4, 8, 16, 30, 30]);
}

#[test]
fn a_message_that_crashes_user_code_so_often_is_given_up() {
    let mut book = book(Limits { poison_attempts: NonZeroU32::new(2), ..limits() });
    let now = Instant::now();
    let mut waiting = call(&mut book, 7..8, now);
    out(&mut book, now);
    assert!(!lost(&mut book, now, Loss::Crash).given_up);
    out(&mut book, now);
    assert!(lost(&mut book, now, Loss::Crash).given_up);
    assert_eq!(waiting.try_recv().unwrap().unwrap(), [Some(Err(2))]);
}

#[test]
fn a_wrong_answer_blames_its_message_only() {
    let mut book = book(limits());
    let now = Instant::now();
    let _waiting = call(&mut book, 0..4, now);
    let names = out(&mut book, now);
    let culprit = book.find(&names[2]).unwrap();
    let after = lost(&mut book, now, Loss::Culprit(culprit));
    assert_eq!((after.lost, after.culprit), (4, Some((id(2), 1))));
    let alone = out(&mut book, now);
    assert_eq!(alone.len(), 1);
    assert_eq!(book.in_flight_ids(), [id(2)]);
    answer(&mut book, &alone[0]);
    assert_eq!(out(&mut book, now).len(), 3);
}

#[test]
fn a_batch_waits_to_fill_and_for_the_end_of_the_one_before() {
    let wait = Duration::from_millis(20);
    let mut book = book(Limits { batch_wait: wait, ..limits() });
    let mut now = Instant::now();
    let _first = call(&mut book, 0..3, now);
    assert!(batch_out(&mut book, now).is_empty());
    assert_eq!(book.deadline(now), Some(now + wait));
    let _second = call(&mut book, 3..5, now);
    // Full: four of the five.
    let names = batch_out(&mut book, now);
    assert_eq!(names.len(), 4);
    now += wait;
    assert!(batch_out(&mut book, now).is_empty());
    assert!(book.end_batch().is_err());
    for name in &names {
        answer(&mut book, name);
    }
    assert!(batch_out(&mut book, now).is_empty());
    assert_eq!(book.end_batch(), Ok(()));
    // Its time has come while the first was with user code.
    assert_eq!(batch_out(&mut book, now).len(), 1);
}

#[test]
fn missing_answers_are_told_once_in_every_period() {
    let mut book = book(limits());
    let mut now = Instant::now();
    let period = Duration::from_secs(30);
    let _waiting = call(&mut book, 0..3, now);
    let names = out(&mut book, now);
    answer(&mut book, &names[1]);
    assert_eq!(book.overdue(now + period / 2, period), (0, Vec::new()));
    now += period;
    assert_eq!(book.overdue(now, period), (2, vec![id(0), id(2)]));
    assert_eq!(book.overdue(now + period / 2, period), (0, Vec::new()));
    assert_eq!(book.overdue(now + period, period).0, 2);
}

#[test]
fn a_batch_without_an_end_is_told_once_in_every_period() {
    let mut book = book(limits());
    let mut now = Instant::now();
    let period = Duration::from_secs(30);
    let _waiting = call(&mut book, 0..2, now);
    let names = batch_out(&mut book, now);
    assert!(!book.end_overdue(now + period, period));
    for name in &names {
        answer(&mut book, name);
    }
    assert!(!book.end_overdue(now, period));
    for _ in 0..3 {
        now += period;
        assert!(book.end_overdue(now, period));
        assert!(!book.end_overdue(now + period / 2, period));
    }
    assert_eq!(book.end_batch(), Ok(()));
    assert!(!book.end_overdue(now + period, period));
}

#[test]
fn strange_names_are_found_out() {
    let mut book = book(limits());
    let now = Instant::now();
    let _waiting = call(&mut book, 0..2, now);
    let names = out(&mut book, now);
    answer(&mut book, &names[0]);
    assert_eq!(book.find(&names[0]), Err(Stray::Again(Some(id(0)))));
    for name in ["", "x", "-1", "7", "18446744073709551615", "99999999999999999999"] {
        assert_eq!(book.find(name), Err(Stray::Unknown), "{name}");
    }
    // The slot is used again: its former name is still known as answered.
    let _more = call(&mut book, 2..3, now);
    out(&mut book, now);
    assert_eq!(book.find(&names[0]), Err(Stray::Again(None)));
}

/// Whatever order answers, crashes and departures come in, every call that stays is answered once and rightly.
#[test]
fn no_history_loses_or_doubles_a_message() {
    for seed in 0..400 {
        let mut random = fastrand::Rng::with_seed(seed);
        let poison = random.bool().then(|| random.u64(0..60));
        let mut book = book(Limits { poison_attempts: NonZeroU32::new(3), ..limits() });
        let batches = random.bool();
        let mut now = Instant::now();
        let mut calls: Vec<(std::ops::Range<u64>, Option<Waiting>)> = Vec::new();
        let mut names: Vec<String> = Vec::new();
        let mut next = 0;
        for step in 0..3000 {
            now += Duration::from_millis(random.u64(0..400));
            if next < 60 && random.u8(0..4) == 0 {
                let numbers = next..next + random.u64(1..9);
                next = numbers.end;
                let waiting = call(&mut book, numbers.clone(), now);
                calls.push((numbers, (random.u8(0..8) > 0).then_some(waiting)));
            }
            names.extend(if batches { batch_out(&mut book, now) } else { out(&mut book, now) });
            assert!(names.len() <= 5, "seed {seed}: {} messages are with user code", names.len());
            assert_eq!(names.len(), book.in_flight(), "seed {seed}");
            let poisoned = names.iter().any(|name| {
                let key = book.find(name).unwrap();
                poison.is_some_and(|number| book.id(key) == id(number))
            });
            if poisoned || random.u8(0..40) == 0 && step < 2000 {
                names.clear();
                lost(&mut book, now, Loss::Crash);
            } else if !names.is_empty() {
                let name = names.swap_remove(random.usize(0..names.len()));
                answer(&mut book, &name);
            }
            if names.is_empty() {
                book.end_batch().unwrap();
            }
        }
        assert!(book.is_empty(), "seed {seed}: something is still open");
        for (numbers, waiting) in calls {
            let Some(mut waiting) = waiting else { continue };
            let answers = waiting.try_recv().unwrap().unwrap();
            for (number, answer) in numbers.zip(answers) {
                match answer {
                    Some(Err(crashes)) => assert!(crashes == 3, "seed {seed}"),
                    right => assert_eq!(right, Some(Ok(number.to_string())), "seed {seed}"),
                }
            }
        }
    }
}
