//! A venue on the simulated chain.

use std::sync::Arc;

use async_trait::async_trait;
use order_engine_core::telemetry::chain;
use order_engine_core::{
    AccountId, AccountNonce, AccountView, Amount, ChainView, Failure, FailureClass, FailureCode, Fill,
    FillRequest, Leg, Observation, Order, OrderId, PrepareRequest, ReplaceRequest, Route, SignedTx,
    StepError, SubmitReport, TxId, TxRef, Venue, VenueCapabilities, VenueError,
};

use crate::arrival::{Arrival, VisibleLanding};
use crate::chain::SimChain;
use crate::config::NonceKind;
use crate::error::SimError;
use crate::execution::Execution;
use crate::pace::Pace;
use crate::pools::Pools;
use crate::signing;
use crate::swap::SwapError;
use crate::tx::{Bound, Message, Swap};

/// A venue on the simulated chain.
#[derive(Debug)]
pub(crate) struct SimVenue {
    pub(crate) chain: Arc<SimChain>,
    pub(crate) pools: Arc<Pools>,
    pub(crate) pace: Pace,
}

#[async_trait]
impl Venue for SimVenue {
    fn capabilities(&self) -> VenueCapabilities {
        capabilities(self.chain.wallets().is_some())
    }

    async fn prepare(&self, request: PrepareRequest<'_>) -> Result<SignedTx, StepError> {
        self.pace.step().await;
        let PrepareRequest { order, route, min_amount_out, .. } = request;
        check_pair(order, route)?;
        let legs = self.swaps(route)?;
        let trade = self.chain.simulate(&legs).map_err(|error| stale(&error))?;
        if trade.amount_out < min_amount_out {
            return Err(StepError::requote(slippage(trade.amount_out, min_amount_out)));
        }
        let bound = self.bound(&request).await?;
        let message = Message { order_id: order.id, bound, min_amount_out, legs };
        signing::signed(self.chain.signer(), &message)
    }

    async fn replace(&self, request: ReplaceRequest<'_>) -> Result<SignedTx, StepError> {
        self.pace.step().await;
        signing::replacement(self.chain.signer(), &request)
    }

    async fn cancel_transaction(&self, request: ReplaceRequest<'_>) -> Result<SignedTx, StepError> {
        self.pace.step().await;
        signing::cancel(self.chain.signer(), &request)
    }

    async fn fill_nonce(&self, request: FillRequest<'_>) -> Result<SignedTx, StepError> {
        self.pace.step().await;
        signing::filler(self.chain.signer(), &request, self.chain.fee())
    }

    async fn submit(&self, tx: &SignedTx) -> SubmitReport {
        self.pace.step().await;
        let (arrival, ticket) = self.chain.submit(&tx.id, &tx.bytes);
        if let Err(error) = self.chain.durable(ticket).await {
            return SubmitReport::Ambiguous { message: chain(&error).to_string() };
        }
        match arrival {
            Arrival::Accepted => SubmitReport::Accepted,
            Arrival::Known => SubmitReport::AlreadyKnown,
            Arrival::Lost(reason) => SubmitReport::Ambiguous { message: reason.to_owned() },
            Arrival::Refused(message) => SubmitReport::DefinitelyNotAccepted { message },
        }
    }

    async fn view(&self) -> Result<ChainView, VenueError> {
        Ok(self.chain.node("view").view)
    }

    async fn accounts(&self, accounts: &[AccountId]) -> Result<Vec<AccountView>, VenueError> {
        if self.chain.wallets().is_none() {
            return Err(VenueError::new("its transactions have no nonces"));
        }
        let (views, ticket) = self.chain.accounts(accounts, &self.chain.node("accounts"));
        self.chain.durable(ticket).await.map_err(stopped)?;
        Ok(views)
    }

    async fn find(&self, order: OrderId) -> Result<Vec<TxId>, VenueError> {
        let node = self.chain.node("find");
        if node.searched_through().is_none() {
            return Err(VenueError::new("the history of the node has gaps"));
        }
        let (ids, ticket) = self.chain.find(order, &node);
        self.chain.durable(ticket).await.map_err(stopped)?;
        Ok(ids)
    }

    async fn observe(&self, txs: &[TxRef<'_>]) -> Result<Vec<Observation>, VenueError> {
        let node = self.chain.node("observe");
        let visible = self.chain.observe(txs.iter().map(|tx| tx.id), &node);
        self.chain.durable(visible.ticket).await.map_err(stopped)?;
        let (searched_through, seen_through) = (node.searched_through(), node.seen_through());
        let absent = Observation::NotFound { searched_through, seen_through };
        let observed = |landing: Option<VisibleLanding>| landing.map_or_else(|| absent.clone(), observation);
        Ok(visible.landings.into_iter().map(observed).collect())
    }
}

impl SimVenue {
    /// Returns what bounds the transaction of an order: a height, or the nonce that the order gets.
    async fn bound(&self, request: &PrepareRequest<'_>) -> Result<Bound, StepError> {
        let Some(wallets) = self.chain.wallets() else { return Ok(self.chain.height_bound()) };
        let (node, fee) = (self.chain.node("prepare"), self.chain.fee());
        if self.chain.nonce_kind() == NonceKind::Opaque {
            let accounts = wallets.accounts();
            let (views, _) = self.chain.accounts(accounts, &node);
            let nonce = |(account, view): (&AccountId, AccountView)| {
                AccountNonce::new(account.clone(), view.finalized)
            };
            let values = accounts.iter().zip(views).map(nonce).collect();
            return Ok(Bound::Nonce { nonce: request.nonces.choose(values).await?, fee });
        }
        let account = wallets.account_of(request.order.id);
        let (views, _) = self.chain.accounts(std::slice::from_ref(account), &node);
        let latest = views.first().and_then(|view| view.latest.number()).unwrap_or(0);
        let value = request.nonces.next(account, latest).await?;
        Ok(Bound::Nonce { nonce: AccountNonce::new(account.clone(), value), fee })
    }

    /// Returns the legs of a route as the chain's swaps.
    fn swaps(&self, route: &Route) -> Result<Vec<Swap>, StepError> {
        let swap = |leg: &Leg| {
            let unknown = || stale(&SwapError::UnknownPool(leg.pool.clone()));
            let pool = self.pools.find(&leg.pool).ok_or_else(unknown)?;
            let sells_a = match (leg.input_mint.as_str(), leg.output_mint.as_str()) {
                (input, output) if input == pool.token_a && output == pool.token_b => true,
                (input, output) if input == pool.token_b && output == pool.token_a => false,
                _ => return Err(unknown()),
            };
            Ok(Swap { pool: leg.pool.clone(), sells_a, amount_in: leg.amount_in })
        };
        route.legs.iter().map(swap).collect()
    }
}

/// Returns what a venue on a simulated chain can do.
pub(crate) fn capabilities(has_nonces: bool) -> VenueCapabilities {
    if has_nonces {
        VenueCapabilities::by_nonce().with_finds_by_tag(true)
    } else {
        VenueCapabilities::by_height()
    }
}

fn stopped(error: SimError) -> VenueError {
    VenueError::new("the chain stopped").with_source(error)
}

/// Checks that a route trades the tokens of the order.
pub(crate) fn check_pair(order: &Order, route: &Route) -> Result<(), StepError> {
    let first_input = route.legs.first().map(|leg| &leg.input_mint);
    let last_output = route.legs.last().map(|leg| &leg.output_mint);
    if (first_input, last_output) == (Some(&order.request.input.mint), Some(&order.request.output.mint)) {
        return Ok(());
    }
    let message = "The route does not trade what the order asks for";
    Err(StepError::permanent(Failure::new(FailureCode::REJECTED, message)))
}

/// Returns the engine's observation of a landing.
pub(crate) fn observation(VisibleLanding { execution, certainty }: VisibleLanding) -> Observation {
    if execution.executed {
        let Execution { amount_in, amount_out, height, .. } = execution;
        return Observation::Landed { certainty, fill: Fill::new(amount_in, amount_out, height) };
    }
    let failure = match execution.reason {
        Some(code) if code != FailureCode::SLIPPAGE => {
            Failure::new(code, "The pools could not carry out the swaps")
        }
        _ => slippage(execution.amount_out, execution.min_amount_out),
    };
    // Pools change, so another quote can succeed.
    Observation::Reverted { certainty, failure, class: FailureClass::Requote }
}

/// Returns the error of a route that the pools can no longer execute.
fn stale(error: &SwapError) -> StepError {
    StepError::requote(Failure::new(FailureCode::NO_ROUTE, chain(error).to_string()))
}

fn slippage(amount_out: Amount, min_amount_out: Amount) -> Failure {
    let message = format!("The output of {amount_out} is below the minimum of {min_amount_out} base units");
    Failure::new(FailureCode::SLIPPAGE, message)
}
