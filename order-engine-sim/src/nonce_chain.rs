//! A chain whose transactions have nonces.
//!
//! Blocks are made lazily: each call first makes the blocks of the heights that have begun since the last one, from
//! what the nodes kept at that time. A block has one height, and comes when the height begins.

use std::collections::BTreeMap;
use std::sync::Arc;

use order_engine_core::{AccountId, AccountNonce, AccountView, Amount, Certainty, NonceValue, OrderId, TxId};

use crate::arrival::{Arrival, VisibleLanding};
use crate::blocks::{Blocks, Landed, Permanence};
use crate::chance::{self, Purpose};
use crate::config::{NonceConfig, NonceKind};
use crate::execution::Execution;
use crate::faults::FaultConfig;
use crate::fees;
use crate::inclusion::{self, BlockSpace};
use crate::ledger::Ticket;
use crate::mempool::{Admission, Mempool, NonceTx};
use crate::node::Node;
use crate::nonce_use::{Line, NonceNumber, NonceUse, UsedBy};
use crate::rate::Rate;
use crate::rules::Rules;
use crate::tx::{Bound, Message};
use crate::wallets::Wallets;

/// The most slots from the arrival of a transaction to its second delivery.
const MOST_SLOTS_TO_REPEAT: u64 = 40;

/// The most slots until a transaction of an abandoned block can land again.
const MOST_SLOTS_TO_RELAND: u64 = 8;

/// A chain whose transactions have nonces.
#[derive(Debug)]
pub(crate) struct NonceChain {
    config: NonceConfig,
    wallets: Wallets,
    mempool: Mempool,
    blocks: Blocks,
    /// The height of the last block.
    tip: u64,
    /// The height of the last block that cannot be undone.
    finalized: u64,
    /// The transactions that the network delivers a second time, by height.
    repeats: BTreeMap<u64, Vec<NonceTx>>,
    /// The ticket of the last line in the ledger.
    last_ticket: Ticket,
}

/// What a chain goes by: its rules and the present faults.
type Conditions<'a> = (&'a Rules, &'a FaultConfig);

impl NonceChain {
    /// Starts a chain, or continues one from its final landings. What nodes kept is lost.
    pub(crate) fn open(
        config: NonceConfig,
        wallets: Wallets,
        rules: &Rules,
        earlier: Vec<Line>,
        now_ms: u64,
    ) -> Self {
        let mut blocks = Blocks::default();
        let last = earlier.iter().map(|line| line.landed_at().0).max().unwrap_or(0);
        for line in earlier {
            blocks.land(Landed { line, permanence: Permanence::Final(0) });
        }
        let tip = rules.heights.at(now_ms);
        let finalized = rules.heights.view(now_ms).finalized.max(last);
        let (mempool, repeats) = (Mempool::default(), BTreeMap::new());
        Self { config, wallets, mempool, blocks, tip, finalized, repeats, last_ticket: 0 }
    }

    /// Makes the blocks that are due.
    pub(crate) fn settle(&mut self, conditions: Conditions<'_>, now_ms: u64) {
        let heights = conditions.0.heights;
        while self.tip < heights.at(now_ms) {
            self.tip += 1;
            self.finalize(conditions.0, heights.view(heights.start_ms(self.tip)).finalized);
            self.make_block(conditions);
        }
    }

    /// Writes the blocks up to a height into the ledger.
    fn finalize(&mut self, rules: &Rules, height: u64) {
        let last_ticket = &mut self.last_ticket;
        self.blocks.finalize(self.finalized + 1..=height, |line| {
            *last_ticket = rules.ledger.append(line);
            *last_ticket
        });
        self.finalized = self.finalized.max(height);
    }

    /// Makes the block of the tip.
    fn make_block(&mut self, conditions: Conditions<'_>) {
        self.deliver_again();
        self.abandon_blocks(conditions);
        self.evict(conditions);
        let foreign = self.land_foreign(conditions);
        let space = BlockSpace {
            height: self.tip,
            base_fee: self.base_fee(conditions, self.tip),
            capacity: self.config.block_capacity.saturating_sub(foreign),
        };
        let chosen = inclusion::choose(&self.mempool, |account| self.blocks.next_nonce(account), &space);
        for nonce in chosen {
            let tx = self.mempool.take(&nonce);
            // After a fork a transaction may have a value that its account never got again.
            if let Some(tx) = tx.filter(|tx| self.is_next(tx)) {
                self.land(conditions.0, tx);
            }
        }
        self.mempool.forget_used(|account| self.blocks.next_nonce(account));
        self.forget_other_values();
    }

    /// Forgets transactions whose opaque value is not the present one of their account: it never comes again, unless a fork
    /// brings it back with the transactions that used it.
    fn forget_other_values(&mut self) {
        if self.config.kind == NonceKind::Opaque {
            let mut mempool = std::mem::take(&mut self.mempool);
            mempool.retain(|tx| self.is_next(tx));
            self.mempool = mempool;
        }
    }

    fn deliver_again(&mut self) {
        for tx in self.repeats.remove(&self.tip).unwrap_or_default() {
            if self.admission(&tx) == Admission::Taken {
                self.mempool.insert(tx, self.tip);
            }
        }
    }

    /// Abandons the newest blocks, if that is due. Others take their heights, which are empty.
    ///
    /// What is lost of somebody else's transactions is never sent again, so that it leaves a gap in the account's nonces.
    fn abandon_blocks(&mut self, (rules, faults): Conditions<'_>) {
        if !happens((rules, faults.reorg_rate), Purpose::BlockReorg, 0, self.tip) {
            return;
        }
        let most = faults.reorg_slots.max(1);
        let depth = rules.chance.between(1, most, Purpose::ReorgDepth, 0, self.tip);
        let from_height = self.tip.saturating_sub(depth).max(self.finalized + 1);
        for tx in self.blocks.undo(from_height) {
            let subject = chance::subject(tx.id.as_str());
            let is_lost = happens((rules, faults.reorg_loss_rate), Purpose::ReorgLoss, subject, self.tip);
            if is_lost {
                continue;
            }
            let wait = rules.chance.between(1, MOST_SLOTS_TO_RELAND, Purpose::Relanding, subject, self.tip);
            self.mempool.insert(tx, self.tip + wait);
        }
    }

    fn evict(&mut self, (rules, faults): Conditions<'_>) {
        let height = self.tip;
        self.mempool.retain(|tx| {
            let subject = chance::subject(tx.id.as_str());
            let is_evicted = happens((rules, faults.eviction_rate), Purpose::Eviction, subject, height);
            !(is_evicted && tx.is_ours())
        });
    }

    /// Lets somebody else use the next nonces of some accounts. Returns of how many.
    fn land_foreign(&mut self, (rules, faults): Conditions<'_>) -> usize {
        let is_used = |account: &&AccountId| {
            let subject = chance::subject(account.as_str());
            happens((rules, faults.foreign_rate), Purpose::ForeignUse, subject, self.tip)
        };
        let accounts: Vec<AccountId> = self.wallets.accounts().iter().filter(is_used).cloned().collect();
        for account in &accounts {
            let nonce = NonceNumber { account: account.clone(), value: self.blocks.next_nonce(account) };
            self.mempool.take(&nonce);
            let id = TxId::new(format!("foreign-{}-{}-{}", self.tip, account, nonce.value));
            self.land(rules, NonceTx { id, nonce, fee: u128::MAX, message: None });
        }
        accounts.len()
    }

    /// Puts a transaction into the block of the tip.
    fn land(&mut self, rules: &Rules, tx: NonceTx) {
        let (height, landed_at_ms) = (self.tip, rules.heights.start_ms(self.tip));
        let without_swaps = |used_by| {
            let (nonce, tx_id) = (tx.nonce.clone().into(), tx.id.clone());
            Line::NonceUse(NonceUse { nonce, tx_id, used_by, height, landed_at_ms })
        };
        let line = match &tx.message {
            None => without_swaps(UsedBy::Foreign),
            Some(message) if message.legs.is_empty() => {
                without_swaps(UsedBy::Cancel { order_id: message.order_id })
            }
            Some(message) => Line::Execution(Execution {
                nonce: Some(tx.nonce.clone().into()),
                ..rules.market.execute(&tx.id, message, (height, landed_at_ms))
            }),
        };
        self.blocks.land(Landed { line, permanence: Permanence::Undoable(tx) });
    }

    fn base_fee(&self, (rules, faults): Conditions<'_>, height: u64) -> u128 {
        fees::base_fee(u128::from(self.config.base_fee), height, (rules.chance, faults))
    }

    /// Returns the fee that a transaction offers now.
    pub(crate) fn fee(&self, conditions: Conditions<'_>) -> u128 {
        fees::offer(self.base_fee(conditions, self.tip))
    }

    fn admission(&self, tx: &NonceTx) -> Admission {
        if self.config.kind == NonceKind::Opaque && !self.is_next(tx) {
            return Admission::Refused("the account has another value");
        }
        self.mempool.admission(tx, self.blocks.next_nonce(&tx.nonce.account))
    }

    /// Returns whether a transaction has the nonce that its account has now.
    fn is_next(&self, tx: &NonceTx) -> bool {
        let NonceNumber { account, value } = &tx.nonce;
        let opaque = tx.message.as_ref().and_then(|message| message.opaque_value());
        let has_value = |text: &str| self.blocks.value(account, *value).as_deref() == Some(text);
        *value == self.blocks.next_nonce(account) && opaque.is_none_or(has_value)
    }

    /// Returns the number of the nonce that a transaction names. An opaque value counts as the present one: any other is
    /// refused.
    fn number_of(&self, AccountNonce { account, value }: &AccountNonce) -> Option<NonceNumber> {
        let number = match (self.config.kind, value) {
            (NonceKind::Numbers, NonceValue::Number(number)) => *number,
            (NonceKind::Opaque, NonceValue::Opaque(_)) => self.blocks.next_nonce(account),
            _ => return None,
        };
        Some(NonceNumber { account: account.clone(), value: number })
    }

    /// Returns the nonce of an account after the block of a height.
    pub(crate) fn nonce_at(&self, account: &AccountId, height: u64) -> NonceValue {
        let number = self.blocks.next_nonce_at(account, height);
        match (self.config.kind, self.blocks.value(account, number)) {
            (NonceKind::Opaque, Some(text)) => NonceValue::opaque(text, height),
            _ => number.into(),
        }
    }

    /// Hands a transaction that reached the chain to the nodes.
    pub(crate) fn admit(
        &mut self,
        (rules, faults): Conditions<'_>,
        id: &TxId,
        message: Message,
        now_ms: u64,
    ) -> Arrival {
        self.settle((rules, faults), now_ms);
        let Bound::Nonce { nonce, fee } = message.bound.clone() else {
            return Arrival::Refused("transactions of this chain have nonces".to_owned());
        };
        if !self.wallets.accounts().contains(&nonce.account) {
            return Arrival::Refused("insufficient funds for gas".to_owned());
        }
        let Some(nonce) = self.number_of(&nonce) else {
            return Arrival::Refused("the accounts have nonces of another kind".to_owned());
        };
        let tx = NonceTx { id: id.clone(), nonce, fee, message: Some(Arc::new(message)) };
        match self.admission(&tx) {
            Admission::Taken => {}
            Admission::Known => return Arrival::Known,
            Admission::Refused(reason) => return Arrival::Refused(reason.to_owned()),
        }
        let subject = chance::subject(id.as_str());
        let strikes = |rate, purpose| happens((rules, rate), purpose, subject, now_ms);
        let slots = |most: u64, purpose| rules.chance.between(1, most.max(1), purpose, subject, now_ms);
        if strikes(faults.duplicate_rate, Purpose::Duplicate) {
            let height = self.tip + slots(MOST_SLOTS_TO_REPEAT, Purpose::DuplicateDelay);
            self.repeats.entry(height).or_default().push(tx.clone());
        }
        if strikes(faults.drop_rate, Purpose::Drop) {
            return Arrival::Accepted;
        }
        let is_late = strikes(faults.delay_rate, Purpose::Delay);
        let delay = if is_late { slots(faults.delay_slots, Purpose::DelayLength) } else { 0 };
        self.mempool.insert(tx, self.tip + 1 + delay);
        Arrival::Accepted
    }

    /// Returns the landing of a transaction that a node can see, and the ticket that must be durable before it is
    /// revealed.
    pub(crate) fn landing_at(&self, id: &TxId, node: &Node) -> Option<(VisibleLanding, Ticket)> {
        let (landed, height) = self.blocks.find(id)?;
        if height > node.view.processed || !node.shows(height) {
            return None;
        }
        let certainty = match height {
            height if height <= node.view.finalized => Certainty::Finalized,
            height if height <= node.view.confirmed => Certainty::Confirmed,
            _ => Certainty::Processed,
        };
        let ticket = match landed.permanence {
            Permanence::Final(ticket) => ticket,
            Permanence::Undoable(_) => 0,
        };
        Some((VisibleLanding { execution: visible(&landed.line)?, certainty }, ticket))
    }

    /// Returns how far an account has come, as a node sees it.
    pub(crate) fn account_at(&self, account: &AccountId, node: &Node) -> AccountView {
        let next = |height| self.nonce_at(account, height);
        AccountView::new(next(node.view.processed), next(node.view.finalized), node.view.finalized)
    }

    /// Returns the transactions with the tag of an order in the final history of a node.
    pub(crate) fn find(&self, order: OrderId, node: &Node) -> Vec<TxId> {
        self.blocks.tagged(order, node.view.finalized)
    }

    /// Returns the final landings in their order, as far as the ledger holds them.
    pub(crate) fn recorded(&self, durable: Ticket) -> impl Iterator<Item = &Line> {
        self.blocks.recorded().take_while(move |(_, ticket)| *ticket <= durable).map(|(line, _)| line)
    }

    /// Returns the ticket of the last line in the ledger.
    pub(crate) const fn last_ticket(&self) -> Ticket {
        self.last_ticket
    }

    /// Returns the nonces of the venue's transactions that wait for a block, by their numbers.
    pub(crate) fn waiting(&self) -> Vec<AccountNonce> {
        let is_ours = |nonce: &&NonceNumber| self.mempool.get(nonce).is_some_and(|known| known.tx.is_ours());
        self.mempool.nonces().filter(is_ours).cloned().map(AccountNonce::from).collect()
    }
}

/// Returns whether an event happens to a subject in a round.
fn happens((rules, rate): (&Rules, Rate), purpose: Purpose, subject: u64, round: u64) -> bool {
    !rate.is_never() && rules.chance.happens(rate, purpose, subject, round)
}

/// Returns what nodes report about a landing. A transaction without swaps did what it should: nothing.
fn visible(line: &Line) -> Option<Execution> {
    match line {
        Line::Execution(execution) => Some(execution.clone()),
        Line::NonceUse(NonceUse { nonce, tx_id, used_by, height, landed_at_ms }) => Some(Execution {
            tx_id: tx_id.clone(),
            order_id: used_by.order_id()?,
            executed: true,
            height: *height,
            landed_at_ms: *landed_at_ms,
            amount_in: Amount::ZERO,
            amount_out: Amount::ZERO,
            min_amount_out: Amount::ZERO,
            reason: None,
            nonce: Some(nonce.clone()),
        }),
    }
}
