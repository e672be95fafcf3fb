//! Concurrent calls: what holds whichever call is faster.

use std::collections::BTreeSet;
use std::future::Future;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use futures_util::FutureExt as _;
use futures_util::future::join_all;
use tokio::sync::Barrier;

use super::Harness;
use super::cases::cases;
use super::fixtures::{
    FREELY, REVOKING, Worker, append, assert_stored, cancelled, create, create_one, create_racing, history,
    id, ids_of, load, new_order_for, new_orders, order_of, request_named, routing_started, to_confirmed,
    write,
};
use crate::domain::event::Status;
use crate::domain::ids::OrderId;
use crate::domain::state::OrderState;
use crate::ports::order_store::OrderStore;
use crate::ports::order_store::write::{AppendError, Creation, Guard, NewOrder, Then};

/// The number of tasks in a race.
const RACERS: usize = 8;

/// Runs tasks at the same time, each on a handle of its own, and returns their results.
async fn race<F, Fut>(harness: &impl Harness, racer: F) -> Vec<Fut::Output>
where
    F: Fn(usize, Arc<dyn OrderStore>) -> Fut + Send + Sync,
    Fut: Future<Output: Send> + Send + 'static,
{
    let start = Arc::new(Barrier::new(RACERS));
    let mut racers = Vec::with_capacity(RACERS);
    for n in 0..RACERS {
        let (start, racing) = (Arc::clone(&start), racer(n, harness.store().await));
        #[allow(clippy::disallowed_methods)] // The tasks must run at the same time, on any backend.
        racers.push(tokio::spawn(async move {
            start.wait().await;
            racing.await
        }));
    }
    join_all(racers).await.into_iter().map(|racer| racer.expect("no racer panics")).collect()
}

/// Checks that the order is absent, or in the state that a whole append left.
async fn assert_is_whole(reader: &Arc<dyn OrderStore>, id: OrderId) {
    let Some(order) = reader.load(id).await.unwrap() else { return };
    // The events are read later: there may be more than the order had, but never fewer.
    let events = history(reader, id).await;
    let known = usize::try_from(order.seq).unwrap();
    assert!(matches!(known, 1 | 7), "the order stands at {known}");
    assert!(matches!(events.len(), 1 | 7) && events.len() >= known, "{} events", events.len());
    assert_eq!(OrderState::replay(&events[..known]), Ok(order.state));
}

cases!(
    /// Of two workers that claim at the same time, one gets the order.
    async fn one_of_two_workers_gets_the_order(harness: &impl Harness) {
        let (here, there) = (harness.store().await, harness.store().await);
        for n in 1..=20 {
            create_one(&here, n).await;
            let (one, other) = (Worker::new(&here, 1), Worker::new(&there, 2));
            let (one, other) = tokio::join!(one.claim(1), other.claim(1));
            assert_eq!(one.len() + other.len(), 1, "order {n}");
        }
    },

    /// Workers that claim at the same time get all orders between them, each once.
    async fn racing_claims_share_the_orders(harness: &impl Harness) {
        let store = harness.store().await;
        create(&store, &new_orders(200)).await;
        let claimed = race(harness, |n, store| async move {
            let worker = Worker::new(&store, n as u128);
            let mut claimed = Vec::new();
            loop {
                let claims = worker.claim(7).await;
                if claims.is_empty() {
                    return claimed;
                }
                claimed.extend(ids_of(&claims));
            }
        })
        .await
        .concat();
        assert_eq!(claimed.len(), 200);
        assert_eq!(claimed.into_iter().collect::<BTreeSet<_>>().len(), 200);
    },

    /// Of many appends at one revision, one is written.
    async fn one_of_many_racing_appends_wins(harness: &impl Harness) {
        let store = harness.store().await;
        create_one(&store, 1).await;
        let claim = Worker::new(&store, 1).claim_one().await;
        let guards = [Guard::Fence(claim.lease.fence), FREELY];
        let order = Arc::clone(order_of(&claim));
        let results = race(harness, |n, store| {
            let append = append(&order, guards[n % 2], Then::Keep, &[routing_started(1)]);
            async move { write(&store, append).await }
        })
        .await;
        let (won, lost): (Vec<_>, Vec<_>) = results.into_iter().partition(Result::is_ok);
        assert_eq!(won.len(), 1);
        assert_eq!(lost, vec![Err(AppendError::StaleRevision { actual: 2 }); RACERS - 1]);
        assert_eq!(history(&store, order.id).await.len(), 2);
    },

    /// Of many requests with one client order id, one creates the order, and all return it.
    async fn one_of_many_racing_creations_wins(harness: &impl Harness) {
        let store = harness.store().await;
        let results = race(harness, |n, store| {
            let new = new_order_for(1 + n as u64, request_named("alice", "key"));
            async move {
                let result = create_racing(&store, std::slice::from_ref(&new)).await.remove(0).unwrap();
                match result {
                    Creation::Created => (true, new.order.id),
                    Creation::Existing(existing) => (false, existing.id),
                }
            }
        })
        .await;
        assert_eq!(results.iter().filter(|(created, _)| *created).count(), 1);
        let named: BTreeSet<OrderId> = results.iter().map(|(_, id)| *id).collect();
        assert_eq!(named.len(), 1);
        let ids: Vec<OrderId> = (1..=RACERS as u64).map(id).collect();
        let heads = store.last_seqs(&ids).await.unwrap();
        assert_eq!(heads.iter().flatten().count(), 1);
    },

    /// The same batch from many writers creates each of its orders once.
    async fn racing_creations_in_many_batches_create_each_order_once(harness: &impl Harness) {
        let store = harness.store().await;
        let orders: Arc<Vec<NewOrder>> = Arc::new(new_orders(50));
        let created = race(harness, |n, store| {
            let orders = Arc::clone(&orders);
            async move {
                // Every second batch is reversed, so that two batches lock the same rows in opposite orders.
                let mut batch = orders.to_vec();
                if n % 2 == 1 {
                    batch.reverse();
                }
                let results = create_racing(&store, &batch).await;
                results.iter().filter(|result| **result == Ok(Creation::Created)).count()
            }
        })
        .await;
        assert_eq!(created.into_iter().sum::<usize>(), 50);
        for new in orders.iter() {
            assert_stored(&store, &new.order).await;
        }
    },

    /// Of a cancel and the worker's next step, one is written and the other is refused.
    async fn a_cancel_and_a_worker_never_both_win(harness: &impl Harness) {
        let (host, store) = (harness.store().await, harness.store().await);
        for n in 1..=20 {
            let order = create_one(&store, n).await;
            let claim = Worker::new(&store, 1).claim_order(order.id).await.remove(0);
            let step = append(&order, Guard::Fence(claim.lease.fence), Then::Keep, &[routing_started(1)]);
            let cancel = append(&order, REVOKING, Then::Keep, &[cancelled()]);
            let (stepped, cancelled) = tokio::join!(write(&store, step), write(&host, cancel));
            let status = load(&store, order.id).await.status();
            match (stepped, cancelled) {
                (Ok(()), Err(AppendError::StaleRevision { actual: 2 })) => {
                    assert_eq!(status, Status::Routing);
                }
                (Err(AppendError::StaleFence), Ok(())) => assert_eq!(status, Status::Failed),
                both => panic!("{both:?}"),
            }
        }
    },

    /// A concurrent reader sees whole appends only.
    async fn a_reader_never_sees_half_an_append(harness: &impl Harness) {
        let (store, reader) = (harness.store().await, harness.store().await);
        let is_written = AtomicBool::new(false);
        let orders = new_orders(30);
        let writing = async {
            for new in &orders {
                create(&store, std::slice::from_ref(new)).await;
                let append = append(&new.order, FREELY, Then::Keep, &to_confirmed());
                assert_eq!(write(&store, append).await, Ok(()));
            }
            is_written.store(true, Ordering::Release);
        };
        let reading = async {
            while !is_written.load(Ordering::Acquire) {
                for new in &orders {
                    assert_is_whole(&reader, new.order.id).await;
                    tokio::task::yield_now().await;
                }
            }
        };
        tokio::join!(writing, reading);
        for new in &orders {
            assert_is_whole(&reader, new.order.id).await;
            assert_eq!(load(&reader, new.order.id).await.seq, 7);
        }
    },

    /// A write whose caller goes away is written in full or not at all.
    async fn a_dropped_write_is_whole_or_absent(harness: &impl Harness) {
        let store = harness.store().await;
        for n in 1..=20 {
            let order = create_one(&store, n).await;
            let step = append(&order, FREELY, Then::Keep, &to_confirmed());
            // The future is polled once and dropped. The store may or may not finish the write.
            drop(store.append(std::slice::from_ref(&step)).now_or_never());
            // A write that comes later shows which of the two happened.
            let result = write(&store, append(&order, FREELY, Then::Keep, &[cancelled()])).await;
            let stored = load(&store, order.id).await;
            match result {
                Ok(()) => assert_eq!(stored.seq, 2),
                Err(AppendError::StaleRevision { actual: 7 }) => assert_eq!(stored, *step.order),
                Err(error) => panic!("{error:?}"),
            }
            assert_stored(&store, &stored).await;
        }
    }
);
