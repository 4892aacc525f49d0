//! What every source must keep: one case for each promise of [`door::source`](crate::door::source).
//!
//! An implementation gives a [`Bench`] and runs the groups of [`source_conformance!`](crate::source_conformance) that
//! say what kind of source it is, plainly and through [`Faulty`](faulty::Faulty). Messages are told apart by a number
//! alone, in the order in which they lie outside. The one rule for cases: they wait for conditions, never for time,
//! and each wait is bounded.

use async_trait::async_trait;

use crate::Message;
use crate::door::source::Opened;

pub mod answers;
pub mod every;
pub mod faulty;
pub mod fed;
mod kit;
pub mod positions;

/// The outside of a source under test. It outlives the sources that are opened over it.
#[async_trait]
pub trait Bench: Send {
    /// Opens the source, in a first life or in a later one; the caller has closed and dropped the former.
    async fn open(&mut self) -> Opened;

    /// Puts so many more messages outside, numbered on from those before, where the source finds them soon. A source that makes its messages itself has nothing to do.
    async fn offer(&mut self, count: u64);

    /// Ends the input: there will never be anything again. Only called in the group `ends`.
    async fn end(&mut self) {
        panic!("the input of this source does not end");
    }

    /// The number of a message: 0 for the first that was offered, 1 for the second, and so on, modulo
    /// [`Bench::modulus`].
    fn number(&self, message: &Message) -> u64;

    /// Where numbers begin again with 0, for a source whose messages do not show more.
    fn modulus(&self) -> u64 {
        u64::MAX
    }

    /// Whether messages are given in the order of their numbers.
    fn ordered(&self) -> bool {
        true
    }
}

/// Makes one `#[test]` for each case of the groups named:
///
/// * `every`: any source;
/// * `fed`: sources that wait for what comes from outside;
/// * `ends`: sources whose input may end;
/// * `positions`: sources that go on after a position, also in a later life;
/// * `answers`: sources that give again what was not answered, also in a later life.
///
/// `$run` is called with the case, an `AsyncFn(&mut dyn Bench)`, for instance
/// `source_conformance! { run: every, fed, positions }`.
#[macro_export]
macro_rules! source_conformance {
    ($run:path: $($group:ident),+) => {
        $($crate::source_conformance! { @$group $run })+
    };
    (@every $run:path) => {
        $crate::source_conformance! { @cases $run;
            every::everything_is_given,
            every::reads_are_bounded,
            every::abandoned_reads_lose_nothing,
            every::closing_lets_go_of_messages_in_hand,
        }
    };
    (@fed $run:path) => {
        $crate::source_conformance! { @cases $run;
            fed::an_empty_source_says_so,
            fed::a_waiting_read_wakes_up_when_a_message_arrives,
            fed::a_trickle_is_given_message_by_message,
        }
    };
    (@ends $run:path) => {
        $crate::source_conformance! { @cases $run;
            fed::an_end_is_an_end,
        }
    };
    (@positions $run:path) => {
        $crate::source_conformance! { @cases $run;
            positions::reading_goes_on_after_the_position,
            positions::a_unit_that_never_committed_starts_at_the_beginning,
        }
    };
    (@answers $run:path) => {
        $crate::source_conformance! { @cases $run;
            answers::every_message_has_a_receipt,
            answers::what_is_done_is_not_given_again,
            answers::what_was_not_answered_is_given_again,
            answers::a_repetition_counts_as_done,
            answers::what_is_sent_back_is_given_again,
        }
    };
    (@cases $run:path; $($module:ident :: $case:ident,)+) => {
        $(
            #[test]
            fn $case() {
                $run($crate::conformance::source::$module::$case);
            }
        )+
    };
}
