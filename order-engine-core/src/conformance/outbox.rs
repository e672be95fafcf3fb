//! The outbox: the entries of durable sinks and their delivery.
#![allow(clippy::disallowed_methods)] // A case is a caller of the store and may spawn tasks.

use std::sync::Arc;
use std::time::Duration;

use super::Harness;
use super::cases::cases;
use super::fixtures::{
    AT_ONCE, FREELY, HOUR, LONGER_THAN_SHORT, Relay, SHORT, append, cancelled, create, create_one, history,
    id, new_order, new_order_for, new_orders, register, request_named, routing_started, seqs_of,
    to_confirmed, write, write_freely,
};
use crate::domain::event::EventRecord;
use crate::domain::metadata::Metadata;
use crate::ports::order_store::write::Then;
use crate::ports::outbox::{DeliveryAck, DeliveryOutcome, DeliveryRequest};

cases!(
    /// Without a registered sink a write adds no outbox entry.
    async fn without_a_sink_there_are_no_entries(harness: &impl Harness) {
        let store = harness.store().await;
        let order = create_one(&store, 1).await;
        write_freely(&store, &order, AT_ONCE, &[routing_started(1)]).await;
        register(&store, "late").await;
        Relay::new(&store, "late", 1).finds_nothing().await;
        assert_eq!(store.backlog().await.unwrap().sinks[0].orders, 0);
    },

    /// A sink gets every event of an order, from its creation on.
    async fn a_registered_sink_gets_every_event(harness: &impl Harness) {
        let store = harness.store().await;
        register(&store, "ledger").await;
        let order = create_one(&store, 1).await;
        write_freely(&store, &order, AT_ONCE, &to_confirmed()).await;
        let delivery = Relay::new(&store, "ledger", 1).claim_one().await;
        assert_eq!((delivery.lease.order_id, delivery.failures), (id(1), 0));
        let events: Vec<_> =
            delivery.updates.unwrap().iter().map(|update| EventRecord::clone(&update.event)).collect();
        assert_eq!(events, history(&store, id(1)).await);
    },

    /// A delivery brings what never changes of its order: the user, the amounts, the host's metadata.
    async fn a_delivery_brings_its_order(harness: &impl Harness) {
        let store = harness.store().await;
        register(&store, "ledger").await;
        let attached = Metadata::default().with("invoice", 17);
        let new = new_order_for(1, request_named("alice", "key").with_metadata(attached).with_tag("t"));
        create(&store, std::slice::from_ref(&new)).await;
        let order = write_freely(&store, &new.order, Then::Keep, &to_confirmed()).await;
        let updates = Relay::new(&store, "ledger", 1).claim_one().await.updates.unwrap();
        assert_eq!(updates.len(), 7);
        assert!(updates.iter().all(|update| update.order == order.head()));
    },

    /// A sink gets the events that are committed after its registration, and none from before.
    async fn a_late_sink_gets_the_events_after_its_registration(harness: &impl Harness) {
        let store = harness.store().await;
        let order = create_one(&store, 1).await;
        register(&store, "late").await;
        write_freely(&store, &order, AT_ONCE, &[routing_started(1)]).await;
        assert_eq!(seqs_of(&Relay::new(&store, "late", 1).claim_one().await), [2]);
    },

    /// A registration is stored: a process that does not know the sink adds entries for it, too.
    async fn a_registration_holds_for_every_process(harness: &impl Harness) {
        let (store, other) = (harness.store().await, harness.store().await);
        register(&store, "ledger").await;
        create_one(&other, 1).await;
        assert_eq!(seqs_of(&Relay::new(&store, "ledger", 1).claim_one().await), [1]);
    },

    /// A second registration of a sink changes nothing.
    async fn a_repeated_registration_changes_nothing(harness: &impl Harness) {
        let store = harness.store().await;
        register(&store, "ledger").await;
        create_one(&store, 1).await;
        store.register_sinks(&["ledger".into(), "ledger".into()]).await.unwrap();
        assert_eq!(store.backlog().await.unwrap().sinks.len(), 1);
        assert_eq!(seqs_of(&Relay::new(&store, "ledger", 1).claim_one().await), [1]);
    },

    /// An entry that one sink acknowledges leaves the entries of the others as they are.
    async fn each_sink_has_its_own_entries(harness: &impl Harness) {
        let store = harness.store().await;
        register(&store, "ledger").await;
        register(&store, "webhook").await;
        create_one(&store, 1).await;
        let (ledger, webhook) = (Relay::new(&store, "ledger", 1), Relay::new(&store, "webhook", 2));
        let delivery = ledger.claim_one().await;
        assert!(ledger.ack(&delivery).await);
        ledger.finds_nothing().await;
        assert_eq!(seqs_of(&webhook.claim_one().await), [1]);
    },

    /// What was acknowledged is not delivered again.
    async fn an_acknowledged_entry_is_deleted(harness: &impl Harness) {
        let store = harness.store().await;
        register(&store, "ledger").await;
        let order = create_one(&store, 1).await;
        let relay = Relay::new(&store, "ledger", 1);
        let delivery = relay.claim_one().await;
        assert!(relay.ack(&delivery).await);
        let claimed = relay.ask(1, 1).await;
        assert!(claimed.deliveries.is_empty());
        assert_eq!(claimed.next_due_in, None);
        write_freely(&store, &order, AT_ONCE, &[routing_started(1)]).await;
        assert_eq!(seqs_of(&relay.claim_one().await), [2]);
    },

    /// An order is delivered by one relay at a time, so that its events stay in order.
    async fn an_entry_is_leased_to_one_relay(harness: &impl Harness) {
        let store = harness.store().await;
        register(&store, "ledger").await;
        let order = create_one(&store, 1).await;
        Relay::new(&store, "ledger", 1).claim_one().await;
        write_freely(&store, &order, AT_ONCE, &[routing_started(1)]).await;
        Relay::new(&store, "ledger", 2).finds_nothing().await;
    },

    /// Events that are committed during a delivery are due at once after it.
    async fn events_during_a_delivery_are_delivered_next(harness: &impl Harness) {
        let store = harness.store().await;
        register(&store, "ledger").await;
        let order = create_one(&store, 1).await;
        let relay = Relay::new(&store, "ledger", 1);
        let delivery = relay.claim_one().await;
        write_freely(&store, &order, AT_ONCE, &[routing_started(1)]).await;
        assert!(relay.ack(&delivery).await);
        assert_eq!(seqs_of(&relay.claim_one().await), [2]);
    },

    /// A long history is delivered in pieces, from its first event on.
    async fn long_entries_are_delivered_in_pieces(harness: &impl Harness) {
        let store = harness.store().await;
        register(&store, "ledger").await;
        let order = create_one(&store, 1).await;
        write_freely(&store, &order, AT_ONCE, &to_confirmed()).await;
        let relay = Relay::new(&store, "ledger", 1);
        let mut delivered = Vec::new();
        while let Some(delivery) = relay.ask(1, 3).await.deliveries.pop() {
            let seqs = seqs_of(&delivery);
            assert!(seqs.len() <= 3);
            delivered.extend(seqs);
            assert!(relay.ack(&delivery).await);
        }
        assert_eq!(delivered, [1, 2, 3, 4, 5, 6, 7]);
    },

    /// The entries of a dead relay are claimed again when its leases have expired.
    async fn an_expired_delivery_is_claimed_again(harness: &impl Harness) {
        let store = harness.store().await;
        register(&store, "ledger").await;
        create_one(&store, 1).await;
        let dead = Relay::new(&store, "ledger", 1).with_lease(SHORT);
        let lost = dead.claim_one().await;
        harness.elapse(LONGER_THAN_SHORT).await;
        let relay = Relay::new(&store, "ledger", 2);
        let taken = relay.claim_one().await;
        assert_eq!(seqs_of(&taken), [1]);
        assert!(taken.lease.fence.epoch > lost.lease.fence.epoch);
        assert!(!dead.ack(&lost).await, "the lease is another one's");
        assert!(relay.ack(&taken).await);
    },

    /// A failed delivery is due again after its delay, and is counted.
    async fn a_failed_delivery_waits(harness: &impl Harness) {
        let store = harness.store().await;
        register(&store, "ledger").await;
        create_one(&store, 1).await;
        let relay = Relay::new(&store, "ledger", 1);
        for failures in 0..3 {
            let delivery = relay.claim_one().await;
            assert_eq!((delivery.failures, seqs_of(&delivery)), (failures, vec![1]));
            assert!(relay.record(&delivery, DeliveryOutcome::Nack { retry_in: SHORT }).await);
            let claimed = relay.ask(1, 1).await;
            assert!(claimed.deliveries.is_empty());
            assert!(claimed.next_due_in.is_some_and(|due_in| due_in <= SHORT), "{:?}", claimed.next_due_in);
            harness.elapse(LONGER_THAN_SHORT).await;
        }
    },

    /// A successful delivery resets the count of failures.
    async fn a_delivery_resets_the_count_of_failures(harness: &impl Harness) {
        let store = harness.store().await;
        register(&store, "ledger").await;
        let order = create_one(&store, 1).await;
        write_freely(&store, &order, AT_ONCE, &[routing_started(1)]).await;
        let relay = Relay::new(&store, "ledger", 1);
        let delivery = relay.claim_one().await;
        assert!(relay.record(&delivery, DeliveryOutcome::Nack { retry_in: Duration::ZERO }).await);
        let delivery = relay.claim_one().await;
        assert!(relay.record(&delivery, DeliveryOutcome::Ack { seq: 1 }).await);
        let delivery = relay.claim_one().await;
        assert_eq!((delivery.failures, seqs_of(&delivery)), (0, vec![2]));
    },

    /// An order that a sink refuses does not delay the others.
    async fn a_waiting_entry_does_not_delay_others(harness: &impl Harness) {
        let store = harness.store().await;
        register(&store, "ledger").await;
        create(&store, &new_orders(3)).await;
        let relay = Relay::new(&store, "ledger", 1);
        let bad = relay.claim(1).await.remove(0);
        assert!(relay.record(&bad, DeliveryOutcome::Nack { retry_in: HOUR }).await);
        let others: Vec<_> = relay.claim(9).await.iter().map(|delivery| delivery.lease.order_id).collect();
        assert_eq!(others.len(), 2);
        assert!(!others.contains(&bad.lease.order_id));
    },

    /// A write that is refused adds no outbox entry.
    async fn a_refused_write_adds_no_entry(harness: &impl Harness) {
        let store = harness.store().await;
        let order = create_one(&store, 1).await;
        register(&store, "ledger").await;
        let stale = append(&order, FREELY, Then::Keep, &[routing_started(1)]);
        write_freely(&store, &order, Then::Keep, &[cancelled()]).await;
        assert!(write(&store, stale).await.is_err());
        assert_eq!(seqs_of(&Relay::new(&store, "ledger", 1).claim_one().await), [2]);
    },

    /// Each ack has a result of its own, in the order of the request.
    async fn acks_are_answered_one_by_one(harness: &impl Harness) {
        let store = harness.store().await;
        register(&store, "ledger").await;
        create(&store, &new_orders(3)).await;
        let relay = Relay::new(&store, "ledger", 1);
        let deliveries = relay.claim(3).await;
        assert!(relay.ack(&deliveries[1]).await);
        let acks: Vec<_> = deliveries
            .iter()
            .map(|delivery| DeliveryAck {
                sink: Arc::clone(&relay.sink),
                lease: delivery.lease,
                outcome: DeliveryOutcome::Ack { seq: 1 },
            })
            .collect();
        assert_eq!(store.ack_deliveries(&acks).await.unwrap(), [true, false, true]);
        assert_eq!(store.ack_deliveries(&[]).await.unwrap(), Vec::<bool>::new());
    },

    /// The entries of an unregistered sink are deleted, and no new ones are added; those of other sinks stay.
    async fn an_unregistered_sink_has_no_entries(harness: &impl Harness) {
        let store = harness.store().await;
        register(&store, "gone").await;
        register(&store, "stays").await;
        create(&store, &new_orders(3)).await;
        let mut forgotten = Vec::new();
        while forgotten.last() != Some(&0) {
            forgotten.push(store.unregister_sink("gone", 2).await.unwrap());
        }
        assert_eq!(forgotten, [2, 1, 0]);
        store.create(&[new_order(4)]).await.unwrap()[0].as_ref().expect("it is new");
        Relay::new(&store, "gone", 1).finds_nothing().await;
        let sinks = store.backlog().await.unwrap().sinks;
        assert_eq!(sinks.iter().map(|sink| (&*sink.sink, sink.orders)).collect::<Vec<_>>(), [("stays", 4)]);
        assert_eq!(Relay::new(&store, "stays", 2).claim(9).await.len(), 4);
    },

    /// Relays that claim at the same time get all entries between them, each once.
    async fn racing_relays_share_the_entries(harness: &impl Harness) {
        let store = harness.store().await;
        register(&store, "ledger").await;
        create(&store, &new_orders(60)).await;
        let drain = |owner| {
            let relay = Relay::new(&store, "ledger", owner);
            async move {
                let mut mine = Vec::new();
                loop {
                    let claimed = relay.claim(7).await;
                    if claimed.is_empty() {
                        return mine;
                    }
                    mine.extend(claimed.into_iter().map(|delivery| delivery.lease.order_id));
                }
            }
        };
        let (one, two) = tokio::join!(tokio::spawn(drain(1)), tokio::spawn(drain(2)));
        let mut all = [one.unwrap(), two.unwrap()].concat();
        all.sort();
        assert_eq!(all, (1..=60).map(id).collect::<Vec<_>>());
    },

    /// A writer and a relay that run at the same time neither lose nor repeat an event.
    async fn a_racing_writer_and_relay_lose_no_event(harness: &impl Harness) {
        let store = harness.store().await;
        register(&store, "ledger").await;
        let order = create_one(&store, 1).await;
        let writer = {
            let store = Arc::clone(&store);
            tokio::spawn(async move {
                let mut order = order;
                for event in to_confirmed() {
                    order = write_freely(&store, &order, AT_ONCE, &[event]).await;
                    tokio::task::yield_now().await;
                }
            })
        };
        let relay = Relay::new(&store, "ledger", 1);
        let mut delivered = Vec::new();
        loop {
            let is_written = writer.is_finished();
            for delivery in relay.claim(1).await {
                delivered.extend(seqs_of(&delivery));
                assert!(relay.ack(&delivery).await);
            }
            if is_written && store.backlog().await.unwrap().sinks[0].orders == 0 {
                break;
            }
        }
        assert_eq!(delivered, [1, 2, 3, 4, 5, 6, 7]);
    },

    /// A claim for a sink that is not registered finds nothing.
    async fn an_unknown_sink_has_no_entries(harness: &impl Harness) {
        let store = harness.store().await;
        create_one(&store, 1).await;
        let request =
            DeliveryRequest { sink: "unknown".into(), limit: 9, events_limit: 9, owner: 1, duration: HOUR };
        let claimed = store.claim_deliveries(&request).await.unwrap();
        assert!(claimed.deliveries.is_empty());
        assert_eq!(claimed.next_due_in, None);
        assert_eq!(store.unregister_sink("unknown", 9).await.unwrap(), 0);
    }
);
