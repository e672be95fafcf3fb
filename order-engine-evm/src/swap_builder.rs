//! How the venue gets the call of a route.

use std::fmt::Debug;

use alloy_primitives::{Address, Bytes, U256};
use async_trait::async_trait;
use order_engine_core::{Route, StepError};

use crate::permit::Permit;

/// Builds the calls of routes.
///
/// # Contract
/// - The call takes no more than [`amount_in`](SwapRequest::amount_in) from the wallet, and reverts if it would pay the wallet less than
///   [`min_amount_out`](SwapRequest::min_amount_out), or is included after the [deadline](SwapRequest::deadline).
/// - The chain's own token, in the place of its wrapped form, goes with the call and comes back unwrapped.
/// - Whatever stands behind the calldata changes nothing: the order's tag does.
/// - Nothing is sent.
/// - Safe to drop at every await.
#[async_trait]
pub trait SwapBuilder: Debug + Send + Sync + 'static {
    /// Returns the contract that wraps the chain's own token.
    fn wrapped_native(&self) -> Address;

    /// Returns the contract that takes what is sold, and has to be allowed to.
    fn spender(&self) -> Address;

    /// Returns whether calls take a [permit](SwapRequest::permit) with them. It is always the same.
    fn takes_permits(&self) -> bool;

    /// Returns the call of a route.
    ///
    /// # Errors
    /// If a pool is not known, or the route cannot be traded in one call. The class says whether another quote can help.
    async fn swap(&self, request: SwapRequest<'_>) -> Result<SwapCall, StepError>;
}

/// What a call is built from.
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub struct SwapRequest<'a> {
    /// The pools, and what is quoted.
    pub route: &'a Route,
    /// The wallet, which sends the call, and is paid.
    pub wallet: Address,
    /// What is sold.
    pub input: Address,
    /// What is bought.
    pub output: Address,
    /// How much is sold, in base units.
    pub amount_in: U256,
    /// The least that must be paid, in base units.
    pub min_amount_out: U256,
    /// The last time of a block that may include the call, in seconds since 1970.
    pub deadline: u64,
    /// What lets the spender take what is sold, if it is not allowed to already. Only if the calls [take](SwapBuilder::takes_permits)
    /// permits.
    pub permit: Option<Permit>,
}

/// A call of a contract.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SwapCall {
    /// The contract.
    pub to: Address,
    /// How much of the chain's own token goes with it, in wei.
    pub value: U256,
    /// The calldata.
    pub input: Bytes,
}

impl<'a> SwapRequest<'a> {
    /// Returns a request to trade a route for a wallet: what is sold and what is bought, how much is sold and the least that must be
    /// paid, in base units, until a time in seconds since 1970.
    pub const fn new(
        route: &'a Route,
        wallet: Address,
        (input, amount_in): (Address, U256),
        (output, min_amount_out): (Address, U256),
        deadline: u64,
    ) -> Self {
        Self { route, wallet, input, output, amount_in, min_amount_out, deadline, permit: None }
    }

    /// Sets the [permit](Self::permit).
    #[must_use]
    pub const fn with_permit(self, permit: Option<Permit>) -> Self {
        Self { permit, ..self }
    }
}
