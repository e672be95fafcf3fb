//! A venue behind JSON-RPC.

use std::sync::Arc;

use async_trait::async_trait;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use order_engine_core::telemetry::chain;
use order_engine_core::{
    AccountId, AccountNonce, AccountView, ChainView, Failure, FailureCode, FillRequest, Leg, Observation,
    OrderId, PrepareRequest, ReplaceRequest, Route, SignedTx, StepError, SubmitReport, TxId, TxRef, Validity,
    Venue, VenueCapabilities, VenueError,
};
use order_engine_routing::PoolSource as _;
use serde_json::{Value, json};
use tokio::sync::OnceCell;

use crate::arrival::VisibleLanding;
use crate::config::NonceKind;
use crate::heights::BLOCKHASH_WINDOW_SLOTS;
use crate::rpc::accounts::{self, NodeAccounts, Offer};
use crate::rpc::client::{RpcClient, RpcError};
use crate::rpc::hex;
use crate::rpc::router::{NodePools, RpcRouter};
use crate::rpc::wire::{
    ALREADY_KNOWN, CUSTOM_SLIPPAGE, Context, LatestBlockhash, STATUSES_MAX, SignatureStatus, Simulation,
    WithContext, custom_code,
};
use crate::signing;
use crate::tx::{Bound, Message, Signer, Swap};
use crate::venue::{capabilities, check_pair, observation};
use crate::wallets::Wallets;

/// A venue that signs transactions here, and simulates, sends and observes them through a node.
#[derive(Debug)]
pub struct RpcVenue {
    client: RpcClient,
    pools: Arc<NodePools>,
    signer: OnceCell<Signer>,
    /// The accounts of the node, if transactions have nonces.
    accounts: Option<NodeAccounts>,
    nonce_kind: NonceKind,
}

impl RpcVenue {
    /// Returns a venue on the node of this client, whose transactions expire at a height. It takes the pools from the
    /// router. The node may start later.
    pub fn new(client: RpcClient, router: &RpcRouter) -> Self {
        let (signer, nonce_kind) = (OnceCell::new(), NonceKind::Numbers);
        Self { client, pools: router.pools(), signer, accounts: None, nonce_kind }
    }

    /// Returns the same for a node whose transactions have nonces of this kind.
    #[must_use]
    pub fn with_nonces(self, kind: NonceKind) -> Self {
        Self { accounts: Some(NodeAccounts::default()), nonce_kind: kind, ..self }
    }

    /// Returns a venue on the node of this client, after asking the node whether its transactions have nonces.
    ///
    /// # Errors
    /// If the node does not answer.
    pub async fn connect(client: RpcClient, router: &RpcRouter) -> Result<Self, RpcError> {
        let accounts = accounts::fetch(&client).await?;
        if accounts.is_empty() {
            return Ok(Self::new(client, router));
        }
        let is_opaque = accounts::opaque_views(&client, &[]).await?.is_some();
        let kind = if is_opaque { NonceKind::Opaque } else { NonceKind::Numbers };
        Ok(Self::new(client, router).with_nonces(kind))
    }

    async fn signer(&self) -> Result<&Signer, RpcError> {
        let fetch = || async {
            let key: String = self.client.query("simWallet", Value::Null).await?;
            let key = bs58::decode(key)
                .into_vec()
                .map_err(|error| RpcError::Malformed(error.to_string().into()))?;
            Signer::from_key(&key).ok_or_else(|| RpcError::Malformed("the wallet is not a key".into()))
        };
        self.signer.get_or_try_init(fetch).await
    }

    /// Returns the legs of a route as the chain's swaps.
    fn swaps(&self, route: &Route) -> Result<Vec<Swap>, StepError> {
        let pools = self.pools.snapshot();
        let swap = |leg: &Leg| {
            let pool = pools.get(&leg.pool)?;
            let sells_a = pool.token_a == leg.input_mint;
            pool.trades(&leg.input_mint, &leg.output_mint).then(|| Swap {
                pool: leg.pool.clone(),
                sells_a,
                amount_in: leg.amount_in,
            })
        };
        let legs: Option<Vec<Swap>> = route.legs.iter().map(swap).collect();
        legs.ok_or_else(|| {
            StepError::requote(Failure::new(FailureCode::NO_ROUTE, "A pool of the route is gone"))
        })
    }

    async fn simulate(&self, tx: &SignedTx) -> Result<(), StepError> {
        let params = json!([STANDARD.encode(&tx.bytes), { "encoding": "base64" }]);
        let simulated: WithContext<Simulation> =
            self.client.query("simulateTransaction", params).await.map_err(unavailable)?;
        let Simulation { err, logs } = simulated.value;
        let Some(err) = err else { return Ok(()) };
        let code = match custom_code(&err) {
            Some(CUSTOM_SLIPPAGE) => FailureCode::SLIPPAGE,
            _ => FailureCode::NO_ROUTE,
        };
        // Pools change, so another quote can succeed.
        Err(StepError::requote(Failure::new(code, logs.join("; "))))
    }
}

#[async_trait]
impl Venue for RpcVenue {
    fn capabilities(&self) -> VenueCapabilities {
        capabilities(self.accounts.is_some())
    }

    async fn prepare(&self, request: PrepareRequest<'_>) -> Result<SignedTx, StepError> {
        let PrepareRequest { order, route, min_amount_out, .. } = request;
        check_pair(order, route)?;
        let legs = self.swaps(route)?;
        let message = |bound| Message { order_id: order.id, bound, min_amount_out, legs };
        match &self.accounts {
            None => self.prepare_by_height(message).await,
            Some(accounts) => self.prepare_by_nonce(accounts, &request, message).await,
        }
    }

    async fn replace(&self, request: ReplaceRequest<'_>) -> Result<SignedTx, StepError> {
        signing::replacement(self.signer().await.map_err(unavailable)?, &request)
    }

    async fn cancel_transaction(&self, request: ReplaceRequest<'_>) -> Result<SignedTx, StepError> {
        signing::cancel(self.signer().await.map_err(unavailable)?, &request)
    }

    async fn fill_nonce(&self, request: FillRequest<'_>) -> Result<SignedTx, StepError> {
        let signer = self.signer().await.map_err(unavailable)?;
        let offer = accounts::offer(&self.client, &request.nonce.account).await.map_err(unavailable)?;
        signing::filler(signer, &request, offer.fee)
    }

    async fn submit(&self, tx: &SignedTx) -> SubmitReport {
        let (method, params) = match tx.validity {
            Validity::UntilHeight(_) => {
                let settings = json!({ "encoding": "base64", "skipPreflight": true, "maxRetries": 0 });
                ("sendTransaction", json!([STANDARD.encode(&tx.bytes), settings]))
            }
            _ => ("eth_sendRawTransaction", json!([hex::data(&tx.bytes)])),
        };
        match self.client.call_once::<TxId>(method, params).await {
            Ok(id) if id == tx.id => SubmitReport::Accepted,
            Ok(id) => SubmitReport::Ambiguous { message: format!("the node answered with another id: {id}") },
            Err(RpcError::Refused { message, .. }) if message == ALREADY_KNOWN => SubmitReport::AlreadyKnown,
            Err(error @ RpcError::Refused { .. }) => {
                SubmitReport::DefinitelyNotAccepted { message: chain(&error).to_string() }
            }
            // The node may have accepted the transaction before the error.
            Err(error) => SubmitReport::Ambiguous { message: chain(&error).to_string() },
        }
    }

    async fn view(&self) -> Result<ChainView, VenueError> {
        let height = |commitment| ("getBlockHeight", json!([{ "commitment": commitment }]));
        let calls = [height("finalized"), height("confirmed"), height("processed")];
        let heights: Vec<u64> = self.client.query_batch(&calls).await.map_err(venue_error)?;
        let [finalized, confirmed, processed] = heights[..] else {
            return Err(VenueError::new("the node did not answer with three heights"));
        };
        Ok(ChainView::new(processed, confirmed, finalized))
    }

    async fn accounts(&self, accounts: &[AccountId]) -> Result<Vec<AccountView>, VenueError> {
        if self.accounts.is_none() {
            return Err(VenueError::new("its transactions have no nonces"));
        }
        let views = match self.nonce_kind {
            NonceKind::Numbers => accounts::views(&self.client, accounts).await,
            NonceKind::Opaque => accounts::opaque_views(&self.client, accounts).await.and_then(|views| {
                views.ok_or_else(|| RpcError::Malformed("the nonces of the node are numbers".into()))
            }),
        };
        views.map_err(venue_error)
    }

    async fn find(&self, order: OrderId) -> Result<Vec<TxId>, VenueError> {
        self.client.query("simFind", json!([order])).await.map_err(venue_error)
    }

    async fn observe(&self, txs: &[TxRef<'_>]) -> Result<Vec<Observation>, VenueError> {
        let mut observations = Vec::with_capacity(txs.len());
        for txs in txs.chunks(STATUSES_MAX) {
            let ids: Vec<&TxId> = txs.iter().map(|tx| tx.id).collect();
            observations.extend(self.observe_some(&ids).await?);
        }
        Ok(observations)
    }
}

impl RpcVenue {
    /// Signs a transaction that expires.
    async fn prepare_by_height(&self, message: impl FnOnce(Bound) -> Message) -> Result<SignedTx, StepError> {
        let signer = self.signer().await.map_err(unavailable)?;
        let latest: WithContext<LatestBlockhash> = self
            .client
            .query("getLatestBlockhash", json!([{ "commitment": "confirmed" }]))
            .await
            .map_err(unavailable)?;
        let valid_until = latest.value.last_valid_block_height;
        let tx = signing::signed(
            signer,
            &message(Bound::Height {
                recent_height: valid_until.saturating_sub(BLOCKHASH_WINDOW_SLOTS),
                salt: self.client.runtime().entropy.next_u128(),
            }),
        )?;
        self.simulate(&tx).await?;
        Ok(tx)
    }

    /// Signs a transaction with the nonce that it gets.
    async fn prepare_by_nonce(
        &self,
        accounts: &NodeAccounts,
        request: &PrepareRequest<'_>,
        message: impl FnOnce(Bound) -> Message,
    ) -> Result<SignedTx, StepError> {
        let signer = self.signer().await.map_err(unavailable)?;
        let wallets = accounts.wallets(&self.client).await.map_err(unavailable)?;
        let account = wallets.account_of(request.order.id);
        // No block takes a transaction without a fee, so what is simulated can have no effect. It goes first,
        // because other orders of the account wait for the one that has a nonce.
        let message = message(Bound::Nonce { nonce: AccountNonce::new(account.clone(), 0), fee: 0 });
        self.simulate(&signing::signed(signer, &message)?).await?;
        let (nonce, fee) = match self.nonce_kind {
            NonceKind::Numbers => {
                let Offer { latest, fee } =
                    accounts::offer(&self.client, account).await.map_err(unavailable)?;
                let number = request.nonces.next(account, latest).await?;
                (AccountNonce::new(account.clone(), number), fee)
            }
            NonceKind::Opaque => {
                let fee = accounts::fee(&self.client).await.map_err(unavailable)?;
                (request.nonces.choose(self.values(wallets).await?).await?, fee)
            }
        };
        signing::signed(signer, &Message { bound: Bound::Nonce { nonce, fee }, ..message })
    }

    /// Returns the values of all accounts at finality.
    async fn values(&self, wallets: &Wallets) -> Result<Vec<AccountNonce>, StepError> {
        let accounts = wallets.accounts();
        let views = accounts::opaque_views(&self.client, accounts).await.map_err(unavailable)?;
        let nonce =
            |(account, view): (&AccountId, AccountView)| AccountNonce::new(account.clone(), view.finalized);
        Ok(accounts.iter().zip(views.unwrap_or_default()).map(nonce).collect())
    }

    async fn observe_some(&self, ids: &[&TxId]) -> Result<Vec<Observation>, VenueError> {
        let params = json!([ids, { "searchTransactionHistory": true }]);
        let WithContext { context, value }: WithContext<Vec<Option<SignatureStatus>>> =
            self.client.query("getSignatureStatuses", params).await.map_err(venue_error)?;
        if value.len() != ids.len() {
            return Err(VenueError::new("the node answered with another number of statuses"));
        }
        let (searched_through, seen_through) = (searched_through(&context), seen_through(&context));
        let observe = |status: Option<SignatureStatus>| match status {
            None => Observation::NotFound { searched_through, seen_through },
            Some(SignatureStatus { confirmation_status: certainty, sim: execution, .. }) => {
                observation(VisibleLanding { execution, certainty })
            }
        };
        Ok(value.into_iter().map(observe).collect())
    }
}

/// Returns the height up to which a node can prove an absence, or `None` if it has pruned its past or lacks
/// slots that are final for it. Only the node's own context counts, because another node may have answered
/// the calls before.
fn searched_through(context: &Context) -> Option<u64> {
    let has_gaps = context.first_available_slot > 0 || context.slot < context.finalized_slot;
    (!has_gaps).then_some(context.finalized_slot)
}

/// Returns the newest height up to which a node has looked at every block, or `None` if it has pruned its past.
fn seen_through(context: &Context) -> Option<u64> {
    (context.first_available_slot == 0).then_some(context.slot)
}

fn unavailable(error: RpcError) -> StepError {
    let failure = Failure::new(FailureCode::VENUE_UNAVAILABLE, error.to_string());
    StepError::unavailable(failure).with_source(error)
}

fn venue_error(error: RpcError) -> VenueError {
    VenueError::new("a call of its node failed").with_source(error)
}
