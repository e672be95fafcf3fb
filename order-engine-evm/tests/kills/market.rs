//! A chain with pools and many wallets, and what an engine that trades on it has to know.

use std::sync::Arc;

use order_engine_core::{Amount, OrderRequest, PriceProtection, Token};
use order_engine_evm::{Address, Deployment, LocalSigner, PermitPolicy, WalletSigner as _};
use order_engine_routing::Fee;
use serde::{Deserialize, Serialize};

use crate::common::contracts::ONE;
use crate::common::world::{World, token};

/// What the engine that is killed has to know.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Setup {
    pub(crate) nodes: Vec<String>,
    pub(crate) wallets: u64,
    pub(crate) seed: u64,
    pub(crate) router: Address,
    pub(crate) weth: Address,
    pub(crate) factories: [Address; 2],
    pub(crate) pools: Vec<Address>,
    /// The three tokens, and the wrapped one in the end.
    pub(crate) tokens: [Address; 4],
    pub(crate) store: String,
    pub(crate) orders: u64,
    /// Which part of the orders this engine places.
    pub(crate) part: u64,
    /// The first order of it that may not have been placed.
    pub(crate) place_from: u64,
    /// How many orders it places a second.
    pub(crate) rate: u64,
}

/// What each wallet has of each token.
const TOKENS: u128 = 4_000 * ONE;

/// How many engines there are at a time.
pub(crate) const PARTS: u64 = 2;

impl Setup {
    pub(crate) fn new(world: &World, wallets: u64, seed: u64) -> Self {
        let contracts = &world.contracts;
        Self {
            nodes: Vec::new(),
            wallets,
            seed,
            router: contracts.router,
            weth: contracts.weth,
            factories: [contracts.v2_factory, contracts.v3_factory],
            pools: [&world.v2[..], &world.v3[..]].concat(),
            tokens: [contracts.x, contracts.y, contracts.z, contracts.weth],
            store: String::new(),
            orders: 0,
            part: 0,
            place_from: 0,
            rate: 0,
        }
    }

    pub(crate) fn deployment(&self) -> Deployment {
        let fee = Fee::new(3, 1_000).expect("it is a share");
        let [v2, v3] = self.factories;
        Deployment::uniswap(self.router, self.weth).with_v2(v2, fee).with_v3(v3)
    }

    /// Returns the wallet with this number.
    pub(crate) fn wallet(&self, number: u64) -> Arc<LocalSigner> {
        wallet(self.seed, number)
    }

    pub(crate) fn all_wallets(&self) -> Vec<Arc<LocalSigner>> {
        (0..self.wallets).map(|number| self.wallet(number)).collect()
    }

    /// Returns whether orders of a wallet bring permits: those of some do, and the others have approvals.
    pub(crate) const fn permits(number: u64) -> PermitPolicy {
        match number % 3 {
            1 => PermitPolicy::Unlimited,
            2 => PermitPolicy::Exact,
            _ => PermitPolicy::Never,
        }
    }

    /// Whether a wallet needs approvals.
    pub(crate) fn is_approved(&self, wallet: &Address) -> bool {
        (0..self.wallets).any(|number| {
            Self::permits(number) == PermitPolicy::Never && self.wallet(number).address() == *wallet
        })
    }

    /// Returns the order with this number.
    pub(crate) fn order(&self, n: u64) -> OrderRequest {
        let [x, y, z, weth] = self.tokens;
        let pairs = [(x, y), (y, x), (x, z), (z, y), (weth, x), (y, weth)];
        let (input, output) = pairs[usize::try_from(n % 6).expect("it is small")];
        let most = if input == weth { ONE / 1_000 } else { ONE / 2 };
        let wallets = u128::from(self.wallets);
        let amount =
            if is_too_much(n) { TOKENS + 1_000 * ONE } else { most / 4 + u128::from(n) % (most / 4) };
        // The wallet that trades it is named by its amount.
        let amount = amount / wallets * wallets + u128::from(n) % wallets;
        let [input, output] = [input, output].map(named);
        let request = OrderRequest::new("alice", input, output, Amount::new(amount))
            .with_client_order_id(format!("order-{n}"));
        if is_tight(n) {
            return request.with_slippage_bps(5).with_price_protection(PriceProtection::EachQuote);
        }
        request.with_slippage_bps(2_000)
    }
}

fn named(mint: Address) -> Token {
    token(&mint.to_string())
}

/// Returns the number of the wallet that trades an order of this amount.
pub(crate) fn wallet_of(amount: Amount, wallets: u64) -> u64 {
    u64::try_from(amount.base_units() % u128::from(wallets)).expect("there are fewer")
}

/// Returns the name of a wallet's venue.
pub(crate) fn venue_of(wallet: u64) -> String {
    format!("wallet-{wallet}")
}

pub(crate) fn wallet(seed: u64, number: u64) -> Arc<LocalSigner> {
    let key = alloy_primitives::keccak256([seed.to_be_bytes(), number.to_be_bytes()].concat());
    Arc::new(LocalSigner::from_bytes(&key.0).expect("it is a key"))
}

/// Whether an order sells more than its wallet has.
pub(crate) const fn is_too_much(n: u64) -> bool {
    n % 40 == 39
}

/// Whether an order takes nothing less than what it is quoted, so that its transactions fail where another one comes first.
pub(crate) const fn is_tight(n: u64) -> bool {
    n % 13 == 5
}

/// Whether an order is cancelled soon after it was placed.
pub(crate) const fn is_cancelled(n: u64) -> bool {
    n % 11 == 7
}

/// Starts a chain for so many wallets.
pub(crate) async fn open(wallets: u64, seed: u64) -> World {
    let owners: Vec<_> = (0..wallets).map(|number| (wallet(seed, number).address(), TOKENS)).collect();
    World::with_wallets(&[], &owners).await
}
