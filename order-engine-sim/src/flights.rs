//! A chain whose transactions expire at a height.
//!
//! Landing is lazy. The chain fixes the [`Plan`] of a transaction when it accepts it, and executes the plan
//! on the next call after the planned time, as of that time. Because pools are a pure function of the
//! slot, the result is the same as if it had executed on time, and the chain needs no task of its own.

use std::collections::{BTreeMap, HashMap};

use order_engine_core::TxId;

use crate::arrival::{Arrival, VisibleLanding};
use crate::execution::Execution;
use crate::faults::FaultConfig;
use crate::ledger::Ticket;
use crate::node::Node;
use crate::plan::{Fork, Plan};
use crate::rules::Rules;
use crate::tx::{Bound, Message, last_valid_height};

/// The transactions of a chain, in flight and landed.
#[derive(Debug, Default)]
pub(crate) struct Flights {
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

impl Flights {
    /// Returns the transactions of a chain on which these have landed.
    pub(crate) fn after(earlier: Vec<Execution>) -> Self {
        let mut flights = Self::default();
        for execution in earlier {
            let status = TxStatus::Landed(flights.landings.len());
            flights.transactions.insert(execution.tx_id.clone(), status);
            flights.landings.push(Landing { execution, ticket: 0, certain_from_ms: 0 });
        }
        flights
    }

    /// Accepts a transaction that reached the chain, unless it is known or can never land.
    pub(crate) fn admit(
        &mut self,
        (rules, faults): (&Rules, &FaultConfig),
        id: &TxId,
        message: Message,
        now_ms: u64,
    ) -> (Arrival, Ticket) {
        self.settle(rules, now_ms);
        if let Some(status) = self.transactions.get(id) {
            return (Arrival::Known, self.ticket_of(status));
        }
        let last_height = match landable_through(&message, rules.heights.at(now_ms)) {
            Ok(last_height) => last_height,
            Err(reason) => return (Arrival::Refused(reason), 0),
        };
        let plan = Plan::draw(id, last_height, now_ms, rules.heights, (rules.chance, faults));
        self.schedule(id, message, plan);
        self.settle(rules, now_ms);
        let ticket = self.transactions.get(id).map_or(0, |status| self.ticket_of(status));
        (Arrival::Accepted, ticket)
    }

    /// Returns the landing of a transaction that a node can see, and the ticket that must be durable before it is
    /// revealed.
    pub(crate) fn landing_at(
        &self,
        rules: &Rules,
        id: &TxId,
        node: &Node,
    ) -> Option<(VisibleLanding, Ticket)> {
        let at_ms = node.at_ms;
        let (landing, ticket) = match self.transactions.get(id)? {
            TxStatus::InFlight(Flight { message, fork, .. }) => {
                let fork = fork.filter(|fork| fork.is_visible(at_ms))?;
                let execution = execute(rules, id, message, fork.from_ms);
                let certainty = rules.heights.certainty(fork.from_ms, at_ms);
                // An abandoned block executes nothing, so it has no line in the ledger.
                (VisibleLanding { execution, certainty }, 0)
            }
            TxStatus::Landed(index) => {
                let landing = &self.landings[*index];
                if landing.certain_from_ms > at_ms {
                    return None;
                }
                let certainty = rules.heights.certainty(landing.certain_from_ms, at_ms);
                (VisibleLanding { execution: landing.execution.clone(), certainty }, landing.ticket)
            }
        };
        node.shows(landing.execution.height).then_some((landing, ticket))
    }

    /// Returns all landings in their order, with their tickets.
    pub(crate) fn landings(&self) -> impl DoubleEndedIterator<Item = (&Execution, Ticket)> {
        self.landings.iter().map(|landing| (&landing.execution, landing.ticket))
    }

    /// Lands or forgets the due transactions.
    pub(crate) fn settle(&mut self, rules: &Rules, now_ms: u64) {
        while let Some(entry) = self.due.first_entry() {
            let &(lands_at_ms, _) = entry.key();
            if lands_at_ms > now_ms {
                return;
            }
            let id = entry.remove();
            // A second delivery finds the transaction already landed, and changes nothing.
            if let Some(TxStatus::InFlight(flight)) = self.transactions.get(&id) {
                if flight.lands {
                    let execution = execute(rules, &id, &flight.message, lands_at_ms);
                    let ticket = rules.ledger.append(&execution);
                    self.transactions.insert(id, TxStatus::Landed(self.landings.len()));
                    self.landings.push(Landing { execution, ticket, certain_from_ms: lands_at_ms });
                } else {
                    self.transactions.remove(&id);
                }
            }
        }
    }

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

/// Returns the last height in which a transaction may land, or the reason why it cannot land from a height on.
pub(crate) fn landable_through(message: &Message, height: u64) -> Result<u64, String> {
    let Bound::Height { recent_height, .. } = message.bound else {
        return Err("transactions of this chain expire at a height".to_owned());
    };
    if recent_height > height {
        return Err(format!("the blockhash of height {recent_height} is unknown"));
    }
    let last = last_valid_height(recent_height);
    if height > last {
        return Err(format!("it expired: the height is {height}, and it was valid until {last}"));
    }
    Ok(last)
}

fn execute(rules: &Rules, id: &TxId, message: &Message, at_ms: u64) -> Execution {
    rules.market.execute(id, message, (rules.heights.at(at_ms), at_ms))
}
