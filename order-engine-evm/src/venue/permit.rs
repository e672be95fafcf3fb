//! The permit that goes with a swap, where the wallet has allowed too little.

use alloy_primitives::{Address, B256, Bytes, U64, U256};
use order_engine_core::{Failure, FailureCode, StepError};
use serde_json::{Value, json};

use crate::abi::Erc20;
use crate::contract::{call, returned};
use crate::keys::is_signed_by;
use crate::permit::{Permit, PermitDraft};
use crate::revert::{self, ALLOWANCE_MISSING};
use crate::rpc::RpcError;
use crate::venue::EvmVenue;
use crate::venue::build::Plan;
use crate::venue_error::{not_signed, unavailable};

/// Whether an order brings a permit for what it sells, where the wallet has allowed the router too little, the token takes
/// permits (EIP-2612), and the router passes them on.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum PermitPolicy {
    /// No. The order fails as [`ALLOWANCE_MISSING`].
    #[default]
    Never,
    /// For exactly what it sells. Of the orders of a wallet that bring one, each waits until nothing of the wallet is under way, because a
    /// token takes the permits of a wallet in their order: some blocks for each order. Those that wait ask the nodes again as the engine's
    /// policy for outages says, and fail as `account-busy` after its longest wait, unless they have a deadline.
    Exact,
    /// Without a limit. The first order that lands allows the router everything, and later ones need no permit.
    Unlimited,
}

impl PermitPolicy {
    /// Returns how much an order permits that sells so much; nothing if it permits nothing.
    const fn value(self, amount_in: U256) -> Option<U256> {
        match self {
            Self::Never => None,
            Self::Exact => Some(amount_in),
            Self::Unlimited => Some(U256::MAX),
        }
    }
}

impl EvmVenue {
    /// Returns a permit for what an order sells, until a time in seconds since 1970, as the token takes it after a block.
    ///
    /// # Errors
    /// If the policy, the router or the token has none, or nobody signs it.
    pub(super) async fn permit(&self, plan: &Plan, deadline: u64, at: &Value) -> Result<Permit, StepError> {
        let (owner, spender) = (self.signer.address(), self.builder.spender());
        let value = self.options.permits.value(plan.amount_in).filter(|_| self.builder.takes_permits());
        let value = value.ok_or_else(|| allowance_missing(spender))?;
        let (domain, nonce) =
            self.permits_of(plan.input, at).await?.ok_or_else(|| allowance_missing(spender))?;
        let draft = PermitDraft { domain, owner, spender, value, nonce, deadline: U256::from(deadline) };
        let message = draft.message();
        let signature = self.signer.sign(&message).await.map_err(|error| not_signed(&error))?;
        if !is_signed_by(owner, &message, &signature) {
            return Err(not_signed(&crate::keys::SignError::Invalid));
        }
        let permit = draft.signed(signature);
        self.check_permit((plan.input, &permit), at).await?;
        Ok(permit)
    }

    /// Returns the domain of a token's permits, and how many of the wallet it has taken; nothing if it takes none.
    async fn permits_of(&self, token: Address, at: &Value) -> Result<Option<(B256, U256)>, StepError> {
        let owner = self.signer.address();
        let calls =
            [call(token, &Erc20::DOMAIN_SEPARATORCall {}, at), call(token, &Erc20::noncesCall { owner }, at)];
        let answers: Vec<Bytes> = match self.cluster.query_batch(&calls).await {
            Ok(answers) => answers,
            Err(error) if revert::revert_data(&error).is_some() => return Ok(None),
            Err(error) => return Err(unavailable(error)),
        };
        let [domain, nonce] = &answers[..] else {
            return Err(unavailable(RpcError::malformed("a batch has an answer to each call")));
        };
        let domain = returned::<Erc20::DOMAIN_SEPARATORCall>(domain);
        let nonce = returned::<Erc20::noncesCall>(nonce);
        Ok(domain.ok().zip(nonce.ok()))
    }

    /// Checks that the token takes a permit: some have permits of another form.
    async fn check_permit(&self, (token, permit): (Address, &Permit), at: &Value) -> Result<(), StepError> {
        let (owner, spender) = (self.signer.address(), self.builder.spender());
        let (v, r, s) = permit.parts();
        let Permit { value, nonce, deadline, .. } = *permit;
        let function = Erc20::permitCall { owner, spender, value, deadline, v, r, s };
        let (method, params) = call(token, &function, at);
        let Err(error) = self.cluster.query::<Bytes>(method, params).await else { return Ok(()) };
        if revert::revert_data(&error).is_none() {
            return Err(unavailable(error));
        }
        let refused = if self.is_still_next(token, nonce, at).await? {
            let message = format!(
                "The wallet has not allowed {spender} to take what the order sells, and {token} refuses its permit"
            );
            StepError::permanent(Failure::new(ALLOWANCE_MISSING, message))
        } else {
            busy("The token has taken another permit of the wallet meanwhile")
        };
        Err(refused.with_source(error))
    }

    /// Returns whether a token would take a permit of the wallet with this number as the next one, after a block and after the newest one, as
    /// all nodes say that answer, of which a quorum has to. A node may answer for a block with what is true after the next one, and so
    /// have told the number of a permit that comes later, or refused one that the next block has.
    async fn is_still_next(&self, token: Address, nonce: U256, at: &Value) -> Result<bool, StepError> {
        let owner = self.signer.address();
        for block in [at, &json!("latest")] {
            let (method, params) = call(token, &Erc20::noncesCall { owner }, block);
            let answers = self.cluster.ask_all::<Bytes>(method, &params).await;
            let told = |bytes: &Bytes| returned::<Erc20::noncesCall>(bytes).ok();
            let nonces: Vec<U256> = answers.iter().flatten().filter_map(told).collect();
            if nonces.iter().any(|next| *next != nonce) {
                return Ok(false);
            }
            if nonces.len() < self.cluster.quorum() {
                let error = answers.into_iter().find_map(Result::err);
                return Err(unavailable(
                    error.unwrap_or(RpcError::NoQuorum { what: "the number of a permit" }),
                ));
            }
        }
        Ok(true)
    }

    /// Returns when an order with a permit has its turn, if the token was asked after this block.
    pub(super) async fn turn_of_permit(&self, at: &Value) -> Result<Turn, StepError> {
        if self.options.permits != PermitPolicy::Exact {
            return Ok(Turn::Any);
        }
        let params = json!([self.signer.address(), at]);
        let count: U64 = self.cluster.query("eth_getTransactionCount", params).await.map_err(unavailable)?;
        Ok(Turn::Next(count.to()))
    }
}

/// Which nonce an order may have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Turn {
    Any,
    /// The wallet's next one in the block that was asked. What comes between, or landed since, may bring a permit, and then the token takes
    /// another one.
    Next(u64),
}

impl Turn {
    /// Checks that a nonce is the one that the order waits for.
    pub(super) fn check(self, nonce: u64) -> Result<(), StepError> {
        if matches!(self, Self::Next(next) if next != nonce) {
            return Err(busy("An exact permit waits until nothing of the wallet is under way"));
        }
        Ok(())
    }
}

fn busy(message: &str) -> StepError {
    StepError::unavailable(Failure::new(FailureCode::ACCOUNT_BUSY, message))
}

fn allowance_missing(spender: Address) -> StepError {
    let message = format!("The wallet has not allowed {spender} to take what the order sells");
    StepError::permanent(Failure::new(ALLOWANCE_MISSING, message))
}
