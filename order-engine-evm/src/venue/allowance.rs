//! What the wallet allows the router to take, before its orders come.

use std::time::Duration;

use alloy_primitives::{Address, Bytes, U256};
use alloy_sol_types::SolCall as _;
use order_engine_core::telemetry::chain;
use order_engine_core::{
    Amount, Failure, FailureClass, FailureCode, SignedTx, StepError, SubmitReport, TxId, Venue as _,
};
use serde_json::{Value, json};

use crate::abi::Erc20;
use crate::agreement::quorum_th;
use crate::contract::{call, returned};
use crate::draft::Draft;
use crate::rpc::RpcError;
use crate::swap_builder::SwapCall;
use crate::venue::EvmVenue;
use crate::venue::prepare::fee_too_high;
use crate::venue_error::unavailable;

/// How often it is looked whether an approval has landed.
const LOOK_EVERY: Duration = Duration::from_millis(500);
/// After how many blocks an approval that has not landed is replaced, and for how many percent of its fees.
const REPLACED_AFTER: u64 = 3;
const REPLACEMENT_PERCENT: u32 = 125;

/// How much of a token the router is to be allowed to take from the wallet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct AllowanceGoal {
    /// The token.
    pub token: Address,
    /// How much is enough, in base units.
    pub at_least: U256,
    /// How much is allowed where it is less, in base units. Orders use it up, unless it is without a limit.
    pub grant: U256,
}

impl AllowanceGoal {
    /// Returns an allowance without a limit.
    pub const fn unlimited(token: Address) -> Self {
        // Some tokens count down from the highest number all the same.
        Self { token, at_least: U256::from_limbs([0, 1, 0, 0]), grant: U256::MAX }
    }

    /// Returns an allowance of exactly so many base units, which is set again where it is less.
    pub const fn exactly(token: Address, amount: U256) -> Self {
        Self { token, at_least: amount, grant: amount }
    }
}

/// An approval that was signed here.
#[derive(Clone, Debug)]
struct Approval {
    draft: Draft,
    tx: SignedTx,
    /// The newest block then.
    height: u64,
}

impl EvmVenue {
    /// Allows the router to take so many base units of a token from the wallet in all, without waiting for the landing, and
    /// returns the id of the transaction, which has the wallet's next nonce. One of an order that has the same nonce
    /// excludes it, or is excluded by it and tried again.
    ///
    /// # Errors
    /// If the nodes do not answer, the token refuses, or no node takes the transaction.
    pub async fn approve(&self, token: Address, amount: U256) -> Result<TxId, StepError> {
        let goal = AllowanceGoal::exactly(token, amount);
        let approval = self.approval(&goal, self.next_nonce().await?).await?;
        match self.submit(&approval.tx).await {
            SubmitReport::Accepted | SubmitReport::AlreadyKnown => Ok(approval.tx.id),
            report => Err(crate::venue_error::not_taken(&report)),
        }
    }

    /// Sees to it that the router may take as much of a token as the goal says, and returns when that is final. A host does this
    /// for each of its tokens when it starts, before it executes orders.
    ///
    /// A token that changes no allowance from one amount to another, as USDT, is first told zero. Orders that the smaller one was enough
    /// for fail meanwhile.
    ///
    /// Nothing is kept of it but what the chain has, and an approval that lands twice is the same as one: so the
    /// host may die at any moment and begin again, and several may do it at once. What is allowed already costs nothing.
    ///
    /// # Errors
    /// If the token has no allowances, or it is not final after this time. Then it may still become so.
    pub async fn ensure_allowance(&self, goal: AllowanceGoal, patience: Duration) -> Result<(), StepError> {
        let runtime = self.cluster.runtime();
        let deadline = runtime.now() + patience;
        let mut sent = None;
        loop {
            let error = match self.pursue(&goal, &mut sent).await {
                Ok(true) => return Ok(()),
                Err(error) if error.class == FailureClass::Permanent => return Err(error),
                Ok(false) => None,
                Err(error) => Some(error),
            };
            if let Some(error) = &error {
                tracing::debug!(error = %chain(error), token = %goal.token, "an allowance could not be pursued");
            }
            if runtime.now() >= deadline {
                let failure =
                    Failure::new(FailureCode::VENUE_UNAVAILABLE, "The allowance is not final in time");
                return Err(error.unwrap_or_else(|| StepError::unavailable(failure)));
            }
            runtime.clock.sleep(LOOK_EVERY).await;
        }
    }

    /// Does what an allowance needs now, and returns whether it is there for good.
    async fn pursue(&self, goal: &AllowanceGoal, sent: &mut Option<Approval>) -> Result<bool, StepError> {
        let last_final = self.cluster.final_block().await.map_err(unavailable)?;
        if self.allowance(goal.token, &json!({ "blockHash": last_final.hash })).await? >= goal.at_least {
            return Ok(true);
        }
        // Before the allowance: an approval that lands between the two has used this nonce, and if it landed earlier, the
        // allowance is there.
        let nonce = self.next_nonce().await?;
        if self.allowance(goal.token, &json!("latest")).await? >= goal.at_least {
            return Ok(false);
        }
        let height = self.height().await?;
        let approval = match sent.as_ref().filter(|approval| approval.draft.nonce == nonce) {
            Some(approval) if height < approval.height + REPLACED_AFTER => approval.clone(),
            Some(approval) => self.dearer(approval, height).await?,
            None => self.next_approval(goal, nonce).await?,
        };
        // What the nodes say decides nothing: another process may have sent one with the same nonce.
        let report = self.submit(&approval.tx).await;
        tracing::debug!(token = %goal.token, tx.id = %approval.tx.id, ?report, "an approval is sent");
        *sent = Some(approval);
        Ok(false)
    }

    /// Returns what the router may take of a token, as a quorum of the nodes says.
    async fn allowance(&self, token: Address, block: &Value) -> Result<U256, StepError> {
        let (owner, spender) = (self.signer.address(), self.builder.spender());
        let (method, params) = call(token, &Erc20::allowanceCall { owner, spender }, block);
        let answers = self.cluster.ask_all::<Bytes>(method, &params).await;
        let (answers, errors): (Vec<_>, Vec<_>) = answers.into_iter().partition(Result::is_ok);
        let answers: Vec<Bytes> = answers.into_iter().flatten().collect();
        let allowed = answers.iter().filter_map(|bytes| returned::<Erc20::allowanceCall>(bytes).ok());
        if let Some(allowed) = quorum_th(allowed, self.cluster.quorum()) {
            return Ok(allowed);
        }
        if answers.len() >= self.cluster.quorum() {
            let message = format!("{token} is no token");
            return Err(StepError::permanent(Failure::new(FailureCode::UNKNOWN_TOKEN, message)));
        }
        let error = errors.into_iter().find_map(Result::err);
        Err(unavailable(error.unwrap_or(RpcError::NoQuorum { what: "an allowance" })))
    }

    async fn height(&self) -> Result<u64, StepError> {
        Ok(self.cluster.latest().await.map_err(unavailable)?.number.to())
    }

    /// Signs the approval; or, of a token that changes no allowance from one amount to another, the one of nothing that comes before it.
    async fn next_approval(&self, goal: &AllowanceGoal, nonce: u64) -> Result<Approval, StepError> {
        let refused = match self.approval(goal, nonce).await {
            Err(error) if error.class == FailureClass::Requote => error,
            signed => return signed,
        };
        // What another process has reached meanwhile stays.
        let allowed = self.allowance(goal.token, &json!("latest")).await?;
        if allowed.is_zero() || allowed >= goal.at_least {
            return Err(refused);
        }
        self.approval(&AllowanceGoal::exactly(goal.token, U256::ZERO), nonce).await
    }

    /// Signs an approval with a nonce.
    async fn approval(&self, goal: &AllowanceGoal, nonce: u64) -> Result<Approval, StepError> {
        let (spender, amount) = (self.builder.spender(), goal.grant);
        let input = Erc20::approveCall { spender, amount }.abi_encode();
        let call = SwapCall { to: goal.token, value: U256::ZERO, input: input.into() };
        let latest = json!("latest");
        let (gas, market, height) =
            tokio::try_join!(self.estimate(&call, &latest), self.market(), self.height())?;
        let fees =
            self.options.fees.fees(self.options.fees.gas_limit(gas), &market).ok_or_else(fee_too_high)?;
        self.signed(self.draft(nonce, call, fees), height).await
    }

    /// Signs the same approval for higher fees.
    async fn dearer(&self, approval: &Approval, height: u64) -> Result<Approval, StepError> {
        let fees = approval.draft.fees;
        let fees = self.replacing_fees(fees.gas_limit, fees, REPLACEMENT_PERCENT).await?;
        self.signed(Draft { fees, ..approval.draft.clone() }, height).await
    }

    async fn signed(&self, draft: Draft, height: u64) -> Result<Approval, StepError> {
        let tx = draft.sign(&*self.signer, Amount::ZERO).await?;
        Ok(Approval { draft, tx, height })
    }
}
