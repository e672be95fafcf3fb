//! A chain with pools, a wallet, and a venue for it.

use std::sync::Arc;
use std::time::Duration;

use order_engine_core::testing::LatestNonce;
use order_engine_core::{
    Amount, Certainty, Fence, Leg, Observation, Order, OrderId, OrderRequest, PrepareRequest, Route, Runtime,
    SignedTx, StepError, Token, TxRef, Venue as _,
};
use order_engine_evm::{
    Address, Cluster, Deployment, EvmVenue, EvmVenueOptions, LocalSigner, PoolDirectory, SwapBuilder as _,
    SwapRequest, U256, WalletSigner as _,
};
use order_engine_routing::{Direction, Moment, Pool, PoolSource as _, RouteQuote, Search};

use super::abi;
use super::anvil::{Anvil, nodes};
use super::contracts::{Contracts, DEPLOYER, ONE};

pub(crate) const FENCE: Fence = Fence { epoch: 1, owner: 1 };
/// What the wallet has of ETH.
pub(crate) const ETH: u128 = 10_000_000 * ONE;
/// What the wallet has of each token.
pub(crate) const TOKENS: u128 = 1_000_000_000 * ONE;

/// A chain with pools of V2 and V3 of three tokens and ETH, and a wallet that has allowed both routers to trade.
pub(crate) struct World {
    pub(crate) chain: Anvil,
    pub(crate) contracts: Contracts,
    pub(crate) wallet: Arc<LocalSigner>,
    pub(crate) v2: Vec<Address>,
    pub(crate) v3: Vec<Address>,
}

impl World {
    /// Starts a chain that makes blocks only when it is told to, at a base fee of one gwei.
    pub(crate) async fn new() -> Self {
        Self::with(&[]).await
    }

    pub(crate) async fn with(options: &[&str]) -> Self {
        Self::with_wallets(options, &[]).await
    }

    /// Starts a chain on which these wallets have so much of each token, and as much ETH as the first one. They have allowed nobody
    /// to take it.
    pub(crate) async fn with_wallets(options: &[&str], others: &[(Address, u128)]) -> Self {
        let chain = Anvil::start(options);
        let contracts = Contracts::deploy(&chain).await;
        let Contracts { weth, x, y, z, .. } = contracts;
        let (at, more) = (10_000 * ONE, 20_000 * ONE);
        let v2 = vec![
            contracts.pair(&chain, (x, at), (y, more)).await,
            contracts.pair(&chain, (y, at + 12_345), (z, 7 * at + 7)).await,
            contracts.pair(&chain, (weth, 500 * ONE), (x, 1_000_000 * ONE)).await,
        ];
        let wide = [(-60, 60, 1_000 * ONE), (-10, 10, 400 * ONE), (-2, 3, 200 * ONE), (1, 4, 150 * ONE)];
        let gap = [(-4, 4, 500 * ONE), (-1, 1, 100 * ONE), (6, 20, 500 * ONE), (-20, -6, 500 * ONE)];
        let v3 = vec![
            contracts.pool(&chain, (x, y), (3_000, 60), (6_950, &wide)).await,
            contracts.pool(&chain, (x, y), (500, 10), (6_925, &wide)).await,
            contracts.pool(&chain, (y, z), (500, 10), (19_470, &wide)).await,
            contracts.pool(&chain, (weth, x), (3_000, 60), (76_000, &wide)).await,
            contracts.pool(&chain, (x, z), (10_000, 200), (26_400, &gap)).await,
        ];
        let wallet = Arc::new(LocalSigner::from_bytes(&[7; 32]).unwrap());
        let world = Self { chain, contracts, wallet, v2, v3 };
        world.fund(world.wallet.address(), TOKENS).await;
        world.allow(world.wallet.address()).await;
        for (owner, tokens) in others {
            world.fund(*owner, *tokens).await;
        }
        world.chain.call("evm_setAutomine", serde_json::json!([false])).await.unwrap();
        // All of this is final when the test begins.
        world.chain.mine(10).await;
        world.chain.set_base_fee(1_000_000_000).await;
        world
    }

    async fn fund(&self, owner: Address, tokens: u128) {
        let Contracts { x, y, z, taxed, .. } = self.contracts;
        for token in [x, y, z, taxed] {
            let amount = U256::from(tokens);
            self.chain.write(DEPLOYER, token, &abi::Token::transferCall { to: owner, amount }).await;
        }
        self.chain.set_wei(owner, ETH).await;
    }

    /// Lets both routers take all tokens of a wallet.
    async fn allow(&self, owner: Address) {
        let Contracts { x, y, z, taxed, .. } = self.contracts;
        self.chain.call("anvil_impersonateAccount", serde_json::json!([owner])).await.unwrap();
        for token in [x, y, z, taxed] {
            for spender in [self.contracts.router, self.contracts.v2_router] {
                self.chain.write(owner, token, &abi::Token::approveCall { spender, amount: U256::MAX }).await;
            }
        }
        self.chain.call("anvil_stopImpersonatingAccount", serde_json::json!([owner])).await.unwrap();
        self.chain.set_wei(owner, ETH).await;
    }

    /// Trades in front of whoever sells the first token for the second one: the price of the first one falls in every pool of the two.
    pub(crate) async fn front_run(&self, pools: &PoolDirectory) {
        let (x, y, chain) = (self.contracts.x, self.contracts.y, &self.chain);
        chain.call("evm_setAutomine", serde_json::json!([true])).await.unwrap();
        let allow = abi::Token::approveCall { spender: self.contracts.router, amount: U256::MAX };
        chain.write(DEPLOYER, x, &allow).await;
        for pool in [self.v2[0], self.v3[0], self.v3[1]] {
            let route = through(pool, (x, 500 * ONE), (y, 1));
            let (sold, bought) = ((x, U256::from(500 * ONE)), (y, U256::ZERO));
            let swap = SwapRequest::new(&route, DEPLOYER, sold, bought, u64::MAX);
            let call = pools.swap(swap).await.unwrap();
            chain.send(DEPLOYER, serde_json::json!({ "to": call.to, "data": call.input })).await;
        }
        chain.call("evm_setAutomine", serde_json::json!([false])).await.unwrap();
    }

    pub(crate) fn directory(&self) -> Arc<PoolDirectory> {
        let pools = self.v2.iter().chain(&self.v3).copied();
        self.directory_of(self.contracts.uniswap(), pools)
    }

    pub(crate) fn directory_of(
        &self,
        deployment: Deployment,
        pools: impl IntoIterator<Item = Address>,
    ) -> Arc<PoolDirectory> {
        Arc::new(PoolDirectory::new(self.chain.cluster(), deployment, pools))
    }

    pub(crate) fn desk(&self) -> Desk {
        Desk::new(self.chain.cluster(), &self.wallet, self.directory(), EvmVenueOptions::default())
    }

    /// Returns a desk whose venue asks these nodes.
    pub(crate) fn desk_over(&self, urls: &[&str], options: EvmVenueOptions) -> Desk {
        let cluster = Arc::new(Cluster::new(nodes(urls), Runtime::tokio()).unwrap());
        Desk::new(cluster, &self.wallet, self.directory(), options)
    }

    pub(crate) async fn tokens(&self, token: Address) -> u128 {
        self.tokens_of(token, self.wallet.address()).await
    }

    pub(crate) async fn tokens_of(&self, token: Address, owner: Address) -> u128 {
        self.chain.read(token, &abi::Token::balanceOfCall { owner }).await.to()
    }
}

/// A venue, and the pools that it trades with.
pub(crate) struct Desk {
    pub(crate) venue: EvmVenue,
    pub(crate) pools: Arc<PoolDirectory>,
}

impl Desk {
    pub(crate) fn new(
        cluster: Arc<Cluster>,
        wallet: &Arc<LocalSigner>,
        pools: Arc<PoolDirectory>,
        options: EvmVenueOptions,
    ) -> Self {
        let venue = EvmVenue::new(cluster, wallet.clone(), pools.clone(), options);
        Self { venue, pools }
    }

    /// Reads the pools, and returns the best route.
    pub(crate) async fn quote(&self, input: Address, amount: u128, output: Address) -> Option<Route> {
        let report = self.pools.read().await.unwrap();
        assert!(report.unread.is_empty(), "{:?}", report.unread);
        let set = self.pools.snapshot();
        let search = Search::new(&set, Moment::from_unix_seconds(0));
        let best = search.best(&input.to_string(), &output.to_string(), Amount::new(amount)).best?;
        Some(route(&best))
    }

    /// Prepares a new order that sells so much on a route and accepts no less than this.
    pub(crate) async fn prepare(
        &self,
        route: &Route,
        min_amount_out: u128,
    ) -> Result<(Order, SignedTx), StepError> {
        let order = order_on(route);
        let min_amount_out = Amount::new(min_amount_out);
        let request = PrepareRequest::new(&order, route, min_amount_out, FENCE, &LatestNonce);
        let tx = self.venue.prepare(request).await?;
        Ok((order, tx))
    }

    /// Quotes and prepares an order that accepts no less than quoted.
    pub(crate) async fn order(
        &self,
        input: Address,
        amount: u128,
        output: Address,
    ) -> (Order, SignedTx, u128) {
        let route = self.quote(input, amount, output).await.expect("there is a route");
        let quoted = route.amount_out.base_units();
        let (order, tx) = self.prepare(&route, quoted).await.unwrap();
        (order, tx, quoted)
    }

    pub(crate) async fn observe(&self, tx: &SignedTx) -> Observation {
        self.venue.observe(&[TxRef::from(tx)]).await.unwrap().remove(0)
    }
}

/// Returns a new order for what a route trades.
pub(crate) fn order_on(route: &Route) -> Order {
    let (first, last) = (&route.legs[0], &route.legs[route.legs.len() - 1]);
    let (input, output) = (token(&first.input_mint), token(&last.output_mint));
    let runtime = Runtime::tokio();
    let id = OrderId::new(runtime.now(), runtime.entropy.next_u128());
    let request = OrderRequest::new("alice", input, output, route.amount_in);
    Order::accept(id, request, 3, runtime.now()).0
}

/// Returns a quoted route as the engine's router writes it.
fn route(best: &RouteQuote<'_>) -> Route {
    let leg = |leg: &order_engine_routing::LegQuote<'_>| {
        let pool = leg.pool;
        let [input, output] = sides(pool, leg.direction).map(str::to_owned);
        Leg::new(pool.dex.clone(), pool.id.clone(), (input, leg.amount_in), (output, leg.amount_out))
    };
    let legs = best.legs.iter().map(leg).collect();
    Route::new("Uniswap", legs, best.amount_in, best.amount_out)
}

/// Returns what goes into a pool, and what comes out.
pub(crate) fn sides(pool: &Pool, direction: Direction) -> [&str; 2] {
    match direction {
        Direction::AToB => [&pool.token_a, &pool.token_b],
        Direction::BToA => [&pool.token_b, &pool.token_a],
    }
}

/// Returns a route through one pool.
pub(crate) fn through(
    pool: Address,
    (input, sold): (Address, u128),
    (output, paid): (Address, u128),
) -> Route {
    let (sold, paid) = (Amount::new(sold), Amount::new(paid));
    let leg = Leg::new("Uniswap", pool.to_string(), (input.to_string(), sold), (output.to_string(), paid));
    Route::new("Uniswap", vec![leg], sold, paid)
}

pub(crate) fn token(mint: &str) -> Token {
    Token::new(mint, "T", 18)
}

pub(crate) fn fill_of(observation: &Observation) -> (u128, u128) {
    match observation {
        Observation::Landed { fill, .. } => (fill.amount_in.base_units(), fill.amount_out.base_units()),
        other => panic!("it landed, and not: {other:?}"),
    }
}

pub(crate) fn certainty_of(observation: &Observation) -> Certainty {
    match observation {
        Observation::Landed { certainty, .. } | Observation::Reverted { certainty, .. } => *certainty,
        Observation::NotFound { .. } => panic!("it is not found: {observation:?}"),
    }
}

/// Waits for something, for a minute at most.
pub(crate) async fn until(mut is_met: impl AsyncFnMut() -> bool) {
    for _ in 0..3_000 {
        if is_met().await {
            return;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    panic!("it does not come");
}
