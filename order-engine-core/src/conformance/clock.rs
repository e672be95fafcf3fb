//! The store's clock, and the time limits of appends.

use std::sync::Arc;
use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};

use super::Harness;
use super::cases::cases;
use super::fixtures::{
    AT_ONCE, FREELY, HOUR, LONGER_THAN_SHORT, REVOKING, SHORT, Worker, append, assert_stored, create,
    create_one, id, load, new_order, new_orders, order_of, route_chosen, routing_started, to_submitted,
    with_epoch, write, write_freely,
};
use crate::ports::order_store::OrderStore;
use crate::ports::order_store::lease::{ClaimScope, ReleaseReason};
use crate::ports::order_store::write::{Append, AppendError, Guard, Then};

/// Returns the append with a time limit that is this far from the store's current time.
async fn with_limit(store: &Arc<dyn OrderStore>, append: Append, from_now: TimeDelta) -> Append {
    let now = store.now().await.expect("the store answers");
    append.with_not_after(Some(now + from_now))
}

fn past() -> TimeDelta {
    TimeDelta::milliseconds(-1)
}

fn hour() -> TimeDelta {
    TimeDelta::from_std(HOUR).expect("an hour is short")
}

cases!(
    /// Time runs forward, and is the same for every process.
    async fn the_clock_runs_forward(harness: &impl Harness) {
        let (store, other) = (harness.store().await, harness.store().await);
        let mut last = store.now().await.unwrap();
        for store in [&other, &store, &other] {
            harness.elapse(SHORT).await;
            let now = store.now().await.unwrap();
            assert!(now >= last + SHORT, "{last} and then {now}");
            assert!(now < last + HOUR, "{last} and then {now}");
            last = now;
        }
    },

    /// A time has whole milliseconds, so that it is stored and compared without a loss.
    async fn the_time_is_in_whole_milliseconds(harness: &impl Harness) {
        let store = harness.store().await;
        for _ in 0..3 {
            let now = store.now().await.unwrap();
            let as_of = Worker::new(&store, 1).ask(ClaimScope::Any, 1).await.as_of;
            for time in [now, as_of] {
                assert_eq!(time.timestamp_subsec_nanos() % 1_000_000, 0, "{time}");
            }
            harness.elapse(Duration::from_micros(1_300)).await;
        }
    },

    /// A claim returns the time at which it was made, whether anything is due or not.
    async fn a_claim_returns_the_time(harness: &impl Harness) {
        let store = harness.store().await;
        let worker = Worker::new(&store, 1);
        for orders in [0, 1] {
            if orders > 0 {
                create_one(&store, orders).await;
            }
            for scope in [ClaimScope::Order(id(1)), ClaimScope::Any] {
                let before = store.now().await.unwrap();
                let as_of = worker.ask(scope, 1).await.as_of;
                let after = store.now().await.unwrap();
                assert!(before <= as_of && as_of <= after, "{before}, {as_of}, {after}");
            }
        }
    },

    /// Leases and waits end when the clock says so.
    async fn the_clock_agrees_with_due_times(harness: &impl Harness) {
        let store = harness.store().await;
        create_one(&store, 1).await;
        let worker = Worker::new(&store, 1).with_lease(SHORT);
        let leased = worker.ask(ClaimScope::Any, 1).await.as_of;
        harness.elapse(LONGER_THAN_SHORT).await;
        let again = worker.ask(ClaimScope::Any, 1).await;
        assert!(again.as_of >= leased + SHORT, "{leased} and then {}", again.as_of);

        let before = store.now().await.unwrap();
        worker.release(again.claims[0].lease, HOUR, ReleaseReason::Yielded).await;
        let after = store.now().await.unwrap();
        harness.elapse(SHORT).await;
        let waiting = worker.ask(ClaimScope::Any, 1).await;
        let due_at = waiting.as_of + waiting.next_due_in.expect("the order waits");
        // The next due time may be a little early, and the clock is cut to milliseconds.
        assert!(due_at <= after + HOUR + Duration::from_millis(1), "{due_at}, released before {after}");
        assert!(due_at > before + HOUR - SHORT, "{due_at}, released after {before}");
    },

    /// An append after its time limit is refused, and changes nothing.
    async fn an_append_after_its_time_limit_is_refused_and_changes_nothing(harness: &impl Harness) {
        let store = harness.store().await;
        create_one(&store, 1).await;
        let worker = Worker::new(&store, 1);
        let claim = worker.claim_one().await;
        let order = order_of(&claim);
        for guard in [Guard::Fence(claim.lease.fence), FREELY, REVOKING] {
            for then in [Then::Keep, AT_ONCE] {
                let late = with_limit(&store, append(order, guard, then, &to_submitted()), past()).await;
                harness.elapse(Duration::from_millis(2)).await;
                assert_eq!(write(&store, late).await, Err(AppendError::TooLate), "{guard:?}");
            }
        }
        assert_stored(&store, order).await;
        worker.finds_nothing().await;
        assert!(worker.renews(claim.lease).await);
    },

    /// An append before its time limit is written.
    async fn an_append_before_its_time_limit_is_written(harness: &impl Harness) {
        let store = harness.store().await;
        create_one(&store, 1).await;
        let claim = Worker::new(&store, 1).claim_one().await;
        let guard = Guard::Fence(claim.lease.fence);
        let early = append(order_of(&claim), guard, Then::Keep, &[routing_started(1)]);
        let early = with_limit(&store, early, hour()).await;
        let order = Arc::clone(&early.order);
        assert_eq!(write(&store, early).await, Ok(()));
        assert_stored(&store, &order).await;
        let endless = append(&order, guard, Then::Keep, &[route_chosen()]);
        let endless = endless.with_not_after(Some(DateTime::<Utc>::MAX_UTC));
        assert_eq!(write(&store, endless).await, Ok(()));
    },

    /// An append that is stale and late is answered as stale: an earlier try of it may have been written in
    /// time.
    async fn a_stale_append_is_stale_before_it_is_late(harness: &impl Harness) {
        let store = harness.store().await;
        create_one(&store, 1).await;
        let claim = Worker::new(&store, 1).claim_one().await;
        let fence = claim.lease.fence;
        let stranger = Guard::Fence(with_epoch(fence, fence.epoch + 1));
        let lost = append(order_of(&claim), stranger, Then::Keep, &[routing_started(1)]);
        let lost = with_limit(&store, lost, past()).await;
        assert_eq!(write(&store, lost).await, Err(AppendError::StaleFence));
        write_freely(&store, order_of(&claim), Then::Keep, &[routing_started(1)]).await;
        for guard in [Guard::Fence(fence), FREELY] {
            let stale = append(order_of(&claim), guard, Then::Keep, &[routing_started(1)]);
            let stale = with_limit(&store, stale, past()).await;
            assert_eq!(write(&store, stale).await, Err(AppendError::StaleRevision { actual: 2 }));
        }
        let unknown = append(&new_order(9).order, FREELY, Then::Keep, &[routing_started(1)]);
        let unknown = with_limit(&store, unknown, past()).await;
        assert_eq!(write(&store, unknown).await, Err(AppendError::NotFound));
    },

    /// Each item of a batch has a time limit of its own.
    async fn a_late_append_does_not_affect_the_rest_of_the_batch(harness: &impl Harness) {
        let store = harness.store().await;
        let new = new_orders(4);
        create(&store, &new).await;
        let limits = [Some(past()), None, Some(hour()), Some(past())];
        let mut appends = Vec::new();
        for (new, limit) in new.iter().zip(limits) {
            let free = append(&new.order, FREELY, Then::Keep, &[routing_started(1)]);
            appends.push(match limit {
                Some(limit) => with_limit(&store, free, limit).await,
                None => free,
            });
        }
        let results = store.append(&appends).await.unwrap();
        assert_eq!(results, [Err(AppendError::TooLate), Ok(()), Ok(()), Err(AppendError::TooLate)]);
        for ((new, append), result) in new.iter().zip(&appends).zip(results) {
            let expected = if result.is_ok() { &append.order } else { &new.order };
            assert_eq!(&load(&store, new.order.id).await, &**expected);
        }
    }
);
