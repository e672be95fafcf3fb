//! The promises of the chain: when a transaction lands, that it lands once, and when it is dead.

mod common;

use std::sync::Arc;
use std::time::Duration;

use common::{World, certainty, instant, is_absent, judged, order, reliable, trade};
use futures_util::FutureExt as _;
use futures_util::future::join_all;
use order_engine_core::{
    Amount, Certainty, DeathProof, FailureClass, FailureCode, Observation, Route, SignedTx, SubmitReport,
    Validity, Verdict,
};
use order_engine_sim::{Rate, SimConfig};

const STEP: Duration = Duration::from_millis(150);
const SLOT: Duration = Duration::from_millis(400);

#[tokio::test(start_paused = true)]
async fn every_step_takes_its_time_and_certainty_grows() {
    let world = World::new(reliable()).await;
    let start = tokio::time::Instant::now();
    let tx = world.signed(&order(1)).await;
    assert_eq!(start.elapsed(), 2 * STEP, "a quote and a preparation");
    assert_eq!(world.submit(&tx).await, SubmitReport::Accepted);
    assert_eq!(start.elapsed(), 3 * STEP);
    assert!(is_absent(&world.observe(&tx.id).await), "it has not landed");
    for expected in [Certainty::Processed, Certainty::Confirmed, Certainty::Finalized] {
        tokio::time::sleep(STEP).await;
        assert_eq!(certainty(&world.observe(&tx.id).await), Some(expected));
    }
    let [execution] = &world.executions().await[..] else { panic!("one execution") };
    assert!(execution.executed && execution.amount_out >= tx.min_amount_out);
    assert_eq!(execution.order_id, order(1).id);
}

#[tokio::test(start_paused = true)]
async fn without_delay_nothing_waits_and_a_landing_is_final_at_once() {
    let world = World::new(instant()).await;
    let order = order(1);
    let tx = world.signed(&order).now_or_never().expect("quote and prepare do not yield");
    let report = world.submit(&tx).now_or_never().expect("submit does not yield");
    assert_eq!(report, SubmitReport::Accepted);
    let seen = world.observe(&tx.id).now_or_never().expect("observe does not yield");
    let Observation::Landed { certainty: Certainty::Finalized, fill } = seen else { panic!("{seen:?}") };
    assert_eq!(fill.amount_in, order.request.amount);
    assert!(fill.amount_out >= tx.min_amount_out);
    assert_eq!(fill.height, world.height());
}

#[tokio::test(start_paused = true)]
async fn one_id_never_executes_twice() {
    let world = World::new(instant()).await;
    let tx = world.signed(&order(1)).await;
    assert_eq!(world.submit(&tx).await, SubmitReport::Accepted);
    for _ in 0..3 {
        assert_eq!(world.submit(&tx).await, SubmitReport::AlreadyKnown);
    }
    assert_eq!(world.executions().await.len(), 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn exactly_one_of_several_concurrent_submissions_is_accepted() {
    let world = World::new(instant()).await;
    for number in 0..50 {
        let tx = world.signed(&order(number)).await;
        let submissions = (0..8).map(|_| {
            let (venue, tx) = (world.sim.venue(), tx.clone());
            tokio::spawn(async move { venue.submit(&tx).await })
        });
        let reports: Vec<_> = join_all(submissions).await.into_iter().map(Result::unwrap).collect();
        let accepted = reports.iter().filter(|report| **report == SubmitReport::Accepted).count();
        let known = reports.iter().filter(|report| **report == SubmitReport::AlreadyKnown).count();
        assert_eq!((accepted, known), (1, 7));
    }
    assert_eq!(world.executions().await.len(), 50);
}

#[tokio::test(start_paused = true)]
async fn a_second_submission_in_flight_is_known_and_lands_once() {
    let world = World::new(reliable()).await;
    let tx = world.signed(&order(1)).await;
    assert_eq!(world.submit(&tx).await, SubmitReport::Accepted);
    world.clock.skip(STEP / 2);
    assert_eq!(world.submit(&tx).await, SubmitReport::AlreadyKnown);
    world.clock.skip(10 * STEP);
    assert_eq!(world.executions().await.len(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_transaction_lands_up_to_its_last_valid_height_and_not_after() {
    let world = World::new(instant()).await;
    let (in_time, too_late) = (world.signed(&order(1)).await, world.signed(&order(2)).await);
    let Validity::UntilHeight(last) = in_time.validity else { panic!("a blockhash expires") };
    assert_eq!(last, world.height() + 150);

    world.clock.skip(150 * SLOT);
    assert_eq!(world.height(), last);
    assert_eq!(world.submit(&in_time).await, SubmitReport::Accepted);
    assert_eq!(world.executions().await[0].height, last);

    world.clock.skip(SLOT);
    let report = world.submit(&too_late).await;
    assert!(matches!(report, SubmitReport::DefinitelyNotAccepted { .. }), "{report:?}");
    assert_eq!(world.submit(&in_time).await, SubmitReport::AlreadyKnown, "landed is landed");
    assert_eq!(world.executions().await.len(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_transaction_that_expires_in_flight_never_lands_and_is_proven_dead() {
    let world = World::new(reliable()).await;
    let tx = world.signed(&order(1)).await;
    // The last valid height ends before the transaction would land, one step later.
    world.clock.skip(149 * SLOT + Duration::from_millis(250));
    assert_eq!(world.submit(&tx).await, SubmitReport::Accepted);
    let mut slots = 0;
    let proof = loop {
        let view = world.sim.venue().view().await.unwrap();
        match judged(&tx, &view, &world.observe(&tx.id).await) {
            Verdict::Pending(None) => world.clock.skip(SLOT),
            Verdict::Dead(proof, failure, class) => {
                assert_eq!(failure.code, FailureCode::TRANSACTION_EXPIRED);
                assert_eq!(class, FailureClass::Requote);
                break proof;
            }
            other => panic!("{other:?}"),
        }
        slots += 1;
    };
    assert!(matches!(proof, DeathProof::Expired { .. }));
    assert!((32..=35).contains(&slots), "finality lags 32 slots behind: {slots}");
    assert_eq!(world.executions().await, []);
}

#[tokio::test(start_paused = true)]
async fn bytes_that_are_not_a_transaction_of_this_chain_are_refused() {
    let world = World::new(instant()).await;
    let other = World::new(SimConfig { seed: 1, ..instant() }).await;
    let tx = world.signed(&order(1)).await;
    let mut cut = tx.clone();
    cut.bytes.pop();
    let mut renamed = tx.clone();
    renamed.id = world.signed(&order(2)).await.id;
    let foreign = other.signed(&order(1)).await;
    let empty = SignedTx::new(tx.id.clone(), [], tx.validity.clone(), tx.min_amount_out);
    for bad in [cut, renamed, foreign, empty] {
        let report = world.submit(&bad).await;
        assert!(matches!(report, SubmitReport::DefinitelyNotAccepted { .. }), "{report:?}");
    }
    assert_eq!(world.executions().await, []);
    assert_eq!(world.submit(&tx).await, SubmitReport::Accepted);
}

#[tokio::test(start_paused = true)]
async fn a_preparation_simulates_before_it_signs() {
    let world = World::new(instant()).await;
    let order = order(1);
    let route = world.route(&order).await;
    let above = route.amount_out.checked_add(Amount::new(1)).unwrap();
    let refused = world.prepare(&order, &route, above).await.unwrap_err();
    assert_eq!((refused.failure.code, refused.class), (FailureCode::SLIPPAGE, FailureClass::Requote));
    assert!(world.prepare(&order, &route, route.amount_out).await.is_ok());

    let mut closed = Route::clone(&route);
    closed.legs[0].pool = "closed".into();
    let refused = world.prepare(&order, &closed, Amount::ZERO).await.unwrap_err();
    assert_eq!((refused.failure.code, refused.class), (FailureCode::NO_ROUTE, FailureClass::Requote));

    let elsewhere = world.route(&trade(2, ("BTC", "ETH"), 1_000)).await;
    let refused = world.prepare(&order, &elsewhere, Amount::ZERO).await.unwrap_err();
    assert_eq!((refused.failure.code, refused.class), (FailureCode::REJECTED, FailureClass::Permanent));
}

#[tokio::test(start_paused = true)]
async fn a_front_run_really_pushes_the_output_below_the_minimum() {
    let world = World::new(SimConfig { fail_rate: Rate::ALWAYS, ..instant() }).await;
    for (number, slippage_bps) in (0..).zip([0, 1, 50, 1_000, 9_999]) {
        let mut order = order(number);
        Arc::make_mut(&mut order.request).slippage_bps = slippage_bps;
        let tx = world.signed(&order).await;
        assert_eq!(world.submit(&tx).await, SubmitReport::Accepted);
        let seen = world.observe(&tx.id).await;
        let Observation::Reverted { certainty: Certainty::Finalized, failure, class } = seen else {
            panic!("{seen:?}")
        };
        assert_eq!((failure.code, class), (FailureCode::SLIPPAGE, FailureClass::Requote));
        let execution = world.executions().await.pop().unwrap();
        assert!(!execution.executed && execution.amount_out < tx.min_amount_out, "{execution:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn no_front_run_fails_an_order_that_accepts_any_output() {
    let world = World::new(SimConfig { fail_rate: Rate::ALWAYS, ..instant() }).await;
    let order = order(1);
    let route = world.route(&order).await;
    let tx = world.prepare(&order, &route, Amount::ZERO).await.unwrap();
    assert_eq!(world.submit(&tx).await, SubmitReport::Accepted);
    assert!(world.executions().await[0].executed);
}

#[tokio::test(start_paused = true)]
async fn the_share_of_failures_is_the_fail_rate() {
    let fail_rate = Rate::from_percent(5).unwrap();
    let world = World::new(SimConfig { fail_rate, ..instant() }).await;
    let count = 10_000;
    for number in 0..count {
        assert_eq!(world.submit(&world.signed(&order(number)).await).await, SubmitReport::Accepted);
    }
    let failed = world.executions().await.iter().filter(|execution| !execution.executed).count();
    // The bounds are five standard deviations of a binomial distribution.
    assert!((391..=609).contains(&failed), "{failed} of {count} failed");
}

#[tokio::test(start_paused = true)]
async fn ten_thousand_orders_without_slippage_execute_on_frozen_prices() {
    let world = World::new(instant()).await;
    let pairs = [("SOL", "USDC"), ("USDC", "SOL"), ("BTC", "ETH"), ("USDT", "BTC"), ("ETH", "USDC")];
    for (number, pair) in (0..10_000).zip(pairs.into_iter().cycle()) {
        let mut order = trade(number, pair, 1_000_000 + u128::from(number));
        Arc::make_mut(&mut order.request).slippage_bps = 0;
        let tx = world.signed(&order).await;
        world.clock.skip(Duration::from_millis(number % 1_000));
        assert_eq!(world.submit(&tx).await, SubmitReport::Accepted);
    }
    let executions = world.executions().await;
    assert_eq!(executions.len(), 10_000);
    assert!(executions.iter().all(|execution| execution.executed));
}

#[tokio::test(start_paused = true)]
async fn normal_noise_stays_within_the_normal_slippage() {
    let world = World::new(reliable()).await;
    let pairs = [("SOL", "USDC"), ("ETH", "SOL"), ("BTC", "USDT")];
    for (number, pair) in (0..600).zip(pairs.into_iter().cycle()) {
        let tx = world.signed(&trade(number, pair, 5_000_000)).await;
        assert_eq!(world.submit(&tx).await, SubmitReport::Accepted);
        world.clock.skip(Duration::from_mins(7));
    }
    let executions = world.executions().await;
    assert_eq!(executions.len(), 600);
    assert!(executions.iter().all(|execution| execution.executed));
}
