//! The worst price: no transaction promises less, and an order whose price is gone waits for it.
#![allow(clippy::disallowed_methods)] // Tests may use the runtime directly.

mod common;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use common::{Fixture, Setup};
use order_engine_core::testing::{Sending, request};
use order_engine_core::{
    Amount, Budget, Candidate, Deadline, DexRouter, EngineConfig, EventRecord, FailureCode, InvalidRequest,
    Order, OrderEvent, OrderRequest, PriceProtection, QuoteRequest, RetryPolicy, Route, Status, StepError,
};

/// A market that pays the same for every order.
#[derive(Debug)]
struct Market(AtomicU64);

impl Market {
    fn pays(&self, amount_out: u64) {
        self.0.store(amount_out, Ordering::Relaxed);
    }
}

#[async_trait]
impl DexRouter for Market {
    fn dexes(&self) -> Vec<String> {
        vec!["market".into()]
    }

    async fn quote(&self, request: &QuoteRequest) -> Result<Vec<Candidate>, StepError> {
        let amount_out = Amount::new(self.0.load(Ordering::Relaxed).into());
        Ok(vec![Candidate::quoted("market", Route::new("market", vec![], request.amount, amount_out))])
    }
}

async fn market(config: EngineConfig) -> (Fixture, Arc<Market>) {
    let market = Arc::new(Market(AtomicU64::new(10_000)));
    let router: Option<Arc<dyn DexRouter>> = Some(market.clone());
    (Fixture::with(Setup { config, router, ..Setup::default() }).await, market)
}

/// A request with a slippage of one percent.
fn one_percent() -> OrderRequest {
    request().with_slippage_bps(100)
}

/// Returns the least outputs that the order's transactions promise.
fn signed(events: &[EventRecord]) -> Vec<u128> {
    let promised = |record: &EventRecord| match &record.event {
        OrderEvent::TransactionSigned { tx } => Some(tx.min_amount_out.base_units()),
        _ => None,
    };
    events.iter().filter_map(promised).collect()
}

fn looks(events: &[EventRecord]) -> usize {
    events.iter().filter(|record| matches!(record.event, OrderEvent::PriceTooLow { .. })).count()
}

/// Submits an order whose first transaction reverts, after which the market pays something else.
async fn requoted(request: OrderRequest, then: u64) -> (Fixture, Arc<Market>, Arc<Order>) {
    let (fixture, market) = market(EngineConfig::default()).await;
    fixture.venue.next_sendings([Sending::Reverts]);
    let worker = fixture.work();
    let order = fixture.submit(request).await;
    fixture.reaches(order.id, |record| matches!(record.event, OrderEvent::TransactionDied { .. })).await;
    market.pays(then);
    drop(worker);
    (fixture, market, order)
}

#[tokio::test(start_paused = true)]
async fn the_first_quote_less_the_slippage_holds_for_the_orders_whole_life() {
    let (fixture, market, order) = requoted(one_percent(), 9_899).await;
    let worker = fixture.work();
    let is_third_look =
        |record: &EventRecord| matches!(record.event, OrderEvent::PriceTooLow { .. }) && record.seq > 12;
    fixture.reaches(order.id, is_third_look).await;
    market.pays(9_950);
    let events = fixture.events_to_the_end(order.id).await;
    assert_eq!(signed(&events), [9_900, 9_900], "not 9,851, which is the slippage below the second quote");
    let end = events.last().unwrap();
    assert_eq!((end.status, end.attempt), (Status::Confirmed, 2), "looking uses no attempt");
    worker.stop().await;
}

#[tokio::test(start_paused = true)]
async fn an_order_may_follow_the_market() {
    let follows = one_percent().with_price_protection(PriceProtection::EachQuote);
    let (fixture, _, order) = requoted(follows, 5_000).await;
    let _worker = fixture.work();
    let events = fixture.events_to_the_end(order.id).await;
    assert_eq!((signed(&events), looks(&events)), (vec![9_900, 4_950], 0));
    assert_eq!(events.last().unwrap().status, Status::Confirmed);
}

#[tokio::test(start_paused = true)]
async fn a_worst_price_holds_beside_the_slippage_and_instead_of_the_first_quote() {
    for (minimum, promised) in [(9_990, 9_990), (9_000, 9_900)] {
        let (fixture, _) = market(EngineConfig::default()).await;
        let worker = fixture.work();
        let order = fixture.submit(one_percent().with_min_amount_out(Amount::new(minimum))).await;
        assert_eq!(signed(&fixture.events_to_the_end(order.id).await), [promised]);
        worker.stop().await;
    }
    // Below what the first quote allowed, and above what the order asks for.
    let (fixture, _, order) = requoted(one_percent().with_min_amount_out(Amount::new(9_000)), 9_500).await;
    let _worker = fixture.work();
    assert_eq!(signed(&fixture.events_to_the_end(order.id).await), [9_900, 9_405]);
}

#[tokio::test(start_paused = true)]
async fn without_a_deadline_an_order_looks_so_often_and_then_fails() {
    let retry = RetryPolicy::default().with_price(Budget::default().with_max_failures(5));
    let (fixture, _) = market(EngineConfig::default().with_retry(retry)).await;
    let worker = fixture.work();
    let order = fixture.submit(one_percent().with_min_amount_out(Amount::new(10_001))).await;
    let events = fixture.events_to_the_end(order.id).await;
    assert_eq!((looks(&events), signed(&events)), (5, vec![]));
    let end = events.last().unwrap();
    assert_eq!(end.event.failure().unwrap().code, FailureCode::PRICE_BELOW_MINIMUM);
    assert_eq!(end.attempt, 1);
    let waits: Vec<_> = events
        .iter()
        .filter_map(|record| match record.event {
            OrderEvent::PriceTooLow { best, minimum, retry_in, .. } => {
                assert_eq!((best, minimum), (Amount::new(10_000), Amount::new(10_001)));
                Some(retry_in.as_millis() / 1_000)
            }
            _ => None,
        })
        .collect();
    assert!(waits.is_sorted() && waits[4] >= 10, "{waits:?}");
    worker.stop().await;
}

#[tokio::test(start_paused = true)]
async fn with_a_deadline_an_order_looks_until_then() {
    let (fixture, market) = market(EngineConfig::default()).await;
    let worker = fixture.work();
    let minimum = one_percent().with_min_amount_out(Amount::new(10_001));
    let in_time =
        fixture.submit(minimum.clone().with_deadline(Deadline::After(Duration::from_hours(2)))).await;
    let too_late = fixture.submit(minimum.with_deadline(Deadline::After(Duration::from_mins(30)))).await;
    let late = fixture.events_to_the_end(too_late.id).await;
    assert_eq!(late.last().unwrap().event.failure().unwrap().code, FailureCode::EXPIRED);
    assert_eq!((late.last().unwrap().at - too_late.created_at).num_minutes(), 30);
    assert!(looks(&late) > 20);
    market.pays(10_001);
    assert_eq!(fixture.until_terminal(in_time.id).await.status(), Status::Confirmed);
    worker.stop().await;
}

#[test]
fn a_worst_price_of_zero_protects_from_nothing() {
    let zero = request().with_min_amount_out(Amount::ZERO);
    assert_eq!(zero.validate(), Err(InvalidRequest::ZeroMinimum));
}
