//! What never changes of a pool.

use alloy_primitives::{Address, Bytes, address};
use alloy_sol_types::SolCall;
use order_engine_core::Leg;
use order_engine_routing::Fee;
use serde_json::json;

use crate::abi::{V2Factory, V2Pair, V3Factory, V3Pool};
use crate::contract::{call, returned};
use crate::pools::Deployment;
use crate::pools::error::PoolError;
use crate::revert;
use crate::rpc::{Cluster, RpcError};

/// Which version of Uniswap a pool is of, and its parameters.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Version {
    V2 { fee: Fee },
    V3 { fee_ppm: u32, tick_spacing: u16 },
}

/// A pool of the deployment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct PoolKind {
    pub(super) pool: Address,
    pub(super) tokens: [Address; 2],
    pub(super) version: Version,
}

impl PoolKind {
    /// Asks a contract what kind of pool it is, and the factory whether it has made it: the router finds pools by their tokens, and
    /// would trade with another one.
    pub(super) async fn read(
        cluster: &Cluster,
        deployment: &Deployment,
        pool: Address,
    ) -> Result<Result<Self, PoolError>, RpcError> {
        let reader = Reader { cluster, pool };
        let sides = [
            reader.ask(pool, &V2Pair::token0Call {}).await?,
            reader.ask(pool, &V2Pair::token1Call {}).await?,
        ];
        let [Some(token0), Some(token1)] = sides else { return Ok(Err(PoolError::NoPool(pool))) };
        let kind = |version| Self { pool, tokens: [token0, token1], version };
        if let Some((factory, fee)) = deployment.v2 {
            let made = reader.ask(factory, &V2Factory::getPairCall { token0, token1 }).await?;
            if made == Some(pool) {
                return Ok(Ok(kind(Version::V2 { fee })));
            }
        }
        let (fee, spacing) = (
            reader.ask(pool, &V3Pool::feeCall {}).await?,
            reader.ask(pool, &V3Pool::tickSpacingCall {}).await?,
        );
        if let (Some(factory), Some(fee), Some(spacing)) = (deployment.v3, fee, spacing) {
            let made = reader.ask(factory, &V3Factory::getPoolCall { token0, token1, fee }).await?;
            let tick_spacing = u16::try_from(spacing.as_i32()).unwrap_or_default();
            if made == Some(pool) {
                return Ok(Ok(kind(Version::V3 { fee_ppm: fee.to(), tick_spacing })));
            }
        }
        Ok(Err(PoolError::ForeignFactory(pool)))
    }

    /// Returns whether a leg trades the tokens of the pool.
    pub(super) fn trades(&self, leg: &Leg) -> Option<(Address, Address)> {
        let (input, output) = (leg.input_mint.parse().ok()?, leg.output_mint.parse().ok()?);
        let trades = [[input, output], [output, input]].contains(&self.tokens);
        trades.then_some((input, output))
    }
}

/// Asks contracts as of the newest block.
struct Reader<'a> {
    cluster: &'a Cluster,
    pool: Address,
}

impl Reader<'_> {
    /// Returns what a function returns; nothing if the contract has no such function.
    async fn ask<C: SolCall + Sync>(&self, to: Address, function: &C) -> Result<Option<C::Return>, RpcError> {
        let (method, params) = call(to, function, &json!("latest"));
        match self.cluster.query::<Bytes>(method, params).await {
            Ok(bytes) => Ok(returned::<C>(&bytes).ok()),
            Err(error) if revert::revert_data(&error).is_some() => Ok(None),
            Err(error) => {
                tracing::debug!(pool = %self.pool, "the kind of the pool is not known");
                Err(error)
            }
        }
    }
}

/// The address by which `SwapRouter02` means itself.
pub(super) const ROUTER_ITSELF: Address = address!("0x0000000000000000000000000000000000000002");
