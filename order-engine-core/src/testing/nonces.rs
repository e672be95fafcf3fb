use async_trait::async_trait;

use crate::domain::failure::{Failure, FailureCode};
use crate::domain::ids::AccountId;
use crate::domain::transaction::AccountNonce;
use crate::ports::router::StepError;
use crate::ports::venue::NonceSource;

/// A source of nonces for tests of venues without an engine: each transaction gets the account's next nonce as the
/// chain has it, so only one transaction of an account may be under way. Of opaque values it gets the first.
#[derive(Clone, Copy, Debug, Default)]
pub struct LatestNonce;

#[async_trait]
impl NonceSource for LatestNonce {
    async fn next(&self, _: &AccountId, latest: u64) -> Result<u64, StepError> {
        Ok(latest)
    }

    async fn choose(&self, nonces: Vec<AccountNonce>) -> Result<AccountNonce, StepError> {
        nonces.into_iter().next().ok_or_else(|| {
            StepError::unavailable(Failure::new(FailureCode::ACCOUNT_BUSY, "There is no account"))
        })
    }
}
