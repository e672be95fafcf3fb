//! The simulated chain: accepts transactions, lands them at their time, and reports what became of them.
//!
//! It has no task of its own: each call first does what was due since the last one, as of its time.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use order_engine_core::{AccountId, AccountNonce, AccountView, OrderId, Runtime, TxId};
#[cfg(feature = "rpc-server")]
use order_engine_core::{Amount, NonceValue};
use order_engine_routing::PoolSet;
#[cfg(feature = "rpc-server")]
use sha2::{Digest, Sha256};

use crate::arrival::{Arrival, VisibleLandings};
use crate::chance::{self, Chance, Purpose};
use crate::config::{NonceKind, SimConfig};
use crate::error::SimError;
use crate::execution::Execution;
use crate::faults::FaultConfig;
#[cfg(feature = "rpc-server")]
use crate::flights;
use crate::flights::Flights;
use crate::heights::Heights;
use crate::ledger::{Ledger, Ticket};
use crate::market::Market;
use crate::node::Node;
use crate::nonce_chain::NonceChain;
use crate::nonce_use::{Line, NonceUse};
use crate::pools::Pools;
use crate::rules::Rules;
use crate::swap::{SwapError, Trade};
#[cfg(feature = "rpc-server")]
use crate::tx::MalformedTx;
use crate::tx::{Bound, Signer, Swap};
use crate::wallets::Wallets;

/// The chain.
#[derive(Debug)]
pub(crate) struct SimChain {
    runtime: Runtime,
    signer: Signer,
    wallets: Option<Wallets>,
    nonce_kind: NonceKind,
    rules: Rules,
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    faults: FaultConfig,
    transactions: Transactions,
}

/// The transactions of a chain, by what bounds them.
#[derive(Debug)]
enum Transactions {
    ByHeight(Flights),
    ByNonce(NonceChain),
}

/// The reason why a transaction would not execute now.
#[cfg(feature = "rpc-server")]
#[derive(Debug, thiserror::Error)]
pub(crate) enum SimulationError {
    #[error(transparent)]
    Malformed(#[from] MalformedTx),
    #[error("{0}")]
    Expired(String),
    #[error(transparent)]
    Swap(#[from] SwapError),
    #[error("{0}")]
    Slippage(String),
}

impl SimChain {
    /// Starts a chain, or continues one from its earlier landings.
    pub(crate) fn open(
        config: &SimConfig,
        runtime: Runtime,
        pools: Arc<Pools>,
        ledger: Ledger,
        earlier: Vec<Line>,
    ) -> Self {
        let now_ms = now_ms(&runtime);
        let mut heights = Heights::new(config);
        if let Some(last) = earlier.iter().map(Line::landed_at).max_by_key(|(height, _)| *height) {
            heights = heights.resume_after(last, now_ms);
        }
        let chance = Chance::new(config.seed);
        let market = Market { pools, chance, fail_rate: config.fail_rate };
        let rules = Rules { heights, chance, market, ledger };
        let wallets = config.nonces.map(|nonces| Wallets::new(config.seed, nonces.accounts));
        let transactions = match (config.nonces, &wallets) {
            (Some(nonces), Some(wallets)) => {
                Transactions::ByNonce(NonceChain::open(nonces, wallets.clone(), &rules, earlier, now_ms))
            }
            _ => {
                let executions = earlier.iter().filter_map(Line::execution).cloned().collect();
                Transactions::ByHeight(Flights::after(executions))
            }
        };
        let state = Mutex::new(State { faults: config.faults, transactions });
        let nonce_kind = config.nonces.map_or(NonceKind::Numbers, |nonces| nonces.kind);
        Self { runtime, signer: Signer::new(config.seed), wallets, nonce_kind, rules, state }
    }

    /// Returns the accounts, if transactions have nonces.
    pub(crate) const fn wallets(&self) -> Option<&Wallets> {
        self.wallets.as_ref()
    }

    /// Returns what the nonces of the accounts are.
    pub(crate) const fn nonce_kind(&self) -> NonceKind {
        self.nonce_kind
    }

    /// Returns the signer of the venue.
    pub(crate) const fn signer(&self) -> &Signer {
        &self.signer
    }

    /// Returns the node that answers a call of this name now.
    pub(crate) fn node(&self, call: &str) -> Node {
        let faults = &self.lock().faults;
        Node::answering(call, self.now_ms(), self.rules.heights, (self.rules.chance, faults))
    }

    /// Returns the pools as they are now.
    pub(crate) fn pools(&self) -> Arc<PoolSet> {
        self.rules.market.pools.snapshot(self.height())
    }

    /// Returns what legs would trade if they landed now.
    pub(crate) fn simulate(&self, legs: &[Swap]) -> Result<Trade, SwapError> {
        self.rules.market.simulate(legs, self.height())
    }

    /// Returns the bound of a transaction that expires and may land from now on.
    pub(crate) fn height_bound(&self) -> Bound {
        Bound::Height { recent_height: self.height(), salt: self.runtime.entropy.next_u128() }
    }

    /// Replaces the faults from now on.
    pub(crate) fn set_faults(&self, faults: FaultConfig) {
        let mut state = self.lock();
        let State { faults: current, transactions } = &mut *state;
        if let Transactions::ByNonce(chain) = transactions {
            chain.settle((&self.rules, current), self.now_ms());
        }
        *current = faults;
    }

    /// Submits a transaction to the chain. The ticket must be durable before the arrival is revealed.
    pub(crate) fn submit(&self, id: &TxId, bytes: &[u8]) -> (Arrival, Ticket) {
        let message = match self.signer.open(bytes) {
            Ok((actual, message)) if actual == *id => message,
            Ok((actual, _)) => return (Arrival::Refused(format!("the bytes are those of {actual}")), 0),
            Err(malformed) => return (Arrival::Refused(malformed.to_string()), 0),
        };
        let mut state = self.lock();
        // The clock is read under the lock, so no transaction lands in a height that a caller already saw
        // as final.
        let now_ms = self.now_ms();
        let State { faults, transactions } = &mut *state;
        let is_lost =
            |rate, purpose| self.rules.chance.happens(rate, purpose, chance::subject(id.as_str()), now_ms);
        if is_lost(faults.lost_request_rate, Purpose::LostRequest) {
            return (Arrival::Lost("the request timed out"), 0);
        }
        let (arrival, ticket) = match transactions {
            Transactions::ByHeight(flights) => flights.admit((&self.rules, faults), id, message, now_ms),
            Transactions::ByNonce(chain) => (chain.admit((&self.rules, faults), id, message, now_ms), 0),
        };
        if is_lost(faults.lost_reply_rate, Purpose::LostReply) {
            return (Arrival::Lost("the answer timed out"), 0);
        }
        (arrival, ticket)
    }

    /// Returns the landings of these transactions that a node can see.
    pub(crate) fn observe<'a>(
        &self,
        ids: impl IntoIterator<Item = &'a TxId>,
        node: &Node,
    ) -> VisibleLandings {
        let state = self.settled();
        let mut ticket = 0;
        let mut observe = |id| {
            let (landing, its_ticket) = match &state.transactions {
                Transactions::ByHeight(flights) => flights.landing_at(&self.rules, id, node)?,
                Transactions::ByNonce(chain) => chain.landing_at(id, node)?,
            };
            ticket = ticket.max(its_ticket);
            Some(landing)
        };
        let landings = ids.into_iter().map(&mut observe).collect();
        VisibleLandings { landings, ticket }
    }

    /// Returns how far accounts have come, as a node sees them, and the ticket that must be durable before it is
    /// revealed. Accounts of a chain without nonces never come further than 0.
    pub(crate) fn accounts(&self, accounts: &[AccountId], node: &Node) -> (Vec<AccountView>, Ticket) {
        let state = self.settled();
        match &state.transactions {
            Transactions::ByNonce(chain) => {
                let view = |account| chain.account_at(account, node);
                (accounts.iter().map(view).collect(), chain.last_ticket())
            }
            Transactions::ByHeight(_) => {
                (vec![AccountView::new(0, 0, node.view.finalized); accounts.len()], 0)
            }
        }
    }

    /// Returns the nonce of an account after the block of a height, and the ticket that must be durable before it is
    /// revealed.
    #[cfg(feature = "rpc-server")]
    pub(crate) fn nonce_at(&self, account: &AccountId, height: u64) -> (NonceValue, Ticket) {
        match &self.settled().transactions {
            Transactions::ByNonce(chain) => (chain.nonce_at(account, height), chain.last_ticket()),
            Transactions::ByHeight(_) => (0.into(), 0),
        }
    }

    /// Returns the transactions with the tag of an order in the final history of a node, and the ticket that must be
    /// durable before they are revealed.
    pub(crate) fn find(&self, order: OrderId, node: &Node) -> (Vec<TxId>, Ticket) {
        let state = self.settled();
        match &state.transactions {
            Transactions::ByNonce(chain) => (chain.find(order, node), chain.last_ticket()),
            Transactions::ByHeight(flights) => {
                let landings = flights.landings().filter(|(execution, _)| execution.order_id == order);
                let is_final = |execution: &Execution| execution.height <= node.view.finalized;
                let (ids, tickets): (Vec<TxId>, Vec<Ticket>) = landings
                    .filter(|(execution, _)| is_final(execution))
                    .map(|(execution, ticket)| (execution.tx_id.clone(), ticket))
                    .unzip();
                (ids, tickets.into_iter().max().unwrap_or(0))
            }
        }
    }

    /// Returns the fee that a transaction offers now; 0 on a chain without fees.
    pub(crate) fn fee(&self) -> u128 {
        let state = self.settled();
        match &state.transactions {
            Transactions::ByNonce(chain) => chain.fee((&self.rules, &state.faults)),
            Transactions::ByHeight(_) => 0,
        }
    }

    /// Lands the due transactions, and waits until the ledger holds all landings.
    ///
    /// # Errors
    /// If the ledger could not be written.
    pub(crate) async fn flush(&self) -> Result<(), SimError> {
        let ticket = {
            let state = self.settled();
            match &state.transactions {
                Transactions::ByHeight(flights) => {
                    flights.landings().next_back().map_or(0, |(_, ticket)| ticket)
                }
                Transactions::ByNonce(chain) => chain.last_ticket(),
            }
        };
        self.durable(ticket).await
    }

    /// Returns all executions that the ledger holds, in the order of landing.
    pub(crate) fn executions(&self, order: Option<OrderId>) -> Vec<Execution> {
        let state = self.settled();
        let durable = self.rules.ledger.durable_up_to();
        let is_asked = |execution: &&Execution| order.is_none_or(|id| id == execution.order_id);
        match &state.transactions {
            Transactions::ByHeight(flights) => {
                let recorded = flights.landings().take_while(|(_, ticket)| *ticket <= durable);
                recorded.map(|(execution, _)| execution).filter(is_asked).cloned().collect()
            }
            Transactions::ByNonce(chain) => {
                chain.recorded(durable).filter_map(Line::execution).filter(is_asked).cloned().collect()
            }
        }
    }

    /// Returns which transactions used the nonces of all accounts, as far as the ledger holds them, by account and
    /// nonce.
    pub(crate) fn nonce_uses(&self) -> Vec<NonceUse> {
        let state = self.settled();
        let Transactions::ByNonce(chain) = &state.transactions else { return Vec::new() };
        let recorded = chain.recorded(self.rules.ledger.durable_up_to());
        let mut uses: Vec<NonceUse> = recorded.filter_map(Line::nonce_use).collect();
        uses.sort_by(|one, other| one.nonce.cmp(&other.nonce));
        uses
    }

    /// Returns the accounts and nonces of the transactions that wait for a block.
    pub(crate) fn waiting(&self) -> Vec<AccountNonce> {
        match &self.settled().transactions {
            Transactions::ByNonce(chain) => chain.waiting(),
            Transactions::ByHeight(_) => Vec::new(),
        }
    }

    /// Waits until the ledger holds the line of a ticket.
    ///
    /// # Errors
    /// If the ledger could not be written.
    pub(crate) async fn durable(&self, ticket: Ticket) -> Result<(), SimError> {
        self.rules.ledger.durable(ticket).await
    }

    /// Simulates a transaction: returns what it would trade if it landed now.
    #[cfg(feature = "rpc-server")]
    pub(crate) fn simulate_bytes(&self, bytes: &[u8]) -> Result<Trade, SimulationError> {
        let (_, message) = self.signer.open(bytes)?;
        if self.wallets.is_none() {
            flights::landable_through(&message, self.height()).map_err(SimulationError::Expired)?;
        }
        if message.legs.is_empty() {
            return Ok(Trade { amount_in: Amount::ZERO, amount_out: Amount::ZERO });
        }
        let trade = self.simulate(&message.legs)?;
        if trade.amount_out < message.min_amount_out {
            let (out, least) = (trade.amount_out, message.min_amount_out);
            return Err(SimulationError::Slippage(format!(
                "The output of {out} is below the minimum of {least} base units"
            )));
        }
        Ok(trade)
    }

    /// Submits a transaction by its bytes alone. Returns its id too.
    #[cfg(feature = "rpc-server")]
    pub(crate) fn submit_bytes(&self, bytes: &[u8]) -> Result<(TxId, Arrival, Ticket), MalformedTx> {
        let (id, _) = self.signer.open(bytes)?;
        let (arrival, ticket) = self.submit(&id, bytes);
        Ok((id, arrival, ticket))
    }

    /// Returns the key that signs transactions.
    #[cfg(feature = "rpc-server")]
    pub(crate) const fn wallet(&self) -> [u8; 32] {
        self.signer.key()
    }

    /// Returns the blockhash of a height.
    #[cfg(feature = "rpc-server")]
    pub(crate) fn blockhash(&self, height: u64) -> String {
        let mut bytes =
            Sha256::new().chain_update(self.signer.key()).chain_update(height.to_be_bytes()).finalize();
        bytes[..8].copy_from_slice(&height.to_be_bytes());
        bs58::encode(bytes).into_string()
    }

    /// Returns the height of a blockhash, or `None` if it is not of this chain.
    #[cfg(feature = "rpc-server")]
    pub(crate) fn height_of(&self, blockhash: &str) -> Option<u64> {
        let bytes = bs58::decode(blockhash).into_vec().ok()?;
        let height = u64::from_be_bytes(bytes.get(..8)?.try_into().ok()?);
        (self.blockhash(height) == blockhash).then_some(height)
    }

    fn height(&self) -> u64 {
        self.rules.heights.at(self.now_ms())
    }

    fn now_ms(&self) -> u64 {
        now_ms(&self.runtime)
    }

    /// Returns the state after everything that was due has happened.
    fn settled(&self) -> MutexGuard<'_, State> {
        let mut state = self.lock();
        // The clock is read under the lock, so that time never goes back for the chain.
        let now_ms = self.now_ms();
        let State { faults, transactions } = &mut *state;
        match transactions {
            Transactions::ByHeight(flights) => flights.settle(&self.rules, now_ms),
            Transactions::ByNonce(chain) => chain.settle((&self.rules, faults), now_ms),
        }
        state
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // No code panics between two changes under this lock, so a poisoned lock still guards valid data.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Returns the time in milliseconds since 1970.
fn now_ms(runtime: &Runtime) -> u64 {
    u64::try_from(runtime.now().timestamp_millis()).unwrap_or(0)
}
