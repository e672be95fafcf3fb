use expect_test::{Expect, expect};
use order_engine_core::{
    AccountNonce, Candidate, Certainty, DeathProof, FailureCode, Leg, Order, OrderRequest, Route, Token,
    Validity,
};

use super::*;

/// An order whose events are one second apart, with the frames of all events.
struct Life {
    order: Order,
    frames: Vec<String>,
}

fn token(symbol: &str, decimals: u8) -> Token {
    Token::new(format!("mint-of-{symbol}"), symbol, decimals)
}

fn at(seconds: i64) -> DateTime<Utc> {
    DateTime::from_timestamp(1_767_225_600 + seconds, 0).unwrap()
}

impl Life {
    fn begin() -> Self {
        let request =
            OrderRequest::new("anonymous", token("SOL", 9), token("USDC", 6), Amount::new(2_000_000_000));
        let (order, record) = Order::accept(OrderId::new(at(0), 7), request, 3, at(0));
        let mut life = Self { order, frames: vec![] };
        life.note(&record);
        life
    }

    fn note(&mut self, record: &EventRecord) {
        self.frames.push(to_json(&frame(Decimals::of(&self.order.request), record)));
    }

    fn then(mut self, event: OrderEvent) -> Self {
        let seconds = i64::try_from(self.order.seq).unwrap();
        let record = self.order.advance_mut(event, at(seconds)).unwrap();
        self.note(&record);
        self
    }

    fn routing(self, attempt: u32) -> Self {
        self.then(OrderEvent::RoutingStarted { attempt, dexes: vec!["Raydium".into(), "Meteora".into()] })
    }

    fn signed(self, attempt: u32) -> Self {
        self.routing(attempt).then(route_chosen()).then(OrderEvent::BuildStarted).then(signed_event())
    }

    /// Asserts that the last frame is the expected one, except for the order's id.
    #[track_caller]
    fn shows(&self, expected: &Expect) {
        let frame: serde_json::Value = serde_json::from_str(self.frames.last().unwrap()).unwrap();
        let mut fields = frame.as_object().unwrap().clone();
        // The id is the same in every frame.
        assert_eq!(fields.remove("orderId"), Some(self.order.id.to_string().into()));
        expected.assert_eq(&serde_json::to_string_pretty(&fields).unwrap());
    }
}

fn route(dex: &str, amount_out: u128) -> Route {
    let (amount_in, amount_out) = (Amount::new(2_000_000_000), Amount::new(amount_out));
    let (sold, bought) = (("mint-of-SOL", amount_in), ("mint-of-USDC", amount_out));
    let leg = Leg::new(dex, format!("{dex}-pool"), sold, bought);
    Route::new(dex, vec![leg], amount_in, amount_out)
}

fn route_chosen() -> OrderEvent {
    let failure = Failure::new(FailureCode::NO_ROUTE, "The pool is paused");
    OrderEvent::RouteChosen {
        route: route("Meteora", 300_100_000).into(),
        candidates: vec![
            Candidate::rejected("Raydium", "Raydium", failure),
            Candidate::quoted("Meteora", route("Meteora", 300_100_000)),
        ],
        quoted_at: None,
        min_amount_out: Amount::new(298_599_500),
    }
}

fn signed_event() -> OrderEvent {
    OrderEvent::TransactionSigned {
        tx: SignedTx::new("5igTx", [1, 2, 3], Validity::UntilHeight(150), Amount::new(298_599_500)).into(),
    }
}

fn fill() -> Fill {
    Fill::new(Amount::new(2_000_000_000), Amount::new(300_000_001), 9)
}

#[test]
fn pending() {
    Life::begin().shows(&expect![[r#"
        {
          "message": "Order accepted",
          "progress": 0,
          "seq": 1,
          "status": "pending",
          "timestamp": "2026-01-01T00:00:00.000Z",
          "type": "pending"
        }"#]]);
}

#[test]
fn routing() {
    let life = Life::begin().routing(1);
    life.shows(&expect![[r#"
        {
          "attempt": 1,
          "maxAttempts": 3,
          "message": "Fetching quotes from Raydium & Meteora…",
          "progress": 10,
          "seq": 2,
          "status": "routing",
          "timestamp": "2026-01-01T00:00:01.000Z",
          "type": "routing"
        }"#]]);
    life.then(route_chosen()).shows(&expect![[r#"
        {
          "attempt": 1,
          "chosenDex": "Meteora",
          "maxAttempts": 3,
          "message": "Best route: Meteora",
          "progress": 30,
          "quotes": [
            {
              "dex": "Raydium",
              "error": {
                "code": "no-route",
                "message": "The pool is paused"
              }
            },
            {
              "amountOut": "300.1",
              "amountOutBaseUnits": "300100000",
              "dex": "Meteora",
              "legs": [
                {
                  "amountInBaseUnits": "2000000000",
                  "amountOutBaseUnits": "300100000",
                  "dex": "Meteora",
                  "inputMint": "mint-of-SOL",
                  "outputMint": "mint-of-USDC",
                  "pool": "Meteora-pool"
                }
              ],
              "price": 150.05
            }
          ],
          "route": {
            "amountOut": "300.1",
            "amountOutBaseUnits": "300100000",
            "dex": "Meteora",
            "legs": [
              {
                "amountInBaseUnits": "2000000000",
                "amountOutBaseUnits": "300100000",
                "dex": "Meteora",
                "inputMint": "mint-of-SOL",
                "outputMint": "mint-of-USDC",
                "pool": "Meteora-pool"
              }
            ],
            "price": 150.05
          },
          "seq": 3,
          "status": "routing",
          "timestamp": "2026-01-01T00:00:02.000Z",
          "type": "routing"
        }"#]]);
}

#[test]
fn building() {
    let life = Life::begin().routing(1).then(route_chosen()).then(OrderEvent::BuildStarted);
    life.shows(&expect![[r#"
        {
          "attempt": 1,
          "maxAttempts": 3,
          "message": "Building transaction…",
          "progress": 50,
          "seq": 4,
          "status": "building",
          "timestamp": "2026-01-01T00:00:03.000Z",
          "type": "building"
        }"#]]);
    life.then(signed_event()).shows(&expect![[r#"
        {
          "attempt": 1,
          "maxAttempts": 3,
          "message": "Transaction signed and ready to send",
          "minOut": "298.5995",
          "minOutBaseUnits": "298599500",
          "progress": 70,
          "seq": 5,
          "status": "building",
          "timestamp": "2026-01-01T00:00:04.000Z",
          "txHash": "5igTx",
          "type": "building"
        }"#]]);
}

#[test]
fn submitted() {
    let life = Life::begin().signed(1).then(OrderEvent::SubmissionStarted);
    life.shows(&expect![[r#"
        {
          "attempt": 1,
          "maxAttempts": 3,
          "message": "Submitting transaction (attempt 1/3)…",
          "progress": 75,
          "seq": 6,
          "status": "submitted",
          "timestamp": "2026-01-01T00:00:05.000Z",
          "type": "submitted"
        }"#]]);
    let progress = |life: &Life| {
        let frame: serde_json::Value = serde_json::from_str(life.frames.last().unwrap()).unwrap();
        (frame["type"].clone(), frame["progress"].clone())
    };
    let life = life.then(OrderEvent::SubmissionAccepted);
    assert_eq!(progress(&life), ("submitted".into(), 80.into()));
    let life = life.then(OrderEvent::InclusionObserved { certainty: Certainty::Processed, height: 7 });
    assert_eq!(progress(&life), ("submitted".into(), 85.into()));
    let life = life.then(OrderEvent::InclusionObserved { certainty: Certainty::Confirmed, height: 7 });
    assert_eq!(progress(&life), ("submitted".into(), 90.into()));
}

#[test]
fn confirmed() {
    let life = Life::begin().signed(1).then(OrderEvent::SubmissionStarted);
    life.then(OrderEvent::Confirmed { tx_id: "5igTx".into(), fill: fill() }).shows(&expect![[r#"
        {
          "amountOut": "300.000001",
          "amountOutBaseUnits": "300000001",
          "attempt": 1,
          "executionPrice": 150.0000005,
          "executionPriceExact": "150.0000005",
          "filledAt": "2026-01-01T00:00:06.000Z",
          "maxAttempts": 3,
          "message": "Order executed",
          "progress": 100,
          "seq": 7,
          "status": "confirmed",
          "timestamp": "2026-01-01T00:00:06.000Z",
          "txHash": "5igTx",
          "type": "confirmed"
        }"#]]);
}

#[test]
fn a_failed_attempt_and_its_retry() {
    let failure = Failure::new(FailureCode::SLIPPAGE, "The price moved");
    let class = FailureClass::Requote;
    let life = Life::begin().routing(1).then(OrderEvent::AttemptFailed { failure, class });
    life.shows(&expect![[r#"
        {
          "attempt": 1,
          "error": {
            "code": "slippage",
            "message": "The price moved",
            "retryable": true
          },
          "maxAttempts": 3,
          "message": "Attempt 1/3 failed: The price moved",
          "progress": 10,
          "seq": 3,
          "status": "routing",
          "timestamp": "2026-01-01T00:00:02.000Z",
          "type": "execution-failed"
        }"#]]);
    let retry = OrderEvent::RetryScheduled { retry_at: at(4), retry_in: std::time::Duration::from_secs(1) };
    life.then(retry).shows(&expect![[r#"
        {
          "attempt": 1,
          "maxAttempts": 3,
          "message": "Trying again in 1000 ms",
          "progress": 10,
          "retryAt": "2026-01-01T00:00:04.000Z",
          "retryInMs": 1000,
          "seq": 4,
          "status": "routing",
          "timestamp": "2026-01-01T00:00:03.000Z",
          "type": "retry-pending"
        }"#]]);
}

#[test]
fn a_dead_transaction() {
    let event = OrderEvent::TransactionDied {
        proof: DeathProof::Expired { valid_until_height: 150, finalized_height: 151, searched_through: 152 },
        failure: Failure::new(FailureCode::TRANSACTION_EXPIRED, "It expired"),
        class: FailureClass::Requote,
    };
    Life::begin().signed(1).then(OrderEvent::SubmissionStarted).then(event).shows(&expect![[r#"
        {
          "attempt": 1,
          "error": {
            "code": "transaction-expired",
            "message": "It expired",
            "retryable": true
          },
          "maxAttempts": 3,
          "message": "Attempt 1/3 failed: It expired",
          "progress": 75,
          "seq": 7,
          "status": "submitted",
          "timestamp": "2026-01-01T00:00:06.000Z",
          "type": "execution-failed"
        }"#]]);
}

#[test]
fn a_cancel_that_waits() {
    Life::begin().signed(1).then(OrderEvent::CancelRequested).shows(&expect![[r#"
        {
          "attempt": 1,
          "maxAttempts": 3,
          "message": "Cancel requested; the transaction may already have been sent",
          "progress": 70,
          "seq": 6,
          "status": "building",
          "timestamp": "2026-01-01T00:00:05.000Z",
          "type": "cancel-requested"
        }"#]]);
}

#[test]
fn failed() {
    let failure = Failure::new(FailureCode::CANCELLED, "The order was cancelled");
    Life::begin().then(OrderEvent::Failed { failure }).shows(&expect![[r#"
        {
          "error": {
            "code": "cancelled",
            "message": "The order was cancelled"
          },
          "message": "Order failed: The order was cancelled",
          "progress": 0,
          "seq": 2,
          "status": "failed",
          "timestamp": "2026-01-01T00:00:01.000Z",
          "type": "failed"
        }"#]]);
}

#[test]
fn a_sibling_is_a_part_of_the_submission() {
    let nonce = || AccountNonce::new("wallet", 7);
    let tx = |id: &str| SignedTx::new(id, [1], Validity::Nonce(nonce()), Amount::new(298_599_500));
    let life = Life::begin().routing(1).then(route_chosen()).then(OrderEvent::BuildStarted);
    let life = life.then(OrderEvent::TransactionSigned { tx: tx("0xa").into() });
    let life = life.then(OrderEvent::SubmissionStarted);
    let hash = |life: &Life| {
        let frame: serde_json::Value = serde_json::from_str(life.frames.last().unwrap()).unwrap();
        (frame["type"].clone(), frame["txHash"].clone())
    };
    let bumped = life.then(OrderEvent::SiblingSigned { purpose: Purpose::FeeBump, tx: tx("0xb").into() });
    assert_eq!(hash(&bumped), ("submitted".into(), "0xb".into()));
    let cancelled = bumped.then(OrderEvent::SiblingSigned { purpose: Purpose::Cancel, tx: tx("0xc").into() });
    assert_eq!(hash(&cancelled), ("submitted".into(), serde_json::Value::Null));
}

#[test]
fn control_frames() {
    let id = OrderId::new(at(0), 7);
    let [connection, subscribed] = ControlFrame::opening(id, 3, at(0));
    let frames = [
        to_json(&connection),
        to_json(&subscribed),
        to_json(&ControlFrame::error("order-not-found", "There is no such order.", at(0))),
        to_json(&ControlFrame::notice("Back in five minutes", at(0))),
    ];
    expect![[r#"
        {"type":"connection","message":"Connected to order status stream","orderId":"019b76da-a800-7000-8000-000000000000","timestamp":"2026-01-01T00:00:00.000Z"}
        {"type":"subscribed","message":"Subscribed to real-time updates for order 019b76da-a800-7000-8000-000000000000","orderId":"019b76da-a800-7000-8000-000000000000","timestamp":"2026-01-01T00:00:00.000Z","lastSeq":3}
        {"type":"error","code":"order-not-found","message":"There is no such order.","timestamp":"2026-01-01T00:00:00.000Z"}
        {"type":"notice","message":"Back in five minutes","timestamp":"2026-01-01T00:00:00.000Z"}"#]].assert_eq(&frames.join("\n"));
}
