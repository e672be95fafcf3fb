//! Many items in one call.

use std::collections::BTreeSet;
use std::time::Duration;

use super::Harness;
use super::cases::cases;
use super::fixtures::{
    AT_ONCE, FREELY, HOUR, Worker, append, assert_stored, create, history, id, ids_of, new_order, new_orders,
    order_of, routing_started, to_confirmed, to_submitted, with_epoch, write_freely,
};
use crate::domain::ids::OrderId;
use crate::ports::order_store::lease::{Lease, Release, ReleaseReason};
use crate::ports::order_store::write::{Append, AppendError, Guard, Then};

cases!(
    /// Each bad item of a batch is answered with its own error, and the good ones are written.
    async fn refused_appends_do_not_affect_the_rest_of_the_batch(harness: &impl Harness) {
        let store = harness.store().await;
        create(&store, &new_orders(6)).await;
        let mut claims = Worker::new(&store, 1).claim(6).await;
        claims.sort_by_key(|claim| claim.lease.order_id);
        write_freely(&store, order_of(&claims[2]), Then::Keep, &[routing_started(1)]).await;

        let mut batch: Vec<Append> = claims
            .iter()
            .map(|claim| {
                append(order_of(claim), Guard::Fence(claim.lease.fence), Then::Keep, &to_submitted())
            })
            .collect();
        batch[1].guard = Guard::Fence(with_epoch(claims[1].lease.fence, 99));
        batch[3].events.pop();
        batch.insert(5, append(&new_order(9).order, FREELY, AT_ONCE, &[routing_started(1)]));

        let results = store.append(&batch).await.unwrap();
        assert_eq!(results.len(), 7);
        assert_eq!(results[0], Ok(()));
        assert_eq!(results[1], Err(AppendError::StaleFence));
        assert_eq!(results[2], Err(AppendError::StaleRevision { actual: 2 }));
        assert!(matches!(results[3], Err(AppendError::Rejected(_))), "{:?}", results[3]);
        assert_eq!(results[4], Ok(()));
        assert_eq!(results[5], Err(AppendError::NotFound));
        assert_eq!(results[6], Ok(()));
        for (append, result) in batch.iter().zip(&results) {
            if result.is_ok() {
                assert_stored(&store, &append.order).await;
            }
        }
        let ids: Vec<OrderId> = claims.iter().map(|claim| claim.lease.order_id).collect();
        let heads = [Some(6), Some(1), Some(2), Some(1), Some(6), Some(6)];
        assert_eq!(store.last_seqs(&ids).await.unwrap(), heads);
    },

    /// A batch may have a thousand orders.
    async fn a_thousand_orders_are_created_claimed_and_advanced(harness: &impl Harness) {
        let store = harness.store().await;
        let orders = new_orders(1_000);
        create(&store, &orders).await;
        let worker = Worker::new(&store, 1);
        let claims = worker.claim(1_000).await;
        let claimed: BTreeSet<OrderId> = ids_of(&claims).into_iter().collect();
        let ids: Vec<OrderId> = orders.iter().map(|new| new.order.id).collect();
        assert!(claimed.iter().eq(&ids));

        let appends: Vec<Append> = claims
            .iter()
            .map(|claim| {
                append(order_of(claim), Guard::Fence(claim.lease.fence), Then::Keep, &to_confirmed())
            })
            .collect();
        let results = store.append(&appends).await.unwrap();
        assert_eq!(results, vec![Ok(()); 1_000]);
        for append in &appends {
            assert_eq!(store.load(append.order.id).await.unwrap().as_ref(), Some(&*append.order));
        }
        assert_eq!(store.last_seqs(&ids).await.unwrap(), vec![Some(7); 1_000]);
        assert_stored(&store, &appends[999].order).await;
        worker.finds_nothing().await;
    },

    /// A batch may have a thousand leases.
    async fn a_thousand_leases_are_renewed_and_released(harness: &impl Harness) {
        let store = harness.store().await;
        create(&store, &new_orders(1_000)).await;
        let worker = Worker::new(&store, 1);
        let leases: Vec<Lease> = worker.claim(1_000).await.iter().map(|claim| claim.lease).collect();
        assert_eq!(store.renew(&leases, HOUR).await.unwrap(), vec![true; 1_000]);
        let releases: Vec<Release> = leases
            .iter()
            .map(|lease| Release { lease: *lease, due_in: Duration::ZERO, reason: ReleaseReason::Yielded })
            .collect();
        store.release(&releases).await.unwrap();
        let again = worker.claim(1_000).await;
        assert_eq!(again.len(), 1_000);
        assert!(again.iter().all(|claim| claim.claims_without_progress == 1));
    },

    /// A worker that claims a few orders at a time gets all of them, each once.
    async fn small_claims_drain_every_order_once(harness: &impl Harness) {
        let store = harness.store().await;
        let orders = new_orders(100);
        create(&store, &orders).await;
        let worker = Worker::new(&store, 1);
        let mut done = BTreeSet::new();
        loop {
            let claims = worker.claim(7).await;
            if claims.is_empty() {
                break;
            }
            for claim in &claims {
                assert!(done.insert(claim.lease.order_id), "claimed twice");
            }
            let appends: Vec<Append> = claims
                .iter()
                .map(|claim| {
                    append(order_of(claim), Guard::Fence(claim.lease.fence), AT_ONCE, &to_confirmed())
                })
                .collect();
            assert_eq!(store.append(&appends).await.unwrap(), vec![Ok(()); appends.len()]);
        }
        assert_eq!(done.len(), orders.len());
        assert_eq!(history(&store, id(100)).await.len(), 7);
    }
);
