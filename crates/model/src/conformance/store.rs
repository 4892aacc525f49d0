//! What every store must keep: one case for each promise of [`door::store`](crate::door::store).
//!
//! An implementation gives a [`Bench`] and runs [`store_conformance!`](crate::store_conformance).

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;

use super::wait::within;
use crate::door::store::{Agreement, Registered, Store};

/// A store under test.
#[async_trait]
pub trait Bench: Send {
    /// A seat for the member of this name, as a process of its own would open it.
    async fn seat(&mut self, member: &str) -> Arc<dyn Store>;

    /// Lets at least so much time pass for the store.
    async fn pass(&mut self, time: Duration);
}

/// Makes one `#[test]` for each case. `$run` is called with the case, an `AsyncFn(&mut dyn Bench)`, and with its name.
#[macro_export]
macro_rules! store_conformance {
    ($run:path) => {
        $crate::store_conformance! { @cases $run;
            a_member_alone_agrees_with_itself,
            who_comes_is_agreed_upon_by_all,
            who_leaves_is_agreed_upon_by_the_rest,
            agreed_members_have_places_of_their_own,
            who_is_silent_does_not_count_any_more,
            who_was_silent_comes_back_with_its_next_word,
            what_was_reached_is_kept_for_the_next_of_the_name,
            what_was_reached_is_forgotten_in_time,
            who_comes_again_counts_once,
        }
    };
    (@cases $run:path; $($case:ident,)+) => {
        $(
            #[test]
            fn $case() {
                $run($crate::conformance::store::$case, stringify!($case));
            }
        )+
    };
}

/// A time to live that nothing outlasts in a case.
const LONG: Duration = Duration::from_mins(3);
/// A time to live that passes within a case; stores may count in whole seconds.
const SHORT: Duration = Duration::from_secs(1);
/// What is more than that, however it is rounded.
const BEYOND: Duration = Duration::from_millis(2_100);
/// Rounds in which members that sync in turn must have come to agree.
const ROUNDS_MAX: u32 = 4;

async fn register(seat: &Arc<dyn Store>, ttl: Duration) -> Registered {
    within("a member registers", seat.register(ttl)).await.expect("the store can be reached")
}

async fn sync(seat: &Arc<dyn Store>, believed: u64) -> Agreement {
    within("a member syncs", seat.sync(believed, LONG)).await.expect("the store can be reached")
}

async fn leave(seat: &Arc<dyn Store>, reached: u64, ttl: Duration) {
    within("a member leaves", seat.deregister(reached, ttl)).await.expect("the store can be reached");
}

/// Lets all sync in turn, each believing what it heard last, until all are settled on their number.
async fn agree(seats: &[Arc<dyn Store>]) -> Vec<Agreement> {
    let mut believed = vec![1; seats.len()];
    for _ in 0..ROUNDS_MAX {
        let mut heard = Vec::new();
        for (seat, believed) in seats.iter().zip(&mut believed) {
            let agreement = sync(seat, *believed).await;
            *believed = agreement.members;
            heard.push(agreement);
        }
        if heard.iter().all(Agreement::settled) {
            assert!(heard.iter().all(|agreement| agreement.members == seats.len() as u64), "{heard:?}");
            return heard;
        }
    }
    panic!("{} members have not agreed after {ROUNDS_MAX} rounds", seats.len())
}

/// One member is one, and settled at once.
pub async fn a_member_alone_agrees_with_itself(bench: &mut dyn Bench) {
    let seat = bench.seat("v-0").await;
    assert_eq!(register(&seat, LONG).await, Registered { members: 1, reached: None });
    let alone = Agreement { members: 1, largest: 1, unanimous: true, place: 0 };
    assert_eq!(sync(&seat, 1).await, alone);
    assert!(alone.settled());
}

/// The first hears of the second with its next word, and both settle.
pub async fn who_comes_is_agreed_upon_by_all(bench: &mut dyn Bench) {
    let (first, second) = (bench.seat("v-0").await, bench.seat("v-1").await);
    register(&first, LONG).await;
    assert_eq!(register(&second, LONG).await.members, 2);
    // The first still believes in one.
    let torn = sync(&second, 2).await;
    assert_eq!((torn.members, torn.largest, torn.unanimous), (2, 2, false));
    let torn = sync(&first, 1).await;
    assert_eq!((torn.members, torn.largest, torn.settled()), (2, 2, false));
    assert!(sync(&first, 2).await.settled());
    assert!(sync(&second, 2).await.settled());
}

/// Those who stay are unanimous about a number that is not true any more, and settle on the true one.
pub async fn who_leaves_is_agreed_upon_by_the_rest(bench: &mut dyn Bench) {
    let mut seats = Vec::new();
    for name in ["v-0", "v-1", "v-2"] {
        let seat = bench.seat(name).await;
        register(&seat, LONG).await;
        seats.push(seat);
    }
    agree(&seats).await;
    leave(&seats.remove(1), 7, LONG).await;
    let stale = sync(&seats[0], 3).await;
    assert_eq!((stale.members, stale.largest, stale.unanimous, stale.settled()), (2, 3, true, false));
    agree(&seats).await;
}

/// Each of the places is taken once, and keeps being taken by the same member.
pub async fn agreed_members_have_places_of_their_own(bench: &mut dyn Bench) {
    let mut seats = Vec::new();
    for number in [3, 11, 0, 2] {
        let seat = bench.seat(&format!("v-{number}")).await;
        register(&seat, LONG).await;
        seats.push(seat);
    }
    let first: Vec<_> = agree(&seats).await.into_iter().map(|agreement| agreement.place).collect();
    let mut sorted = first.clone();
    sorted.sort_unstable();
    assert_eq!(sorted, [0, 1, 2, 3]);
    let again: Vec<_> = agree(&seats).await.into_iter().map(|agreement| agreement.place).collect();
    assert_eq!(first, again);
}

/// A member that died without a word is gone after its time to live, and not before.
pub async fn who_is_silent_does_not_count_any_more(bench: &mut dyn Bench) {
    let (alive, dead) = (bench.seat("v-0").await, bench.seat("v-1").await);
    register(&alive, LONG).await;
    register(&dead, LONG).await;
    bench.pass(BEYOND).await;
    assert_eq!(sync(&alive, 2).await.members, 2);
    let after = within("a member syncs", alive.sync(2, SHORT)).await.expect("the store can be reached");
    assert_eq!((after.members, after.place), (1, 0));
    assert!(sync(&alive, 1).await.settled());
}

/// Whoever was taken for dead is a member again as soon as it speaks.
pub async fn who_was_silent_comes_back_with_its_next_word(bench: &mut dyn Bench) {
    let seats = [bench.seat("v-0").await, bench.seat("v-1").await];
    for seat in &seats {
        register(seat, LONG).await;
    }
    bench.pass(BEYOND).await;
    let without = within("a member syncs", seats[0].sync(2, SHORT)).await.expect("the store can be reached");
    assert_eq!(without.members, 1);
    assert_eq!(sync(&seats[1], 2).await.members, 2);
    agree(&seats).await;
}

/// The next member of the same name, and no other, hears how far it was.
pub async fn what_was_reached_is_kept_for_the_next_of_the_name(bench: &mut dyn Bench) {
    let first = bench.seat("v-0").await;
    register(&first, LONG).await;
    leave(&first, 42, LONG).await;
    drop(first);
    let other = bench.seat("v-1").await;
    assert_eq!(register(&other, LONG).await, Registered { members: 1, reached: None });
    let next = bench.seat("v-0").await;
    assert_eq!(register(&next, LONG).await, Registered { members: 2, reached: Some(42) });
}

/// After the time to live nobody hears of it any more.
pub async fn what_was_reached_is_forgotten_in_time(bench: &mut dyn Bench) {
    let first = bench.seat("v-0").await;
    register(&first, SHORT).await;
    leave(&first, 42, SHORT).await;
    drop(first);
    bench.pass(BEYOND).await;
    let next = bench.seat("v-0").await;
    assert_eq!(register(&next, SHORT).await.reached, None);
}

/// A member that died and was started again at once takes its own place.
pub async fn who_comes_again_counts_once(bench: &mut dyn Bench) {
    let (stays, dies) = (bench.seat("v-0").await, bench.seat("v-1").await);
    register(&stays, LONG).await;
    register(&dies, LONG).await;
    drop(dies);
    let again = bench.seat("v-1").await;
    assert_eq!(register(&again, LONG).await.members, 2);
    agree(&[stays, again]).await;
}
