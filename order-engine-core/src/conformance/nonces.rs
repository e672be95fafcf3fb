//! Nonces of accounts: each is given to one order, and numbers in their order and without a gap.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use chrono::TimeDelta;
use tokio::sync::Barrier;

use super::Harness;
use super::cases::cases;
use super::fixtures::{
    AT_ONCE, FREELY, Relay, append, assert_stored, cancelled, create, create_one, history, id, load,
    new_orders, next_event, register, seqs_of, write, write_freely,
};
use crate::domain::order::Order;
use crate::domain::transaction::{AccountNonce, NonceValue};
use crate::ports::order_store::OrderStore;
use crate::ports::order_store::query::PurgeRequest;
use crate::ports::order_store::write::{Append, AppendError, Guard, NewOrder, NonceReservation};

/// The number of tasks that reserve at the same time.
const RACERS: u64 = 8;

/// Returns a reservation on the venue `main`, where the chain's next nonce is `first`.
fn nonce_of(account: &str, value: u64, first: u64) -> NonceReservation {
    on_venue("main", account, value, first)
}

fn on_venue(venue: &str, account: &str, value: u64, first: u64) -> NonceReservation {
    NonceReservation::new(venue.into(), AccountNonce::new(account, value), first)
}

/// Returns a reservation of an opaque value on the venue `main`.
fn value_of(account: &str, text: &str, read_at: u64) -> NonceReservation {
    NonceReservation::new("main".into(), AccountNonce::new(account, NonceValue::opaque(text, read_at)), 0)
}

/// Returns the append of an order's next event, with a nonce.
fn signing(order: &Order, reservation: NonceReservation) -> Append {
    append(order, FREELY, AT_ONCE, &[next_event(order)]).with_reservation(Some(reservation))
}

/// Writes an order's next event with a nonce. Returns the order after it.
async fn reserve(
    store: &Arc<dyn OrderStore>,
    order: &Order,
    reservation: NonceReservation,
) -> Result<Arc<Order>, AppendError> {
    let append = signing(order, reservation);
    let next = Arc::clone(&append.order);
    write(store, append).await.map(|()| next)
}

const fn taken(free: u64) -> AppendError {
    AppendError::NonceTaken { free }
}

cases!(
    /// The next nonce is reserved; one that is taken, and one that would leave a gap, is refused with the next one.
    async fn nonces_are_given_in_their_order_and_once(harness: &impl Harness) {
        let store = harness.store().await;
        let one = create_one(&store, 1).await;
        let other = create_one(&store, 2).await;
        let one = reserve(&store, &one, nonce_of("a", 7, 7)).await.unwrap();
        assert_stored(&store, &one).await;
        for value in [6, 7, 9, u64::MAX] {
            assert_eq!(reserve(&store, &other, nonce_of("a", value, 7)).await, Err(taken(8)), "{value}");
        }
        assert_eq!(load(&store, other.id).await.seq, 1, "nothing was written");
        reserve(&store, &other, nonce_of("a", 8, 7)).await.unwrap();
        // An order may have another one for another attempt.
        reserve(&store, &one, nonce_of("a", 9, 7)).await.unwrap();
    },

    /// Each account of each venue has nonces of its own, whatever characters its name has.
    async fn accounts_do_not_share_nonces(harness: &impl Harness) {
        let store = harness.store().await;
        let mut order = create_one(&store, 1).await;
        let reservations = [
            nonce_of("a", 0, 0),
            nonce_of("A", 0, 0),
            nonce_of("a ", 0, 0),
            nonce_of("a:0", 0, 0),
            on_venue("base", "a", 0, 0),
            on_venue("main:a", "", 0, 0),
            nonce_of("\u{1f680}'; --", 0, 0),
        ];
        for reservation in reservations {
            order = reserve(&store, &order, reservation.clone()).await.unwrap();
            assert_eq!(reserve(&store, &order, reservation).await, Err(taken(1)));
        }
    },

    /// Nonces that somebody else has used are left out, and those that a fork has given back are used again.
    async fn the_chain_says_where_the_nonces_begin(harness: &impl Harness) {
        let store = harness.store().await;
        let mut order = create_one(&store, 1).await;
        for (value, first) in [(7, 7), (10, 10), (8, 7), (9, 8), (11, 8)] {
            order = reserve(&store, &order, nonce_of("a", value, first)).await.unwrap();
        }
        assert_eq!(reserve(&store, &order, nonce_of("a", 0, 5)).await, Err(taken(5)));
        assert_eq!(reserve(&store, &order, nonce_of("a", 0, 6)).await, Err(taken(6)));
        assert_eq!(reserve(&store, &order, nonce_of("a", 0, 7)).await, Err(taken(12)));
        assert_eq!(reserve(&store, &order, nonce_of("a", 0, 1_000)).await, Err(taken(1_000)));
    },

    /// Nonces are counted as numbers, however many digits they have.
    async fn nonces_are_counted_as_numbers(harness: &impl Harness) {
        let store = harness.store().await;
        let mut order = create_one(&store, 1).await;
        for value in [9, 10, 99, 199, 200, 989, 999_999_999_999] {
            order = reserve(&store, &order, nonce_of("a", value, value)).await.unwrap();
        }
        let last = 999_999_999_999;
        for (first, free) in [(8, 8), (9, 11), (99, 100), (199, 201), (989, 990), (last, last + 1)] {
            assert_eq!(reserve(&store, &order, nonce_of("a", 0, first)).await, Err(taken(free)));
        }
    },

    /// The greatest nonces are exact.
    async fn great_nonces_are_exact(harness: &impl Harness) {
        let store = harness.store().await;
        let mut order = create_one(&store, 1).await;
        // Stores may keep them as signed numbers.
        let greatest = i64::MAX as u64;
        for value in [(1 << 53) + 1, (1 << 53) + 2, greatest - 1] {
            order = reserve(&store, &order, nonce_of("a", value, value)).await.unwrap();
            assert_eq!(reserve(&store, &order, nonce_of("a", value, value)).await, Err(taken(value + 1)));
        }
    },

    /// A stale write reserves nothing, and says so before it speaks of the nonce.
    async fn a_refused_append_reserves_nothing(harness: &impl Harness) {
        let store = harness.store().await;
        let order = create_one(&store, 1).await;
        let next = write_freely(&store, &order, AT_ONCE, &[next_event(&order)]).await;
        let stale = reserve(&store, &order, nonce_of("a", 0, 0)).await;
        assert_eq!(stale, Err(AppendError::StaleRevision { actual: 2 }));
        let fence = crate::ports::order_store::lease::Fence { epoch: 77, owner: 7 };
        let unfenced = Append { guard: Guard::Fence(fence), ..signing(&next, nonce_of("a", 0, 0)) };
        assert_eq!(write(&store, unfenced).await, Err(AppendError::StaleFence));
        let now = store.now().await.unwrap();
        let late = signing(&next, nonce_of("a", 0, 0)).with_not_after(Some(now - TimeDelta::milliseconds(1)));
        assert_eq!(write(&store, late).await, Err(AppendError::TooLate));
        reserve(&store, &next, nonce_of("a", 0, 0)).await.unwrap();
    },

    /// Appends of one call get nonces in the order of the call, and one that is refused refuses no other.
    async fn appends_of_one_call_get_nonces_in_their_order(harness: &impl Harness) {
        let store = harness.store().await;
        register(&store, "ledger").await;
        let orders = new_orders(8);
        create(&store, &orders).await;
        // The append of the fourth order is stale, so its nonce goes to the next one.
        write_freely(&store, &orders[3].order, AT_ONCE, &[cancelled()]).await;
        let stale = Err(AppendError::StaleRevision { actual: 2 });
        let items = [
            (Some(0), Ok(())),
            (Some(1), Ok(())),
            (Some(1), Err(taken(2))),
            (Some(2), stale),
            (None, Ok(())),
            (Some(3), Err(taken(2))),
            (Some(2), Ok(())),
            (Some(3), Ok(())),
        ];
        let append_of = |(new, (value, _)): (&NewOrder, &(Option<u64>, _))| {
            append(&new.order, FREELY, AT_ONCE, &[next_event(&new.order)])
                .with_reservation(value.map(|value| nonce_of("a", value, 0)))
        };
        let appends: Vec<Append> = orders.iter().zip(&items).map(append_of).collect();
        let results = store.append(&appends).await.unwrap();
        assert_eq!(results, items.map(|(_, wanted)| wanted));
        for (new, result) in orders.iter().zip(&results) {
            let seq = if matches!(result, Err(AppendError::NonceTaken { .. })) { 1 } else { 2 };
            assert_eq!(history(&store, new.order.id).await.len(), seq);
            let order = load(&store, new.order.id).await;
            assert_stored(&store, &order).await;
            assert_eq!(order.seq, seq as u64, "{result:?}");
        }
        let refused = &orders[2].order;
        reserve(&store, refused, nonce_of("a", 4, 0)).await.unwrap();
        for delivery in Relay::new(&store, "ledger", 1).claim(9).await {
            let last = load(&store, delivery.lease.order_id).await.seq;
            assert!(seqs_of(&delivery).into_iter().eq(1..=last), "{delivery:?}");
        }
    },

    /// Processes that reserve at the same time get different nonces, and leave no gap.
    async fn processes_get_different_nonces(harness: &impl Harness) {
        let store = harness.store().await;
        let orders = new_orders(RACERS);
        create(&store, &orders).await;
        let start = Arc::new(Barrier::new(usize::try_from(RACERS).unwrap()));
        let mut racers = Vec::new();
        for new in orders {
            let (start, store) = (Arc::clone(&start), harness.store().await);
            #[allow(clippy::disallowed_methods)] // The tasks must run at the same time, on any backend.
            racers.push(tokio::spawn(async move {
                start.wait().await;
                let mut value = 5;
                loop {
                    match reserve(&store, &new.order, nonce_of("a", value, 5)).await {
                        Ok(_) => return value,
                        Err(AppendError::NonceTaken { free }) => value = free,
                        Err(other) => panic!("{other:?}"),
                    }
                }
            }));
        }
        let mut reserved = BTreeSet::new();
        for racer in racers {
            reserved.insert(racer.await.expect("no racer panics"));
        }
        assert_eq!(reserved, (5..5 + RACERS).collect());
    },

    /// An opaque value is one order's, and another value of the account or the same one of another account is another
    /// order's.
    async fn an_opaque_value_is_reserved_once(harness: &impl Harness) {
        let store = harness.store().await;
        let (one, other) = (create_one(&store, 1).await, create_one(&store, 2).await);
        let mut one = reserve(&store, &one, value_of("a", "x", 5)).await.unwrap();
        assert_stored(&store, &one).await;
        for read_at in [0, 5, 9] {
            let refused = reserve(&store, &other, value_of("a", "x", read_at)).await;
            assert!(matches!(refused, Err(AppendError::NonceTaken { .. })), "{refused:?}");
        }
        assert_eq!(load(&store, other.id).await.seq, 1, "nothing was written");
        let others = [
            value_of("a", "X", 5),
            value_of("a", "x ", 5),
            value_of("b", "x", 5),
            value_of("a\",\"x", "", 5),
            value_of("", "a\",\"x", 5),
            value_of("a", "\u{1f680}'; --\n", 5),
            NonceReservation { venue: "base".into(), ..value_of("a", "x", 5) },
            nonce_of("a", 0, 0),
        ];
        for reservation in others {
            one = reserve(&store, &one, reservation.clone()).await.unwrap();
            let refused = reserve(&store, &other, reservation).await;
            assert!(matches!(refused, Err(AppendError::NonceTaken { .. })), "{refused:?}");
        }
    },

    /// A refused write reserves no value, and of two appends of one call with one value the first one has it.
    async fn an_opaque_value_goes_to_the_first_that_is_written(harness: &impl Harness) {
        let store = harness.store().await;
        let orders = new_orders(4);
        create(&store, &orders).await;
        write_freely(&store, &orders[0].order, AT_ONCE, &[cancelled()]).await;
        let append_of = |new: &NewOrder| signing(&new.order, value_of("a", "x", 5));
        let appends: Vec<Append> = orders.iter().map(append_of).collect();
        let results = store.append(&appends).await.unwrap();
        assert_eq!(results[..2], [Err(AppendError::StaleRevision { actual: 2 }), Ok(())]);
        for (new, result) in orders.iter().zip(&results).skip(2) {
            assert!(matches!(result, Err(AppendError::NonceTaken { .. })), "{result:?}");
            assert_eq!(load(&store, new.order.id).await.seq, 1);
        }
    },

    /// Of processes that reserve a value at the same time one gets it.
    async fn processes_get_different_values(harness: &impl Harness) {
        let store = harness.store().await;
        let orders = new_orders(RACERS);
        create(&store, &orders).await;
        let start = Arc::new(Barrier::new(usize::try_from(RACERS).unwrap()));
        let mut racers = Vec::new();
        for new in orders {
            let (start, store) = (Arc::clone(&start), harness.store().await);
            #[allow(clippy::disallowed_methods)] // The tasks must run at the same time, on any backend.
            racers.push(tokio::spawn(async move {
                start.wait().await;
                let mut reserved = Vec::new();
                let mut order = Arc::clone(&new.order);
                for value in 0..4 {
                    match reserve(&store, &order, value_of("a", &format!("value-{value}"), 5)).await {
                        Ok(next) => {
                            order = next;
                            reserved.push(value);
                        }
                        Err(AppendError::NonceTaken { .. }) => {}
                        Err(other) => panic!("{other:?}"),
                    }
                }
                reserved
            }));
        }
        let mut reserved = Vec::new();
        for racer in racers {
            reserved.extend(racer.await.expect("no racer panics"));
        }
        reserved.sort_unstable();
        assert_eq!(reserved, [0, 1, 2, 3], "each was reserved once");
    },

    /// What is reserved stays reserved when the order has ended, and is free when the order is deleted.
    async fn an_opaque_value_is_free_when_its_order_is_deleted(harness: &impl Harness) {
        let store = harness.store().await;
        let order = create_one(&store, 1).await;
        let order = reserve(&store, &order, value_of("a", "x", 5)).await.unwrap();
        write_freely(&store, &order, AT_ONCE, &[cancelled()]).await;
        let other = create_one(&store, 2).await;
        let refused = reserve(&store, &other, value_of("a", "x", 5)).await;
        assert!(matches!(refused, Err(AppendError::NonceTaken { .. })), "{refused:?}");
        harness.elapse(Duration::from_millis(5)).await;
        let now = store.now().await.unwrap();
        let purged = store.purge(&PurgeRequest::new(now + TimeDelta::hours(1), 10)).await.unwrap();
        assert_eq!(purged.orders, 1);
        reserve(&store, &other, value_of("a", "x", 5)).await.unwrap();
    },

    /// The nonces of a deleted order are free.
    async fn a_purge_frees_the_nonces_of_its_orders(harness: &impl Harness) {
        let store = harness.store().await;
        let order = create_one(&store, 1).await;
        let order = reserve(&store, &order, nonce_of("a", 0, 0)).await.unwrap();
        write_freely(&store, &order, AT_ONCE, &[cancelled()]).await;
        harness.elapse(Duration::from_millis(5)).await;
        let now = store.now().await.unwrap();
        let purged = store.purge(&PurgeRequest::new(now + TimeDelta::hours(1), 10)).await.unwrap();
        assert_eq!(purged.orders, 1);
        let other = create_one(&store, 2).await;
        reserve(&store, &other, nonce_of("a", 0, 0)).await.unwrap();
        assert_eq!(store.load(id(1)).await.unwrap(), None);
    }
);
