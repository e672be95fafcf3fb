//! A [`Venue`] on a cluster of Solana.

mod build;
mod nonces;
mod prepare;
mod siblings;
mod tables;
mod trades;

use std::sync::Arc;

use async_trait::async_trait;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use futures_util::FutureExt as _;
use futures_util::stream::{self, StreamExt as _};
use order_engine_core::telemetry::chain;
use order_engine_core::{
    AccountId, AccountView, ChainView, Observation, OrderId, PrepareRequest, ReplaceRequest, SignedTx,
    StepError, SubmitReport, TxId, TxRef, Venue, VenueCapabilities, VenueError,
};
use serde_json::json;
use solana_pubkey::Pubkey;

use crate::agreement::{Agreed, quorum_th};
use crate::fees::FeePolicy;
use crate::history;
use crate::keys::WalletSigner;
use crate::landing::Landings;
use crate::programs::TOKEN;
use crate::rpc::wire::{ACCOUNTS_MAX, SendSettings};
use crate::rpc::{Cluster, RpcError};
use crate::search::Searcher;
use crate::swap_builder::SwapBuilder;
use crate::venue_error::venue_error;
use build::Mints;
use nonces::SeenValues;
use tables::Tables;

/// How many landed transactions are read at once. One after the other, those of a large batch would take longer than the
/// engine waits for an answer.
const LANDINGS_AT_ONCE: usize = 8;
/// What nodes say of a transaction that they have, in any case of letters.
const ALREADY_KNOWN: &str = "already been processed";

/// The options of a [`SolanaVenue`].
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct SolanaVenueOptions {
    /// What transactions pay.
    pub fees: FeePolicy,
    /// How many heights behind the newest final block the venue says that the chain is. A transaction counts as expired that
    /// much later, and a node can show that it has come as far if the busy account was used within these heights.
    pub finality_margin: u64,
    /// An account that is part of a transaction in nearly every block: the token program, unless told otherwise.
    pub busy_account: Pubkey,
    /// A node whose history begins here or before has everything. Other nodes prove that a transaction never landed if their
    /// history begins before it was signed.
    pub complete_from_slot: u64,
    /// Lookup tables, which make transactions smaller.
    pub lookup_tables: Vec<Pubkey>,
    /// The most of the wallet's transactions that are looked at to find those of an order.
    pub find_max: usize,
    /// How much less than quoted a leg on the way to what is bought may pay, in basis points, for each attempt after the first.
    /// The leg behind it sells no more than that, and the rest stays in the wallet's account of the token between them.
    pub hop_tolerance_bps: u16,
    /// Nonce accounts, at most a hundred, that the wallet is the authority of and nobody else uses. Each bounds the transactions
    /// of one order at a time; see [`create_nonce_accounts`](crate::create_nonce_accounts). Without any, transactions have a
    /// recent blockhash.
    pub nonce_accounts: Vec<Pubkey>,
}

impl Default for SolanaVenueOptions {
    /// The default fees, a margin of 16 heights, which is some seven seconds, the token program, history from the first slot
    /// on, no lookup tables, 100,000 transactions, a thousandth more tolerance on the way with each attempt, and no nonce
    /// accounts.
    fn default() -> Self {
        Self {
            fees: FeePolicy::default(),
            finality_margin: 16,
            busy_account: TOKEN,
            complete_from_slot: 0,
            lookup_tables: Vec::new(),
            find_max: 100_000,
            hop_tolerance_bps: 10,
            nonce_accounts: Vec::new(),
        }
    }
}

impl SolanaVenueOptions {
    /// Sets [`fees`](Self::fees).
    #[must_use]
    pub fn with_fees(self, fees: FeePolicy) -> Self {
        Self { fees, ..self }
    }

    /// Sets [`finality_margin`](Self::finality_margin).
    #[must_use]
    pub fn with_finality_margin(self, heights: u64) -> Self {
        Self { finality_margin: heights, ..self }
    }

    /// Sets [`busy_account`](Self::busy_account).
    #[must_use]
    pub fn with_busy_account(self, account: Pubkey) -> Self {
        Self { busy_account: account, ..self }
    }

    /// Sets [`complete_from_slot`](Self::complete_from_slot).
    #[must_use]
    pub fn with_complete_from_slot(self, slot: u64) -> Self {
        Self { complete_from_slot: slot, ..self }
    }

    /// Sets [`lookup_tables`](Self::lookup_tables).
    #[must_use]
    pub fn with_lookup_tables(self, tables: impl IntoIterator<Item = Pubkey>) -> Self {
        Self { lookup_tables: tables.into_iter().collect(), ..self }
    }

    /// Sets [`find_max`](Self::find_max).
    #[must_use]
    pub fn with_find_max(self, transactions: usize) -> Self {
        Self { find_max: transactions, ..self }
    }

    /// Sets [`hop_tolerance_bps`](Self::hop_tolerance_bps).
    #[must_use]
    pub fn with_hop_tolerance_bps(self, bps: u16) -> Self {
        Self { hop_tolerance_bps: bps, ..self }
    }

    /// Sets [`nonce_accounts`](Self::nonce_accounts).
    #[must_use]
    pub fn with_nonce_accounts(self, accounts: impl IntoIterator<Item = Pubkey>) -> Self {
        Self { nonce_accounts: accounts.into_iter().take(ACCOUNTS_MAX).collect(), ..self }
    }
}

/// A venue that signs for one wallet, and simulates, sends and observes through the nodes of a cluster.
///
/// Its transactions have a recent blockhash, and expire at a height; or the value of a nonce account, and may land as long
/// as the account has it. Then they can be sent again at any time, replaced for a higher fee, and cancelled by an
/// advance of the account. They carry the order's tag in a memo. Solana has no transaction that fails from a time on, so an
/// order's deadline is not in its transaction.
#[derive(Debug)]
pub struct SolanaVenue {
    cluster: Arc<Cluster>,
    signer: Arc<dyn WalletSigner>,
    builder: Arc<dyn SwapBuilder>,
    options: SolanaVenueOptions,
    searcher: Searcher,
    landings: Landings,
    mints: Mints,
    tables: Tables,
    seen_values: SeenValues,
}

impl SolanaVenue {
    /// Returns a venue for the wallet of this signer.
    pub fn new(
        cluster: Arc<Cluster>,
        signer: Arc<dyn WalletSigner>,
        builder: Arc<dyn SwapBuilder>,
        options: SolanaVenueOptions,
    ) -> Self {
        let searcher = Searcher::new(options.busy_account, options.complete_from_slot);
        let (landings, mints) = (Landings::default(), Mints::default());
        let tables = Tables::new(options.lookup_tables.clone());
        let seen_values = SeenValues::default();
        Self { cluster, signer, builder, options, searcher, landings, mints, tables, seen_values }
    }

    /// Returns the height that a quorum of the nodes has reached, at this commitment.
    async fn height(&self, commitment: &str) -> Result<u64, VenueError> {
        let answers = self.cluster.ask_all("getBlockHeight", &json!([{ "commitment": commitment }])).await;
        let (heights, errors): (Vec<_>, Vec<_>) = answers.into_iter().partition(Result::is_ok);
        quorum_th(heights.into_iter().flatten(), self.cluster.quorum())
            .ok_or_else(|| no_quorum(errors.into_iter().find_map(Result::err)))
    }

    async fn observed(&self, tx_id: &TxId, agreed: Agreed) -> Observation {
        let absent = |searched_through| Observation::NotFound { searched_through, seen_through: None };
        match agreed {
            Agreed::Absent { searched_through } => absent(searched_through),
            Agreed::Found { slot, err, certainty } => {
                match self.landings.read(&self.cluster, tx_id, slot, err.as_ref()).await {
                    Some(landing) => landing.observed(certainty),
                    // It is in a block, but nothing is known yet of what it did.
                    None => absent(None),
                }
            }
        }
    }
}

#[async_trait]
impl Venue for SolanaVenue {
    fn capabilities(&self) -> VenueCapabilities {
        let capabilities = if self.options.nonce_accounts.is_empty() {
            VenueCapabilities::by_height()
        } else {
            VenueCapabilities::by_nonce()
        };
        capabilities.with_finds_by_tag(true)
    }

    async fn prepare(&self, request: PrepareRequest<'_>) -> Result<SignedTx, StepError> {
        self.prepare_transaction(&request).await
    }

    async fn replace(&self, request: ReplaceRequest<'_>) -> Result<SignedTx, StepError> {
        self.replace_transaction(&request).await
    }

    async fn cancel_transaction(&self, request: ReplaceRequest<'_>) -> Result<SignedTx, StepError> {
        self.cancel_by_advance(&request).await
    }

    async fn submit(&self, tx: &SignedTx) -> SubmitReport {
        let params = json!([STANDARD.encode(&tx.bytes), SendSettings::RAW]);
        let answers: Vec<Result<String, RpcError>> = self.cluster.ask_all("sendTransaction", &params).await;
        submitted(&tx.id, &answers)
    }

    async fn view(&self) -> Result<ChainView, VenueError> {
        // The finalized height first, so that the others are not below it.
        let finalized = self.height("finalized").await?;
        let (confirmed, processed) = tokio::join!(self.height("confirmed"), self.height("processed"));
        let finalized = finalized.saturating_sub(self.options.finality_margin);
        let confirmed = confirmed?.max(finalized);
        Ok(ChainView::new(processed?.max(confirmed), confirmed, finalized))
    }

    async fn accounts(&self, accounts: &[AccountId]) -> Result<Vec<AccountView>, VenueError> {
        self.nonce_views(accounts).await
    }

    async fn observe(&self, txs: &[TxRef<'_>]) -> Result<Vec<Observation>, VenueError> {
        let agreed = self.searcher.search(&self.cluster, txs).await.map_err(venue_error)?;
        let mut observed = Vec::with_capacity(agreed.len());
        for (tx, agreed) in txs.iter().zip(agreed) {
            observed.push(self.observed(tx.id, agreed).boxed());
        }
        Ok(stream::iter(observed).buffered(LANDINGS_AT_ONCE).collect().await)
    }

    async fn find(&self, order: OrderId) -> Result<Vec<TxId>, VenueError> {
        let within = history::Extent {
            complete_from_slot: self.options.complete_from_slot,
            transactions_max: self.options.find_max,
        };
        history::find(&self.cluster, self.signer.address(), order, within).await
    }
}

/// Returns what came of sending, from the answers of all nodes.
fn submitted(id: &TxId, answers: &[Result<String, RpcError>]) -> SubmitReport {
    let says_known = |error: &RpcError| matches!(error, RpcError::Refused { message, .. } if message.to_lowercase().contains(ALREADY_KNOWN));
    if answers.iter().flatten().any(|answer| answer == id.as_str()) {
        return SubmitReport::Accepted;
    }
    let errors = || answers.iter().filter_map(|answer| answer.as_ref().err());
    if errors().any(says_known) {
        return SubmitReport::AlreadyKnown;
    }
    let message = errors().map(|error| chain(error).to_string()).collect::<Vec<_>>().join("; ");
    let is_refused = |answer: &Result<String, RpcError>| matches!(answer, Err(error @ RpcError::Refused { .. }) if !error.is_transient());
    if answers.iter().all(is_refused) {
        SubmitReport::DefinitelyNotAccepted { message }
    } else {
        SubmitReport::Ambiguous { message }
    }
}

fn no_quorum(error: Option<RpcError>) -> VenueError {
    let failed = VenueError::new("too few of its nodes answered");
    match error {
        Some(error) => failed.with_source(error),
        None => failed,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(message: &str) -> Result<String, RpcError> {
        Err(RpcError::Refused { code: -32_002, message: message.into(), data: None, may_pass: false })
    }

    #[test]
    fn one_node_that_takes_it_is_enough_and_only_all_refuse_it() {
        let id = TxId::from("id");
        let ok = || Ok("id".to_owned());
        let down = || Err(RpcError::Status { status: 503, retry_after_s: None });
        let report = |answers: &[_]| submitted(&id, answers);
        assert_eq!(report(&[down(), ok()]), SubmitReport::Accepted);
        assert_eq!(report(&[refused("x"), ok()]), SubmitReport::Accepted);
        let known = "This transaction has Already Been Processed";
        assert_eq!(report(&[refused("x"), refused(known)]), SubmitReport::AlreadyKnown);
        assert!(matches!(report(&[refused("x"), refused("y")]), SubmitReport::DefinitelyNotAccepted { .. }));
        assert!(matches!(report(&[refused("x"), down()]), SubmitReport::Ambiguous { .. }));
        assert!(matches!(report(&[Ok("other".to_owned())]), SubmitReport::Ambiguous { .. }));
    }
}
