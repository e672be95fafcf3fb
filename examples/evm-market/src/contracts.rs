//! Uniswap's own contracts, with pools.

use alloy_primitives::{
    aliases::{I24, U24, U160},
    hex,
};
use alloy_sol_types::SolValue as _;
use order_engine_evm::{Address, Deployment, U256};
use order_engine_routing::Fee;
use serde_json::json;

use crate::abi::{Position, Positions, Token, V2Factory, V2Router, V3Factory, Weth};
use crate::anvil::Anvil;

/// The first account of every development node, which it has the key of.
pub const DEPLOYER: Address = Address::new(hex!("f39fd6e51aad88f6f4ce6ab8827279cfffb92266"));
/// One token of 18 decimals.
pub const ONE: u128 = 1_000_000_000_000_000_000;
const LATE: U256 = U256::from_limbs([u64::MAX, 0, 0, 0]);

/// The contracts of a chain.
#[derive(Clone, Debug)]
pub struct Contracts {
    /// The chain's own token as a token of the standard.
    pub weth: Address,
    /// A token that does what it is told.
    pub x: Address,
    /// Another one.
    pub y: Address,
    /// And another one.
    pub z: Address,
    /// A token that burns a hundredth of each transfer.
    pub taxed: Address,
    /// The factory of the pairs of V2.
    pub v2_factory: Address,
    /// The router of V2.
    pub v2_router: Address,
    /// The factory of the pools of V3.
    pub v3_factory: Address,
    /// Who keeps positions in pools of V3.
    pub positions: Address,
    /// `SwapRouter02`, which trades with both.
    pub router: Address,
}

impl Contracts {
    /// Deploys all of them.
    pub async fn deploy(chain: &Anvil) -> Self {
        chain.set_wei(DEPLOYER, 1_000_000_000 * ONE).await;
        let deploy = async |file: &str, arguments: Vec<u8>| chain.deploy(DEPLOYER, file, &arguments).await;
        let supply = || U256::from(u128::MAX).abi_encode();
        let token = async || deploy("@uniswap/v2-periphery/build/ERC20.json", supply()).await;
        let weth = deploy("@uniswap/v2-periphery/build/WETH9.json", Vec::new()).await;
        let (x, y, z) = (token().await, token().await, token().await);
        let taxed = deploy("@uniswap/v2-periphery/build/DeflatingERC20.json", supply()).await;
        let v2_factory = deploy("@uniswap/v2-core/build/UniswapV2Factory.json", DEPLOYER.abi_encode()).await;
        let v2_router =
            deploy("@uniswap/v2-periphery/build/UniswapV2Router02.json", (v2_factory, weth).abi_encode());
        let v2_router = v2_router.await;
        let v3 = "@uniswap/v3-core/artifacts/contracts/UniswapV3Factory.sol/UniswapV3Factory.json";
        let v3_factory = deploy(v3, Vec::new()).await;
        let positions = "@uniswap/v3-periphery/artifacts/contracts/NonfungiblePositionManager.sol/NonfungiblePositionManager.json";
        let positions = deploy(positions, (v3_factory, weth, Address::ZERO).abi_encode()).await;
        let router = "@uniswap/swap-router-contracts/artifacts/contracts/SwapRouter02.sol/SwapRouter02.json";
        let router = deploy(router, (v2_factory, v3_factory, positions, weth).abi_encode()).await;
        let contracts = Self { weth, x, y, z, taxed, v2_factory, v2_router, v3_factory, positions, router };
        let deposit = alloy_sol_types::SolCall::abi_encode(&Weth::depositCall {});
        let value = U256::from(1_000_000 * ONE);
        let data = order_engine_evm::Bytes::from(deposit);
        chain.send(DEPLOYER, json!({ "to": weth, "value": value, "data": data })).await;
        for token in [weth, x, y, z, taxed] {
            for spender in [v2_router, positions] {
                chain.write(DEPLOYER, token, &Token::approveCall { spender, amount: U256::MAX }).await;
            }
        }
        contracts
    }

    /// Returns Uniswap's contracts for a directory.
    pub fn uniswap(&self) -> Deployment {
        let fee = Fee::new(3, 1_000).unwrap();
        Deployment::uniswap(self.router, self.weth).with_v2(self.v2_factory, fee).with_v3(self.v3_factory)
    }

    /// Returns the same pairs behind the router of V2, as a fork has it.
    pub fn fork(&self) -> Deployment {
        let fee = Fee::new(3, 1_000).unwrap();
        Deployment::fork_of_v2("Fork", self.v2_router, self.weth).with_v2(self.v2_factory, fee)
    }

    /// Makes a pair of V2 with these reserves.
    pub async fn pair(
        &self,
        chain: &Anvil,
        (one, amount_one): (Address, u128),
        (other, amount_other): (Address, u128),
    ) -> Address {
        let zero = U256::ZERO;
        let add = V2Router::addLiquidityCall {
            one,
            other,
            amountOne: U256::from(amount_one),
            amountOther: U256::from(amount_other),
            minOne: zero,
            minOther: zero,
            to: DEPLOYER,
            deadline: LATE,
        };
        chain.write(DEPLOYER, self.v2_router, &add).await;
        chain.read(self.v2_factory, &V2Factory::getPairCall { one, other }).await
    }

    /// Makes a pool of V3 at this square root of the price (Q64.96), with positions: their ends in tick spacings from the price,
    /// and the most of both tokens in them.
    pub async fn pool(
        &self,
        chain: &Anvil,
        (one, other): (Address, Address),
        (fee, spacing): (u32, i32),
        (tick, positions): (i32, &[(i32, i32, u128)]),
    ) -> Address {
        // The price is that of the one token in the other, and a pool's that of its lower address in the higher one.
        let (token0, token1, tick) = if one < other { (one, other, tick) } else { (other, one, -tick) };
        let fee = U24::from(fee);
        let price = order_engine_routing::UniswapV3::sqrt_price_at_tick(tick).unwrap();
        let create = Positions::createAndInitializePoolIfNecessaryCall {
            token0,
            token1,
            fee,
            sqrtPrice: U160::from(price) + U160::from(12_345),
        };
        chain.write(DEPLOYER, self.positions, &create).await;
        let center = tick.div_euclid(spacing);
        let zero = U256::ZERO;
        for (lower, upper, amount) in positions {
            let tick = |offset: i32| I24::try_from((center + offset) * spacing).unwrap();
            let position = Position {
                token0,
                token1,
                fee,
                lower: tick(*lower),
                upper: tick(*upper),
                amount0: U256::from(*amount),
                amount1: U256::from(*amount),
                min0: zero,
                min1: zero,
                recipient: DEPLOYER,
                deadline: LATE,
            };
            chain.write(DEPLOYER, self.positions, &Positions::mintCall { position }).await;
        }
        chain.read(self.v3_factory, &V3Factory::getPoolCall { one, other, fee }).await
    }
}
