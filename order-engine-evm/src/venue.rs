//! A [`Venue`] on a chain of the EVM.

mod allowance;
mod build;
mod permit;
mod prepare;

use std::sync::Arc;

use alloy_primitives::{B256, Bytes, U64};
use async_trait::async_trait;
use order_engine_core::telemetry::chain;
use order_engine_core::{
    AccountId, AccountView, ChainView, FillRequest, Observation, OrderId, PrepareRequest, ReplaceRequest,
    SignedTx, StepError, SubmitReport, TxId, TxRef, Venue, VenueCapabilities, VenueError,
};
use serde_json::json;

use crate::agreement::quorum_th;
use crate::draft::{account_id, hash_of};
use crate::fees::FeePolicy;
use crate::history;
use crate::keys::WalletSigner;
use crate::landing::Landings;
use crate::nonce_use::NonceUses;
use crate::rpc::{Cluster, RpcError};
use crate::search::{self, Found};
use crate::swap_builder::SwapBuilder;
use crate::venue_error::venue_error;

pub use allowance::AllowanceGoal;
pub use permit::PermitPolicy;
pub use prepare::FEE_TOO_HIGH;

/// What nodes say of a transaction that they have, in any case of letters.
const ALREADY_KNOWN: [&str; 3] = ["already known", "already imported", "known transaction"];

/// The options of an [`EvmVenue`].
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct EvmVenueOptions {
    /// What transactions pay.
    pub fees: FeePolicy,
    /// For how long after its signing a swap may be included, in seconds of the chain. One that is included later fails, which
    /// uses its nonce.
    pub swap_life_s: u64,
    /// The most of the wallet's nonces that are looked at to find the transactions of an order.
    pub find_max: u64,
    /// Whether orders bring permits for what they sell.
    pub permits: PermitPolicy,
}

impl Default for EvmVenueOptions {
    /// The default fees, twenty minutes, 1,000 nonces, and no permits.
    fn default() -> Self {
        Self {
            fees: FeePolicy::default(),
            swap_life_s: 20 * 60,
            find_max: 1_000,
            permits: PermitPolicy::Never,
        }
    }
}

impl EvmVenueOptions {
    /// Sets [`fees`](Self::fees).
    #[must_use]
    pub fn with_fees(self, fees: FeePolicy) -> Self {
        Self { fees, ..self }
    }

    /// Sets [`swap_life_s`](Self::swap_life_s).
    #[must_use]
    pub fn with_swap_life_s(self, seconds: u64) -> Self {
        Self { swap_life_s: seconds, ..self }
    }

    /// Sets [`find_max`](Self::find_max).
    #[must_use]
    pub fn with_find_max(self, nonces: u64) -> Self {
        Self { find_max: nonces, ..self }
    }

    /// Sets [`permits`](Self::permits).
    #[must_use]
    pub fn with_permits(self, permits: PermitPolicy) -> Self {
        Self { permits, ..self }
    }
}

/// A venue that signs for one wallet, and simulates, sends and observes through the nodes of a chain.
///
/// Its transactions have nonces, which the engine gives out, and carry the order's tag behind their calldata.
#[derive(Debug)]
pub struct EvmVenue {
    cluster: Arc<Cluster>,
    signer: Arc<dyn WalletSigner>,
    builder: Arc<dyn SwapBuilder>,
    options: EvmVenueOptions,
    uses: NonceUses,
    landings: Landings,
}

impl EvmVenue {
    /// Returns a venue for the wallet of this signer.
    pub fn new(
        cluster: Arc<Cluster>,
        signer: Arc<dyn WalletSigner>,
        builder: Arc<dyn SwapBuilder>,
        options: EvmVenueOptions,
    ) -> Self {
        let (uses, landings) = (NonceUses::new(signer.address()), Landings::new(builder.wrapped_native()));
        Self { cluster, signer, builder, options, uses, landings }
    }

    async fn observed(&self, found: Found) -> Observation {
        match found {
            Found::Absent { searched_through, seen_through } => {
                Observation::NotFound { searched_through, seen_through }
            }
            Found::Landed { receipt, certainty } => {
                match self.landings.read(&self.cluster, &receipt).await {
                    Some(landing) => landing.observed(certainty),
                    // It is in a block, but nothing is known yet of what it did.
                    None => Observation::NotFound { searched_through: None, seen_through: None },
                }
            }
        }
    }
}

#[async_trait]
impl Venue for EvmVenue {
    fn capabilities(&self) -> VenueCapabilities {
        VenueCapabilities::by_nonce().with_finds_by_tag(true)
    }

    async fn prepare(&self, request: PrepareRequest<'_>) -> Result<SignedTx, StepError> {
        self.prepare_transaction(&request).await
    }

    async fn replace(&self, request: ReplaceRequest<'_>) -> Result<SignedTx, StepError> {
        self.replacement(&request).await
    }

    async fn cancel_transaction(&self, request: ReplaceRequest<'_>) -> Result<SignedTx, StepError> {
        self.cancel(&request).await
    }

    async fn fill_nonce(&self, request: FillRequest<'_>) -> Result<SignedTx, StepError> {
        self.filler(&request).await
    }

    async fn submit(&self, tx: &SignedTx) -> SubmitReport {
        let params = json!([Bytes::copy_from_slice(&tx.bytes)]);
        let answers: Vec<Result<B256, RpcError>> =
            self.cluster.ask_all("eth_sendRawTransaction", &params).await;
        submitted(&tx.id, &answers)
    }

    async fn view(&self) -> Result<ChainView, VenueError> {
        // The finalized height first, so that the others are not below it.
        let finalized = self.cluster.final_block().await.map_err(venue_error)?.number;
        // Not every chain has safe blocks; then what is final is the only certainty.
        let confirmed =
            self.cluster.safe().await.map_or(finalized, |head| head.number.to::<u64>().max(finalized));
        let processed = self.cluster.latest().await.map_err(venue_error)?.number.to::<u64>();
        Ok(ChainView::new(processed.max(confirmed), confirmed, finalized))
    }

    async fn accounts(&self, accounts: &[AccountId]) -> Result<Vec<AccountView>, VenueError> {
        let own = account_id(self.signer.address());
        if accounts.iter().any(|account| *account != own) {
            return Err(VenueError::new("it knows the account of its wallet only"));
        }
        let block = self.cluster.final_block().await.map_err(venue_error)?;
        let finalized = self.uses.count(&self.cluster, block).await.map_err(venue_error)?;
        let params = json!([self.signer.address(), "latest"]);
        let latest = self.cluster.ask_all::<U64>("eth_getTransactionCount", &params).await;
        let latest = quorum_th(latest.into_iter().flatten(), self.cluster.quorum());
        let latest = latest.ok_or_else(|| VenueError::new("too few of its nodes answered"))?;
        let view = AccountView::new(latest.to::<u64>().max(finalized), finalized, block.number);
        Ok(vec![view; accounts.len()])
    }

    async fn observe(&self, txs: &[TxRef<'_>]) -> Result<Vec<Observation>, VenueError> {
        let wallet = (self.signer.address(), &self.uses);
        let found = search::search(&self.cluster, wallet, txs).await.map_err(venue_error)?;
        let mut observations = Vec::with_capacity(found.len());
        for found in found {
            observations.push(self.observed(found).await);
        }
        Ok(observations)
    }

    async fn find(&self, order: OrderId) -> Result<Vec<TxId>, VenueError> {
        history::find(&self.cluster, &self.uses, order, self.options.find_max).await
    }
}

/// Returns what came of sending, from the answers of all nodes.
fn submitted(id: &TxId, answers: &[Result<B256, RpcError>]) -> SubmitReport {
    let says_known = |error: &RpcError| match error {
        RpcError::Refused { message, .. } => {
            let message = message.to_lowercase();
            ALREADY_KNOWN.iter().any(|words| message.contains(words))
        }
        _ => false,
    };
    let hash = hash_of(id);
    if answers.iter().flatten().any(|answer| Some(*answer) == hash) {
        return SubmitReport::Accepted;
    }
    let errors = || answers.iter().filter_map(|answer| answer.as_ref().err());
    if errors().any(says_known) {
        return SubmitReport::AlreadyKnown;
    }
    let message = errors().map(|error| chain(error).to_string()).collect::<Vec<_>>().join("; ");
    let is_refused = |answer: &Result<B256, RpcError>| matches!(answer, Err(error @ RpcError::Refused { .. }) if !error.is_transient());
    if answers.iter().all(is_refused) {
        SubmitReport::DefinitelyNotAccepted { message }
    } else {
        SubmitReport::Ambiguous { message }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::draft::tx_id;

    fn refused(message: &str) -> Result<B256, RpcError> {
        Err(RpcError::Refused { code: -32_000, message: message.into(), data: None, may_pass: false })
    }

    #[test]
    fn one_node_that_takes_it_is_enough_and_only_all_refuse_it() {
        let hash = B256::with_last_byte(7);
        let id = tx_id(hash);
        let down = || Err(RpcError::Status { status: 503, retry_after_s: None });
        let report = |answers: &[_]| submitted(&id, answers);
        assert_eq!(report(&[down(), Ok(hash)]), SubmitReport::Accepted);
        assert_eq!(report(&[refused("x"), Ok(hash)]), SubmitReport::Accepted);
        for known in ["already known", "transaction already imported", "Known transaction: 0x07"] {
            assert_eq!(report(&[refused("x"), refused(known)]), SubmitReport::AlreadyKnown);
        }
        let too_low = "nonce too low: next nonce 4, tx nonce 3";
        assert!(matches!(report(&[refused(too_low)]), SubmitReport::DefinitelyNotAccepted { .. }));
        assert!(matches!(report(&[refused("x"), down()]), SubmitReport::Ambiguous { .. }));
        assert!(matches!(report(&[Ok(B256::ZERO)]), SubmitReport::Ambiguous { .. }));
    }
}
