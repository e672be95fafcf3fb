//! Payloads are read back exactly as they were written.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use super::Harness;
use super::cases::cases;
use super::fixtures::{
    AT_ONCE, FREELY, append, assert_stored, attempt_failed, cancelled, create, create_one, history, id,
    moment, new_order_for, outcome_unknown, request, request_named, route_chosen, routing_started,
    to_confirmed, to_submitted, tx, write, write_freely,
};
use crate::domain::amount::Amount;
use crate::domain::event::{OrderEvent, UnknownReason};
use crate::domain::failure::{Failure, FailureClass, FailureCode};
use crate::domain::ids::TxId;
use crate::domain::metadata::Metadata;
use crate::domain::order::{Deadline, Order, OrderRequest};
use crate::domain::priority::Priority;
use crate::domain::siblings::Purpose;
use crate::domain::token::Token;
use crate::domain::transaction::{AccountNonce, Certainty, Fill, NonceValue, SignedTx, Validity};
use crate::domain::verdict::DeathProof;
use crate::ports::order_store::write::{Creation, NewOrder, Then};

cases!(
    /// Metadata, tag, priority and beginning come back as they were given, whatever is in them.
    async fn what_a_host_attaches_comes_back(harness: &impl Harness) {
        let store = harness.store().await;
        let nested =
            serde_json::json!({"deep": [1, -7, null, true, {"emoji": "\u{1f680}'\"\\;--"}], "": 0.25});
        let metadata = Metadata::default().with("nested", nested).with("big", u64::MAX).with("a b", "c");
        let full = request_named("alice", "key")
            .with_metadata(metadata)
            .with_tag("\u{1f680} tag; DROP TABLE orders; --")
            .with_priority(Priority::Low)
            .with_not_before(moment(1_500));
        assert_eq!(full.validate(), Ok(()));
        let new = new_order_for(1, full);
        create(&store, std::slice::from_ref(&new)).await;
        assert_stored(&store, &new.order).await;
    },

    /// No amount passes through a float or loses its upper half.
    async fn amounts_are_exact_to_the_last_unit(harness: &impl Harness) {
        let store = harness.store().await;
        let amounts = [
            1,
            (1 << 53) + 1,
            u128::from(u64::MAX) - 1,
            u128::from(u64::MAX) + 1,
            10_u128.pow(38) + 1,
            u128::MAX - 1,
            u128::MAX,
        ];
        for (n, amount) in (1..).zip(amounts.map(Amount::new)) {
            let new = new_order_for(n, OrderRequest { amount, ..request() });
            create(&store, std::slice::from_ref(&new)).await;
            let mut events = to_submitted();
            let fill = Fill::new(amount, amount, u64::MAX);
            events.push(OrderEvent::Confirmed { tx_id: "tx-1".into(), fill });
            let order = write_freely(&store, &new.order, AT_ONCE, &events).await;
            assert_stored(&store, &order).await;
        }
    },

    /// Texts are stored unchanged, whatever characters they contain.
    async fn texts_are_stored_in_any_script(harness: &impl Harness) {
        let store = harness.store().await;
        let texts = [
            "Zażółć gęślą jaźń",
            "注文🚀",
            "שלום \u{202e}override",
            "'; DROP TABLE orders; --",
            "\"quoted\" \\ back\\slash \\u0000",
            "line\nfeed\ttab\r\u{1}\u{7f}",
            "{\"json\": [1, 2.5, null]}",
            "100%_? $1 :name",
            " ",
        ];
        for (n, text) in (1..).zip(texts) {
            let token = |mint: &str| Token::new(format!("{mint}{text}"), text, 9);
            let request =
                OrderRequest { input: token("in"), output: token("out"), ..request_named(text, text) };
            let new = new_order_for(n, request.clone());
            create(&store, std::slice::from_ref(&new)).await;
            let failure = Failure::new(FailureCode::from_text(text), text);
            let order = write_freely(&store, &new.order, AT_ONCE, &[OrderEvent::Failed { failure }]).await;
            assert_stored(&store, &order).await;
            let again = store.create(&[new_order_for(n + 100, request)]).await.unwrap();
            assert_eq!(again, [Ok(Creation::Existing(Box::new(Order::clone(&order))))], "{text:?}");
        }
    },

    /// The longest permitted client order id, in the widest characters, is stored and compared in full.
    async fn the_longest_client_order_id_is_stored_in_full(harness: &impl Harness) {
        let store = harness.store().await;
        let key = "\u{1f680}".repeat(OrderRequest::CLIENT_ORDER_ID_MAX_CHARS);
        let first = new_order_for(1, request_named("alice", &key));
        assert!(first.order.request.validate().is_ok());
        create(&store, std::slice::from_ref(&first)).await;
        assert_stored(&store, &first.order).await;
        let again = store.create(&[new_order_for(2, request_named("alice", &key))]).await.unwrap();
        assert_eq!(again, [Ok(Creation::Existing(Box::new(Order::clone(&first.order))))]);
        // A key that differs in its last character only is another key.
        let mut other = key;
        other.pop();
        other.push('x');
        create(&store, &[new_order_for(3, request_named("alice", &other))]).await;
    },

    /// Every field of a request is stored, and so is the origin of the order.
    async fn requests_are_stored_in_full(harness: &impl Harness) {
        let store = harness.store().await;
        let deadlines = [
            None,
            Some(Deadline::At(moment(123_456))),
            Some(Deadline::After(Duration::ZERO)),
            // A deadline after the end of time is the end of time.
            Some(Deadline::After(Duration::from_millis(u64::MAX))),
        ];
        let impacts = [None, Some(0), Some(10_000), Some(7)];
        for ((n, deadline), max_price_impact_bps) in (1..).zip(deadlines).zip(impacts) {
            let mut request = OrderRequest { deadline, slippage_bps: 10_000, ..request_named("bob", "k") };
            request.client_order_id = Some(format!("k{n}").as_str().into());
            request.input.decimals = 0;
            request.output.decimals = u8::MAX;
            request.max_price_impact_bps = max_price_impact_bps;
            request.min_amount_out = max_price_impact_bps.map(|_| Amount::MAX);
            let NewOrder { order, event, .. } = new_order_for(n, request);
            let order = Arc::new(Order { origin: Some(id(77)), ..Order::clone(&order) });
            create(&store, &[NewOrder::new(Arc::clone(&order), event)]).await;
            assert_stored(&store, &order).await;
        }
    },

    /// Every kind of event is stored, with every kind of content.
    async fn every_kind_of_event_is_stored(harness: &impl Harness) {
        let store = harness.store().await;
        let failure = || Failure::new(FailureCode::TRANSACTION_FAILED, "Below the minimum");
        let nonce = || AccountNonce::new("0xwallet", u64::MAX - 3);
        let bound = |id: &str, validity| SignedTx::new(id, [], validity, tx(id).min_amount_out);
        let by_nonce = bound("tx-2", Validity::Nonce(nonce()));
        let bumped =
            bound("tx-3", Validity::NonceUntilHeight { nonce: nonce(), height: 7 }).with_max_fee(Amount::MAX);
        let filler = bound("tx-5", Validity::Nonce(AccountNonce::new("0xwallet", 1)));
        let sibling = |purpose, tx: SignedTx| OrderEvent::SiblingSigned { purpose, tx: tx.into() };
        let superseded = DeathProof::Superseded {
            nonce: nonce(),
            finalized_nonce: u64::MAX.into(),
            finalized_height: u64::MAX - 1,
            searched_through: u64::MAX,
        };
        let too_low = OrderEvent::PriceTooLow {
            best: Amount::ZERO,
            minimum: Amount::MAX,
            retry_at: moment(999_999),
            retry_in: Duration::from_millis(u64::MAX),
        };
        let expired = DeathProof::Expired {
            valid_until_height: u64::MAX - 2,
            finalized_height: u64::MAX - 1,
            searched_through: u64::MAX,
        };
        let died = |proof, class| OrderEvent::TransactionDied { proof, failure: failure(), class };
        let retry = || OrderEvent::RetryScheduled {
            retry_at: moment(999_999),
            retry_in: Duration::from_millis(u64::MAX),
        };
        let deferred = || OrderEvent::Deferred {
            failure: failure(),
            since: moment(999_998),
            retry_at: moment(999_999),
            retry_in: Duration::from_millis(u64::MAX),
        };
        let seen = |certainty| OrderEvent::InclusionObserved { certainty, height: u64::MAX };

        let mut long = to_submitted();
        long.extend([
            OrderEvent::SubmissionAccepted,
            seen(Certainty::Processed),
            seen(Certainty::Confirmed),
            OrderEvent::InclusionUndone,
            outcome_unknown(),
            died(expired, FailureClass::Requote),
            retry(),
            routing_started(2),
            OrderEvent::Quarantined { failure: failure() },
            OrderEvent::QuarantineLifted,
            deferred(),
            OrderEvent::Suspected { failure: failure(), strikes: 1, alone: true },
            OrderEvent::Suspected { failure: failure(), strikes: 2, alone: false },
            route_chosen(),
            OrderEvent::BuildStarted,
            deferred(),
            routing_started(2),
            too_low,
            route_chosen(),
            OrderEvent::BuildStarted,
            attempt_failed(),
            retry(),
            OrderEvent::BuildRestarted { attempt: 3 },
            OrderEvent::TransactionSigned { tx: by_nonce.into() },
            OrderEvent::SubmissionStarted,
            sibling(Purpose::FeeBump, bumped),
            OrderEvent::NonceFilled { tx: filler.into() },
            OrderEvent::CancelRequested,
            sibling(Purpose::Cancel, bound("tx-4", Validity::Nonce(nonce()))),
            OrderEvent::OutcomeUnknown { reason: UnknownReason::Unobservable },
            OrderEvent::OutcomeResolved { executed: false, note: "the custodian's statement".into() },
            cancelled(),
        ]);
        let order = create_one(&store, 1).await;
        let written = append(&order, FREELY, AT_ONCE, &long);
        assert_eq!(write(&store, written.clone()).await, Ok(()));
        assert_stored(&store, &written.order).await;
        let stored = history(&store, order.id).await;
        assert!(stored[1..].iter().eq(written.events.iter().map(|event| &**event)));
        let kinds: BTreeSet<&str> = stored.iter().map(|event| event.event.kind()).collect();
        assert_eq!(kinds.len(), 24, "every kind but `Confirmed`, which comes below");

        let order = create_one(&store, 2).await;
        let order = write_freely(&store, &order, AT_ONCE, &to_confirmed()).await;
        assert_stored(&store, &order).await;
        assert_eq!(order.state.tx_id(), Some(&TxId::from("tx-1")));

        let order = create_one(&store, 3).await;
        let mut reverted = to_submitted();
        reverted.extend([died(DeathProof::Reverted, FailureClass::Permanent), cancelled()]);
        let order = write_freely(&store, &order, AT_ONCE, &reverted).await;
        assert_stored(&store, &order).await;

        for (n, proof) in (4..).zip([superseded, DeathProof::Cancelled { tx_id: "tx-4".into() }]) {
            let order = create_one(&store, n).await;
            let mut dead = to_submitted();
            dead.extend([died(proof, FailureClass::Requote), retry()]);
            let order = write_freely(&store, &order, AT_ONCE, &dead).await;
            assert_stored(&store, &order).await;
        }
    },

    /// A transaction with an opaque value, and the proof that the account left it behind, are stored exactly.
    async fn opaque_values_are_stored_exactly(harness: &impl Harness) {
        let store = harness.store().await;
        let value = |text: &str| NonceValue::opaque(text, u64::MAX);
        let nonce = AccountNonce::new("account", value("4vJ9 \u{1f680}'"));
        let validity = Validity::Nonce(nonce.clone());
        let signed = SignedTx { validity, ..tx("tx-6") };
        let proof = DeathProof::Superseded {
            nonce,
            finalized_nonce: value("8k"),
            finalized_height: u64::MAX,
            searched_through: u64::MAX,
        };
        let failure = Failure::new(FailureCode::TRANSACTION_SUPERSEDED, "Another one used it");
        let events = [
            routing_started(1),
            route_chosen(),
            OrderEvent::BuildStarted,
            OrderEvent::TransactionSigned { tx: signed.into() },
            OrderEvent::SubmissionStarted,
        ];
        let order = create_one(&store, 1).await;
        let order = write_freely(&store, &order, AT_ONCE, &events).await;
        assert_stored(&store, &order).await;
        let died = OrderEvent::TransactionDied { proof, failure, class: FailureClass::Requote };
        let order = write_freely(&store, &order, AT_ONCE, &[died]).await;
        assert_stored(&store, &order).await;
    },

    /// The long history of an order with many attempts is stored in full.
    async fn long_histories_are_stored_in_full(harness: &impl Harness) {
        const ATTEMPTS: u32 = 100;
        let store = harness.store().await;
        let (order, event) = Order::accept(id(1), request(), ATTEMPTS, moment(1));
        let new = NewOrder::new(Arc::new(order), Arc::new(event));
        create(&store, std::slice::from_ref(&new)).await;
        let mut order = new.order;
        for attempt in 1..ATTEMPTS {
            let retry =
                OrderEvent::RetryScheduled { retry_at: moment(1_000), retry_in: Duration::from_secs(1) };
            let events = [routing_started(attempt), route_chosen(), attempt_failed(), retry];
            order = write_freely(&store, &order, Then::Keep, &events).await;
        }
        assert_eq!(order.seq, 1 + 4 * u64::from(ATTEMPTS - 1));
        assert_stored(&store, &order).await;
    }
);
