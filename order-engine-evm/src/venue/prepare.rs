//! Building, simulating and signing transactions.

use alloy_primitives::{Address, Bytes, U64, U128, U256};
use order_engine_core::{
    AccountNonce, Amount, Failure, FailureClass, FailureCode, FillRequest, PrepareRequest, ReplaceRequest,
    SignedTx, StepError,
};
use serde_json::{Value, json};

use crate::abi::Erc20;
use crate::agreement::quorum_th;
use crate::contract::{call, returned};
use crate::draft::{Draft, account_id};
use crate::fees::{GasFees, Market};
use crate::fill::{self, Outcome, Sent};
use crate::revert::{self, NO_LIQUIDITY, TOKEN_NOT_SUPPORTED};
use crate::rpc::RpcError;
use crate::rpc::wire::{FeeHistory, Head, SimulatedBlock, SimulatedCall};
use crate::swap_builder::SwapCall;
use crate::tag;
use crate::venue::EvmVenue;
use crate::venue::build::{self, Plan};
use crate::venue::permit::Turn;
use crate::venue_error::{rejected, unavailable};

/// The market costs more for the transaction than the policy allows.
pub const FEE_TOO_HIGH: FailureCode = FailureCode::new("fee-too-high");

/// What nodes say of a method that they do not have.
const METHOD_NOT_FOUND: i64 = -32_601;
/// The gas of a transfer, and of the 16 bytes of a tag at the price of calldata that does nothing (EIP-7623).
const IDLE_GAS_MIN: u64 = 21_000 + 16 * 40;

impl EvmVenue {
    pub(super) async fn prepare_transaction(
        &self,
        request: &PrepareRequest<'_>,
    ) -> Result<SignedTx, StepError> {
        let head = self.cluster.latest().await.map_err(unavailable)?;
        match self.prepare_after(request, &head).await {
            Err(error) if error.class == FailureClass::Permanent && !self.is_still_there(&head).await => {
                // What was asked of a block that a fork has undone meanwhile fails no order for good.
                Err(unavailable(RpcError::NoQuorum { what: "the newest block" }))
            }
            prepared => prepared,
        }
    }

    /// Whether a block is still one of the chain, as a quorum of the nodes has it.
    async fn is_still_there(&self, head: &Head) -> bool {
        self.cluster.hash_at(head.number.to()).await.is_ok_and(|hash| hash == head.hash)
    }

    async fn prepare_after(&self, request: &PrepareRequest<'_>, head: &Head) -> Result<SignedTx, StepError> {
        let wallet = self.signer.address();
        let deadline = self.deadline(request, head);
        // All of it is asked of one block that a quorum has, by its hash. A node that has not come as far, or has left it for a fork,
        // says so, instead of what is true elsewhere.
        let at = json!({ "blockHash": head.hash });
        let mut plan = build::plan(&*self.builder, request, (wallet, deadline), None).await?;
        let mut turn = Turn::Any;
        if !self.is_allowed(&plan, &at).await? {
            let permit = self.permit(&plan, deadline, &at).await?;
            turn = self.turn_of_permit(&at).await?;
            plan = build::plan(&*self.builder, request, (wallet, deadline), Some(permit)).await?;
        }
        let (gas, market, ()) =
            tokio::try_join!(self.estimate(&plan.call, &at), self.market(), self.check_effect(&plan, &at))?;
        let gas_limit = self.options.fees.gas_limit(gas);
        let fees = self.options.fees.fees(gas_limit, &market).ok_or_else(fee_too_high)?;
        self.check_funds(plan.call.value, fees, &at).await?;
        // The nonce last, because other orders of the wallet wait for the one that has it.
        let nonce = request.nonces.next(&account_id(wallet), self.next_nonce().await?).await?;
        turn.check(nonce)?;
        self.draft(nonce, plan.call, fees).sign(&*self.signer, request.min_amount_out).await
    }

    pub(super) async fn replacement(&self, request: &ReplaceRequest<'_>) -> Result<SignedTx, StepError> {
        let draft = self.of_wallet(request.tx)?;
        let fees = self.replacing_fees(draft.fees.gas_limit, draft.fees, request.fee_percent).await?;
        Draft { fees, ..draft }.sign(&*self.signer, request.tx.min_amount_out).await
    }

    pub(super) async fn cancel(&self, request: &ReplaceRequest<'_>) -> Result<SignedTx, StepError> {
        let draft = self.of_wallet(request.tx)?;
        let idle = self.idle(request.order.id);
        let gas_limit = self.idle_gas(&idle).await?;
        let fees = self.replacing_fees(gas_limit, draft.fees, request.fee_percent).await?;
        self.draft(draft.nonce, idle, fees).sign(&*self.signer, Amount::ZERO).await
    }

    pub(super) async fn filler(&self, request: &FillRequest<'_>) -> Result<SignedTx, StepError> {
        let is_own = request.nonce.account == account_id(self.signer.address());
        let Some(number) = request.nonce.value.number().filter(|_| is_own) else {
            return Err(rejected("The nonce is of another wallet"));
        };
        let idle = self.idle(request.order.id);
        let (gas_limit, market) = tokio::try_join!(self.idle_gas(&idle), self.market())?;
        let fees = self.options.fees.fees(gas_limit, &market).ok_or_else(fee_too_high)?;
        self.draft(number, idle, fees).sign(&*self.signer, Amount::ZERO).await
    }

    pub(super) fn draft(&self, nonce: u64, call: SwapCall, fees: GasFees) -> Draft {
        let SwapCall { to, value, input } = call;
        Draft { chain_id: self.cluster.chain_id(), nonce, to, value, input, fees }
    }

    /// Reads a transaction of this wallet on this chain.
    fn of_wallet(&self, tx: &SignedTx) -> Result<Draft, StepError> {
        let draft = Draft::of_signed(&tx.bytes)?;
        let nonce = AccountNonce::new(account_id(self.signer.address()), draft.nonce);
        if tx.validity.nonce() != Some(&nonce) || draft.chain_id != self.cluster.chain_id() {
            return Err(rejected("The transaction is of another wallet or chain"));
        }
        Ok(draft)
    }

    /// Returns a call of the wallet by itself, which does nothing but carry the tag of an order.
    fn idle(&self, order: order_engine_core::OrderId) -> SwapCall {
        SwapCall { to: self.signer.address(), value: U256::ZERO, input: tag::tagged(&[], order) }
    }

    async fn idle_gas(&self, idle: &SwapCall) -> Result<u64, StepError> {
        // On some chains it takes more, because the gas also pays for another chain.
        Ok(self.estimate(idle, &json!("latest")).await?.max(IDLE_GAS_MIN))
    }

    /// Returns the last time of a block that may include the transaction: that of the order, and no later than the options
    /// allow.
    fn deadline(&self, request: &PrepareRequest<'_>, head: &Head) -> u64 {
        let latest = head.timestamp.to::<u64>().saturating_add(self.options.swap_life_s);
        let of_order = request.deadline.and_then(|deadline| u64::try_from(deadline.timestamp()).ok());
        of_order.map_or(latest, |deadline| deadline.min(latest))
    }

    /// Returns the wallet's next nonce as a quorum of the nodes has it.
    pub(super) async fn next_nonce(&self) -> Result<u64, StepError> {
        let params = json!([self.signer.address(), "latest"]);
        let counts = self.cluster.ask_all::<U64>("eth_getTransactionCount", &params).await;
        let (counts, errors): (Vec<_>, Vec<_>) = counts.into_iter().partition(Result::is_ok);
        let count = quorum_th(counts.into_iter().flatten(), self.cluster.quorum());
        count.map(|count| count.to()).ok_or_else(|| {
            let error = errors.into_iter().find_map(Result::err);
            unavailable(error.unwrap_or(RpcError::NoQuorum { what: "a nonce" }))
        })
    }

    /// Returns what blocks cost now.
    pub(super) async fn market(&self) -> Result<Market, StepError> {
        let policy = &self.options.fees;
        let params = json!([U64::from(policy.blocks), "latest", [policy.percentile]]);
        let history: FeeHistory = self.cluster.query("eth_feeHistory", params).await.map_err(unavailable)?;
        let missing = || unavailable(RpcError::malformed("the history has no base fee"));
        let base_fee = history.base_fee_per_gas.last().ok_or_else(missing)?.to::<u128>();
        let tip = |tips: &Vec<U128>| tips.first().map(|tip| tip.to::<u128>());
        let tips = history.reward.unwrap_or_default();
        let blocks = tips.iter().zip(&history.gas_used_ratio).filter(|(_, used)| **used > 0.0);
        Ok(Market { base_fee, tips: blocks.filter_map(|(tips, _)| tip(tips)).collect() })
    }

    pub(super) async fn replacing_fees(
        &self,
        gas_limit: u64,
        fees: GasFees,
        percent: u32,
    ) -> Result<GasFees, StepError> {
        let market = self.market().await?;
        self.options.fees.replacement(gas_limit, fees, (percent, &market)).ok_or_else(fee_too_high)
    }

    /// Returns how much gas a call takes after a block.
    pub(super) async fn estimate(&self, call: &SwapCall, at: &Value) -> Result<u64, StepError> {
        let params = json!([self.sent(call), at]);
        match self.cluster.query::<U64>("eth_estimateGas", params).await {
            Ok(gas) => Ok(gas.to()),
            Err(error) => Err(match revert::revert_data(&error) {
                Some(data) => revert::step_error(revert::failure(&data)).with_source(error),
                None => unavailable(error),
            }),
        }
    }

    fn sent(&self, call: &SwapCall) -> Value {
        json!({ "from": self.signer.address(), "to": call.to, "value": call.value, "input": call.input })
    }

    /// Checks that the wallet holds what the order sells, and returns whether it has allowed the router to take it: the contracts
    /// have one reason for both.
    async fn is_allowed(&self, plan: &Plan, at: &Value) -> Result<bool, StepError> {
        if !plan.call.value.is_zero() {
            self.check_balance(plan.call.value, "The wallet does not hold what the order sells", at).await?;
            return Ok(true);
        }
        let (owner, spender) = (self.signer.address(), self.builder.spender());
        let calls = [
            call(plan.input, &Erc20::balanceOfCall { owner }, at),
            call(plan.input, &Erc20::allowanceCall { owner, spender }, at),
        ];
        let answers: Vec<Bytes> = self.cluster.query_batch(&calls).await.map_err(unavailable)?;
        let [balance, allowance] = &answers[..] else {
            return Err(unavailable(RpcError::malformed("a batch has an answer to each call")));
        };
        let unknown = |_| {
            let message = format!("{} is no token", plan.input);
            StepError::permanent(Failure::new(FailureCode::UNKNOWN_TOKEN, message))
        };
        if returned::<Erc20::balanceOfCall>(balance).map_err(unknown)? < plan.amount_in {
            return Err(insufficient_funds("The wallet does not hold what the order sells"));
        }
        Ok(returned::<Erc20::allowanceCall>(allowance).map_err(unknown)? >= plan.amount_in)
    }

    /// Checks that the wallet can pay the fee, and what goes with the call.
    async fn check_funds(&self, value: U256, fees: GasFees, at: &Value) -> Result<(), StepError> {
        let needed = value.saturating_add(U256::from(fees.max_fee_wei()));
        self.check_balance(needed, "The wallet cannot pay the fee", at).await
    }

    /// Checks that the wallet has so much of the chain's own token, in wei.
    async fn check_balance(&self, needed: U256, otherwise: &str, at: &Value) -> Result<(), StepError> {
        let params = json!([self.signer.address(), at]);
        let balance: U256 = self.cluster.query("eth_getBalance", params).await.map_err(unavailable)?;
        if balance < needed { Err(insufficient_funds(otherwise)) } else { Ok(()) }
    }

    /// Simulates the call, and checks that the wallet's balances change by what the events say: tokens that take fees or change
    /// balances by themselves are refused.
    async fn check_effect(&self, plan: &Plan, at: &Value) -> Result<(), StepError> {
        let owner = self.signer.address();
        let balance = Bytes::from(alloy_sol_types::SolCall::abi_encode(&Erc20::balanceOfCall { owner }));
        let sides = [plan.input, plan.output].map(|token| json!({ "to": token, "input": balance }));
        let calls = [&sides[..], &[self.sent(&plan.call)], &sides[..]].concat();
        let params = json!([{ "blockStateCalls": [{ "calls": calls }] }, at]);
        let blocks = match self.cluster.query::<Vec<SimulatedBlock>>("eth_simulateV1", params).await {
            Ok(blocks) => blocks,
            // The events of the landed transaction are checked all the same.
            Err(RpcError::Refused { code: METHOD_NOT_FOUND, .. }) => return Ok(()),
            Err(error) => return Err(unavailable(error)),
        };
        let calls = blocks.into_iter().next().map(|block| block.calls).unwrap_or_default();
        let [input_before, output_before, swap, input_after, output_after] = &calls[..] else {
            return Err(unavailable(RpcError::malformed("a simulation has a result of each call")));
        };
        if swap.status.is_zero() {
            return Err(revert::step_error(failed(swap)));
        }
        self.check_traded(plan, swap, [input_before, input_after], [output_before, output_after])
    }

    fn check_traded(
        &self,
        plan: &Plan,
        swap: &SimulatedCall,
        input: [&SimulatedCall; 2],
        output: [&SimulatedCall; 2],
    ) -> Result<(), StepError> {
        let wrapped_native = self.builder.wrapped_native();
        let SwapCall { to, value, .. } = plan.call;
        let sent = Sent { wallet: self.signer.address(), to, value, wrapped_native };
        let not_supported = || {
            let message = "A token moves another amount than it is told to, or something else moved";
            StepError::permanent(Failure::new(TOKEN_NOT_SUPPORTED, message))
        };
        let Outcome::Traded { sold, bought } = fill::outcome(&sent, &swap.logs) else {
            return Err(not_supported());
        };
        let (sold, bought) = (U256::from(sold), U256::from(bought));
        let [input, output] = [input, output].map(|calls| calls.map(balance));
        // The wallet's wrapped tokens stay as they are: the order trades the chain's own token.
        let expected =
            |token: Address, amount: U256| if token == wrapped_native { U256::ZERO } else { amount };
        let is_paid = input[0].checked_sub(input[1]) == Some(expected(plan.input, sold))
            && output[1].checked_sub(output[0]) == Some(expected(plan.output, bought));
        if !is_paid || bought < plan.min_amount_out {
            return Err(not_supported());
        }
        if sold != plan.amount_in {
            let message = "The pools do not take all that the order sells";
            return Err(StepError::requote(Failure::new(NO_LIQUIDITY, message)));
        }
        Ok(())
    }
}

fn balance(call: &SimulatedCall) -> U256 {
    returned::<Erc20::balanceOfCall>(&call.return_data).unwrap_or_default()
}

fn failed(swap: &SimulatedCall) -> (Failure, order_engine_core::FailureClass) {
    let data = swap.error.as_ref().and_then(|error| error.data.clone());
    let data = data.unwrap_or_else(|| swap.return_data.clone());
    let (failure, class) = revert::failure(&data);
    match &swap.error {
        Some(error) if data.is_empty() => {
            (Failure::new(failure.code, format!("The transaction failed ({})", error.message)), class)
        }
        _ => (failure, class),
    }
}

fn insufficient_funds(message: &str) -> StepError {
    StepError::permanent(Failure::new(FailureCode::INSUFFICIENT_FUNDS, message))
}

pub(super) fn fee_too_high() -> StepError {
    let message = "The next block costs more than the fee policy allows";
    StepError::transient(Failure::new(FEE_TOO_HIGH, message))
}
