//! The pools that a host trades with.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use alloy_primitives::{Address, B256, U256};
use async_trait::async_trait;
use order_engine_core::telemetry::chain;
use order_engine_core::{Amount, Failure, FailureCode, StepError};
use order_engine_routing::{
    Curve, InvalidPool, Moment, Pool, PoolFeed, PoolSet, PoolSource, Reading, UniswapV2, UniswapV2State,
    UniswapV3, UniswapV3State,
};
use serde_json::{Value, json};

use crate::abi::{V2Pair, V3Pool};
use crate::contract::{call, returned};
use crate::pools::error::PoolError;
use crate::pools::kind::{PoolKind, Version};
use crate::pools::ticks::{batches, read as read_ticks, words};
use crate::pools::{Deployment, SwapRouter, router_call};
use crate::revert;
use crate::rpc::{Cluster, RpcError};
use crate::swap_builder::{SwapBuilder, SwapCall, SwapRequest};

/// How far from the price ticks are read, unless told otherwise: to a price 1.65 times as high or low.
const REACH_TICKS: i32 = 5_000;

/// Reads pools of a deployment from the chain, offers them to a router as a [`PoolSource`], and builds the calls of routes as a
/// [`SwapBuilder`].
///
/// Tokens have their addresses as mints, in the mixed case of EIP-55, as [`Address`] writes them. The wrapped token stands for the chain's
/// own token: an order that sells or buys it trades ETH, which is wrapped and unwrapped within the transaction.
///
/// ```no_run
/// use std::sync::Arc;
///
/// use order_engine_core::Runtime;
/// use order_engine_evm::{Address, Cluster, ClusterOptions, Deployment, PoolDirectory};
/// use order_engine_routing::Fee;
///
/// # async fn example([router, weth, v2, v3, pool]: [Address; 5]) -> Result<(), Box<dyn std::error::Error>> {
/// let cluster = Arc::new(Cluster::new(ClusterOptions::new(["https://node.example"], 1), Runtime::tokio())?);
/// let uniswap = Deployment::uniswap(router, weth).with_v2(v2, Fee::new(3, 1_000)?).with_v3(v3);
/// let pools = Arc::new(PoolDirectory::new(cluster, uniswap, [pool]));
/// for unread in pools.read().await?.unread {
///     println!("{}: {}", unread.pool, unread.error);
/// }
/// # Ok(())
/// # }
/// ```
#[derive(Debug)]
pub struct PoolDirectory {
    cluster: Arc<Cluster>,
    deployment: Deployment,
    addresses: Vec<Address>,
    reach_ticks: i32,
    feed: PoolFeed,
    kinds: Mutex<BTreeMap<Address, PoolKind>>,
}

/// What became of reading the pools.
#[derive(Clone, Debug, Default)]
#[non_exhaustive]
pub struct ReadReport {
    /// How many pools have a new snapshot.
    pub read: usize,
    /// Which pools have none, and why. They are not traded until they are read again.
    pub unread: Vec<UnreadPool>,
}

/// A pool that could not be read.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct UnreadPool {
    /// The pool.
    pub pool: Address,
    /// Why.
    pub error: PoolError,
}

impl PoolDirectory {
    /// Returns a directory of these pools, of which nothing is known until they are [read](Self::read).
    pub fn new(
        cluster: Arc<Cluster>,
        deployment: Deployment,
        pools: impl IntoIterator<Item = Address>,
    ) -> Self {
        let addresses = pools.into_iter().collect();
        let (feed, kinds) = (PoolFeed::new(PoolSet::new(Vec::new())), Mutex::default());
        Self { cluster, deployment, addresses, reach_ticks: REACH_TICKS, feed, kinds }
    }

    /// Sets how far from the price ticks are read, in ticks of a hundredth of a percent. A trade that would go further finds not enough
    /// liquidity.
    #[must_use]
    pub fn with_reach_ticks(self, ticks: u16) -> Self {
        Self { reach_ticks: ticks.into(), ..self }
    }

    fn kinds(&self) -> MutexGuard<'_, BTreeMap<Address, PoolKind>> {
        self.kinds.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Reads all pools as they are in one block, the newest one.
    ///
    /// # Errors
    /// If no node answers. A pool that cannot be read is no error; the report has it.
    pub async fn read(&self) -> Result<ReadReport, RpcError> {
        let head = self.cluster.latest().await?;
        let reading = Reading::new(head.number.to(), Moment::from_unix_seconds(head.timestamp.to()));
        let mut report = ReadReport::default();
        for &address in &self.addresses {
            match self.read_pool(address, head.hash).await.or_else(of_pool)? {
                Ok(pool) => report.read += self.feed.update(&[pool], reading).applied,
                Err(error) => {
                    self.feed.remove(&[&address.to_string()]);
                    report.unread.push(UnreadPool { pool: address, error });
                }
            }
        }
        Ok(report)
    }

    async fn read_pool(&self, address: Address, block: B256) -> Result<Result<Pool, PoolError>, RpcError> {
        let known = self.kinds().get(&address).copied();
        let kind = match known {
            Some(kind) => kind,
            None => match PoolKind::read(&self.cluster, &self.deployment, address).await? {
                Ok(kind) => kind,
                Err(error) => return Ok(Err(error)),
            },
        };
        self.kinds().insert(address, kind);
        // Named by its hash, a block is the same one on every node that answers.
        let block = json!({ "blockHash": block });
        let curve = match kind.version {
            Version::V2 { fee } => self.read_v2(&kind, fee, &block).await?,
            Version::V3 { fee_ppm, tick_spacing } => {
                self.read_v3(&kind, (fee_ppm, tick_spacing), &block).await?
            }
        };
        let tokens = (kind.tokens[0].to_string(), kind.tokens[1].to_string());
        let pool = |curve| Pool::new(address.to_string(), self.deployment.name.clone(), tokens, curve);
        Ok(curve.map(pool).map_err(PoolError::from))
    }

    async fn read_v2(
        &self,
        kind: &PoolKind,
        fee: order_engine_routing::Fee,
        block: &Value,
    ) -> Result<Result<Curve, InvalidPool>, RpcError> {
        let calls = [call(kind.pool, &V2Pair::getReservesCall {}, block)];
        let answers = batches(&self.cluster, &calls).await?;
        let reserves = returned::<V2Pair::getReservesCall>(&answers[0])?;
        let amount = |reserve: alloy_primitives::aliases::U112| Amount::new(reserve.to());
        let (reserve_a, reserve_b) = (amount(reserves.reserve0), amount(reserves.reserve1));
        Ok(UniswapV2::new(UniswapV2State { reserve_a, reserve_b, fee }).map(Curve::UniswapV2))
    }

    async fn read_v3(
        &self,
        kind: &PoolKind,
        (fee_ppm, tick_spacing): (u32, u16),
        block: &Value,
    ) -> Result<Result<Curve, InvalidPool>, RpcError> {
        let calls = [
            call(kind.pool, &V3Pool::slot0Call {}, block),
            call(kind.pool, &V3Pool::liquidityCall {}, block),
        ];
        let answers = batches(&self.cluster, &calls).await?;
        let place = returned::<V3Pool::slot0Call>(&answers[0])?;
        let liquidity = returned::<V3Pool::liquidityCall>(&answers[1])?;
        let tick_current = place.tick.as_i32();
        let words = words(tick_current, tick_spacing, self.reach_ticks);
        let (first_word, last_word) = (*words.start(), *words.end());
        let ticks = read_ticks(&self.cluster, kind, (words, tick_spacing), block).await?;
        let state = UniswapV3State {
            sqrt_price_x96: U256::from(place.sqrt_price_x96),
            tick_current,
            tick_spacing,
            liquidity,
            fee_ppm,
            ticks,
            first_word,
            last_word,
        };
        Ok(UniswapV3::new(&state).map(Curve::UniswapV3))
    }

    /// Returns the newest snapshot of a pool.
    pub fn pool(&self, address: Address) -> Option<Pool> {
        self.feed.snapshot().get(&address.to_string()).cloned()
    }
}

/// Returns the error of a pool of which nodes have answered something that no pool says; others are errors of the nodes.
fn of_pool(error: RpcError) -> Result<Result<Pool, PoolError>, RpcError> {
    let is_of_pool = match &error {
        RpcError::Malformed(_) => true,
        error => revert::revert_data(error).is_some(),
    };
    if is_of_pool { Ok(Err(PoolError::Unreadable(chain(&error).to_string()))) } else { Err(error) }
}

impl PoolSource for PoolDirectory {
    fn snapshot(&self) -> Arc<PoolSet> {
        self.feed.snapshot()
    }
}

#[async_trait]
impl SwapBuilder for PoolDirectory {
    fn wrapped_native(&self) -> Address {
        self.deployment.wrapped_native
    }

    fn spender(&self) -> Address {
        self.deployment.router.address()
    }

    fn takes_permits(&self) -> bool {
        matches!(self.deployment.router, SwapRouter::SwapRouter02(_))
    }

    async fn swap(&self, request: SwapRequest<'_>) -> Result<SwapCall, StepError> {
        let gone = || StepError::requote(Failure::new(FailureCode::NO_ROUTE, "A pool of the route is gone"));
        let kinds = self.kinds();
        let kind = |pool: &str| pool.parse().ok().and_then(|pool: Address| kinds.get(&pool)).ok_or_else(gone);
        let pools = request.route.legs.iter().map(|leg| kind(&leg.pool).copied());
        let pools = pools.collect::<Result<Vec<_>, StepError>>()?;
        router_call::swap(&self.deployment, &request, &pools)
    }
}
