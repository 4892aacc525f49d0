//! What every buffer must keep: one case for each promise of [`door::buffer`](crate::door::buffer), and a flood in
//! which units change hands by seeds.
//!
//! An implementation gives a [`Bench`] and runs [`buffer_conformance!`](crate::buffer_conformance), plainly and through
//! [`Faulty`](faulty::Faulty). A case says everything it expects through the door alone; nothing here knows how a
//! buffer stores. The one rule for cases: they wait for conditions, never for time, and each wait is bounded.

use std::sync::Arc;

use async_trait::async_trait;

use crate::door::buffer::{Buffer, VertexSettings};

pub mod claim;
pub mod commit;
pub mod faulty;
pub mod flood;
pub mod full;
pub mod ids;
mod kit;
pub mod levels;
pub mod read;
pub mod retry;
pub mod survey;

/// A place to put a buffer to the test: storage that outlives the buffers that are opened over it.
#[async_trait]
pub trait Bench: Send + Sync {
    /// An empty buffer for these vertices. Called once in a case, before anything else.
    async fn open(&self, vertices: &[VertexSettings]) -> Arc<dyn Buffer>;

    /// Ends the current life without order, as the death of every process that uses the buffer does, and opens what
    /// is durable in another. The caller has dropped everything that came from the former life.
    async fn restart(&self) -> Arc<dyn Buffer>;

    /// Whether a life may end by itself, so that any call may be `Fatal` until [`Bench::restart`]. Only the flood is
    /// run on such a bench.
    fn may_die(&self) -> bool {
        false
    }
}

/// Makes one `#[test]` for each case but the flood. `$run` is called with the case, an `AsyncFnOnce(&dyn Bench)`.
#[macro_export]
macro_rules! buffer_conformance {
    ($run:path) => {
        $crate::buffer_conformance! { @cases $run;
            claim::a_unit_never_claimed_is_at_its_beginning,
            claim::a_lower_epoch_is_refused,
            claim::the_current_epoch_is_refused_to_another_owner,
            claim::the_same_owner_may_claim_again,
            claim::a_higher_epoch_takes_the_unit_from_its_owner,
            claim::a_waiting_read_ends_when_the_unit_is_taken,
            claim::a_waiting_commit_ends_when_the_unit_is_taken,
            claim::the_progress_of_a_claim_is_final,
            claim::one_of_two_claimants_under_one_epoch_wins,
            claim::of_two_epochs_claimed_at_once_the_higher_stays,
            claim::ownership_survives_a_restart,
            claim::a_released_unit_is_taken_at_once,
            commit::one_commit_reaches_several_vertices_and_slots,
            commit::frames_lie_in_the_order_of_their_commits,
            commit::cumulative_counts_go_on_across_owners_and_restarts,
            commit::frames_and_positions_survive_a_restart,
            commit::a_position_may_lie_within_a_frame,
            commit::frames_done_above_the_position_stay_done,
            commit::a_position_moves_without_output,
            commit::an_abandoned_commit_is_stored_whole_or_not_at_all,
            commit::a_commit_as_large_as_allowed_is_stored,
            commit::many_units_commit_at_once,
            commit::a_restart_in_the_middle_of_commits_splits_none,
            read::a_read_wakes_up_when_a_frame_arrives,
            read::a_read_is_bounded,
            read::abandoned_reads_lose_nothing,
            read::a_claim_reads_what_its_progress_does_not_cover,
            read::slots_are_read_apart,
            full::a_commit_to_a_full_partition_waits_for_its_reader,
            full::a_limit_in_bytes_makes_commits_wait,
            full::an_output_that_may_be_dropped_is_left_out,
            full::a_fast_writer_leaves_the_share_of_the_slow_one,
            full::what_goes_around_has_more_room,
            full::room_is_still_taken_after_a_restart,
            full::an_abandoned_wait_stores_all_or_nothing,
            full::writers_on_a_full_buffer_lose_nothing_when_all_restart,
            full::the_limit_is_kept_by_many_writers,
            retry::a_message_that_is_sent_back_again_does_not_wait_for_itself,
            retry::messages_sent_back_out_of_order_do_not_wait_for_themselves,
            retry::a_message_that_is_sent_back_waits_for_room_that_others_make,
            ids::an_id_is_known_once_its_commit_is_stored,
            ids::ids_are_known_to_other_units_and_after_a_restart,
            ids::an_id_of_an_abandoned_commit_is_known_exactly_if_it_is_stored,
            ids::one_of_two_units_with_the_same_id_stores_it,
            ids::an_owner_that_is_gone_keeps_no_id_from_others,
            ids::the_latest_ids_are_remembered,
            levels::levels_are_exact,
            levels::levels_are_exact_after_a_restart,
            levels::levels_count_what_is_left_of_a_frame,
            levels::a_message_on_its_way_back_is_always_counted,
            survey::a_survey_knows_what_each_writer_holds_back,
            survey::a_survey_knows_what_is_left_of_a_retry_slot,
            survey::a_survey_knows_owners_and_what_units_have_written,
            survey::a_survey_is_of_one_instant,
        }
    };
    (@cases $run:path; $($module:ident :: $case:ident,)+) => {
        $(
            #[test]
            fn $case() {
                $run($crate::conformance::buffer::$module::$case);
            }
        )+
    };
}
