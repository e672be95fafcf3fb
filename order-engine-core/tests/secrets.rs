//! What a signed transaction says is shown by no `Debug`: whoever has its bytes can send it.

use std::borrow::Cow;
use std::fmt::Debug;
use std::sync::Arc;

use order_engine_core::backend::{
    AppendColumns, HistoryColumns, NewOrderColumns, StateColumns, StoredHistory, StoredOrder,
};
use order_engine_core::conformance::fixtures::{moment, to_confirmed, tx};
use order_engine_core::store::{Append, Claim, Guard, Lease};
use order_engine_core::testing::request;
use order_engine_core::{Fence, Hint, NewOrder, Order, OrderEvent, OrderId, SignedTx, Submission, codec};

const SECRET: &[u8] = b"signed bytes of the canary";
/// The same in JSON.
const ENCODED: &str = "c2lnbmVkIGJ5dGVzIG9mIHRoZSBjYW5hcnk=";

fn signed() -> SignedTx {
    let tx = tx("tx-1");
    SignedTx::new(tx.id, SECRET, tx.validity, tx.min_amount_out)
}

/// Fails if the text of a value has the bytes: as text, as numbers, or encoded.
#[track_caller]
fn hides(value: &impl Debug) {
    let numbers =
        |separator: &str| SECRET.iter().map(ToString::to_string).collect::<Vec<_>>()[..4].join(separator);
    for text in [format!("{value:?}"), format!("{value:#?}")] {
        let plain: String = text.split_whitespace().collect::<Vec<_>>().join(" ");
        for secret in [Cow::Borrowed(ENCODED), String::from_utf8_lossy(SECRET), numbers(", ").into()] {
            assert!(!plain.contains(&*secret), "{text}");
        }
    }
}

/// Returns an order whose transaction is signed, and the append that signed it.
fn signed_order() -> (NewOrder, Append) {
    let (mut order, accepted) = Order::accept(OrderId::from_bytes([1; 16]), request(), 3, moment(0));
    let new = NewOrder::new(Arc::new(order.clone()), Arc::new(accepted));
    let mut events = Vec::new();
    for event in to_confirmed() {
        let is_signing = matches!(event, OrderEvent::TransactionSigned { .. });
        let event = if is_signing { OrderEvent::TransactionSigned { tx: signed().into() } } else { event };
        events.push(Arc::new(order.advance_mut(event, moment(1)).unwrap()));
        if is_signing {
            break;
        }
    }
    let append = Append::new(Guard::Revision { revoke: false }, Arc::new(order), events);
    (new, append)
}

#[test]
fn a_signed_transaction_shows_how_long_it_is_and_what_it_is_called() {
    let shown = format!("{:?}", signed());
    assert!(shown.contains("tx-1") && shown.contains("UntilHeight"), "{shown}");
    assert!(shown.contains("26 bytes"), "{shown}");
    hides(&signed());
}

#[test]
fn what_holds_a_signed_transaction_hides_its_bytes() {
    let (new, append) = signed_order();
    assert_eq!(append.order.state.live_transaction(), Some(&signed()));
    let event = append.events.last().unwrap();
    let lease = Lease::new(append.order.id, Fence { epoch: 1, owner: 1 });
    hides(&append.order.state);
    hides(&append.order);
    hides(event);
    hides(&append);
    hides(&NewOrder::new(Arc::clone(&append.order), Arc::clone(&new.event)));
    hides(&Claim::new(lease, 1, Ok(Arc::clone(&append.order))));
    hides(&Submission::Existing(Arc::clone(&append.order)));
    hides(&Hint::Event(Arc::clone(event)));
}

#[test]
fn what_a_backend_stores_hides_the_bytes() {
    let (new, append) = signed_order();
    let order = &append.order;
    let state = codec::encode(&order.state).unwrap();
    let history = HistoryColumns::new(order.id, append.events.iter().map(|event| &**event)).unwrap();
    assert!(state.contains(ENCODED) && history.payload.contains(ENCODED), "{state} {}", history.payload);
    hides(&StateColumns::new(order).unwrap());
    hides(&history);
    hides(&NewOrderColumns::new(&new).unwrap());
    hides(&AppendColumns::new(&append).unwrap());
    hides(&StoredOrder {
        order_id: order.id,
        origin: None,
        request_version: 2,
        request: "{}",
        state_version: 2,
        state: &state,
        seq: 5,
        created_at: order.created_at,
        updated_at: order.updated_at,
    });
    let HistoryColumns { order_id, first_seq, payload_version, payload, .. } = &history;
    hides(&StoredHistory {
        order_id: *order_id,
        first_seq: *first_seq,
        payload_version: *payload_version,
        payload,
    });
}
