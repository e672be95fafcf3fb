//! Transactions that take the place of others: they have the same nonce, so the chain lets one of them land.

use order_engine_core::{
    AccountNonce, Amount, Failure, FailureCode, NonceValue, OpaqueNonce, ReplaceRequest, SignedTx, StepError,
};
use solana_message::{VersionedMessage, v0};

use super::SolanaVenue;
use super::prepare::{Bound, not_built, signatures};
use crate::draft::{Draft, Lifetime, Unsigned};
use crate::fees::{ComputeBudget, LAMPORTS_PER_SIGNATURE};
use crate::instructions::compute_budget::{set_unit_limit, set_unit_price};
use crate::programs::COMPUTE_BUDGET;

const MICRO: u128 = 1_000_000;
/// What a transaction may use that only advances its nonce and sets its budget: each of these instructions takes 150.
const CANCEL_UNITS: u32 = 1_000;
const SET_UNIT_LIMIT: u8 = 2;
const SET_UNIT_PRICE: u8 = 3;

/// A transaction that is to be replaced.
struct Replaced {
    message: v0::Message,
    bound: Bound,
}

impl SolanaVenue {
    /// Signs the same transaction for a higher price of its compute units.
    pub(super) async fn replace_transaction(
        &self,
        request: &ReplaceRequest<'_>,
    ) -> Result<SignedTx, StepError> {
        let Replaced { mut message, bound } = self.replaced(request.tx)?;
        let unit_limit = budget_number(&message, SET_UNIT_LIMIT).and_then(|limit| u32::try_from(limit).ok());
        let unit_limit = unit_limit.ok_or_else(foreign)?;
        let signatures = u64::from(message.header.num_required_signatures);
        let budget = self.dearer(request, unit_limit, signatures)?;
        set_price(&mut message, budget.unit_price_micro_lamports).ok_or_else(foreign)?;
        let unsigned = Unsigned::new(VersionedMessage::V0(message));
        self.sign(&unsigned, budget, bound, request.tx.min_amount_out).await
    }

    /// Signs a transaction that only advances the nonce account.
    pub(super) async fn cancel_by_advance(
        &self,
        request: &ReplaceRequest<'_>,
    ) -> Result<SignedTx, StepError> {
        let Replaced { bound, .. } = self.replaced(request.tx)?;
        let compile = |budget: ComputeBudget| {
            let instructions =
                vec![set_unit_limit(budget.unit_limit), set_unit_price(budget.unit_price_micro_lamports)];
            let draft = Draft::new(self.signer.address(), instructions);
            draft.compile(bound.lifetime).map_err(|error| not_built(&error))
        };
        let free = ComputeBudget { unit_limit: CANCEL_UNITS, unit_price_micro_lamports: 0 };
        let budget = self.dearer(request, CANCEL_UNITS, signatures(&compile(free)?))?;
        let unsigned = compile(budget)?;
        self.sign(&unsigned, budget, bound, Amount::ZERO).await
    }

    /// Reads a transaction of this venue and what bounds it.
    fn replaced(&self, tx: &SignedTx) -> Result<Replaced, StepError> {
        let message = Unsigned::of_signed(&tx.bytes).ok_or_else(foreign)?;
        let Some(AccountNonce { account, value: NonceValue::Opaque(OpaqueNonce { text, .. }) }) =
            tx.validity.nonce()
        else {
            return Err(foreign());
        };
        let account = account.as_str().parse().map_err(|_| foreign())?;
        let value = text.parse().ok().filter(|value| *value == message.recent_blockhash);
        let lifetime = Lifetime::DurableNonce {
            account,
            authority: self.signer.address(),
            value: value.ok_or_else(foreign)?,
        };
        Ok(Replaced { message, bound: Bound { lifetime, validity: tx.validity.clone() } })
    }

    /// Returns the budget of a transaction that takes the place of another one for a higher fee.
    fn dearer(
        &self,
        request: &ReplaceRequest<'_>,
        unit_limit: u32,
        signatures: u64,
    ) -> Result<ComputeBudget, StepError> {
        let fee = request.tx.max_fee.ok_or_else(foreign)?.base_units();
        let wanted = fee.saturating_mul(u128::from(request.fee_percent)).div_ceil(100);
        let priority = wanted.saturating_sub(u128::from(signatures) * u128::from(LAMPORTS_PER_SIGNATURE));
        let price = (priority * MICRO).div_ceil(u128::from(unit_limit.max(1)));
        let budget =
            ComputeBudget { unit_limit, unit_price_micro_lamports: u64::try_from(price).unwrap_or(u64::MAX) };
        if budget.priority_fee_lamports() > self.options.fees.cap_lamports {
            let cap = self.options.fees.cap_lamports;
            let message = format!("The priority fee would be above the cap of {cap} lamports");
            return Err(StepError::permanent(Failure::new(FailureCode::REJECTED, message)));
        }
        Ok(budget)
    }
}

/// Returns the number that an instruction of the compute budget sets, by its kind.
fn budget_number(message: &v0::Message, kind: u8) -> Option<u64> {
    let data = &message
        .instructions
        .iter()
        .find(|one| is_budget(message, one.program_id_index, &one.data, kind))?
        .data;
    let mut bytes = [0; 8];
    bytes.get_mut(..data.len() - 1)?.copy_from_slice(&data[1..]);
    Some(u64::from_le_bytes(bytes))
}

/// Sets the price of a compute unit; nothing if the message sets none.
fn set_price(message: &mut v0::Message, micro_lamports: u64) -> Option<()> {
    let index = message
        .instructions
        .iter()
        .position(|one| is_budget(message, one.program_id_index, &one.data, SET_UNIT_PRICE))?;
    message.instructions[index].data = set_unit_price(micro_lamports).data;
    Some(())
}

fn is_budget(message: &v0::Message, program: u8, data: &[u8], kind: u8) -> bool {
    message.account_keys.get(usize::from(program)) == Some(&COMPUTE_BUDGET) && data.first() == Some(&kind)
}

fn foreign() -> StepError {
    let message = "The transaction is none of this venue with a nonce account";
    StepError::permanent(Failure::new(FailureCode::REJECTED, message))
}
