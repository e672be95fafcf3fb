use async_trait::async_trait;

use crate::domain::ids::AccountId;
use crate::ports::router::StepError;
use crate::ports::venue::NonceSource;

/// A source of nonces for tests of venues without an engine: each transaction gets the account's next nonce as the
/// chain has it, so only one transaction of an account may be under way.
#[derive(Clone, Copy, Debug, Default)]
pub struct LatestNonce;

#[async_trait]
impl NonceSource for LatestNonce {
    async fn next(&self, _: &AccountId, latest: u64) -> Result<u64, StepError> {
        Ok(latest)
    }
}
