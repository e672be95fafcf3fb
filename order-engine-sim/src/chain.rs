//! The simulated chain: accepts transactions, lands them at their time, and reports what became of them.
//!
//! Landing is lazy. The chain fixes the [`Plan`] of a transaction when it accepts it, and executes the plan
//! on the next call after the planned time, as of that time. Because pools are a pure function of the
//! slot, the result is the same as if it had executed on time, and the chain needs no task of its own.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use order_engine_core::{Amount, Certainty, FailureCode, OrderId, Runtime, TxId};
use order_engine_routing::PoolSet;
#[cfg(feature = "rpc-server")]
use sha2::{Digest, Sha256};

use crate::chance::{self, Chance, Purpose};
use crate::config::SimConfig;
use crate::error::SimError;
use crate::execution::Execution;
use crate::faults::FaultConfig;
use crate::heights::Heights;
use crate::ledger::{Ledger, Ticket};
use crate::node::Node;
use crate::plan::{Fork, Plan};
use crate::pools::Pools;
use crate::rate::Rate;
use crate::swap::{self, SwapError, Trade};
use crate::tx::{MalformedTx, Message, Signer, Swap};

/// The size of the first attempt at front-running, in millionths of a pool's reserve. It doubles until it
/// suffices.
const FIRST_FRONT_RUN_PPM: u64 = 1_000;

/// The most doublings of a front-run, far beyond what empties a pool.
const MOST_DOUBLINGS: u32 = 40;

/// The chain.
#[derive(Debug)]
pub(crate) struct SimChain {
    runtime: Runtime,
    heights: Heights,
    chance: Chance,
    fail_rate: Rate,
    signer: Signer,
    pools: Arc<Pools>,
    ledger: Ledger,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    faults: FaultConfig,
    transactions: HashMap<TxId, TxStatus>,
    /// The transactions that will land or be forgotten, by time and then in the order of scheduling.
    due: BTreeMap<(u64, u64), TxId>,
    /// The number of entries ever added to `due`.
    scheduled: u64,
    /// The landed transactions, in the order of landing.
    landings: Vec<Landing>,
}

/// The status of a transaction on the chain.
#[derive(Debug)]
enum TxStatus {
    /// It was accepted and has not landed for good.
    InFlight(Flight),
    /// It landed; the index is that of its landing.
    Landed(usize),
}

/// A transaction in flight.
#[derive(Debug)]
struct Flight {
    message: Message,
    /// A block that will be abandoned, in which the transaction is visible for a while.
    fork: Option<Fork>,
    /// Whether the transaction lands when it is due. Otherwise it is forgotten then.
    lands: bool,
}

/// A transaction that landed.
#[derive(Debug)]
struct Landing {
    execution: Execution,
    ticket: Ticket,
    /// The time from which its certainty grows. It is zero for landings of an earlier process, which are
    /// final.
    certain_from_ms: u64,
}

/// The result of submitting a transaction to the chain.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Arrival {
    /// The transaction is new.
    Accepted,
    /// The chain already had the transaction.
    Known,
    /// The transaction can never land, for this reason.
    Refused(String),
    /// The request or the reply was lost, for this reason.
    Lost(&'static str),
}

/// The visible landings of some transactions, in the order of the request.
#[derive(Debug)]
pub(crate) struct VisibleLandings {
    pub(crate) landings: Vec<Option<VisibleLanding>>,
    /// The ticket that must be durable before any of the landings is revealed.
    pub(crate) ticket: Ticket,
}

/// A landing that a node can see.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct VisibleLanding {
    pub(crate) execution: Execution,
    pub(crate) certainty: Certainty,
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
    /// Starts a chain, or continues one from its earlier executions.
    pub(crate) fn open(
        config: &SimConfig,
        runtime: Runtime,
        pools: Arc<Pools>,
        ledger: Ledger,
        earlier: Vec<Execution>,
    ) -> Self {
        let now_ms = now_ms(&runtime);
        let mut heights = Heights::new(config);
        if let Some(last) = earlier.iter().max_by_key(|execution| execution.height) {
            heights = heights.resume_after(last, now_ms);
        }
        let mut state = State { faults: config.faults, ..State::default() };
        for execution in earlier {
            let status = TxStatus::Landed(state.landings.len());
            state.transactions.insert(execution.tx_id.clone(), status);
            state.landings.push(Landing { execution, ticket: 0, certain_from_ms: 0 });
        }
        Self {
            runtime,
            heights,
            chance: Chance::new(config.seed),
            fail_rate: config.fail_rate,
            signer: Signer::new(config.seed),
            pools,
            ledger,
            state: Mutex::new(state),
        }
    }

    /// Returns the node that answers a call of this name now.
    pub(crate) fn node(&self, call: &str) -> Node {
        Node::answering(call, self.now_ms(), self.heights, (self.chance, &self.lock().faults))
    }

    /// Returns the pools as they are now.
    pub(crate) fn pools(&self) -> Arc<PoolSet> {
        self.pools.snapshot(self.heights.at(self.now_ms()))
    }

    /// Returns what legs would trade if they landed now.
    pub(crate) fn simulate(&self, legs: &[Swap]) -> Result<Trade, SwapError> {
        swap::execute(&self.pools, legs, self.heights.at(self.now_ms()), 0)
    }

    /// Signs a transaction that may land from now on. Returns its id, its bytes and its last valid height.
    pub(crate) fn sign(
        &self,
        order_id: OrderId,
        legs: Vec<Swap>,
        min_amount_out: Amount,
    ) -> Result<(TxId, Vec<u8>, u64), MalformedTx> {
        let message = Message {
            order_id,
            recent_height: self.heights.at(self.now_ms()),
            nonce: self.runtime.entropy.next_u128(),
            min_amount_out,
            legs,
        };
        let (id, bytes) = self.signer.sign(&message)?;
        Ok((id, bytes, message.last_valid_height()))
    }

    /// Replaces the faults from now on.
    pub(crate) fn set_faults(&self, faults: FaultConfig) {
        self.lock().faults = faults;
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
        let is_lost =
            |rate, purpose| self.chance.happens(rate, purpose, chance::subject(id.as_str()), now_ms);
        if is_lost(state.faults.lost_request_rate, Purpose::LostRequest) {
            return (Arrival::Lost("the request timed out"), 0);
        }
        let (arrival, ticket) = self.admit(&mut state, id, message, now_ms);
        if is_lost(state.faults.lost_reply_rate, Purpose::LostReply) {
            return (Arrival::Lost("the answer timed out"), 0);
        }
        (arrival, ticket)
    }

    /// Accepts a transaction that reached the chain, unless it is known or can never land.
    fn admit(&self, state: &mut State, id: &TxId, message: Message, now_ms: u64) -> (Arrival, Ticket) {
        self.settle(state, now_ms);
        if let Some(status) = state.transactions.get(id) {
            return (Arrival::Known, state.ticket_of(status));
        }
        if let Some(reason) = self.unlandable(&message, now_ms) {
            return (Arrival::Refused(reason), 0);
        }
        let plan = Plan::draw(id, &message, now_ms, self.heights, (self.chance, &state.faults));
        state.schedule(id, message, plan);
        self.settle(state, now_ms);
        let ticket = state.transactions.get(id).map_or(0, |status| state.ticket_of(status));
        (Arrival::Accepted, ticket)
    }

    /// Returns the landings of these transactions that a node can see.
    pub(crate) fn observe(&self, ids: &[TxId], node: &Node) -> VisibleLandings {
        let mut state = self.lock();
        self.settle(&mut state, self.now_ms());
        let mut ticket = 0;
        let mut observe = |id| {
            let (landing, its_ticket) = self.landing_at(&state, id, node.at_ms)?;
            let is_shown = node.shows(landing.execution.height);
            ticket = ticket.max(if is_shown { its_ticket } else { 0 });
            is_shown.then_some(landing)
        };
        let landings = ids.iter().map(&mut observe).collect();
        VisibleLandings { landings, ticket }
    }

    /// Returns the landing of a transaction that was visible at a time, which must not be in the future.
    fn landing_at(&self, state: &State, id: &TxId, at_ms: u64) -> Option<(VisibleLanding, Ticket)> {
        match state.transactions.get(id)? {
            TxStatus::InFlight(Flight { message, fork, .. }) => {
                let fork = fork.filter(|fork| fork.is_visible(at_ms))?;
                let execution = self.execute(id, message, fork.from_ms);
                let certainty = self.heights.certainty(fork.from_ms, at_ms);
                // An abandoned block executes nothing, so it has no line in the ledger.
                Some((VisibleLanding { execution, certainty }, 0))
            }
            TxStatus::Landed(index) => {
                let landing = &state.landings[*index];
                if landing.certain_from_ms > at_ms {
                    return None;
                }
                let certainty = self.heights.certainty(landing.certain_from_ms, at_ms);
                Some((VisibleLanding { execution: landing.execution.clone(), certainty }, landing.ticket))
            }
        }
    }

    /// Lands the due transactions, and waits until the ledger holds all landings.
    ///
    /// # Errors
    /// If the ledger could not be written.
    pub(crate) async fn flush(&self) -> Result<(), SimError> {
        let ticket = {
            let mut state = self.lock();
            self.settle(&mut state, self.now_ms());
            state.landings.last().map_or(0, |landing| landing.ticket)
        };
        self.durable(ticket).await
    }

    /// Returns all landings that the ledger holds, in the order of landing.
    pub(crate) fn executions(&self, order: Option<OrderId>) -> Vec<Execution> {
        let mut state = self.lock();
        self.settle(&mut state, self.now_ms());
        let durable = self.ledger.durable_up_to();
        state
            .landings
            .iter()
            .take_while(|landing| landing.ticket <= durable)
            .map(|landing| &landing.execution)
            .filter(|execution| order.is_none_or(|id| id == execution.order_id))
            .cloned()
            .collect()
    }

    /// Waits until the ledger holds the line of a ticket.
    ///
    /// # Errors
    /// If the ledger could not be written.
    pub(crate) async fn durable(&self, ticket: Ticket) -> Result<(), SimError> {
        self.ledger.durable(ticket).await
    }

    /// Returns the reason why a transaction cannot land from now on, or `None` if it can.
    fn unlandable(&self, message: &Message, now_ms: u64) -> Option<String> {
        let height = self.heights.at(now_ms);
        if message.recent_height > height {
            return Some(format!("the blockhash of height {} is unknown", message.recent_height));
        }
        let last = message.last_valid_height();
        (height > last).then(|| format!("it expired: the height is {height}, and it was valid until {last}"))
    }

    /// Lands or forgets the due transactions.
    fn settle(&self, state: &mut State, now_ms: u64) {
        while let Some(entry) = state.due.first_entry() {
            let &(lands_at_ms, _) = entry.key();
            if lands_at_ms > now_ms {
                return;
            }
            let id = entry.remove();
            // A second delivery finds the transaction already landed, and changes nothing.
            if let Some(TxStatus::InFlight(flight)) = state.transactions.get(&id) {
                if flight.lands {
                    let execution = self.execute(&id, &flight.message, lands_at_ms);
                    let ticket = self.ledger.append(&execution);
                    state.transactions.insert(id, TxStatus::Landed(state.landings.len()));
                    state.landings.push(Landing { execution, ticket, certain_from_ms: lands_at_ms });
                } else {
                    state.transactions.remove(&id);
                }
            }
        }
    }

    /// Executes a transaction on the pools of the slot at a time.
    fn execute(&self, id: &TxId, message: &Message, at_ms: u64) -> Execution {
        let slot = self.heights.at(at_ms);
        let outcome = match swap::execute(&self.pools, &message.legs, slot, 0) {
            Ok(trade) if trade.amount_out >= message.min_amount_out && self.is_front_run(id) => {
                Ok(self.front_run(message, slot, trade))
            }
            outcome => outcome,
        };
        let trade =
            outcome.as_ref().copied().unwrap_or(Trade { amount_in: Amount::ZERO, amount_out: Amount::ZERO });
        let reason = match outcome {
            Ok(trade) if trade.amount_out >= message.min_amount_out => None,
            Ok(_) => Some(FailureCode::SLIPPAGE),
            Err(_) => Some(FailureCode::TRANSACTION_FAILED),
        };
        Execution {
            tx_id: id.clone(),
            order_id: message.order_id,
            executed: reason.is_none(),
            height: slot,
            landed_at_ms: at_ms,
            amount_in: trade.amount_in,
            amount_out: trade.amount_out,
            min_amount_out: message.min_amount_out,
            reason,
        }
    }

    /// Returns whether another trader front-runs a transaction.
    fn is_front_run(&self, id: &TxId) -> bool {
        self.chance.happens(self.fail_rate, Purpose::FrontRun, chance::subject(id.as_str()), 0)
    }

    /// Returns the trade after another trader sold into the same pools first, just enough to push the output
    /// below the minimum. Only a minimum of zero withstands every such sale.
    fn front_run(&self, message: &Message, slot: u64, undisturbed: Trade) -> Trade {
        let nothing = Trade { amount_out: Amount::ZERO, ..undisturbed };
        (0..MOST_DOUBLINGS)
            // A pool that refuses to trade after such a sale pays nothing.
            .map(|doublings| {
                swap::execute(&self.pools, &message.legs, slot, FIRST_FRONT_RUN_PPM << doublings)
                    .unwrap_or(nothing)
            })
            .find(|trade| trade.amount_out < message.min_amount_out)
            .unwrap_or(undisturbed)
    }

    /// Simulates a transaction: returns what it would trade if it landed now.
    #[cfg(feature = "rpc-server")]
    pub(crate) fn simulate_bytes(&self, bytes: &[u8]) -> Result<Trade, SimulationError> {
        let (_, message) = self.signer.open(bytes)?;
        if let Some(reason) = self.unlandable(&message, self.now_ms()) {
            return Err(SimulationError::Expired(reason));
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

    fn now_ms(&self) -> u64 {
        now_ms(&self.runtime)
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // No code panics between two changes under this lock, so a poisoned lock still guards valid data.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    /// Schedules a plan. A transaction that will neither land nor be visible is forgotten at once.
    fn schedule(&mut self, id: &TxId, message: Message, plan: Plan) {
        let Plan { fork, lands_at_ms, repeats_at_ms } = plan;
        let Some(settled_at_ms) = lands_at_ms.or(fork.map(|fork| fork.until_ms)) else { return };
        for at_ms in [Some(settled_at_ms), repeats_at_ms].into_iter().flatten() {
            self.scheduled += 1;
            self.due.insert((at_ms, self.scheduled), id.clone());
        }
        let flight = Flight { message, fork, lands: lands_at_ms.is_some() };
        self.transactions.insert(id.clone(), TxStatus::InFlight(flight));
    }

    /// Returns the ticket that must be durable before a status is revealed.
    fn ticket_of(&self, status: &TxStatus) -> Ticket {
        match status {
            TxStatus::InFlight(_) => 0,
            TxStatus::Landed(index) => self.landings[*index].ticket,
        }
    }
}

/// Returns the time in milliseconds since 1970.
fn now_ms(runtime: &Runtime) -> u64 {
    u64::try_from(runtime.now().timestamp_millis()).unwrap_or(0)
}
