//! The simulated chain: it takes transactions, lands them when their time has come, and tells what
//! it knows of them.
//!
//! Landing is lazy. When a transaction is taken its [`Plan`] is fixed; it is carried out when
//! somebody next looks at the chain, as of the time that the plan says. Since pools are a pure
//! function of the slot, nobody can tell the difference, and the chain needs no task of its own.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use order_engine_core::{Amount, Certainty, FailureCode, OrderId, Runtime, TxId};
use order_engine_routing::PoolSet;
#[cfg(feature = "rpc-server")]
use sha2::{Digest, Sha256};

use crate::dice::{self, Dice, Purpose};
use crate::heights::Heights;
use crate::ledger::{Ledger, Ticket};
use crate::node::Node;
use crate::plan::{Fork, Plan};
use crate::pools::Pools;
use crate::swap::{SwapError, Trade, carry_out};
use crate::tx::{Message, Signer, Swap};
use crate::{Execution, FaultConfig, Rate, SimConfig, SimError};

/// By how many millionths the first attempt to trade ahead moves a pool; it doubles until it
/// suffices.
const FIRST_MOVE_PPM: u64 = 1_000;

/// How often the move doubles at most: far beyond what empties a pool.
const MOST_DOUBLINGS: u32 = 40;

/// The chain.
#[derive(Debug)]
pub(crate) struct SimChain {
    runtime: Runtime,
    heights: Heights,
    dice: Dice,
    fail_rate: Rate,
    signer: Signer,
    pools: Arc<Pools>,
    ledger: Ledger,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    faults: FaultConfig,
    transactions: HashMap<TxId, Standing>,
    /// What will land or be forgotten, by time and, within a time, in the order of scheduling.
    due: BTreeMap<(u64, u64), TxId>,
    /// How often anything was scheduled.
    scheduled: u64,
    /// What landed, in the order of landing.
    landings: Vec<Landing>,
}

/// What the chain knows of a transaction.
#[derive(Debug)]
enum Standing {
    /// It arrived and has not landed for good.
    InFlight(Flight),
    /// It landed, as the landing at this index.
    Landed(usize),
}

/// A transaction on its way.
#[derive(Debug)]
struct Flight {
    message: Message,
    /// A block that will be abandoned, in which it can be seen for a while.
    fork: Option<Fork>,
    /// Whether it lands when it is due. If not, it is forgotten then.
    lands: bool,
}

/// A transaction that landed.
#[derive(Debug)]
struct Landing {
    execution: Execution,
    ticket: Ticket,
    /// When it landed, for its certainty; zero for what an earlier process landed, which is final.
    certain_from_ms: u64,
}

/// What came of handing a transaction to the chain.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Arrival {
    /// It was new.
    Taken,
    /// It was known.
    Known,
    /// It is none that could ever land, for this reason.
    Refused(String),
    /// Nobody can say, for this reason.
    Lost(&'static str),
}

/// What the chain tells of some transactions, in the order asked.
#[derive(Debug)]
pub(crate) struct Report {
    pub(crate) sightings: Vec<Option<Sighting>>,
    /// What must be durable before any of it is told.
    pub(crate) ticket: Ticket,
}

/// A landing that can be seen.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Sighting {
    pub(crate) execution: Execution,
    pub(crate) certainty: Certainty,
}

/// Why a transaction would not be carried out now.
#[cfg(feature = "rpc-server")]
#[derive(Debug, thiserror::Error)]
pub(crate) enum SimulationError {
    #[error(transparent)]
    Malformed(#[from] crate::tx::Malformed),
    #[error("{0}")]
    Expired(String),
    #[error(transparent)]
    Swap(#[from] SwapError),
    #[error("{0}")]
    Slippage(String),
}

impl SimChain {
    /// Begins or continues a chain.
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
            let standing = Standing::Landed(state.landings.len());
            state.transactions.insert(execution.tx_id.clone(), standing);
            state.landings.push(Landing { execution, ticket: 0, certain_from_ms: 0 });
        }
        Self {
            runtime,
            heights,
            dice: Dice::new(config.seed),
            fail_rate: config.fail_rate,
            signer: Signer::new(config.seed),
            pools,
            ledger,
            state: Mutex::new(state),
        }
    }

    /// The node that answers a call of this name, now.
    pub(crate) fn node(&self, call: &str) -> Node {
        Node::answering(call, self.now_ms(), self.heights, (self.dice, &self.lock().faults))
    }

    /// The pools as they are now.
    pub(crate) fn pools(&self) -> Arc<PoolSet> {
        self.pools.snapshot(self.heights.at(self.now_ms()))
    }

    /// What legs would trade if they landed now.
    pub(crate) fn simulate(&self, legs: &[Swap]) -> Result<Trade, SwapError> {
        carry_out(&self.pools, legs, self.heights.at(self.now_ms()), 0)
    }

    /// Signs a transaction that may land from now on: its id, its bytes, and until when.
    pub(crate) fn sign(
        &self,
        order_id: OrderId,
        legs: Vec<Swap>,
        min_amount_out: Amount,
    ) -> Result<(TxId, Vec<u8>, u64), crate::tx::Malformed> {
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

    /// Lets other faults happen from now on.
    pub(crate) fn set_faults(&self, faults: FaultConfig) {
        self.lock().faults = faults;
    }

    /// Takes a transaction, unless it is known or could never land. The ticket must be durable
    /// before the arrival is told.
    pub(crate) fn take(&self, id: &TxId, bytes: &[u8]) -> (Arrival, Ticket) {
        let message = match self.signer.open(bytes) {
            Ok((actual, message)) if actual == *id => message,
            Ok((actual, _)) => return (Arrival::Refused(format!("the bytes are those of {actual}")), 0),
            Err(malformed) => return (Arrival::Refused(malformed.to_string()), 0),
        };
        let mut state = self.lock();
        // Read under the lock: no landing may enter a height that somebody already saw final.
        let now_ms = self.now_ms();
        let is_lost = |rate, purpose| self.dice.happens(rate, purpose, dice::subject(id.as_str()), now_ms);
        if is_lost(state.faults.lost_request_rate, Purpose::LostRequest) {
            return (Arrival::Lost("the request timed out"), 0);
        }
        let (arrival, ticket) = self.admit(&mut state, id, message, now_ms);
        if is_lost(state.faults.lost_reply_rate, Purpose::LostReply) {
            return (Arrival::Lost("the answer timed out"), 0);
        }
        (arrival, ticket)
    }

    /// Takes a transaction that reached the chain.
    fn admit(&self, state: &mut State, id: &TxId, message: Message, now_ms: u64) -> (Arrival, Ticket) {
        self.settle(state, now_ms);
        if let Some(standing) = state.transactions.get(id) {
            return (Arrival::Known, state.ticket_of(standing));
        }
        if let Some(reason) = self.unlandable(&message, now_ms) {
            return (Arrival::Refused(reason), 0);
        }
        let plan = Plan::draw(id, &message, now_ms, self.heights, (self.dice, &state.faults));
        state.schedule(id, message, plan);
        self.settle(state, now_ms);
        let ticket = state.transactions.get(id).map_or(0, |standing| state.ticket_of(standing));
        (Arrival::Taken, ticket)
    }

    /// What a node can see of transactions.
    pub(crate) fn sight(&self, ids: &[TxId], node: &Node) -> Report {
        let mut state = self.lock();
        self.settle(&mut state, self.now_ms());
        let mut ticket = 0;
        let mut sight = |id| {
            let (sighting, its_ticket) = self.sight_one(&state, id, node.at_ms)?;
            let is_shown = node.shows(sighting.execution.height);
            ticket = ticket.max(if is_shown { its_ticket } else { 0 });
            is_shown.then_some(sighting)
        };
        let sightings = ids.iter().map(&mut sight).collect();
        Report { sightings, ticket }
    }

    /// What could be seen of a transaction at a moment that is not to come.
    fn sight_one(&self, state: &State, id: &TxId, at_ms: u64) -> Option<(Sighting, Ticket)> {
        match state.transactions.get(id)? {
            Standing::InFlight(Flight { message, fork, .. }) => {
                let fork = fork.filter(|fork| fork.is_seen(at_ms))?;
                let execution = self.execute(id, message, fork.from_ms);
                let certainty = self.heights.certainty(fork.from_ms, at_ms);
                // What is undone later was never executed, so the ledger has no part in it.
                Some((Sighting { execution, certainty }, 0))
            }
            Standing::Landed(index) => {
                let landing = &state.landings[*index];
                if landing.certain_from_ms > at_ms {
                    return None;
                }
                let certainty = self.heights.certainty(landing.certain_from_ms, at_ms);
                Some((Sighting { execution: landing.execution.clone(), certainty }, landing.ticket))
            }
        }
    }

    /// Lands what is due, and waits until all that landed can be told.
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

    /// All that landed and can be told, in the order of landing.
    pub(crate) fn executions(&self, order: Option<OrderId>) -> Vec<Execution> {
        let mut state = self.lock();
        self.settle(&mut state, self.now_ms());
        let told = self.ledger.durable_up_to();
        state
            .landings
            .iter()
            .take_while(|landing| landing.ticket <= told)
            .map(|landing| &landing.execution)
            .filter(|execution| order.is_none_or(|id| id == execution.order_id))
            .cloned()
            .collect()
    }

    /// Waits until what a ticket stands for can be told.
    ///
    /// # Errors
    /// If the ledger could not be written.
    pub(crate) async fn durable(&self, ticket: Ticket) -> Result<(), SimError> {
        self.ledger.durable(ticket).await
    }

    /// Why a transaction cannot land from now on.
    fn unlandable(&self, message: &Message, now_ms: u64) -> Option<String> {
        let height = self.heights.at(now_ms);
        if message.recent_height > height {
            return Some(format!("the blockhash of height {} is unknown", message.recent_height));
        }
        let last = message.last_valid_height();
        (height > last).then(|| format!("it expired: the height is {height}, and it was valid until {last}"))
    }

    /// Lands what is due.
    fn settle(&self, state: &mut State, now_ms: u64) {
        while let Some(entry) = state.due.first_entry() {
            let &(lands_at_ms, _) = entry.key();
            if lands_at_ms > now_ms {
                return;
            }
            let id = entry.remove();
            // A second delivery finds the transaction landed, and changes nothing.
            if let Some(Standing::InFlight(flight)) = state.transactions.get(&id) {
                if flight.lands {
                    let execution = self.execute(&id, &flight.message, lands_at_ms);
                    let ticket = self.ledger.append(&execution);
                    state.transactions.insert(id, Standing::Landed(state.landings.len()));
                    state.landings.push(Landing { execution, ticket, certain_from_ms: lands_at_ms });
                } else {
                    state.transactions.remove(&id);
                }
            }
        }
    }

    /// What a transaction does in the slot of a moment.
    fn execute(&self, id: &TxId, message: &Message, at_ms: u64) -> Execution {
        let slot = self.heights.at(at_ms);
        let outcome = match carry_out(&self.pools, &message.legs, slot, 0) {
            Ok(trade) if trade.amount_out >= message.min_amount_out && self.is_outrun(id) => {
                Ok(self.outrun(message, slot, trade))
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

    /// Whether somebody trades ahead of a transaction.
    fn is_outrun(&self, id: &TxId) -> bool {
        self.dice.happens(self.fail_rate, Purpose::AdverseMove, dice::subject(id.as_str()), 0)
    }

    /// Somebody sells into the same pools first, as much as it takes to push the output below the
    /// minimum. Only a minimum of zero withstands every such sale.
    fn outrun(&self, message: &Message, slot: u64, undisturbed: Trade) -> Trade {
        let nothing = Trade { amount_out: Amount::ZERO, ..undisturbed };
        (0..MOST_DOUBLINGS)
            // A pool that was sold into until it refuses to trade pays nothing.
            .map(|doublings| {
                carry_out(&self.pools, &message.legs, slot, FIRST_MOVE_PPM << doublings).unwrap_or(nothing)
            })
            .find(|moved| moved.amount_out < message.min_amount_out)
            .unwrap_or(undisturbed)
    }

    /// Whether the message's minimum is met, and it could land now.
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

    /// Takes a transaction by its bytes, and gives its id.
    #[cfg(feature = "rpc-server")]
    pub(crate) fn take_bytes(&self, bytes: &[u8]) -> Result<(TxId, Arrival, Ticket), crate::tx::Malformed> {
        let (id, _) = self.signer.open(bytes)?;
        let (arrival, ticket) = self.take(&id, bytes);
        Ok((id, arrival, ticket))
    }

    /// The key with which transactions are signed.
    #[cfg(feature = "rpc-server")]
    pub(crate) const fn wallet(&self) -> [u8; 32] {
        self.signer.key()
    }

    /// The name of a height, as transactions would use it.
    #[cfg(feature = "rpc-server")]
    pub(crate) fn blockhash(&self, height: u64) -> String {
        let mut bytes =
            Sha256::new().chain_update(self.signer.key()).chain_update(height.to_be_bytes()).finalize();
        bytes[..8].copy_from_slice(&height.to_be_bytes());
        bs58::encode(bytes).into_string()
    }

    /// The height of a name, if it is one of this chain.
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
        // No code that holds the lock can panic half way, so a poisoned lock guards sound data.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    /// Lets a plan take its course. What will neither land nor be seen is forgotten at once.
    fn schedule(&mut self, id: &TxId, message: Message, plan: Plan) {
        let Plan { fork, lands_at_ms, repeats_at_ms } = plan;
        let Some(settled_at_ms) = lands_at_ms.or(fork.map(|fork| fork.until_ms)) else { return };
        for at_ms in [Some(settled_at_ms), repeats_at_ms].into_iter().flatten() {
            self.scheduled += 1;
            self.due.insert((at_ms, self.scheduled), id.clone());
        }
        let flight = Flight { message, fork, lands: lands_at_ms.is_some() };
        self.transactions.insert(id.clone(), Standing::InFlight(flight));
    }

    /// What must be durable before a standing is told.
    fn ticket_of(&self, standing: &Standing) -> Ticket {
        match standing {
            Standing::InFlight(_) => 0,
            Standing::Landed(index) => self.landings[*index].ticket,
        }
    }
}

/// The time in milliseconds since 1970.
fn now_ms(runtime: &Runtime) -> u64 {
    u64::try_from(runtime.now().timestamp_millis()).unwrap_or(0)
}
