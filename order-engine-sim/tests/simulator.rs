//! The simulator through its doors, on paused time.

use std::collections::HashSet;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use chrono::DateTime;
use order_engine_core::{
    Amount, Certainty, FailureCode, Fence, Observation, Order, OrderId, OrderRequest, PrepareRequest,
    QuoteRequest, Route, Runtime, SignedTx, StepError, SubmitReport, Token, Validity, Venue, best,
};
use order_engine_sim::{Rate, SimConfig, SimError, Simulator, default_tokens};

/// A chain that takes no time and lets nothing fail.
fn instant() -> SimConfig {
    SimConfig { step_delay: Duration::ZERO, fail_rate: Rate::NEVER, ..SimConfig::default() }
}

async fn open(config: SimConfig) -> Simulator {
    Simulator::open(config, Runtime::tokio()).await.unwrap()
}

fn order(number: u128, slippage_bps: u16) -> Order {
    let tokens: Vec<Token> = default_tokens();
    let request = OrderRequest {
        user_id: "alice".into(),
        client_order_id: None,
        input: tokens[0].clone(),
        output: tokens[1].clone(),
        amount: Amount::new(1_000_000_000),
        slippage_bps,
        deadline: None,
    };
    Order::accept(OrderId::new(DateTime::UNIX_EPOCH, number << 48), request, 3, DateTime::UNIX_EPOCH).0
}

async fn route(sim: &Simulator, order: &Order) -> Route {
    let OrderRequest { input, output, amount, .. } = order.request.clone();
    best(&sim.router().quote(&QuoteRequest { input, output, amount }).await.unwrap()).unwrap().clone()
}

async fn prepare(venue: &dyn Venue, order: &Order, route: &Route) -> Result<SignedTx, StepError> {
    let min_amount_out = route.amount_out.less_slippage(order.request.slippage_bps);
    let fence = Fence { epoch: 1, owner: 1 };
    venue.prepare(PrepareRequest { order, route, min_amount_out, fence }).await
}

async fn signed(sim: &Simulator, order: &Order) -> SignedTx {
    let route = route(sim, order).await;
    prepare(&*sim.venue(), order, &route).await.unwrap()
}

async fn observe(sim: &Simulator, tx: &SignedTx) -> Observation {
    sim.venue().observe(std::slice::from_ref(&tx.id)).await.unwrap().remove(0)
}

#[tokio::test]
async fn without_delay_a_sent_transaction_is_final_and_pays_its_quote() {
    let sim = open(instant()).await;
    let order = order(1, 0);
    let tx = signed(&sim, &order).await;
    assert_eq!(observe(&sim, &tx).await, Observation::NotFound { history_complete: true });
    assert_eq!(sim.venue().submit(&tx).await, SubmitReport::Accepted);
    let Observation::Landed { certainty: Certainty::Finalized, fill } = observe(&sim, &tx).await else {
        panic!()
    };
    assert_eq!(fill.amount_out, route(&sim, &order).await.amount_out);
    assert_eq!(fill.amount_in, order.request.amount);
}

#[tokio::test]
async fn one_transaction_executes_once_however_often_it_is_sent() {
    let sim = open(instant()).await;
    let tx = Arc::new(signed(&sim, &order(1, 50)).await);
    let sendings = (0..32).map(|_| {
        let (venue, tx) = (sim.venue(), Arc::clone(&tx));
        tokio::spawn(async move { venue.submit(&tx).await })
    });
    let mut accepted = 0;
    for sending in sendings.collect::<Vec<_>>() {
        match sending.await.unwrap() {
            SubmitReport::Accepted => accepted += 1,
            report => assert_eq!(report, SubmitReport::AlreadyKnown),
        }
    }
    assert_eq!((accepted, sim.executions(None).len()), (1, 1));
}

#[tokio::test]
async fn ten_thousand_orders_meet_no_slippage_where_nothing_moves() {
    let sim = open(instant()).await;
    for number in 0..10_000 {
        let tx = signed(&sim, &order(number, 0)).await;
        assert_eq!(sim.venue().submit(&tx).await, SubmitReport::Accepted);
    }
    let executions = sim.executions(None);
    assert_eq!(executions.len(), 10_000);
    assert!(executions.iter().all(|execution| execution.executed));
}

#[tokio::test]
async fn failures_come_at_their_rate_and_are_real_slippage() {
    let config = SimConfig { fail_rate: Rate::from_percent(5).unwrap(), ..instant() };
    let sim = open(config).await;
    for number in 0..2_000 {
        let order = order(number, 300);
        let tx = signed(&sim, &order).await;
        sim.venue().submit(&tx).await;
        if let Observation::Reverted { failure, .. } = observe(&sim, &tx).await {
            assert_eq!(failure.code, FailureCode::SLIPPAGE);
            let execution = sim.executions(Some(order.id)).remove(0);
            assert!(execution.amount_out < tx.min_amount_out, "{execution:?}");
        }
    }
    let failed = sim.executions(None).iter().filter(|execution| !execution.executed).count();
    assert!((60..=140).contains(&failed), "{failed} of 2000 failed");
}

#[tokio::test(start_paused = true)]
async fn certainty_grows_step_by_step() {
    let sim = open(SimConfig { fail_rate: Rate::NEVER, ..SimConfig::default() }).await;
    let tx = signed(&sim, &order(1, 1_000)).await;
    assert_eq!(sim.venue().submit(&tx).await, SubmitReport::Accepted);
    assert!(matches!(observe(&sim, &tx).await, Observation::NotFound { .. }));
    assert!(sim.executions(None).is_empty());
    for expected in [Certainty::Processed, Certainty::Confirmed, Certainty::Finalized] {
        tokio::time::advance(Duration::from_millis(150)).await;
        let Observation::Landed { certainty, .. } = observe(&sim, &tx).await else { panic!("not landed") };
        assert_eq!(certainty, expected);
    }
}

#[tokio::test(start_paused = true)]
async fn an_expired_transaction_is_refused_and_never_lands() {
    let sim = open(instant()).await;
    let tx = signed(&sim, &order(1, 50)).await;
    let Validity::UntilHeight(last) = tx.validity else { panic!() };
    let processed = sim.venue().view().await.unwrap().processed;
    assert_eq!(last, processed + 150);
    tokio::time::advance(Duration::from_millis(400 * 151)).await;
    assert!(matches!(sim.venue().submit(&tx).await, SubmitReport::DefinitelyNotAccepted { .. }));
    assert!(sim.executions(None).is_empty());
}

#[tokio::test(start_paused = true)]
async fn a_transaction_that_would_land_too_late_never_lands() {
    let config =
        SimConfig { step_delay: Duration::from_secs(2), fail_rate: Rate::NEVER, ..SimConfig::default() };
    let sim = open(config).await;
    let tx = signed(&sim, &order(1, 10_000)).await;
    let Validity::UntilHeight(last) = tx.validity else { panic!() };
    while sim.venue().view().await.unwrap().processed + 5 < last {
        tokio::time::advance(Duration::from_millis(400)).await;
    }
    assert_eq!(sim.venue().submit(&tx).await, SubmitReport::Accepted);
    tokio::time::advance(Duration::from_mins(1)).await;
    assert!(matches!(observe(&sim, &tx).await, Observation::NotFound { history_complete: true }));
    assert!(sim.venue().view().await.unwrap().finalized > last);
    assert!(sim.executions(None).is_empty());
}

#[tokio::test]
async fn preparing_refuses_what_would_slip_now() {
    let sim = open(instant()).await;
    let order = order(1, 0);
    let mut route = route(&sim, &order).await;
    route.amount_out = route.amount_out.checked_add(Amount::new(1)).unwrap();
    let error = prepare(&*sim.venue(), &order, &route).await.unwrap_err();
    assert_eq!(error.failure.code, FailureCode::SLIPPAGE);
    assert!(error.class.is_retryable());
}

#[tokio::test]
async fn changed_bytes_are_refused() {
    let sim = open(instant()).await;
    let mut tx = signed(&sim, &order(1, 50)).await;
    *tx.bytes.last_mut().unwrap() ^= 1;
    assert!(matches!(sim.venue().submit(&tx).await, SubmitReport::DefinitelyNotAccepted { .. }));
}

#[tokio::test]
async fn the_ledger_has_an_execution_before_anybody_is_told_and_survives_a_restart() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("ledger.jsonl");
    let with_ledger = || SimConfig { ledger: Some(path.clone()), ..instant() };
    let sim = open(with_ledger()).await;
    let tx = signed(&sim, &order(1, 50)).await;
    assert_eq!(sim.venue().submit(&tx).await, SubmitReport::Accepted);
    assert_eq!(tx_ids(&path), [tx.id.to_string()]);
    assert!(matches!(
        Simulator::open(with_ledger(), Runtime::tokio()).await.unwrap_err(),
        SimError::LedgerInUse { .. }
    ));
    drop(sim);
    let again = reopen(with_ledger()).await;
    assert_eq!(again.venue().submit(&tx).await, SubmitReport::AlreadyKnown);
    assert!(matches!(
        observe(&again, &tx).await,
        Observation::Landed { certainty: Certainty::Finalized, .. }
    ));
    assert_eq!(tx_ids(&path).len(), 1);
}

#[tokio::test]
async fn many_at_once_are_all_in_the_ledger_once() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("ledger.jsonl");
    let sim = open(SimConfig { ledger: Some(path.clone()), ..instant() }).await;
    let mut tasks = tokio::task::JoinSet::new();
    for number in 0..200 {
        let sim = sim.clone();
        tasks.spawn(async move {
            let tx = signed(&sim, &order(number, 50)).await;
            sim.venue().submit(&tx).await;
        });
    }
    tasks.join_all().await;
    let ids = tx_ids(&path);
    assert_eq!(ids.len(), 200);
    assert_eq!(ids.into_iter().collect::<HashSet<_>>().len(), 200);
}

#[tokio::test]
async fn equal_seeds_quote_alike_and_others_differ() {
    let quote = async |seed| {
        let sim = open(SimConfig { seed, ..instant() }).await;
        route(&sim, &order(1, 50)).await
    };
    assert_eq!(quote(1).await, quote(1).await);
    assert_ne!(quote(1).await, quote(2).await);
}

fn tx_ids(path: &Path) -> Vec<String> {
    let text = std::fs::read_to_string(path).unwrap();
    let id =
        |line| serde_json::from_str::<serde_json::Value>(line).unwrap()["txId"].as_str().unwrap().to_owned();
    text.lines().map(id).collect()
}

/// The lock of a dropped chain is let go of by a thread, as soon as it notices.
async fn reopen(config: SimConfig) -> Simulator {
    loop {
        match Simulator::open(config.clone(), Runtime::tokio()).await {
            Err(SimError::LedgerInUse { .. }) => tokio::task::yield_now().await,
            result => return result.unwrap(),
        }
    }
}
