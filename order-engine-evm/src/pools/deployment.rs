//! Where the contracts of an exchange are.

use alloy_primitives::Address;
use order_engine_routing::Fee;

/// The contract that trades for wallets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SwapRouter {
    /// Uniswap's `SwapRouter02`, which trades with pairs of V2 and pools of V3: several paths beside each other, and several pools
    /// in a row.
    SwapRouter02(Address),
    /// The `Router02` of Uniswap V2 or of a fork: one path of pairs.
    V2(Address),
}

impl SwapRouter {
    /// Returns the contract.
    pub const fn address(self) -> Address {
        match self {
            Self::SwapRouter02(address) | Self::V2(address) => address,
        }
    }
}

/// The contracts of an exchange.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Deployment {
    /// What the exchange is called in routes.
    pub name: String,
    /// The contract that trades for wallets.
    pub router: SwapRouter,
    /// The chain's own token as a token of the standard, as the router knows it.
    pub wrapped_native: Address,
    /// The factory of the pairs of V2 that the router trades with, and their fee.
    pub v2: Option<(Address, Fee)>,
    /// The factory of the pools of V3 that the router trades with.
    pub v3: Option<Address>,
}

impl Deployment {
    /// Returns Uniswap's contracts on a chain: the address of its `SwapRouter02` and of the wrapped token. The factories come with
    /// [`with_v2`](Self::with_v2) and [`with_v3`](Self::with_v3).
    pub fn uniswap(router: Address, wrapped_native: Address) -> Self {
        let (name, router) = ("Uniswap".to_owned(), SwapRouter::SwapRouter02(router));
        Self { name, router, wrapped_native, v2: None, v3: None }
    }

    /// Returns the contracts of a fork of Uniswap V2: its name, and the addresses of its `Router02` and of the wrapped token. The
    /// factory comes with [`with_v2`](Self::with_v2).
    pub fn fork_of_v2(name: impl Into<String>, router: Address, wrapped_native: Address) -> Self {
        Self { name: name.into(), router: SwapRouter::V2(router), wrapped_native, v2: None, v3: None }
    }

    /// Sets the factory of pairs and their fee, 3 of 1,000 at Uniswap.
    #[must_use]
    pub fn with_v2(self, factory: Address, fee: Fee) -> Self {
        Self { v2: Some((factory, fee)), ..self }
    }

    /// Sets the factory of pools of V3.
    #[must_use]
    pub fn with_v3(self, factory: Address) -> Self {
        Self { v3: Some(factory), ..self }
    }
}
