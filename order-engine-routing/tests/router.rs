//! The router over a fixed set of pools.

use std::sync::Arc;

use order_engine_core::{Amount, CandidateOutcome, DexRouter, FailureCode, QuoteRequest, Token, best};
use order_engine_routing::{ConstantProduct, Curve, Fee, Pool, PoolSet, PoolSource, Router};

#[derive(Debug)]
struct Fixed(Arc<PoolSet>);

impl PoolSource for Fixed {
    fn snapshot(&self) -> Arc<PoolSet> {
        Arc::clone(&self.0)
    }
}

fn pool(dex: &str, id: &str, reserve_b: u128) -> Pool {
    let fee = Fee::new(25, 10_000).unwrap();
    let curve = ConstantProduct::new(Amount::new(1_000_000_000), Amount::new(reserve_b), fee).unwrap();
    Pool {
        id: id.into(),
        dex: dex.into(),
        token_a: "A".into(),
        token_b: "B".into(),
        curve: Curve::ConstantProduct(curve),
    }
}

fn request(amount: u128, output: &str) -> QuoteRequest {
    let token = |mint: &str| Token { mint: mint.into(), symbol: mint.into(), decimals: 6 };
    QuoteRequest { input: token("A"), output: token(output), amount: Amount::new(amount) }
}

fn router() -> Router {
    let pools = vec![
        pool("Raydium", "r1", 2_000_000_000),
        pool("Raydium", "r2", 2_100_000_000),
        pool("Meteora", "m1", 2_050_000_000),
    ];
    Router::new(Arc::new(Fixed(Arc::new(PoolSet::new(pools)))))
}

#[tokio::test]
async fn every_exchange_proposes_its_best_pool() {
    let candidates = router().quote(&request(1_000_000, "B")).await.unwrap();
    let ids: Vec<_> = candidates.iter().map(|candidate| candidate.id.as_str()).collect();
    assert_eq!(ids, ["r2", "m1"]);
    let route = best(&candidates).unwrap();
    assert_eq!((route.dex.as_str(), route.legs.len()), ("Raydium", 1));
    assert_eq!(route.legs[0].amount_in, route.amount_in);
    assert_eq!(router().dexes(), ["Raydium", "Meteora"]);
}

#[tokio::test]
async fn what_cannot_be_done_is_reported_with_its_reason() {
    for request in [request(1, "B"), request(1_000_000, "C")] {
        let candidates = router().quote(&request).await.unwrap();
        assert_eq!(candidates.len(), 2);
        assert!(best(&candidates).is_none());
        for candidate in candidates {
            let CandidateOutcome::Rejected(failure) = candidate.outcome else { panic!("{candidate:?}") };
            assert_eq!(failure.code, FailureCode::NO_ROUTE);
        }
    }
}
