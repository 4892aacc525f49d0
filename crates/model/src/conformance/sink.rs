//! What every sink must keep: one case for each promise of [`door::sink`](crate::door::sink).
//!
//! An implementation gives a [`Bench`] and runs the groups of [`sink_conformance!`](crate::sink_conformance) that say
//! what kind of sink it is, plainly and through [`Faulty`](faulty::Faulty). Cases write again what was not taken, as
//! every user of a sink does.

use async_trait::async_trait;
use bytes::Bytes;

use crate::door::sink::Sink;

pub mod every;
pub mod faulty;
mod kit;
pub mod seen;

/// The outside of a sink under test. It outlives the sinks that are opened over it.
#[async_trait]
pub trait Bench: Send {
    /// Opens the sink, in a first life or in a later one; the caller has closed or dropped the former.
    async fn open(&mut self) -> Box<dyn Sink>;

    /// The values that are outside, in the order in which they came there. Only called in the group `seen`.
    async fn outside(&mut self) -> Vec<Bytes> {
        panic!("nobody can see what this sink has taken");
    }
}

/// Makes one `#[test]` for each case of the groups named: `every` for any sink, `seen` for one whose outside can be
/// looked at. `$run` is called with the case, an `AsyncFn(&mut dyn Bench)`, for instance
/// `sink_conformance! { run: every, seen }`.
#[macro_export]
macro_rules! sink_conformance {
    ($run:path: $($group:ident),+) => {
        $($crate::sink_conformance! { @$group $run })+
    };
    (@every $run:path) => {
        $crate::sink_conformance! { @cases $run;
            every::each_message_has_an_outcome,
            every::an_empty_batch_is_written,
            every::a_sink_closes_and_opens_again,
        }
    };
    (@seen $run:path) => {
        $crate::sink_conformance! { @cases $run;
            seen::what_is_done_is_outside_in_order,
            seen::values_arrive_as_they_are,
            seen::a_later_life_goes_on,
            seen::an_abandoned_write_harms_no_other,
        }
    };
    (@cases $run:path; $($module:ident :: $case:ident,)+) => {
        $(
            #[test]
            fn $case() {
                $run($crate::conformance::sink::$module::$case);
            }
        )+
    };
}
