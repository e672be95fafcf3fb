//! What a venue signs: the transactions of orders, and what takes their place.

use order_engine_core::{
    Amount, Failure, FailureCode, FillRequest, ReplaceRequest, SignedTx, StepError, Validity,
};

use crate::tx::{Bound, MalformedTx, Message, Signer, last_valid_height};

/// Signs a transaction.
///
/// # Errors
/// If it has too many legs.
pub(crate) fn signed(signer: &Signer, message: &Message) -> Result<SignedTx, StepError> {
    let (id, bytes) = signer.sign(message).map_err(rejected)?;
    let tx = |validity| SignedTx::new(id, bytes, validity, message.min_amount_out);
    Ok(match &message.bound {
        Bound::Height { recent_height, .. } => tx(Validity::UntilHeight(last_valid_height(*recent_height))),
        Bound::Nonce { nonce, fee } => tx(Validity::Nonce(nonce.clone())).with_max_fee(Amount::new(*fee)),
    })
}

/// Signs a transaction that does what another one does, for a higher fee.
///
/// # Errors
/// If the other one has no nonce or is not of this chain.
pub(crate) fn replacement(signer: &Signer, request: &ReplaceRequest<'_>) -> Result<SignedTx, StepError> {
    signed(signer, &sibling(signer, request)?)
}

/// Signs a transaction that does nothing in the place of another one, for a higher fee.
///
/// # Errors
/// If the other one has no nonce or is not of this chain.
pub(crate) fn cancel(signer: &Signer, request: &ReplaceRequest<'_>) -> Result<SignedTx, StepError> {
    let sibling = sibling(signer, request)?;
    signed(signer, &Message { legs: Vec::new(), min_amount_out: Amount::ZERO, ..sibling })
}

/// Signs a transaction that does nothing and uses up a nonce, for this fee.
///
/// # Errors
/// If the account's name is too long.
pub(crate) fn filler(signer: &Signer, request: &FillRequest<'_>, fee: u128) -> Result<SignedTx, StepError> {
    let bound = Bound::Nonce { nonce: request.nonce.clone(), fee };
    let (order_id, min_amount_out) = (request.order.id, Amount::ZERO);
    signed(signer, &Message { order_id, bound, min_amount_out, legs: Vec::new() })
}

/// Returns the message of a transaction with the fee that a request asks for.
fn sibling(signer: &Signer, request: &ReplaceRequest<'_>) -> Result<Message, StepError> {
    let (_, message) = signer.open(&request.tx.bytes).map_err(rejected)?;
    let Bound::Nonce { nonce, fee } = message.bound else {
        let failure = Failure::new(FailureCode::REJECTED, "The transaction has no nonce");
        return Err(StepError::permanent(failure));
    };
    let fee = fee.saturating_mul(u128::from(request.fee_percent)).div_ceil(100);
    Ok(Message { bound: Bound::Nonce { nonce, fee }, ..message })
}

fn rejected(malformed: MalformedTx) -> StepError {
    StepError::permanent(Failure::new(FailureCode::REJECTED, malformed.to_string()))
}
