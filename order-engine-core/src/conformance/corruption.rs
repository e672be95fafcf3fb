//! Orders and events that cannot be decoded: damaged ones, and those of a newer version of the software.

use std::time::Duration;

use super::cases::cases;
use super::fixtures::{
    AT_ONCE, HOUR, Relay, Worker, create, id, new_order, new_orders, register, routing_started, seqs_of,
    to_submitted, write_freely,
};
use super::{CorruptHarness, Corruption};
use crate::domain::codec::PAYLOAD_VERSION;
use crate::ports::order_store::error::StoreErrorKind;
use crate::ports::order_store::lease::ReleaseReason;
use crate::ports::order_store::query::OrderQuery;
use crate::ports::order_store::write::Creation;
use crate::ports::outbox::DeliveryOutcome;

/// A payload version that this software does not know yet.
const NEWER_VERSION: u32 = 99;

/// Checks that an order of a newer version is listed for the operator until a version that can decode it is
/// back.
async fn is_listed_until_it_can_be_decoded(harness: &impl CorruptHarness, version: fn(u32) -> Corruption) {
    let store = harness.store().await;
    create(&store, &new_orders(2)).await;
    assert!(harness.corrupt(id(1), version(NEWER_VERSION)).await);
    let worker = Worker::new(&store, 1);
    let claim = worker.claim_order(id(1)).await.remove(0);
    worker.release(claim.lease, HOUR, ReleaseReason::Undecodable).await;
    let attention = OrderQuery::new(9).with_attention();
    let listed = store.list(&attention).await.unwrap();
    assert_eq!(listed.len(), 1);
    let undecodable = listed[0].as_ref().unwrap_err();
    assert_eq!(undecodable.order_id, id(1));
    assert!(undecodable.error.message.contains("version 99 is newer"), "{undecodable}");
    let everything = store.list(&OrderQuery::new(9)).await.unwrap();
    assert_eq!(everything.iter().map(Result::is_ok).collect::<Vec<_>>(), [true, false]);
    assert_eq!(store.backlog().await.unwrap().attention, 1);

    assert!(harness.corrupt(id(1), version(PAYLOAD_VERSION)).await);
    store.make_due(id(1)).await.unwrap();
    let claim = worker.claim_order(id(1)).await.remove(0);
    worker.write(&claim, AT_ONCE, &[routing_started(1)]).await;
    assert!(store.list(&attention).await.unwrap().is_empty());
}

cases!(
    /// An order that cannot be decoded is claimed and counted like any other, and the others go on.
    async fn undecodable_orders_do_not_affect_others(harness: &impl CorruptHarness) {
        let store = harness.store().await;
        create(&store, &new_orders(7)).await;
        let newer = [id(1), id(2)];
        assert!(harness.corrupt(newer[0], Corruption::StateVersion(NEWER_VERSION)).await);
        assert!(harness.corrupt(newer[1], Corruption::RequestVersion(NEWER_VERSION)).await);
        let mut corrupted = newer.to_vec();
        for (n, corruption) in (3..).zip([Corruption::State, Corruption::Request, Corruption::CreatedAt]) {
            if harness.corrupt(id(n), corruption).await {
                corrupted.push(id(n));
            }
        }
        let worker = Worker::new(&store, 1);
        let claims = worker.claim(10).await;
        assert_eq!(claims.len(), 7);
        for claim in &claims {
            let is_corrupted = corrupted.contains(&claim.lease.order_id);
            assert_eq!(claim.order.is_err(), is_corrupted, "{claim:?}");
            if !is_corrupted {
                worker.write(claim, AT_ONCE, &[routing_started(1)]).await;
            }
        }
        for newer in newer {
            let claim = claims.iter().find(|claim| claim.lease.order_id == newer).expect("it is claimed");
            let message = claim.order.as_ref().unwrap_err().to_string();
            assert!(message.contains("version 99 is newer"), "{message}");
            worker.release(claim.lease, Duration::ZERO, ReleaseReason::Undecodable).await;
            let again = worker.claim_order(newer).await.remove(0);
            assert_eq!((again.lease.fence.epoch, again.claims_without_progress), (2, 2));
            assert_eq!(store.load(newer).await.unwrap_err().kind(), StoreErrorKind::Internal);
        }
        assert_eq!(store.load(id(7)).await.unwrap().expect("the order is there").seq, 2);
    },

    /// A repeated creation of an order that cannot be decoded is refused, and the others are written.
    async fn a_repeated_creation_of_an_undecodable_order_is_refused(harness: &impl CorruptHarness) {
        let store = harness.store().await;
        create(&store, &new_orders(1)).await;
        assert!(harness.corrupt(id(1), Corruption::StateVersion(NEWER_VERSION)).await);
        let repeated = store.create(&[new_order(1), new_order(2)]).await.unwrap();
        assert!(repeated[0].as_ref().unwrap_err().to_string().contains("version 99"), "{repeated:?}");
        assert_eq!(repeated[1], Ok(Creation::Created));
    },

    /// An order with a state of a newer version is listed for the operator until it can be decoded again.
    async fn an_order_with_a_newer_state_is_listed_until_it_can_be_decoded(harness: &impl CorruptHarness) {
        is_listed_until_it_can_be_decoded(harness, Corruption::StateVersion).await;
    },

    /// An order with a request of a newer version is listed for the operator until it can be decoded again.
    async fn an_order_with_a_newer_request_is_listed_until_it_can_be_decoded(harness: &impl CorruptHarness) {
        is_listed_until_it_can_be_decoded(harness, Corruption::RequestVersion).await;
    },

    /// The events before one that cannot be decoded are read and delivered, and then the delivery fails.
    async fn events_before_an_undecodable_one_are_delivered(harness: &impl CorruptHarness) {
        let store = harness.store().await;
        register(&store, "ledger").await;
        create(&store, &new_orders(2)).await;
        // A store may keep what is written at once in one row, so the newer version wrote the third event on its own.
        let events = to_submitted();
        let order = write_freely(&store, &new_order(1).order, AT_ONCE, &events[..1]).await;
        write_freely(&store, &order, AT_ONCE, &events[1..]).await;
        assert!(harness.corrupt(id(1), Corruption::EventVersion { seq: 3, version: NEWER_VERSION }).await);
        let relay = Relay::new(&store, "ledger", 1);
        let deliveries = relay.claim(9).await;
        let delivery_of = |n| deliveries.iter().find(|delivery| delivery.lease.order_id == id(n)).unwrap();
        let first = delivery_of(1);
        assert_eq!(seqs_of(first), [1, 2]);
        assert!(relay.ack(first).await);
        let second = relay.claim_one().await;
        assert!(second.updates.as_ref().unwrap_err().message.contains("version 99"), "{second:?}");
        assert!(relay.record(&second, DeliveryOutcome::Nack { retry_in: HOUR }).await);
        assert!(relay.ack(delivery_of(2)).await);
        assert_eq!(store.events(id(1), 0, 9).await.unwrap_err().kind(), StoreErrorKind::Internal);
        assert_eq!(store.events(id(1), 0, 2).await.unwrap().len(), 2);
    }
);
