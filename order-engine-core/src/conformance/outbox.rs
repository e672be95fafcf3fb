//! What durable sinks are owed.
#![allow(clippy::disallowed_methods)] // Cases are the outside world.

use std::sync::Arc;
use std::time::Duration;

use super::Harness;
use super::cases::cases;
use super::fixtures::{
    AT_ONCE, FREELY, HOUR, LONGER_THAN_SHORT, Relay, SHORT, append, cancelled, create, create_one, history,
    id, new_orders, register, routing_started, seqs_of, to_confirmed, write, write_freely,
};
use crate::ports::order_store::write::Then;
use crate::ports::outbox::{DeliveryAck, DeliveryOutcome, DeliveryRequest};

cases!(
    outbox,
    /// Without a registered sink, nobody is owed anything, and nothing is written for it.
    async fn without_a_sink_nothing_is_owed(harness: &impl Harness) {
        let store = harness.store().await;
        let order = create_one(&store, 1).await;
        write_freely(&store, &order, AT_ONCE, &[routing_started(1)]).await;
        register(&store, "late").await;
        Relay::new(&store, "late", 1).finds_nothing().await;
        assert_eq!(store.backlog().await.unwrap().sinks[0].orders, 0);
    },
    /// A sink is owed the acceptance of an order and everything after it.
    async fn a_registered_sink_is_owed_every_event(harness: &impl Harness) {
        let store = harness.store().await;
        register(&store, "ledger").await;
        let order = create_one(&store, 1).await;
        write_freely(&store, &order, AT_ONCE, &to_confirmed()).await;
        let delivery = Relay::new(&store, "ledger", 1).claim_one().await;
        assert_eq!((delivery.lease.order_id, delivery.failures), (id(1), 0));
        let events: Vec<_> = delivery.events.unwrap().iter().map(|event| event.as_ref().clone()).collect();
        assert_eq!(events, history(&store, id(1)).await);
    },
    /// A sink that is registered late is owed what is committed from then on, and not what was before.
    async fn a_late_sink_is_owed_what_comes_after_it(harness: &impl Harness) {
        let store = harness.store().await;
        let order = create_one(&store, 1).await;
        register(&store, "late").await;
        write_freely(&store, &order, AT_ONCE, &[routing_started(1)]).await;
        assert_eq!(seqs_of(&Relay::new(&store, "late", 1).claim_one().await), [2]);
    },
    /// The registration stands in the store: a process that knows no sink makes it a creditor, too.
    async fn every_process_owes_what_one_registered(harness: &impl Harness) {
        let (store, other) = (harness.store().await, harness.store().await);
        register(&store, "ledger").await;
        create_one(&other, 1).await;
        assert_eq!(seqs_of(&Relay::new(&store, "ledger", 1).claim_one().await), [1]);
    },
    /// Registering twice is registering once.
    async fn a_repeated_registration_changes_nothing(harness: &impl Harness) {
        let store = harness.store().await;
        register(&store, "ledger").await;
        create_one(&store, 1).await;
        store.register_sinks(&["ledger".into(), "ledger".into()]).await.unwrap();
        assert_eq!(store.backlog().await.unwrap().sinks.len(), 1);
        assert_eq!(seqs_of(&Relay::new(&store, "ledger", 1).claim_one().await), [1]);
    },
    /// Each sink has its own debts: one that is paid leaves the other's alone.
    async fn sinks_are_owed_separately(harness: &impl Harness) {
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
    /// What was delivered is not delivered again.
    async fn a_paid_debt_is_gone(harness: &impl Harness) {
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
    /// An order is delivered by one relay at a time, so its events stay in order.
    async fn a_debt_is_leased_to_one_relay(harness: &impl Harness) {
        let store = harness.store().await;
        register(&store, "ledger").await;
        let order = create_one(&store, 1).await;
        Relay::new(&store, "ledger", 1).claim_one().await;
        write_freely(&store, &order, AT_ONCE, &[routing_started(1)]).await;
        Relay::new(&store, "ledger", 2).finds_nothing().await;
    },
    /// What happens while a relay delivers is owed after it, at once.
    async fn events_during_a_delivery_are_owed_next(harness: &impl Harness) {
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
    async fn long_debts_are_paid_in_pieces(harness: &impl Harness) {
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
    /// A dead relay's debts are taken over when its leases have run out.
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
    /// What a sink did not take is due after a while, and counted.
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
    /// A delivery that succeeded wipes the failures before it out.
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
    /// One order that a sink does not take keeps no other waiting.
    async fn a_waiting_debt_holds_no_other_up(harness: &impl Harness) {
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
    /// A write that is refused owes nobody anything.
    async fn a_refused_write_owes_nothing(harness: &impl Harness) {
        let store = harness.store().await;
        let order = create_one(&store, 1).await;
        register(&store, "ledger").await;
        let stale = append(&order, FREELY, Then::Keep, &[routing_started(1)]);
        write_freely(&store, &order, Then::Keep, &[cancelled()]).await;
        assert!(write(&store, stale).await.is_err());
        assert_eq!(seqs_of(&Relay::new(&store, "ledger", 1).claim_one().await), [2]);
    },
    /// Settlements succeed and fail alone, and are answered in order.
    async fn settlements_are_answered_one_by_one(harness: &impl Harness) {
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
    /// A sink that is forgotten is owed nothing, and nothing more; another one's debts stay.
    async fn a_forgotten_sink_is_owed_nothing(harness: &impl Harness) {
        let store = harness.store().await;
        register(&store, "gone").await;
        register(&store, "stays").await;
        create(&store, &new_orders(3)).await;
        let mut forgotten = Vec::new();
        while forgotten.last() != Some(&0) {
            forgotten.push(store.unregister_sink("gone", 2).await.unwrap());
        }
        assert_eq!(forgotten, [2, 1, 0]);
        store.create(&[super::fixtures::new_order(4)]).await.unwrap()[0].as_ref().expect("it is new");
        Relay::new(&store, "gone", 1).finds_nothing().await;
        let owed = store.backlog().await.unwrap().sinks;
        assert_eq!(owed.iter().map(|sink| (&*sink.sink, sink.orders)).collect::<Vec<_>>(), [("stays", 4)]);
        assert_eq!(Relay::new(&store, "stays", 2).claim(9).await.len(), 4);
    },
    /// Two relays that ask at the same time share the debts out.
    async fn racing_relays_share_the_debts_out(harness: &impl Harness) {
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
    /// A writer and a relay at the same time lose no event and double none.
    async fn a_racing_writer_and_relay_lose_nothing(harness: &impl Harness) {
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
    /// A claim about a sink that nobody registered finds nothing.
    async fn an_unknown_sink_is_owed_nothing(harness: &impl Harness) {
        let store = harness.store().await;
        create_one(&store, 1).await;
        let request =
            DeliveryRequest { sink: "nobody".into(), limit: 9, events_limit: 9, owner: 1, duration: HOUR };
        let claimed = store.claim_deliveries(&request).await.unwrap();
        assert!(claimed.deliveries.is_empty());
        assert_eq!(claimed.next_due_in, None);
        assert_eq!(store.unregister_sink("nobody", 9).await.unwrap(), 0);
    }
);
