//! The engine that is killed.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use futures_util::future::join_all;
use order_engine_core::{
    Backoff, Candidate, CandidateOutcome, DexRouter, Engine, EngineConfig, FeeBumpPolicy, OrderId,
    OrderStore, QuoteRequest, RetryPolicy, Runtime, StepError, Submission,
};
use order_engine_evm::{
    AllowanceGoal, Cluster, ClusterOptions, EvmVenue, EvmVenueOptions, PermitPolicy, PoolDirectory,
};
use order_engine_postgres::{PostgresOptions, PostgresStore};
use order_engine_routing::Router;
use order_engine_sqlite::{SqliteOptions, SqliteStore};

use crate::common::dice::Dice;
use crate::market::{PARTS, Setup, is_cancelled, venue_of, wallet_of};

/// How many times a second orders are placed.
const PLACINGS: u64 = 4;

/// Places its part of the orders and executes what is due, until it is killed.
pub(crate) async fn trade(setup: Setup) {
    let (engine, pools) = engine(&setup).await;
    // An engine before this one has placed orders, so what they need is allowed for good.
    if setup.place_from == 0 {
        allow(&setup, &pools).await;
    }
    // Without pools there is no route, and orders would use up their attempts.
    while !pools.read().await.is_ok_and(|report| report.unread.is_empty()) {}
    tokio::spawn(engine.run(20));
    let reading = tokio::spawn(async move {
        loop {
            tokio::time::sleep(Duration::from_millis(700)).await;
            let _ = pools.read().await;
        }
    });
    place(&engine, &setup).await;
    reading.await.expect("it reads until this process is killed");
}

/// Lets the router take the tokens of the wallets whose orders bring no permits.
async fn allow(setup: &Setup, pools: &Arc<PoolDirectory>) {
    let cluster = cluster(setup);
    let wallets = (0..setup.wallets).filter(|number| Setup::permits(*number) == PermitPolicy::Never);
    join_all(wallets.map(async |number| {
        let (options, wallet) = (EvmVenueOptions::default(), setup.wallet(number));
        let venue = EvmVenue::new(Arc::clone(&cluster), wallet, Arc::clone(pools) as _, options);
        for token in &setup.tokens[..3] {
            let goal = AllowanceGoal::unlimited(*token);
            venue.ensure_allowance(goal, Duration::from_mins(2)).await.expect("it is allowed in time");
        }
    }))
    .await;
}

fn cluster(setup: &Setup) -> Arc<Cluster> {
    let nodes = ClusterOptions::new(&setup.nodes, crate::common::anvil::CHAIN_ID);
    Arc::new(Cluster::new(nodes, Runtime::tokio()).expect("there are nodes"))
}

/// Returns an engine, which executes nothing until it is run, and its pools.
pub(crate) async fn engine(setup: &Setup) -> (Engine, Arc<PoolDirectory>) {
    let cluster = cluster(setup);
    let pools = PoolDirectory::new(Arc::clone(&cluster), setup.deployment(), setup.pools.iter().copied());
    let pools = Arc::new(pools);
    let router = Router::new(Arc::clone(&pools) as _, Runtime::tokio().clock);
    let mut builder = Engine::builder()
        .store(store(&setup.store).await)
        .router(ByWallet { router, wallets: setup.wallets })
        .config(config(setup));
    for (wallet, number) in setup.all_wallets().into_iter().zip(0..) {
        let options = EvmVenueOptions::default().with_permits(Setup::permits(number));
        let venue = EvmVenue::new(Arc::clone(&cluster), wallet, Arc::clone(&pools) as _, options);
        let name = venue_of(number);
        builder = builder.fee_bumps(name.as_str(), FeeBumpPolicy::default()).named_venue(name, venue);
    }
    (builder.build().await.expect("the engine starts"), pools)
}

/// Opens the store at a path, or in the database of a PostgreSQL server.
async fn store(place: &str) -> Arc<dyn OrderStore> {
    if place.starts_with("postgres:") {
        let options = PostgresOptions::new(place).expect("it is a URL");
        return Arc::new(PostgresStore::open(options).await.expect("the store opens"));
    }
    Arc::new(SqliteStore::open(SqliteOptions::new(place)).await.expect("the store opens"))
}

fn config(setup: &Setup) -> EngineConfig {
    let soon = Backoff::default().with_initial(Duration::from_millis(200)).with_max(Duration::from_secs(2));
    let mut retry = RetryPolicy::default().with_max_attempts(12);
    retry.requote.backoff = soon;
    retry.transient.backoff = soon;
    // Orders with exact permits wait for each other: the more a wallet has, the less often each of them asks.
    let of_a_wallet = Duration::from_millis(20 * setup.orders / setup.wallets);
    (retry.outage.min_interval, retry.outage.max_interval) =
        (Duration::from_millis(300), of_a_wallet.max(Duration::from_secs(1)));
    retry.outage.max_wait = Duration::from_hours(1);
    EngineConfig::default()
        .with_lease_duration(Duration::from_secs(2))
        .with_observe_interval(Duration::from_millis(500))
        .with_resend_interval(Duration::from_millis(700))
        .with_poll_interval(Duration::from_millis(500))
        // Killed workers are no sign of a bad order here.
        .with_quarantine_after(1_000)
        .with_retry(retry)
}

/// Places orders at the rate that is set, and cancels some.
async fn place(engine: &Engine, setup: &Setup) {
    let mine = (setup.place_from..setup.orders).filter(|n| n % PARTS == setup.part);
    let mine: Vec<u64> = mine.collect();
    let mut dice = Dice::new(setup.seed + setup.place_from);
    for some in mine.chunks(usize::try_from(setup.rate.div_ceil(PLACINGS).max(1)).expect("it is small")) {
        let requests: Vec<_> = some.iter().map(|n| setup.order(*n)).collect();
        for (n, submitted) in some.iter().zip(engine.submit_many(requests).await) {
            let id = id_of(&submitted.expect("the store answers"));
            if is_cancelled(*n) {
                let (engine, wait_ms) = (engine.clone(), dice.below(700));
                tokio::spawn(async move {
                    tokio::time::sleep(Duration::from_millis(wait_ms)).await;
                    let _ = engine.cancel(id).await;
                });
            }
            println!("{n}");
        }
        tokio::time::sleep(Duration::from_millis(1_000 / PLACINGS)).await;
    }
}

pub(crate) fn id_of(submission: &Submission) -> OrderId {
    match submission {
        Submission::Created(order) | Submission::Existing(order) => order.id,
        Submission::Conflict(other) => panic!("{other:?}"),
    }
}

/// Lets the wallet trade an order that its amount names.
#[derive(Debug)]
struct ByWallet {
    router: Router,
    wallets: u64,
}

#[async_trait]
impl DexRouter for ByWallet {
    fn dexes(&self) -> Vec<String> {
        self.router.dexes()
    }

    async fn quote(&self, request: &QuoteRequest) -> Result<Vec<Candidate>, StepError> {
        let mut candidates = self.router.quote(request).await?;
        let venue = venue_of(wallet_of(request.amount, self.wallets));
        for candidate in &mut candidates {
            if let CandidateOutcome::Quoted(route) = &mut candidate.outcome {
                Arc::make_mut(route).venue = venue.as_str().into();
            }
        }
        Ok(candidates)
    }
}
