//! The suite that every store must pass: each case is named after the promise that it checks.
//!
//! A backend implements [`Harness`] and calls [`conformance_suite!`](crate::conformance_suite) in
//! its `tests/conformance.rs`; the feature is enabled among the dev-dependencies only, and the
//! backend needs tokio with `macros` and `rt-multi-thread` there.
//!
//! ```no_run
//! use std::sync::Arc;
//! use std::time::Duration;
//!
//! use async_trait::async_trait;
//! use order_engine_core::conformance::Harness;
//! use order_engine_core::testing::ManualClock;
//! use order_engine_core::{MemoryStore, OrderStore};
//!
//! struct Memory {
//!     clock: ManualClock,
//!     store: MemoryStore,
//! }
//!
//! impl Memory {
//!     fn new() -> Self {
//!         let clock = ManualClock::new();
//!         Self { store: MemoryStore::with_clock(Arc::new(clock.clone())), clock }
//!     }
//! }
//!
//! #[async_trait]
//! impl Harness for Memory {
//!     async fn store(&self) -> Arc<dyn OrderStore> {
//!         Arc::new(self.store.clone())
//!     }
//!
//!     async fn elapse(&self, duration: Duration) {
//!         self.clock.advance(duration);
//!     }
//! }
//!
//! order_engine_core::conformance_suite!(Memory::new());
//! # fn main() {}
//! ```
// A case fails by panicking, and its name says under what circumstances; `# Panics` on each would
// say nothing more.
#![allow(clippy::missing_panics_doc)]

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;

use crate::ports::order_store::OrderStore;

pub mod admin;
pub mod appending;
pub mod batches;
pub mod claiming;
pub mod clock;
pub mod creating;
pub mod fixtures;
pub mod guards;
pub mod leasing;
pub mod listing;
pub mod outbox;
pub mod payloads;
pub mod races;
pub mod reading;
pub mod waiting;

/// What the suite needs of a backend. Each case gets a harness of its own.
#[async_trait]
pub trait Harness: Send + Sync {
    /// Opens the harness's data, which is empty at first.
    ///
    /// Every call gives another handle on the same data, as another process would have one.
    async fn store(&self) -> Arc<dyn OrderStore>;

    /// Lets at least this much time pass on the store's clock.
    ///
    /// A steered clock is moved. Where a server has its own clock, this waits: the suite lets
    /// fractions of a second elapse, and what must not run out lasts an hour.
    async fn elapse(&self, duration: Duration);
}

/// Makes one `#[tokio::test]` of each case, for the harness that an expression gives.
#[macro_export]
macro_rules! conformance_suite {
    ($harness:expr) => {
        $crate::conformance_suite! { @modules $harness;
            creating {
                a_new_order_is_stored_as_it_was_given
                a_new_order_is_due_at_once
                a_used_client_order_id_gives_the_existing_order
                a_used_client_order_id_with_another_payload_gives_the_existing_order
                a_client_order_id_twice_in_one_batch_creates_one_order
                a_client_order_id_stays_used_after_the_order_has_ended
                client_order_ids_are_per_user
                client_order_ids_are_compared_exactly
                orders_without_a_client_order_id_never_collide
                the_existing_order_is_given_in_its_present_state
                a_repeated_creation_gives_the_existing_order
                a_repeated_creation_changes_nothing
                an_inconsistent_order_in_a_batch_harms_no_other
                calls_about_nothing_do_nothing
            }
            claiming {
                a_claimed_order_is_claimed_by_nobody_else
                a_claim_gives_the_order_as_it_is_now
                each_claim_raises_the_epoch
                a_claim_takes_at_most_its_limit
                the_order_that_is_due_longest_is_claimed_first
                lanes_are_separate
                a_terminal_order_is_never_due
                a_claim_of_one_order_takes_no_other
                a_claim_of_one_order_takes_it_only_when_due
                a_claim_of_one_order_keeps_to_its_lane_and_its_limit
                a_claim_of_an_unknown_order_takes_nothing
                claims_without_progress_are_counted
                progress_resets_the_count_of_fruitless_claims
                a_fruitless_release_counts
                an_innocent_release_does_not_count
                a_write_without_a_lease_is_no_progress_of_a_claim
            }
            clock {
                the_clock_runs_forward
                the_time_is_in_whole_milliseconds
                a_claim_tells_the_time
                the_clock_agrees_with_due_times
                an_append_after_its_time_is_refused_and_changes_nothing
                an_append_before_its_time_is_written
                a_stale_append_is_stale_before_it_is_late
                a_late_append_harms_no_other_in_the_batch
            }
            listing {
                lists_are_paged_newest_first_without_a_gap
                a_new_order_between_two_pages_shifts_nothing
                lists_are_filtered_by_user
                lists_are_filtered_by_status
                orders_in_quarantine_are_found_and_not_due
            }
            waiting {
                an_empty_lane_has_no_next_due_time
                more_due_orders_are_due_now
                the_next_due_time_is_never_too_late
                the_expiry_of_a_lease_is_a_due_time
                the_next_due_time_belongs_to_its_lane
                a_claim_of_one_order_tells_the_next_due_time_of_the_lane
                an_order_waits_until_it_is_due_and_no_longer
                an_endless_wait_is_a_wait
            }
            leasing {
                a_lease_that_runs_is_not_taken_over
                an_expired_lease_is_claimed_again_under_a_higher_epoch
                a_lost_lease_is_refused_everything
                an_expired_lease_that_nobody_claimed_still_writes
                an_expired_lease_that_nobody_claimed_is_renewed
                a_renewed_lease_lasts_longer
                a_renewal_can_shorten_a_lease
                renewals_are_answered_one_by_one
                a_lease_given_back_at_once_is_due_at_once
                a_lease_given_back_is_over
                a_lost_lease_cannot_be_given_back
                leases_are_given_back_one_by_one
            }
            appending {
                the_state_is_the_fold_of_the_events
                an_append_of_several_events_writes_them_all
                an_append_without_events_is_refused
                events_that_leave_a_gap_are_refused
                an_event_of_another_order_is_refused
                an_append_to_an_unknown_order_is_told_so
                a_refused_append_changes_nothing
                keep_keeps_the_lease_and_its_expiry
                release_ends_the_lease
                release_for_later_is_due_later
                the_lane_follows_the_state
                a_leased_order_changes_its_lane_too
                a_terminal_event_ends_the_lease_whatever_is_asked
            }
            guards {
                a_stale_epoch_is_refused
                another_owner_of_the_same_epoch_is_refused
                a_fence_for_an_order_that_nobody_holds_is_refused
                a_stale_revision_is_told_the_present_one
                a_future_revision_is_told_the_present_one
                a_stale_fence_is_told_before_a_stale_revision
                a_revision_writes_without_a_lease
                a_stale_revision_without_a_lease_is_refused
                a_write_without_a_lease_leaves_the_lease_alone
                a_revoking_write_takes_the_lease
                a_revoking_write_can_make_the_order_wait
                a_refused_revocation_revokes_nothing
                a_revoking_write_to_a_free_order_leaves_its_due_time
                keep_leaves_a_free_order_as_it_is
                release_without_a_lease_sets_the_due_time
            }
            batches {
                bad_appends_harm_no_other_in_the_batch
                a_thousand_orders_are_created_claimed_and_advanced
                a_thousand_leases_are_renewed_and_given_back
                every_order_is_drained_by_small_claims
            }
            reading {
                events_are_paged_without_a_gap
                events_after_the_last_are_none
                reads_of_unknown_orders_find_nothing
                reads_answer_in_the_order_asked
                a_lost_hint_loses_no_event
                another_handle_sees_what_was_written
                a_healthy_store_checks_out
            }
            payloads {
                amounts_survive_to_the_last_unit
                texts_survive_in_any_script
                the_longest_client_order_id_survives
                requests_survive_in_full
                every_kind_of_event_survives
                long_histories_survive
            }
            outbox {
                without_a_sink_nothing_is_owed
                a_registered_sink_is_owed_every_event
                a_late_sink_is_owed_what_comes_after_it
                every_process_owes_what_one_registered
                a_repeated_registration_changes_nothing
                sinks_are_owed_separately
                a_paid_debt_is_gone
                a_debt_is_leased_to_one_relay
                events_during_a_delivery_are_owed_next
                long_debts_are_paid_in_pieces
                an_expired_delivery_is_claimed_again
                a_failed_delivery_waits
                a_delivery_resets_the_count_of_failures
                a_waiting_debt_holds_no_other_up
                a_refused_write_owes_nothing
                settlements_are_answered_one_by_one
                a_forgotten_sink_is_owed_nothing
                racing_relays_share_the_debts_out
                a_racing_writer_and_relay_lose_nothing
                an_unknown_sink_is_owed_nothing
            }
            admin {
                due_orders_can_be_looked_at
                an_order_made_due_is_due_at_once
                only_waiting_orders_are_made_due
                the_backlog_is_counted
                nothing_due_has_no_age
                orders_of_unknown_outcome_are_found_and_due
                the_age_of_a_debt_is_told
                a_purge_forgets_what_ended
                a_purge_keeps_what_ended_lately
                a_purge_keeps_names_for_longer
                a_purge_goes_in_small_steps
                a_purge_keeps_what_a_sink_is_owed
            }
            races {
                one_of_two_workers_gets_the_order
                racing_claims_share_the_orders_out
                one_of_many_racing_appends_wins
                one_of_many_racing_creations_wins
                racing_creations_in_many_batches_create_each_order_once
                a_cancel_and_a_worker_never_both_win
                a_reader_never_sees_half_an_append
                a_dropped_write_is_whole_or_absent
            }
        }
    };
    (@modules $harness:expr; $($module:ident { $($case:ident)* })*) => {
        $(
            mod $module {
                #[allow(unused_imports)] // A harness may be named by its full path.
                use super::*;

                $(
                    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
                    async fn $case() {
                        $crate::conformance::$module::$case(&$harness).await;
                    }
                )*
            }
        )*
    };
}

#[cfg(test)]
mod tests {
    #[test]
    fn every_case_is_in_the_suite() {
        let suite: Vec<&str> = include_str!("conformance.rs").split_whitespace().collect();
        let modules = [
            include_str!("conformance/appending.rs"),
            include_str!("conformance/batches.rs"),
            include_str!("conformance/claiming.rs"),
            include_str!("conformance/clock.rs"),
            include_str!("conformance/creating.rs"),
            include_str!("conformance/guards.rs"),
            include_str!("conformance/leasing.rs"),
            include_str!("conformance/listing.rs"),
            include_str!("conformance/outbox.rs"),
            include_str!("conformance/payloads.rs"),
            include_str!("conformance/races.rs"),
            include_str!("conformance/reading.rs"),
            include_str!("conformance/admin.rs"),
            include_str!("conformance/waiting.rs"),
        ];
        let cases: Vec<&str> = modules
            .iter()
            .flat_map(|module| module.split("pub async fn ").skip(1))
            .filter_map(|rest| rest.split('(').next())
            .collect();
        assert!(cases.len() >= 140, "{}", cases.len());
        for case in cases {
            assert!(suite.contains(&case), "{case} is not in the suite");
        }
    }
}
